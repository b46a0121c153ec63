/* Credentials that are taken back: every edge hears of it before the answer.
 *
 * Not covered here: what an edge does then (tests/unit/edge/test_credentials), which requests take
 * one back (test_key, test_domain).
 */
#include "unit/shards/shard_rig.h"

#define EDGES 3

struct world {
    struct rig *rig;
    struct actor edges[EDGES];
    uint32_t told[EDGES];
    uint32_t total;
    struct credential seen[8];
    uint32_t seen_count;
    uint64_t seen_at;
    bool is_held;
    struct msg *held;
};

static struct world world;

static void on_told(struct actor *actor, struct msg *msg)
{
    CHECK(msg->kind == MSG_EDGE_ENDED);
    world.told[actor - world.edges]++;
    world.total++;
    world.seen_count = msg->body.ended.count;
    world.seen_at = msg->body.ended.at_unix_ms;
    memcpy(world.seen, msg->body.ended.list,
           min_u64(world.seen_count, ARRAY_LEN(world.seen)) * sizeof(world.seen[0]));
    if (world.is_held) {
        world.held = msg;
    } else {
        msg_return(msg, ERR_OK);
    }
}

static struct rig *open_world(void)
{
    memset(&world, 0, sizeof(world));
    world.rig = rig_open();
    for (uint32_t i = 0; i < EDGES; i++) {
        rig_actor(world.rig, &world.edges[i], "edge", on_told);
        world.rig->place.edges[i] = &world.edges[i];
    }
    world.rig->place.loop_count = EDGES;
    return world.rig;
}

static void close_world(void)
{
    for (uint32_t i = 0; i < EDGES; i++) {
        world.rig->place.edges[i] = NULL;
        actor_close(&world.edges[i]);
    }
    rig_close(world.rig);
    for (uint32_t i = 0; i < EDGES; i++) {
        actor_fini(&world.edges[i]);
    }
}

static struct id first_key(struct rig *rig, struct account_id account)
{
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    struct msg *msg = rig_take(rig, MSG_SHARD_ME);
    msg->body.me.caller = caller;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    struct id id = msg->body.me.key.id;
    rig_put(rig, msg);
    return id;
}

static struct msg *revoke_msg(struct rig *rig, struct account_id account)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_KEY);
    struct id id = first_key(rig, account);
    msg->body.key.caller = rig_key_caller(account, RIGHT_KEYS_WRITE);
    msg->body.key.op = KEY_REVOKE;
    msg->body.key.id = id;
    return msg;
}

static enum err me(struct rig *rig, struct account_id account)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_ME);
    msg->body.me.caller = rig_key_caller(account, RIGHT_NONE);
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    rig_put(rig, msg);
    return err;
}

Test(ended, tells_every_edge_once_before_the_answer)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    struct credential expected = credential_key(&caller.key_hash);
    struct msg *msg = revoke_msg(rig, account);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    for (uint32_t i = 0; i < EDGES; i++) {
        cr_assert_eq(world.told[i], 1);
    }
    cr_assert_eq(world.seen_count, 1);
    cr_assert_eq(world.seen_at, 0);
    cr_assert_eq(credential_compare(&world.seen[0], &expected), 0);
    rig_put(rig, msg);
    close_world();
}

Test(ended, refuses_the_credential_before_the_first_edge_has_answered)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct msg *msg = revoke_msg(rig, account);
    world.is_held = true;
    actor_post(rig_shard(rig, account), msg);
    rig_settle(rig);
    cr_assert_eq(world.total, 1, "one after the other");
    cr_assert_not(rig_is_home(rig, msg));
    cr_assert_eq(me(rig, account), ERR_UNAUTHORIZED);
    world.is_held = false;
    msg_return(world.held, ERR_OK);
    cr_assert_eq(rig_wait(rig, msg), ERR_OK);
    cr_assert_eq(world.total, EDGES);
    rig_put(rig, msg);
    close_world();
}

Test(ended, waits_for_the_disk_when_that_is_slower_than_the_edges)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct msg *msg = revoke_msg(rig, account);
    rig_settle(rig); /* the key's last use is on disk */
    rig->is_commit_held = true;
    actor_post(rig_shard(rig, account), msg);
    rig_settle(rig);
    cr_assert_eq(world.total, EDGES);
    cr_assert_not(rig_is_home(rig, msg));
    rig_release_commits(rig);
    cr_assert_eq(rig_wait(rig, msg), ERR_OK);
    rig_put(rig, msg);
    close_world();
}

