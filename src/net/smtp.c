/* smtp.c - lines, replies and data of SMTP as machines over bytes.
 *
 * The data writer and the data reader are inverse to each other up to canonical line ends, and
 * neither depends on how its input was split; the fuzzers hold both. Bytes between line ends are
 * moved in runs found with memchr.
 */
#include "net/smtp.h"

#include <string.h>

#define REPLY_CODE_LEN 3
#define ANSWER_LINE    480  /* with code and status below the 512 of RFC 5321 4.5.3.1.5 */
#define RUN_MAX        1024 /* a line of RFC 5322 2.1.1 and a little more */

/* ---- replies -------------------------------------------------------------------------------- */

static enum err read_line(struct smtp_reply_reader *reader, struct slice line, bool *is_done);
static void start_reply(struct smtp_reply_reader *reader);
static size_t enhanced_len(struct slice text, char class);
static void add_text(struct smtp_reply *reply, struct slice text);

void smtp_reply_init(struct smtp_reply_reader *reader)
{
    *reader = (struct smtp_reply_reader){.is_in_reply = false};
    buf_init(&reader->line, SMTP_REPLY_LINE);
    buf_init(&reader->reply.text, SMTP_TRANSCRIPT_MAX);
}

void smtp_reply_fini(struct smtp_reply_reader *reader)
{
    buf_fini(&reader->line);
    buf_fini(&reader->reply.text);
}

enum err smtp_reply_feed(struct smtp_reply_reader *reader, struct slice data, size_t *used,
                         bool *is_done)
{
    struct slice rest = data;
    bool is_last = false;
    while (rest.len > 0 && !is_last) {
        const char *lf = memchr(rest.data, '\n', rest.len);
        size_t len = lf != NULL ? (size_t)(lf - rest.data) : rest.len;
        struct slice line = slice_head(rest, len);
        if (len > SMTP_REPLY_LINE - reader->line.len || slice_has_byte(line, '\0')) {
            return ERR_INVALID;
        }
        if (lf == NULL || reader->line.len > 0) {
            buf_add(&reader->line, line);
            line = buf_slice(&reader->line);
        }
        if (lf == NULL) {
            rest = SLICE("");
            break;
        }
        enum err err = read_line(reader, line, &is_last);
        if (err != ERR_OK) {
            return err;
        }
        buf_clear(&reader->line);
        rest = slice_from(rest, len + 1);
    }
    *used = data.len - rest.len;
    *is_done = is_last;
    return ERR_OK;
}

/* code [ (SP | "-") text ], RFC 5321 4.2; a bare code is accepted as 4.2 asks. */
static enum err read_line(struct smtp_reply_reader *reader, struct slice line, bool *is_done)
{
    if (slice_ends(line, SLICE("\r"))) {
        line = slice_head(line, line.len - 1);
    }
    uint64_t code = 0;
    struct slice digits = slice_head(line, REPLY_CODE_LEN);
    if (digits.len < REPLY_CODE_LEN || slice_uint(digits, 599, &code) != ERR_OK || code < 200) {
        return ERR_INVALID;
    }
    struct slice text = slice_from(line, REPLY_CODE_LEN);
    bool is_more = slice_starts(text, SLICE("-"));
    if (text.len > 0 && !is_more && text.data[0] != ' ') {
        return ERR_INVALID;
    }
    if (!reader->is_in_reply) {
        start_reply(reader);
        reader->reply.code = (uint16_t)code;
    }
    struct smtp_reply *reply = &reader->reply;
    if (reply->code != code || reply->line_count == SMTP_REPLY_LINES) {
        return ERR_INVALID;
    }
    reply->line_count += 1;
    text = slice_from(text, 1);
    size_t enhanced = enhanced_len(text, line.data[0]);
    if (enhanced > 0) {
        memcpy(reply->enhanced, text.data, enhanced);
        reply->enhanced[enhanced] = '\0';
        text = slice_from(text, enhanced + 1);
    }
    add_text(reply, text);
    reader->is_in_reply = is_more;
    *is_done = !is_more;
    return ERR_OK;
}

static void start_reply(struct smtp_reply_reader *reader)
{
    struct buf text = reader->reply.text;
    buf_clear(&text);
    reader->reply = (struct smtp_reply){.text = text};
}

