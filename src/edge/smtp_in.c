/* smtp_in.c - SMTP sessions: who comes in, bytes to the machine, replies out, deadlines, the end.
 *
 *   accept -> [PROXY header] -> guard -> [pause] -> 220 -> pump: bytes -> machine -> events
 *                                                            |                          |
 *                                        conn paused <- open question <- a message is out
 *
 * Reading stops while a question is open or a chunk is on its way; bytes behind it stay in
 * `unread`, at most one read's worth. Deadlines move when something was understood, not with every
 * byte, so a client cannot hold a session by dripping.
 */
#include "edge/smtp_in_int.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/edge_trace.h"
#include "mail/addr.h"

#define SECOND_MS   1000
#define UNREAD_MAX  (CONN_READ_BYTES + 16 * KIB)
#define TOKEN_MARK  (UINT64_C(1) << 63) /* the edge's own tokens begin with a slot below 2^31 */
#define SUBMIT_MARK (UINT64_C(1) << 62) /* of a session of the instance for submission */
#define SLOT_BITS   32
#define SLOT_NONE   (UINT32_MAX >> 2) /* a drop: nobody waits for it */

static void on_open(struct conn *conn);
static void on_data(struct conn *conn, struct slice data);
static void on_drain(struct conn *conn);
static void on_fail(struct conn *conn, enum err err);
static void on_closed(struct conn *conn);
static void pump(struct smtp_session *session, struct slice data);
static void flush(struct smtp_session *session);

static const struct conn_handler handler = {on_open, on_data, on_drain, on_fail, on_closed};

/* Chunks to be dropped; kept only while the pool is empty. */
struct drop {
    struct link link;
    struct account_id account;
    struct id mail;
};

static struct smtp_session *session_of(struct conn *conn)
{
    return CONTAINER_OF(conn, struct smtp_session, conn);
}

static const struct conf *conf_of(const struct smtp_session *session)
{
    return session->smtp->edge->place->conf;
}

/* ---- messages ------------------------------------------------------------------------------- */

struct msg *smtp_in_take(struct smtp_session *session, enum msg_kind kind)
{
    struct smtp_in *smtp = session->smtp;
    struct actor *actor = &smtp->edge->actor;
    /* A flood of mail must not keep people from their dashboard. */
    bool has_room = actor->pools[msg_kind_pool(kind)].free_count > INBOUND_POOL_LEFT;
    struct msg *msg = has_room ? msg_take(actor, kind) : NULL;
    if (msg != NULL) {
        uint64_t slot = session->slot;
        uint64_t mark = TOKEN_MARK | (smtp->is_submission ? SUBMIT_MARK : 0);
        msg->token = mark | slot << SLOT_BITS | smtp->slots[slot].generation;
        _Static_assert(sizeof session->mail.id <= sizeof msg->origin.request, "ids of requests");
        memcpy(msg->origin.request, session->mail.id, sizeof session->mail.id);
    }
    return msg;
}

void smtp_in_post(struct actor *to, struct msg *msg)
{
    actor_post(to, msg);
}

bool smtp_in_is_mine(const struct msg *msg)
{
    return (msg->token & TOKEN_MARK) != 0;
}

struct smtp_session *smtp_in_find(const struct smtp_in *smtp, uint64_t token)
{
    uint64_t slot = (token & ~(TOKEN_MARK | SUBMIT_MARK)) >> SLOT_BITS;
    if (slot == SLOT_NONE) {
        return NULL;
    }
    CHECK(slot < smtp->edge->place->conf->smtp_sessions_max);
    const struct smtp_slot *found = &smtp->slots[slot];
    return found->generation == (uint32_t)token ? found->session : NULL;
}

static void post_drop(struct smtp_in *smtp, struct msg *msg, struct account_id account,
                      struct id mail)
{
    msg->token = TOKEN_MARK | (uint64_t)SLOT_NONE << SLOT_BITS;
    msg->body.stage = (struct shard_stage){.op = STAGE_DROP, .account = account, .mail = mail};
    actor_post(place_shard(smtp->edge->place, account), msg);
}

