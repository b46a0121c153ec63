/* Flow: mails that wait for their time, through deaths of the daemon, changes of mind and
 * suppressions that come in between.
 *
 * Not covered here: how a time is written (tests/unit/edge/test_api_send.c), each refusal
 * (tests/unit/shards/test_schedule.c).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "support/world.h"

#define DAY_MS (UINT64_C(24) * 3600 * 1000)

/* Schedules a mail and returns its ssnd_ id. */
static const char *schedule(struct world *world, const char *to, uint64_t unix_ms)
{
    struct reply *reply = world_post(world, "/v1/send",
                                     "{'from':'a@send.test','to':'%s','subject':'later','text':'x',"
                                     "'scheduledAt':%llu}",
                                     to, (unsigned long long)unix_ms);
    cr_assert_eq(reply->status, 202, "%.*s", SLICE_FMT(reply->body));
    cr_assert_str_eq(reply_text(reply, "status"), "scheduled");
    const char *id = reply_text(reply, "id");
    cr_assert_eq(strncmp(id, "ssnd_", 5), 0, "%s", id);
    return id;
}

static const char *message_of(struct world *world, const char *scheduled)
{
    return world_text(world, "msg_%s", strchr(scheduled, '_') + 1);
}

static struct reply *call(struct world *world, const char *method, const char *path,
                          const char *body)
{
    struct world_call call = {.method = method, .path = path, .body = slice_str(body)};
    return world_call(world, &call);
}

static void expect_date(struct slice mail, uint64_t unix_ms)
{
    char date[CLOCK_TEXT_MAX];
    size_t len = clock_rfc5322(unix_ms, date);
    cr_expect_neq(slice_find(mail, slice_of(date, len)), SIZE_MAX, "%.*s is not in %.*s", (int)len,
                  date, SLICE_FMT(mail));
}

Test(schedule, is_kept_by_a_daemon_that_was_killed_and_sent_on_time)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    uint64_t due = clock_unix_ms() + 4000;
    const char *id = schedule(world, "b@dest.test", due);
    world_kill(world);
    world_start(world);
    struct reply *read = world_get(world, "/api/messages/%s", message_of(world, id));
    cr_assert_eq(read->status, 200, "%.*s", SLICE_FMT(read->body));
    cr_expect_eq(reply_int(read, "message.scheduled_at"), (long long)due);
    if (clock_unix_ms() < due) {
        cr_expect_str_eq(reply_text(read, "message.send_status"), "scheduled");
        cr_expect_str_eq(reply_text(read, "deliveries.0.status"), "scheduled");
    }
    (void)world_await(world, message_of(world, id), "message.send_status", "delivered");
    cr_expect_geq(clock_unix_ms(), due, "not before its time");
    expect_date(world_sink_mail(world, sink, 1), due);
    cr_expect_eq(world_get(world, "/v1/scheduled/%s", id)->status, 200);
    struct reply *late = call(world, "DELETE", world_text(world, "/v1/scheduled/%s", id), "");
    cr_expect_eq(late->status, 409, "%.*s", SLICE_FMT(late->body));
    world_end(world);
}

/* Each change of mind is followed by a death: what was answered holds. */
Test(schedule, keeps_what_was_moved_and_forgets_what_was_cancelled)
{
    struct world *world = world_new();
    struct peer *sink = world_ready_to_send(world);
    uint64_t due = clock_unix_ms() + DAY_MS;
    const char *gone = schedule(world, "gone@dest.test", due);
    const char *kept = schedule(world, "kept@dest.test", due + DAY_MS);
    struct reply *list = world_get(world, "/v1/scheduled");
    cr_assert_eq(reply_count(list, ""), 2, "%.*s", SLICE_FMT(list->body));
    cr_expect_str_eq(reply_text(list, "0.id"), kept, "newest first");
    struct reply *cancel = call(world, "DELETE", world_text(world, "/v1/scheduled/%s", gone), "");
    cr_assert_eq(cancel->status, 200, "%.*s", SLICE_FMT(cancel->body));
    cr_expect_str_eq(reply_text(cancel, "status"), "cancelled");
    world_kill(world);
    world_start(world);
    struct reply *moved =
        call(world, "PATCH", world_text(world, "/v1/scheduled/%s", kept),
             world_text(world, "{\"scheduledAt\":%llu}", (unsigned long long)due));
    cr_assert_eq(moved->status, 200, "%.*s", SLICE_FMT(moved->body));
    cr_expect_eq(reply_int(moved, "scheduledAt"), (long long)due);
    world_kill(world);
    world_set(world, "test_clock_offset_ms", "%llu", (unsigned long long)DAY_MS);
    world_start(world);
    (void)world_await(world, message_of(world, kept), "message.send_status", "delivered");
    expect_date(world_sink_mail(world, sink, 1), due);
    struct reply *read = world_get(world, "/api/messages/%s", message_of(world, gone));
    cr_expect_str_eq(reply_text(read, "message.send_status"), "cancelled");
    cr_expect_eq(world_sink_count(world, sink, "mails"), 1);
    cr_expect_eq(reply_count(world_get(world, "/v1/scheduled"), ""), 0);
    world_end(world);
}

/* A queued mail can be taken back as long as nobody has tried it: its receiver is away. */
Test(schedule, takes_back_a_queued_message_or_says_that_it_is_too_late)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world);
    const char *id = schedule(world, "b@dest.test", clock_unix_ms() + DAY_MS);
    struct reply *got = call(
        world, "POST", world_text(world, "/api/messages/%s/cancel", message_of(world, id)), "{}");
    cr_assert_eq(got->status, 200, "%.*s", SLICE_FMT(got->body));
    cr_expect_str_eq(reply_text(got, "id"), message_of(world, id));
    const char *sent = world_send(world, "{'from':'a@send.test','to':'b@dest.test','text':'x'}");
    (void)world_await(world, sent, "message.send_status", "delivered");
    got = call(world, "POST", world_text(world, "/api/messages/%s/cancel", sent), "{}");
    cr_expect_eq(got->status, 409, "%.*s", SLICE_FMT(got->body));
    got = call(world, "DELETE", world_text(world, "/v1/scheduled/ssnd_%s", sent + 4), "");
    cr_expect_eq(got->status, 404, "it never was scheduled");
    world_end(world);
}
