/* inspect.c - one function for each thing that a start may stumble over.
 *
 * What only a start can tell is left to it: whether a port is taken, whether the store can be read,
 * whether other servers answer.
 */
#include "inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cidr.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "deliver/policy.h"
#include "mail/addr.h"
#include "mail/bounce_rules.h"
#include "net/conn.h"
#include "net/dns.h"
#include "net/http_url.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/sockets.h"
#include "net/tls.h"

#define SCRATCH_BYTES (256 * KIB)
#define SECRET_FILE_MAX                                                                            \
    512 /* the first bytes of a secret's file, enough to see that it has one                       \
         */

struct inspection {
    const struct conf *conf;
    struct arena arena;
    uint32_t problems;
};

static void tell(struct inspection *it, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(char why[INSPECT_WHY_MAX], const char *fmt, ...) PRINTF_LIKE(2, 3);

static void tell(struct inspection *it, const char *fmt, ...)
{
    char text[INSPECT_WHY_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args); /* a cut line still tells */
    va_end(args);
    (void)fprintf(stderr, "meerkatd: %s\n", text); /* nowhere left to complain */
    it->problems += 1;
}

static void say(char why[INSPECT_WHY_MAX], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, INSPECT_WHY_MAX, fmt, args); /* a cut line still tells */
    va_end(args);
}

/* ---- the data folder ------------------------------------------------------------------------ */

bool inspect_folder(const char *path, char why[INSPECT_WHY_MAX])
{
    struct stat info;
    if (stat(path, &info) == -1 || !S_ISDIR(info.st_mode)) {
        say(why, "%s is not a folder; set `data` to another path", path);
    } else if (info.st_uid != geteuid()) {
        say(why,
            "the data folder %s belongs to user %u and meerkatd runs as %u; run it as that user, "
            "or chown the folder",
            path, (unsigned)info.st_uid, (unsigned)geteuid());
    } else if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) == -1) {
        say(why, "the data folder %s cannot be written: %s; chmod it to 0700", path,
            strerror(errno));
    } else {
        return true;
    }
    return false;
}

bool inspect_master_key(const char *folder, char why[INSPECT_WHY_MAX])
{
    char path[4096];
    char store[4096];
    struct stat info;
    snprintf(path, sizeof path, "%s/master.key", folder);
    snprintf(store, sizeof store, "%s/store", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_good = false;
    if (fd == -1 && errno == ENOENT) {
        is_good = stat(store, &info) == -1;
        if (!is_good) {
            say(why,
                "%s is missing but the store exists; restore it from your backup, without it its "
                "secrets cannot be read",
                path);
        }
        return is_good;
    }
    if (fd == -1 || fstat(fd, &info) == -1) {
        say(why, "cannot read the master key %s: %s; fix its owner and mode (0600)", path,
            strerror(errno));
    } else if (info.st_uid != geteuid() || (info.st_mode & 077) != 0) {
        say(why, "the master key %s must belong to user %u with mode 0600; run chown and chmod",
            path, (unsigned)geteuid());
    } else if (!S_ISREG(info.st_mode) || info.st_size != sizeof(struct seal_key)) {
        say(why, "the master key %s is damaged; restore it from your backup", path);
    } else {
        is_good = true;
    }
    if (fd != -1) {
        (void)close(fd); /* it was only looked at */
    }
    return is_good;
}

/* A start would make the folder, so it is enough that it can be. */
static void look_at_parent(struct inspection *it, const char *path)
{
    struct slice text = slice_str(path);
    size_t slash = slice_rfind_byte(text, '/');
    struct slice above = slash == SIZE_MAX ? SLICE(".") : slice_head(text, slash);
    const char *folder = above.len == 0 ? "/" : arena_cstr(&it->arena, above);
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == -1) {
        tell(it,
             "cannot make the data folder %s: %s; create it, or set `data` to a folder that user "
             "%u may write",
             path, strerror(errno), (unsigned)geteuid());
    }
}

static void look_at_data(struct inspection *it)
{
    char why[INSPECT_WHY_MAX];
    const char *path = arena_cstr(&it->arena, it->conf->data);
    struct stat info;
    if (stat(path, &info) == -1 && errno == ENOENT) {
        look_at_parent(it, path);
    } else if (!inspect_folder(path, why) || !inspect_master_key(path, why)) {
        tell(it, "%s", why);
    }
}

