/* test_dmarc.c - records, walks, alignment and policies of DMARC.
 *
 * Not covered here: where the author's domain comes from (test_author.c), arbitrary bytes
 * (fuzz_dmarc.c).
 */
#include "base/limits.h"
#include "mail/dmarc.h"
#include "support/lookup_zone.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define A   LOOKUP_A
#define TXT LOOKUP_TXT
#define END                                                                                        \
    {                                                                                              \
        NULL, A, NULL                                                                              \
    }

#define NONE       DMARC_POLICY_NONE
#define QUARANTINE DMARC_POLICY_QUARANTINE
#define REJECT     DMARC_POLICY_REJECT

static struct arena arena;
static char asked[4096]; /* the names of one check, a space behind each */

static void setup(void)
{
    arena_init(&arena, 4096, DMARC_ARENA_BYTES);
}

static void teardown(void)
{
    arena_fini(&arena);
}

TestSuite(dmarc, .init = setup, .fini = teardown);

static struct dmarc_verdict judge(const struct zone_row *zone, const char *author,
                                  const struct dmarc_id *ids, uint32_t id_count)
{
    struct dmarc_input input = {.author = slice_str(author), .ids = ids, .id_count = id_count};
    struct lookup_question question;
    size_t len = 0;

    arena_clear(&arena);
    struct dmarc *dmarc = dmarc_start(&arena, &input);
    asked[0] = '\0';
    while (dmarc_next(dmarc, &question)) {
        struct zone_answer found;
        cr_assert(lookup_name_is_valid(question.name));
        cr_assert(len + question.name.len + 1 < sizeof(asked));
        len +=
            (size_t)snprintf(asked + len, sizeof(asked) - len, "%.*s ", SLICE_FMT(question.name));
        zone_look_up(zone, &question, &found);
        dmarc_answer(dmarc, &found.answer);
    }
    return *dmarc_verdict(dmarc);
}

/* ids: "dkim=a.example spf=b.example dkim!c.example": passed, or failed for now. */
static struct dmarc_verdict judge_text(const struct zone_row *zone, const char *author,
                                       const char *ids)
{
    struct dmarc_id list[64];
    uint32_t count = 0;
    struct slice rest = slice_str(ids);

    while (rest.len > 0) {
        struct slice word = slice_cut(&rest, ' ');
        bool is_dkim = slice_starts(word, SLICE("dkim"));
        char sign = word.data[is_dkim ? 4 : 3];
        list[count++] = (struct dmarc_id){
            .domain = slice_from(word, is_dkim ? 5 : 4),
            .outcome = sign == '='   ? DMARC_ID_PASS
                       : sign == '!' ? DMARC_ID_TEMPERROR
                                     : DMARC_ID_FAIL,
            .is_dkim = is_dkim,
        };
    }
    return judge(zone, author, list, count);
}

/* ---- records -------------------------------------------------------------------------------- */

