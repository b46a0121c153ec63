/* bench_fill.c - makes a store with millions of mails out of one with a few, for bench/big.
 *
 * A daemon made the store: accounts that are all alike (a user, a key, a domain, a webhook), and in
 * one of them a few mails whose subjects say how often each is wanted: "fill 900 ...". Every row of
 * such a mail is read, moved to another account, another time and other recipients, and written
 * again, so that whatever a shard writes about a mail is here too, and the rows agree with each
 * other. Ids of the mail and of what is younger move with it; ids that are older (domain, key,
 * route) become those of the account. What waits is due some time in the next days, each mail at
 * its own time: nothing is delivered at the next start. "site000" in any text becomes one of a
 * thousand numbers.
 *
 * Usage: bench_fill STORE COUNT; the daemon does not run. Prints `name value unit`.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "kv/key.h"
#include "kv/kv.h"
#include "kv/row.h"

#define ACCOUNTS_MAX  4096
#define TEMPLATES_MAX 64
#define ROWS_MAX      256 /* of one template */
#define BLOCK_MAILS   200 /* written to one account in one go */
#define DAYS          30  /* that the mails lie in */
#define DUE_DAYS      3   /* that what waits is due in, from tomorrow on */
#define SITE          "site000"
#define SITES         1000
#define DAY_MS        (UINT64_C(24) * 3600 * 1000)
#define HOUR_MS       (UINT64_C(3600) * 1000)

struct kept_row {
    struct slice key;
    struct slice value;
};

struct pattern {
    struct id mail;
    uint64_t weight;
    uint64_t due_unix_ms; /* of its outbox row; 0: nothing waits */
    struct kept_row rows[ROWS_MAX];
    uint32_t row_count;
};

/* What a mail may refer to that is older than it. */
struct tenant {
    struct account_id id;
    uint32_t family;
    struct id domain;
    struct id key;
    struct id route;
};

struct fill {
    struct kv *kv;
    struct arena arena; /* the patterns */
    struct tenant tenants[ACCOUNTS_MAX];
    uint32_t tenant_count;
    struct tenant *model; /* the one with the patterns */
    struct pattern patterns[TEMPLATES_MAX];
    uint32_t pattern_count;
    uint64_t weights;
    uint64_t now_unix_ms;
    /* of the copy that is being made */
    const struct pattern *pattern;
    const struct tenant *tenant;
    struct arena scratch;
    uint64_t mail_unix_ms;
    uint64_t due_unix_ms;
    char site[sizeof(SITE)];
    uint64_t rows;
    uint64_t bytes;
};

/* ---- reading what is there --------------------------------------------------------------------
 */

typedef void row_fn(struct fill *fill, uint32_t family, struct slice key, struct slice value);

static void each_row(struct fill *fill, uint32_t family, const struct key *prefix, row_fn *fn)
{
    struct key end = key_after(prefix);
    struct slice key;
    struct slice value;
    struct kv_iter *iter =
        kv_iter_open(fill->kv, family, key_slice(prefix), key_slice(&end), false);
    while (kv_iter_next(iter, &key, &value)) {
        fn(fill, family, key, value);
    }
    if (kv_iter_err(iter) != ERR_OK) {
        fatal("the store cannot be read; make a new one");
    }
    kv_iter_close(iter);
}

/* The id that ends a key: an account's first domain, key or route is what it has. */
static struct id last_id(struct slice key)
{
    struct id id;
    CHECK(key.len > sizeof(id.bytes));
    memcpy(id.bytes, key.data + key.len - sizeof(id.bytes), sizeof(id.bytes));
    return id;
}

static void note_domain(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    (void)family; /* an account's rows are all in one */
    (void)value;
    fill->tenants[fill->tenant_count].domain = last_id(key);
}

static void note_key(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    (void)family;
    (void)value;
    fill->tenants[fill->tenant_count].key = last_id(key);
}

static void note_route(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    (void)family;
    (void)value;
    fill->tenants[fill->tenant_count].route = last_id(key);
}

static void note_mail(struct fill *fill, uint32_t family, struct slice key, struct slice value);

