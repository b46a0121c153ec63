/* trip_idle.c - connections between mails: linked at their site and owned by it, newest first. */
#include "base/check.h"
#include "deliver/trip_int.h"

bool trip_is_idle(struct attempt_smtp *attempt)
{
    return !list_is_empty(attempt_smtp_link(attempt));
}

static void unlink_idle(struct attempt_smtp *attempt)
{
    struct site *site = attempt_smtp_owner(attempt);
    CHECK(site->idle_count > 0);
    list_remove(attempt_smtp_link(attempt));
    site->idle_count -= 1;
}

void trip_keep(struct trip *trip, struct attempt_smtp *attempt)
{
    struct site *site = trip->site;
    if (attempt_smtp_is_named(attempt) ||
        attempt_smtp_mails(attempt) >= site_mails_per_conn(site) || trip->deliver->is_abandoning ||
        !trip->deliver->is_open) {
        attempt_smtp_quit(attempt);
        return;
    }
    attempt_smtp_set_owner(attempt, site);
    list_push_front(&site->idle_conns, attempt_smtp_link(attempt));
    site->idle_count += 1;
}

void trip_take_idle(struct trip *trip, struct attempt_smtp *attempt)
{
    CHECK(attempt_smtp_is_alive(attempt));
    unlink_idle(attempt);
    trip->attempt = attempt;
    trip->is_reused = true;
    trip_source_reused(trip, attempt);
    attempt_smtp_set_owner(attempt, trip);
    sm_move(&trip->sm, TRIP_SEND);
    trip_send_part(trip);
}

void trip_make_room(struct trip *trip)
{
    struct site *site = trip->site;
    while (site->idle_count > 0 && site->busy + site->idle_count > site->limit) {
        struct attempt_smtp *oldest = attempt_smtp_of_link(site->idle_conns.prev);
        unlink_idle(oldest);
        attempt_smtp_quit(oldest);
    }
}

void trip_idle_gone(struct attempt_smtp *attempt)
{
    struct site *site = attempt_smtp_owner(attempt);
    unlink_idle(attempt);
    site_put(site);
}

void trip_close_idle(struct site *site)
{
    while (site->idle_count > 0) {
        struct attempt_smtp *attempt = attempt_smtp_of_link(site->idle_conns.next);
        unlink_idle(attempt);
        attempt_smtp_quit(attempt);
    }
    site_put(site);
}
