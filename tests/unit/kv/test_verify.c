/* Not covered here: what shards write and leave behind when they are killed
 * (tests/flow/test_crash.c, test_inbound_crash.c), salvage (test_salvage.c). */
#include <criterion/criterion.h>

#include "base/crypto.h"
#include "kv/repair.h"
#include "kv/verify.h"
#include "unit/kv/small_store.h"

#include <fcntl.h>
#include <inttypes.h>

#define STEP_US 1000000

TestSuite(verify, .timeout = 60);

static struct verify_progress run(struct small *small, struct verify_finding *first)
{
    const struct verify_options options = {.now_unix_ms = SMALL_NOW};
    struct verify *verify = verify_new(small->kv, &options);
    struct verify_progress progress;
    uint32_t count = 0;
    while (verify_step(verify, STEP_US)) {
    }
    verify_progress(verify, &progress);
    const struct verify_finding *found = verify_findings(verify, &count);
    for (uint32_t i = 0; i < count; i++) {
        printf("# %s: %s\n", verify_word(found[i].kind), found[i].detail);
    }
    if (count > 0 && first != NULL) {
        *first = found[0];
    }
    verify_free(verify);
    return progress;
}

static void print_deed(void *context UNUSED, const struct repair_deed *deed)
{
    printf("# %s: %s\n", deed->result == REPAIR_DONE ? "done" : "left", deed->text);
}

/* What is left to be done by people. */
static uint64_t mend(struct small *small, bool is_dry, uint64_t *done)
{
    const struct repair_options options = {
        .now_unix_ms = SMALL_NOW, .is_dry = is_dry, .on_deed = print_deed};
    struct repair *repair = repair_new(small->kv, &options);
    while (repair_step(repair, STEP_US)) {
    }
    cr_assert_eq(repair_err(repair), ERR_OK);
    uint64_t left = repair_count(repair, REPAIR_LEFT);
    *done = repair_count(repair, REPAIR_DONE);
    repair_free(repair);
    return left;
}

Test(verify, finds_nothing_in_a_store_as_shards_write_it)
{
    struct small small;
    small_make(&small);
    struct verify_progress progress = run(&small, NULL);
    cr_expect_eq(progress.damage, 0);
    cr_expect_eq(progress.notes, 0);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        rows += temp_count(small.kv, i);
    }
    rows += temp_count(small.kv, KV_FAMILY_DELIVER) + temp_count(small.kv, KV_FAMILY_META);
    cr_expect_eq(progress.rows, rows, "every row is read once: %" PRIu64 " of %" PRIu64,
                 progress.rows, rows);
    small_end(&small);
}

/* ---- each kind of damage -------------------------------------------------------------------- */

static struct key mail_key(const struct small *s)
{
    return key_mail(s->account, s->sent);
}

static void edit_mail(struct small *s, uint32_t open, uint32_t deliveries)
{
    struct arena arena;
    struct row_mail row;
    arena_init(&arena, 4096, MIB);
    bool is_there = small_get_mail(s, s->family, mail_key(s), &arena, &row);
    CHECK(is_there);
    row.open_count = open;
    row.delivery_count = deliveries;
    small_put_mail(s, s->family, mail_key(s), row);
    arena_fini(&arena);
}

static void edit_delivery(struct small *s, uint32_t index, uint32_t group, uint64_t due)
{
    struct arena arena;
    struct row_delivery row;
    struct key key = key_delivery(s->account, s->sent, index);
    arena_init(&arena, 4096, MIB);
    bool is_there = small_get_delivery(s, s->family, key, &arena, &row);
    CHECK(is_there);
    row.group = group;
    row.next_attempt_unix_ms = due;
    small_put_delivery(s, s->family, key, row);
    arena_fini(&arena);
}

static struct key outbox_key(const struct small *s)
{
    return key_outbox(s->due_unix_ms, s->account, s->sent, 1);
}

static void put_junk(struct small *s, struct key key)
{
    small_put_bytes(s, s->family, key, SLICE("\x01junk"));
}

