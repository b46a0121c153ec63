/* blast.h - what the files of blast share.
 *
 * One loop, one struct blast, a client for each connection. blast.c is the program and its HTTP
 * side; blast_smtp.c offers mails over SMTP instead.
 */
#ifndef TOOLS_BLAST_H
#define TOOLS_BLAST_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/slice.h"
#include "net/conn.h"
#include "net/loop.h"

/* Log-linear: 32 buckets for each power of two of microseconds, 3 % apart. */
#define SUB_BITS     5
#define SUB_COUNT    (1U << SUB_BITS)
#define BUCKET_COUNT (SUB_COUNT * 40)

struct spread {
    uint64_t buckets[BUCKET_COUNT];
    uint64_t count;
    uint64_t max_us;
};

struct options {
    struct slice url;
    struct slice smtp; /* ip:port; then mails are offered there */
    struct slice key;
    struct slice from;
    struct slice to;
    struct slice ids;
    uint64_t concurrency;
    uint64_t connections;
    uint64_t seconds;
    uint64_t count;
    uint64_t bytes;
    uint64_t rcpts; /* of each mail over HTTP */
    uint64_t rate;  /* mails a second offered by all clients together; 0: as fast as they can */
    bool is_idle;
    bool is_flood;
};

struct client;

struct blast {
    struct loop loop;
    struct options options;
    struct conn_addr addr;
    struct client *clients;
    size_t client_count;
    struct timer tick;
    uv_signal_t signals[2];
    struct buf text; /* the mail's text: a JSON string, or lines for SMTP */
    struct spread accepted;
    struct spread shed; /* 503, or 4yz */
    uint64_t statuses[600];
    uint64_t asked;
    uint64_t broken;  /* connections that ended with an answer due */
    uint64_t refused; /* connections that were not made */
    uint64_t started_us;
    uint64_t started_unix_ms;
    uint64_t answered_us; /* the last time */
    uint64_t ended_us;
    int ids_fd;
    bool is_stopping;
};

enum smtp_wait {
    SMTP_WAIT_GREETING,
    SMTP_WAIT_EHLO,
    SMTP_WAIT_NOTHING,
    SMTP_WAIT_DATA,
    SMTP_WAIT_END
};

struct client {
    struct conn conn;
    struct blast *blast;
    struct timer pause; /* on: reconnect, or ask again */
    struct buf in;
    uint64_t asked_us;   /* with a rate: when it should have been asked, if that was earlier */
    uint64_t due_us;     /* of the place in the schedule that it has; 0: none */
    uint64_t number;     /* of the mail, SMTP */
    enum smtp_wait wait; /* SMTP */
    uint32_t due;        /* replies of an envelope */
    bool is_idle;        /* never asks */
    bool is_open;
    bool is_waiting; /* for an answer */
    bool is_used;    /* conn is not closed */
};

/* Notes what was answered, whatever it was; id as acknowledged, or empty. */
void blast_take(struct client *client, uint16_t status, struct slice id);
/* The next mail, after a pause when the last one was put off; may end the run instead. */
void blast_next(struct client *client, uint16_t status);
/* The recipient, with its running number. */
void blast_add_to(const struct blast *blast, struct buf *out);

/* For a client that speaks SMTP. It is open: its greeting is due. */
void blast_smtp_open(struct client *client);
void blast_smtp_data(struct client *client);
/* Offers a mail; client->number is its own. */
void blast_smtp_ask(struct client *client);

#endif