static void note_account(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    struct row_account row;
    (void)key;
    if (row_account_decode(value, &row) != ERR_OK || fill->tenant_count == ACCOUNTS_MAX) {
        fatal("an account does not decode, or there are more than %d", ACCOUNTS_MAX);
    }
    struct tenant *tenant = &fill->tenants[fill->tenant_count];
    *tenant = (struct tenant){.id = row.id, .family = family};
    struct key domains = key_prefix_domains(row.id);
    struct key keys = key_prefix_api_key_ids(row.id);
    struct key routes = key_prefix_routes(row.id);
    struct key mails = key_prefix_mails(row.id);
    each_row(fill, family, &domains, note_domain);
    each_row(fill, family, &keys, note_key);
    each_row(fill, family, &routes, note_route);
    if (id_is_none(tenant->domain) || id_is_none(tenant->key) || id_is_none(tenant->route)) {
        fatal("an account lacks a domain, a key or a webhook; bench/big makes such stores");
    }
    each_row(fill, family, &mails, note_mail);
    fill->tenant_count++;
}

static void keep_row(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    struct pattern *pattern = &fill->patterns[fill->pattern_count];
    (void)family;
    if (pattern->row_count == ROWS_MAX) {
        fatal("a mail has more than %d rows; send smaller ones", ROWS_MAX);
    }
    pattern->rows[pattern->row_count++] = (struct kept_row){
        .key = arena_dup(&fill->arena, key),
        .value = arena_dup(&fill->arena, value),
    };
}

/* Outbox rows stand by time: those of this mail among all. */
static void keep_due(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    struct pattern *pattern = &fill->patterns[fill->pattern_count];
    struct outbox_ref ref;
    if (key_read_outbox(key, &ref) == ERR_OK && id_equal(ref.mail, pattern->mail)) {
        pattern->due_unix_ms = ref.due_unix_ms;
        keep_row(fill, family, key, value);
    }
}

static void keep_point(struct fill *fill, uint32_t family, const struct key *key)
{
    struct slice value;
    enum err err = kv_get(fill->kv, family, key_slice(key), &fill->arena, &value);
    if (err == ERR_OK) {
        keep_row(fill, family, key_slice(key), value);
    } else if (err != ERR_NOT_FOUND) {
        fatal("the store cannot be read; make a new one");
    }
}

/* The mail's thread, and the name by which its replies find it. */
static void keep_thread(struct fill *fill, uint32_t family, const struct row_mail *mail)
{
    struct account_id account = id_account(mail->id);
    struct sha256 name = crypto_sha256(mail->message_id);
    struct key thread = key_thread(account, mail->thread);
    struct key member = key_thread_mail(account, mail->thread, mail->id);
    struct key named = key_thread_name(account, &name);
    keep_point(fill, family, &thread);
    keep_point(fill, family, &member);
    keep_point(fill, family, &named);
}

static void keep_refs(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    struct row_delivery row;
    keep_row(fill, family, key, value);
    if (row_delivery_decode(value, &row) != ERR_OK) {
        fatal("a delivery does not decode; make a new store");
    }
    struct key ref = key_delivery_ref(id_account(row.id), row.id);
    keep_point(fill, family, &ref);
}

/* "fill 900 ...": so many of a thousand, about. */
static uint64_t weight_of(struct slice subject)
{
    uint64_t weight = 0;
    if (!slice_starts(subject, SLICE("fill "))) {
        return 0;
    }
    struct slice rest = slice_from(subject, 5);
    return slice_u64(slice_cut(&rest, ' '), &weight) == ERR_OK ? weight : 0;
}

static struct key prefix_of(char tag, struct account_id account, struct id mail)
{
    struct key key = key_mail(account, mail);
    key.bytes[0] = (uint8_t)tag;
    return key;
}

static void note_mail(struct fill *fill, uint32_t family, struct slice key, struct slice value)
{
    static const char plain[] = {'M', 'C', 'T', 'L', 'R', 'E', 's'};
    struct row_mail mail;
    (void)key;
    if (row_mail_decode(value, &mail) != ERR_OK) {
        fatal("a mail does not decode; make a new store");
    }
    uint64_t weight = weight_of(mail.subject);
    if (weight == 0) {
        return;
    }
    if (fill->pattern_count == TEMPLATES_MAX) {
        fatal("more than %d mails to copy", TEMPLATES_MAX);
    }
    fill->model = &fill->tenants[fill->tenant_count];
    struct pattern *pattern = &fill->patterns[fill->pattern_count];
    pattern->mail = mail.id;
    pattern->weight = weight;
    for (size_t i = 0; i < sizeof(plain); i++) {
        struct key prefix = prefix_of(plain[i], id_account(mail.id), mail.id);
        each_row(fill, family, &prefix, keep_row);
    }
    struct key deliveries = key_prefix_deliveries(id_account(mail.id), mail.id);
    struct key outbox = key_prefix_outbox();
    each_row(fill, family, &deliveries, keep_refs);
    each_row(fill, family, &outbox, keep_due);
    if (!id_is_none(mail.thread)) {
        keep_thread(fill, family, &mail);
    }
    fill->weights += weight;
    fill->pattern_count++;
}

