/* submit_rig.h - clients that submit mail, in clear and under TLS, on top of edge_rig.h.
 *
 * SHARD_CHECK is answered by the rig (check_err); a SHARD_SEND waits in rig.got for the test.
 * Header-only.
 */
#ifndef UNIT_EDGE_SUBMIT_RIG_H
#define UNIT_EDGE_SUBMIT_RIG_H

#include "support/certs.h"

#include "edge_rig.h"

#include "edge/smtp_in_int.h"
#include "mail/mime_read.h"
#include "net/tls.h"

struct sender {
    struct rig *rig;
    int fd;
    struct tls_context *context; /* NULL: in clear */
    struct tls *tls;
    struct buf in; /* plain */
    bool is_ended;
};

struct scene {
    struct rig rig;
    struct certs certs;
};

/* Not started yet, so that a test may set options. */
static inline void scene_init(struct scene *scene)
{
    certs_make(&scene->certs, "mx.meerkat.test", 3600L * 24 * 3650);
    rig_init(&scene->rig);
    set(&scene->rig, "smtp_hostname", "mx.meerkat.test");
    set(&scene->rig, "submission_listen", "127.0.0.1:0");
    set(&scene->rig, "submissions_listen", "127.0.0.1:0");
    set(&scene->rig, "tls_cert", scene->certs.cert_path);
    set(&scene->rig, "tls_key", scene->certs.key_path);
}

static inline void scene_end(struct scene *scene)
{
    rig_end(&scene->rig);
    certs_remove(&scene->certs);
}

static inline uint32_t scene_sessions(struct scene *scene)
{
    return smtp_in_session_count(scene->rig.edge->submit);
}

