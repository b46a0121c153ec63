/* meerkatctl_backup.c - backups: made by the daemon, or here of a store that nobody has open;
 * listed, checked, restored.
 *
 * A restore writes beside the place where the store will be, and gives it its name at the end: what
 * is cut short is no store, and the next try takes it away.
 */
#include "meerkatctl_job.h"
#include "meerkatctl_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/log.h"
#include "kv/backup.h"
#include "kv/key.h"
#include "kv/row.h"

#define STEP_US       100000 /* between two words on how far it is */
#define RESTORE_CACHE (16 * MIB)
#define NOTE_HOLD     4       /* of the notes in delivery's family, docs/STORAGE.md */
#define HOLD_ALL      "e|all" /* the hold of everything */

static int say(const char *why)
{
    (void)fprintf(stderr, "meerkatctl: %s\n", why);
    return EXIT_REFUSED;
}

static int say_errno(const char *what, const char *path)
{
    (void)fprintf(stderr, "meerkatctl: cannot %s %s: %s\n", what, path, strerror(errno));
    return EXIT_REFUSED;
}

static const char *whole_path(struct ctl *ctl, const char *path)
{
    char here[KEEPER_PATH_MAX];
    if (path[0] == '/' || getcwd(here, sizeof here) == NULL) {
        return path;
    }
    return ctl_text(ctl, "%s/%s", here, path);
}

static const char *size_text(struct ctl *ctl, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit += 1;
    }
    return ctl_text(ctl, "%.1f %s", value, units[unit]);
}

static int read_number(struct ctl *ctl, const char *option, uint64_t max, uint32_t *out)
{
    const char *text = ctl_option(ctl, option);
    uint64_t value = 0;
    if (text != NULL && slice_uint(slice_str(text), max, &value) != ERR_OK) {
        return ctl_usage(ctl, "--%s is a number up to %llu", option, (unsigned long long)max);
    }
    *out = (uint32_t)value;
    return EXIT_GOOD;
}

/* ---- reading backups ------------------------------------------------------------------------- */

static void show_reading(const struct backup_read *read, bool is_terminal)
{
    uint64_t bytes = backup_read_entry(read).bytes;
    if (is_terminal && bytes > 0) {
        (void)fprintf(stderr, "\r\033[K%llu of %llu MiB (%llu %%)",
                      (unsigned long long)(backup_read_done(read) / MIB),
                      (unsigned long long)(bytes / MIB),
                      (unsigned long long)(backup_read_done(read) * 100 / bytes));
    }
}

/* Reads a backup to its end, into target when it is not NULL. */
static int read_backup(const char *folder, uint32_t id, const char *target,
                       struct backup_entry *entry)
{
    char why[BACKUP_WHY_MAX];
    struct backup_read *read;
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    bool is_over = false;
    enum err err = backup_read_open(folder, id, target, &read, why);
    if (err != ERR_OK) {
        (void)say(why);
        return err == ERR_CORRUPT ? EXIT_WRONG : EXIT_REFUSED;
    }
    while (err == ERR_OK && !is_over) {
        err = backup_read_step(read, STEP_US, &is_over, why);
        show_reading(read, is_terminal);
    }
    if (is_terminal) {
        (void)fputs("\r\033[K", stderr);
    }
    *entry = backup_read_entry(read);
    backup_read_close(read);
    if (err != ERR_OK) {
        (void)say(why);
        return err == ERR_CORRUPT ? EXIT_WRONG : EXIT_REFUSED;
    }
    return EXIT_GOOD;
}

static json_t *entry_json(const struct backup_entry *entry)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:b}", "backup", (json_int_t)entry->id, "madeAt",
                     (json_int_t)entry->made_unix_ms, "bytes", (json_int_t)entry->bytes, "files",
                     (json_int_t)entry->file_count, "damaged", (int)entry->is_damaged);
}

static int list_backups(struct ctl *ctl, const char *folder)
{
    static const struct column columns[] = {{"BACKUP", "backup"},
                                            {"MADE", "madeAt"},
                                            {"BYTES", "bytes"},
                                            {"FILES", "files"},
                                            {"DAMAGED", "damaged"}};
    char why[BACKUP_WHY_MAX];
    struct backup_entry *entries;
    uint32_t count = 0;
    struct backup_mark mark;
    enum err err = backup_read_mark(folder, &mark, why);
    if (err == ERR_OK) {
        err = backup_list(folder, &ctl->arena, &entries, &count, why);
    }
    if (err != ERR_OK) {
        (void)say(why);
        return err == ERR_CORRUPT ? EXIT_WRONG : EXIT_REFUSED;
    }
    int status = EXIT_GOOD;
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        status = entries[i].is_damaged ? EXIT_WRONG : status;
        (void)json_array_append_new(list, entry_json(&entries[i])); /* only fails without memory */
    }
    ctl_print_list(ctl, list, columns, ARRAY_LEN(columns));
    json_decref(list);
    if (!ctl->is_json) {
        printf("of the server whose master key has the fingerprint %s; %s\n", mark.fingerprint,
               mark.has_key ? "the key lies there too" : "the key is not there");
    }
    return status;
}