/* ---- one copy ---------------------------------------------------------------------------------
 */

static uint64_t read_be(const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static void write_be(uint8_t *bytes, size_t len, uint64_t value)
{
    for (size_t i = len; i > 0; i--) {
        bytes[i - 1] = (uint8_t)value;
        value >>= 8;
    }
}

static struct id map_id(const struct fill *fill, struct id id)
{
    const struct tenant *model = fill->model;
    uint64_t old_ms = id_unix_ms(fill->pattern->mail);
    if (id_is_none(id)) {
        return id;
    }
    if (id_unix_ms(id) >= old_ms && id_account(id).value == model->id.value) {
        write_be(id.bytes, 6, fill->mail_unix_ms + (id_unix_ms(id) - old_ms));
        write_be(id.bytes + 6, 8, fill->tenant->id.value);
        return id;
    }
    return id_equal(id, model->domain)  ? fill->tenant->domain
           : id_equal(id, model->key)   ? fill->tenant->key
           : id_equal(id, model->route) ? fill->tenant->route
                                        : id;
}

static uint64_t map_time(const struct fill *fill, uint64_t unix_ms)
{
    uint64_t old_ms = id_unix_ms(fill->pattern->mail);
    if (unix_ms == 0 || unix_ms == UINT64_MAX) {
        return unix_ms;
    }
    if (unix_ms == fill->pattern->due_unix_ms) {
        return fill->due_unix_ms;
    }
    return unix_ms >= old_ms ? fill->mail_unix_ms + (unix_ms - old_ms) : unix_ms;
}

static struct slice map_text(struct fill *fill, struct slice text)
{
    size_t at = slice_find(text, SLICE(SITE));
    if (at == SIZE_MAX) {
        return text;
    }
    char *copy = arena_bytes(&fill->scratch, text.len);
    memcpy(copy, text.data, text.len);
    while (at < text.len) {
        memcpy(copy + at, fill->site, sizeof(SITE) - 1);
        size_t next = slice_find(slice_from(text, at + 1), SLICE(SITE));
        at = next == SIZE_MAX ? text.len : at + 1 + next;
    }
    return slice_of(copy, text.len);
}

/* Fields that are numbers of another kind stay; times are told by their unit. */
#define IS_TIME(member)     (sizeof(member) > 8 && strstr(member, "unix_ms") != NULL)
#define MAP_U8(member)      (void)row.member
#define MAP_BOOL(member)    (void)row.member
#define MAP_U16(member)     (void)row.member
#define MAP_U32(member)     (void)row.member
#define MAP_SHA(member)     (void)row.member
#define MAP_ACCOUNT(member) (void)row.member
#define MAP_U64(member)                                                                            \
    if (IS_TIME(#member)) {                                                                        \
        row.member = map_time(fill, row.member);                                                   \
    }
#define MAP_ID(member)    row.member = map_id(fill, row.member)
#define MAP_TEXT(member)  row.member = map_text(fill, row.member)
#define MAP(type, member) MAP_##type(member);
#define ROW(name, NAME, version, fields)                                                           \
    static bool copy_##name(struct fill *fill, struct slice value, struct buf *out)                \
    {                                                                                              \
        struct row_##name row;                                                                     \
        if (row_##name##_decode(value, &row) != ERR_OK) {                                          \
            return false;                                                                          \
        }                                                                                          \
        (void)fill;                                                                                \
        fields(MAP) row_##name##_encode(&row, out);                                                \
        return true;                                                                               \
    }
ROW_TABLE(ROW)
#undef ROW

static bool copy_value(struct fill *fill, char tag, struct slice value, struct buf *out)
{
    static bool (*const copies[])(struct fill *, struct slice, struct buf *) = {
#define ROW(name, NAME, version, fields) [ROW_##NAME] = copy_##name,
        ROW_TABLE(ROW)
#undef ROW
    };
    switch (tag) {
#define KEY(NAME, tag, name, row, parts)                                                           \
    case tag:                                                                                      \
        return copies[ROW_##row](fill, value, out);
        KEY_TABLE(KEY)
#undef KEY
    default:
        return false;
    }
}

static const char *parts_of(char tag)
{
    switch (tag) {
#define KEY(NAME, tag, name, row, parts)                                                           \
    case tag:                                                                                      \
        return parts;
        KEY_TABLE(KEY)
#undef KEY
    default:
        return "";
    }
}

/* A thread's name is the hash of a Message-ID, which a copy keeps: in its account it is another. */
static void copy_hash(const struct fill *fill, uint8_t *bytes)
{
    uint8_t text[SHA256_LEN + 8];
    memcpy(text, bytes, SHA256_LEN);
    write_be(text + SHA256_LEN, 8, fill->mail_unix_ms);
    struct sha256 hash = crypto_sha256(slice_of(text, sizeof(text)));
    memcpy(bytes, hash.bytes, SHA256_LEN);
}

static void copy_key(const struct fill *fill, struct slice from, struct key *key)
{
    size_t at = 1;
    struct id id;
    bool has_room = key_copy(from, key);
    CHECK(has_room);
    for (const char *part = parts_of((char)key->bytes[0]); *part != '\0'; part++) {
        switch (*part) {
        case 'a':
            write_be(key->bytes + at, 8, fill->tenant->id.value);
            at += 8;
            break;
        case 'd':
            write_be(key->bytes + at, 8, map_time(fill, read_be(key->bytes + at, 8)));
            at += 8;
            break;
        case 'n':
        case 'y':
            at += 4;
            break;
        case 's':
            copy_hash(fill, key->bytes + at);
            at += SHA256_LEN;
            break;
        default: /* an id */
            memcpy(id.bytes, key->bytes + at, sizeof(id.bytes));
            id = map_id(fill, id);
            memcpy(key->bytes + at, id.bytes, sizeof(id.bytes));
            at += sizeof(id.bytes);
            break;
        }
    }
    CHECK(at == key->len);
}

static void write_copy(struct fill *fill, struct kv_batch *batch, struct buf *value)
{
    for (uint32_t i = 0; i < fill->pattern->row_count; i++) {
        const struct kept_row *row = &fill->pattern->rows[i];
        struct key key;
        buf_clear(value);
        copy_key(fill, row->key, &key);
        if (!copy_value(fill, row->key.data[0], row->value, value)) {
            fatal("a row of a mail to copy does not decode; make a new store");
        }
        kv_batch_put_body(batch, key_slice(&key), buf_slice(value));
        fill->rows++;
        fill->bytes += key.len + value->len;
    }
    arena_clear(&fill->scratch);
}

/* ---- all of them ------------------------------------------------------------------------------
 */

/* Shuffles numbers so that neighbours are unlike; the same for every run. */
static uint64_t mix(uint64_t number)
{
    number *= UINT64_C(0x9e3779b97f4a7c15);
    number ^= number >> 29;
    number *= UINT64_C(0xbf58476d1ce4e5b9);
    return number ^ number >> 32;
}

static const struct pattern *choose(const struct fill *fill, uint64_t number)
{
    uint64_t at = mix(number) % fill->weights;
    uint32_t i = 0;
    while (at >= fill->patterns[i].weight) {
        at -= fill->patterns[i].weight;
        i++;
    }
    return &fill->patterns[i];
}

static void write_all(struct fill *fill, uint64_t count)
{
    uint64_t per_tenant = (count + fill->tenant_count - 1) / fill->tenant_count;
    uint64_t step_ms = DAYS * DAY_MS / per_tenant;
    uint64_t first_ms = fill->now_unix_ms - HOUR_MS - DAYS * DAY_MS;
    uint64_t done = 0;
    struct buf value;
    buf_init(&value, 2 * CHUNK_BYTES);
    step_ms = max_u64(step_ms, 1);
    for (uint64_t block = 0; block < per_tenant; block += BLOCK_MAILS) {
        for (uint32_t i = 0; i < fill->tenant_count; i++) {
            fill->tenant = &fill->tenants[i];
            struct kv_batch *batch = kv_batch_new(fill->tenant->family);
            uint64_t end = min_u64(block + BLOCK_MAILS, per_tenant);
            for (uint64_t n = block; n < end && done < count; n++, done++) {
                fill->pattern = choose(fill, done);
                fill->mail_unix_ms = first_ms + n * step_ms;
                fill->due_unix_ms = fill->now_unix_ms + DAY_MS + mix(done) % (DUE_DAYS * DAY_MS);
                (void)snprintf(fill->site, sizeof(fill->site), "site%03u",
                               (unsigned)(mix(done + 1) % SITES)); /* as long as SITE */
                write_copy(fill, batch, &value);
            }
            if (kv_write(fill->kv, batch) != ERR_OK) {
                fatal("the store refused a batch: free some space and run again");
            }
            kv_batch_free(batch);
        }
        fprintf(stderr, "bench_fill: %" PRIu64 " of %" PRIu64 " mails\n", done, count);
    }
    if (kv_sync(fill->kv) != ERR_OK) {
        fatal("the store cannot be synced; what is in it is not known");
    }
    buf_fini(&value);
}

/* The other accounts' domains are as good as the one that was verified. */
static void verify_domains(struct fill *fill)
{
    struct row_domain good;
    struct row_domain row;
    struct slice value;
    struct buf out;
    struct key key = key_domain(fill->model->id, fill->model->domain);
    buf_init(&out, CHUNK_BYTES);
    for (uint32_t i = 0; i <= fill->tenant_count; i++) {
        /* the model first, then all */
        const struct tenant *tenant = i == 0 ? fill->model : &fill->tenants[i - 1];
        key = key_domain(tenant->id, tenant->domain);
        if (kv_get(fill->kv, tenant->family, key_slice(&key), &fill->arena, &value) != ERR_OK ||
            row_domain_decode(value, i == 0 ? &good : &row) != ERR_OK) {
            fatal("a domain does not decode; make a new store");
        }
        if (i == 0) {
            continue;
        }
        row.status = good.status;
        row.mx_verified = good.mx_verified;
        row.spf_verified = good.spf_verified;
        row.dkim_rsa_verified = good.dkim_rsa_verified;
        row.dkim_ed_verified = good.dkim_ed_verified;
        row.dmarc_verified = good.dmarc_verified;
        row.return_path_verified = good.return_path_verified;
        row.checked_unix_ms = good.checked_unix_ms;
        struct kv_batch *batch = kv_batch_new(tenant->family);
        buf_clear(&out);
        row_domain_encode(&row, &out);
        kv_batch_put(batch, key_slice(&key), buf_slice(&out));
        if (kv_write(fill->kv, batch) != ERR_OK) {
            fatal("the store refused a batch: free some space and run again");
        }
        kv_batch_free(batch);
    }
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    uint64_t count = 0;
    struct fill *fill = mem_zalloc(sizeof(*fill));
    if (argc != 3 || slice_uint(slice_str(argv[2]), 1000000000, &count) != ERR_OK || count == 0) {
        fatal("usage: bench_fill STORE COUNT");
    }
    const struct kv_options options = {.path = slice_str(argv[1]),
                                       .cache_bytes = 64 * MIB,
                                       .memtable_bytes = 512 * MIB,
                                       .must_exist = true};
    crypto_init();
    log_set_level(LOG_LEVEL_ERROR);
    arena_init(&fill->arena, MIB, 256 * MIB);
    arena_init(&fill->scratch, 64 * KIB, 64 * MIB);
    fill->now_unix_ms = clock_unix_ms();
    if (kv_open(&options, &fill->kv) != ERR_OK) {
        fatal("cannot open %s; the line above says why", argv[1]);
    }
    struct key accounts = key_prefix_accounts();
    for (uint32_t i = 0; i < kv_shard_count(fill->kv); i++) {
        each_row(fill, i, &accounts, note_account);
    }
    if (fill->pattern_count == 0) {
        fatal("no mail with a subject \"fill WEIGHT ...\" in %s", argv[1]);
    }
    verify_domains(fill);
    uint64_t begun_ms = clock_mono_ms();
    write_all(fill, count);
    double seconds = (double)(clock_mono_ms() - begun_ms) / 1000;
    printf("fill_accounts %u accounts\n", fill->tenant_count);
    printf("fill_patterns %u mails\n", fill->pattern_count);
    printf("fill_mails %" PRIu64 " mails\n", count);
    printf("fill_rows %" PRIu64 " rows\n", fill->rows);
    printf("fill_bytes %" PRIu64 " bytes\n", fill->bytes);
    printf("fill_seconds %.1f s\n", seconds);
    kv_close(fill->kv);
    arena_fini(&fill->scratch);
    arena_fini(&fill->arena);
    free(fill);
    return 0;
}
