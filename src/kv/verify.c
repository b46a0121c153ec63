/* verify.c - the snapshot, the cursors, the findings and the order of things.
 *
 *      family 0: outbox -> mails -> data -> places -> accounts -> the other tags -> strange tags
 *      family 1: the same ... delivery's -> meta
 *
 * A phase opens a cursor for each of its tags and is stepped one unit at a time: a mail with all
 * that is stored of it, a thread, one row. */
#include "kv/verify.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "kv/kv_stat.h"
#include "kv/verify_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES (64 * KIB)
#define SCRATCH_MAX   (16 * MIB) /* one row; the largest of ours is 2 MiB */
#define WORDS_MAX     4096
#define STAMP_KEY     SLICE("format")
#define UNITS_A_LOOK  64                        /* between two looks at the clock */
#define NOTES_MAX     (VERIFY_FINDINGS_MAX / 4) /* kept; the rest of the room is for damage */

/* tags: a cursor each; "": what no tag covers. */
static const struct phase {
    const char *tags;
    bool (*step)(struct verify *verify);
    void (*end)(struct verify *verify);
} phases[] = {
    {"O", verify_outbox, NULL},       {"MVCTLRFEs", verify_mail, verify_mail_end},
    {"B", verify_data, NULL},         {"T", verify_files, NULL},
    {"l", verify_mailbox_mail, NULL}, {"tr", verify_thread, NULL},
    {"d", verify_ref, NULL},          {"AU", verify_people, NULL},
    {"D", verify_other, NULL},        {"G", verify_other, NULL},
    {"I", verify_other, NULL},        {"J", verify_other, NULL},
    {"K", verify_other, NULL},        {"N", verify_other, NULL},
    {"P", verify_other, NULL},        {"Q", verify_other, NULL},
    {"S", verify_other, NULL},        {"W", verify_other, NULL},
    {"X", verify_other, NULL},        {"Y", verify_other, NULL},
    {"Z", verify_other, NULL},        {"b", verify_other, NULL},
    {"e", verify_other, NULL},        {"h", verify_other, NULL},
    {"k", verify_other, NULL},        {"n", verify_other, NULL},
    {"p", verify_other, NULL},        {"q", verify_other, NULL},
    {"w", verify_other, NULL},
};

static const struct {
    const char *word;
    bool is_damage;
    const char *sentence;
} kinds[] = {
#define X(name, word, is_damage, sentence) {word, is_damage, sentence},
    VERIFY_KINDS(X)
#undef X
};

static void open_phase(struct verify *verify);
static void close_cursors(struct verify *verify);
static void open_cursor(struct verify *verify, struct cursor *cursor, struct slice from,
                        struct slice to);
static bool step_strange(struct verify *verify);
static bool step_meta(struct verify *verify);
static void enter_family(struct verify *verify);
static bool next_phase(struct verify *verify);

const char *verify_word(enum verify_kind kind)
{
    CHECK(kind < VERIFY_KIND_COUNT);
    return kinds[kind].word;
}

const char *verify_sentence(enum verify_kind kind)
{
    CHECK(kind < VERIFY_KIND_COUNT);
    return kinds[kind].sentence;
}

bool verify_is_damage(enum verify_kind kind)
{
    CHECK(kind < VERIFY_KIND_COUNT);
    return kinds[kind].is_damage;
}

/* ---- life ----------------------------------------------------------------------------------- */

static uint32_t family_at(const struct verify *verify, uint32_t place)
{
    CHECK(place < verify->shard_count + 2);
    if (place < verify->shard_count) {
        return place;
    }
    return place == verify->shard_count ? KV_FAMILY_DELIVER : KV_FAMILY_META;
}

/* By the tables' own words: a store that was just opened knows few of its rows otherwise. */
static uint64_t estimate_rows(struct verify *verify)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < verify->shard_count + 2; i++) {
        struct kv_stat stat = {.rows = 0};
        kv_stat_count(verify->kv, family_at(verify, i), &stat);
        sum += stat.rows;
    }
    return sum;
}

