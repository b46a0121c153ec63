/* api_explain.c - why a mail is not delivered yet, for the operator.
 *
 *     SHARD_READ with wants_facts --> anything open? --> DELIVER_EXPLAIN --> words --> 200
 *                                         +--nothing----------------------> words --> 200
 *
 * A route of ROUTE_ADMIN. The id of a message or of a delivery names its account. What the shard
 * said is kept in the arena that goes on to delivery with the question.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "edge/admin.h"
#include "edge/explain_words.h"

/* What the shard said, in the arena of the message that is under way, or came home last. */
struct known {
    struct row_mail mail;
    const struct mail_facts *facts;
};

/* ---- the answer ----------------------------------------------------------------------------- */

static void write_time(struct json_writer *w, const char *name, uint64_t unix_ms)
{
    char text[CLOCK_TEXT_MAX];
    size_t len = unix_ms == 0 ? 0 : clock_rfc3339(unix_ms, text);
    api_text_or_null(w, name, slice_of(text, len));
}

static void write_words(struct json_writer *w, const struct explanation *said)
{
    api_text(w, "state", slice_str(said->state));
    api_bool(w, "done", said->is_done);
    api_bool(w, "needsAction", said->needs_action);
    api_text(w, "text", slice_str(said->text));
    api_text_or_null(w, "advice", slice_str(said->advice));
    write_time(w, "since", said->since_unix_ms);
    write_time(w, "next", said->next_unix_ms);
    write_time(w, "givenUpAt", said->until_unix_ms);
}

static void write_delivery(struct json_writer *w, const struct explain_case *about,
                           const struct explanation *said)
{
    const struct delivery_facts *delivery = about->delivery;
    const struct row_delivery *row = &delivery->row;
    bool is_hook = row->kind == DELIVERY_WEBHOOK;
    json_open_object(w);
    api_id(w, "id", ID_DELIVERY, row->id);
    api_text(w, "kind", is_hook ? SLICE("webhook") : SLICE("smtp"));
    api_text(w, "recipient", row->recipient);
    api_text_or_null(w, "route", delivery->has_route ? delivery->route_match : SLICE(""));
    api_text(w, "status", slice_str(delivery_status_text((enum delivery_status)row->status)));
    api_u64(w, "attempts", row->attempts);
    api_text_or_null(w, "site",
                     about->entry != NULL && about->entry->has_site ? about->entry->site.name
                                                                    : SLICE(""));
    write_words(w, said);
    json_close_object(w);
}

/* Recipients of one group share an entry. */
static const struct explain_entry *entry_of(const struct deliver_explain *schedule,
                                            const struct delivery_facts *delivery)
{
    for (uint32_t i = 0; schedule != NULL && i < schedule->entry_count; i++) {
        if (schedule->entries[i].group == delivery->row.group) {
            return &schedule->entries[i];
        }
    }
    return NULL;
}

static void write_head(struct json_writer *w, const struct row_mail *mail)
{
    char text[ID_TEXT_MAX];
    bool is_inbound = mail->direction == DIRECTION_INBOUND;
    api_id(w, "message", ID_MESSAGE, mail->id);
    api_text(w, "account", slice_of(text, account_text(id_account(mail->id), text)));
    api_text(w, "direction", is_inbound ? SLICE("inbound") : SLICE("outbound"));
    api_text(w, "from", mail->from_addr);
    write_time(w, "acceptedAt", mail->received_unix_ms);
    const char *status = is_inbound ? "received" : mail_status_text((enum mail_status)mail->status);
    api_text(w, "status", slice_str(status));
}

static void write_notes(struct json_writer *w, const struct explain_case *about,
                        struct arena *arena)
{
    struct explanation notes[EXPLAIN_NOTES_MAX];
    uint32_t count = explain_mail(about, arena, notes);
    json_key(w, "notes");
    json_open_array(w);
    for (uint32_t i = 0; i < count; i++) {
        json_open_object(w);
        api_text(w, "state", slice_str(notes[i].state));
        api_text(w, "text", slice_str(notes[i].text));
        api_text_or_null(w, "advice", slice_str(notes[i].advice));
        write_time(w, "since", notes[i].since_unix_ms);
        json_close_object(w);
    }
    json_close_array(w);
}

