/* salvage.c - see salvage.h. */
#include "kv/salvage.h"

#include "base/check.h"
#include "base/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define UNFINISHED     "UNFINISHED"
#define BATCH_MAX      (4 * MIB)
#define SPARE_BYTES    (64 * MIB) /* beside as much as the store has */
#define CACHE_BYTES    (16 * MIB)
#define MEMTABLE_BYTES (64 * MIB)
#define TELL_ROWS      20000

struct salvage {
    struct salvage_options options;
    char store[SALVAGE_PATH_MAX];
    char copy[SALVAGE_PATH_MAX];
    char parent[SALVAGE_PATH_MAX];
    char *why;
    int lock;
    struct kv *from; /* the damaged store */
    struct kv *to;
    struct kv *older; /* NULL: none */
    struct kv_batch *batch;
    struct salvage_counts counts;
};

static enum err PRINTF_LIKE(3, 4) fail(struct salvage *salvage, enum err err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(salvage->why, SALVAGE_WHY_MAX, fmt, args); /* cut is fine */
    va_end(args);
    return err;
}

/* ---- folders -------------------------------------------------------------------------------- */

static bool set_paths(struct salvage *salvage)
{
    size_t len = strlen(salvage->options.path);
    while (len > 1 && salvage->options.path[len - 1] == '/') {
        len--;
    }
    if (len == 0 || len + sizeof ".damaged-18446744073709551615" > SALVAGE_PATH_MAX) {
        return false;
    }
    (void)snprintf(salvage->store, SALVAGE_PATH_MAX, "%.*s", (int)len,
                   salvage->options.path); /* fits, here and below */
    (void)snprintf(salvage->copy, SALVAGE_PATH_MAX, "%.*s.salvage", (int)len,
                   salvage->options.path);
    const char *slash = strrchr(salvage->store, '/');
    size_t above = slash == NULL ? 0 : (size_t)(slash - salvage->store);
    (void)snprintf(salvage->parent, SALVAGE_PATH_MAX, "%.*s",
                   slash == NULL ? 1 : (int)(above > 0 ? above : 1),
                   slash == NULL ? "." : salvage->store);
    return true;
}

static bool has_file(const char *folder, const char *name)
{
    int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_there = at != -1 && faccessat(at, name, F_OK, 0) == 0;
    if (at != -1) {
        (void)close(at); /* was only read */
    }
    return is_there;
}

static bool sync_folder(const char *path)
{
    int at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = at != -1 && fsync(at) == 0;
    if (at != -1) {
        (void)close(at); /* it is synced, or is not */
    }
    return is_synced;
}

/* A folder of files only, as a store is. */
static bool remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    bool is_gone = dir != NULL;
    for (const struct dirent *entry = is_gone ? readdir(dir) : NULL; entry != NULL;
         entry = readdir(dir)) {
        bool is_dot = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        bool is_mark = strcmp(entry->d_name, UNFINISHED) == 0; /* the last to go */
        is_gone &= is_dot || is_mark || unlinkat(dirfd(dir), entry->d_name, 0) == 0;
    }
    if (dir != NULL) {
        is_gone &= unlinkat(dirfd(dir), UNFINISHED, 0) == 0 || errno == ENOENT;
        (void)closedir(dir); /* was only read */
    }
    return is_gone && rmdir(path) == 0;
}

static void name_aside(const struct salvage *salvage, char out[SALVAGE_PATH_MAX])
{
    size_t len = strlen(salvage->store);
    memcpy(out, salvage->store, len);
    for (uint64_t n = salvage->options.now_unix_ms;; n++) {
        (void)snprintf(out + len, SALVAGE_PATH_MAX - len, ".damaged-%" PRIu64, n); /* fits */
        if (access(out, F_OK) == -1) {
            return;
        }
    }
}

/* What an earlier salvage left: a copy that was never finished goes; a store that is whole, or the
 * damaged one of a swap that was cut short, is put aside. */
