/* metric.h - counters, gauges and histograms in Prometheus' text form.
 *
 * Every cell has one writer: a metric is an array of cells, a row of them for each slot (a thread)
 * or for each actor, rows on cache lines of their own, written with relaxed stores and read by
 * whoever prints. So counting costs an add and no lock. Threads without a slot (workers, the log's)
 * share one row and pay for it with a locked add. All metrics are declared in two tables with help
 * and unit, METRIC_TABLE below without labels and METRIC_LABELLED with; there is no registration at
 * run time, and no label whose values strangers choose.
 *
 * Histograms count into four buckets an octave, so that a percentile is right to a fifth at worst:
 * microseconds from 1 us to 2^31 us, or plain numbers. The page shows a bound for each power of
 * two, of those with type FINE all four between 64 us and 4 s, where percentiles are watched: 33
 * and 81 lines. A summary is their sum and number alone. A histogram's cells cost 1 KiB a row.
 *
 * LOW and HIGH keep the least and the most since the last scrape, and begin anew with each
 * metric_print; where nothing happened since, they show the last value.
 *
 * Memory: METRIC_SLOT_MAX + 1 rows of some 25 KiB and METRIC_ACTORS of half a KiB: 1.7 MiB of
 * zeros, of which only rows that are written become memory: some 30 KiB a thread.
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include "base/base.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/metric_labels.h"

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_SECONDS, /* a counter of microseconds */
    METRIC_MILLIS,  /* a gauge of milliseconds; seconds on the page */
    METRIC_LOW,
    METRIC_HIGH,
    METRIC_SUMMARY,   /* of microseconds */
    METRIC_HISTOGRAM, /* likewise */
    METRIC_FINE,      /* likewise */
    METRIC_SIZES      /* a histogram of numbers */
};

