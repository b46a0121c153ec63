/* The schedule: what is due when, whose turn it is.
 *
 * Not covered here: what a site admits and why (test_site); what becomes of an entry (test_trip).
 */
#include "deliver/sched.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define NOW_MS UINT64_C(5000)

#define FREE  1000
#define FRESH UINT64_MAX

struct plan {
    struct site_table *sites;
    struct sched sched;
    enum mail_priority priority; /* of what is added */
};

static void plan_init(struct plan *plan)
{
    plan->sites = site_table_new(1000);
    plan->priority = PRIORITY_TRANSACTIONAL;
    sched_init(&plan->sched, plan->sites);
}

static void plan_fini(struct plan *plan)
{
    sched_fini(&plan->sched);
    site_table_free(plan->sites);
}

/* The account and a number of the test's own are all that an id must carry here. */
static struct id mail_of(uint64_t account, uint64_t number)
{
    struct id_maker maker;
    id_maker_init(&maker, 0);
    return id_make(&maker, (struct account_id){account}, number);
}

static void add(struct plan *plan, const char *domain, uint64_t account, uint64_t number)
{
    struct outbox_entry entry = {
        .due_unix_ms = number,
        .account = {account},
        .mail = mail_of(account, number),
        .domain = slice_str(domain),
        .priority = plan->priority,
    };
    cr_assert(sched_add(&plan->sched, &entry, number));
}

/* What is due goes to sites that are called as their domains are. */
static uint64_t advance(struct plan *plan, uint64_t now_ms)
{
    uint64_t next_ms = sched_advance(&plan->sched, now_ms, NOW_MS);
    struct dest *dest;
    while ((dest = sched_next_unknown(&plan->sched)) != NULL) {
        sched_resolve(&plan->sched, dest, dest_domain(dest), NULL, FRESH);
    }
    return next_ms;
}

static struct site *site_of(struct plan *plan, const char *name)
{
    return site_get(plan->sites, slice_str(name), NULL);
}

/* The number of the next entry, which stays "in flight" at its site; 0: none. */
static uint64_t next(struct plan *plan, struct sched_entry **out)
{
    *out = sched_next(&plan->sched, FREE, NOW_MS);
    return *out == NULL ? 0 : id_unix_ms((*out)->mail);
}

static uint64_t next_and_done(struct plan *plan)
{
    struct sched_entry *entry;
    uint64_t number = next(plan, &entry);
    if (entry != NULL) {
        sched_done(&plan->sched, entry, entry->dest->site);
    }
    return number;
}

Test(sched, gives_nothing_before_it_is_due)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 100);
    cr_assert_eq(advance(&plan, 99), 100);
    cr_assert_eq(next_and_done(&plan), 0);
    cr_assert_eq(advance(&plan, 100), UINT64_MAX);
    cr_assert_eq(plan.sched.ready_count, 1);
    cr_assert_eq(next_and_done(&plan), 100);
    cr_assert_eq(plan.sched.ready_count, 0);
    cr_assert_eq(plan.sched.count, 0);
    plan_fini(&plan);
}

Test(sched, knows_how_much_of_it_is_webhooks)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 100);
    add(&plan, "https://hooks.test:443", 1, 101);
    add(&plan, "https://hooks.test:443", 2, 102);
    cr_assert_eq(plan.sched.hook_count, 2);
    (void)advance(&plan, 200);
    while (next_and_done(&plan) != 0) {
    }
    cr_assert_eq(plan.sched.hook_count, 0);
    add(&plan, "https://hooks.test:443", 3, 203);
    cr_assert_eq(plan.sched.hook_count, 1);
    plan_fini(&plan);
}

Test(sched, keeps_an_accounts_mails_in_the_order_they_are_due)
{
    static const uint64_t dues[] = {50, 10, 40, 20, 30, 60};
    struct plan plan;
    plan_init(&plan);
    for (size_t i = 0; i < ARRAY_LEN(dues); i++) {
        add(&plan, "a.test", 1, dues[i]);
    }
    cr_assert_eq(advance(&plan, 55), 60);
    for (uint64_t due = 10; due <= 50; due += 10) {
        cr_assert_eq(next_and_done(&plan), due);
    }
    cr_assert_eq(next_and_done(&plan), 0);
    plan_fini(&plan);
}

