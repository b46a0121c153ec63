/* activation.c - descriptors and what the environment says of them. */
#include "activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/slice.h"

#define FIRST_FD   3 /* SD_LISTEN_FDS_START */
#define NAMES_MAX  (SOCKETS_PASSED_MAX * 16)
#define SELF       "/proc/self/exe"
#define ALONE      "LISTEN_FDS_ALONE" /* our own word: nobody else holds them */
#define COUNT_TEXT 16

/* How many, when it is us whom the manager means. */
static uint32_t read_count(void)
{
    const char *count_text = getenv("LISTEN_FDS");
    const char *whose = getenv("LISTEN_PID");
    uint64_t count = 0;
    uint64_t pid = 0;
    if (count_text == NULL || whose == NULL ||
        slice_uint(slice_str(whose), INT32_MAX, &pid) != ERR_OK || pid != (uint64_t)getpid()) {
        return 0;
    }
    if (slice_uint(slice_str(count_text), SOCKETS_PASSED_MAX, &count) != ERR_OK) {
        LOG_ERROR("activation.count", LOG_STR("listen_fds", count_text),
                  LOG_U64("most", SOCKETS_PASSED_MAX),
                  LOG_STR("remedy", "nothing that was passed is used: pass fewer sockets"));
        return 0;
    }
    return (uint32_t)count;
}

void activation_take(struct sockets *sockets)
{
    uint32_t count = read_count();
    const char *names = getenv("LISTEN_FDNAMES");
    struct slice rest = names != NULL ? slice_str(names) : SLICE("");
    uint32_t taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct slice name = slice_cut(&rest, ':');
        taken += sockets_pass(sockets, name, FIRST_FD + (int)i) == ERR_OK;
    }
    sockets->is_held = taken > 0 && getenv(ALONE) == NULL;
    (void)unsetenv(ALONE); /* cannot fail for such a name, here and below */
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDNAMES");
}

/* ---- once more ------------------------------------------------------------------------------ */

/* All of them above the places that they go to, so that none overwrites another. */
static bool lift(const struct sockets *sockets, int *fds, uint32_t *count, struct buf *names)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < sockets->group_count; i++) {
        total += sockets->groups[i].fd_count;
    }
    for (uint32_t i = 0; i < sockets->group_count; i++) {
        const struct socket_group *group = &sockets->groups[i];
        for (uint32_t n = 0; n < group->fd_count; n++) {
            int fd = fcntl(group->fds[n], F_DUPFD_CLOEXEC, FIRST_FD + (int)total);
            if (fd == -1) {
                return false;
            }
            fds[*count] = fd;
            *count += 1;
            buf_add_format(names, "%s%s", names->len > 0 ? ":" : "", socket_kind_name(group->kind));
        }
    }
    buf_add_byte(names, '\0');
    return !names->is_over;
}

void activation_again(const struct sockets *sockets, bool is_held, char **argv)
{
    int fds[SOCKETS_PASSED_MAX];
    uint32_t count = 0;
    char count_text[COUNT_TEXT];
    char pid_text[COUNT_TEXT];
    struct buf names;
    buf_init(&names, NAMES_MAX);
    bool is_ready = lift(sockets, fds, &count, &names);
    for (uint32_t i = 0; is_ready && i < count; i++) {
        is_ready = dup2(fds[i], FIRST_FD + (int)i) != -1; /* stays open in the next program */
    }
    snprintf(count_text, sizeof count_text, "%u", (unsigned)count);
    snprintf(pid_text, sizeof pid_text, "%d", (int)getpid());
    is_ready = is_ready && (is_held || setenv(ALONE, "1", 1) == 0);
    if (is_ready && setenv("LISTEN_FDS", count_text, 1) == 0 &&
        setenv("LISTEN_PID", pid_text, 1) == 0 && setenv("LISTEN_FDNAMES", names.data, 1) == 0) {
        (void)execv(SELF, argv); /* comes back only when it failed */
    }
    int reason = errno;
    buf_fini(&names);
    errno = reason;
}