static int verify_backup(struct ctl *ctl, const char *folder)
{
    struct backup_entry entry;
    uint32_t id = 0;
    int status = read_number(ctl, "backup", UINT32_MAX, &id);
    if (status == EXIT_GOOD) {
        status = read_backup(folder, id, NULL, &entry);
    }
    if (status == EXIT_GOOD) {
        json_t *json = entry_json(&entry);
        ctl_print_done(ctl, json,
                       ctl_text(ctl, "backup %u is whole: %u files, %s", (unsigned)entry.id,
                                (unsigned)entry.file_count, size_text(ctl, entry.bytes)));
        json_decref(json);
    }
    return status;
}

/* ---- the master key -------------------------------------------------------------------------- */

/* False when there is no such file, or it is no key. */
static bool load_key(const char *path, struct seal_key *key)
{
    char more;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_key = fd != -1 &&
                  read(fd, key->bytes, sizeof key->bytes) == (ssize_t)sizeof key->bytes &&
                  read(fd, &more, 1) == 0;
    if (fd != -1) {
        (void)close(fd); /* was only read */
    }
    return is_key;
}

static bool is_the_key(const struct seal_key *key, const struct backup_mark *mark)
{
    char fingerprint[BACKUP_FINGERPRINT_LEN + 1];
    backup_fingerprint(key, fingerprint);
    return strcmp(fingerprint, mark->fingerprint) == 0;
}

/* ---- making one of a closed store ------------------------------------------------------------ */

static void print_made(struct ctl *ctl, json_t *job)
{
    json_t *report = ctl_member(job, "report");
    if (!ctl_job_is_done(job)) {
        return; /* what went wrong is told, and there is no backup to tell of */
    }
    printf("backup %lld in %s: %s in %lld files, %s of it new%s\n",
           (long long)json_integer_value(ctl_member(report, "backup")),
           ctl_member_text(report, "folder"),
           size_text(ctl, (uint64_t)json_integer_value(ctl_member(report, "bytes"))),
           (long long)json_integer_value(ctl_member(report, "files")),
           size_text(ctl, (uint64_t)json_integer_value(ctl_member(report, "copiedBytes"))),
           json_is_true(ctl_member(report, "verified")) ? "; read back and whole" : "");
    json_int_t kept = json_integer_value(ctl_member(report, "backups"));
    printf("%lld %s kept there\n", (long long)kept, kept == 1 ? "backup is" : "backups are");
    if (!json_is_true(ctl_member(report, "withKey"))) {
        printf("the master key is not in it: keep a copy of it elsewhere, for without it no backup "
               "can be used\n");
    }
}

struct making {
    struct ctl *ctl;
    struct backup *backup;
    const char *folder;
    struct backup_entry entry;
    uint64_t copied;
    uint32_t keep;
    uint32_t left;
};

static int make_here(struct making *making)
{
    char why[BACKUP_WHY_MAX];
    uint32_t id = 0;
    if (backup_make(making->backup, &id, why) != ERR_OK) {
        return say(why);
    }
    making->copied = backup_copied(making->backup);
    int status = read_backup(making->folder, id, NULL, &making->entry);
    if (status == EXIT_GOOD &&
        backup_purge(making->backup, making->keep, &making->left, why) != ERR_OK) {
        status = say(why);
    }
    return status;
}

