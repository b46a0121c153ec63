/* api_attachment.c - attachments by signed link, for whoever has one.
 *
 *      signature --> expiry --> row --> range --> chunks, one message at a time --> answer
 *
 * The signature comes first, so that a stranger learns nothing about what there is. An attachment
 * is whatever somebody mailed: it is always handed out as a file to be saved, never shown as a page
 * of ours.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/attachment_link.h"

#include <stdio.h>
#include <string.h>

#define ROW_ALONE UINT32_MAX /* the number of no chunk */

/* What is left to fetch. In request->keep, by request->chain. */
struct download {
    struct attachment_ref ref;
    uint64_t first; /* of the bytes that are answered */
    uint64_t end;   /* behind the last */
    uint64_t size;
    uint32_t chunk;
    bool is_part;
    struct slice type;
    struct slice filename;
};

static bool read_link(struct request *request, struct attachment_ref *ref);
static void ask(struct request *request, uint32_t chunk, request_msg_fn *on_return);
static void on_row(struct request *request, struct msg *msg);
static void on_chunk(struct request *request, struct msg *msg);
static bool read_range(struct request *request, struct download *down);
static void refuse_range(struct request *request, const struct download *down);
static void answer(struct request *request, const struct download *down);
static void add_disposition(struct buf *out, struct slice filename);
static bool is_media_type(struct slice type);

void api_attachment(struct request *request)
{
    struct download *down = arena_alloc(&request->keep, sizeof(*down));
    if (!read_link(request, &down->ref)) {
        api_fail(request, ERR_BAD_SIGNATURE);
        return;
    }
    if (down->ref.expires_s <= clock_unix_ms() / 1000) {
        api_fail(request, ERR_EXPIRED);
        return;
    }
    request->chain = down;
    ask(request, ROW_ALONE, on_row);
}

/* False unless it is a link of ours, unaltered. */
static bool read_link(struct request *request, struct attachment_ref *ref)
{
    struct slice text;
    struct slice sig;
    uint64_t index;
    if (id_parse(ID_MESSAGE, request->params[0], &ref->mail) != ERR_OK ||
        slice_uint(request->params[1], UINT32_MAX, &index) != ERR_OK ||
        !http_query_get(&request->http, SLICE("exp"), &request->arena, &text) ||
        slice_uint(text, UINT64_MAX / 1000, &ref->expires_s) != ERR_OK ||
        !http_query_get(&request->http, SLICE("sig"), &request->arena, &sig)) {
        return false;
    }
    ref->index = (uint32_t)index;
    return attachment_link_is_good(&request->edge->attachment_key, ref, sig);
}

/* ---- fetching ------------------------------------------------------------------------------- */

static void ask(struct request *request, uint32_t chunk, request_msg_fn *on_return)
{
    struct download *down = request->chain;
    struct msg *msg = api_take(request, MSG_SHARD_ATTACHMENT);
    if (msg != NULL) {
        struct actor *shard = place_shard(request->edge->place, id_account(down->ref.mail));
        msg->body.attachment.mail = down->ref.mail;
        msg->body.attachment.index = down->ref.index;
        msg->body.attachment.chunk = chunk;
        /* Apart: the request keeps its arena, where its headers are. */
        api_post_apart(request, shard, msg, on_return);
    }
}

static void on_row(struct request *request, struct msg *msg)
{
    struct download *down = request->chain;
    const struct row_attachment *row = &msg->body.attachment.row;
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    down->size = row->size_bytes;
    down->type = arena_dup(&request->keep, row->content_type);
    down->filename = arena_dup(&request->keep, slice_head(row->filename, ATTACHMENT_NAME_MAX));
    if (!read_range(request, down)) {
        refuse_range(request, down);
        return;
    }
    /* Strangers with slow lines leave room for those who have a credential. */
    if (request->edge->body_bytes + (down->end - down->first) > EDGE_LINK_BYTES) {
        api_fail(request, ERR_BUSY);
        return;
    }
    if (!api_reserve(request, down->end - down->first)) {
        return;
    }
    if (down->first == down->end) {
        answer(request, down);
        return;
    }
    down->chunk = (uint32_t)(down->first / CHUNK_BYTES);
    ask(request, down->chunk, on_chunk);
}

/* Each chunk gives what the range wants of it. */
static void on_chunk(struct request *request, struct msg *msg)
{
    struct download *down = request->chain;
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    uint64_t have = down->first + request->gathered.len;
    struct slice data = slice_from(msg->body.attachment.data, (size_t)(have % CHUNK_BYTES));
    buf_add(&request->gathered, slice_head(data, (size_t)(down->end - have)));
    if (data.len == 0 || buf_err(&request->gathered) != ERR_OK) {
        api_fail(request, ERR_CORRUPT);
        return;
    }
    if (down->first + request->gathered.len < down->end) {
        ask(request, ++down->chunk, on_chunk);
        return;
    }
    answer(request, down);
}

