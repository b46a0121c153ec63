/* test_outbound.c - accepting mail: the gates in their order, the rows, idempotency, expiry.
 *
 * Not covered here: the composed bytes (tests/unit/mail), failing commits in general (test_shard),
 * what is shown of a mail (test_mail_view).
 */
#include "unit/shards/shard_rig.h"

#include "mail/dkim.h"

static enum err post(struct rig *rig, struct account_id account, struct msg *msg)
{
    return rig_call(rig, rig_shard(rig, account), msg);
}

/* An account that owns example.com. */
static struct account_id sender(struct rig *rig)
{
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    return account;
}

static void suppress(struct rig *rig, struct account_id account, const char *email)
{
    struct row_suppression row = {.email = slice_str(email)};
    rig_set_suppression(rig, account, key_suppression(account, row.email), &row);
}

/* ---- rows ---------------------------------------------------------------------------------------
 */

Test(outbound, stores_everything_that_a_mail_is)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    struct msg *msg = rig_mail(rig, account, "Ann <a@example.com>", "b@example.net");
    struct shard_send *body = &msg->body.send;
    struct addr cc = rig_addr(&msg->arena, "\"Doe, J.\" <j@example.org>");
    struct mime_header header = {.name = SLICE("X-Order"), .value = SLICE("17")};
    struct mime_attachment file = {
        .filename = SLICE("a.txt"), .content_type = SLICE("text/plain"), .data = SLICE("attached")};
    body->cc = &cc;
    body->cc_count = 1;
    body->headers = &header;
    body->header_count = 1;
    body->attachments = &file;
    body->attachment_count = 1;
    body->html = SLICE("<p>Hello</p>");
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    cr_expect_not(body->is_replay);
    struct id id = body->id;
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, id), &arena);
    cr_expect_eq(mail.status, MAIL_QUEUED);
    cr_expect_eq(mail.direction, DIRECTION_OUTBOUND);
    cr_expect_eq(mail.mode, MODE_LIVE);
    cr_expect(slice_equal(mail.from_addr, SLICE("a@example.com")));
    cr_expect(slice_equal(mail.from_name, SLICE("Ann")));
    cr_expect(slice_equal(mail.subject, SLICE("Hello")));
    cr_expect_eq(pack_count(mail.to), 1);
    struct slice written;
    struct slice rest = mail.cc;
    cr_assert(get_slice(&rest, &written));
    cr_expect(slice_equal(written, SLICE("\"Doe, J.\" <j@example.org>")));
    cr_expect_eq(pack_count(mail.headers), 2);
    cr_expect(slice_ends(mail.message_id, SLICE("@example.com")));
    cr_expect(mail.has_text && mail.has_html);
    cr_expect_eq(mail.delivery_count, 2);
    cr_expect_eq(mail.open_count, 2);
    cr_expect_eq(mail.attachment_count, 1);
    cr_expect_eq(mail.chunk_count, 1);
    struct row_chunk chunk = rig_get_chunk(rig, account, key_chunk(account, id, 0), &arena);
    cr_expect_eq(chunk.data.len, mail.size_bytes);
    cr_expect_neq(slice_find(chunk.data, mail.message_id), SIZE_MAX);
    cr_expect_neq(slice_find(chunk.data, SLICE("Feedback-ID: ")), SIZE_MAX);
    cr_expect_neq(slice_find(chunk.data, SLICE("X-Order: 17\r\n")), SIZE_MAX);
    struct dkim_body hashed;
    dkim_body_start(&hashed);
    dkim_body_add(&hashed, slice_from(chunk.data, (size_t)mail.header_len));
    struct sha256 body_hash = dkim_body_finish(&hashed);
    cr_expect(slice_equal(sha256_slice(&mail.body_hash), sha256_slice(&body_hash)));
    struct row_attachment kept =
        rig_get_attachment(rig, account, key_attachment(account, id, 0), &arena);
    cr_expect_eq(kept.size_bytes, 8);
    cr_expect_eq(kept.day, clock_day_of(kept.expires_unix_ms));
    struct row_chunk data =
        rig_get_chunk(rig, account, key_attachment_data(kept.day, account, id, 0, 0), &arena);
    cr_expect(slice_equal(data.data, SLICE("attached")));
    cr_expect_eq(rig_count(rig, account, key_prefix_outbox()), 2, "one copy a domain");
    cr_expect_eq(rig_count(rig, account, key_prefix_events(account, id)), 1);
    struct row_usage usage = rig_get_usage(
        rig, account, key_usage(account, clock_day_of(mail.received_unix_ms)), &arena);
    cr_expect_eq(usage.mails, 1);
    cr_expect_eq(usage.rcpts, 2);
    cr_expect_eq(usage.bytes, mail.size_bytes);
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, makes_text_from_html_when_there_is_none)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    msg->body.send.text = SLICE("");
    msg->body.send.html = SLICE("<p>Only here</p>");
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, msg->body.send.id), &arena);
    cr_expect(mail.has_text);
    struct row_chunk chunk = rig_get_chunk(rig, account, key_chunk(account, mail.id, 0), &arena);
    struct slice text = slice_sub(chunk.data, (size_t)mail.text_offset, (size_t)mail.text_len);
    cr_expect(slice_starts(text, SLICE("Only here")));
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, composes_a_large_mail_beside_the_loop_and_cuts_it_into_chunks)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 32 * MIB);
    struct account_id account = sender(rig);
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    size_t len = 2 * MIB;
    char *large = mem_zalloc(len);
    memset(large, 'x', len);
    struct mime_attachment file = {.filename = SLICE("x.bin"), .data = slice_of(large, len)};
    msg->body.send.attachments = &file;
    msg->body.send.attachment_count = 1;
    actor_post(rig_shard(rig, account), msg);
    (void)uv_run(&rig->loop.uv, UV_RUN_NOWAIT);
    cr_expect_eq(rig_state(rig, account)->jobs_open, 1);
    cr_assert_eq(rig_wait(rig, msg), ERR_OK);
    struct id id = msg->body.send.id;
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, id), &arena);
    cr_expect_gt(mail.size_bytes, len * 4 / 3);
    cr_expect_eq(mail.chunk_count, (mail.size_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);
    uint64_t total = 0;
    for (uint32_t i = 0; i < mail.chunk_count; i++) {
        total += rig_get_chunk(rig, account, key_chunk(account, id, i), &arena).data.len;
    }
    cr_expect_eq(total, mail.size_bytes);
    struct row_attachment kept =
        rig_get_attachment(rig, account, key_attachment(account, id, 0), &arena);
    cr_expect_eq(kept.chunk_count, len / CHUNK_BYTES);
    total = 0;
    for (uint32_t i = 0; i < kept.chunk_count; i++) {
        struct key key = key_attachment_data(kept.day, account, id, 0, i);
        total += rig_get_chunk(rig, account, key, &arena).data.len;
    }
    cr_expect_eq(total, len);
    free(large);
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, refuses_a_mail_over_the_ceiling)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    rig->conf.mail_max = 2000;
    char large[4000];
    memset(large, 'x', sizeof(large));
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    msg->body.send.text = slice_of(large, sizeof(large));
    cr_expect_eq(post(rig, account, msg), ERR_TOO_LARGE);
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 0);
    rig_close(rig);
}

