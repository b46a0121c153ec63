/* test_mail_view.c - lists, whole mails, raw bytes, trying a delivery again.
 *
 * Not covered here: the JSON made of them (tests/unit/edge), how rows come to be (test_outbound,
 * test_claim).
 */
#include "unit/shards/shard_rig.h"

static struct account_id sender(struct rig *rig)
{
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    return account;
}

static struct msg *list(struct rig *rig, struct account_id account)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_LIST);
    msg->body.list.caller = rig_key_caller(account, RIGHT_MAIL_READ);
    msg->body.list.before_unix_ms = UINT64_MAX;
    return msg;
}

static uint32_t run_list(struct rig *rig, struct msg *msg)
{
    struct account_id account = msg->body.list.caller.account;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), msg), ERR_OK);
    return msg->body.list.row_count;
}

static struct msg *read_mail(struct rig *rig, struct account_id account, struct id mail)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_READ);
    msg->body.read.caller = rig_key_caller(account, RIGHT_MAIL_READ);
    msg->body.read.id = mail;
    actor_post(rig_shard(rig, account), msg);
    (void)rig_wait(rig, msg);
    return msg;
}

/* Claims and answers for the only recipient of a group. */
static void attempt(struct rig *rig, struct outbox_entry *entry, enum verdict_class class,
                    uint64_t due)
{
    struct verdict verdict = rig_verdict(class, class == VERDICT_DELIVERED ? 250 : 550, "5.7.1");
    cr_assert_eq(rig_claim(rig, entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, entry, &verdict, 1, due), ERR_OK);
    entry->due_unix_ms = due;
}

/* ---- list ---------------------------------------------------------------------------------------
 */

Test(mail_view, lists_the_newest_first_page_by_page)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    (void)rig_domain(rig, other, "other.example");
    struct id ids[7];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = rig_send(rig, account, "a@example.com", "b@example.net");
        (void)rig_send(rig, other, "a@other.example", "b@example.net");
    }
    struct id before = {.bytes = {0}};
    size_t left = ARRAY_LEN(ids);
    while (left > 0) {
        struct msg *msg = list(rig, account);
        msg->body.list.limit = 3;
        msg->body.list.before = before;
        uint32_t count = run_list(rig, msg);
        cr_assert_eq(count, left < 3 ? left : 3);
        for (uint32_t i = 0; i < count; i++) {
            cr_expect(id_equal(msg->body.list.rows[i].id, ids[--left]));
        }
        before = msg->body.list.rows[count - 1].id;
        rig_put(rig, msg);
    }
    struct msg *end = list(rig, account);
    end->body.list.before = before;
    cr_expect_eq(run_list(rig, end), 0);
    rig_close(rig);
}

Test(mail_view, lists_what_is_older_than_a_time)
{
    struct rig *rig = rig_open();
    uint64_t start = UINT64_C(1900000000000);
    clock_set_fake(clock_mono_ms(), start);
    struct account_id account = sender(rig);
    for (uint64_t i = 0; i < 4; i++) {
        clock_set_fake(clock_mono_ms(), start + i * 1000);
        (void)rig_send(rig, account, "a@example.com", "b@example.net");
    }
    struct {
        uint64_t before;
        uint32_t want;
    } cases[] = {{start, 0},        {start + 1, 1},    {start + 1000, 1},
                 {start + 1001, 2}, {start + 9000, 4}, {UINT64_C(1) << 48, 4}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct msg *msg = list(rig, account);
        msg->body.list.before_unix_ms = cases[i].before;
        cr_expect_eq(run_list(rig, msg), cases[i].want, "case %zu", i);
        rig_put(rig, msg);
    }
    clock_set_fake(0, 0);
    rig_close(rig);
}

