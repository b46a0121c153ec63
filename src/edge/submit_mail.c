/* submit_mail.c - a mail in hand, and its envelope, as the message that POST /v1/send would post.
 *
 * Who stands in To or Cc and in the envelope is told to others as such; who stands in the envelope
 * alone is Bcc. Who stands in the fields alone gets nothing: the client has sent it to others
 * otherwise.
 */
#include "edge/smtp_in_int.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/json.h"
#include "base/limits.h"
#include "mail/submission.h"

#define META "{\"m\":"

struct named {
    struct slice key;
    const struct addr *addr;
};

struct meta_body {
    struct json_pairs metadata;
};
static const struct json_field meta_fields[] = {{.name = "m",
                                                 .type = JSON_MAP,
                                                 .offset = offsetof(struct meta_body, metadata),
                                                 .max = METADATA_COUNT}};
static const struct json_shape meta_shape = {meta_fields, ARRAY_LEN(meta_fields),
                                             sizeof(struct meta_body)};

static enum err no(const char **problem, const char *sentence)
{
    *problem = sentence;
    return ERR_BAD_FIELD;
}

/* ---- recipients ----------------------------------------------------------------------------- */

static int compare_named(const void *a, const void *b)
{
    return slice_compare(((const struct named *)a)->key, ((const struct named *)b)->key);
}

/* The addresses of a field, sorted by what they are compared by. */
static struct named *sort_named(const struct addr *list, uint32_t count, struct arena *arena)
{
    struct named *named = arena_array(arena, count, sizeof *named);
    for (uint32_t i = 0; i < count; i++) {
        named[i] = (struct named){addr_key(&list[i], arena), &list[i]};
    }
    if (count > 0) {
        qsort(named, count, sizeof *named, compare_named);
    }
    return named;
}

static const struct addr *find(const struct named *named, uint32_t count, struct slice key)
{
    const struct named wanted = {key, NULL};
    const struct named *found =
        count == 0 ? NULL : bsearch(&wanted, named, count, sizeof *named, compare_named);
    return found == NULL ? NULL : found->addr;
}

static void fill_rcpts(const struct submit *submit, const struct submission *said,
                       struct arena *arena, struct shard_send *send)
{
    const struct named *to = sort_named(said->to, said->to_count, arena);
    const struct named *cc = sort_named(said->cc, said->cc_count, arena);
    send->to = arena_array(arena, submit->rcpt_count, sizeof *send->to);
    send->cc = arena_array(arena, submit->rcpt_count, sizeof *send->cc);
    send->bcc = arena_array(arena, submit->rcpt_count, sizeof *send->bcc);
    for (uint32_t i = 0; i < submit->rcpt_count; i++) {
        struct addr addr;
        if (addr_parse(submit->rcpts[i], arena, &addr) != ERR_OK) {
            continue; /* RCPT has read it already */
        }
        struct slice key = addr_key(&addr, arena);
        const struct addr *in_to = find(to, said->to_count, key);
        const struct addr *in_cc = find(cc, said->cc_count, key);
        if (in_to != NULL) {
            addr.name = in_to->name;
            send->to[send->to_count++] = addr;
        } else if (in_cc != NULL) {
            addr.name = in_cc->name;
            send->cc[send->cc_count++] = addr;
        } else {
            send->bcc[send->bcc_count++] = addr;
        }
    }
}

/* ---- labels --------------------------------------------------------------------------------- */

static enum err fill_tags(const struct submission *said, struct arena *arena,
                          struct shard_send *send, const char **problem)
{
    struct buf pack;
    enum err err = ERR_OK;
    buf_init(&pack, TAG_COUNT * (TAG_MAX + 4));
    for (uint32_t i = 0; i < said->tag_count; i++) {
        if (slice_has_control(said->tags[i], "")) {
            err = no(problem, "X-Meerkat-Tag holds a control character");
        }
        buf_put_slice(&pack, said->tags[i]);
    }
    send->tags = arena_dup(arena, buf_slice(&pack));
    buf_fini(&pack);
    return err;
}

