/* sockets.c - see sockets.h. */
#include "net/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "net/listen.h"

static const struct kind {
    const char *name;
    size_t offset; /* of the option in struct conf */
} kinds[] = {
    [SOCKET_HTTP] = {"http", offsetof(struct conf, http_listen)},
    [SOCKET_HTTPS] = {"https", offsetof(struct conf, https_listen)},
    [SOCKET_SMTP] = {"smtp", offsetof(struct conf, smtp_listen)},
    [SOCKET_SUBMISSION] = {"submission", offsetof(struct conf, submission_listen)},
    [SOCKET_SUBMISSIONS] = {"submissions", offsetof(struct conf, submissions_listen)},
};
_Static_assert(ARRAY_LEN(kinds) == SOCKET_KIND_COUNT, "a row for each kind");

const char *socket_kind_name(enum socket_kind kind)
{
    CHECK(kind < SOCKET_KIND_COUNT);
    return kinds[kind].name;
}

struct slice socket_kind_option(const struct conf *conf, enum socket_kind kind)
{
    CHECK(kind < SOCKET_KIND_COUNT);
    const char *member = (const char *)conf + kinds[kind].offset;
    return *(const struct slice *)(const void *)member;
}

static bool is_list(enum socket_kind kind)
{
    return kind == SOCKET_SUBMISSION || kind == SOCKET_SUBMISSIONS;
}

static bool names_a_kind(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- what was passed ------------------------------------------------------------------------ */

enum err sockets_pass(struct sockets *sockets, struct slice name, int fd)
{
    struct conn_addr addr;
    enum err err = listen_address(fd, &addr);
    int flags = err == ERR_OK ? fcntl(fd, F_GETFL) : -1;
    if (err != ERR_OK || sockets->passed_count == SOCKETS_PASSED_MAX || flags == -1 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1) {
        LOG_ERROR("sockets.strange", LOG_TEXT("name", name), LOG_I64("fd", fd),
                  LOG_STR("remedy", "it is no listening TCP socket, or one too many: pass those "
                                    "that the options ending in _listen name"));
        (void)close(fd); /* nobody accepts from it */
        return ERR_INVALID;
    }
    struct passed_socket *it = &sockets->passed[sockets->passed_count];
    *it = (struct passed_socket){.fd = fd, .addr = addr};
    (void)snprintf(it->name, sizeof it->name, "%.*s", SLICE_FMT(name)); /* a cut one is no kind's */
    sockets->passed_count += 1;
    return ERR_OK;
}

/* Port 0 asks for any. */
static bool is_same(const struct conn_addr *asked, const struct conn_addr *has)
{
    uint16_t tcp_port = conn_addr_port(asked);
    if (asked->storage.ss_family != has->storage.ss_family ||
        (tcp_port != 0 && tcp_port != conn_addr_port(has))) {
        return false;
    }
    if (asked->storage.ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)&asked->storage;
        const struct sockaddr_in *b = (const struct sockaddr_in *)(const void *)&has->storage;
        return a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)&asked->storage;
    const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)(const void *)&has->storage;
    return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
}

/* By name and address; one whose name says nothing (the unit's, by default) by address alone. The
 * first decides on the port where any will do. */
static void take_passed(struct sockets *sockets, struct socket_group *group)
{
    struct conn_addr asked = group->addr;
    for (uint32_t i = 0; i < sockets->passed_count && group->fd_count < LOOP_COUNT_MAX; i++) {
        struct passed_socket *it = &sockets->passed[i];
        bool is_named = strcmp(it->name, kinds[group->kind].name) == 0;
        if (it->fd == -1 || !is_same(&asked, &it->addr) || (!is_named && names_a_kind(it->name))) {
            continue;
        }
        group->fds[group->fd_count++] = it->fd;
        group->addr = it->addr;
        asked = it->addr;
        it->fd = -1;
    }
    if (group->fd_count > 0) {
        char text[ADDR_TEXT_MAX];
        (void)conn_addr_text(&group->addr, text); /* only its text is wanted */
        LOG_INFO("sockets.passed", LOG_STR("name", kinds[group->kind].name),
                 LOG_STR("address", text), LOG_U64("tcp_port", conn_addr_port(&group->addr)),
                 LOG_U64("sockets", group->fd_count));
    }
}

static void drop_unused(struct sockets *sockets)
{
    for (uint32_t i = 0; i < sockets->passed_count; i++) {
        struct passed_socket *it = &sockets->passed[i];
        char text[ADDR_TEXT_MAX];
        if (it->fd == -1) {
            continue;
        }
        (void)conn_addr_text(&it->addr, text); /* only its text is wanted */
        LOG_ERROR("sockets.unused", LOG_STR("name", it->name), LOG_STR("address", text),
                  LOG_U64("tcp_port", conn_addr_port(&it->addr)),
                  LOG_STR("remedy", names_a_kind(it->name)
                                        ? "the option of that name, with _listen, says another "
                                          "address: make them the same"
                                        : "no option ending in _listen says this address: set "
                                          "one, or pass no such socket"));
        (void)close(it->fd); /* nobody accepts from it */
        it->fd = -1;
    }
}

/* ---- what is opened ------------------------------------------------------------------------- */