/* What is over by the daemon's clock: a day that its ledger or the ids have seen counts, also when
 * this machine's clock is behind. */
static uint32_t find_today(struct verify *verify)
{
    uint64_t now = verify->options.now_unix_ms;
    uint32_t day = 0;
    struct slice bytes;
    struct row_ledger ledger;
    struct key key = key_shard_meta();
    for (uint32_t i = 0; i < verify->shard_count; i++) {
        struct row_shard_meta meta;
        if (verify_get(verify, i, &key, &bytes) == FOUND &&
            row_shard_meta_decode(bytes, &meta) == ERR_OK) {
            now = max_u64(now, meta.id_floor_ms);
        }
    }
    key = key_ledger(FACT_EXPIRED);
    if (verify_get(verify, KV_FAMILY_DELIVER, &key, &bytes) == FOUND &&
        row_ledger_decode(bytes, &ledger) == ERR_OK && ledger.value < UINT32_MAX) {
        day = (uint32_t)ledger.value + 1;
    }
    arena_clear(&verify->scratch);
    return clock_day_of(now) > day ? clock_day_of(now) : day;
}

struct verify *verify_new(struct kv *kv, const struct verify_options *options)
{
    struct verify *verify = mem_zalloc(sizeof(*verify));
    verify->kv = kv;
    verify->options = *options;
    verify->shard_count = kv_shard_count(kv);
    verify->snapshot = kv_snapshot_new(kv);
    verify->findings = mem_zalloc(VERIFY_FINDINGS_MAX * sizeof(*verify->findings));
    verify->losts = mem_zalloc(LOST_MAX * sizeof(*verify->losts));
    arena_init(&verify->scratch, SCRATCH_BYTES, SCRATCH_MAX);
    buf_init(&verify->words, WORDS_MAX);
    verify->rows_estimated = estimate_rows(verify);
    verify->today = find_today(verify);
    enter_family(verify);
    return verify;
}

void verify_free(struct verify *verify)
{
    if (verify == NULL) {
        return;
    }
    close_cursors(verify);
    kv_snapshot_free(verify->kv, verify->snapshot);
    arena_fini(&verify->scratch);
    buf_fini(&verify->words);
    free(verify->losts);
    free(verify->findings);
    free(verify);
}

/* ---- steps ---------------------------------------------------------------------------------- */

bool verify_step(struct verify *verify, uint64_t budget_us)
{
    bool has_more = verify->place < verify->shard_count + 2;
    uint32_t units = 0;
    uint64_t started_us = clock_mono_us();
    uint64_t now_us = started_us;
    while (has_more && now_us - started_us < budget_us) {
        arena_clear(&verify->scratch);
        if (!verify->is_open) {
            open_phase(verify);
        }
        bool is_on = verify->family == KV_FAMILY_META    ? step_meta(verify)
                     : verify->phase < ARRAY_LEN(phases) ? phases[verify->phase].step(verify)
                                                         : step_strange(verify);
        if (!is_on) {
            has_more = next_phase(verify);
        }
        if (++units % UNITS_A_LOOK == 0 || !is_on) {
            now_us = clock_mono_us();
        }
    }
    verify->spent_us += clock_mono_us() - started_us;
    return has_more;
}

static void enter_family(struct verify *verify)
{
    struct key key = key_shard_meta();
    struct slice bytes;
    struct row_shard_meta meta;
    verify->family = family_at(verify, verify->place);
    verify->phase = 0;
    verify->files_expected = 0;
    verify->files_seen = 0;
    verify->has_floor = verify->family != KV_FAMILY_META &&
                        verify_get(verify, verify->family, &key, &bytes) == FOUND &&
                        row_shard_meta_decode(bytes, &meta) == ERR_OK;
    verify->id_floor_ms = verify->has_floor ? meta.id_floor_ms : 0;
}

