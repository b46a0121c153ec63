/* test_key.c - API keys in their account's shard: made, changed, rotated, revoked, obeyed.
 *
 * Not covered here: the texts of keys and of requests (tests/unit/edge, tests/flow/test_keys.c),
 * domains of a key when it sends (test_outbound), when a use is noted (test_account).
 */
#include "unit/shards/shard_rig.h"

/* What most tests need: an account, the hash of its first key, room for packs. */
struct key_rig {
    struct rig *rig;
    struct account_id account;
    struct arena arena;
    uint32_t made;
};

static struct key_rig key_rig_open(void)
{
    struct key_rig k = {.rig = rig_open()};
    k.account = rig_signup(k.rig);
    arena_init(&k.arena, 64 * KIB, 8 * MIB);
    return k;
}

static void key_rig_close(struct key_rig *k)
{
    arena_fini(&k->arena);
    rig_close(k->rig);
}

static struct caller owner(const struct key_rig *k)
{
    return rig_key_caller(k->account, RIGHT_KEYS_WRITE);
}

static struct sha256 hash_of(uint32_t number)
{
    return crypto_sha256(slice_of(&number, sizeof(number)));
}

/* A caller with the key that was made as number n. */
static struct caller with_key(const struct key_rig *k, uint32_t number)
{
    struct caller caller = owner(k);
    caller.key_hash = hash_of(number);
    return caller;
}

/* "a,b" as a pack; "" as one without items. */
static struct slice pack(struct key_rig *k, const char *items)
{
    struct buf buf;
    struct slice rest = slice_str(items);
    buf_init(&buf, 64 * KIB);
    while (rest.len > 0) {
        buf_put_slice(&buf, slice_cut(&rest, ','));
    }
    struct slice out = arena_dup(&k->arena, buf_slice(&buf));
    buf_fini(&buf);
    return out;
}

static struct slice domain_pack(struct key_rig *k, struct id id)
{
    char text[ID_TEXT_MAX];
    (void)id_text(ID_DOMAIN, id, text);
    return pack(k, text);
}

struct answer {
    enum err err;
    struct row_api_key row;
    char param[32];
    uint32_t number; /* of the key that was made, if one was */
};

/* Posts a request; text of the row is copied into the rig's arena. */
static struct answer post(struct key_rig *k, const struct shard_key *body)
{
    struct msg *msg = rig_take(k->rig, MSG_SHARD_KEY);
    struct answer answer = {.number = ++k->made};
    struct sha256 hash = hash_of(answer.number);
    msg->body.key = *body;
    for (size_t i = 0; i < ARRAY_LEN(msg->body.key.secrets); i++) {
        msg->body.key.secrets[i] = (struct key_secret){
            hash, i == MODE_TEST ? SLICE("mk_test_abcdefgh") : SLICE("mk_live_abcdefgh"),
            SLICE("1234")};
        hash.bytes[0] ^= 1; /* the other mode's is another one */
    }
    if (body->op == KEY_CREATE && body->wanted.mode == MODE_TEST) {
        msg->body.key.secrets[MODE_TEST].hash = hash_of(answer.number);
    }
    answer.err = rig_call(k->rig, rig_shard(k->rig, body->caller.account), msg);
    snprintf(answer.param, sizeof(answer.param), "%.*s", SLICE_FMT(msg->param));
    if (answer.err == ERR_OK && msg->body.key.row_count > 0) {
        struct buf bytes;
        buf_init(&bytes, ROW_BYTES_MAX);
        row_api_key_encode(&msg->body.key.rows[0], &bytes);
        cr_assert_eq(row_api_key_decode(arena_dup(&k->arena, buf_slice(&bytes)), &answer.row),
                     ERR_OK);
        buf_fini(&bytes);
    }
    rig_put(k->rig, msg);
    return answer;
}

static struct answer create(struct key_rig *k, struct caller caller, uint32_t given,
                            struct row_api_key wanted)
{
    wanted.name = wanted.name.len ? wanted.name : SLICE("made");
    struct shard_key body = {
        .caller = caller, .op = KEY_CREATE, .given = given | KEY_FIELD_NAME, .wanted = wanted};
    return post(k, &body);
}

static struct answer on_id(struct key_rig *k, enum key_op op, struct caller caller, struct id id)
{
    struct shard_key body = {.caller = caller, .op = op, .id = id};
    return post(k, &body);
}

static struct answer change(struct key_rig *k, struct id id, uint32_t given,
                            struct row_api_key wanted)
{
    struct shard_key body = {
        .caller = owner(k), .op = KEY_CHANGE, .id = id, .given = given, .wanted = wanted};
    return post(k, &body);
}

