/* smtp_load.h - a bounded SMTP client with many connections, for tests that need pressure.
 *
 * The counterpart of load.h for mail that comes in: one thread, no hidden work. A mail is a
 * pipelined envelope up to DATA and its bytes; it is done when its 250 came. A mail without an
 * answer, or with one of 4yz, is offered again by the same connection, byte for byte, as mail
 * servers do. An answer of 5yz, or one that is no SMTP, is strange: it is printed and counted.
 *
 * Owns: the caller owns the load; what a callback gets lives until it returns.
 */
#ifndef SUPPORT_SMTP_LOAD_H
#define SUPPORT_SMTP_LOAD_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

/* Appends mail `number`, the same at each call: MAIL and RCPT lines to envelope, and the content,
 * with its dots stuffed and without the final one. False when there are no more. */
typedef bool smtp_load_ask_fn(void *context, uint64_t number, struct buf *envelope,
                              struct buf *content);
/* The 250 behind the content. */
typedef void smtp_load_answer_fn(void *context, uint64_t number, struct slice reply);

struct smtp_load_options {
    uint32_t conn_count;
    uint64_t rest_ms; /* a connection's pause behind its end */
    smtp_load_ask_fn *ask;
    smtp_load_answer_fn *answer;
    void *context;
};

struct smtp_load_counts {
    uint64_t accepted;
    uint64_t offered_again; /* mails without an answer, or with a 4yz */
    uint64_t put_off;       /* answers of 4yz */
    uint64_t strange;
};

struct smtp_load;

struct smtp_load *smtp_load_new(const struct smtp_load_options *options);
void smtp_load_free(struct smtp_load *load);
/* Closes what is open; the next run connects to 127.0.0.1:tcp_port. */
void smtp_load_connect(struct smtp_load *load, uint16_t tcp_port);
/* Works for ms milliseconds, or until `answers` more mails were accepted (0: any number). */
void smtp_load_run(struct smtp_load *load, uint64_t ms, uint64_t answers);
/* Begins no further mail, but ends what was begun, in at most ms; whether all of it was. */
bool smtp_load_finish(struct smtp_load *load, uint64_t ms) MUST_USE;
/* Reads answers that were sent already, for at most ms; for a server that has died. */
void smtp_load_last_words(struct smtp_load *load, uint64_t ms);
const struct smtp_load_counts *smtp_load_counts(const struct smtp_load *load);

#endif
