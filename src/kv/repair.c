/* repair.c - the rounds over a closed store, the table of rules, and quarantine. */
#include "kv/repair.h"

#include "base/check.h"
#include "base/limits.h"
#include "kv/repair_int.h"
#include "kv/verify_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX      10         /* what one round repairs, another one may see the use of */
#define ROW_MAX         (3 * MIB)  /* one encoded row, quarantined ones too */
#define DEED_ARENA_MAX  (32 * MIB) /* rows read for one deed */
#define DEED_ROWS_MAX   100000     /* put aside at once; the rest in the next round */
#define DEED_BYTES_MAX  (8 * MIB)  /* likewise */
#define FAMILIES_A_DEED 2

struct repair {
    struct kv *kv;
    struct repair_options options;
    struct verify *verify;
    struct arena arena;
    struct kv_batch *batches[FAMILIES_A_DEED]; /* of one deed */
    struct repair_rows rows;
    uint64_t counts[REPAIR_LEFT + 1];
    uint64_t done_in_round;
    uint32_t round;
    bool needs_sync;
    enum err err;
};

static void on_finding(void *context, const struct verify_finding *finding);
static void quarantine(struct patient *patient);
static void begin_round(struct repair *repair);

/* ---- rules ---------------------------------------------------------------------------------- */

static void leave(struct patient *patient)
{
    static const struct {
        enum verify_kind kind;
        const char *text;
    } words[] = {
        {VERIFY_UNREADABLE, "stop meerkatd and run repair --salvage: what can be read is copied "
                            "into a new store"},
        {VERIFY_STAMP, "restore the store from a backup"},
        {VERIFY_ROW_ID, "it decodes, so it is not put aside; look at it with shard N"},
        {VERIFY_ACCOUNT_MISSING, "restore the account's row from a backup; without it, its rows "
                                 "cannot be reached"},
        {VERIFY_BODY, "restore the store from a backup, or delete the mail"},
        {VERIFY_ATTACHMENT, "restore the store from a backup, or delete the mail"},
        {VERIFY_ATTACHMENT_DATA, "its link will fail; restore the store from a backup, or wait for "
                                 "its day"},
        {VERIFY_HOOK_ROUTE, "set the domain's webhook again"},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (words[i].kind == patient->finding->kind) {
            patient_left(patient, "%s", words[i].text);
            return;
        }
    }
    patient_left(patient, "nothing can be done about it from the rows alone");
}

static void ignore(struct patient *patient)
{
    patient->deed->result = REPAIR_NOTHING;
}

static void put_aside(struct patient *patient)
{
    patient_put_aside(patient, &patient->finding->key, verify_sentence(patient->finding->kind));
}

/* Rows under a mail's id, when there is no mail: one that cannot be read is there. */
static void put_orphans_aside(struct patient *patient)
{
    struct key mail = patient->finding->key;
    struct slice value;
    mail.bytes[0] = 'M'; /* its id follows, as in the others' keys */
    if (patient_get(patient, &mail, &value) != ERR_NOT_FOUND) {
        return;
    }
    patient_put_all_aside(patient, &patient->finding->key, verify_sentence(patient->finding->kind));
}

static const struct {
    enum verify_kind kind;
    void (*rule)(struct patient *patient);
} rules[] = {
    {VERIFY_UNREADABLE, leave},
    {VERIFY_KEY, quarantine},
    {VERIFY_MISPLACED, put_aside},
    {VERIFY_ROW, quarantine},
    {VERIFY_ROW_ID, leave},
    {VERIFY_STAMP, leave},
    {VERIFY_ACCOUNT_MISSING, leave},
    {VERIFY_MEMBER_COUNT, repair_members},
    {VERIFY_MAIL_MISSING, put_orphans_aside},
    {VERIFY_MAIL_COUNT, repair_mail_counts},
    {VERIFY_DELIVERY_MISSING, repair_mail_counts},
    {VERIFY_DELIVERY_GROUP, repair_group},
    {VERIFY_BODY, leave},
    {VERIFY_ATTACHMENT, leave},
    {VERIFY_ATTACHMENT_DATA, leave},
    {VERIFY_STAGE_OF_MAIL, repair_stage},
    {VERIFY_OUTBOX_MISSING, repair_outbox_missing},
    {VERIFY_OUTBOX_DUE, repair_outbox_due},
    {VERIFY_OUTBOX_DANGLING, repair_outbox_dangling},
    {VERIFY_OUTBOX_TWICE, repair_outbox_twice},
    {VERIFY_REF_MISSING, repair_ref},
    {VERIFY_REF_DANGLING, repair_ref_dangling},
    {VERIFY_PLACE_MISSING, repair_place},
    {VERIFY_PLACE_DANGLING, repair_place_dangling},
    {VERIFY_THREAD_MISSING, repair_thread},
    {VERIFY_THREAD_COUNT, repair_thread},
    {VERIFY_MAILBOX_NAME, repair_mailbox_name},
    {VERIFY_DOMAIN_NAME, repair_domain_name},
    {VERIFY_KEY_ID, repair_key_id},
    {VERIFY_ROUTE_LIST, repair_route_list},
    {VERIFY_HOOK_ROUTE, leave},
    {VERIFY_DIRECTORY, repair_name},
    {VERIFY_ID_FLOOR, repair_floor},
    {VERIFY_STAGE_OPEN, ignore},
    {VERIFY_DISCARDED, ignore},
    {VERIFY_OUTBOX_IDLE, ignore},
    {VERIFY_DATA_ORPHAN, ignore},
    {VERIFY_KEY_DUE, ignore},
    {VERIFY_CLAIM, repair_name},
    {VERIFY_UNCLAIMED, repair_unclaimed},
    {VERIFY_QUARANTINED, ignore},
};
_Static_assert(ARRAY_LEN(rules) == VERIFY_KIND_COUNT, "a rule for each kind");