/* ---- recipients ---------------------------------------------------------------------------------
 */

Test(outbound, counts_a_recipient_once_however_often_it_is_named)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct msg *msg = rig_mail(rig, account, "a@example.com",
                               "b@example.net,B@EXAMPLE.net,c@example.net,b@example.net");
    struct addr again = rig_addr(&msg->arena, "c@Example.NET");
    msg->body.send.bcc = &again;
    msg->body.send.bcc_count = 1;
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    cr_expect_eq(rig_count(rig, account, key_prefix_deliveries(account, msg->body.send.id)), 2);
    rig_close(rig);
}

Test(outbound, groups_by_domain_in_neighbours_of_at_most_a_hundred)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    struct msg *msg = rig_mail(rig, account, "a@example.com", "x@b.example");
    struct shard_send *body = &msg->body.send;
    for (uint32_t i = 0; i < 250; i++) {
        char text[64];
        snprintf(text, sizeof(text), "u%u@%s", i, i % 5 == 4 ? "c.example" : "a.example");
        body->to[body->to_count++] =
            rig_addr(&msg->arena, arena_cstr(&msg->arena, slice_str(text)));
    }
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct id id = body->id;
    cr_expect_eq(rig_count(rig, account, key_prefix_deliveries(account, id)), 251);
    /* a.example 200 in two, b.example 1, c.example 50. */
    cr_expect_eq(rig_count(rig, account, key_prefix_outbox()), 4);
    uint32_t seen = 0;
    for (uint32_t group = 0; group < 4; group++) {
        struct outbox_entry *entry = rig_entry(rig, id, group);
        struct row_outbox row = rig_get_outbox(
            rig, account, key_outbox(entry->due_unix_ms, account, id, group), &arena);
        cr_expect_leq(row.rcpt_count, RCPT_PER_COPY_MAX);
        cr_expect_eq(row.rcpt_first, seen, "groups are neighbours");
        for (uint32_t i = 0; i < row.rcpt_count; i++) {
            struct row_delivery delivery =
                rig_get_delivery(rig, account, key_delivery(account, id, seen++), &arena);
            cr_expect_eq(delivery.group, group);
            cr_expect(slice_ends(delivery.recipient, row.domain));
            cr_expect_gt(memcmp(delivery.id.bytes, id.bytes, sizeof(id.bytes)), 0,
                         "its id is above its mail's");
        }
    }
    cr_expect_eq(seen, 251);
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, leaves_suppressed_recipients_out_and_says_so)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    suppress(rig, account, "gone@example.net");
    struct msg *msg = rig_mail(rig, account, "a@example.com",
                               "gone@example.net,Here@example.net,also@example.net");
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct id id = msg->body.send.id;
    uint32_t suppressed = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct row_delivery row =
            rig_get_delivery(rig, account, key_delivery(account, id, i), &arena);
        bool is_gone = slice_equal(row.recipient, SLICE("gone@example.net"));
        cr_expect_eq(row.status, is_gone ? DELIVERY_SUPPRESSED : DELIVERY_PENDING);
        cr_expect_eq(row.group, is_gone ? DELIVERY_GROUP_NONE : 0);
        suppressed += is_gone;
    }
    cr_expect_eq(suppressed, 1);
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, id), &arena);
    cr_expect_eq(mail.open_count, 2);
    cr_expect_eq(mail.delivery_count, 3);
    struct outbox_entry *entry = rig_entry(rig, id, 0);
    struct row_outbox row =
        rig_get_outbox(rig, account, key_outbox(entry->due_unix_ms, account, id, 0), &arena);
    cr_expect_eq(row.rcpt_count, 2);
    arena_fini(&arena);
    rig_close(rig);
}