/* Length of "class.subject.detail" at the start of text, or 0 (RFC 3463 2; subject and detail have
 * one to three digits). RFC 2034 4: the class is that of the reply code; what differs is text. */
static size_t enhanced_len(struct slice text, char class)
{
    if (text.len < 2 || text.data[0] != class || text.data[1] != '.') {
        return 0;
    }
    size_t at = 2;
    for (int part = 0; part < 2; part++) {
        size_t first = at;
        while (at < text.len && at - first < 3 && ascii_is_digit(text.data[at])) {
            at++;
        }
        char end = part == 0 ? '.' : ' ';
        bool is_end = at < text.len ? text.data[at] == end : part == 1;
        if (at == first || !is_end) {
            return 0;
        }
        at += part == 0 ? 1 : 0;
    }
    return at;
}

/* What does not fit the transcript is cut, not an error: the code alone decides. */
static void add_text(struct smtp_reply *reply, struct slice text)
{
    if (reply->line_count > 1 && reply->text.len < SMTP_TRANSCRIPT_MAX) {
        buf_add_byte(&reply->text, '\n');
    }
    buf_add(&reply->text, slice_head(text, SMTP_TRANSCRIPT_MAX - reply->text.len));
}

/* ---- what EHLO offers ----------------------------------------------------------------------- */

static void read_auth(struct smtp_caps *caps, struct slice mechanisms)
{
    while (mechanisms.data != NULL) {
        struct slice mechanism = slice_trim(slice_cut(&mechanisms, ' '));
        if (slice_equal_nocase(mechanism, SLICE("PLAIN"))) {
            caps->auth_plain = true;
        } else if (slice_equal_nocase(mechanism, SLICE("LOGIN"))) {
            caps->auth_login = true;
        }
    }
}

static void read_cap(struct smtp_caps *caps, struct slice line)
{
    static const struct {
        struct slice name;
        size_t offset;
    } flags[] = {
        {SLICE_INIT("STARTTLS"), offsetof(struct smtp_caps, starttls)},
        {SLICE_INIT("PIPELINING"), offsetof(struct smtp_caps, pipelining)},
        {SLICE_INIT("8BITMIME"), offsetof(struct smtp_caps, eight_bit_mime)},
        {SLICE_INIT("SMTPUTF8"), offsetof(struct smtp_caps, smtputf8)},
        {SLICE_INIT("CHUNKING"), offsetof(struct smtp_caps, chunking)},
        {SLICE_INIT("ENHANCEDSTATUSCODES"), offsetof(struct smtp_caps, enhanced_status)},
        {SLICE_INIT("REQUIRETLS"), offsetof(struct smtp_caps, requiretls)},
    };
    struct slice params = slice_trim(line);
    /* "AUTH=LOGIN" is older than RFC 4954 and still met. */
    if (slice_starts_nocase(params, SLICE("AUTH="))) {
        read_auth(caps, slice_from(params, sizeof("AUTH=") - 1));
        return;
    }
    struct slice name = slice_cut(&params, ' ');
    if (slice_equal_nocase(name, SLICE("AUTH"))) {
        read_auth(caps, params);
        return;
    }
    if (slice_equal_nocase(name, SLICE("SIZE"))) {
        /* A limit that cannot be read is no limit; the server will say so itself. */
        uint64_t size_max = 0;
        caps->has_size = true;
        caps->size_max = slice_u64(slice_trim(params), &size_max) == ERR_OK ? size_max : 0;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (slice_equal_nocase(name, flags[i].name)) {
            *(bool *)(void *)((char *)caps + flags[i].offset) = true;
            return;
        }
    }
}

void smtp_caps_read(const struct smtp_reply *ehlo, struct smtp_caps *caps)
{
    *caps = (struct smtp_caps){.has_size = false};
    if (ehlo->code / 100 != 2) {
        return;
    }
    struct slice rest = buf_slice(&ehlo->text);
    if (rest.len == 0) {
        return;
    }
    /* The first line is the server's name (RFC 5321 4.1.1.1). */
    slice_cut(&rest, '\n');
    while (rest.data != NULL) {
        read_cap(caps, slice_cut(&rest, '\n'));
    }
}

/* ---- data, written -------------------------------------------------------------------------- */

