/* edge_int.h - what the files of the edge share: the actor's state, sessions, requests.
 *
 * A session is one HTTP connection. Its requests stand in a list, oldest first, and are answered in
 * that order (RFC 9112 9.3.2) whatever order their answers come in. A request that waits for a
 * message occupies a slot; the message's token is the slot's number and generation, so an answer
 * for a client that left finds nobody and is dropped.
 *
 * Owners: the edge owns sessions and slots; a session owns its requests; a request owns its arena
 * until api_post moves it into the message. After api_post nothing of request->http may be read.
 */
#ifndef EDGE_EDGE_INT_H
#define EDGE_EDGE_INT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/cidr.h"
#include "base/conf.h"
#include "base/id.h"
#include "base/list.h"
#include "base/rate.h"
#include "base/tap.h"
#include "edge/auth.h"
#include "edge/edge.h"
#include "edge/fetch.h"
#include "edge/google.h"
#include "edge/routes.h"
#include "edge/smtp_in.h"
#include "edge/submit.h"
#include "net/conn.h"
#include "net/http.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/sockets.h"
#include "shards/actor.h"
#include "shards/msg.h"
#include "shards/place.h"

struct session;
struct request;
struct batch;
typedef void request_msg_fn(struct request *request, struct msg *msg);

/* LEAVING: nobody new comes in here, but waits for the next run; who is in is answered. */
enum edge_phase { EDGE_NEW, EDGE_OPEN, EDGE_LEAVING, EDGE_DRAINING, EDGE_STOPPED };

/* Lines of one kind in the log, as far as a flood of them leaves room. */
struct told {
    uint64_t since_ms;
    uint32_t count;
    uint32_t left_out; /* since the last line */
};

struct slot {
    struct request *request; /* NULL when free */
    uint32_t generation;
    uint32_t next_free; /* index, or UINT32_MAX */
};

struct edge {
    struct actor actor;
    const struct place *place;
    struct loop *loop;
    uint16_t index;
    enum edge_phase phase;
    enum drain_phase drain_wish; /* by the operator's wish, who may take it back */

    struct listener http;
    struct listener https;
    struct listener admin; /* of the first edge */
    struct listener smtp_listener;
    struct submit_listener submit_listeners[SUBMIT_LISTENERS];
    uint32_t listeners_open;
    struct tls_context *tls;
    struct link sessions;
    uint32_t session_count;
    struct rate_table rates; /* of addresses, for what no account answers for */
    uint64_t body_bytes;     /* reserved by requests being read or waited for */
    uint32_t password_jobs;
    uint32_t metrics_jobs;

    struct slot slots[EDGE_POOL_MSGS + PASSWORD_JOBS_MAX + METRICS_JOBS_MAX + GOOGLE_CALLS_MAX];
    uint32_t first_free_slot;

    struct token_keys token_keys; /* sign session tokens */
    struct rotation {
        bool is_running;
        uint64_t token; /* of the request that asked; it may have gone */
        uint64_t keys;
        uint32_t next_edge;
    } rotation;              /* of those keys, begun here: ledger, then every edge */
    struct google *google;   /* NULL: sign-in with Google is not configured */
    struct fetcher *fetcher; /* NULL until an attachment is named by its url */
    struct smtp_in *smtp;    /* NULL: no mail comes in */
    struct smtp_in *submit;  /* NULL: none is submitted over SMTP */
    char public_url[CONF_URL_MAX];
    struct seal_key attachment_key;  /* signs links to attachments */
    struct seal_key track_key;       /* signs links that count opens and clicks */
    struct seal_key unsubscribe_key; /* signs links to unsubscribe */
    uint32_t tracks_open;            /* messages of theirs that are not home */
    uint64_t started_ms;
    struct told told_failed;
    struct told told_refused;
    struct buf openapi; /* /openapi.json, written at start */

    struct tap_table tap; /* who watches requests and sessions */
    struct timer tap_timer;
    uint32_t traces_out; /* EDGE_TRACE that are not home */

    struct msg *drain; /* CONTROL_DRAIN waiting for the last session */
    struct msg *stop;
    struct timer drain_timer;
    bool is_closed; /* listeners are */
};

/* More different ones only a proxy sends over one connection; the oldest is forgotten. Its next
 * request would be refused all the same. */
#define SESSION_CREDENTIALS 4

struct session_credential {
    struct credential credential;
    uint64_t expires_unix_ms; /* as its shard said; 0: never, or not known yet */
};

struct session {
    struct conn conn;
    struct edge *edge;
    struct link link; /* edge->sessions */
    struct http_codec *codec;
    struct link requests; /* oldest first */
    uint32_t request_count;
    struct request *reading; /* the one being parsed; last of the list, or NULL */
    struct buf unread;       /* bytes behind a full pipeline */
    uint64_t body_started_ms;
    uint64_t unread_bytes; /* of edge->body_bytes: answers on their way to a slow client */
    struct ip6 peer;
    struct session_credential used[SESSION_CREDENTIALS]; /* what its requests came with */
    uint8_t used_count;
    uint8_t used_next; /* forgotten next */
    bool is_operator;  /* came through the admin socket */
    bool is_tls_listener;
    bool is_plain_allowed; /* loopback listener */
    bool is_proxy;         /* peer is a trusted proxy */
    bool is_ending;        /* answer what is there, then close */
    bool is_in_feed;
    bool is_paused;   /* nothing is read from the connection */
    bool is_checking; /* the credential of `reading` is with its shard, before any of its body */
};

