/* test_track_html.c - HTML that is rewritten: what changes, and that nothing else does.
 *
 * Not covered here: tokens (test_track_link), any bytes at all (tests/fuzz/fuzz_track_html).
 */
#include <criterion/criterion.h>

#include "mail/track_html.h"

#include <stdlib.h>
#include <string.h>

static const struct seal_key key = {.bytes = {4, 5, 6}};

/* The rewritten html with tokens as "[c:address]" and "[o]", so that cases stay readable. */
static struct slice run(const struct track_html *how, struct slice html, struct arena *arena)
{
    struct buf raw;
    struct buf out;
    buf_init(&raw, html.len + TRACK_GROWTH_MAX);
    buf_init(&out, html.len + TRACK_GROWTH_MAX);
    (void)track_html_rewrite(how, html, &raw); /* the counts have a test of their own */
    cr_assert_eq(buf_err(&raw), ERR_OK);
    struct slice rest = buf_slice(&raw);
    size_t at;
    while ((at = slice_find(rest, SLICE("https://t.example/t/"))) != SIZE_MAX) {
        struct slice tail = slice_from(rest, at + sizeof("https://t.example/t/") - 1);
        struct slice token = slice_from(tail, 2);
        token = slice_head(token, slice_find_byte(token, '"'));
        struct track_ref ref = {.kind = tail.data[0] == 'o' ? TRACK_OPEN : TRACK_CLICK};
        buf_add(&out, slice_head(rest, at));
        cr_assert(track_token_read(&key, token, arena, &ref));
        cr_assert(id_equal(ref.mail, how->mail));
        buf_add_str(&out, ref.kind == TRACK_OPEN ? "[o]" : "[c:");
        if (ref.kind == TRACK_CLICK) {
            buf_add(&out, ref.url);
            buf_add_byte(&out, ']');
        }
        rest = slice_from(tail, 2 + token.len);
    }
    buf_add(&out, rest);
    struct slice text = arena_dup(arena, buf_slice(&out));
    buf_fini(&raw);
    buf_fini(&out);
    return text;
}

static struct track_html how_of(bool opens, bool clicks)
{
    struct track_html how = {
        .key = &key,
        .mail = {.bytes = {7}},
        .base = SLICE("https://t.example"),
        .own = SLICE("https://mail.example"),
        .opens = opens,
        .clicks = clicks,
    };
    return how;
}

struct change {
    const char *html;
    const char *want; /* NULL: the same */
};

static void expect_changes(const struct track_html *how, const struct change *cases, size_t count)
{
    crypto_init();
    for (size_t i = 0; i < count; i++) {
        struct arena arena;
        arena_init(&arena, 4096, 1 << 20);
        struct slice got = run(how, slice_str(cases[i].html), &arena);
        const char *want = cases[i].want != NULL ? cases[i].want : cases[i].html;
        cr_expect(slice_equal(got, slice_str(want)), "%s\nbecame %.*s", cases[i].html,
                  SLICE_FMT(got));
        arena_fini(&arena);
    }
}