static enum err clear_way(struct salvage *salvage)
{
    char aside[SALVAGE_PATH_MAX];
    if (access(salvage->copy, F_OK) == -1) {
        return ERR_OK;
    }
    if (has_file(salvage->copy, UNFINISHED) || !has_file(salvage->copy, "CURRENT")) {
        return remove_folder(salvage->copy)
                   ? ERR_OK
                   : fail(salvage, ERR_STORAGE, "%s is in the way and cannot be removed: %s",
                          salvage->copy, strerror(errno));
    }
    name_aside(salvage, aside);
    return rename(salvage->copy, aside) == 0
               ? ERR_OK
               : fail(salvage, ERR_STORAGE, "%s is in the way and cannot be renamed: %s",
                      salvage->copy, strerror(errno));
}

static enum err check_space(struct salvage *salvage)
{
    struct statvfs fs;
    uint64_t bytes = 0;
    DIR *dir = opendir(salvage->store);
    if (dir == NULL || statvfs(salvage->parent, &fs) == -1) {
        int why = errno;
        if (dir != NULL) {
            (void)closedir(dir); /* was only read */
        }
        return fail(salvage, ERR_STORAGE, "%s cannot be looked at: %s", salvage->store,
                    strerror(why));
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, 0) == 0 && S_ISREG(info.st_mode)) {
            bytes += (uint64_t)info.st_size;
        }
    }
    (void)closedir(dir); /* was only read */
    uint64_t is_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (is_free < bytes + SPARE_BYTES) {
        return fail(salvage, ERR_STORAGE,
                    "the copy may need %" PRIu64 " MiB beside the store, and %" PRIu64
                    " MiB are free: make room first",
                    (bytes + SPARE_BYTES) / MIB, is_free / MIB);
    }
    return ERR_OK;
}

/* The lock that RocksDB takes, so that no daemon starts meanwhile. */
static enum err take_lock(struct salvage *salvage)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[SALVAGE_PATH_MAX + 8];
    struct stat info;
    if (stat(salvage->store, &info) == -1) {
        return fail(salvage, ERR_STORAGE, "%s: %s", salvage->store, strerror(errno));
    }
    if (info.st_uid != geteuid()) {
        return fail(salvage, ERR_STORAGE, "%s belongs to the user %u: run this as that user",
                    salvage->store, (unsigned)info.st_uid);
    }
    (void)snprintf(path, sizeof path, "%s/LOCK", salvage->store); /* fits */
    salvage->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (salvage->lock == -1 || fcntl(salvage->lock, F_SETLK, &lock) == -1) {
        return fail(salvage, ERR_CONFLICT, "%s is in use: stop meerkatd first", salvage->store);
    }
    return ERR_OK;
}

/* ---- stores --------------------------------------------------------------------------------- */

static enum err open_at(const char *path, uint32_t shard_count, struct kv **kv)
{
    const struct kv_options options = {
        .path = slice_str(path),
        .shard_count = shard_count,
        .cache_bytes = CACHE_BYTES,
        .memtable_bytes = MEMTABLE_BYTES,
        .is_read_only = shard_count == 0,
        .must_exist = shard_count == 0,
    };
    return kv_open(&options, kv);
}

static enum err open_older(struct salvage *salvage)
{
    char path[SALVAGE_PATH_MAX + 8];
    const char *from = salvage->options.from;
    if (from == NULL) {
        return ERR_OK;
    }
    (void)snprintf(path, sizeof path, "%s%s", from,
                   has_file(from, "CURRENT") ? "" : "/store"); /* fits, or is no such folder */
    if (open_at(path, 0, &salvage->older) != ERR_OK) {
        return fail(salvage, ERR_STORAGE,
                    "%s cannot be opened as a store; a backup is restored into a folder first",
                    path);
    }
    if (kv_shard_count(salvage->older) != kv_shard_count(salvage->from)) {
        return fail(salvage, ERR_STORAGE,
                    "%s has another number of shards: it is not a copy of "
                    "this store",
                    path);
    }
    return ERR_OK;
}

