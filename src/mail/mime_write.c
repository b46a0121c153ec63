/* mime_write.c - see mime_write.h.
 *
 * Two passes over each body: one counts what decides the encoding, one writes straight into the
 * output. Line ends of any kind are made CRLF by a reader of lines that both passes share.
 */
#include "mail/mime_write.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "mail/header.h"

#include <string.h>

#define QP_LINE         76  /* RFC 2045 6.7 (5) */
#define QP_PIECE        512 /* bytes between two requests for room */
#define BASE64_LINE     76  /* RFC 2045 6.8 */
#define BASE64_GROUP    57  /* bytes that fill such a line */
#define BOUNDARY_RANDOM 22  /* 131 bits: no body contains it by chance or by design */
#define REPLY_ID_MAX    900 /* an id must fit one line */

enum level { LEVEL_MIXED, LEVEL_RELATED, LEVEL_ALTERNATIVE };

struct writer {
    const struct mime_mail *mail;
    struct buf *out;
    struct mime_spans *spans;
    struct buf scratch; /* one structured value at a time */
    size_t start;       /* of the mail in out */
    uint32_t inline_count;
    uint32_t attached_count;
    char random[BOUNDARY_RANDOM];
};

/* Lines of a text whose lines end in CRLF, LF or CR. The next LF is remembered, so that a text full
 * of CRs is not searched again for each. */
struct line_reader {
    struct slice text;
    size_t at;
    size_t lf;
};

struct text_scan {
    uint64_t bytes;    /* without line ends */
    uint64_t unsafe;   /* control bytes and 8-bit bytes */
    uint64_t equals;   /* '=', which only quoted-printable escapes */
    uint64_t line_end; /* lines that end */
    uint64_t longest;
    bool has_8bit;
    bool has_nul;
    bool has_bare_cr;
    bool has_from; /* a line that mbox files would alter, and with it the signature */
};

static void reserve(struct writer *writer);
static void write_fields(struct writer *writer);
static void write_addrs(struct writer *writer, struct slice name, const struct addr *addrs,
                        uint32_t count);
static void write_reply_ids(struct writer *writer);
static void write_customer_fields(struct writer *writer);
static bool has_customer_field(const struct mime_mail *mail, struct slice name);
static void write_mixed(struct writer *writer);
static void write_related(struct writer *writer);
static void write_alternative(struct writer *writer);
static void open_multipart(struct writer *writer, enum level level, struct slice root_type);
static void next_part(struct writer *writer, enum level level, bool is_first);
static void close_multipart(struct writer *writer, enum level level);
static void end_fields(struct writer *writer);
static void write_text_part(struct writer *writer, struct slice subtype, struct slice text,
                            struct mime_span *span);
static void write_attachment(struct writer *writer, const struct mime_attachment *attachment);
static bool is_inline(const struct mime_mail *mail, const struct mime_attachment *attachment);
static struct text_scan scan_text(struct slice text);
static enum mime_encoding choose_encoding(const struct text_scan *scan);
static void write_lines(struct buf *out, struct slice text);
static void write_qp(struct buf *out, struct slice text);
static void write_base64(struct buf *out, struct slice data);
static void write_base64_text(struct buf *out, struct slice text);
static size_t decode_qp(struct slice content, char *to);
static size_t decode_base64(struct slice content, char *to);

/* What quoted-printable does with a byte: 0 as it is, 1 escaped and unfit for 7bit, 2 escaped. */
#define ROW(value)                                                                                 \
    value, value, value, value, value, value, value, value, value, value, value, value, value,     \
        value, value, value
static const uint8_t QP_CLASS[256] = {
    1,      1,      1,      1,      1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, /* tab */
    ROW(1), ROW(0),                                                     /* controls, punctuation */
    0,      0,      0,      0,      0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, /* '=' */
    ROW(0), ROW(0), ROW(0),                                             /* letters */
    0,      0,      0,      0,      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, /* DEL */
    ROW(1), ROW(1), ROW(1), ROW(1),                                     /* 8-bit */
    ROW(1), ROW(1), ROW(1), ROW(1),
};

enum err mime_write(const struct mime_mail *mail, struct buf *out, struct mime_spans *spans)
{
    struct writer writer = {.mail = mail, .out = out, .spans = spans, .start = out->len};

