/* Templates: what each tag becomes, what is refused and where, the ceilings.
 *
 * Not covered here: which part of a mail is rendered in which form (tests/unit/shards/test_render),
 * byte soup (tests/fuzz/fuzz_template.c).
 */
#include "mail/template.h"

#include "base/limits.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#define OUT_MAX (64 * KIB)

struct bench {
    struct arena arena;
    struct buf out;
};

static struct bench bench_open(void)
{
    struct bench bench;
    arena_init(&bench.arena, 64 * KIB, 64 * MIB);
    buf_init(&bench.out, OUT_MAX);
    return bench;
}

static void bench_close(struct bench *bench)
{
    arena_fini(&bench->arena);
    buf_fini(&bench->out);
}

/* JSON with ' for ". */
static struct json_value data_of(struct bench *bench, const char *json)
{
    char *copy = arena_bytes(&bench->arena, strlen(json) + 1);
    struct json_value root;
    for (size_t i = 0; i <= strlen(json); i++) {
        copy[i] = json[i] == '\'' ? '"' : json[i];
    }
    cr_assert_eq(json_tree(slice_str(copy), &bench->arena, &root), ERR_OK, "%s", copy);
    return root;
}

static enum err run(struct bench *bench, const char *source, const char *json,
                    enum template_form form)
{
    const struct template *template;
    struct slice fault = SLICE("");
    struct json_value data = data_of(bench, json);
    enum err err = template_compile(slice_str(source), &bench->arena, &template, &fault);
    cr_assert_eq(err, ERR_OK, "%s: %.*s", source, SLICE_FMT(fault));
    buf_clear(&bench->out);
    return template_render(template, &data, form, &bench->out);
}

static void expect(struct bench *bench, const char *source, const char *json,
                   enum template_form form, const char *wanted)
{
    cr_assert_eq(run(bench, source, json, form), ERR_OK);
    cr_expect(slice_equal(buf_slice(&bench->out), slice_str(wanted)), "%s with %s: %.*s", source,
              json, SLICE_FMT(buf_slice(&bench->out)));
}

Test(template, values_are_escaped_in_html_and_nowhere_else)
{
    struct bench bench = bench_open();
    expect(&bench, "{{a}}|{{{a}}}|{{&a}}|{{ a }}", "{'a':'<\\u0027&\\u0022>'}", TEMPLATE_HTML,
           "&lt;&#39;&amp;&quot;&gt;|<'&\">|<'&\">|&lt;&#39;&amp;&quot;&gt;");
    expect(&bench, "{{a}}|{{{a}}}", "{'a':'<&>'}", TEMPLATE_TEXT, "<&>|<&>");
    expect(&bench, "{{n}} {{t}} {{f}} {{z}}{{o}}{{l}}{{missing}}{{n.deep}}.",
           "{'n':0.1,'t':true,'f':false,'z':null,'o':{'a':1},'l':[1]}", TEMPLATE_TEXT,
           "0.1 true false .");
    expect(&bench, "no tags } }} { at all", "{}", TEMPLATE_HTML, "no tags } }} { at all");
    expect(&bench, "", "{}", TEMPLATE_HTML, "");
    bench_close(&bench);
}

Test(template, a_line_stays_one_whatever_its_values_hold)
{
    struct bench bench = bench_open();
    expect(&bench, "Hi {{a}}{{{a}}}", "{'a':'x\\r\\nBcc: y\\u0001\\u007fz'}", TEMPLATE_LINE,
           "Hi x Bcc: y zx Bcc: y z");
    expect(&bench, "{{a}}", "{'a':'<&>'}", TEMPLATE_LINE, "<&>");
    bench_close(&bench);
}

