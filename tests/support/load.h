/* load.h - a bounded HTTP client with many connections, for tests that need pressure.
 *
 * One thread, one epoll, no hidden work: requests move only inside load_run and load_finish, so a
 * test may kill the daemon between two of them and knows what had been answered by then. Each
 * connection is kept alive and carries one request at a time: the client asks for the next request
 * when the answer to the last one is complete. A connection that ends is opened again.
 *
 * A mailing is the request maker for POST /v1/send: one recipient of its own for each mail, so that
 * a sink's log tells them apart, and a record of every id that was acknowledged.
 *
 * Owns: the caller owns load and mailing; what an answer points to lives until its callback
 *       returns.
 */
#ifndef SUPPORT_LOAD_H
#define SUPPORT_LOAD_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

struct load_answer {
    uint64_t number; /* of the request, from 0 */
    uint16_t status;
    struct slice head; /* status line and header fields */
    struct slice body;
    uint64_t took_us; /* from the first byte written to the last one read */
};

/* Appends request `number`; false when there are no more. */
typedef bool load_ask_fn(void *context, uint64_t number, struct buf *out);
typedef void load_answer_fn(void *context, const struct load_answer *answer);

struct load_options {
    uint32_t conn_count;
    uint32_t source_count; /* spread over 127.1.0.1 and following as source; 0: the system's */
    uint64_t rest_ms;      /* a connection's pause behind an answer of 503, or its own end */
    load_ask_fn *ask;
    load_answer_fn *answer;
    void *context;
};

struct load_counts {
    uint64_t asked;
    uint64_t answered;
    uint64_t broken;  /* connections that ended with a request unanswered */
    uint64_t refused; /* connections that could not be made */
    uint64_t open;    /* connections, now */
};

struct load;

struct load *load_new(const struct load_options *options);
void load_free(struct load *load);
/* Closes what is open; the next run connects to 127.0.0.1:tcp_port. */
void load_connect(struct load *load, uint16_t tcp_port);
/* Opens all connections and asks nothing yet; whether all are open within ms. The first requests
 * are then spread over rest_ms. */
bool load_open(struct load *load, uint64_t ms) MUST_USE;
/* Works for ms milliseconds, or until `answers` more came (0: any number), or nothing is left to
 * ask and all is answered. */
void load_run(struct load *load, uint64_t ms, uint64_t answers);
/* Asks nothing more, reads what still comes for at most ms, closes. */
void load_finish(struct load *load, uint64_t ms);
const struct load_counts *load_counts(const struct load *load);
/* A header's value in an answer's head, or the empty slice. */
struct slice load_header(struct slice head, struct slice name);

/* ---- mailings -------------------------------------------------------------------------------
 */

#define MAILING_ID_MAX 40

struct mailing_entry {
    uint64_t number; /* the recipient is n<number>@domain */
    char id[MAILING_ID_MAX];
};

struct mailing {
    const char *key;
    const char *from;
    const char *domain;
    uint32_t text_bytes;
    uint64_t mail_max;  /* requests in all; 0: no end */
    struct buf entries; /* of struct mailing_entry, one for each 202 */
    struct buf text;    /* made once, from text_bytes */
    uint64_t accepted;
    uint64_t busy; /* 503 with a retry-after, by code */
    uint64_t storage;
    uint64_t draining;
    uint64_t strange; /* any other answer; the first one is printed */
    uint64_t busy_us_max;
    uint64_t busy_us_sum;
};

void mailing_init(struct mailing *mailing, const char *key, const char *from, const char *domain);
void mailing_fini(struct mailing *mailing);
/* For load_options; the context is the mailing. */
bool mailing_ask(void *context, uint64_t number, struct buf *out);
void mailing_answer(void *context, const struct load_answer *answer);
/* Enters a promise that came another way. */
void mailing_note(struct mailing *mailing, uint64_t number, struct slice id);
/* index below mailing->accepted. */
const struct mailing_entry *mailing_at(const struct mailing *mailing, uint64_t index);

#endif
