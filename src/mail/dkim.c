/* dkim.c - see dkim.h.
 *
 * The body canonicaliser owes what it has not decided yet: empty lines that may turn out to be the
 * last, white space that may turn out to end a line. The next ordinary byte pays both.
 *
 *   text ----> WSP: owe a space ----> CRLF: forget it; line end now, or one more line owed if empty
 *    ^                                       |
 *    +---- ordinary byte: pay owed lines, then the owed space, then the byte <----+
 */
#include "mail/dkim.h"

#include "base/limits.h"
#include "mail/header.h"
#include "mail/tags.h"

#include <inttypes.h>
#include <stdio.h>
#include <endian.h>
#include <string.h>

#define STAGE_BYTES 1024 /* canonical bytes collected before they are hashed */
#define LINE_WANTED 78

struct stage {
    struct dkim_body *body;
    size_t len;
    char bytes[STAGE_BYTES];
};

struct signed_name {
    struct slice name;
    bool is_oversigned; /* named once more than it occurs */
};

static void stage_add(struct stage *stage, const char *bytes, size_t len);
static void stage_flush(struct stage *stage);
static void end_line(struct dkim_body *body, struct stage *stage);
static void pay_owed(struct dkim_body *body, struct stage *stage);
static bool is_signed(struct slice name);
static enum err list_fields(struct slice block, struct arena *arena, struct header_field **fields,
                            size_t *count);
static void sign_fields(const struct header_field *fields, size_t count, struct buf *names,
                        struct buf *canonical);
static void add_name(struct buf *names, struct slice name);
static void write_tag(struct buf *out, size_t *column, const char *tag, struct slice value);
static void write_unsigned(const struct dkim_signer *signer, struct slice names,
                           const struct sha256 *body_hash, struct buf *out);
static enum err finish_field(const struct dkim_signer *signer, struct buf *canonical,
                             struct buf *out, struct arena *arena);
static void write_signature(struct buf *out, struct slice signature);
static bool equal_but_space(struct slice spaced, struct slice plain);

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Behind an ordinary byte: how far eight bytes at a time lead, none of them below space and no two
 * spaces side by side. What is behind the byte reached is for who asks to look at. */
static size_t skip_words(struct slice data, size_t end)
{
    const uint64_t ones = 0x0101010101010101;
    const uint64_t tops = 0x80 * ones;
    while (data.len - end >= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, data.data + end, sizeof word);
        word = le64toh(word); /* the first byte is the lowest */
        uint64_t other = word ^ (' ' * ones);
        uint64_t spaces = ~(((other & ~tops) + ~tops) | other | ~tops); /* the tops of spaces */
        bool has_low = ((word - ' ' * ones) & ~word & tops) != 0;
        if (has_low || (spaces & (spaces << 8)) != 0) {
            break;
        }
        if (spaces >> 63 != 0) {
            return end + sizeof word - 1; /* it may be the first of two */
        }
        end += sizeof word;
    }
    return end;
}

/* The length of the run from `at` on that stays as it is: bytes above space, and single spaces
 * between two such. The first byte is ordinary, whatever it is; others below space are rare and
 * start a run of their own. */
static size_t run_len(struct slice data, size_t at)
{
    const uint8_t *bytes = (const uint8_t *)data.data;
    size_t end = at + 1;

    for (;;) {
        end = skip_words(data, end);
        while (end < data.len && bytes[end] > ' ') {
            end++;
        }
        if (end + 1 >= data.len || bytes[end] != ' ' || bytes[end + 1] <= ' ') {
            return end - at;
        }
        end += 2;
    }
}

/* As above when white space is kept: up to the next line end, or what could become one. */
static size_t line_run_len(struct slice data, size_t at)
{
    size_t end = at + 1;

    while (end < data.len && data.data[end] != '\r' && data.data[end] != '\n') {
        end++;
    }
    return end - at;
}

