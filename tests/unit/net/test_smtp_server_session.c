/* test_smtp_server_session.c - what a session must be able to rely on besides dialogues: exact
 * replies, STARTTLS, back-pressure, ceilings, answers that come late, secrets that go.
 *
 * Not covered here: dialogues and how they are split (test_smtp_server.c).
 */
#include "net/smtp_server.h"

#include "base/check.h"
#include "base/crypto.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct smtp_server_options full_options(void)
{
    return (struct smtp_server_options){
        .hostname = SLICE("mx.test"),
        .offers = {.starttls = true,
                   .auth = true,
                   .pipelining = true,
                   .eight_bit_mime = true,
                   .smtputf8 = true,
                   .chunking = true,
                   .enhanced_status = true,
                   .dsn = true,
                   .requiretls = true},
        .size_max = MIB,
        .rcpt_max = 100,
        .mails_max = 100,
        .bad_max = 100,
        .rcpt_refused_max = 100,
        .auth_refused_max = 3,
    };
}

static void begin(struct smtp_server *server)
{
    const struct smtp_server_options options = full_options();
    crypto_init();
    smtp_server_init(server, &options);
    smtp_server_accept(server, SLICE(""));
}

/* Feeds all of it and accepts whatever is asked; the last event before MORE, or what stopped it. */
static enum smtp_event feed(struct smtp_server *server, struct slice bytes)
{
    enum smtp_event last = SMTP_EVENT_MORE;
    for (;;) {
        size_t used = 0;
        enum smtp_event event = smtp_server_feed(server, bytes, &used);
        bytes = slice_from(bytes, used);
        if (event == SMTP_EVENT_MORE || event == SMTP_EVENT_FULL) {
            return event == SMTP_EVENT_MORE ? last : event;
        }
        last = event;
        if (event == SMTP_EVENT_CLOSE) {
            return event;
        }
        if (smtp_server_asked(server) != SMTP_EVENT_NONE) {
            smtp_server_accept(server, SLICE(""));
        }
    }
}

/* Feeds one command whose question stays open. */
static void ask(struct smtp_server *server, struct slice command, enum smtp_event wanted)
{
    size_t used = 0;
    cr_assert_eq(smtp_server_feed(server, command, &used), wanted);
    cr_assert_eq(used, command.len);
    cr_assert_eq(smtp_server_asked(server), wanted);
}

/* Takes the replies and compares them. */
static void expect_out(struct smtp_server *server, const char *wanted)
{
    struct slice out = smtp_server_out(server);
    cr_expect(slice_equal(out, slice_str(wanted)), "%.*s instead of %s", SLICE_FMT(out), wanted);
    smtp_server_wrote(server, out.len);
}

Test(smtp_server_session, offers_what_holds_at_the_moment)
{
    struct smtp_server server;
    begin(&server);
    expect_out(&server, "220 mx.test ESMTP\r\n");
    feed(&server, SLICE("EHLO me\r\n"));
    expect_out(&server, "250-mx.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250-8BITMIME\r\n"
                        "250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n250-DSN\r\n"
                        "250 SIZE 1048576\r\n");
    feed(&server, SLICE("HELO me\r\n"));
    expect_out(&server, "250 mx.test\r\n");
    feed(&server, SLICE("EHLO me\r\nSTARTTLS\r\n"));
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    smtp_server_tls_started(&server);
    feed(&server, SLICE("EHLO me\r\n"));
    expect_out(&server, "250-mx.test\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250-8BITMIME\r\n"
                        "250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n250-DSN\r\n"
                        "250-REQUIRETLS\r\n250 SIZE 1048576\r\n");
    smtp_server_fini(&server);
}

Test(smtp_server_session, says_enhanced_codes_where_they_belong)
{
    struct smtp_server server;
    begin(&server);
    feed(&server, SLICE("EHLO me\r\n"));
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    feed(&server,
         SLICE("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nVRFY c\r\nQUIT\r\n"));
    expect_out(&server, "250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n"
                        "354 end data with <CR><LF>.<CR><LF>\r\n250 2.0.0 accepted\r\n"
                        "252 2.5.2 cannot verify, but will take mail and try\r\n"
                        "221 2.0.0 bye\r\n");
    smtp_server_fini(&server);
}