/* Whichever of the two ends first. */
static void lose_the_batch(bool is_walk_slower)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct msg *msg = revoke_msg(rig, account);
    rig_settle(rig);
    world.is_held = is_walk_slower;
    rig->is_commit_held = !is_walk_slower;
    rig->fail_at = rig->commit_count + 1;
    actor_post(rig_shard(rig, account), msg);
    rig_settle(rig);
    cr_assert_not(rig_is_home(rig, msg));
    if (is_walk_slower) {
        world.is_held = false;
        msg_return(world.held, ERR_OK);
    } else {
        rig_release_commits(rig);
    }
    cr_assert_eq(rig_wait(rig, msg), ERR_STORAGE);
    cr_assert_eq(me(rig, account), ERR_OK, "nothing was promised, nothing happened");
    rig_put(rig, msg);
    close_world();
}

Test(ended, is_no_promise_when_the_batch_is_lost_before_the_last_edge_answered)
{
    lose_the_batch(true);
}

Test(ended, is_no_promise_when_the_batch_is_lost_after_the_last_edge_answered)
{
    lose_the_batch(false);
}

Test(ended, is_busy_and_writes_nothing_without_a_message_to_tell_of_it)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct shard *shard = rig_state(rig, account);
    struct msg *taken[SHARD_WORK_MSGS];
    struct msg *msg = revoke_msg(rig, account);
    for (uint32_t i = 0; i < SHARD_WORK_MSGS; i++) {
        taken[i] = msg_take(&shard->actor, MSG_EDGE_ENDED);
        cr_assert_not_null(taken[i]);
    }
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_BUSY);
    for (uint32_t i = 0; i < SHARD_WORK_MSGS; i++) {
        msg_put(&shard->actor, taken[i]);
    }
    cr_assert_eq(me(rig, account), ERR_OK);
    rig_put(rig, msg);
    close_world();
}

Test(ended, holds_up_the_drain_until_it_is_over)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct msg *msg = revoke_msg(rig, account);
    world.is_held = true;
    actor_post(rig_shard(rig, account), msg);
    rig_settle(rig);
    struct msg *drain = rig_take(rig, MSG_SHARD_CONTROL);
    drain->body.control.op = CONTROL_DRAIN;
    actor_post(rig_shard(rig, account), drain);
    rig_settle(rig);
    cr_assert_not(rig_is_home(rig, drain));
    world.is_held = false;
    msg_return(world.held, ERR_OK);
    cr_assert_eq(rig_wait(rig, drain), ERR_OK);
    cr_assert_eq(rig_wait(rig, msg), ERR_OK);
    rig_put(rig, msg);
    rig_put(rig, drain);
    close_world();
}

Test(ended, goes_on_for_many_at_once)
{
    struct rig *rig = open_world();
    struct msg *msgs[20];
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        msgs[i] = revoke_msg(rig, rig_signup(rig));
    }
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        actor_post(rig_shard(rig, msgs[i]->body.key.caller.account), msgs[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        cr_assert_eq(rig_wait(rig, msgs[i]), ERR_OK);
    }
    cr_assert_eq(world.total, EDGES * ARRAY_LEN(msgs));
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        rig_put(rig, msgs[i]);
    }
    close_world();
}

/* ---- what takes a credential back ----------------------------------------------------------- */

static enum err change_key(struct rig *rig, struct account_id account, struct shard_key body)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_KEY);
    body.caller = rig_key_caller(account, RIGHT_KEYS_WRITE);
    body.id = first_key(rig, account);
    for (size_t i = 0; i < ARRAY_LEN(body.secrets); i++) {
        body.secrets[i] = (struct key_secret){
            .hash = crypto_sha256(slice_of(&i, sizeof(i))),
            .prefix = SLICE("mk_live_abcdefgh"),
            .last4 = SLICE("1234"),
        };
    }
    msg->body.key = body;
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    rig_put(rig, msg);
    return err;
}