static bool next_phase(struct verify *verify)
{
    if (verify->family != KV_FAMILY_META && verify->phase < ARRAY_LEN(phases) &&
        phases[verify->phase].end != NULL) {
        phases[verify->phase].end(verify);
    }
    close_cursors(verify);
    verify->is_again = false;
    verify->phase++;
    if (verify->family == KV_FAMILY_META || verify->phase > ARRAY_LEN(phases)) {
        verify->place++;
        if (verify->place == verify->shard_count + 2) {
            return false;
        }
        enter_family(verify);
    }
    return true;
}

static void open_phase(struct verify *verify)
{
    verify->is_open = true;
    if (verify->family == KV_FAMILY_META) {
        open_cursor(verify, &verify->cursors[0], SLICE(""), SLICE(""));
        return;
    }
    if (verify->phase == ARRAY_LEN(phases)) {
        return; /* strange tags: the step opens what it needs */
    }
    const char *tags = phases[verify->phase].tags;
    verify->is_again = phases[verify->phase].step == verify_files;
    CHECK(strlen(tags) <= CURSORS_MAX);
    for (size_t i = 0; tags[i] != '\0'; i++) {
        char to = (char)(tags[i] + 1);
        open_cursor(verify, &verify->cursors[i], slice_of(&tags[i], 1), slice_of(&to, 1));
        cursor_next(verify, &verify->cursors[i]);
    }
}

static void close_cursors(struct verify *verify)
{
    for (size_t i = 0; i < CURSORS_MAX; i++) {
        kv_iter_close(verify->cursors[i].iter);
        verify->cursors[i].iter = NULL;
    }
    verify->is_open = false;
}

/* ---- cursors -------------------------------------------------------------------------------- */

static void open_cursor(struct verify *verify, struct cursor *cursor, struct slice from,
                        struct slice to)
{
    CHECK(cursor->iter == NULL);
    *cursor = (struct cursor){.iter = NULL};
    bool is_short = key_copy(from, &cursor->from) && key_copy(to, &cursor->to);
    CHECK(is_short);
    cursor->scan = (struct kv_scan){
        .snapshot = verify->snapshot,
        .family = verify->family,
        .from = key_slice(&cursor->from),
        .to = key_slice(&cursor->to),
        .is_bulk = true,
        .is_quiet = true,
    };
    cursor->iter = kv_scan_open(verify->kv, &cursor->scan);
}

/* A row as the store has it, over holes. */
static bool next_raw(struct verify *verify, struct cursor *cursor)
{
    while (!kv_iter_next(cursor->iter, &cursor->key, &cursor->value)) {
        if (kv_iter_err(cursor->iter) == ERR_OK) {
            return false;
        }
        damage_skip(verify->kv, &cursor->scan, key_slice(&cursor->last), &cursor->hole);
        cursor->has_hole = true;
        struct verify_finding finding = {
            .kind = VERIFY_UNREADABLE, .key = cursor->hole.from, .other = cursor->hole.to};
        if (finding.key.len == 0) {
            finding.key = cursor->from;
        }
        (void)snprintf(finding.detail, sizeof(finding.detail), "%s", cursor->hole.files); /* fits */
        verify_say_finding(verify, &finding);
        if (cursor->hole.to.len == 0) {
            return false;
        }
        kv_iter_seek(cursor->iter, key_slice(&cursor->hole.to));
    }
    if (!verify->is_again) {
        verify->rows++;
        verify->bytes += cursor->key.len + cursor->value.len;
    }
    if (!key_copy(cursor->key, &cursor->last)) {
        cursor->last.len = KEY_MAX;
        memcpy(cursor->last.bytes, cursor->key.data, KEY_MAX);
    }
    return true;
}

/* Whether a row of this key belongs into this family of the store. */
static bool is_home(const struct verify *verify, const struct key_parts *parts)
{
    bool is_delivery = verify->family == KV_FAMILY_DELIVER;
    if (parts->shape->tag == 'Z' || parts->shape->tag == 'q') {
        return true;
    }
    if (parts->shape->tag == 'Y' || parts->shape->tag == 'w') {
        return is_delivery;
    }
    if (is_delivery) {
        return false;
    }
    if (parts->shape->tag == 'X') {
        return key_directory_shard(verify->shard_count, parts->text) == verify->family;
    }
    return key_account_shard(verify->shard_count, parts->account) == verify->family;
}

