/* submit.c - clients that submit mail: keys, envelopes, answers.
 *
 *   AUTH  checksum -> SHARD_CHECK -> 235; wrong: a pause, 535, and the guard counts it
 *   RCPT  syntax only: what depends on the account is said at the end, as to POST /v1/send
 *   DATA  the whole mail in memory, counted in the loop's body bytes -> SHARD_SEND -> 250 or why
 * not
 *
 * The key is asked about again with each mail, so whatever is changed of it holds from the next one
 * on; a key that is taken back ends its sessions (EDGE_ENDED) before that is answered to anybody.
 */
#include "edge/submit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/auth.h"
#include "edge/smtp_in_int.h"
#include "mail/addr.h"

#define SCRATCH_BYTES (16 * KIB)

/* ---- listeners ------------------------------------------------------------------------------ */

bool submit_is_wanted(const struct conf *conf)
{
    return conf->submission_listen.len > 0 || conf->submissions_listen.len > 0;
}

static void on_accept(struct listener *listener, uv_os_sock_t socket)
{
    struct submit_listener *it = CONTAINER_OF(listener, struct submit_listener, listener);
    smtp_in_accept(it->edge->submit, socket, it->is_implicit_tls);
}

static enum err open_kind(struct edge *edge, enum socket_kind kind,
                          uint16_t tcp_ports[SUBMIT_LISTENERS])
{
    bool is_implicit_tls = kind == SOCKET_SUBMISSIONS;
    uint32_t first = is_implicit_tls ? SUBMIT_LISTEN_MAX : 0;
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < SUBMIT_LISTEN_MAX; i++) {
        struct submit_listener *it = &edge->submit_listeners[first + i];
        struct listening where = {.kind = kind, .number = i, .tcp_port = &tcp_ports[first + i]};
        if (sockets_find(edge->place->sockets, kind, i) == NULL) {
            break;
        }
        it->edge = edge;
        it->is_implicit_tls = is_implicit_tls;
        err = edge_listen(edge, &it->listener, &where, on_accept);
    }
    return err;
}

enum err submit_open(struct edge *edge, uint16_t tcp_ports[SUBMIT_LISTENERS])
{
    enum err err = smtp_in_open(edge, true, &edge->submit);
    if (err == ERR_OK) {
        err = open_kind(edge, SOCKET_SUBMISSION, tcp_ports);
    }
    if (err == ERR_OK) {
        err = open_kind(edge, SOCKET_SUBMISSIONS, tcp_ports);
    }
    return err;
}

static void on_listener_closed(struct listener *listener UNUSED)
{
}

