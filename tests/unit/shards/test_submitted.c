/* test_submitted.c - a mail that came whole: what is stored of it, and what is shown of it again.
 *
 * Not covered here: the rules for its header (mail/test_submission), the gates it shares with
 * composed mails (test_outbound), SMTP (edge/test_submit).
 */
#include "unit/shards/shard_rig.h"

#include "mail/dkim.h"
#include "mail/header.h"
#include "mail/mime_read.h"

#define HEAD                                                                                       \
    "From: Ann <a@example.com>\r\nTo: Bob <b@example.net>\r\nReply-To: Desk <d@example.com>, "     \
    "e@example.com\r\nSubject: =?iso-8859-1?q?f=FCnf?=\r\nIn-Reply-To: <before@x>\r\n"

/* With what reads mail: main starts it once. */
static struct rig *begin(void)
{
    mime_read_init();
    return rig_open();
}

static void end(struct rig *rig)
{
    rig_close(rig);
    mime_read_fini();
}

static struct account_id sender(struct rig *rig)
{
    struct account_id account = rig_signup(rig);
    (void)rig_domain(rig, account, "example.com");
    return account;
}

static struct msg *submission(struct rig *rig, struct account_id account, struct slice raw)
{
    struct msg *msg = rig_mail(rig, account, "Ann <a@example.com>", "b@example.net");
    msg->body.send.subject = SLICE("");
    msg->body.send.text = SLICE("");
    msg->body.send.raw = arena_dup(&msg->arena, raw);
    return msg;
}

static enum err post(struct rig *rig, struct account_id account, struct msg *msg)
{
    return rig_call(rig, rig_shard(rig, account), msg);
}

/* All of the stored mail, in arena. */
static struct slice stored(struct rig *rig, struct account_id account, const struct row_mail *mail,
                           struct arena *arena)
{
    char *bytes = arena_bytes(arena, (size_t)mail->size_bytes);
    size_t len = 0;
    for (uint32_t i = 0; i < mail->chunk_count; i++) {
        struct row_chunk row = rig_get_chunk(rig, account, key_chunk(account, mail->id, i), arena);
        cr_assert_leq(len + row.data.len, mail->size_bytes);
        memcpy(bytes + len, row.data.data, row.data.len);
        len += row.data.len;
    }
    cr_assert_eq(len, mail->size_bytes);
    return slice_of(bytes, len);
}

static const char parts[] =
    "MIME-Version: 1.0\r\nBcc: hidden@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n"
    "\r\npreamble\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nf\xfcnf\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    "<p>5</p>\r\n--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; "
    "filename=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b--\r\n";

Test(submitted, is_stored_with_all_that_a_composed_mail_would_have)
{
    struct rig *rig = begin();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 32 * MIB);
    struct account_id account = sender(rig);
    struct slice raw = arena_format(&arena, HEAD "%s", parts);
    struct msg *msg = submission(rig, account, raw);
    msg->body.send.requires_tls = true;
    cr_assert_eq(post(rig, account, msg), ERR_OK, "%.*s", SLICE_FMT(msg->sentence));
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, msg->body.send.id), &arena);
    cr_expect(mail.is_submitted);
    cr_expect(mail.requires_tls);
    cr_expect(mail.needs_8bit && !mail.needs_utf8);
    cr_expect(slice_equal(mail.subject, SLICE("f\xc3\xbcnf")));
    cr_expect(slice_equal(mail.from_name, SLICE("Ann")));
    cr_expect(slice_equal(mail.in_reply_to, SLICE("before@x")));
    cr_expect_eq(pack_count(mail.reply_to), 2);
    cr_expect(slice_ends(mail.message_id, SLICE("@example.com")), "ours, for it had none");
    cr_expect(mail.has_text && mail.has_html);
    cr_assert_eq(mail.attachment_count, 1);
    struct row_attachment file =
        rig_get_attachment(rig, account, key_attachment(account, mail.id, 0), &arena);
    cr_expect(slice_equal(file.filename, SLICE("a.pdf")));
    cr_expect(slice_equal(file.content_type, SLICE("application/pdf")));
    cr_expect_eq(file.size_bytes, 3);
    struct slice kept = stored(rig, account, &mail, &arena);
    cr_expect(slice_starts(kept, SLICE("Received: by localhost with ESMTPSA\r\n\tid msg_")));
    cr_expect_eq(slice_find(slice_head(kept, 200), SLICE("127.0.0.1")), SIZE_MAX);
    cr_expect_neq(
        slice_find(kept, SLICE("\r\n" HEAD "MIME-Version: 1.0\r\nContent-Type: multipart")),
        SIZE_MAX);
    cr_expect_eq(slice_find(kept, SLICE("hidden@")), SIZE_MAX);
    struct slice body = slice_from(kept, (size_t)mail.header_len);
    cr_expect(slice_equal(body, slice_from(raw, slice_find(raw, SLICE("preamble")))));
    struct dkim_body hashed;
    dkim_body_start(&hashed);
    dkim_body_add(&hashed, body);
    struct sha256 digest = dkim_body_finish(&hashed);
    cr_expect(slice_equal(sha256_slice(&mail.body_hash), sha256_slice(&digest)));
    arena_fini(&arena);
    end(rig);
}