struct request {
    struct link link; /* session->requests */
    struct session *session;
    struct edge *edge;
    struct arena arena;
    struct http_request http;
    const struct route *route;
    struct slice params[ROUTE_PARAM_MAX];
    struct caller caller;
    struct origin origin; /* x-request-id, traceparent as it came */
    uint8_t span[8];      /* ours, within that trace */
    uint64_t reserved_bytes;
    uint64_t read_us;    /* when its last byte arrived */
    struct buf gathered; /* pieces of a long answer */
    struct buf traced;   /* its line and header as they may be seen; empty: nobody watches */
    struct buf answer;   /* complete, with headers, once is_answered */
    request_msg_fn *on_return;
    request_msg_fn *then;  /* after on_return found no error */
    struct fetch *fetch;   /* that it waits for; NULL: none */
    struct batch *batch;   /* many messages; NULL: it is no such request */
    struct batch *item_of; /* one of them: stands in no list, and answers there */
    uint32_t item_index;
    struct id subject;     /* what a chain of messages is about */
    void *chain;           /* what a chain of messages carries, in keep */
    struct tries *tries;   /* that were counted; likewise */
    struct slice context;  /* likewise */
    struct arena keep;     /* small; lives as long as the request */
    uint32_t slot;         /* UINT32_MAX: none */
    struct rate_view rate; /* for the headers of the answer; limit 0: not counted */
    enum err refusal;      /* known before the request was complete */
    enum err failed;       /* what it was answered; for the log */
    bool is_head;
    bool is_close;
    bool is_answered;
    bool is_old;    /* HTTP/1.0: keep-alive must be said */
    bool is_packed; /* the body came as gzip */

    struct slice fault_param;    /* of a refusal, when there is more to say of it; static */
    struct slice fault_sentence; /* likewise */
    struct slice admin_email;    /* ROUTE_ADMIN, of a session's user; in keep */
};

/* edge.c */
struct listening {
    enum socket_kind kind;
    uint32_t number;    /* of the option's addresses */
    uint16_t *tcp_port; /* out */
};
/* Accepts from this loop's share of the sockets that an option names. Errors: ERR_IO; logged. */
MUST_USE enum err edge_listen(struct edge *edge, struct listener *listener,
                              const struct listening *where, listener_fn *on_accept);
uint32_t edge_slot_take(struct edge *edge, struct request *request); /* UINT32_MAX when full */
void edge_slot_put(struct edge *edge, struct request *request);
uint64_t edge_slot_token(const struct edge *edge, uint32_t slot);
/* The request that waits under token, its slot freed; NULL when it has gone. */
struct request *edge_slot_find(struct edge *edge, uint64_t token);
void edge_session_gone(struct edge *edge);
/* A job came back from its worker: one less of password_jobs or metrics_jobs. */
void edge_job_done(struct edge *edge, uint32_t *jobs);

/* access.c */
#define ACCESS_TRACE_MAX (TRACE_TEXT_MAX + 16)
struct access_end {
    uint64_t took_us; /* from the last byte of the request */
    uint64_t bytes;   /* of the answer's body */
    uint64_t left_out;
    enum err err;
    uint16_t status;
};
/* Its headers are there: takes a trace, and from a proxy an id. */
void access_begin(struct request *request);
/* It is answered: its line in the log. */
void access_end(struct request *request, struct access_end *end);
/* `traceparent: ...` with its CRLF, for the answer; empty when the request is in no trace. */
size_t access_trace_header(const struct request *request, char out[ACCESS_TRACE_MAX]);

/* operator.c */

/* In place of a credential, for a request that came through the admin socket. */
MUST_USE enum err operator_admit(struct request *request);
/* Runs the route's handler; that of ROUTE_ADMIN once it is sure who asks. */
void operator_handle(struct request *request);

/* api_session.c */
/* A message of a rotation came home.
 * Owns: takes msg. */
void session_rotation_home(struct edge *edge, struct msg *msg);
/* Unless they are older than those known. */
void session_keys_set(struct edge *edge, uint64_t packed);

/* session.c */
enum session_way { SESSION_PLAIN, SESSION_TLS, SESSION_ADMIN };
void session_accept(struct edge *edge, uv_os_sock_t socket, enum session_way way);
/* A request within a request: same session, headers and caller; its answer goes to its batch. */
struct request *session_item_new(struct request *request);
void session_item_free(struct request *item);
/* The request has its answer: send what the order allows. May free the session's request. */
void session_answered(struct request *request);
/* No new request is read; closes when the last answer is out. */
void session_end(struct session *session);
/* A message of the request is home: what it says of the credential and of what is left to it. A
 * refused one is counted against its address, and becomes ERR_RATE when that has none left. */
void session_judged(struct request *request, struct msg *msg);
/* Ends, now or when it says, a session that used one of those credentials. */
void session_credentials_ended(struct session *session, const struct edge_ended *ended);

#endif
