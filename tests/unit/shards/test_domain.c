/* test_domain.c - domains: keys made and sealed, checks stored, names claimed and given back.
 *
 * Not covered here: the look-ups behind a check (tests/unit/deliver), signing with the keys
 * (test_claim), the DNS records shown to customers (tests/unit/edge).
 */
#include "unit/shards/shard_rig.h"

static struct msg *domain_msg(struct rig *rig, struct account_id account, enum domain_op op)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_DOMAIN);
    bool is_read = op == DOMAIN_LIST || op == DOMAIN_GET;
    msg->body.domain = (struct shard_domain){
        .caller = rig_key_caller(account, is_read ? RIGHT_DOMAINS_READ : RIGHT_DOMAINS_WRITE),
        .op = op,
        .before_unix_ms = UINT64_MAX,
    };
    return msg;
}

static enum err create(struct rig *rig, struct account_id account, const char *name, struct id *id)
{
    struct msg *msg = domain_msg(rig, account, DOMAIN_CREATE);
    msg->body.domain.name = slice_str(name);
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    if (err == ERR_OK) {
        *id = msg->body.domain.rows[0].id;
    }
    rig_put(rig, msg);
    return err;
}

static enum err one(struct rig *rig, struct account_id account, enum domain_op op, struct id id)
{
    struct msg *msg = domain_msg(rig, account, op);
    msg->body.domain.id = id;
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    rig_put(rig, msg);
    return err;
}

static enum err checked(struct rig *rig, struct account_id account, struct id id,
                        struct domain_checks checks)
{
    struct msg *msg = domain_msg(rig, account, DOMAIN_CHECKED);
    msg->body.domain.id = id;
    msg->body.domain.checks = checks;
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    rig_put(rig, msg);
    return err;
}

static bool is_claimed(struct rig *rig, const char *name, uint64_t *owner)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_DIRECTORY);
    msg->body.directory = (struct shard_directory){
        .op = DIRECTORY_GET, .kind = DIRECTORY_DOMAIN, .name = slice_str(name)};
    enum err err = rig_call(rig, place_directory(&rig->place, slice_str(name)), msg);
    *owner = msg->body.directory.account.value;
    rig_put(rig, msg);
    return err == ERR_OK;
}

static void claim_for(struct rig *rig, const char *name, struct account_id account)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_DIRECTORY);
    msg->body.directory = (struct shard_directory){
        .op = DIRECTORY_CLAIM,
        .kind = DIRECTORY_DOMAIN,
        .name = slice_str(name),
        .account = account,
        .id = {.bytes = {1}},
    };
    cr_assert_eq(rig_call(rig, place_directory(&rig->place, slice_str(name)), msg), ERR_OK);
    rig_put(rig, msg);
}

static const struct domain_checks may_send = {.spf = true, .dkim_ed = true};

/* ---- create -------------------------------------------------------------------------------------
 */

