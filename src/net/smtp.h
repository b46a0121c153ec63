/* smtp.h - SMTP's lines, replies and data, for both directions; no sockets, no policy.
 *
 * Client side: a reply reader that gathers multi-line replies (RFC 5321 4.2.1) and splits off the
 * enhanced status code (RFC 3463), an EHLO capability reader, and a dot-stuffing writer. Server
 * side: a line reader and a data reader. Only CRLF ends a line. <LF>.<LF>, <CR>.<CR> and their
 * mixtures never end DATA and are never sent: the stuffing writer turns bare CR and bare LF into
 * CRLF (RFC 5321 2.3.8), so that nothing can be smuggled through us.
 */
#ifndef NET_SMTP_H
#define NET_SMTP_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"

/* ---- replies, as a client reads them -------------------------------------------------------- */

struct smtp_reply {
    uint16_t code;     /* 200 to 599 */
    char enhanced[12]; /* "5.1.1", or empty; of the last line that has one */
    struct buf text;   /* lines without codes, joined by '\n'; cut at SMTP_TRANSCRIPT_MAX */
    uint32_t line_count;
};

struct smtp_reply_reader {
    struct buf line;
    struct smtp_reply reply;
    bool is_in_reply;
};

void smtp_reply_init(struct smtp_reply_reader *reader);
void smtp_reply_fini(struct smtp_reply_reader *reader);
/* Feeds bytes; stops behind the first complete reply: *is_done, reader->reply valid until the next
 * feed. Errors: ERR_INVALID for anything that is not a reply (no code, codes differing between
 * lines, line over SMTP_REPLY_LINE, more than SMTP_REPLY_LINES lines, NUL); close then, the reader
 * is of no more use. A bare LF is taken as a line end here: be liberal with replies, which cannot
 * smuggle. */
MUST_USE enum err smtp_reply_feed(struct smtp_reply_reader *reader, struct slice data, size_t *used,
                                  bool *is_done);

/* What an EHLO reply offers. */
struct smtp_caps {
    bool starttls;
    bool pipelining;
    bool eight_bit_mime;
    bool smtputf8;
    bool chunking;
    bool enhanced_status;
    bool requiretls;
    bool auth_plain;
    bool auth_login;
    bool has_size;
    uint64_t size_max; /* 0: no fixed limit, RFC 1870 3 */
};
void smtp_caps_read(const struct smtp_reply *ehlo, struct smtp_caps *caps);

/* ---- data, as a client writes it ------------------------------------------------------------ */

struct smtp_stuffer {
    bool is_line_start;
    bool is_after_cr;
};
void smtp_stuff_init(struct smtp_stuffer *stuffer);
/* Appends data with dots doubled and line ends made CRLF. */
void smtp_stuff(struct smtp_stuffer *stuffer, struct slice data, struct buf *out);
/* Appends what is missing of the last line's end, and ".\r\n". */
void smtp_stuff_end(struct smtp_stuffer *stuffer, struct buf *out);

/* ---- lines and data, as a server reads them ------------------------------------------------- */

/* Splits the next command line off *rest (without CRLF). Returns false, with nothing taken, when no
 * good line is there: *err is ERR_OK when more bytes are needed; ERR_INVALID (bare CR or LF, NUL)
 * or ERR_TOO_LARGE (no CRLF within max_bytes) when the session must answer 500 and close, because
 * where the next command would begin is anyone's guess. */
bool smtp_line_take(struct slice *rest, size_t max_bytes, struct slice *line, enum err *err);

struct smtp_unstuffer {
    uint8_t state;
    bool has_bare; /* a bare CR or LF was seen: RFC 5321 2.3.8 forbids it */
};
void smtp_unstuff_init(struct smtp_unstuffer *unstuffer);
/* Appends mail bytes to out; *is_done after <CRLF>.<CRLF>, *used tells how far. Bare CR and LF are
 * passed through and flagged; they never end the data. */
void smtp_unstuff(struct smtp_unstuffer *unstuffer, struct slice data, size_t *used, bool *is_done,
                  struct buf *out);

/* Whether bytes have a CR without LF or an LF without CR, when they are no stuffed data (BDAT).
 * *is_after_cr carries a CR at the end over to the next bytes; at the very end it is bare. */
bool smtp_has_bare(struct slice bytes, bool *is_after_cr);

/* ---- replies, as a server writes them ------------------------------------------------------- */

/* Appends a reply: a line for each of text, which '\n' parts, each with the enhanced status unless
 * that is "". Bytes that may not stand in a reply become '?'; what is too long for a line or beyond
 * SMTP_ANSWER_MAX and SMTP_ANSWER_LINES is cut. */
void smtp_reply_write(struct buf *out, unsigned int code, const char *enhanced, struct slice text);

/* xtext, RFC 3461 4. */
void smtp_xtext(struct buf *out, struct slice s);

#endif