static enum err me(struct key_rig *k, struct caller caller, enum right right)
{
    struct msg *msg = rig_take(k->rig, MSG_SHARD_ME);
    caller.right = right;
    msg->body.me.caller = caller;
    enum err err = rig_call(k->rig, rig_shard(k->rig, caller.account), msg);
    rig_put(k->rig, msg);
    return err;
}

static struct ip6 ip(const char *text)
{
    struct ip6 out;
    cr_assert_eq(ip6_parse(slice_str(text), &out), ERR_OK);
    return out;
}

/* ---- made, read, changed ------------------------------------------------------------------------
 */

Test(key, is_made_with_what_was_asked_and_counts_at_once)
{
    struct key_rig k = key_rig_open();
    struct row_api_key wanted = {
        .name = SLICE("CI"),
        .scopes = pack(&k, "mail:read"),
        .addresses = pack(&k, "hello"),
        .allowed_ips = pack(&k, "192.0.2.0/24"),
        .metadata = pack(&k, "team,core,t"),
        .expires_unix_ms = clock_unix_ms() + 60000,
    };
    struct answer made = create(&k, owner(&k),
                                KEY_FIELD_SCOPES | KEY_FIELD_ADDRESSES | KEY_FIELD_IPS |
                                    KEY_FIELD_METADATA | KEY_FIELD_EXPIRES,
                                wanted);
    cr_assert_eq(made.err, ERR_OK);
    struct answer got = on_id(&k, KEY_GET, owner(&k), made.row.id);
    cr_assert_eq(got.err, ERR_OK);
    cr_expect(slice_equal(got.row.name, wanted.name));
    cr_expect(slice_equal(got.row.scopes, wanted.scopes));
    cr_expect(slice_equal(got.row.addresses, wanted.addresses));
    cr_expect(slice_equal(got.row.allowed_ips, wanted.allowed_ips));
    cr_expect(slice_equal(got.row.metadata, wanted.metadata));
    cr_expect_eq(got.row.expires_unix_ms, wanted.expires_unix_ms);
    cr_expect(slice_equal(got.row.prefix, SLICE("mk_live_abcdefgh")));
    cr_expect(slice_equal(got.row.last4, SLICE("1234")));
    cr_expect(got.row.is_made_by_key);
    cr_expect(got.row.is_enabled);
    struct caller caller = with_key(&k, made.number);
    caller.peer = ip("192.0.2.9");
    cr_expect_eq(me(&k, caller, RIGHT_MAIL_READ), ERR_OK);
    cr_expect_eq(me(&k, caller, RIGHT_MAIL_SEND), ERR_SCOPE);
    rig_settle(k.rig);
    got = on_id(&k, KEY_GET, owner(&k), made.row.id);
    cr_expect(slice_equal(got.row.last_used_ip, SLICE("192.0.2.9")));
    cr_expect_neq(got.row.last_used_unix_ms, 0);
    key_rig_close(&k);
}

Test(key, has_the_rights_of_its_scopes_and_no_others)
{
    struct key_rig k = key_rig_open();
    for (enum right own = RIGHT_NONE + 1; own < RIGHT_COUNT; own++) {
        struct row_api_key wanted = {.scopes = pack(&k, right_text(own))};
        struct answer made = create(&k, owner(&k), KEY_FIELD_SCOPES, wanted);
        cr_assert_eq(made.err, ERR_OK);
        for (enum right asked = RIGHT_NONE; asked < RIGHT_COUNT; asked++) {
            enum err want = asked == own || asked == RIGHT_NONE ? ERR_OK : ERR_SCOPE;
            cr_expect_eq(me(&k, with_key(&k, made.number), asked), want, "%s asks %s",
                         right_text(own), right_text(asked));
        }
    }
    struct answer none = create(&k, owner(&k), KEY_FIELD_SCOPES, (struct row_api_key){0});
    struct answer send = create(&k, owner(&k), KEY_FIELD_PERMISSION,
                                (struct row_api_key){.permission = PERMISSION_SEND});
    for (enum right asked = RIGHT_NONE + 1; asked < RIGHT_COUNT; asked++) {
        cr_expect_eq(me(&k, with_key(&k, none.number), asked), ERR_SCOPE);
        cr_expect_eq(me(&k, with_key(&k, send.number), asked),
                     asked == RIGHT_MAIL_SEND ? ERR_OK : ERR_SCOPE);
    }
    cr_expect_eq(me(&k, with_key(&k, none.number), RIGHT_NONE), ERR_OK);
    key_rig_close(&k);
}

