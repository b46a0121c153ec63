/* account_seals.c - rows of an account between this server's master key and a file. */
#include "shards/account_seals.h"

#include "base/id.h"
#include "kv/key_text.h"
#include "kv/row.h"

/* How a secret member is turned: from sealed to clear, or back. */
struct turn {
    const struct seal_key *key;
    struct slice context;
    struct arena *arena;
    bool is_export;
    enum err err;
};

void account_seals_init(struct account_seals *seals, const struct seal_key *master)
{
    seals->lifts_suspension = false;
    seals->dkim = crypto_derive(master, SLICE("dkim")); /* as a shard does */
    seals->hook = crypto_derive(master, SLICE("hook"));
}

static void turn_member(struct turn *turn, struct slice *member)
{
    if (turn->err != ERR_OK || member->len == 0) {
        return;
    }
    if (!turn->is_export) {
        size_t len = member->len + SEAL_OVERHEAD;
        char *sealed = arena_bytes(turn->arena, len);
        crypto_seal(turn->key, turn->context, *member, (uint8_t *)sealed);
        *member = slice_of(sealed, len);
        return;
    }
    if (member->len <= SEAL_OVERHEAD) {
        turn->err = ERR_CORRUPT;
        return;
    }
    size_t len = member->len - SEAL_OVERHEAD;
    char *plain = arena_bytes(turn->arena, len);
    turn->err = crypto_unseal(turn->key, turn->context, *member, (uint8_t *)plain);
    *member = slice_of(plain, len);
}

static enum err turn_domain(struct turn *turn, struct slice value, struct buf *out)
{
    char text[ID_TEXT_MAX];
    struct row_domain row;
    enum err err = row_domain_decode(value, &row);
    if (err != ERR_OK) {
        return err;
    }
    turn->context = slice_of(text, id_text(ID_DOMAIN, row.id, text));
    turn_member(turn, &row.rsa_private);
    turn_member(turn, &row.ed_private);
    turn_member(turn, &row.next_rsa_private);
    turn_member(turn, &row.next_ed_private);
    row_domain_encode(&row, out);
    return turn->err;
}

static enum err turn_route(struct turn *turn, struct slice value, struct buf *out)
{
    char text[ID_TEXT_MAX];
    struct row_route row;
    enum err err = row_route_decode(value, &row);
    if (err != ERR_OK) {
        return err;
    }
    turn->context = slice_of(text, id_text(ID_ROUTE, row.id, text));
    turn_member(turn, &row.secret_private);
    turn_member(turn, &row.old_secret_private);
    row_route_encode(&row, out);
    return turn->err;
}

static enum err turn_account(struct turn *turn, struct slice value, bool lifts, struct buf *out)
{
    char text[ID_TEXT_MAX];
    struct row_account row;
    enum err err = row_account_decode(value, &row);
    if (err != ERR_OK) {
        return err;
    }
    turn->context = slice_of(text, id_text(ID_ROUTE, (struct id){.bytes = {0}}, text));
    turn_member(turn, &row.hook_secret_private);
    row.is_suspended = row.is_suspended && !lifts;
    row_account_encode(&row, out);
    return turn->err;
}

static enum err turn_outbox(struct slice value, struct buf *out)
{
    struct row_outbox row;
    enum err err = row_outbox_decode(value, &row);
    if (err == ERR_OK) {
        row.lease_boot = 0;
        row.lease_until_unix_ms = 0;
        row_outbox_encode(&row, out);
    }
    return err;
}

static enum err turn_user(struct slice value, struct buf *out)
{
    struct row_user row;
    enum err err = row_user_decode(value, &row);
    if (err == ERR_OK) {
        row.is_admin = false;
        row.sessions = SLICE("");
        row_user_encode(&row, out);
    }
    return err;
}

static enum err turn_row(const struct account_seals *seals, struct slice key, struct slice value,
                         struct turn *turn, struct buf *out)
{
    const struct key_shape *shape = key_shape_of(key);
    buf_clear(out);
    if (shape == NULL) {
        return ERR_CORRUPT;
    }
    enum err err = ERR_OK;
    turn->key = shape->row == ROW_DOMAIN ? &seals->dkim : &seals->hook;
    if (shape->row == ROW_DOMAIN) {
        err = turn_domain(turn, value, out);
    } else if (shape->row == ROW_ROUTE) {
        err = turn_route(turn, value, out);
    } else if (shape->row == ROW_ACCOUNT) {
        err = turn_account(turn, value, seals->lifts_suspension, out);
    } else if (shape->row == ROW_OUTBOX) {
        err = turn_outbox(value, out);
    } else if (shape->row == ROW_USER) {
        err = turn_user(value, out);
    } else {
        err = row_check(shape->row, value);
        buf_add(out, value);
    }
    return err == ERR_OK ? buf_err(out) : err;
}

enum err account_row_export(const struct account_seals *seals, struct slice key, struct slice value,
                            struct arena *scratch, struct buf *out)
{
    struct turn turn = {.arena = scratch, .is_export = true};
    return turn_row(seals, key, value, &turn, out);
}

enum err account_row_import(const struct account_seals *seals, struct slice key, struct slice value,
                            struct arena *scratch, struct buf *out)
{
    struct turn turn = {.arena = scratch};
    return turn_row(seals, key, value, &turn, out);
}