Test(mail_view, list_keeps_to_its_filters)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    (void)rig_domain(rig, account, "second.example");
    (void)rig_send(rig, account, "Sales Team <sales@example.com>", "ann@example.net");
    (void)rig_send(rig, account, "info@second.example", "bob@example.net");
    struct msg *third = rig_mail(rig, account, "info@example.com", "carl@example.net");
    third->body.send.subject = SLICE("Your INVOICE");
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), third), ERR_OK);
    struct outbox_entry entry = *rig_entry(rig, third->body.send.id, 0);
    attempt(rig, &entry, VERDICT_DELIVERED, 0);
    struct {
        const char *name;
        const char *search;
        const char *domain;
        bool has_status;
        bool has_direction;
        enum mail_status status;
        enum direction direction;
        uint32_t want;
    } cases[] = {
        {"none", "", "", false, false, 0, 0, 3},
        {"from address", "SALES@", "", false, false, 0, 0, 1},
        {"from name", "sales team", "", false, false, 0, 0, 1},
        {"recipient", "Bob@", "", false, false, 0, 0, 1},
        {"subject", "invoice", "", false, false, 0, 0, 1},
        {"in none", "zebra", "", false, false, 0, 0, 0},
        {"longer than any", "zebra-zebra-zebra-zebra-zebra-zebra-zebra", "", false, false, 0, 0, 0},
        {"domain", "", "second.EXAMPLE", false, false, 0, 0, 1},
        {"half a domain", "", "example", false, false, 0, 0, 0},
        {"queued", "", "", true, false, MAIL_QUEUED, 0, 2},
        {"delivered", "", "", true, false, MAIL_DELIVERED, 0, 1},
        {"inbound", "", "", false, true, 0, DIRECTION_INBOUND, 0},
        {"outbound", "", "", false, true, 0, DIRECTION_OUTBOUND, 3},
        {"all together", "info", "example.com", true, true, MAIL_DELIVERED, DIRECTION_OUTBOUND, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct msg *msg = list(rig, account);
        msg->body.list.search = slice_str(cases[i].search);
        msg->body.list.domain = slice_str(cases[i].domain);
        msg->body.list.has_status = cases[i].has_status;
        msg->body.list.status = cases[i].status;
        msg->body.list.has_direction = cases[i].has_direction;
        msg->body.list.direction = cases[i].direction;
        cr_expect_eq(run_list(rig, msg), cases[i].want, "%s", cases[i].name);
        rig_put(rig, msg);
    }
    rig_close(rig);
}

Test(mail_view, list_skips_a_damaged_row)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    struct kv_batch *batch = kv_batch_new(place_shard_index(RIG_SHARDS, account));
    struct key key = key_mail(account, shard_id(rig_state(rig, account), account));
    kv_batch_put(batch, key_slice(&key), SLICE("damage"));
    rig_write(rig, batch);
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(run_list(rig, list(rig, account)), 2);
    rig_close(rig);
}

/* ---- one mail -----------------------------------------------------------------------------------
 */

