/* Addresses that mail leaves from: turns, and the volume of a new one.
 *
 * Not covered here: connecting from them (flow_test_sites), notes on disk (shards' test_note).
 */
#include "deliver/source.h"

#include <criterion/criterion.h>

#define DAY 20000u

struct rig {
    struct policy *policy;
    struct source_table *table;
};

static void rig_init(struct rig *rig, const char *text)
{
    char why[POLICY_WHY_MAX] = "";
    rig->policy = policy_new();
    cr_assert(policy_read(rig->policy, slice_str(text), why), "%s", why);
    rig->table = source_table_new();
    source_table_apply(rig->table, rig->policy);
}

static void rig_fini(struct rig *rig)
{
    source_table_free(rig->table);
    policy_free(rig->policy);
}

/* Sends one to the group and says from where; "": the answer is another one. */
static const char *send_one(struct rig *rig, const char *group, uint32_t day,
                            enum source_answer *answer)
{
    struct source *source = NULL;
    const struct source_wish wish = {SLICE("p"), AF_INET, slice_str(group), day};
    *answer = source_choose(rig->table, &wish, &source);
    if (*answer != SOURCE_FOUND) {
        return "";
    }
    source_sent(source, slice_str(group), day, 1);
    return source_text(source);
}

static uint32_t send_all(struct rig *rig, const char *group, uint32_t day)
{
    enum source_answer answer = SOURCE_FOUND;
    uint32_t sent = 0;
    while (sent < 2000 && answer == SOURCE_FOUND) {
        (void)send_one(rig, group, day, &answer);
        sent += answer == SOURCE_FOUND;
    }
    return sent;
}

Test(source, leaves_the_choice_to_the_system_where_a_pool_names_none)
{
    struct rig rig;
    enum source_answer answer;
    rig_init(&rig, "pool other\nsource 192.0.2.1\n");
    (void)send_one(&rig, "", DAY, &answer);
    cr_assert_eq(answer, SOURCE_ANY);
    rig_fini(&rig);
}

Test(source, takes_turns_by_weight)
{
    struct rig rig;
    enum source_answer answer;
    rig_init(&rig,
             "pool p\nsource 192.0.2.1 weight 3\nsource 192.0.2.2\nsource 192.0.2.3 weight 0\n");
    uint32_t first = 0;
    uint32_t second = 0;
    for (int i = 0; i < 400; i++) {
        const char *text = send_one(&rig, "", DAY, &answer);
        first += slice_equal(slice_str(text), SLICE("192.0.2.1"));
        second += slice_equal(slice_str(text), SLICE("192.0.2.2"));
    }
    cr_assert_eq(first, 300);
    cr_assert_eq(second, 100);
    rig_fini(&rig);
}

Test(source, says_when_none_can_reach_such_an_address)
{
    struct rig rig;
    struct source *source = NULL;
    rig_init(&rig, "pool p\nsource 192.0.2.1\n");
    const struct source_wish wish = {SLICE("p"), AF_INET6, SLICE(""), DAY};
    cr_assert_eq(source_choose(rig.table, &wish, &source), SOURCE_NO_FAMILY);
    rig_fini(&rig);
}

Test(source, sends_more_each_day_on_which_it_sent)
{
    struct rig rig;
    rig_init(&rig, "pool p\nsource 192.0.2.1 warmup\n");
    cr_assert_eq(send_all(&rig, "google", DAY), 50);
    cr_assert_eq(send_all(&rig, "google", DAY), 0);
    cr_assert_eq(send_all(&rig, "yahoo", DAY), 50, "each provider has its own opinion");
    cr_assert_eq(send_all(&rig, "", DAY), 50);
    cr_assert_eq(send_all(&rig, "google", DAY + 1), 100);
    cr_assert_eq(send_all(&rig, "google", DAY + 9), 500, "days without a mail do not count");
    cr_assert_eq(source_quota(0), 50);
    cr_assert_eq(source_quota(SOURCE_WARM_DAYS), UINT32_MAX);
    rig_fini(&rig);
}