Test(smtp_server_session, says_what_it_is_given_in_clean_lines)
{
    struct smtp_server server;
    begin(&server);
    feed(&server, SLICE("EHLO me\r\n"));
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    ask(&server, SLICE("MAIL FROM:<a@b>\r\n"), SMTP_EVENT_MAIL);
    smtp_server_refuse(&server, 550, "5.7.1", SLICE("a\r\n250 b\n\nc\xff"));
    expect_out(&server, "550-5.7.1 a?\r\n550-5.7.1 250 b\r\n550-5.7.1 \r\n550 5.7.1 c?\r\n");
    ask(&server, SLICE("MAIL FROM:<a@b>\r\n"), SMTP_EVENT_MAIL);
    smtp_server_refuse_err(&server, ERR_BUSY);
    expect_out(&server, "451 4.3.2 the service is busy; try again shortly\r\n");
    feed(&server, SLICE("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"));
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    ask(&server, SLICE("BDAT 0 LAST\r\n"), SMTP_EVENT_DATA);
    smtp_server_accept(&server, SLICE(""));
    ask(&server, SLICE(""), SMTP_EVENT_END);
    smtp_server_accept(&server, SLICE("queued as msg_1"));
    expect_out(&server, "250 2.0.0 queued as msg_1\r\n");
    smtp_server_fini(&server);
}

Test(smtp_server_session, bounds_replies_however_long_their_text)
{
    static char text[2 * SMTP_ANSWER_MAX];
    struct smtp_server server;
    begin(&server);
    memset(text, '\n', sizeof(text));
    feed(&server, SLICE("EHLO me\r\n"));
    for (int i = 0; i < 2; i++) {
        memset(text, i == 0 ? '\n' : 'x', sizeof(text));
        smtp_server_wrote(&server, smtp_server_out(&server).len);
        ask(&server, SLICE("MAIL FROM:<a@b>\r\n"), SMTP_EVENT_MAIL);
        smtp_server_refuse(&server, 550, "5.7.1", slice_of(text, sizeof(text)));
        struct slice out = smtp_server_out(&server);
        cr_expect_leq(out.len, 512);
        cr_expect(slice_ends(out, SLICE("\r\n")));
    }
    smtp_server_fini(&server);
}

Test(smtp_server_session, forgets_what_was_said_before_tls)
{
    struct smtp_server server;
    begin(&server);
    feed(&server, SLICE("EHLO me\r\nSTARTTLS\r\n"));
    cr_expect_not(server.is_tls);
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    /* Bytes in clear behind the 220 are nobody's. */
    cr_expect_eq(feed(&server, SLICE("EHLO x\r\nMAIL FROM:<a@b>\r\n")), SMTP_EVENT_MORE);
    expect_out(&server, "");
    smtp_server_tls_started(&server);
    cr_expect(server.is_tls);
    cr_expect_not(server.is_esmtp);
    cr_expect_eq(server.hello.len, 0);
    feed(&server, SLICE("MAIL FROM:<a@b>\r\nEHLO me\r\nSTARTTLS\r\nMAIL FROM:<a@b>\r\n"));
    struct slice out = smtp_server_out(&server);
    cr_expect(slice_starts(out, SLICE("503 5.5.1 send EHLO first\r\n250-")));
    cr_expect(slice_ends(out, SLICE("503 5.5.1 TLS is already active\r\n250 2.1.0 sender ok\r\n")));
    smtp_server_fini(&server);
}

Test(smtp_server_session, closes_on_commands_injected_behind_starttls)
{
    static const struct slice injected[] = {
        SLICE_INIT("STARTTLS\r\nEHLO x\r\n"),
        SLICE_INIT("STARTTLS\r\nRSET\r\nMAIL FROM:<a@b>\r\n"),
        SLICE_INIT("STARTTLS\r\n\x16\x03\x01"),
        SLICE_INIT("STARTTLS\r\n\0"),
    };
    for (size_t i = 0; i < ARRAY_LEN(injected); i++) {
        struct smtp_server server;
        size_t used = 0;
        begin(&server);
        feed(&server, SLICE("EHLO me\r\n"));
        smtp_server_wrote(&server, smtp_server_out(&server).len);
        cr_expect_eq(smtp_server_feed(&server, injected[i], &used), SMTP_EVENT_CLOSE);
        cr_expect_eq(used, injected[i].len);
        expect_out(&server, "501 5.5.1 commands behind STARTTLS; closing\r\n");
        smtp_server_accept(&server, SLICE("")); /* an answer that comes too late */
        expect_out(&server, "");
        smtp_server_fini(&server);
        /* The same in two reads, before the session has answered. */
        begin(&server);
        feed(&server, SLICE("EHLO me\r\n"));
        ask(&server, SLICE("STARTTLS\r\n"), SMTP_EVENT_STARTTLS);
        cr_expect_eq(smtp_server_feed(&server, SLICE("x"), &used), SMTP_EVENT_CLOSE);
        smtp_server_tls_started(&server); /* too late as well */
        cr_expect(smtp_server_is_closed(&server));
        smtp_server_fini(&server);
    }
}

