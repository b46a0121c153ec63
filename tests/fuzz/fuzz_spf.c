/* fuzz_spf.c - an SPF check whose sender, HELO and every answer are the input's lines: questions
 * stay askable and within their ceiling, and the verdict is sound.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/spf.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORDS_MAX 16

static void check_question(const struct lookup_question *question)
{
    struct slice rest = question->name;

    CHECK(rest.len > 0 && rest.len <= DOMAIN_MAX);
    while (rest.data != NULL) {
        struct slice label = slice_cut(&rest, '.');
        CHECK(label.len > 0 && label.len <= 63);
        CHECK(slice_is_ascii(label) && !slice_has_control(label, ""));
    }
}

/* The first byte of a line says what comes of the look-up and how many lines are its records. */
static struct lookup_answer take_answer(struct slice *input, struct lookup_record *records)
{
    struct slice head = slice_cut(input, '\n');
    uint8_t kind = head.len > 0 ? (uint8_t)head.data[0] : 0;
    struct lookup_answer answer = {
        .outcome = (enum lookup_outcome)(kind / 16 % 8 < 4 ? kind / 16 % 4 : 0),
        .count = 1 + kind % RECORDS_MAX,
        .records = records,
    };
    records[0] = (struct lookup_record){.text = slice_from(head, 1)};
    for (uint32_t i = 0; i < answer.count; i++) {
        if (i > 0) {
            records[i] = (struct lookup_record){.text = slice_cut(input, '\n')};
        }
        err_ignore(ip6_parse(records[i].text, &records[i].ip)); /* most are no address */
    }
    return answer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);
    struct spf_input input = {.receiver = SLICE("mx.example"), .now_s = 1};
    struct lookup_record records[RECORDS_MAX];
    struct lookup_question question;
    struct arena arena;
    uint32_t asked = 0;

    input.mail_from = slice_cut(&rest, '\n');
    input.helo = slice_cut(&rest, '\n');
    bool is_v4 = ip6_parse(slice_cut(&rest, '\n'), &input.client) != ERR_OK;
    if (is_v4) {
        CHECK(ip6_parse(SLICE("192.0.2.1"), &input.client) == ERR_OK);
    }
    arena_init(&arena, 4096, SPF_ARENA_BYTES);
    struct spf *spf = spf_start(&arena, &input);
    while (spf_next(spf, &question)) {
        check_question(&question);
        CHECK(++asked <= 1 + 10 * 11 + 11 + 1);
        if (rest.data == NULL) {
            spf_stop(spf);
            continue;
        }
        struct lookup_answer answer = take_answer(&rest, records);
        spf_answer(spf, &answer);
    }
    const struct spf_verdict *verdict = spf_verdict(spf);
    CHECK(strlen(spf_result_text(verdict->result)) > 0);
    CHECK(verdict->explanation.len <= SPF_EXPLANATION_MAX);
    CHECK(!slice_has_control(verdict->explanation, "") && slice_is_ascii(verdict->explanation));
    CHECK(!slice_has_control(verdict->mechanism, "") && slice_is_ascii(verdict->mechanism));
    CHECK_IF(verdict->explanation.len > 0, verdict->result == SPF_FAIL);
    arena_fini(&arena);
    return 0;
}
