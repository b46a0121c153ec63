/* test_report_read.c - what the large providers and the old servers send back, and what is none of
 * it.
 *
 * Not covered here: which mail of ours a report is about and what it changes (shards/test_report);
 * what a status means (test_bounce_rules).
 */
#include "mail/report_read.h"

#include "base/crypto.h"
#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN "b.0123456789abcdef0123456789abcdef.7.89abcdef"

struct scene {
    struct arena arena;
    struct mime_read mail;
    struct report_read report;
};

static void read_bytes(struct scene *scene, struct slice raw, bool has_null_sender)
{
    arena_init(&scene->arena, 64 * KIB, MIME_READ_ARENA_BYTES + 8 * MIB);
    cr_assert_eq(mime_read(raw, &scene->arena, &scene->mail), ERR_OK);
    report_read(&scene->mail, has_null_sender, &scene->arena, &scene->report);
}

static void read_text(struct scene *scene, const char *raw)
{
    read_bytes(scene, slice_str(raw), true);
}

static void close_scene(struct scene *scene)
{
    arena_fini(&scene->arena);
}

static void set_up(void)
{
    crypto_init();
    mime_read_init();
}

TestSuite(report_read, .init = set_up, .fini = mime_read_fini);

static void expect_text(struct slice got, const char *want, const char *what)
{
    cr_expect(slice_equal(got, slice_str(want)), "%s: %.*s", what, SLICE_FMT(got));
}

/* A multipart/report around a delivery-status. */
#define DSN(status)                                                                                \
    "From: MAILER-DAEMON@example.net\r\nAuto-Submitted: auto-replied\r\n"                          \
    "Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"                        \
    "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n"          \
    "--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"                                            \
    "--b\r\nContent-Type: message/delivery-status\r\n\r\n" status                                  \
    "\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n\r\n--b--\r\n"

struct notice {
    const char *name;
    const char *raw;
    const char *final;
    const char *original;
    enum report_action action;
    uint16_t code;
    const char *status;
    const char *host;
    const char *text; /* begins with */
};

static void expect_notices(const struct notice *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct notice *row = &rows[i];
        struct scene scene;
        read_text(&scene, row->raw);
        cr_assert_eq(scene.report.kind, REPORT_DSN, "%s", row->name);
        cr_assert_eq(scene.report.rcpt_count, 1, "%s: %u", row->name, scene.report.rcpt_count);
        const struct report_rcpt *rcpt = &scene.report.rcpts[0];
        expect_text(rcpt->final, row->final, row->name);
        expect_text(rcpt->original, row->original, row->name);
        cr_expect_eq(rcpt->action, row->action, "%s", row->name);
        cr_expect_eq(rcpt->code, row->code, "%s: %u", row->name, (unsigned)rcpt->code);
        expect_text(rcpt->status, row->status, row->name);
        expect_text(rcpt->host, row->host, row->name);
        cr_expect(slice_starts(rcpt->text, slice_str(row->text)), "%s: %.*s", row->name,
                  SLICE_FMT(rcpt->text));
        close_scene(&scene);
    }
}