/* Ids name their account, all of them. */
static bool is_of_account(const struct key_parts *parts)
{
    bool has_account = strchr(parts->shape->parts, 'a') != NULL;
    for (size_t i = 0; has_account && i < ARRAY_LEN(parts->ids); i++) {
        if (!id_is_none(parts->ids[i]) && id_account(parts->ids[i]).value != parts->account.value) {
            return false;
        }
    }
    return true;
}

void cursor_next(struct verify *verify, struct cursor *cursor)
{
    cursor->is_there = false;
    while (!cursor->is_there && next_raw(verify, cursor)) {
        if (key_read(cursor->key, &cursor->parts) != ERR_OK ||
            cursor->parts.text.len > KEY_TEXT_MAX || !is_of_account(&cursor->parts)) {
            verify_say_here(verify, VERIFY_KEY, cursor, "%zu bytes", cursor->key.len);
        } else if (!is_home(verify, &cursor->parts)) {
            verify_say_here(verify, VERIFY_MISPLACED, cursor, "found in family %u",
                            (unsigned)verify->family);
        } else {
            cursor->is_there = true;
        }
    }
}

bool cursor_is_blind(const struct cursor *cursor, const struct key *prefix)
{
    struct key end = key_after(prefix);
    if (!cursor->has_hole) {
        return false;
    }
    return slice_compare(key_slice(&end), key_slice(&cursor->hole.from)) > 0 &&
           (cursor->hole.to.len == 0 ||
            slice_compare(key_slice(prefix), key_slice(&cursor->hole.to)) < 0);
}

/* ---- strange keys, and the stamp ------------------------------------------------------------ */

/* The space between the tags, one gap after the other in one unit: there are few rows, if any. */
static bool step_strange(struct verify *verify)
{
    char before = 0;
    size_t count = 0;
    const struct key_shape *shapes = key_shapes(&count);
    for (size_t i = 0; i <= count; i++) {
        char tag = i < count ? shapes[i].tag : 0;
        char from = (char)(before + 1);
        struct cursor *cursor = &verify->cursors[0];
        open_cursor(verify, cursor, before == 0 ? SLICE("") : slice_of(&from, 1),
                    tag == 0 ? SLICE("") : slice_of(&tag, 1));
        while (next_raw(verify, cursor)) {
            verify_say_here(verify, VERIFY_KEY, cursor, "%zu bytes", cursor->key.len);
        }
        kv_iter_close(cursor->iter);
        cursor->iter = NULL;
        before = tag;
    }
    return false;
}

static bool step_meta(struct verify *verify)
{
    struct cursor *cursor = &verify->cursors[0];
    bool has_stamp = false;
    while (next_raw(verify, cursor)) {
        struct row_format row;
        if (!slice_equal(cursor->key, STAMP_KEY)) {
            verify_say_here(verify, VERIFY_KEY, cursor, "beside the format stamp");
            continue;
        }
        has_stamp = true;
        if (row_format_decode(cursor->value, &row) != ERR_OK) {
            verify_say_here(verify, VERIFY_STAMP, cursor, "it does not decode");
        } else if (row.shard_count != verify->shard_count || row.format == 0 || row.boots == 0) {
            verify_say_here(verify, VERIFY_STAMP, cursor, "format %u, %u shards, %u there",
                            (unsigned)row.format, (unsigned)row.shard_count,
                            (unsigned)verify->shard_count);
        }
    }
    if (!has_stamp && !cursor->has_hole) {
        struct key key;
        bool is_short = key_copy(STAMP_KEY, &key);
        CHECK(is_short);
        verify_say(verify, VERIFY_STAMP, &key, "there is none");
    }
    return false;
}

