/* backup.c - making backups: whose folder it is, and RocksDB's engine.
 *
 * The engine's own folders: meta/N is the list of backup N, private/N has its small files, and
 * shared_checksum has tables and blobs of all of them.
 */
#include "kv/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/version.h"
#include "kv/backup_int.h"
#include "kv/kv_int.h"
#include "kv/migrate.h"

#define MARK_VERSION 1
#define MARK_MAX     (16 * KIB)
#define DEPTH_MAX    4 /* of the folders that the engine makes */

struct backup {
    struct kv *kv;
    char *folder;
    int lock; /* the folder, locked */
    uint64_t bytes_before;
};

struct mark_body {
    uint64_t version;
    struct slice fingerprint;
    uint64_t format;
    uint64_t shards;
};

#define AT(member) .offset = offsetof(struct mark_body, member)
static const struct json_field mark_fields[] = {
    {.name = "version", .type = JSON_U64, .is_required = true, AT(version), .max = UINT32_MAX},
    {.name = "fingerprint", .type = JSON_TEXT, .is_required = true, AT(fingerprint), .max = 64},
    {.name = "format", .type = JSON_U64, .is_required = true, AT(format), .max = UINT32_MAX},
    {.name = "shards", .type = JSON_U64, .is_required = true, AT(shards), .max = SHARD_COUNT_MAX},
};
#undef AT
static const struct json_shape mark_shape = {mark_fields, ARRAY_LEN(mark_fields),
                                             sizeof(struct mark_body)};

enum err backup_say(char why[BACKUP_WHY_MAX], enum err err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, BACKUP_WHY_MAX, fmt, args); /* cut on purpose */
    va_end(args);
    return err;
}

enum err backup_say_errno(char why[BACKUP_WHY_MAX], const char *what, const char *path)
{
    enum err err = errno == ENOENT ? ERR_NOT_FOUND : ERR_STORAGE;
    const char *reason = strerror(errno);
    const char *remedy = "";
    if (errno == ENOSPC || errno == EDQUOT) {
        remedy = ": free space there";
    } else if (errno == EROFS || errno == EACCES || errno == EPERM) {
        remedy = ": let meerkatd's user write there (under systemd, also name it in "
                 "ReadWritePaths= of the unit)";
    }
    return backup_say(why, err, "cannot %s %.300s: %s%s", what, path, reason, remedy);
}

void backup_fingerprint(const struct seal_key *master, char out[BACKUP_FINGERPRINT_LEN + 1])
{
    struct sha256 hash =
        crypto_hmac_sha256(slice_of((const char *)master->bytes, sizeof master->bytes),
                           SLICE("meerkat: fingerprint of the master key"));
    hex_encode(slice_head(sha256_slice(&hash), BACKUP_FINGERPRINT_LEN / 2), out);
    out[BACKUP_FINGERPRINT_LEN] = '\0';
}

/* ---- the mark ------------------------------------------------------------------------------- */

enum err backup_read_mark(const char *folder, struct backup_mark *mark, char why[BACKUP_WHY_MAX])
{
    char path[BACKUP_PATH_MAX + 64];
    char bytes[MARK_MAX];
    struct arena arena;
    struct mark_body body;
    struct json_fault fault;
    struct stat info;
    (void)snprintf(path, sizeof path, "%s/" BACKUP_MARK, folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return errno == ENOENT ? backup_say(why, ERR_NOT_FOUND, "%.300s holds no backups", folder)
                               : backup_say_errno(why, "read", path);
    }
    ssize_t len = read(fd, bytes, sizeof bytes);
    (void)close(fd); /* was only read */
    arena_init(&arena, 4 * KIB, 256 * KIB);
    enum err err =
        len < 0 ? ERR_IO
                : json_read(slice_of(bytes, (size_t)len), &mark_shape, &arena, &body, &fault);
    if (err == ERR_OK && (body.version != MARK_VERSION ||
                          body.fingerprint.len != BACKUP_FINGERPRINT_LEN || body.shards == 0)) {
        err = ERR_INVALID;
    }
    if (err == ERR_OK) {
        memcpy(mark->fingerprint, body.fingerprint.data, BACKUP_FINGERPRINT_LEN);
        mark->fingerprint[BACKUP_FINGERPRINT_LEN] = '\0';
        mark->format = (uint32_t)body.format;
        mark->shard_count = (uint32_t)body.shards;
        (void)snprintf(path, sizeof path, "%s/" BACKUP_KEY, folder);
        mark->has_key = stat(path, &info) == 0;
    }
    arena_fini(&arena);
    return err == ERR_OK ? ERR_OK
                         : backup_say(why, ERR_CORRUPT,
                                      "%.300s/" BACKUP_MARK " cannot be understood", folder);
}

