/* attempt_smtp.c - the machine.
 *
 *   CONNECT -> GREETING -> EHLO -> STARTTLS -> HANDSHAKE -> EHLO ... -> AUTH -> READY
 *   READY -> ENVELOPE (MAIL, RCPT..., DATA) -> BODY -> FINAL -> READY
 *                      +-> RSET -> READY          (nobody accepted, DATA not begun)
 *   any -> DEAD
 *
 * With PIPELINING the whole envelope goes out in one write (RFC 2920); replies are counted off
 * against it. Without, the next command follows each reply. When every recipient was refused but
 * DATA was pipelined and accepted, a lone dot ends it.
 */
#include "deliver/attempt_smtp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/metric.h"
#include "base/sm.h"
#include "deliver/transcript.h"
#include "net/smtp.h"

#define MINUTE_MS   UINT64_C(60000)
#define COMMAND_MAX (SMTP_RCPT_MAX * (ADDR_MAX + 64) + 4096)
#define WIRE_MAX    (4 * CHUNK_BYTES)

enum state {
    STATE_CONNECT,
    STATE_GREETING,
    STATE_EHLO,
    STATE_STARTTLS,
    STATE_HANDSHAKE,
    STATE_AUTH,
    STATE_READY,
    STATE_ENVELOPE,
    STATE_BODY,
    STATE_FINAL,
    STATE_RSET,
    STATE_DEAD,
    STATE_COUNT
};

#define TO(name) SM_TO(STATE_##name)
static const struct sm_state states[] = {
    [STATE_CONNECT] = {"connect", TO(GREETING) | TO(HANDSHAKE) | TO(DEAD)},
    [STATE_GREETING] = {"greeting", TO(EHLO) | TO(DEAD)},
    [STATE_EHLO] = {"ehlo", TO(EHLO) | TO(STARTTLS) | TO(AUTH) | TO(READY) | TO(DEAD)},
    [STATE_STARTTLS] = {"starttls", TO(HANDSHAKE) | TO(AUTH) | TO(READY) | TO(DEAD)},
    [STATE_HANDSHAKE] = {"handshake", TO(GREETING) | TO(EHLO) | TO(DEAD)},
    [STATE_AUTH] = {"auth", TO(READY) | TO(DEAD)},
    [STATE_READY] = {"ready", TO(ENVELOPE) | TO(DEAD)},
    [STATE_ENVELOPE] = {"envelope", TO(BODY) | TO(FINAL) | TO(RSET) | TO(DEAD)},
    [STATE_BODY] = {"body", TO(FINAL) | TO(DEAD)},
    [STATE_FINAL] = {"final", TO(READY) | TO(DEAD)},
    [STATE_RSET] = {"rset", TO(READY) | TO(DEAD)},
    [STATE_DEAD] = {"dead", 0},
};
#undef TO
_Static_assert(ARRAY_LEN(states) == STATE_COUNT, "a row for each state");
static const struct sm_table table = {"attempt_smtp", states, STATE_COUNT};

/* RFC 5321 4.5.3.2, and the step that a failure in this state is blamed on. */
static const struct {
    uint64_t timeout_ms;
    enum smtp_step step;
} waits[] = {
    [STATE_CONNECT] = {MINUTE_MS / 2, SMTP_STEP_CONNECT},
    [STATE_GREETING] = {5 * MINUTE_MS, SMTP_STEP_GREETING},
    [STATE_EHLO] = {5 * MINUTE_MS, SMTP_STEP_EHLO},
    [STATE_STARTTLS] = {2 * MINUTE_MS, SMTP_STEP_STARTTLS},
    [STATE_HANDSHAKE] = {MINUTE_MS, SMTP_STEP_TLS},
    [STATE_AUTH] = {2 * MINUTE_MS, SMTP_STEP_AUTH},
    [STATE_READY] = {SMTP_IDLE_MS, SMTP_STEP_QUIT},
    [STATE_ENVELOPE] = {5 * MINUTE_MS, SMTP_STEP_MAIL},
    [STATE_BODY] = {3 * MINUTE_MS, SMTP_STEP_DATA},
    [STATE_FINAL] = {10 * MINUTE_MS, SMTP_STEP_BODY},
    [STATE_RSET] = {MINUTE_MS, SMTP_STEP_RSET},
    [STATE_DEAD] = {0, SMTP_STEP_QUIT},
};