/* ---- point reads ---------------------------------------------------------------------------- */

static enum found get(struct verify *verify, struct kv_place place, const struct key *key,
                      struct slice *value)
{
    arena_clear(&verify->scratch); /* a long thread, all of it read, would not fit */
    enum err err = kv_get_at(verify->kv, place, key_slice(key), &verify->scratch, value);
    return err == ERR_OK ? FOUND : err == ERR_NOT_FOUND ? ABSENT : UNKNOWN;
}

enum found verify_get(struct verify *verify, uint32_t family, const struct key *key,
                      struct slice *value)
{
    return get(verify, (struct kv_place){.snapshot = verify->snapshot, .family = family}, key,
               value);
}

enum found verify_get_now(struct verify *verify, uint32_t family, const struct key *key,
                          struct slice *value)
{
    return get(verify, (struct kv_place){.snapshot = NULL, .family = family}, key, value);
}

/* Owners come in a row, or often, so a few thousand are remembered. */
void verify_owner(struct verify *verify, const struct cursor *cursor)
{
    struct account_id account = cursor->parts.account;
    struct owner *owner = &verify->owners[account.value & (OWNERS_KNOWN - 1)];
    if (owner->is_known && owner->account.value == account.value) {
        return;
    }
    struct slice bytes;
    struct key key = key_account(account);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    *owner = (struct owner){.account = account, .is_known = true, .is_missing = found == ABSENT};
    if (owner->is_missing) {
        char text[ID_TEXT_MAX];
        (void)account_text(account, text); /* it is terminated */
        verify_say(verify, VERIFY_ACCOUNT_MISSING, &key, "%s, of which there are %s rows", text,
                   row_family_name(cursor->parts.shape->row));
    }
}

/* ---- findings ------------------------------------------------------------------------------- */

void verify_say_finding(struct verify *verify, struct verify_finding *finding)
{
    uint32_t room = kinds[finding->kind].is_damage ? VERIFY_FINDINGS_MAX : NOTES_MAX;
    finding->family = verify->family;
    verify->counts[finding->kind]++;
    if (verify->finding_count < room) {
        verify->findings[verify->finding_count++] = *finding;
    }
    if (verify->options.on_finding != NULL) {
        verify->options.on_finding(verify->options.context, finding);
    }
}

void verify_say(struct verify *verify, enum verify_kind kind, const struct key *key,
                const char *fmt, ...)
{
    struct verify_finding finding = {.kind = kind, .key = *key};
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(finding.detail, sizeof(finding.detail), fmt, args); /* cut is fine */
    va_end(args);
    verify_say_finding(verify, &finding);
}

void verify_say_here(struct verify *verify, enum verify_kind kind, const struct cursor *cursor,
                     const char *fmt, ...)
{
    struct verify_finding finding = {.kind = kind, .key = cursor->last};
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(finding.detail, sizeof(finding.detail), fmt, args); /* cut is fine */
    va_end(args);
    verify_say_finding(verify, &finding);
}

const struct verify_finding *verify_findings(const struct verify *verify, uint32_t *count)
{
    *count = verify->finding_count;
    return verify->findings;
}

void verify_progress(const struct verify *verify, struct verify_progress *progress)
{
    *progress = (struct verify_progress){
        .rows = verify->rows,
        .rows_estimated = max_u64(verify->rows_estimated, verify->rows),
        .bytes = verify->bytes,
        .elapsed_ms = verify->spent_us / 1000,
        .family = verify->family,
    };
    uint64_t left = progress->rows_estimated - verify->rows;
    if (verify->rows > 0) {
        progress->left_ms =
            (uint64_t)((double)progress->elapsed_ms * (double)left / (double)verify->rows);
    }
    for (size_t i = 0; i < VERIFY_KIND_COUNT; i++) {
        progress->counts[i] = verify->counts[i];
        *(kinds[i].is_damage ? &progress->damage : &progress->notes) += verify->counts[i];
    }
}
