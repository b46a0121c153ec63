/* backup_read.c - backups as they lie on the disk: listed, checked, written out as a store again.
 *
 * A list of the engine, meta/N, is text:
 *
 *     1795286857            when it was made, seconds
 *     48210                 sequence number
 *     metadata 6d65...      may be missing
 *     3                     files
 *     private/7/CURRENT crc32 1234567890
 *     shared_checksum/000012_s7V2K_4711.sst crc32 17
 *     ...                   crc32 is CRC-32C; further words may follow
 *
 * All of it may be damaged, or somebody else's: a path leads nowhere but into the folder.
 */
#include "kv/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "kv/backup_int.h"

#define META_MAX    (64 * MIB) /* half a million files */
#define ARENA_MAX   (256 * MIB)
#define ENTRIES_MAX (2 * KEEPER_BACKUPS_MAX) /* the new one, and what somebody kept */
#define BLOCK       (256 * KIB)

struct file {
    const char *name; /* "shared_checksum/000012_s7V2K_4711.sst" */
    const char *as;   /* "000012.sst" */
    uint64_t bytes;
    uint32_t crc;
};

/* What one backup is made of. */
struct list {
    struct backup_entry entry;
    struct file *files;
};

struct backup_read {
    struct arena arena;
    struct list list;
    int folder;
    int target;    /* -1: it is only read */
    uint32_t next; /* the file at hand */
    int in;        /* -1: not opened yet */
    int out;
    uint32_t crc;
    uint64_t done;
    uint32_t crc_table[256];
    char block[BLOCK];
};

/* ---- CRC-32C -------------------------------------------------------------------------------- */

#define CRC32C_POLYNOMIAL UINT32_C(0x82f63b78) /* Castagnoli's, reflected: RFC 3720 B.4 */

static void crc_init(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) {
            value = (value & 1) != 0 ? value >> 1 ^ CRC32C_POLYNOMIAL : value >> 1;
        }
        table[i] = value;
    }
}

static uint32_t crc_add(const uint32_t table[256], uint32_t crc, const char *bytes, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc = crc >> 8 ^ table[(crc ^ (uint8_t)bytes[i]) & 0xff];
    }
    return ~crc;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static enum err read_whole(int folder, const char *name, struct buf *out, char why[BACKUP_WHY_MAX])
{
    char block[4096];
    int fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd == -1) {
        return backup_say_errno(why, "read", name);
    }
    ssize_t len;
    while ((len = read(fd, block, sizeof block)) > 0) {
        buf_add_bytes(out, block, (size_t)len);
    }
    enum err err = len < 0 ? backup_say_errno(why, "read", name) : ERR_OK;
    (void)close(fd); /* was only read */
    return err == ERR_OK && buf_err(out) != ERR_OK
               ? backup_say(why, ERR_TOO_LARGE, "the list of %.100s is too long", name)
               : err;
}

/* Nothing that climbs out: letters, digits, and what the engine's names have between them. */
static bool is_safe(struct slice name)
{
    struct slice rest = name;
    while (rest.data != NULL) {
        struct slice part = slice_cut(&rest, '/');
        if (part.len == 0 || part.data[0] == '.') {
            return false;
        }
        for (size_t i = 0; i < part.len; i++) {
            char c = part.data[i];
            if (!ascii_is_alpha(c) && !ascii_is_digit(c) && strchr("._-", c) == NULL) {
                return false;
            }
        }
    }
    return name.len < 200;
}

/* What a file is called in a store: the copy's name without what tells copies apart. */
static const char *name_in_store(struct arena *arena, struct slice name)
{
    struct slice last = slice_from(name, slice_rfind_byte(name, '/') + 1);
    size_t bar = slice_find_byte(last, '_');
    size_t dot = slice_rfind_byte(last, '.');
    if (slice_starts(name, SLICE("shared")) && bar < dot && dot != SIZE_MAX) {
        last = arena_format(arena, "%.*s%.*s", SLICE_FMT(slice_head(last, bar)),
                            SLICE_FMT(slice_from(last, dot)));
    }
    return arena_cstr(arena, last);
}

