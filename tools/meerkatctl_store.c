/* meerkatctl_store.c - opening the store without a daemon. */
#include "meerkatctl_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#define CACHE_BYTES    (48 * MIB) /* as the daemon's */
#define MEMTABLE_BYTES (64 * MIB)

const char *ctl_store_path(struct ctl *ctl)
{
    return ctl_text(ctl, "%s/store", ctl->data);
}

/* RocksDB holds a lock of fcntl on the file LOCK; asking needs no right to take it. */
int ctl_store_holder(struct ctl *ctl)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(ctl_text(ctl, "%s/LOCK", ctl_store_path(ctl)), O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return 0;
    }
    bool is_known = fcntl(fd, F_GETLK, &lock) == 0;
    (void)close(fd); /* was only asked */
    if (!is_known || lock.l_type == F_UNLCK) {
        return 0;
    }
    return lock.l_pid > 0 ? (int)lock.l_pid : STORE_HELD_ELSEWHERE;
}

static const char *holder_text(struct ctl *ctl, int holder)
{
    return holder == STORE_HELD_ELSEWHERE ? "a process of another container"
                                          : ctl_text(ctl, "process %d", holder);
}

static bool is_answering(const struct ctl *ctl)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (ctl->socket_path == NULL || strlen(ctl->socket_path) >= sizeof address.sun_path) {
        return false;
    }
    memcpy(address.sun_path, ctl->socket_path, strlen(ctl->socket_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        return false;
    }
    bool is_there = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    (void)close(fd); /* nothing was sent */
    return is_there;
}

bool ctl_is_offline(struct ctl *ctl)
{
    struct stat info;
    if (ctl_option(ctl, "offline") != NULL) {
        return true;
    }
    /* Whose store would it be, when only a socket was named? */
    if (ctl_option(ctl, "socket") != NULL || is_answering(ctl)) {
        return false;
    }
    if (stat(ctl_store_path(ctl), &info) == -1) {
        return false;
    }
    int holder = ctl_store_holder(ctl);
    if (holder != 0) {
        (void)fprintf(stderr,
                      "meerkatctl: %s has the store open but its socket does not answer; --offline "
                      "reads the store beside it\n",
                      holder_text(ctl, holder));
        return false;
    }
    (void)fprintf(stderr, "meerkatctl: meerkatd is not running; reading the store %s itself\n",
                  ctl_store_path(ctl));
    return true;
}

static int say_failed(struct ctl *ctl, const char *why)
{
    (void)fprintf(stderr, "meerkatctl: the store %s cannot be opened: %s\n", ctl_store_path(ctl),
                  why);
    return EXIT_UNREACHABLE;
}

/* What stands against opening it, for somebody who wants to know what to do; NULL: nothing. */
static const char *find_obstacle(struct ctl *ctl, bool wants_writing)
{
    struct stat info;
    const char *path = ctl_store_path(ctl);
    int holder = ctl_store_holder(ctl);
    if (stat(path, &info) == -1) {
        return errno == ENOENT ? "there is no such folder; say where it is with --data or --config"
                               : strerror(errno);
    }
    if (wants_writing && info.st_uid != geteuid()) {
        return ctl_text(ctl,
                        "it belongs to the user %u; run meerkatctl as that user (sudo -u '#%u' "
                        "...), or its files would lock the daemon out",
                        (unsigned)info.st_uid, (unsigned)info.st_uid);
    }
    if (wants_writing && holder != 0) {
        return ctl_text(ctl, "%s has it open, and only one may write; stop meerkatd first",
                        holder_text(ctl, holder));
    }
    if (access(path, R_OK | X_OK) == -1) {
        return "this user may not read it; run meerkatctl as root or as meerkatd's own user";
    }
    if (holder != 0) {
        (void)fprintf(stderr,
                      "meerkatctl: %s has the store open; what is shown is what was written up to "
                      "now\n",
                      holder_text(ctl, holder));
    }
    return NULL;
}

int ctl_store_open(struct ctl *ctl, bool wants_writing, struct kv **kv, struct store_stamp *stamp)
{
    struct store_stamp found = {.format = 0};
    const char *obstacle = find_obstacle(ctl, wants_writing);
    if (obstacle != NULL) {
        return say_failed(ctl, obstacle);
    }
    struct kv_options options = {
        .path = slice_str(ctl_store_path(ctl)),
        .cache_bytes = CACHE_BYTES,
        .memtable_bytes = MEMTABLE_BYTES,
        .is_read_only = !wants_writing,
        .must_exist = true,
    };
    log_set_level(LOG_LEVEL_ERROR); /* its words go to standard error */
    if (kv_open(&options, kv) != ERR_OK) {
        return say_failed(ctl, "the line above says why");
    }
    enum err err = migrate_look(*kv, &found);
    if (err == ERR_NOT_FOUND) { /* made, and never used */
        err = ERR_OK;
        found = (struct store_stamp){.format = STORE_FORMAT, .shard_count = kv_shard_count(*kv)};
    }
    if (err != ERR_OK && wants_writing) {
        kv_close(*kv);
        return say_failed(ctl, "the line above says why, and nothing may be written before");
    }
    if (wants_writing && found.format != STORE_FORMAT) {
        kv_close(*kv);
        return say_failed(ctl, "it is of an older version; start meerkatd once, which brings it up "
                               "to date");
    }
    if (err != ERR_OK) {
        (void)fputs("meerkatctl: the store says of itself what is in the line above; reading goes "
                    "on\n",
                    stderr);
    }
    if (stamp != NULL) {
        *stamp = found;
    }
    return EXIT_GOOD;
}