static void lose_outbox(struct small *s)
{
    small_drop(s, outbox_key(s));
}
static void lose_hook(struct small *s)
{
    small_drop(s, key_outbox(s->due_unix_ms + 1, s->account, s->sent, FACT_GROUP_HOOK | 2));
}
static void shift_due(struct small *s)
{
    edit_delivery(s, 1, 1, s->due_unix_ms + 7);
}
static void double_outbox(struct small *s)
{
    small_put_outbox(s, s->family, key_outbox(s->due_unix_ms + 9, s->account, s->sent, 1),
                     (struct row_outbox){.rcpt_first = 1, .rcpt_count = 1});
}
static void stray_outbox(struct small *s)
{
    small_put_outbox(s, s->family, key_outbox(5, s->account, small_id(s, 77), 0),
                     (struct row_outbox){.rcpt_first = 0, .rcpt_count = 1});
}
static void shift_outbox(struct small *s)
{
    small_put_outbox(s, s->family, outbox_key(s),
                     (struct row_outbox){.rcpt_first = 7, .rcpt_count = 1});
}
static void junk_outbox(struct small *s)
{
    put_junk(s, outbox_key(s));
}
static void junk_delivery(struct small *s)
{
    put_junk(s, key_delivery(s->account, s->sent, 1));
}
static void lose_delivery(struct small *s)
{
    small_drop(s, key_delivery(s->account, s->sent, 1));
}
static void wrong_group(struct small *s)
{
    edit_delivery(s, 2, 4, s->due_unix_ms + 1);
}
static void wrong_open(struct small *s)
{
    edit_mail(s, 3, 3);
}
static void wrong_deliveries(struct small *s)
{
    edit_mail(s, 1, 2);
}
static void lose_ref(struct small *s)
{
    small_drop(s, key_delivery_ref(s->account, s->deliveries[2]));
}
static void stray_ref(struct small *s)
{
    small_put_delivery_ref(s, s->family, key_delivery_ref(s->account, small_id(s, 88)),
                           (struct row_delivery_ref){.mail = s->sent, .index = 9});
}
static void stray_event(struct small *s)
{
    struct id id = small_id(s, 90);
    small_put_event(s, s->family, key_event(s->account, id, id), (struct row_event){.id = id});
}
static void stage_mail(struct small *s)
{
    small_put_stage(s, s->family, key_stage(s->account, s->sent), (struct row_stage){0});
}
static void lose_place(struct small *s)
{
    small_drop(s, key_mailbox_mail(s->account, s->mailbox, s->received));
}
static void lose_state(struct small *s)
{
    small_drop(s, key_mail_state(s->account, s->received));
}
static void stray_place(struct small *s)
{
    small_put_mailbox_mail(s, s->family, key_mailbox_mail(s->account, s->mailbox, small_id(s, 91)),
                           (struct row_mailbox_mail){.thread = s->thread});
}
static void lose_thread(struct small *s)
{
    small_drop(s, key_thread(s->account, s->thread));
}
static void lose_thread_mail(struct small *s)
{
    small_drop(s, key_thread_mail(s->account, s->thread, s->received));
}
static void wrong_thread(struct small *s)
{
    small_put_thread(s, s->family, key_thread(s->account, s->thread),
                     (struct row_thread){.id = s->thread, .mail_count = 4});
}
static void lose_mailbox_name(struct small *s)
{
    small_drop(s, key_mailbox_name(s->account, SLICE("ann@example.com")));
}
static void lose_mailbox(struct small *s)
{
    small_drop(s, key_mailbox(s->account, s->mailbox));
}
static void lose_domain_name(struct small *s)
{
    small_drop(s, key_domain_name(s->account, SLICE("example.com")));
}
static void stray_domain_name(struct small *s)
{
    small_put_domain_name(s, s->family, key_domain_name(s->account, SLICE("other.com")),
                          (struct row_domain_name){.id = small_id(s, 92)});
}
static void lose_key_id(struct small *s)
{
    small_drop(s, key_api_key_id(s->account, s->api_key));
}
static void lose_key(struct small *s)
{
    small_drop(s, key_api_key(s->account, &s->key_hash));
}
static void lose_route(struct small *s)
{
    small_drop(s, key_route(s->account, s->route));
}
static void lose_route_list(struct small *s)
{
    small_drop(s, key_route_list(s->account));
}
static void wrong_people(struct small *s)
{
    small_put_account(s, s->family, key_account(s->account),
                      (struct row_account){.id = s->account, .more_members = 3});
}
static void lose_user(struct small *s)
{
    struct id other = small_id(s, 93);
    small_put_user(s, s->family, key_user(s->account, other),
                   (struct row_user){.id = other, .is_removed = true});
    small_drop(s, key_user(s->account, s->user));
}
static void lower_floor(struct small *s)
{
    small_put_shard_meta(s, s->family, key_shard_meta(), (struct row_shard_meta){.id_floor_ms = 1});
}
static void junk_floor(struct small *s)
{
    put_junk(s, key_shard_meta());
}
static void strange_key(struct small *s)
{
    const enum err err = temp_put(s->kv, s->family, SLICE("?what"), SLICE("is this"));
    CHECK(err == ERR_OK);
}
static void short_key(struct small *s)
{
    const enum err err = temp_put(s->kv, s->family, SLICE("Mshort"), SLICE("x"));
    CHECK(err == ERR_OK);
}
static void foreign_row(struct small *s)
{
    small_put_usage(s, (s->family + 1) % SMALL_SHARDS, key_usage(s->account, 4),
                    (struct row_usage){.mails = 1});
}
static void junk_usage(struct small *s)
{
    put_junk(s, key_usage(s->account, SMALL_DAY - 7));
}
static void lose_chunk(struct small *s)
{
    small_drop(s, key_chunk(s->account, s->sent, 1));
}
static void lose_attachment(struct small *s)
{
    small_drop(s, key_attachment(s->account, s->sent, 0));
}
static void lose_data(struct small *s)
{
    small_drop(s, key_attachment_data(SMALL_DAY, s->account, s->sent, 0, 0));
}
static void junk_mail(struct small *s)
{
    put_junk(s, mail_key(s));
}
static void junk_closed_mail(struct small *s)
{
    put_junk(s, key_mail(s->account, s->received));
}
static void lose_account(struct small *s)
{
    small_drop(s, key_account(s->account));
}