static void on_drop_due(struct timer *timer)
{
    struct smtp_in *smtp = CONTAINER_OF(timer, struct smtp_in, drop_timer);
    while (!list_is_empty(&smtp->drops)) {
        struct msg *msg = msg_take(&smtp->edge->actor, MSG_SHARD_STAGE);
        if (msg == NULL) {
            timer_start(&smtp->drop_timer, INBOUND_DROP_RETRY_MS);
            return;
        }
        struct drop *drop = CONTAINER_OF(list_pop_front(&smtp->drops), struct drop, link);
        post_drop(smtp, msg, drop->account, drop->mail);
        free(drop);
    }
}

void smtp_in_drop(struct smtp_in *smtp, struct account_id account, struct id mail)
{
    CHECK(!id_is_none(mail));
    struct drop *drop = mem_zalloc(sizeof *drop);
    drop->account = account;
    drop->mail = mail;
    list_push_back(&smtp->drops, &drop->link);
    on_drop_due(&smtp->drop_timer);
}

static struct smtp_home home_of(const struct msg *msg)
{
    struct smtp_home home = {.kind = (enum msg_kind)msg->kind, .err = msg->err};
    switch (home.kind) {
    case MSG_SHARD_DIRECTORY:
        home.account = msg->body.directory.account;
        home.id = msg->body.directory.id;
        break;
    case MSG_SHARD_RCPT:
        home.account = msg->body.rcpt.account;
        break;
    case MSG_SHARD_STAGE:
        home.account = msg->body.stage.account;
        home.id = msg->body.stage.mail;
        home.op = msg->body.stage.op;
        break;
    case MSG_SHARD_INBOUND:
        home.account = msg->body.inbound.account;
        home.id = msg->err == ERR_OK ? msg->body.inbound.id : msg->body.inbound.mail;
        break;
    default: /* sessions send nothing else */
        CHECK(false);
    }
    return home;
}

/* The session has gone. What it left in a shard goes too. */
static void orphan_home(struct smtp_in *smtp, const struct smtp_home *home)
{
    bool is_stage = home->kind == MSG_SHARD_STAGE && home->op != STAGE_DROP &&
                    (home->err == ERR_OK || home->op == STAGE_ADD);
    bool is_unstored = home->kind == MSG_SHARD_INBOUND && home->err != ERR_OK;
    if ((is_stage || is_unstored) && !id_is_none(home->id)) {
        smtp_in_drop(smtp, home->account, home->id);
    }
}

/* The message is put first: who sends the next one finds at least this one in the pool. */
void smtp_in_home(struct edge *edge, struct msg *msg)
{
    if ((msg->token & SUBMIT_MARK) != 0) {
        submit_home(edge->submit, msg);
        return;
    }
    struct smtp_home home = home_of(msg);
    uint64_t token = msg->token;
    msg_put(&edge->actor, msg);
    if (edge->smtp == NULL) {
        return;
    }
    struct smtp_session *session = smtp_in_find(edge->smtp, token);
    if (session != NULL && !smtp_server_is_closed(&session->server)) {
        inbound_home(session, &home);
    } else {
        orphan_home(edge->smtp, &home);
    }
}

/* ---- birth and death ------------------------------------------------------------------------ */

static bool proxies_are_good(struct slice rest)
{
    while (rest.len > 0) {
        struct slice text = slice_trim(slice_cut(&rest, ','));
        struct cidr net;
        if (text.len > 0 && cidr_parse(text, &net) != ERR_OK) {
            LOG_ERROR("smtp.proxies", LOG_TEXT("address", text),
                      LOG_STR("remedy", "write smtp_proxies as addresses or networks in CIDR "
                                        "form, parted by commas"));
            return false;
        }
    }
    return true;
}

static bool is_proxy(const struct smtp_session *session, const struct ip6 *ip)
{
    struct slice rest = conf_of(session)->smtp_proxies;
    while (rest.len > 0) {
        struct slice text = slice_trim(slice_cut(&rest, ','));
        struct cidr net;
        if (text.len > 0 && cidr_parse(text, &net) == ERR_OK && cidr_has(&net, ip)) {
            return true;
        }
    }
    return false;
}

