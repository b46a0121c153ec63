/* test_claim.c - leases, signed headers, outcomes, tries whose end nobody saw.
 *
 * Not covered here: whether a signature verifies (tests/unit/mail), what delivery does with a claim
 * (tests/unit/deliver), failing commits in general (test_shard).
 */
#include "unit/shards/shard_rig.h"

/* A mail on its way, with the arena its rows are read into. */
struct story {
    struct rig *rig;
    struct arena arena;
    struct account_id account;
    struct id domain;
    struct id mail;
    struct outbox_entry entry;
};

static struct story story_open(const char *to)
{
    struct story story = {.rig = rig_open()};
    arena_init(&story.arena, 64 * KIB, 32 * MIB);
    story.account = rig_signup(story.rig);
    story.domain = rig_domain(story.rig, story.account, "example.com");
    story.mail = rig_send(story.rig, story.account, "a@example.com", to);
    story.entry = *rig_entry(story.rig, story.mail, 0);
    return story;
}

static void story_close(struct story *story)
{
    arena_fini(&story->arena);
    rig_close(story->rig);
}

static struct row_delivery delivery_of(struct story *story, uint32_t index)
{
    return rig_get_delivery(story->rig, story->account,
                            key_delivery(story->account, story->mail, index), &story->arena);
}

static struct row_mail mail_of(struct story *story)
{
    return rig_get_mail(story->rig, story->account, key_mail(story->account, story->mail),
                        &story->arena);
}

static struct row_attempt attempt_of(struct story *story, uint32_t index, uint32_t number)
{
    return rig_get_attempt(story->rig, story->account,
                           key_attempt(story->account, story->mail, index, number), &story->arena);
}

static bool has_outbox(struct story *story, uint64_t due)
{
    return rig_has(story->rig, story->account,
                   key_outbox(due, story->account, story->mail, story->entry.group));
}

static uint32_t events(struct story *story)
{
    return rig_count(story->rig, story->account, key_prefix_events(story->account, story->mail));
}

/* Claims and answers with one verdict for each recipient. */
static void attempt(struct story *story, struct verdict *verdicts, uint32_t count, uint64_t due)
{
    cr_assert_eq(rig_claim(story->rig, &story->entry), ERR_OK);
    cr_assert_eq(rig_outcome(story->rig, &story->entry, verdicts, count, due), ERR_OK);
    if (due != 0) {
        story->entry.due_unix_ms = due;
    }
}

/* ---- claim --------------------------------------------------------------------------------------
 */

