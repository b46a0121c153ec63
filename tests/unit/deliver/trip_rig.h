/* trip_rig.h - the delivery actor with everything around it, on one thread, for tests of trips.
 *
 * A real delivery actor on a real loop. Its shard is an actor of the test's own, which claims,
 * gives chunks and takes outcomes as the test says, and is main besides. DNS is a table
 * (fake_dns.h), the one mail host follows a script (smtp_script.h). The clocks are fake and stand
 * still but for pass; the test's thread turns the loop until what it waits for has happened.
 */
#ifndef UNIT_DELIVER_TRIP_RIG_H
#define UNIT_DELIVER_TRIP_RIG_H

#include <criterion/criterion.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "deliver/deliver_int.h"
#include "deliver/trip.h"
#include "support/fake_dns.h"
#include "support/smtp_script.h"

#include <sched.h>
#include <stdio.h>
#include <time.h>

#define MONO_MS  UINT64_C(1000000)
#define UNIX_MS  UINT64_C(1750000000000)
#define ACCOUNT  UINT64_C(77)
#define OUTCOMES 16
#define REAL_MS  20000
#define BODY     "Subject: hi\r\n\r\nhello\r\n"

struct outcome {
    struct id mail;
    uint64_t due_unix_ms;
    uint64_t next_due_unix_ms;
    uint64_t started_unix_ms;
    struct verdict verdict; /* of the first recipient */
    struct verdict last;    /* and of the last one */
    uint32_t verdict_count;
    char host[64];
    char addr[64];
    char tls[96];
    char tls_policy[16];
    char transcript[4096];
};

struct rig {
    uint64_t mono_ms;
    uint64_t unix_ms;
    struct loop loop;
    struct conf conf;
    struct place place;
    struct actor shard; /* shard, main and committer in one */
    struct deliver *deliver;
    struct smtp_script script;
    /* how the shard answers */
    enum err claim_err;
    enum rehearsal rehearsal;
    bool requires_tls;
    const char *body; /* NULL: BODY */
    uint32_t attempt;
    uint32_t chunk_count;
    uint32_t more_rcpts; /* r1@dest.test and so on, behind r@dest.test */
    uint64_t created_unix_ms;
    enum err chunk_err;
    bool holds_chunk;
    struct msg *chunk;
    bool holds_outcome;
    struct msg *held_outcome;
    enum err outcome_err;
    const struct note *notes; /* that are kept of holds, when it starts */
    uint32_t note_count;
    /* what it saw */
    char note_name[512]; /* the last that was put; empty: deleted */
    char note_bytes[2048];
    size_t note_len;
    struct msg *answer; /* of a question of the test's own; which puts it */
    uint32_t claims;
    uint32_t chunks;
    uint32_t wakes_home;
    uint32_t controls_home;
    struct outcome outcomes[OUTCOMES];
    uint32_t outcome_count;
};

static inline void copy(char *to, size_t size, struct slice from)
{
    (void)snprintf(to, size, "%.*s", SLICE_FMT(from));
}

/* ---- the shard ------------------------------------------------------------------------------ */

static inline void fill_claim(struct rig *rig, struct shard_claim *claim, struct arena *arena)
{
    claim->sender = arena_dup(arena, SLICE("b@send.test"));
    claim->rcpt_count = 1 + rig->more_rcpts;
    claim->rcpts = arena_array(arena, claim->rcpt_count, sizeof *claim->rcpts);
    claim->rcpts[0] = arena_dup(arena, SLICE("r@dest.test"));
    for (uint32_t i = 1; i <= rig->more_rcpts; i++) {
        claim->rcpts[i] = arena_format(arena, "r%u@dest.test", (unsigned)i);
    }
    claim->dkim_headers = arena_dup(arena, SLICE("DKIM-Signature: x\r\n"));
    claim->first_chunk = arena_dup(arena, slice_str(rig->body != NULL ? rig->body : BODY));
    claim->size_bytes = claim->first_chunk.len;
    claim->requires_tls = rig->requires_tls;
    claim->chunk_count = rig->chunk_count;
    claim->attempt = rig->attempt;
    claim->created_unix_ms = rig->created_unix_ms;
    claim->rehearsal = rig->rehearsal;
}

static inline void on_claim(struct rig *rig, struct msg *msg)
{
    rig->claims += 1;
    cr_assert_eq(msg->body.claim.lease_ms, LEASE_MS);
    cr_assert_eq(msg->body.claim.entry.account.value, ACCOUNT);
    if (rig->claim_err == ERR_OK) {
        fill_claim(rig, &msg->body.claim, &msg->arena);
    }
    msg_return(msg, rig->claim_err);
}