static int backup_offline(struct ctl *ctl, const char *folder, uint32_t keep)
{
    char why[BACKUP_WHY_MAX];
    struct seal_key master;
    struct kv *kv;
    const char *path = ctl_text(ctl, "%s/" BACKUP_KEY, ctl->data);
    bool has_key = ctl_option(ctl, "with-key") != NULL;
    if (!load_key(path, &master)) {
        return say_errno("read the master key", path);
    }
    int status = ctl_store_open(ctl, true, &kv, NULL);
    if (status != EXIT_GOOD) {
        return status;
    }
    struct making making = {.ctl = ctl, .folder = folder, .keep = keep};
    struct backup_options options = {
        .folder = folder, .data = ctl->data, .master = &master, .has_key = has_key};
    status = backup_open(&options, kv, &making.backup, why) == ERR_OK ? EXIT_GOOD : say(why);
    if (status == EXIT_GOOD) {
        status = make_here(&making);
        backup_close(making.backup);
    }
    kv_close(kv);
    crypto_wipe(&master, sizeof master);
    if (status == EXIT_GOOD) {
        json_t *job =
            json_pack("{s:s, s:{s:s, s:I, s:I, s:I, s:I, s:b, s:b, s:I}}", "state", "done",
                      "report", "folder", folder, "backup", (json_int_t)making.entry.id, "bytes",
                      (json_int_t)making.entry.bytes, "files", (json_int_t)making.entry.file_count,
                      "copiedBytes", (json_int_t)making.copied, "verified", 1, "withKey",
                      (int)has_key, "backups", (json_int_t)making.left);
        if (ctl->is_json) {
            ctl_print_done(ctl, job, "");
        } else {
            print_made(ctl, job);
        }
        json_decref(job);
    }
    return status;
}

int run_backup(struct ctl *ctl)
{
    uint32_t keep = 0;
    const char *folder = whole_path(ctl, ctl->words[ctl->word_count - 1]);
    if (ctl->word_count == 2 && strcmp(ctl->words[0], "list") == 0) {
        return list_backups(ctl, folder);
    }
    if (ctl->word_count == 2 && strcmp(ctl->words[0], "verify") == 0) {
        return verify_backup(ctl, folder);
    }
    if (ctl->word_count == 2) {
        return ctl_usage(ctl, "before the folder stands list, verify or nothing");
    }
    int status = read_number(ctl, "keep", KEEPER_BACKUPS_MAX, &keep);
    if (status != EXIT_GOOD) {
        return status;
    }
    if (ctl_is_offline(ctl)) {
        return backup_offline(ctl, folder, keep);
    }
    json_t *body = json_pack("{s:s, s:I, s:b}", "path", folder, "keep", (json_int_t)keep, "withKey",
                             ctl_option(ctl, "with-key") != NULL);
    return ctl_job_run(ctl, "backup", body, print_made);
}

/* ---- restoring ------------------------------------------------------------------------------- */

struct restoring {
    struct ctl *ctl;
    const char *folder; /* of backups */
    const char *data;   /* the new data folder */
    const char *store;
    const char *partial; /* the store until it is whole */
    const char *key_path;
    struct backup_mark mark;
    struct seal_key key;
    uint32_t id;
    uid_t uid; /* whose the data folder is */
    gid_t gid;
    bool has_key; /* in the data folder already */
    bool is_held;
    struct backup_entry entry;
};

static int check_data(struct restoring *it)
{
    struct stat info;
    if (mkdir(it->data, S_IRWXU) == -1 && errno != EEXIST) {
        return say_errno("make", it->data);
    }
    if (stat(it->data, &info) == -1) {
        return say_errno("look at", it->data);
    }
    it->uid = info.st_uid;
    it->gid = info.st_gid;
    if (info.st_uid != geteuid() && geteuid() != 0) {
        (void)fprintf(stderr,
                      "meerkatctl: %s belongs to the user %u: run this as that user, or as root\n",
                      it->data, (unsigned)info.st_uid);
        return EXIT_REFUSED;
    }
    if (stat(it->store, &info) == 0) {
        (void)fprintf(stderr,
                      "meerkatctl: %s is there already, and nothing is written over a store: stop "
                      "meerkatd and move it away (mv %s %s.old), or restore to another folder\n",
                      it->store, it->store, it->store);
        return EXIT_REFUSED;
    }
    return EXIT_GOOD;
}

/* --key, else the one beside the backups, else the one that is in the data folder. */
static int find_key(struct restoring *it)
{
    struct ctl *ctl = it->ctl;
    struct stat info;
    const char *given = ctl_option(ctl, "key");
    it->key_path = ctl_text(ctl, "%s/" BACKUP_KEY, it->data);
    it->has_key = stat(it->key_path, &info) == 0;
    const char *from = given != NULL      ? given
                       : it->mark.has_key ? ctl_text(ctl, "%s/" BACKUP_KEY, it->folder)
                                          : it->key_path;
    if (it->has_key && (!load_key(it->key_path, &it->key) || !is_the_key(&it->key, &it->mark))) {
        (void)fprintf(stderr,
                      "meerkatctl: %s is the key of another server: restore to another folder\n",
                      it->key_path);
        return EXIT_REFUSED;
    }
    if (!load_key(from, &it->key)) {
        (void)fprintf(stderr,
                      "meerkatctl: the master key is not among the backups, and without it the "
                      "store cannot be used: name your copy of it with --key FILE (32 bytes; its "
                      "fingerprint is %s)\n",
                      it->mark.fingerprint);
        return EXIT_REFUSED;
    }
    if (!is_the_key(&it->key, &it->mark)) {
        (void)fprintf(stderr,
                      "meerkatctl: %s is not the master key of these backups, whose fingerprint is "
                      "%s\n",
                      from, it->mark.fingerprint);
        return EXIT_REFUSED;
    }
    return EXIT_GOOD;
}

