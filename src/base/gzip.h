/* gzip.h - bytes made smaller and back, in the gzip format (RFC 1952), through zlib.
 *
 * Both ways end in a buf, whose ceiling is the only one needed: what a stranger packed tightly
 * stops there. Only here and in crypto.c (CRC-32) is zlib seen.
 */
#ifndef BASE_GZIP_H
#define BASE_GZIP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* Appends plain, packed. Errors: ERR_TOO_LARGE. */
MUST_USE enum err gzip_pack(struct slice plain, struct buf *packed);
/* Appends what was packed: one member or several (RFC 1952 2.2). packed may be a stranger's.
 * Errors: ERR_TOO_LARGE when it does not fit, ERR_INVALID when it is damaged, cut short, or has
 * something behind it. */
MUST_USE enum err gzip_unpack(struct slice packed, struct buf *plain);

#endif