static inline void on_chunk(struct rig *rig, struct msg *msg)
{
    rig->chunks += 1;
    cr_assert_eq(msg->body.chunk.index, rig->chunks);
    if (rig->holds_chunk) {
        rig->chunk = msg;
        return;
    }
    msg->body.chunk.data = arena_dup(&msg->arena, SLICE("more\r\n"));
    msg_return(msg, rig->chunk_err);
}

static inline void on_outcome(struct rig *rig, struct msg *msg)
{
    const struct shard_outcome *body = &msg->body.outcome;
    cr_assert_lt(rig->outcome_count, OUTCOMES);
    struct outcome *out = &rig->outcomes[rig->outcome_count++];
    out->mail = body->entry.mail;
    out->due_unix_ms = body->entry.due_unix_ms;
    out->next_due_unix_ms = body->next_due_unix_ms;
    out->started_unix_ms = body->started_unix_ms;
    out->verdict_count = body->verdict_count;
    if (body->verdict_count > 0) {
        out->verdict = body->verdicts[0];
        out->last = body->verdicts[body->verdict_count - 1];
    }
    copy(out->host, sizeof out->host, body->remote_host);
    copy(out->addr, sizeof out->addr, body->remote_addr);
    copy(out->tls, sizeof out->tls, body->tls);
    copy(out->tls_policy, sizeof out->tls_policy, body->tls_policy);
    copy(out->transcript, sizeof out->transcript, body->transcript);
    if (rig->holds_outcome) {
        rig->held_outcome = msg;
    } else {
        msg_return(msg, rig->outcome_err);
    }
}

/* Of holds the last one is remembered, of anything else nothing. */
static inline void on_note(struct rig *rig, struct msg *msg)
{
    struct shard_note *note = &msg->body.note;
    if (note->kind == NOTE_HOLD && note->op == NOTE_SCAN) {
        note->notes = arena_array(&msg->arena, rig->note_count + 1, sizeof *note->notes);
        for (uint32_t i = 0; i < rig->note_count; i++) {
            note->notes[i] = rig->notes[i];
        }
        note->note_count = rig->note_count;
    } else if (note->kind == NOTE_HOLD) {
        copy(rig->note_name, sizeof rig->note_name, note->op == NOTE_PUT ? note->name : SLICE(""));
        rig->note_len = min_size(note->value.len, sizeof rig->note_bytes);
        memcpy(rig->note_bytes, note->value.data, rig->note_len);
    }
    msg_return(msg, note->op == NOTE_GET ? ERR_NOT_FOUND : ERR_OK);
}

static inline void on_msg(struct actor *actor, struct msg *msg)
{
    struct rig *rig = CONTAINER_OF(actor, struct rig, shard);
    if (msg->returning) {
        rig->wakes_home += msg->kind == MSG_DELIVER_WAKE;
        rig->controls_home += msg->kind == MSG_DELIVER_CONTROL;
        if (msg->kind == MSG_DELIVER_QUEUE || msg->kind == MSG_DELIVER_EXPLAIN) {
            rig->answer = msg;
            return;
        }
        msg_put(actor, msg);
        return;
    }
    switch (msg->kind) {
    case MSG_SHARD_CLAIM:
        on_claim(rig, msg);
        break;
    case MSG_SHARD_CHUNK:
        on_chunk(rig, msg);
        break;
    case MSG_SHARD_OUTCOME:
        on_outcome(rig, msg);
        break;
    case MSG_SHARD_NOTE:
        on_note(rig, msg);
        break;
    default:
        cr_assert_eq(msg->kind, MSG_SHARD_LEDGER);
        msg->body.ledger.value = UINT64_MAX; /* expiry is done for every day */
        msg_return(msg, ERR_OK);
        break;
    }
}

/* ---- the rig -------------------------------------------------------------------------------- */

static inline void turn(struct rig *rig)
{
    (void)uv_run(&rig->loop.uv, UV_RUN_NOWAIT);
    (void)sched_yield(); /* the kernel's loopback shares the cores with us */
}

