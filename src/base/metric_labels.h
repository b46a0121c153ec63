/* metric_labels.h - the metrics that carry labels, and every value that a label can have.
 *
 * A part of metric.h, which includes it. All values of all labels stand here and are numbers in the
 * code, so a metric has as many cells as its labels have values and never one more, whatever
 * strangers send: that is the bound of the page and of the memory. Two labels multiply. The one
 * label whose words come from elsewhere is `site`: the names of the providers in the site policy,
 * taken at start up to LABEL_SITE_COUNT; whoever has none is "other".
 *
 * Whose a labelled metric is:
 *   SUM    every thread has its cells; the page shows their sum
 *   LOOP   every thread has its cells; the page shows each thread's, with loop="0" or "deliver"
 *   ACTOR  every actor has its cells, whatever thread it runs on: actor="shard",index="3"
 *   SHARD  the same, of shards alone: shard="3"
 */
#ifndef BASE_METRIC_LABELS_H
#define BASE_METRIC_LABELS_H

#include "base/err.h"

/* clang-format off */
#define LABEL_LIST_POOL(L) L(POOL_REQUEST, "request") L(POOL_WAKE, "wake") L(POOL_COMMIT, "commit")
/* Of a batch: in the committer's port, being written, waiting for the sync, on its way home. */
#define LABEL_LIST_STAGE(L)                                                                        \
    L(STAGE_WAIT, "wait") L(STAGE_WRITE, "write") L(STAGE_SYNC, "sync") L(STAGE_RETURN, "return")
#define LABEL_LIST_VERDICT(L)                                                                      \
    L(VERDICT_DELIVERED, "delivered") L(VERDICT_DEFERRED, "deferred") L(VERDICT_BOUNCED, "bounced")
/* Of what is no success. */
#define LABEL_LIST_FATE(L) L(FATE_DEFERRED, "deferred") L(FATE_BOUNCED, "bounced")
/* As enum smtp_step. */
#define LABEL_LIST_STEP(L)                                                                         \
    L(STEP_RESOLVE, "resolve") L(STEP_CONNECT, "connect") L(STEP_TLS, "tls")                       \
    L(STEP_GREETING, "greeting") L(STEP_EHLO, "ehlo") L(STEP_STARTTLS, "starttls")                 \
    L(STEP_AUTH, "auth") L(STEP_MAIL, "mail") L(STEP_RCPT, "rcpt") L(STEP_DATA, "data")            \
    L(STEP_BODY, "body") L(STEP_RSET, "rset") L(STEP_QUIT, "quit")
/* As enum bounce_class. */
#define LABEL_LIST_BOUNCE(L)                                                                       \
    L(BOUNCE_NONE, "none") L(BOUNCE_HARD, "hard") L(BOUNCE_MAILBOX_FULL, "mailbox_full")           \
    L(BOUNCE_INACTIVE, "inactive") L(BOUNCE_SOFT, "soft") L(BOUNCE_BLOCK, "block")                 \
    L(BOUNCE_POLICY, "policy") L(BOUNCE_RATE, "rate") L(BOUNCE_GREYLIST, "greylist")               \
    L(BOUNCE_TLS, "tls") L(BOUNCE_SIZE, "size") L(BOUNCE_SPAM_CONTENT, "spam_content")             \
    L(BOUNCE_DNS, "dns") L(BOUNCE_RELAY, "relay") L(BOUNCE_AUTH, "auth")                           \
    L(BOUNCE_PROTOCOL, "protocol") L(BOUNCE_OTHER, "other")
#define LABEL_LIST_PRIORITY(L) L(PRIORITY_TRANSACTIONAL, "transactional") L(PRIORITY_BULK, "bulk")
/* Of a call: what kind of answer there was; none: not connected, or nothing came in time. */
#define LABEL_LIST_ANSWER(L)                                                                       \
    L(ANSWER_NONE, "none") L(ANSWER_2XX, "2xx") L(ANSWER_3XX, "3xx") L(ANSWER_4XX, "4xx")          \
    L(ANSWER_5XX, "5xx")
#define LABEL_LIST_ROUTE(L)                                                                        \
    L(ROUTE_SEND, "send") L(ROUTE_READ, "read") L(ROUTE_WRITE, "write") L(ROUTE_PUBLIC, "public")  \
    L(ROUTE_ADMIN, "admin") L(ROUTE_NONE, "none")