/* ---- gates --------------------------------------------------------------------------------------
 */

Test(outbound, refuses_before_accepting)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    (void)rig_domain(rig, other, "other.example");
    struct id pending = rig_domain(rig, account, "pending.example");
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct row_domain row = rig_get_domain(rig, account, key_domain(account, pending), &arena);
    row.status = DOMAIN_PENDING;
    rig_set_domain(rig, account, key_domain(account, pending), &row);
    suppress(rig, account, "gone@example.net");
    struct {
        const char *from;
        const char *to;
        enum err want;
    } cases[] = {
        {"a@nobody.example", "b@example.net", ERR_DOMAIN_NOT_OWNED},
        {"a@other.example", "b@example.net", ERR_DOMAIN_NOT_OWNED},
        {"a@sub.example.com", "b@example.net", ERR_DOMAIN_NOT_OWNED},
        {"a@pending.example", "b@example.net", ERR_DOMAIN_UNVERIFIED},
        {"a@example.com", "gone@example.net,GONE@example.net", ERR_SUPPRESSED},
        {"a@example.com", "", ERR_BAD_FIELD},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct msg *msg = rig_mail(rig, account, cases[i].from, cases[i].to);
        cr_expect_eq(post(rig, account, msg), cases[i].want, "%s to %s", cases[i].from,
                     cases[i].to);
        rig_put(rig, msg);
    }
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 0);
    cr_expect_eq(rig_count(rig, account, key_prefix_outbox()), 0);
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, needs_the_right_to_send)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct buf scopes;
    buf_init(&scopes, KIB);
    buf_put_slice(&scopes, SLICE("mail:read"));
    rig_set_key(rig, account, MODE_LIVE, buf_slice(&scopes));
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(post(rig, account, msg), ERR_SCOPE);
    cr_expect(slice_equal(msg->param, SLICE("mail:send")));
    buf_fini(&scopes);
    rig_close(rig);
}