Test(report_read, reads_the_notices_of_the_large_providers)
{
    const struct notice rows[] = {
        {"gmail",
         DSN("Reporting-MTA: dns; googlemail.com\r\nReceived-From-MTA: dns; a@send.test\r\n"
             "Arrival-Date: Mon, 01 Jan 2024 00:00:00 -0800 (PST)\r\n"
             "X-Original-Message-ID: <x@send.test>\r\n\r\n"
             "Final-Recipient: rfc822; bob@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
             "Remote-MTA: dns; gmail-smtp-in.l.google.com. (2a00:1450::1a, the server for the\r\n"
             " domain gmail.com.)\r\n"
             "Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does\r\n"
             " not exist. Please try\r\n 550-5.1.1 double-checking the address. For more, go to\r\n"
             " 550 5.1.1  https://support.google.com/mail/?p=NoSuchUser x1-2si - gsmtp\r\n"
             "Last-Attempt-Date: Mon, 01 Jan 2024 00:00:01 -0800 (PST)\r\n"),
         "bob@example.org", "", REPORT_ACTION_FAILED, 550, "5.1.1", "gmail-smtp-in.l.google.com",
         "The email account that you tried to reach does not exist. Please try double-checking the "
         "address. For more, go to https"},
        {"exchange online",
         DSN("Reporting-MTA: dns;AM0PR01MB1234.eurprd01.prod.exchangelabs.com\r\n"
             "Received-From-MTA: dns;mail.send.test\r\n"
             "Arrival-Date: Mon, 1 Jan 2024 08:00:00 +0000\r\n\r\n"
             "Final-Recipient: rfc822;bob@example.org\r\nAction: failed\r\nStatus: 5.1.10\r\n"
             "Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient\r\n"
             " bob@example.org not found by SMTP address lookup\r\n"),
         "bob@example.org", "", REPORT_ACTION_FAILED, 550, "5.1.10",
         "AM0PR01MB1234.eurprd01.prod.exchangelabs.com", "RESOLVER.ADR.RecipientNotFound; Recip"},
        {"outlook, with a vague status",
         DSN("Reporting-MTA: dns;DM6.namprd12.prod.outlook.com\r\n\r\n"
             "Final-Recipient: rfc822;bob@hotmail.com\r\nAction: failed\r\nStatus: 5.0.0\r\n"
             "Diagnostic-Code: smtp;550 5.5.0 Requested action not taken: mailbox unavailable\r\n"),
         "bob@hotmail.com", "", REPORT_ACTION_FAILED, 550, "5.5.0", "DM6.namprd12.prod.outlook.com",
         "Requested action not taken"},
        {"yahoo",
         DSN("Reporting-MTA: dns; sonic.gate.mail.ne1.yahoo.com\r\n\r\n"
             "Final-Recipient: rfc822;bob@yahoo.com\r\nAction: failed\r\nStatus: 5.0.0\r\n"
             "Remote-MTA: dns; mta6.am0.yahoodns.net\r\n"
             "Diagnostic-Code: smtp; 554 delivery error: dd This user doesn't have a yahoo.com "
             "account\r\n"),
         "bob@yahoo.com", "", REPORT_ACTION_FAILED, 554, "5.0.0", "mta6.am0.yahoodns.net",
         "delivery error: dd This user"},
        {"postfix",
         DSN("Reporting-MTA: dns; mx.example.org\r\nX-Postfix-Queue-ID: 4ABCDE\r\n"
             "X-Postfix-Sender: rfc822; " TOKEN "@bounces.send.test\r\n"
             "Arrival-Date: Mon,  1 Jan 2024 09:00:00 +0100 (CET)\r\n\r\n"
             "Final-Recipient: rfc822; robert@inner.example.org\r\n"
             "Original-Recipient: rfc822;bob@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
             "Remote-MTA: dns; inner.example.org\r\n"
             "Diagnostic-Code: smtp; 550 5.1.1 <robert@inner.example.org>: Recipient address\r\n"
             "    rejected: User unknown in local recipient table\r\n"),
         "robert@inner.example.org", "bob@example.org", REPORT_ACTION_FAILED, 550, "5.1.1",
         "inner.example.org", "<robert@inner.example.org>: Recipient address rejected: User"},
        {"an original in xtext",
         DSN("Reporting-MTA: dns; mx.example.org\r\n\r\n"
             "Final-Recipient: rfc822; robert@inner.example.org\r\n"
             "Original-Recipient: rfc822;bob+2Btag+3D1@example.org\r\nAction: failed\r\n"
             "Status: 5.1.1\r\n"),
         "robert@inner.example.org", "bob+tag=1@example.org", REPORT_ACTION_FAILED, 0, "5.1.1",
         "mx.example.org", ""},
        {"an original that was decoded before",
         DSN("Reporting-MTA: dns; mx.example.org\r\n\r\n"
             "Final-Recipient: rfc822; robert@inner.example.org\r\n"
             "Original-Recipient: rfc822;bob+2b+2B+@example.org\r\nAction: failed\r\n"
             "Status: 5.1.1\r\n"),
         "robert@inner.example.org", "bob+2b+2B+@example.org", REPORT_ACTION_FAILED, 0, "5.1.1",
         "mx.example.org", ""},
        {"postfix itself",
         DSN("Reporting-MTA: dns; mx.example.org\r\n\r\n"
             "Final-Recipient: rfc822; bob@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
             "Diagnostic-Code: X-Postfix; unknown user: \"bob\"\r\n"),
         "bob@example.org", "", REPORT_ACTION_FAILED, 0, "5.1.1", "mx.example.org",
         "unknown user: \"bob\""},
        {"exim",
         DSN("Reporting-MTA: dns; mx.example.org\r\n\r\n"
             "Action: failed\r\nFinal-Recipient: rfc822;bob@example.org\r\nStatus: 5.0.0\r\n"
             "Remote-MTA: dns; in.example.org\r\n"
             "Diagnostic-Code: smtp; 550 No such user here\r\n"),
         "bob@example.org", "", REPORT_ACTION_FAILED, 550, "5.0.0", "in.example.org",
         "No such user here"},
        {"a delay",
         DSN("Reporting-MTA: dns; mx.example.org\r\n\r\n"
             "Final-Recipient: rfc822; bob@example.org\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
             "Diagnostic-Code: X-Postfix; connect to in.example.org[192.0.2.1]:25: timed out\r\n"
             "Will-Retry-Until: Fri,  5 Jan 2024 09:00:00 +0100 (CET)\r\n"),
         "bob@example.org", "", REPORT_ACTION_DELAYED, 0, "4.4.1", "mx.example.org",
         "connect to in.example.org"},
        {"no action, no type",
         DSN("Reporting-MTA: mx.example.org\r\n\r\n"
             "Final-Recipient: <bob@example.org>\r\nStatus: 5.2.2 (mailbox full)\r\n"),
         "bob@example.org", "", REPORT_ACTION_FAILED, 0, "5.2.2", "mx.example.org", ""},
    };
    expect_notices(rows, ARRAY_LEN(rows));
}

