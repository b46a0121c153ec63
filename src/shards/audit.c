/* audit.c - an account's log: who did what from where, and what the system says of its keys.
 *
 * A line is written into the batch of the change that it tells of, so neither exists without the
 * other.
 */
#include "base/check.h"
#include "base/clock.h"
#include "shards/shard_int.h"

#include <string.h>

#define DETAIL_MAX 512

static void name_actor(const struct audit_note *note, struct row_audit *row);

void shard_audit(struct shard *shard, const struct audit_note *note)
{
    CHECK(note->account.value != 0);
    CHECK(note->action != NULL);
    char peer[IP6_TEXT_MAX];
    struct row_audit row = {
        .id = shard_id(shard, note->account),
        .created_unix_ms = clock_unix_ms(),
        .action = slice_str(note->action),
        .target = note->target,
        .detail = slice_head(note->detail, min_u64(note->detail.len, DETAIL_MAX)),
    };
    name_actor(note, &row);
    if (note->caller != NULL && !ip6_is_none(&note->caller->peer)) {
        row.ip = slice_of(peer, ip6_text(&note->caller->peer, peer));
    }
    shard_put_audit(shard, key_audit(note->account, row.id), &row);
}

void shard_audit_id(struct shard *shard, const struct audit_note *note, enum id_kind kind,
                    struct id target)
{
    char text[ID_TEXT_MAX];
    struct audit_note full = *note;
    full.target = slice_of(text, id_text(kind, target, text));
    shard_audit(shard, &full);
}

static void name_actor(const struct audit_note *note, struct row_audit *row)
{
    const struct principal *who = note->who;
    row->actor_kind = AUDIT_SYSTEM;
    if (who == NULL) {
        return;
    }
    if (who->is_operator) {
        row->actor_kind = AUDIT_OPERATOR;
    } else if (who->has_key) {
        row->actor_kind = AUDIT_KEY;
        row->actor = who->key.id;
        row->actor_name = who->key.name;
    } else if (who->has_user) {
        row->actor_kind = AUDIT_USER;
        row->actor = who->user.id;
        row->actor_name = who->user.email;
    }
}
