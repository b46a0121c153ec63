/* smtp_rig.h - clients and a shard for tests of incoming SMTP, on top of edge_rig.h.
 *
 * The shard answers by itself as long as a test waits for a reply. It knows the domains mine.test
 * and its subdomains (account 77) and a0.test to a99.test (accounts 100 on); the local part of a
 * recipient says what becomes of it: "nobody", "full", "off", "busy", and "ok" or anything else is
 * wanted. What is stored is kept here. Header-only; include fake_dns.h first.
 */
#ifndef UNIT_EDGE_SMTP_RIG_H
#define UNIT_EDGE_SMTP_RIG_H

#include "edge_rig.h"

#include "edge/smtp_in_int.h"

#define STORED_MAX 64

struct stored {
    struct account_id account;
    struct id staged;
    struct buf bytes; /* chunks, and what came at the end */
    struct buf trace;
    struct buf about; /* sender, recipients, verdicts: one a line */
    struct sha256 digest;
    uint32_t chunks;
    bool is_stored;
    bool is_dropped;
};

struct post {
    struct rig rig;
    struct stored stored[STORED_MAX];
    uint32_t stored_count;
    uint32_t answered; /* of rig.got */
    uint32_t asked_directory;
    enum err stage_err; /* what STAGE and INBOUND are told */
    enum err inbound_err;
    struct account_id inbound_fails_for; /* this account only; 0: any */
    bool is_holding;                     /* the shard keeps what it gets */
};

struct peer {
    struct post *post;
    int fd;
    struct buf in;
    bool is_ended;
};

static inline void post_init(struct post *post)
{
    *post = (struct post){.answered = 0};
    rig_init(&post->rig);
    set(&post->rig, "smtp_listen", "127.0.0.1:0");
    set(&post->rig, "smtp_hostname", "mx.meerkat.test");
}

static inline struct dns *post_dns(struct post *post)
{
    return post->rig.edge->smtp->dns;
}

static inline struct stored *post_new(struct post *post, struct account_id account)
{
    cr_assert_lt(post->stored_count, STORED_MAX);
    struct stored *stored = &post->stored[post->stored_count++];
    stored->account = account;
    buf_init(&stored->bytes, MAIL_BYTES_MAX + MIB);
    buf_init(&stored->trace, MIB);
    buf_init(&stored->about, MIB);
    return stored;
}

static inline struct stored *post_find(struct post *post, struct account_id account, struct id id)
{
    for (uint32_t i = 0; i < post->stored_count; i++) {
        if (post->stored[i].account.value == account.value &&
            id_equal(post->stored[i].staged, id)) {
            return &post->stored[i];
        }
    }
    cr_assert_fail("chunks of a mail that was never begun");
    return NULL;
}

static inline enum err post_directory(struct shard_directory *body)
{
    uint64_t number = 0;
    struct slice name = body->name;
    cr_assert_eq(body->op, DIRECTORY_GET);
    cr_assert_eq(body->kind, DIRECTORY_KIND_DOMAIN);
    if (slice_ends(name, SLICE("mine.test"))) {
        body->account = (struct account_id){RIG_ACCOUNT};
    } else if (slice_starts(name, SLICE("a")) && slice_ends(name, SLICE(".test")) &&
               slice_u64(slice_sub(name, 1, name.len - 6), &number) == ERR_OK) {
        body->account = (struct account_id){100 + number};
    } else if (slice_equal(name, SLICE("broken.test"))) {
        return ERR_IO;
    } else {
        return ERR_NOT_FOUND;
    }
    body->id = mail_id(900);
    return ERR_OK;
}

static inline enum err post_rcpt(const struct shard_rcpt *body)
{
    static const struct {
        const char *local;
        enum err err;
    } table[] = {{"nobody@", ERR_NOT_FOUND},     {"full@", ERR_QUOTA},
                 {"off@", ERR_SUSPENDED},        {"busy@", ERR_BUSY},
                 {"disk@", ERR_STORAGE},         {"io@", ERR_IO},
                 {"new@", ERR_DOMAIN_UNVERIFIED}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (slice_starts(body->recipient, slice_str(table[i].local))) {
            return table[i].err;
        }
    }
    return ERR_OK;
}

