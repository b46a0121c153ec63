/* test_retention.c - how long mails are kept: what goes, with which rows, and what stays.
 *
 * Not covered here: the day's call that begins a sweep (tests/unit/deliver), the route that sets
 * a domain's days (tests/unit/edge/test_api_domain).
 */
#include "unit/shards/receive_rig.h"

#define TIMEOUT 60
#define DAY_MS  UINT64_C(86400000)
#define NOW     (UINT64_C(20500) * DAY_MS + 5000)

#define MAIL_WITH_FILES                                                                            \
    "From: Ann <ann@example.net>\r\nSubject: Files\r\nMessage-ID: <files@example.net>\r\n"         \
    "In-Reply-To: <asked@example.net>\r\nMIME-Version: 1.0\r\n"                                    \
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"     \
    "Hi\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n"                                   \
    "Content-Disposition: attachment; filename=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" \
    "SGVsbG8sIHdvcmxk\r\n--b--\r\n"

static struct receiver open_at_now(void)
{
    clock_set_fake(1000, NOW);
    return receiver_open();
}

static void end(struct receiver *to)
{
    clock_set_fake(0, 0);
    receiver_close(to);
}

static void set_days(struct receiver *to, uint32_t days)
{
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    struct row_account row =
        rig_get_account(to->rig, to->account, key_account(to->account), &arena);
    row.retention_days = days;
    rig_set_account(to->rig, to->account, key_account(to->account), &row);
    arena_fini(&arena);
}

static enum err change_domain(struct receiver *to, struct id domain, uint32_t days, bool is_zero)
{
    struct msg *msg = rig_take(to->rig, MSG_SHARD_DOMAIN);
    msg->body.domain = (struct shard_domain){
        .caller = rig_key_caller(to->account, RIGHT_DOMAINS_WRITE),
        .op = DOMAIN_CHANGE,
        .id = domain,
        .given = DOMAIN_FIELD_RETENTION | DOMAIN_FIELD_ZERO_RETENTION,
        .retention_days = days,
        .is_zero_retention = is_zero,
    };
    enum err err = receive_call(to, msg);
    if (err == ERR_OK) {
        cr_expect_eq(msg->body.domain.row_count, 1);
        cr_expect_eq(msg->body.domain.rows[0].retention_days, days);
        cr_expect_eq(msg->body.domain.rows[0].rsa_private.len, 0);
    }
    rig_put(to->rig, msg);
    return err;
}

/* Goes on by so many days, and lets the day's sweep run to its end. */
static void pass_days(struct receiver *to, uint32_t days)
{
    clock_set_fake(clock_mono_ms() + 1, clock_unix_ms() + days * DAY_MS);
    struct msg *msg = rig_take(to->rig, MSG_SHARD_EXPIRE);
    msg->body.expire.day = 0;
    cr_assert_eq(receive_call(to, msg), ERR_OK);
    rig_put(to->rig, msg);
    rig_settle(to->rig);
}

static bool is_there(struct receiver *to, struct id mail)
{
    return rig_has(to->rig, to->account, key_mail(to->account, mail));
}

/* Rows that name a mail, in their key or their value; but for the note by which a sender's
 * repetition is known, which goes after a day anyway. */
static uint32_t traces(struct receiver *to, struct id mail)
{
    struct slice id = slice_of((const char *)mail.bytes, sizeof(mail.bytes));
    struct kv_iter *iter = kv_iter_open(to->rig->kv, place_shard_index(RIG_SHARDS, to->account),
                                        SLICE("A"), SLICE("\x7f"), false);
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        bool names = slice_find(key, id) != SIZE_MAX || slice_find(value, id) != SIZE_MAX;
        count += key.data[0] != 'I' && names;
    }
    cr_expect_eq(kv_iter_err(iter), ERR_OK);
    kv_iter_close(iter);
    return count;
}