    *spans = (struct mime_spans){.header_len = 0};
    for (uint32_t i = 0; i < mail->attachment_count; i++) {
        if (is_inline(mail, &mail->attachments[i])) {
            writer.inline_count++;
        } else {
            writer.attached_count++;
        }
    }
    crypto_random_base62(writer.random, sizeof writer.random);
    buf_init(&writer.scratch, out->max_bytes);
    reserve(&writer);
    write_fields(&writer);
    write_mixed(&writer);
    if (!slice_ends(buf_slice(out), SLICE("\r\n"))) {
        buf_add(out, SLICE("\r\n"));
    }
    enum err err = buf_err(&writer.scratch);
    buf_fini(&writer.scratch);
    return err != ERR_OK ? err : buf_err(out);
}

/* One allocation for nearly every mail. The guess stays below the ceiling, where asking for room
 * would already be an overflow. */
static void reserve(struct writer *writer)
{
    const struct mime_mail *mail = writer->mail;
    struct buf *out = writer->out;
    size_t guess = 2048 + mail->text.len / 4 * 5 + mail->html.len / 4 * 5;

    for (uint32_t i = 0; i < mail->attachment_count; i++) {
        guess += 512 + mail->attachments[i].data.len / 8 * 11;
    }
    if (out->is_over || guess > out->max_bytes - out->len) {
        return;
    }
    char *room = buf_room(out, guess);
    (void)room; /* asked for its side effect: the block has grown */
}

/* ---- header fields -------------------------------------------------------------------------- */

static void write_fields(struct writer *writer)
{
    const struct mime_mail *mail = writer->mail;
    char date[CLOCK_TEXT_MAX];

    size_t date_len = clock_rfc5322(mail->date_unix_ms, date);
    header_write_structured(writer->out, SLICE("Date"), slice_of(date, date_len));
    write_addrs(writer, SLICE("From"), &mail->from, 1);
    write_addrs(writer, SLICE("To"), mail->to, mail->to_count);
    if (mail->to_count == 0 && mail->cc_count == 0) {
        buf_add(writer->out, SLICE("To: undisclosed-recipients:;\r\n")); /* RFC 5322 A.1.3 */
    }
    write_addrs(writer, SLICE("Cc"), mail->cc, mail->cc_count);
    write_addrs(writer, SLICE("Reply-To"), mail->reply_to, mail->reply_to_count);
    if (mail->subject.len > 0) {
        header_write_text(writer->out, SLICE("Subject"), mail->subject);
    }
    buf_clear(&writer->scratch);
    buf_add_byte(&writer->scratch, '<');
    buf_add(&writer->scratch, mail->message_id);
    buf_add_byte(&writer->scratch, '>');
    header_write_structured(writer->out, SLICE("Message-ID"), buf_slice(&writer->scratch));
    write_reply_ids(writer);
    if (mail->feedback_id.len > 0) {
        header_write_structured(writer->out, SLICE("Feedback-ID"), mail->feedback_id);
    }
    write_customer_fields(writer);
    buf_add(writer->out, SLICE("MIME-Version: 1.0\r\n"));
}

static void write_addrs(struct writer *writer, struct slice name, const struct addr *addrs,
                        uint32_t count)
{
    if (count == 0) {
        return;
    }
    buf_clear(&writer->scratch);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_add(&writer->scratch, SLICE(", "));
        }
        addr_write(&addrs[i], &writer->scratch);
        writer->spans->needs_utf8 = writer->spans->needs_utf8 || addrs[i].needs_utf8;
    }
    header_write_structured(writer->out, name, buf_slice(&writer->scratch));
}

/* Ids as "a@b", "<a@b>" or several of them. What cannot be an id is left out. */
static void write_reply_ids(struct writer *writer)
{
    struct slice ids = writer->mail->in_reply_to;
    size_t at = 0;

    buf_clear(&writer->scratch);
    while (at < ids.len) {
        size_t end = at;
        bool is_id = true;
        while (end < ids.len && !ascii_is_space(ids.data[end]) && ids.data[end] != '<' &&
               ids.data[end] != '>') {
            is_id = is_id && ids.data[end] > 0x20 && ids.data[end] < 0x7f;
            end++;
        }
        if (is_id && end > at && end - at <= REPLY_ID_MAX) {
            buf_add(&writer->scratch, writer->scratch.len > 0 ? SLICE(" <") : SLICE("<"));
            buf_add(&writer->scratch, slice_sub(ids, at, end - at));
            buf_add_byte(&writer->scratch, '>');
        }
        at = end + 1;
    }
    if (writer->scratch.len == 0) {
        return;
    }
    static const struct slice NAMES[] = {SLICE_INIT("In-Reply-To"), SLICE_INIT("References")};
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (!has_customer_field(writer->mail, NAMES[i])) {
            header_write_structured(writer->out, NAMES[i], buf_slice(&writer->scratch));
        }
    }
}