static inline enum err post_stage(struct post *post, struct shard_stage *body)
{
    struct stored *stored;
    if (body->op != STAGE_DROP && post->stage_err != ERR_OK) {
        return post->stage_err;
    }
    switch (body->op) {
    case STAGE_BEGIN:
        stored = post_new(post, body->account);
        stored->staged = mail_id(post->stored_count);
        body->mail = stored->staged;
        break;
    case STAGE_ADD:
        stored = post_find(post, body->account, body->mail);
        cr_assert_eq(body->chunk, ++stored->chunks, "chunks come in order");
        cr_assert_eq(stored->bytes.len % CHUNK_BYTES, 0, "only the last chunk is short");
        buf_add(&stored->bytes, body->data);
        break;
    case STAGE_DROP:
        stored = post_find(post, body->account, body->mail);
        cr_assert_not(stored->is_stored);
        stored->is_dropped = true;
        break;
    }
    return ERR_OK;
}

static inline enum err post_inbound(struct post *post, struct shard_inbound *body)
{
    bool is_meant =
        post->inbound_fails_for.value == 0 || post->inbound_fails_for.value == body->account.value;
    if (post->inbound_err != ERR_OK && is_meant) {
        return post->inbound_err;
    }
    bool is_staged = !id_is_none(body->mail);
    struct stored *stored =
        is_staged ? post_find(post, body->account, body->mail) : post_new(post, body->account);
    cr_assert_eq(stored->chunks, body->chunks);
    cr_assert_not(stored->is_dropped);
    cr_assert(!is_staged || body->data.len == 0);
    buf_add(&stored->bytes, body->data);
    cr_assert_eq(stored->bytes.len, body->size_bytes);
    buf_add(&stored->trace, body->trace);
    buf_add_format(&stored->about, "from=%.*s\n", SLICE_FMT(body->sender));
    for (uint32_t i = 0; i < body->rcpt_count; i++) {
        buf_add_format(&stored->about, "to=%.*s\n", SLICE_FMT(body->rcpts[i]));
    }
    buf_add_format(&stored->about, "helo=%.*s\nclient=%.*s\nspf=%.*s\ndkim=%.*s\ndmarc=%.*s\n",
                   SLICE_FMT(body->helo), SLICE_FMT(body->remote_addr), SLICE_FMT(body->spf),
                   SLICE_FMT(body->dkim), SLICE_FMT(body->dmarc));
    stored->digest = body->digest;
    stored->is_stored = true;
    body->id = is_staged ? body->mail : mail_id(post->stored_count);
    return ERR_OK;
}

/* Answers the next message the shard has; false when there is none. */
static inline bool post_answer(struct post *post)
{
    struct rig *rig = &post->rig;
    if (post->answered == rig->got_count) {
        return false;
    }
    struct msg *msg = rig->got[post->answered];
    enum err err = ERR_OK;
    switch ((enum msg_kind)msg->kind) {
    case MSG_SHARD_DIRECTORY:
        post->asked_directory += 1;
        err = post_directory(&msg->body.directory);
        break;
    case MSG_SHARD_RCPT:
        err = post_rcpt(&msg->body.rcpt);
        break;
    case MSG_SHARD_STAGE:
        err = post_stage(post, &msg->body.stage);
        break;
    case MSG_SHARD_INBOUND:
        err = post_inbound(post, &msg->body.inbound);
        break;
    default:
        cr_assert_fail("a message of kind %s", msg_kind_name((enum msg_kind)msg->kind));
    }
    post->answered += 1;
    rig_answer(rig, post->answered, err);
    return true;
}

static inline void post_turn(struct post *post)
{
    turn(&post->rig);
    while (!post->is_holding && post_answer(post)) {
    }
}