struct attempt_smtp {
    struct conn conn;
    const struct attempt_handler *handler;
    struct attempt_options options;
    void *owner;
    struct link link;
    struct sm sm;
    struct smtp_reply_reader reader;
    struct smtp_caps caps;
    struct smtp_stuffer stuffer;
    struct buf wire; /* being put together */
    struct buf transcript;
    char host[256];
    char addr[ADDR_TEXT_MAX];
    char source[ADDR_TEXT_MAX]; /* empty before it is connected */
    char tls_text[96];
    struct attempt_mail *mail;
    uint32_t sent;     /* envelope commands sent: MAIL, each RCPT, DATA */
    uint32_t replied;  /* envelope replies read */
    uint32_t accepted; /* recipients */
    uint32_t next_chunk;
    uint32_t mails;
    bool is_mail_refused;
    bool is_helo;
    bool is_silent; /* the owner is not told any more */
    bool waits_drain;
};

static void on_open(struct conn *conn);
static void on_data(struct conn *conn, struct slice data);
static void on_drain(struct conn *conn);
static void on_fail(struct conn *conn, enum err err);
static void on_closed(struct conn *conn);
static void send_body(struct attempt_smtp *attempt);

static const struct conn_handler conn_events = {on_open, on_data, on_drain, on_fail, on_closed};

static struct attempt_smtp *of_conn(struct conn *conn)
{
    return CONTAINER_OF(conn, struct attempt_smtp, conn);
}

static bool is_watched(const struct attempt_smtp *attempt)
{
    const struct tap_table *tap = attempt->options.tap;
    return tap != NULL && tap_is_on(tap) && !attempt->is_silent;
}

static void note(struct attempt_smtp *attempt, const char *who, struct slice text)
{
    transcript_add(&attempt->transcript, who, text);
    if (is_watched(attempt)) {
        attempt->options.on_line(attempt, who, text);
    }
}

/* ---- ends ----------------------------------------------------------------------------------- */

static enum state state_of(const struct attempt_smtp *attempt)
{
    return (enum state)attempt->sm.state;
}

/* The time for this state begins anew. */
static void set_deadline(struct attempt_smtp *attempt)
{
    enum state state = state_of(attempt);
    uint64_t timeout_ms = waits[state].timeout_ms;
    if (timeout_ms != 0 && state != STATE_READY && attempt->options.timeout_ms != 0) {
        timeout_ms = attempt->options.timeout_ms;
    }
    conn_set_deadline(&attempt->conn, timeout_ms);
}

static void move(struct attempt_smtp *attempt, enum state state)
{
    sm_move(&attempt->sm, (uint8_t)state);
    set_deadline(attempt);
}

/* The step whose answer is awaited, for texts and verdicts. */
static enum smtp_step step_of(const struct attempt_smtp *attempt)
{
    if (state_of(attempt) != STATE_ENVELOPE || attempt->replied == 0) {
        return waits[state_of(attempt)].step;
    }
    return attempt->replied > attempt->mail->rcpt_count ? SMTP_STEP_DATA : SMTP_STEP_RCPT;
}

enum smtp_step attempt_smtp_step(const struct attempt_smtp *attempt)
{
    return step_of(attempt);
}

/* The connection is of no more use. Tells the owner, unless it has let go, and closes. */
static void die(struct attempt_smtp *attempt, const struct verdict *verdict)
{
    enum state was = state_of(attempt);
    if (was == STATE_DEAD) {
        return;
    }
    note(attempt, "-- ", slice_str(verdict->text));
    move(attempt, STATE_DEAD);
    struct attempt_mail *mail = attempt->mail;
    attempt->mail = NULL;
    conn_abort(&attempt->conn); /* on_closed comes later, never inside this call */
    if (attempt->is_silent) {
        return;
    }
    attempt->is_silent = true;
    bool is_begun = was == STATE_BODY || was == STATE_FINAL;
    if (mail != NULL && (is_begun || attempt_mail_has_verdicts(mail))) {
        attempt_mail_judge_rest(mail, verdict);
        attempt->handler->on_judged(attempt);
        return;
    }
    attempt->handler->on_failed(attempt, verdict);
}

static void die_own(struct attempt_smtp *attempt, const char *enhanced, const char *text)
{
    struct verdict verdict;
    verdict_own(&verdict, step_of(attempt), VERDICT_DEFERRED, enhanced, text);
    verdict.scope = VERDICT_HOST;
    die(attempt, &verdict);
}

