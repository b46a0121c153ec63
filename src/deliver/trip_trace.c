/* trip_trace.c - see trip_trace.h. Commands and replies are shown as they are in transcripts, so
 * without passwords; mails and bodies only by their sizes. */
#include "deliver/trip_trace.h"

#include <stdio.h>

#include "base/check.h"

#define TOLD_MAX 5 /* recipients whose end is told one by one */

/* What facts points at. */
struct known {
    struct tap_facts facts;
    struct account_id account;
    struct ip6 ip;
};

static const struct tap_facts *know(const struct trip *trip, const struct attempt_smtp *attempt,
                                    struct known *known)
{
    const struct shard_claim *claim = trip->claim != NULL ? trip_claim(trip) : NULL;
    known->account = id_account(trip->entry->mail);
    known->facts = (struct tap_facts){
        .kind = claim != NULL && claim->is_hook ? TAP_HOOK : TAP_SMTP_OUT,
        .accounts = &known->account,
        .account_count = 1,
        .site = slice_str(trip->site->name),
        .domain = dest_domain(trip->entry->dest),
    };
    if (claim != NULL) {
        known->facts.sender = claim->sender;
        known->facts.emails = claim->rcpts;
        known->facts.email_count = claim->rcpt_count;
    }
    struct conn_addr addr;
    if (attempt != NULL) {
        known->ip = conn_addr_ip(&attempt_smtp_options(attempt)->addr);
        known->facts.ip = &known->ip;
    } else if (conn_addr_parse(slice_str(trip->remote_addr), 0, &addr) == ERR_OK) {
        known->ip = conn_addr_ip(&addr);
        known->facts.ip = &known->ip;
    }
    return &known->facts;
}

static void say(struct trip *trip, const struct attempt_smtp *attempt, const char *who,
                struct slice text)
{
    struct known known;
    tap_say(&trip->deliver->tap, &trip->talk, know(trip, attempt, &known), who, text);
}

void trip_trace_begin(struct trip *trip)
{
    const struct shard_claim *claim = trip_claim(trip);
    struct known known;
    const struct tap_facts *facts = know(trip, NULL, &known);
    char id[ID_TEXT_MAX];
    (void)id_text(ID_MESSAGE, trip->entry->mail, id); /* terminated */
    tap_say_format(&trip->deliver->tap, &trip->talk, facts,
                   "%s for %.*s, %u recipient%s, %llu bytes, site %s, try %u", id,
                   SLICE_FMT(facts->domain), (unsigned)claim->rcpt_count,
                   claim->rcpt_count == 1 ? "" : "s", (unsigned long long)claim->size_bytes,
                   trip->site->name, (unsigned)claim->attempt);
}

static const char *class_text(enum verdict_class class)
{
    static const char *const texts[] = {"delivered", "put off", "refused"};
    CHECK((size_t) class < ARRAY_LEN(texts));
    return texts[class];
}

void trip_trace_end(struct trip *trip)
{
    struct known known;
    const struct tap_facts *facts = know(trip, NULL, &known);
    struct tap_table *table = &trip->deliver->tap;
    if (trip->is_put_off) {
        tap_say_format(table, &trip->talk, facts, "given back: nothing was tried");
        return;
    }
    for (uint32_t i = 0; i < trip->mail.rcpt_count && i < TOLD_MAX; i++) {
        const struct attempt_rcpt *rcpt = &trip->mail.rcpts[i];
        tap_say_format(table, &trip->talk, facts, "%.*s: %s, %u %s %.200s", SLICE_FMT(rcpt->addr),
                       class_text(rcpt->verdict.class), (unsigned)rcpt->verdict.code,
                       rcpt->verdict.enhanced, rcpt->verdict.text);
    }
    if (trip->mail.rcpt_count > TOLD_MAX) {
        tap_say_format(table, &trip->talk, facts, "and %u more recipients",
                       (unsigned)(trip->mail.rcpt_count - TOLD_MAX));
    }
}

/* ---- webhooks ------------------------------------------------------------------------------- */

void trip_trace_call(struct trip *trip, const struct hook_request *request)
{
    struct buf line;
    buf_init(&line, 2 * KIB);
    buf_add_str(&line, "POST ");
    tap_url(request->url, &line);
    buf_add_format(&line, " (%zu bytes; headers and body are not shown)", request->body.len);
    say(trip, NULL, "C: ", buf_slice(&line));
    buf_fini(&line);
}

void trip_trace_called(struct trip *trip)
{
    const struct verdict *verdict = &trip->hook.verdict;
    char text[VERDICT_TEXT_MAX + 64];
    int len = snprintf(text, sizeof text, "%u %s", (unsigned)verdict->code, verdict->text);
    say(trip, NULL, "S: ", slice_of(text, min_size((size_t)len, sizeof text - 1)));
}

/* ---- connections ---------------------------------------------------------------------------- */

void trip_trace_line(struct attempt_smtp *attempt, const char *who, struct slice text)
{
    if (!trip_is_idle(attempt)) {
        say(attempt_smtp_owner(attempt), attempt, who, text);
    }
}

void trip_trace_reply(struct attempt_smtp *attempt, const struct smtp_reply *reply)
{
    bool is_auth = attempt_smtp_step(attempt) == SMTP_STEP_AUTH;
    struct slice rest = is_auth ? SLICE("(hidden)") : buf_slice(&reply->text);
    if (trip_is_idle(attempt)) {
        return;
    }
    do {
        char line[VERDICT_TEXT_MAX];
        struct slice text = slice_cut(&rest, '\n');
        int len = snprintf(line, sizeof line, "%u %.*s", (unsigned)reply->code, SLICE_FMT(text));
        say(attempt_smtp_owner(attempt), attempt,
            "S: ", slice_of(line, min_size((size_t)len, sizeof line - 1)));
    } while (rest.len > 0);
}

/* ---- the table ------------------------------------------------------------------------------ */

static void set_timer(struct deliver *deliver)
{
    uint64_t now_ms = loop_now_ms(deliver->loop);
    uint64_t next_ms = tap_expire(&deliver->tap, now_ms);
    timer_stop(&deliver->tap_timer);
    if (next_ms != UINT64_MAX) {
        timer_start(&deliver->tap_timer, next_ms > now_ms ? next_ms - now_ms : 1);
    }
}

static void on_timer(struct timer *timer)
{
    set_timer(CONTAINER_OF(timer, struct deliver, tap_timer));
}

void trip_trace_serve(struct deliver *deliver, struct msg *msg)
{
    CHECK_LOOP(deliver->loop);
    enum err err = deliver->is_open ? tap_serve(&deliver->tap, &msg->body.tap, &msg->arena,
                                                loop_now_ms(deliver->loop))
                                    : ERR_DRAINING;
    if (deliver->is_open) {
        set_timer(deliver);
    }
    msg_return(msg, err);
}

void trip_trace_init(struct deliver *deliver)
{
    timer_init(&deliver->tap_timer, deliver->loop, on_timer);
}

void trip_trace_stop(struct deliver *deliver)
{
    timer_stop(&deliver->tap_timer);
    tap_fini(&deliver->tap);
}