Test(track_html, links_of_anchors_change, .timeout = 60)
{
    static const struct change cases[] = {
        {"<a href=\"https://x.test/\">x</a>", "<a href=\"[c:https://x.test/]\">x</a>"},
        {"<A HREF='HTTP://x.test/'>x</A>", "<A HREF=\"[c:HTTP://x.test/]\">x</A>"},
        {"<a href=https://x.test/a>x</a>", "<a href=\"[c:https://x.test/a]\">x</a>"},
        {"<a href=https://x.test/a/>x", "<a href=\"[c:https://x.test/a/]\">x"},
        {"<a\n\tclass = q href\n=\n\"https://x.test\" id=1>x",
         "<a\n\tclass = q href\n=\n\"[c:https://x.test]\" id=1>x"},
        {"<a/href=\"https://x.test\"/>x", "<a/href=\"[c:https://x.test]\"/>x"},
        {"<a href=\" https://x.test/a\nb \">x", "<a href=\"[c:https://x.test/ab]\">x"},
        {"<a href=\"https://x.test/?a=1&amp;b=2\">", "<a href=\"[c:https://x.test/?a=1&b=2]\">"},
        {"<a href=\"https://x.test/?a=1&b=2\">", "<a href=\"[c:https://x.test/?a=1&b=2]\">"},
        {"<a href=\"https://x.test/&#38;&#x26;\">", "<a href=\"[c:https://x.test/&&]\">"},
        {"<a href=\"https://x.test/a b\">", "<a href=\"[c:https://x.test/a%20b]\">"},
        {"<a href='https://x.test/\"&#34;'>", "<a href=\"[c:https://x.test/%22%22]\">"},
        {"<a href=\"https://x.test/\xc3\xbc&#252;\">",
         "<a href=\"[c:https://x.test/%C3%BC%C3%BC]\">"},
        {"<a title=\"a > b\" href=\"https://x.test\">", "<a title=\"a > b\" href=\"[c:https://x."
                                                        "test]\">"},
        {"<p><<a href=\"https://x.test\">", "<p><<a href=\"[c:https://x.test]\">"},
        {"a < b <a href=\"https://x.test\">", "a < b <a href=\"[c:https://x.test]\">"},
        {"<!--><a href=\"https://x.test\">", "<!--><a href=\"[c:https://x.test]\">"},
        {"<script>'</scripty>'</script><a href=\"https://x.test\">",
         "<script>'</scripty>'</script><a href=\"[c:https://x.test]\">"},
        {"<a href=\"https://x.test/1\" href=\"https://x.test/2\">",
         "<a href=\"[c:https://x.test/1]\" href=\"https://x.test/2\">"},
        {"<a href=https://x.test/1\">x", "<a href=\"[c:https://x.test/1%22]\">x"},
        {"</ <a href=\"https://x.test/1\"><a href=\"https://x.test/2\">",
         "</ <a href=\"https://x.test/1\"><a href=\"[c:https://x.test/2]\">"},
    };
    struct track_html how = how_of(false, true);
    expect_changes(&how, cases, ARRAY_LEN(cases));
}

Test(track_html, everything_else_stays_byte_for_byte, .timeout = 60)
{
    static const struct change cases[] = {
        {"", NULL},
        {"plain text with https://x.test/", NULL},
        {"<a>x</a><a href>x</a><a href=\"\">x</a><a href=>x</a>", NULL},
        {"<a href=\"mailto:a@x.test\">", NULL},
        {"<a href=\"tel:1\"><a href=\"javascript:x()\"><a href=\"data:text/html,x\">", NULL},
        {"<a href=\"#top\"><a href=\"/rel\"><a href=\"//x.test/\"><a href=\"x.test\">", NULL},
        {"<a href=\"{{unsubscribe}}\"><a href=\"https://x.test/?u={{id}}\">", NULL},
        {"<a href=\"https://x.test\" data-meerkat-no-track>", NULL},
        {"<a DATA-MEERKAT-NO-TRACK=\"1\" href=\"https://x.test\">", NULL},
        {"<a href=\"https://mail.example/u/1\"><a href=\"https://mail.example\">", NULL},
        {"<a href=\"https://t.example/x\">", NULL},
        {"<area href=\"https://x.test\"><link href=\"https://x.test\"><abbr href=\"https://x.te\">",
         NULL},
        {"<a data-href=\"https://x.test\" xhref='https://x.test'>", NULL},
        {"<a title=\"<a href='https://x.test'>\">", NULL},
        {"<!-- <a href=\"https://x.test\"> --><!-- x", NULL},
        {"<!--[if mso]><a href=\"https://x.test\"><![endif]-->", NULL},
        {"<style>a{}<a href=\"https://x.test\"></style>", NULL},
        {"<TITLE><a href=\"https://x.test\"></tItLe >", NULL},
        {"<textarea><a href=\"https://x.test\"></textarea>", NULL},
        {"<plaintext><a href=\"https://x.test\">", NULL},
        {"<script><a href=\"https://x.test\">", NULL},
        {"<a href=\"https://x.test", NULL},
        {"<a href=\"https://x.test\"", NULL},
        {"<a href='https://x.test>\n<p>never closed", NULL},
        {"<a href", NULL},
        {"<a href=", NULL},
        {"<", NULL},
        {"</", NULL},
        {"<!", NULL},
        {"</a href=\"https://x.test\">", NULL},
        {"<a href=\"https://\"><a href=\"https:///x\"><a href=\"https:x.test\">", NULL},
        {"<a href=\"https://x.test\\@evil\"><a href=\"https://x y.test/\">", NULL},
        {"<a href=\"https://b\xc3\xbc"
         "cher.test/\">",
         NULL},
        {"<a href=\"https://x.test/\xff\"><a href=\"https://x.test/\x01\">", NULL},
        {"<a href=\"https://x.test/?a&copy;b\"><a href=\"https://x.test/?a&amp\">", NULL},
        {"<a href=\"https://x.test/&#0;\"><a href=\"https://x.test/&#xd800;\">", NULL},
        {"<a href=\"https://x.test/&#99999999999999999999;\"><a href=\"https://x.test/&#;\">",
         NULL},
        {"<a href=\"https://x.test/&#10;evil: 1\">", "<a href=\"[c:https://x.test/evil:%201]\">"},
        {"<a href=\"https://x.test/&#11;\">", NULL},
    };
    struct track_html how = how_of(false, true);
    expect_changes(&how, cases, ARRAY_LEN(cases));
}