static const struct {
    const char *name;
    struct shard_key body;
    bool is_told;
} changes[] = {
    {"a name", {.op = KEY_CHANGE, .given = KEY_FIELD_NAME, .wanted = {.name = {"x", 1}}}, false},
    {"its networks",
     {.op = KEY_CHANGE,
      .given = KEY_FIELD_IPS,
      .wanted = {.allowed_ips = {"\x0a\0\0\0127.0.0.0/8", 14}}},
     true},
    {"its addresses",
     {.op = KEY_CHANGE, .given = KEY_FIELD_ADDRESSES, .wanted = {.addresses = {"\1\0\0\0a", 5}}},
     true},
    {"an expiry",
     {.op = KEY_CHANGE,
      .given = KEY_FIELD_EXPIRES,
      .wanted = {.expires_unix_ms = UINT64_C(4000000000000)}},
     true},
    {"disabling",
     {.op = KEY_CHANGE, .given = KEY_FIELD_ENABLED, .wanted = {.is_enabled = false}},
     true},
    {"rotation", {.op = KEY_ROTATE}, true},
};

Test(ended, is_said_of_a_key_that_may_less_than_before)
{
    struct rig *rig = open_world();
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct account_id account = rig_signup(rig);
        uint32_t before = world.total;
        enum err err = change_key(rig, account, changes[i].body);
        cr_assert_eq(err, ERR_OK, "%s: %s", changes[i].name, err_info(err)->name);
        cr_expect_eq(world.total - before, changes[i].is_told ? EDGES : 0, "%s", changes[i].name);
        cr_expect(!changes[i].is_told || world.seen_at == 0);
    }
    close_world();
}

Test(ended, is_not_said_of_a_key_that_may_more_than_before)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct shard_key body = {
        .op = KEY_CHANGE,
        .given = KEY_FIELD_ADDRESSES,
        .wanted = {.addresses = {"\1\0\0\0a", 5}},
    };
    cr_assert_eq(change_key(rig, account, body), ERR_OK);
    uint32_t before = world.total;
    body.wanted.addresses = SLICE("");
    cr_assert_eq(change_key(rig, account, body), ERR_KEY_SCOPE, "not by itself");
    cr_assert_eq(world.total, before);
    rig_set_key(rig, account, MODE_LIVE, SLICE(""));
    body.given = KEY_FIELD_NAME;
    body.wanted.name = SLICE("y");
    (void)change_key(rig, account, body);
    cr_assert_eq(world.total, before);
    close_world();
}

Test(ended, is_said_ahead_of_a_key_that_is_rotated_with_overlap)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    uint64_t now = clock_unix_ms();
    struct shard_key body = {.op = KEY_ROTATE, .overlap_ms = 60000};
    cr_assert_eq(change_key(rig, account, body), ERR_OK);
    cr_assert_eq(world.total, EDGES);
    cr_assert_geq(world.seen_at, now + 60000);
    cr_assert_eq(me(rig, account), ERR_OK);
    close_world();
}

Test(ended, is_said_of_the_keys_of_a_domain_that_is_deleted)
{
    struct rig *rig = open_world();
    struct account_id account = rig_signup(rig);
    struct id domain = rig_domain(rig, account, "example.com");
    char text[ID_TEXT_MAX];
    struct buf pack;
    buf_init(&pack, KIB);
    buf_put_slice(&pack, slice_of(text, id_text(ID_DOMAIN, domain, text)));
    struct caller owner = rig_key_caller(account, RIGHT_DOMAINS_WRITE);
    struct sha256 bound[3];
    for (uint32_t i = 0; i < ARRAY_LEN(bound); i++) {
        struct row_api_key row = {
            .id = shard_id(rig_state(rig, account), account),
            .domains = buf_slice(&pack),
            .is_enabled = true,
        };
        bound[i] = crypto_sha256(slice_of(&i, sizeof(i)));
        struct row_api_key_id index = {.hash = bound[i]};
        rig_set_api_key(rig, account, key_api_key(account, &bound[i]), &row);
        rig_set_api_key_id(rig, account, key_api_key_id(account, row.id), &index);
    }
    buf_fini(&pack);
    struct msg *msg = rig_take(rig, MSG_SHARD_DOMAIN);
    msg->body.domain.caller = owner;
    msg->body.domain.op = DOMAIN_DELETE;
    msg->body.domain.id = domain;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    rig_put(rig, msg);
    cr_assert_eq(world.total, EDGES);
    cr_assert_eq(world.seen_count, ARRAY_LEN(bound));
    for (uint32_t i = 0; i < ARRAY_LEN(bound); i++) {
        struct credential wanted = credential_key(&bound[i]);
        cr_expect_not_null(
            bsearch(&wanted, world.seen, world.seen_count, sizeof(wanted), credential_compare));
    }
    close_world();
}
