/* submission.c - one walk over the header for the rules, one for what is taken from it or put into
 * it. */
#include "mail/submission.h"

#include "base/check.h"
#include "base/clock.h"
#include "mail/author.h"
#include "mail/header.h"
#include "mail/mime_read.h"

#define OURS SLICE("X-Meerkat-")

/* RFC 5322 3.6, RFC 2045 3: at most one of each. */
enum single {
    SINGLE_FROM,
    SINGLE_DATE,
    SINGLE_MESSAGE_ID,
    SINGLE_MIME_VERSION,
    SINGLE_SENDER,
    SINGLE_REPLY_TO,
    SINGLE_TO,
    SINGLE_CC,
    SINGLE_SUBJECT,
    SINGLE_IN_REPLY_TO,
    SINGLE_REFERENCES,
    SINGLE_CONTENT_TYPE,
    SINGLE_CONTENT_ENCODING,
    SINGLE_COUNT
};
static const struct slice singles[SINGLE_COUNT] = {
    [SINGLE_FROM] = SLICE_INIT("From"),
    [SINGLE_DATE] = SLICE_INIT("Date"),
    [SINGLE_MESSAGE_ID] = SLICE_INIT("Message-ID"),
    [SINGLE_MIME_VERSION] = SLICE_INIT("MIME-Version"),
    [SINGLE_SENDER] = SLICE_INIT("Sender"),
    [SINGLE_REPLY_TO] = SLICE_INIT("Reply-To"),
    [SINGLE_TO] = SLICE_INIT("To"),
    [SINGLE_CC] = SLICE_INIT("Cc"),
    [SINGLE_SUBJECT] = SLICE_INIT("Subject"),
    [SINGLE_IN_REPLY_TO] = SLICE_INIT("In-Reply-To"),
    [SINGLE_REFERENCES] = SLICE_INIT("References"),
    [SINGLE_CONTENT_TYPE] = SLICE_INIT("Content-Type"),
    [SINGLE_CONTENT_ENCODING] = SLICE_INIT("Content-Transfer-Encoding"),
};

/* A header block that keeps the rules. */
struct block {
    struct slice fields; /* without the empty line */
    struct slice body;
    struct slice values[SINGLE_COUNT]; /* data NULL: there is none */
};

static enum err no(const char **problem, const char *sentence)
{
    *problem = sentence;
    return ERR_BAD_FIELD;
}

/* ---- the rules ------------------------------------------------------------------------------ */

static enum err note_single(struct block *block, const struct header_field *field,
                            const char **problem)
{
    for (size_t i = 0; i < SINGLE_COUNT; i++) {
        if (!slice_equal_nocase(field->name, singles[i])) {
            continue;
        }
        if (block->values[i].data != NULL) {
            return no(problem, i == SINGLE_FROM
                                   ? "the mail has more than one From field"
                                   : "a field that may stand once in a mail stands there twice");
        }
        block->values[i] = field->value;
    }
    return ERR_OK;
}

static enum err check_field(const struct header_field *field, const char **problem)
{
    /* RFC 5322 4.5 knew blanks before the colon; programs differ about what they mean. */
    bool is_sound = header_name_is_valid(field->name) && field->whole.len > field->name.len &&
                    field->whole.data[field->name.len] == ':';
    return is_sound ? ERR_OK : no(problem, "a line of the header is no header field");
}

