/* trip_source.c - sources at work: which address a try leaves from, what was sent, and its notes.
 *
 * Notes are read once, before anything leaves; they are written a minute after a change at the
 * earliest, so a crash forgets up to a minute of what was sent.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "deliver/trip_int.h"

#define SAVE_MS  60000
#define AGAIN_MS 1000
#define NOTE_MAX (8 * KIB)

/* ---- a try ---------------------------------------------------------------------------------- */

static struct slice pool_of(const struct site *site)
{
    struct slice name = slice_str(site->name);
    size_t bar = slice_find_byte(name, '|');
    return bar == SIZE_MAX ? SLICE("") : slice_head(name, bar);
}

static struct slice provider_of(const struct site *site)
{
    return site->rules.is_provider ? group_of_site(site) : SLICE("");
}

static uint32_t today(void)
{
    return clock_day_of(clock_unix_ms());
}

struct source_tally trip_sources_tally(struct deliver *deliver, const struct site *site)
{
    return source_table_tally(deliver->sources, pool_of(site), provider_of(site), today());
}

static struct source *source_of(const struct attempt_smtp *attempt)
{
    const struct conn_addr *addr = attempt_smtp_options(attempt)->source;
    return addr == NULL ? NULL
                        : (struct source *)(uintptr_t)CONTAINER_OF(addr, struct source, addr);
}

static void count(struct trip *trip, struct source *source)
{
    trip->source = source;
    if (source == NULL) {
        return;
    }
    source_sent(source, provider_of(trip->site), today(), trip->mail.rcpt_count - trip->part_first);
    if (source->is_changed && !timer_is_on(&trip->deliver->source_timer)) {
        timer_start(&trip->deliver->source_timer, SAVE_MS);
    }
}

enum source_answer trip_choose_source(struct trip *trip, struct attempt_options *options)
{
    struct source *source = NULL;
    const struct source_wish wish = {
        .pool = pool_of(trip->site),
        .family = options->addr.storage.ss_family,
        .group = provider_of(trip->site),
        .day = today(),
    };
    enum source_answer answer = source_choose(trip->deliver->sources, &wish, &source);
    if (answer == SOURCE_FOUND) {
        options->source = &source->addr;
        if (source->helo[0] != '\0') {
            options->ehlo = slice_str(source->helo);
        }
    }
    count(trip, source);
    return answer;
}

bool trip_source_may(const struct trip *trip, const struct attempt_smtp *attempt)
{
    struct source *source = source_of(attempt);
    return source == NULL || source_may(source, provider_of(trip->site), today());
}

void trip_source_reused(struct trip *trip, const struct attempt_smtp *attempt)
{
    count(trip, source_of(attempt));
}

/* All of the pool's addresses have sent what they may today. Once somebody has the mail the row
 * cannot be given back as if nothing had happened: it would go to him again. */
void trip_wait_for_source(struct trip *trip)
{
    if (trip->part_first > 0) {
        verdict_own(&trip->failure, SMTP_STEP_CONNECT, VERDICT_DEFERRED, "4.3.2",
                    "the sending pool has sent today what it may");
        trip_judge_all(trip, &trip->failure);
        trip_conclude(trip);
        return;
    }
    trip->is_put_off = true;
    trip->put_off_unix_ms = (today() + UINT64_C(1)) * 24 * 3600 * 1000;
    trip_conclude(trip);
}

/* ---- notes ---------------------------------------------------------------------------------- */

static struct msg *note_take(struct deliver *deliver, enum note_op op)
{
    struct msg *msg = msg_take(&deliver->actor, MSG_SHARD_NOTE);
    if (msg != NULL) {
        msg->body.note.op = op;
        msg->body.note.kind = NOTE_SOURCE;
    }
    return msg;
}

/* The page of notes behind a name. */
static void load_behind(struct deliver *deliver, struct slice name)
{
    struct msg *msg = note_take(deliver, NOTE_SCAN);
    if (msg == NULL) {
        timer_start(&deliver->source_timer, AGAIN_MS);
        return;
    }
    msg->body.note.name = arena_dup(&msg->arena, name);
    msg->body.note.limit = NOTES_PER_SCAN;
    actor_post(deliver->place->deliver_shard, msg);
}

static void load(struct deliver *deliver)
{
    load_behind(deliver, SLICE(""));
}

static void save(struct deliver *deliver)
{
    struct source *source;
    while ((source = source_changed(deliver->sources)) != NULL) {
        struct msg *msg = note_take(deliver, NOTE_PUT);
        if (msg == NULL) {
            break;
        }
        struct buf bytes;
        buf_init(&bytes, NOTE_MAX);
        source_pack(source, &bytes);
        msg->body.note.name = arena_dup(&msg->arena, slice_str(source->key));
        msg->body.note.value = arena_dup(&msg->arena, buf_slice(&bytes));
        buf_fini(&bytes);
        actor_post(deliver->place->deliver_shard, msg);
    }
}

static void on_source_timer(struct timer *timer)
{
    struct deliver *deliver = CONTAINER_OF(timer, struct deliver, source_timer);
    if (!deliver->is_open) {
        return;
    }
    if (deliver->has_source_notes) {
        save(deliver);
    } else {
        load(deliver);
    }
}

void trip_sources_init(struct deliver *deliver)
{
    deliver->sources = source_table_new();
    source_table_apply(deliver->sources, deliver->policy);
    timer_init(&deliver->source_timer, deliver->loop, on_source_timer);
    deliver->has_source_notes = !source_table_wants_notes(deliver->sources);
}

void trip_sources_start(struct deliver *deliver)
{
    if (!deliver->has_source_notes) {
        load(deliver);
    }
}

/* Notes are read before anything may leave from an address that is new to this policy. */
void trip_sources_reload(struct deliver *deliver)
{
    source_table_apply(deliver->sources, deliver->policy);
    if (deliver->has_source_notes && source_table_wants_notes(deliver->sources)) {
        deliver->has_source_notes = false;
        load(deliver);
    }
}

/* While a drain waits this is the last that is said. */
void trip_sources_stop(struct deliver *deliver)
{
    timer_stop(&deliver->source_timer);
    if (deliver->has_source_notes) {
        save(deliver);
    }
}

void trip_on_source_note(struct deliver *deliver, struct msg *msg)
{
    const struct shard_note *note = &msg->body.note;
    if (msg->err != ERR_OK) {
        LOG_WARN("deliver.source", LOG_ERR(msg->err));
        if (note->op == NOTE_SCAN && deliver->is_open) {
            timer_start(&deliver->source_timer, AGAIN_MS);
        }
    } else if (note->op == NOTE_SCAN) {
        for (uint32_t i = 0; i < note->note_count; i++) {
            if (!source_unpack(deliver->sources, note->notes[i].name, note->notes[i].value)) {
                LOG_ERROR("deliver.source_damaged", LOG_TEXT("source", note->notes[i].name));
            }
        }
        if (note->note_count == NOTES_PER_SCAN) {
            load_behind(deliver, note->notes[note->note_count - 1].name);
        } else {
            source_table_has_notes(deliver->sources);
            deliver->has_source_notes = true;
        }
    }
    msg_put(&deliver->actor, msg);
    deliver_pump(deliver);
}