Test(claim, gives_all_that_an_attempt_needs)
{
    struct story story = story_open("b@example.net,c@example.net");
    struct msg *msg = rig_claim_msg(story.rig, &story.entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    const struct shard_claim *got = &msg->body.claim;
    struct row_mail mail = mail_of(&story);
    cr_expect_eq(got->rcpt_count, 2);
    cr_expect(slice_equal(got->rcpts[0], SLICE("b@example.net")));
    cr_expect(slice_equal(got->rcpts[1], SLICE("c@example.net")));
    cr_expect_eq(got->attempt, 1);
    cr_expect_eq(got->size_bytes, mail.size_bytes);
    cr_expect_eq(got->chunk_count, 1);
    cr_expect_eq(got->first_chunk.len, mail.size_bytes);
    cr_expect(slice_equal(got->message_id, mail.message_id));
    cr_expect_eq(got->created_unix_ms, mail.received_unix_ms);
    cr_expect_eq(got->rehearsal, REHEARSAL_NONE);
    cr_expect_not(got->needs_utf8);
    cr_expect(slice_starts(got->dkim_headers, SLICE("DKIM-Signature: ")));
    cr_expect(slice_ends(got->dkim_headers, SLICE("\r\n")));
    cr_expect_neq(slice_find(got->dkim_headers, SLICE("s=mk1")), SIZE_MAX);
    cr_expect_neq(slice_find(got->dkim_headers, SLICE("s=mk2")), SIZE_MAX);
    cr_expect_neq(slice_find(got->dkim_headers, SLICE("d=example.com")), SIZE_MAX);
    cr_expect(slice_starts(got->sender, SLICE("b.")));
    cr_expect(slice_ends(got->sender, SLICE("@localhost")));
    story_close(&story);
}

/* What lies unsealed under the old names is not found any more. */
Test(claim, signs_under_the_names_of_the_row_and_with_its_keys)
{
    struct story story = story_open("b@example.net");
    struct key key = key_domain(story.account, story.domain);
    cr_assert_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    cr_assert_eq(rig_outcome(story.rig, &story.entry, NULL, 0, story.entry.due_unix_ms), ERR_OK);
    struct row_domain row = rig_get_domain(story.rig, story.account, key, &story.arena);
    row.rsa_selector = SLICE("mk3");
    rig_set_domain(story.rig, story.account, key, &row);
    struct msg *msg = rig_claim_msg(story.rig, &story.entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    cr_expect_neq(slice_find(msg->body.claim.dkim_headers, SLICE("s=mk3")), SIZE_MAX);
    cr_expect_eq(slice_find(msg->body.claim.dkim_headers, SLICE("s=mk1")), SIZE_MAX);
    cr_expect_neq(slice_find(msg->body.claim.dkim_headers, SLICE("s=mk2")), SIZE_MAX);
    rig_put(story.rig, msg);
    cr_assert_eq(rig_outcome(story.rig, &story.entry, NULL, 0, story.entry.due_unix_ms), ERR_OK);
    row.rsa_selector = SLICE("mk1");
    row.ed_selector = SLICE("mk4");
    row.ed_private = row.rsa_private; /* no such key */
    rig_set_domain(story.rig, story.account, key, &row);
    cr_expect_neq(rig_claim(story.rig, &story.entry), ERR_OK, "the key is read anew");
    story_close(&story);
}

Test(claim, signs_with_the_keys_whose_records_were_seen)
{
    struct story story = story_open("b@example.net");
    struct {
        bool has_rsa;
        bool has_ed;
        bool signs_rsa;
        bool signs_ed;
    } cases[] = {
        {true, true, true, true},
        {true, false, true, false},
        {false, true, false, true},
        {false, false, true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct key key = key_domain(story.account, story.domain);
        struct row_domain row = rig_get_domain(story.rig, story.account, key, &story.arena);
        row.dkim_rsa_verified = cases[i].has_rsa;
        row.dkim_ed_verified = cases[i].has_ed;
        rig_set_domain(story.rig, story.account, key, &row);
        struct msg *msg = rig_claim_msg(story.rig, &story.entry);
        cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
        struct slice fields = msg->body.claim.dkim_headers;
        cr_expect_eq(slice_find(fields, SLICE("s=mk1")) != SIZE_MAX, cases[i].signs_rsa);
        cr_expect_eq(slice_find(fields, SLICE("s=mk2")) != SIZE_MAX, cases[i].signs_ed);
        rig_put(story.rig, msg);
        cr_assert_eq(rig_outcome(story.rig, &story.entry, NULL, 0, story.entry.due_unix_ms),
                     ERR_OK);
    }
    story_close(&story);
}

Test(claim, return_path_names_the_mail_under_the_senders_domain_once_it_is_verified)
{
    struct story story = story_open("b@example.net");
    struct key key = key_domain(story.account, story.domain);
    struct row_domain row = rig_get_domain(story.rig, story.account, key, &story.arena);
    row.return_path_verified = true;
    rig_set_domain(story.rig, story.account, key, &row);
    struct msg *msg = rig_claim_msg(story.rig, &story.entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    char hex[33] = {0};
    hex_encode(slice_of(story.mail.bytes, 16), hex);
    struct slice want = arena_format(&story.arena, "b.%s.0.", hex);
    struct slice sender = msg->body.claim.sender;
    cr_expect(slice_starts(sender, want));
    cr_expect(slice_ends(sender, SLICE("@bounces.example.com")));
    cr_expect_eq(slice_find_byte(sender, '@'), want.len + 8, "eight digits of check");
    cr_expect_leq(slice_find_byte(sender, '@'), ADDR_LOCAL_MAX);
    story_close(&story);
}

Test(claim, is_given_to_one_at_a_time)
{
    struct story story = story_open("b@example.net");
    struct msg *msgs[2];
    for (size_t i = 0; i < 2; i++) {
        msgs[i] = rig_claim_msg(story.rig, &story.entry);
        actor_post(rig_shard(story.rig, story.account), msgs[i]);
    }
    enum err first = rig_wait(story.rig, msgs[0]);
    enum err second = rig_wait(story.rig, msgs[1]);
    cr_expect((first == ERR_OK && second == ERR_CONFLICT) ||
              (first == ERR_CONFLICT && second == ERR_OK));
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_CONFLICT);
    story_close(&story);
}

Test(claim, of_a_suspended_account_waits_and_is_offered_again)
{
    struct story story = story_open("b@example.net");
    struct key key = key_account(story.account);
    struct row_account row = rig_get_account(story.rig, story.account, key, &story.arena);
    row.is_suspended = true;
    rig_set_account(story.rig, story.account, key, &row);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_CONFLICT);
    cr_expect(has_outbox(&story, story.entry.due_unix_ms), "it stays queued");
    row.is_suspended = false;
    rig_set_account(story.rig, story.account, key, &row);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    story_close(&story);
}

Test(claim, of_an_account_that_is_not_there_yet_waits)
{
    struct story story = story_open("b@example.net");
    struct key key = key_account(story.account);
    struct row_account row = rig_get_account(story.rig, story.account, key, &story.arena);
    struct outbox_entry hook = story.entry;
    struct row_outbox outbox = {.rcpt_count = 1};
    hook.group = HOOK_GROUP | 1;
    rig_set_outbox(story.rig, story.account,
                   key_outbox(hook.due_unix_ms, hook.account, hook.mail, hook.group), &outbox);
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, story.account));
    kv_batch_delete(batch, key_slice(&key));
    rig_write(story.rig, batch);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_CONFLICT);
    cr_expect(has_outbox(&story, story.entry.due_unix_ms), "it stays queued");
    cr_expect_eq(rig_claim(story.rig, &hook), ERR_CONFLICT, "and so do its webhooks");
    rig_set_account(story.rig, story.account, key, &row);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    story_close(&story);
}