static enum err make_copy(struct salvage *salvage)
{
    char path[SALVAGE_PATH_MAX + 16];
    if (mkdir(salvage->copy, S_IRWXU) == -1) {
        return fail(salvage, ERR_STORAGE, "%s cannot be made: %s", salvage->copy, strerror(errno));
    }
    (void)snprintf(path, sizeof path, "%s/" UNFINISHED, salvage->copy); /* fits */
    int mark = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    bool is_marked = mark != -1 && close(mark) == 0 && sync_folder(salvage->copy) &&
                     sync_folder(salvage->parent);
    if (!is_marked) {
        return fail(salvage, ERR_STORAGE, "%s cannot be made: %s", path, strerror(errno));
    }
    if (open_at(salvage->copy, kv_shard_count(salvage->from), &salvage->to) != ERR_OK) {
        return fail(salvage, ERR_STORAGE, "a new store cannot be made in %s", salvage->copy);
    }
    return ERR_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static enum err flush(struct salvage *salvage)
{
    enum err err = kv_write(salvage->to, salvage->batch);
    kv_batch_clear(salvage->batch);
    return err == ERR_OK
               ? ERR_OK
               : fail(salvage, err, "the copy cannot be written; the line above says why");
}

static enum err put(struct salvage *salvage, struct slice key, struct slice value)
{
    kv_batch_put_body(salvage->batch, key, value);
    salvage->counts.rows++;
    salvage->counts.bytes += key.len + value.len;
    if (salvage->counts.rows % TELL_ROWS == 0 && salvage->options.on_progress != NULL) {
        salvage->options.on_progress(salvage->options.context, &salvage->counts);
    }
    return kv_batch_bytes(salvage->batch) >= BATCH_MAX ? flush(salvage) : ERR_OK;
}

/* What the older copy has between two rows that can be read. It may be damaged itself; then as far
 * as it goes. */
static enum err fill(struct salvage *salvage, const struct kv_scan *of, struct salvage_hole *hole)
{
    struct slice key;
    struct slice value;
    struct slice last = key_slice(&hole->damage.from);
    const struct kv_scan scan = {.family = of->family,
                                 .from = last,
                                 .to = key_slice(&hole->damage.to),
                                 .is_bulk = true,
                                 .is_quiet = true};
    enum err err = ERR_OK;
    struct kv_iter *iter = kv_scan_open(salvage->older, &scan);
    while (err == ERR_OK && kv_iter_next(iter, &key, &value)) {
        if (!slice_equal(key, last)) {
            err = put(salvage, key, value);
            hole->filled++;
        }
    }
    kv_iter_close(iter);
    salvage->counts.filled += hole->filled;
    return err;
}

static enum err copy_family(struct salvage *salvage, uint32_t family)
{
    const struct kv_scan scan = {.family = family, .is_bulk = true, .is_quiet = true};
    struct kv_iter *iter = kv_scan_open(salvage->from, &scan);
    struct key last = {.len = 0};
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    bool is_over = false;
    salvage->batch = kv_batch_new(family);
    while (err == ERR_OK && !is_over) {
        if (kv_iter_next(iter, &key, &value)) {
            err = put(salvage, key, value);
            if (!key_copy(key, &last)) {
                last.len = 0;
            }
            continue;
        }
        is_over = kv_iter_err(iter) == ERR_OK;
        if (!is_over) {
            struct salvage_hole hole = {.family = family};
            damage_skip(salvage->from, &scan, key_slice(&last), &hole.damage);
            err = salvage->older != NULL ? fill(salvage, &scan, &hole) : ERR_OK;
            salvage->counts.holes++;
            if (salvage->options.on_hole != NULL) {
                salvage->options.on_hole(salvage->options.context, &hole);
            }
            is_over = hole.damage.to.len == 0;
            if (!is_over) {
                kv_iter_seek(iter, key_slice(&hole.damage.to));
            }
        }
    }
    kv_iter_close(iter);
    err = err == ERR_OK ? flush(salvage) : err;
    kv_batch_free(salvage->batch);
    salvage->batch = NULL;
    return err;
}

static enum err copy_all(struct salvage *salvage)
{
    uint32_t shards = kv_shard_count(salvage->from);
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < shards; i++) {
        err = copy_family(salvage, i);
    }
    err = err == ERR_OK ? copy_family(salvage, KV_FAMILY_DELIVER) : err;
    err = err == ERR_OK ? copy_family(salvage, KV_FAMILY_META) : err;
    if (err == ERR_OK && (kv_flush(salvage->to) != ERR_OK || kv_sync(salvage->to) != ERR_OK)) {
        err = fail(salvage, ERR_STORAGE, "the copy cannot be synced; the line above says why");
    }
    return err;
}