Test(mail_view, shows_a_whole_mail)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct msg *mail = rig_mail(rig, account, "a@example.com", "b@example.net,c@example.org");
    struct mime_attachment file = {.filename = SLICE("a.txt"), .data = SLICE("attached")};
    mail->body.send.text = SLICE("Gr\xc3\xbc\xc3\x9f"
                                 "e\nzweite Zeile\n");
    mail->body.send.html = SLICE("<p>Gr\xc3\xbc\xc3\x9f"
                                 "e</p>");
    mail->body.send.attachments = &file;
    mail->body.send.attachment_count = 1;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), mail), ERR_OK);
    struct outbox_entry entry = *rig_entry(rig, mail->body.send.id, 0);
    attempt(rig, &entry, VERDICT_DEFERRED, clock_unix_ms() + 1000);
    attempt(rig, &entry, VERDICT_DELIVERED, 0);
    struct msg *msg = read_mail(rig, account, mail->body.send.id);
    cr_assert_eq(msg->err, ERR_OK);
    const struct shard_read *got = &msg->body.read;
    cr_expect(slice_starts(got->text, SLICE("Gr\xc3\xbc\xc3\x9f"
                                            "e\nzweite Zeile")));
    cr_expect(slice_starts(got->html, SLICE("<p>Gr\xc3\xbc\xc3\x9f"
                                            "e</p>")));
    cr_expect_neq(slice_find(got->header_block, SLICE("Subject: Hello\r\n")), SIZE_MAX);
    cr_expect_eq(got->header_block.len, got->mail.header_len);
    cr_assert_eq(got->delivery_count, 2);
    cr_assert_eq(got->deliveries[0].attempt_count, 2);
    cr_expect_eq(got->deliveries[0].index, 0);
    cr_expect_eq(got->deliveries[0].attempts[0].number, 1);
    cr_expect_eq(got->deliveries[0].attempts[0].row.outcome, ATTEMPT_DEFERRED);
    cr_expect_eq(got->deliveries[0].attempts[1].row.outcome, ATTEMPT_DELIVERED);
    cr_expect(slice_starts(got->deliveries[0].attempts[1].transcript, SLICE("220 ")));
    cr_expect_eq(got->deliveries[1].attempt_count, 0);
    cr_assert_eq(got->attachment_count, 1);
    cr_expect(slice_equal(got->attachments[0].filename, SLICE("a.txt")));
    cr_assert_eq(got->event_count, 3);
    cr_expect(slice_equal(got->events[0].type, SLICE("email.sent")));
    cr_expect(slice_equal(got->events[1].type, SLICE("email.delivery_delayed")));
    cr_expect(slice_equal(got->events[2].type, SLICE("email.delivered")));
    cr_expect(slice_equal(got->events[2].recipient, SLICE("b@example.net")));
    rig_close(rig);
}

Test(mail_view, shows_text_that_spans_chunks)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    size_t len = 600 * KIB;
    char *large = mem_zalloc(len);
    for (size_t i = 0; i < len; i++) {
        large[i] = i % 70 == 69 ? '\n' : (char)('a' + i % 26);
    }
    struct msg *mail = rig_mail(rig, account, "a@example.com", "b@example.net");
    mail->body.send.text = slice_of(large, len);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), mail), ERR_OK);
    struct msg *msg = read_mail(rig, account, mail->body.send.id);
    cr_assert_eq(msg->err, ERR_OK);
    cr_expect_geq(msg->body.read.mail.chunk_count, 3);
    cr_expect_geq(msg->body.read.text.len, len);
    cr_expect(slice_equal(slice_head(msg->body.read.text, len), slice_of(large, len)));
    free(large);
    rig_close(rig);
}

Test(mail_view, raw_chunks_together_are_the_mail)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    size_t len = 400 * KIB;
    char *large = mem_zalloc(len);
    memset(large, 'x', len);
    struct msg *mail = rig_mail(rig, account, "a@example.com", "b@example.net");
    struct mime_attachment file = {.filename = SLICE("x.bin"), .data = slice_of(large, len)};
    mail->body.send.attachments = &file;
    mail->body.send.attachment_count = 1;
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), mail), ERR_OK);
    uint32_t chunk_count = 1;
    uint64_t total = 0;
    uint64_t size = 0;
    for (uint32_t i = 0; i <= chunk_count; i++) {
        struct msg *msg = rig_take(rig, MSG_SHARD_RAW);
        msg->body.raw.caller = rig_key_caller(account, RIGHT_MAIL_READ);
        msg->body.raw.id = mail->body.send.id;
        msg->body.raw.chunk = i;
        enum err err = rig_call(rig, rig_shard(rig, account), msg);
        cr_expect_eq(err, i < chunk_count || i == 0 ? ERR_OK : ERR_NOT_FOUND);
        if (err == ERR_OK) {
            chunk_count = msg->body.raw.chunk_count;
            size = msg->body.raw.size_bytes;
            total += msg->body.raw.data.len;
        }
        rig_put(rig, msg);
    }
    cr_expect_eq(chunk_count, 3);
    cr_expect_eq(total, size);
    free(large);
    rig_close(rig);
}