static void die_reply(struct attempt_smtp *attempt, enum smtp_step step,
                      const struct smtp_reply *reply)
{
    struct verdict verdict;
    verdict_from_reply(&verdict, step, reply->code, slice_str(reply->enhanced),
                       buf_slice(&reply->text));
    if (verdict.class == VERDICT_DELIVERED) {
        /* A good answer where it means nothing, as 250 for a greeting, must not be taken for the
         * mail's: what ends a connection has delivered nothing. */
        verdict.class = VERDICT_DEFERRED;
        verdict.scope = VERDICT_HOST;
        memcpy(verdict.enhanced, "4.5.0", sizeof "4.5.0");
    }
    die(attempt, &verdict);
}

/* ---- commands ------------------------------------------------------------------------------- */

static void command(struct attempt_smtp *attempt, struct slice line)
{
    note(attempt, "C: ", line);
    conn_write(&attempt->conn, line);
    conn_write(&attempt->conn, SLICE("\r\n"));
}

static void say_ehlo(struct attempt_smtp *attempt)
{
    char line[300];
    int len = snprintf(line, sizeof line, "%s %.*s", attempt->is_helo ? "HELO" : "EHLO",
                       SLICE_FMT(attempt->options.ehlo));
    move(attempt, STATE_EHLO);
    command(attempt, slice_of(line, min_size((size_t)len, sizeof line - 1)));
}

static void say_auth(struct attempt_smtp *attempt)
{
    struct arena arena;
    arena_init(&arena, 1024, 64 * KIB);
    arena_mark_secret(&arena);
    struct buf plain;
    buf_init(&plain, 8 * KIB);
    buf_add_byte(&plain, '\0');
    buf_add(&plain, attempt->options.user);
    buf_add_byte(&plain, '\0');
    buf_add(&plain, attempt->options.password);
    struct slice encoded = base64_arena(&arena, buf_slice(&plain));
    note(attempt, "C: ", SLICE("AUTH PLAIN (hidden)"));
    conn_write(&attempt->conn, SLICE("AUTH PLAIN "));
    conn_write(&attempt->conn, encoded);
    conn_write(&attempt->conn, SLICE("\r\n"));
    crypto_wipe(plain.data, plain.len);
    buf_fini(&plain);
    arena_fini(&arena);
    move(attempt, STATE_AUTH);
}

static void ready(struct attempt_smtp *attempt)
{
    move(attempt, STATE_READY);
    attempt->handler->on_ready(attempt);
}

/* Greeted, and TLS as far as it goes: log in or begin. A password goes out in clear only where
 * the operator said "none": whoever sits between could take STARTTLS away. */
static void after_greetings(struct attempt_smtp *attempt)
{
    if (attempt->options.user.len == 0) {
        ready(attempt);
    } else if (attempt->options.tls != SMTP_TLS_NONE && !conn_is_tls(&attempt->conn)) {
        die_own(attempt, "4.7.0", "the server does not offer TLS, which the password needs");
    } else if (attempt->caps.auth_plain) {
        say_auth(attempt);
    } else {
        die_own(attempt, "4.7.0", "the server does not offer AUTH PLAIN");
    }
}

/* One envelope command by number: 0 MAIL, 1 to n RCPT, n + 1 DATA. */
static void add_envelope(struct attempt_smtp *attempt, uint32_t index)
{
    const struct attempt_mail *mail = attempt->mail;
    struct buf *wire = &attempt->wire;
    size_t start = wire->len;
    CHECK(index <= mail->rcpt_count + 1);
    if (index == 0) {
        buf_add_format(wire, "MAIL FROM:<%.*s>", SLICE_FMT(mail->sender));
        if (attempt->caps.has_size) {
            buf_add_format(wire, " SIZE=%llu", (unsigned long long)mail->size_bytes);
        }
        if ((mail->needs_8bit || mail->needs_utf8) && attempt->caps.eight_bit_mime) {
            buf_add_str(wire, " BODY=8BITMIME"); /* RFC 6152 3 */
        }
        if (mail->needs_utf8) {
            buf_add_str(wire, " SMTPUTF8"); /* RFC 6531 3.4 */
        }
        if (mail->requires_tls) {
            buf_add_str(wire, " REQUIRETLS"); /* RFC 8689 4.2.1; the owner saw it offered */
        }
    } else if (index <= mail->rcpt_count) {
        buf_add_format(wire, "RCPT TO:<%.*s>", SLICE_FMT(mail->rcpts[index - 1].addr));
    } else {
        buf_add_str(wire, "DATA");
    }
    note(attempt, "C: ", slice_from(buf_slice(wire), start));
    buf_add_str(wire, "\r\n");
}

