/* bench_auth.c - what the check of a credential costs, on the real functions of edge and shard.
 *
 * Edge: a key as it stands in a header (syntax, checksum, SHA-256), and texts that were never keys.
 * Shard: a key whose rows are remembered; keys asked for in turn, more than are remembered, so that
 * each is two reads of a warm store; keys bound to a domain; keys of an account that do not exist.
 * CPU of the thread, so what others do beside does not count. Prints `name value unit`.
 *
 * Usage: bench_auth [folder]; the folder (./bench-data) is made, used and left behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "edge/auth.h"
#include "kv/migrate.h"
#include "shards/shard.h"
#include "shards/shard_int.h"

#define ACCOUNTS 20000
#define CHECKS   200000
#define ROUNDS   5

static struct conf conf;
static struct place place;
static struct loop loop;
static struct shard *shard;
static struct actor client;
static struct msg *msg;
static struct auth_key keys[ACCOUNTS];
static struct caller callers[ACCOUNTS];
static struct caller bound;

static uint64_t cpu_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void on_home(struct actor *actor UNUSED, struct msg *home UNUSED)
{
}

typedef void once_fn(uint32_t i);

/* The best of some rounds: the others were disturbed. */
static void measure(const char *name, once_fn *once)
{
    uint64_t best = UINT64_MAX;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t begun = cpu_ns();
        for (uint32_t i = 0; i < CHECKS; i++) {
            once(i);
        }
        best = min_u64(best, cpu_ns() - begun);
    }
    printf("auth.%s %.3f us\n", name, (double)best / CHECKS / 1000);
}

static void check(const struct caller *caller, enum err expected)
{
    struct principal who;
    msg->rate = (struct rate_view){.limit = 0};
    arena_clear(&msg->arena);
    arena_clear(&shard->scratch);
    enum err err = shard_check_caller(shard, msg, caller, &who);
    CHECK(err == expected);
}

static void check_one(uint32_t i UNUSED)
{
    check(&callers[0], ERR_OK);
}

static void check_bound(uint32_t i UNUSED)
{
    check(&bound, ERR_OK);
}

static void check_in_turn(uint32_t i)
{
    check(&callers[i % ACCOUNTS], ERR_OK);
}

static void check_unknown(uint32_t i)
{
    struct caller caller = callers[0];
    memcpy(caller.key_hash.bytes, &i, sizeof i);
    check(&caller, ERR_UNAUTHORIZED);
}

static void check_unknown_account(uint32_t i)
{
    struct caller caller = callers[0];
    caller.account.value += 1 + i;
    check(&caller, ERR_UNAUTHORIZED);
}

static void read_text(struct slice text, enum err expected)
{
    struct caller caller;
    enum err err = auth_key_read(text, &caller);
    CHECK(err == expected);
}

static void read_good(uint32_t i)
{
    read_text(slice_of(keys[i % ACCOUNTS].text, AUTH_KEY_LEN), ERR_OK);
}

static void read_malformed(uint32_t i)
{
    read_text(slice_of(keys[i % ACCOUNTS].text, AUTH_KEY_LEN - 1), ERR_UNAUTHORIZED);
}

static void read_bad_checksum(uint32_t i)
{
    char text[AUTH_KEY_LEN];
    memcpy(text, keys[i % ACCOUNTS].text, sizeof text);
    text[20] = text[20] == 'a' ? 'b' : 'a';
    read_text(slice_of(text, sizeof text), ERR_UNAUTHORIZED);
}

static void put(struct kv_batch *batch, struct key key, struct buf *value)
{
    kv_batch_put(batch, key_slice(&key), buf_slice(value));
    buf_clear(value);
}

static void put_key(struct kv_batch *batch, const struct caller *caller, struct slice domains)
{
    struct buf value;
    struct row_api_key row = {
        .id = id_random(),
        .name = SLICE("Production mailer"),
        .domains = domains,
        .prefix = SLICE("mk_live_01234567"),
        .last4 = SLICE("wxyz"),
        .is_enabled = true,
        .last_used_unix_ms = clock_unix_ms() + UINT64_C(3600000), /* so that no use is noted */
        .last_used_ip = SLICE("203.0.113.7"),
    };
    buf_init(&value, MIB);
    row_api_key_encode(&row, &value);
    put(batch, key_api_key(caller->account, &caller->key_hash), &value);
    buf_fini(&value);
}

static void fill(struct kv *kv)
{
    struct kv_batch *batch = kv_batch_new(0);
    struct buf value;
    buf_init(&value, MIB);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        struct account_id account = account_random();
        struct row_account row = {.id = account, .name = SLICE("An account")};
        auth_key_make(MODE_LIVE, account, &keys[i]);
        callers[i] = (struct caller){.account = account, .key_hash = keys[i].hash};
        row_account_encode(&row, &value);
        put(batch, key_account(account), &value);
        put_key(batch, &callers[i], SLICE(""));
    }
    struct id domain = id_random();
    char text[ID_TEXT_MAX];
    struct row_domain row = {.id = domain, .name = SLICE("bench.test")};
    row_domain_encode(&row, &value);
    put(batch, key_domain(callers[0].account, domain), &value);
    buf_put_slice(&value, slice_of(text, id_text(ID_DOMAIN, domain, text)));
    bound = callers[0];
    bound.key_hash.bytes[0] ^= 1;
    put_key(batch, &bound, buf_slice(&value));
    buf_fini(&value);
    if (kv_write(kv, batch) != ERR_OK || kv_flush(kv) != ERR_OK) {
        fatal("the store refused the rows: free some space and run again");
    }
    kv_batch_free(batch);
    kv_compact(kv, 0); /* so that what is not remembered is read out of table files */
}

int main(int argc, char **argv)
{
    char *none[] = {argv[0], NULL};
    struct kv *kv;
    struct store_stamp stamp;
    struct utsname machine;
    struct kv_options options = {
        .path = slice_str(argc > 1 ? argv[1] : "bench-data"),
        .shard_count = 1,
        .cache_bytes = 48 * MIB,
        .memtable_bytes = 64 * MIB,
    };
    crypto_init();
    log_set_level(LOG_LEVEL_ERROR);
    CHECK(uname(&machine) == 0);
    printf("# %s %s %s\n", machine.sysname, machine.release, machine.machine);
    if (!conf_load(&conf, 1, none) || kv_open(&options, &kv) != ERR_OK ||
        migrate_open(kv, clock_unix_ms(), &stamp) != ERR_OK) {
        fatal("the store cannot be opened: name an empty folder");
    }
    conf.rate_account_per_min = conf.rate_key_per_min = UINT32_MAX;
    loop_init(&loop, "bench", 0);
    place = (struct place){.conf = &conf, .shard_count = 1, .loop_count = 1};
    shard = shard_new(&place, kv, 0, &loop);
    actor_init(&client, &(struct actor_options){.name = "client",
                                                .loop = &loop,
                                                .handle = on_home,
                                                .pool_counts = {[MSG_POOL_REQUEST] = 1},
                                                .port_depth_max = 1});
    msg = msg_take(&client, MSG_SHARD_CHECK);
    CHECK(msg != NULL);
    fill(kv);
    measure("key_text", read_good);
    measure("malformed", read_malformed);
    measure("bad_checksum", read_bad_checksum);
    measure("cached", check_one);
    measure("cached_with_domain", check_bound);
    measure("uncached", check_in_turn);
    measure("unknown_key", check_unknown);
    measure("unknown_account", check_unknown_account);
    kv_close(kv); /* the rest ends with the process */
    return 0;
}