Test(domain, create_makes_two_key_pairs_and_shows_the_public_halves)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct msg *msg = domain_msg(rig, account, DOMAIN_CREATE);
    msg->body.domain.name = SLICE("example.com");
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_assert_eq(msg->body.domain.row_count, 1);
    const struct row_domain *shown = &msg->body.domain.rows[0];
    cr_expect(slice_equal(shown->name, SLICE("example.com")));
    cr_expect_eq(shown->status, DOMAIN_PENDING);
    cr_expect_gt(shown->rsa_public.len, 300);
    cr_expect_eq(shown->ed_public.len, 44);
    cr_expect_eq(shown->rsa_private.len, 0);
    cr_expect_eq(shown->ed_private.len, 0);

    struct row_domain row = rig_get_domain(rig, account, key_domain(account, shown->id), &arena);
    char text[ID_TEXT_MAX];
    struct slice context = slice_of(text, id_text(ID_DOMAIN, row.id, text));
    struct slice sealed[] = {row.rsa_private, row.ed_private};
    struct slice public[] = {row.rsa_public, row.ed_public};
    enum sign_algo algos[] = {SIGN_RSA_SHA256, SIGN_ED25519};
    for (size_t i = 0; i < 2; i++) {
        uint8_t *der = arena_alloc(&arena, sealed[i].len);
        struct sign_key *key;
        struct slice signature;
        struct sha256 digest = crypto_sha256(SLICE("x"));
        cr_assert_eq(crypto_unseal(&rig_state(rig, account)->dkim_seal, context, sealed[i], der),
                     ERR_OK);
        cr_assert_eq(sign_key_new(algos[i], slice_of(der, sealed[i].len - SEAL_OVERHEAD), &key),
                     ERR_OK);
        cr_assert_eq(sign_key_sign(key, &digest, &arena, &signature), ERR_OK);
        cr_expect_eq(crypto_verify(algos[i], public[i], &digest, signature), ERR_OK);
        sign_key_free(key);
        cr_expect_neq(
            crypto_unseal(&rig_state(rig, account)->dkim_seal, SLICE("dom_other"), sealed[i], der),
            ERR_OK, "bound to its domain");
    }
    arena_fini(&arena);
    rig_close(rig);
}

Test(domain, create_refuses_what_the_account_has)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id;
    (void)rig_domain(rig, account, "example.com");
    cr_expect_eq(create(rig, account, "example.com", &id), ERR_EXISTS);
    cr_expect_eq(create(rig, account, "", &id), ERR_BAD_FIELD);
    rig_close(rig);
}

Test(domain, two_creates_at_once_make_one_domain)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct msg *msgs[2];
    for (size_t i = 0; i < 2; i++) {
        msgs[i] = domain_msg(rig, account, DOMAIN_CREATE);
        msgs[i]->body.domain.name = SLICE("example.com");
        actor_post(rig_shard(rig, account), msgs[i]);
    }
    enum err first = rig_wait(rig, msgs[0]);
    enum err second = rig_wait(rig, msgs[1]);
    cr_expect((first == ERR_OK && second == ERR_EXISTS) ||
              (first == ERR_EXISTS && second == ERR_OK));
    cr_expect_eq(rig_count(rig, account, key_prefix_domains(account)), 1);
    rig_close(rig);
}

Test(domain, create_refuses_what_another_account_verified)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id;
    claim_for(rig, "taken.example", (struct account_id){77});
    cr_expect_eq(create(rig, account, "taken.example", &id), ERR_EXISTS);
    cr_expect_eq(rig_count(rig, account, key_prefix_domains(account)), 0);
    rig_close(rig);
}

Test(domain, create_ends_at_the_ceiling)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct row_domain row = {.name = SLICE("filler.example")};
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, account));
    struct buf buf;
    buf_init(&buf, KIB);
    row_domain_encode(&row, &buf);
    for (uint32_t i = 0; i < DOMAINS_PER_ACCOUNT; i++) {
        struct key key = key_domain(account, shard_id(rig_state(rig, account), account));
        kv_batch_put(batch, key_slice(&key), buf_slice(&buf));
    }
    rig_write(rig, batch);
    buf_fini(&buf);
    struct id id;
    cr_expect_eq(create(rig, account, "one.more.example", &id), ERR_QUOTA);
    rig_close(rig);
}

Test(domain, is_busy_when_every_look_up_is_out)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct shard *shard = rig_state(rig, account);
    struct id id = rig_domain(rig, account, "have.example");
    struct msg *taken[SHARD_WORK_MSGS];
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        taken[i] = msg_take(&shard->actor, MSG_SHARD_DIRECTORY);
    }
    struct id made;
    cr_expect_eq(create(rig, account, "example.com", &made), ERR_BUSY);
    cr_expect_eq(one(rig, account, DOMAIN_DELETE, id), ERR_BUSY);
    cr_expect_eq(checked(rig, account, id, may_send), ERR_BUSY);
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        msg_put(&shard->actor, taken[i]);
    }
    rig_close(rig);
}