static enum err fill_metadata(struct slice json, struct arena *arena, struct shard_send *send,
                              const char **problem)
{
    struct meta_body body = {.metadata = {.count = 0}};
    struct json_fault fault;
    struct buf pack;
    if (json.len == 0) {
        return ERR_OK;
    }
    /* Any object by itself, then as the map of another. */
    static const struct json_shape object = {meta_fields, 0, sizeof(struct meta_body)};
    struct slice whole = arena_format(arena, META "%.*s}", SLICE_FMT(json));
    if (json_read(json, &object, arena, &body, &fault) != ERR_OK ||
        json_read(whole, &meta_shape, arena, &body, &fault) != ERR_OK) {
        return no(problem, "X-Meerkat-Metadata is no JSON object of up to 20 scalars");
    }
    enum err err = ERR_OK;
    buf_init(&pack, METADATA_COUNT * (METADATA_NAME_MAX + METADATA_VALUE_MAX + 16));
    for (uint32_t i = 0; i < body.metadata.count; i++) {
        const struct json_pair *pair = &body.metadata.items[i];
        if (pair->name.len == 0 || pair->name.len > METADATA_NAME_MAX ||
            pair->value.len > METADATA_VALUE_MAX) {
            err = no(problem, "a name or value in X-Meerkat-Metadata is too long");
        }
        buf_put_slice(&pack, pair->name);
        buf_put_slice(&pack, pair->value);
        buf_put_slice(&pack, pair->is_text ? SLICE("t") : SLICE("n"));
    }
    send->metadata = arena_dup(arena, buf_slice(&pack));
    buf_fini(&pack);
    return err;
}

/* Of what makes it the same mail when it comes again: who gets it, and all of its bytes. */
static struct sha256 hash_of(const struct submit *submit, struct slice raw)
{
    struct sha256_stream stream;
    sha256_start(&stream);
    for (uint32_t i = 0; i < submit->rcpt_count; i++) {
        sha256_add(&stream, submit->rcpts[i]);
        sha256_add(&stream, SLICE("\n"));
    }
    sha256_add(&stream, SLICE("\n"));
    sha256_add(&stream, raw);
    return sha256_finish(&stream);
}

static enum err fill_idempotency(const struct submit *submit, struct slice key,
                                 struct shard_send *send, const char **problem)
{
    if (key.len == 0) {
        return ERR_OK;
    }
    if (slice_has_control(key, "")) {
        return no(problem, "X-Meerkat-Idempotency-Key holds a control character");
    }
    send->idempotency_key = key;
    send->body_hash = hash_of(submit, send->raw);
    return ERR_OK;
}

enum err submit_fill(const struct smtp_session *session, struct msg *msg, const char **problem)
{
    const struct submit *submit = &session->submit;
    struct arena *arena = &msg->arena;
    struct shard_send *send = &msg->body.send;
    struct submission said;
    *send = (struct shard_send){
        .caller = submit->caller,
        .raw = arena_dup(arena, buf_slice(&session->mail.data)),
        .tracks_opens = CHOICE_NO, /* its text is the client's, byte for byte */
        .tracks_clicks = CHOICE_NO,
        .requires_tls = submit->requires_tls,
    };
    CHECK(submit->rcpt_count > 0);
    if (send->raw.len == 0) {
        return no(problem, "the mail is empty");
    }
    enum err err = submission_read(send->raw, arena, &said, problem);
    if (err != ERR_OK) {
        return err;
    }
    send->from = said.from;
    fill_rcpts(submit, &said, arena, send);
    err = fill_tags(&said, arena, send, problem);
    if (err == ERR_OK) {
        err = fill_metadata(said.metadata, arena, send, problem);
    }
    return err == ERR_OK ? fill_idempotency(submit, said.idempotency_key, send, problem) : err;
}