/* A file with its name, on disk. The folder is synced by whoever locked it. */
static enum err write_file(const char *path, struct slice bytes, char why[BACKUP_WHY_MAX])
{
    char temporary[BACKUP_PATH_MAX + 72];
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    /* Anew: what lies there may be somebody else's to read, or lead elsewhere. */
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd == -1) {
        return backup_say_errno(why, "write", temporary);
    }
    bool is_written = write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len && fsync(fd) == 0;
    int error = errno;
    if (close(fd) == -1 && is_written) {
        is_written = false;
        error = errno;
    }
    if (is_written && rename(temporary, path) == 0) {
        return ERR_OK;
    }
    error = is_written ? errno : error;
    (void)unlink(temporary); /* of no use */
    errno = error;
    return backup_say_errno(why, "write", path);
}

static enum err write_mark(const struct backup *backup, const struct backup_options *options,
                           char why[BACKUP_WHY_MAX])
{
    char path[BACKUP_PATH_MAX + 64];
    char fingerprint[BACKUP_FINGERPRINT_LEN + 1];
    struct store_stamp stamp;
    struct json_writer w;
    struct buf text;
    enum err err = migrate_look(backup->kv, &stamp);
    if (err != ERR_OK) {
        return backup_say(why, err, "the store's format stamp cannot be read");
    }
    backup_fingerprint(options->master, fingerprint);
    buf_init(&text, MARK_MAX);
    json_start(&w, &text);
    json_open_object(&w);
    json_key(&w, "version");
    json_u64(&w, MARK_VERSION);
    json_key(&w, "fingerprint");
    json_text(&w, slice_str(fingerprint));
    json_key(&w, "format");
    json_u64(&w, stamp.format);
    json_key(&w, "shards");
    json_u64(&w, stamp.shard_count);
    json_key(&w, "madeBy");
    json_text(&w, SLICE("meerkat " MEERKAT_VERSION));
    json_close_object(&w);
    buf_add_byte(&text, '\n');
    (void)snprintf(path, sizeof path, "%s/" BACKUP_MARK, backup->folder);
    err = write_file(path, buf_slice(&text), why);
    buf_fini(&text);
    if (err == ERR_OK && options->has_key) {
        const struct seal_key *key = options->master;
        (void)snprintf(path, sizeof path, "%s/" BACKUP_KEY, backup->folder);
        err = write_file(path, slice_of((const char *)key->bytes, sizeof key->bytes), why);
    }
    if (err == ERR_OK && fsync(backup->lock) == -1) {
        err = backup_say_errno(why, "sync", backup->folder);
    }
    return err;
}

/* ---- the folder ----------------------------------------------------------------------------- */

static bool is_within(const char *inner, const char *outer)
{
    size_t len = strlen(outer);
    return strncmp(inner, outer, len) == 0 && (inner[len] == '/' || inner[len] == '\0');
}

static enum err make_folder(const char *folder, char why[BACKUP_WHY_MAX])
{
    if (strlen(folder) == 0 || strlen(folder) > BACKUP_PATH_MAX || folder[0] != '/') {
        return backup_say(why, ERR_BAD_FIELD,
                          "a folder is named by its whole path: /srv/backup/meerkat");
    }
    if (mkdir(folder, S_IRWXU) == -1 && errno != EEXIST) {
        return errno == ENOENT ? backup_say(why, ERR_BAD_FIELD,
                                            "the folder above %.300s is missing: make "
                                            "it first",
                                            folder)
                               : backup_say_errno(why, "make", folder);
    }
    return ERR_OK;
}

