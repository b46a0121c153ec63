/* Not covered here: a kill in the middle of a step (a failing step stands in for it: what both
 * leave behind is the same). Includes the source, to climb with steps of its own. */
#include <criterion/criterion.h>

#include "kv/migrate.c"

#include "unit/kv/temp_store.h"

#define NOW UINT64_C(1700000000000)

static enum err open_stamped(const char *path, struct store_stamp *stamp)
{
    struct kv *kv = temp_open(path, 2);
    const enum err err = migrate_open(kv, NOW, stamp);
    kv_close(kv);
    return err;
}

static void put_stamp(struct kv *kv, const struct row_format *row)
{
    struct buf bytes;
    buf_init(&bytes, STAMP_MAX_BYTES);
    row_format_encode(row, &bytes);
    const enum err err = temp_put(kv, KV_FAMILY_META, STAMP_KEY, buf_slice(&bytes));
    CHECK(err == ERR_OK);
    buf_fini(&bytes);
}

static struct row_format get_stamp(struct kv *kv)
{
    struct row_format row = {.format = 0};
    bool found = false;
    const enum err err = read_stamp(kv, &row, &found);
    CHECK(err == ERR_OK && found);
    return row;
}

Test(migrate, stamps_a_new_store_and_counts_its_boots)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    for (uint64_t boot = 1; boot <= 3; boot++) {
        struct store_stamp stamp;
        cr_assert_eq(open_stamped(path, &stamp), ERR_OK);
        cr_assert_eq(stamp.format, STORE_FORMAT);
        cr_assert_eq(stamp.shard_count, 2);
        cr_assert_eq(stamp.boot, boot);
    }
    struct kv *kv = temp_open(path, 2);
    cr_assert_eq(get_stamp(kv).created_unix_ms, NOW);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(migrate, looks_at_a_stamp_and_changes_nothing)
{
    char path[TEMP_PATH_MAX];
    struct store_stamp stamp = {.boot = 77};
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    cr_expect_eq(migrate_look(kv, &stamp), ERR_NOT_FOUND, "a new store has none");
    cr_expect_eq(stamp.boot, 77, "the result was touched");
    put_stamp(kv, &(struct row_format){.format = 1, .shard_count = 2, .boots = 5});
    cr_assert_eq(migrate_look(kv, &stamp), ERR_OK, "an older one can be looked at");
    cr_expect_eq(stamp.format, 1);
    cr_expect_eq(stamp.shard_count, 2);
    cr_expect_eq(stamp.boot, 5);
    cr_expect_eq(get_stamp(kv).format, 1, "not brought up");
    cr_expect_eq(get_stamp(kv).boots, 5, "not counted");
    put_stamp(kv, &(struct row_format){.format = STORE_FORMAT + 1, .shard_count = 2, .boots = 1});
    cr_expect_eq(migrate_look(kv, &stamp), ERR_STORAGE);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(migrate, refuses_stamps_that_cannot_be_right)
{
    static const struct {
        const char *name;
        struct row_format row;
        enum err err;
    } cases[] = {
        {"newer", {.format = STORE_FORMAT + 1, .shard_count = 2, .boots = 1}, ERR_STORAGE},
        {"far newer", {.format = UINT32_MAX, .shard_count = 99, .boots = 1}, ERR_STORAGE},
        {"format 0", {.format = 0, .shard_count = 2, .boots = 1}, ERR_CORRUPT},
        {"never opened", {.format = 1, .shard_count = 2, .boots = 0}, ERR_CORRUPT},
        {"more shards", {.format = 1, .shard_count = 3, .boots = 1}, ERR_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[TEMP_PATH_MAX];
        temp_folder_make(path);
        struct kv *kv = temp_open(path, 2);
        put_stamp(kv, &cases[i].row);
        struct store_stamp stamp = {.boot = 77};
        cr_expect_eq(migrate_open(kv, NOW, &stamp), cases[i].err, "%s", cases[i].name);
        cr_expect_eq(stamp.boot, 77, "%s: the result was touched", cases[i].name);
        cr_expect_eq(get_stamp(kv).boots, cases[i].row.boots, "%s: written to", cases[i].name);
        kv_close(kv);
        temp_folder_drop(path);
    }
}

Test(migrate, refuses_a_damaged_stamp)
{
    static const struct slice stamps[] = {
        SLICE_INIT(""), SLICE_INIT("not a row"),
        SLICE_INIT("a stamp that is far too long: "
                   "0123456789012345678901234567890123456789012345678901234567890123456789"
                   "0123456789012345678901234567890123456789012345678901234567890123456789")};
    for (size_t i = 0; i < ARRAY_LEN(stamps); i++) {
        char path[TEMP_PATH_MAX];
        temp_folder_make(path);
        struct kv *kv = temp_open(path, 2);
        cr_assert_eq(temp_put(kv, KV_FAMILY_META, STAMP_KEY, stamps[i]), ERR_OK);
        struct store_stamp stamp;
        cr_expect_eq(migrate_open(kv, NOW, &stamp), ERR_CORRUPT, "stamp %zu", i);
        cr_expect(temp_has(kv, KV_FAMILY_META, STAMP_KEY, stamps[i]), "stamp %zu", i);
        kv_close(kv);
        temp_folder_drop(path);
    }
}

Test(migrate, refuses_rows_without_a_stamp)
{
    static const uint32_t families[] = {0, 1, KV_FAMILY_DELIVER, KV_FAMILY_META};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        char path[TEMP_PATH_MAX];
        temp_folder_make(path);
        struct kv *kv = temp_open(path, 2);
        cr_assert_eq(temp_put(kv, families[i], SLICE("Mrow"), SLICE("x")), ERR_OK);
        struct store_stamp stamp;
        cr_expect_eq(migrate_open(kv, NOW, &stamp), ERR_CORRUPT, "family %zu", i);
        kv_close(kv);
        temp_folder_drop(path);
    }
}

/* ---- steps --------------------------------------------------------------------------------------
 */

/* Each step appends its digit to a row, so the row tells which steps ran. */
static enum err append_digit(struct kv *kv, char digit)
{
    struct arena arena;
    arena_init(&arena, 64, 64);
    struct slice trail = SLICE("");
    enum err err = kv_get(kv, 0, SLICE("trail"), &arena, &trail);
    if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    char text[16] = {0};
    CHECK(trail.len < sizeof(text) - 1);
    if (trail.len > 0) {
        memcpy(text, trail.data, trail.len);
    }
    text[trail.len] = digit;
    if (err == ERR_OK) {
        err = temp_put(kv, 0, SLICE("trail"), slice_str(text));
    }
    arena_fini(&arena);
    return err;
}

static enum err step_from_1(struct kv *kv)
{
    return append_digit(kv, '1');
}

static enum err step_from_2(struct kv *kv)
{
    return append_digit(kv, '2');
}

static enum err step_that_fails(struct kv *kv)
{
    const enum err err = append_digit(kv, 'x'); /* half of its work is done */
    return err == ERR_OK ? ERR_STORAGE : err;
}

static enum err (*const good_steps[])(struct kv *kv) = {NULL, step_from_1, step_from_2};
static enum err (*const failing_steps[])(struct kv *kv) = {NULL, step_from_1, step_that_fails};
static const struct migrate_plan first_plan = {.format = 1, .steps = good_steps};
static const struct migrate_plan good_plan = {.format = 3, .steps = good_steps};
static const struct migrate_plan failing_plan = {.format = 3, .steps = failing_steps};

static bool trail_is(struct kv *kv, const char *digits)
{
    return temp_has(kv, 0, SLICE("trail"), slice_str(digits));
}

Test(migrate, climbs_step_by_step_once)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct store_stamp stamp;
    struct kv *kv = temp_open(path, 2);
    cr_assert_eq(open_by_plan(kv, &first_plan, NOW, &stamp), ERR_OK);
    cr_assert_eq(open_by_plan(kv, &good_plan, NOW + 1, &stamp), ERR_OK);
    cr_assert_eq(stamp.format, 3);
    cr_assert_eq(stamp.boot, 2);
    cr_assert(trail_is(kv, "12"));
    cr_assert_eq(get_stamp(kv).created_unix_ms, NOW, "the store is as old as it is");
    cr_assert_eq(open_by_plan(kv, &good_plan, NOW + 2, &stamp), ERR_OK);
    cr_assert(trail_is(kv, "12"));
    cr_assert_eq(stamp.boot, 3);
    cr_assert_eq(migrate_open(kv, NOW, &stamp), ERR_STORAGE, "there is no way back");
    kv_close(kv);
    temp_folder_drop(path);
}

