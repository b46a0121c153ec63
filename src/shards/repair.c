/* repair.c - what verify found, repaired by the shard that owns the rows.
 *
 * The rules are those of kv/repair.h. They read through the open batches, so what a shard has
 * written meanwhile counts, and what they write is staged first: a deed is applied whole, or not at
 * all when it would touch another shard's rows or has to look at many. Those are left to a repair
 * of the closed store.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kv/fact.h"
#include "kv/repair.h"
#include "shards/shard_int.h"

#include <stdio.h>

#define STAGED_MAX       128 /* a group of recipients and its outbox row */
#define DEED_ARENA_BYTES (16 * MIB)

_Static_assert((int)FACT_PENDING == (int)DELIVERY_PENDING &&
                   (int)FACT_SCHEDULED == (int)DELIVERY_SCHEDULED &&
                   (int)FACT_DELIVERED == (int)DELIVERY_DELIVERED &&
                   (int)FACT_DEFERRED == (int)DELIVERY_DEFERRED &&
                   (int)FACT_BOUNCED == (int)DELIVERY_BOUNCED &&
                   (int)FACT_FAILED == (int)DELIVERY_FAILED &&
                   (int)FACT_SUPPRESSED == (int)DELIVERY_SUPPRESSED,
               "status of a delivery");
_Static_assert((int)FACT_SMTP == (int)DELIVERY_SMTP && (int)FACT_WEBHOOK == (int)DELIVERY_WEBHOOK,
               "kind of a delivery");
_Static_assert((int)FACT_OUTBOUND == (int)DIRECTION_OUTBOUND &&
                   (int)FACT_INBOUND == (int)DIRECTION_INBOUND,
               "direction of a mail");
_Static_assert((int)FACT_MAIL_QUEUED == (int)MAIL_QUEUED &&
                   (int)FACT_MAIL_DEFERRED == (int)MAIL_DEFERRED &&
                   (int)FACT_MAIL_DELIVERED == (int)MAIL_DELIVERED &&
                   (int)FACT_MAIL_BOUNCED == (int)MAIL_BOUNCED &&
                   FACT_MAIL_SCHEDULED == (int)MAIL_SCHEDULED &&
                   FACT_MAIL_FAILED == (int)MAIL_FAILED,
               "status of a mail");
_Static_assert((int)FACT_DOMAIN_VERIFIED == (int)DOMAIN_VERIFIED, "status of a domain");
_Static_assert(FACT_MODE_LIVE == (int)MODE_LIVE && FACT_ROLE_OWNER == (int)ROLE_OWNER &&
                   FACT_REHEARSAL_NONE == (int)REHEARSAL_NONE &&
                   FACT_REHEARSAL_PLAIN == (int)REHEARSAL_PLAIN,
               "mode, role, rehearsal");
_Static_assert(FACT_GROUP_NONE == DELIVERY_GROUP_NONE && FACT_GROUP_HOOK == HOOK_GROUP, "groups");
_Static_assert((int)FACT_EXPIRED == (int)LEDGER_EXPIRED_DAY, "the ledger's row of days");

/* Writes of one deed, until it is known that all of them are ours. */
struct staged {
    struct key key;
    struct slice value; /* in the deed's arena */
    bool is_removal;
};

struct surgery {
    struct shard *shard;
    struct arena *arena;
    struct staged items[STAGED_MAX];
    uint32_t count;
    bool is_foreign; /* rows of another shard, or too many */
};

static enum err get_row(void *context, uint32_t family, const struct key *key, struct arena *arena,
                        struct slice *value)
{
    struct surgery *surgery = context;
    if (family == surgery->shard->family) {
        return shard_get(surgery->shard, key, arena, value);
    }
    return kv_get_at(surgery->shard->kv, (struct kv_place){.family = family}, key_slice(key), arena,
                     value);
}

static struct staged *stage(struct surgery *surgery, uint32_t family, const struct key *key)
{
    if (family != surgery->shard->family || surgery->count == STAGED_MAX) {
        surgery->is_foreign = true;
        return NULL;
    }
    struct staged *item = &surgery->items[surgery->count++];
    *item = (struct staged){.key = *key};
    return item;
}