#define PLAIN "From: Mail Delivery <MAILER-DAEMON@mx.example.org>\r\nSubject: failure\r\n"

Test(report_read, reads_the_older_forms)
{
    const struct notice rows[] = {
        {"qmail",
         PLAIN "\r\nHi. This is the qmail-send program at mx.example.org.\r\n"
               "I'm afraid I wasn't able to deliver your message to the following addresses.\r\n"
               "This is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n"
               "<bob@example.org>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n\r\n"
               "--- Below this line is a copy of the message.\r\n\r\n"
               "<eve@example.org>:\r\nnot one of them\r\n",
         "bob@example.org", "", REPORT_ACTION_FAILED, 0, "5.1.1", "",
         "Sorry, no mailbox here by that name."},
        {"qmail, from afar",
         PLAIN "\r\nHi. This is the qmail-send program at mx.example.org.\r\nSorry.\r\n\r\n"
               "<bob@example.org>:\r\n192.0.2.1 does not like recipient.\r\n"
               "Remote host said: 550 5.7.1 Blocked by list\r\nGiving up on 192.0.2.1.\r\n",
         "bob@example.org", "", REPORT_ACTION_FAILED, 550, "5.7.1", "", "Blocked by list"},
        {"exim without parts",
         PLAIN "X-Failed-Recipients: bob@example.org\r\nAuto-Submitted: auto-replied\r\n\r\n"
               "This message was created automatically by mail delivery software.\r\n\r\n"
               "A message that you sent could not be delivered to one or more of its\r\n"
               "recipients. This is a permanent error. The following address(es) failed:\r\n\r\n"
               "  bob@example.org\r\n    host in.example.org [192.0.2.1]\r\n"
               "    SMTP error from remote mail server after RCPT TO:<bob@example.org>:\r\n"
               "    550 5.1.1 no such user\r\n\r\n------ This is a copy ------\r\n",
         "bob@example.org", "", REPORT_ACTION_FAILED, 550, "5.1.1", "", "no such user"},
        {"sendmail",
         PLAIN "\r\nThe original message was received at Mon, 1 Jan 2024\r\n\r\n"
               "   ----- The following addresses had permanent fatal errors -----\r\n"
               "<bob@example.org>\r\n    (reason: 550 5.1.1 User unknown)\r\n\r\n"
               "   ----- Transcript of session follows -----\r\n<no@one.test>\r\n",
         "bob@example.org", "", REPORT_ACTION_FAILED, 550, "5.1.1", "", "User unknown)"},
    };
    expect_notices(rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct scene scene;
        read_bytes(&scene, slice_str(rows[i].raw), false);
        cr_expect_neq(scene.report.kind, REPORT_DSN, "%s: from somebody", rows[i].name);
        close_scene(&scene);
    }
}