Test(source, that_is_used_up_leaves_the_rest_to_warm_ones)
{
    struct rig rig;
    enum source_answer answer = SOURCE_FOUND;
    rig_init(&rig, "pool p\nsource 192.0.2.1 warmup\nsource 192.0.2.2\n");
    uint32_t cold = 0;
    for (int i = 0; i < 500; i++) {
        const char *text = send_one(&rig, "google", DAY, &answer);
        cr_assert_eq(answer, SOURCE_FOUND);
        cold += slice_equal(slice_str(text), SLICE("192.0.2.1"));
    }
    cr_assert_eq(cold, 50);
    rig_fini(&rig);
}

Test(source, is_what_it_was_when_its_notes_are_read)
{
    struct rig rig;
    struct rig again;
    struct buf bytes;
    const char *text = "pool p\nsource 192.0.2.1 warmup\n";
    buf_init(&bytes, 8192);
    rig_init(&rig, text);
    (void)send_all(&rig, "google", DAY);
    cr_assert_eq(send_all(&rig, "google", DAY + 1), 100);
    struct source *source = source_changed(rig.table);
    cr_assert_not_null(source);
    source_pack(source, &bytes);
    cr_assert_null(source_changed(rig.table));
    rig_init(&again, text);
    cr_assert(source_table_wants_notes(again.table));
    cr_assert(source_unpack(again.table, slice_str(source->key), buf_slice(&bytes)));
    source_table_has_notes(again.table);
    cr_assert_not(source_table_wants_notes(again.table));
    cr_assert_eq(send_all(&again, "google", DAY + 1), 0);
    cr_assert_eq(send_all(&again, "google", DAY + 2), 500);
    rig_fini(&rig);
    rig_fini(&again);
    buf_fini(&bytes);
}

Test(source, refuses_notes_that_are_none)
{
    struct rig rig;
    rig_init(&rig, "pool p\nsource 192.0.2.1 warmup\n");
    cr_assert_not(source_unpack(rig.table, SLICE("p|192.0.2.1"), SLICE("abc")));
    cr_assert_not(
        source_unpack(rig.table, SLICE("p|192.0.2.1"), SLICE("12345678\xff\xff\xff\xff")));
    cr_assert(source_unpack(rig.table, SLICE("q|192.0.2.1"), SLICE("abc")), "nobody's");
    rig_fini(&rig);
}

Test(source, follows_a_policy_that_changed)
{
    struct rig rig;
    enum source_answer answer;
    char why[POLICY_WHY_MAX];
    rig_init(&rig, "pool p\nsource 192.0.2.1 warmup\n");
    cr_assert_eq(send_all(&rig, "", DAY), 50);
    struct policy *next = policy_new();
    cr_assert(policy_read(next, SLICE("pool p\nsource 192.0.2.2\nsource 192.0.2.1 warmup helo h\n"),
                          why));
    source_table_apply(rig.table, next);
    cr_assert_str_eq(send_one(&rig, "", DAY, &answer), "192.0.2.2", "the other has sent its mails");
    policy_free(next);
    rig_fini(&rig);
}

/* Forth and back again it is one day's volume at most, and never a day that does not end. */
Test(source, is_not_led_on_by_a_clock_that_is_set_back)
{
    struct rig rig;
    enum source_answer answer;
    rig_init(&rig, "pool p\nsource 192.0.2.1 warmup\n");
    cr_assert_eq(send_all(&rig, "", DAY), source_quota(0));
    cr_assert_eq(send_all(&rig, "", DAY + 1000), source_quota(1));
    (void)send_one(&rig, "", DAY, &answer);
    cr_assert_eq(answer, SOURCE_USED_UP);
    cr_assert_eq(send_all(&rig, "", DAY + 1), source_quota(2));
    rig_fini(&rig);
}

Test(source, serves_pools_that_are_gone_from_the_default_one)
{
    struct rig rig;
    enum source_answer answer;
    rig_init(&rig, "pool default\nsource 192.0.2.9\n");
    cr_assert_str_eq(send_one(&rig, "", DAY, &answer), "192.0.2.9");
    rig_fini(&rig);
}
