/* tap.h - watching dialogues while they happen: rules of what is wanted, and rings of lines.
 *
 * One table per actor. A rule names an account, a site, an address; what is said in a dialogue that
 * fits goes into the rule's ring, line by line, and whoever asked reads it out by number. Nothing
 * of it is stored, and every trace ends by itself.
 *
 * Who a dialogue is with comes out by and by: a client is known by its address at first, by its
 * account once it has named a recipient. So lines that fit no rule yet are kept aside for the
 * dialogue, a little of them, and follow when it turns out to fit.
 *
 * What may not be seen (credentials, bodies) is for the callers to leave out; here lines are only
 * cut, and their control characters replaced. While no trace is on all of this costs one branch:
 * ask tap_is_on before anything is put together.
 */
#ifndef BASE_TAP_H
#define BASE_TAP_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/cidr.h"
#include "base/err.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/slice.h"

enum tap_kind {
    TAP_HTTP,       /* requests */
    TAP_HOOK,       /* calls of webhooks */
    TAP_SMTP_OUT,   /* mail that leaves */
    TAP_SMTP_IN,    /* mail that comes in */
    TAP_SUBMISSION, /* mail that customers submit */
    TAP_KIND_COUNT
};
const char *tap_kind_text(enum tap_kind kind);

/* What is wanted; all that is named must fit. */
struct tap_rule {
    uint64_t id;               /* chosen by whoever starts it; not 0 */
    struct account_id account; /* 0: whichever */
    struct slice site;         /* "pool|group", or the group or domain alone; empty: whichever */
    struct slice email;        /* sender or recipient; empty: whichever */
    bool has_ip;
    struct ip6 ip;  /* of the other side */
    uint32_t kinds; /* bit 1 << enum tap_kind for each that is wanted */
};

/* What is known of a dialogue at this moment; all of it the caller's. */
struct tap_facts {
    enum tap_kind kind;
    const struct account_id *accounts;
    uint32_t account_count;
    struct slice site;
    struct slice domain;
    struct slice sender;
    const struct slice *emails;
    uint32_t email_count;
    const struct ip6 *ip; /* NULL: not known */
};

/* A dialogue, inside its owner. Zeroed at birth; tap_talk_end at death. */
struct tap_talk {
    uint32_t number; /* 0: nothing was said while a trace was on */
    uint32_t fits[TRACES_MAX];
    struct buf aside; /* lines that fit no rule yet */
};

struct tap_table {
    struct tap *traces[TRACES_MAX]; /* those that are over, too, until they are forgotten */
    uint32_t on_count;              /* that are not over */
    uint32_t serial;
    uint32_t talks;
    uint64_t aside_bytes; /* of all dialogues */
};

/* One line that was read out. */
struct tap_line {
    uint64_t number; /* in this actor's ring, from 1 */
    uint64_t unix_ms;
    uint32_t talk; /* lines of one dialogue share it */
    enum tap_kind kind;
    struct slice text; /* "C: ", "S: " or "-- " in front */
};
struct tap_page {
    struct tap_line *lines; /* in the arena */
    uint32_t line_count;
    uint64_t lost;   /* lines between `after` and the first that was still there */
    uint64_t last;   /* the number to go on with */
    uint64_t end_ms; /* monotonic */
    bool is_over;    /* no line follows */
};

void tap_fini(struct tap_table *table);

/* Until end_ms (monotonic). ERR_QUOTA: TRACES_MAX are kept already. The same id again changes
 * nothing. The rule's text is copied. */
MUST_USE enum err tap_start(struct tap_table *table, const struct tap_rule *rule, uint64_t end_ms);
/* Forgets the trace and its lines. */
void tap_stop(struct tap_table *table, uint64_t id);
/* Up to TRACE_PAGE_LINES behind `after`. ERR_NOT_FOUND: there is none of that id. */
MUST_USE enum err tap_read(struct tap_table *table, uint64_t id, uint64_t after,
                           struct arena *arena, struct tap_page *page);
/* Ends what has had its time, and forgets what ended a while ago. Returns when it is to be called
 * next, monotonic; UINT64_MAX: no trace is left. */
uint64_t tap_expire(struct tap_table *table, uint64_t now_ms);

static inline bool tap_is_on(const struct tap_table *table)
{
    return table->on_count > 0;
}

/* Each line of text, with who ("C: ", "S: ", "-- ") in front. facts: all that is known by now. */
void tap_say(struct tap_table *table, struct tap_talk *talk, const struct tap_facts *facts,
             const char *who, struct slice text);
void tap_say_format(struct tap_table *table, struct tap_talk *talk, const struct tap_facts *facts,
                    const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Adds the path of an URL as it may be seen: long parts of it that are none of our ids, and the
 * values of its query, may be secrets and are hidden. */
void tap_path(struct slice path, struct buf *out);
/* The same of a whole one: host, port and path. */
void tap_url(struct slice url, struct buf *out);
/* The dialogue is over. Cost: one branch when no trace was on. */
void tap_talk_end(struct tap_table *table, struct tap_talk *talk);

#endif
