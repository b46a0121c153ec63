/* meerkatctl_look_get.c - documents about what is inside, from the daemon or from the store. */
#include "meerkatctl_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/limits.h"
#include "kv/key.h"
#include "kv/row.h"
#include "meerkatctl_store.h"
#include "meerkatctl_stored.h"

#define SHARDS     "/api/admin/shards"
#define STORED     "/api/admin/messages/"
#define MESSAGES   "/api/messages/"
#define ANSWER_MAX (64 * MIB)

int look_open(struct ctl *ctl, struct look *look)
{
    *look = (struct look){.ctl = ctl};
    return ctl_is_offline(ctl) ? ctl_store_open(ctl, false, &look->kv, NULL) : EXIT_GOOD;
}

void look_close(struct look *look)
{
    kv_close(look->kv);
}

static int get(struct look *look, const char *path, json_t **answer)
{
    const struct call call = {.method = "GET", .path = path};
    return ctl_call(look->ctl, &call, answer);
}

static int refuse(const char *sentence)
{
    (void)fprintf(stderr, "meerkatctl: %s\n", sentence);
    return EXIT_REFUSED;
}

/* Reads the document that was written, and lets its bytes go. */
static int finish(struct buf *text, json_t **answer)
{
    *answer = text->is_over ? NULL : json_loadb(text->data, text->len, 0, NULL);
    buf_fini(text);
    return *answer != NULL ? EXIT_GOOD : refuse("this is too much to be shown at once");
}

/* ---- shards ---------------------------------------------------------------------------------- */

int look_at_shards(struct look *look, json_t **answer)
{
    struct buf text;
    if (look->kv == NULL) {
        return get(look, SHARDS, answer);
    }
    buf_init(&text, ANSWER_MAX);
    stored_shards(look->kv, &text);
    return finish(&text, answer);
}

/* "7", or "deliver". */
static int find_family(struct look *look, const char *name, uint32_t *family)
{
    uint64_t number = 0;
    if (strcmp(name, "deliver") == 0) {
        *family = KV_FAMILY_DELIVER;
        return EXIT_GOOD;
    }
    if (slice_uint(slice_str(name), kv_shard_count(look->kv) - 1, &number) != ERR_OK) {
        return refuse(ctl_text(look->ctl, "there is no shard %s: they are 0 to %u and \"deliver\"",
                               name, (unsigned)kv_shard_count(look->kv) - 1));
    }
    *family = (uint32_t)number;
    return EXIT_GOOD;
}