Test(smtp_server_session, may_refuse_starttls)
{
    struct smtp_server server;
    begin(&server);
    feed(&server, SLICE("EHLO me\r\n"));
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    ask(&server, SLICE("STARTTLS\r\n"), SMTP_EVENT_STARTTLS);
    smtp_server_refuse(&server, 454, "4.7.0", SLICE("TLS is not available"));
    cr_expect_eq(feed(&server, SLICE("MAIL FROM:<>\r\n")), SMTP_EVENT_MAIL);
    expect_out(&server, "454 4.7.0 TLS is not available\r\n250 2.1.0 sender ok\r\n");
    smtp_server_fini(&server);
}

Test(smtp_server_session, greets_when_told_and_knows_early_talkers)
{
    const struct smtp_server_options options = full_options();
    struct smtp_server server;
    size_t used = SIZE_MAX;
    smtp_server_init(&server, &options);
    cr_expect_eq(smtp_server_feed(&server, SLICE(""), &used), SMTP_EVENT_WAIT);
    cr_expect_not(server.is_early);
    cr_expect_eq(smtp_server_feed(&server, SLICE("EHLO me\r\n"), &used), SMTP_EVENT_WAIT);
    cr_expect_eq(used, 0);
    cr_expect(server.is_early);
    expect_out(&server, "");
    smtp_server_refuse(&server, 554, "5.7.1", SLICE("you talk too early"));
    cr_expect(smtp_server_is_closed(&server));
    expect_out(&server, "554 5.7.1 you talk too early\r\n");
    cr_expect_eq(smtp_server_feed(&server, SLICE("EHLO me\r\n"), &used), SMTP_EVENT_CLOSE);
    cr_expect_eq(used, 9);
    expect_out(&server, "");
    smtp_server_fini(&server);
}