static void send_envelope(struct attempt_smtp *attempt, uint32_t upto)
{
    buf_clear(&attempt->wire);
    while (attempt->sent < upto) {
        add_envelope(attempt, attempt->sent);
        attempt->sent += 1;
    }
    CHECK(!attempt->wire.is_over); /* recipients and their lengths are bounded */
    conn_write(&attempt->conn, buf_slice(&attempt->wire));
}

/* ---- one mail ------------------------------------------------------------------------------- */

static void finish_mail(struct attempt_smtp *attempt)
{
    CHECK_SLOW(attempt_mail_is_judged(attempt->mail));
    attempt->mail = NULL;
    attempt->mails += 1;
    move(attempt, STATE_READY);
    attempt->handler->on_judged(attempt);
}

static bool refuse_at_once(struct attempt_smtp *attempt)
{
    struct attempt_mail *mail = attempt->mail;
    struct verdict verdict;
    if (attempt->caps.size_max != 0 && mail->size_bytes > attempt->caps.size_max) {
        verdict_own(&verdict, SMTP_STEP_MAIL, VERDICT_BOUNCED, "5.3.4",
                    "the mail is larger than the server accepts");
    } else if (mail->needs_utf8 && !attempt->caps.smtputf8) {
        verdict_own(&verdict, SMTP_STEP_MAIL, VERDICT_BOUNCED, "5.6.7",
                    "the server does not accept international addresses (SMTPUTF8)");
    } else if (mail->needs_8bit && !attempt->caps.eight_bit_mime) {
        verdict_own(&verdict, SMTP_STEP_MAIL, VERDICT_BOUNCED, "5.6.3",
                    "the mail holds 8-bit text and the server accepts none (8BITMIME)");
    } else {
        return false;
    }
    verdict.scope = VERDICT_MAIL;
    attempt_mail_judge_rest(mail, &verdict);
    attempt->mail = NULL;
    attempt->handler->on_judged(attempt);
    return true;
}

void attempt_smtp_send(struct attempt_smtp *attempt, struct attempt_mail *mail)
{
    CHECK_LOOP(attempt->options.loop);
    CHECK(state_of(attempt) == STATE_READY);
    CHECK(attempt->mail == NULL);
    CHECK(mail->rcpt_count > 0);
    CHECK(mail->rcpt_count <= SMTP_RCPT_MAX); /* COMMAND_MAX counts on it */
    CHECK_IF(mail->requires_tls, attempt_smtp_has_requiretls(attempt));
    attempt->mail = mail;
    attempt->sent = 0;
    attempt->replied = 0;
    attempt->accepted = 0;
    attempt->next_chunk = 0;
    attempt->is_mail_refused = false;
    attempt->waits_drain = false;
    if (attempt->mails > 0) {
        char text[64];
        int len = snprintf(text, sizeof text, "connection to %s used again, mail %u", attempt->addr,
                           (unsigned)attempt->mails + 1);
        buf_clear(&attempt->transcript);
        note(attempt, "-- ", slice_of(text, min_size((size_t)len, sizeof text - 1)));
    }
    if (refuse_at_once(attempt)) {
        return;
    }
    move(attempt, STATE_ENVELOPE);
    send_envelope(attempt, attempt->caps.pipelining ? mail->rcpt_count + 2 : 1);
}

static void reset(struct attempt_smtp *attempt)
{
    move(attempt, STATE_RSET);
    command(attempt, SLICE("RSET"));
}

static void judge(struct attempt_rcpt *rcpt, enum smtp_step step, const struct smtp_reply *reply)
{
    CHECK(!rcpt->is_judged);
    verdict_from_reply(&rcpt->verdict, step, reply->code, slice_str(reply->enhanced),
                       buf_slice(&reply->text));
    rcpt->is_judged = true;
}

static void judge_all(struct attempt_smtp *attempt, enum smtp_step step,
                      const struct smtp_reply *reply)
{
    struct attempt_mail *mail = attempt->mail;
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (!mail->rcpts[i].is_judged) {
            judge(&mail->rcpts[i], step, reply);
        }
    }
}