Test(claim, of_a_row_that_moved_or_never_was_finds_nothing)
{
    struct story story = story_open("b@example.net");
    struct outbox_entry wrong[] = {story.entry, story.entry, story.entry, story.entry};
    wrong[0].due_unix_ms++;
    wrong[1].group = 7;
    wrong[2].mail.bytes[15] ^= 1;
    wrong[3].account.value ^= 1;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        cr_expect_eq(rig_claim(story.rig, &wrong[i]), ERR_NOT_FOUND, "%zu", i);
    }
    story_close(&story);
}

Test(claim, answers_after_the_lease_is_on_disk)
{
    struct story story = story_open("b@example.net");
    rig_settle(story.rig);
    story.rig->fail_at = story.rig->commit_count + 1;
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_STORAGE);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_OK, "nobody holds what was not stored");
    story_close(&story);
}

Test(claim, signs_a_header_that_is_longer_than_a_chunk)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    char *value = mem_zalloc(CUSTOM_HEADER_VALUE);
    memset(value, 'v', CUSTOM_HEADER_VALUE);
    for (size_t i = 60; i < CUSTOM_HEADER_VALUE; i += 61) {
        value[i] = ' ';
    }
    enum { FIELDS = 80 };
    struct mime_header *headers = arena_array(&msg->arena, FIELDS, sizeof(*headers));
    for (size_t i = 0; i < FIELDS; i++) {
        headers[i] = (struct mime_header){.name = SLICE("X-Long"),
                                          .value = slice_of(value, CUSTOM_HEADER_VALUE)};
    }
    msg->body.send.headers = headers;
    msg->body.send.header_count = FIELDS;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    struct outbox_entry entry = *rig_entry(rig, msg->body.send.id, 0);
    struct msg *claim = rig_claim_msg(rig, &entry);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), claim), ERR_OK);
    cr_expect_eq(claim->body.claim.chunk_count, 2);
    cr_expect_eq(claim->body.claim.first_chunk.len, CHUNK_BYTES);
    cr_expect(slice_starts(claim->body.claim.dkim_headers, SLICE("DKIM-Signature: ")));
    struct msg *chunk = rig_take(rig, MSG_SHARD_CHUNK);
    chunk->body.chunk.account = account;
    chunk->body.chunk.mail = entry.mail;
    chunk->body.chunk.index = 1;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), chunk), ERR_OK);
    cr_expect_eq(chunk->body.chunk.data.len, claim->body.claim.size_bytes - CHUNK_BYTES);
    rig_put(rig, chunk);
    chunk = rig_take(rig, MSG_SHARD_CHUNK);
    chunk->body.chunk.account = account;
    chunk->body.chunk.mail = entry.mail;
    chunk->body.chunk.index = 2;
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), chunk), ERR_NOT_FOUND);
    free(value);
    rig_close(rig);
}