Test(sched, may_wait_longer_than_the_outbox_says)
{
    struct plan plan;
    plan_init(&plan);
    struct outbox_entry entry = {.due_unix_ms = 10, .mail = mail_of(1, 7), .domain = SLICE("a")};
    entry.group = 3;
    cr_assert(sched_add(&plan.sched, &entry, 500));
    cr_assert_eq(advance(&plan, 499), 500);
    cr_assert_eq(advance(&plan, 500), UINT64_MAX);
    struct sched_entry *out;
    cr_assert_eq(next(&plan, &out), 7);
    cr_assert_eq(out->due_unix_ms, 10, "the row's key is what it was");
    cr_assert_eq(out->group, 3);
    cr_assert_str_eq(out->dest->site->name, "a");
    sched_done(&plan.sched, out, out->dest->site);
    plan_fini(&plan);
}

/* A million of one account do not hold up a single mail of another. */
Test(sched, lets_the_accounts_of_a_site_take_turns)
{
    struct plan plan;
    plan_init(&plan);
    for (uint64_t i = 1; i <= 1000; i++) {
        add(&plan, "a.test", 1, i);
    }
    add(&plan, "a.test", 2, 2001);
    add(&plan, "a.test", 3, 3001);
    add(&plan, "a.test", 2, 2002);
    (void)advance(&plan, NOW_MS); /* everything is due */
    static const uint64_t expected[] = {1, 2001, 3001, 2, 2002, 3, 4};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        cr_assert_eq(next_and_done(&plan), expected[i], "turn %zu", i);
    }
    add(&plan, "a.test", 4, 4001);
    (void)advance(&plan, NOW_MS);
    cr_assert_eq(next_and_done(&plan), 5);
    cr_assert_eq(next_and_done(&plan), 4001, "a newcomer waits for one turn, not for the rest");
    plan_fini(&plan);
}

Test(sched, lets_sites_take_turns)
{
    struct plan plan;
    plan_init(&plan);
    for (uint64_t i = 1; i <= 3; i++) {
        add(&plan, "a.test", 1, i);
    }
    add(&plan, "b.test", 1, 11);
    add(&plan, "c.test", 1, 21);
    (void)advance(&plan, NOW_MS);
    static const uint64_t expected[] = {1, 11, 21, 2, 3, 0};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        cr_assert_eq(next_and_done(&plan), expected[i], "turn %zu", i);
    }
    plan_fini(&plan);
}

Test(sched, passes_over_sites_without_room)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "full.test", 1, 1);
    add(&plan, "closed.test", 1, 2);
    add(&plan, "open.test", 1, 3);
    (void)advance(&plan, NOW_MS);
    struct site *full = site_of(&plan, "full.test");
    struct site *closed = site_of(&plan, "closed.test");
    full->open = full->limit * SITE_TRIPS_PER_CONN;
    for (uint32_t i = 0; i < 5; i++) {
        site_feedback(closed, FEEDBACK_FAILED, "", NOW_MS);
    }
    cr_assert_eq(next_and_done(&plan), 3);
    cr_assert_eq(next_and_done(&plan), 0);
    full->open -= 1;
    sched_site_changed(&plan.sched, full);
    cr_assert_eq(next_and_done(&plan), 1);
    full->open = 0;
    plan_fini(&plan);
}

Test(sched, keeps_a_site_until_its_last_trip_is_over)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 1);
    add(&plan, "a.test", 2, 2);
    (void)advance(&plan, NOW_MS);
    struct site *site = site_of(&plan, "a.test");
    cr_assert_eq(site->dests, 1);
    struct sched_entry *first;
    struct sched_entry *second;
    (void)next(&plan, &first);
    (void)next(&plan, &second);
    cr_assert_eq(site->open, 2);
    cr_assert_eq(site->dests, 1, "in flight they hold the site");
    sched_done(&plan.sched, first, first->dest->site);
    cr_assert_eq(site->open, 1);
    sched_done(&plan.sched, second, second->dest->site);
    cr_assert_eq(site_table_count(plan.sites), 0, "and the last one lets it go");
    plan_fini(&plan);
}