static enum err check_place(const struct backup_options *options, char why[BACKUP_WHY_MAX])
{
    char *data = realpath(options->data, NULL);
    char *folder = realpath(options->folder, NULL);
    enum err err = ERR_OK;
    if (data == NULL || folder == NULL) {
        err = backup_say_errno(why, "find", data == NULL ? options->data : options->folder);
    } else if (is_within(folder, data) || is_within(data, folder)) {
        err = backup_say(
            why, ERR_BAD_FIELD,
            "a backup within the data folder is lost with it: choose a folder outside %.300s",
            data);
    }
    free(data);
    free(folder);
    return err;
}

/* A folder of ours, or an empty one. */
static enum err check_owner(const struct backup_options *options, char why[BACKUP_WHY_MAX])
{
    char fingerprint[BACKUP_FINGERPRINT_LEN + 1];
    struct backup_mark mark;
    enum err err = backup_read_mark(options->folder, &mark, why);
    if (err == ERR_OK) {
        backup_fingerprint(options->master, fingerprint);
        return strcmp(fingerprint, mark.fingerprint) == 0
                   ? ERR_OK
                   : backup_say(
                         why, ERR_BAD_FIELD,
                         "%.300s holds backups of another server, one with another master key: "
                         "choose another folder",
                         options->folder);
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    DIR *dir = opendir(options->folder);
    if (dir == NULL) {
        return backup_say_errno(why, "read", options->folder);
    }
    err = ERR_OK;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        bool is_ours = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                       strcmp(entry->d_name, BACKUP_MARK ".new") == 0 ||
                       strcmp(entry->d_name, "lost+found") == 0;
        if (!is_ours) {
            err = backup_say(
                why, ERR_BAD_FIELD,
                "%.200s is neither empty nor a folder of backups (it holds %.100s): choose "
                "another one",
                options->folder, entry->d_name);
        }
    }
    (void)closedir(dir); /* was only read */
    return err;
}

/* Bytes of all files beneath a folder. */
static uint64_t folder_bytes(int parent, const char *name, uint32_t depth)
{
    uint64_t bytes = 0;
    struct stat info;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd != -1) {
            (void)close(fd); /* was not read */
        }
        return 0;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' ||
            fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            continue; /* gone meanwhile, or it goes up */
        }
        if (S_ISREG(info.st_mode)) {
            bytes += (uint64_t)info.st_size;
        } else if (S_ISDIR(info.st_mode) && depth < DEPTH_MAX) {
            bytes += folder_bytes(fd, entry->d_name, depth + 1);
        }
    }
    (void)closedir(dir); /* was only read */
    return bytes;
}