Test(claim, goes_unsigned_when_the_domain_was_deleted_since)
{
    struct story story = story_open("b@example.net");
    struct msg *gone = rig_take(story.rig, MSG_SHARD_DOMAIN);
    gone->body.domain.caller = rig_key_caller(story.account, RIGHT_DOMAINS_WRITE);
    gone->body.domain.op = DOMAIN_DELETE;
    gone->body.domain.id = story.domain;
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), gone), ERR_OK);
    struct msg *msg = rig_claim_msg(story.rig, &story.entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    cr_expect(slice_starts(msg->body.claim.dkim_headers, SLICE("X-Meerkat-Token: b.")),
              "only the token");
    cr_expect_eq(msg->body.claim.rcpt_count, 1);
    story_close(&story);
}

Test(claim, fails_when_the_keys_cannot_be_unsealed)
{
    struct story story = story_open("b@example.net");
    rig_state(story.rig, story.account)->dkim_seal.bytes[0] ^= 1;
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_CORRUPT);
    rig_state(story.rig, story.account)->dkim_seal.bytes[0] ^= 1;
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    story_close(&story);
}

Test(claim, asks_for_smtputf8_only_for_those_who_need_it)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct msg *mail = rig_mail(rig, account, "a@example.com", "b@example.net");
    struct addr bcc = rig_addr(&mail->arena, "j\xc3\xb6rg@example.org");
    mail->body.send.bcc = &bcc;
    mail->body.send.bcc_count = 1;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), mail), ERR_OK);
    for (uint32_t group = 0; group < 2; group++) {
        struct outbox_entry entry = *rig_entry(rig, mail->body.send.id, group);
        struct msg *msg = rig_claim_msg(rig, &entry);
        cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
        cr_expect_eq(msg->body.claim.needs_utf8, slice_ends(entry.domain, SLICE(".org")));
        rig_put(rig, msg);
    }
    rig_close(rig);
}

Test(claim, keeps_unsealed_keys_of_the_domains_used_last)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct shard *shard = rig_state(rig, account);
    struct id first = {.bytes = {0}};
    for (uint32_t i = 0; i < SIGN_CACHE_MAX + 3; i++) {
        char from[64];
        snprintf(from, sizeof(from), "a@d%u.example", i);
        struct id domain = rig_domain(rig, account, from + 2);
        first = i == 0 ? domain : first;
        struct id mail = rig_send(rig, account, from, "b@example.net");
        cr_assert_eq(rig_claim(rig, rig_entry(rig, mail, 0)), ERR_OK);
    }
    uint32_t used = 0;
    for (size_t i = 0; i < SIGN_CACHE_MAX; i++) {
        used += shard->sign_cache[i].rsa != NULL;
        cr_expect_not(id_equal(shard->sign_cache[i].domain, first));
        cr_expect_eq(shard->sign_cache[i].pins, 0);
    }
    cr_expect_eq(used, SIGN_CACHE_MAX);
    rig_close(rig);
}

