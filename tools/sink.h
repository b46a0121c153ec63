/* sink.h - what the files of the sink share.
 *
 * One loop, one struct sink, a session for each SMTP connection and a web for each HTTP one. The
 * files: sink.c is the program; sink_smtp.c the sessions; sink_mail.c what becomes of a mail;
 * sink_http.c the HTTP side; sink_profile.c how misbehaviour is spelled.
 */
#ifndef TOOLS_SINK_H
#define TOOLS_SINK_H

#include <uv.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/slice.h"
#include "net/conn.h"
#include "net/http.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/smtp.h"
#include "net/tls.h"

#define MAIL_MAX    (64 * MIB)
#define LISTING_MAX (16 * MIB) /* of GET /mails; later mails are only counted */
#define GREY_MAX    65536
#define IDLE_MS     300000

enum step {
    STEP_GREETING,
    STEP_EHLO,
    STEP_STARTTLS,
    STEP_AUTH,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_DOT,
    STEP_QUIT,
    STEP_OTHER,
    STEP_COUNT
};

struct profile {
    bool is_greylist;
    bool is_reject;
    bool is_reject_data;
    bool is_refuse;
    bool is_busy;
    bool is_bad_tls;
    bool is_block;
    bool is_http_hang;
    bool is_http_endless;
    uint64_t tempfail_count; /* still to be put off */
    uint64_t slow_ms;
    uint32_t slow_steps; /* a bit for each enum step */
    uint32_t stall_steps;
    uint32_t drop_steps;
    uint32_t garbage_steps;
    uint64_t conns_max; /* 0: no ceiling, as for the next two */
    uint64_t mails_max;
    uint64_t rcpts_max;
    uint64_t rate_421; /* mails a second; beyond it 421 and the end, or 451; 0: no ceiling */
    uint64_t rate_451;
    uint64_t http_status;
};

struct options {
    struct slice listen;
    struct slice port_file;
    struct slice http_listen;
    struct slice http_port_file;
    struct slice store;
    struct slice log;
    struct slice hostname;
    struct slice tls_cert;
    struct slice tls_key;
    struct slice auth; /* user:password */
    struct slice size;
    bool is_quiet;
    bool is_by_name;
    bool is_tls_implicit;
    bool has_requiretls;
};

struct counts {
    uint64_t connections;
    uint64_t mails;
    uint64_t rcpts;
    uint64_t bytes;
    uint64_t refused; /* answers of 400 and above */
    uint64_t flaws;
    uint64_t hooks;
    uint64_t first_us; /* of the first and last accepted mail, monotonic */
    uint64_t last_us;
};

struct sink {
    struct loop loop;
    struct listener smtp;
    struct listener web;
    uv_signal_t signals[3];
    struct options options;
    struct profile profile;
    struct counts counts;
    struct tls_context *tls;
    struct link sessions;
    struct link webs;
    uint64_t open_count; /* SMTP connections now */
    struct buf without;  /* extensions not offered: " NAME NAME " */
    struct buf listing;  /* JSON of the mails taken, without the brackets */
    struct buf auth;     /* what AUTH PLAIN must bring */
    uint64_t grey[GREY_MAX];
    size_t grey_count;
    uint64_t second; /* the one that is being counted */
    uint64_t second_mails;
    uint64_t size_max;
    uint64_t stored; /* the number of the last file */
    int log_fd;
    bool has_web;
};

/* What follows once the reply is on its way. */
enum after { AFTER_NOTHING, AFTER_CLOSE, AFTER_TLS, AFTER_JUNK };
/* From MODE_JUNK on, what arrives is not read any more. */
enum mode { MODE_COMMAND, MODE_AUTH, MODE_DATA, MODE_JUNK, MODE_DEAF };

struct session {
    struct conn conn;
    struct link link;
    struct sink *sink;
    struct timer pause; /* on: a slow reply waits in out */
    struct buf in;      /* read and not handled */
    struct buf out;
    struct buf from;
    struct buf rcpts; /* pack */
    struct buf mail;
    struct buf helo;
    struct smtp_unstuffer unstuffer;
    uint64_t mail_bytes;
    uint64_t rcpt_count;
    uint64_t mail_count;
    enum mode mode;
    enum after after;
    bool has_mail;
    bool is_8bit;
    bool requires_tls; /* MAIL said REQUIRETLS */
    bool is_tls;
    bool is_authenticated;
};

struct web {
    struct conn conn;
    struct link link;
    struct sink *sink;
    struct http_codec *codec;
    struct http_request request;
    struct arena arena;
    bool is_endless; /* its answer has no end */
    bool is_deaf;    /* what comes is not read any more */
};

/* Adds words, separated by commas, to *profile; false at the first that is not known. */
bool sink_read_profile(struct profile *profile, struct slice words) MUST_USE;

/* Listener callbacks: a new session, a new web. */
void sink_accept_smtp(struct listener *listener, uv_os_sock_t socket);
void sink_accept_http(struct listener *listener, uv_os_sock_t socket);

/* Counts, stores, logs and lists the session's mail as asked for, and appends the reply. */
void sink_take_mail(struct session *session);

/* Both parts become the file, complete or not at all: readers poll for it. */
void sink_write_file(struct slice path, struct slice first, struct slice second);

#endif
