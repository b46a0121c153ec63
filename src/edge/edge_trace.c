/* edge_trace.c - see edge_trace.h. */
#include "edge/edge_trace.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "edge/smtp_in_int.h"

#define HEAD_MAX  (4 * KIB) /* of a request's line and fields */
#define VALUE_MAX 200
#define SCAN_MAX  (4 * KIB) /* of an answer, for the id of a message */

/* ---- the table ------------------------------------------------------------------------------ */

static void set_timer(struct edge *edge)
{
    uint64_t now_ms = loop_now_ms(edge->loop);
    uint64_t next_ms = tap_expire(&edge->tap, now_ms);
    timer_stop(&edge->tap_timer);
    if (next_ms != UINT64_MAX) {
        timer_start(&edge->tap_timer, next_ms > now_ms ? next_ms - now_ms : 1);
    }
}

static void on_timer(struct timer *timer)
{
    set_timer(CONTAINER_OF(timer, struct edge, tap_timer));
}

void edge_trace_init(struct edge *edge)
{
    timer_init(&edge->tap_timer, edge->loop, on_timer);
}

void edge_trace_stop(struct edge *edge)
{
    timer_stop(&edge->tap_timer);
    tap_fini(&edge->tap);
}

void edge_trace_serve(struct edge *edge, struct msg *msg)
{
    CHECK_LOOP(edge->loop);
    enum err err = ERR_DRAINING;
    if (edge->phase == EDGE_OPEN) {
        err = tap_serve(&edge->tap, &msg->body.tap, &msg->arena, loop_now_ms(edge->loop));
        set_timer(edge);
    }
    msg_return(msg, err);
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool is_harmless(struct slice name)
{
    static const char *const names[] = {"host",
                                        "user-agent",
                                        "accept",
                                        "accept-encoding",
                                        "content-type",
                                        "content-length",
                                        "content-encoding",
                                        "transfer-encoding",
                                        "expect",
                                        "connection",
                                        "traceparent",
                                        "x-forwarded-for",
                                        "x-forwarded-proto",
                                        "x-meerkat-account"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_equal_nocase(name, slice_str(names[i]))) {
            return true;
        }
    }
    return false;
}

/* Whoever watches is not shown how. */
static bool is_own(const struct http_request *http)
{
    return slice_starts(http->path, SLICE("/api/admin/traces"));
}

void edge_trace_request(struct request *request)
{
    const struct http_request *http = &request->http;
    struct buf *head = &request->traced;
    if (is_own(http)) {
        return;
    }
    buf_init(head, HEAD_MAX);
    buf_add_format(head, "%s ", http_method_text(http->method));
    tap_path(http->path, head);
    if (http->query.len > 0) {
        struct arena arena;
        arena_init(&arena, KIB, 64 * KIB);
        tap_path(arena_format(&arena, "?%.*s", SLICE_FMT(http->query)), head);
        arena_fini(&arena);
    }
    buf_add_format(head, " HTTP/1.%u\n", (unsigned)http->minor_version);
    for (uint32_t i = 0; i < http->header_count; i++) {
        const struct http_header *header = &http->headers[i];
        struct slice value = slice_head(header->value, VALUE_MAX);
        buf_add_format(head, "%.*s: %.*s\n", SLICE_FMT(header->name),
                       SLICE_FMT(is_harmless(header->name) ? value : SLICE("(hidden)")));
    }
}

/* The id that an answer begins with, as those to sends do. */
static struct slice message_of(const struct http_answer *answer)
{
    struct slice body = slice_head(answer->body, SCAN_MAX);
    size_t at = slice_find(body, SLICE("\"msg_"));
    struct slice id = at == SIZE_MAX ? SLICE("") : slice_sub(body, at + 1, 4 + ID_BODY_LEN);
    struct id parsed;
    return id_parse(ID_MESSAGE, id, &parsed) == ERR_OK ? id : SLICE("");
}

void edge_trace_answer(struct request *request, const struct http_answer *answer)
{
    struct tap_table *table = &request->edge->tap;
    struct tap_talk talk = {.number = 0};
    const struct ip6 none = {{0}};
    bool has_client = memcmp(&request->caller.peer, &none, sizeof none) != 0;
    const struct tap_facts facts = {
        .kind = TAP_HTTP,
        .accounts = &request->caller.account,
        .account_count = request->caller.account.value != 0,
        .ip = has_client ? &request->caller.peer : &request->session->peer,
    };
    if (request->traced.len == 0) {
        return; /* it came before anybody watched, or is the watcher's own */
    }
    struct slice message = message_of(answer);
    uint64_t took_us = request->read_us == 0 ? 0 : clock_mono_us() - request->read_us;
    tap_say(table, &talk, &facts, "C: ", buf_slice(&request->traced));
    tap_say_format(table, &talk, &facts, "answered %u %.*s, %zu bytes, in %llu.%llu ms; %s%s%.*s",
                   (unsigned)answer->status, SLICE_FMT(answer->content_type), answer->body.len,
                   (unsigned long long)(took_us / 1000), (unsigned long long)(took_us % 1000 / 100),
                   request->origin.request, message.len > 0 ? "; " : "", SLICE_FMT(message));
    tap_talk_end(table, &talk);
}