static void call_hook(struct receiver *to, struct id mail, uint32_t index, enum verdict_class class)
{
    struct outbox_entry entry = *rig_entry(to->rig, mail, HOOK_GROUP | index);
    struct verdict verdict = rig_verdict(class, class == VERDICT_DELIVERED ? 200 : 500, "");
    cr_assert_eq(rig_claim(to->rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(to->rig, &entry, &verdict, 1, clock_unix_ms() + 5000), ERR_OK);
    rig_settle(to->rig);
}

/* ---- what goes ------------------------------------------------------------------------------ */

Test(retention, erases_a_mail_with_every_row_that_names_it, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    set_days(&to, 3);
    (void)receive_mailbox(&to, "a@example.com");
    (void)receive_mailbox(&to, "b@example.com");
    (void)receive_route(&to, "a@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct id mail = receive(&to, "a@example.com,b@example.com", MAIL_WITH_FILES);
    call_hook(&to, mail, 0, VERDICT_DELIVERED);
    cr_expect_geq(traces(&to, mail), 12);
    pass_days(&to, 2);
    cr_expect(is_there(&to, mail), "not old enough");
    cr_expect_geq(traces(&to, mail), 12);
    pass_days(&to, 1);
    cr_expect_eq(traces(&to, mail), 0);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_threads(to.account)), 0);
    struct sha256 names[] = {crypto_sha256(SLICE("files@example.net")),
                             crypto_sha256(SLICE("asked@example.net"))};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        cr_expect(!rig_has(to.rig, to.account, key_thread_name(to.account, &names[i])));
    }
    end(&to);
}

Test(retention, erases_a_sent_mail_likewise, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    set_days(&to, 1);
    struct id mail = rig_send(to.rig, to.account, "a@example.com", "x@a.test,y@b.test");
    struct outbox_entry entry = *rig_entry(to.rig, mail, 0);
    struct verdict verdict = rig_verdict(VERDICT_DELIVERED, 250, "2.0.0");
    cr_assert_eq(rig_claim(to.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(to.rig, &entry, &verdict, 1, 0), ERR_OK);
    pass_days(&to, 2);
    cr_expect(is_there(&to, mail), "one recipient is open");
    entry = *rig_entry(to.rig, mail, 1);
    cr_assert_eq(rig_claim(to.rig, &entry), ERR_OK);
    cr_assert_eq(rig_outcome(to.rig, &entry, &verdict, 1, 0), ERR_OK);
    pass_days(&to, 0);
    cr_expect_eq(traces(&to, mail), 0);
    end(&to);
}

Test(retention, keeps_a_mail_whose_webhook_is_due, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    set_days(&to, 1);
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct id mail = receive(&to, "a@example.com", RECEIVE_MAIL);
    pass_days(&to, 5);
    cr_expect(is_there(&to, mail));
    call_hook(&to, mail, 0, VERDICT_BOUNCED);
    pass_days(&to, 0);
    cr_expect_eq(traces(&to, mail), 0);
    end(&to);
}

/* ---- who says how long ---------------------------------------------------------------------- */

Test(retention, keeps_everything_where_nobody_says_otherwise, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    struct id mail = receive(&to, "a@example.com", RECEIVE_MAIL);
    pass_days(&to, 3650);
    cr_expect(is_there(&to, mail));
    end(&to);
}

Test(retention, asks_the_domain_then_the_account_then_the_server, .timeout = TIMEOUT)
{
    static const struct {
        uint32_t server, account, domain, kept;
    } rules[] = {{2, 0, 0, 2}, {2, 5, 0, 5}, {2, 5, 9, 9}, {9, 5, 2, 2}, {0, 0, 4, 4}};
    struct receiver to = open_at_now();
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        to.rig->conf.retention_days = rules[i].server;
        set_days(&to, rules[i].account);
        cr_assert_eq(change_domain(&to, to.domain, rules[i].domain, false), ERR_OK);
        struct id mail = receive(&to, "a@example.com", RECEIVE_MAIL);
        pass_days(&to, rules[i].kept - 1);
        cr_expect(is_there(&to, mail), "rule %zu", i);
        pass_days(&to, 1);
        cr_expect_eq(traces(&to, mail), 0, "rule %zu", i);
    }
    end(&to);
}

