/* test_author.c - the domain in From.
 *
 * Not covered here: arbitrary bytes (fuzz_dmarc.c).
 */
#include "base/limits.h"
#include "mail/author.h"

#include <criterion/criterion.h>
#include <stdio.h>

struct row {
    const char *value;
    const char *domain; /* NULL: there is none */
};

static void expect(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char block[4096];
        struct arena arena;
        struct slice domain = SLICE("");
        arena_init(&arena, 4096, AUTHOR_ARENA_BYTES);
        (void)snprintf(block, sizeof(block), "Subject: x\r\nFrom: %s\r\nTo: c@d.example\r\n\r\n",
                       rows[i].value);
        enum err err = author_domain(slice_str(block), &arena, &domain);
        if (rows[i].domain == NULL) {
            cr_expect_eq(err, ERR_INVALID, "%s: %.*s", rows[i].value, SLICE_FMT(domain));
        } else {
            cr_expect(err == ERR_OK && slice_equal(domain, slice_str(rows[i].domain)), "%s: %.*s",
                      rows[i].value, SLICE_FMT(domain));
        }
        arena_fini(&arena);
    }
}

Test(author, reads_the_forms_of_an_address)
{
    static const struct row rows[] = {
        {"a@b.example", "b.example"},
        {"<a@b.example>", "b.example"},
        {"A B <a@B.Example>", "b.example"},
        {"\"A, <x@y.example> B\" <a@b.example>", "b.example"},
        {"\"a@c.example\"@b.example", "b.example"},
        {"\"a \\\" b\"@b.example", "b.example"},
        {"a@b.example (c@d.example, (nested \\) ) <e@f.example>)", "b.example"},
        {"(c) a (c) @ (c) b.example (c)", "b.example"},
        {"=?utf-8?q?x=40y?= <a@b.example>", "b.example"},
        {"x@y.example <a@b.example>", "b.example"},
        {"A\r\n B\r\n\t<a@b.example>", "b.example"},
        {"<@x.example,@y.example:a@b.example>", "b.example"},
        {"a@b.example.", "b.example"},
        {"a@m\xc3\xbcnchen.example", "xn--mnchen-3ya.example"},
        {"\xc3\xa4@b.example", "b.example"},
        {"a@localhost", "localhost"},
        {"a@b_c.example", "b_c.example"},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(author, takes_several_authors_of_one_domain)
{
    static const struct row rows[] = {
        {"a@b.example, c@B.EXAMPLE", "b.example"},
        {",, a@b.example,,", "b.example"},
        {"Us: a@b.example, D <c@b.example>;", "b.example"},
        {"Us: a@b.example;, c@b.example", "b.example"},
        {"a@b.example, c@d.example", NULL},
        {"a@b.example, c@a.b.example", NULL},
        {"Us: a@b.example;, c@d.example", NULL},
        {"Us:;", NULL},
        {"Us: a@b.example", "b.example"},
        {"Us: Them: a@b.example;;", NULL},
        {"a@b.example;", NULL},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(author, refuses_what_could_be_read_in_two_ways)
{
    static const struct row rows[] = {
        {"", NULL},
        {"a", NULL},
        {"@b.example", NULL},
        {"a@", NULL},
        {"a@@b.example", NULL},
        {"a@b.example@c.example", NULL},
        {"<a@b.example", NULL},
        {"a@b.example>", NULL},
        {"<a@b.example> <c@d.example>", NULL},
        {"<a@b.example> c@d.example", NULL},
        {"<<a@b.example>>", NULL},
        {"a@b.example Name", NULL},
        {"\"a@b.example", NULL},
        {"(a@b.example", NULL},
        {"a@[192.0.2.1]", NULL},
        {"a@b..example", NULL},
        {"a@b.exa\"mple\"", NULL},
        {"a@b.example\\", NULL},
        {"a@b\x01.example", NULL},
        {"A \x7f <a@b.example>", NULL},
        {"a@m\xfcnchen.example", NULL},
        {"<@x.example a@b.example>", NULL},
        {"<a@b.example, c@b.example>", NULL},
        {"((((((((((((((((((((((((((((((((((((((((", NULL},
    };
    expect(rows, ARRAY_LEN(rows));
}

Test(author, wants_exactly_one_field)
{
    static const struct {
        const char *block;
        size_t len; /* 0: to its end */
        const char *domain;
    } rows[] = {
        {"To: a@b.example\r\n\r\n", 0, NULL},
        {"From: a@b.example\r\nFROM : a@b.example\r\n\r\n", 0, NULL},
        {"From: a@b.example\nTo: x\n\nFrom: c@d.example\n", 0, "b.example"},
        {"X-From: a@b.example\r\nfrom:a@c.example", 0, "c.example"},
        {"From: a@b.example\0\r\n\r\n", 22, NULL},
        {"", 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        struct slice domain = SLICE("");
        struct slice block =
            rows[i].len > 0 ? slice_of(rows[i].block, rows[i].len) : slice_str(rows[i].block);
        arena_init(&arena, 4096, AUTHOR_ARENA_BYTES);
        enum err err = author_domain(block, &arena, &domain);
        cr_expect_eq(err, rows[i].domain != NULL ? ERR_OK : ERR_INVALID, "%s", rows[i].block);
        cr_expect(rows[i].domain == NULL || slice_equal(domain, slice_str(rows[i].domain)), "%s",
                  rows[i].block);
        arena_fini(&arena);
    }
}

Test(author, bounds_the_number_and_the_size_of_authors)
{
    static char value[64 * 1024];
    struct arena arena;
    struct slice domain;

    for (uint32_t count = AUTHORS_MAX; count <= AUTHORS_MAX + 1; count++) {
        size_t len = (size_t)snprintf(value, sizeof(value), "From: ");
        for (uint32_t i = 0; i < count; i++) {
            len += (size_t)snprintf(value + len, sizeof(value) - len,
                                    "a%u@m\xc3\xbcnchen.example, ", i);
        }
        arena_init(&arena, 4096, AUTHOR_ARENA_BYTES);
        enum err err = author_domain(slice_of(value, len), &arena, &domain);
        cr_expect_eq(err, count <= AUTHORS_MAX ? ERR_OK : ERR_INVALID, "%u", count);
        arena_fini(&arena);
    }
    arena_init(&arena, 4096, AUTHOR_ARENA_BYTES);
    memset(value, 'x', sizeof(value));
    memcpy(value, "From: ", 6);
    cr_expect_eq(author_domain(slice_of(value, sizeof(value)), &arena, &domain), ERR_INVALID);
    /* A long name is nobody's business. */
    arena_clear(&arena);
    memcpy(value + sizeof(value) - 14, " <a@b.example>", 14);
    cr_expect_eq(author_domain(slice_of(value, sizeof(value)), &arena, &domain), ERR_OK);
    cr_expect(slice_equal(domain, SLICE("b.example")));
    arena_fini(&arena);
}
