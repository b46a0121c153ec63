/* verify_account.c - accounts with their people, and every row that stands for itself or leads to
 * one other. */
#include "base/check.h"
#include "kv/verify_int.h"

#include <inttypes.h>
#include <string.h>

#define ACCOUNT_BYTES ((size_t)8)
#define ID_BYTES      ((size_t)16)

/* ---- accounts and people -------------------------------------------------------------------- */

struct people {
    uint32_t count;
    uint32_t owners;
    bool has_doubt;
};

static void check_claim(struct verify *verify, const struct cursor *cursor,
                        const struct row_user *row)
{
    struct key key = key_directory(DIRECTORY_EMAIL, row->email);
    uint32_t family = key_directory_shard(verify->shard_count, row->email);
    struct row_directory claim;
    struct slice bytes;
    if (row->is_removed || row->email.len == 0) {
        return;
    }
    enum found found = verify_get_now(verify, family, &key, &bytes);
    if (found == ABSENT) {
        verify_say_here(verify, VERIFY_UNCLAIMED, cursor, "nobody has the email");
    } else if (found == FOUND && row_directory_decode(bytes, &claim) == ERR_OK &&
               !id_equal(claim.id, row->id)) {
        verify_say_here(verify, VERIFY_UNCLAIMED, cursor, "somebody else has the email");
    }
}

static void check_user(struct verify *verify, const struct cursor *cursor, struct people *people)
{
    struct row_user row;
    if (row_user_decode(cursor->value, &row) != ERR_OK) {
        verify_say_here(verify, VERIFY_ROW, cursor, "user");
        people->has_doubt = true;
        return;
    }
    if (!id_equal(row.id, cursor->parts.ids[0]) || row.email.len > KEY_TEXT_MAX) {
        verify_say_here(verify, VERIFY_ROW_ID, cursor, "the user has another id");
        people->has_doubt = true;
        return;
    }
    people->count++;
    people->owners += row.role == FACT_ROLE_OWNER;
    check_claim(verify, cursor, &row);
}

bool verify_people(struct verify *verify)
{
    struct cursor *own = &verify->cursors[0];
    struct cursor *users = &verify->cursors[1];
    struct row_account row;
    struct people people = {.count = 0};
    if (!own->is_there && !users->is_there) {
        return false;
    }
    bool is_own =
        own->is_there &&
        (!users->is_there || memcmp(own->key.data + 1, users->key.data + 1, ACCOUNT_BYTES) <= 0);
    const struct cursor *first = is_own ? own : users;
    struct account_id account = first->parts.account;
    if (!is_own) {
        verify_owner(verify, first);
    }
    bool is_read = is_own && row_account_decode(own->value, &row) == ERR_OK;
    if (is_own && !is_read) {
        verify_say_here(verify, VERIFY_ROW, own, "account");
    } else if (is_read && row.id.value != account.value) {
        verify_say_here(verify, VERIFY_ROW_ID, own, "the account has another id");
    }
    for (; users->is_there && users->parts.account.value == account.value;
         cursor_next(verify, users)) {
        check_user(verify, users, &people);
    }
    struct key range = key_prefix_users(account);
    people.has_doubt |= cursor_is_blind(users, &range);
    if (is_read && !people.has_doubt &&
        (people.count != row.more_members + 1 || people.owners != row.more_owners + 1)) {
        struct key key = key_account(account);
        verify_say(verify, VERIFY_MEMBER_COUNT, &key,
                   "%" PRIu32 " people, %" PRIu32 " owners; it says %" PRIu32 " and %" PRIu32,
                   people.count, people.owners, row.more_members + 1, row.more_owners + 1);
    }
    if (is_own) {
        cursor_next(verify, own);
    }
    return true;
}

/* ---- one row that leads to another ---------------------------------------------------------- */

static void bad_row(struct verify *verify, const struct cursor *cursor)
{
    verify_say_here(verify, VERIFY_ROW, cursor, "%s", row_family_name(cursor->parts.shape->row));
}

