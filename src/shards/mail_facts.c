/* mail_facts.c - what the rows say of why a mail is not delivered: deliveries with their last try,
 * their outbox rows, suppressions and routes, and the state of account and domain.
 *
 * All of it is read on a worker, through single rows and one scan that may be a sync ahead of the
 * disk. A delivery and its outbox row change in one batch, so a row that is missing is looked for
 * once more behind a second look at its delivery; then it is really not there.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "shards/shard_int.h"

#include <string.h>

/* What one reading needs. */
struct reading {
    const struct shard *shard;
    struct msg *msg;
    struct arena *scratch;
    struct account_id account;
    struct id mail;
    uint64_t now_unix_ms;
};

/* ---- finding -------------------------------------------------------------------------------- */

static struct kv_iter *open_range(const struct shard *shard, const struct key *from,
                                  const struct key *to, bool is_reverse)
{
    return kv_iter_open(shard->kv, shard->family, key_slice(from), key_slice(to), is_reverse);
}

/* The greatest mail below an id. */
static enum err mail_before(const struct shard *shard, struct id id, struct id *mail)
{
    struct account_id account = id_account(id);
    struct key from = key_prefix_mails(account);
    struct key to = key_mail(account, id);
    struct kv_iter *iter = open_range(shard, &from, &to, true);
    struct slice key;
    struct slice value;
    struct row_mail row;
    bool is_found = kv_iter_next(iter, &key, &value);
    enum err err = is_found ? row_mail_decode(value, &row) : kv_iter_err(iter);
    if (err == ERR_OK && is_found) {
        *mail = row.id;
    }
    kv_iter_close(iter);
    return err == ERR_OK && !is_found ? ERR_NOT_FOUND : err;
}

/* Webhook deliveries are found by their reference. Ids of the others were made right after that of
 * their mail, so its id is the greatest below theirs. */
enum err mail_of_delivery(const struct shard *shard, struct id delivery, struct arena *scratch,
                          struct id *mail, uint32_t *index)
{
    struct account_id account = id_account(delivery);
    struct row_delivery_ref ref = {.index = 0};
    struct slice key;
    struct slice value;
    struct key direct = key_delivery_ref(account, delivery);
    enum err err = shard_load(shard, &direct, scratch, &value);
    if (err != ERR_NOT_FOUND) {
        err = err == ERR_OK ? row_delivery_ref_decode(value, &ref) : err;
        *mail = ref.mail;
        *index = ref.index;
        return err;
    }
    err = mail_before(shard, delivery, mail);
    if (err != ERR_OK) {
        return err;
    }
    struct key prefix = key_prefix_deliveries(account, *mail);
    struct key to = key_after(&prefix);
    struct kv_iter *iter = open_range(shard, &prefix, &to, false);
    err = ERR_NOT_FOUND;
    while (err == ERR_NOT_FOUND && kv_iter_next(iter, &key, &value)) {
        struct row_delivery row;
        struct id mail_of_key;
        if (row_delivery_decode(value, &row) == ERR_OK && id_equal(row.id, delivery)) {
            err = key_read_delivery(key, &mail_of_key, index);
        }
    }
    enum err scan_err = kv_iter_err(iter);
    kv_iter_close(iter);
    return err == ERR_NOT_FOUND && scan_err != ERR_OK ? scan_err : err;
}

/* ---- one delivery --------------------------------------------------------------------------- */

static enum err load(const struct reading *reading, struct key key, struct slice *value)
{
    return shard_load(reading->shard, &key, &reading->msg->arena, value);
}

static enum err read_delivery(const struct reading *reading, struct delivery_facts *facts)
{
    struct slice value;
    enum err err =
        load(reading, key_delivery(reading->account, reading->mail, facts->index), &value);
    return err == ERR_OK ? row_delivery_decode(value, &facts->row) : err;
}

static enum err read_outbox(const struct reading *reading, struct delivery_facts *facts)
{
    const struct row_delivery *row = &facts->row;
    struct slice value;
    enum err err = load(
        reading, key_outbox(row->next_attempt_unix_ms, reading->account, reading->mail, row->group),
        &value);
    return err == ERR_OK ? row_outbox_decode(value, &facts->outbox) : err;
}

static enum err find_outbox(const struct reading *reading, struct delivery_facts *facts)
{
    const struct row_outbox *outbox = &facts->outbox;
    if (!delivery_is_open(&facts->row)) {
        return ERR_OK;
    }
    uint64_t was_due_unix_ms = facts->row.next_attempt_unix_ms;
    enum err err = read_outbox(reading, facts);
    if (err == ERR_NOT_FOUND) {
        err = read_delivery(reading, facts);
        bool is_open = err == ERR_OK && delivery_is_open(&facts->row);
        if (err != ERR_OK || !is_open) {
            return err; /* it came to its end meanwhile */
        }
        err = read_outbox(reading, facts);
    }
    if (err == ERR_NOT_FOUND) {
        bool is_moving = facts->row.next_attempt_unix_ms != was_due_unix_ms;
        facts->found = is_moving ? OUTBOX_MOVING : OUTBOX_LOST;
        return ERR_OK;
    }
    if (err == ERR_OK) {
        uint64_t boot = reading->shard->place->boot;
        facts->found = OUTBOX_THERE;
        facts->is_leased = outbox_is_leased(outbox, boot, reading->now_unix_ms);
        facts->is_crashed = outbox->lease_boot != 0 && outbox->lease_boot != boot;
    }
    return err;
}

