/* header.h - header fields: names, folding, encoded words, parameters.
 *
 * Writers turn values into lines that are at most 78 columns where that is possible and never over
 * 998 (RFC 5322 2.1.1), with RFC 2047 encoded words (UTF-8, B or Q, whichever is shorter, at most
 * 75 columns, never splitting a character) for text and RFC 2231 for parameters. Readers walk a
 * header block without copying.
 */
#ifndef MAIL_HEADER_H
#define MAIL_HEADER_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* ftext of RFC 5322 3.6.8: printable ASCII but ':'; 1 to CUSTOM_HEADER_NAME bytes. */
bool header_name_is_valid(struct slice name);
/* Fields that only Meerkat may write: From, To, Cc, Bcc, Date, Message-ID, Subject, MIME-Version,
 * Content-*, DKIM-Signature, Received, Return-Path, Sender, Reply-To, ARC-*,
 * Authentication-Results, Feedback-ID, ... */
bool header_name_is_protected(struct slice name);

/* Appends "Name: value\r\n", folded at white space. value is UTF-8 without control bytes; non-ASCII
 * becomes encoded words. */
void header_write_text(struct buf *out, struct slice name, struct slice value);
/* As above for values that are already structured ASCII (addresses, ids); folds at ", " and spaces
 * only outside quotes. */
void header_write_structured(struct buf *out, struct slice name, struct slice value);
/* The value alone, as encoded words. `column` is where the value starts on its line. */
void header_encode_words(struct buf *out, struct slice text, size_t column);
/* Appends "; name=value" with quotes, or RFC 2231 (name*=UTF-8''..., and name*0*= continuations
 * when long). Folds before the parameter. */
void header_write_param(struct buf *out, struct slice name, struct slice value);

/* One field of a header block, in place. */
struct header_field {
    struct slice name;
    struct slice value; /* unfolded only logically: may contain CRLF WSP; not trimmed */
    struct slice whole; /* name to the CRLF that ends the field, included */
};
/* Cuts the next field off *rest. False at the empty line or the end. Lenient: LF alone ends a line
 * too. */
bool header_next(struct slice *rest, struct header_field *field);
/* The length of the header block with the empty line that ends it, or the whole length when there
 * is none. */
size_t header_block_len(struct slice mail);

#endif