static void check_domain(struct verify *verify, const struct cursor *cursor)
{
    struct row_domain row;
    struct row_domain_name name;
    struct row_directory claim;
    struct slice bytes;
    if (row_domain_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    if (!id_equal(row.id, cursor->parts.ids[0]) || row.name.len == 0 ||
        row.name.len > KEY_TEXT_MAX) {
        verify_say_here(verify, VERIFY_ROW_ID, cursor, "the domain has another id, or no name");
        return;
    }
    struct key key = key_domain_name(cursor->parts.account, row.name);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    if (found == ABSENT || (found == FOUND && row_domain_name_decode(bytes, &name) == ERR_OK &&
                            !id_equal(name.id, row.id))) {
        verify_say_here(verify, VERIFY_DOMAIN_NAME, cursor, "its name %s",
                        found == ABSENT ? "leads nowhere" : "leads to another domain");
    }
    key = key_route(cursor->parts.account, row.hook_route);
    if (!id_is_none(row.hook_route) && verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
        verify_say_here(verify, VERIFY_HOOK_ROUTE, cursor, "the route is not there");
    }
    if (row.status != FACT_DOMAIN_VERIFIED && !row.mx_verified) {
        return;
    }
    key = key_directory(DIRECTORY_DOMAIN, row.name);
    found =
        verify_get_now(verify, key_directory_shard(verify->shard_count, row.name), &key, &bytes);
    if (found == ABSENT) {
        verify_say_here(verify, VERIFY_UNCLAIMED, cursor, "nobody has the name");
    } else if (found == FOUND && row_directory_decode(bytes, &claim) == ERR_OK &&
               claim.account.value != cursor->parts.account.value) {
        verify_say_here(verify, VERIFY_UNCLAIMED, cursor, "another account has the name");
    }
}

static void check_domain_name(struct verify *verify, const struct cursor *cursor)
{
    struct row_domain_name row;
    struct row_domain domain;
    struct slice bytes;
    if (row_domain_name_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    struct key key = key_domain(cursor->parts.account, row.id);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    if (found == ABSENT || (found == FOUND && row_domain_decode(bytes, &domain) == ERR_OK &&
                            !slice_equal(domain.name, cursor->parts.text))) {
        verify_say_here(verify, VERIFY_DOMAIN_NAME, cursor, "there is no such domain");
    }
}

static void check_mailbox(struct verify *verify, const struct cursor *cursor)
{
    struct row_mailbox row;
    struct row_mailbox_name name;
    struct slice bytes;
    if (row_mailbox_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    if (!id_equal(row.id, cursor->parts.ids[0]) || row.address.len > KEY_TEXT_MAX) {
        verify_say_here(verify, VERIFY_ROW_ID, cursor, "the mailbox has another id");
        return;
    }
    struct key key = key_mailbox_name(cursor->parts.account, row.address);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    if (found == ABSENT || (found == FOUND && row_mailbox_name_decode(bytes, &name) == ERR_OK &&
                            !id_equal(name.mailbox, row.id))) {
        verify_say_here(verify, VERIFY_MAILBOX_NAME, cursor, "its address %s",
                        found == ABSENT ? "leads nowhere" : "leads to another mailbox");
    }
}

static void check_mailbox_name(struct verify *verify, const struct cursor *cursor)
{
    struct row_mailbox_name row;
    struct slice bytes;
    if (row_mailbox_name_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    struct key key = key_mailbox(cursor->parts.account, row.mailbox);
    if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
        verify_say_here(verify, VERIFY_MAILBOX_NAME, cursor, "there is no such mailbox");
    }
}

static void check_key(struct verify *verify, const struct cursor *cursor)
{
    struct row_api_key row;
    struct row_api_key_id index;
    struct slice bytes;
    if (row_api_key_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    struct key key = key_api_key_id(cursor->parts.account, row.id);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    if (found == ABSENT ||
        (found == FOUND && row_api_key_id_decode(bytes, &index) == ERR_OK &&
         memcmp(index.hash.bytes, cursor->parts.hash.data, sizeof(index.hash.bytes)) != 0)) {
        verify_say_here(verify, VERIFY_KEY_ID, cursor, "its id %s",
                        found == ABSENT ? "leads nowhere" : "leads to another key");
    }
}

static void check_key_id(struct verify *verify, const struct cursor *cursor)
{
    struct row_api_key_id row;
    struct row_api_key api_key;
    struct slice bytes;
    if (row_api_key_id_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    struct key key = key_api_key(cursor->parts.account, &row.hash);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    if (found == ABSENT || (found == FOUND && row_api_key_decode(bytes, &api_key) == ERR_OK &&
                            !id_equal(api_key.id, cursor->parts.ids[0]))) {
        verify_say_here(verify, VERIFY_KEY_ID, cursor, "there is no such key");
    }
}

static void check_key_due(struct verify *verify, const struct cursor *cursor)
{
    struct row_key_due row;
    struct slice bytes;
    if (row_key_due_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    struct key key = key_api_key(cursor->parts.account, &row.hash);
    if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
        verify_say_here(verify, VERIFY_KEY_DUE, cursor, "there is no such key");
    }
}

static void check_route(struct verify *verify, const struct cursor *cursor)
{
    struct row_route row;
    struct row_route_list list = {.routes = SLICE("")};
    struct slice bytes;
    if (row_route_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    if (!id_equal(row.id, cursor->parts.ids[0])) {
        verify_say_here(verify, VERIFY_ROW_ID, cursor, "the route has another id");
    }
    struct key key = key_route_list(cursor->parts.account);
    enum found found = verify_get(verify, verify->family, &key, &bytes);
    bool is_listed =
        found == UNKNOWN || (found == FOUND && row_route_list_decode(bytes, &list) != ERR_OK);
    for (size_t i = 0; i + ID_BYTES <= list.routes.len; i += ID_BYTES) {
        is_listed |= memcmp(list.routes.data + i, cursor->parts.ids[0].bytes, ID_BYTES) == 0;
    }
    if (!is_listed) {
        verify_say(verify, VERIFY_ROUTE_LIST, &key, "a route is not in it");
    }
}

static void check_route_list(struct verify *verify, const struct cursor *cursor)
{
    struct row_route_list row;
    if (row_route_list_decode(cursor->value, &row) != ERR_OK || row.routes.len % ID_BYTES != 0) {
        bad_row(verify, cursor);
        return;
    }
    for (size_t i = 0; i < row.routes.len; i += ID_BYTES) {
        struct id id;
        struct slice bytes;
        memcpy(id.bytes, row.routes.data + i, ID_BYTES);
        struct key key = key_route(cursor->parts.account, id);
        if (verify_get(verify, verify->family, &key, &bytes) == ABSENT) {
            verify_say_here(verify, VERIFY_ROUTE_LIST, cursor, "a route of it is not there");
        }
    }
}

/* ---- the directory -------------------------------------------------------------------------- */

/* A person is written before the email is claimed, and goes after it was given back, so a claim
 * without its person is damage. A domain that is deleted while it is being claimed leaves one, and
 * so does the first user's sign-up; as of now, for this takes two batches. */
static void check_directory(struct verify *verify, const struct cursor *cursor)
{
    const struct key_parts *at = &cursor->parts;
    struct row_directory row;
    struct slice bytes;
    if (row_directory_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    uint32_t family = key_account_shard(verify->shard_count, row.account);
    struct key key = key_account(row.account);
    enum verify_kind kind = VERIFY_CLAIM;
    if (at->kind == DIRECTORY_EMAIL) {
        key = key_user(row.account, row.id);
        kind = VERIFY_DIRECTORY;
    } else if (at->kind == DIRECTORY_DOMAIN) {
        key = key_domain_name(row.account, at->text);
    } else if (at->kind != DIRECTORY_SERVER) {
        verify_say_here(verify, VERIFY_KEY, cursor, "a directory row of kind %" PRIu32, at->kind);
        return;
    }
    enum found found = verify_get_now(verify, family, &key, &bytes);
    if (found == ABSENT && at->kind == DIRECTORY_DOMAIN) {
        key = key_domain(row.account, row.id); /* its name may be what is missing */
        found = verify_get_now(verify, family, &key, &bytes);
    }
    if (found == ABSENT) {
        struct key own = cursor->last;
        if (verify_get_now(verify, verify->family, &own, &bytes) == FOUND) {
            verify_say_here(verify, kind, cursor, "its %s is not there",
                            at->kind == DIRECTORY_EMAIL    ? "user"
                            : at->kind == DIRECTORY_DOMAIN ? "domain"
                                                           : "account");
        }
    }
}

/* ---- any other ------------------------------------------------------------------------------ */

static void check_quarantine(struct verify *verify, const struct cursor *cursor)
{
    struct row_quarantine row;
    if (row_quarantine_decode(cursor->value, &row) != ERR_OK) {
        bad_row(verify, cursor);
        return;
    }
    buf_clear(&verify->words);
    key_print(row.key_private, &verify->words);
    verify_say_here(verify, VERIFY_QUARANTINED, cursor, "%.*s: %.*s",
                    SLICE_FMT(slice_head(buf_slice(&verify->words), VERIFY_DETAIL_MAX / 2)),
                    SLICE_FMT(row.reason));
}

bool verify_other(struct verify *verify)
{
    static const struct {
        char tag;
        void (*check)(struct verify *verify, const struct cursor *cursor);
    } checks[] = {
        {'D', check_domain},      {'J', check_key_id},     {'K', check_key},
        {'N', check_domain_name}, {'P', check_route},      {'Q', check_key_due},
        {'X', check_directory},   {'b', check_mailbox},    {'n', check_mailbox_name},
        {'p', check_route_list},  {'q', check_quarantine},
    };
    struct cursor *cursor = &verify->cursors[0];
    if (!cursor->is_there) {
        return false;
    }
    if (strchr(cursor->parts.shape->parts, 'a') != NULL) {
        verify_owner(verify, cursor);
    }
    size_t i = 0;
    while (i < ARRAY_LEN(checks) && checks[i].tag != cursor->parts.shape->tag) {
        i++;
    }
    if (i < ARRAY_LEN(checks)) {
        checks[i].check(verify, cursor);
    } else if (row_check(cursor->parts.shape->row, cursor->value) != ERR_OK) {
        bad_row(verify, cursor);
    }
    cursor_next(verify, cursor);
    return true;
}