static void on_data_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply)
{
    bool is_go = reply->code == 354;
    if (is_go && attempt->accepted > 0) {
        move(attempt, STATE_BODY);
        smtp_stuff_init(&attempt->stuffer);
        send_body(attempt);
        return;
    }
    if (is_go) { /* pipelined, and nobody wants it: RFC 2920 3.1 */
        move(attempt, STATE_FINAL);
        command(attempt, SLICE("."));
        return;
    }
    judge_all(attempt, SMTP_STEP_DATA, reply);
    reset(attempt);
}

static void on_envelope_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply)
{
    struct attempt_mail *mail = attempt->mail;
    uint32_t index = attempt->replied;
    CHECK(mail != NULL);
    CHECK(attempt->replied < attempt->sent); /* the last reply leaves this state or sends more */
    bool is_good = reply->code / 100 == 2;
    if (reply->code == 421) {
        die_reply(attempt, step_of(attempt), reply);
        return;
    }
    attempt->replied += 1;
    set_deadline(attempt); /* RFC 5321 4.5.3.2: for each command */
    if (index == 0) {
        attempt->is_mail_refused = !is_good;
        if (!is_good) {
            judge_all(attempt, SMTP_STEP_MAIL, reply);
        }
    } else if (index <= mail->rcpt_count) {
        struct attempt_rcpt *rcpt = &mail->rcpts[index - 1];
        if (is_good && !attempt->is_mail_refused) {
            attempt->accepted += 1;
        } else if (!rcpt->is_judged) {
            judge(rcpt, SMTP_STEP_RCPT, reply);
        }
    } else {
        on_data_reply(attempt, reply);
        return;
    }
    if (attempt->replied < attempt->sent) {
        return; /* pipelined replies are still to come */
    }
    bool is_hopeless = attempt->is_mail_refused ||
                       (attempt->replied == mail->rcpt_count + 1 && attempt->accepted == 0);
    if (is_hopeless) {
        reset(attempt);
    } else {
        send_envelope(attempt, attempt->sent + 1);
    }
}

/* ---- the body ------------------------------------------------------------------------------- */

static void write_stuffed(struct attempt_smtp *attempt, struct slice data)
{
    buf_clear(&attempt->wire);
    smtp_stuff(&attempt->stuffer, data, &attempt->wire);
    CHECK(!attempt->wire.is_over); /* stuffing at most doubles a chunk */
    conn_write(&attempt->conn, buf_slice(&attempt->wire));
}

static void end_body(struct attempt_smtp *attempt)
{
    buf_clear(&attempt->wire);
    smtp_stuff_end(&attempt->stuffer, &attempt->wire);
    char text[64];
    int len = snprintf(text, sizeof text, "(%llu bytes of mail, then the final dot)",
                       (unsigned long long)attempt->mail->size_bytes);
    note(attempt, "C: ", slice_of(text, min_size((size_t)len, sizeof text - 1)));
    move(attempt, STATE_FINAL);
    conn_write(&attempt->conn, buf_slice(&attempt->wire));
}

/* Goes on with the body: ends it, waits for the socket, or asks for the next chunk. */
static void send_body(struct attempt_smtp *attempt)
{
    struct attempt_mail *mail = attempt->mail;
    CHECK(state_of(attempt) == STATE_BODY);
    CHECK(attempt->accepted > 0); /* nobody else has a body */
    if (attempt->next_chunk == 0) {
        write_stuffed(attempt, mail->prefix);
        write_stuffed(attempt, mail->first_chunk);
        attempt->next_chunk = 1;
    }
    if (attempt->next_chunk >= mail->chunk_count) {
        end_body(attempt);
    } else if (conn_is_choked(&attempt->conn)) {
        attempt->waits_drain = true;
    } else {
        attempt->handler->on_chunk(attempt, attempt->next_chunk);
    }
}

void attempt_smtp_chunk(struct attempt_smtp *attempt, struct slice data)
{
    CHECK_LOOP(attempt->options.loop);
    CHECK(state_of(attempt) == STATE_BODY);
    CHECK(!attempt->waits_drain); /* it was asked for */
    attempt->next_chunk += 1;
    write_stuffed(attempt, data);
    set_deadline(attempt);
    send_body(attempt);
}

static void on_drain(struct conn *conn)
{
    struct attempt_smtp *attempt = of_conn(conn);
    if (state_of(attempt) == STATE_BODY && attempt->waits_drain) {
        attempt->waits_drain = false;
        attempt->handler->on_chunk(attempt, attempt->next_chunk);
    }
}

/* ---- replies -------------------------------------------------------------------------------- */