Test(domain, a_refused_commit_leaves_no_domain)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id;
    rig_settle(rig);
    rig->commit_count = 0;
    rig->fail_at = 1;
    rig->fail_count = 10;
    cr_expect_eq(create(rig, account, "example.com", &id), ERR_STORAGE);
    cr_expect_eq(rig_count(rig, account, key_prefix_domains(account)), 0);
    rig->fail_at = 0;
    cr_expect_eq(create(rig, account, "example.com", &id), ERR_OK);
    rig_close(rig);
}

/* ---- read ---------------------------------------------------------------------------------------
 */

Test(domain, lists_the_newest_first_and_without_secrets)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    const char *names[] = {"a.example", "b.example", "c.example"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)rig_domain(rig, account, names[i]);
        (void)rig_domain(rig, other, names[i]);
    }
    struct msg *msg = domain_msg(rig, account, DOMAIN_LIST);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_assert_eq(msg->body.domain.row_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct row_domain *row = &msg->body.domain.rows[i];
        cr_expect(slice_equal(row->name, slice_str(names[2 - i])));
        cr_expect_eq(id_account(row->id).value, account.value);
        cr_expect_eq(row->rsa_private.len + row->ed_private.len, 0);
    }
    rig_put(rig, msg);
    msg = domain_msg(rig, account, DOMAIN_LIST);
    msg->body.domain.limit = 1;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_expect_eq(msg->body.domain.row_count, 1);
    rig_put(rig, msg);
    msg = domain_msg(rig, account, DOMAIN_LIST);
    msg->body.domain.before_unix_ms = 1;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    cr_expect_eq(msg->body.domain.row_count, 0);
    rig_close(rig);
}

Test(domain, of_another_account_is_not_found)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    struct id id = rig_domain(rig, account, "example.com");
    enum domain_op ops[] = {DOMAIN_GET, DOMAIN_DELETE, DOMAIN_CHECKED};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        cr_expect_eq(one(rig, other, ops[i], id), ERR_NOT_FOUND, "%d", (int)ops[i]);
    }
    cr_expect_eq(one(rig, account, DOMAIN_GET, id), ERR_OK);
    rig_close(rig);
}

/* ---- verification -------------------------------------------------------------------------------
 */

Test(domain, status_follows_the_checks)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id id = rig_domain(rig, account, "example.com");
    struct {
        const char *name;
        struct domain_checks checks;
        enum domain_status want;
        bool claims;
    } cases[] = {
        {"nothing", {.dmarc = true}, DOMAIN_FAILED, false},
        {"spf alone", {.spf = true}, DOMAIN_FAILED, false},
        {"dkim alone", {.dkim_rsa = true, .dkim_ed = true}, DOMAIN_FAILED, false},
        {"mx alone may receive", {.mx = true}, DOMAIN_FAILED, true},
        {"spf and rsa", {.spf = true, .dkim_rsa = true}, DOMAIN_VERIFIED, true},
        {"spf and ed25519", {.spf = true, .dkim_ed = true}, DOMAIN_VERIFIED, true},
        {"lapsed", {.mx = false}, DOMAIN_FAILED, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t owner = 0;
        const struct domain_checks *want = &cases[i].checks;
        cr_assert_eq(checked(rig, account, id, *want), ERR_OK, "%s", cases[i].name);
        struct row_domain row = rig_get_domain(rig, account, key_domain(account, id), &arena);
        cr_expect_eq(row.status, cases[i].want, "%s", cases[i].name);
        cr_expect_eq(row.spf_verified, want->spf);
        cr_expect_eq(row.mx_verified, want->mx);
        cr_expect_eq(row.dkim_rsa_verified, want->dkim_rsa);
        cr_expect_eq(row.dkim_ed_verified, want->dkim_ed);
        cr_expect_eq(row.dmarc_verified, want->dmarc);
        cr_expect_gt(row.checked_unix_ms, 0);
        cr_expect_gt(row.rsa_private.len, 0, "the keys survive");
        cr_expect_eq(is_claimed(rig, "example.com", &owner), cases[i].claims, "%s", cases[i].name);
    }
    arena_fini(&arena);
    rig_close(rig);
}

