/* placement.c - which loop has which shard. */
#include "shards/placement.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "kv/key.h"
#include "kv/row.h"
#include "shards/msg.h"
#include "shards/place.h"

#include <string.h>

#define VERSION       1 /* of the note's value */
#define EVEN          1000
#define GAIN_PART_MIN 20 /* a move gains at least this part of the mean */
#define IDLE_PART     50 /* less than this part of the window: there is nothing to tell from */

void placement_init(struct placement *placement, uint32_t shard_count, uint32_t loop_count)
{
    CHECK(shard_count <= SHARD_COUNT_MAX);
    *placement = (struct placement){.shard_count = shard_count, .loop_count = loop_count};
    for (uint32_t i = 0; i < shard_count; i++) {
        placement->loops[i] = place_loop_of_shard(i, loop_count);
    }
}

/* ---- kept ----------------------------------------------------------------------------------- */

void placement_write(const struct placement *placement, struct buf *out)
{
    buf_add_byte(out, VERSION);
    buf_put_u32(out, placement->shard_count);
    buf_put_u32(out, placement->loop_count);
    for (uint32_t i = 0; i < placement->shard_count; i++) {
        buf_put_u32(out, placement->loops[i]);
    }
}

bool placement_read(struct placement *placement, struct slice value)
{
    struct placement found = {.shard_count = 0};
    if (value.len == 0 || value.data[0] != VERSION) {
        return false;
    }
    value = slice_from(value, 1);
    if (!get_u32(&value, &found.shard_count) || !get_u32(&value, &found.loop_count) ||
        found.shard_count != placement->shard_count || found.loop_count != placement->loop_count) {
        return false;
    }
    for (uint32_t i = 0; i < found.shard_count; i++) {
        if (!get_u32(&value, &found.loops[i]) || found.loops[i] >= found.loop_count) {
            return false;
        }
    }
    *placement = found;
    return value.len == 0;
}

void placement_load(struct placement *placement, struct kv *kv)
{
    struct arena arena;
    struct slice bytes;
    struct row_note row;
    struct key key = key_note(NOTE_PLACES, SLICE(PLACEMENT_NAME));
    arena_init(&arena, 4 * KIB, MIB);
    enum err err = kv_get(kv, KV_FAMILY_DELIVER, key_slice(&key), &arena, &bytes);
    if (err == ERR_OK) {
        err = row_note_decode(bytes, &row);
    }
    if (err == ERR_OK && !placement_read(placement, row.value)) {
        LOG_INFO("main.places_forgotten", LOG_U64("loops", placement->loop_count),
                 LOG_STR("reason", "they were made for another number of loops"));
    } else if (err != ERR_OK && err != ERR_NOT_FOUND) {
        LOG_WARN("main.places_forgotten", LOG_ERR(err));
    }
    arena_fini(&arena);
}

/* ---- better --------------------------------------------------------------------------------- */

uint32_t placement_balance(const uint64_t *loop_us, uint32_t count)
{
    uint64_t sum = 0;
    uint64_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += loop_us[i];
        most = max_u64(most, loop_us[i]);
    }
    return sum == 0 ? EVEN : (uint32_t)min_u64(most * EVEN * count / sum, UINT32_MAX);
}

/* The shard of loop `from` that leaves the higher of the two loops lowest, and how low. */
static uint32_t best_shard(const struct main_places *places, const uint32_t *loops, uint32_t from,
                           uint32_t to, uint64_t *height)
{
    uint32_t best = SHARD_COUNT_MAX;
    *height = places->planned_us[from];
    for (uint32_t i = 0; i < places->shard_count; i++) {
        uint64_t us = places->shard_us[i];
        if (loops[i] != from || us == 0) {
            continue;
        }
        uint64_t left = places->planned_us[from] - min_u64(us, places->planned_us[from]);
        uint64_t now = max_u64(left, places->planned_us[to] + us);
        if (now < *height) {
            *height = now;
            best = i;
        }
    }
    return best;
}

/* A shard that the plan moves twice is moved once, to where it ends. */
static void add_move(struct main_places *places, uint32_t shard, uint32_t to)
{
    for (uint32_t i = 0; i < places->move_count; i++) {
        if (places->moves[i].shard == shard) {
            places->moves[i].to = to;
            return;
        }
    }
    CHECK(places->move_count < ARRAY_LEN(places->moves));
    places->moves[places->move_count++] =
        (struct shard_move){.shard = shard, .from = places->loops[shard], .to = to};
}

void placement_plan(struct main_places *places)
{
    uint32_t loops[SHARD_COUNT_MAX];
    uint32_t count = places->loop_count;
    uint64_t sum = 0;
    CHECK(count > 0);
    memcpy(loops, places->loops, sizeof(loops));
    memcpy(places->planned_us, places->loop_us, sizeof(places->planned_us));
    places->move_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += places->loop_us[i];
    }
    if (sum < places->window_us / IDLE_PART) {
        return;
    }
    for (uint32_t turn = 0; turn < places->shard_count; turn++) {
        uint32_t high = 0;
        uint32_t low = 0;
        for (uint32_t i = 1; i < count; i++) {
            high = places->planned_us[i] > places->planned_us[high] ? i : high;
            low = places->planned_us[i] < places->planned_us[low] ? i : low;
        }
        uint64_t height = 0;
        uint32_t shard = best_shard(places, loops, high, low, &height);
        if (shard == SHARD_COUNT_MAX ||
            places->planned_us[high] - height < sum / count / GAIN_PART_MIN) {
            return;
        }
        uint64_t us = min_u64(places->shard_us[shard], places->planned_us[high]);
        places->planned_us[high] -= us;
        places->planned_us[low] += us;
        loops[shard] = low;
        add_move(places, shard, low);
    }
}