Test(outbound, keeps_a_key_to_its_domains)
{
    struct rig *rig = rig_open();
    struct account_id account = rig_signup(rig);
    struct id allowed = rig_domain(rig, account, "a.example");
    (void)rig_domain(rig, account, "b.example");
    struct buf domains;
    char text[ID_TEXT_MAX];
    buf_init(&domains, KIB);
    buf_put_slice(&domains, slice_of(text, id_text(ID_DOMAIN, allowed, text)));
    struct caller caller = rig_key_caller(account, RIGHT_NONE);
    struct row_api_key key = {.is_enabled = true, .domains = buf_slice(&domains)};
    rig_set_api_key(rig, account, key_api_key(account, &caller.key_hash), &key);
    (void)rig_send(rig, account, "x@a.example", "b@example.net");
    struct msg *msg = rig_mail(rig, account, "x@b.example", "b@example.net");
    cr_expect_eq(post(rig, account, msg), ERR_KEY_SCOPE);
    buf_fini(&domains);
    rig_close(rig);
}

Test(outbound, marks_what_a_test_key_sends)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    rig_set_key(rig, account, MODE_TEST, SLICE(""));
    struct id id = rig_send(rig, account, "a@example.com", "delivered@test.invalid");
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, id), &arena);
    cr_expect_eq(mail.mode, MODE_TEST);
    struct outbox_entry *entry = rig_entry(rig, id, 0);
    struct row_outbox row =
        rig_get_outbox(rig, account, key_outbox(entry->due_unix_ms, account, id, 0), &arena);
    cr_expect_eq(row.mode, REHEARSAL_SCRIPTED);
    cr_expect_eq(row.rcpt_count, 1);
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, follows_the_script_at_test_domains_only)
{
    static const struct {
        const char *to;
        enum rehearsal want;
    } cases[] = {
        {"bounced@test.invalid", REHEARSAL_SCRIPTED},
        {"bounced@Test.Invalid", REHEARSAL_SCRIPTED},
        {"bounced@sandbox.example.com", REHEARSAL_SCRIPTED}, /* the account's own, below sandbox. */
        {"bounced@sandbox.example.net", REHEARSAL_PLAIN},
        {"bounced@sandbox.sandbox.example.com", REHEARSAL_PLAIN},
        {"bounced@example.com", REHEARSAL_PLAIN},
        {"bounced@mail.test.invalid", REHEARSAL_PLAIN},
    };
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    rig_set_key(rig, account, MODE_TEST, SLICE(""));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct id id = rig_send(rig, account, "a@example.com", cases[i].to);
        struct outbox_entry *entry = rig_entry(rig, id, 0);
        struct row_outbox row =
            rig_get_outbox(rig, account, key_outbox(entry->due_unix_ms, account, id, 0), &arena);
        cr_expect_eq(row.mode, cases[i].want, "%s", cases[i].to);
    }
    struct msg *msg = rig_mail(rig, account, "a@example.com", "suppressed+x@test.invalid");
    cr_expect_eq(post(rig, account, msg), ERR_SUPPRESSED);
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, keeps_the_idempotency_keys_of_test_and_live_apart)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct id ids[3];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        rig_set_key(rig, account, i == 0 ? MODE_LIVE : MODE_TEST, SLICE(""));
        struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
        msg->body.send.idempotency_key = SLICE("once");
        cr_assert_eq(post(rig, account, msg), ERR_OK);
        ids[i] = msg->body.send.id;
        cr_expect_eq(msg->body.send.is_replay, i == 2);
    }
    cr_expect_not(id_equal(ids[0], ids[1]), "a test key learns nothing of the live mail");
    cr_expect(id_equal(ids[1], ids[2]));
    rig_close(rig);
}

Test(outbound, keeps_a_rehearsal_from_leaving_and_shows_it_as_live)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    msg->body.send.is_sandbox = true;
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct id id = msg->body.send.id;
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, id), &arena);
    cr_expect_eq(mail.mode, MODE_LIVE);
    cr_expect(mail.is_sandbox);
    struct outbox_entry *entry = rig_entry(rig, id, 0);
    struct row_outbox row =
        rig_get_outbox(rig, account, key_outbox(entry->due_unix_ms, account, id, 0), &arena);
    cr_expect_eq(row.mode, REHEARSAL_PLAIN);
    arena_fini(&arena);
    rig_close(rig);
}