/* It stands in replies and in header fields. */
static bool hostname_is_good(struct slice hostname)
{
    struct arena arena;
    struct slice domain;
    arena_init(&arena, KIB, 16 * KIB);
    bool is_good = domain_normalise(hostname, true, &arena, &domain) == ERR_OK;
    arena_fini(&arena);
    if (!is_good) {
        LOG_ERROR("smtp.hostname", LOG_TEXT("name", hostname),
                  LOG_STR("remedy", "write smtp_hostname (or hostname) as the host name that MX "
                                    "records point at"));
    }
    return is_good;
}

static struct slice hostname_of(const struct conf *conf)
{
    return conf->smtp_hostname.len > 0 ? conf->smtp_hostname : conf->hostname;
}

static enum err open_dns(struct edge *edge, struct dns **dns)
{
    struct slice servers = edge->place->conf->dns_servers;
    enum err err = dns_open(edge->loop, servers, dns);
    if (err != ERR_OK) {
        LOG_ERROR("smtp.dns", LOG_TEXT("servers", servers), LOG_ERR(err),
                  LOG_STR("remedy", "write dns_servers as ip[:port], parted by commas"));
    }
    return err;
}

enum err smtp_in_open(struct edge *edge, bool is_submission, struct smtp_in **out)
{
    const struct conf *conf = edge->place->conf;
    CHECK_LOOP(edge->loop);
    struct dns *dns = NULL;
    if (!proxies_are_good(conf->smtp_proxies) || !hostname_is_good(hostname_of(conf))) {
        return ERR_INVALID;
    }
    enum err err = is_submission ? ERR_OK : open_dns(edge, &dns);
    if (err != ERR_OK) {
        return err;
    }
    struct smtp_guard_options guard = {
        .sessions_max = (uint32_t)conf->smtp_address_sessions_max,
        .connects_max = (uint32_t)conf->smtp_address_per_min,
        .auth_failures_max = (uint32_t)conf->submission_auth_failures_max,
        .rcpt_failures_max = (uint32_t)conf->smtp_rcpt_failures_max,
        .window_ms = SMTP_GUARD_WINDOW_MS,
        .ban_ms = SMTP_GUARD_BAN_MS,
    };
    struct smtp_in *smtp = mem_zalloc(sizeof *smtp);
    uint32_t slots = (uint32_t)conf->smtp_sessions_max;
    smtp->edge = edge;
    smtp->is_submission = is_submission;
    smtp->dns = dns;
    smtp->spam = dns != NULL && spam_is_wanted(conf) ? spam_open(edge->loop, dns, conf) : NULL;
    smtp->guard = smtp_guard_new(&guard);
    smtp->hostname = hostname_of(conf);
    list_init(&smtp->sessions);
    list_init(&smtp->drops);
    timer_init(&smtp->drop_timer, edge->loop, on_drop_due);
    smtp->slots = mem_zalloc(slots * sizeof *smtp->slots);
    for (uint32_t i = 0; i < slots; i++) {
        smtp->slots[i].next_free = i + 1 < slots ? i + 1 : UINT32_MAX;
    }
    *out = smtp;
    return ERR_OK;
}

static void on_dns_closed(void *context)
{
    struct smtp_in *smtp = context;
    smtp_in_closed_fn *tell = smtp->on_closed;
    void *owner = smtp->context;
    while (!list_is_empty(&smtp->drops)) { /* the next start sweeps them */
        free(CONTAINER_OF(list_pop_front(&smtp->drops), struct drop, link));
    }
    timer_stop(&smtp->drop_timer);
    smtp_guard_free(smtp->guard);
    free(smtp->slots);
    free(smtp);
    tell(owner);
}

/* It asks names until it is closed. */
static void on_spam_closed(void *context)
{
    struct smtp_in *smtp = context;
    if (smtp->dns != NULL) {
        dns_close(smtp->dns, on_dns_closed, smtp);
    } else {
        on_dns_closed(smtp);
    }
}