void dkim_body_start(struct dkim_body *body)
{
    dkim_body_start_as(body, DKIM_RELAXED, UINT64_MAX);
}

void dkim_body_start_as(struct dkim_body *body, enum dkim_canon canon, uint64_t limit)
{
    *body = (struct dkim_body){
        .limit = limit, .is_simple = canon == DKIM_SIMPLE, .is_line_empty = true};
    sha256_start(&body->digest);
}

void dkim_body_add(struct dkim_body *body, struct slice data)
{
    struct stage stage = {.body = body, .len = 0};
    size_t at = 0;

    while (at < data.len) {
        char c = data.data[at];
        if (body->is_after_cr && c != '\n') {
            pay_owed(body, &stage);
            stage_add(&stage, "\r", 1);
        }
        body->is_after_cr = c == '\r';
        if (c == '\n') {
            end_line(body, &stage);
            at++;
        } else if (c == '\r') {
            at++;
        } else if (is_blank(c) && !body->is_simple) {
            body->is_in_space = true;
            at++;
        } else {
            size_t len = body->is_simple ? line_run_len(data, at) : run_len(data, at);
            pay_owed(body, &stage);
            stage_add(&stage, data.data + at, len);
            at += len;
        }
    }
    stage_flush(&stage);
}

struct sha256 dkim_body_finish(struct dkim_body *body)
{
    struct stage stage = {.body = body, .len = 0};

    if (body->is_after_cr) {
        pay_owed(body, &stage);
        stage_add(&stage, "\r", 1);
    }
    /* The last line ends in CRLF whether it had one or not, RFC 6376 3.4.4; to the simple form even
     * no line does, 3.4.3. */
    if (!body->is_line_empty || (body->is_simple && body->total_bytes == 0)) {
        stage_add(&stage, "\r\n", 2);
    }
    stage_flush(&stage);
    return sha256_finish(&body->digest);
}

void dkim_body_drop(struct dkim_body *body)
{
    sha256_drop(&body->digest);
}

static void end_line(struct dkim_body *body, struct stage *stage)
{
    if (body->is_line_empty) {
        body->pending_lines++;
    } else {
        stage_add(stage, "\r\n", 2);
    }
    body->is_in_space = false;
    body->is_line_empty = true;
}

/* Before an ordinary byte. */
static void pay_owed(struct dkim_body *body, struct stage *stage)
{
    for (; body->pending_lines > 0; body->pending_lines--) {
        stage_add(stage, "\r\n", 2);
    }
    if (body->is_in_space) {
        stage_add(stage, " ", 1);
    }
    body->is_in_space = false;
    body->is_line_empty = false;
}

static void stage_add(struct stage *stage, const char *bytes, size_t len)
{
    struct dkim_body *body = stage->body;
    uint64_t room = body->total_bytes < body->limit ? body->limit - body->total_bytes : 0;

    body->total_bytes += len;
    len = (size_t)min_u64(len, room);
    if (len > STAGE_BYTES - stage->len) {
        stage_flush(stage);
    }
    if (len > STAGE_BYTES) {
        sha256_add(&body->digest, slice_of(bytes, len));
        return;
    }
    memcpy(stage->bytes + stage->len, bytes, len);
    stage->len += len;
}

static void stage_flush(struct stage *stage)
{
    if (stage->len > 0) {
        sha256_add(&stage->body->digest, slice_of(stage->bytes, stage->len));
        stage->len = 0;
    }
}

/* ---- header fields -------------------------------------------------------------------------- */

void dkim_relax_header(struct slice name, struct slice value, struct buf *out)
{
    bool is_space_owed = false;

    name = slice_trim(name);
    value = slice_trim(value);
    for (size_t i = 0; i < name.len; i++) {
        buf_add_byte(out, ascii_lower(name.data[i]));
    }
    buf_add_byte(out, ':');
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        /* Line ends of folding vanish; the white space behind them stays. */
        if (c == '\n' || (c == '\r' && i + 1 < value.len && value.data[i + 1] == '\n')) {
            continue;
        }
        if (is_blank(c)) {
            is_space_owed = true;
            continue;
        }
        if (is_space_owed) {
            buf_add_byte(out, ' ');
            is_space_owed = false;
        }
        buf_add_byte(out, c);
    }
    buf_add(out, SLICE("\r\n"));
}