/* What an earlier try left. */
static int clear_partial(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return errno == ENOENT ? EXIT_GOOD : say_errno("read", folder);
    }
    int status = EXIT_GOOD;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        bool is_file = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        if (is_file && unlinkat(dirfd(dir), entry->d_name, 0) == -1) {
            status = say_errno("delete", entry->d_name);
        }
    }
    (void)closedir(dir); /* was only read */
    if (status == EXIT_GOOD && rmdir(folder) == -1) {
        status = say_errno("delete", folder);
    }
    return status;
}

/* A note of delivery, as it would have written it: nothing leaves before somebody resumes. */
static enum err put_hold(struct kv *kv)
{
    struct buf value;
    struct buf row_bytes;
    uint64_t now_unix_ms = clock_unix_ms();
    buf_init(&value, 4 * KIB);
    buf_init(&row_bytes, 8 * KIB);
    buf_put_u64(&value, 0);
    buf_put_slice(&value, SLICE(""));
    buf_put_slice(&value, SLICE(""));
    buf_put_slice(&value, SLICE("restored from a backup"));
    buf_put_slice(&value, SLICE("meerkatctl restore"));
    buf_put_u64(&value, now_unix_ms);
    buf_put_u64(&value, 0);
    struct row_note row = {.value = buf_slice(&value), .updated_unix_ms = now_unix_ms};
    row_note_encode(&row, &row_bytes);
    struct key key = key_note(NOTE_HOLD, SLICE(HOLD_ALL));
    struct kv_batch *batch = kv_batch_new(KV_FAMILY_DELIVER);
    kv_batch_put(batch, key_slice(&key), buf_slice(&row_bytes));
    enum err err = kv_write(kv, batch);
    err = err == ERR_OK ? kv_sync(kv) : err;
    kv_batch_free(batch);
    buf_fini(&value);
    buf_fini(&row_bytes);
    return err;
}

/* Opens what was restored, as the daemon would. */
static int try_store(struct restoring *it)
{
    struct kv *kv;
    struct store_stamp stamp;
    struct kv_options options = {
        .path = slice_str(it->partial),
        .cache_bytes = RESTORE_CACHE,
        .memtable_bytes = RESTORE_CACHE,
        .is_read_only = !it->is_held,
        .must_exist = true,
    };
    log_set_level(LOG_LEVEL_ERROR); /* its words go to standard error */
    if (kv_open(&options, &kv) != ERR_OK) {
        return say("what was restored cannot be opened; the line above says why");
    }
    enum err err = migrate_look(kv, &stamp);
    if (err == ERR_OK && it->is_held) {
        err = put_hold(kv);
    }
    kv_close(kv);
    return err == ERR_OK ? EXIT_GOOD
                         : say("what was restored cannot be used; the line above says why");
}

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = fd != -1 && fsync(fd) == 0;
    int status = is_synced ? EXIT_GOOD : say_errno("sync", path);
    if (fd != -1) {
        (void)close(fd); /* was only synced */
    }
    return status;
}

/* It has its name once it is whole: a part of it would be taken for another server's. */
static int write_key(const struct restoring *it)
{
    if (it->has_key) {
        return EXIT_GOOD;
    }
    const char *temporary = ctl_text(it->ctl, "%s.new", it->key_path);
    (void)unlink(temporary); /* of a try that was cut short */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd == -1) {
        return say_errno("write", temporary);
    }
    bool is_written =
        write(fd, it->key.bytes, sizeof it->key.bytes) == (ssize_t)sizeof it->key.bytes &&
        fchown(fd, it->uid, it->gid) == 0 && fsync(fd) == 0;
    int status = is_written ? EXIT_GOOD : say_errno("write", temporary);
    if (close(fd) == -1 && is_written) {
        status = say_errno("write", temporary);
    }
    if (status == EXIT_GOOD &&
        renameat2(AT_FDCWD, temporary, AT_FDCWD, it->key_path, RENAME_NOREPLACE) == -1) {
        status = say_errno("write", it->key_path);
    }
    return status == EXIT_GOOD ? sync_folder(it->data) : status;
}