void smtp_in_close(struct smtp_in *smtp, smtp_in_closed_fn *tell, void *context)
{
    CHECK_LOOP(smtp->edge->loop);
    CHECK(smtp->session_count == 0);
    smtp->on_closed = tell;
    smtp->context = context;
    if (smtp->spam != NULL) {
        spam_close(smtp->spam, on_spam_closed, smtp);
    } else {
        on_spam_closed(smtp);
    }
}

uint32_t smtp_in_session_count(const struct smtp_in *smtp)
{
    return smtp->session_count;
}

static void init_server(struct smtp_session *session)
{
    const struct conf *conf = conf_of(session);
    struct smtp_server_options options = {
        .hostname = session->smtp->hostname,
        .offers = {.starttls = session->smtp->edge->tls != NULL,
                   .pipelining = true,
                   .eight_bit_mime = true,
                   .smtputf8 = true,
                   .chunking = true,
                   .enhanced_status = true},
        .size_max = conf->mail_max,
        .rcpt_max = INBOUND_RCPT_MAX,
        .mails_max = SMTP_IN_MAILS_MAX,
        .bad_max = SMTP_IN_BAD_MAX,
        .rcpt_refused_max = SMTP_IN_RCPT_REFUSED,
        .auth_refused_max = 1,
    };
    if (session->smtp->is_submission) {
        options.offers.auth = true;
        options.offers.requiretls = true;
        options.rcpt_max = API_RCPT_MAX;
        options.auth_refused_max = SUBMIT_AUTH_REFUSED;
        options.needs_tls = true;
        options.needs_auth = true;
        options.is_tls = session->is_implicit_tls;
    }
    smtp_server_init(&session->server, &options);
}

/* One limit for every step, when the operator says so. */
static uint64_t limit_ms(const struct smtp_session *session, uint64_t usual_ms)
{
    uint64_t override_ms = conf_of(session)->smtp_timeout_ms;
    return override_ms != 0 ? override_ms : usual_ms;
}

static void on_pause_over(struct timer *timer);

static void note_sessions(const struct smtp_in *smtp)
{
    metric_set(smtp->is_submission ? METRIC_SUBMIT_SESSIONS : METRIC_SMTP_SESSIONS,
               smtp->session_count);
}

static uint32_t conns_of(const struct edge *edge)
{
    return edge->session_count + (edge->smtp == NULL ? 0 : edge->smtp->session_count) +
           (edge->submit == NULL ? 0 : edge->submit->session_count);
}

void smtp_in_accept(struct smtp_in *smtp, uv_os_sock_t socket, bool is_implicit_tls)
{
    struct edge *edge = smtp->edge;
    uint32_t slot = smtp->first_free_slot;
    CHECK_LOOP(edge->loop);
    metric_add(METRIC_SMTP_ACCEPTS, 1);
    if (smtp->is_draining || slot == UINT32_MAX || conns_of(edge) >= CONNS_PER_LOOP_MAX) {
        metric_add(METRIC_SMTP_TURNED_AWAY, 1);
        (void)close(socket); /* nothing was read or promised */
        return;
    }
    struct smtp_session *session = mem_zalloc(sizeof *session);
    session->smtp = smtp;
    session->is_implicit_tls = is_implicit_tls;
    session->slot = slot;
    smtp->first_free_slot = smtp->slots[slot].next_free;
    smtp->slots[slot].session = session;
    list_push_back(&smtp->sessions, &session->link);
    smtp->session_count += 1;
    note_sessions(smtp);
    init_server(session);
    inbound_init(&session->mail);
    proxy_init(&session->proxy);
    buf_init(&session->unread, UNREAD_MAX);
    timer_init(&session->greet, edge->loop, on_pause_over);
    if (conn_accept(&session->conn, edge->loop, socket, NULL, &handler) == ERR_OK) {
        conn_set_deadline(&session->conn, limit_ms(session, SMTP_IN_COMMAND_MS));
    }
}