Test(outbound, ends_at_the_daily_quota_and_starts_again_the_next_day)
{
    struct rig *rig = rig_open();
    uint64_t noon = UINT64_C(20000) * 86400000 + 43200000;
    clock_set_fake(clock_mono_ms(), noon);
    struct account_id account = sender(rig);
    rig->conf.daily_max = 2;
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(post(rig, account, msg), ERR_QUOTA);
    clock_set_fake(clock_mono_ms(), noon + 43200000);
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    struct row_account row = {.id = account, .daily_max = 1};
    rig_set_account(rig, account, key_account(account), &row);
    struct msg *own = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(post(rig, account, own), ERR_QUOTA, "the account's own limit goes first");
    clock_set_fake(0, 0);
    rig_close(rig);
}

Test(outbound, sees_the_quota_of_a_batch_that_is_still_open)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    rig->conf.daily_max = 1;
    struct msg *first = rig_mail(rig, account, "a@example.com", "b@example.net");
    struct msg *second = rig_mail(rig, account, "a@example.com", "b@example.net");
    actor_post(rig_shard(rig, account), first);
    actor_post(rig_shard(rig, account), second);
    cr_expect_eq(rig_wait(rig, first), ERR_OK);
    cr_expect_eq(rig_wait(rig, second), ERR_QUOTA);
    rig_close(rig);
}

Test(outbound, refuses_mail_while_the_disk_is_short_and_notices_when_it_is_not)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    uint64_t mono = 1000000;
    clock_set_fake(mono, clock_unix_ms());
    rig->free_bytes = rig->conf.reserve_mb * MIB - 1;
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    rig_settle(rig);
    for (int i = 0; i < 5; i++) {
        struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
        cr_expect_eq(post(rig, account, msg), ERR_STORAGE);
        rig_put(rig, msg);
    }
    rig_settle(rig);
    cr_expect_eq(rig->probe_count, 1, "it asks once a second");
    rig->free_bytes = UINT64_C(1) << 40;
    mono += PROBE_MS + 1;
    clock_set_fake(mono, clock_unix_ms());
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(post(rig, account, msg), ERR_STORAGE, "it does not know yet");
    rig_settle(rig);
    cr_expect_eq(rig->probe_count, 2);
    (void)rig_send(rig, account, "a@example.com", "b@example.net");
    clock_set_fake(0, 0);
    rig_close(rig);
}

Test(outbound, refuses_mail_of_a_suspended_account)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct row_account row = {.id = account, .is_suspended = true};
    rig_set_account(rig, account, key_account(account), &row);
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    cr_expect_eq(post(rig, account, msg), ERR_SUSPENDED);
    rig_close(rig);
}

/* ---- idempotency --------------------------------------------------------------------------------
 */

static struct msg *keyed(struct rig *rig, struct account_id account, const char *key,
                         const char *body)
{
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    msg->body.send.idempotency_key = slice_str(key);
    msg->body.send.body_hash = crypto_sha256(slice_str(body));
    return msg;
}

Test(outbound, replays_the_first_answer_for_the_same_key_and_body)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    struct account_id other = rig_signup_at(rig, account, true);
    (void)rig_domain(rig, other, "example.com");
    struct msg *first = keyed(rig, account, "k1", "body");
    struct msg *again = keyed(rig, account, "k1", "body");
    struct msg *differs = keyed(rig, account, "k1", "another body");
    struct msg *key = keyed(rig, account, "k2", "body");
    struct msg *stranger = keyed(rig, other, "k1", "another body");
    cr_assert_eq(post(rig, account, first), ERR_OK);
    cr_assert_eq(post(rig, account, again), ERR_OK);
    cr_expect(again->body.send.is_replay);
    cr_expect(id_equal(again->body.send.id, first->body.send.id));
    cr_expect_eq(post(rig, account, differs), ERR_IDEMPOTENCY_REUSED);
    cr_assert_eq(post(rig, account, key), ERR_OK);
    cr_expect_not(key->body.send.is_replay);
    cr_expect_eq(post(rig, other, stranger), ERR_OK, "keys are per account");
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 2);
    rig_close(rig);
}