Test(key, counts_only_from_its_networks)
{
    struct key_rig k = key_rig_open();
    struct row_api_key wanted = {.allowed_ips = pack(&k, "10.0.0.0/8,2001:db8::/32")};
    struct answer made = create(&k, owner(&k), KEY_FIELD_IPS, wanted);
    static const struct {
        const char *peer;
        enum err want;
    } cases[] = {{"10.1.2.3", ERR_OK},
                 {"11.1.2.3", ERR_KEY_IP},
                 {"2001:db8::7", ERR_OK},
                 {"2001:db9::7", ERR_KEY_IP},
                 {"::ffff:10.0.0.1", ERR_OK}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct caller caller = with_key(&k, made.number);
        caller.peer = ip(cases[i].peer);
        cr_expect_eq(me(&k, caller, RIGHT_NONE), cases[i].want, "%s", cases[i].peer);
    }
    cr_expect_eq(me(&k, with_key(&k, made.number), RIGHT_NONE), ERR_KEY_IP, "from nowhere");
    key_rig_close(&k);
}

Test(key, stops_counting_the_moment_it_is_disabled_expired_or_revoked)
{
    struct key_rig k = key_rig_open();
    uint64_t now = clock_unix_ms();
    struct answer made = create(&k, owner(&k), 0, (struct row_api_key){0});
    struct caller caller = with_key(&k, made.number);
    struct id id = made.row.id;
    cr_expect_eq(change(&k, id, KEY_FIELD_ENABLED, (struct row_api_key){0}).err, ERR_OK);
    cr_expect_eq(me(&k, caller, RIGHT_NONE), ERR_UNAUTHORIZED, "disabled");
    struct row_api_key on = {.is_enabled = true, .expires_unix_ms = now + 5000};
    cr_expect_eq(change(&k, id, KEY_FIELD_ENABLED | KEY_FIELD_EXPIRES, on).err, ERR_OK);
    cr_expect_eq(me(&k, caller, RIGHT_NONE), ERR_OK);
    clock_set_fake(clock_mono_ms(), now + 5000);
    cr_expect_eq(me(&k, caller, RIGHT_NONE), ERR_UNAUTHORIZED, "expired");
    cr_expect_eq(on_id(&k, KEY_ROTATE, owner(&k), id).err, ERR_CONFLICT);
    cr_expect_eq(change(&k, id, KEY_FIELD_EXPIRES, (struct row_api_key){0}).err, ERR_OK);
    cr_expect_eq(me(&k, caller, RIGHT_NONE), ERR_OK, "the expiry was taken off");
    cr_expect_eq(on_id(&k, KEY_REVOKE, owner(&k), id).err, ERR_OK);
    cr_expect_eq(me(&k, caller, RIGHT_NONE), ERR_UNAUTHORIZED, "revoked");
    cr_expect_eq(on_id(&k, KEY_REVOKE, owner(&k), id).err, ERR_OK, "twice");
    cr_expect_eq(change(&k, id, KEY_FIELD_ENABLED, on).err, ERR_CONFLICT);
    cr_expect_eq(on_id(&k, KEY_ROTATE, owner(&k), id).err, ERR_CONFLICT);
    struct answer got = on_id(&k, KEY_GET, owner(&k), id);
    cr_expect(got.row.is_revoked, "and it stays");
    clock_set_fake(0, 0);
    key_rig_close(&k);
}

Test(key, keeps_what_a_change_does_not_name)
{
    struct key_rig k = key_rig_open();
    struct row_api_key wanted = {.scopes = pack(&k, "mail:read"), .addresses = pack(&k, "hello")};
    struct answer made = create(&k, owner(&k), KEY_FIELD_SCOPES | KEY_FIELD_ADDRESSES, wanted);
    struct answer got =
        change(&k, made.row.id, KEY_FIELD_NAME, (struct row_api_key){.name = SLICE("new")});
    cr_assert_eq(got.err, ERR_OK);
    cr_expect(slice_equal(got.row.name, SLICE("new")));
    cr_expect(slice_equal(got.row.scopes, wanted.scopes));
    cr_expect(slice_equal(got.row.addresses, wanted.addresses));
    cr_expect(got.row.is_enabled);
    got = change(&k, made.row.id, KEY_FIELD_MODE, (struct row_api_key){.mode = MODE_TEST});
    cr_expect_eq(got.err, ERR_BAD_FIELD);
    cr_expect_str_eq(got.param, "mode");
    got = change(&k, made.row.id, KEY_FIELD_EXPIRES, (struct row_api_key){.expires_unix_ms = 1});
    cr_expect_eq(got.err, ERR_BAD_FIELD);
    cr_expect_str_eq(got.param, "expiresAt");
    got = change(&k, made.row.id, KEY_FIELD_PERMISSION, (struct row_api_key){0});
    cr_expect_eq(got.err, ERR_OK);
    cr_expect_eq(me(&k, with_key(&k, made.number), RIGHT_KEYS_WRITE), ERR_OK,
                 "a permission replaces the list");
    key_rig_close(&k);
}