static inline void sender_connect(struct sender *sender, struct scene *scene, uint16_t tcp_port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(tcp_port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int yes = 1;
    *sender = (struct sender){.rig = &scene->rig};
    buf_init(&sender->in, 4 * MIB);
    sender->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(sender->fd, -1);
    cr_assert_eq(connect(sender->fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(setsockopt(sender->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), 0);
}

static inline void sender_close(struct sender *sender)
{
    cr_assert_eq(close(sender->fd), 0);
    if (sender->context != NULL) {
        tls_free(sender->tls);
        tls_context_drop(sender->context);
    }
    buf_fini(&sender->in);
}

static inline void sender_push(struct sender *sender, struct slice bytes)
{
    uint64_t end_ms = real_ms() + RIG_REAL_MS;
    while (bytes.len > 0) {
        ssize_t sent = send(sender->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == -1 && errno != EAGAIN) {
            return; /* the edge has closed */
        }
        bytes = slice_from(bytes, sent == -1 ? 0 : (size_t)sent);
        turn(sender->rig);
        cr_assert_lt(real_ms(), end_ms, "nobody reads");
    }
}

static inline void sender_pull(struct sender *sender)
{
    char bytes[16384];
    ssize_t len = recv(sender->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (len == 0 || (len == -1 && errno != EAGAIN)) {
        sender->is_ended = true;
    }
    if (sender->tls == NULL) {
        buf_add_bytes(&sender->in, bytes, len > 0 ? (size_t)len : 0);
        return;
    }
    struct buf out;
    buf_init(&out, MIB);
    struct slice got = slice_of(bytes, len > 0 ? (size_t)len : 0);
    enum tls_state state = tls_feed(sender->tls, got, &sender->in, &out);
    cr_assert_neq(state, TLS_FAILED, "%s", tls_failure(sender->tls));
    sender_push(sender, buf_slice(&out));
    buf_fini(&out);
}

static inline void sender_tls(struct sender *sender)
{
    cr_assert_eq(tls_client_new(TLS_VERIFY_NONE, SLICE(""), &sender->context), ERR_OK);
    sender->tls = tls_new(sender->context, SLICE("mx.meerkat.test"));
    WAIT_FOR(sender->rig, (sender_pull(sender), tls_has_opened(sender->tls)));
}

static inline void sender_write(struct sender *sender, struct slice bytes)
{
    struct buf out;
    if (sender->tls == NULL) {
        sender_push(sender, bytes);
        return;
    }
    buf_init(&out, 64 * MIB);
    cr_assert_eq(tls_write(sender->tls, bytes, &out), ERR_OK);
    sender_push(sender, buf_slice(&out));
    buf_fini(&out);
}

/* The length of the first whole reply, 0 when there is none yet. */
static inline size_t sender_reply(const struct sender *sender)
{
    struct slice in = buf_slice(&sender->in);
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

/* Waits for the next reply and expects its beginning. True when all of it holds the text. */
static inline bool sender_hears(struct sender *sender, const char *prefix, const char *text)
{
    WAIT_FOR(sender->rig, (sender_pull(sender), sender_reply(sender) > 0 || sender->is_ended));
    struct slice reply = slice_head(buf_slice(&sender->in), sender_reply(sender));
    cr_assert(slice_starts(reply, slice_str(prefix)), "expected %s, got: %.*s", prefix,
              SLICE_FMT(slice_head(buf_slice(&sender->in), 300)));
    bool has_text = slice_find(reply, slice_str(text)) != SIZE_MAX;
    buf_consume(&sender->in, reply.len);
    return has_text;
}

static inline void sender_expect(struct sender *sender, const char *prefix)
{
    (void)sender_hears(sender, prefix, ""); /* the prefix is all that counts */
}

static inline void sender_talk(struct sender *sender, const char *line, const char *prefix)
{
    sender_write(sender, slice_str(line));
    sender_write(sender, SLICE("\r\n"));
    sender_expect(sender, prefix);
}

static inline void sender_expect_end(struct sender *sender)
{
    WAIT_FOR(sender->rig, (sender_pull(sender), sender->is_ended));
    cr_assert_eq(sender->in.len, 0, "before the end: %.*s", SLICE_FMT(buf_slice(&sender->in)));
}

/* "AUTH PLAIN ..." with that password; in buf, terminated. */
static inline const char *auth_line(struct buf *out, const char *user, const char *password)
{
    char plain[512];
    char coded[1024];
    int len = snprintf(plain, sizeof plain, "%c%s%c%s", 0, user, 0, password);
    size_t coded_len = base64_encode(slice_of(plain, (size_t)len), coded);
    buf_clear(out);
    buf_add_format(out, "AUTH PLAIN %.*s", (int)coded_len, coded);
    buf_add_byte(out, '\0');
    return out->data;
}

/* Over TLS from the start, greeted, not authenticated. */
static inline void sender_open(struct sender *sender, struct scene *scene)
{
    sender_connect(sender, scene, scene->rig.submits_tcp_port);
    sender_tls(sender);
    sender_expect(sender, "220 mx.meerkat.test ESMTP");
    sender_talk(sender, "EHLO client.test", "250-mx.meerkat.test");
}

static inline void sender_auth(struct sender *sender)
{
    struct buf line;
    buf_init(&line, 2 * KIB);
    sender_talk(sender, auth_line(&line, "anybody", sender->rig->key.text), "235 2.7.0");
    buf_fini(&line);
}

/* A started scene with one client that may submit. */
static inline void scene_ready(struct scene *scene, struct sender *sender)
{
    scene_init(scene);
    rig_start(&scene->rig);
    sender_open(sender, scene);
    sender_auth(sender);
}

static inline void scene_done(struct scene *scene, struct sender *sender)
{
    sender_close(sender);
    settle(&scene->rig);
    scene_end(scene);
}

/* A whole mail for b@to.test; its answer is the next reply. */
static inline void sender_mail(struct sender *sender, const char *mail)
{
    sender_talk(sender, "MAIL FROM:<any@thing.test>", "250 2.1.0");
    sender_talk(sender, "RCPT TO:<b@to.test>", "250 2.1.5");
    sender_talk(sender, "DATA", "354");
    sender_write(sender, slice_str(mail));
    sender_write(sender, SLICE(".\r\n"));
}

#endif