/* ---- files ---------------------------------------------------------------------------------- */

/* True: it can be read. */
static bool look_at_file(struct inspection *it, const char *option, struct slice path)
{
    char byte;
    const char *name = arena_cstr(&it->arena, path);
    int fd = path.len > 0 ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    bool is_good = fd != -1 && read(fd, &byte, 1) != -1;
    if (path.len == 0) {
        tell(it, "%s is not set; set %s to a file that user %u may read", option, option,
             (unsigned)geteuid());
    } else if (!is_good) {
        tell(it, "cannot read %s %s: %s; set %s to a file that user %u may read", option, name,
             strerror(errno), option, (unsigned)geteuid());
    }
    if (fd != -1) {
        (void)close(fd); /* it was only read */
    }
    return is_good;
}

static void look_at_secret(struct inspection *it, const char *option, struct slice path)
{
    char text[SECRET_FILE_MAX];
    if (!look_at_file(it, option, path)) {
        return;
    }
    const char *name = arena_cstr(&it->arena, path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd == -1 ? -1 : read(fd, text, sizeof text);
    if (len == -1 || slice_trim(slice_of(text, (size_t)len)).len == 0) {
        tell(it, "%s %s holds no secret; write it there", option, name);
    }
    crypto_wipe(text, sizeof text);
    if (fd != -1) {
        (void)close(fd); /* it was only read */
    }
}

static bool has_submission(const struct conf *conf)
{
    return conf->submission_listen.len > 0 || conf->submissions_listen.len > 0;
}

static void look_at_certificate(struct inspection *it)
{
    const struct conf *conf = it->conf;
    struct tls_context *context;
    if (conf->https_listen.len == 0 && !has_submission(conf) &&
        (conf->smtp_listen.len == 0 || conf->tls_cert.len == 0)) {
        return; /* nobody asks for it */
    }
    bool has_cert = look_at_file(it, "tls_cert", conf->tls_cert);
    if (!look_at_file(it, "tls_key", conf->tls_key) || !has_cert) {
        return;
    }
    if (tls_server_new(conf->tls_cert, conf->tls_key, &context) != ERR_OK) {
        tell(it,
             "%.*s and %.*s are not a certificate and its private key, in PEM and without a "
             "passphrase; set tls_cert, tls_key to two files that belong together",
             SLICE_FMT(conf->tls_cert), SLICE_FMT(conf->tls_key));
        return;
    }
    tls_context_drop(context);
}

static void look_at_cas(struct inspection *it)
{
    struct slice path = it->conf->tls_ca;
    struct tls_context *context;
    if (path.len > 0 && !look_at_file(it, "tls_ca", path)) {
        return;
    }
    if (tls_client_new(TLS_VERIFY_NAME, path, &context) != ERR_OK) {
        tell(it, "%.*s holds no certificates of CAs; set tls_ca to a PEM file of CAs",
             SLICE_FMT(path));
        return;
    }
    tls_context_drop(context);
}

static void look_at_rules(struct inspection *it)
{
    const struct conf *conf = it->conf;
    char why[POLICY_WHY_MAX];
    char reason[BOUNCE_REASON_MAX];
    struct policy *policy = policy_load(conf->site_policy, why);
    if (policy == NULL) {
        tell(it, "site_policy %.*s: %s; mend the file, or leave the option out",
             SLICE_FMT(conf->site_policy), why);
    } else {
        policy_free(policy);
    }
    struct bounce_rules *rules = bounce_rules_open(conf->bounce_rules, reason);
    if (rules == NULL) {
        tell(it, "bounce_rules %.*s: %s; mend the file, or leave the option out",
             SLICE_FMT(conf->bounce_rules), reason);
    } else {
        bounce_rules_free(rules);
    }
}

/* ---- listeners ------------------------------------------------------------------------------ */

/* An address that is not ours cannot be listened on. Port 0 of it takes nothing from anybody. */
static bool is_ours(const struct conn_addr *addr)
{
    struct sockaddr_storage any = addr->storage;
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&any;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&any;
    socklen_t len = sizeof *v6;
    if (any.ss_family == AF_INET) {
        v4->sin_port = 0;
        len = sizeof *v4;
    } else {
        v6->sin6_port = 0;
    }
    int fd = socket(any.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        return false;
    }
    bool is_bound = bind(fd, (const struct sockaddr *)&any, len) == 0;
    (void)close(fd); /* nobody listened */
    return is_bound;
}

static void look_at_listener(struct inspection *it, const char *option, struct slice where)
{
    struct conn_addr addr;
    if (conn_addr_parse(where, 0, &addr) != ERR_OK) {
        tell(it, "%s: \"%.*s\" is no address; write listeners as ip:port or [ip6]:port", option,
             SLICE_FMT(where));
    } else if (!is_ours(&addr)) {
        tell(it, "%s: %.*s is not an address of this machine; set another address", option,
             SLICE_FMT(where));
    }
}

static void look_at_listeners(struct inspection *it, const char *option, struct slice rest)
{
    uint32_t count = 0;
    while (rest.len > 0) {
        struct slice where = slice_trim(slice_cut(&rest, ','));
        if (where.len > 0) {
            look_at_listener(it, option, where);
            count += 1;
        }
    }
    if (count > SUBMIT_LISTEN_MAX) {
        tell(it, "%s names %u addresses; give at most %u", option, (unsigned)count,
             (unsigned)SUBMIT_LISTEN_MAX);
    }
}

/* What the options say, one address after the other. */
struct named {
    struct slice text;
    const char *option;
};

static uint32_t name_listeners(const struct conf *conf, struct named named[SOCKET_GROUPS_MAX])
{
    uint32_t count = 0;
    for (enum socket_kind kind = 0; kind < SOCKET_KIND_COUNT; kind++) {
        struct slice rest = socket_kind_option(conf, kind);
        while (rest.len > 0 && count < SOCKET_GROUPS_MAX) {
            struct slice text = slice_trim(slice_cut(&rest, ','));
            if (text.len > 0) {
                named[count++] = (struct named){text, socket_kind_name(kind)};
            }
        }
    }
    return count;
}

/* The kernel would let both have it, and give each a part of the connections. */
static void look_at_twins(struct inspection *it)
{
    struct named named[SOCKET_GROUPS_MAX];
    uint32_t count = name_listeners(it->conf, named);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t n = i + 1; n < count; n++) {
            if (slice_equal(named[i].text, named[n].text) &&
                !slice_ends(named[i].text, SLICE(":0"))) {
                tell(it, "%s_listen and %s_listen both say %.*s; give each its own address",
                     named[i].option, named[n].option, SLICE_FMT(named[i].text));
            }
        }
    }
}