Test(migrate, does_not_run_steps_on_a_new_store)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct kv *kv = temp_open(path, 2);
    struct store_stamp stamp;
    cr_assert_eq(open_by_plan(kv, &good_plan, NOW, &stamp), ERR_OK);
    cr_assert_eq(stamp.format, 3);
    cr_assert_eq(temp_count(kv, 0), 0);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(migrate, goes_on_at_the_step_that_failed)
{
    char path[TEMP_PATH_MAX];
    temp_folder_make(path);
    struct store_stamp stamp;
    struct kv *kv = temp_open(path, 2);
    cr_assert_eq(open_by_plan(kv, &first_plan, NOW, &stamp), ERR_OK);
    cr_assert_eq(open_by_plan(kv, &failing_plan, NOW, &stamp), ERR_STORAGE);
    cr_assert_eq(get_stamp(kv).format, 2, "the first step counts");
    cr_assert_eq(get_stamp(kv).boots, 1, "this was no boot");
    kv_close(kv);

    kv = temp_open(path, 2);
    cr_assert_eq(open_by_plan(kv, &good_plan, NOW, &stamp), ERR_OK);
    cr_assert(trail_is(kv, "1x2"));
    cr_assert_eq(stamp.format, 3);
    cr_assert_eq(stamp.boot, 2);
    kv_close(kv);
    temp_folder_drop(path);
}