/* ---- domains and their sites ---------------------------------------------------------------- */

Test(sched, waits_until_somebody_says_where_a_domains_mail_goes)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 1);
    add(&plan, "a.test", 2, 2);
    add(&plan, "b.test", 1, 3);
    (void)sched_advance(&plan.sched, NOW_MS, NOW_MS);
    struct dest *first = sched_next_unknown(&plan.sched);
    struct dest *second = sched_next_unknown(&plan.sched);
    cr_assert(slice_equal(dest_domain(first), SLICE("a.test")));
    cr_assert(slice_equal(dest_domain(second), SLICE("b.test")));
    cr_assert_null(sched_next_unknown(&plan.sched), "a domain is asked for once");
    cr_assert_eq(next_and_done(&plan), 0);
    sched_resolve(&plan.sched, first, SLICE("host"), NULL, FRESH);
    sched_resolve(&plan.sched, second, SLICE("host"), NULL, FRESH);
    cr_assert_eq(site_table_count(plan.sites), 1, "two domains, one site");
    uint64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        sum += next_and_done(&plan);
    }
    cr_assert_eq(sum, 6);
    plan_fini(&plan);
}

Test(sched, asks_anew_when_what_it_knows_is_old)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 1);
    add(&plan, "a.test", 1, 200);
    (void)sched_advance(&plan.sched, 100, NOW_MS);
    sched_resolve(&plan.sched, sched_next_unknown(&plan.sched), SLICE("old"), NULL, NOW_MS + 50);
    (void)sched_advance(&plan.sched, 200, NOW_MS + 50);
    struct dest *dest = sched_next_unknown(&plan.sched);
    cr_assert_not_null(dest);
    sched_unask(&plan.sched, dest);
    cr_assert_eq(sched_next_unknown(&plan.sched), dest, "a look-up that was given up");
    sched_resolve(&plan.sched, dest, SLICE("new"), NULL, FRESH);
    struct sched_entry *entry = sched_next(&plan.sched, FREE, NOW_MS + 50);
    cr_assert_not_null(entry);
    struct site *old = site_of(&plan, "old");
    cr_assert_eq(old->open, 1, "what was in its lane stays there");
    cr_assert_eq(entry->site, old, "and says so to whoever ends it");
    sched_done(&plan.sched, entry, entry->site);
    cr_assert_eq(next_and_done(&plan), 200);
    cr_assert_eq(plan.sched.count, 0);
    cr_assert_eq(site_table_count(plan.sites), 0);
    plan_fini(&plan);
}

Test(sched, asks_first_for_domains_with_transactional_mail)
{
    struct plan plan;
    plan_init(&plan);
    plan.priority = PRIORITY_BULK;
    add(&plan, "a.test", 1, 1);
    add(&plan, "b.test", 1, 2);
    plan.priority = PRIORITY_TRANSACTIONAL;
    add(&plan, "b.test", 2, 3);
    (void)sched_advance(&plan.sched, NOW_MS, NOW_MS);
    struct dest *dest = sched_next_unknown(&plan.sched);
    cr_assert(slice_equal(dest_domain(dest), SLICE("b.test")));
    sched_resolve(&plan.sched, dest, SLICE("b.test"), NULL, FRESH);
    plan_fini(&plan);
}

Test(sched, keeps_pools_apart)
{
    struct plan plan;
    plan_init(&plan);
    struct outbox_entry entry = {.due_unix_ms = 1, .domain = SLICE("a.test"), .pool = SLICE("one")};
    for (uint64_t i = 1; i <= 2; i++) {
        entry.mail = mail_of(1, i);
        cr_assert(sched_add(&plan.sched, &entry, 1));
        entry.pool = SLICE("two");
    }
    (void)sched_advance(&plan.sched, NOW_MS, NOW_MS);
    struct dest *first = sched_next_unknown(&plan.sched);
    struct dest *second = sched_next_unknown(&plan.sched);
    cr_assert(slice_equal(dest_pool(first), SLICE("one")));
    cr_assert(slice_equal(dest_pool(second), SLICE("two")));
    cr_assert(slice_equal(dest_domain(second), SLICE("a.test")));
    sched_unask(&plan.sched, first);
    sched_unask(&plan.sched, second);
    plan_fini(&plan);
}

