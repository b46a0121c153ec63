/* tls_report_int.h - what the files of TLS reports share; included nowhere else.
 *
 * tls_report.c counts and keeps, tls_report_send.c has a report on its way.
 */
#ifndef DELIVER_TLS_REPORT_INT_H
#define DELIVER_TLS_REPORT_INT_H

#include <uthash.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/list.h"
#include "deliver/tls_report.h"
#include "mail/addr.h"
#include "mail/tls_report_json.h"

#define TALLY_NAME_MAX (DOMAIN_MAX + 8)

struct failure {
    enum tls_result result;
    uint64_t sessions;
    char mx_host[DNS_NAME_MAX + 1];
    char mx_addr[ADDR_TEXT_MAX];
    char source[ADDR_TEXT_MAX];
};

struct counts {
    uint64_t successes;
    uint64_t failures;
    char *text; /* of the policy; NULL: none */
    size_t text_len;
    struct failure *details; /* TLS_REPORT_DETAILS, or NULL before the first */
    uint32_t detail_count;
};

/* One day of one domain. */
struct tally {
    struct tls_report *report;
    struct link link;  /* report->tallies */
    struct link dirty; /* report->dirty, while the disk knows less */
    UT_hash_handle hh;
    uint32_t day;
    uint32_t tries;
    uint64_t due_unix_ms; /* its report; 0: not known yet */
    struct report_job *job;
    bool is_over; /* reported, or nobody wants it: only the note has to go */
    struct counts counts[TLS_REPORT_KINDS];
    char name[TALLY_NAME_MAX + 1]; /* "020412 example.com": day, domain */
};

struct tls_report {
    struct tls_report_options options;
    struct tally *by_name;
    struct link tallies;
    struct link dirty;
    struct timer round;
    uint32_t msgs_out;
    uint32_t jobs_open;
    uint32_t flush_left; /* tallies that this round still writes down, as messages come home */
    bool is_loading;
    bool is_loaded;
    bool is_draining;
    bool is_closed;
    char cursor[TALLY_NAME_MAX + 1]; /* of the notes that are read */
    struct arena arena;              /* of from */
    struct addr from;                /* tls_report_from; empty: no mails */
    uint64_t spread_ms;
};

struct slice tally_domain(const struct tally *tally);
/* A message from the pool, counted; NULL when none may be had. */
struct msg *tls_report_take(struct tls_report *report, enum msg_kind kind, void *token);
/* Reports on what is due, as many at once as may be. */
void tls_report_next(struct tls_report *report);
/* The day of this tally is reported, or nobody wants it: it goes, and its note. */
void tally_over(struct tally *tally);

/* ---- tls_report_send.c ---------------------------------------------------------------------- */

/* Reports on a tally whose day is over. */
void report_job_start(struct tally *tally);
void report_job_on_msg(struct msg *msg);
void report_job_cancel(struct tally *tally);

#endif
