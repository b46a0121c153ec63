/* mime_read.h - reads a received mail: who, what about, the texts, the attachments.
 *
 * GMime knows fields, addresses, parameters, dates, encoded words and transfer encodings; the
 * structure is cut by mime_split, because GMime's own parser spends memory on every part and field
 * of a hostile mail before anyone can say stop (660 MiB for half a million empty parts). Whatever
 * reaches GMime is short, without control bytes, with charsets that are known and few colons.
 *
 * No mail is refused for what it says: a damaged one gives what can be read of it, with the damage
 * named. Depth, parts, fields, addresses and texts have their ceilings in base/limits.h; parts
 * beyond them stay in the raw mail, which is stored anyway. A message/rfc822 part is an attachment
 * and is not looked into. The text is not made of the html when there is only that.
 *
 * For workers: up to a tenth of a second for a large mail. Pure, so several may read at once.
 */
#ifndef MAIL_MIME_READ_H
#define MAIL_MIME_READ_H

#include "base/arena.h"
#include "base/base.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/slice.h"

enum mime_damage {
    MIME_NO_BOUNDARY = 1 << 0,    /* a multipart names none, or it does not occur */
    MIME_NOT_CLOSED = 1 << 1,     /* the final boundary is missing: the mail may be cut */
    MIME_TOO_DEEP = 1 << 2,       /* a multipart below MIME_DEPTH_MAX became an attachment */
    MIME_TOO_MANY_PARTS = 1 << 3, /* those behind MIME_PARTS_MAX were left out */
    MIME_BAD_HEADERS = 1 << 4,    /* a line that is no field, or no empty line behind them */
    MIME_MANY_FIELDS = 1 << 5,    /* fields, addresses or ids were cut or left out */
    MIME_BAD_CHARSET = 1 << 6,    /* a body's label is not known */
    MIME_TEXT_CUT = 1 << 7,       /* a body is longer than TEXT_BYTES_MAX */
};

/* All text is UTF-8 without NUL; in a line also without controls. */
struct mime_addr {
    struct slice name;    /* may be empty */
    struct slice address; /* as written: not checked to be one that mail can go to */
};

struct mime_addr_list {
    struct mime_addr *items;
    uint32_t count;
};

struct mime_field {
    struct slice name; /* as written */
    struct slice value;
};

struct mime_text {
    bool is_present;
    bool is_truncated;
    struct slice text; /* lines end in LF */
};

struct mime_file {
    struct slice filename;     /* one path component, up to ATTACHMENT_NAME_MAX; may be empty */
    struct slice content_type; /* type/subtype, lower case */
    struct slice content_id;   /* without <>; may be empty */
    struct slice data;         /* decoded; within the raw mail when it was not encoded */
    struct sha256 digest;      /* of data */
    bool is_inline;
};

/* Parts for programs, RFC 3464, 5965, 8098. */
enum mime_report_kind {
    MIME_REPORT_DELIVERY,    /* message/delivery-status */
    MIME_REPORT_FEEDBACK,    /* message/feedback-report */
    MIME_REPORT_DISPOSITION, /* message/disposition-notification */
    MIME_REPORT_HEADERS,     /* text/rfc822-headers: of the mail that the report is about */
};

struct mime_report {
    enum mime_report_kind kind;
    struct slice data; /* decoded, as it came: any bytes */
};

struct mime_read {
    struct mime_addr from; /* the first of From, else Sender */
    struct mime_addr_list to;
    struct mime_addr_list cc;
    struct mime_addr_list reply_to;
    struct slice subject;    /* up to SUBJECT_MAX bytes */
    struct slice message_id; /* ids without <> */
    struct slice in_reply_to;
    struct slice *references; /* oldest first, up to MIME_REFS_MAX: the first and the last ones */
    uint32_t reference_count;
    bool has_date;
    uint64_t date_unix_ms;
    struct slice auto_submitted;
    struct slice list_id;
    struct slice precedence;
    struct mime_field *fields; /* of the mail itself, in its order */
    uint32_t field_count;

    struct mime_text text;
    struct mime_text html;
    struct mime_file *files;
    uint32_t file_count;
    struct mime_report *reports;
    uint32_t report_count;

    uint32_t part_count; /* entities that were looked at, the mail included */
    uint32_t damage;     /* of enum mime_damage */
    bool is_damaged;
};

/* Once, before any thread starts, and after the last has ended. */
void mime_read_init(void);
void mime_read_fini(void);

/* Owns:   what *mail points at lies in the arena or in raw; both live as long as it.
 * Errors: ERR_TOO_LARGE: raw is over MAIL_BYTES_MAX, or the arena is full, which does not happen to
 *         an empty one of MIME_READ_ARENA_BYTES.
 * Cost:   some 300 MB a second; the worst mail of full size that we could make takes under a
 * second.
 */
MUST_USE enum err mime_read(struct slice raw, struct arena *arena, struct mime_read *mail);

/* The id by which the mail's thread is known: the oldest reference, else what it replies to, else
 * its own id; empty when it has none. */
struct slice mime_thread_root(const struct mime_read *mail);

/* The first field of that name, any case; empty when there is none. */
struct slice mime_field_value(const struct mime_read *mail, struct slice name);

#endif
