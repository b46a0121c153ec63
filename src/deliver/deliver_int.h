/* deliver_int.h - what the files of the delivery actor share; included nowhere else.
 *
 * deliver.c has the switch, admission and drain; trip.c what happens to one outbox row. Everything
 * here is touched on delivery's loop only.
 */
#ifndef DELIVER_DELIVER_INT_H
#define DELIVER_DELIVER_INT_H

#include "base/conf.h"
#include "base/list.h"
#include "base/tap.h"
#include "deliver/attempt_smtp.h"
#include "deliver/deliver.h"
#include "deliver/group.h"
#include "deliver/policy.h"
#include "deliver/route.h"
#include "deliver/sched.h"
#include "deliver/site.h"
#include "deliver/source.h"
#include "deliver/sts.h"
#include "deliver/tls_report.h"
#include "mail/bounce_rules.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "net/tls.h"
#include "shards/actor.h"
#include "shards/msg.h"
#include "shards/place.h"

struct trip;
struct queue;

struct deliver {
    struct actor actor;
    const struct place *place;
    struct loop *loop;
    struct dns *dns;
    struct http_client *http;    /* of webhooks */
    struct http_client *fetcher; /* of policies and reports */
    struct sts *sts;
    struct tls_report *tls_report;
    struct site_table *sites;
    struct bounce_rules *bounce_rules; /* read again by CONTROL_RELOAD */
    struct sched sched;
    struct queue *queue; /* what the operator has to say about it */
    struct policy *policy;
    struct group_finder groups;
    struct source_table *sources;
    struct timer source_timer; /* to write what they sent, or to read it again */
    bool has_source_notes;     /* nothing leaves before */
    struct timer due;          /* the next entry, or the next site that may go on */
    struct timer daily;        /* expiry */
    struct link trips;
    struct trip *trips_by_row; /* the same, by mail and group */
    uint32_t trip_count;
    uint64_t counted_ms; /* sites, for the metrics */
    uint32_t verify_count;
    uint32_t expire_waiting; /* SHARD_EXPIRE out */
    uint32_t expire_failed;
    uint32_t expire_day;

    struct tls_context *tls_any;    /* opportunistic: takes any certificate */
    struct tls_context *tls_strict; /* verifies by name */
    struct tls_context *tls_dane;   /* verifies by TLSA */
    bool has_smarthost;
    char smarthost[256];
    uint16_t smarthost_tcp_port;
    enum smtp_tls smarthost_tls;
    struct slice smarthost_password;
    struct arena arena; /* secret: the password */

    struct tap_table tap; /* who watches trips */
    struct timer tap_timer;

    bool is_open; /* between START and DRAIN */
    bool is_abandoning;
    bool is_pumping;
    bool is_dns_closed;
    struct msg *quiet; /* CONTROL_QUIET waiting for the last trip */
    struct msg *drain;
    struct msg *stop;
    struct timer drain_timer;
};

/* Starts as many trips as policy allows, and sets the timer for what comes next. */
void deliver_pump(struct deliver *deliver);
/* count.c: the gauges of the schedule, and of the sites once a second; the policy's providers are
 * what the sites' metrics are called by, from before the loops run. */
void deliver_count(struct deliver *deliver);
void deliver_name_sites(const struct policy *policy);
uint32_t deliver_site_label(const struct site *site);
/* A trip ended. */
void deliver_trip_gone(struct deliver *deliver);

#endif