#define LABEL_LIST_DNS(L) L(DNS_FOUND, "found") L(DNS_NONE, "none") L(DNS_FAILED, "failed")
#define LABEL_LIST_ALGORITHM(L) L(ALGORITHM_RSA, "rsa") L(ALGORITHM_ED25519, "ed25519")
#define LABEL_LIST_LEVEL(L)                                                                        \
    L(LEVEL_DEBUG, "debug") L(LEVEL_INFO, "info") L(LEVEL_WARN, "warn") L(LEVEL_ERROR, "error")
#define LABEL_LIST_LISTENER(L)                                                                     \
    L(LISTENER_HTTPS, "https") L(LISTENER_SMTP, "smtp") L(LISTENER_SUBMISSION, "submission")
/* clang-format on */

/*  label, its name in the text */
#define LABEL_TABLE(X)                                                                             \
    X(POOL, "pool")                                                                                \
    X(STAGE, "stage")                                                                              \
    X(VERDICT, "verdict")                                                                          \
    X(FATE, "verdict")                                                                             \
    X(STEP, "step")                                                                                \
    X(BOUNCE, "class")                                                                             \
    X(PRIORITY, "priority")                                                                        \
    X(ANSWER, "answer")                                                                            \
    X(ROUTE, "route")                                                                              \
    X(DNS, "result")                                                                               \
    X(ALGORITHM, "algorithm")                                                                      \
    X(LEVEL, "level")                                                                              \
    X(LISTENER, "listener")

#define LABEL_VALUE(name, text) LABEL_##name,
enum label_pool { LABEL_LIST_POOL(LABEL_VALUE) LABEL_POOL_COUNT };
enum label_stage { LABEL_LIST_STAGE(LABEL_VALUE) LABEL_STAGE_COUNT };
enum label_verdict { LABEL_LIST_VERDICT(LABEL_VALUE) LABEL_VERDICT_COUNT };
enum label_fate { LABEL_LIST_FATE(LABEL_VALUE) LABEL_FATE_COUNT };
enum label_step { LABEL_LIST_STEP(LABEL_VALUE) LABEL_STEP_COUNT };
enum label_bounce { LABEL_LIST_BOUNCE(LABEL_VALUE) LABEL_BOUNCE_COUNT };
enum label_priority { LABEL_LIST_PRIORITY(LABEL_VALUE) LABEL_PRIORITY_COUNT };
enum label_answer { LABEL_LIST_ANSWER(LABEL_VALUE) LABEL_ANSWER_COUNT };
enum label_route { LABEL_LIST_ROUTE(LABEL_VALUE) LABEL_ROUTE_COUNT };
enum label_dns { LABEL_LIST_DNS(LABEL_VALUE) LABEL_DNS_COUNT };
enum label_algorithm { LABEL_LIST_ALGORITHM(LABEL_VALUE) LABEL_ALGORITHM_COUNT };
enum label_level { LABEL_LIST_LEVEL(LABEL_VALUE) LABEL_LEVEL_COUNT };
enum label_listener { LABEL_LIST_LISTENER(LABEL_VALUE) LABEL_LISTENER_COUNT };
#undef LABEL_VALUE

enum { LABEL_NONE_COUNT = 1, LABEL_ERR_COUNT = ERR_COUNT, LABEL_SITE_COUNT = 32 };