#define POST_WAIT(post, condition)                                                                 \
    do {                                                                                           \
        uint64_t end_ms = real_ms() + RIG_REAL_MS;                                                 \
        while (!(condition)) {                                                                     \
            cr_assert_lt(real_ms(), end_ms, "never happened: %s", #condition);                     \
            post_turn(post);                                                                       \
        }                                                                                          \
    } while (0)

static inline void post_settle(struct post *post)
{
    for (int i = 0; i < 30; i++) {
        post_turn(post);
    }
}

static inline void post_end(struct post *post)
{
    post->is_holding = false;
    post_settle(post);
    rig_end(&post->rig);
    for (uint32_t i = 0; i < post->stored_count; i++) {
        buf_fini(&post->stored[i].bytes);
        buf_fini(&post->stored[i].trace);
        buf_fini(&post->stored[i].about);
    }
}

/* ---- clients -------------------------------------------------------------------------------- */

static inline uint32_t post_sessions(struct post *post)
{
    return smtp_in_session_count(post->rig.edge->smtp);
}

static inline void peer_connect(struct post *post, struct peer *peer)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(post->rig.smtp_tcp_port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int yes = 1;
    *peer = (struct peer){.post = post};
    buf_init(&peer->in, 4 * MIB);
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(peer->fd, -1);
    cr_assert_eq(connect(peer->fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), 0);
}

static inline void peer_close(struct peer *peer)
{
    cr_assert_eq(close(peer->fd), 0);
    buf_fini(&peer->in);
    peer->fd = -1;
}

/* Sends what the socket takes now; how much that was. */
static inline size_t peer_push(struct peer *peer, struct slice bytes)
{
    ssize_t sent = send(peer->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? (size_t)sent : 0;
}

static inline void peer_write(struct peer *peer, struct slice bytes)
{
    uint64_t end_ms = real_ms() + RIG_REAL_MS;
    while (bytes.len > 0) {
        ssize_t sent = send(peer->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == -1 && errno != EAGAIN) {
            return; /* the edge has closed */
        }
        bytes = slice_from(bytes, sent == -1 ? 0 : (size_t)sent);
        post_turn(peer->post);
        cr_assert_lt(real_ms(), end_ms, "nobody reads");
    }
}

static inline void peer_read(struct peer *peer)
{
    char bytes[65536];
    ssize_t len = recv(peer->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (len > 0) {
        buf_add_bytes(&peer->in, bytes, (size_t)len);
    } else if (len == 0 || errno != EAGAIN) {
        peer->is_ended = true;
    }
}

/* The length of the first whole reply, 0 when there is none yet. */
static inline size_t reply_len(struct slice in)
{
    size_t at = 0;
    for (;;) {
        struct slice rest = slice_from(in, at);
        size_t end = slice_find(rest, SLICE("\r\n"));
        if (end == SIZE_MAX) {
            return 0;
        }
        at += end + 2;
        if (end < 4 || rest.data[3] != '-') {
            return at;
        }
    }
}

/* Waits for the next reply and expects its beginning; the reply is then gone. */
static inline void peer_expect(struct peer *peer, const char *prefix)
{
    POST_WAIT(peer->post, (peer_read(peer), reply_len(buf_slice(&peer->in)) > 0 || peer->is_ended));
    size_t len = reply_len(buf_slice(&peer->in));
    cr_assert(slice_starts(buf_slice(&peer->in), slice_str(prefix)), "expected %s, got: %.*s",
              prefix, SLICE_FMT(slice_head(buf_slice(&peer->in), 300)));
    buf_consume(&peer->in, len);
}

static inline void peer_talk(struct peer *peer, const char *line, const char *prefix)
{
    peer_write(peer, slice_str(line));
    peer_write(peer, SLICE("\r\n"));
    peer_expect(peer, prefix);
}

static inline void peer_expect_end(struct peer *peer)
{
    POST_WAIT(peer->post, (peer_read(peer), peer->is_ended));
    cr_assert_eq(peer->in.len, 0, "before the end: %.*s", SLICE_FMT(buf_slice(&peer->in)));
}

/* Greeted and known by a name. */
static inline void peer_open(struct post *post, struct peer *peer)
{
    peer_connect(post, peer);
    peer_expect(peer, "220 mx.meerkat.test ESMTP");
    peer_talk(peer, "EHLO client.test", "250-mx.meerkat.test");
}

#define SENDER    "MAIL FROM:<a@from.test>"
#define MAIL_TEXT "From: a@from.test\r\nSubject: hi\r\n\r\nHello.\r\n"

/* Up to the 354, for one good recipient. */
static inline void peer_data(struct peer *peer)
{
    peer_talk(peer, SENDER, "250 2.1.0");
    peer_talk(peer, "RCPT TO:<ok@mine.test>", "250 2.1.5");
    peer_talk(peer, "DATA", "354");
}

static inline bool about_has(const struct stored *stored, const char *line)
{
    return slice_find(buf_slice(&stored->about), slice_str(line)) != SIZE_MAX;
}

static inline bool trace_has(const struct stored *stored, const char *text)
{
    return slice_find(buf_slice(&stored->trace), slice_str(text)) != SIZE_MAX;
}

#endif