Test(report_read, tells_each_recipient_of_a_notice)
{
    struct scene scene;
    read_text(&scene, DSN("Reporting-MTA: dns; mx.example.org\r\n\r\n"
                          "Final-Recipient: rfc822;a@example.org\r\nAction: failed\r\n"
                          "Status: 5.1.1\r\n\r\n\r\n"
                          "Final-Recipient: rfc822;b@example.org\r\nAction: relayed\r\n"
                          "Status: 2.0.0\r\n\r\n"
                          "Final-Recipient: rfc822;c@example.org\r\nAction: delayed\r\n"
                          "Status: 4.2.2\r\n"));
    cr_assert_eq(scene.report.rcpt_count, 3);
    cr_expect_eq(scene.report.rcpts[0].action, REPORT_ACTION_FAILED);
    cr_expect_eq(scene.report.rcpts[1].action, REPORT_ACTION_OTHER);
    cr_expect_eq(scene.report.rcpts[2].action, REPORT_ACTION_DELAYED);
    expect_text(scene.report.rcpts[2].final, "c@example.org", "third");
    close_scene(&scene);
}

#define ARF(fields, original)                                                                      \
    "From: fbl@provider.test\r\nSubject: Abuse report\r\nMIME-Version: 1.0\r\n"                    \
    "Content-Type: multipart/report; report-type=feedback-report; boundary=\"f\"\r\n\r\n"          \
    "--f\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"                          \
    "--f\r\nContent-Type: message/feedback-report\r\n\r\n" fields "\r\n--f\r\n" original           \
    "\r\n--f--\r\n"