/* A number is missing while its try is under way. */
static enum err find_last(const struct reading *reading, struct delivery_facts *facts)
{
    uint32_t number = facts->row.attempts;
    for (uint32_t i = 0; i < 2 && number > 0; i++, number--) {
        struct slice value;
        enum err err = load(
            reading, key_attempt(reading->account, reading->mail, facts->index, number), &value);
        if (err == ERR_OK) {
            facts->has_last = true;
            facts->last_number = number;
            return row_attempt_decode(value, &facts->last);
        }
        if (err != ERR_NOT_FOUND) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err find_suppression(const struct reading *reading, struct delivery_facts *facts)
{
    struct slice value;
    struct slice name = suppression_key(facts->row.recipient, reading->scratch);
    if (facts->row.kind != DELIVERY_SMTP || name.len == 0 || name.len > ADDR_MAX) {
        return ERR_OK;
    }
    enum err err = load(reading, key_suppression(reading->account, name), &value);
    if (err == ERR_OK) {
        facts->has_suppression = true;
        err = row_suppression_decode(value, &facts->suppression);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err find_route(const struct reading *reading, struct delivery_facts *facts)
{
    struct row_route row;
    struct slice value;
    if (id_is_none(facts->row.route)) {
        return ERR_OK;
    }
    enum err err = load(reading, key_route(reading->account, facts->row.route), &value);
    if (err == ERR_OK) {
        err = row_route_decode(value, &row);
    }
    if (err == ERR_OK) { /* its secrets stay behind */
        facts->has_route = true;
        facts->route_match = row.match_pattern;
        facts->is_route_enabled = row.is_enabled;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err complete(const struct reading *reading, struct delivery_facts *facts)
{
    enum err err = find_outbox(reading, facts);
    err = err == ERR_OK ? find_last(reading, facts) : err;
    err = err == ERR_OK ? find_suppression(reading, facts) : err;
    return err == ERR_OK ? find_route(reading, facts) : err;
}

/* ---- all of a mail -------------------------------------------------------------------------- */

static enum err read_deliveries(const struct reading *reading, struct mail_facts *facts)
{
    struct arena *arena = &reading->msg->arena;
    struct key prefix = key_prefix_deliveries(reading->account, reading->mail);
    struct key to = key_after(&prefix);
    struct kv_iter *iter = open_range(reading->shard, &prefix, &to, false);
    struct slice key;
    struct slice value;
    enum err err = ERR_OK;
    facts->deliveries = arena_array(arena, EXPLAIN_DELIVERIES_MAX, sizeof(struct delivery_facts));
    while (err == ERR_OK && kv_iter_next(iter, &key, &value)) {
        struct delivery_facts one = {.index = 0};
        struct id mail;
        err = key_read_delivery(key, &mail, &one.index);
        err = err == ERR_OK ? row_delivery_decode(value, &one.row) : err;
        if (err != ERR_OK ||
            (!id_is_none(facts->delivery) && !id_equal(one.row.id, facts->delivery))) {
            continue;
        }
        if (facts->delivery_count == EXPLAIN_DELIVERIES_MAX) {
            facts->left_out++;
            continue;
        }
        err = mail_keep(arena, value, &value);
        err = err == ERR_OK ? row_delivery_decode(value, &one.row) : err;
        facts->deliveries[facts->delivery_count++] = one;
    }
    if (err == ERR_OK) {
        err = kv_iter_err(iter);
    }
    kv_iter_close(iter);
    for (uint32_t i = 0; err == ERR_OK && i < facts->delivery_count; i++) {
        err = complete(reading, &facts->deliveries[i]);
    }
    return err;
}

static enum err read_domain(const struct reading *reading, const struct row_mail *mail,
                            struct mail_facts *facts)
{
    struct row_domain row;
    struct slice value;
    char text[ID_TEXT_MAX];
    facts->domain_name = mail->domain_text;
    enum err err = load(reading, key_domain(reading->account, mail->domain), &value);
    if (err == ERR_OK) {
        err = row_domain_decode(value, &row);
    }
    if (err == ERR_OK) { /* its keys stay behind */
        facts->has_domain = true;
        facts->domain_status = row.status;
        facts->domain_failing_unix_ms = row.failing_unix_ms;
        facts->domain_name = row.name;
        facts->domain_id =
            arena_dup(&reading->msg->arena, slice_of(text, id_text(ID_DOMAIN, row.id, text)));
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err mail_facts(const struct shard *shard, const struct principal *who, struct msg *msg,
                    struct arena *scratch)
{
    struct shard_read *body = &msg->body.read;
    struct mail_facts *facts = arena_alloc(&msg->arena, sizeof *facts);
    struct reading reading = {
        .shard = shard,
        .msg = msg,
        .scratch = scratch,
        .account = who->account.id,
        .mail = body->id,
        .now_unix_ms = clock_unix_ms(),
    };
    struct slice value;
    enum err err = ERR_OK;
    *facts = (struct mail_facts){
        .is_suspended = who->account.is_suspended,
        .account_name = arena_dup(&msg->arena, who->account.name),
    };
    if (body->is_delivery) {
        uint32_t index;
        facts->delivery = body->id;
        err = id_account(body->id).value == reading.account.value
                  ? mail_of_delivery(shard, body->id, scratch, &reading.mail, &index)
                  : ERR_NOT_FOUND;
    }
    err = err == ERR_OK ? load(&reading, key_mail(reading.account, reading.mail), &value) : err;
    err = err == ERR_OK ? row_mail_decode(value, &body->mail) : err;
    err = err == ERR_OK ? mail_may_see(who, &body->mail) : err;
    err = err == ERR_OK ? read_deliveries(&reading, facts) : err;
    err = err == ERR_OK ? read_domain(&reading, &body->mail, facts) : err;
    body->facts = facts;
    return err;
}
