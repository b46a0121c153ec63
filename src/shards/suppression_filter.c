/* suppression_filter.c - Bloom filters over the keys of suppression rows.
 *
 * Four probes in 10 bits a row let one in eighty pass that has no row. The hash is a plain one: who
 * makes addresses collide makes their own mails cost a look at the store.
 */
#include "shards/suppression_filter.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <stdlib.h>

#define PROBES       4
#define BITS_PER_ROW 10
#define WRITTEN_BITS (64 * KIB * 8)
#define WORD_BITS    64

/* The scan at the start of a run. On the heap: no message asked for it. */
struct filter_scan {
    struct shard_job job;
    struct suppression_bits bits;
    uint64_t row_count;
    enum err err;
};

static void scan_work(struct shard_job *job);
static void scan_done(struct shard_job *job);

static uint64_t hash_key(struct slice key)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a, and a mix at the end for the high bits */
    for (size_t i = 0; i < key.len; i++) {
        hash = (hash ^ (uint8_t)key.data[i]) * 0x100000001b3;
    }
    hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93;
    return hash ^ (hash >> 32);
}

static void bits_init(struct suppression_bits *bits, uint64_t bit_count)
{
    CHECK(bit_count % WORD_BITS == 0);
    bits->bit_count = bit_count;
    bits->words = mem_zalloc(bit_count / 8);
}

static void bits_add(struct suppression_bits *bits, struct slice key)
{
    uint64_t hash = hash_key(key);
    for (uint32_t i = 0; i < PROBES; i++) {
        uint64_t at = (hash + i * (hash >> 32 | 1)) & (bits->bit_count - 1);
        bits->words[at / WORD_BITS] |= 1ULL << at % WORD_BITS;
    }
}

static bool bits_have(const struct suppression_bits *bits, struct slice key)
{
    if (bits->words == NULL) {
        return false;
    }
    uint64_t hash = hash_key(key);
    for (uint32_t i = 0; i < PROBES; i++) {
        uint64_t at = (hash + i * (hash >> 32 | 1)) & (bits->bit_count - 1);
        if ((bits->words[at / WORD_BITS] & 1ULL << at % WORD_BITS) == 0) {
            return false;
        }
    }
    return true;
}

void suppression_filter_start(struct shard *shard)
{
    struct filter_scan *scan = mem_zalloc(sizeof(*scan));
    shard_offload(shard, &scan->job, scan_work, scan_done);
}

/* Counts, then fills: how long the filter has to be is not known before. */
static void scan_work(struct shard_job *job)
{
    struct filter_scan *scan = CONTAINER_OF(job, struct filter_scan, job);
    struct shard *shard = job->shard;
    struct key from = key_prefix_all_suppressions();
    struct key to = key_after(&from);
    struct slice key;
    struct slice value;
    for (uint32_t pass = 0; pass < 2 && scan->err == ERR_OK; pass++) {
        if (pass == 1) {
            uint64_t bit_count = WORD_BITS;
            while (bit_count < scan->row_count * BITS_PER_ROW &&
                   bit_count < SUPPRESSION_FILTER_MAX * 8) {
                bit_count *= 2;
            }
            bits_init(&scan->bits, bit_count);
        }
        struct kv_iter *iter =
            kv_iter_open(shard->kv, shard->family, key_slice(&from), key_slice(&to), false);
        while (kv_iter_next(iter, &key, &value)) {
            if (pass == 0) {
                scan->row_count++;
            } else {
                bits_add(&scan->bits, key);
            }
        }
        scan->err = kv_iter_err(iter);
        kv_iter_close(iter);
    }
}

static void scan_done(struct shard_job *job)
{
    struct filter_scan *scan = CONTAINER_OF(job, struct filter_scan, job);
    struct shard *shard = job->shard;
    if (scan->err == ERR_OK) {
        shard->suppressions.stored = scan->bits;
        shard->suppressions.is_ready = true;
    } else {
        LOG_WARN("shard.suppression_filter", LOG_U64("family", shard->family), LOG_ERR(scan->err));
        free(scan->bits.words);
    }
    free(scan);
}

void suppression_filter_fini(struct suppression_filter *filter)
{
    free(filter->stored.words);
    free(filter->written.words);
    *filter = (struct suppression_filter){.is_ready = false};
}

void suppression_filter_note(struct suppression_filter *filter, struct slice key)
{
    if (filter->written.words == NULL) {
        bits_init(&filter->written, WRITTEN_BITS);
    }
    bits_add(&filter->written, key);
}

bool suppression_filter_may_have(const struct suppression_filter *filter, struct slice key)
{
    return !filter->is_ready || bits_have(&filter->written, key) || bits_have(&filter->stored, key);
}
