/* The schedule: what is due when, whose turn it is.
 *
 * Not covered here: what a site admits and why (test_site); what becomes of an entry (test_trip).
 */
#include "deliver/sched.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define NOW_MS UINT64_C(5000)

struct plan {
    struct site_table *sites;
    struct sched sched;
};

static void plan_init(struct plan *plan)
{
    plan->sites = site_table_new(20);
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
    };
    cr_assert(sched_add(&plan->sched, &entry, number));
}

/* The number of the next entry, which stays "in flight" at its site; 0: none. */
static uint64_t next(struct plan *plan, struct sched_entry **out)
{
    *out = sched_next(&plan->sched, NOW_MS);
    return *out == NULL ? 0 : id_unix_ms((*out)->mail);
}

static uint64_t next_and_done(struct plan *plan)
{
    struct sched_entry *entry;
    uint64_t number = next(plan, &entry);
    if (entry != NULL) {
        sched_free(&plan->sched, entry);
    }
    return number;
}

Test(sched, gives_nothing_before_it_is_due)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 100);
    cr_assert_eq(sched_advance(&plan.sched, 99), 100);
    cr_assert_eq(next_and_done(&plan), 0);
    cr_assert_eq(sched_advance(&plan.sched, 100), UINT64_MAX);
    cr_assert_eq(plan.sched.ready_count, 1);
    cr_assert_eq(next_and_done(&plan), 100);
    cr_assert_eq(plan.sched.ready_count, 0);
    cr_assert_eq(plan.sched.count, 0);
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
    cr_assert_eq(sched_advance(&plan.sched, 55), 60);
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
    cr_assert_eq(sched_advance(&plan.sched, 499), 500);
    cr_assert_eq(sched_advance(&plan.sched, 500), UINT64_MAX);
    struct sched_entry *out;
    cr_assert_eq(next(&plan, &out), 7);
    cr_assert_eq(out->due_unix_ms, 10, "the row's key is what it was");
    cr_assert_eq(out->group, 3);
    cr_assert_str_eq(out->site->name, "a");
    sched_free(&plan.sched, out);
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
    (void)sched_advance(&plan.sched, NOW_MS); /* everything is due */
    static const uint64_t expected[] = {1, 2001, 3001, 2, 2002, 3, 4};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        cr_assert_eq(next_and_done(&plan), expected[i], "turn %zu", i);
    }
    add(&plan, "a.test", 4, 4001);
    (void)sched_advance(&plan.sched, NOW_MS);
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
    (void)sched_advance(&plan.sched, NOW_MS);
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
    (void)sched_advance(&plan.sched, NOW_MS);
    struct site *full = site_get(plan.sites, SLICE("full.test"));
    struct site *closed = site_get(plan.sites, SLICE("closed.test"));
    full->open = full->limit * SITE_TRIPS_PER_CONN;
    for (uint32_t i = 0; i < 5; i++) {
        site_feedback(closed, SITE_HOST_FAILED, NOW_MS);
    }
    cr_assert_eq(next_and_done(&plan), 3);
    cr_assert_eq(next_and_done(&plan), 0);
    full->open -= 1;
    cr_assert_eq(next_and_done(&plan), 1);
    full->open = 0;
    plan_fini(&plan);
}

Test(sched, counts_what_a_site_has_until_it_is_done)
{
    struct plan plan;
    plan_init(&plan);
    add(&plan, "a.test", 1, 1);
    add(&plan, "a.test", 2, 2);
    struct site *site = site_get(plan.sites, SLICE("a.test"));
    cr_assert_eq(site->entries, 2);
    (void)sched_advance(&plan.sched, NOW_MS);
    struct sched_entry *first;
    struct sched_entry *second;
    (void)next(&plan, &first);
    (void)next(&plan, &second);
    cr_assert_eq(site->entries, 2, "in flight they hold the site");
    sched_free(&plan.sched, first);
    cr_assert_eq(site->entries, 1);
    sched_free(&plan.sched, second);
    cr_assert_eq(site_table_count(plan.sites), 0, "and the last one lets it go");
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
    (void)sched_advance(&plan.sched, 150);
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
        uint64_t after = sched_advance(&plan.sched, now_unix_ms);
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
            sched_free(&plan.sched, entry);
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
    cr_assert_not(sched_add(&plan.sched, &entry, 1));
    cr_assert_eq(site_get(plan.sites, SLICE("a.test"))->entries, 1, "a refusal leaves no trace");
    plan.sched.count = 1;
    plan_fini(&plan);
}
