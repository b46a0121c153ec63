/* account_file.c - an account in a file. */
#include "kv/account_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"

#define MAGIC      "MEERKATX"
#define MAGIC_LEN  8
#define VERSION    1
#define HEAD_BYTES (MAGIC_LEN + 4 + PASSPHRASE_SALT_LEN)

struct account_file {
    int fd;
    bool is_writing;
    bool is_finished;
    bool is_last; /* the block at hand */
    char *path;
    char *temporary;
    struct seal_key key;
    uint64_t block; /* number of the next */
    uint64_t bytes;
    uint64_t size;
    struct buf plain;
    struct buf sealed;
    struct slice rest; /* of plain, when it is read */
};

static enum err say(char why[ACCOUNT_FILE_WHY_MAX], enum err err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static enum err say(char why[ACCOUNT_FILE_WHY_MAX], enum err err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, ACCOUNT_FILE_WHY_MAX, fmt, args); /* cut on purpose */
    va_end(args);
    return err;
}

static enum err say_errno(char why[ACCOUNT_FILE_WHY_MAX], const char *what, const char *path)
{
    return say(why, errno == ENOENT || errno == EEXIST ? ERR_BAD_FIELD : ERR_STORAGE,
               "cannot %s %.250s: %s", what, path, strerror(errno));
}

static char *copy_path(const char *path, const char *suffix)
{
    size_t len = strlen(path) + strlen(suffix) + 1;
    char *copy = mem_zalloc(len);
    (void)snprintf(copy, len, "%s%s", path, suffix); /* as long as was just counted */
    return copy;
}

static struct account_file *make(const char *path)
{
    struct account_file *file = mem_zalloc(sizeof *file);
    file->fd = -1;
    file->path = copy_path(path, "");
    buf_init(&file->plain, ACCOUNT_BLOCK_MAX);
    buf_init(&file->sealed, ACCOUNT_BLOCK_MAX + SEAL_OVERHEAD);
    return file;
}

void account_file_close(struct account_file *file)
{
    if (file == NULL) {
        return;
    }
    if (file->fd != -1) {
        (void)close(file->fd); /* was only read, or is synced, or of no use */
    }
    if (file->is_writing && !file->is_finished) {
        (void)unlink(file->temporary); /* what is left is clutter */
    }
    crypto_wipe(&file->key, sizeof file->key);
    crypto_wipe(file->plain.data, file->plain.data == NULL ? 0 : file->plain.capacity);
    buf_fini(&file->plain);
    buf_fini(&file->sealed);
    free(file->path);
    free(file->temporary);
    free(file);
}

static struct slice context_of(uint64_t block, bool is_last, char text[40])
{
    int len =
        snprintf(text, 40, "account file %s%llu", is_last ? "end " : "", (unsigned long long)block);
    return slice_of(text, (size_t)len);
}

/* ---- writing -------------------------------------------------------------------------------- */

static enum err write_bytes(struct account_file *file, const char *bytes, size_t len,
                            char why[ACCOUNT_FILE_WHY_MAX])
{
    for (size_t at = 0; at < len;) {
        ssize_t put = write(file->fd, bytes + at, len - at);
        if (put < 0) {
            return say_errno(why, "write", file->temporary);
        }
        at += (size_t)put;
    }
    file->bytes += len;
    return ERR_OK;
}

static enum err write_block(struct account_file *file, bool is_last, char why[ACCOUNT_FILE_WHY_MAX])
{
    char text[40];
    struct slice plain = buf_slice(&file->plain);
    buf_clear(&file->sealed);
    buf_put_u32(&file->sealed,
                (uint32_t)(plain.len + SEAL_OVERHEAD) | (is_last ? ACCOUNT_BLOCK_LAST : 0));
    enum err err = write_bytes(file, file->sealed.data, file->sealed.len, why);
    buf_clear(&file->sealed);
    char *room = buf_room(&file->sealed, plain.len + SEAL_OVERHEAD);
    CHECK(room != NULL);
    crypto_seal(&file->key, context_of(file->block++, is_last, text), plain, (uint8_t *)room);
    if (err == ERR_OK) {
        err = write_bytes(file, room, plain.len + SEAL_OVERHEAD, why);
    }
    crypto_wipe(file->plain.data, file->plain.len);
    buf_clear(&file->plain);
    return err;
}

