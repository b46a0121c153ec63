/* blast.h - what the files of blast share.
 *
 * One loop, one struct blast, a client for each connection. blast.c is the program, its clients and
 * their schedule; blast_http.c asks over HTTP, blast_smtp.c over SMTP, blast_hook.c is the endpoint
 * that webhooks come to; blast_report.c says what was seen, in times of blast_histogram.c.
 */
#ifndef TOOLS_BLAST_H
#define TOOLS_BLAST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/slice.h"
#include "blast_histogram.h"
#include "net/conn.h"
#include "net/http.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/smtp.h"

#define SECOND_US 1000000.0
#define MS_US     1000.0

enum blast_tls { BLAST_TLS_NONE, BLAST_TLS_START, BLAST_TLS_IMPLICIT };

struct options {
    struct slice url;
    struct slice smtp; /* ip:port; then mails are offered there */
    struct slice key;
    struct slice from;
    struct slice to;
    struct slice ids;
    struct slice tls; /* "none", "starttls" or "implicit" */
    struct slice hook_listen;
    struct slice hook_port_file;
    struct slice hook_secret;
    uint64_t hook_delay_ms;
    uint64_t concurrency;
    uint64_t connections;
    uint64_t seconds;
    uint64_t count;
    uint64_t bytes;
    uint64_t rcpts; /* of each mail over HTTP */
    uint64_t rate;  /* mails a second offered by all clients together; 0: as fast as they can */
    uint64_t mails_per_conn; /* SMTP: then QUIT and a new connection; 0: no end */
    bool is_idle;
    bool is_flood;
    bool is_json;
};

struct client;
struct hooks;

struct blast {
    struct loop loop;
    struct options options;
    struct conn_addr addr;
    struct client *clients;
    size_t client_count;
    struct timer tick;
    uv_signal_t signals[2];
    struct buf text; /* the mail's text: a JSON string, or lines for SMTP */
    struct buf auth; /* SMTP: what follows AUTH PLAIN; empty: nobody logs in */
    struct tls_context *tls_context;
    enum blast_tls tls;
    struct hooks *hooks;       /* NULL: no webhooks are awaited */
    struct histogram accepted; /* of what was taken */
    struct histogram shed;     /* of 503, or 4yz */
    struct histogram late;     /* a mail without an answer at the end of a schedule, so far */
    uint64_t statuses[600];
    uint64_t asked;
    uint64_t flying;  /* asked and neither answered nor broken */
    uint64_t behind;  /* mails of the schedule that nobody was free to send */
    uint64_t broken;  /* connections that ended with an answer due */
    uint64_t refused; /* connections that were not made */
    uint64_t sessions;
    uint64_t started_us;
    uint64_t started_unix_ms;
    uint64_t answered_us; /* the last time */
    uint64_t ended_us;
    int ids_fd;
    bool is_offered; /* all of it was taken; webhooks are still due */
    bool is_stopping;
};

enum smtp_wait {
    SMTP_WAIT_GREETING,
    SMTP_WAIT_EHLO,
    SMTP_WAIT_TLS,
    SMTP_WAIT_AUTH,
    SMTP_WAIT_NOTHING,
    SMTP_WAIT_ENVELOPE,
    SMTP_WAIT_END,
    SMTP_WAIT_QUIT
};

struct client {
    struct conn conn;
    struct blast *blast;
    struct timer pause; /* on: reconnect, or ask again */
    struct buf in;      /* HTTP */
    uint64_t asked_us;  /* with a rate: when it should have been asked, if that was earlier */
    uint64_t due_us;    /* of the place in the schedule that it has; 0: none */
    uint64_t number;    /* of the mail, SMTP */
    struct smtp_reply_reader reader;
    enum smtp_wait wait;
    uint32_t replied;    /* replies of an envelope that came */
    uint32_t mails;      /* of this connection */
    uint16_t taken_code; /* of the mail that QUIT follows */
    bool has_pipelining;
    bool is_idle; /* never asks */
    bool is_open;
    bool is_waiting; /* for an answer */
    bool is_used;    /* conn is not closed */
};

/* ---- blast.c ----------------------------------------------------------------------------------
 */

/* Notes what was answered, whatever it was; id as acknowledged, or empty. */
void blast_take(struct client *client, uint16_t status, struct slice id);
/* The next mail, after a pause when the last one was put off; may end the run instead. */
void blast_next(struct client *client, uint16_t status);
/* The recipient of that number. */
void blast_add_to(const struct blast *blast, uint64_t number, struct buf *out);
/* All webhooks came, or a signal did. */
void blast_stop(struct blast *blast);

/* ---- blast_http.c -----------------------------------------------------------------------------
 */

void blast_http_data(struct client *client, struct slice data);
void blast_http_ask(struct client *client);

/* ---- blast_smtp.c -----------------------------------------------------------------------------
 */

/* The connection is open, or its TLS is. */
void blast_smtp_open(struct client *client);
void blast_smtp_data(struct client *client, struct slice data);
/* Offers a mail; client->number is its own. */
void blast_smtp_ask(struct client *client);
/* What names a mail in its subject, where a webhook finds it again. */
void blast_token(const struct blast *blast, uint64_t number, struct buf *out);

/* ---- blast_hook.c -----------------------------------------------------------------------------
 */

/* Listens; fatal when it cannot. */
void blast_hook_open(struct blast *blast);
/* A mail was taken: its webhook is due. */
void blast_hook_due(struct blast *blast, uint64_t number, uint64_t now_us);
/* Whether every mail that was taken had its webhook acknowledged. */
bool blast_hook_is_done(const struct blast *blast);
/* When the last one came; 0: none did. */
uint64_t blast_hook_seen_us(const struct blast *blast);
void blast_hook_close(struct blast *blast);
void blast_hook_free(struct blast *blast);

struct hook_counts {
    struct histogram latency; /* from the 250 of the mail to its webhook */
    uint64_t bad;             /* with a signature that does not hold */
    uint64_t repeated;
    uint64_t unknown; /* about no mail of this run */
    uint64_t missing;
    uint64_t last_us;
};
const struct hook_counts *blast_hook_counts(struct blast *blast);

/* ---- blast_report.c ---------------------------------------------------------------------------
 */

void blast_report(struct blast *blast);

#endif