static void look_at_proxies(struct inspection *it)
{
    struct slice rest = it->conf->smtp_proxies;
    while (rest.len > 0) {
        struct slice text = slice_trim(slice_cut(&rest, ','));
        struct cidr net;
        if (text.len > 0 && cidr_parse(text, &net) != ERR_OK) {
            tell(it,
                 "\"%.*s\" is no network; write smtp_proxies as addresses or networks in CIDR "
                 "form, parted by commas",
                 SLICE_FMT(text));
        }
    }
}

static void look_at_smtp(struct inspection *it)
{
    const struct conf *conf = it->conf;
    struct slice domain;
    if (conf->smtp_listen.len == 0 && !has_submission(conf)) {
        return;
    }
    look_at_proxies(it);
    struct slice name = conf->smtp_hostname.len > 0 ? conf->smtp_hostname : conf->hostname;
    if (domain_normalise(name, true, &it->arena, &domain) != ERR_OK) {
        tell(it,
             "\"%.*s\" is no host name; write smtp_hostname (or hostname) as the host name "
             "that MX records point at",
             SLICE_FMT(name));
    }
}

static void look_at_socket(struct inspection *it)
{
    struct slice path = conf_admin_socket(it->conf, &it->arena);
    if (it->conf->admin_socket.len > 0 && path.len >= LISTEN_PATH_MAX) {
        tell(it,
             "%.*s is too long for a Unix socket; set admin_socket to a path of fewer than "
             "%zu bytes",
             SLICE_FMT(path), LISTEN_PATH_MAX);
    }
}