/* ---- signing -------------------------------------------------------------------------------- */

/* RFC 6376 5.4.1, and RFC 8058 4 for List-Unsubscribe. Over-signed is what a reader sees and what
 * decides how the body is read. Not signed: what relays add or change (Received, Return-Path). */
static const struct signed_name SIGNED_NAMES[] = {
    {SLICE_INIT("from"), true},
    {SLICE_INIT("to"), true},
    {SLICE_INIT("cc"), true},
    {SLICE_INIT("reply-to"), true},
    {SLICE_INIT("subject"), true},
    {SLICE_INIT("date"), true},
    {SLICE_INIT("message-id"), true},
    {SLICE_INIT("mime-version"), true},
    {SLICE_INIT("content-type"), true},
    {SLICE_INIT("content-transfer-encoding"), true},
    {SLICE_INIT("sender"), false},
    {SLICE_INIT("in-reply-to"), false},
    {SLICE_INIT("references"), false},
    {SLICE_INIT("feedback-id"), false},
    {SLICE_INIT("auto-submitted"), false},
    {SLICE_INIT("list-id"), false},
    {SLICE_INIT("list-help"), false},
    {SLICE_INIT("list-unsubscribe"), false},
    {SLICE_INIT("list-unsubscribe-post"), false},
    {SLICE_INIT("list-subscribe"), false},
    {SLICE_INIT("list-post"), false},
    {SLICE_INIT("list-owner"), false},
    {SLICE_INIT("list-archive"), false},
    {SLICE_INIT("content-disposition"), false},
};

enum err dkim_sign(const struct dkim_signer *signer, struct slice header_block,
                   const struct sha256 *body_hash, struct arena *arena, struct slice *field)
{
    struct header_field *fields = NULL;
    struct buf names;
    struct buf canonical;
    struct buf out;
    size_t count = 0;
    bool has_from = false;

    if (header_block.len > DKIM_HEADER_MAX) {
        return ERR_TOO_LARGE;
    }
    enum err err = list_fields(header_block, arena, &fields, &count);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < count; i++) {
        has_from = has_from || slice_equal_nocase(fields[i].name, SLICE("From"));
    }
    if (!has_from) {
        return ERR_INVALID; /* RFC 6376 5.4: From must be signed */
    }
    buf_init(&names, 8 * DKIM_HEADER_MAX);
    buf_init(&canonical, 8 * DKIM_HEADER_MAX);
    buf_init(&out, 8 * DKIM_HEADER_MAX);
    sign_fields(fields, count, &names, &canonical);
    write_unsigned(signer, buf_slice(&names), body_hash, &out);
    err = finish_field(signer, &canonical, &out, arena);
    if (err == ERR_OK) {
        char *text = arena_try(arena, out.len);
        if (text != NULL) {
            memcpy(text, out.data, out.len);
            *field = slice_of(text, out.len);
        } else {
            err = ERR_TOO_LARGE;
        }
    }
    buf_fini(&names);
    buf_fini(&canonical);
    buf_fini(&out);
    return err;
}

/* The fields that are signed, in the order of the header. */
static enum err list_fields(struct slice block, struct arena *arena, struct header_field **fields,
                            size_t *count)
{
    struct slice rest = block;
    struct header_field field;
    size_t total = 0;
    size_t kept = 0;

    while (header_next(&rest, &field)) {
        total += is_signed(field.name);
    }
    struct header_field *list = arena_try(arena, (total + 1) * sizeof *list);
    if (list == NULL) {
        return ERR_TOO_LARGE;
    }
    rest = block;
    while (kept < total && header_next(&rest, &field)) {
        if (is_signed(field.name)) {
            list[kept++] = field;
        }
    }
    *fields = list;
    *count = kept;
    return ERR_OK;
}