/*  name, type, whose, label, second label, prometheus name, help */
#define METRIC_LABELLED(X)                                                                         \
    X(POOL_SIZE, GAUGE, ACTOR, POOL, NONE, "meerkat_pool_size_msgs",                               \
      "messages that an actor's pool has in all")                                                  \
    X(POOL_FREE, GAUGE, ACTOR, POOL, NONE, "meerkat_pool_free_msgs",                               \
      "messages left in an actor's pool")                                                          \
    X(POOL_LOWEST, LOW, ACTOR, POOL, NONE, "meerkat_pool_lowest_msgs",                             \
      "fewest messages left in an actor's pool since the last scrape")                             \
    X(PORT_DEPTH, GAUGE, ACTOR, NONE, NONE, "meerkat_port_depth_msgs",                             \
      "messages found waiting at the last drain")                                                  \
    X(PORT_DEEPEST, HIGH, ACTOR, NONE, NONE, "meerkat_port_deepest_msgs",                          \
      "most messages found waiting since the last scrape")                                         \
    X(HANDLER_TIME, SUMMARY, ACTOR, NONE, NONE, "meerkat_handler_seconds",                         \
      "time in an actor's message handler; count: messages handled")                               \
    X(HANDLER_SLOW, COUNTER, ACTOR, NONE, NONE, "meerkat_handler_slow_total",                      \
      "message handlers that ran longer than 1 ms")                                                \
    X(LOOP_TURNS, COUNTER, LOOP, NONE, NONE, "meerkat_loop_turns_total", "turns of a loop")        \
    X(LOOP_IDLE, SECONDS, LOOP, NONE, NONE, "meerkat_loop_idle_seconds_total",                     \
      "time that a loop waited for events")                                                        \
    X(LOOP_CONNS, GAUGE, LOOP, NONE, NONE, "meerkat_loop_http_connections",                        \
      "open HTTP connections of a loop")                                                           \
    X(LOOP_REQUESTS, COUNTER, LOOP, NONE, NONE, "meerkat_loop_http_requests_total",                \
      "HTTP requests that a loop answered")                                                        \
    X(HTTP_ANSWERS, COUNTER, SUM, ROUTE, ANSWER, "meerkat_http_answers_total",                     \
      "HTTP requests answered, by kind of route and of status")                                    \
    X(HTTP_ERRORS, COUNTER, SUM, ERR, NONE, "meerkat_http_errors_total",                           \
      "HTTP requests refused, by reason")                                                          \
    X(SHARD_ACCEPTED, COUNTER, SHARD, NONE, NONE, "meerkat_shard_accepted_total",                  \
      "mails accepted for delivery by a shard")                                                    \
    X(SHARD_BATCHES, COUNTER, SHARD, NONE, NONE, "meerkat_shard_batches_total",                    \
      "batches that a shard had written")                                                          \
    X(SHARD_ROWS, COUNTER, SHARD, NONE, NONE, "meerkat_shard_rows_total",                          \
      "rows that a shard had written")                                                             \
    X(SHARD_COMMIT, SUMMARY, SHARD, NONE, NONE, "meerkat_shard_commit_seconds",                    \
      "time from posting a batch until it was home, on disk")                                      \
    X(COMMIT_STAGE, HISTOGRAM, SUM, STAGE, NONE, "meerkat_commit_stage_seconds",                   \
      "time of a batch in a stage of its commit")                                                  \
    X(COMMIT_ROUND, SIZES, SUM, NONE, NONE, "meerkat_commit_round_batches",                        \
      "batches that shared one sync")                                                              \
    X(COMMIT_BATCH, SIZES, SUM, NONE, NONE, "meerkat_commit_batch_rows", "rows of one batch")      \
    X(VERDICTS, COUNTER, SUM, VERDICT, SITE, "meerkat_delivery_verdicts_total",                    \
      "verdicts on recipients, by where their mail goes")                                          \
    X(FAILURES_STEP, COUNTER, SUM, STEP, FATE, "meerkat_delivery_failures_total",                  \
      "verdicts that are no success, by the step of SMTP that failed")                             \
    X(FAILURES_CLASS, COUNTER, SUM, BOUNCE, FATE, "meerkat_delivery_bounce_class_total",           \
      "verdicts that are no success, by what is behind them")                                      \
    X(SITE_DUE, GAUGE, SUM, SITE, PRIORITY, "meerkat_site_due_entries",                            \
      "entries that are due and wait for their site")                                              \
    X(SITE_ENTRIES, GAUGE, SUM, SITE, NONE, "meerkat_site_entries",                                \
      "entries in the schedule for a site, whatever they wait for")                                \
    X(SITE_OPEN, GAUGE, SUM, SITE, NONE, "meerkat_site_attempts_open",                             \
      "attempts under way at a site")                                                              \
    X(SITE_OLDEST, MILLIS, SUM, SITE, PRIORITY, "meerkat_site_oldest_due_seconds",                 \
      "how long the oldest entry has been due that waits for its site")                            \
    X(SITE_CLOSED, GAUGE, SUM, SITE, NONE, "meerkat_site_closed_sites",                            \
      "sites that are left alone: circuit open, or held by the operator")                          \
    X(HOOK_CALLS, HISTOGRAM, SUM, ANSWER, NONE, "meerkat_webhook_call_seconds",                    \
      "time of a webhook call, by its answer")                                                     \
    X(DNS_TIME, HISTOGRAM, SUM, DNS, NONE, "meerkat_dns_lookup_seconds",                           \
      "time until the resolver had answered a question")                                           \
    X(DKIM_TIME, HISTOGRAM, SUM, ALGORITHM, NONE, "meerkat_dkim_sign_seconds",                     \
      "time of one DKIM signature")                                                                \
    X(WORKERS, GAUGE, SUM, NONE, NONE, "meerkat_workers", "threads for long work")                 \
    X(WORKER_JOBS, GAUGE, SUM, NONE, NONE, "meerkat_worker_jobs",                                  \
      "jobs at the workers: waiting or worked on")                                                 \
    X(WORKER_WAIT, HISTOGRAM, SUM, NONE, NONE, "meerkat_worker_wait_seconds",                      \
      "time that a job waited for a worker")                                                       \
    X(WORKER_TIME, SUMMARY, SUM, NONE, NONE, "meerkat_worker_seconds", "time that workers worked") \
    X(LOG_LINES, COUNTER, SUM, LEVEL, NONE, "meerkat_log_lines_total", "log lines, by level")      \
    X(STORE_MEMTABLE, GAUGE, SHARD, NONE, NONE, "meerkat_store_memtable_bytes",                    \
      "bytes in a shard's memtables")                                                              \
    X(STORE_TABLES, GAUGE, SHARD, NONE, NONE, "meerkat_store_table_bytes",                         \
      "bytes of a shard's table files")                                                            \
    X(STORE_BLOBS, GAUGE, SHARD, NONE, NONE, "meerkat_store_blob_bytes",                           \
      "bytes of a shard's blob files")                                                             \
    X(STORE_GARBAGE, GAUGE, SHARD, NONE, NONE, "meerkat_store_blob_garbage_bytes",                 \
      "bytes in a shard's blob files that nobody refers to any more")                              \
    X(STORE_DEBT, GAUGE, SHARD, NONE, NONE, "meerkat_store_compaction_debt_bytes",                 \
      "bytes that compaction of a shard has still to rewrite")                                     \
    X(STORE_COMPACTIONS, GAUGE, SUM, NONE, NONE, "meerkat_store_compactions_running",              \
      "compactions under way")                                                                     \
    X(STORE_FLUSHES, GAUGE, SUM, NONE, NONE, "meerkat_store_flushes_running",                      \
      "memtables on their way to disk")                                                            \
    X(STORE_DELAYED, GAUGE, SUM, NONE, NONE, "meerkat_store_delayed_write_bytes_per_second",       \
      "rate to which RocksDB holds writers back; 0: none")                                         \
    X(STORE_STOPPED, GAUGE, SUM, NONE, NONE, "meerkat_store_write_stopped",                        \
      "1 while RocksDB takes no writes")                                                           \
    X(STORE_STALLED, SECONDS, SUM, NONE, NONE, "meerkat_store_stall_seconds_total",                \
      "time that RocksDB held writers back")                                                       \
    X(STORE_SLOWED, COUNTER, SHARD, NONE, NONE, "meerkat_store_slowdowns_total",                   \
      "writers of a shard that RocksDB slowed down")                                               \
    X(STORE_STOPS, COUNTER, SHARD, NONE, NONE, "meerkat_store_stops_total",                        \
      "writers of a shard that RocksDB made wait")                                                 \
    X(STORE_ERRORS, GAUGE, SUM, NONE, NONE, "meerkat_store_background_errors",                     \
      "flushes and compactions that failed since the start")                                       \
    X(STORE_LOG, GAUGE, SUM, NONE, NONE, "meerkat_store_log_bytes",                                \
      "write-ahead logs on disk: what a start would replay, at most")                              \
    X(STORE_CACHE, GAUGE, SUM, NONE, NONE, "meerkat_store_cache_bytes",                            \
      "bytes in the block cache")                                                                  \
    X(CERTIFICATE, GAUGE, SUM, LISTENER, NONE, "meerkat_certificate_expiry_timestamp_seconds",     \
      "when a listener's certificate expires, in unix time; 0: it has none")

#endif