Test(key, of_another_account_does_not_exist)
{
    static const enum key_op ops[] = {KEY_GET, KEY_CHANGE, KEY_REVOKE, KEY_ROTATE};
    struct key_rig k = key_rig_open();
    struct answer made = create(&k, owner(&k), 0, (struct row_api_key){0});
    for (int is_same = 0; is_same < 2; is_same++) {
        struct account_id other = rig_signup_at(k.rig, k.account, is_same == 1);
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            struct caller stranger = rig_key_caller(other, RIGHT_NONE);
            cr_expect_eq(on_id(&k, ops[i], stranger, made.row.id).err, ERR_NOT_FOUND);
        }
    }
    cr_expect_eq(me(&k, with_key(&k, made.number), RIGHT_NONE), ERR_OK);
    key_rig_close(&k);
}

/* ---- listed -------------------------------------------------------------------------------------
 */

Test(key, lists_newest_first_in_pages_with_those_that_ended)
{
    struct key_rig k = key_rig_open();
    struct id ids[5];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = create(&k, owner(&k), 0, (struct row_api_key){0}).row.id;
    }
    cr_assert_eq(on_id(&k, KEY_REVOKE, owner(&k), ids[3]).err, ERR_OK);
    struct id before = {.bytes = {0}};
    uint32_t seen = 0;
    for (uint32_t page = 0; page < 3; page++) {
        struct msg *msg = rig_take(k.rig, MSG_SHARD_KEY);
        msg->body.key = (struct shard_key){.caller = owner(&k),
                                           .op = KEY_LIST,
                                           .limit = 2,
                                           .before = before,
                                           .before_unix_ms = UINT64_MAX};
        cr_assert_eq(rig_call(k.rig, rig_shard(k.rig, k.account), msg), ERR_OK);
        cr_assert_eq(msg->body.key.row_count, 2, "page %u", page);
        for (uint32_t i = 0; i < 2; i++) {
            const struct row_api_key *row = &msg->body.key.rows[i];
            if (seen < 5) {
                cr_expect(id_equal(row->id, ids[4 - seen]));
                cr_expect_eq(row->is_revoked, seen == 1);
            } else {
                cr_expect(slice_equal(row->name, SLICE("First key")));
            }
            before = row->id;
            seen++;
        }
        rig_put(k.rig, msg);
    }
    struct msg *msg = rig_take(k.rig, MSG_SHARD_KEY);
    msg->body.key = (struct shard_key){
        .caller = owner(&k), .op = KEY_LIST, .limit = 2, .before_unix_ms = id_unix_ms(ids[0])};
    cr_assert_eq(rig_call(k.rig, rig_shard(k.rig, k.account), msg), ERR_OK);
    cr_expect_leq(msg->body.key.row_count, 1);
    key_rig_close(&k);
}

/* ---- rotated ------------------------------------------------------------------------------------
 */

Test(key, rotated_without_overlap_dies_at_once_and_its_heir_has_all_it_had)
{
    struct key_rig k = key_rig_open();
    struct row_api_key wanted = {
        .scopes = pack(&k, "mail:read"),
        .addresses = pack(&k, "support-*"),
        .allowed_ips = pack(&k, "192.0.2.0/24"),
        .metadata = pack(&k, "team,core,t"),
        .expires_unix_ms = clock_unix_ms() + 60000,
    };
    struct answer old = create(&k, owner(&k),
                               KEY_FIELD_SCOPES | KEY_FIELD_ADDRESSES | KEY_FIELD_IPS |
                                   KEY_FIELD_METADATA | KEY_FIELD_EXPIRES,
                               wanted);
    struct answer heir = on_id(&k, KEY_ROTATE, owner(&k), old.row.id);
    cr_assert_eq(heir.err, ERR_OK);
    cr_expect_not(id_equal(heir.row.id, old.row.id));
    cr_expect(slice_equal(heir.row.name, old.row.name));
    cr_expect(slice_equal(heir.row.scopes, wanted.scopes));
    cr_expect(slice_equal(heir.row.addresses, wanted.addresses));
    cr_expect(slice_equal(heir.row.allowed_ips, wanted.allowed_ips));
    cr_expect(slice_equal(heir.row.metadata, wanted.metadata));
    cr_expect_eq(heir.row.expires_unix_ms, wanted.expires_unix_ms);
    struct caller before = with_key(&k, old.number);
    struct caller after = with_key(&k, heir.number);
    before.peer = after.peer = ip("192.0.2.1");
    cr_expect_eq(me(&k, before, RIGHT_MAIL_READ), ERR_UNAUTHORIZED);
    cr_expect_eq(me(&k, after, RIGHT_MAIL_READ), ERR_OK);
    struct answer got = on_id(&k, KEY_GET, owner(&k), old.row.id);
    cr_expect(got.row.is_revoked);
    cr_expect(id_equal(got.row.replaced_by, heir.row.id));
    cr_expect_eq(on_id(&k, KEY_ROTATE, owner(&k), old.row.id).err, ERR_CONFLICT, "again");
    key_rig_close(&k);
}