static inline uint64_t real_ms(void)
{
    struct timespec now;
    cr_assert_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#define WAIT_FOR(rig, condition)                                                                   \
    do {                                                                                           \
        uint64_t end_ms = real_ms() + REAL_MS;                                                     \
        while (!(condition)) {                                                                     \
            cr_assert_lt(real_ms(), end_ms, "never happened: %s", #condition);                     \
            turn(rig);                                                                             \
        }                                                                                          \
    } while (0)

/* As many turns as anything takes that needs nothing from outside. */
static inline void settle(struct rig *rig)
{
    for (int i = 0; i < 30; i++) {
        turn(rig);
    }
}

static inline void pass(struct rig *rig, uint64_t ms)
{
    rig->mono_ms += ms;
    rig->unix_ms += ms;
    clock_set_fake(rig->mono_ms, rig->unix_ms);
    settle(rig);
}

static inline void set(struct rig *rig, const char *name, const char *value)
{
    cr_assert(conf_set(&rig->conf, slice_str(name), slice_str(value)));
}

static inline void rig_init(struct rig *rig, const struct script_step *steps)
{
    char *argv[] = {(char[]){"meerkatd"}};
    *rig = (struct rig){.mono_ms = MONO_MS,
                        .unix_ms = UNIX_MS,
                        .attempt = 1,
                        .chunk_count = 1,
                        .created_unix_ms = UNIX_MS};
    clock_set_fake(rig->mono_ms, rig->unix_ms);
    cr_assert(conf_load(&rig->conf, 1, argv));
    loop_init(&rig->loop, "test", 0);
    script_init(&rig->script, &rig->loop, steps);
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)rig->script.listener.tcp_port);
    set(rig, "smtp_port", port);
    set(rig, "allow_private_targets", "yes");
    set(rig, "hostname", "mail.meerkat.test");
}

/* After the test set what it likes in rig->conf. */
static inline void rig_start(struct rig *rig, const struct fake_row *rows, size_t count)
{
    struct actor_options options = {.name = "shard",
                                    .loop = &rig->loop,
                                    .handle = on_msg,
                                    .pool_counts = {[MSG_POOL_REQUEST] = 4, [MSG_POOL_WAKE] = 4},
                                    .port_depth_max = 5000};
    actor_init(&rig->shard, &options);
    rig->place = (struct place){.conf = &rig->conf,
                                .shard_count = 1,
                                .loop_count = 1,
                                .shards = {&rig->shard},
                                .deliver_shard = &rig->shard};
    rig->deliver = deliver_new(&rig->place, &rig->loop);
    rig->place.deliver = deliver_actor(rig->deliver);
    fake_dns_add(rig->deliver->dns, rows, count);
}

static inline void control(struct rig *rig, enum control_op op, uint64_t in_ms)
{
    struct msg *msg = msg_take(&rig->shard, MSG_DELIVER_CONTROL);
    cr_assert_not_null(msg);
    msg->body.control.op = op;
    msg->body.control.deadline_ms = rig->mono_ms + in_ms;
    actor_post(rig->place.deliver, msg);
}

static inline void control_and_wait(struct rig *rig, enum control_op op)
{
    uint32_t before = rig->controls_home;
    control(rig, op, 60000);
    WAIT_FOR(rig, rig->controls_home == before + 1);
}

static inline struct id mail_id(uint16_t number)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    return id_make(&maker, (struct account_id){ACCOUNT}, UNIX_MS + number);
}

static inline void wake(struct rig *rig, uint16_t number, uint64_t due_unix_ms)
{
    struct msg *msg = msg_take(&rig->shard, MSG_DELIVER_WAKE);
    cr_assert_not_null(msg);
    struct outbox_entry *entry = arena_alloc(&msg->arena, sizeof *entry);
    entry->due_unix_ms = due_unix_ms;
    entry->account = (struct account_id){ACCOUNT};
    entry->mail = mail_id(number);
    entry->domain = arena_dup(&msg->arena, SLICE("dest.test"));
    msg->body.wake.entries = entry;
    msg->body.wake.entry_count = 1;
    actor_post(rig->place.deliver, msg);
}

static inline void rig_end(struct rig *rig)
{
    control_and_wait(rig, CONTROL_DRAIN);
    control_and_wait(rig, CONTROL_STOP);
    actor_close(&rig->shard);
    if (rig->script.listener.is_open) {
        script_close(&rig->script);
    }
    WAIT_FOR(rig, !rig->script.is_in_use || rig->script.mismatch[0] != '\0');
    pass(rig, 60000); /* closing conns wait for their peers no longer */
    clock_set_fake(0, 0);
    loop_stop(&rig->loop);
    loop_run(&rig->loop);
    deliver_free(rig->deliver);
    actor_fini(&rig->shard);
    loop_fini(&rig->loop);
    script_fini(&rig->script);
    conf_fini(&rig->conf);
}

#endif