/* Root restores for the daemon's user, who owns the data folder. */
static int give_away(const struct restoring *it)
{
    DIR *dir = opendir(it->partial);
    if (dir == NULL) {
        return say_errno("read", it->partial);
    }
    bool is_given = fchown(dirfd(dir), it->uid, it->gid) == 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        bool is_file = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        is_given &= !is_file ||
                    fchownat(dirfd(dir), entry->d_name, it->uid, it->gid, AT_SYMLINK_NOFOLLOW) == 0;
    }
    int status = is_given ? EXIT_GOOD : say_errno("give away", it->partial);
    (void)closedir(dir); /* was only read */
    return status;
}

static int restore(struct restoring *it)
{
    int status = clear_partial(it->partial);
    if (status == EXIT_GOOD) {
        status = read_backup(it->folder, it->id, it->partial, &it->entry);
    }
    if (status == EXIT_GOOD) {
        status = try_store(it);
    }
    if (status == EXIT_GOOD) {
        status = write_key(it);
    }
    if (status == EXIT_GOOD) {
        status = give_away(it);
    }
    if (status == EXIT_GOOD) {
        status = sync_folder(it->partial);
    }
    if (status == EXIT_GOOD && rename(it->partial, it->store) == -1) {
        status = say_errno("name", it->store);
    }
    if (status == EXIT_GOOD) {
        status = sync_folder(it->data);
    }
    /* Its own name as well, which may have been made for this; where it may not be read, not. */
    const char *above = ctl_text(it->ctl, "%s/..", it->data);
    return status == EXIT_GOOD && access(above, R_OK) == 0 ? sync_folder(above) : status;
}

static void print_restored(const struct restoring *it)
{
    char made[CLOCK_TEXT_MAX];
    size_t len = clock_rfc3339(it->entry.made_unix_ms, made);
    printf("backup %u, made %.*s, is the store %s now\n", (unsigned)it->entry.id, (int)len, made,
           it->store);
    if (it->is_held) {
        printf("Nothing of it is sent: delivery stands still until you say so.\n"
               "  look at it:      meerkatd --data %s ... (with ports of its own), meerkatctl "
               "--data %s queue holds\n"
               "  let mail go:     meerkatctl --data %s queue resume --all\n",
               it->data, it->data, it->data);
    } else {
        printf("What was queued when the backup was made is sent again by the next start, also "
               "where it was delivered since.\n"
               "For a copy to look at, or to decide first, restore with --hold instead.\n");
    }
    if (it->uid == 0) {
        printf("first: %s belongs to root; chown -R it to meerkatd's user\n", it->data);
    }
    printf("next: start meerkatd with data = %s; what came after the backup is not in it\n",
           it->data);
}

int run_restore(struct ctl *ctl)
{
    char why[BACKUP_WHY_MAX];
    struct restoring it = {.ctl = ctl};
    if (ctl_option(ctl, "data") == NULL) {
        return ctl_usage(ctl, "--data DIR says where the new data folder is");
    }
    it.folder = whole_path(ctl, ctl->words[0]);
    it.data = whole_path(ctl, ctl_option(ctl, "data"));
    it.store = ctl_text(ctl, "%s/store", it.data);
    it.partial = ctl_text(ctl, "%s/store.restoring", it.data);
    it.is_held = ctl_option(ctl, "hold") != NULL;
    int status = read_number(ctl, "backup", UINT32_MAX, &it.id);
    if (status == EXIT_GOOD && backup_read_mark(it.folder, &it.mark, why) != ERR_OK) {
        status = say(why);
    }
    if (status == EXIT_GOOD && it.mark.format > STORE_FORMAT) {
        status = say("the backups are of a newer version of Meerkat: restore with that one");
    }
    if (status == EXIT_GOOD) {
        status = check_data(&it);
    }
    if (status == EXIT_GOOD) {
        status = find_key(&it);
    }
    if (status == EXIT_GOOD) {
        status = restore(&it);
    }
    crypto_wipe(&it.key, sizeof it.key);
    if (status == EXIT_GOOD && ctl->is_json) {
        json_t *json = entry_json(&it.entry);
        (void)json_object_set_new(json, "store", json_string(it.store));   /* null when not UTF-8 */
        (void)json_object_set_new(json, "held", json_boolean(it.is_held)); /* needs only memory */
        ctl_print_done(ctl, json, "");
        json_decref(json);
    } else if (status == EXIT_GOOD) {
        print_restored(&it);
    }
    return status;
}