void smtp_stuff_init(struct smtp_stuffer *stuffer)
{
    *stuffer = (struct smtp_stuffer){.is_line_start = true};
}

/* Bytes before the first CR or LF, or the first RUN_MAX bytes. Without that ceiling, data with the
 * one and without the other would be searched to its end at each of its lines. */
static size_t run_len(struct slice s)
{
    s = slice_head(s, RUN_MAX);
    const char *lf = memchr(s.data, '\n', s.len);
    size_t len = lf != NULL ? (size_t)(lf - s.data) : s.len;
    const char *cr = len > 0 ? memchr(s.data, '\r', len) : NULL;
    return cr != NULL ? (size_t)(cr - s.data) : len;
}

void smtp_stuff(struct smtp_stuffer *stuffer, struct slice data, struct buf *out)
{
    struct slice rest = data;
    while (rest.len > 0) {
        char c = rest.data[0];
        if (c == '\n' && stuffer->is_after_cr) {
            /* The CR has already become a whole line end. */
            stuffer->is_after_cr = false;
            rest = slice_from(rest, 1);
            continue;
        }
        if (c == '\r' || c == '\n') {
            buf_add(out, SLICE("\r\n"));
            stuffer->is_line_start = true;
            stuffer->is_after_cr = c == '\r';
            rest = slice_from(rest, 1);
            continue;
        }
        /* RFC 5321 4.5.2 */
        if (stuffer->is_line_start && c == '.') {
            buf_add_byte(out, '.');
        }
        size_t len = run_len(rest);
        buf_add(out, slice_head(rest, len));
        stuffer->is_line_start = false;
        stuffer->is_after_cr = false;
        rest = slice_from(rest, len);
    }
}

void smtp_stuff_end(struct smtp_stuffer *stuffer, struct buf *out)
{
    buf_add(out, stuffer->is_line_start ? SLICE(".\r\n") : SLICE("\r\n.\r\n"));
    smtp_stuff_init(stuffer);
}

/* ---- lines and data, read ------------------------------------------------------------------- */

bool smtp_line_take(struct slice *rest, size_t max_bytes, struct slice *line, enum err *err)
{
    *err = ERR_OK;
    struct slice window = slice_head(*rest, max_bytes);
    size_t lf = slice_find_byte(window, '\n');
    struct slice text = slice_head(window, lf); /* all of it when there is no LF */
    size_t cr = slice_find_byte(text, '\r');
    bool is_cr_last = cr != SIZE_MAX && cr == text.len - 1;
    /* The CR at the very end may yet be followed by its LF; anywhere else it is bare. */
    bool is_bare = lf == SIZE_MAX ? cr != SIZE_MAX && !is_cr_last : !is_cr_last;
    if (is_bare || slice_has_byte(text, '\0')) {
        *err = ERR_INVALID;
        return false;
    }
    if (lf == SIZE_MAX) {
        *err = rest->len >= max_bytes ? ERR_TOO_LARGE : ERR_OK;
        return false;
    }
    *line = slice_head(text, cr);
    *rest = slice_from(*rest, lf + 1);
    return true;
}

/* Where the next byte stands.
 *
 *     LINE -'.'-> DOT -CR-> DOT_CR -LF-> END
 *      | ^         |          |
 *      v |LF       v          v
 *     TEXT -CR-> TEXT_CR <----+ (any other byte: bare CR, and on as TEXT)
 */
enum unstuff_at {
    UNSTUFF_LINE, /* behind CRLF; at the start, behind that of DATA */
    UNSTUFF_TEXT,
    UNSTUFF_TEXT_CR,
    UNSTUFF_DOT,
    UNSTUFF_DOT_CR,
    UNSTUFF_END,
};

void smtp_unstuff_init(struct smtp_unstuffer *unstuffer)
{
    *unstuffer = (struct smtp_unstuffer){.state = UNSTUFF_LINE};
}

/* A byte at the start of a line or within one. */
static enum unstuff_at unstuff_text(struct smtp_unstuffer *unstuffer, char c, struct buf *out)
{
    buf_add_byte(out, c);
    if (c == '\r') {
        return UNSTUFF_TEXT_CR;
    }
    /* A bare LF does not start a line, so a dot behind it ends nothing. */
    unstuffer->has_bare = unstuffer->has_bare || c == '\n';
    return UNSTUFF_TEXT;
}