static void write_customer_fields(struct writer *writer)
{
    for (uint32_t i = 0; i < writer->mail->header_count; i++) {
        const struct mime_header *header = &writer->mail->headers[i];
        if (header_name_is_valid(header->name) && !header_name_is_protected(header->name)) {
            header_write_text(writer->out, header->name, header->value);
        }
    }
}

static bool has_customer_field(const struct mime_mail *mail, struct slice name)
{
    for (uint32_t i = 0; i < mail->header_count; i++) {
        if (slice_equal_nocase(mail->headers[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* ---- the tree ------------------------------------------------------------------------------- */

static void write_mixed(struct writer *writer)
{
    const struct mime_mail *mail = writer->mail;
    bool is_first = true;

    if (writer->attached_count == 0) {
        write_related(writer);
        return;
    }
    open_multipart(writer, LEVEL_MIXED, SLICE(""));
    if (mail->text.len > 0 || mail->html.len > 0) {
        next_part(writer, LEVEL_MIXED, is_first);
        write_related(writer);
        is_first = false;
    }
    for (uint32_t i = 0; i < mail->attachment_count; i++) {
        if (!is_inline(mail, &mail->attachments[i])) {
            next_part(writer, LEVEL_MIXED, is_first);
            write_attachment(writer, &mail->attachments[i]);
            is_first = false;
        }
    }
    close_multipart(writer, LEVEL_MIXED);
}

static void write_related(struct writer *writer)
{
    const struct mime_mail *mail = writer->mail;

    if (writer->inline_count == 0) {
        write_alternative(writer);
        return;
    }
    open_multipart(writer, LEVEL_RELATED,
                   mail->text.len > 0 ? SLICE("multipart/alternative") : SLICE("text/html"));
    next_part(writer, LEVEL_RELATED, true);
    write_alternative(writer);
    for (uint32_t i = 0; i < mail->attachment_count; i++) {
        if (is_inline(mail, &mail->attachments[i])) {
            next_part(writer, LEVEL_RELATED, false);
            write_attachment(writer, &mail->attachments[i]);
        }
    }
    close_multipart(writer, LEVEL_RELATED);
}

static void write_alternative(struct writer *writer)
{
    const struct mime_mail *mail = writer->mail;
    struct mime_spans *spans = writer->spans;

    if (mail->html.len == 0) {
        write_text_part(writer, SLICE("plain"), mail->text, &spans->text);
        return;
    }
    if (mail->text.len == 0) {
        write_text_part(writer, SLICE("html"), mail->html, &spans->html);
        return;
    }
    open_multipart(writer, LEVEL_ALTERNATIVE, SLICE(""));
    next_part(writer, LEVEL_ALTERNATIVE, true);
    write_text_part(writer, SLICE("plain"), mail->text, &spans->text);
    next_part(writer, LEVEL_ALTERNATIVE, false);
    write_text_part(writer, SLICE("html"), mail->html, &spans->html);
    close_multipart(writer, LEVEL_ALTERNATIVE);
}

/* "=_" cannot occur in quoted-printable or base64 (RFC 2045 6.7). */
static void write_boundary(struct writer *writer, enum level level)
{
    static const char LETTERS[] = {'m', 'r', 'a'};

    buf_add(writer->out, SLICE("=_"));
    buf_add_byte(writer->out, LETTERS[level]);
    buf_add_bytes(writer->out, writer->random, sizeof writer->random);
}

static void open_multipart(struct writer *writer, enum level level, struct slice root_type)
{
    static const struct slice SUBTYPES[] = {
        SLICE_INIT("mixed"),
        SLICE_INIT("related"),
        SLICE_INIT("alternative"),
    };
    buf_add(writer->out, SLICE("Content-Type: multipart/"));
    buf_add(writer->out, SUBTYPES[level]);
    if (root_type.len > 0) {
        header_write_param(writer->out, SLICE("type"), root_type); /* RFC 2387 3.1 */
    }
    buf_add(writer->out, SLICE(";\r\n boundary=\""));
    write_boundary(writer, level);
    buf_add(writer->out, SLICE("\"\r\n"));
    end_fields(writer);
}

/* The CRLF in front of a delimiter belongs to it, not to the part before (RFC 2046 5.1.1). */
static void next_part(struct writer *writer, enum level level, bool is_first)
{
    buf_add(writer->out, is_first ? SLICE("--") : SLICE("\r\n--"));
    write_boundary(writer, level);
    buf_add(writer->out, SLICE("\r\n"));
}

static void close_multipart(struct writer *writer, enum level level)
{
    buf_add(writer->out, SLICE("\r\n--"));
    write_boundary(writer, level);
    buf_add(writer->out, SLICE("--\r\n"));
}

/* The empty line behind fields; the first one ends the mail's header. */
static void end_fields(struct writer *writer)
{
    buf_add(writer->out, SLICE("\r\n"));
    if (writer->spans->header_len == 0) {
        writer->spans->header_len = writer->out->len - writer->start;
    }
}

/* ---- parts ---------------------------------------------------------------------------------- */

static void write_text_part(struct writer *writer, struct slice subtype, struct slice text,
                            struct mime_span *span)
{
    static const struct slice ENCODINGS[] = {
        SLICE_INIT("7bit"),
        SLICE_INIT("quoted-printable"),
        SLICE_INIT("base64"),
    };
    struct text_scan scan = scan_text(text);
    struct buf *out = writer->out;

    span->is_present = true;
    span->encoding = choose_encoding(&scan);
    buf_add(out, SLICE("Content-Type: text/"));
    buf_add(out, subtype);
    buf_add(out, SLICE("; charset=utf-8\r\nContent-Transfer-Encoding: "));
    buf_add(out, ENCODINGS[span->encoding]);
    buf_add(out, SLICE("\r\n"));
    end_fields(writer);
    span->offset = out->len - writer->start;
    switch (span->encoding) {
    case MIME_7BIT:
        write_lines(out, text);
        break;
    case MIME_QUOTED_PRINTABLE:
        write_qp(out, text);
        break;
    case MIME_BASE64:
        write_base64_text(out, text);
        break;
    }
    span->len = out->len - writer->start - span->offset;
}

static void write_attachment(struct writer *writer, const struct mime_attachment *attachment)
{
    static const struct slice OCTETS = SLICE_INIT("application/octet-stream");
    struct slice type = attachment->content_type;
    struct buf *out = writer->out;
    bool is_message = slice_starts_nocase(type, SLICE("message/"));
    bool has_8bit = false;

    if (!mime_type_is_valid(type) || slice_starts_nocase(type, SLICE("multipart/"))) {
        type = OCTETS;
        is_message = false;
    }
    if (is_message) {
        struct text_scan scan = scan_text(attachment->data);
        has_8bit = scan.has_8bit;
        if (scan.has_nul || scan.has_bare_cr || scan.longest > LINE_MAX_BYTES) {
            type = OCTETS;
            is_message = false;
        }
    }
    header_write_structured(out, SLICE("Content-Type"), type);
    buf_add(out, SLICE("Content-Transfer-Encoding: "));
    if (!is_message) {
        buf_add(out, SLICE("base64"));
    } else if (has_8bit) {
        buf_add(out, SLICE("8bit"));
        writer->spans->needs_8bit = true;
    } else {
        buf_add(out, SLICE("7bit"));
    }
    bool has_id = mime_content_id_is_valid(attachment->content_id);
    buf_add(out, SLICE("\r\nContent-Disposition: "));
    buf_add(out, has_id ? SLICE("inline") : SLICE("attachment"));
    if (attachment->filename.len > 0) {
        header_write_param(out, SLICE("filename"), attachment->filename);
    }
    buf_add(out, SLICE("\r\n"));
    if (has_id) {
        buf_add(out, SLICE("Content-ID: <"));
        buf_add(out, attachment->content_id);
        buf_add(out, SLICE(">\r\n"));
    }
    end_fields(writer);
    if (is_message) {
        write_lines(out, attachment->data);
    } else {
        write_base64(out, attachment->data);
    }
}

/* Only html can show what a Content-ID names. */
static bool is_inline(const struct mime_mail *mail, const struct mime_attachment *attachment)
{
    return mail->html.len > 0 && mime_content_id_is_valid(attachment->content_id);
}

/* ---- lines and encodings -------------------------------------------------------------------- */

/* False at the end of the text. has_end: the line ended in a line end, which is not part of it. */
static bool next_line(struct line_reader *reader, struct slice *line, bool *has_end)
{
    const char *data = reader->text.data;
    size_t len = reader->text.len;
    size_t at = reader->at;

    if (at >= len) {
        return false;
    }
    if (at == 0 || reader->lf < at) {
        const char *lf = memchr(data + at, '\n', len - at);
        reader->lf = lf != NULL ? (size_t)(lf - data) : len;
    }
    size_t end = reader->lf;
    const char *cr = end > at ? memchr(data + at, '\r', end - at) : NULL;
    reader->at = end + 1;
    *has_end = end < len;
    if (cr != NULL) {
        end = (size_t)(cr - data);
        reader->at = end + 1 == reader->lf && reader->lf < len ? end + 2 : end + 1;
        *has_end = true;
    }
    *line = slice_of(data + at, end - at);
    return true;
}

/* Whether all eight bytes are ones that quoted-printable leaves alone: none below ' ', no '=', no
 * DEL, none of 8 bits. A borrow between lanes can only make it say no. */
static bool is_plain_word(const char *at)
{
    const uint64_t ones = 0x0101010101010101;
    const uint64_t tops = 0x80 * ones;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t equal = word ^ ('=' * ones);
    uint64_t del = word ^ (0x7f * ones);
    uint64_t odd = word | (word - ' ' * ones) | (equal - ones) | (del - ones);
    return (odd & tops) == 0;
}

/* The first byte at or behind `at` that may be more than plain text; where the line ends if none
 * is. */
static size_t skip_plain(struct slice line, size_t at)
{
    while (line.len - at >= sizeof(uint64_t) && is_plain_word(line.data + at)) {
        at += sizeof(uint64_t);
    }
    return at;
}

static struct text_scan scan_text(struct slice text)
{
    struct text_scan scan = {.bytes = 0};
    struct line_reader reader = {.text = text};
    struct slice line;
    bool has_end;

    while (next_line(&reader, &line, &has_end)) {
        uint64_t unsafe = 0;
        uint64_t equals = 0;
        uint8_t any = 0;
        for (size_t i = skip_plain(line, 0); i < line.len; i = skip_plain(line, i + 1)) {
            uint8_t byte = (uint8_t)line.data[i];
            unsafe += QP_CLASS[byte] & 1;
            equals += QP_CLASS[byte] >> 1;
            any |= byte;
        }
        scan.bytes += line.len;
        scan.unsafe += unsafe;
        scan.equals += equals;
        scan.line_end += has_end;
        scan.longest = max_u64(scan.longest, line.len);
        scan.has_8bit = scan.has_8bit || any >= 0x80;
        scan.has_from = scan.has_from || slice_starts(line, SLICE("From "));
        scan.has_bare_cr = scan.has_bare_cr || (has_end && text.data[reader.at - 1] == '\r');
        scan.has_nul = scan.has_nul || (unsafe > 0 && slice_has_byte(line, '\0'));
    }
    return scan;
}

static enum mime_encoding choose_encoding(const struct text_scan *scan)
{
    if (scan->unsafe == 0 && !scan->has_from && scan->longest <= LINE_MAX_BYTES) {
        return MIME_7BIT;
    }
    uint64_t qp = scan->bytes + 2 * (scan->unsafe + scan->equals);
    qp += qp / (QP_LINE - 1) * 3 + 2 * scan->line_end;
    uint64_t base64 = base64_len(scan->bytes + 2 * scan->line_end);
    base64 += base64 / BASE64_LINE * 2;
    return qp <= base64 ? MIME_QUOTED_PRINTABLE : MIME_BASE64;
}

static void write_lines(struct buf *out, struct slice text)
{
    struct line_reader reader = {.text = text};
    struct slice line;
    bool has_end;

    while (next_line(&reader, &line, &has_end)) {
        buf_add(out, line);
        if (has_end) {
            buf_add(out, SLICE("\r\n"));
        }
    }
}

/* Whether a byte at the start of a line is escaped though it need not be: a dot, which SMTP would
 * double, and "From ", which mbox would quote. */
static bool is_risky_start(struct slice line, size_t at)
{
    return line.data[at] == '.' ||
           (line.data[at] == 'F' && slice_starts(slice_from(line, at), SLICE("From ")));
}

/* The bytes [from, to) of a line, whose last line has reached *column; returns where writing ended.
 * A soft break costs 3 and comes after 73 bytes at the earliest. */
static char *write_qp_piece(char *out, struct slice line, size_t from, size_t to, size_t *column)
{
    static const char HEX[] = "0123456789ABCDEF";
    size_t used = *column;

    for (size_t i = from; i < to; i++) {
        /* Most bytes: not the first of a line of output, not the last of the text's line, literal.
         */
        size_t plain_end = min_size(to, line.len - 1);
        while (i < plain_end && used > 0 && used < QP_LINE - 1 &&
               QP_CLASS[(uint8_t)line.data[i]] == 0) {
            *out++ = line.data[i++];
            used++;
        }
        if (i == to) {
            break;
        }
        uint8_t byte = (uint8_t)line.data[i];
        bool is_last_blank = i + 1 == line.len && (byte == ' ' || byte == '\t');
        bool is_escaped = QP_CLASS[byte] != 0 || is_last_blank;
        if (used + (is_escaped ? 3 : 1) > QP_LINE - 1) {
            out[0] = '=';
            out[1] = '\r';
            out[2] = '\n';
            out += 3;
            used = 0;
        }
        if (used == 0 && is_risky_start(line, i)) {
            is_escaped = true;
        }
        if (is_escaped) {
            out[0] = '=';
            out[1] = HEX[byte >> 4];
            out[2] = HEX[byte & 15];
            out += 3;
            used += 3;
        } else {
            *out++ = (char)byte;
            used++;
        }
    }
    *column = used;
    return out;
}

static void write_qp(struct buf *out, struct slice text)
{
    struct line_reader reader = {.text = text};
    struct slice line;
    bool has_end;

    while (next_line(&reader, &line, &has_end)) {
        size_t column = 0;
        for (size_t at = 0; at < line.len; at += QP_PIECE) {
            size_t to = min_size(at + QP_PIECE, line.len);
            char *room = buf_room(out, 4 * (to - at) + 8);
            if (room == NULL) {
                return;
            }
            buf_grew(out, (size_t)(write_qp_piece(room, line, at, to, &column) - room));
        }
        if (has_end) {
            buf_add(out, SLICE("\r\n"));
        }
    }
}

/* Lines of 76, none behind the last. */
static void write_base64(struct buf *out, struct slice data)
{
    size_t line_count = data.len / BASE64_GROUP + 1;
    size_t len = 0;
    char *room = buf_room(out, base64_len(data.len) + 2 * line_count);

    if (room == NULL) {
        return;
    }
    for (size_t at = 0; at < data.len; at += BASE64_GROUP) {
        if (at > 0) {
            room[len++] = '\r';
            room[len++] = '\n';
        }
        len += base64_encode(slice_sub(data, at, BASE64_GROUP), room + len);
    }
    buf_grew(out, len);
}

/* As above with line ends made CRLF, which is how text is base64 encoded (RFC 2045 6.8). */
static void write_base64_text(struct buf *out, struct slice text)
{
    struct line_reader reader = {.text = text};
    struct slice line;
    char group[64 * BASE64_GROUP];
    size_t used = 0;
    bool has_end;
    bool is_first = true;

    while (next_line(&reader, &line, &has_end)) {
        struct slice parts[2] = {line, has_end ? SLICE("\r\n") : SLICE("")};
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
            while (parts[i].len > 0) {
                size_t len = min_size(parts[i].len, sizeof group - used);
                memcpy(group + used, parts[i].data, len);
                used += len;
                parts[i] = slice_from(parts[i], len);
                if (used == sizeof group) {
                    buf_add(out, is_first ? SLICE("") : SLICE("\r\n"));
                    write_base64(out, slice_of(group, used));
                    is_first = false;
                    used = 0;
                }
            }
        }
    }
    if (used > 0) {
        buf_add(out, is_first ? SLICE("") : SLICE("\r\n"));
        write_base64(out, slice_of(group, used));
    }
}

/* ---- validity ------------------------------------------------------------------------------- */

/* The length of the token at the front, RFC 2045 5.1. */
static size_t token_len(struct slice s)
{
    size_t len = 0;

    while (len < s.len && s.data[len] > 0x20 && s.data[len] < 0x7f &&
           strchr("()<>@,;:\\\"/[]?=", s.data[len]) == NULL) {
        len++;
    }
    return len;
}

/* The length of a parameter's value at the front: a token or a quoted string; 0 for neither. */
static size_t param_value_len(struct slice s)
{
    if (s.len == 0 || s.data[0] != '"') {
        return token_len(s);
    }
    for (size_t i = 1; i < s.len; i++) {
        if (s.data[i] == '"') {
            return i + 1;
        }
        if (s.data[i] == '\\') {
            i++;
        }
    }
    return 0;
}

bool mime_type_is_valid(struct slice type)
{
    if (type.len > 255 || slice_has_control(type, "") || !slice_is_ascii(type)) {
        return false;
    }
    size_t len = token_len(type);
    struct slice rest = slice_from(type, len);
    if (len == 0 || rest.len == 0 || rest.data[0] != '/') {
        return false;
    }
    rest = slice_from(rest, 1);
    len = token_len(rest);
    if (len == 0) {
        return false;
    }
    rest = slice_trim(slice_from(rest, len));
    while (rest.len > 0) {
        if (rest.data[0] != ';') {
            return false;
        }
        rest = slice_trim(slice_from(rest, 1));
        len = token_len(rest);
        rest = slice_from(rest, len);
        if (len == 0 || rest.len == 0 || rest.data[0] != '=') {
            return false;
        }
        rest = slice_from(rest, 1);
        len = param_value_len(rest);
        if (len == 0) {
            return false;
        }
        rest = slice_trim(slice_from(rest, len));
    }
    return true;
}

bool mime_content_id_is_valid(struct slice id)
{
    if (id.len == 0 || id.len > 255) {
        return false;
    }
    for (size_t i = 0; i < id.len; i++) {
        if (id.data[i] <= 0x20 || id.data[i] >= 0x7f || id.data[i] == '<' || id.data[i] == '>') {
            return false;
        }
    }
    return true;
}

/* ---- decoding ------------------------------------------------------------------------------- */

struct slice mime_decode(enum mime_encoding encoding, struct slice content, struct arena *arena)
{
    char *text = arena_try(arena, content.len + 1);
    size_t len = 0;
    size_t kept = 0;

    if (text == NULL) {
        return slice_of(NULL, 0);
    }
    switch (encoding) {
    case MIME_7BIT:
        if (content.len > 0) {
            memcpy(text, content.data, content.len);
        }
        len = content.len;
        break;
    case MIME_QUOTED_PRINTABLE:
        len = decode_qp(content, text);
        break;
    case MIME_BASE64:
        len = decode_base64(content, text);
        break;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\r' || i + 1 == len || text[i + 1] != '\n') {
            text[kept++] = text[i];
        }
    }
    return slice_of(text, kept);
}

static size_t decode_qp(struct slice content, char *to)
{
    size_t len = 0;

    for (size_t i = 0; i < content.len; i++) {
        struct slice rest = slice_from(content, i);
        if (rest.data[0] != '=') {
            to[len++] = rest.data[0];
        } else if (slice_starts(rest, SLICE("=\r\n"))) {
            i += 2;
        } else if (slice_starts(rest, SLICE("=\n"))) {
            i += 1;
        } else if (rest.len >= 3 && ascii_hex_value(rest.data[1]) >= 0 &&
                   ascii_hex_value(rest.data[2]) >= 0) {
            to[len++] = (char)(ascii_hex_value(rest.data[1]) * 16 + ascii_hex_value(rest.data[2]));
            i += 2;
        } else {
            to[len++] = '=';
        }
    }
    return len;
}

/* Foreign bytes are skipped (RFC 2045 6.8); an incomplete last group gives what it holds. */
static size_t decode_base64(struct slice content, char *to)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t values[256];
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    size_t len = 0;

    memset(values, 0xff, sizeof values);
    for (uint8_t i = 0; i < 64; i++) {
        values[(uint8_t)DIGITS[i]] = i;
    }
    for (size_t i = 0; i < content.len && content.data[i] != '='; i++) {
        uint8_t value = values[(uint8_t)content.data[i]];
        if (value == 0xff) {
            continue;
        }
        bits = (bits << 6 | value) & 0xffffff;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            to[len++] = (char)(bits >> bit_count & 0xff);
        }
    }
    return len;
}