/* ---- format 2: who was first --------------------------------------------------------------------
 */

static void put_account_of(struct kv *kv, uint64_t number, uint64_t created_unix_ms)
{
    const struct row_account row = {.id = {number}, .created_unix_ms = created_unix_ms};
    struct key key = key_account(row.id);
    struct buf bytes;
    buf_init(&bytes, KIB);
    row_account_encode(&row, &bytes);
    const enum err err =
        temp_put(kv, key_account_shard(2, row.id), key_slice(&key), buf_slice(&bytes));
    CHECK(err == ERR_OK);
    buf_fini(&bytes);
}

/* Whose claim there is; 0 for none. */
static uint64_t first_account(struct kv *kv)
{
    struct slice name = SLICE("first-user");
    struct key key = key_directory(DIRECTORY_SERVER, name);
    struct arena arena;
    struct slice bytes;
    struct row_directory row = {.account = {0}};
    arena_init(&arena, KIB, KIB);
    enum err err = kv_get(kv, key_directory_shard(2, name), key_slice(&key), &arena, &bytes);
    CHECK(err == ERR_NOT_FOUND || row_directory_decode(bytes, &row) == ERR_OK);
    CHECK(err == ERR_NOT_FOUND || id_is_none(row.id));
    arena_fini(&arena);
    return row.account.value;
}

static struct kv *open_first_format(const char *path)
{
    struct store_stamp stamp;
    struct kv *kv = temp_open(path, 2);
    cr_assert_eq(open_by_plan(kv, &first_plan, NOW, &stamp), ERR_OK);
    return kv;
}

Test(migrate, a_store_that_has_users_has_had_its_first)
{
    char path[TEMP_PATH_MAX];
    struct store_stamp stamp;
    temp_folder_make(path);
    struct kv *kv = open_first_format(path);
    for (uint64_t number = 1; number <= 40; number++) {
        put_account_of(kv, number, NOW + (number == 23 ? 0 : number));
    }
    cr_assert_eq(migrate_open(kv, NOW, &stamp), ERR_OK);
    cr_assert_eq(stamp.format, STORE_FORMAT);
    cr_assert_eq(first_account(kv), 23, "the oldest of both shards");
    cr_assert_eq(migrate_open(kv, NOW, &stamp), ERR_OK);
    cr_assert_eq(first_account(kv), 23);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(migrate, a_store_without_users_is_still_to_have_its_first)
{
    char path[TEMP_PATH_MAX];
    struct store_stamp stamp;
    temp_folder_make(path);
    struct kv *kv = open_first_format(path);
    cr_assert_eq(migrate_open(kv, NOW, &stamp), ERR_OK);
    cr_assert_eq(stamp.format, STORE_FORMAT);
    cr_assert_eq(first_account(kv), 0);
    put_account_of(kv, 7, NOW); /* came with this format, and has its claim itself */
    cr_assert_eq(migrate_open(kv, NOW, &stamp), ERR_OK);
    cr_assert_eq(first_account(kv), 0);
    kv_close(kv);
    temp_folder_drop(path);
}

/* What a kill between the step's row and the stamp leaves. */
Test(migrate, the_claim_of_the_first_is_not_written_twice)
{
    char path[TEMP_PATH_MAX];
    struct store_stamp stamp;
    temp_folder_make(path);
    struct kv *kv = open_first_format(path);
    put_account_of(kv, 7, NOW);
    cr_assert_eq(claim_first_user(kv), ERR_OK);
    put_account_of(kv, 8, NOW - 1);
    cr_assert_eq(migrate_open(kv, NOW, &stamp), ERR_OK);
    cr_assert_eq(first_account(kv), 7);
    kv_close(kv);
    temp_folder_drop(path);
}

Test(migrate, an_account_that_cannot_be_read_counts_as_a_user)
{
    char path[TEMP_PATH_MAX];
    struct store_stamp stamp;
    temp_folder_make(path);
    struct kv *kv = open_first_format(path);
    struct key key = key_account((struct account_id){UINT64_C(0x0123456789abcdef)});
    cr_assert_eq(temp_put(kv, 1, key_slice(&key), SLICE("damaged")), ERR_OK);
    cr_assert_eq(migrate_open(kv, NOW, &stamp), ERR_OK);
    cr_assert_eq(first_account(kv), UINT64_C(0x0123456789abcdef));
    kv_close(kv);
    temp_folder_drop(path);
}