void repair_one(struct repair_rows *rows, const struct verify_finding *finding,
                struct repair_deed *deed)
{
    struct patient patient = {
        .rows = rows, .finding = finding, .deed = deed, .family = finding->family};
    *deed = (struct repair_deed){.result = REPAIR_NOTHING,
                                 .kind = finding->kind,
                                 .family = finding->family,
                                 .key = finding->key};
    CHECK(finding->kind < VERIFY_KIND_COUNT);
    CHECK(rules[finding->kind].kind == finding->kind);
    if (key_read(key_slice(&finding->key), &patient.at) != ERR_OK) {
        patient.at.shape = NULL; /* or a prefix: the rules that take one know */
    }
    buf_init(&patient.bytes, ROW_MAX);
    arena_clear(rows->arena);
    rules[finding->kind].rule(&patient);
    if (patient.is_broken) {
        patient_left(&patient, "a row of it is too large to be kept in quarantine; look at it with "
                               "shard N before anything else");
    }
    buf_fini(&patient.bytes);
}

/* ---- quarantine ----------------------------------------------------------------------------- */

/* What does not decode. Those that others hang on stay where they are, or nothing would be left to
 * see what was lost. */
static void quarantine(struct patient *patient)
{
    char tag = patient->at.shape != NULL ? patient->at.shape->tag : 0;
    bool has_pack = tag == 's' || tag == 'p'; /* it may decode, and its list be cut */
    struct slice value;
    if (patient_get(patient, &patient->finding->key, &value) != ERR_OK ||
        (tag != 0 && !has_pack && row_check(patient->at.shape->row, value) == ERR_OK &&
         patient->finding->kind == VERIFY_ROW)) {
        return; /* it is gone, or was written anew */
    }
    if (patient->family == KV_FAMILY_META) {
        patient_left(patient, "it does no harm; look at it before anything else");
    } else if (tag == 'A') {
        patient_left(patient, "the account cannot be read: restore it from a backup");
    } else if (tag == 'M') {
        repair_mail_row(patient);
    } else if (tag == 'Z') {
        repair_floor(patient);
    } else {
        patient_put_aside(patient, &patient->finding->key,
                          tag == 0 ? "no key of ours" : "the row does not decode");
        if (patient->deed->result == REPAIR_DONE && tag == 'V') {
            MAIL_TEXT(mail, patient->at.ids[0]);
            patient_done(patient,
                         "put delivery %u of %s aside, which cannot be read: whether its recipient "
                         "got the mail is not known, and it is not tried again",
                         (unsigned)patient->at.numbers[0], mail);
        } else if (patient->deed->result == REPAIR_DONE && tag == 'K') {
            patient_done(patient, "put an API key aside that cannot be read: it opens nothing, and "
                                  "whoever uses it needs a new one");
        }
    }
}

static void put_row_aside(struct patient *patient, const struct key *key, struct slice value,
                          const char *why)
{
    struct row_quarantine row = {
        .key_private = key_slice(key),
        .value_private = value,
        .reason = slice_str(why),
        .created_unix_ms = patient->rows->now_unix_ms,
    };
    const struct sha256 hash = crypto_sha256(key_slice(key));
    patient_put_quarantine(patient, key_quarantine(patient->rows->now_unix_ms, &hash), &row);
    patient_remove(patient, key);
}