Test(key, rotated_with_overlap_never_outlives_its_own_expiry)
{
    struct key_rig k = key_rig_open();
    uint64_t now = clock_unix_ms();
    clock_set_fake(clock_mono_ms(), now);
    static const struct {
        uint64_t expires_in_ms;
        uint64_t overlap_ms;
        uint64_t want_ms;
    } cases[] = {{0, 5000, 5000}, {9000, 5000, 5000}, {3000, 5000, 3000}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct row_api_key wanted = {.expires_unix_ms =
                                         cases[i].expires_in_ms ? now + cases[i].expires_in_ms : 0};
        struct answer old = create(&k, owner(&k), KEY_FIELD_EXPIRES, wanted);
        struct shard_key body = {.caller = owner(&k),
                                 .op = KEY_ROTATE,
                                 .id = old.row.id,
                                 .overlap_ms = cases[i].overlap_ms};
        struct answer heir = post(&k, &body);
        cr_assert_eq(heir.err, ERR_OK);
        cr_expect_eq(heir.row.expires_unix_ms, wanted.expires_unix_ms);
        struct answer got = on_id(&k, KEY_GET, owner(&k), old.row.id);
        cr_expect_eq(got.row.expires_unix_ms, now + cases[i].want_ms);
        cr_expect_eq(me(&k, with_key(&k, old.number), RIGHT_NONE), ERR_OK);
        cr_expect_eq(change(&k, old.row.id, KEY_FIELD_EXPIRES, (struct row_api_key){0}).err,
                     ERR_CONFLICT, "its end stands");
        cr_expect_eq(on_id(&k, KEY_ROTATE, owner(&k), old.row.id).err, ERR_CONFLICT);
    }
    clock_set_fake(0, 0);
    key_rig_close(&k);
}

Test(key, rotated_with_overlap_works_beside_its_heir_and_then_no_longer)
{
    struct key_rig k = key_rig_open();
    uint64_t now = clock_unix_ms();
    clock_set_fake(clock_mono_ms(), now);
    struct answer old = create(&k, owner(&k), 0, (struct row_api_key){0});
    struct shard_key body = {
        .caller = owner(&k), .op = KEY_ROTATE, .id = old.row.id, .overlap_ms = 5000};
    struct answer heir = post(&k, &body);
    cr_assert_eq(heir.err, ERR_OK);
    cr_expect_eq(me(&k, with_key(&k, old.number), RIGHT_NONE), ERR_OK);
    cr_expect_eq(me(&k, with_key(&k, heir.number), RIGHT_NONE), ERR_OK);
    clock_set_fake(clock_mono_ms(), now + 4999);
    cr_expect_eq(me(&k, with_key(&k, old.number), RIGHT_NONE), ERR_OK);
    clock_set_fake(clock_mono_ms(), now + 5000);
    cr_expect_eq(me(&k, with_key(&k, old.number), RIGHT_NONE), ERR_UNAUTHORIZED);
    cr_expect_eq(me(&k, with_key(&k, heir.number), RIGHT_NONE), ERR_OK);
    struct answer got = on_id(&k, KEY_GET, owner(&k), old.row.id);
    cr_expect_eq(key_status(&got.row, clock_unix_ms()), KEY_EXPIRED);
    cr_expect_not(got.row.is_revoked);
    clock_set_fake(0, 0);
    key_rig_close(&k);
}

Test(key, that_has_ended_is_not_rotated)
{
    struct key_rig k = key_rig_open();
    uint64_t now = clock_unix_ms();
    clock_set_fake(clock_mono_ms(), now);
    struct row_api_key wanted = {.expires_unix_ms = now + 1000};
    struct answer expired = create(&k, owner(&k), KEY_FIELD_EXPIRES, wanted);
    struct answer revoked = create(&k, owner(&k), 0, (struct row_api_key){0});
    cr_assert_eq(on_id(&k, KEY_REVOKE, owner(&k), revoked.row.id).err, ERR_OK);
    cr_expect_eq(on_id(&k, KEY_ROTATE, owner(&k), revoked.row.id).err, ERR_CONFLICT);
    clock_set_fake(clock_mono_ms(), now + 1000);
    cr_expect_eq(on_id(&k, KEY_ROTATE, owner(&k), expired.row.id).err, ERR_CONFLICT);
    clock_set_fake(0, 0);
    key_rig_close(&k);
}