static enum err read_block(struct slice raw, struct block *block, const char **problem)
{
    size_t len = header_block_len(raw);
    *block = (struct block){.fields = slice_head(raw, len), .body = slice_from(raw, len)};
    if (slice_ends(block->fields, SLICE("\r\n\r\n"))) {
        block->fields.len -= 2;
    }
    if (block->fields.len > SUBMISSION_HEADER_MAX) {
        return no(problem, "the header of the mail is too large");
    }
    if (!slice_is_utf8(block->fields)) {
        return no(problem, "the header of the mail is neither ASCII nor UTF-8");
    }
    struct slice rest = block->fields;
    struct header_field field;
    uint32_t count = 0;
    while (header_next(&rest, &field)) {
        enum err err = check_field(&field, problem);
        err = err == ERR_OK ? note_single(block, &field, problem) : err;
        if (err != ERR_OK) {
            return err;
        }
        if (++count > MIME_FIELDS_MAX) {
            return no(problem, "the mail has too many header fields");
        }
    }
    if (block->values[SINGLE_FROM].data == NULL) {
        return no(problem, "the mail has no From field");
    }
    return ERR_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Read as a list, so that a second address is seen; and as a guard of DMARC reads it, so that
 * nobody sees another author than we did. */
static enum err read_author(const struct block *block, struct arena *arena, struct addr *from,
                            const char **problem)
{
    static const char sentence[] = "the From field must hold one address";
    struct mime_read read;
    struct slice domain;
    struct slice list =
        arena_format(arena, "To:%.*s\r\n\r\n", SLICE_FMT(block->values[SINGLE_FROM]));
    if (mime_read(list, arena, &read) != ERR_OK || read.to.count != 1 ||
        addr_parse(read.to.items[0].address, arena, from) != ERR_OK ||
        author_domain(block->fields, arena, &domain) != ERR_OK ||
        !slice_equal(domain, from->domain)) {
        return no(problem, sentence);
    }
    from->name = read.to.items[0].name;
    return ERR_OK;
}

/* RFC 5322 2.2.3: only the line end goes, so that a value keeps its blanks. */
static struct slice unfold(struct slice fields, struct arena *arena)
{
    char *out = arena_bytes(arena, fields.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < fields.len; i++) {
        struct slice rest = slice_from(fields, i);
        bool is_fold = slice_starts(rest, SLICE("\r\n ")) || slice_starts(rest, SLICE("\r\n\t"));
        if (is_fold) {
            i += 1;
        } else {
            out[len++] = fields.data[i];
        }
    }
    return slice_of(out, len);
}

static uint32_t read_list(const struct mime_addr_list *list, struct arena *arena, struct addr **out)
{
    struct addr *addrs = arena_array(arena, list->count, sizeof(*addrs));
    uint32_t count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        if (addr_parse(list->items[i].address, arena, &addrs[count]) == ERR_OK) {
            addrs[count++].name = list->items[i].name;
        }
    }
    *out = addrs;
    return count;
}

static enum err read_ours(const struct mime_field *field, struct submission *mail,
                          const char **problem)
{
    struct slice name = slice_from(field->name, OURS.len);
    struct slice value = slice_trim(field->value);
    if (slice_equal_nocase(name, SLICE("Idempotency-Key"))) {
        if (value.len == 0 || value.len > IDEMPOTENCY_KEY_MAX || mail->idempotency_key.len > 0) {
            return no(problem, "X-Meerkat-Idempotency-Key stands once and has 1 to 256 characters");
        }
        mail->idempotency_key = value;
    } else if (slice_equal_nocase(name, SLICE("Metadata"))) {
        if (value.len == 0 || mail->metadata.len > 0) {
            return no(problem, "X-Meerkat-Metadata stands once and holds a JSON object");
        }
        mail->metadata = value;
    } else if (slice_equal_nocase(name, SLICE("Tag"))) {
        if (value.len == 0 || value.len > TAG_MAX || mail->tag_count == TAG_COUNT) {
            return no(problem, "X-Meerkat-Tag has 1 to 128 characters, and a mail has 20 at most");
        }
        mail->tags[mail->tag_count++] = value;
    }
    return ERR_OK;
}

enum err submission_read(struct slice raw, struct arena *arena, struct submission *mail,
                         const char **problem)
{
    struct block block;
    struct mime_read read;
    *mail = (struct submission){.to_count = 0};
    enum err err = read_block(raw, &block, problem);
    err = err == ERR_OK ? read_author(&block, arena, &mail->from, problem) : err;
    if (err != ERR_OK) {
        return err;
    }
    if (mime_read(unfold(block.fields, arena), arena, &read) != ERR_OK) {
        return no(problem, "the header of the mail is too large");
    }
    mail->to_count = read_list(&read.to, arena, &mail->to);
    mail->cc_count = read_list(&read.cc, arena, &mail->cc);
    for (uint32_t i = 0; err == ERR_OK && i < read.field_count; i++) {
        if (slice_starts_nocase(read.fields[i].name, OURS)) {
            err = read_ours(&read.fields[i], mail, problem);
        }
    }
    return err;
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool is_left_out(struct slice name)
{
    static const struct slice names[] = {SLICE_INIT("Bcc"), SLICE_INIT("Resent-Bcc"),
                                         SLICE_INIT("Return-Path"), SLICE_INIT("Feedback-ID")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_equal_nocase(name, names[i])) {
            return true;
        }
    }
    return slice_starts_nocase(name, OURS);
}