Test(smtp_server_session, knows_who_does_not_wait_for_answers)
{
    static const struct {
        struct slice bytes;
        bool is_hasty;
    } rows[] = {
        {SLICE_INIT("EHLO me\r\n"), false},
        {SLICE_INIT("EHLO me\r\nMAIL FROM:<>\r\n"), true},
        {SLICE_INIT("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"), false},
        {SLICE_INIT("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: x\r\n"), true},
        {SLICE_INIT("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 1 LAST\r\nx"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct smtp_server server;
        begin(&server);
        if (i > 1) {
            feed(&server, SLICE("EHLO me\r\n"));
        }
        feed(&server, rows[i].bytes);
        cr_expect_eq(server.is_hasty, rows[i].is_hasty, "row %zu", i);
        smtp_server_fini(&server);
    }
}

Test(smtp_server_session, takes_nothing_while_a_question_is_open)
{
    struct smtp_server server;
    size_t used = SIZE_MAX;
    begin(&server);
    feed(&server, SLICE("EHLO me\r\n"));
    struct slice group = SLICE("MAIL FROM:<a@b> ENVID=q RET=HDRS\r\nRCPT TO:<c@d>\r\nQUIT\r\n");
    cr_assert_eq(smtp_server_feed(&server, group, &used), SMTP_EVENT_MAIL);
    struct slice rest = slice_from(group, used);
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(smtp_server_feed(&server, rest, &used), SMTP_EVENT_WAIT);
        cr_expect_eq(used, 0);
        expect_out(&server, "");
        /* What was asked is still there to look at. */
        cr_expect(slice_equal(server.mail.from.text, SLICE("a@b")));
        cr_expect(slice_equal(server.mail.envid, SLICE("q")));
    }
    smtp_server_accept(&server, SLICE(""));
    cr_expect_eq(server.mail.from.text.len, 0);
    cr_expect_eq(server.mail.ret, SMTP_RET_HDRS);
    cr_expect_eq(smtp_server_feed(&server, rest, &used), SMTP_EVENT_RCPT);
    cr_expect(slice_equal(server.rcpt.to.domain, SLICE("d")));
    rest = slice_from(rest, used);
    expect_out(&server, "250 2.1.0 sender ok\r\n");
    smtp_server_accept(&server, SLICE(""));
    cr_expect_eq(server.rcpts, 1);
    cr_expect_eq(smtp_server_feed(&server, rest, &used), SMTP_EVENT_QUIT);
    smtp_server_fini(&server);
}

Test(smtp_server_session, takes_nothing_while_replies_are_not_taken)
{
    struct smtp_server server;
    size_t rounds = 0;
    begin(&server);
    struct slice noop = SLICE("NOOP\r\n");
    while (feed(&server, noop) == SMTP_EVENT_NOTED && rounds < 100000) {
        rounds++;
        if (rounds % 50 == 0) { /* too many without a mail would end it */
            feed(&server, SLICE("EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\n"));
        }
    }
    cr_expect_gt(smtp_server_out(&server).len, SMTP_OUT_HIGH);
    cr_expect_lt(smtp_server_out(&server).len, SMTP_OUT_MAX);
    smtp_server_close(&server, 421, "4.4.2", SLICE("timeout"));
    cr_expect(slice_ends(smtp_server_out(&server), SLICE("421 4.4.2 timeout\r\n")));
    smtp_server_fini(&server);
}

Test(smtp_server_session, ends_who_brings_no_mail_on)
{
    struct smtp_server server;
    size_t count = 0;
    begin(&server);
    while (feed(&server, SLICE("NOOP\r\n")) == SMTP_EVENT_NOTED) {
        smtp_server_wrote(&server, smtp_server_out(&server).len);
        count++;
    }
    cr_expect_eq(count, SMTP_JUNK_MAX + 100); /* rcpt_max */
    expect_out(&server, "421 4.7.0 too many errors; closing\r\n");
    smtp_server_fini(&server);
}

Test(smtp_server_session, goes_on_when_replies_were_taken)
{
    struct smtp_server server;
    size_t used = SIZE_MAX;
    begin(&server);
    while (feed(&server, SLICE("EHLO me\r\n")) == SMTP_EVENT_HELLO) {
    }
    cr_expect_eq(smtp_server_feed(&server, SLICE("NOOP\r\n"), &used), SMTP_EVENT_FULL);
    cr_expect_eq(used, 0);
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    cr_expect_eq(smtp_server_feed(&server, SLICE("NOOP\r\n"), &used), SMTP_EVENT_NOTED);
    expect_out(&server, "250 2.0.0 ok\r\n");
    smtp_server_fini(&server);
}

Test(smtp_server_session, hands_nothing_on_of_a_chunk_announced_too_large)
{
    struct smtp_server server;
    size_t used = 0;
    begin(&server);
    feed(&server, SLICE("EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n"));
    ask(&server, SLICE("BDAT 1048577 LAST\r\n"), SMTP_EVENT_DATA);
    smtp_server_accept(&server, SLICE(""));
    cr_expect_eq(smtp_server_feed(&server, SLICE("Subject: x\r\n"), &used), SMTP_EVENT_MORE);
    smtp_server_fini(&server);
}

/* AUTH LOGIN with fields of so many groups of three bytes ("QUFB" is "AAA"). */
static enum smtp_event feed_fields(size_t user_groups, size_t password_groups)
{
    struct smtp_server server;
    struct buf wire;
    struct smtp_server_options options = full_options();
    crypto_init();
    options.is_tls = true;
    smtp_server_init(&server, &options);
    smtp_server_accept(&server, SLICE(""));
    buf_init(&wire, MIB);
    buf_add_str(&wire, "EHLO me\r\nAUTH LOGIN\r\n");
    for (size_t i = 0; i < user_groups; i++) {
        buf_add_str(&wire, "QUFB");
    }
    buf_add_str(&wire, "\r\n");
    for (size_t i = 0; i < password_groups; i++) {
        buf_add_str(&wire, "QUFB");
    }
    buf_add_str(&wire, "\r\n");
    enum smtp_event event = feed(&server, buf_slice(&wire));
    buf_fini(&wire);
    smtp_server_fini(&server);
    return event;
}

Test(smtp_server_session, holds_the_ceilings_of_credentials)
{
    cr_expect_eq(feed_fields(SMTP_AUTH_FIELD_MAX / 3, SMTP_AUTH_FIELD_MAX / 3), SMTP_EVENT_AUTH);
    cr_expect_eq(feed_fields(1, SMTP_AUTH_FIELD_MAX / 3 + 1), SMTP_EVENT_REFUSED);
    cr_expect_eq(feed_fields(SMTP_AUTH_FIELD_MAX / 3, 3000), SMTP_EVENT_REFUSED);
    /* The name is refused at once; then the password is no command, or too long a one. */
    cr_expect_eq(feed_fields(3000, 3000), SMTP_EVENT_CLOSE);
    cr_expect_eq(feed_fields(SMTP_AUTH_FIELD_MAX / 3 + 1, 1), SMTP_EVENT_REFUSED);
}

/* "NOOP xxx" or "AUTH LOGIN xxx" of exactly that many bytes with its CRLF. */
static enum smtp_event feed_long(const char *head, size_t bytes, bool has_end)
{
    struct smtp_server server;
    struct buf line;
    begin(&server);
    buf_init(&line, MIB);
    feed(&server, SLICE("EHLO me\r\nSTARTTLS\r\n"));
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    smtp_server_tls_started(&server);
    feed(&server, SLICE("EHLO me\r\n"));
    buf_add_str(&line, head);
    while (line.len < bytes - 2) {
        buf_add_byte(&line, 'A');
    }
    buf_add(&line, has_end ? SLICE("\r\n") : SLICE("AA"));
    enum smtp_event whole = feed(&server, buf_slice(&line));
    smtp_server_fini(&server);
    buf_fini(&line);
    return whole;
}

Test(smtp_server_session, holds_the_ceilings_of_lines)
{
    cr_expect_eq(feed_long("NOOP ", SMTP_COMMAND_MAX, true), SMTP_EVENT_NOTED);
    cr_expect_eq(feed_long("NOOP ", SMTP_COMMAND_MAX + 1, true), SMTP_EVENT_CLOSE);
    cr_expect_eq(feed_long("NOOP ", SMTP_COMMAND_MAX - 1, false), SMTP_EVENT_MORE);
    cr_expect_eq(feed_long("NOOP ", SMTP_COMMAND_MAX, false), SMTP_EVENT_CLOSE);
    cr_expect_eq(feed_long("AUTHX", SMTP_COMMAND_MAX + 1, true), SMTP_EVENT_CLOSE);
    cr_expect_eq(feed_long("AUTH PLAIN ", SMTP_AUTH_LINE_MAX, true), SMTP_EVENT_REFUSED);
    cr_expect_eq(feed_long("AUTH PLAIN ", SMTP_AUTH_LINE_MAX + 1, true), SMTP_EVENT_CLOSE);
    cr_expect_eq(feed_long("AUTH LOGIN\r\n", SMTP_AUTH_LINE_MAX + 12, true), SMTP_EVENT_REFUSED);
    cr_expect_eq(feed_long("AUTH LOGIN\r\n", SMTP_AUTH_LINE_MAX + 13, true), SMTP_EVENT_CLOSE);
}

Test(smtp_server_session, keeps_no_secret_after_the_answer)
{
    static const struct slice ways[] = {
        SLICE_INIT("AUTH PLAIN AG1lAHNlY3JldA==\r\n"),
        SLICE_INIT("AUTH LOGIN\r\nbWU=\r\nc2VjcmV0\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct smtp_server server;
        begin(&server);
        feed(&server, SLICE("EHLO me\r\nSTARTTLS\r\n"));
        smtp_server_wrote(&server, smtp_server_out(&server).len);
        smtp_server_tls_started(&server);
        feed(&server, SLICE("EHLO me\r\n"));
        size_t used = 0;
        struct slice rest = ways[i];
        while (smtp_server_asked(&server) == SMTP_EVENT_NONE) {
            (void)smtp_server_feed(&server, rest, &used); /* challenges, then the question */
            rest = slice_from(rest, used);
        }
        cr_expect_eq(smtp_server_asked(&server), SMTP_EVENT_AUTH);
        cr_expect(slice_equal(server.auth.user, SLICE("me")));
        cr_expect(slice_equal(server.auth.password, SLICE("secret")));
        smtp_server_accept(&server, SLICE(""));
        cr_expect(server.is_authed);
        cr_expect_null(server.auth.password.data);
        cr_expect_null(server.reader.secret.data);
        cr_expect_null(server.line.data);
        smtp_server_fini(&server);
    }
}

Test(smtp_server_session, hands_a_large_mail_on_in_bounded_chunks)
{
    static char text[300000];
    for (size_t i = 0; i < sizeof(text); i += 50) {
        memset(text + i, 'a' + (int)(i / 50 % 26), 50);
        memcpy(text + i + 48, "\r\n", 2);
    }
    static const bool ways[] = {false, true};
    for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
        struct smtp_server server;
        struct buf wire;
        struct buf mail;
        begin(&server);
        buf_init(&wire, MIB);
        buf_init(&mail, MIB);
        buf_add_str(&wire, "EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
        buf_add_str(&wire, ways[way] ? "BDAT 300000 LAST\r\n" : "DATA\r\n");
        buf_add(&wire, slice_of(text, sizeof(text)));
        buf_add_str(&wire, ways[way] ? "" : ".\r\n");
        struct slice rest = buf_slice(&wire);
        for (enum smtp_event event = SMTP_EVENT_NONE; event != SMTP_EVENT_MORE;) {
            size_t used = 0;
            event = smtp_server_feed(&server, rest, &used);
            rest = slice_from(rest, used);
            if (event == SMTP_EVENT_CHUNK) {
                cr_assert_leq(server.chunk.len, SMTP_CHUNK_MAX);
                buf_add(&mail, server.chunk);
            } else if (smtp_server_asked(&server) != SMTP_EVENT_NONE) {
                cr_expect_eq(smtp_server_is_in_mail(&server), false);
                smtp_server_accept(&server, SLICE(""));
            }
        }
        cr_expect(slice_equal(buf_slice(&mail), slice_of(text, sizeof(text))));
        cr_expect(slice_ends(smtp_server_out(&server), SLICE("250 2.0.0 accepted\r\n")));
        cr_expect_null(server.body.text.data); /* an idle session holds no buffer of mail */
        buf_fini(&wire);
        buf_fini(&mail);
        smtp_server_fini(&server);
    }
}

Test(smtp_server_session, cuts_off_who_never_ends_a_mail)
{
    static char text[SMTP_CHUNK_MAX];
    struct smtp_server server;
    size_t bytes = 0;
    begin(&server);
    memset(text, 'x', sizeof(text));
    feed(&server, SLICE("EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"));
    while (feed(&server, slice_of(text, sizeof(text))) != SMTP_EVENT_CLOSE) {
        bytes += sizeof(text);
        cr_assert_leq(bytes, 3 * MIB);
    }
    cr_expect_geq(bytes + sizeof(text), 2 * MIB + SMTP_SWALLOW_MORE);
    cr_expect(slice_ends(smtp_server_out(&server),
                         SLICE("552 5.3.4 message size exceeds the limit; closing\r\n")));
    smtp_server_fini(&server);
}

Test(smtp_server_session, says_good_bye_in_any_state)
{
    static const struct slice ways[] = {
        SLICE_INIT(""),
        SLICE_INIT("EHLO me\r\n"),
        SLICE_INIT("EHLO me\r\nMAIL FROM:<>\r\n"),
        SLICE_INIT("EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nhalf"),
        SLICE_INIT("EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 9\r\nhalf"),
        SLICE_INIT("EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 2\r\n\r\n"),
        SLICE_INIT("BDAT 9\r\nhalf"),
    };
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct smtp_server server;
        size_t used = 0;
        begin(&server);
        feed(&server, ways[i]);
        smtp_server_close(&server, 421, "4.3.2", SLICE("shutting down"));
        smtp_server_close(&server, 421, "4.3.2", SLICE("not twice"));
        cr_expect(slice_ends(smtp_server_out(&server), SLICE("421 4.3.2 shutting down\r\n")));
        cr_expect_eq(smtp_server_feed(&server, SLICE("x"), &used), SMTP_EVENT_CLOSE);
        cr_expect_eq(used, 1);
        cr_expect_str_eq(smtp_server_state(&server), "closed");
        smtp_server_fini(&server);
    }
}

Test(smtp_server_session, takes_late_answers_quietly)
{
    struct smtp_server server;
    begin(&server);
    feed(&server, SLICE("EHLO me\r\n"));
    ask(&server, SLICE("MAIL FROM:<a@b>\r\n"), SMTP_EVENT_MAIL);
    smtp_server_close(&server, 421, "4.4.2", SLICE("timeout"));
    smtp_server_wrote(&server, smtp_server_out(&server).len);
    smtp_server_accept(&server, SLICE(""));
    smtp_server_refuse(&server, 550, "5.1.1", SLICE("no"));
    expect_out(&server, "");
    smtp_server_fini(&server);
}

Test(smtp_server_session, stops_a_session_that_answers_nothing, .signal = SIGABRT)
{
    struct smtp_server server;
    begin(&server);
    smtp_server_accept(&server, SLICE(""));
}