static void say_aside(struct patient *patient, const struct key *key, const char *why)
{
    struct buf words;
    buf_init(&words, REPAIR_TEXT_MAX);
    key_print(key_slice(key), &words);
    patient_done(patient, "put %.*s aside (quarantine): %s", SLICE_FMT(buf_slice(&words)), why);
    buf_fini(&words);
}

void patient_put_aside(struct patient *patient, const struct key *key, const char *why)
{
    struct slice value;
    if (patient_get(patient, key, &value) == ERR_OK) {
        put_row_aside(patient, key, value, why);
        say_aside(patient, key, why);
    }
}

struct aside {
    struct patient *patient;
    const char *why;
    uint32_t rows;
    uint64_t bytes;
};

static bool aside_one(void *of, struct slice key, struct slice value)
{
    struct aside *aside = of;
    struct key copy;
    if (key_copy(key, &copy)) {
        put_row_aside(aside->patient, &copy, value, aside->why);
        aside->rows++;
        aside->bytes += value.len;
    }
    return aside->rows < DEED_ROWS_MAX && aside->bytes < DEED_BYTES_MAX;
}

void patient_put_all_aside(struct patient *patient, const struct key *prefix, const char *why)
{
    struct aside aside = {.patient = patient, .why = why};
    if (!patient_scan(patient, prefix, aside_one, &aside) || aside.rows == 0) {
        return;
    }
    struct buf words;
    buf_init(&words, REPAIR_TEXT_MAX);
    key_print(key_slice(prefix), &words);
    patient_done(patient, "put %u rows %.*s aside (quarantine): %s", (unsigned)aside.rows,
                 SLICE_FMT(buf_slice(&words)), why);
    buf_fini(&words);
}

/* ---- for the rules -------------------------------------------------------------------------- */

enum err patient_get(struct patient *patient, const struct key *key, struct slice *value)
{
    return patient->rows->get(patient->rows->context, patient->family, key, patient->rows->arena,
                              value);
}

void patient_remove(struct patient *patient, const struct key *key)
{
    patient->rows->remove(patient->rows->context, patient->family, key);
}

#define ROW(name, NAME, version, fields)                                                           \
    enum err patient_get_##name(struct patient *patient, struct key key, struct row_##name *row)   \
    {                                                                                              \
        struct slice value;                                                                        \
        enum err err = patient_get(patient, &key, &value);                                         \
        return err == ERR_OK ? row_##name##_decode(value, row) : err;                              \
    }                                                                                              \
                                                                                                   \
    void patient_put_##name(struct patient *patient, struct key key, const struct row_##name *row) \
    {                                                                                              \
        buf_clear(&patient->bytes);                                                                \
        row_##name##_encode(row, &patient->bytes);                                                 \
        patient->is_broken |= buf_err(&patient->bytes) != ERR_OK;                                  \
        if (!patient->is_broken) {                                                                 \
            patient->rows->put(patient->rows->context, patient->family, &key,                      \
                               buf_slice(&patient->bytes));                                        \
        }                                                                                          \
    }
ROW_TABLE(ROW)
#undef ROW

bool patient_scan(struct patient *patient, const struct key *prefix, repair_row_fn *fn, void *of)
{
    if (patient->rows->scan == NULL) {
        patient_left(patient, "stop meerkatd and run repair: this takes a look at many rows");
        return false;
    }
    if (patient->rows->scan(patient->rows->context, patient->family, prefix, fn, of) != ERR_OK) {
        patient_left(patient, "its rows cannot all be read: stop meerkatd and run repair "
                              "--salvage");
        return false;
    }
    return true;
}

void patient_done(struct patient *patient, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(patient->deed->text, REPAIR_TEXT_MAX, fmt, args); /* cut is fine */
    va_end(args);
    patient->deed->result = REPAIR_DONE;
}

void patient_left(struct patient *patient, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(patient->deed->text, REPAIR_TEXT_MAX, fmt, args); /* cut is fine */
    va_end(args);
    patient->deed->result = REPAIR_LEFT;
}

/* ---- a closed store ------------------------------------------------------------------------- */

static struct kv_batch *batch_of(struct repair *repair, uint32_t family)
{
    size_t i = 0;
    while (repair->batches[i] != NULL && kv_batch_family(repair->batches[i]) != family) {
        i++;
        CHECK(i < FAMILIES_A_DEED);
    }
    if (repair->batches[i] == NULL) {
        repair->batches[i] = kv_batch_new(family);
    }
    return repair->batches[i];
}

static enum err store_get(void *context, uint32_t family, const struct key *key,
                          struct arena *arena, struct slice *value)
{
    struct repair *repair = context;
    const struct kv_place place = {.family = family};
    return kv_get_at(repair->kv, place, key_slice(key), arena, value);
}