/*  name, type, prometheus name, help */
#define METRIC_TABLE(X)                                                                            \
    X(HTTP_REQUESTS, COUNTER, "meerkat_http_requests_total", "HTTP requests answered")             \
    X(HTTP_5XX, COUNTER, "meerkat_http_5xx_total", "HTTP answers with a 5xx status")               \
    X(HTTP_SHED, COUNTER, "meerkat_http_shed_total",                                               \
      "requests answered 503 because a pool was empty")                                            \
    X(HTTP_CONNS, GAUGE, "meerkat_http_connections", "open HTTP connections")                      \
    X(HTTP_LATENCY, FINE, "meerkat_http_request_seconds", "time from last request byte to answer") \
    X(LOGINS_FAILED, COUNTER, "meerkat_logins_failed_total", "wrong passwords and unknown emails") \
    X(TRIES_REFUSED, COUNTER, "meerkat_tries_refused_total",                                       \
      "log-ins, sign-ups and invitations refused after too many failures")                         \
    X(MAIL_ACCEPTED, COUNTER, "meerkat_mail_accepted_total", "mails accepted for delivery")        \
    X(MAIL_ACCEPTED_BYTES, COUNTER, "meerkat_mail_accepted_bytes_total",                           \
      "bytes of mails accepted")                                                                   \
    X(COMMIT_BATCHES, COUNTER, "meerkat_commit_batches_total", "shard batches written")            \
    X(COMMIT_ROWS, COUNTER, "meerkat_commit_rows_total", "rows written")                           \
    X(COMMIT_SYNCS, COUNTER, "meerkat_commit_syncs_total", "fsyncs of the write-ahead log")        \
    X(COMMIT_FAILED, COUNTER, "meerkat_commit_failed_total", "shard batches that failed to write") \
    X(COMMIT_LATENCY, FINE, "meerkat_commit_seconds", "time of one write and sync round")          \
    X(DRAINING, GAUGE, "meerkat_draining",                                                         \
      "a drain by the operator: 0 none, 1 health says so, 2 no new work is taken")                 \
    X(STORE_FREE_BYTES, GAUGE, "meerkat_store_free_bytes", "free bytes on the store's filesystem") \
    X(BACKUP_AT, GAUGE, "meerkat_backup_last_timestamp_seconds",                                   \
      "when this run last made a backup and read it back, Unix time; 0: not yet")                  \
    X(JOBS_FAILED, COUNTER, "meerkat_jobs_failed_total", "long jobs on the store that failed")     \
    X(SCHED_ENTRIES, GAUGE, "meerkat_schedule_entries",                                            \
      "outbox rows known to the delivery schedule")                                                \
    X(SCHED_HOOKS, GAUGE, "meerkat_schedule_webhooks", "of those rows, webhooks")                  \
    X(ATTEMPTS_OPEN, GAUGE, "meerkat_attempts_open", "delivery attempts in flight")                \
    X(SCHED_TRANSACTIONAL, GAUGE, "meerkat_schedule_due_transactional",                            \
      "transactional entries that are due and wait for their site")                                \
    X(SCHED_BULK, GAUGE, "meerkat_schedule_due_bulk",                                              \
      "bulk entries that are due and wait for their site")                                         \
    X(SITES, GAUGE, "meerkat_sites", "destinations with work or with a record")                    \
    X(SITES_CLOSED, GAUGE, "meerkat_sites_closed",                                                 \
      "destinations that are left alone: circuit open, or held by the operator")                   \
    X(SITE_THROTTLED, COUNTER, "meerkat_site_throttled_total",                                     \
      "tries that a destination answered with too fast or too many")                               \
    X(DELIVERED, COUNTER, "meerkat_deliveries_delivered_total", "recipients delivered")            \
    X(DEFERRED, COUNTER, "meerkat_deliveries_deferred_total",                                      \
      "recipients put off after a temporary failure")                                              \
    X(BOUNCED, COUNTER, "meerkat_deliveries_bounced_total", "recipients failed for good")          \
    X(BOUNCED_LATER, COUNTER, "meerkat_deliveries_bounced_later_total",                            \
      "recipients that were delivered to, until a notice of failure came")                         \
    X(COMPLAINED, COUNTER, "meerkat_complaints_total", "recipients who called a mail spam")        \
    X(DELIVERY_LATENCY, HISTOGRAM, "meerkat_delivery_seconds", "time from acceptance to delivery") \
    X(HOOKS_ACKED, COUNTER, "meerkat_webhooks_acknowledged_total", "webhooks acknowledged")        \
    X(HOOKS_PUT_OFF, COUNTER, "meerkat_webhooks_deferred_total", "webhook tries that failed")      \
    X(HOOKS_FAILED, COUNTER, "meerkat_webhooks_failed_total", "webhooks given up")                 \
    X(HOOK_LATENCY, HISTOGRAM, "meerkat_webhook_seconds", "time of one acknowledged webhook call") \
    X(SMTP_CONNECTS, COUNTER, "meerkat_smtp_connects_total", "outgoing SMTP connections opened")   \
    X(SMTP_SESSIONS, GAUGE, "meerkat_smtp_sessions", "open SMTP sessions of mail that comes in")   \
    X(SMTP_ACCEPTS, COUNTER, "meerkat_smtp_accepts_total", "incoming SMTP connections")            \
    X(SMTP_TURNED_AWAY, COUNTER, "meerkat_smtp_turned_away_total",                                 \
      "incoming SMTP connections refused at once: limits, bans, no PROXY header, early talkers")   \
    X(SUBMIT_SESSIONS, GAUGE, "meerkat_submission_sessions", "open SMTP sessions of clients")      \
    X(SUBMIT_MAILS, COUNTER, "meerkat_submission_mails_total", "mails accepted from them")         \
    X(SUBMIT_REFUSED, COUNTER, "meerkat_submission_refused_total",                                 \
      "mails of theirs that were refused or put off at their end")                                 \
    X(SUBMIT_AUTH_FAILED, COUNTER, "meerkat_submission_auth_failed_total",                         \
      "wrong API keys over SMTP")                                                                  \
    X(INBOUND_MAILS, COUNTER, "meerkat_inbound_mails_total", "received mails accepted")            \
    X(INBOUND_BYTES, COUNTER, "meerkat_inbound_bytes_total", "bytes of received mails accepted")   \
    X(INBOUND_PUT_OFF, COUNTER, "meerkat_inbound_deferred_total",                                  \
      "received mails answered 4yz at their end")                                                  \
    X(INBOUND_REFUSED, COUNTER, "meerkat_inbound_refused_total",                                   \
      "received mails answered 5yz at their end")                                                  \
    X(RCPT_UNKNOWN, COUNTER, "meerkat_inbound_rcpt_unknown_total",                                 \
      "recipients refused for good: no such mailbox, not a domain of ours")                        \
    X(RCPT_PUT_OFF, COUNTER, "meerkat_inbound_rcpt_deferred_total", "recipients answered 4yz")     \
    X(SPF_PASSED, COUNTER, "meerkat_spf_pass_total", "received mails that passed SPF")             \
    X(SPF_OTHER, COUNTER, "meerkat_spf_other_total", "received mails that did not")                \
    X(DKIM_PASSED, COUNTER, "meerkat_dkim_pass_total", "received mails with a good signature")     \
    X(DKIM_OTHER, COUNTER, "meerkat_dkim_other_total", "received mails without one")               \
    X(DMARC_PASSED, COUNTER, "meerkat_dmarc_pass_total", "received mails that passed DMARC")       \
    X(DMARC_FAILED, COUNTER, "meerkat_dmarc_fail_total", "received mails that failed DMARC")       \
    X(TLS_GOOD, COUNTER, "meerkat_tls_sessions_total",                                             \
      "sessions with mail hosts, TLS as it should be")                                             \
    X(TLS_BAD, COUNTER, "meerkat_tls_failures_total",                                              \
      "sessions with mail hosts, TLS absent or failed")                                            \
    X(TLS_REPORTS, COUNTER, "meerkat_tls_reports_total", "daily reports on TLS that were taken")   \
    X(STS_FETCHED, COUNTER, "meerkat_sts_fetched_total", "MTA-STS policies fetched")               \
    X(STS_FAILED, COUNTER, "meerkat_sts_failed_total", "MTA-STS policies that could not be had")   \
    X(DNS_LOOKUPS, COUNTER, "meerkat_dns_lookups_total", "DNS questions asked of the resolver")    \
    X(LOG_DROPPED, COUNTER, "meerkat_log_dropped_total",                                           \
      "log lines dropped because the ring was full")                                               \
    X(LOG_LOST, COUNTER, "meerkat_log_lost_total",                                                 \
      "log lines that could not be written: the disk is full, or nobody reads")