/* ---- SMTP ----------------------------------------------------------------------------------- */

/* What facts points at. */
struct known {
    struct tap_facts facts;
    struct account_id accounts[INBOUND_ACCOUNTS_MAX + 1];
    struct slice email;
};

static const struct tap_facts *know(const struct smtp_session *session, enum smtp_event event,
                                    struct known *known)
{
    const struct inbound *mail = &session->mail;
    uint32_t count = 0;
    known->facts = (struct tap_facts){
        .kind = session->smtp->is_submission ? TAP_SUBMISSION : TAP_SMTP_IN,
        .accounts = known->accounts,
        .sender = mail->sender,
        .emails = &known->email,
        .ip = &session->peer,
    };
    for (uint32_t i = 0; i < mail->account_count; i++) {
        known->accounts[count++] = mail->accounts[i].account;
    }
    if (session->smtp->is_submission && session->submit.credential.kind != CREDENTIAL_NONE) {
        known->accounts[count++] = session->submit.caller.account;
    }
    known->facts.account_count = count;
    if (event == SMTP_EVENT_MAIL) {
        known->facts.sender = session->server.mail.from.text;
    } else if (event == SMTP_EVENT_RCPT) {
        known->email = session->server.rcpt.to.text;
        known->facts.email_count = 1;
    }
    return &known->facts;
}

static void say(struct smtp_session *session, enum smtp_event event, const char *who,
                struct slice text)
{
    struct known known;
    const struct tap_facts *facts = know(session, event, &known);
    struct tap_table *table = &session->smtp->edge->tap;
    if (session->talk.number == 0) {
        char ip[IP6_TEXT_MAX];
        (void)ip6_text(&session->peer, ip); /* terminated */
        tap_say_format(table, &session->talk, facts, "connection from %s%s", ip,
                       session->server.is_tls ? ", TLS" : "");
    }
    tap_say(table, &session->talk, facts, who, text);
}

/* A line may be a password that found no AUTH to go with, or a mail after a DATA that was refused:
 * only commands that we know are shown, and of some only the verb. */
static struct slice visible(struct slice line)
{
    static const struct {
        const char *verb;
        bool has_argument;
    } verbs[] = {{"EHLO", true},  {"HELO", true},      {"MAIL", true},  {"RCPT", true},
                 {"BDAT", true},  {"DATA", false},     {"RSET", false}, {"NOOP", false},
                 {"QUIT", false}, {"STARTTLS", false}, {"VRFY", false}, {"EXPN", false},
                 {"HELP", false}, {"AUTH", false}};
    struct slice rest = slice_trim(line);
    struct slice whole = rest;
    struct slice verb = slice_cut(&rest, ' ');
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (slice_equal_nocase(verb, slice_str(verbs[i].verb))) {
            return verbs[i].has_argument ? whole : slice_str(verbs[i].verb);
        }
    }
    return SLICE("(hidden: no command that is known)");
}

void edge_trace_event(struct smtp_session *session, enum smtp_event event)
{
    switch (event) {
    case SMTP_EVENT_HELLO:
    case SMTP_EVENT_STARTTLS:
    case SMTP_EVENT_MAIL:
    case SMTP_EVENT_RCPT:
    case SMTP_EVENT_DATA:
    case SMTP_EVENT_RESET:
    case SMTP_EVENT_NOTED:
    case SMTP_EVENT_REFUSED:
    case SMTP_EVENT_QUIT:
        say(session, event, "C: ", visible(smtp_server_line(&session->server)));
        break;
    case SMTP_EVENT_AUTH:
        say(session, event, "C: ", SLICE("AUTH (hidden)"));
        break;
    case SMTP_EVENT_END: {
        char text[64];
        int len = snprintf(text, sizeof text, "the mail is there: %llu bytes",
                           (unsigned long long)session->server.mail_bytes);
        say(session, event, "-- ", slice_of(text, (size_t)len));
        break;
    }
    case SMTP_EVENT_NONE:
    case SMTP_EVENT_MORE:
    case SMTP_EVENT_WAIT:
    case SMTP_EVENT_FULL:
    case SMTP_EVENT_CONNECT:
    case SMTP_EVENT_CHUNK:
    case SMTP_EVENT_CLOSE:
        break;
    }
}

void edge_trace_replies(struct smtp_session *session, struct slice out)
{
    while (out.len > 0) {
        struct slice line = slice_trim(slice_cut(&out, '\n'));
        bool is_challenge = slice_starts(line, SLICE("334"));
        say(session, SMTP_EVENT_NONE, "S: ", is_challenge ? SLICE("334 (hidden)") : line);
    }
}