static bool read_file_line(int folder, struct slice line, struct arena *arena, struct file *file)
{
    struct stat info;
    struct slice name = slice_cut(&line, ' ');
    struct slice word = slice_cut(&line, ' ');
    struct slice digits = slice_cut(&line, ' ');
    uint64_t crc;
    if (!is_safe(name) || !slice_equal(word, SLICE("crc32")) ||
        slice_uint(digits, UINT32_MAX, &crc) != ERR_OK) {
        return false;
    }
    file->name = arena_cstr(arena, name);
    file->as = name_in_store(arena, name);
    file->crc = (uint32_t)crc;
    /* One that is missing counts as empty, and is found when it is read. */
    bool is_there = fstatat(folder, file->name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    file->bytes = is_there ? (uint64_t)info.st_size : 0;
    return true;
}

/* Fills list; its id says which. */
static enum err read_list(int folder, struct list *list, struct arena *arena,
                          char why[BACKUP_WHY_MAX])
{
    char name[32];
    struct buf text;
    struct backup_entry *entry = &list->entry;
    const uint32_t id = entry->id;
    uint64_t made_s = 0;
    uint64_t count = 0;
    (void)snprintf(name, sizeof name, "meta/%u", (unsigned)id);
    buf_init(&text, META_MAX);
    enum err err = read_whole(folder, name, &text, why);
    struct slice rest = buf_slice(&text);
    bool is_good =
        err == ERR_OK && slice_uint(slice_cut(&rest, '\n'), UINT32_MAX, &made_s) == ERR_OK;
    (void)slice_cut(&rest, '\n'); /* the sequence number */
    struct slice line = slice_cut(&rest, '\n');
    if (slice_starts(line, SLICE("metadata "))) {
        line = slice_cut(&rest, '\n');
    }
    is_good = is_good && slice_uint(line, META_MAX / 16, &count) == ERR_OK && count > 0;
    *entry = (struct backup_entry){.id = id, .made_unix_ms = made_s * 1000};
    list->files = is_good ? arena_array(arena, count, sizeof *list->files) : NULL;
    while (is_good && entry->file_count < count) {
        struct file *file = &list->files[entry->file_count++];
        is_good = read_file_line(folder, slice_cut(&rest, '\n'), arena, file);
        entry->bytes += is_good ? file->bytes : 0;
    }
    buf_fini(&text);
    if (err == ERR_OK && !is_good) {
        err = backup_say(why, ERR_CORRUPT, "the list of backup %u (%s) is damaged", (unsigned)id,
                         name);
    }
    return err;
}

static int entry_compare(const void *a, const void *b)
{
    const struct backup_entry *left = a;
    const struct backup_entry *right = b;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* The numbers in meta; a list that is being written ends in .tmp. */
static enum err read_ids(int folder, struct arena *arena, struct backup_entry **entries,
                         uint32_t *count)
{
    int fd = openat(folder, "meta", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);
    *count = 0;
    *entries = arena_array(arena, ENTRIES_MAX, sizeof **entries);
    if (dir == NULL) {
        if (fd != -1) {
            (void)close(fd); /* was not read */
        }
        return ERR_NOT_FOUND;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL && *count < ENTRIES_MAX;
         entry = readdir(dir)) {
        uint64_t id;
        if (slice_uint(slice_str(entry->d_name), UINT32_MAX, &id) == ERR_OK && id > 0) {
            (*entries)[(*count)++].id = (uint32_t)id;
        }
    }
    (void)closedir(dir); /* was only read */
    qsort(*entries, *count, sizeof **entries, entry_compare);
    return *count > 0 ? ERR_OK : ERR_NOT_FOUND;
}

static enum err open_folder(const char *folder, int *fd, char why[BACKUP_WHY_MAX])
{
    *fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd == -1 ? backup_say_errno(why, "open", folder) : ERR_OK;
}

enum err backup_list(const char *folder, struct arena *arena, struct backup_entry **entries,
                     uint32_t *count, char why[BACKUP_WHY_MAX])
{
    int fd;
    enum err err = open_folder(folder, &fd, why);
    if (err != ERR_OK) {
        return err;
    }
    err = read_ids(fd, arena, entries, count);
    if (err == ERR_NOT_FOUND) {
        (void)backup_say(why, err, "%.300s holds no backups", folder);
    }
    for (uint32_t i = 0; i < *count && err == ERR_OK; i++) {
        struct arena files_arena;
        struct list list = {.entry = {.id = (*entries)[i].id}};
        arena_init(&files_arena, 64 * KIB, ARENA_MAX);
        err = read_list(fd, &list, &files_arena, why);
        (*entries)[i] = list.entry;
        if (err == ERR_CORRUPT) {
            (*entries)[i] = (struct backup_entry){.id = list.entry.id, .is_damaged = true};
            err = ERR_OK;
        }
        arena_fini(&files_arena);
    }
    (void)close(fd); /* was only read */
    return err;
}

/* ---- one backup ----------------------------------------------------------------------------- */

static enum err make_target(struct backup_read *read, const char *target, char why[BACKUP_WHY_MAX])
{
    if (mkdir(target, S_IRWXU) == -1) {
        return backup_say_errno(why, "make", target);
    }
    read->target = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return read->target == -1 ? backup_say_errno(why, "open", target) : ERR_OK;
}

enum err backup_read_open(const char *folder, uint32_t id, const char *target,
                          struct backup_read **read, char why[BACKUP_WHY_MAX])
{
    struct backup_entry *entries;
    uint32_t count = 0;
    struct backup_read *made = mem_zalloc(sizeof *made);
    made->folder = made->target = made->in = made->out = -1;
    arena_init(&made->arena, 64 * KIB, ARENA_MAX);
    crc_init(made->crc_table);
    enum err err = open_folder(folder, &made->folder, why);
    if (err == ERR_OK) {
        err = read_ids(made->folder, &made->arena, &entries, &count);
        bool is_known = err == ERR_OK && id == 0;
        for (uint32_t i = 0; i < count; i++) {
            is_known |= entries[i].id == id;
        }
        if (!is_known) {
            err = id == 0 ? backup_say(why, ERR_NOT_FOUND, "%.300s holds no backups", folder)
                          : backup_say(why, ERR_NOT_FOUND, "%.300s holds no backup %u", folder,
                                       (unsigned)id);
        } else if (id == 0) {
            id = entries[count - 1].id;
        }
    }
    if (err == ERR_OK) {
        made->list.entry.id = id;
        err = read_list(made->folder, &made->list, &made->arena, why);
    }
    if (err == ERR_OK && target != NULL) {
        err = make_target(made, target, why);
    }
    if (err != ERR_OK) {
        backup_read_close(made);
        return err;
    }
    *read = made;
    return ERR_OK;
}

static void close_file(int *fd)
{
    if (*fd != -1) {
        (void)close(*fd); /* was only read, or is synced, or is of no use */
        *fd = -1;
    }
}

void backup_read_close(struct backup_read *read)
{
    if (read == NULL) {
        return;
    }
    close_file(&read->in);
    close_file(&read->out);
    close_file(&read->folder);
    close_file(&read->target);
    arena_fini(&read->arena);
    free(read);
}

static enum err begin_file(struct backup_read *read, const struct file *file,
                           char why[BACKUP_WHY_MAX])
{
    read->crc = 0;
    read->in = openat(read->folder, file->name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (read->in == -1) {
        return errno == ENOENT ? backup_say(why, ERR_CORRUPT, "the file %s of backup %u is missing",
                                            file->name, (unsigned)read->list.entry.id)
                               : backup_say_errno(why, "read", file->name);
    }
    if (read->target == -1) {
        return ERR_OK;
    }
    read->out = openat(read->target, file->as, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return read->out == -1 ? backup_say_errno(why, "write", file->as) : ERR_OK;
}

static enum err end_file(struct backup_read *read, const struct file *file,
                         char why[BACKUP_WHY_MAX])
{
    if (read->crc != file->crc) {
        return backup_say(why, ERR_CORRUPT,
                          "the file %s of backup %u is damaged: its checksum is another one",
                          file->name, (unsigned)read->list.entry.id);
    }
    if (read->out != -1 && fsync(read->out) == -1) {
        return backup_say_errno(why, "sync", file->as);
    }
    close_file(&read->in);
    close_file(&read->out);
    read->next += 1;
    return ERR_OK;
}

static ssize_t read_block(int fd, char block[BLOCK])
{
    return read(fd, block, BLOCK);
}

/* A block of the file at hand. */
static enum err go_on(struct backup_read *read, char why[BACKUP_WHY_MAX])
{
    const struct file *file = &read->list.files[read->next];
    if (read->in == -1) {
        enum err err = begin_file(read, file, why);
        if (err != ERR_OK) {
            return err;
        }
    }
    ssize_t len = read_block(read->in, read->block);
    if (len < 0) {
        return backup_say_errno(why, "read", file->name);
    }
    if (len == 0) {
        return end_file(read, file, why);
    }
    read->crc = crc_add(read->crc_table, read->crc, read->block, (size_t)len);
    read->done += (uint64_t)len;
    for (ssize_t at = 0; read->out != -1 && at < len;) {
        ssize_t put = write(read->out, read->block + at, (size_t)(len - at));
        if (put < 0) {
            return backup_say_errno(why, "write", file->as);
        }
        at += put;
    }
    return ERR_OK;
}

enum err backup_read_step(struct backup_read *read, uint64_t budget_us, bool *is_over,
                          char why[BACKUP_WHY_MAX])
{
    uint64_t end_us = clock_mono_us() + budget_us;
    *is_over = false;
    do {
        if (read->next == read->list.entry.file_count) {
            *is_over = true;
            return read->target != -1 && fsync(read->target) == -1
                       ? backup_say_errno(why, "sync", "the folder")
                       : ERR_OK;
        }
        enum err err = go_on(read, why);
        if (err != ERR_OK) {
            return err;
        }
    } while (clock_mono_us() < end_us);
    return ERR_OK;
}

struct backup_entry backup_read_entry(const struct backup_read *read)
{
    return read->list.entry;
}

uint64_t backup_read_done(const struct backup_read *read)
{
    return read->done;
}