Test(claim, forgets_the_keys_of_a_domain_when_the_last_signature_is_done)
{
    struct story story = story_open("b@example.net");
    struct shard *shard = rig_state(story.rig, story.account);
    cr_assert_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    struct id second = rig_send(story.rig, story.account, "a@example.com", "b@example.net");
    struct outbox_entry entry = *rig_entry(story.rig, second, 0);
    struct msg *msg = rig_claim_msg(story.rig, &entry);
    actor_post(rig_shard(story.rig, story.account), msg);
    while (shard->jobs_open == 0) {
        (void)uv_run(&story.rig->loop.uv, UV_RUN_NOWAIT);
    }
    claim_forget_keys(shard, story.domain);
    cr_expect_eq(rig_wait(story.rig, msg), ERR_OK);
    for (size_t i = 0; i < SIGN_CACHE_MAX; i++) {
        cr_expect_null(shard->sign_cache[i].rsa);
    }
    story_close(&story);
}

/* ---- outcome ------------------------------------------------------------------------------------
 */

Test(claim, outcome_delivered_ends_the_mail)
{
    struct story story = story_open("b@example.net");
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.1.5");
    attempt(&story, &verdict, 1, 0);
    struct row_delivery delivery = delivery_of(&story, 0);
    cr_expect_eq(delivery.status, DELIVERY_DELIVERED);
    cr_expect_eq(delivery.attempts, 1);
    cr_expect_eq(delivery.last_code, 250);
    cr_expect(slice_equal(delivery.remote_host, SLICE("mx.example.net")));
    cr_expect_eq(delivery.next_attempt_unix_ms, 0);
    struct row_attempt tried = attempt_of(&story, 0, 1);
    cr_expect(slice_equal(tried.tls_policy, SLICE("dane")));
    cr_expect(slice_equal(tried.source, SLICE("192.0.2.1")), "the address of ours it left from");
    cr_expect_eq(tried.outcome, ATTEMPT_DELIVERED);
    cr_expect(slice_equal(tried.response, SLICE("said 250")));
    cr_expect(slice_equal(tried.tls, SLICE("TLSv1.3")));
    struct row_transcript transcript = rig_get_transcript(
        story.rig, story.account, key_transcript(story.account, story.mail, 0, 1), &story.arena);
    cr_expect(slice_starts(transcript.text, SLICE("220 ")));
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED);
    cr_expect_eq(mail_of(&story).open_count, 0);
    cr_expect_eq(rig_count(story.rig, story.account, key_prefix_outbox()), 0);
    cr_expect_eq(events(&story), 2);
    story_close(&story);
}

Test(claim, outcome_deferred_moves_the_row_and_tells_delivery)
{
    struct story story = story_open("b@example.net");
    struct verdict verdict = rig_verdict(VERDICT_DEFERRED, 451, "4.3.0");
    uint64_t old = story.entry.due_unix_ms;
    uint64_t due = clock_unix_ms() + 60000;
    uint32_t told = story.rig->entry_count;
    attempt(&story, &verdict, 1, due);
    cr_expect_not(has_outbox(&story, old));
    cr_expect(has_outbox(&story, due));
    rig_settle(story.rig);
    cr_expect_eq(story.rig->entry_count, told + 1);
    cr_expect_eq(story.rig->entries[told].due_unix_ms, due);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_DEFERRED);
    cr_expect_eq(delivery_of(&story, 0).next_attempt_unix_ms, due);
    cr_expect_eq(mail_of(&story).status, MAIL_DEFERRED);
    cr_expect_eq(events(&story), 2, "queued, delayed");
    attempt(&story, &verdict, 1, due + 60000);
    cr_expect_eq(events(&story), 2, "put off again is no news");
    cr_expect_eq(delivery_of(&story, 0).attempts, 2);
    cr_expect_eq(attempt_of(&story, 0, 2).outcome, ATTEMPT_DEFERRED);
    struct verdict last = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    attempt(&story, &last, 1, 0);
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED);
    cr_expect_eq(attempt_of(&story, 0, 3).outcome, ATTEMPT_DELIVERED);
    story_close(&story);
}