Test(mail_view, of_another_account_or_mode_is_not_found)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    struct account_id far = rig_signup_at(rig, account, false);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net");
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct id delivery = rig_get_delivery(rig, account, key_delivery(account, mail, 0), &arena).id;
    struct account_id callers[] = {other, far, account};
    rig_set_key(rig, account, MODE_TEST, SLICE(""));
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        cr_expect_eq(read_mail(rig, callers[i], mail)->err, ERR_NOT_FOUND, "read %zu", i);
        struct msg *raw = rig_take(rig, MSG_SHARD_RAW);
        raw->body.raw.caller = rig_key_caller(callers[i], RIGHT_MAIL_READ);
        raw->body.raw.id = mail;
        cr_expect_eq(rig_call(rig, rig_shard(rig, callers[i]), raw), ERR_NOT_FOUND, "raw %zu", i);
        struct msg *retry = rig_take(rig, MSG_SHARD_RETRY);
        retry->body.retry.caller = rig_key_caller(callers[i], RIGHT_MAIL_WRITE);
        retry->body.retry.delivery = delivery;
        cr_expect_eq(rig_call(rig, rig_shard(rig, callers[i]), retry), ERR_NOT_FOUND, "retry %zu",
                     i);
        cr_expect_eq(run_list(rig, list(rig, callers[i])), 0, "list %zu", i);
    }
    rig_set_key(rig, account, MODE_LIVE, SLICE(""));
    cr_expect_eq(read_mail(rig, account, mail)->err, ERR_OK);
    arena_fini(&arena);
    rig_close(rig);
}

Test(mail_view, needs_the_right_to_read)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net");
    struct buf scopes;
    buf_init(&scopes, KIB);
    buf_put_slice(&scopes, SLICE("mail:send"));
    rig_set_key(rig, account, MODE_LIVE, buf_slice(&scopes));
    struct msg *msg = read_mail(rig, account, mail);
    cr_expect_eq(msg->err, ERR_SCOPE);
    cr_expect(slice_equal(msg->param, SLICE("mail:read")));
    buf_fini(&scopes);
    rig_close(rig);
}

/* ---- retry --------------------------------------------------------------------------------------
 */

static enum err retry(struct rig *rig, struct account_id account, struct id delivery,
                      enum delivery_status *status)
{
    struct msg *msg = rig_take(rig, MSG_SHARD_RETRY);
    msg->body.retry.caller = rig_key_caller(account, RIGHT_MAIL_WRITE);
    msg->body.retry.delivery = delivery;
    enum err err = rig_call(rig, rig_shard(rig, account), msg);
    *status = msg->body.retry.status;
    rig_put(rig, msg);
    return err;
}

static struct row_delivery delivery_at(struct rig *rig, struct id mail, uint32_t index,
                                       struct arena *arena)
{
    struct account_id account = id_account(mail);
    return rig_get_delivery(rig, account, key_delivery(account, mail, index), arena);
}

Test(mail_view, retry_makes_a_deferred_group_due_now)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct account_id account = sender(rig);
    (void)rig_send(rig, account, "a@example.com", "x@example.net");
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net,c@example.net");
    (void)rig_send(rig, account, "a@example.com", "y@example.net");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    struct verdict verdicts[] = {rig_verdict(VERDICT_DEFERRED, 451, "4.3.0"),
                                 rig_verdict(VERDICT_DEFERRED, 451, "4.3.0")};
    uint64_t later = clock_unix_ms() + 3600000;
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, &entry, verdicts, 2, later), ERR_OK);
    rig_settle(rig);
    uint32_t told = rig->entry_count;
    enum delivery_status status;
    cr_assert_eq(retry(rig, account, delivery_at(rig, mail, 1, &arena).id, &status), ERR_OK);
    cr_expect_eq(status, DELIVERY_DEFERRED);
    cr_expect_not(rig_has(rig, account, key_outbox(later, account, mail, 0)));
    rig_settle(rig);
    cr_expect_eq(rig->entry_count, told + 1);
    entry = *rig_entry(rig, mail, 0);
    cr_expect_leq(entry.due_unix_ms, clock_unix_ms());
    for (uint32_t i = 0; i < 2; i++) {
        cr_expect_eq(delivery_at(rig, mail, i, &arena).next_attempt_unix_ms, entry.due_unix_ms);
    }
    cr_expect_eq(rig_claim(rig, &entry), ERR_OK);
    cr_expect_eq(retry(rig, account, delivery_at(rig, mail, 1, &arena).id, &status), ERR_CONFLICT,
                 "it is being tried");
    arena_fini(&arena);
    rig_close(rig);
}