Test(outbound, says_that_a_key_is_running_until_the_first_is_on_disk)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    rig->is_commit_held = true;
    struct msg *first = keyed(rig, account, "k1", "body");
    struct msg *same_batch = keyed(rig, account, "k1", "body");
    struct msg *later = keyed(rig, account, "k1", "body");
    struct msg *other = keyed(rig, account, "k2", "body");
    actor_post(rig_shard(rig, account), first);
    actor_post(rig_shard(rig, account), same_batch);
    rig_settle(rig);
    actor_post(rig_shard(rig, account), later);
    actor_post(rig_shard(rig, account), other);
    rig_settle(rig);
    cr_expect_not(rig_is_home(rig, first));
    rig_release_commits(rig);
    cr_expect_eq(rig_wait(rig, first), ERR_OK);
    cr_expect_eq(rig_wait(rig, same_batch), ERR_IDEMPOTENCY_RUNNING);
    cr_expect_eq(rig_wait(rig, later), ERR_IDEMPOTENCY_RUNNING);
    cr_expect_eq(rig_wait(rig, other), ERR_OK);
    struct msg *again = keyed(rig, account, "k1", "body");
    cr_expect_eq(post(rig, account, again), ERR_OK);
    cr_expect(again->body.send.is_replay);
    cr_expect(id_equal(again->body.send.id, first->body.send.id));
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 2);
    rig_close(rig);
}

Test(outbound, does_not_replay_what_was_never_stored)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    rig_settle(rig);
    rig->fail_at = rig->commit_count + 1;
    struct msg *lost = keyed(rig, account, "k1", "body");
    struct msg *beside = keyed(rig, account, "k1", "body");
    actor_post(rig_shard(rig, account), lost);
    actor_post(rig_shard(rig, account), beside);
    cr_expect_eq(rig_wait(rig, lost), ERR_STORAGE);
    cr_expect_eq(rig_wait(rig, beside), ERR_IDEMPOTENCY_RUNNING);
    struct msg *again = keyed(rig, account, "k1", "body");
    cr_expect_eq(post(rig, account, again), ERR_OK);
    cr_expect_not(again->body.send.is_replay);
    rig_close(rig);
}

Test(outbound, accepts_one_of_two_large_mails_with_one_key)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    char *large = mem_zalloc(MIB);
    memset(large, 'x', MIB);
    struct msg *msgs[3];
    for (size_t i = 0; i < 3; i++) {
        msgs[i] = keyed(rig, account, "k1", "body");
        msgs[i]->body.send.text = slice_of(large, MIB);
    }
    actor_post(rig_shard(rig, account), msgs[0]);
    actor_post(rig_shard(rig, account), msgs[1]);
    cr_expect_eq(rig_wait(rig, msgs[0]), ERR_OK);
    cr_expect_eq(rig_wait(rig, msgs[1]), ERR_IDEMPOTENCY_RUNNING);
    cr_expect_eq(post(rig, account, msgs[2]), ERR_OK);
    cr_expect(msgs[2]->body.send.is_replay);
    cr_expect(id_equal(msgs[0]->body.send.id, msgs[2]->body.send.id));
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 1);
    free(large);
    rig_close(rig);
}

/* One that the worker refuses, one whose batch is lost: the key is free after both. */
Test(outbound, frees_the_key_of_a_large_mail_that_failed)
{
    struct rig *rig = rig_open();
    struct account_id account = sender(rig);
    char *large = mem_zalloc(MIB);
    memset(large, 'x', MIB);
    rig->conf.mail_max = 64 * KIB;
    struct msg *refused = keyed(rig, account, "k1", "body");
    refused->body.send.text = slice_of(large, MIB);
    cr_expect_eq(post(rig, account, refused), ERR_TOO_LARGE);
    rig->conf.mail_max = 4 * MIB;
    rig->fail_at = rig->commit_count + 1;
    struct msg *lost = keyed(rig, account, "k1", "body");
    lost->body.send.text = slice_of(large, MIB);
    cr_expect_eq(post(rig, account, lost), ERR_STORAGE);
    struct msg *good = keyed(rig, account, "k1", "body");
    good->body.send.text = slice_of(large, MIB);
    cr_expect_eq(post(rig, account, good), ERR_OK);
    cr_expect_not(good->body.send.is_replay);
    free(large);
    rig_close(rig);
}