static void on_ehlo_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply)
{
    if (reply->code / 100 != 2) {
        if (!attempt->is_helo && reply->code / 100 == 5 && attempt->options.tls <= SMTP_TLS_MAY) {
            attempt->is_helo = true; /* RFC 5321 3.2 */
            say_ehlo(attempt);
        } else {
            die_reply(attempt, SMTP_STEP_EHLO, reply);
        }
        return;
    }
    memset(&attempt->caps, 0, sizeof attempt->caps);
    if (!attempt->is_helo) {
        smtp_caps_read(reply, &attempt->caps);
    }
    bool is_tls = conn_is_tls(&attempt->conn);
    bool wants_tls =
        attempt->options.tls == SMTP_TLS_MAY || attempt->options.tls == SMTP_TLS_REQUIRE;
    if (!is_tls && wants_tls && attempt->caps.starttls) {
        move(attempt, STATE_STARTTLS);
        command(attempt, SLICE("STARTTLS"));
    } else if (!is_tls && attempt->options.tls == SMTP_TLS_REQUIRE) {
        struct verdict verdict;
        verdict_own(&verdict, SMTP_STEP_STARTTLS, VERDICT_DEFERRED, "4.7.4",
                    "the server does not offer STARTTLS, which is required");
        die(attempt, &verdict);
    } else {
        after_greetings(attempt);
    }
}

static void start_tls(struct attempt_smtp *attempt)
{
    const struct attempt_options *options = &attempt->options;
    bool is_pinned = options->pins != NULL;
    move(attempt, STATE_HANDSHAKE);
    conn_start_tls_pinned(&attempt->conn, options->tls_context,
                          is_pinned ? options->pin_base : slice_str(attempt->host), options->pins);
}

static void on_starttls_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply)
{
    if (reply->code == 220) {
        start_tls(attempt);
    } else if (attempt->options.tls == SMTP_TLS_REQUIRE || reply->code == 421) {
        die_reply(attempt, SMTP_STEP_STARTTLS, reply);
    } else {
        after_greetings(attempt);
    }
}

static void on_final_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply)
{
    judge_all(attempt, SMTP_STEP_BODY,
              reply); /* nothing is left to judge when nobody was accepted */
    if (reply->code == 421) {
        die_reply(attempt, SMTP_STEP_BODY, reply);
        return;
    }
    finish_mail(attempt);
}

static void on_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply)
{
    transcript_add_reply(&attempt->transcript, reply);
    if (is_watched(attempt)) {
        attempt->options.on_reply(attempt, reply);
    }
    switch (state_of(attempt)) {
    case STATE_GREETING:
        if (reply->code != 220) {
            die_reply(attempt, SMTP_STEP_GREETING, reply);
        } else {
            say_ehlo(attempt);
        }
        break;
    case STATE_EHLO:
        on_ehlo_reply(attempt, reply);
        break;
    case STATE_STARTTLS:
        on_starttls_reply(attempt, reply);
        break;
    case STATE_AUTH:
        if (reply->code != 235) {
            die_reply(attempt, SMTP_STEP_AUTH, reply);
        } else {
            ready(attempt);
        }
        break;
    case STATE_ENVELOPE:
        on_envelope_reply(attempt, reply);
        break;
    case STATE_FINAL:
        on_final_reply(attempt, reply);
        break;
    case STATE_RSET:
        if (reply->code / 100 == 2) {
            finish_mail(attempt);
        } else {
            die_reply(attempt, SMTP_STEP_RSET, reply);
        }
        break;
    case STATE_BODY: /* the server gave up on the mail before its end */
        die_reply(attempt, SMTP_STEP_BODY, reply);
        break;
    case STATE_READY: /* usually 421: closing an idle connection */
        die_reply(attempt, SMTP_STEP_QUIT, reply);
        break;
    case STATE_CONNECT:
    case STATE_HANDSHAKE:
    case STATE_DEAD:
    case STATE_COUNT:
        die_own(attempt, "4.5.0", "the server spoke out of turn");
        break;
    }
}

static void on_data(struct conn *conn, struct slice data)
{
    struct attempt_smtp *attempt = of_conn(conn);
    while (data.len > 0 && state_of(attempt) != STATE_DEAD &&
           state_of(attempt) != STATE_HANDSHAKE) {
        size_t used = 0;
        bool is_done = false;
        if (smtp_reply_feed(&attempt->reader, data, &used, &is_done) != ERR_OK) {
            die_own(attempt, "4.5.0", "the server's answer is not SMTP");
            return;
        }
        data = slice_from(data, used);
        if (!is_done) {
            continue;
        }
        bool was_final = state_of(attempt) == STATE_FINAL;
        on_reply(attempt, &attempt->reader.reply);
        if (data.len > 0 && !was_final && state_of(attempt) == STATE_FINAL) {
            /* Said before our dot was: it cannot be the verdict on the mail. */
            die_own(attempt, "4.5.0", "the server spoke out of turn");
        }
    }
}