Test(report_read, reads_complaints)
{
    const struct {
        const char *name;
        const char *raw;
        const char *type;
        bool is_spam;
        const char *complainer; /* empty: none */
        uint32_t tokens;
    } rows[] = {
        {"yahoo",
         ARF("Feedback-Type: abuse\r\nUser-Agent: Yahoo!-Mail-Feedback/2.0\r\nVersion: 0.1\r\n"
             "Original-Mail-From: <" TOKEN "@bounces.send.test>\r\n"
             "Original-Rcpt-To: bob@yahoo.com\r\nReceived-Date: Mon, 1 Jan 2024 00:00:00\r\n",
             "Content-Type: message/rfc822\r\n\r\nReturn-Path: <" TOKEN "@bounces.send.test>\r\n"
             "X-Meerkat-Token: " TOKEN "\r\nSubject: offer\r\n\r\nbuy\r\n"),
         "abuse", true, "bob@yahoo.com", 3},
        {"comcast, who hides the address",
         ARF("Feedback-Type: abuse\r\nUser-Agent: ReturnPathFBL/1.0\r\nVersion: 1\r\n"
             "Original-Rcpt-To: <redacted>\r\nSource-IP: 192.0.2.1\r\n"
             "Reported-Domain: send.test\r\nCFBL-Feedback-ID: x\r\n",
             "Content-Type: message/rfc822\r\n\r\nx-meerkat-token: " TOKEN "\r\n\r\nbuy\r\n"),
         "abuse", true, "", 1},
        {"fastmail, with the header alone",
         ARF("Feedback-Type: abuse\r\nVersion: 1\r\nOriginal-Rcpt-To: bob@fastmail.test\r\n"
             "Removal-Recipient: bob@fastmail.test\r\n",
             "Content-Type: text/rfc822-headers\r\n\r\nX-Meerkat-Token: " TOKEN "\r\n"),
         "abuse", true, "bob@fastmail.test", 1},
        {"somebody who took it back",
         ARF("Feedback-Type: not-spam\r\nVersion: 1\r\n",
             "Content-Type: message/rfc822\r\n\r\nX-Meerkat-Token: " TOKEN "\r\n\r\nx\r\n"),
         "not-spam", false, "", 1},
        {"a DMARC failure report",
         ARF("Feedback-Type: auth-failure\r\nAuth-Failure: dmarc\r\nVersion: 1\r\n",
             "Content-Type: message/rfc822\r\n\r\nX-Meerkat-Token: " TOKEN "\r\n\r\nx\r\n"),
         "auth-failure", false, "", 1},
        {"outlook's programme",
         "From: staff@hotmail.com\r\nSubject: complaint about message from 192.0.2.1\r\n"
         "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"j\"\r\n\r\n"
         "--j\r\nContent-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\n"
         "X-HmXmrOriginalRecipient: bob@hotmail.com\r\nX-Meerkat-Token: " TOKEN "\r\n"
         "Subject: offer\r\n\r\nbuy\r\n--j--\r\n",
         "abuse", true, "bob@hotmail.com", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct scene scene;
        read_bytes(&scene, slice_str(rows[i].raw), false);
        const struct report_read *report = &scene.report;
        cr_assert_eq(report->kind, REPORT_COMPLAINT, "%s", rows[i].name);
        expect_text(report->feedback_type, rows[i].type, rows[i].name);
        cr_expect_eq(report->is_spam, rows[i].is_spam, "%s", rows[i].name);
        cr_expect_eq(report->token_count, rows[i].tokens, "%s: %u", rows[i].name,
                     report->token_count);
        for (uint32_t n = 0; n < report->token_count; n++) {
            expect_text(report->tokens[n], TOKEN, rows[i].name);
        }
        if (rows[i].complainer[0] != '\0') {
            cr_assert_geq(report->complainer_count, 1, "%s", rows[i].name);
            expect_text(report->complainers[0], rows[i].complainer, rows[i].name);
        } else {
            cr_expect_eq(report->complainer_count, 0, "%s", rows[i].name);
        }
        close_scene(&scene);
    }
}

Test(report_read, knows_who_only_answers_by_machine)
{
    const char *rows[] = {
        "From: bob@example.org\r\nAuto-Submitted: auto-replied\r\nSubject: Re: x\r\n\r\nAway.\r\n",
        "From: bob@example.org\r\nAuto-Submitted: auto-generated (x)\r\n\r\nx\r\n",
        "From: bob@example.org\r\nX-Autoreply: yes\r\n\r\nx\r\n",
        "From: bob@example.org\r\nPrecedence: auto_reply\r\n\r\nx\r\n",
        "From: bob@example.org\r\nSubject: Out of Office: Re: x\r\n\r\nx\r\n",
        "From: bob@example.org\r\nSubject: Automatic reply: x\r\n\r\nx\r\n",
        "From: bob@example.org\r\nSubject: =?utf-8?q?R=C3=A9ponse_automatique_:_x?=\r\n\r\nx\r\n",
        "From: bob@example.org\r\nSubject: Read: x\r\nContent-Type: multipart/report;\r\n"
        " report-type=disposition-notification; boundary=m\r\n\r\n--m\r\n\r\nread\r\n--m\r\n"
        "Content-Type: message/disposition-notification\r\n\r\n"
        "Final-Recipient: rfc822;bob@example.org\r\nDisposition: manual-action; displayed\r\n"
        "--m--\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct scene scene;
        read_text(&scene, rows[i]);
        cr_expect_eq(scene.report.kind, REPORT_AUTO_REPLY, "%zu", i);
        close_scene(&scene);
    }
    const char *none[] = {
        "From: bob@example.org\r\nSubject: Re: x\r\nAuto-Submitted: no\r\n\r\nThanks!\r\n",
        "From: bob@example.org\r\nSubject: about the office\r\n\r\n550 5.1.1 no such user\r\n",
        "",
    };
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        struct scene scene;
        read_text(&scene, none[i]);
        cr_expect_eq(scene.report.kind, REPORT_NONE, "%zu", i);
        close_scene(&scene);
    }
}