Test(template, sections_follow_what_they_are_given)
{
    static const struct {
        const char *source;
        const char *json;
        const char *wanted;
    } cases[] = {
        {"{{#l}}<{{.}}>{{/l}}", "{'l':[1,'b',true]}", "<1><b><true>"},
        {"{{#l}}{{n}},{{/l}}", "{'l':[{'n':1},{'n':2},{}],'n':'outer'}", "1,2,outer,"},
        {"{{#o}}{{a}}{{b}}{{/o}}", "{'o':{'a':1},'b':2}", "12"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{'t':true}", "yes"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{'t':false}", "no"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{'t':0.0}", "no"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{'t':10}", "yes"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{'t':''}", "no"},
        {"{{#t}}yes {{.}}{{/t}}", "{'t':'text'}", "yes text"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{'t':[]}", "no"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{'t':{}}", "yes"},
        {"{{#t}}yes{{/t}}{{^t}}no{{/t}}", "{}", "no"},
        {"{{#a}}{{#b}}{{c}}{{d}}{{/b}}{{/a}}", "{'a':{'b':[{'c':1},{'c':2}],'d':3}}", "1323"},
        {"{{#a.b}}{{.}}{{/a.b}}", "{'a':{'b':[1,2]}}", "12"},
        {"{{#l}}{{#.}}{{.}}{{/.}};{{/l}}", "{'l':[[1,2],[3]]}", "12;3;"},
        {"{{a.b.c}}", "{'a':{'b':{'c':'deep'}}}", "deep"},
        {"{{#a}}{{b.c}}{{/a}}", "{'a':{'b':{}},'b':{'c':'outer'}}", ""},
        {"{{#s}}{{^x}}{{y}}{{/x}}{{/s}}", "{'s':{'y':1}}", "1"},
    };
    struct bench bench = bench_open();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect(&bench, cases[i].source, cases[i].json, TEMPLATE_TEXT, cases[i].wanted);
    }
    bench_close(&bench);
}

Test(template, a_tag_alone_on_its_line_takes_the_line_along)
{
    struct bench bench = bench_open();
    expect(&bench, "a\n  {{#l}}\n- {{.}}\n\t{{/l}}  \r\nz\n", "{'l':[1,2]}", TEMPLATE_TEXT,
           "a\n- 1\n- 2\nz\n");
    expect(&bench, "{{! note }}\na{{! b }}c\n{{!\nlong\n}}\nd\n{{^x}}\n{{/x}}", "{}", TEMPLATE_TEXT,
           "ac\nd\n");
    expect(&bench, " {{a}} \n", "{'a':1}", TEMPLATE_TEXT, " 1 \n");
    expect(&bench, "{{#a}} {{/a}}\n", "{'a':1}", TEMPLATE_TEXT, " \n");
    expect(&bench, "  {{#a}}\n{{/a}}", "{}", TEMPLATE_TEXT, "");
    bench_close(&bench);
}

Test(template, mistakes_are_named_with_their_place)
{
    static const struct {
        const char *source;
        const char *fault;
    } cases[] = {
        {"a\nbc {{name", "line 2, column 4: this tag is never closed"},
        {"{{{name}}", "line 1, column 1: this tag is never closed"},
        {"{{}}", "line 1, column 1: this is no name of a value"},
        {"{{a b}}", "line 1, column 1: this is no name of a value"},
        {"{{a..b}}", "line 1, column 1: this is no name of a value"},
        {"{{.a}}", "line 1, column 1: this is no name of a value"},
        {"{{a.}}", "line 1, column 1: this is no name of a value"},
        {"{{{{a}}}}", "line 1, column 1: this is no name of a value"},
        {"x{{#a}}", "line 1, column 5: this section is never closed: a"},
        {"{{/a}}", "line 1, column 1: no section is open that this could close: a"},
        {"{{#a}}{{#b}}{{/a}}{{/b}}", "line 1, column 13: another section is to be closed first: b"},
        {"\n\n  {{> head}}", "line 3, column 3: a template cannot include another"},
        {"{{=<% %>=}}", "line 1, column 1: delimiters cannot be changed"},
    };
    struct bench bench = bench_open();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct template *template;
        struct slice fault = SLICE("");
        cr_expect_eq(template_compile(slice_str(cases[i].source), &bench.arena, &template, &fault),
                     ERR_BAD_FIELD, "%s", cases[i].source);
        cr_expect(slice_equal(fault, slice_str(cases[i].fault)), "%s: %.*s", cases[i].source,
                  SLICE_FMT(fault));
    }
    bench_close(&bench);
}