Test(retention, of_one_domain_leaves_the_others_and_other_accounts_alone, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    struct receiver other = {.rig = to.rig, .account = rig_signup_at(to.rig, to.account, true)};
    other.domain = rig_domain(to.rig, other.account, "example.net");
    struct id second = rig_domain(to.rig, to.account, "example.org");
    cr_assert_eq(change_domain(&to, to.domain, 1, false), ERR_OK);
    cr_expect_eq(change_domain(&to, other.domain, 1, false), ERR_NOT_FOUND, "not its own");
    struct id first = receive(&to, "a@example.com", RECEIVE_MAIL);
    struct id kept = receive(&to, "a@example.org", RECEIVE_MAIL "2");
    struct id foreign = receive(&other, "a@example.net", RECEIVE_MAIL);
    pass_days(&to, 2);
    cr_expect_eq(traces(&to, first), 0);
    cr_expect(is_there(&to, kept));
    cr_expect(is_there(&other, foreign));
    uint32_t audits = rig_count(to.rig, to.account, key_prefix_audits(to.account));
    cr_assert_eq(change_domain(&to, second, 3, false), ERR_OK);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_audits(to.account)), audits + 1);
    cr_assert_eq(change_domain(&to, second, 3, false), ERR_OK);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_audits(to.account)), audits + 1,
                 "no change");
    end(&to);
}

/* ---- many of them --------------------------------------------------------------------------- */

#define MANY (3 * RETENTION_PAGE + 1)

/* Answers to one mail, so that all share its thread. */
static void receive_many(struct receiver *to, struct id mails[MANY])
{
    for (unsigned i = 0; i < MANY; i++) {
        char mail[200];
        (void)snprintf(mail, sizeof mail, "Message-ID: <%u@x>\r\nReferences: <root@x>\r\n\r\n.", i);
        mails[i] = receive(to, "a@example.com", mail);
    }
}

Test(retention, goes_page_by_page, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    struct id mails[MANY];
    struct arena arena;
    arena_init(&arena, 4 * KIB, MIB);
    set_days(&to, 1);
    receive_many(&to, mails);
    clock_set_fake(clock_mono_ms(), NOW + DAY_MS / 2);
    struct id young = receive(&to, "a@example.com", "References: <root@x>\r\n\r\nyoung");
    clock_set_fake(clock_mono_ms(), NOW);
    uint32_t before = to.rig->commit_count;
    pass_days(&to, 1);
    cr_expect_geq(to.rig->commit_count - before, 4, "no page is more than a batch's share");
    for (size_t i = 0; i < MANY; i++) {
        cr_expect_eq(traces(&to, mails[i]), 0, "mail %zu", i);
    }
    struct id thread = received_row(&to, young, &arena).thread;
    struct row_thread row =
        rig_get_thread(to.rig, to.account, key_thread(to.account, thread), &arena);
    cr_expect_eq(row.mail_count, 1);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_thread_mails(to.account, thread)), 1);
    arena_fini(&arena);
    end(&to);
}

Test(retention, goes_on_after_a_restart_in_the_middle, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    struct id mails[MANY];
    set_days(&to, 1);
    receive_many(&to, mails);
    to.rig->fail_at = to.rig->commit_count + 3; /* the day's own ranges, a page, then no more */
    to.rig->fail_count = 1000;
    pass_days(&to, 1);
    uint32_t left = rig_count(to.rig, to.account, key_prefix_mails(to.account));
    cr_assert_gt(left, 0);
    cr_assert_lt(left, MANY);
    for (size_t i = 0; i < MANY; i++) {
        cr_expect_eq(is_there(&to, mails[i]), traces(&to, mails[i]) > 0, "whole or not at all");
    }
    rig_restart(to.rig);
    rig_settle(to.rig);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_mails(to.account)), 0);
    for (size_t i = 0; i < MANY; i++) {
        cr_expect_eq(traces(&to, mails[i]), 0);
    }
    end(&to);
}

/* ---- domains that keep nothing -------------------------------------------------------------- */

Test(retention, zero_erases_a_mail_with_its_last_acknowledgement, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    cr_assert_eq(change_domain(&to, to.domain, 0, true), ERR_OK);
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct id mail = receive(&to, "a@example.com,b@example.com", MAIL_WITH_FILES);
    call_hook(&to, mail, 0, VERDICT_DELIVERED);
    cr_expect(is_there(&to, mail), "one is due");
    call_hook(&to, mail, 1, VERDICT_DEFERRED);
    cr_expect(is_there(&to, mail), "it was put off");
    call_hook(&to, mail, 1, VERDICT_DELIVERED);
    cr_expect_eq(traces(&to, mail), 0);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_threads(to.account)), 0);
    cr_expect_eq(rig_count(to.rig, to.account, key_prefix_outbox()), 0);
    end(&to);
}