/* ---- ranges --------------------------------------------------------------------------------- */

/* One range of bytes, RFC 9110 14. What is not understood is ignored, and so is a range with an
 * If-Range: nothing that a client could name there was ever sent. False: it is beyond the end. */
static bool read_range(struct request *request, struct download *down)
{
    struct slice text = http_header_get(&request->http, SLICE("range"));
    bool is_conditional = http_header_get(&request->http, SLICE("if-range")).len > 0;
    uint64_t first = 0;
    uint64_t last = UINT64_MAX;
    down->first = 0;
    down->end = down->size;
    if (!slice_starts_nocase(text, SLICE("bytes=")) || slice_has_byte(text, ',') ||
        is_conditional) {
        return true;
    }
    text = slice_from(text, sizeof("bytes=") - 1);
    size_t dash = slice_find_byte(text, '-');
    if (dash == SIZE_MAX) {
        return true;
    }
    struct slice from = slice_trim(slice_head(text, dash));
    struct slice to = slice_trim(slice_from(text, dash + 1));
    if ((from.len > 0 && slice_u64(from, &first) != ERR_OK) ||
        (to.len > 0 && slice_u64(to, &last) != ERR_OK) || (from.len == 0 && to.len == 0) ||
        (from.len > 0 && last < first)) {
        return true;
    }
    if (from.len == 0) { /* the last so many */
        first = last < down->size ? down->size - last : 0;
        if (last == 0) {
            return false;
        }
        last = UINT64_MAX;
    }
    if (first >= down->size) {
        return false;
    }
    down->first = first;
    down->end = last < down->size ? last + 1 : down->size;
    down->is_part = true;
    return true;
}

static void refuse_range(struct request *request, const struct download *down)
{
    char more[64];
    struct api_content content = {.type = SLICE("")};
    (void)snprintf(more, sizeof more, "content-range: bytes */%llu\r\n", /* it fits */
                   (unsigned long long)down->size);
    api_send_more(request, 416, &content, more);
}

/* ---- answer --------------------------------------------------------------------------------- */

static void answer(struct request *request, const struct download *down)
{
    struct api_content content = {
        .type = is_media_type(down->type) ? down->type : SLICE("application/octet-stream"),
        .body = buf_slice(&request->gathered),
    };
    struct buf more;
    buf_init(&more, 2 * KIB);
    add_disposition(&more, down->filename);
    buf_add_str(&more, "content-security-policy: sandbox; default-src 'none'\r\n"
                       "cache-control: private, max-age=3600\r\n"
                       "accept-ranges: bytes\r\n");
    if (down->is_part) {
        buf_add_format(&more, "content-range: bytes %llu-%llu/%llu\r\n",
                       (unsigned long long)down->first, (unsigned long long)down->end - 1,
                       (unsigned long long)down->size);
    }
    const char *text = arena_cstr(&request->keep, buf_slice(&more));
    buf_fini(&more);
    api_send_more(request, down->is_part ? 206 : 200, &content, text);
}

/* RFC 6266: a name of plain ASCII for everybody, the true one in UTF-8 (RFC 8187) for the rest. */
static void add_disposition(struct buf *out, struct slice filename)
{
    static const char hex[] = "0123456789ABCDEF";
    struct slice name = filename.len > 0 ? filename : SLICE("attachment");
    buf_add_str(out, "content-disposition: attachment; filename=\"");
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_plain = c >= ' ' && c <= '~' && !memchr("\"\\%/", c, 4);
        buf_add_byte(out, is_plain ? c : '_');
    }
    buf_add_str(out, "\"; filename*=UTF-8''");
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (ascii_is_alpha((char)c) || ascii_is_digit((char)c) || memchr("-._~", c, 4)) {
            buf_add_byte(out, (char)c);
        } else {
            buf_add_byte(out, '%');
            buf_add_byte(out, hex[c >> 4]);
            buf_add_byte(out, hex[c & 15]);
        }
    }
    buf_add_str(out, "\r\n");
}

/* type "/" subtype, RFC 6838 4.2, without parameters. */
static bool is_media_type(struct slice type)
{
    size_t slash = slice_find_byte(type, '/');
    if (slash == SIZE_MAX || slash == 0 || slash + 1 == type.len || type.len > 127) {
        return false;
    }
    for (size_t i = 0; i < type.len; i++) {
        char c = type.data[i];
        if (i != slash && !ascii_is_alpha(c) && !ascii_is_digit(c) && !memchr("!#$&-^_.+", c, 9)) {
            return false;
        }
    }
    return true;
}
