/* keeper_compact.c - the job that compacts the store, one family after the other.
 *
 * Each family is one call on a worker; RocksDB lets go of it within a file's time when the job is
 * cancelled. What was compacted by then stays so.
 */
#include "base/limits.h"
#include "kv/kv_stat.h"
#include "shards/keeper_int.h"

struct compact_job {
    uint32_t families[SHARD_COUNT_MAX + 1];
    uint64_t before[SHARD_COUNT_MAX + 1]; /* bytes */
    uint64_t after[SHARD_COUNT_MAX + 1];
    uint32_t count;
    uint32_t next;
    bool is_out;
};

static uint64_t bytes_of(struct keep_job *job, uint32_t family)
{
    struct kv_stat stat;
    kv_stat_read(job->kv, family, &stat);
    return stat.table_bytes + stat.blob_bytes;
}

static enum err compact_begin(struct keep_job *job, const struct keep_wish *wish)
{
    uint32_t shards = kv_shard_count(job->kv);
    struct compact_job *compact = arena_alloc(&job->arena, sizeof *compact);
    *compact = (struct compact_job){.count = 0};
    job->state = compact;
    if (wish->shard != KEEP_EVERY_SHARD && wish->shard >= shards) {
        return keep_refuse(job, ERR_BAD_FIELD, "the store has the shards 0 to %u",
                           (unsigned)(shards - 1));
    }
    if (wish->shard != KEEP_EVERY_SHARD) {
        compact->families[compact->count++] = wish->shard;
    } else {
        for (uint32_t i = 0; i < shards; i++) {
            compact->families[compact->count++] = i;
        }
        compact->families[compact->count++] = KV_FAMILY_DELIVER;
    }
    job->total = compact->count;
    return ERR_OK;
}

/* Worker. */
static void compact_work(struct keep_job *job)
{
    struct compact_job *compact = job->state;
    kv_compact(job->kv, compact->families[compact->next]);
}

static enum keep_step compact_step(struct keep_job *job, uint64_t budget_us UNUSED)
{
    struct compact_job *compact = job->state;
    if (compact->is_out) {
        compact->after[compact->next] = bytes_of(job, compact->families[compact->next]);
        compact->is_out = false;
        compact->next += 1;
        job->done = compact->next;
    }
    if (compact->next == compact->count) {
        return KEEP_STEP_OVER;
    }
    char name[16];
    keep_at(job, "%s", kv_family_name(compact->families[compact->next], name));
    compact->before[compact->next] = bytes_of(job, compact->families[compact->next]);
    compact->is_out = true;
    keep_offload(job, compact_work);
    return KEEP_STEP_WAIT;
}

static void compact_cancel(struct keep_job *job)
{
    kv_compact_stop(job->kv);
}

static void compact_report(struct keep_job *job, struct json_writer *w)
{
    const struct compact_job *compact = job->state;
    uint64_t before = 0;
    uint64_t after = 0;
    json_key(w, "families");
    json_open_array(w);
    for (uint32_t i = 0; i < compact->next; i++) {
        char name[16];
        json_open_object(w);
        json_key(w, "name");
        json_text(w, slice_str(kv_family_name(compact->families[i], name)));
        json_key(w, "bytesBefore");
        json_u64(w, compact->before[i]);
        json_key(w, "bytesAfter");
        json_u64(w, compact->after[i]);
        json_close_object(w);
        before += compact->before[i];
        after += compact->after[i];
    }
    json_close_array(w);
    json_key(w, "bytesBefore");
    json_u64(w, before);
    json_key(w, "bytesAfter");
    json_u64(w, after);
}

/* Whoever compacts next may. */
static void compact_end(struct keep_job *job)
{
    kv_compact_allow(job->kv);
}

const struct keep_kind keep_compact = {
    .unit = "families",
    .begin = compact_begin,
    .step = compact_step,
    .cancel = compact_cancel,
    .report = compact_report,
    .end = compact_end,
};