Test(retention, zero_erases_a_mail_that_nobody_took, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    cr_assert_eq(change_domain(&to, to.domain, 0, true), ERR_OK);
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct id mail = receive(&to, "a@example.com", RECEIVE_MAIL);
    call_hook(&to, mail, 0, VERDICT_BOUNCED);
    cr_expect_eq(traces(&to, mail), 0);
    end(&to);
}

Test(retention, zero_keeps_what_no_webhook_was_told_of, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    cr_assert_eq(change_domain(&to, to.domain, 0, true), ERR_OK);
    struct id mail = receive(&to, "a@example.com", RECEIVE_MAIL);
    struct id sent = rig_send(to.rig, to.account, "a@example.com", "x@a.test");
    pass_days(&to, 3);
    cr_expect(is_there(&to, mail));
    cr_expect(is_there(&to, sent));
    end(&to);
}

Test(retention, zero_erases_what_was_acknowledged_before_it_was_asked_for, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct id mail = receive(&to, "a@example.com", RECEIVE_MAIL);
    call_hook(&to, mail, 0, VERDICT_DELIVERED);
    cr_expect(is_there(&to, mail));
    cr_assert_eq(change_domain(&to, to.domain, 0, true), ERR_OK);
    pass_days(&to, 1);
    cr_expect_eq(traces(&to, mail), 0);
    end(&to);
}

/* ---- the body of its webhooks --------------------------------------------------------------- */

/* What the webhook of a mail says of its attachments. */
static bool body_says(struct receiver *to, struct id mail, const char *text)
{
    struct msg *msg = rig_claim_msg(to->rig, rig_entry(to->rig, mail, HOOK_GROUP));
    cr_assert_eq(receive_call(to, msg), ERR_OK);
    bool says = slice_find(msg->body.claim.hook_body, slice_str(text)) != SIZE_MAX;
    cr_expect(slice_find(msg->body.claim.hook_body, SLICE("\"url\":")) != SIZE_MAX);
    rig_put(to->rig, msg);
    return says;
}

Test(retention, zero_puts_attachments_into_the_webhook, .timeout = TIMEOUT)
{
    struct receiver to = open_at_now();
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct id kept = receive(&to, "a@example.com", MAIL_WITH_FILES);
    cr_expect(!body_says(&to, kept, "\"content\""));
    cr_assert_eq(change_domain(&to, to.domain, 0, true), ERR_OK);
    struct id mail = receive(&to, "b@example.com", MAIL_WITH_FILES "\r\n");
    cr_expect(body_says(&to, mail, "\"content\":\"SGVsbG8sIHdvcmxk\""));
    end(&to);
}

Test(retention, zero_puts_a_large_attachment_into_the_webhook_whole, .timeout = TIMEOUT)
{
    static const char head[] =
        "Subject: big\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        "Content-Disposition: attachment; filename=big\r\n\r\n";
    struct receiver to = open_at_now();
    size_t len = sizeof head - 1 + 3 * MIB;
    char *bytes = mem_alloc(len);
    memset(bytes, 'x', len);
    memcpy(bytes, head, sizeof head - 1);
    cr_assert_eq(change_domain(&to, to.domain, 0, true), ERR_OK);
    (void)receive_route(&to, "*@example.com", ROUTE_WEBHOOK, "https://hooks.example.net/in");
    struct msg *msg = receive_msg(&to, "a@example.com", slice_of(bytes, len));
    cr_assert_eq(receive_call(&to, msg), ERR_OK);
    struct id mail = msg->body.inbound.id;
    rig_put(to.rig, msg);
    struct buf wanted;
    buf_init(&wanted, 8 * MIB);
    buf_add_str(&wanted, "\"content\":\"");
    for (size_t i = 0; i < MIB; i++) {
        buf_add_str(&wanted, "eHh4");
    }
    buf_add_str(&wanted, "\"}]");
    buf_add_byte(&wanted, '\0');
    cr_expect(body_says(&to, mail, wanted.data));
    buf_fini(&wanted);
    free(bytes);
    end(&to);
}
