/* smtp_body.c - each byte is looked at once, and copied only where stuffing is taken out. */
#include "net/smtp_body.h"

#include "base/check.h"

static const struct smtp_refusal too_large = {552, "5.3.4", "message size exceeds the limit"};
static const struct smtp_refusal bare = {550, "5.6.11",
                                         "bare CR or LF in the message, RFC 5321 2.3.8"};
static const struct smtp_refusal nul = {550, "5.6.11", "NUL in the message, RFC 5322 2.2"};

void smtp_body_init(struct smtp_body *body, uint64_t size_max)
{
    *body = (struct smtp_body){.size_max = size_max};
    buf_init(&body->text, SMTP_CHUNK_MAX + 1); /* a CR held back comes on top */
    smtp_unstuff_init(&body->unstuffer);
}

void smtp_body_fini(struct smtp_body *body)
{
    buf_fini(&body->text);
}

void smtp_body_clear(struct smtp_body *body)
{
    smtp_body_fini(body);
    smtp_body_init(body, body->size_max);
}

const struct smtp_refusal *smtp_body_fault(const struct smtp_body *body)
{
    if (body->is_over) {
        return &too_large;
    }
    if (body->has_bare) {
        return &bare;
    }
    return body->has_nul ? &nul : NULL;
}

static struct slice look_at(struct smtp_body *body, struct slice bytes)
{
    body->bytes += bytes.len;
    body->is_over = body->is_over || body->bytes > body->size_max;
    body->has_nul = body->has_nul || slice_has_byte(bytes, '\0');
    return smtp_body_fault(body) == NULL ? bytes : SLICE("");
}

enum smtp_body_at smtp_body_data(struct smtp_body *body, struct slice *rest, struct slice *chunk)
{
    /* Stuffing adds a half at most; who goes on beyond twice the size does not want an answer. The
     * cut is at a byte, wherever the pieces begin. */
    const uint64_t wire_max = 2 * body->size_max + SMTP_SWALLOW_MORE;
    size_t len = (size_t)min_u64(SMTP_CHUNK_MAX, wire_max - body->wire_bytes);
    size_t used = 0;
    bool is_done = false;
    buf_clear(&body->text);
    smtp_unstuff(&body->unstuffer, slice_head(*rest, len), &used, &is_done, &body->text);
    CHECK(buf_err(&body->text) == ERR_OK);
    *rest = slice_from(*rest, used);
    body->wire_bytes += used;
    body->has_bare = body->unstuffer.has_bare;
    *chunk = look_at(body, buf_slice(&body->text));
    if (is_done) {
        return SMTP_BODY_END;
    }
    return body->wire_bytes == wire_max ? SMTP_BODY_CUT_OFF : SMTP_BODY_MORE;
}

void smtp_body_announce(struct smtp_body *body, uint64_t octets, bool is_last)
{
    body->octets_left = octets;
    body->is_last = is_last;
    body->is_over = body->is_over || octets > body->size_max - body->bytes;
}

enum smtp_body_at smtp_body_octets(struct smtp_body *body, struct slice *rest, struct slice *chunk)
{
    size_t len = (size_t)min_u64(SMTP_CHUNK_MAX, body->octets_left);
    struct slice bytes = slice_head(*rest, len);
    *rest = slice_from(*rest, bytes.len);
    body->octets_left -= bytes.len;
    body->has_bare = body->has_bare || smtp_has_bare(bytes, &body->is_after_cr);
    *chunk = look_at(body, bytes);
    if (body->octets_left > 0) {
        return SMTP_BODY_MORE;
    }
    body->has_bare = body->has_bare || (body->is_last && body->is_after_cr);
    return SMTP_BODY_END;
}

enum smtp_body_at smtp_body_swallow(struct smtp_body *body, struct slice *rest)
{
    size_t len = (size_t)min_u64(rest->len, body->octets_left);
    *rest = slice_from(*rest, len);
    body->octets_left -= len;
    return body->octets_left > 0 ? SMTP_BODY_MORE : SMTP_BODY_END;
}