/* left: whether something stays for people after repair. */
static const struct plant {
    const char *name;
    void (*plant)(struct small *small);
    enum verify_kind kind;
    bool is_left;
} plants[] = {
    {"no outbox row", lose_outbox, VERIFY_OUTBOX_MISSING, false},
    {"no outbox row of a webhook", lose_hook, VERIFY_OUTBOX_MISSING, false},
    {"due at another time", shift_due, VERIFY_OUTBOX_DUE, false},
    {"two outbox rows", double_outbox, VERIFY_OUTBOX_TWICE, false},
    {"an outbox row of no mail", stray_outbox, VERIFY_OUTBOX_DANGLING, false},
    {"an outbox row of other deliveries", shift_outbox, VERIFY_OUTBOX_DANGLING, false},
    {"an outbox row that does not decode", junk_outbox, VERIFY_ROW, false},
    {"a delivery that does not decode", junk_delivery, VERIFY_ROW, false},
    {"an open delivery is gone", lose_delivery, VERIFY_DELIVERY_MISSING, false},
    {"a webhook of another group", wrong_group, VERIFY_DELIVERY_GROUP, false},
    {"too many open", wrong_open, VERIFY_MAIL_COUNT, false},
    {"too few deliveries", wrong_deliveries, VERIFY_MAIL_COUNT, false},
    {"no delivery_ref", lose_ref, VERIFY_REF_MISSING, false},
    {"a delivery_ref too many", stray_ref, VERIFY_REF_DANGLING, false},
    {"an event of no mail", stray_event, VERIFY_MAIL_MISSING, false},
    {"a stage of a mail", stage_mail, VERIFY_STAGE_OF_MAIL, false},
    {"not in its mailbox", lose_place, VERIFY_PLACE_MISSING, false},
    {"says of no mailbox", lose_state, VERIFY_PLACE_MISSING, false},
    {"a mailbox with a mail that is none", stray_place, VERIFY_PLACE_DANGLING, false},
    {"no thread", lose_thread, VERIFY_THREAD_MISSING, false},
    {"not in its thread", lose_thread_mail, VERIFY_PLACE_MISSING, false},
    {"a thread that counts wrongly", wrong_thread, VERIFY_THREAD_COUNT, false},
    {"no mailbox name", lose_mailbox_name, VERIFY_MAILBOX_NAME, false},
    {"no mailbox", lose_mailbox, VERIFY_MAILBOX_NAME, false},
    {"no domain name", lose_domain_name, VERIFY_DOMAIN_NAME, false},
    {"a domain name too many", stray_domain_name, VERIFY_DOMAIN_NAME, false},
    {"no id of a key", lose_key_id, VERIFY_KEY_ID, false},
    {"no key", lose_key, VERIFY_KEY_ID, false},
    {"no route", lose_route, VERIFY_ROUTE_LIST, false},
    {"no list of routes", lose_route_list, VERIFY_ROUTE_LIST, false},
    {"too many people", wrong_people, VERIFY_MEMBER_COUNT, false},
    {"nobody has the email", lose_user, VERIFY_DIRECTORY, false},
    {"a floor too low", lower_floor, VERIFY_ID_FLOOR, false},
    {"a floor that does not decode", junk_floor, VERIFY_ROW, false},
    {"a strange key", strange_key, VERIFY_KEY, false},
    {"a key cut short", short_key, VERIFY_KEY, false},
    {"in another shard", foreign_row, VERIFY_MISPLACED, false},
    {"usage that does not decode", junk_usage, VERIFY_ROW, false},
    {"a received mail that does not decode", junk_closed_mail, VERIFY_ROW, false},
    {"a sent mail that does not decode", junk_mail, VERIFY_ROW, true},
    {"half a body", lose_chunk, VERIFY_BODY, true},
    {"no attachment", lose_attachment, VERIFY_ATTACHMENT, true},
    {"no data of an attachment", lose_data, VERIFY_ATTACHMENT_DATA, true},
    {"no account", lose_account, VERIFY_ACCOUNT_MISSING, true},
};