Test(mail_view, retry_of_what_is_due_already_changes_nothing)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct account_id account = sender(rig);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net");
    rig_settle(rig);
    uint32_t commits = rig->commit_count;
    enum delivery_status status;
    cr_expect_eq(retry(rig, account, delivery_at(rig, mail, 0, &arena).id, &status), ERR_OK);
    cr_expect_eq(status, DELIVERY_PENDING);
    cr_expect_eq(rig->commit_count, commits);
    arena_fini(&arena);
    rig_close(rig);
}

Test(mail_view, retry_of_a_bounced_recipient_tries_that_one_again)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct account_id account = sender(rig);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net,c@example.net");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    struct verdict verdicts[] = {rig_verdict(VERDICT_DELIVERED, 250, "2.0.0"),
                                 rig_verdict(VERDICT_BOUNCED, 554, "5.7.1")};
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, &entry, verdicts, 2, 0), ERR_OK);
    struct id id = delivery_at(rig, mail, 1, &arena).id;
    enum delivery_status status;
    cr_expect_eq(retry(rig, account, delivery_at(rig, mail, 0, &arena).id, &status), ERR_CONFLICT,
                 "delivered is delivered");
    cr_assert_eq(retry(rig, account, id, &status), ERR_OK);
    cr_expect_eq(status, DELIVERY_PENDING);
    struct row_mail row = rig_get_mail(rig, account, key_mail(account, mail), &arena);
    cr_expect_eq(row.status, MAIL_QUEUED);
    cr_expect_eq(row.open_count, 1);
    entry = *rig_entry(rig, mail, 1);
    struct msg *claim = rig_claim_msg(rig, &entry);
    cr_assert_eq(rig_call(rig, rig_shard(rig, account), claim), ERR_OK);
    cr_assert_eq(claim->body.claim.rcpt_count, 1);
    cr_expect(slice_equal(claim->body.claim.rcpts[0], SLICE("c@example.net")));
    cr_expect_eq(claim->body.claim.attempt, 2, "attempts go on counting");
    cr_assert_eq(rig_outcome(rig, &entry, verdicts, 1, 0), ERR_OK);
    row = rig_get_mail(rig, account, key_mail(account, mail), &arena);
    cr_expect_eq(row.status, MAIL_DELIVERED);
    struct msg *msg = read_mail(rig, account, mail);
    cr_assert_eq(msg->err, ERR_OK);
    cr_assert_eq(msg->body.read.deliveries[1].attempt_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        cr_expect_gt(msg->body.read.deliveries[1].attempts[i].transcript.len, 0,
                     "the log stays whole");
    }
    arena_fini(&arena);
    rig_close(rig);
}

/* Its neighbour is still put off when somebody asks for another try of the one that bounced: either
 * row brings about its own, or the mail would be sent twice. */
Test(mail_view, retry_of_a_bounced_recipient_leaves_the_group_that_waits_to_itself)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct account_id account = sender(rig);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net,c@example.net");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    struct verdict verdicts[] = {rig_verdict(VERDICT_BOUNCED, 554, "5.7.1"),
                                 rig_verdict(VERDICT_DEFERRED, 451, "4.3.0")};
    uint64_t later = clock_unix_ms() + 1;
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, &entry, verdicts, 2, later), ERR_OK);
    enum delivery_status status;
    cr_assert_eq(retry(rig, account, delivery_at(rig, mail, 0, &arena).id, &status), ERR_OK);
    static const char *const whose[] = {"c@example.net", "b@example.net"};
    for (uint32_t group = 0; group < 2; group++) {
        entry.group = group;
        entry.due_unix_ms = delivery_at(rig, mail, group == 0 ? 1 : 0, &arena).next_attempt_unix_ms;
        struct msg *claim = rig_claim_msg(rig, &entry);
        cr_assert_eq(rig_call(rig, rig_shard(rig, account), claim), ERR_OK);
        cr_assert_eq(claim->body.claim.rcpt_count, 1, "group %u", (unsigned)group);
        cr_expect(slice_equal(claim->body.claim.rcpts[0], slice_str(whose[group])));
        rig_put(rig, claim);
    }
    arena_fini(&arena);
    rig_close(rig);
}