static void on_closed(struct conn *conn)
{
    struct smtp_session *session = session_of(conn);
    struct smtp_in *smtp = session->smtp;
    struct edge *edge = smtp->edge;
    struct smtp_slot *slot = &smtp->slots[session->slot];
    timer_stop(&session->greet);
    inbound_reset(session);
    tap_talk_end(&edge->tap, &session->talk);
    if (session->is_guarded) {
        smtp_guard_leave(smtp->guard, &session->peer, loop_now_ms(edge->loop));
    }
    slot->session = NULL;
    slot->generation += 1;
    slot->next_free = smtp->first_free_slot;
    smtp->first_free_slot = session->slot;
    list_remove(&session->link);
    CHECK(smtp->session_count > 0);
    smtp->session_count -= 1;
    note_sessions(smtp);
    smtp_server_fini(&session->server);
    proxy_fini(&session->proxy);
    buf_fini(&session->unread);
    free(session);
    edge_session_gone(edge);
}

/* ---- coming in ------------------------------------------------------------------------------ */

void smtp_in_log_turned_away(const struct smtp_session *session, const char *reason)
{
    struct smtp_in *smtp = session->smtp;
    uint64_t now_ms = loop_now_ms(smtp->edge->loop);
    char ip[IP6_TEXT_MAX];
    metric_add(METRIC_SMTP_TURNED_AWAY, 1);
    if (smtp->said_ms != 0 && now_ms - smtp->said_ms < SECOND_MS) {
        return;
    }
    smtp->said_ms = now_ms;
    LOG_INFO("smtp.turned_away", LOG_TEXT("client", slice_of(ip, ip6_text(&session->peer, ip))),
             LOG_STR("reason", reason));
}

/* RFC 5321 4.3.1: who cannot wait for the greeting is no mail server. */
static void greet(struct smtp_session *session)
{
    if (session->server.is_early && conf_of(session)->smtp_greet_delay_ms > 0) {
        smtp_in_log_turned_away(session, "early");
        smtp_server_refuse(&session->server, 554, "5.7.1", SLICE("you spoke before the greeting"));
    } else {
        smtp_server_accept(&session->server, SLICE(""));
    }
}

static void on_pause_over(struct timer *timer)
{
    struct smtp_session *session = CONTAINER_OF(timer, struct smtp_session, greet);
    if (smtp_server_asked(&session->server) == SMTP_EVENT_AUTH) {
        submit_auth_refuse(session);
    } else {
        greet(session);
    }
    smtp_in_go_on(session);
}

/* TLS from the start: nobody is told anything before it is there. */
static void start_implicit(struct smtp_session *session)
{
    struct tls_context *tls = session->smtp->edge->tls;
    CHECK(tls != NULL); /* the listener was opened with it */
    session->is_tls_starting = true;
    conn_start_tls(&session->conn, tls, SLICE(""));
    conn_set_deadline(&session->conn, limit_ms(session, SMTP_IN_TLS_MS));
}

static void welcome(struct smtp_session *session)
{
    uint64_t delay_ms = conf_of(session)->smtp_greet_delay_ms;
    if (delay_ms > 0 && session->is_guarded && !session->is_implicit_tls) {
        timer_start(&session->greet, delay_ms);
    } else {
        greet(session);
    }
}

static void turn_away(struct smtp_session *session, uint16_t code, const char *reason,
                      const char *text)
{
    smtp_in_log_turned_away(session, reason);
    if (session->is_implicit_tls) {
        conn_abort(&session->conn); /* a handshake is more than it is worth */
    } else {
        const char *limit = session->smtp->edge->drain_wish == DRAIN_CLOSED ? "4.3.2" : "4.7.0";
        smtp_server_refuse(&session->server, code, code == 421 ? limit : "5.7.1", slice_str(text));
    }
}

