/* spf_rig.h - SPF checks against a scripted zone, as tables.
 *
 * Every question is checked for what a resolver may be asked, and every check for the ceiling of
 * questions that spf.h promises.
 */
#ifndef SPF_RIG_H
#define SPF_RIG_H

#include "base/limits.h"
#include "mail/spf.h"
#include "support/lookup_zone.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define QUESTIONS_MAX (1 + 10 * 11 + 11 + 1)

struct spf_case {
    const char *name;
    const char *client;
    const char *from;
    enum spf_result result;
    const char *explanation; /* NULL: none wanted, none looked at */
    const char *helo;        /* NULL: mail.example.com */
};

struct spf_rig {
    struct arena arena;
    struct spf_verdict verdict;
    uint32_t question_count;
    char last_question[256]; /* the last name asked for */
};

static inline void check_question(const struct lookup_question *question)
{
    struct slice rest = question->name;
    cr_assert(rest.len > 0 && rest.len <= DOMAIN_MAX);
    while (rest.data != NULL) {
        struct slice label = slice_cut(&rest, '.');
        cr_assert(label.len > 0 && label.len <= 63, "'%.*s'", SLICE_FMT(question->name));
    }
    cr_assert(slice_is_ascii(question->name));
    cr_assert(!slice_has_control(question->name, ""));
}

static inline void rig_judge(struct spf_rig *rig, const struct zone_row *zone,
                             const struct spf_input *input)
{
    struct lookup_question question;

    arena_init(&rig->arena, 4096, SPF_ARENA_BYTES);
    rig->question_count = 0;
    struct spf *spf = spf_start(&rig->arena, input);
    while (spf_next(spf, &question)) {
        struct zone_answer found;
        check_question(&question);
        rig->question_count++;
        cr_assert(rig->question_count <= QUESTIONS_MAX);
        (void)snprintf(rig->last_question, sizeof(rig->last_question), "%.*s",
                       SLICE_FMT(question.name));
        zone_look_up(zone, &question, &found);
        spf_answer(spf, &found.answer);
    }
    rig->verdict = *spf_verdict(spf);
}

static inline void rig_end(struct spf_rig *rig)
{
    arena_fini(&rig->arena);
}

static inline struct spf_input rig_input(const struct spf_case *row)
{
    struct spf_input input = {
        .helo = slice_str(row->helo != NULL ? row->helo : "mail.example.com"),
        .mail_from = slice_str(row->from),
        .receiver = SLICE("mx.receiver.example"),
        .now_s = 1790000000,
    };
    cr_assert_eq(ip6_parse(slice_str(row->client), &input.client), ERR_OK, "%s", row->name);
    return input;
}

static inline void expect_spf(const struct zone_row *zone, const struct spf_case *rows,
                              size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct spf_case *row = &rows[i];
        struct spf_rig rig;
        struct spf_input input = rig_input(row);
        rig_judge(&rig, zone, &input);
        const struct spf_verdict *verdict = &rig.verdict;
        cr_expect_eq(verdict->result, row->result, "%s: %s (%.*s)", row->name,
                     spf_result_text(verdict->result), SLICE_FMT(verdict->problem));
        bool is_error = verdict->result == SPF_TEMPERROR || verdict->result == SPF_PERMERROR;
        cr_expect_eq(verdict->problem.len > 0, is_error, "%s: problem", row->name);
        if (row->explanation != NULL) {
            cr_expect(slice_equal(verdict->explanation, slice_str(row->explanation)), "%s: '%.*s'",
                      row->name, SLICE_FMT(verdict->explanation));
        }
        rig_end(&rig);
    }
}

#endif
