/* Verify and repair over rows of any bytes: neither may stop, whatever is in a store. The input is
 * a list of rows: a byte for the family of the store, one for the length of the key, the key, two
 * for the length of the value, the value; a value whose first byte is even is sealed with a
 * checksum that fits, because random bytes do not get past one. After a repair the rows that were
 * put aside are all that may still be found in the rows' place, and a second repair finds nothing
 * to do.
 *
 * The store is made once and emptied between inputs. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/log.h"
#include "kv/key.h"
#include "kv/migrate.h"
#include "kv/repair.h"

#define SHARDS    2
#define NOW       (UINT64_C(20000) * 86400000)
#define ROWS_MAX  64
#define STEP_US   UINT64_C(1000000)
#define BYTES_MAX (16 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kv *open_store(void)
{
    char path[] = "/tmp/meerkat-fuzz-verify-XXXXXX";
    struct kv *kv = NULL;
    struct store_stamp stamp;
    crypto_init();
    log_set_level(LOG_LEVEL_ERROR);
    CHECK(mkdtemp(path) != NULL);
    const struct kv_options options = {.path = slice_str(path),
                                       .shard_count = SHARDS,
                                       .cache_bytes = MIB,
                                       .memtable_bytes = 8 * MIB};
    enum err err = kv_open(&options, &kv);
    CHECK(err == ERR_OK);
    err = migrate_open(kv, NOW, &stamp);
    CHECK(err == ERR_OK);
    return kv;
}

static void write_batch(struct kv *kv, struct kv_batch *batch)
{
    enum err err = kv_write(kv, batch);
    CHECK(err == ERR_OK);
    kv_batch_free(batch);
}

static void clear(struct kv *kv)
{
    for (uint32_t i = 0; i <= SHARDS; i++) {
        struct kv_batch *batch = kv_batch_new(i < SHARDS ? i : KV_FAMILY_DELIVER);
        kv_batch_delete_range(batch, SLICE("\x00"), SLICE("\xff\xff\xff\xff"));
        write_batch(kv, batch);
    }
}

static bool take_row(struct slice *rest, struct kv *kv)
{
    uint8_t family = 0;
    uint8_t key_len = 0;
    uint16_t value_len = 0;
    struct buf value;
    if (!get_u8(rest, &family) || !get_u8(rest, &key_len) || key_len == 0 || rest->len < key_len) {
        return false;
    }
    struct slice key = slice_head(*rest, key_len);
    *rest = slice_from(*rest, key_len);
    if (!get_u16(rest, &value_len)) {
        return false;
    }
    struct slice bytes = slice_head(*rest, value_len);
    *rest = slice_from(*rest, bytes.len);
    buf_init(&value, 2 * BYTES_MAX);
    buf_add(&value, bytes);
    if (bytes.len > 0 && bytes.data[0] % 2 == 0) {
        value.data[0] = 1; /* the version of most */
        buf_put_u32(&value, crypto_crc32(0, buf_slice(&value)));
    }
    struct kv_batch *batch =
        kv_batch_new(family % (SHARDS + 1) < SHARDS ? family % (SHARDS + 1) : KV_FAMILY_DELIVER);
    kv_batch_put(batch, key, buf_slice(&value));
    write_batch(kv, batch);
    buf_fini(&value);
    return true;
}

static void say(void *context, const struct repair_deed *deed)
{
    if (deed->result == REPAIR_DONE) {
        (void)fprintf(stderr, "%s: %s: %s\n", (const char *)context, verify_word(deed->kind),
                      deed->text); /* of the second repair: what is wrong with the first */
    }
}

static uint64_t repair_all(struct kv *kv, bool is_told)
{
    static char context[] = "again";
    const struct repair_options options = {
        .now_unix_ms = NOW, .on_deed = is_told ? say : NULL, .context = context};
    struct repair *repair = repair_new(kv, &options);
    while (repair_step(repair, STEP_US)) {
    }
    enum err err = repair_err(repair);
    CHECK(err == ERR_OK);
    uint64_t done = repair_count(repair, REPAIR_DONE);
    repair_free(repair);
    return done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kv *kv;
    struct slice rest = slice_of(data, size);
    if (size > BYTES_MAX) {
        return 0;
    }
    if (kv == NULL) {
        kv = open_store();
    }
    for (uint32_t i = 0; i < ROWS_MAX && take_row(&rest, kv); i++) {
    }
    (void)repair_all(kv, getenv("FUZZ_TELL") != NULL);
    CHECK(repair_all(kv, true) == 0); /* what can be done was done */
    clear(kv);
    return 0;
}