/* ---- classes, shares ------------------------------------------------------------------------ */

Test(sched, lets_transactional_mail_go_first_and_a_tenth_of_bulk_with_it)
{
    struct plan plan;
    plan_init(&plan);
    for (uint64_t i = 1; i <= 100; i++) {
        plan.priority = PRIORITY_BULK;
        add(&plan, "a.test", 1, i);
        plan.priority = PRIORITY_TRANSACTIONAL;
        add(&plan, "a.test", 2, 1000 + i);
    }
    (void)advance(&plan, NOW_MS);
    uint32_t bulk = 0;
    for (int i = 0; i < 50; i++) {
        bulk += next_and_done(&plan) <= 100;
    }
    cr_assert_geq(bulk, 5, "it never starves");
    cr_assert_leq(bulk, 10);
    for (int i = 0; i < 150; i++) {
        cr_assert_neq(next_and_done(&plan), 0);
    }
    cr_assert_eq(plan.sched.count, 0);
    plan_fini(&plan);
}

/* A thousand sites do not answer: whoever sends to them must not take every trip there is. */
Test(sched, leaves_room_for_others_however_much_one_account_has)
{
    enum { CEILING = 100 };
    struct plan plan;
    struct sched_entry *held[CEILING];
    plan_init(&plan);
    for (uint64_t i = 1; i <= 1000; i++) {
        char domain[16];
        (void)snprintf(domain, sizeof domain, "d%u.test", (unsigned)i);
        add(&plan, domain, 1, i);
    }
    (void)advance(&plan, NOW_MS);
    uint32_t open = 0;
    while (open < CEILING && (held[open] = sched_next(&plan.sched, CEILING - open, NOW_MS))) {
        open += 1;
    }
    cr_assert_eq(open, SCHED_ACCOUNT_BEGINS, "small beginnings");
    for (uint32_t i = 0; i < 200; i++) { /* it does well, and may have more */
        uint32_t at = i % open;
        sched_done(&plan.sched, held[at], held[at]->dest->site);
        held[at] = sched_next(&plan.sched, CEILING - open + 1, NOW_MS);
        cr_assert_not_null(held[at]);
        if (open < CEILING && (held[open] = sched_next(&plan.sched, CEILING - open, NOW_MS))) {
            open += 1;
        }
    }
    cr_assert_geq(open, CEILING / 2);
    cr_assert_leq(open, CEILING * 3 / 4);
    add(&plan, "d1.test", 2, 4000);
    (void)advance(&plan, NOW_MS);
    cr_assert_eq(next_and_done(&plan), 4000, "a newcomer goes at once");
    for (uint32_t i = 0; i < open; i++) {
        sched_done(&plan.sched, held[i], held[i]->dest->site);
    }
    uint32_t rest = 0;
    while (next_and_done(&plan) != 0) {
        rest += 1;
    }
    cr_assert_eq(rest + open + 200, 1000, "nothing was forgotten where it was parked");
    plan_fini(&plan);
}

Test(sched, comes_back_to_a_site_when_its_rate_lets_it)
{
    static const struct site_rules rules = {.rate_max = 60};
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 1);
    add(&plan, "a.test", 1, 2);
    (void)sched_advance(&plan.sched, NOW_MS, NOW_MS);
    struct dest *dest = sched_next_unknown(&plan.sched);
    sched_resolve(&plan.sched, dest, SLICE("slow"), &rules, FRESH);
    cr_assert_eq(next_and_done(&plan), 1);
    cr_assert_eq(next_and_done(&plan), 0);
    uint64_t when_ms = sched_next_site_ms(&plan.sched);
    cr_assert_gt(when_ms, NOW_MS + 900);
    cr_assert_lt(when_ms, NOW_MS + 1100);
    (void)sched_advance(&plan.sched, NOW_MS, when_ms);
    struct sched_entry *entry = sched_next(&plan.sched, FREE, when_ms);
    cr_assert_not_null(entry);
    sched_done(&plan.sched, entry, entry->dest->site);
    plan_fini(&plan);
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* Shards sweep their outbox and announce everything again. */
Test(sched, knows_a_row_once_however_often_it_is_announced)
{
    struct plan plan;
    plan_init(&plan);
    for (int times = 0; times < 3; times++) {
        for (uint64_t i = 1; i <= 2000; i++) {
            add(&plan, "a.test", i % 3 + 1, i);
        }
        (void)advance(&plan, 1000);
        cr_assert_eq(plan.sched.count, 2000);
    }
    (void)advance(&plan, 2000);
    uint32_t seen = 0;
    while (next_and_done(&plan) != 0) {
        seen += 1;
    }
    cr_assert_eq(seen, 2000);
    plan_fini(&plan);
}