/* It is known whom the connection comes from. */
static void admit(struct smtp_session *session)
{
    struct smtp_in *smtp = session->smtp;
    if (smtp->edge->drain_wish == DRAIN_CLOSED) {
        turn_away(session, 421, "draining", "this server takes no mail at present; try another");
        return;
    }
    bool is_self = session->is_balancer && session->proxy.header.is_local; /* a health check */
    enum smtp_guard_verdict verdict =
        is_self ? SMTP_GUARD_OK
                : smtp_guard_enter(smtp->guard, &session->peer, loop_now_ms(smtp->edge->loop));
    switch (verdict) {
    case SMTP_GUARD_OK:
        session->is_guarded = !is_self;
        if (session->is_implicit_tls) {
            start_implicit(session);
        } else {
            welcome(session);
        }
        break;
    case SMTP_GUARD_BUSY:
        turn_away(session, 421, "sessions", "too many connections from your address");
        break;
    case SMTP_GUARD_FAST:
        turn_away(session, 421, "rate", "too many connections a minute from your address");
        break;
    case SMTP_GUARD_BANNED:
        turn_away(session, 554, "banned", "your address is blocked");
        break;
    }
}

/* The first call is for the connection, later ones follow STARTTLS. */
static void on_open(struct conn *conn)
{
    struct smtp_session *session = session_of(conn);
    if (session->is_tls_starting) {
        session->is_tls_starting = false;
        if (session->is_implicit_tls) {
            welcome(session);
        } else {
            smtp_server_tls_started(&session->server);
        }
        smtp_in_go_on(session);
        return;
    }
    struct conn_addr peer;
    conn_peer(conn, &peer);
    session->peer = conn_addr_ip(&peer);
    session->is_balancer = is_proxy(session, &session->peer);
    if (!session->is_balancer) {
        admit(session);
        smtp_in_go_on(session);
    }
}

/* Takes the PROXY header off *data; false until it is there, or when there is none. */
static bool take_header(struct smtp_session *session, struct slice *data)
{
    size_t used = 0;
    switch (proxy_feed(&session->proxy, *data, &used)) {
    case PROXY_EVENT_MORE:
        return false;
    case PROXY_EVENT_INVALID:
        smtp_in_log_turned_away(session, "no PROXY header");
        conn_abort(&session->conn);
        return false;
    case PROXY_EVENT_DONE:
        break;
    }
    *data = slice_from(*data, used);
    session->has_header = true;
    if (!session->proxy.header.is_local) {
        session->peer = session->proxy.header.source;
    }
    admit(session);
    if (session->is_tls_starting) { /* what follows the header belongs to the handshake */
        conn_take_early(&session->conn, *data);
        return false;
    }
    return true;
}

/* ---- events --------------------------------------------------------------------------------- */

static void on_starttls(struct smtp_session *session)
{
    struct tls_context *tls = session->smtp->edge->tls;
    CHECK(tls != NULL); /* a reload never takes it away */
    smtp_server_accept(&session->server, SLICE(""));
    flush(session);
    session->is_tls_starting = true;
    conn_start_tls(&session->conn, tls, SLICE(""));
    conn_set_deadline(&session->conn, limit_ms(session, SMTP_IN_TLS_MS));
}

static void on_event(struct smtp_session *session, enum smtp_event event)
{
    static const struct handles {
        void (*mail)(struct smtp_session *session);
        void (*rcpt)(struct smtp_session *session);
        void (*data)(struct smtp_session *session);
        void (*chunk)(struct smtp_session *session);
        void (*end)(struct smtp_session *session);
    } incoming = {inbound_mail, inbound_rcpt, inbound_data, inbound_chunk, inbound_end},
      submitted = {submit_mail, submit_rcpt, submit_data, submit_chunk, submit_end};
    const struct handles *handle = session->smtp->is_submission ? &submitted : &incoming;
    switch (event) {
    case SMTP_EVENT_HELLO:
        inbound_reset(session);
        smtp_server_accept(&session->server, SLICE(""));
        break;
    case SMTP_EVENT_STARTTLS:
        on_starttls(session);
        break;
    case SMTP_EVENT_AUTH: /* offered to clients that submit */
        submit_auth(session);
        break;
    case SMTP_EVENT_MAIL:
        handle->mail(session);
        break;
    case SMTP_EVENT_RCPT:
        handle->rcpt(session);
        break;
    case SMTP_EVENT_DATA:
        handle->data(session);
        break;
    case SMTP_EVENT_CHUNK:
        handle->chunk(session);
        break;
    case SMTP_EVENT_END:
        handle->end(session);
        break;
    case SMTP_EVENT_RESET:
    case SMTP_EVENT_QUIT:
    case SMTP_EVENT_CLOSE:
        inbound_reset(session);
        break;
    case SMTP_EVENT_NONE:
    case SMTP_EVENT_MORE:
    case SMTP_EVENT_WAIT:
    case SMTP_EVENT_FULL:
    case SMTP_EVENT_CONNECT:
    case SMTP_EVENT_NOTED:
    case SMTP_EVENT_REFUSED:
        break;
    }
}

