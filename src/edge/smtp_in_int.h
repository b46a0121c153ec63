/* smtp_in_int.h - what the files of incoming SMTP share: sessions and the mail each has in hand.
 *
 * smtp_in.c has the sessions: connection, machine, deadlines. smtp_in_rcpt.c has the recipients of
 * the mail in hand, smtp_in_mail.c its bytes, chunks and end. smtp_in_trace.c writes what we put
 * above it. What is different when clients submit is in submit.c and submit_mail.c.
 *
 * A message names its session by slot and generation, so one that comes home to a session that has
 * gone finds nobody. What it has left in a shard, chunks of an unfinished mail, is then dropped by
 * a SHARD_STAGE of its own.
 */
#ifndef EDGE_SMTP_IN_INT_H
#define EDGE_SMTP_IN_INT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/cidr.h"
#include "base/crypto.h"
#include "base/id.h"
#include "base/list.h"
#include "edge/edge_int.h"
#include "edge/judge.h"
#include "edge/smtp_in.h"
#include "edge/spam.h"
#include "net/conn.h"
#include "net/proxy.h"
#include "net/smtp_guard.h"
#include "net/smtp_server.h"
#include "shards/msg.h"

struct smtp_session;

struct smtp_slot {
    struct smtp_session *session; /* NULL when free */
    uint32_t generation;
    uint32_t next_free; /* index, or UINT32_MAX */
};

struct smtp_in {
    struct edge *edge;
    struct dns *dns;   /* NULL for submission */
    struct spam *spam; /* NULL: nobody is asked */
    struct smtp_guard *guard;
    struct slice hostname;
    struct link sessions;
    uint32_t session_count;
    struct smtp_slot *slots; /* smtp_sessions_max */
    uint32_t first_free_slot;
    struct link drops; /* chunks to be dropped that found no message */
    struct timer drop_timer;
    uint64_t said_ms; /* the last line about somebody who was turned away */
    bool is_submission;
    bool is_draining;
    smtp_in_closed_fn *on_closed;
    void *context;
};

/* What a session does with one account for the mail in hand. */
struct inbound_account {
    struct account_id account;
    struct id staged; /* chunks lie in its shard under this; none: not begun */
    struct id id;     /* of the mail, once stored */
};

struct inbound_rcpt {
    struct slice key;
    uint8_t account; /* in accounts */
};

/* One mail, from MAIL to its answer. All of it is empty between two mails. One that is submitted
 * has no accounts, no judge and no chunks: it stays in `data` whole. */
struct inbound {
    struct arena arena; /* sender, recipients, trace */
    struct slice sender;
    struct inbound_account accounts[INBOUND_ACCOUNTS_MAX];
    uint32_t account_count;
    struct inbound_rcpt *rcpts; /* INBOUND_RCPT_MAX */
    uint32_t rcpt_count;

    /* The recipient that is asked about, and the domain that was found last. */
    char asked_bytes[ADDR_MAX + 1];
    struct slice asked;
    char domain_bytes[DOMAIN_MAX + 1];
    struct slice domain;
    struct account_id domain_account;
    struct id domain_id;

    struct spam_question spam;
    struct judge *judge; /* from the first good recipient on */
    struct sha256_stream bytes;
    struct buf data;         /* not yet staged; the whole mail when it is small */
    uint64_t reserved_bytes; /* of edge->body_bytes */
    uint64_t started_ms;     /* its first byte was expected; 0: not yet */
    uint32_t chunks;         /* staged */
    uint32_t waiting;        /* messages of this mail that are out */
    uint32_t forged;         /* Authentication-Results in our name that came with it */
    uint32_t hops;           /* Received fields that it came with */
    enum err failed;         /* it cannot be taken; the rest of its bytes is not kept */
    char id[ID_TEXT_MAX];    /* in Received and logs */
    bool is_smtputf8;
    bool is_open;    /* between an accepted MAIL and the answer */
    bool is_hashing; /* bytes is started */
    bool has_header; /* the header block was looked at */
    bool is_staging; /* a chunk is on its way; nothing is read */
    bool is_ended;   /* END is asked */
    bool is_judged;
    bool is_spam_asked; /* and not answered yet */
    bool is_storing;    /* SHARD_INBOUND is out */
    bool is_complaint;  /* a recipient is complaint_address */
    bool is_traced;     /* whose mail it complains of was looked for */
    bool is_tracing;    /* and the account is being asked */
};