enum metric {
#define X(name, type, text, help) METRIC_##name,
    METRIC_TABLE(X)
#undef X
#define X(name, type, whose, label, more, text, help) METRIC_##name,
        METRIC_LABELLED(X)
#undef X
            METRIC_COUNT
};

#define METRIC_SLOT_MAX 64

/* The slot the calling thread writes to; until then it shares one with others that have none. */
void metric_set_slot(uint32_t slot);
/* What the page calls the slot: loop="0". Before threads run. */
void metric_name_slot(uint32_t slot, const char *name);
/* The words of the label `site`, from 1; 0 is "other". Before threads run. */
void metric_name_site(uint32_t index, struct slice name);
/* 0 when there is none of that name. */
uint32_t metric_site(struct slice name);

/* Of SUM and LOOP: the calling thread's cell. Without labels, or with the value of the label; of
 * two labels: metric_pair. */
void metric_add(enum metric metric, uint64_t value);
void metric_set(enum metric metric, uint64_t value);
void metric_observe_us(enum metric metric, uint64_t us);
void metric_add_at(enum metric metric, uint32_t label, uint64_t value);
void metric_set_at(enum metric metric, uint32_t label, uint64_t value);
void metric_observe_at(enum metric metric, uint32_t label, uint64_t us);
uint32_t metric_pair(enum metric metric, uint32_t label, uint32_t more);
/* Of SIZES. */
void metric_observe_count(enum metric metric, uint64_t count);
/* Of LOOP: another thread's cell, for one that writes this metric of all. */
void metric_set_of(enum metric metric, uint32_t slot, uint64_t value);

/* The cells of an actor: "shard", "edge" by index, and those of which there is one. The calling
 * thread is the one that runs it now. */
#define METRIC_ACTORS (SHARD_COUNT_MAX + LOOP_COUNT_MAX + 6)
uint32_t metric_actor(const char *name, uint32_t index);
void metric_actor_add(enum metric metric, uint32_t actor, uint32_t label, uint64_t value);
void metric_actor_set(enum metric metric, uint32_t actor, uint32_t label, uint64_t value);
void metric_actor_observe(enum metric metric, uint32_t actor, uint64_t us);
/* Of LOW and HIGH. */
void metric_actor_mark(enum metric metric, uint32_t actor, uint32_t label, uint64_t value);

/* Sum over slots and actors, and over labels; a gauge or counter. For a histogram or a summary: the
 * number of observations. */
uint64_t metric_read(enum metric metric);
uint64_t metric_read_at(enum metric metric, uint32_t label);
/* Of LOOP: one slot's; of ACTOR and SHARD: one actor's; of SECONDS: microseconds. */
uint64_t metric_read_of(enum metric metric, uint32_t row, uint32_t label);
/* Of SUMMARY and histograms: the sum in microseconds; row: UINT32_MAX: all. */
uint64_t metric_sum_us(enum metric metric, uint32_t row);
/* Prometheus text (0.0.4) of all metrics. LOW and HIGH begin anew. */
void metric_print(struct buf *out);

#endif
