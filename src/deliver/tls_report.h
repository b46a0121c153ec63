/* tls_report.h - what is counted of TLS towards each recipient domain, a day at a time, and the
 * reports on it (RFC 8460).
 *
 * Every session with a mail host is a success or a failure under one policy: the domain's TLSA
 * records, its MTA-STS policy, or none. Counts are kept in memory and on disk, in a note for each
 * day and domain, written once a minute and at a stop: a crash loses a minute. When a day is over
 * (UTC) and a random part of tls_report_spread_s has passed, its domains are asked where they want
 * reports; who wants none is forgotten. A report goes by POST or as a mail of tls_report_from's
 * account; when the domain has it, its note goes. A crash in between sends it once more, under the
 * same id. What cannot be sent is tried again each hour for a day.
 *
 * tls_report_send.c has the sending.
 */
#ifndef DELIVER_TLS_REPORT_H
#define DELIVER_TLS_REPORT_H

#include "base/base.h"
#include "base/slice.h"
#include "deliver/tls_demand.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "shards/actor.h"
#include "shards/msg.h"
#include "shards/place.h"

struct tls_report;

/* Numbers are on disk. */
enum tls_report_kind { TLS_REPORT_NO_POLICY, TLS_REPORT_STS, TLS_REPORT_TLSA, TLS_REPORT_KINDS };

struct tls_report_options {
    struct loop *loop;
    struct dns *dns;          /* outlives the report, as the client does */
    struct http_client *http; /* verifies names */
    struct actor *actor;      /* its pool lends messages, it gives them to tls_report_on_msg */
    const struct place *place;
    bool (*is_held)(void *owner); /* no report leaves now; NULL: never */
    void *held_owner;
};

/* Owns: caller; tls_report_free after tls_report_close. A tls_report_from that is no address is
 * fatal. */
struct tls_report *tls_report_new(const struct tls_report_options *options);
void tls_report_free(struct tls_report *report);
/* Reads what was counted before, and begins to report. */
void tls_report_start(struct tls_report *report);
/* Before a stop: writes down what is not on disk yet, as messages are free. True once nothing is
 * left; asked again when a message came home. */
bool tls_report_drain(struct tls_report *report);
/* What is on its way ends here. */
void tls_report_close(struct tls_report *report);

struct tls_session {
    struct slice domain; /* recipient's, in lower case */
    enum tls_report_kind kind;
    enum tls_result result;
    const char *mx_host;
    const char *mx_addr;
    const char *source; /* our address; may be empty */
};
void tls_report_count(struct tls_report *report, const struct tls_session *session);
/* The text of a domain's policy, a line each, for its report; the first of a day stays. */
void tls_report_policy(struct tls_report *report, struct slice domain, enum tls_report_kind kind,
                       struct slice text);

/* A SHARD_NOTE of kind NOTE_TLS_COUNT, a SHARD_DIRECTORY or SHARD_SEND came home. Owns: takes msg.
 */
void tls_report_on_msg(struct tls_report *report, struct msg *msg);

#endif