Test(verify, finds_every_kind_of_damage_and_repair_leaves_a_clean_store)
{
    crypto_init();
    for (size_t i = 0; i < ARRAY_LEN(plants); i++) {
        const struct plant *plant = &plants[i];
        struct small small;
        uint64_t done = 0;
        printf("# ---- %s\n", plant->name);
        small_make(&small);
        plant->plant(&small);
        struct verify_progress before = run(&small, NULL);
        cr_expect_gt(before.counts[plant->kind], 0, "%s is not found", plant->name);
        uint64_t rows = before.rows;
        (void)mend(&small, true, &done);
        cr_expect_eq(run(&small, NULL).rows, rows, "%s: a dry repair wrote", plant->name);
        uint64_t left = mend(&small, false, &done);
        struct verify_progress after = run(&small, NULL);
        if (plant->is_left) {
            cr_expect_gt(left, 0, "%s: nobody is told", plant->name);
        } else {
            cr_expect_gt(done, 0, "%s: nothing was done", plant->name);
            cr_expect_eq(after.damage, 0, "%s: %" PRIu64 " are still wrong", plant->name,
                         after.damage);
        }
        small_end(&small);
    }
}

/* A row that quarantine cannot hold. */
Test(verify, leaves_a_row_in_its_place_that_would_be_lost_by_putting_it_aside)
{
    struct small small;
    struct key key;
    struct arena arena;
    struct slice value;
    uint64_t done = 0;
    crypto_init();
    small_make(&small);
    char *bytes = mem_zalloc(4 * MIB);
    cr_assert(key_copy(SLICE("~none of ours"), &key));
    small_put_bytes(&small, small.family, key, slice_of(bytes, 4 * MIB));
    free(bytes);
    cr_expect_gt(mend(&small, false, &done), 0, "somebody is told");
    arena_init(&arena, 64 * KIB, 8 * MIB);
    cr_expect_eq(kv_get(small.kv, small.family, key_slice(&key), &arena, &value), ERR_OK);
    arena_fini(&arena);
    small_end(&small);
}

struct rows_seen {
    struct small *small;
    enum err mail_err; /* what a look at the mail's row answers */
    uint32_t writes;
};

static enum err seen_get(void *context, uint32_t family UNUSED, const struct key *key UNUSED,
                         struct arena *arena UNUSED, struct slice *value)
{
    const struct rows_seen *seen = context;
    *value = SLICE("");
    return seen->mail_err;
}

static void seen_put(void *context, uint32_t family UNUSED, const struct key *key UNUSED,
                     struct slice value UNUSED)
{
    struct rows_seen *seen = context;
    seen->writes++;
}

static void seen_remove(void *context, uint32_t family, const struct key *key)
{
    seen_put(context, family, key, SLICE(""));
}

static enum err seen_scan(void *context UNUSED, uint32_t family UNUSED, const struct key *prefix,
                          repair_row_fn *fn, void *of)
{
    (void)fn(of, key_slice(prefix), SLICE("a row")); /* one is enough */
    return ERR_OK;
}

Test(verify, takes_rows_from_no_mail_that_is_there_or_cannot_be_read)
{
    const enum err errs[] = {ERR_OK, ERR_CORRUPT, ERR_STORAGE, ERR_NOT_FOUND};
    crypto_init();
    for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
        struct rows_seen seen = {.mail_err = errs[i]};
        struct arena arena;
        struct repair_deed deed;
        struct account_id account = {.value = 7};
        struct id mail = {.bytes = {1}};
        struct verify_finding finding = {.kind = VERIFY_MAIL_MISSING};
        finding.key = key_prefix_deliveries(account, mail);
        arena_init(&arena, 4 * KIB, MIB);
        struct repair_rows rows = {.context = &seen,
                                   .arena = &arena,
                                   .shard_count = SMALL_SHARDS,
                                   .get = seen_get,
                                   .put = seen_put,
                                   .remove = seen_remove,
                                   .scan = seen_scan};
        repair_one(&rows, &finding, &deed);
        cr_expect_eq(seen.writes > 0, errs[i] == ERR_NOT_FOUND, "%zu", i);
        cr_expect_eq(deed.result == REPAIR_DONE, errs[i] == ERR_NOT_FOUND, "%zu", i);
        arena_fini(&arena);
    }
}