Test(submitted, is_shown_as_its_readers_see_it)
{
    struct rig *rig = begin();
    struct arena arena;
    arena_init(&arena, 64 * KIB, 32 * MIB);
    struct account_id account = sender(rig);
    struct msg *msg = submission(rig, account, arena_format(&arena, HEAD "%s", parts));
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct msg *read = rig_take(rig, MSG_SHARD_READ);
    read->body.read.caller = rig_key_caller(account, RIGHT_MAIL_READ);
    read->body.read.id = msg->body.send.id;
    cr_assert_eq(post(rig, account, read), ERR_OK);
    cr_expect(slice_equal(read->body.read.text, SLICE("f\xc3\xbcnf")), "%.*s",
              SLICE_FMT(read->body.read.text));
    cr_expect(slice_equal(read->body.read.html, SLICE("<p>5</p>")));
    cr_expect_neq(slice_find(read->body.read.header_block, SLICE("\r\n" HEAD)), SIZE_MAX);
    cr_expect(slice_ends(read->body.read.header_block, SLICE("\r\n\r\n")));
    cr_expect_eq(read->body.read.attachment_count, 1);
    arena_fini(&arena);
    end(rig);
}

Test(submitted, keeps_its_own_message_id_and_a_body_of_many_chunks)
{
    struct rig *rig = begin();
    struct arena arena;
    struct buf raw;
    arena_init(&arena, 64 * KIB, 64 * MIB);
    buf_init(&raw, 8 * MIB);
    struct account_id account = sender(rig);
    buf_add_str(&raw, "Message-ID: <own@elsewhere>\r\n" HEAD "\r\n");
    for (uint32_t i = 0; i < 60000; i++) {
        buf_add_format(&raw, "line %u\r\n", i);
    }
    struct msg *msg = submission(rig, account, buf_slice(&raw));
    cr_assert_eq(post(rig, account, msg), ERR_OK);
    struct row_mail mail = rig_get_mail(rig, account, key_mail(account, msg->body.send.id), &arena);
    cr_expect(slice_equal(mail.message_id, SLICE("own@elsewhere")));
    cr_expect_gt(mail.chunk_count, 2);
    struct slice kept = stored(rig, account, &mail, &arena);
    size_t body = header_block_len(buf_slice(&raw));
    cr_expect(
        slice_equal(slice_from(kept, (size_t)mail.header_len), slice_from(buf_slice(&raw), body)));
    buf_fini(&raw);
    arena_fini(&arena);
    end(rig);
}

Test(submitted, is_refused_with_a_sentence_when_it_breaks_the_rules)
{
    static const char *const bad[] = {
        "Subject: nobody wrote this\r\n\r\nx\r\n",
        HEAD "From: b@example.com\r\n\r\nx\r\n",
        HEAD "\r\nbare\nline\r\n",
        "no header at all\r\n",
    };
    struct rig *rig = begin();
    struct account_id account = sender(rig);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct msg *msg = submission(rig, account, slice_str(bad[i]));
        cr_expect_eq(post(rig, account, msg), ERR_BAD_FIELD, "%s", bad[i]);
        cr_expect_gt(msg->sentence.len, 0);
        rig_put(rig, msg);
    }
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 0);
    cr_expect(conf_set(&rig->conf, SLICE("mail_max"), SLICE("1024")));
    struct arena arena;
    arena_init(&arena, 64 * KIB, MIB);
    char fill[900];
    memset(fill, 'x', sizeof fill);
    struct slice raw = arena_format(&arena, HEAD "\r\n%.*s\r\n", (int)sizeof fill, fill);
    struct msg *large = submission(rig, account, raw);
    cr_expect_eq(post(rig, account, large), ERR_TOO_LARGE);
    arena_fini(&arena);
    end(rig);
}

Test(submitted, is_the_same_mail_under_the_same_idempotency_key)
{
    struct rig *rig = begin();
    struct account_id account = sender(rig);
    struct id first;
    for (uint32_t i = 0; i < 3; i++) {
        struct msg *msg = submission(rig, account, SLICE(HEAD "\r\nx\r\n"));
        msg->body.send.idempotency_key = SLICE("k");
        msg->body.send.body_hash = crypto_sha256(i < 2 ? SLICE("same") : SLICE("other"));
        enum err err = post(rig, account, msg);
        cr_expect_eq(err, i < 2 ? ERR_OK : ERR_IDEMPOTENCY_REUSED);
        if (i == 0) {
            first = msg->body.send.id;
        } else if (i == 1) {
            cr_expect(msg->body.send.is_replay && id_equal(msg->body.send.id, first));
        }
        rig_put(rig, msg);
    }
    cr_expect_eq(rig_count(rig, account, key_prefix_mails(account)), 1);
    end(rig);
}