/* What nobody refused has not bounced, whether its time ran out or its TLS could not be had. */
Test(claim, outcome_given_up_by_us_has_failed)
{
    struct story story = story_open("b@example.net,c@example.net,d@example.net");
    struct verdict verdicts[] = {
        rig_verdict(VERDICT_DELIVERED, 250, "2.0.0"),
        rig_verdict(VERDICT_BOUNCED, 451, "4.4.7"),
        rig_verdict(VERDICT_BOUNCED, 0, "5.7.10"),
    };
    verdicts[1].is_given_up = true;
    verdicts[2].bounce = BOUNCE_TLS;
    verdicts[2].step = SMTP_STEP_TLS;
    attempt(&story, verdicts, 3, 0);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_DELIVERED);
    cr_expect_eq(delivery_of(&story, 1).status, DELIVERY_FAILED);
    cr_expect_eq(delivery_of(&story, 2).status, DELIVERY_FAILED);
    cr_expect_eq(mail_of(&story).status, MAIL_FAILED);
    story_close(&story);
    story = story_open("b@example.net,c@example.net");
    verdicts[2] = rig_verdict(VERDICT_BOUNCED, 550, "5.1.1");
    attempt(&story, &verdicts[1], 2, 0);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_FAILED);
    cr_expect_eq(delivery_of(&story, 1).status, DELIVERY_BOUNCED);
    cr_expect_eq(mail_of(&story).status, MAIL_BOUNCED, "a refusal weighs more");
    story_close(&story);
}

Test(claim, outcome_is_kept_per_recipient)
{
    struct story story = story_open("b@example.net,c@example.net,d@example.net");
    uint64_t due = clock_unix_ms() + 60000;
    struct verdict verdicts[] = {
        rig_verdict(VERDICT_DELIVERED, 250, "2.0.0"),
        rig_verdict(VERDICT_DEFERRED, 450, "4.2.2"),
        rig_verdict(VERDICT_BOUNCED, 550, "5.7.1"),
    };
    attempt(&story, verdicts, 3, due);
    cr_expect_eq(mail_of(&story).status, MAIL_DEFERRED);
    cr_expect_eq(mail_of(&story).open_count, 1);
    struct msg *msg = rig_claim_msg(story.rig, &story.entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    cr_assert_eq(msg->body.claim.rcpt_count, 1, "those who are done are left out");
    cr_expect(slice_equal(msg->body.claim.rcpts[0], SLICE("c@example.net")));
    cr_expect_eq(msg->body.claim.attempt, 2);
    cr_expect_eq(rig_outcome(story.rig, &story.entry, verdicts, 1, 0), ERR_OK);
    cr_expect_eq(delivery_of(&story, 1).status, DELIVERY_DELIVERED);
    cr_expect_eq(delivery_of(&story, 1).attempts, 2);
    cr_expect_eq(delivery_of(&story, 0).attempts, 1);
    cr_expect_eq(mail_of(&story).status, MAIL_BOUNCED, "one of them bounced");
    cr_expect_eq(
        rig_count(story.rig, story.account, key_prefix_attempts(story.account, story.mail)), 4);
    story_close(&story);
}

Test(claim, outcome_of_one_group_leaves_the_mail_open_for_the_others)
{
    struct story story = story_open("b@example.net,c@example.org");
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    attempt(&story, &verdict, 1, 0);
    cr_expect_eq(mail_of(&story).status, MAIL_QUEUED);
    story.entry = *rig_entry(story.rig, story.mail, 1);
    attempt(&story, &verdict, 1, 0);
    cr_expect_eq(mail_of(&story).status, MAIL_DELIVERED);
    story_close(&story);
}

Test(claim, hard_bounce_suppresses_and_others_do_not)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    struct {
        const char *to;
        enum bounce_class bounce;
        enum verdict_class class;
        enum smtp_step step;
        bool is_given_up;
        bool is_suppressed;
    } cases[] = {
        {"no.user@example.net", BOUNCE_HARD, VERDICT_BOUNCED, SMTP_STEP_RCPT, false, true},
        {"closed@example.net", BOUNCE_INACTIVE, VERDICT_BOUNCED, SMTP_STEP_RCPT, false, true},
        {"blocked@example.net", BOUNCE_BLOCK, VERDICT_BOUNCED, SMTP_STEP_RCPT, false, false},
        {"policy@example.net", BOUNCE_POLICY, VERDICT_BOUNCED, SMTP_STEP_RCPT, false, false},
        {"spam@example.net", BOUNCE_SPAM_CONTENT, VERDICT_BOUNCED, SMTP_STEP_BODY, false, false},
        {"body@example.net", BOUNCE_HARD, VERDICT_BOUNCED, SMTP_STEP_BODY, false, false},
        {"old@example.net", BOUNCE_HARD, VERDICT_BOUNCED, SMTP_STEP_RCPT, true, false},
        {"later@example.net", BOUNCE_HARD, VERDICT_DEFERRED, SMTP_STEP_RCPT, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct id mail = rig_send(rig, account, "a@example.com", cases[i].to);
        struct outbox_entry entry = *rig_entry(rig, mail, 0);
        struct verdict verdict = rig_verdict(cases[i].class, 550, "5.1.1");
        verdict.step = cases[i].step;
        verdict.bounce = cases[i].bounce;
        verdict.is_given_up = cases[i].is_given_up;
        cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
        cr_assert_eq(rig_outcome(rig, &entry, &verdict, 1, 0), ERR_OK);
        cr_expect_eq(rig_has(rig, account, key_suppression(account, slice_str(cases[i].to))),
                     cases[i].is_suppressed, "%s", cases[i].to);
    }
    struct msg *again = rig_mail(rig, account, "a@example.com", "NO.User@example.net");
    cr_expect_eq(rig_call(rig, rig_shard(rig, account), again), ERR_SUPPRESSED);
    rig_set_key(rig, account, MODE_TEST, SLICE(""));
    struct id mail = rig_send(rig, account, "a@example.com", "bounced@test.invalid");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_BOUNCED, 550, "5.1.1");
    verdict.bounce = BOUNCE_HARD;
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_expect_not(rig_has(rig, account, key_suppression(account, SLICE("bounced@test.invalid"))),
                  "a test teaches nothing about live addresses");
    rig_close(rig);
}