/* ---- the connection ------------------------------------------------------------------------- */

struct attempt_smtp *attempt_smtp_open(const struct attempt_options *options, void *owner)
{
    CHECK_LOOP(options->loop);
    struct attempt_smtp *attempt = mem_zalloc(sizeof *attempt);
    attempt->options = *options;
    attempt->handler = options->handler;
    attempt->owner = owner;
    snprintf(attempt->host, sizeof attempt->host, "%s", options->host);
    attempt->options.host = attempt->host;
    (void)conn_addr_text(&options->addr, attempt->addr); /* terminated; the length is not needed */
    list_init(&attempt->link);
    smtp_reply_init(&attempt->reader);
    buf_init(&attempt->wire, COMMAND_MAX > WIRE_MAX ? COMMAND_MAX : WIRE_MAX);
    buf_init(&attempt->transcript, SMTP_TRANSCRIPT_MAX);
    char text[400];
    int len = snprintf(text, sizeof text, "connecting to %s [%s]:%u", attempt->host, attempt->addr,
                       (unsigned)conn_addr_port(&options->addr));
    note(attempt, "-- ", slice_of(text, min_size((size_t)len, sizeof text - 1)));
    sm_init(&attempt->sm, &table, STATE_CONNECT);
    metric_add(METRIC_SMTP_CONNECTS, 1);
    conn_connect_from(&attempt->conn, options->loop, &options->addr, options->source, &conn_events);
    conn_set_deadline(&attempt->conn, options->timeout_ms != 0 ? options->timeout_ms
                                                               : waits[STATE_CONNECT].timeout_ms);
    return attempt;
}

static void on_open(struct conn *conn)
{
    struct attempt_smtp *attempt = of_conn(conn);
    if (state_of(attempt) == STATE_DEAD) {
        return;
    }
    if (state_of(attempt) == STATE_CONNECT) {
        struct conn_addr own;
        conn_local(conn, &own);
        (void)conn_addr_text(&own, attempt->source); /* terminated; no length needed */
        if (attempt->options.tls == SMTP_TLS_IMPLICIT) {
            start_tls(attempt);
        } else {
            move(attempt, STATE_GREETING);
        }
        return;
    }
    snprintf(attempt->tls_text, sizeof attempt->tls_text, "%s %s", tls_version(conn->tls),
             tls_cipher(conn->tls));
    note(attempt, "-- ", slice_str(attempt->tls_text));
    char verdict[TLS_VERDICT_MAX];
    tls_verdict(conn->tls, verdict);
    note(attempt, "-- ", slice_str(verdict));
    attempt->options.pins = NULL; /* they served; from here on the owner's may go */
    attempt->options.pin_base = slice_of(NULL, 0);
    if (attempt->options.tls == SMTP_TLS_IMPLICIT) {
        move(attempt, STATE_GREETING);
    } else {
        say_ehlo(attempt); /* RFC 3207 4.2: what was learned before TLS is forgotten */
    }
}

/* Unused for SMTP_IDLE_MS: the owner forgets it, and it says goodbye. */
static void leave_idle(struct attempt_smtp *attempt)
{
    struct verdict verdict;
    verdict_own(&verdict, SMTP_STEP_QUIT, VERDICT_DEFERRED, "4.4.2", "the connection was not used");
    attempt->handler->on_failed(attempt, &verdict);
    attempt_smtp_quit(attempt);
}