#define IMAGE "<img src=\"[o]\" width=\"1\" height=\"1\" alt=\"\">"

Test(track_html, the_picture_stands_before_the_last_end_of_the_body, .timeout = 60)
{
    static const struct change cases[] = {
        {"<body>x</body>", "<body>x" IMAGE "</body>"},
        {"<html><BODY>x</BODY ></html>", "<html><BODY>x" IMAGE "</BODY ></html>"},
        {"x</html>", "x" IMAGE "</html>"},
        {"x", "x" IMAGE},
        {"", IMAGE},
        {"a</body>b</body>c</html>", "a</body>b" IMAGE "</body>c</html>"},
        {"<!-- </body> -->x", "<!-- </body> -->x" IMAGE},
        {"<body>x</body><!-- </body> -->", "<body>x" IMAGE "</body><!-- </body> -->"},
        {"<style></body></style>x</body>", "<style></body></style>x" IMAGE "</body>"},
        {"<body>x</body><p title=\"", "<body>x" IMAGE "</body><p title=\""},
        {"<p title=\"never closed</body>", NULL},
        {"<!-- never closed", NULL},
        {"<script>never closed", NULL},
        {"<a href=\"https://x.test\">x</a>", "<a href=\"https://x.test\">x</a>" IMAGE},
    };
    struct track_html how = how_of(true, false);
    expect_changes(&how, cases, ARRAY_LEN(cases));
    struct track_html both = how_of(true, true);
    static const struct change together[] = {
        {"<body><a href=\"https://x.test\">x</a></body>",
         "<body><a href=\"[c:https://x.test]\">x</a>" IMAGE "</body>"},
    };
    expect_changes(&both, together, ARRAY_LEN(together));
}

Test(track_html, links_beyond_the_ceiling_stay_and_all_fits, .timeout = 60)
{
    struct buf html;
    struct buf out;
    char path[TRACK_URL_MAX];
    struct track_html how = how_of(true, true);
    crypto_init();
    memset(path, 'p', sizeof(path));
    buf_init(&html, 8 * MIB);
    for (size_t i = 0; i < TRACK_LINKS_MAX + 10; i++) {
        buf_add_str(&html, "<a href=https://x.test/");
        buf_add(&html, slice_of(path, sizeof(path) - 15));
        buf_add_str(&html, ">");
    }
    buf_init(&out, html.len + TRACK_GROWTH_MAX);
    struct track_counts counts = track_html_rewrite(&how, buf_slice(&html), &out);
    cr_expect_eq(buf_err(&out), ERR_OK);
    cr_expect_eq(counts.links, TRACK_LINKS_MAX);
    cr_expect(counts.has_image);
    buf_clear(&html);
    buf_clear(&out);
    buf_add_str(&html, "<a href=https://x.test/");
    buf_add(&html, slice_of(path, sizeof(path) - 14));
    buf_add_str(&html, ">");
    counts = track_html_rewrite(&how, buf_slice(&html), &out);
    cr_expect_eq(counts.links, 0, "one byte too long");
    buf_fini(&html);
    buf_fini(&out);
}

/* Every beginning of a page is as good as a page: what the rewriting leaves out is nothing. */
Test(track_html, every_cut_of_a_page_keeps_its_bytes, .timeout = 60)
{
    static const char page[] =
        "<!doctype html><html><head><title>t</title><style>a{}</style></head><body>"
        "<!-- c --><a class='x' href=\"https://x.test/?a=1&amp;b\">x</a></body></html>";
    struct track_html none = how_of(false, false);
    crypto_init();
    for (size_t len = 0; len < sizeof(page); len++) {
        struct slice cut = slice_of(page, len);
        struct buf out;
        buf_init(&out, len + TRACK_GROWTH_MAX);
        struct track_counts counts = track_html_rewrite(&none, cut, &out);
        cr_expect(slice_equal(buf_slice(&out), cut));
        cr_expect_eq(counts.links, 0);
        buf_fini(&out);
    }
}
