/* test_bounce_rules.c - what the answers of mail servers mean, and how rules are read.
 *
 * Not covered here: what a class does to a delivery (shards/test_claim, shards/test_report).
 */
#include "mail/bounce_rules.h"

#include "base/limits.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define GOOGLE  "gmail-smtp-in.l.google.com"
#define OUTLOOK "example-com.mail.protection.outlook.com"
#define YAHOO   "mta5.am0.yahoodns.net"

struct said {
    const char *host;
    uint16_t code;
    const char *enhanced;
    const char *text;
    const char *word;
};

static struct verdict verdict_of(uint16_t code, const char *enhanced, const char *text)
{
    struct verdict verdict;
    verdict_from_reply(&verdict, SMTP_STEP_RCPT, code, slice_str(enhanced), slice_str(text));
    return verdict;
}

static struct bounce_rules *rules_of(const char *text)
{
    char reason[BOUNCE_REASON_MAX] = "";
    struct bounce_rules *rules = bounce_rules_new(slice_str(text), reason);
    cr_assert_not_null(rules, "%s", reason);
    return rules;
}

static void expect(const struct said *rows, size_t count)
{
    struct bounce_rules *rules = rules_of("");
    for (size_t i = 0; i < count; i++) {
        const struct said *row = &rows[i];
        struct verdict verdict = verdict_of(row->code, row->enhanced, row->text);
        enum bounce_class class = bounce_rules_find(rules, slice_str(row->host), &verdict);
        cr_expect_str_eq(bounce_traits(class)->word, row->word, "%s: %u %s %s", row->host,
                         (unsigned)row->code, row->enhanced, row->text);
    }
    bounce_rules_free(rules);
}