static void answer(struct request *request, const struct known *known,
                   const struct deliver_explain *schedule, struct arena *arena)
{
    struct explain_case about = {
        .mail = &known->mail,
        .facts = known->facts,
        .schedule = schedule,
        .retry_age_ms = request->edge->place->conf->retry_age_ms,
        .now_unix_ms = clock_unix_ms(),
    };
    struct api_body body;
    bool needs_action = false;
    api_json_start(&body);
    json_open_object(&body.w);
    write_head(&body.w, &known->mail);
    write_notes(&body.w, &about, arena);
    json_key(&body.w, "deliveries");
    json_open_array(&body.w);
    for (uint32_t i = 0; i < known->facts->delivery_count; i++) {
        struct explanation said;
        about.delivery = &known->facts->deliveries[i];
        about.entry = entry_of(schedule, about.delivery);
        explain_delivery(&about, arena, &said);
        write_delivery(&body.w, &about, &said);
        needs_action |= said.needs_action;
    }
    json_close_array(&body.w);
    api_bool(&body.w, "needsAction", needs_action);
    json_close_object(&body.w);
    api_json_send(request, 200, &body);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void on_explained(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    answer(request, request->chain, &msg->body.explain, &msg->arena);
}

static bool has_entry(const struct deliver_explain *body, uint32_t group)
{
    for (uint32_t i = 0; i < body->entry_count; i++) {
        if (body->entries[i].group == group) {
            return true;
        }
    }
    return false;
}

static void fill_entries(const struct known *known, struct deliver_explain *body,
                         struct arena *arena)
{
    const struct mail_facts *facts = known->facts;
    *body = (struct deliver_explain){.mail = known->mail.id};
    body->entries = arena_array(arena, facts->delivery_count + 1, sizeof *body->entries);
    for (uint32_t i = 0; i < facts->delivery_count; i++) {
        const struct delivery_facts *delivery = &facts->deliveries[i];
        if (delivery->found != OUTBOX_THERE || has_entry(body, delivery->row.group)) {
            continue;
        }
        body->entries[body->entry_count++] = (struct explain_entry){
            .group = delivery->row.group,
            .due_unix_ms = delivery->row.next_attempt_unix_ms,
            .domain = delivery->outbox.domain,
            .pool = delivery->outbox.pool,
            .priority = mail_priority_of(delivery->outbox.priority),
        };
    }
}

static void on_read(struct request *request, struct msg *msg)
{
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    struct deliver_explain body;
    struct known *known = arena_alloc(&msg->arena, sizeof *known);
    *known = (struct known){.mail = msg->body.read.mail, .facts = msg->body.read.facts};
    CHECK(known->facts->delivery_count <= EXPLAIN_DELIVERIES_MAX);
    fill_entries(known, &body, &msg->arena);
    if (body.entry_count == 0) {
        answer(request, known, NULL, &msg->arena);
        return;
    }
    struct msg *next = api_take(request, MSG_DELIVER_EXPLAIN);
    if (next == NULL) {
        return;
    }
    struct arena fresh = next->arena;
    next->arena = msg->arena; /* what the shard said goes along */
    msg->arena = fresh;
    next->body.explain = body;
    request->chain = known;
    api_post_apart(request, request->edge->place->deliver, next, on_explained);
}

void api_message_explain(struct request *request)
{
    struct slice text = request->params[0];
    struct shard_read read = {.wants_facts = true};
    if (id_parse(ID_MESSAGE, text, &read.id) != ERR_OK &&
        id_parse(ID_SCHEDULED, text, &read.id) != ERR_OK) { /* one id in two dresses */
        read.is_delivery = true;
        if (id_parse(ID_DELIVERY, text, &read.id) != ERR_OK) {
            api_fail(request, ERR_NOT_FOUND);
            return;
        }
    }
    struct msg *msg = api_take(request, MSG_SHARD_READ);
    if (msg == NULL) {
        return;
    }
    read.caller = (struct caller){.kind = CALLER_OPERATOR, .account = id_account(read.id)};
    msg->body.read = read;
    api_post_apart(request, place_shard(request->edge->place, read.caller.account), msg, on_read);
}