enum err backup_open(const struct backup_options *options, struct kv *kv, struct backup **backup,
                     char why[BACKUP_WHY_MAX])
{
    enum err err = make_folder(options->folder, why);
    if (err == ERR_OK) {
        err = check_place(options, why);
    }
    if (err == ERR_OK) {
        err = check_owner(options, why);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct backup *made = mem_zalloc(sizeof *made);
    made->kv = kv;
    made->folder = mem_zalloc(strlen(options->folder) + 1);
    memcpy(made->folder, options->folder, strlen(options->folder));
    made->lock = open(options->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (made->lock == -1 || flock(made->lock, LOCK_EX | LOCK_NB) == -1) {
        err = made->lock != -1 && errno == EWOULDBLOCK
                  ? backup_say(why, ERR_CONFLICT, "somebody else makes a backup in %.300s just now",
                               options->folder)
                  : backup_say_errno(why, "lock", options->folder);
    }
    if (err == ERR_OK) {
        err = write_mark(made, options, why);
    }
    if (err != ERR_OK) {
        backup_close(made);
        return err;
    }
    made->bytes_before = folder_bytes(made->lock, ".", 0);
    *backup = made;
    return ERR_OK;
}

void backup_close(struct backup *backup)
{
    if (backup == NULL) {
        return;
    }
    if (backup->lock != -1) {
        (void)close(backup->lock); /* was only locked and synced */
    }
    free(backup->folder);
    free(backup);
}

/* ---- how far -------------------------------------------------------------------------------- */

/* A table or blob file, by what its name says. */
struct table {
    uint64_t number;
    uint64_t bytes;
};

struct tables {
    struct table *items;
    size_t count;
    size_t room;
};

static void tables_add(struct tables *tables, uint64_t number, uint64_t bytes)
{
    if (tables->count == tables->room) {
        tables->room = tables->room == 0 ? 256 : 2 * tables->room;
        tables->items = mem_realloc(tables->items, tables->room * sizeof *tables->items);
    }
    tables->items[tables->count++] = (struct table){number, bytes};
}

static int table_compare(const void *a, const void *b)
{
    const struct table *left = a;
    const struct table *right = b;
    if (left->number != right->number) {
        return left->number < right->number ? -1 : 1;
    }
    return left->bytes == right->bytes ? 0 : left->bytes < right->bytes ? -1 : 1;
}

/* "000123.sst" of the store, or its copy "000123_s7V2K_4711.sst", of 4711 bytes. */
static void tables_read(struct tables *tables, const char *folder, bool is_copies)
{
    struct stat info;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        struct slice name = slice_str(entry->d_name);
        if (!slice_ends(name, SLICE(".sst")) && !slice_ends(name, SLICE(".blob"))) {
            continue;
        }
        struct slice stem = slice_head(name, slice_rfind_byte(name, '.'));
        uint64_t number = 0;
        uint64_t bytes = 0;
        size_t bar = slice_rfind_byte(stem, '_');
        struct slice digits = is_copies ? slice_head(stem, slice_find_byte(stem, '_')) : stem;
        bool is_known = slice_uint(digits, UINT64_MAX, &number) == ERR_OK;
        if (is_copies) {
            is_known = is_known && bar != SIZE_MAX &&
                       slice_uint(slice_from(stem, bar + 1), UINT64_MAX, &bytes) == ERR_OK;
        } else {
            is_known = is_known && fstatat(dirfd(dir), entry->d_name, &info, 0) == 0;
            bytes = is_known ? (uint64_t)info.st_size : 0;
        }
        if (is_known) {
            tables_add(tables, number, bytes);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir); /* was only read */
    }
}

uint64_t backup_expected(const struct backup *backup, uint64_t *whole)
{
    struct tables own = {0};
    struct tables copies = {0};
    char path[BACKUP_PATH_MAX + 64];
    uint64_t bytes = 0;
    *whole = 0;
    (void)snprintf(path, sizeof path, "%s/shared_checksum", backup->folder);
    tables_read(&own, backup->kv->path, false);
    tables_read(&copies, path, true);
    if (copies.count > 0) {
        qsort(copies.items, copies.count, sizeof *copies.items, table_compare);
    }
    for (size_t i = 0; i < own.count; i++) {
        bool is_there = copies.count > 0 && bsearch(&own.items[i], copies.items, copies.count,
                                                    sizeof *copies.items, table_compare) != NULL;
        bytes += is_there ? 0 : own.items[i].bytes;
        *whole += own.items[i].bytes;
    }
    free(own.items);
    free(copies.items);
    return bytes;
}

uint64_t backup_copied(const struct backup *backup)
{
    uint64_t now = folder_bytes(backup->lock, ".", 0);
    return now > backup->bytes_before ? now - backup->bytes_before : 0;
}

/* ---- the engine ----------------------------------------------------------------------------- */

/* What RocksDB's words mean here, where they may be about either of two disks; frees them. */
static enum err engine_failed(const struct backup *backup, const char *op, char *words,
                              char why[BACKUP_WHY_MAX])
{
    struct slice text = slice_str(words);
    bool is_full = slice_find(text, SLICE("No space left")) != SIZE_MAX ||
                   slice_find(text, SLICE("Disk quota")) != SIZE_MAX;
    bool is_corrupt = slice_find(text, SLICE("Corruption")) != SIZE_MAX;
    LOG_ERROR("backup.failed", LOG_STR("op", op), LOG_STR("folder", backup->folder),
              LOG_TEXT("rocksdb", text));
    enum err err = is_full ? ERR_STORAGE : is_corrupt ? ERR_CORRUPT : ERR_IO;
    err = backup_say(why, err, "%s: %.300s%s", op, words,
                     is_full ? "; free space there, earlier backups are whole" : "");
    rocksdb_free(words);
    return err;
}

struct engine {
    rocksdb_env_t *env;
    rocksdb_backup_engine_t *rocks;
};

/* All mail lies in them, and RocksDB makes them as the umask has it. */
static void shut_to_others(const struct backup *backup)
{
    static const char *const folders[] = {"meta", "private", "shared_checksum"};
    struct stat info;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        bool is_open = fstatat(backup->lock, folders[i], &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISDIR(info.st_mode) && (info.st_mode & S_IRWXO) != 0;
        if (is_open &&
            fchmodat(backup->lock, folders[i], info.st_mode & (S_IRWXU | S_IRWXG), 0) == -1) {
            LOG_WARN("backup.open_to_others", LOG_STR("folder", backup->folder),
                     LOG_STR("remedy", "mail is stored there: chmod it to 0700"));
        }
    }
}

static enum err engine_open(const struct backup *backup, struct engine *engine,
                            char why[BACKUP_WHY_MAX])
{
    char *words = NULL;
    rocksdb_backup_engine_options_t *options = rocksdb_backup_engine_options_create(backup->folder);
    engine->env = rocksdb_create_default_env();
    rocksdb_backup_engine_options_set_env(options, engine->env);
    rocksdb_backup_engine_options_set_share_table_files(options, 1);
    rocksdb_backup_engine_options_set_sync(options, 1);
    engine->rocks = rocksdb_backup_engine_open_opts(options, engine->env, &words);
    rocksdb_backup_engine_options_destroy(options);
    if (words != NULL) {
        rocksdb_env_destroy(engine->env);
        return engine_failed(backup, "the folder cannot be opened", words, why);
    }
    shut_to_others(backup);
    return ERR_OK;
}

static void engine_close(struct engine *engine)
{
    rocksdb_backup_engine_close(engine->rocks);
    rocksdb_env_destroy(engine->env);
}

/* The latest, and how many there are. */
static uint32_t engine_latest(const struct engine *engine, uint32_t *count)
{
    const rocksdb_backup_engine_info_t *info = rocksdb_backup_engine_get_backup_info(engine->rocks);
    uint32_t latest = 0;
    int found = rocksdb_backup_engine_info_count(info);
    for (int i = 0; i < found; i++) {
        uint32_t id = rocksdb_backup_engine_info_backup_id(info, i);
        latest = id > latest ? id : latest;
    }
    rocksdb_backup_engine_info_destroy(info);
    *count = (uint32_t)found;
    return latest;
}

enum err backup_make(struct backup *backup, uint32_t *id, char why[BACKUP_WHY_MAX])
{
    struct engine engine;
    char *words = NULL;
    uint32_t count = 0;
    CHECK(!backup->kv->is_read_only);
    enum err err = engine_open(backup, &engine, why);
    if (err != ERR_OK) {
        return err;
    }
    rocksdb_backup_engine_create_new_backup_flush(engine.rocks, backup->kv->db, 1, &words);
    if (words != NULL) {
        err = engine_failed(backup, "the copying failed", words, why);
    } else {
        *id = engine_latest(&engine, &count);
    }
    engine_close(&engine);
    return err;
}

enum err backup_purge(struct backup *backup, uint32_t keep, uint32_t *left,
                      char why[BACKUP_WHY_MAX])
{
    struct engine engine;
    char *words = NULL;
    enum err err = engine_open(backup, &engine, why);
    if (err != ERR_OK) {
        return err;
    }
    rocksdb_backup_engine_purge_old_backups(engine.rocks, keep == 0 ? UINT32_MAX : keep, &words);
    if (words != NULL) {
        err = engine_failed(backup, "old backups cannot be deleted", words, why);
    } else {
        (void)engine_latest(&engine, left); /* the number is known already */
    }
    engine_close(&engine);
    return err;
}