static enum unstuff_at unstuff_byte(struct smtp_unstuffer *unstuffer, char c, struct buf *out)
{
    switch ((enum unstuff_at)unstuffer->state) {
    case UNSTUFF_LINE:
        return c == '.' ? UNSTUFF_DOT : unstuff_text(unstuffer, c, out);
    case UNSTUFF_TEXT:
        return unstuff_text(unstuffer, c, out);
    case UNSTUFF_TEXT_CR:
        if (c == '\n') {
            buf_add_byte(out, c);
            return UNSTUFF_LINE;
        }
        unstuffer->has_bare = true;
        return unstuff_text(unstuffer, c, out);
    case UNSTUFF_DOT: /* RFC 5321 4.5.2: the dot goes, whatever follows stays */
        return c == '\r' ? UNSTUFF_DOT_CR : unstuff_text(unstuffer, c, out);
    case UNSTUFF_DOT_CR:
        if (c == '\n') {
            return UNSTUFF_END;
        }
        unstuffer->has_bare = true;
        buf_add_byte(out, '\r');
        return unstuff_text(unstuffer, c, out);
    case UNSTUFF_END:
        break;
    }
    return UNSTUFF_END;
}

void smtp_unstuff(struct smtp_unstuffer *unstuffer, struct slice data, size_t *used, bool *is_done,
                  struct buf *out)
{
    struct slice rest = data;
    while (rest.len > 0 && unstuffer->state != UNSTUFF_END) {
        if (unstuffer->state == UNSTUFF_TEXT) {
            size_t len = run_len(rest);
            buf_add(out, slice_head(rest, len));
            rest = slice_from(rest, len);
            if (rest.len == 0) {
                break;
            }
        }
        unstuffer->state = (uint8_t)unstuff_byte(unstuffer, rest.data[0], out);
        rest = slice_from(rest, 1);
    }
    *used = data.len - rest.len;
    *is_done = unstuffer->state == UNSTUFF_END;
}

bool smtp_has_bare(struct slice bytes, bool *is_after_cr)
{
    while (bytes.len > 0) {
        size_t lf = slice_find_byte(bytes, '\n');
        struct slice text = slice_head(bytes, lf);
        size_t cr = slice_find_byte(text, '\r');
        bool is_cr_last = cr != SIZE_MAX && cr == text.len - 1;
        bool is_bare_cr = (cr != SIZE_MAX && !is_cr_last) || (*is_after_cr && text.len > 0);
        bool is_crlf = text.len > 0 ? is_cr_last : *is_after_cr;
        if (is_bare_cr || (lf != SIZE_MAX && !is_crlf)) {
            return true;
        }
        *is_after_cr = lf == SIZE_MAX && is_cr_last;
        bytes = slice_from(bytes, text.len + (lf == SIZE_MAX ? 0 : 1));
    }
    return false;
}

/* ---- replies, written ------------------------------------------------------------------------ */

void smtp_reply_write(struct buf *out, unsigned int code, const char *enhanced, struct slice text)
{
    struct slice rest = slice_head(text, SMTP_ANSWER_MAX);
    for (int lines = 1; lines == 1 || rest.data != NULL; lines++) {
        struct slice line = slice_head(slice_cut(&rest, '\n'), ANSWER_LINE);
        if (lines == SMTP_ANSWER_LINES) {
            rest.data = NULL;
        }
        buf_add_format(out, "%u%c%s%s", code, rest.data == NULL ? ' ' : '-', enhanced,
                       enhanced[0] != '\0' ? " " : "");
        for (size_t i = 0; i < line.len; i++) {
            bool is_plain = line.data[i] >= ' ' && line.data[i] <= '~';
            buf_add_byte(out, is_plain ? line.data[i] : '?');
        }
        buf_add(out, SLICE("\r\n"));
    }
}

/* ---- xtext ---------------------------------------------------------------------------------- */

void smtp_xtext(struct buf *out, struct slice s)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c > ' ' && c < 0x7f && c != '+' && c != '=') {
            buf_add_byte(out, (char)c);
        } else {
            buf_add_byte(out, '+');
            buf_add_byte(out, digits[c >> 4]);
            buf_add_byte(out, digits[c & 15]);
        }
    }
}