Test(claim, outcome_of_a_rehearsed_complaint_is_an_event_of_its_own)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    rig_set_key(rig, account, MODE_TEST, SLICE(""));
    struct id mail = rig_send(rig, account, "a@example.com", "complained@test.invalid");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 0, "2.0.0");
    verdict.has_complaint = true;
    uint32_t before = rig_count(rig, account, key_prefix_events(account, mail));
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, &entry, &verdict, 1, 0), ERR_OK);
    cr_expect_eq(rig_count(rig, account, key_prefix_events(account, mail)), before + 2);
    cr_expect_not(
        rig_has(rig, account, key_suppression(account, SLICE("complained@test.invalid"))));
    rig_close(rig);
}

Test(claim, outcome_without_verdicts_gives_lease_and_number_back)
{
    struct story story = story_open("b@example.net");
    uint64_t due = clock_unix_ms() + 1000;
    attempt(&story, NULL, 0, due);
    cr_expect_eq(
        rig_count(story.rig, story.account, key_prefix_attempts(story.account, story.mail)), 0);
    cr_expect_eq(delivery_of(&story, 0).status, DELIVERY_PENDING);
    cr_expect_eq(delivery_of(&story, 0).next_attempt_unix_ms, due);
    struct msg *msg = rig_claim_msg(story.rig, &story.entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    cr_expect_eq(msg->body.claim.attempt, 1);
    story_close(&story);
}

Test(claim, outcome_needs_a_lease_and_a_verdict_for_each)
{
    struct story story = story_open("b@example.net,c@example.net");
    struct verdict verdicts[] = {rig_verdict(VERDICT_DELIVERED, 250, "2.0.0"),
                                 rig_verdict(VERDICT_DELIVERED, 250, "2.0.0")};
    cr_expect_eq(rig_outcome(story.rig, &story.entry, verdicts, 2, 0), ERR_CONFLICT);
    cr_assert_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    cr_expect_eq(rig_outcome(story.rig, &story.entry, verdicts, 1, 0), ERR_INVALID);
    cr_expect_eq(rig_outcome(story.rig, &story.entry, verdicts, 2, 0), ERR_OK);
    cr_expect_eq(rig_outcome(story.rig, &story.entry, verdicts, 2, 0), ERR_NOT_FOUND);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_NOT_FOUND);
    story_close(&story);
}