Test(domain, keeps_what_was_known_when_some_servers_did_not_answer)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id id = rig_domain(rig, account, "example.com");
    static const struct domain_checks all = {.mx = true, .spf = true, .dkim_rsa = true};
    for (int i = 0; i < 2; i++) {
        bool has_gaps = i == 0;
        cr_assert_eq(checked(rig, account, id, all), ERR_OK);
        struct msg *msg = domain_msg(rig, account, DOMAIN_CHECKED);
        msg->body.domain.id = id;
        msg->body.domain.checks = (struct domain_checks){.spf = true};
        msg->body.domain.has_gaps = has_gaps;
        cr_expect_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
        rig_put(rig, msg);
        struct row_domain row = rig_get_domain(rig, account, key_domain(account, id), &arena);
        cr_expect_eq(row.status, has_gaps ? DOMAIN_VERIFIED : DOMAIN_FAILED);
        cr_expect_eq(row.mx_verified, has_gaps);
        cr_expect_eq(row.dkim_rsa_verified, has_gaps);
    }
    arena_fini(&arena);
    rig_close(rig);
}

Test(domain, cannot_be_verified_by_a_second_account)
{
    struct rig *rig = rig_open();
    struct account_id first = rig_signup(rig);
    struct account_id second = rig_signup_at(rig, first, false);
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct id ids[] = {rig_domain(rig, first, "example.com"),
                       rig_domain(rig, second, "example.com")};
    struct row_domain row = rig_get_domain(rig, second, key_domain(second, ids[1]), &arena);
    row.status = DOMAIN_PENDING;
    rig_set_domain(rig, second, key_domain(second, ids[1]), &row);
    cr_expect_eq(checked(rig, first, ids[0], may_send), ERR_OK);
    cr_expect_eq(checked(rig, second, ids[1], may_send), ERR_EXISTS);
    row = rig_get_domain(rig, second, key_domain(second, ids[1]), &arena);
    cr_expect_eq(row.status, DOMAIN_PENDING);
    cr_expect_eq(one(rig, first, DOMAIN_DELETE, ids[0]), ERR_OK);
    cr_expect_eq(checked(rig, second, ids[1], may_send), ERR_OK, "given back by the first");
    arena_fini(&arena);
    rig_close(rig);
}

Test(domain, of_the_sandbox_verifies_without_dns)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    cr_assert(conf_set(&rig->conf, SLICE("sandbox_domain"), SLICE("try.example")));
    const char *names[] = {"try.example", "sub.try.example"};
    enum domain_status wants[] = {DOMAIN_VERIFIED, DOMAIN_FAILED};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct id id = rig_domain(rig, account, names[i]);
        cr_expect_eq(checked(rig, account, id, (struct domain_checks){.mx = false}), ERR_OK);
        struct row_domain row = rig_get_domain(rig, account, key_domain(account, id), &arena);
        cr_expect_eq(row.status, wants[i], "%s", names[i]);
    }
    arena_fini(&arena);
    rig_close(rig);
}

/* ---- delete -------------------------------------------------------------------------------------
 */

Test(domain, delete_removes_rows_and_gives_the_name_back)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id = rig_domain(rig, account, "example.com");
    uint64_t owner = 0;
    cr_assert_eq(checked(rig, account, id, may_send), ERR_OK);
    cr_expect(is_claimed(rig, "example.com", &owner));
    cr_expect_eq(owner, account.value);
    cr_expect_eq(one(rig, account, DOMAIN_DELETE, id), ERR_OK);
    cr_expect_not(is_claimed(rig, "example.com", &owner));
    cr_expect_not(rig_has(rig, account, key_domain(account, id)));
    cr_expect_not(rig_has(rig, account, key_domain_name(account, SLICE("example.com"))));
    cr_expect_eq(one(rig, account, DOMAIN_GET, id), ERR_NOT_FOUND);
    cr_expect_eq(one(rig, account, DOMAIN_DELETE, id), ERR_NOT_FOUND);
    struct msg *mail = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), mail), ERR_DOMAIN_NOT_OWNED);
    rig_close(rig);
}