/* A start would make the file; nothing is made here. */
static void look_at_log(struct inspection *it)
{
    struct slice path = it->conf->log_file;
    struct stat info;
    const char *name = arena_cstr(&it->arena, path);
    size_t slash = slice_rfind_byte(path, '/');
    struct slice above = slash == SIZE_MAX ? SLICE(".") : slice_head(path, slash);
    const char *folder = above.len == 0 ? "/" : arena_cstr(&it->arena, above);
    if (path.len == 0) {
        return;
    }
    bool is_there = stat(name, &info) == 0;
    if (is_there && S_ISDIR(info.st_mode)) {
        tell(it, "log_file %s is a folder; name a file in it", name);
    } else if (faccessat(AT_FDCWD, is_there ? name : folder, is_there ? W_OK : W_OK | X_OK,
                         AT_EACCESS) == -1) {
        tell(it, "cannot append to log_file %s: %s; make its folder, or let user %u write there",
             name, strerror(errno), (unsigned)geteuid());
    }
}

/* ---- other servers -------------------------------------------------------------------------- */

static void on_dns_closed(void *context)
{
    loop_stop(context);
}

static void look_at_resolvers(struct inspection *it)
{
    struct loop loop;
    struct dns *dns;
    loop_init(&loop, "check", 0);
    if (dns_open(&loop, it->conf->dns_servers, &dns) != ERR_OK) {
        tell(it, "dns_servers is written ip[:port], comma separated, not \"%.*s\"",
             SLICE_FMT(it->conf->dns_servers));
    } else {
        dns_close(dns, on_dns_closed, &loop);
        loop_run(&loop);
    }
    loop_fini(&loop);
}

static void look_at_smarthost(struct inspection *it)
{
    const struct conf *conf = it->conf;
    struct slice text = conf->smarthost;
    size_t colon = slice_rfind_byte(text, ':');
    uint64_t tcp_port;
    if (text.len == 0) {
        return;
    }
    if (colon == 0 || (colon != SIZE_MAX &&
                       slice_uint(slice_from(text, colon + 1), UINT16_MAX, &tcp_port) != ERR_OK)) {
        tell(it, "smarthost is written host:port, not \"%.*s\"", SLICE_FMT(text));
    }
    if (conf->smarthost_user.len > 0) {
        look_at_secret(it, "smarthost_password_file", conf->smarthost_password_file);
    }
}

static void look_at_url(struct inspection *it, const char *option, struct slice text)
{
    struct http_url url;
    if (http_url_parse(text, &it->arena, &url) != ERR_OK || url.needs_idna) {
        tell(it, "\"%.*s\" is not an http or https address; write %s as http://host:port",
             SLICE_FMT(text), option);
    }
}

static void look_at_services(struct inspection *it)
{
    const struct conf *conf = it->conf;
    struct addr from;
    if (conf->rspamd_url.len > 0 && conf->smtp_listen.len > 0) {
        look_at_url(it, "rspamd_url", conf->rspamd_url);
    }
    if (conf->google_client_id.len > 0) {
        look_at_url(it, "google_token_url", conf->google_token_url);
        look_at_url(it, "google_userinfo_url", conf->google_userinfo_url);
        look_at_secret(it, "google_client_secret_file", conf->google_client_secret_file);
    }
    if (conf->tls_report_from.len > 0 &&
        (addr_parse(conf->tls_report_from, &it->arena, &from) != ERR_OK || from.needs_utf8)) {
        tell(it, "tls_report_from is \"%.*s\"; write an address, or leave the option out",
             SLICE_FMT(conf->tls_report_from));
    }
}

uint32_t inspect_conf(const struct conf *conf)
{
    struct inspection it = {.conf = conf};
    arena_init(&it.arena, 4 * KIB, SCRATCH_BYTES);
    look_at_data(&it);
    look_at_certificate(&it);
    look_at_cas(&it);
    look_at_rules(&it);
    if (conf->http_listen.len > 0) {
        look_at_listener(&it, "http_listen", conf->http_listen);
    }
    if (conf->https_listen.len > 0) {
        look_at_listener(&it, "https_listen", conf->https_listen);
    }
    if (conf->smtp_listen.len > 0) {
        look_at_listener(&it, "smtp_listen", conf->smtp_listen);
    }
    look_at_listeners(&it, "submission_listen", conf->submission_listen);
    look_at_listeners(&it, "submissions_listen", conf->submissions_listen);
    look_at_smtp(&it);
    look_at_twins(&it);
    look_at_socket(&it);
    look_at_log(&it);
    look_at_resolvers(&it);
    look_at_smarthost(&it);
    look_at_services(&it);
    arena_fini(&it.arena);
    return it.problems;
}