Test(key, rotated_while_disabled_has_a_disabled_heir)
{
    struct key_rig k = key_rig_open();
    struct answer old = create(&k, owner(&k), 0, (struct row_api_key){0});
    (void)change(&k, old.row.id, KEY_FIELD_ENABLED, (struct row_api_key){.is_enabled = false});
    struct answer heir = on_id(&k, KEY_ROTATE, owner(&k), old.row.id);
    cr_assert_eq(heir.err, ERR_OK);
    cr_expect_not(heir.row.is_enabled);
    cr_expect_eq(me(&k, with_key(&k, heir.number), RIGHT_NONE), ERR_UNAUTHORIZED);
    key_rig_close(&k);
}

Test(key, rotating_the_first_follows_its_line_and_skips_the_dead)
{
    struct key_rig k = key_rig_open();
    struct answer second = create(&k, owner(&k), 0, (struct row_api_key){0});
    struct answer first = on_id(&k, KEY_ROTATE_FIRST, owner(&k), (struct id){.bytes = {0}});
    cr_assert_eq(first.err, ERR_OK);
    cr_expect(slice_equal(first.row.name, SLICE("First key")));
    cr_expect_eq(me(&k, owner(&k), RIGHT_NONE), ERR_UNAUTHORIZED, "it was the caller itself");
    struct caller caller = with_key(&k, first.number);
    struct answer again = on_id(&k, KEY_ROTATE_FIRST, caller, (struct id){.bytes = {0}});
    cr_assert_eq(again.err, ERR_OK);
    cr_expect(slice_equal(again.row.name, SLICE("First key")));
    cr_expect(id_equal(again.row.replaces, first.row.id));
    caller = with_key(&k, second.number);
    cr_assert_eq(on_id(&k, KEY_REVOKE, caller, again.row.id).err, ERR_OK);
    struct answer last = on_id(&k, KEY_ROTATE_FIRST, caller, (struct id){.bytes = {0}});
    cr_assert_eq(last.err, ERR_OK);
    cr_expect(id_equal(last.row.replaces, second.row.id));
    key_rig_close(&k);
}

/* ---- never more than itself ---------------------------------------------------------------------
 */

Test(key, makes_changes_and_rotates_none_that_may_more_than_itself)
{
    struct key_rig k = key_rig_open();
    struct id domain = rig_domain(k.rig, k.account, "a.example");
    struct id other = rig_domain(k.rig, k.account, "b.example");
    uint64_t later = clock_unix_ms() + 3600000;
    const uint32_t every = KEY_FIELD_SCOPES | KEY_FIELD_DOMAINS | KEY_FIELD_ADDRESSES |
                           KEY_FIELD_IPS | KEY_FIELD_EXPIRES | KEY_FIELD_ENABLED;
    const struct row_api_key self = {
        .scopes = pack(&k, "keys:write,mail:send"),
        .domains = domain_pack(&k, domain),
        .addresses = pack(&k, "hello,support-*"),
        .allowed_ips = pack(&k, "10.0.0.0/8"),
        .expires_unix_ms = later,
        .is_enabled = true,
    };
    struct answer narrow = create(&k, owner(&k), every, self);
    cr_assert_eq(narrow.err, ERR_OK);
    struct caller caller = with_key(&k, narrow.number);
    caller.peer = ip("10.0.0.1");
    struct row_api_key wide[16];
    const char *params[16];
    size_t n = 0;
#define WIDER(member, value, param)                                                                \
    wide[n] = self;                                                                                \
    wide[n].member = (value);                                                                      \
    params[n++] = (param)
    WIDER(scopes, pack(&k, "keys:write,mail:read"), "mail:read");
    WIDER(domains, SLICE(""), "domains");
    WIDER(domains, domain_pack(&k, other), "domains");
    WIDER(addresses, SLICE(""), "addresses");
    WIDER(addresses, pack(&k, "*"), "addresses");
    WIDER(addresses, pack(&k, "supp*"), "addresses");
    WIDER(addresses, pack(&k, "hello,boss"), "addresses");
    WIDER(addresses, pack(&k, "*-hello"), "addresses");
    WIDER(allowed_ips, SLICE(""), "allowedIps");
    WIDER(allowed_ips, pack(&k, "10.0.0.0/7"), "allowedIps");
    WIDER(allowed_ips, pack(&k, "10.1.0.0/16,::/0"), "allowedIps");
    WIDER(expires_unix_ms, 0, "expiresAt");
    WIDER(expires_unix_ms, later + 1, "expiresAt");
#undef WIDER
    struct row_api_key less = self;
    less.addresses = pack(&k, "support-de-*,support-1,hello");
    less.allowed_ips = pack(&k, "10.9.0.0/16");
    less.scopes = pack(&k, "mail:send");
    less.expires_unix_ms = later - 1;
    struct answer child = create(&k, caller, every, less);
    cr_expect_eq(child.err, ERR_OK, "less is allowed: %s", child.param);
    for (size_t i = 0; i < n; i++) {
        enum err want = i == 0 ? ERR_SCOPE : ERR_KEY_SCOPE;
        struct answer made = create(&k, caller, every, wide[i]);
        cr_expect_eq(made.err, want, "make %zu", i);
        cr_expect_str_eq(made.param, params[i], "make %zu", i);
        struct shard_key body = {.caller = caller,
                                 .op = KEY_CHANGE,
                                 .id = child.row.id,
                                 .given = every,
                                 .wanted = wide[i]};
        cr_expect_eq(post(&k, &body).err, want, "change %zu", i);
        body.id = narrow.row.id;
        cr_expect_eq(post(&k, &body).err, want, "change itself %zu", i);
        struct answer wider = create(&k, owner(&k), every, wide[i]);
        cr_assert_eq(wider.err, ERR_OK);
        cr_expect_eq(on_id(&k, KEY_ROTATE, caller, wider.row.id).err, want, "rotate %zu", i);
    }
    cr_expect_eq(on_id(&k, KEY_ROTATE, caller, child.row.id).err, ERR_OK);
    key_rig_close(&k);
}