#define LONG_MAILS   20
#define LONG_HEADERS (size_t)(900 * KIB)

/* More rows of mails than are held in memory: the last is looked at as the first. */
Test(verify, and_repair_see_all_of_a_long_thread)
{
    struct small small;
    struct arena arena;
    struct row_thread thread;
    uint64_t done = 0;
    crypto_init();
    small_make(&small);
    char *headers = mem_zalloc(LONG_HEADERS);
    for (uint64_t i = 0; i < LONG_MAILS; i++) {
        struct id mail = small_id(&small, 100 + i);
        small_put_mail(&small, small.family, key_mail(small.account, mail),
                       (struct row_mail){.id = mail,
                                         .direction = FACT_INBOUND,
                                         .status = FACT_MAIL_DELIVERED,
                                         .headers = slice_of(headers, LONG_HEADERS),
                                         .thread = small.thread});
        small_put_thread_mail(&small, small.family,
                              key_thread_mail(small.account, small.thread, mail),
                              (struct row_thread_mail){.is_inbound = true});
    }
    free(headers);
    struct id none = small_id(&small, 100 + LONG_MAILS);
    small_put_thread_mail(&small, small.family, key_thread_mail(small.account, small.thread, none),
                          (struct row_thread_mail){.is_inbound = true});
    struct verify_progress before = run(&small, NULL);
    cr_expect_eq(before.counts[VERIFY_PLACE_DANGLING], 1);
    cr_expect_eq(before.counts[VERIFY_THREAD_COUNT], 1);
    (void)mend(&small, false, &done);
    cr_expect_eq(run(&small, NULL).damage, 0);
    arena_init(&arena, 64 * KIB, MIB);
    cr_assert(small_get_thread(&small, small.family, key_thread(small.account, small.thread),
                               &arena, &thread));
    cr_expect_eq(thread.mail_count, LONG_MAILS + 1);
    arena_fini(&arena);
    small_end(&small);
}

Test(verify, keeps_room_for_damage_behind_many_notes)
{
    struct small small;
    crypto_init();
    small_make(&small);
    for (uint32_t i = 0; i < VERIFY_FINDINGS_MAX; i++) {
        struct sha256 hash = crypto_sha256(slice_of(&i, sizeof i));
        small_put_quarantine(&small, 0, key_quarantine(SMALL_NOW, &hash),
                             (struct row_quarantine){.reason = SLICE("a test")});
    }
    struct key key;
    cr_assert(key_copy(SLICE("~none of ours"), &key));
    small_put_bytes(&small, SMALL_SHARDS - 1, key, SLICE("x"));
    const struct verify_options options = {.now_unix_ms = SMALL_NOW};
    struct verify *verify = verify_new(small.kv, &options);
    uint32_t count = 0;
    while (verify_step(verify, STEP_US)) {
    }
    const struct verify_finding *found = verify_findings(verify, &count);
    bool is_kept = false;
    for (uint32_t i = 0; i < count; i++) {
        is_kept |= found[i].kind == VERIFY_KEY;
    }
    cr_expect(is_kept, "a repair of the running server goes by what is kept");
    verify_free(verify);
    small_end(&small);
}

/* An id is the time that ids begin with from then on, for good. */
Test(verify, raises_no_floor_to_a_time_that_has_not_come)
{
    struct small small;
    struct arena arena;
    struct row_shard_meta meta;
    uint64_t done = 0;
    crypto_init();
    small_make(&small);
    struct id mail = small_id(&small, 90);
    memset(mail.bytes, 0xff, 6);
    small_put_mail(&small, small.family, key_mail(small.account, mail),
                   (struct row_mail){.id = mail, .status = FACT_MAIL_DELIVERED});
    cr_expect_eq(run(&small, NULL).counts[VERIFY_ID_FLOOR], 1);
    cr_expect_gt(mend(&small, false, &done), 0, "somebody is told");
    arena_init(&arena, 4 * KIB, MIB);
    cr_assert(small_get_shard_meta(&small, small.family, key_shard_meta(), &arena, &meta));
    cr_expect_eq(meta.id_floor_ms, SMALL_NOW);
    arena_fini(&arena);
    small_end(&small);
}
