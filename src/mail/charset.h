/* charset.h - text of a received mail to UTF-8, whatever its label says and however damaged it is.
 *
 * A table names the charsets that mail uses and the converter for each: a superset where senders
 * are known to lie (windows-1252 for iso-8859-1, as every mail client reads it). No other name ever
 * reaches iconv or GMime: the names come from outside, and GMime keeps each that it meets for the
 * life of the process.
 *
 * What comes out is always valid UTF-8 without NUL; U+FFFD stands for what could not be read.
 */
#ifndef MAIL_CHARSET_H
#define MAIL_CHARSET_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

#define CHARSET_FALLBACK "windows-1252"

/* The converter's name for a label, or NULL when nobody uses such a charset. ASCII and no label at
 * all are "us-ascii", which charset_to_utf8 takes for "not known". */
const char *charset_find(struct slice label);

/* Appends text as UTF-8. name: of charset_find; NULL: CHARSET_FALLBACK. "us-ascii" with bytes above
 * 127 is read as UTF-8 when it is that, else as the fallback. A byte order mark at the start goes.
 * False when out's ceiling was met: what fits is there, up to a whole character. */
bool charset_to_utf8(const char *name, struct slice text, struct buf *out);

/* Appends one byte of a text that says nothing of its charset, read as the fallback. */
void charset_guess_byte(uint8_t byte, struct buf *out);

/* Bytes of the well-formed character that text starts with (RFC 3629 4); 0: there is none. */
size_t utf8_char_len(struct slice text);
/* The length of the longest head of UTF-8 text that has at most max bytes and whole characters. */
size_t utf8_head_len(struct slice text, size_t max);

#endif
