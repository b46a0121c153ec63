/* fuzz_dmarc.c - a DMARC check whose From field, authenticated domains and every answer come from
 * the input: the author's domain is one that can be looked up, questions are askable, few and never
 * repeated, and a pass names one of the domains given.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/author.h"
#include "mail/dmarc.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IDS_MAX       20
#define QUESTIONS_MAX (DMARC_WALK_MAX + DMARC_IDS_MAX * (DMARC_WALK_MAX - 1) + 1)

/* A line: what is known of it, then the domain. */
static uint32_t take_ids(struct slice *input, struct dmarc_id *ids)
{
    uint32_t count = 0;

    while (input->data != NULL && count < IDS_MAX) {
        struct slice line = slice_cut(input, '\n');
        if (line.len == 0) {
            break;
        }
        uint8_t kind = (uint8_t)line.data[0];
        ids[count++] = (struct dmarc_id){
            .domain = slice_from(line, 1),
            .outcome = (enum dmarc_outcome)(kind / 2 % 3),
            .is_dkim = kind % 2 != 0,
        };
    }
    return count;
}

static void answer(struct dmarc *dmarc, struct slice *input)
{
    struct slice line = slice_cut(input, '\n');
    uint8_t kind = line.len > 0 ? (uint8_t)line.data[0] : 0;
    struct lookup_record records[2] = {{.text = slice_from(line, 1)},
                                       {.text = slice_from(line, 2)}};
    struct lookup_answer found = {
        .outcome = (enum lookup_outcome)(kind % 8 < 4 ? kind % 4 : 0),
        .count = 1 + kind / 8 % 2,
        .records = records,
    };
    dmarc_answer(dmarc, &found);
}

static void check(struct slice author, struct slice input, struct arena *arena)
{
    struct dmarc_id ids[IDS_MAX];
    struct dmarc_input start = {.author = author, .ids = ids};
    struct lookup_question question;
    char names[QUESTIONS_MAX][DOMAIN_MAX];
    size_t lens[QUESTIONS_MAX];
    uint32_t asked = 0;

    start.id_count = take_ids(&input, ids);
    struct dmarc *dmarc = dmarc_start(arena, &start);
    while (dmarc_next(dmarc, &question)) {
        CHECK(lookup_name_is_valid(question.name));
        CHECK(asked < QUESTIONS_MAX);
        for (uint32_t i = 0; i < asked; i++) {
            CHECK(!slice_equal(slice_of(names[i], lens[i]), question.name));
        }
        memcpy(names[asked], question.name.data, question.name.len);
        lens[asked++] = question.name.len;
        if (input.data == NULL) {
            dmarc_stop(dmarc);
        } else {
            answer(dmarc, &input);
        }
    }
    const struct dmarc_verdict *verdict = dmarc_verdict(dmarc);
    CHECK(strlen(dmarc_result_text(verdict->result)) > 0);
    CHECK(strlen(dmarc_policy_text(verdict->policy)) > 0);
    CHECK((verdict->result == DMARC_PASS) == (verdict->aligned.len > 0));
    CHECK_IF(verdict->policy != DMARC_POLICY_NONE, verdict->result == DMARC_FAIL);
    CHECK(verdict->policy <= verdict->published);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of(data, size);
    struct slice author = SLICE("a.b.c.org.example");
    struct arena arena;

    arena_init(&arena, 4096, AUTHOR_ARENA_BYTES + DMARC_ARENA_BYTES);
    size_t header = slice_find(input, SLICE("\n\n"));
    if (header != SIZE_MAX && author_domain(slice_head(input, header), &arena, &author) == ERR_OK) {
        CHECK(lookup_name_is_valid(author));
    }
    check(author, header != SIZE_MAX ? slice_from(input, header + 2) : input, &arena);
    arena_fini(&arena);
    return 0;
}