int look_at_shard(struct look *look, const char *name, json_t **answer)
{
    struct buf text;
    uint32_t family = 0;
    if (look->kv == NULL) {
        return get(look, ctl_path(look->ctl, SHARDS "/", name, ""), answer);
    }
    int status = find_family(look, name, &family);
    if (status != EXIT_GOOD) {
        return status;
    }
    buf_init(&text, ANSWER_MAX);
    stored_shard(look->kv, family, &text);
    return finish(&text, answer);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int ask_rows(struct look *look, const struct look_page *page, json_t **answer)
{
    struct ctl *ctl = look->ctl;
    const char *path = ctl_path(ctl, SHARDS "/", page->shard, "/rows");
    path = ctl_text(ctl, "%s?limit=%u", path, (unsigned)page->limit);
    path = ctl_path(ctl, ctl_text(ctl, "%s&prefix=", path), page->prefix, "");
    path = ctl_path(ctl, ctl_text(ctl, "%s&after=", path), page->after, "");
    return get(look, path, answer);
}

int look_at_rows(struct look *look, const struct look_page *page, json_t **answer)
{
    struct buf text;
    struct look_rows rows = {
        .prefix = slice_str(page->prefix), .after = slice_str(page->after), .limit = page->limit};
    if (look->kv == NULL) {
        return ask_rows(look, page, answer);
    }
    int status = find_family(look, page->shard, &rows.family);
    if (status != EXIT_GOOD) {
        return status;
    }
    buf_init(&text, ANSWER_MAX);
    if (stored_rows(look->kv, &rows, &text) != ERR_OK) {
        buf_fini(&text);
        return refuse(ctl_text(look->ctl, "%s: %.*s [%s]", rows.why, SLICE_FMT(rows.word),
                               rows.is_after_wrong ? "after" : "prefix"));
    }
    return finish(&text, answer);
}

/* ---- a mail ---------------------------------------------------------------------------------- */

static int parse_id(struct look *look, const char *text, struct id *id)
{
    if (id_parse(ID_MESSAGE, slice_str(text), id) == ERR_OK ||
        id_parse(ID_SCHEDULED, slice_str(text), id) == ERR_OK) {
        return EXIT_GOOD;
    }
    return ctl_usage(look->ctl, "\"%s\" is no id of a message (msg_...)", text);
}

int look_at_mail(struct look *look, const char *id, bool has_transcripts, json_t **answer)
{
    struct look_mail mail = {.has_transcripts = has_transcripts};
    struct buf text;
    char asked[ID_TEXT_MAX];
    int status = parse_id(look, id, &mail.id);
    if (status != EXIT_GOOD) {
        return status;
    }
    if (look->kv == NULL) {
        (void)id_text(ID_MESSAGE, mail.id, asked);
        return get(look,
                   ctl_path(look->ctl, STORED, asked, has_transcripts ? "?transcripts=true" : ""),
                   answer);
    }
    buf_init(&text, ANSWER_MAX);
    if (stored_mail(look->kv, &mail, &text) != ERR_OK) {
        buf_fini(&text);
        return refuse(ctl_text(look->ctl, "nothing is stored of %s", id));
    }
    return finish(&text, answer);
}

static bool write_all(struct slice bytes)
{
    return fwrite(bytes.data, 1, bytes.len, stdout) == bytes.len;
}

/* Chunk by chunk, from 0 on; the mail's row says how many there are. */
static int write_chunks(struct look *look, struct id id)
{
    struct account_id account = id_account(id);
    const uint32_t family = look_shard_of(look->kv, account);
    struct arena arena;
    struct slice bytes;
    struct row_mail mail;
    struct row_chunk chunk;
    struct key key = key_mail(account, id);
    arena_init(&arena, 64 * KIB, 2 * MIB + CHUNK_BYTES);
    enum err err = kv_get(look->kv, family, key_slice(&key), &arena, &bytes);
    err = err == ERR_OK ? row_mail_decode(bytes, &mail) : err;
    const uint32_t count = err == ERR_OK ? mail.chunk_count : 0;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        arena_clear(&arena);
        key = key_chunk(account, id, i);
        err = kv_get(look->kv, family, key_slice(&key), &arena, &bytes);
        err = err == ERR_OK ? row_chunk_decode(bytes, &chunk) : err;
        err = err == ERR_OK && !write_all(chunk.data) ? ERR_IO : err;
    }
    arena_fini(&arena);
    if (err == ERR_NOT_FOUND && count == 0) {
        return refuse("there is no such message");
    }
    if (err != ERR_OK) {
        (void)fprintf(stderr, "meerkatctl: the message cannot be read whole: %s\n",
                      err_info(err)->text);
        return EXIT_WRONG;
    }
    return EXIT_GOOD;
}

int look_write_raw(struct look *look, const char *id)
{
    struct id parsed;
    struct buf bytes;
    char account[ID_TEXT_MAX];
    char asked[ID_TEXT_MAX];
    int status = parse_id(look, id, &parsed);
    if (status != EXIT_GOOD) {
        return status;
    }
    if (look->kv != NULL) {
        return write_chunks(look, parsed);
    }
    (void)id_text(ID_MESSAGE, parsed, asked);
    (void)account_text(id_account(parsed), account);
    const struct call call = {
        .method = "GET", .path = ctl_path(look->ctl, MESSAGES, asked, "/raw"), .account = account};
    buf_init(&bytes, ANSWER_MAX);
    status = ctl_fetch(look->ctl, &call, &bytes);
    if (status == EXIT_GOOD) {
        (void)write_all(buf_slice(&bytes)); /* main asks whether all went out */
    }
    buf_fini(&bytes);
    return status;
}
