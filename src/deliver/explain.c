/* explain.c - see explain.h. */
#include "deliver/explain.h"

#include "base/check.h"
#include "base/limits.h"
#include "deliver/queue.h"
#include "deliver/trip_int.h"

static enum explain_step step_of(const struct trip *trip)
{
    switch ((enum trip_state)trip->sm.state) {
    case TRIP_CLAIM:
        return EXPLAIN_STEP_CLAIM;
    case TRIP_WAIT:
        return EXPLAIN_STEP_CONN;
    case TRIP_ROUTE:
        return EXPLAIN_STEP_ROUTE;
    case TRIP_CONNECT:
        return EXPLAIN_STEP_CONNECT;
    case TRIP_SEND:
        return EXPLAIN_STEP_SEND;
    case TRIP_OUTCOME:
    case TRIP_GONE:
    case TRIP_COUNT:
        break;
    }
    return EXPLAIN_STEP_OUTCOME;
}

static void show_trip(const struct trip *trip, struct arena *arena, struct explain_entry *out)
{
    out->where = EXPLAIN_TRIED;
    out->step = step_of(trip);
    out->since_unix_ms = trip->begun_unix_ms;
    if (trip->attempt != NULL) {
        out->smtp_step = slice_str(smtp_step_name(attempt_smtp_step(trip->attempt))); /* static */
        out->host = arena_dup(arena, slice_str(attempt_smtp_host(trip->attempt)));
        out->addr = arena_dup(arena, slice_str(attempt_smtp_addr(trip->attempt)));
    }
}

static void show_place(const struct sched *sched, const struct sched_entry *entry,
                       struct explain_entry *out)
{
    struct sched_line line;
    out->is_hastened = entry->is_hastened;
    if (entry->is_waiting) {
        out->where = EXPLAIN_WAITING;
        out->ready_unix_ms = entry->due.key;
    } else if (entry->is_given_up) {
        out->where = EXPLAIN_GIVEN_UP;
    } else if (entry->is_laned && sched_line_of(sched, entry, &line)) {
        out->where = EXPLAIN_DUE;
        out->ahead = line.ahead;
        out->is_ahead_more = line.has_more;
        out->is_behind_account = line.is_waiting;
    } else { /* not yet at a site, or on its way to another one */
        out->where = EXPLAIN_LOOKUP;
    }
}

static void show_site(struct deliver *deliver, const struct site *site, struct arena *arena,
                      struct explain_entry *out)
{
    struct source_tally tally = trip_sources_tally(deliver, site);
    out->has_site = true;
    out->per_min = site_per_min(site, loop_now_ms(deliver->loop));
    out->source_count = tally.count;
    out->source_used = tally.used_up;
    queue_show_site(deliver->queue, site, arena, &out->site);
}

static void explain_one(struct deliver *deliver, struct msg *msg, struct explain_entry *out)
{
    const struct row row = {msg->body.explain.mail, out->group};
    struct account_id account = id_account(row.mail);
    struct trip *trip = NULL;
    HASH_FIND(hh, deliver->trips_by_row, &row, sizeof row, trip);
    const struct sched_entry *entry = sched_find(&deliver->sched, row.mail, row.group);
    const struct dest *dest =
        entry != NULL ? entry->dest : sched_find_dest(&deliver->sched, out->pool, out->domain);
    const struct site *site = trip != NULL ? trip->site : dest != NULL ? dest->site : NULL;
    out->where = EXPLAIN_ABSENT;
    if (trip != NULL) {
        show_trip(trip, &msg->arena, out);
    } else if (entry != NULL) {
        show_place(&deliver->sched, entry, out);
    }
    if (site != NULL) {
        show_site(deliver, site, &msg->arena, out);
    }
    out->has_hold =
        queue_find_hold(deliver->queue, out->site.name, account, &msg->arena, &out->hold);
}

void explain_handle(struct deliver *deliver, struct msg *msg)
{
    CHECK_LOOP(deliver->loop);
    struct deliver_explain *body = &msg->body.explain;
    CHECK(body->entry_count <= EXPLAIN_DELIVERIES_MAX);
    uint32_t ceiling = (uint32_t)min_u64(deliver->place->conf->delivery_max, ATTEMPTS_MAX);
    body->is_open = deliver->is_open && deliver->has_source_notes && queue_is_ready(deliver->queue);
    body->is_full = deliver->sched.count >= SCHED_ENTRIES_MAX;
    body->is_crowded = deliver->trip_count >= ceiling;
    body->scheduled = deliver->sched.count;
    body->open = deliver->trip_count;
    for (uint32_t i = 0; i < body->entry_count; i++) {
        explain_one(deliver, msg, &body->entries[i]);
    }
    msg_return(msg, ERR_OK);
}