Test(dmarc, tells_records_from_other_texts)
{
    static const struct {
        const char *text;
        bool is_record;
    } rows[] = {
        {"v=DMARC1", true},
        {"v=DMARC1;", true},
        {"v = DMARC1 ; p = none", true},
        {"V=DMARC1; p=none", true},
        {"v=DMARC1; p=none; p=reject", true},
        {"v=dmarc1; p=none", false},
        {"v=DMARC2; p=none", false},
        {"v=DMARC1 p=none", false},
        {"v=DMARC12", false},
        {" v=DMARC1; p=none", false},
        {";v=DMARC1; p=none", false},
        {"p=none; v=DMARC1", false},
        {"v", false},
        {"v=", false},
        {"", false},
        {"v=spf1 -all", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dmarc_record record;
        cr_expect_eq(dmarc_record_read(slice_str(rows[i].text), &record), rows[i].is_record, "'%s'",
                     rows[i].text);
    }
}

Test(dmarc, refuses_a_record_beyond_the_ceiling)
{
    static char text[DMARC_RECORD_MAX + 2];
    struct dmarc_record record;

    memset(text, ' ', sizeof(text) - 1);
    memcpy(text, "v=DMARC1;", 9);
    cr_expect(dmarc_record_read(slice_of(text, DMARC_RECORD_MAX), &record));
    cr_expect(!dmarc_record_read(slice_of(text, DMARC_RECORD_MAX + 1), &record));
}

Test(dmarc, reads_policies_with_their_defaults)
{
    static const struct {
        const char *tags;
        enum dmarc_policy p;
        enum dmarc_policy sp;
        enum dmarc_policy np;
        bool is_usable;
    } rows[] = {
        {"", NONE, NONE, NONE, true},
        {"p=reject", REJECT, REJECT, REJECT, true},
        {"p=REJECT;sp=None", REJECT, NONE, NONE, true},
        {"p=reject; sp=none; np=quarantine", REJECT, NONE, QUARANTINE, true},
        {"np=reject; p=none", NONE, NONE, REJECT, true},
        {"p=reject; p=none", REJECT, REJECT, REJECT, true},
        {"p=reject; pct=0; x=y; z; =; ;", REJECT, REJECT, REJECT, true},
        {"\tp\t=\treject\t", REJECT, REJECT, REJECT, true},
        /* misspelt: nothing applies, or "none" for who wants reports (4.10.1) */
        {"p=rejct", NONE, NONE, NONE, false},
        {"p=", NONE, NONE, NONE, false},
        {"p=reject; sp=x", NONE, NONE, NONE, false},
        {"p=reject; np=x", NONE, NONE, NONE, false},
        {"p=x; rua=nobody", NONE, NONE, NONE, false},
        {"p=x; rua=:a", NONE, NONE, NONE, false},
        {"p=x; rua=mailto:", NONE, NONE, NONE, false},
        {"p=x; rua=mail to:a@b.example", NONE, NONE, NONE, false},
        {"p=x; rua=mailto:a@b.example", NONE, NONE, NONE, true},
        {"p=reject; sp=x; rua=, mailto:a@b.example!10m", NONE, NONE, NONE, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        struct dmarc_record record;
        (void)snprintf(text, sizeof(text), "v=DMARC1; %s", rows[i].tags);
        cr_assert(dmarc_record_read(slice_str(text), &record), "%s", text);
        cr_expect_eq(record.policy, rows[i].p, "%s: p", text);
        cr_expect_eq(record.subdomain_policy, rows[i].sp, "%s: sp", text);
        cr_expect_eq(record.missing_policy, rows[i].np, "%s: np", text);
        cr_expect_eq(record.is_usable, rows[i].is_usable, "%s: usable", text);
    }
}

Test(dmarc, reads_the_other_tags)
{
    struct dmarc_record record;

    cr_assert(dmarc_record_read(SLICE("v=DMARC1; adkim=s; aspf=S; t=y; psd=y;"
                                      "rua= mailto:a@b.example,https://c.example ; ruf=mailto:d"),
                                &record));
    cr_expect(record.is_strict_dkim && record.is_strict_spf && record.is_testing);
    cr_expect_eq(record.psd, DMARC_PSD_YES);
    cr_expect(slice_equal(record.rua, SLICE("mailto:a@b.example,https://c.example")));
    cr_expect(slice_equal(record.ruf, SLICE("mailto:d")));
    cr_assert(dmarc_record_read(SLICE("v=DMARC1; adkim=x; aspf=r; t=n; psd=n"), &record));
    cr_expect(!record.is_strict_dkim && !record.is_strict_spf && !record.is_testing);
    cr_expect_eq(record.psd, DMARC_PSD_NO);
    cr_assert(dmarc_record_read(SLICE("v=DMARC1; t=yes; psd=u"), &record));
    cr_expect(!record.is_testing);
    cr_expect_eq(record.psd, DMARC_PSD_UNKNOWN);
}

/* ---- walks ---------------------------------------------------------------------------------- */

Test(dmarc, walks_up_in_eight_questions)
{
    static const struct zone_row zone[] = {END};
    static const struct {
        const char *author;
        const char *names;
    } rows[] = {
        {"a.b.c.d.e.f.g.h.i.j.mail.example.com",
         "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com _dmarc.g.h.i.j.mail.example.com "
         "_dmarc.h.i.j.mail.example.com _dmarc.i.j.mail.example.com _dmarc.j.mail.example.com "
         "_dmarc.mail.example.com _dmarc.example.com _dmarc.com "},
        {"1.2.3.4.5.6.7.8",
         "_dmarc.1.2.3.4.5.6.7.8 _dmarc.2.3.4.5.6.7.8 _dmarc.3.4.5.6.7.8 _dmarc.4.5.6.7.8 "
         "_dmarc.5.6.7.8 _dmarc.6.7.8 _dmarc.7.8 _dmarc.8 "},
        {"2.3.4.5.6.7.8",
         "_dmarc.2.3.4.5.6.7.8 _dmarc.3.4.5.6.7.8 _dmarc.4.5.6.7.8 _dmarc.5.6.7.8 _dmarc.6.7.8 "
         "_dmarc.7.8 _dmarc.8 "},
        {"Example.COM.", "_dmarc.example.com _dmarc.com "},
        {"m\xc3\xbcnchen.example", "_dmarc.xn--mnchen-3ya.example _dmarc.example "},
        {"localhost", "_dmarc.localhost "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dmarc_verdict verdict =
            judge_text(zone, rows[i].author, "dkim=other.test spf=other.test");
        cr_expect_eq(verdict.result, DMARC_NONE, "%s", rows[i].author);
        cr_expect_str_eq(asked, rows[i].names, "%s", rows[i].author);
    }
}

Test(dmarc, finds_the_record_that_applies)
{
    static const struct zone_row zone[] = {
        {"_dmarc.own.org.example", TXT, "v=DMARC1; p=quarantine; sp=none"},
        {"_dmarc.org.example", TXT, "v=DMARC1; p=reject; sp=quarantine; rua=mailto:r@org.example"},
        {"_dmarc.two.org.example", TXT, "v=DMARC1; p=none"},
        {"_dmarc.two.org.example", TXT, "v=DMARC1; p=none"},
        {"_dmarc.text.org.example", TXT, "verification=1"},
        {"_dmarc.bank", TXT, "v=DMARC1; p=reject; sp=none; psd=y"},
        {"_dmarc.with.bank", TXT, "v=DMARC1; p=quarantine"},
        {"_dmarc.island.org.example", TXT, "v=DMARC1; p=none; sp=none; psd=n"},
        {"_dmarc.tld", TXT, "v=DMARC1; p=quarantine"},
        END,
    };
    static const struct {
        const char *author;
        const char *where;
        enum dmarc_policy policy;
    } rows[] = {
        {"org.example", "org.example", REJECT},
        {"own.org.example", "own.org.example", QUARANTINE},
        {"a.own.org.example", "org.example", QUARANTINE},
        {"a.b.org.example", "org.example", QUARANTINE},
        {"two.org.example", "org.example", QUARANTINE},
        {"text.org.example", "org.example", QUARANTINE},
        {"bank", "bank", REJECT},
        {"some.bank", "bank", NONE},
        {"a.some.bank", "bank", NONE},
        {"with.bank", "with.bank", QUARANTINE},
        {"a.with.bank", "with.bank", QUARANTINE},
        {"a.island.org.example", "island.org.example", NONE},
        {"a.b.tld", "tld", QUARANTINE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dmarc_verdict verdict = judge_text(zone, rows[i].author, "");
        cr_expect_eq(verdict.result, DMARC_FAIL, "%s", rows[i].author);
        cr_expect(slice_equal(verdict.policy_domain, slice_str(rows[i].where)), "%s: %.*s",
                  rows[i].author, SLICE_FMT(verdict.policy_domain));
        cr_expect_eq(verdict.policy, rows[i].policy, "%s: %s", rows[i].author,
                     dmarc_policy_text(verdict.policy));
        cr_expect_eq(verdict.rua.len > 0, slice_equal(verdict.policy_domain, SLICE("org.example")));
    }
}

/* ---- alignment ------------------------------------------------------------------------------ */

Test(dmarc, aligns_domains_of_one_organization)
{
    static const struct zone_row zone[] = {
        {"_dmarc.org.example", TXT, "v=DMARC1; p=reject"},
        {"_dmarc.strict.org.example", TXT, "v=DMARC1; p=reject; adkim=s; aspf=s"},
        {"_dmarc.half.org.example", TXT, "v=DMARC1; p=reject; aspf=s"},
        {"_dmarc.island.org.example", TXT, "v=DMARC1; p=reject; psd=n"},
        {"_dmarc.suffix.org.example", TXT, "v=DMARC1; p=reject; psd=y"},
        {"_dmarc.bank", TXT, "v=DMARC1; p=reject; psd=y"},
        END,
    };
    static const struct {
        const char *author;
        const char *ids;
        const char *aligned; /* NULL: fail */
    } rows[] = {
        {"org.example", "", NULL},
        {"org.example", "dkim=org.example", "org.example"},
        {"org.example", "spf=ORG.example.", "org.example"},
        {"org.example", "dkim=a.b.org.example", "a.b.org.example"},
        {"a.org.example", "spf=org.example", "org.example"},
        {"a.org.example", "spf=b.org.example", "b.org.example"},
        {"a.org.example", "dkim=other.test spf=b.org.example", "b.org.example"},
        {"org.example", "dkim-org.example spf-org.example", NULL},
        {"org.example", "dkim=example", NULL},
        {"org.example", "dkim=xorg.example", NULL},
        {"org.example", "dkim=org.example.test", NULL},
        {"org.example", "dkim=com spf=other.test", NULL},
        {"strict.org.example", "dkim=org.example spf=a.strict.org.example", NULL},
        {"strict.org.example", "dkim=strict.org.example", "strict.org.example"},
        {"half.org.example", "spf=org.example", NULL},
        {"half.org.example", "spf=org.example dkim=org.example", "org.example"},
        /* an organization of its own below the author's */
        {"org.example", "dkim=island.org.example", NULL},
        {"org.example", "dkim=a.island.org.example", NULL},
        {"island.org.example", "dkim=org.example", NULL},
        {"a.island.org.example", "dkim=b.island.org.example", "b.island.org.example"},
        {"org.example", "dkim=a.suffix.org.example", NULL},
        {"a.suffix.org.example", "dkim=b.suffix.org.example", NULL},
        {"x.a.suffix.org.example", "dkim=y.a.suffix.org.example", "y.a.suffix.org.example"},
        /* neighbours under a public suffix */
        {"one.bank", "dkim=two.bank", NULL},
        {"one.bank", "dkim=bank", NULL},
        {"a.one.bank", "dkim=one.bank", "one.bank"},
        {"one.bank", "dkim=a.one.bank", "a.one.bank"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dmarc_verdict verdict = judge_text(zone, rows[i].author, rows[i].ids);
        enum dmarc_result want = rows[i].aligned != NULL ? DMARC_PASS : DMARC_FAIL;
        cr_expect_eq(verdict.result, want, "%s with %s: %s", rows[i].author, rows[i].ids,
                     dmarc_result_text(verdict.result));
        if (rows[i].aligned != NULL) {
            cr_expect(slice_equal(verdict.aligned, slice_str(rows[i].aligned)), "%s with %s",
                      rows[i].author, rows[i].ids);
        } else {
            cr_expect_eq(verdict.aligned.len, 0);
        }
    }
}

Test(dmarc, aligns_nothing_without_a_record)
{
    static const struct zone_row zone[] = {END};
    struct dmarc_verdict verdict = judge_text(zone, "org.example", "dkim=org.example");
    cr_expect_eq(verdict.result, DMARC_NONE);
    cr_expect_eq(verdict.policy_domain.len, 0);
}

Test(dmarc, asks_nothing_that_cannot_change_the_verdict)
{
    static const struct zone_row zone[] = {
        {"_dmarc.a.org.example", TXT, "v=DMARC1; p=reject; np=none"},
        {"_dmarc.org.example", TXT, "v=DMARC1; p=reject"},
        END,
    };
    static const struct {
        const char *ids;
        const char *names;
    } rows[] = {
        {"dkim=other.test dkim=a.org.example", "_dmarc.a.org.example "},
        {"", "_dmarc.a.org.example "},
        {"dkim=other.test", "_dmarc.a.org.example _dmarc.org.example _dmarc.example "},
        {"dkim=org.example", "_dmarc.a.org.example _dmarc.org.example _dmarc.example "},
        {"dkim=c.b.org.example spf=b.org.example",
         "_dmarc.a.org.example _dmarc.org.example _dmarc.example _dmarc.c.b.org.example "
         "_dmarc.b.org.example "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)judge_text(zone, "a.org.example", rows[i].ids);
        cr_expect_str_eq(asked, rows[i].names, "%s", rows[i].ids);
    }
}

Test(dmarc, bounds_what_many_signatures_cost)
{
    static const struct zone_row zone[] = {
        {"_dmarc.org.example", TXT, "v=DMARC1; p=reject"},
        {"_dmarc.i.org.example", TXT, "v=DMARC1; psd=n"},
        END,
    };
    struct dmarc_id ids[64];
    char names[64][64];

    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "a%zu.b%zu.c%zu.d%zu.i.org.example", i, i, i, i);
        ids[i] = (struct dmarc_id){slice_str(names[i]), DMARC_ID_PASS, true};
    }
    struct dmarc_verdict verdict = judge(zone, "org.example", ids, ARRAY_LEN(ids));
    cr_expect_eq(verdict.result, DMARC_FAIL);
    size_t count = 0;
    for (const char *at = asked; *at != '\0'; at++) {
        count += *at == ' ';
    }
    cr_expect_eq(count, 2 + 4 * DMARC_IDS_MAX + 1, "%zu", count);

    /* A domain that fails, repeated, takes no place. */
    for (size_t i = 0; i < ARRAY_LEN(ids) - 1; i++) {
        ids[i] =
            (struct dmarc_id){SLICE("other.test"), i % 2 ? DMARC_ID_PASS : DMARC_ID_FAIL, true};
    }
    ids[ARRAY_LEN(ids) - 1] = (struct dmarc_id){SLICE("org.example"), DMARC_ID_PASS, true};
    cr_expect_eq(judge(zone, "org.example", ids, ARRAY_LEN(ids)).result, DMARC_PASS);
}

/* ---- policies ------------------------------------------------------------------------------- */

Test(dmarc, takes_np_for_names_that_do_not_exist)
{
    static const struct zone_row zone[] = {
        {"_dmarc.org.example", TXT, "v=DMARC1; p=none; sp=quarantine; np=reject"},
        {"here.org.example", A, "192.0.2.1"},
        {"empty.org.example", A, "-"},
        {"down.org.example", A, "!"},
        END,
    };
    static const struct {
        const char *author;
        enum dmarc_result result;
        enum dmarc_policy policy;
    } rows[] = {
        {"org.example", DMARC_FAIL, NONE},
        {"here.org.example", DMARC_FAIL, QUARANTINE},
        {"empty.org.example", DMARC_FAIL, QUARANTINE},
        {"gone.org.example", DMARC_FAIL, REJECT},
        {"down.org.example", DMARC_TEMPERROR, NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dmarc_verdict verdict = judge_text(zone, rows[i].author, "dkim=other.test");
        cr_expect_eq(verdict.result, rows[i].result, "%s", rows[i].author);
        cr_expect_eq(verdict.policy, rows[i].policy, "%s: %s", rows[i].author,
                     dmarc_policy_text(verdict.policy));
    }
    cr_expect_eq(judge_text(zone, "down.org.example", "dkim=org.example").result, DMARC_PASS);
}

Test(dmarc, asks_for_one_level_less_while_testing)
{
    static const struct zone_row zone[] = {
        {"_dmarc.r.example", TXT, "v=DMARC1; p=reject; t=y"},
        {"_dmarc.q.example", TXT, "v=DMARC1; p=quarantine; t=y"},
        {"_dmarc.n.example", TXT, "v=DMARC1; p=none; t=y"},
        END,
    };
    static const struct {
        const char *author;
        enum dmarc_policy published;
        enum dmarc_policy policy;
    } rows[] = {
        {"r.example", REJECT, QUARANTINE},
        {"q.example", QUARANTINE, NONE},
        {"n.example", NONE, NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dmarc_verdict verdict = judge_text(zone, rows[i].author, "");
        cr_expect_eq(verdict.result, DMARC_FAIL);
        cr_expect(verdict.is_testing);
        cr_expect_eq(verdict.published, rows[i].published);
        cr_expect_eq(verdict.policy, rows[i].policy);
    }
}

Test(dmarc, does_not_decide_while_something_is_unknown)
{
    static const struct zone_row zone[] = {
        {"_dmarc.down.example", TXT, "!"},
        {"_dmarc.org.example", TXT, "v=DMARC1; p=reject"},
        {"_dmarc.down.org.example", TXT, "!"},
        {"_dmarc.a.half.test", TXT, "v=DMARC1; p=reject"},
        {"_dmarc.half.test", TXT, "!"},
        {"_dmarc.strict.test", TXT, "v=DMARC1; p=reject; adkim=s"},
        END,
    };
    static const struct {
        const char *author;
        const char *ids;
        enum dmarc_result result;
    } rows[] = {
        {"down.example", "dkim=down.example", DMARC_TEMPERROR},
        {"a.down.example", "", DMARC_TEMPERROR},
        {"org.example", "dkim=a.down.org.example", DMARC_TEMPERROR},
        {"org.example", "dkim=a.down.org.example spf=org.example", DMARC_PASS},
        {"org.example", "dkim!org.example", DMARC_TEMPERROR},
        {"org.example", "spf!a.org.example", DMARC_TEMPERROR},
        {"org.example", "dkim!org.example spf=org.example", DMARC_PASS},
        {"org.example", "dkim!other.test", DMARC_FAIL},
        {"strict.test", "dkim!a.strict.test", DMARC_FAIL},
        {"strict.test", "dkim!strict.test", DMARC_TEMPERROR},
        /* the author's own record is enough for its own signature */
        {"a.half.test", "dkim=a.half.test", DMARC_PASS},
        {"a.half.test", "", DMARC_FAIL},
        {"a.half.test", "dkim=b.half.test", DMARC_TEMPERROR},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dmarc_verdict verdict = judge_text(zone, rows[i].author, rows[i].ids);
        cr_expect_eq(verdict.result, rows[i].result, "%s with %s: %s", rows[i].author, rows[i].ids,
                     dmarc_result_text(verdict.result));
        cr_expect_eq(verdict.problem.len > 0, rows[i].result == DMARC_TEMPERROR);
    }
}

Test(dmarc, calls_what_nobody_can_use_an_error)
{
    static char deep[300];
    static const struct zone_row zone[] = {
        {"_dmarc.bad.example", TXT, "v=DMARC1; p=rejct"},
        {"_dmarc.told.example", TXT, "v=DMARC1; p=rejct; rua=mailto:a@told.example"},
        END,
    };
    cr_expect_eq(judge_text(zone, "bad.example", "dkim=bad.example").result, DMARC_PERMERROR);
    cr_expect_eq(judge_text(zone, "a.bad.example", "").result, DMARC_PERMERROR);
    struct dmarc_verdict told = judge_text(zone, "told.example", "");
    cr_expect_eq(told.result, DMARC_FAIL);
    cr_expect_eq(told.policy, NONE);
    static const char *const authors[] = {
        "", ".", "a..example", "a\\b.example", "a\nb.example", "m\xfcnchen.example"};
    for (size_t i = 0; i < ARRAY_LEN(authors); i++) {
        struct dmarc_verdict verdict = judge_text(zone, authors[i], "");
        cr_expect_eq(verdict.result, DMARC_PERMERROR, "'%s'", authors[i]);
        cr_expect_str_eq(asked, "");
    }
    /* A name for which there is no room in front. */
    for (size_t i = 0; i < 250; i++) {
        deep[i] = i % 2 ? '.' : 'a';
    }
    deep[250] = 'b';
    cr_expect_eq(judge_text(zone, deep, "").result, DMARC_NONE);
    cr_expect(slice_starts(slice_str(asked), SLICE("_dmarc.a.a.a.a.a.a.b ")), "%s", asked);
}

Test(dmarc, can_be_stopped_at_any_question)
{
    static const struct zone_row zone[] = {
        {"_dmarc.org.example", TXT, "v=DMARC1; p=reject; np=none"},
        END,
    };
    struct dmarc_id id = {SLICE("b.org.example"), DMARC_ID_TEMPERROR, false};
    struct dmarc_input input = {.author = SLICE("a.org.example"), .ids = &id};
    struct lookup_question question;

    for (uint32_t stop_at = 0; stop_at < 4; stop_at++) {
        arena_clear(&arena);
        struct dmarc *dmarc = dmarc_start(&arena, &input);
        for (uint32_t i = 0; i < stop_at; i++) {
            struct zone_answer found;
            cr_assert(dmarc_next(dmarc, &question));
            zone_look_up(zone, &question, &found);
            dmarc_answer(dmarc, &found.answer);
        }
        cr_assert(dmarc_next(dmarc, &question));
        dmarc_stop(dmarc);
        cr_expect(!dmarc_next(dmarc, &question));
        cr_expect_eq(dmarc_verdict(dmarc)->result, DMARC_TEMPERROR);
        dmarc_stop(dmarc);
    }
    cr_expect_eq(question.type, LOOKUP_A);
}

Test(dmarc, decides_nothing_when_others_filled_its_arena)
{
    static const struct zone_row zone[] = {
        {"_dmarc.org.example", TXT, "v=DMARC1; p=reject"},
        END,
    };
    struct dmarc_input input = {.author = SLICE("org.example")};
    struct lookup_question question;
    struct zone_answer found;

    struct dmarc *dmarc = dmarc_start(&arena, &input);
    while (arena_try(&arena, 16) != NULL) {
    }
    cr_assert(dmarc_next(dmarc, &question));
    zone_look_up(zone, &question, &found);
    dmarc_answer(dmarc, &found.answer);
    cr_expect_eq(dmarc_verdict(dmarc)->result, DMARC_TEMPERROR);
}

Test(dmarc, names_results_and_policies)
{
    cr_expect_str_eq(dmarc_result_text(DMARC_NONE), "none");
    cr_expect_str_eq(dmarc_result_text(DMARC_PASS), "pass");
    cr_expect_str_eq(dmarc_result_text(DMARC_FAIL), "fail");
    cr_expect_str_eq(dmarc_result_text(DMARC_TEMPERROR), "temperror");
    cr_expect_str_eq(dmarc_result_text(DMARC_PERMERROR), "permerror");
    cr_expect_str_eq(dmarc_policy_text(REJECT), "reject");
}