/* What a session that submits has beside the mail in hand. */
struct submit {
    struct caller caller;         /* who has authenticated, or is being asked about */
    struct credential credential; /* of the same; none: nobody yet */
    uint64_t expires_unix_ms;     /* of the credential; 0: never */
    struct slice *rcpts;          /* API_RCPT_MAX, in the arena of the mail in hand */
    uint32_t rcpt_count;
    bool requires_tls;
};

struct smtp_session {
    struct conn conn;
    struct smtp_in *smtp;
    struct link link; /* smtp->sessions */
    struct smtp_server server;
    struct proxy_reader proxy;
    struct buf unread; /* bytes behind an open question */
    struct timer greet;
    struct ip6 peer; /* whom it comes from, behind a balancer too */
    struct inbound mail;
    struct submit submit;
    struct tap_talk talk;
    const char *farewell; /* is_leaving: in the 421 */
    uint32_t slot;
    bool is_balancer; /* the conn's peer must send a PROXY header */
    bool has_header;  /* and has */
    bool is_guarded;  /* counted by the guard */
    bool is_in_pump;
    bool is_implicit_tls;
    bool is_tls_starting;
    bool is_paused;
    bool is_leaving; /* 421 after the mail in hand */
};

/* smtp_in.c */

/* An answer was given, or a chunk is on disk: go on reading. Not inside an event. */
void smtp_in_go_on(struct smtp_session *session);
/* From the edge's pool, in the session's name; NULL when all are out. */
struct msg *smtp_in_take(struct smtp_session *session, enum msg_kind kind);
void smtp_in_post(struct actor *to, struct msg *msg);
/* The session that msg was sent by; NULL when it has gone. */
struct smtp_session *smtp_in_find(const struct smtp_in *smtp, uint64_t token);
/* Says 421, after the answer to a mail that is being stored. Not inside an event. */
void smtp_in_end(struct smtp_session *session, const char *farewell);
/* A line a second at most: a flood is counted, not written down. */
void smtp_in_log_turned_away(const struct smtp_session *session, const char *reason);
/* Chunks in a shard that nobody wants. */
void smtp_in_drop(struct smtp_in *smtp, struct account_id account, struct id mail);

/* smtp_in_mail.c */

/* What came home, without its message. */
struct smtp_home {
    enum msg_kind kind;
    enum err err;
    struct account_id account;
    struct id id;
    enum stage_op op;
};

void inbound_init(struct inbound *mail);
/* Forgets the mail in hand; what is staged of it is dropped. */
void inbound_reset(struct smtp_session *session);
/* Counts bytes in hand; false when the loop has no room for them. Given back by the reset. */
bool inbound_reserve(struct smtp_session *session, uint64_t bytes);
/* It cannot be taken: the rest of it is read and forgotten. */
void inbound_fail(struct smtp_session *session, enum err err);
/* The events of the machine; each answers now or later. */
void inbound_mail(struct smtp_session *session);
void inbound_rcpt(struct smtp_session *session);
void inbound_data(struct smtp_session *session);
void inbound_chunk(struct smtp_session *session);
void inbound_end(struct smtp_session *session);
void inbound_home(struct smtp_session *session, const struct smtp_home *home);

/* submit.c */

void submit_mail(struct smtp_session *session);
void submit_auth(struct smtp_session *session);
/* The pause after a wrong key is over. */
void submit_auth_refuse(struct smtp_session *session);
void submit_rcpt(struct smtp_session *session);
void submit_data(struct smtp_session *session);
void submit_chunk(struct smtp_session *session);
void submit_end(struct smtp_session *session);
/* Owns: takes msg. */
void submit_home(struct smtp_in *smtp, struct msg *msg);

/* submit_mail.c */

/* The mail in hand becomes what POST /v1/send would have posted. Errors: ERR_BAD_FIELD and why. */
MUST_USE enum err submit_fill(const struct smtp_session *session, struct msg *msg,
                              const char **problem);

/* smtp_in_rcpt.c */

/* SIZE_MAX when the account has no part in this mail yet. */
size_t inbound_find_account(const struct inbound *mail, struct account_id account);
void inbound_directory_home(struct smtp_session *session, const struct smtp_home *home);
void inbound_rcpt_home(struct smtp_session *session, const struct smtp_home *home);
/* Asks whose mail a complaint quotes, once, while its front is in hand. False when there is nobody
 * to ask; else inbound_complained_home follows. */
bool inbound_find_complained(struct smtp_session *session);
void inbound_complained_home(struct smtp_session *session, const struct smtp_home *home);

/* smtp_in_trace.c */

/* Return-Path, Received and Authentication-Results of the mail in hand, with CRLFs. */
void inbound_trace(const struct smtp_session *session, struct buf *out);

#endif