Test(domain, delete_takes_no_name_that_another_account_holds)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id = rig_domain(rig, account, "example.com");
    uint64_t owner = 0;
    claim_for(rig, "example.com", (struct account_id){77});
    cr_expect_eq(one(rig, account, DOMAIN_DELETE, id), ERR_OK);
    cr_expect(is_claimed(rig, "example.com", &owner));
    cr_expect_eq(owner, 77);
    rig_close(rig);
}

/* Whichever of the two comes first to the directory, and whoever is slow: no claim outlives the
 * row. */
Test(domain, deleted_while_it_is_claimed_gives_the_name_back)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    for (int round = 0; round < 6; round++) {
        struct id id = rig_domain(rig, account, "example.com");
        struct msg *check = domain_msg(rig, account, DOMAIN_CHECKED);
        struct msg *gone = domain_msg(rig, account, DOMAIN_DELETE);
        check->body.domain.id = id;
        check->body.domain.checks = may_send;
        gone->body.domain.id = id;
        actor_post(rig_shard(rig, account), round % 2 == 0 ? gone : check);
        actor_post(rig_shard(rig, account), round % 2 == 0 ? check : gone);
        cr_expect_eq(rig_wait(rig, gone), ERR_OK);
        enum err err = rig_wait(rig, check);
        cr_expect(err == ERR_OK || err == ERR_NOT_FOUND, "%d", (int)err);
        rig_settle(rig);
        uint64_t owner = 0;
        cr_expect_not(is_claimed(rig, "example.com", &owner), "round %d", round);
        cr_expect_not(rig_has(rig, account, key_domain(account, id)));
    }
    rig_close(rig);
}

Test(domain, is_whole_or_gone_whichever_commit_of_a_delete_fails)
{
    struct rig *rig = rig_open();
    for (uint32_t n = 1; n <= 4; n++) {
        struct account_id account = rig_signup(rig);
        char name[32];
        snprintf(name, sizeof(name), "d%u.example", n);
        struct id id = rig_domain(rig, account, name);
        cr_assert_eq(checked(rig, account, id, may_send), ERR_OK);
        rig_settle(rig);
        rig->commit_count = 0;
        rig->fail_at = n;
        enum err err = one(rig, account, DOMAIN_DELETE, id);
        bool is_here = rig_has(rig, account, key_domain(account, id));
        cr_expect_eq(is_here, err != ERR_OK, "commit %u", n);
        cr_expect_eq(rig_has(rig, account, key_domain_name(account, slice_str(name))), is_here);
        rig->fail_at = 0;
        if (is_here) {
            cr_expect_eq(checked(rig, account, id, may_send), ERR_OK, "the next check heals");
        }
    }
    rig_close(rig);
}

/* ---- rotation -----------------------------------------------------------------------------------
 */

static struct row_domain row_of(struct rig *rig, struct account_id account, struct id id,
                                struct arena *arena)
{
    return rig_get_domain(rig, account, key_domain(account, id), arena);
}

