/* forward.c - see forward.h. */
#include "shards/forward.h"

#include "base/check.h"
#include "base/clock.h"
#include "mail/addr.h"
#include "mail/header.h"
#include "shards/shard_int.h"

/* ---- loops ---------------------------------------------------------------------------------- */

void forward_trail_of(struct slice raw, struct arena *arena, struct forward_trail *trail)
{
    struct header_field field;
    *trail = (struct forward_trail){.hops = 0};
    while (header_next(&raw, &field)) {
        if (slice_equal_nocase(field.name, SLICE("received"))) {
            trail->hops++;
            continue;
        }
        if (!slice_equal_nocase(field.name, SLICE("delivered-to")) ||
            trail->delivered_count == ARRAY_LEN(trail->delivered)) {
            continue;
        }
        struct slice value = slice_trim(field.value);
        if (slice_starts(value, SLICE("<")) && slice_ends(value, SLICE(">"))) {
            value = slice_sub(value, 1, value.len - 2);
        }
        trail->delivered[trail->delivered_count++] =
            arena_lower(arena, slice_head(value, ADDR_MAX + 1));
    }
}

static const char *fault_of_trail(const struct forward_trail *trail, struct slice recipient)
{
    if (trail->hops > FORWARD_HOPS_MAX || trail->delivered_count > FORWARD_HOPS_MAX) {
        return "the mail went through too many servers; it may be in a loop";
    }
    for (uint32_t i = 0; i < trail->delivered_count; i++) {
        if (slice_equal(trail->delivered[i], recipient)) {
            return "the mail was sent on for this address before; it is in a loop";
        }
    }
    return NULL;
}

/* ---- which ---------------------------------------------------------------------------------- */

static enum err find_fault(struct shard *shard, struct account_id account,
                           const struct forwards *all, struct forward *one)
{
    struct addr addr;
    struct row_suppression row;
    if (return_path_is_ours(shard, account, one->recipient)) {
        one->fault = "a bounce of the account's own mail is not sent on";
        return ERR_OK;
    }
    if (addr_parse(one->destination, &shard->scratch, &addr) != ERR_OK) {
        one->fault = "the destination is not an address";
        return ERR_OK;
    }
    struct slice key = addr_key(&addr, &shard->scratch);
    one->fault = slice_equal(key, one->recipient) ? "the destination is the address itself"
                                                  : fault_of_trail(&all->trail, one->recipient);
    if (one->fault) {
        return ERR_OK;
    }
    enum err err =
        shard_get_suppression(shard, key_suppression(account, key), &shard->scratch, &row);
    if (err == ERR_OK) {
        one->fault = "the destination is suppressed";
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err forward_find(struct shard *shard, const struct row_route *route, struct slice recipient,
                      struct arena *arena, struct forwards *all)
{
    struct forward one = {.route = route->id, .recipient = recipient};
    for (uint32_t i = 0; i < all->count; i++) {
        if (!all->items[i].fault && slice_equal(all->items[i].destination, route->destination)) {
            return ERR_OK;
        }
    }
    if (all->count == RECEIVED_FORWARDS_MAX) {
        all->skipped_count++;
        return ERR_OK;
    }
    one.destination = arena_dup(arena, route->destination);
    enum err err = find_fault(shard, id_account(route->id), all, &one);
    if (err == ERR_OK) {
        all->items[all->count++] = one;
    }
    return err;
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* A group of its own: two destinations at one site are two copies, each with its own Delivered-To
 * and return path. */
static void add(struct shard *shard, struct row_mail *mail, const struct forward *one)
{
    struct account_id account = id_account(mail->id);
    uint64_t now = clock_unix_ms();
    uint32_t index = mail->delivery_count++;
    bool leaves = mail->mode == MODE_LIVE && !mail->is_sandbox;
    struct row_delivery delivery = {
        .id = shard_id(shard, account),
        .recipient = one->destination,
        .status = DELIVERY_PENDING,
        .group = index,
        .next_attempt_unix_ms = now,
        .updated_unix_ms = now,
        .kind = DELIVERY_SMTP,
        .route = one->route,
        .forwarded_from = one->recipient,
    };
    struct outbox_entry entry = {
        .due_unix_ms = now,
        .account = account,
        .mail = mail->id,
        .group = index,
        .domain = slice_from(one->destination, slice_rfind_byte(one->destination, '@') + 1),
    };
    struct row_outbox outbox = {
        .domain = entry.domain,
        .rcpt_first = index,
        .rcpt_count = 1,
        .created_unix_ms = now,
        .mode = leaves ? REHEARSAL_NONE : REHEARSAL_PLAIN,
        .size_bytes = mail->size_bytes,
    };
    struct row_delivery_ref ref = {.mail = mail->id, .index = index};
    CHECK(index < HOOK_GROUP);
    mail->open_count++;
    shard_put_delivery(shard, key_delivery(account, mail->id, index), &delivery);
    shard_put_delivery_ref(shard, key_delivery_ref(account, delivery.id), &ref);
    shard_put_outbox(shard, key_outbox(now, account, mail->id, index), &outbox);
    shard_announce(shard, &entry);
}

void forward_store(struct shard *shard, struct row_mail *mail, const struct forwards *all)
{
    for (uint32_t i = 0; i < all->count; i++) {
        const struct forward *one = &all->items[i];
        if (!one->fault) {
            add(shard, mail, one);
            continue;
        }
        struct row_event event = {
            .type = SLICE("forward.failed"),
            .recipient = one->destination,
            .detail = slice_str(one->fault),
        };
        shard_write_event(shard, mail->id, &event);
    }
    if (all->skipped_count > 0) {
        struct row_event event = {.type = SLICE("forward.failed")};
        event.detail = arena_format(&shard->scratch, "%u destinations beyond the %u of one mail",
                                    all->skipped_count, (unsigned)RECEIVED_FORWARDS_MAX);
        shard_write_event(shard, mail->id, &event);
    }
}

struct slice forward_trace(struct slice trace)
{
    struct slice rest = trace;
    struct header_field field;
    bool is_first = header_next(&rest, &field);
    return is_first && slice_equal_nocase(field.name, SLICE("return-path")) ? rest : trace;
}