static bool is_signed(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(SIGNED_NAMES); i++) {
        if (slice_equal_nocase(name, SIGNED_NAMES[i].name)) {
            return true;
        }
    }
    return false;
}

/* Instances of a name are taken from the bottom up (RFC 6376 5.4.2); a name beyond the last stands
 * for an absent field, which adds nothing to what is hashed and forbids one to appear. */
static void sign_fields(const struct header_field *fields, size_t count, struct buf *names,
                        struct buf *canonical)
{
    for (size_t n = 0; n < ARRAY_LEN(SIGNED_NAMES); n++) {
        for (size_t i = count; i > 0; i--) {
            const struct header_field *field = &fields[i - 1];
            if (slice_equal_nocase(field->name, SIGNED_NAMES[n].name)) {
                dkim_relax_header(field->name, field->value, canonical);
                add_name(names, SIGNED_NAMES[n].name);
            }
        }
        if (SIGNED_NAMES[n].is_oversigned) {
            add_name(names, SIGNED_NAMES[n].name);
        }
    }
}

static void add_name(struct buf *names, struct slice name)
{
    if (names->len > 0) {
        buf_add_byte(names, ':');
    }
    buf_add(names, name);
}

/* The field up to "b=". */
static void write_unsigned(const struct dkim_signer *signer, struct slice names,
                           const struct sha256 *body_hash, struct buf *out)
{
    char hash[48];
    char seconds[24];
    size_t column = 0;

    size_t hash_len = base64_encode(sha256_slice(body_hash), hash);
    int seconds_len = snprintf(seconds, sizeof seconds, "%" PRIu64, signer->time_s);

    buf_add(out, SLICE("DKIM-Signature: v=1;"));
    column = out->len;
    switch (sign_key_algo(signer->key)) {
    case SIGN_RSA_SHA256:
        write_tag(out, &column, "a=", SLICE("rsa-sha256"));
        break;
    case SIGN_ED25519:
        write_tag(out, &column, "a=", SLICE("ed25519-sha256"));
        break;
    }
    write_tag(out, &column, "c=", SLICE("relaxed/relaxed"));
    write_tag(out, &column, "d=", signer->domain);
    write_tag(out, &column, "s=", signer->selector);
    write_tag(out, &column, "t=", slice_of(seconds, (size_t)seconds_len));

    /* Names may be folded behind their colons, RFC 6376 3.5. */
    buf_add(out, SLICE("\r\n\th="));
    column = 3;
    while (names.data != NULL) {
        struct slice name = slice_cut(&names, ':');
        if (column + name.len + 1 > LINE_WANTED) {
            buf_add(out, SLICE("\r\n\t "));
            column = 2;
        }
        buf_add(out, name);
        buf_add_byte(out, names.data != NULL ? ':' : ';');
        column += name.len + 1;
    }
    write_tag(out, &column, "bh=", slice_of(hash, hash_len));
    buf_add(out, SLICE("\r\n\tb="));
}

static void write_tag(struct buf *out, size_t *column, const char *tag, struct slice value)
{
    size_t len = strlen(tag) + value.len + 1;

    if (*column + 1 + len > LINE_WANTED) {
        buf_add(out, SLICE("\r\n\t"));
        *column = 1;
    } else {
        buf_add_byte(out, ' ');
        *column += 1;
    }
    buf_add_str(out, tag);
    buf_add(out, value);
    buf_add_byte(out, ';');
    *column += len;
}

/* The signature field itself comes last of what is hashed, with an empty b= and without CRLF, RFC
 * 6376 3.7; then its signature follows. */