Test(domain, next_keys_sign_once_their_records_are_seen_each_for_itself)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id;
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    cr_assert_eq(create(rig, account, "example.com", &id), ERR_OK);
    struct row_domain first = row_of(rig, account, id, &arena);
    struct msg *msg = domain_msg(rig, account, DOMAIN_ROTATE);
    msg->body.domain.id = id;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    const struct row_domain *shown = &msg->body.domain.rows[0];
    cr_expect(slice_equal(shown->next_rsa_selector, SLICE("mk3")));
    cr_expect(slice_equal(shown->next_ed_selector, SLICE("mk4")));
    cr_expect_eq(shown->next_rsa_private.len, 0);
    cr_expect_eq(shown->next_ed_private.len, 0);
    rig_put(rig, msg);
    struct row_domain next = row_of(rig, account, id, &arena);
    cr_expect(slice_equal(next.rsa_private, first.rsa_private), "nothing signs with them yet");
    cr_expect_not(slice_equal(next.next_rsa_public, first.rsa_public));
    cr_assert_eq(one(rig, account, DOMAIN_ROTATE, id), ERR_OK);
    struct row_domain same = row_of(rig, account, id, &arena);
    cr_expect(slice_equal(same.next_rsa_public, next.next_rsa_public), "asked twice");

    struct domain_checks rsa = {.spf = true, .dkim_ed = true, .next_rsa = true};
    cr_assert_eq(checked(rig, account, id, rsa), ERR_OK);
    struct row_domain half = row_of(rig, account, id, &arena);
    cr_expect(slice_equal(domain_rsa_selector(&half), SLICE("mk3")));
    cr_expect(slice_equal(half.rsa_private, next.next_rsa_private));
    cr_expect(slice_equal(half.rsa_public, next.next_rsa_public));
    cr_expect(half.dkim_rsa_verified);
    cr_expect(slice_equal(domain_ed_selector(&half), SLICE("mk2")));
    cr_expect_eq(half.next_rsa_selector.len + half.next_rsa_private.len, 0);
    cr_expect(slice_equal(half.next_ed_selector, SLICE("mk4")));

    struct domain_checks ed = {.spf = true, .next_ed = true};
    cr_assert_eq(checked(rig, account, id, ed), ERR_OK);
    struct row_domain whole = row_of(rig, account, id, &arena);
    cr_expect(slice_equal(domain_ed_selector(&whole), SLICE("mk4")));
    cr_expect_eq(whole.status, DOMAIN_VERIFIED, "the old records were gone, the new one is there");
    cr_expect_eq(whole.rotation, DOMAIN_ROTATED_RSA | DOMAIN_ROTATED_ED);
    cr_expect_gt(whole.rotation_unix_ms, 0);
    cr_expect_eq(one(rig, account, DOMAIN_ROTATE, id), ERR_CONFLICT, "mails are under way");
    whole.rotation_unix_ms -= DKIM_RETIRE_MS;
    rig_set_domain(rig, account, key_domain(account, id), &whole);
    cr_expect_eq(one(rig, account, DOMAIN_ROTATE, id), ERR_OK);
    struct row_domain again = row_of(rig, account, id, &arena);
    cr_expect(slice_equal(again.next_rsa_selector, SLICE("mk1")));
    cr_expect(slice_equal(again.next_ed_selector, SLICE("mk2")));
    arena_fini(&arena);
    rig_close(rig);
}

Test(domain, a_lost_rotation_leaves_the_keys_as_they_were)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id;
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    cr_assert_eq(create(rig, account, "example.com", &id), ERR_OK);
    rig->fail_at = rig->commit_count + 1;
    cr_expect_eq(one(rig, account, DOMAIN_ROTATE, id), ERR_STORAGE);
    cr_expect_eq(row_of(rig, account, id, &arena).next_rsa_selector.len, 0);
    cr_expect_eq(one(rig, account, DOMAIN_ROTATE, id), ERR_OK);
    rig->fail_at = rig->commit_count + 1;
    struct domain_checks both = {.spf = true, .next_rsa = true, .next_ed = true};
    cr_expect_eq(checked(rig, account, id, both), ERR_STORAGE);
    struct row_domain row = row_of(rig, account, id, &arena);
    cr_expect_eq(row.rsa_selector.len, 0);
    cr_expect_gt(row.next_rsa_private.len, 0);
    arena_fini(&arena);
    rig_close(rig);
}