static enum err check_lines(struct slice raw, const char **problem)
{
    struct slice rest = raw;
    if (slice_has_byte(raw, '\0')) {
        return no(problem, "the mail holds a NUL");
    }
    while (rest.len > 0) {
        size_t end = slice_find_byte(rest, '\n');
        struct slice line = slice_head(rest, end == SIZE_MAX ? rest.len : end);
        if (end != SIZE_MAX) {
            if (!slice_ends(line, SLICE("\r"))) {
                return no(problem, "the mail holds a bare LF");
            }
            line.len -= 1;
        }
        if (slice_has_byte(line, '\r')) {
            return no(problem, "the mail holds a bare CR");
        }
        if (line.len > LINE_MAX_BYTES) {
            return no(problem, "a line of the mail is longer than 998 bytes");
        }
        rest = slice_from(rest, end == SIZE_MAX ? rest.len : end + 1);
    }
    return ERR_OK;
}

/* RFC 5321 4.4, but that it does not say where the mail was written: the address of somebody's desk
 * is nothing that his readers need. Not signed, as nothing is that relays add. */
static void write_received(const struct submission_adds *adds, struct buf *out)
{
    char date[CLOCK_TEXT_MAX];
    if (adds->hostname.len == 0) {
        return;
    }
    (void)clock_rfc5322(adds->date_unix_ms, date); /* terminated */
    buf_add_format(out, "Received: by %.*s with ESMTPSA\r\n\tid %.*s;\r\n\t%s\r\n",
                   SLICE_FMT(adds->hostname), SLICE_FMT(adds->id), date);
}

static void write_missing(const struct block *block, const struct submission_adds *adds,
                          struct buf *out)
{
    if (block->values[SINGLE_DATE].data == NULL) {
        char date[CLOCK_TEXT_MAX];
        (void)clock_rfc5322(adds->date_unix_ms, date); /* terminated */
        buf_add_format(out, "Date: %s\r\n", date);
    }
    if (block->values[SINGLE_MESSAGE_ID].data == NULL) {
        buf_add_format(out, "Message-ID: <%.*s>\r\n", SLICE_FMT(adds->message_id));
    }
    if (block->values[SINGLE_MIME_VERSION].data == NULL) {
        buf_add_str(out, "MIME-Version: 1.0\r\n");
    }
    if (adds->feedback_id.len > 0) {
        header_write_structured(out, SLICE("Feedback-ID"), adds->feedback_id);
    }
}

enum err submission_write(struct slice raw, const struct submission_adds *adds, struct buf *out,
                          struct submission_written *written, const char **problem)
{
    struct block block;
    struct header_field field;
    size_t start = out->len;
    enum err err = check_lines(raw, problem);
    err = err == ERR_OK ? read_block(raw, &block, problem) : err;
    if (err != ERR_OK) {
        return err;
    }
    struct slice rest = block.fields;
    write_received(adds, out);
    while (header_next(&rest, &field)) {
        if (!is_left_out(field.name)) {
            buf_add(out, field.whole);
            buf_add_str(out, slice_ends(field.whole, SLICE("\r\n")) ? "" : "\r\n");
        }
    }
    write_missing(&block, adds, out);
    buf_add_str(out, "\r\n");
    written->header_len = out->len - start;
    written->is_utf8 = !slice_is_ascii(block.fields);
    written->is_8bit = !slice_is_ascii(block.body);
    buf_add(out, block.body);
    if (block.body.len > 0 && !slice_ends(block.body, SLICE("\r\n"))) {
        buf_add_str(out, "\r\n"); /* of chunks; a mail ends with a line */
    }
    return buf_err(out);
}
