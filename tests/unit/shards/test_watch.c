/* test_watch.c - the daily look at domains: when, and what it means for the right to send.
 *
 * Not covered here: the look-ups (tests/unit/deliver), checks by hand (test_domain).
 */
#include "unit/shards/shard_rig.h"

#define TIMEOUT 60
#define DAY_MS  (UINT64_C(24) * 3600 * 1000)

static const struct domain_checks all_good = {
    .mx = true,
    .spf = true,
    .dkim_rsa = true,
    .dkim_ed = true,
    .dmarc = true,
    .return_path = true,
};

struct scene {
    struct rig *rig;
    struct account_id account;
    struct id domain;
    struct arena arena;
};

static struct row_domain row_of(struct scene *it)
{
    return rig_get_domain(it->rig, it->account, key_domain(it->account, it->domain), &it->arena);
}

static void age(struct scene *it, uint64_t checked_ms, uint64_t failing_ms)
{
    struct row_domain row = row_of(it);
    uint64_t now = clock_unix_ms();
    row.checked_unix_ms = now - checked_ms;
    row.failing_unix_ms = failing_ms != 0 ? now - failing_ms : 0;
    rig_set_domain(it->rig, it->account, key_domain(it->account, it->domain), &row);
}

static void open_scene(struct scene *it)
{
    *it = (struct scene){.rig = rig_open()};
    arena_init(&it->arena, 64 * KIB, 4 * MIB);
    it->account = rig_signup(it->rig);
    it->domain = rig_domain(it->rig, it->account, "example.com");
    struct row_domain row = row_of(it);
    row.dkim_rsa_verified = true;
    row.spf_verified = true;
    rig_set_domain(it->rig, it->account, key_domain(it->account, it->domain), &row);
}

static void close_scene(struct scene *it)
{
    arena_fini(&it->arena);
    rig_close(it->rig);
}

/* Starts anew, so that the watch looks at once, and waits until delivery was asked, if it is. */
static void watch(struct scene *it, const struct domain_checks *checks, uint32_t count)
{
    it->rig->verify_checks = *checks;
    it->rig->verify_count = 0;
    rig_restart(it->rig);
    struct shard *shard = rig_state(it->rig, it->account);
    uint64_t end = rig_seconds() + RIG_WAIT_S;
    timer_start(&shard->watch.timer, 0);
    do {
        rig_turn(it->rig);
    } while (rig_seconds() < end && (!shard->watch.is_running && it->rig->verify_count < count));
    while (rig_seconds() < end && (shard->watch.is_running || it->rig->verify_count < count)) {
        rig_turn(it->rig);
    }
    rig_settle(it->rig);
    cr_expect_eq(it->rig->verify_count, count);
}

static uint32_t audits_of(struct scene *it)
{
    return rig_count(it->rig, it->account, key_prefix_audits(it->account));
}

Test(watch, a_domain_is_looked_up_when_its_day_is_over, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it);
    age(&it, DAY_MS / 2, 0);
    watch(&it, &all_good, 0);
    age(&it, DAY_MS, 0);
    watch(&it, &all_good, 1);
    struct row_domain row = row_of(&it);
    cr_expect(row.mx_verified);
    cr_expect(row.dmarc_verified);
    cr_expect_eq(row.status, DOMAIN_VERIFIED);
    cr_expect_gt(row.checked_unix_ms + 60000, clock_unix_ms());
    cr_expect_eq(row.health_unix_ms, row.checked_unix_ms);
    cr_expect(slice_equal(row.health, SLICE("as delivery found it")));
    watch(&it, &all_good, 0);
    close_scene(&it);
}

Test(watch, a_domain_whose_records_vanish_sends_on_for_a_while, .timeout = TIMEOUT)
{
    static const struct domain_checks none;
    struct scene it;
    open_scene(&it);
    uint32_t audits = audits_of(&it);
    age(&it, DAY_MS, 0);
    watch(&it, &none, 1);
    struct row_domain row = row_of(&it);
    cr_expect_eq(row.status, DOMAIN_VERIFIED);
    cr_expect(row.dkim_rsa_verified, "it signs as before");
    cr_expect_gt(row.failing_unix_ms, 0);
    cr_expect_eq(audits_of(&it), audits + 1);
    age(&it, DAY_MS, WATCH_GRACE_MS - 3600000);
    watch(&it, &none, 1);
    cr_expect_eq(row_of(&it).status, DOMAIN_VERIFIED);
    cr_expect_eq(audits_of(&it), audits + 1, "said once");
    age(&it, DAY_MS, WATCH_GRACE_MS);
    watch(&it, &none, 1);
    row = row_of(&it);
    cr_expect_eq(row.status, DOMAIN_FAILED);
    cr_expect_not(row.dkim_rsa_verified);
    cr_expect_eq(audits_of(&it), audits + 2);
    age(&it, DAY_MS, 0);
    watch(&it, &all_good, 0);
    close_scene(&it);
}