/* ---- pumping -------------------------------------------------------------------------------- */

static void flush(struct smtp_session *session)
{
    struct slice out = smtp_server_out(&session->server);
    if (out.len > 0) {
        if (tap_is_on(&session->smtp->edge->tap)) {
            edge_trace_replies(session, out);
        }
        conn_write(&session->conn, out);
        smtp_server_wrote(&session->server, out.len);
    }
}

/* Between commands; no longer than the credential counts. */
static uint64_t idle_ms(const struct smtp_session *session)
{
    uint64_t idle = limit_ms(session, SMTP_IN_COMMAND_MS);
    uint64_t end = session->submit.expires_unix_ms;
    uint64_t now = clock_unix_ms();
    return end == 0 ? idle : min_u64(idle, end > now ? end - now : 1);
}

static void set_deadline(struct smtp_session *session)
{
    const struct inbound *mail = &session->mail;
    uint64_t now_ms = loop_now_ms(session->smtp->edge->loop);
    if (session->is_tls_starting) {
        return; /* on_starttls has set it */
    }
    if (conn_is_choked(&session->conn)) {
        conn_set_deadline(&session->conn, limit_ms(session, SMTP_IN_COMMAND_MS));
    } else if (mail->is_staging || smtp_server_asked(&session->server) != SMTP_EVENT_NONE) {
        conn_set_deadline(&session->conn, 0); /* shards and judges have clocks of their own */
    } else if (smtp_server_is_in_mail(&session->server)) {
        uint64_t end_ms = mail->started_ms + SMTP_IN_MAIL_MS;
        uint64_t left_ms = end_ms > now_ms ? end_ms - now_ms : 1;
        conn_set_deadline(&session->conn, limit_ms(session, min_u64(left_ms, SMTP_IN_DATA_MS)));
    } else {
        conn_set_deadline(&session->conn, idle_ms(session));
    }
}

static bool may_feed(const struct smtp_session *session)
{
    return !session->mail.is_staging && !session->is_tls_starting &&
           !conn_is_choked(&session->conn);
}

/* Feeds until the bytes are used up or something must come first; true when anything happened. */
static bool feed(struct smtp_session *session, struct slice *data)
{
    bool has_moved = false;
    while (may_feed(session)) {
        size_t used = 0;
        enum smtp_event event = smtp_server_feed(&session->server, *data, &used);
        *data = slice_from(*data, used);
        if (tap_is_on(&session->smtp->edge->tap)) {
            edge_trace_event(session, event);
        }
        on_event(session, event);
        if (event == SMTP_EVENT_MORE || event == SMTP_EVENT_WAIT || event == SMTP_EVENT_CLOSE) {
            break;
        }
        has_moved = true;
        if (event == SMTP_EVENT_FULL) {
            flush(session);
        }
    }
    return has_moved;
}

/* Whether bytes may come: also before the greeting, so that who cannot wait is seen. */
static bool may_read(const struct smtp_session *session)
{
    enum smtp_event asked = smtp_server_asked(&session->server);
    return session->is_tls_starting || (may_feed(session) && session->unread.len == 0 &&
                                        (asked == SMTP_EVENT_NONE || asked == SMTP_EVENT_CONNECT));
}

static void update_reading(struct smtp_session *session)
{
    bool should_pause = !may_read(session);
    if (should_pause && !session->is_paused) {
        conn_pause(&session->conn);
    } else if (!should_pause && session->is_paused) {
        conn_resume(&session->conn);
    }
    session->is_paused = should_pause;
}