static void set_port(struct conn_addr *addr, uint16_t tcp_port)
{
    if (addr->storage.ss_family == AF_INET) {
        ((struct sockaddr_in *)(void *)&addr->storage)->sin_port = htons(tcp_port);
    } else {
        ((struct sockaddr_in6 *)(void *)&addr->storage)->sin6_port = htons(tcp_port);
    }
}

/* The first one picks the port that the others share. */
static enum err open_group(struct socket_group *group, uint32_t loop_count)
{
    enum err err = ERR_OK;
    while (err == ERR_OK && group->fd_count < loop_count) {
        int fd = -1;
        struct conn_addr real;
        err = listen_socket(&group->addr, &fd);
        if (err != ERR_OK) {
            break;
        }
        group->fds[group->fd_count++] = fd;
        err = listen_address(fd, &real);
        CHECK(err == ERR_OK); /* it has just been bound */
        set_port(&group->addr, conn_addr_port(&real));
    }
    return err;
}

static enum err add_group(struct sockets *sockets, enum socket_kind kind, uint32_t number,
                          struct slice where)
{
    struct conn_addr addr;
    if (conn_addr_parse(where, 0, &addr) != ERR_OK || number >= SUBMIT_LISTEN_MAX ||
        sockets->group_count == SOCKET_GROUPS_MAX) {
        LOG_ERROR("sockets.address", LOG_STR("name", kinds[kind].name), LOG_TEXT("address", where),
                  LOG_STR("remedy", "write listeners as ip:port or [ip6]:port, and at most 4 of "
                                    "them in one option"));
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < sockets->group_count && conn_addr_port(&addr) != 0; i++) {
        if (is_same(&addr, &sockets->groups[i].addr)) {
            LOG_ERROR("sockets.address", LOG_STR("name", kinds[kind].name),
                      LOG_TEXT("address", where),
                      LOG_STR("remedy", "another option says the same: give each its own address"));
            return ERR_INVALID;
        }
    }
    struct socket_group *group = &sockets->groups[sockets->group_count++];
    *group = (struct socket_group){.kind = kind, .number = number, .addr = addr};
    return ERR_OK;
}

static enum err read_options(struct sockets *sockets, const struct conf *conf)
{
    for (enum socket_kind kind = 0; kind < SOCKET_KIND_COUNT; kind++) {
        struct slice rest = socket_kind_option(conf, kind);
        uint32_t number = 0;
        while (rest.len > 0) {
            struct slice where = is_list(kind) ? slice_trim(slice_cut(&rest, ',')) : rest;
            rest = is_list(kind) ? rest : SLICE("");
            if (where.len == 0) {
                continue;
            }
            enum err err = add_group(sockets, kind, number, where);
            if (err != ERR_OK) {
                return err;
            }
            number += 1;
        }
    }
    return ERR_OK;
}

enum err sockets_open(struct sockets *sockets, const struct conf *conf, uint32_t loop_count)
{
    CHECK(sockets->group_count == 0);
    CHECK(loop_count > 0 && loop_count <= LOOP_COUNT_MAX);
    enum err err = read_options(sockets, conf);
    if (err != ERR_OK) {
        return err;
    }
    for (uint32_t i = 0; i < sockets->group_count; i++) {
        take_passed(sockets, &sockets->groups[i]);
    }
    drop_unused(sockets);
    for (uint32_t i = 0; i < sockets->group_count && err == ERR_OK; i++) {
        struct socket_group *group = &sockets->groups[i];
        if (group->fd_count == 0) {
            sockets->is_held = false; /* a stop must still say so to those who come here */
            err = open_group(group, loop_count);
        }
    }
    return err;
}

/* ---- what is used --------------------------------------------------------------------------- */

const struct socket_group *sockets_find(const struct sockets *sockets, enum socket_kind kind,
                                        uint32_t number)
{
    for (uint32_t i = 0; i < sockets->group_count; i++) {
        const struct socket_group *group = &sockets->groups[i];
        if (group->kind == kind && group->number == number && group->fd_count > 0) {
            return group;
        }
    }
    return NULL;
}

/* Every socket has a loop that accepts from it, whatever their numbers: the kernel spreads over
 * sockets and does not know of loops. */
uint32_t sockets_of_loop(const struct socket_group *group, uint32_t loop, uint32_t loop_count,
                         int fds[LOOP_COUNT_MAX])
{
    uint32_t count = 0;
    CHECK(group->fd_count > 0);
    CHECK(loop < loop_count);
    for (uint32_t i = loop; i < group->fd_count; i += loop_count) {
        fds[count++] = group->fds[i];
    }
    if (count == 0) {
        fds[count++] = group->fds[loop % group->fd_count];
    }
    return count;
}

void sockets_close(struct sockets *sockets)
{
    for (uint32_t i = 0; i < sockets->group_count; i++) {
        struct socket_group *group = &sockets->groups[i];
        for (uint32_t n = 0; n < group->fd_count; n++) {
            (void)close(group->fds[n]); /* who accepts has a duplicate */
        }
        group->fd_count = 0;
    }
    for (uint32_t i = 0; i < sockets->passed_count; i++) {
        if (sockets->passed[i].fd != -1) {
            (void)close(sockets->passed[i].fd); /* nobody accepted from it */
            sockets->passed[i].fd = -1;
        }
    }
}