static void store_put(void *context, uint32_t family, const struct key *key, struct slice value)
{
    kv_batch_put(batch_of(context, family), key_slice(key), value);
}

static void store_remove(void *context, uint32_t family, const struct key *key)
{
    kv_batch_delete(batch_of(context, family), key_slice(key));
}

static enum err store_scan(void *context, uint32_t family, const struct key *prefix,
                           repair_row_fn *fn, void *of)
{
    struct repair *repair = context;
    struct key to = key_after(prefix);
    const struct kv_scan scan = {
        .family = family, .from = key_slice(prefix), .to = key_slice(&to), .is_quiet = true};
    struct slice key;
    struct slice value;
    struct kv_iter *iter = kv_scan_open(repair->kv, &scan);
    bool is_on = true;
    while (is_on && kv_iter_next(iter, &key, &value)) {
        is_on = fn(of, key, value);
    }
    enum err err = is_on ? kv_iter_err(iter) : ERR_OK;
    kv_iter_close(iter);
    return err;
}

struct repair *repair_new(struct kv *kv, const struct repair_options *options)
{
    struct repair *repair = mem_zalloc(sizeof(*repair));
    repair->kv = kv;
    repair->options = *options;
    arena_init(&repair->arena, 64 * KIB, DEED_ARENA_MAX);
    repair->rows = (struct repair_rows){
        .context = repair,
        .arena = &repair->arena,
        .shard_count = kv_shard_count(kv),
        .now_unix_ms = options->now_unix_ms,
        .get = store_get,
        .put = store_put,
        .remove = store_remove,
        .scan = store_scan,
    };
    begin_round(repair);
    return repair;
}

void repair_free(struct repair *repair)
{
    if (repair == NULL) {
        return;
    }
    verify_free(repair->verify);
    arena_fini(&repair->arena);
    free(repair);
}

static void begin_round(struct repair *repair)
{
    const struct verify_options options = {
        .now_unix_ms = repair->options.now_unix_ms, .on_finding = on_finding, .context = repair};
    verify_free(repair->verify);
    repair->verify = verify_new(repair->kv, &options);
    repair->round++;
    repair->done_in_round = 0;
    repair->counts[REPAIR_LEFT] = 0;
    repair->counts[REPAIR_NOTHING] = 0;
}

bool repair_step(struct repair *repair, uint64_t budget_us)
{
    if (repair->err != ERR_OK) {
        return false;
    }
    bool is_on = verify_step(repair->verify, budget_us);
    if (repair->needs_sync && repair->err == ERR_OK) {
        repair->err = kv_sync(repair->kv);
        repair->needs_sync = false;
    }
    if (is_on || repair->err != ERR_OK) {
        return repair->err == ERR_OK;
    }
    if (repair->done_in_round == 0 || repair->options.is_dry || repair->round == ROUNDS_MAX) {
        return false;
    }
    begin_round(repair);
    return true;
}

/* The batches of one deed, each whole; where there are two, the first may be there without the
 * second, and the next round finds what is missing. What a rule began and gave up is dropped. */
static enum err write_deed(struct repair *repair, bool is_done)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < FAMILIES_A_DEED && repair->batches[i] != NULL; i++) {
        if (err == ERR_OK && is_done && !repair->options.is_dry) {
            err = kv_write(repair->kv, repair->batches[i]);
        }
        kv_batch_free(repair->batches[i]);
        repair->batches[i] = NULL;
    }
    repair->needs_sync |= is_done && !repair->options.is_dry;
    return err;
}

static void on_finding(void *context, const struct verify_finding *finding)
{
    struct repair *repair = context;
    struct repair_deed deed;
    if (repair->err != ERR_OK) {
        return;
    }
    repair_one(&repair->rows, finding, &deed);
    repair->err = write_deed(repair, deed.result == REPAIR_DONE);
    if (repair->err != ERR_OK) {
        return;
    }
    repair->counts[deed.result]++;
    repair->done_in_round += deed.result == REPAIR_DONE;
    /* What is left is said once. */
    bool is_news = deed.result == REPAIR_DONE || repair->round == 1;
    if (deed.result != REPAIR_NOTHING && is_news && repair->options.on_deed != NULL) {
        repair->options.on_deed(repair->options.context, &deed);
    }
}

enum err repair_err(const struct repair *repair)
{
    return repair->err;
}

uint64_t repair_count(const struct repair *repair, enum repair_result result)
{
    return repair->counts[result];
}

const struct verify *repair_verify(const struct repair *repair)
{
    return repair->verify;
}

uint32_t repair_round(const struct repair *repair)
{
    return repair->round;
}