static void say_farewell(struct smtp_session *session)
{
    bool is_drain = session->farewell == NULL;
    smtp_server_close(&session->server, 421, is_drain ? "4.3.2" : "4.7.0",
                      slice_str(is_drain ? "shutting down" : session->farewell));
}

static void finish(struct smtp_session *session)
{
    timer_stop(&session->greet);
    inbound_reset(session);
    flush(session);
    buf_clear(&session->unread);
    conn_close(&session->conn);
}

static void pump(struct smtp_session *session, struct slice data)
{
    CHECK(!session->is_in_pump);
    session->is_in_pump = true;
    bool has_moved = feed(session, &data);
    session->is_in_pump = false;
    if (session->is_leaving && !session->mail.is_open) {
        say_farewell(session);
    }
    if (smtp_server_is_closed(&session->server)) {
        finish(session);
        return;
    }
    flush(session);
    if (!session->is_tls_starting && data.len > 0) { /* behind STARTTLS it is dropped */
        buf_add(&session->unread, data);
        CHECK(!session->unread.is_over); /* one read's worth fits */
    }
    if (has_moved) {
        set_deadline(session);
    }
    update_reading(session);
}

void smtp_in_go_on(struct smtp_session *session)
{
    if (session->is_in_pump) {
        return;
    }
    struct buf unread = session->unread;
    buf_init(&session->unread, UNREAD_MAX);
    pump(session, buf_slice(&unread));
    buf_fini(&unread);
    if (!smtp_server_is_closed(&session->server)) {
        set_deadline(session); /* a question was answered */
    }
}

static void on_data(struct conn *conn, struct slice data)
{
    struct smtp_session *session = session_of(conn);
    if (smtp_server_is_closed(&session->server)) {
        return;
    }
    if (session->is_balancer && !session->has_header && !take_header(session, &data)) {
        return;
    }
    if (session->unread.len > 0) { /* before the greeting more may come; it is not kept for long */
        CHECK(smtp_server_asked(&session->server) == SMTP_EVENT_CONNECT);
        session->server.is_early = true;
        return;
    }
    pump(session, data);
}

static void on_drain(struct conn *conn)
{
    smtp_in_go_on(session_of(conn));
}

static void on_fail(struct conn *conn, enum err err)
{
    struct smtp_session *session = session_of(conn);
    if (err == ERR_TIMEOUT && !session->is_tls_starting &&
        (!session->is_balancer || session->has_header)) {
        smtp_server_close(&session->server, 421, "4.4.2", SLICE("timed out; closing"));
        finish(session);
    } else if (err == ERR_CLOSED) {
        finish(session); /* replies that are on their way still go */
    } else {
        conn_abort(conn);
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

static bool is_in_mail(const struct smtp_session *session)
{
    return session->mail.is_open && session->mail.started_ms != 0;
}

void smtp_in_drain(struct smtp_in *smtp)
{
    smtp->is_draining = true;
    smtp_in_turn_away(smtp);
}

void smtp_in_turn_away(struct smtp_in *smtp)
{
    CHECK_LOOP(smtp->edge->loop);
    LIST_EACH_SAFE (&smtp->sessions, it, after) {
        struct smtp_session *session = CONTAINER_OF(it, struct smtp_session, link);
        session->is_leaving = true;
        if (!is_in_mail(session) && !session->is_tls_starting) {
            say_farewell(session);
            finish(session);
        }
    }
}

void smtp_in_end(struct smtp_session *session, const char *farewell)
{
    CHECK(!session->is_in_pump);
    session->farewell = farewell;
    session->is_leaving = true;
    if (!session->mail.is_storing && !smtp_server_is_closed(&session->server)) {
        say_farewell(session);
        finish(session);
    }
}

void smtp_in_cut(struct smtp_in *smtp)
{
    CHECK_LOOP(smtp->edge->loop);
    LIST_EACH_SAFE (&smtp->sessions, it, after) {
        conn_abort(&CONTAINER_OF(it, struct smtp_session, link)->conn);
    }
}