Test(bounce_rules, know_who_is_gone)
{
    const struct said rows[] = {
        {GOOGLE, 550, "5.1.1",
         "The email account that you tried to reach does not exist. Please try\n"
         "double-checking the recipient's email address for typos or\nunnecessary spaces.",
         "hard"},
        {OUTLOOK, 550, "5.4.1",
         "Recipient address rejected: Access denied. [AM0EUR02FT010.eop-EUR02.prod]", "hard"},
        {OUTLOOK, 550, "5.1.10",
         "RESOLVER.ADR.RecipientNotFound; Recipient bob@example.com not found by SMTP address "
         "lookup",
         "hard"},
        {"outlook-com.olc.protection.outlook.com", 550, "5.5.0",
         "Requested action not taken: mailbox unavailable (S2017062302).", "hard"},
        {YAHOO, 554, "",
         "delivery error: dd This user doesn't have a yahoo.com account (bob@yahoo.com) [0]",
         "hard"},
        {"mx01.mail.icloud.com", 550, "5.1.1", "<bob@icloud.com>: user does not exist", "hard"},
        {"mx00.emig.gmx.net", 550, "", "Requested action not taken: mailbox unavailable", "hard"},
        {"mxs.mail.ru", 550, "",
         "Message was not accepted -- invalid mailbox. Local mailbox "
         "bob@mail.ru is unavailable: user not found",
         "hard"},
        {"mx0a.pphosted.com", 550, "5.1.1", "User Unknown", "hard"},
        {"eu-smtp-inbound-1.mimecast.com", 550, "",
         "Invalid Recipient - "
         "https://community.mimecast.com/docs",
         "hard"},
        {"esa1.example.iphmx.com", 550, "", "#5.1.0 Address rejected.", "hard"},
        {"mx.example.org", 550, "5.1.1",
         "<bob@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
         "hard"},
        {"mx.example.org", 550, "", "Unrouteable address", "hard"},
        {"mx.example.org", 550, "", "no mailbox by that name is currently available", "hard"},
        {"mx.example.org", 551, "", "User not local; please try <bob@example.net>", "relay"},
        {"mx.example.org", 550, "5.1.1", "<spam@example.org>... User unknown", "hard"},
        {"", 556, "", "this domain takes no mail", "hard"},
        {GOOGLE, 550, "5.2.1", "The email account that you tried to reach is disabled.",
         "inactive"},
        {YAHOO, 554, "",
         "delivery error: dd Sorry, your message to bob@yahoo.com cannot be "
         "delivered. This mailbox is disabled (554.30).\nThis account has been "
         "disabled or discontinued",
         "inactive"},
        {"mx.example.org", 550, "5.2.1", "mailbox disabled, not accepting messages", "inactive"},
        {"mx.example.org", 550, "", "Account has been suspended", "inactive"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(bounce_rules, know_what_is_about_us_and_not_about_the_address)
{
    const struct said rows[] = {
        {OUTLOOK, 550, "5.7.1",
         "Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet "
         "service provider since part of their network is on our block list (S3140).",
         "block"},
        {OUTLOOK, 550, "5.7.606", "Access denied, banned sending IP [192.0.2.1]", "block"},
        {"mx.example.org", 554, "5.7.1",
         "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "block"},
        {"mx.example.org", 550, "5.1.1", "rejected, 192.0.2.1 is listed in our blacklist", "block"},
        {"x.iphmx.com", 554, "",
         "Your access to this mail system has been rejected due to the "
         "sending MTA's poor reputation.",
         "block"},
        {"mx.example.org", 554, "5.7.1", "Message rejected because it looks like spam",
         "spam_content"},
        {"mxs.mail.ru", 550, "", "spam message rejected. Please visit http://help.mail.ru/",
         "spam_content"},
        {"mx.example.org", 552, "5.7.0", "Virus found: Eicar-Test-Signature", "spam_content"},
        {GOOGLE, 550, "5.7.26",
         "This message does not have authentication information or fails to\npass authentication "
         "checks.",
         "auth"},
        {YAHOO, 554, "5.7.9",
         "Message not accepted due to domain owner policy regarding "
         "unauthenticated mail",
         "auth"},
        {"mx.example.org", 550, "5.7.1", "SPF check failed", "auth"},
        {"mx.example.org", 550, "5.7.25", "no PTR record", "auth"},
        {"mx.example.org", 550, "5.1.8", "Sender address rejected: Domain not found", "policy"},
        {"mx.example.org", 550, "", "Sender verify failed", "policy"},
        {"mx.example.org", 550, "5.7.1", "Recipient address rejected: no such user here, go away",
         "policy"},
        {OUTLOOK, 550, "5.7.1", "RESOLVER.RST.AuthRequired; authentication required", "policy"},
        {"mx.example.org", 554, "5.7.1", "<bob@example.org>: Relay access denied", "relay"},
        {"mx.example.org", 553, "5.7.1", "sorry, that domain isn't in my list of allowed rcpthosts",
         "relay"},
        {"mx.example.org", 552, "5.3.4", "Message size exceeds fixed limit", "size"},
        {"mx.example.org", 530, "5.7.0", "Must issue a STARTTLS command first", "tls"},
        {"mx.example.org", 501, "5.5.4", "Syntax: MAIL FROM", "protocol"},
        {"mx.example.org", 550, "5.4.4", "Host not found", "dns"},
        {"mx.example.org", 554, "", "Transaction failed", "other"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(bounce_rules, know_what_passes)
{
    const struct said rows[] = {
        {GOOGLE, 452, "4.2.2", "The email account that you tried to reach is over quota.",
         "mailbox_full"},
        {GOOGLE, 552, "5.2.2", "The recipient's inbox is out of storage space.", "mailbox_full"},
        {"mx.example.org", 552, "5.2.2", "Mailbox is full", "mailbox_full"},
        {"mx.example.org", 550, "", "Quota exceeded (mailbox for user is full)", "mailbox_full"},
        {GOOGLE, 421, "4.7.28", "Our system has detected an unusual rate of unsolicited mail",
         "rate"},
        {GOOGLE, 450, "4.2.1", "The user you are trying to contact is receiving mail too quickly.",
         "rate"},
        {YAHOO, 421, "4.7.0",
         "[TSS04] Messages from 192.0.2.1 temporarily deferred due to user "
         "complaints",
         "rate"},
        {"mx.example.org", 450, "4.7.1", "Error: too many connections from your host", "rate"},
        {"mx.example.org", 450, "4.2.0",
         "<bob@example.org>: Recipient address rejected: Greylisted, see "
         "http://postgrey.schweikert.ch/help",
         "greylist"},
        {"mx.example.org", 451, "4.7.1", "Greylisting in action, please come back later",
         "greylist"},
        {"mx.example.org", 450, "4.1.1", "user unknown in relay recipient table", "soft"},
        {"mx.example.org", 451, "4.3.0", "Temporary lookup failure", "soft"},
        {"mx.example.org", 421, "", "Service not available", "soft"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(bounce_rules, know_our_own_words)
{
    struct bounce_rules *rules = rules_of("");
    const struct {
        const char *enhanced;
        const char *text;
        enum verdict_class class;
        const char *word;
    } rows[] = {
        {"5.1.10", "the recipient's domain takes no mail", VERDICT_BOUNCED, "hard"},
        {"5.1.2", "the recipient's domain does not exist", VERDICT_BOUNCED, "dns"},
        {"4.4.3", "the domain's MX records could not be looked up", VERDICT_DEFERRED, "dns"},
        {"4.4.1", "connection refused", VERDICT_DEFERRED, "soft"},
        {"4.7.5", "the certificate is not the one that DANE asks for", VERDICT_DEFERRED, "tls"},
        {"5.7.30", "REQUIRETLS is not offered", VERDICT_BOUNCED, "tls"},
        {"5.3.4", "the mail is larger than the server accepts", VERDICT_BOUNCED, "size"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verdict verdict;
        verdict_own(&verdict, SMTP_STEP_CONNECT, rows[i].class, rows[i].enhanced, rows[i].text);
        bounce_rules_judge(rules, SLICE(""), &verdict);
        cr_expect_str_eq(bounce_traits(verdict.bounce)->word, rows[i].word, "%s", rows[i].text);
        cr_expect_eq(verdict.class, rows[i].class);
    }
    bounce_rules_free(rules);
}

Test(bounce_rules, only_two_classes_leave_an_address_alone)
{
    for (int i = 0; i < BOUNCE_CLASS_COUNT; i++) {
        const struct bounce_traits *traits = bounce_traits((enum bounce_class)i);
        bool is_gone = i == BOUNCE_HARD || i == BOUNCE_INACTIVE;
        cr_expect_eq(traits->suppresses, is_gone, "%s", traits->word);
        cr_expect_eq(strcmp(traits->type, "Permanent") == 0, is_gone, "%s", traits->word);
        cr_expect_eq(is_gone && traits->fault != BOUNCE_FAULT_RECIPIENT, false);
        if (i != BOUNCE_NONE) {
            cr_expect_eq(bounce_class_of(slice_str(traits->word)), (enum bounce_class)i);
        }
    }
    cr_expect_eq(bounce_class_of(SLICE("")), BOUNCE_NONE);
    cr_expect_eq(bounce_class_of(SLICE("Hard")), BOUNCE_NONE);
}

Test(bounce_rules, a_refusal_for_good_that_means_not_now_is_tried_again)
{
    struct bounce_rules *rules = rules_of("");
    struct verdict verdict = verdict_of(550, "5.7.1", "You are greylisted, try again in 5 minutes");
    cr_assert_eq(verdict.class, VERDICT_BOUNCED);
    bounce_rules_judge(rules, SLICE("mx.example.org"), &verdict);
    cr_expect_eq(verdict.class, VERDICT_DEFERRED);
    cr_expect_eq(verdict.bounce, BOUNCE_GREYLIST);
    verdict = verdict_of(550, "5.1.1", "no such user");
    bounce_rules_judge(rules, SLICE("mx.example.org"), &verdict);
    cr_expect_eq(verdict.class, VERDICT_BOUNCED);
    verdict = verdict_of(250, "2.1.5", "no such user");
    bounce_rules_judge(rules, SLICE("mx.example.org"), &verdict);
    cr_expect_eq(verdict.bounce, BOUNCE_NONE, "a success is none");
    bounce_rules_free(rules);
}

Test(bounce_rules, rules_of_the_operator_come_first)
{
    struct bounce_rules *rules = rules_of("# ours\r\n"
                                          "\r\n"
                                          "  soft *.example.org|mx.example.net 55? 5.1.1 *\n"
                                          "policy\t*\t554\t*\t\"a  *b|go away?\"\n");
    struct verdict verdict = verdict_of(550, "5.1.1", "no such user");
    cr_expect_eq(bounce_rules_find(rules, SLICE("MX.Example.ORG"), &verdict), BOUNCE_SOFT);
    cr_expect_eq(bounce_rules_find(rules, SLICE("mx.example.net"), &verdict), BOUNCE_SOFT);
    cr_expect_eq(bounce_rules_find(rules, SLICE("mx.example.com"), &verdict), BOUNCE_HARD);
    verdict = verdict_of(554, "", "please GO\n  aWay! now");
    cr_expect_eq(bounce_rules_find(rules, SLICE(""), &verdict), BOUNCE_POLICY);
    verdict = verdict_of(554, "", "go away");
    cr_expect_eq(bounce_rules_find(rules, SLICE(""), &verdict), BOUNCE_OTHER, "? is one byte");
    bounce_rules_free(rules);
}

Test(bounce_rules, a_line_that_cannot_be_read_is_named)
{
    const struct {
        const char *text;
        const char *line;
    } rows[] = {
        {"soft * * * *\nnonsense * * * *", "line 2: a rule begins with a class"},
        {"hard * 550 5.1.1", "line 1: a rule has five columns"},
        {"hard", "line 1: a rule has five columns"},
        {"\n\n# x\nhard * 550 5.1.1 \"\"", "line 4: a rule has five columns"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char reason[BOUNCE_REASON_MAX] = "";
        cr_expect_null(bounce_rules_new(slice_str(rows[i].text), reason), "%s", rows[i].text);
        cr_expect_eq(strncmp(reason, rows[i].line, strlen(rows[i].line)), 0, "%s", reason);
    }
    char reason[BOUNCE_REASON_MAX] = "";
    cr_expect_null(bounce_rules_open(SLICE("/nonexistent/rules"), reason));
    cr_expect_eq(strncmp(reason, "it cannot be read", 17), 0, "%s", reason);
}

Test(bounce_rules, their_number_and_length_have_ceilings)
{
    static char text[BOUNCE_RULES_MAX * 16];
    char reason[BOUNCE_REASON_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; i <= BOUNCE_RULES_MAX && len < sizeof text - 16; i++) {
        memcpy(text + len, "soft * * * *\n", 13);
        len += 13;
    }
    cr_expect_null(bounce_rules_new(slice_of(text, len), reason));
    cr_expect_not_null(strstr(reason, "too many rules"), "%s", reason);
    memset(text, '|', BOUNCE_RULE_BYTES + 1);
    memcpy(text, "soft * * * x", 12);
    cr_expect_null(bounce_rules_new(slice_of(text, BOUNCE_RULE_BYTES + 1), reason));
    cr_expect_null(bounce_rules_new(slice_of(text, BOUNCE_RULE_BYTES), reason),
                   "alternatives grow");
    memset(text, '*', BOUNCE_RULE_BYTES);
    memcpy(text, "soft * * * x", 12);
    struct bounce_rules *rules = bounce_rules_new(slice_of(text, BOUNCE_RULE_BYTES), reason);
    cr_assert_not_null(rules, "%s", reason);
    struct verdict verdict = verdict_of(554, "", "no such thing");
    cr_expect_eq(bounce_rules_find(rules, SLICE(""), &verdict), BOUNCE_OTHER);
    bounce_rules_free(rules);
}