static void on_fail(struct conn *conn, enum err err)
{
    struct attempt_smtp *attempt = of_conn(conn);
    char text[256];
    if (state_of(attempt) == STATE_DEAD) { /* QUIT could not be written in time */
        conn_abort(conn);
        return;
    }
    if (state_of(attempt) == STATE_READY && err == ERR_TIMEOUT) {
        leave_idle(attempt);
        return;
    }
    bool is_final = state_of(attempt) == STATE_FINAL && attempt->accepted > 0;
    const char *doubt =
        is_final ? " after the whole mail was sent; it may have been delivered" : "";
    if (err == ERR_TIMEOUT) {
        snprintf(text, sizeof text, "no answer in time at %s%s", smtp_step_name(step_of(attempt)),
                 doubt);
        die_own(attempt, "4.4.2", text);
    } else if (state_of(attempt) == STATE_CONNECT) {
        snprintf(text, sizeof text, "cannot connect to %s: %s", attempt->addr, conn->failure);
        die_own(attempt, "4.4.1", text);
    } else if (err == ERR_TLS) {
        snprintf(text, sizeof text, "TLS failed: %s%s", conn->failure, doubt);
        die_own(attempt, "4.7.5", text);
    } else {
        snprintf(text, sizeof text, "connection lost at %s%s", smtp_step_name(step_of(attempt)),
                 doubt);
        die_own(attempt, "4.4.2", text);
    }
}

static void on_closed(struct conn *conn)
{
    struct attempt_smtp *attempt = of_conn(conn);
    CHECK(attempt->is_silent);
    CHECK(attempt->mail == NULL);
    smtp_reply_fini(&attempt->reader);
    buf_fini(&attempt->wire);
    buf_fini(&attempt->transcript);
    free(attempt);
}

void attempt_smtp_quit(struct attempt_smtp *attempt)
{
    CHECK_LOOP(attempt->options.loop);
    CHECK(attempt->mail == NULL);
    attempt->is_silent = true;
    if (state_of(attempt) == STATE_READY) {
        conn_write(&attempt->conn, SLICE("QUIT\r\n"));
    }
    if (state_of(attempt) != STATE_DEAD) {
        move(attempt, STATE_DEAD);
        conn_set_deadline(&attempt->conn, SMTP_IDLE_MS);
        conn_close(&attempt->conn);
    }
}

void attempt_smtp_abort(struct attempt_smtp *attempt)
{
    CHECK_LOOP(attempt->options.loop);
    attempt->is_silent = true;
    attempt->mail = NULL;
    if (state_of(attempt) != STATE_DEAD) {
        move(attempt, STATE_DEAD);
        conn_abort(&attempt->conn);
    }
}

/* ---- what the owner may know ---------------------------------------------------------------- */

bool attempt_smtp_is_alive(const struct attempt_smtp *attempt)
{
    CHECK_LOOP(attempt->options.loop);
    return state_of(attempt) == STATE_READY;
}

void attempt_smtp_set_owner(struct attempt_smtp *attempt, void *owner)
{
    CHECK_LOOP(attempt->options.loop);
    CHECK(owner != NULL);
    attempt->owner = owner;
}

void *attempt_smtp_owner(const struct attempt_smtp *attempt)
{
    return attempt->owner;
}

uint32_t attempt_smtp_mails(const struct attempt_smtp *attempt)
{
    return attempt->mails;
}

const char *attempt_smtp_host(const struct attempt_smtp *attempt)
{
    return attempt->host;
}

const char *attempt_smtp_source(const struct attempt_smtp *attempt)
{
    return attempt->source;
}

const char *attempt_smtp_addr(const struct attempt_smtp *attempt)
{
    return attempt->addr;
}

const char *attempt_smtp_tls(const struct attempt_smtp *attempt)
{
    return attempt->tls_text;
}

const struct attempt_options *attempt_smtp_options(const struct attempt_smtp *attempt)
{
    return &attempt->options;
}

enum tls_fault attempt_smtp_fault(const struct attempt_smtp *attempt)
{
    return conn_is_tls(&attempt->conn) ? tls_fault(attempt->conn.tls) : TLS_FAULT_NONE;
}

bool attempt_smtp_is_named(const struct attempt_smtp *attempt)
{
    return conn_is_tls(&attempt->conn) && tls_is_named(attempt->conn.tls);
}

bool attempt_smtp_has_requiretls(const struct attempt_smtp *attempt)
{
    return conn_is_tls(&attempt->conn) && tls_is_verified(attempt->conn.tls) &&
           attempt->caps.requiretls;
}

struct slice attempt_smtp_transcript(const struct attempt_smtp *attempt)
{
    CHECK_LOOP(attempt->options.loop);
    return buf_slice(&attempt->transcript);
}

struct link *attempt_smtp_link(struct attempt_smtp *attempt)
{
    CHECK_LOOP(attempt->options.loop);
    return &attempt->link;
}

struct attempt_smtp *attempt_smtp_of_link(struct link *link)
{
    return CONTAINER_OF(link, struct attempt_smtp, link);
}