static enum err finish_field(const struct dkim_signer *signer, struct buf *canonical,
                             struct buf *out, struct arena *arena)
{
    struct slice value = buf_slice(out);
    struct slice name = slice_cut(&value, ':');
    struct slice signature;

    dkim_relax_header(name, value, canonical);
    enum err err = buf_err(canonical);
    if (err != ERR_OK) {
        return err;
    }
    struct sha256 digest = crypto_sha256(slice_head(buf_slice(canonical), canonical->len - 2));
    err = sign_key_sign(signer->key, &digest, arena, &signature);
    if (err != ERR_OK) {
        return err;
    }
    write_signature(out, base64_arena(arena, signature));
    return buf_err(out);
}

static void write_signature(struct buf *out, struct slice signature)
{
    size_t room = LINE_WANTED - 6;

    while (signature.len > 0) {
        struct slice line = slice_head(signature, room);
        buf_add(out, line);
        signature = slice_from(signature, line.len);
        if (signature.len > 0) {
            buf_add(out, SLICE("\r\n\t "));
        }
    }
    buf_add(out, SLICE("\r\n"));
}

/* ---- records -------------------------------------------------------------------------------- */

struct slice dkim_record(enum sign_algo algo, struct slice public_text, struct arena *arena)
{
    const char *type = NULL;

    switch (algo) {
    case SIGN_RSA_SHA256:
        type = "rsa";
        break;
    case SIGN_ED25519:
        type = "ed25519";
        break;
    }
    return arena_format(arena, "v=DKIM1; k=%s; p=%.*s", type, SLICE_FMT(public_text));
}

bool dkim_record_matches(struct slice record, enum sign_algo algo, struct slice public_text)
{
    struct dkim_key key;

    return dkim_key_read(record, &key) == NULL && key.is_for_mail && key.is_for_sha256 &&
           slice_equal(key.type, algo == SIGN_ED25519 ? SLICE("ed25519") : SLICE("rsa")) &&
           key.public_text.len > 0 && equal_but_space(key.public_text, public_text);
}

const char *dkim_key_read(struct slice record, struct dkim_key *key)
{
    struct tag_list list;
    const struct tag *tag = NULL;

    if (tags_parse(record, &list) != TAGS_OK) {
        return "the key record is malformed";
    }
    tag = tags_find(&list, SLICE("v"));
    if (tag != NULL && (tag != list.tags || !slice_equal(tag->value, SLICE("DKIM1")))) {
        return "the key record is of another version";
    }
    const struct tag *public = tags_find(&list, SLICE("p"));
    if (public == NULL) {
        return "the key record holds no key";
    }
    *key = (struct dkim_key){.type = SLICE("rsa"), /* RFC 6376 3.6.1: the default */
                             .public_text = public->value,
                             .is_for_sha256 = true,
                             .is_for_mail = true};
    if ((tag = tags_find(&list, SLICE("k"))) != NULL) {
        key->type = tag->value;
    }
    if ((tag = tags_find(&list, SLICE("h"))) != NULL) {
        key->is_for_sha256 = tags_list_has(tag->value, SLICE("sha256"));
    }
    if ((tag = tags_find(&list, SLICE("s"))) != NULL) {
        key->is_for_mail =
            tags_list_has(tag->value, SLICE("email")) || tags_list_has(tag->value, SLICE("*"));
    }
    if ((tag = tags_find(&list, SLICE("t"))) != NULL) {
        key->is_testing = tags_list_has(tag->value, SLICE("y"));
        key->is_exact = tags_list_has(tag->value, SLICE("s"));
    }
    return NULL;
}

static bool equal_but_space(struct slice spaced, struct slice plain)
{
    size_t at = 0;

    for (size_t i = 0; i < spaced.len; i++) {
        if (ascii_is_space(spaced.data[i])) {
            continue;
        }
        if (at == plain.len || spaced.data[i] != plain.data[at]) {
            return false;
        }
        at++;
    }
    return at == plain.len;
}