Test(outbound, forgets_an_idempotency_key_after_a_day_and_not_at_midnight)
{
    struct rig *rig = rig_open();
    uint64_t evening = UINT64_C(20000) * 86400000 + UINT64_C(23) * 3600000;
    clock_set_fake(clock_mono_ms(), evening);
    struct account_id account = sender(rig);
    struct {
        uint64_t after_ms;
        bool is_replay;
    } steps[] = {
        {0, false}, {2 * 3600000, true}, {IDEMPOTENCY_MS - 1, true}, {IDEMPOTENCY_MS, false}};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        clock_set_fake(clock_mono_ms(), evening + steps[i].after_ms);
        struct msg *msg = keyed(rig, account, "k1", "body");
        cr_assert_eq(post(rig, account, msg), ERR_OK);
        cr_expect_eq(msg->body.send.is_replay, steps[i].is_replay, "step %zu", i);
        rig_put(rig, msg);
    }
    clock_set_fake(0, 0);
    rig_close(rig);
}

/* ---- expiry -------------------------------------------------------------------------------------
 */

Test(outbound, expires_attachments_by_day_and_no_idempotency_key_in_use)
{
    struct rig *rig = rig_open();
    uint32_t today = 20000;
    clock_set_fake(clock_mono_ms(), today * UINT64_C(86400000) + 1000);
    struct account_id account = sender(rig);
    struct msg *msg = keyed(rig, account, "k1", "body");
    struct mime_attachment file = {.filename = SLICE("a.txt"), .data = SLICE("attached")};
    msg->body.send.attachments = &file;
    msg->body.send.attachment_count = 1;
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct id id = msg->body.send.id;
    struct sha256 hash = crypto_sha256(SLICE("k1"));
    struct key data = key_attachment_data(today + ATTACHMENT_DAYS, account, id, 0, 0);
    struct {
        uint32_t now;
        uint32_t day;
        bool has_data;
        bool has_key;
    } steps[] = {
        {today, today, true, true},
        {today + 1, today + 6, true, true}, /* asked for too much: the key is in use */
        {today + 2, today + 1, true, false},
        {today + 8, today + 7, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        clock_set_fake(clock_mono_ms(), steps[i].now * UINT64_C(86400000) + 1000);
        struct msg *expire = rig_take(rig, MSG_SHARD_EXPIRE);
        expire->body.expire.day = steps[i].day;
        cr_expect_eq(post(rig, account, expire), ERR_OK);
        rig_put(rig, expire);
        cr_expect_eq(rig_has(rig, account, data), steps[i].has_data, "step %zu", i);
        cr_expect_eq(rig_has(rig, account, key_idempotency(today, account, &hash)),
                     steps[i].has_key, "step %zu", i);
    }
    cr_expect(rig_has(rig, account, key_attachment(account, id, 0)), "its name stays");
    clock_set_fake(0, 0);
    rig_close(rig);
}

/* ---- how it is to be sent ----------------------------------------------------------------------
 */

Test(outbound, tells_delivery_of_priority_and_pool_also_after_a_restart)
{
    struct rig *rig = rig_open();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 8 * MIB);
    struct account_id account = sender(rig);
    struct msg *msg = rig_mail(rig, account, "a@example.com", "b@example.net");
    msg->body.send.priority = PRIORITY_BULK;
    msg->body.send.pool = SLICE("news");
    msg->body.send.requires_tls = true;
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct id id = msg->body.send.id;
    rig_put(rig, msg);
    /* The rig keeps no copy of a pool's name: what it says is looked at in the row. */
    cr_expect_eq(rig_entry(rig, id, 0)->priority, PRIORITY_BULK);
    cr_expect_eq(rig_entry(rig, id, 0)->pool.len, 4);
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, id), &arena);
    struct row_outbox row =
        rig_get_outbox(rig, account, key_outbox(mail.received_unix_ms, account, id, 0), &arena);
    cr_expect_eq(row.priority, PRIORITY_BULK);
    cr_expect(slice_equal(row.pool, SLICE("news")));
    cr_expect(row.requires_tls && mail.requires_tls);
    rig_restart(rig);
    cr_expect_eq(rig_entry(rig, id, 0)->priority, PRIORITY_BULK);
    cr_expect_eq(rig_entry(rig, id, 0)->pool.len, 4);
    arena_fini(&arena);
    rig_close(rig);
}