Test(watch, records_that_come_back_end_the_grace, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it);
    uint32_t audits = audits_of(&it);
    age(&it, DAY_MS, WATCH_GRACE_MS - 3600000);
    watch(&it, &all_good, 1);
    cr_expect_eq(row_of(&it).failing_unix_ms, 0);
    cr_expect_eq(audits_of(&it), audits + 1);
    close_scene(&it);
}

Test(watch, what_nobody_knows_changes_nothing, .timeout = TIMEOUT)
{
    static const struct domain_checks none;
    struct scene it;
    open_scene(&it);
    age(&it, DAY_MS, 0);
    uint64_t before = row_of(&it).checked_unix_ms;
    it.rig->verify_has_gaps = true;
    watch(&it, &none, 1);
    cr_expect_eq(row_of(&it).checked_unix_ms, before);
    it.rig->verify_has_gaps = false;
    it.rig->verify_err = ERR_DNS_TEMP;
    watch(&it, &none, 1);
    cr_expect_eq(row_of(&it).checked_unix_ms, before);
    cr_expect_eq(row_of(&it).failing_unix_ms, 0);
    close_scene(&it);
}

Test(watch, what_was_known_stays_when_only_some_servers_answer, .timeout = TIMEOUT)
{
    static const struct domain_checks seen = {.spf = true, .dkim_rsa = true, .dmarc = true};
    struct scene it;
    open_scene(&it);
    age(&it, DAY_MS, 0);
    struct row_domain row = row_of(&it);
    row.mx_verified = true;
    row.dkim_ed_verified = true;
    row.return_path_verified = false;
    rig_set_domain(it.rig, it.account, key_domain(it.account, it.domain), &row);
    it.rig->verify_has_gaps = true;
    watch(&it, &seen, 1);
    row = row_of(&it);
    cr_expect(row.mx_verified, "mail for it is taken still");
    cr_expect(row.dkim_ed_verified);
    cr_expect(row.dmarc_verified, "what is new counts");
    cr_expect_not(row.return_path_verified);
    cr_expect_gt(row.checked_unix_ms + 60000, clock_unix_ms());
    it.rig->verify_has_gaps = false;
    age(&it, DAY_MS, 0);
    watch(&it, &seen, 1);
    cr_expect_not(row_of(&it).mx_verified, "every server has answered");
    close_scene(&it);
}

Test(watch, next_keys_sign_when_the_daily_look_sees_them, .timeout = TIMEOUT)
{
    struct scene it;
    open_scene(&it);
    age(&it, DAY_MS, 0);
    struct row_domain row = row_of(&it);
    row.next_rsa_selector = SLICE("mk3");
    row.next_rsa_private = row.rsa_private;
    row.next_rsa_public = row.rsa_public;
    rig_set_domain(it.rig, it.account, key_domain(it.account, it.domain), &row);
    struct domain_checks checks = {.spf = true, .next_rsa = true};
    watch(&it, &checks, 1);
    row = row_of(&it);
    cr_expect(slice_equal(row.rsa_selector, SLICE("mk3")));
    cr_expect_eq(row.next_rsa_selector.len, 0);
    cr_expect_eq(row.status, DOMAIN_VERIFIED);
    cr_expect_eq(row.failing_unix_ms, 0);
    close_scene(&it);
}

Test(watch, many_domains_are_looked_at_page_by_page, .timeout = TIMEOUT)
{
    struct scene it;
    char name[32];
    open_scene(&it);
    age(&it, DAY_MS, 0);
    for (uint32_t i = 0; i < WATCH_PAGE + 5; i++) {
        snprintf(name, sizeof(name), "d%u.example", i);
        it.domain = rig_domain(it.rig, it.account, name);
        age(&it, DAY_MS, 0);
    }
    watch(&it, &all_good, WATCH_PAGE + 6);
    close_scene(&it);
}

Test(watch, a_domain_of_an_account_that_is_not_there_yet_is_left_as_it_is, .timeout = TIMEOUT)
{
    static const struct domain_checks none;
    struct scene it;
    open_scene(&it);
    uint32_t audits = audits_of(&it);
    age(&it, DAY_MS, 0);
    struct key key = key_account(it.account);
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, it.account));
    kv_batch_delete(batch, key_slice(&key));
    rig_write(it.rig, batch);
    watch(&it, &none, 1);
    cr_expect_eq(row_of(&it).failing_unix_ms, 0);
    cr_expect_eq(audits_of(&it), audits, "no row is written that an import does not know of");
    close_scene(&it);
}
