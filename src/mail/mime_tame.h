/* mime_tame.h - makes the value of a received field harmless before a library reads it.
 *
 * GMime (3.2.13) puts the name of a charset on the stack, whatever its length, and then into a
 * table for the life of the process; it takes each ':' of an address list for a group, perhaps
 * within a group, and recurses; it looks for the end of an encoded word from each start on its own.
 * So what it is given is cut to a length, has no controls, names only charsets of mail/charset.h,
 * is UTF-8, has few colons, and has few words that do not end. What a mail means stays: a charset
 * that nobody knows becomes the one that is assumed anyway.
 */
#ifndef MAIL_MIME_TAME_H
#define MAIL_MIME_TAME_H

#include "base/base.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/slice.h"

enum mime_tame {
    MIME_TAME_TEXT,   /* encoded words, RFC 2047 */
    MIME_TAME_ADDRS,  /* and groups, RFC 5322 3.4 */
    MIME_TAME_PARAMS, /* and parameters with a charset, RFC 2231 */
};

#define MIME_TAMED_MAX (MIME_ADDRS_FIELD_MAX + 256)

/* Replaces what is in out, whose ceiling is MIME_TAMED_MAX or more, by the value on one line, with
 * a NUL behind it. At most max bytes, itself at most MIME_ADDRS_FIELD_MAX; false when that cut it.
 */
bool mime_tame(struct slice value, size_t max, enum mime_tame as, struct buf *out);

/* A file name as it may be shown and saved: the last path component, without controls and without
 * marks that turn the direction of writing, at most ATTACHMENT_NAME_MAX bytes; the extension
 * survives a cut. name is clean UTF-8 and is changed in place. */
struct slice mime_clean_filename(struct slice name);

#endif
