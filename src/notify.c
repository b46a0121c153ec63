/* notify.c - a datagram a word. */
#include "notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/slice.h"

#define WATCHDOG_US_MAX 86400000000 /* a day */

/* How often, when it is us whom the manager means. */
static uint64_t read_watchdog_ms(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    const char *whose = getenv("WATCHDOG_PID");
    uint64_t us = 0;
    uint64_t pid = 0;
    if (text == NULL || slice_uint(slice_str(text), WATCHDOG_US_MAX, &us) != ERR_OK) {
        return 0;
    }
    if (whose != NULL &&
        (slice_uint(slice_str(whose), INT32_MAX, &pid) != ERR_OK || pid != (uint64_t)getpid())) {
        return 0;
    }
    return us / 1000;
}

void notify_open(struct notify *notify)
{
    memset(notify, 0, sizeof *notify);
    notify->fd = -1;
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path != NULL ? strlen(path) : 0;
    if (len < 2 || len >= sizeof notify->addr.sun_path || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    notify->addr.sun_family = AF_UNIX;
    memcpy(notify->addr.sun_path, path, len);
    if (path[0] == '@') {
        notify->addr.sun_path[0] = '\0'; /* a name of Linux that is no file */
    }
    notify->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    notify->watchdog_ms = notify->fd == -1 ? 0 : read_watchdog_ms();
}

void notify_close(struct notify *notify)
{
    if (notify->fd != -1) {
        (void)close(notify->fd); /* each word was sent, or not, by itself */
        notify->fd = -1;
    }
}

void notify_tell(const struct notify *notify, const char *word)
{
    if (notify->fd != -1) {
        (void)sendto(notify->fd, word, strlen(word), MSG_NOSIGNAL,
                     (const struct sockaddr *)&notify->addr, notify->len); /* see the header */
    }
}

void notify_tell_reloading(const struct notify *notify)
{
    char word[64];
    snprintf(word, sizeof word, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_us());
    notify_tell(notify, word);
}