Test(key, of_test_mode_makes_and_rotates_test_keys_only)
{
    struct key_rig k = key_rig_open();
    struct answer test =
        create(&k, owner(&k), KEY_FIELD_MODE, (struct row_api_key){.mode = MODE_TEST});
    cr_assert_eq(test.err, ERR_OK);
    cr_expect(slice_equal(test.row.prefix, SLICE("mk_test_abcdefgh")));
    struct caller caller = with_key(&k, test.number);
    struct answer live = create(&k, caller, KEY_FIELD_MODE, (struct row_api_key){0});
    cr_expect_eq(live.err, ERR_KEY_SCOPE);
    cr_expect_str_eq(live.param, "mode");
    struct answer same = create(&k, caller, 0, (struct row_api_key){0});
    cr_expect_eq(same.err, ERR_OK);
    cr_expect_eq(same.row.mode, MODE_TEST, "its own mode is the default");
    live = create(&k, owner(&k), 0, (struct row_api_key){0});
    cr_expect_eq(on_id(&k, KEY_ROTATE, caller, live.row.id).err, ERR_KEY_SCOPE);
    key_rig_close(&k);
}

/* ---- domains and addresses ----------------------------------------------------------------------
 */

Test(key, takes_domains_of_its_account_only)
{
    struct key_rig k = key_rig_open();
    struct account_id other = rig_signup_at(k.rig, k.account, true);
    struct id strange = rig_domain(k.rig, other, "strange.example");
    struct answer made = create(&k, owner(&k), KEY_FIELD_DOMAINS,
                                (struct row_api_key){.domains = domain_pack(&k, strange)});
    cr_expect_eq(made.err, ERR_DOMAIN_NOT_OWNED);
    cr_expect_str_eq(made.param, "domains");
    key_rig_close(&k);
}

static enum err delete_domain(struct key_rig *k, struct caller caller, struct id domain)
{
    struct msg *msg = rig_take(k->rig, MSG_SHARD_DOMAIN);
    msg->body.domain = (struct shard_domain){.caller = caller, .op = DOMAIN_DELETE, .id = domain};
    enum err err = rig_call(k->rig, rig_shard(k->rig, k->account), msg);
    rig_put(k->rig, msg);
    return err;
}