Test(sched, moves_a_row_that_is_announced_for_another_time)
{
    struct plan plan;
    plan_init(&plan);
    struct outbox_entry entry = {.due_unix_ms = 900, .mail = mail_of(1, 7), .domain = SLICE("a")};
    cr_assert(sched_add(&plan.sched, &entry, 900));
    entry.due_unix_ms = 50;
    cr_assert(sched_add(&plan.sched, &entry, 50));
    cr_assert_eq(advance(&plan, 60), UINT64_MAX);
    struct sched_entry *out;
    cr_assert_eq(next(&plan, &out), 7);
    cr_assert_eq(out->due_unix_ms, 50);
    sched_done(&plan.sched, out, out->dest->site);
    plan_fini(&plan);
}

/* Leaks are the sanitizer's to report. */
Test(sched, frees_what_waits_and_what_is_due)
{
    struct plan plan;
    plan_init(&plan);
    for (uint64_t i = 1; i <= 300; i++) {
        char domain[] = "d0.test";
        domain[1] = (char)('0' + i % 7);
        add(&plan, domain, i % 5 + 1, i);
    }
    (void)advance(&plan, 150);
    cr_assert_eq(plan.sched.ready_count, 150);
    cr_assert_eq(plan.sched.count, 300);
    plan_fini(&plan);
}

/* Against a model: every entry comes out once, never early, and in order within its account. */
Test(sched, loses_and_repeats_nothing)
{
    enum { ENTRIES = 3000, ACCOUNTS = 9 };
    struct plan plan;
    plan_init(&plan);
    bool was_seen[ENTRIES + 1] = {false};
    uint64_t last[ACCOUNTS + 1] = {0};
    srand(7);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        add(&plan, "a.test", 1 + (uint64_t)rand() % ACCOUNTS, i);
    }
    uint64_t now_unix_ms = 0;
    uint32_t seen = 0;
    while (seen < ENTRIES) {
        now_unix_ms += 1 + (uint64_t)rand() % 50;
        uint64_t after = advance(&plan, now_unix_ms);
        cr_assert_gt(after, now_unix_ms);
        for (int turns = rand() % 60; turns > 0; turns--) {
            struct sched_entry *entry;
            uint64_t number = next(&plan, &entry);
            if (entry == NULL) {
                break;
            }
            uint64_t account = id_account(entry->mail).value;
            cr_assert_leq(number, now_unix_ms);
            cr_assert_not(was_seen[number]);
            cr_assert_gt(number, last[account]);
            was_seen[number] = true;
            last[account] = number;
            seen += 1;
            sched_done(&plan.sched, entry, entry->dest->site);
        }
    }
    cr_assert_eq(plan.sched.count, 0);
    plan_fini(&plan);
}

/* The real number would take a second under the sanitizers; the count is what is compared. */
Test(sched, refuses_more_than_its_ceiling)
{
    struct plan plan;
    plan_init(&plan);
    struct outbox_entry entry = {.mail = mail_of(1, 1), .domain = SLICE("a.test")};
    plan.sched.count = SCHED_ENTRIES_MAX - 1;
    cr_assert(sched_add(&plan.sched, &entry, 1));
    cr_assert(sched_add(&plan.sched, &entry, 1), "it is known");
    entry.mail = mail_of(1, 2);
    entry.domain = SLICE("b.test");
    cr_assert_not(sched_add(&plan.sched, &entry, 1));
    cr_assert_eq(HASH_COUNT(plan.sched.dests), 1, "a refusal leaves no trace");
    plan.sched.count = 1;
    plan_fini(&plan);
}