enum err account_file_create(const char *path, struct slice passphrase,
                             const struct account_file_head *head, struct account_file **file,
                             char why[ACCOUNT_FILE_WHY_MAX])
{
    struct stat info;
    struct buf bytes;
    uint8_t salt[PASSPHRASE_SALT_LEN];
    if (path[0] != '/' || stat(path, &info) == 0) {
        return path[0] != '/' ? say(why, ERR_BAD_FIELD, "a file is named by its whole path")
                              : say(why, ERR_BAD_FIELD, "%.300s is there already", path);
    }
    struct account_file *made = make(path);
    made->is_writing = true;
    made->temporary = copy_path(path, ".partial");
    (void)unlink(made->temporary); /* of one that was cut short */
    made->fd = open(made->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (made->fd == -1) {
        enum err err = say_errno(why, "write", made->temporary);
        made->is_finished = true; /* nothing to remove */
        account_file_close(made);
        return err;
    }
    crypto_random(salt, sizeof salt);
    crypto_passphrase_key(passphrase, salt, &made->key);
    buf_init(&bytes, HEAD_BYTES);
    buf_add(&bytes, SLICE(MAGIC));
    buf_put_u32(&bytes, VERSION);
    buf_add_bytes(&bytes, salt, sizeof salt);
    enum err err = write_bytes(made, bytes.data, bytes.len, why);
    buf_clear(&bytes);
    buf_put_u64(&bytes, head->account.value);
    buf_put_u32(&bytes, head->format);
    buf_put_u64(&bytes, head->made_unix_ms);
    buf_put_u8(&bytes, head->is_moved);
    if (err == ERR_OK) {
        err = account_file_put(made, SLICE(""), buf_slice(&bytes), why);
    }
    buf_fini(&bytes);
    if (err != ERR_OK) {
        account_file_close(made);
        return err;
    }
    *file = made;
    return ERR_OK;
}

enum err account_file_put(struct account_file *file, struct slice key, struct slice value,
                          char why[ACCOUNT_FILE_WHY_MAX])
{
    enum err err = ERR_OK;
    if (file->plain.len > 0 && file->plain.len + key.len + value.len > ACCOUNT_BLOCK_BYTES) {
        err = write_block(file, false, why);
    }
    buf_put_slice(&file->plain, key);
    buf_put_slice(&file->plain, value);
    return err == ERR_OK && buf_err(&file->plain) != ERR_OK
               ? say(why, ERR_TOO_LARGE, "a row is too large for a file")
               : err;
}

enum err account_file_finish(struct account_file *file, char why[ACCOUNT_FILE_WHY_MAX])
{
    enum err err = write_block(file, true, why);
    if (err == ERR_OK && fsync(file->fd) == -1) {
        err = say_errno(why, "sync", file->temporary);
    }
    if (err == ERR_OK &&
        renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, RENAME_NOREPLACE) == -1) {
        err = say_errno(why, "name", file->path);
    }
    if (err != ERR_OK) {
        return err;
    }
    file->is_finished = true;
    char *slash = strrchr(file->path, '/');
    CHECK(slash != NULL);
    *slash = '\0';
    int folder = open(file->path[0] == '\0' ? "/" : file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder == -1 || fsync(folder) == -1) {
        err = say_errno(why, "sync", file->path);
    }
    if (folder != -1) {
        (void)close(folder); /* was only synced */
    }
    *slash = '/';
    return err;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* False at the end, or when the file cannot be read. */
static bool read_bytes(struct account_file *file, char *out, size_t len)
{
    size_t at = 0;
    while (at < len) {
        ssize_t got = read(file->fd, out + at, len - at);
        if (got <= 0) {
            return false;
        }
        at += (size_t)got;
    }
    file->bytes += len;
    return true;
}

static enum err read_block(struct account_file *file, char why[ACCOUNT_FILE_WHY_MAX])
{
    char length[4] = {0};
    char text[40];
    uint32_t word = 0;
    struct slice rest = slice_of(length, sizeof length);
    if (!read_bytes(file, length, sizeof length) || !get_u32(&rest, &word)) {
        return say(why, ERR_CORRUPT, "%.300s ends too early", file->path);
    }
    size_t len = word & ~ACCOUNT_BLOCK_LAST;
    file->is_last = (word & ACCOUNT_BLOCK_LAST) != 0;
    if (len < SEAL_OVERHEAD || len - SEAL_OVERHEAD > ACCOUNT_BLOCK_MAX) {
        return say(why, ERR_CORRUPT, "%.300s is damaged", file->path);
    }
    buf_clear(&file->sealed);
    buf_clear(&file->plain);
    char *sealed = buf_room(&file->sealed, len);
    char *plain = buf_room(&file->plain, len - SEAL_OVERHEAD + 1); /* never NULL */
    CHECK(sealed != NULL);
    if (plain == NULL || !read_bytes(file, sealed, len)) {
        return say(why, ERR_CORRUPT, "%.300s ends too early", file->path);
    }
    enum err err = crypto_unseal(&file->key, context_of(file->block, file->is_last, text),
                                 slice_of(sealed, len), (uint8_t *)plain);
    if (err != ERR_OK) {
        return file->block == 0
                   ? say(why, ERR_BAD_FIELD,
                         "the passphrase is not that of %.300s, or the file is damaged", file->path)
                   : say(why, ERR_CORRUPT, "%.300s is damaged", file->path);
    }
    file->block += 1;
    buf_grew(&file->plain, len - SEAL_OVERHEAD);
    file->rest = buf_slice(&file->plain);
    return ERR_OK;
}

static enum err read_head(struct account_file *file, struct slice passphrase,
                          struct account_file_head *head, char why[ACCOUNT_FILE_WHY_MAX])
{
    char bytes[HEAD_BYTES];
    uint32_t version;
    uint8_t is_moved;
    struct slice key;
    struct slice value;
    bool is_whole = read_bytes(file, bytes, sizeof bytes);
    struct slice rest = slice_of(bytes + MAGIC_LEN, sizeof bytes - MAGIC_LEN);
    if (!is_whole || memcmp(bytes, MAGIC, MAGIC_LEN) != 0 || !get_u32(&rest, &version)) {
        return say(why, ERR_INVALID, "%.300s is no account that was exported", file->path);
    }
    if (version != VERSION) {
        return say(why, ERR_INVALID, "%.300s was written by a newer version of Meerkat",
                   file->path);
    }
    crypto_passphrase_key(passphrase, (const uint8_t *)rest.data, &file->key);
    enum err err = read_block(file, why);
    if (err != ERR_OK) {
        return err;
    }
    if (!get_slice(&file->rest, &key) || !get_slice(&file->rest, &value) || key.len != 0 ||
        !get_u64(&value, &head->account.value) || !get_u32(&value, &head->format) ||
        !get_u64(&value, &head->made_unix_ms) || !get_u8(&value, &is_moved)) {
        return say(why, ERR_CORRUPT, "%.300s is damaged", file->path);
    }
    head->is_moved = is_moved == 1;
    return ERR_OK;
}

enum err account_file_open(const char *path, struct slice passphrase,
                           struct account_file_head *head, struct account_file **file,
                           char why[ACCOUNT_FILE_WHY_MAX])
{
    struct stat info;
    struct account_file *made = make(path);
    made->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe is not waited for */
    enum err err = ERR_OK;
    if (made->fd == -1 || fstat(made->fd, &info) == -1) {
        err = say_errno(why, "read", path);
    } else if (!S_ISREG(info.st_mode)) {
        err = say(why, ERR_BAD_FIELD, "%.300s is no file", path);
    } else {
        made->size = (uint64_t)info.st_size;
        err = read_head(made, passphrase, head, why);
    }
    if (err != ERR_OK) {
        account_file_close(made);
        return err;
    }
    *file = made;
    return ERR_OK;
}

enum err account_file_next(struct account_file *file, struct slice *key, struct slice *value,
                           bool *is_end, char why[ACCOUNT_FILE_WHY_MAX])
{
    *is_end = false;
    while (file->rest.len == 0) {
        if (file->is_last) {
            *is_end = true;
            return ERR_OK;
        }
        enum err err = read_block(file, why);
        if (err != ERR_OK) {
            return err;
        }
    }
    bool is_whole = get_slice(&file->rest, key) && get_slice(&file->rest, value) && key->len > 0;
    return is_whole ? ERR_OK : say(why, ERR_CORRUPT, "%.300s is damaged", file->path);
}

enum err account_file_rewind(struct account_file *file, char why[ACCOUNT_FILE_WHY_MAX])
{
    struct slice key;
    struct slice value;
    if (lseek(file->fd, HEAD_BYTES, SEEK_SET) == -1) {
        return say_errno(why, "read", file->path);
    }
    file->bytes = HEAD_BYTES;
    file->block = 0;
    enum err err = read_block(file, why);
    bool is_head = err == ERR_OK && get_slice(&file->rest, &key) && get_slice(&file->rest, &value);
    return err == ERR_OK && !is_head ? say(why, ERR_CORRUPT, "%.300s is damaged", file->path) : err;
}

uint64_t account_file_bytes(const struct account_file *file)
{
    return file->bytes;
}

uint64_t account_file_size(const struct account_file *file)
{
    return file->size;
}