Test(key, left_without_a_domain_is_disabled_and_never_widened)
{
    struct key_rig k = key_rig_open();
    struct id a = rig_domain(k.rig, k.account, "a.example");
    struct id b = rig_domain(k.rig, k.account, "b.example");
    struct slice only_a = domain_pack(&k, a);
    struct buf both;
    buf_init(&both, KIB);
    buf_add(&both, only_a);
    buf_add(&both, domain_pack(&k, b));
    struct answer one =
        create(&k, owner(&k), KEY_FIELD_DOMAINS, (struct row_api_key){.domains = only_a});
    struct answer two =
        create(&k, owner(&k), KEY_FIELD_DOMAINS, (struct row_api_key){.domains = buf_slice(&both)});
    buf_fini(&both);
    cr_expect_eq(delete_domain(&k, with_key(&k, one.number), b), ERR_KEY_SCOPE, "not its own");
    cr_assert_eq(delete_domain(&k, owner(&k), a), ERR_OK);
    cr_expect_eq(me(&k, with_key(&k, one.number), RIGHT_NONE), ERR_UNAUTHORIZED);
    cr_expect_eq(me(&k, with_key(&k, two.number), RIGHT_NONE), ERR_OK, "one of two is left");
    struct answer got = on_id(&k, KEY_GET, owner(&k), one.row.id);
    cr_expect_eq(key_status(&got.row, clock_unix_ms()), KEY_DISABLED);
    cr_expect_gt(got.row.domains.len, 0, "an empty list would be every domain");
    got = change(&k, one.row.id, KEY_FIELD_ENABLED, (struct row_api_key){.is_enabled = true});
    cr_expect_eq(got.err, ERR_OK);
    cr_expect_eq(me(&k, with_key(&k, one.number), RIGHT_NONE), ERR_UNAUTHORIZED, "still");
    cr_assert_eq(delete_domain(&k, owner(&k), b), ERR_OK);
    cr_expect_eq(me(&k, with_key(&k, two.number), RIGHT_NONE), ERR_UNAUTHORIZED);
    key_rig_close(&k);
}

Test(key, sends_from_its_addresses_only)
{
    struct key_rig k = key_rig_open();
    (void)rig_domain(k.rig, k.account, "a.example");
    struct row_api_key wanted = {.addresses = pack(&k, "hello,support-*,*-agent")};
    struct answer made = create(&k, owner(&k), KEY_FIELD_ADDRESSES, wanted);
    static const struct {
        const char *from;
        enum err want;
    } cases[] = {
        {"hello@a.example", ERR_OK},         {"HELLO@a.example", ERR_OK},
        {"hello2@a.example", ERR_KEY_SCOPE}, {"support-de@a.example", ERR_OK},
        {"support-@a.example", ERR_OK},      {"support@a.example", ERR_KEY_SCOPE},
        {"sales-agent@a.example", ERR_OK},   {"agent@a.example", ERR_KEY_SCOPE},
        {"boss@a.example", ERR_KEY_SCOPE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct msg *msg = rig_mail(k.rig, k.account, cases[i].from, "b@example.net");
        msg->body.send.caller = with_key(&k, made.number);
        msg->body.send.caller.right = RIGHT_MAIL_SEND;
        cr_expect_eq(rig_call(k.rig, rig_shard(k.rig, k.account), msg), cases[i].want, "%s",
                     cases[i].from);
        rig_put(k.rig, msg);
    }
    key_rig_close(&k);
}

/* ---- failure and restart ------------------------------------------------------------------------
 */

Test(key, that_did_not_reach_the_disk_is_not_there)
{
    struct key_rig k = key_rig_open();
    cr_assert_eq(me(&k, owner(&k), RIGHT_NONE), ERR_OK); /* its use is noted */
    rig_settle(k.rig);
    k.rig->fail_at = k.rig->commit_count + 1;
    struct answer lost = create(&k, owner(&k), 0, (struct row_api_key){0});
    cr_expect_eq(lost.err, ERR_STORAGE);
    cr_expect_eq(me(&k, with_key(&k, lost.number), RIGHT_NONE), ERR_UNAUTHORIZED);
    cr_expect_eq(rig_count(k.rig, k.account, key_prefix_api_key_ids(k.account)), 1);
    key_rig_close(&k);
}

Test(key, outlives_a_restart_and_goes_with_its_account)
{
    struct key_rig k = key_rig_open();
    struct answer made = create(&k, owner(&k), 0, (struct row_api_key){0});
    rig_restart(k.rig);
    cr_expect_eq(me(&k, with_key(&k, made.number), RIGHT_NONE), ERR_OK);
    struct msg *msg = rig_take(k.rig, MSG_SHARD_DROP_ACCOUNT);
    msg->body.drop.account = k.account;
    cr_assert_eq(rig_call(k.rig, rig_shard(k.rig, k.account), msg), ERR_OK);
    cr_expect_eq(me(&k, with_key(&k, made.number), RIGHT_NONE), ERR_UNAUTHORIZED);
    cr_expect_eq(rig_count(k.rig, k.account, key_prefix_api_key_ids(k.account)), 0);
    key_rig_close(&k);
}