static void close_stores(struct salvage *salvage)
{
    kv_close(salvage->from);
    kv_close(salvage->to);
    kv_close(salvage->older);
    salvage->from = salvage->to = salvage->older = NULL;
}

/* ---- the whole ------------------------------------------------------------------------------ */

enum err salvage_copy(const struct salvage_options *options, struct salvage **salvage,
                      char why[SALVAGE_WHY_MAX])
{
    struct salvage *made = mem_zalloc(sizeof *made);
    made->options = *options;
    made->why = why;
    made->lock = -1;
    enum err err =
        set_paths(made) ? ERR_OK : fail(made, ERR_STORAGE, "the path of the store is too long");
    err = err == ERR_OK ? take_lock(made) : err;
    err = err == ERR_OK ? clear_way(made) : err;
    err = err == ERR_OK ? check_space(made) : err;
    if (err == ERR_OK && open_at(made->store, 0, &made->from) != ERR_OK) {
        err = fail(made, ERR_CORRUPT, "the store cannot even be opened; restore a backup");
    }
    err = err == ERR_OK ? open_older(made) : err;
    err = err == ERR_OK ? make_copy(made) : err;
    err = err == ERR_OK ? copy_all(made) : err;
    close_stores(made);
    if (err != ERR_OK) {
        salvage_free(made);
        return err;
    }
    *salvage = made;
    return ERR_OK;
}

const char *salvage_path(const struct salvage *salvage)
{
    return salvage->copy;
}

void salvage_counts(const struct salvage *salvage, struct salvage_counts *counts)
{
    *counts = salvage->counts;
}

enum err salvage_swap(struct salvage *salvage, char kept[SALVAGE_PATH_MAX],
                      char why[SALVAGE_WHY_MAX])
{
    char mark[SALVAGE_PATH_MAX + 16];
    salvage->why = why;
    (void)snprintf(mark, sizeof mark, "%s/" UNFINISHED, salvage->copy); /* fits */
    if (unlink(mark) == -1 || !sync_folder(salvage->copy) || !sync_folder(salvage->parent)) {
        return fail(salvage, ERR_STORAGE, "%s cannot be finished: %s", salvage->copy,
                    strerror(errno));
    }
    if (renameat2(AT_FDCWD, salvage->copy, AT_FDCWD, salvage->store, RENAME_EXCHANGE) == -1) {
        return fail(salvage, ERR_STORAGE,
                    "this filesystem cannot swap two folders in one step (%s): the new store is "
                    "whole in %s; move %s away and rename the new one yourself",
                    strerror(errno), salvage->copy, salvage->store);
    }
    name_aside(salvage, kept);
    if (!sync_folder(salvage->parent) || rename(salvage->copy, kept) == -1 ||
        !sync_folder(salvage->parent)) {
        return fail(salvage, ERR_STORAGE,
                    "the new store is in place; the damaged one is still called %s: %s",
                    salvage->copy, strerror(errno));
    }
    return ERR_OK;
}

void salvage_free(struct salvage *salvage)
{
    if (salvage == NULL) {
        return;
    }
    if (salvage->lock != -1) {
        (void)close(salvage->lock); /* which ends the lock */
    }
    free(salvage);
}