static void put_row(void *context, uint32_t family, const struct key *key, struct slice value)
{
    struct surgery *surgery = context;
    struct staged *item = value.len <= ROW_BYTES_MAX ? stage(surgery, family, key) : NULL;
    surgery->is_foreign |= item == NULL;
    if (item != NULL) {
        item->value = arena_dup(surgery->arena, value);
    }
}

static void remove_row(void *context, uint32_t family, const struct key *key)
{
    struct staged *item = stage(context, family, key);
    if (item != NULL) {
        item->is_removal = true;
    }
}

/* What is in memory of the rows that changed goes with them. */
static void forget(struct shard *shard, const struct staged *item)
{
    struct outbox_ref ref;
    struct row_shard_meta meta;
    char tag = (char)item->key.bytes[0];
    if (tag == 'P' || tag == 'p') {
        routing_forget(shard, (struct account_id){0});
    } else if (tag == 'O' && !item->is_removal &&
               key_read_outbox(key_slice(&item->key), &ref) == ERR_OK) {
        struct batch *batch = shard->filling;
        batch->unannounced = min_u64(batch->unannounced, ref.due_unix_ms);
    } else if (tag == 'Z' && !item->is_removal &&
               row_shard_meta_decode(item->value, &meta) == ERR_OK) {
        if (meta.id_floor_ms >= shard->ids.last_ms) {
            id_maker_init(&shard->ids, meta.id_floor_ms);
        }
    }
}

static void apply(struct surgery *surgery)
{
    struct shard *shard = surgery->shard;
    for (uint32_t i = 0; i < surgery->count; i++) {
        const struct staged *item = &surgery->items[i];
        if (item->is_removal) {
            shard_delete(shard, item->key);
        } else {
            shard_put_bytes(shard, key_slice(&item->key), item->value);
        }
        forget(shard, item);
    }
}

static void treat(struct surgery *surgery, const struct verify_finding *finding, bool is_dry,
                  struct repair_deed *deed)
{
    struct shard *shard = surgery->shard;
    struct repair_rows rows = {
        .context = surgery,
        .arena = surgery->arena,
        .shard_count = kv_shard_count(shard->kv),
        .now_unix_ms = clock_unix_ms(),
        .get = get_row,
        .put = put_row,
        .remove = remove_row,
    };
    surgery->count = 0;
    surgery->is_foreign = false;
    repair_one(&rows, finding, deed);
    if (deed->result != REPAIR_DONE) {
        return;
    }
    if (surgery->is_foreign) {
        deed->result = REPAIR_LEFT;
        (void)snprintf(
            deed->text, sizeof deed->text, "%s",
            "stop meerkatd and run repair: rows of two shards are in it, or very many"); /* fits */
    } else if (!is_dry) {
        apply(surgery);
        LOG_WARN("shard.repaired", LOG_U64("family", shard->family),
                 LOG_STR("kind", verify_word(deed->kind)), LOG_STR("what", deed->text));
    }
}

void repair_handle(struct shard *shard, struct msg *msg)
{
    struct shard_repair *body = &msg->body.repair;
    struct surgery *surgery = arena_alloc(&msg->arena, sizeof *surgery);
    struct arena arena;
    if (body->count > REPAIR_AT_ONCE) {
        shard_answer(shard, msg, ERR_INVALID);
        return;
    }
    arena_init(&arena, 16 * KIB, DEED_ARENA_BYTES);
    arena_mark_secret(&arena);
    body->deeds = arena_array(&msg->arena, body->count, sizeof *body->deeds);
    surgery->shard = shard;
    surgery->arena = &arena;
    for (uint32_t i = 0; i < body->count; i++) {
        CHECK(body->findings[i].family == shard->family);
        treat(surgery, &body->findings[i], body->is_dry, &body->deeds[i]);
    }
    arena_fini(&arena);
    shard_answer(shard, msg, ERR_OK);
}