Test(claim, next_try_has_a_time_even_when_none_was_given)
{
    struct story story = story_open("b@example.net");
    struct verdict verdict = rig_verdict(VERDICT_DEFERRED, 451, "4.3.0");
    attempt(&story, &verdict, 1, 0);
    uint64_t due = delivery_of(&story, 0).next_attempt_unix_ms;
    cr_expect_gt(due, clock_unix_ms());
    cr_expect(has_outbox(&story, due));
    story_close(&story);
}

/* ---- tries whose end nobody saw -----------------------------------------------------------------
 */

Test(claim, records_a_try_that_a_crash_interrupted)
{
    struct story story = story_open("b@example.net,c@example.net");
    cr_assert_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    rig_restart(story.rig);
    story.entry = *rig_entry(story.rig, story.mail, 0);
    struct verdict verdicts[] = {rig_verdict(VERDICT_DELIVERED, 250, "2.0.0"),
                                 rig_verdict(VERDICT_DELIVERED, 250, "2.0.0")};
    cr_expect_eq(rig_outcome(story.rig, &story.entry, verdicts, 2, 0), ERR_CONFLICT,
                 "an outcome of the last run is not taken");
    struct msg *msg = rig_claim_msg(story.rig, &story.entry);
    cr_assert_eq(rig_call(story.rig, rig_shard(story.rig, story.account), msg), ERR_OK);
    cr_expect_eq(msg->body.claim.attempt, 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct row_attempt tried = attempt_of(&story, i, 1);
        cr_expect_eq(tried.outcome, ATTEMPT_UNCERTAIN);
        cr_expect_neq(slice_find(tried.response, SLICE("outcome is unknown")), SIZE_MAX);
        cr_expect_eq(delivery_of(&story, i).attempts, 1);
        cr_expect_eq(delivery_of(&story, i).status, DELIVERY_PENDING);
    }
    cr_expect_eq(rig_outcome(story.rig, &story.entry, verdicts, 2, 0), ERR_OK);
    cr_expect_eq(attempt_of(&story, 0, 2).outcome, ATTEMPT_DELIVERED);
    cr_expect_eq(attempt_of(&story, 0, 1).outcome, ATTEMPT_UNCERTAIN, "it stays in the log");
    story_close(&story);
}

Test(claim, records_a_try_whose_lease_ran_out)
{
    struct story story = story_open("b@example.net");
    uint64_t now = clock_unix_ms();
    cr_assert_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    clock_set_fake(clock_mono_ms(), now + LEASE_MS - 1000);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_CONFLICT);
    clock_set_fake(clock_mono_ms(), now + LEASE_MS + 60000);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    cr_expect_eq(attempt_of(&story, 0, 1).outcome, ATTEMPT_UNCERTAIN);
    clock_set_fake(0, 0);
    story_close(&story);
}

Test(claim, records_nothing_for_a_row_that_was_never_tried)
{
    struct story story = story_open("b@example.net");
    rig_restart(story.rig);
    story.entry = *rig_entry(story.rig, story.mail, 0);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_OK);
    cr_expect_eq(
        rig_count(story.rig, story.account, key_prefix_attempts(story.account, story.mail)), 0);
    story_close(&story);
}

Test(claim, removes_a_row_with_nobody_left_to_deliver_to)
{
    struct story story = story_open("b@example.net");
    struct row_delivery row = delivery_of(&story, 0);
    row.status = DELIVERY_DELIVERED;
    rig_set_delivery(story.rig, story.account, key_delivery(story.account, story.mail, 0), &row);
    cr_expect_eq(rig_claim(story.rig, &story.entry), ERR_NOT_FOUND);
    cr_expect_not(has_outbox(&story, story.entry.due_unix_ms));
    story_close(&story);
}