void submit_close_listeners(struct edge *edge)
{
    for (size_t i = 0; i < SUBMIT_LISTENERS; i++) {
        listener_close(&edge->submit_listeners[i].listener, on_listener_closed);
    }
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void forget_key(struct submit *submit)
{
    submit->caller = (struct caller){.kind = CALLER_KEY};
    submit->credential = (struct credential){.kind = CREDENTIAL_NONE};
    submit->expires_unix_ms = 0;
}

/* Who guesses learns it a little later. */
static void wrong_key(struct smtp_session *session)
{
    forget_key(&session->submit);
    metric_add(METRIC_SUBMIT_AUTH_FAILED, 1);
    timer_start(&session->greet, SUBMIT_AUTH_PAUSE_MS);
}

void submit_auth_refuse(struct smtp_session *session)
{
    struct smtp_in *smtp = session->smtp;
    uint64_t now_ms = loop_now_ms(smtp->edge->loop);
    smtp_server_refuse(&session->server, 535, "5.7.8", SLICE("a valid API key is required"));
    if (session->is_guarded && smtp_guard_auth_failed(smtp->guard, &session->peer, now_ms)) {
        smtp_in_log_turned_away(session, "wrong keys");
        smtp_server_close(&session->server, 421, "4.7.0", SLICE("too many wrong keys"));
    }
}

/* RFC 4954 6: not now. */
static void put_off_auth(struct smtp_session *session, const char *text)
{
    forget_key(&session->submit);
    smtp_server_refuse(&session->server, 454, "4.7.0", slice_str(text));
}

/* The key is the password; who has but one field for it gives it as the user's name. */
void submit_auth(struct smtp_session *session)
{
    const struct smtp_auth *auth = &session->server.auth;
    struct submit *submit = &session->submit;
    CHECK(session->smtp->is_submission); /* nobody else is offered it */
    if (auth_key_read(auth->password, &submit->caller) != ERR_OK &&
        auth_key_read(auth->user, &submit->caller) != ERR_OK) {
        wrong_key(session);
        return;
    }
    submit->caller.right = RIGHT_MAIL_SEND;
    submit->caller.peer = session->peer;
    submit->credential = credential_of(&submit->caller);
    struct msg *msg = smtp_in_take(session, MSG_SHARD_CHECK);
    if (msg == NULL) {
        put_off_auth(session, "the service is busy; try again shortly");
        return;
    }
    msg->body.check.caller = submit->caller;
    smtp_in_post(place_shard(session->smtp->edge->place, submit->caller.account), msg);
}

static void check_home(struct smtp_session *session, enum err err, uint64_t expires_unix_ms)
{
    switch (err) {
    case ERR_OK:
        session->submit.expires_unix_ms = expires_unix_ms;
        smtp_server_accept(&session->server, SLICE(""));
        break;
    case ERR_UNAUTHORIZED:
        wrong_key(session);
        break;
    case ERR_SCOPE:
    case ERR_KEY_IP:
    case ERR_SUSPENDED:
        forget_key(&session->submit);
        smtp_server_refuse(&session->server, 535, "5.7.8", slice_str(err_info(err)->text));
        break;
    default:
        put_off_auth(session, err_info(err)->text);
        break;
    }
}

void submit_credentials_ended(struct edge *edge, const struct edge_ended *ended)
{
    if (edge->submit == NULL) {
        return;
    }
    LIST_EACH_SAFE (&edge->submit->sessions, it, after) {
        struct smtp_session *session = CONTAINER_OF(it, struct smtp_session, link);
        struct submit *submit = &session->submit;
        if (submit->credential.kind == CREDENTIAL_NONE ||
            bsearch(&submit->credential, ended->list, ended->count, sizeof *ended->list,
                    credential_compare) == NULL) {
            continue;
        }
        if (ended->at_unix_ms == 0) {
            smtp_in_end(session, "the API key was revoked");
        } else {
            submit->expires_unix_ms = ended->at_unix_ms; /* its next command moves the deadline */
        }
    }
}

/* ---- envelope ------------------------------------------------------------------------------- */

void submit_mail(struct smtp_session *session)
{
    struct submit *submit = &session->submit;
    inbound_mail(session);
    submit->rcpts = NULL;
    submit->rcpt_count = 0;
    submit->requires_tls = session->server.mail.is_requiretls;
}

void submit_rcpt(struct smtp_session *session)
{
    struct submit *submit = &session->submit;
    struct inbound *mail = &session->mail;
    const struct smtp_path *to = &session->server.rcpt.to;
    struct arena scratch;
    struct addr addr;
    arena_init(&scratch, 2 * KIB, SCRATCH_BYTES);
    bool is_good = !to->is_literal && to->domain.len > 0 &&
                   addr_parse(to->text, &scratch, &addr) == ERR_OK && addr.text.len <= ADDR_MAX;
    if (is_good) {
        if (submit->rcpts == NULL) {
            submit->rcpts = arena_array(&mail->arena, API_RCPT_MAX, sizeof *submit->rcpts);
        }
        CHECK(submit->rcpt_count < API_RCPT_MAX); /* the machine counts them */
        submit->rcpts[submit->rcpt_count++] = arena_dup(&mail->arena, addr.text);
        smtp_server_accept(&session->server, SLICE(""));
    } else {
        smtp_server_refuse(&session->server, 553, "5.1.3",
                           SLICE("the recipient's address is malformed"));
    }
    arena_fini(&scratch);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static const char no_room[] = "no room for mail at present; try again shortly";

void submit_data(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct edge *edge = session->smtp->edge;
    uint64_t wanted = session->server.mail.size_bytes + CHUNK_BYTES;
    if (session->is_leaving) {
        smtp_server_refuse(&session->server, 421, "4.3.2", SLICE("shutting down"));
    } else if (edge->body_bytes + wanted > EDGE_BODY_BYTES) {
        metric_add(METRIC_SUBMIT_REFUSED, 1);
        inbound_reset(session);
        smtp_server_refuse(&session->server, 452, "4.3.1", slice_str(no_room));
    } else {
        buf_init(&mail->data, (size_t)edge->place->conf->mail_max);
        mail->started_ms = loop_now_ms(edge->loop);
        smtp_server_accept(&session->server, SLICE(""));
    }
}

void submit_chunk(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    struct slice chunk = session->server.chunk;
    if (mail->failed != ERR_OK) {
        return;
    }
    if (!inbound_reserve(session, chunk.len)) {
        inbound_fail(session, ERR_STORAGE);
        return;
    }
    buf_add(&mail->data, chunk);
    CHECK(!mail->data.is_over); /* the machine hands on no more than size_max */
}

/* ---- the end -------------------------------------------------------------------------------- */

struct reply {
    uint16_t code;
    const char *enhanced;
};

/* As base/err.h says it, but for what SMTP has a better word for. */
static struct reply reply_of(enum err err)
{
    switch (err) {
    case ERR_QUOTA:
        return (struct reply){452, "4.7.1"};
    case ERR_RATE:
        return (struct reply){450, "4.7.1"};
    case ERR_IDEMPOTENCY_REUSED:
        return (struct reply){554, "5.7.0"};
    default:
        return (struct reply){err_info(err)->smtp_code, err_info(err)->smtp_enhanced};
    }
}

static void log_end(const struct smtp_session *session, const char *event, struct id id,
                    const char *err)
{
    char ip[IP6_TEXT_MAX];
    LOG_INFO(event, LOG_STR("smtp", session->mail.id), LOG_ID("message", ID_MESSAGE, id),
             LOG_TEXT("client", slice_of(ip, ip6_text(&session->peer, ip))),
             LOG_U64("bytes", session->server.mail_bytes),
             LOG_U64("recipients", session->submit.rcpt_count), LOG_STR("err", err));
}

static void refuse(struct smtp_session *session, enum err err, struct slice sentence)
{
    struct reply reply = reply_of(err);
    struct slice text = sentence.len > 0 ? sentence : slice_str(err_info(err)->text);
    metric_add(METRIC_SUBMIT_REFUSED, 1);
    log_end(session, "submit.refused", (struct id){.bytes = {0}}, err_info(err)->name);
    session->mail.is_storing = false;
    inbound_reset(session);
    smtp_server_refuse(&session->server, reply.code, reply.enhanced, text);
    if (err == ERR_UNAUTHORIZED) { /* what it has authenticated with counts no more */
        smtp_server_close(&session->server, 421, "4.7.0", SLICE("the API key is not valid"));
    }
}

/* The bytes move into the message, so they are counted twice only while they are copied. */
void submit_end(struct smtp_session *session)
{
    struct inbound *mail = &session->mail;
    const char *problem = "";
    mail->is_ended = true;
    if (mail->failed != ERR_OK || !inbound_reserve(session, mail->data.len)) {
        refuse(session, ERR_STORAGE, slice_str(no_room));
        return;
    }
    struct msg *msg = smtp_in_take(session, MSG_SHARD_SEND);
    if (msg == NULL) {
        refuse(session, ERR_BUSY, SLICE(""));
        return;
    }
    enum err err = submit_fill(session, msg, &problem);
    if (err != ERR_OK) {
        msg_put(&session->smtp->edge->actor, msg);
        refuse(session, err, slice_str(problem));
        return;
    }
    buf_fini(&mail->data); /* the reset gives both back */
    mail->is_storing = true;
    smtp_in_post(place_shard(session->smtp->edge->place, session->submit.caller.account), msg);
}

static void accept_mail(struct smtp_session *session, struct id id)
{
    char text[ID_TEXT_MAX];
    char words[ID_TEXT_MAX + 32];
    (void)id_text(ID_MESSAGE, id, text);                           /* the length is not needed */
    (void)snprintf(words, sizeof words, "Ok: queued as %s", text); /* fits */
    metric_add(METRIC_SUBMIT_MAILS, 1);
    log_end(session, "submit.accepted", id, "");
    session->mail.is_storing = false;
    inbound_reset(session);
    smtp_server_accept(&session->server, slice_str(words));
}

/* The message is put first: who sends the next one finds at least this one in the pool. */
void submit_home(struct smtp_in *smtp, struct msg *msg)
{
    char sentence[SUBMIT_SENTENCE_MAX];
    struct slice text = slice_head(msg->sentence, sizeof sentence);
    uint64_t token = msg->token;
    uint64_t expires_unix_ms = msg->credential_expires_unix_ms;
    enum err err = msg->err;
    bool is_check = msg->kind == MSG_SHARD_CHECK;
    struct id id = is_check ? (struct id){.bytes = {0}} : msg->body.send.id;
    if (text.len > 0) {
        memcpy(sentence, text.data, text.len);
    }
    text = slice_of(sentence, text.len);
    msg_put(msg->home, msg);
    struct smtp_session *session = smtp == NULL ? NULL : smtp_in_find(smtp, token);
    if (session == NULL || smtp_server_is_closed(&session->server)) {
        return; /* what was accepted is sent all the same */
    }
    if (is_check) {
        check_home(session, err, expires_unix_ms);
    } else if (err == ERR_OK) {
        accept_mail(session, id);
    } else {
        refuse(session, err, text);
    }
    smtp_in_go_on(session);
}