Test(report_read, finds_what_looks_like_a_token)
{
    const struct {
        const char *text;
        bool is_found;
    } rows[] = {
        {TOKEN, true},
        {"<" TOKEN "@bounces.send.test>", true},
        {"X: b.b.0 B.0123456789ABCDEF0123456789abcdef.0.00000000!", true},
        {"b.0123456789abcdef0123456789abcdef.7.89abcde", false},
        {"b.0123456789abcdef0123456789abcdef..89abcdef", false},
        {"b.0123456789abcdef0123456789abcde.7.89abcdef", false},
        {"b.0123456789abcdef0123456789abcdef.7", false},
        {"b.0123456789abcdef0123456789abcdef.", false},
        {"b.0123456789abcdef0123456789abcdef", false},
        {"b.", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice token;
        cr_expect_eq(report_token_find(slice_str(rows[i].text), &token), rows[i].is_found, "%s",
                     rows[i].text);
    }
}

Test(report_read, a_report_makes_a_verdict)
{
    const struct {
        struct report_rcpt rcpt;
        enum verdict_class class;
        const char *enhanced;
        const char *text;
    } rows[] = {
        {{.action = REPORT_ACTION_FAILED,
          .code = 550,
          .status = SLICE_INIT("5.1.1"),
          .text = SLICE_INIT("no\x01 user")},
         VERDICT_BOUNCED,
         "5.1.1",
         "no? user"},
        {{.action = REPORT_ACTION_FAILED, .status = SLICE_INIT("4.4.7")},
         VERDICT_BOUNCED,
         "4.4.7",
         ""},
        {{.action = REPORT_ACTION_FAILED, .status = SLICE_INIT("2.0.0")},
         VERDICT_BOUNCED,
         "5.0.0",
         ""},
        {{.action = REPORT_ACTION_FAILED, .code = 551}, VERDICT_BOUNCED, "5.1.6", ""},
        {{.action = REPORT_ACTION_DELAYED}, VERDICT_DEFERRED, "4.0.0", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verdict verdict;
        report_verdict(&rows[i].rcpt, &verdict);
        cr_expect_eq(verdict.class, rows[i].class, "%zu", i);
        cr_expect_eq(verdict.step, SMTP_STEP_RCPT);
        cr_expect_str_eq(verdict.enhanced, rows[i].enhanced, "%zu: %s", i, verdict.enhanced);
        cr_expect_str_eq(verdict.text, rows[i].text, "%zu", i);
    }
}

Test(report_read, has_ceilings)
{
    static const char block[] = "Final-Recipient: rfc822;a@example.org\r\nAction: failed\r\n\r\n";
    static const char head[] = "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
                               "Content-Type: message/delivery-status\r\n\r\n";
    struct buf raw;
    struct scene scene;
    buf_init(&raw, MIB);
    buf_add_str(&raw, head);
    for (uint32_t i = 0; i < 3 * REPORT_RCPTS_MAX; i++) {
        buf_add_str(&raw, block);
    }
    read_bytes(&scene, buf_slice(&raw), true);
    cr_expect_eq(scene.report.rcpt_count, REPORT_RCPTS_MAX);
    close_scene(&scene);
    buf_clear(&raw);
    buf_add_str(&raw, head);
    for (uint32_t i = 0; i < 10 * REPORT_LINES_MAX; i++) {
        buf_add_str(&raw, "Final-Recipient: rfc822;a@example.org\r\n");
    }
    read_bytes(&scene, buf_slice(&raw), true);
    cr_expect_eq(scene.report.rcpt_count, 1);
    close_scene(&scene);
    buf_fini(&raw);
}

Test(report_read, looks_for_what_people_are_told_near_the_front_only)
{
    static const char head[] = "X-Failed-Recipients: a@example.org\r\n\r\n";
    static const char why[] = "a@example.org\r\n550 5.1.1 no such user\r\n\r\n";
    struct buf raw;
    struct scene scene;
    for (int is_far = 0; is_far < 2; is_far++) {
        buf_init(&raw, MIB);
        buf_add_str(&raw, head);
        for (uint32_t i = 0; is_far && i < 1200; i++) {
            buf_add_str(&raw, "This line is one of many and says nothing of any recipient at all."
                              "\r\n");
        }
        buf_add_str(&raw, why);
        read_bytes(&scene, buf_slice(&raw), true);
        cr_assert_eq(scene.report.rcpt_count, 1);
        cr_expect_eq(scene.report.rcpts[0].code, is_far ? 0 : 550);
        close_scene(&scene);
        buf_fini(&raw);
    }
}
