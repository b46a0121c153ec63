/* mime_write.h - composes one mail from parts.
 *
 * The tree (RFC 2046): mixed( related( alternative( text, html ), inline parts ), attachments ),
 * each level only where it is needed. Bodies are 7bit, quoted-printable or base64, whichever the
 * content allows and is shortest; attachments base64 in 76-column lines. message/... attachments
 * stay 7bit or 8bit, as RFC 2046 5.2.1 demands; those that cannot travel so, and multipart/...,
 * become application/octet-stream. Every line ends in CRLF and is at most 998 bytes; nothing of the
 * output contains a bare CR or LF or NUL.
 *
 * The writer trusts nothing for header safety: control bytes in names, subjects and file names
 * become spaces, so a CR or LF in a field cannot start a new one; headers of the customer with
 * names that are malformed or protected are left out. The API refuses both earlier, with the
 * field's name. In-Reply-To and References of the customer's headers replace those of in_reply_to.
 *
 * It reports where the text and html parts are, so that they can be shown again without a second
 * copy on disk, and the decoded length of each.
 */
#ifndef MAIL_MIME_WRITE_H
#define MAIL_MIME_WRITE_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "mail/addr.h"

enum mime_encoding { MIME_7BIT, MIME_QUOTED_PRINTABLE, MIME_BASE64 };

struct mime_attachment {
    struct slice filename;     /* may be empty */
    struct slice content_type; /* "type/subtype" with optional parameters, validated by
                                  mime_type_is_valid; empty: octet-stream */
    struct slice content_id;   /* without <>; not empty makes it inline in the related part */
    struct slice data;         /* decoded bytes */
};

struct mime_header {
    struct slice name;
    struct slice value;
};

struct mime_mail {
    struct addr from;
    const struct addr *to;
    uint32_t to_count;
    const struct addr *cc;
    uint32_t cc_count;
    const struct addr *reply_to;
    uint32_t reply_to_count;
    struct slice subject;
    struct slice message_id;  /* without <> */
    struct slice in_reply_to; /* ids, with or without <>; empty for none; also becomes References */
    struct slice feedback_id; /* Feedback-ID value; empty for none */
    struct slice text;        /* UTF-8; any line ends */
    struct slice html;        /* UTF-8 */
    const struct mime_header *headers; /* the customer's own */
    uint32_t header_count;
    const struct mime_attachment *attachments;
    uint32_t attachment_count;
    uint64_t date_unix_ms;
};

struct mime_span {
    uint64_t offset; /* of the encoded part's content from the start of the mail */
    uint64_t len;
    enum mime_encoding encoding;
    bool is_present;
};

struct mime_spans {
    struct mime_span text;
    struct mime_span html;
    uint64_t header_len; /* with the empty line */
    bool needs_utf8;     /* an address in a header needs SMTPUTF8 */
    bool needs_8bit;     /* a message/... attachment needs 8BITMIME */
};

/* Appends the whole mail to out. Errors: ERR_TOO_LARGE when it passes out's ceiling. */
MUST_USE enum err mime_write(const struct mime_mail *mail, struct buf *out,
                             struct mime_spans *spans);

/* type "/" subtype *(";" parameter), no controls. */
bool mime_type_is_valid(struct slice type);
/* A Content-ID without brackets: 1 to 255 printable bytes without space, '<', '>'. */
bool mime_content_id_is_valid(struct slice id);
/* A readable text part from html: tags dropped, blocks and br become lines, links kept as "text
 * (url)", the common entities decoded. Never longer than html; empty when the arena is full. */
struct slice mime_text_from_html(struct slice html, struct arena *arena);

/* Decodes a text part's content as found at a span; damage is passed through. CRLF becomes LF.
 * Empty when the arena is full. */
struct slice mime_decode(enum mime_encoding encoding, struct slice content, struct arena *arena);

#endif