Test(mail_view, retry_by_hand_ends_before_the_log_outgrows_a_batch)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct account_id account = sender(rig);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_BOUNCED, 554, "5.7.1");
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, &entry, &verdict, 1, 0), ERR_OK);
    struct row_delivery row = delivery_at(rig, mail, 0, &arena);
    enum delivery_status status;
    row.attempts = RETRY_ATTEMPTS_MAX;
    rig_set_delivery(rig, account, key_delivery(account, mail, 0), &row);
    cr_expect_eq(retry(rig, account, row.id, &status), ERR_CONFLICT);
    row.attempts = RETRY_ATTEMPTS_MAX - 1;
    rig_set_delivery(rig, account, key_delivery(account, mail, 0), &row);
    cr_expect_eq(retry(rig, account, row.id, &status), ERR_OK);
    arena_fini(&arena);
    rig_close(rig);
}

Test(mail_view, two_retries_in_one_batch_get_groups_of_their_own)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct account_id account = sender(rig);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net,c@example.net");
    struct outbox_entry entry = *rig_entry(rig, mail, 0);
    struct verdict verdicts[] = {rig_verdict(VERDICT_BOUNCED, 554, "5.7.1"),
                                 rig_verdict(VERDICT_BOUNCED, 554, "5.7.1")};
    cr_assert_eq(rig_claim(rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(rig, &entry, verdicts, 2, 0), ERR_OK);
    struct msg *msgs[2];
    rig->is_commit_held = true;
    for (uint32_t i = 0; i < 2; i++) {
        msgs[i] = rig_take(rig, MSG_SHARD_RETRY);
        msgs[i]->body.retry.caller = rig_key_caller(account, RIGHT_MAIL_WRITE);
        msgs[i]->body.retry.delivery = delivery_at(rig, mail, i, &arena).id;
        actor_post(rig_shard(rig, account), msgs[i]);
    }
    rig_settle(rig);
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, msgs[0]), ERR_OK);
    cr_expect_eq(rig_wait(rig, msgs[1]), ERR_OK);
    cr_expect_eq(rig_count(rig, account, key_prefix_outbox()), 2);
    uint32_t groups[] = {delivery_at(rig, mail, 0, &arena).group,
                         delivery_at(rig, mail, 1, &arena).group};
    cr_expect_neq(groups[0], groups[1]);
    cr_expect_eq(groups[0] + groups[1], 3);
    cr_expect_eq(rig_get_mail(rig, account, key_mail(account, mail), &arena).open_count, 2);
    arena_fini(&arena);
    rig_close(rig);
}

Test(mail_view, retry_of_a_suppressed_recipient_is_refused)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    struct account_id account = sender(rig);
    struct row_suppression row = {.email = SLICE("gone@example.net")};
    rig_set_suppression(rig, account, key_suppression(account, row.email), &row);
    struct id mail = rig_send(rig, account, "a@example.com", "b@example.net,gone@example.net");
    enum delivery_status status;
    cr_expect_eq(retry(rig, account, delivery_at(rig, mail, 1, &arena).id, &status), ERR_CONFLICT);
    struct id unknown = delivery_at(rig, mail, 1, &arena).id;
    unknown.bytes[15]++;
    cr_expect_eq(retry(rig, account, unknown, &status), ERR_NOT_FOUND);
    unknown.bytes[0] = 0;
    cr_expect_eq(retry(rig, account, unknown, &status), ERR_NOT_FOUND);
    arena_fini(&arena);
    rig_close(rig);
}
