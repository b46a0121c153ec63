/* test_idempotency.c - the notes of batches, beside those of single mails.
 *
 * Not covered here: single mails (test_outbound.c), digests of received mails (test_intake.c).
 */
#include "unit/shards/shard_rig.h"

static enum err claim(struct rig *rig, struct account_id account, const char *key, const char *body)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_CHECK);
    msg->body.check = (struct shard_check){
        .caller = rig_key_caller(account, RIGHT_MAIL_SEND),
        .idempotency_key = slice_str(key),
        .body_hash = crypto_sha256(slice_str(body)),
    };
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    rig_put(rig, msg);
    return err;
}

static enum err send_mail(struct rig *rig, struct account_id account, const char *key,
                          const char *body, struct id *id)
{
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    msg->body.send.idempotency_key = slice_str(key);
    msg->body.send.body_hash = crypto_sha256(slice_str(body));
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    *id = msg->body.send.id;
    rig_put(rig, msg);
    return err;
}

Test(idempotency, keeps_a_key_for_one_body_also_over_a_restart)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    cr_expect_eq(claim(rig, account, "k", "one"), ERR_OK);
    cr_expect_eq(claim(rig, account, "k", "one"), ERR_OK, "a repetition goes on");
    cr_expect_eq(claim(rig, account, "k", "two"), ERR_IDEMPOTENCY_REUSED);
    rig_restart(rig);
    cr_expect_eq(claim(rig, account, "k", "one"), ERR_OK);
    cr_expect_eq(claim(rig, account, "k", "two"), ERR_IDEMPOTENCY_REUSED);
    cr_expect_eq(claim(rig, rig_signup(rig), "k", "two"), ERR_OK, "another account's");
    rig_close(rig);
}

Test(idempotency, notes_nothing_that_was_not_stored)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    rig->fail_at = rig->commit_count + 1;
    cr_expect_eq(claim(rig, account, "k", "one"), ERR_STORAGE);
    cr_expect_eq(claim(rig, account, "k", "two"), ERR_OK);
    rig_close(rig);
}

Test(idempotency, tells_a_batch_from_a_single_mail)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id id;
    (void)rig_domain(rig, account, "example.com");
    cr_expect_eq(claim(rig, account, "k", "list"), ERR_OK);
    cr_expect_eq(send_mail(rig, account, "k", "mail", &id), ERR_IDEMPOTENCY_REUSED);
    cr_expect_eq(send_mail(rig, account, "m", "mail", &id), ERR_OK);
    cr_expect_eq(claim(rig, account, "m", "list"), ERR_IDEMPOTENCY_REUSED);
    rig_close(rig);
}

/* As an edge sends the items of a batch that was cut short, and is repeated. */
Test(idempotency, completes_a_batch_that_was_cut_short)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id first[2];
    struct id again[3];
    (void)rig_domain(rig, account, "example.com");
    cr_assert_eq(claim(rig, account, "k", "list"), ERR_OK);
    cr_assert_eq(send_mail(rig, account, "k\t0", "list", &first[0]), ERR_OK);
    cr_assert_eq(send_mail(rig, account, "k\t1", "list", &first[1]), ERR_OK);
    rig_restart(rig);
    cr_assert_eq(claim(rig, account, "k", "list"), ERR_OK);
    for (uint32_t i = 0; i < 3; i++) {
        char key[8];
        snprintf(key, sizeof key, "k\t%u", (unsigned)i);
        cr_assert_eq(send_mail(rig, account, key, "list", &again[i]), ERR_OK);
    }
    cr_expect(id_equal(first[0], again[0]));
    cr_expect(id_equal(first[1], again[1]));
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 3);
    rig_close(rig);
}

/* Two batches under one key at the same moment: the later one hears so. */
Test(idempotency, says_that_a_batch_is_running_until_its_note_is_on_disk)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct msg *msgs[2];
    rig->is_commit_held = true;
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        msgs[i] = rig_take(rig, MSG_SHARD_CHECK);
        msgs[i]->body.check = (struct shard_check){
            .caller = rig_key_caller(account, RIGHT_MAIL_SEND),
            .idempotency_key = SLICE("k"),
            .body_hash = crypto_sha256(SLICE("one")),
        };
        actor_post(rig_shard(rig, account), msgs[i]);
    }
    rig_settle(rig);
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, msgs[0]), ERR_OK);
    cr_expect_eq(rig_wait(rig, msgs[1]), ERR_IDEMPOTENCY_RUNNING);
    rig_put(rig, msgs[0]);
    rig_put(rig, msgs[1]);
    cr_expect_eq(claim(rig, account, "k", "one"), ERR_OK);
    rig_close(rig);
}
