/* fuzz_report_read.c - any bytes as a mail that comes back: ceilings hold, addresses are clean, and
 * what it says makes a verdict that can be stored and judged.
 */
#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "mail/bounce_rules.h"
#include "mail/report_read.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(struct slice address)
{
    CHECK(address.len <= ADDR_MAX && !slice_has_control(address, ""));
    CHECK(address.len == 0 || slice_has_byte(address, '@'));
}

static void check_rcpt(const struct bounce_rules *rules, const struct report_rcpt *rcpt)
{
    struct verdict verdict;
    check_address(rcpt->final);
    check_address(rcpt->original);
    CHECK(rcpt->host.len <= DOMAIN_MAX && rcpt->status.len <= 9 && rcpt->code < 600);
    report_verdict(rcpt, &verdict);
    CHECK(strlen(verdict.text) < VERDICT_TEXT_MAX && slice_is_utf8(slice_str(verdict.text)));
    CHECK(verdict.enhanced[0] >= '2' && verdict.enhanced[0] <= '5');
    bounce_rules_judge_report(rules, rcpt->host, &verdict);
    CHECK(verdict.bounce != BOUNCE_NONE);
}

static void check_report(const struct bounce_rules *rules, const struct report_read *report)
{
    CHECK(report->rcpt_count <= REPORT_RCPTS_MAX && report->complainer_count <= REPORT_RCPTS_MAX);
    CHECK(report->token_count <= REPORT_TOKENS_MAX);
    for (uint32_t i = 0; i < report->rcpt_count; i++) {
        check_rcpt(rules, &report->rcpts[i]);
    }
    for (uint32_t i = 0; i < report->complainer_count; i++) {
        check_address(report->complainers[i]);
    }
    for (uint32_t i = 0; i < report->token_count; i++) {
        struct slice token;
        CHECK(report_token_find(report->tokens[i], &token) &&
              slice_equal(token, report->tokens[i]));
    }
    CHECK(report->kind == REPORT_COMPLAINT || !report->is_spam);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bounce_rules *rules;
    struct mime_read mail;
    struct report_read report;
    struct arena arena;
    struct arena texts;

    if (rules == NULL) {
        crypto_init();
        mime_read_init();
        bounce_rules_read(&rules, SLICE(""));
    }
    arena_init(&arena, 4096, MIME_READ_ARENA_BYTES);
    arena_init(&texts, 4096, 4 * MIB);
    CHECK(mime_read(slice_of(data, size), &arena, &mail) == ERR_OK);
    report_read(&mail, size % 2 == 0, &texts, &report);
    check_report(rules, &report);
    arena_fini(&texts);
    arena_fini(&arena);
    return 0;
}