static enum err compile_many(struct bench *bench, const char *part, size_t count,
                             const char *closing)
{
    const struct template *template;
    struct slice fault;
    struct buf source;
    buf_init(&source, MIB);
    for (size_t i = 0; i < count; i++) {
        buf_add_str(&source, part);
    }
    for (size_t i = 0; i < count && *closing; i++) {
        buf_add_str(&source, closing);
    }
    enum err err = template_compile(buf_slice(&source), &bench->arena, &template, &fault);
    buf_fini(&source);
    return err;
}

Test(template, depth_tags_and_names_have_ceilings)
{
    struct bench bench = bench_open();
    char name[TEMPLATE_TAG_MAX + 8];
    cr_expect_eq(compile_many(&bench, "{{#a}}", TEMPLATE_DEPTH_MAX, "{{/a}}"), ERR_OK);
    cr_expect_eq(compile_many(&bench, "{{#a}}", TEMPLATE_DEPTH_MAX + 1, "{{/a}}"), ERR_BAD_FIELD);
    cr_expect_eq(compile_many(&bench, "{{a}}", TEMPLATE_TAGS_MAX, ""), ERR_OK);
    cr_expect_eq(compile_many(&bench, "{{a}}", TEMPLATE_TAGS_MAX + 1, ""), ERR_BAD_FIELD);
    memset(name, 'n', sizeof(name));
    memcpy(name, "{{", 2);
    memcpy(name + 2 + TEMPLATE_TAG_MAX, "}}", 3);
    cr_expect_eq(compile_many(&bench, name, 1, ""), ERR_OK);
    memcpy(name + 3 + TEMPLATE_TAG_MAX, "}}", 3);
    name[2 + TEMPLATE_TAG_MAX] = 'n';
    cr_expect_eq(compile_many(&bench, name, 1, ""), ERR_BAD_FIELD);
    bench_close(&bench);
}

Test(template, what_would_take_for_ever_is_ended)
{
    struct bench bench = bench_open();
    struct buf json;
    const char *source = "{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}"
                         "{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}";
    buf_init(&json, MIB);
    buf_add_str(&json, "{'l':[0");
    for (int i = 0; i < 999; i++) {
        buf_add_str(&json, ",0");
    }
    buf_add_str(&json, "]}");
    const char *data = arena_cstr(&bench.arena, buf_slice(&json));
    cr_expect_eq(run(&bench, source, data, TEMPLATE_TEXT), ERR_TOO_LARGE, "a thousand to the 8th");
    cr_expect_eq(run(&bench, "{{#l}}{{#l}}x{{/l}}{{/l}}", data, TEMPLATE_TEXT), ERR_TOO_LARGE);
    cr_expect_leq(bench.out.len, OUT_MAX);
    cr_expect_eq(run(&bench, "{{#l}}x{{/l}}", data, TEMPLATE_TEXT), ERR_OK);
    buf_fini(&json);
    bench_close(&bench);
}

Test(template, a_full_arena_is_an_error_at_every_size)
{
    for (size_t max = 64; max < 600; max += 8) {
        struct arena arena;
        const struct template *template;
        struct slice fault;
        arena_init(&arena, 64, max);
        enum err err = template_compile(SLICE("a{{b}}c{{d}}"), &arena, &template, &fault);
        cr_expect(err == ERR_OK || err == ERR_TOO_LARGE);
        arena_fini(&arena);
    }
}
