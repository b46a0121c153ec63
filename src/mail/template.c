/* template.c - see template.h.
 *
 * Compiled, a template is a flat list of nodes; a section's node knows where it ends. Rendering
 * walks the list and calls itself for what is inside a section, at most TEMPLATE_DEPTH_MAX deep.
 */
#include "mail/template.h"

#include "base/check.h"
#include "base/limits.h"

#include <string.h>

enum node_kind { NODE_TEXT, NODE_VALUE, NODE_RAW, NODE_SECTION, NODE_INVERTED };

struct node {
    enum node_kind kind;
    struct slice text; /* literal, or the name */
    uint32_t end;      /* of a section: the node behind its last */
};

struct template
{
    struct node *nodes;
    uint32_t count;
};

struct compiler {
    struct slice source;
    struct arena *arena;
    struct slice *fault;
    struct template *out;
    size_t from; /* of the literal that is being gathered */
    uint32_t open[TEMPLATE_DEPTH_MAX];
    uint32_t depth;
};

/* A tag as it stands in the source. */
struct tag {
    size_t at;  /* its first brace */
    size_t end; /* behind its last */
    char sigil; /* '#', '^', '/', '!', '&'; '{' of three braces; 0 of a plain value */
    struct slice name;
};

struct renderer {
    const struct template *template;
    enum template_form form;
    struct buf *out;
    const struct json_value *contexts[TEMPLATE_DEPTH_MAX + 1];
    uint32_t depth;
    uint64_t steps;
    enum err err;
};

/* ---- compiling ------------------------------------------------------------------------------ */

static enum err refuse(struct compiler *c, size_t at, const char *complaint, struct slice name)
{
    uint32_t line = 1;
    size_t start = 0;
    for (size_t i = 0; i < at; i++) {
        if (c->source.data[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    *c->fault = arena_format(c->arena, "line %u, column %zu: %s%s%.*s", line, at - start + 1,
                             complaint, name.len > 0 ? " " : "", SLICE_FMT(name));
    return ERR_BAD_FIELD;
}

static bool is_name(struct slice name)
{
    bool is_start = true; /* of a segment */
    if (slice_equal(name, SLICE("."))) {
        return true;
    }
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c <= ' ' || c == 0x7f || c == '{' || c == '}' || (c == '.' && is_start)) {
            return false;
        }
        is_start = c == '.';
    }
    return name.len > 0 && name.len <= TEMPLATE_TAG_MAX && !is_start;
}

/* The tag whose braces begin at `at`. */
static enum err read_tag(struct compiler *c, size_t at, struct tag *tag)
{
    struct slice rest = slice_from(c->source, at + 2);
    bool is_triple = rest.len > 0 && rest.data[0] == '{';
    *tag = (struct tag){.at = at};
    if (is_triple) {
        rest = slice_from(rest, 1);
        tag->sigil = '{';
    } else if (rest.len > 0 && memchr("#^/!&>=", rest.data[0], 7)) {
        tag->sigil = rest.data[0];
        rest = slice_from(rest, 1);
    }
    size_t close = slice_find(rest, is_triple ? SLICE("}}}") : SLICE("}}"));
    if (close == SIZE_MAX) {
        return refuse(c, at, "this tag is never closed", SLICE(""));
    }
    tag->name = slice_trim(slice_head(rest, close));
    tag->end = (size_t)(rest.data - c->source.data) + close + (is_triple ? 3 : 2);
    switch (tag->sigil) {
    case '!':
        return ERR_OK;
    case '>':
        return refuse(c, at, "a template cannot include another", SLICE(""));
    case '=':
        return refuse(c, at, "delimiters cannot be changed", SLICE(""));
    default:
        return is_name(tag->name) ? ERR_OK : refuse(c, at, "this is no name of a value", SLICE(""));
    }
}

static struct node *add_node(struct compiler *c, enum node_kind kind, struct slice text)
{
    struct node *node = &c->out->nodes[c->out->count++];
    *node = (struct node){.kind = kind, .text = text};
    return node;
}

/* A tag that yields no text and has a line to itself: the line goes, as Mustache has it. */
static void widen(const struct compiler *c, struct tag *tag)
{
    size_t start = tag->at;
    size_t end = tag->end;
    const char *data = c->source.data;
    if (tag->sigil == 0 || tag->sigil == '{' || tag->sigil == '&') {
        return;
    }
    while (start > 0 && (data[start - 1] == ' ' || data[start - 1] == '\t')) {
        start--;
    }
    while (end < c->source.len && (data[end] == ' ' || data[end] == '\t' || data[end] == '\r')) {
        end++;
    }
    bool is_first = start == 0 || data[start - 1] == '\n';
    bool is_last = end == c->source.len || data[end] == '\n';
    if (is_first && is_last) {
        tag->at = start;
        tag->end = end < c->source.len ? end + 1 : end;
    }
}

static enum err close_section(struct compiler *c, const struct tag *tag)
{
    struct node *nodes = c->out->nodes;
    if (c->depth == 0) {
        return refuse(c, tag->at, "no section is open that this could close:", tag->name);
    }
    struct node *section = &nodes[c->open[c->depth - 1]];
    if (!slice_equal(section->text, tag->name)) {
        return refuse(c, tag->at, "another section is to be closed first:", section->text);
    }
    section->end = c->out->count;
    c->depth--;
    return ERR_OK;
}

static enum err take_tag(struct compiler *c, const struct tag *tag)
{
    switch (tag->sigil) {
    case '!':
        return ERR_OK;
    case '/':
        return close_section(c, tag);
    case '#':
    case '^':
        if (c->depth == TEMPLATE_DEPTH_MAX) {
            return refuse(c, tag->at, "sections are nested too deeply", SLICE(""));
        }
        c->open[c->depth++] = c->out->count;
        add_node(c, tag->sigil == '#' ? NODE_SECTION : NODE_INVERTED, tag->name);
        return ERR_OK;
    default:
        add_node(c, tag->sigil == 0 ? NODE_VALUE : NODE_RAW, tag->name);
        return ERR_OK;
    }
}

static void take_text(struct compiler *c, size_t end)
{
    if (end > c->from) {
        add_node(c, NODE_TEXT, slice_sub(c->source, c->from, end - c->from));
    }
}

/* Room for every tag and the text in front of each. */
static enum err make_room(struct compiler *c)
{
    size_t tags = 0;
    struct slice rest = c->source;
    for (size_t at = slice_find(rest, SLICE("{{")); at != SIZE_MAX;
         at = slice_find(rest, SLICE("{{"))) {
        rest = slice_from(rest, at + 2);
        if (++tags > TEMPLATE_TAGS_MAX) {
            size_t where = (size_t)(rest.data - c->source.data) - 2;
            return refuse(c, where, "the template has more tags than any may have", SLICE(""));
        }
    }
    c->out->nodes = arena_try(c->arena, (2 * tags + 1) * sizeof(*c->out->nodes));
    return c->out->nodes ? ERR_OK : ERR_TOO_LARGE;
}

enum err template_compile(struct slice source, struct arena *arena,
                          const struct template **template, struct slice *fault)
{
    struct compiler c = {.source = source, .arena = arena, .fault = fault};
    c.out = arena_try(arena, sizeof(*c.out));
    enum err err = c.out ? make_room(&c) : ERR_TOO_LARGE;
    while (err == ERR_OK) {
        struct tag tag;
        size_t at = slice_find(slice_from(source, c.from), SLICE("{{"));
        if (at == SIZE_MAX) {
            break;
        }
        err = read_tag(&c, c.from + at, &tag);
        if (err == ERR_OK) {
            size_t first = tag.at;
            widen(&c, &tag);
            take_text(&c, tag.at);
            c.from = tag.end;
            tag.at = first; /* where a mistake would be named */
            err = take_tag(&c, &tag);
        }
    }
    if (err == ERR_OK && c.depth > 0) {
        const struct node *section = &c.out->nodes[c.open[c.depth - 1]];
        size_t at = (size_t)(section->text.data - source.data);
        err = refuse(&c, at, "this section is never closed:", section->text);
    }
    if (err == ERR_OK) {
        take_text(&c, source.len);
        *template = c.out;
    }
    return err;
}

/* ---- values --------------------------------------------------------------------------------- */

/* One more step; false when there were too many. */
static bool step(struct renderer *r)
{
    if (++r->steps > TEMPLATE_STEPS_MAX) {
        r->err = ERR_TOO_LARGE;
    }
    return r->err == ERR_OK;
}

static const struct json_value *member(struct renderer *r, const struct json_value *of,
                                       struct slice name)
{
    if (of->kind != JSON_IS_MAP) {
        return NULL;
    }
    for (uint32_t i = 0; i < of->count && step(r); i++) {
        if (slice_equal(of->items[i].name, name)) {
            return &of->items[i];
        }
    }
    return NULL;
}

/* The first part of a path is looked for from the inside out, the rest in what was found. */
static const struct json_value *look_up(struct renderer *r, struct slice path)
{
    const struct json_value *found = NULL;
    if (slice_equal(path, SLICE("."))) {
        return r->contexts[r->depth];
    }
    struct slice name = slice_cut(&path, '.');
    for (uint32_t i = r->depth + 1; i > 0 && !found && step(r); i--) {
        found = member(r, r->contexts[i - 1], name);
    }
    while (found && path.len > 0) {
        found = member(r, found, slice_cut(&path, '.'));
    }
    return found;
}

/* "0", "-0.0", "0e5" */
static bool is_zero(struct slice number)
{
    for (size_t i = 0; i < number.len && number.data[i] != 'e' && number.data[i] != 'E'; i++) {
        if (number.data[i] >= '1' && number.data[i] <= '9') {
            return false;
        }
    }
    return true;
}

static bool is_true(const struct json_value *value)
{
    switch (value ? value->kind : JSON_IS_NULL) {
    case JSON_IS_NULL:
        return false;
    case JSON_IS_BOOL:
        return value->is_true;
    case JSON_IS_NUMBER:
        return !is_zero(value->text);
    case JSON_IS_TEXT:
        return value->text.len > 0;
    case JSON_IS_LIST:
        return value->count > 0;
    case JSON_IS_MAP:
        return true;
    }
    return false;
}

/* ---- rendering ------------------------------------------------------------------------------ */

static void add_escaped(struct buf *out, struct slice text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *word = NULL;
        switch (text.data[i]) {
        case '&':
            word = "&amp;";
            break;
        case '<':
            word = "&lt;";
            break;
        case '>':
            word = "&gt;";
            break;
        case '"':
            word = "&quot;";
            break;
        case '\'':
            word = "&#39;";
            break;
        }
        if (word) {
            buf_add(out, slice_sub(text, from, i - from));
            buf_add_str(out, word);
            from = i + 1;
        }
    }
    buf_add(out, slice_from(text, from));
}

/* Line breaks and other control characters become one space each run. */
static void add_line(struct buf *out, struct slice text)
{
    bool was_control = false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_control = c < ' ' || c == 0x7f;
        if (!is_control || !was_control) {
            buf_add_byte(out, is_control ? ' ' : text.data[i]);
        }
        was_control = is_control;
    }
}

/* Lists and objects have no text of their own. */
static void put_value(struct renderer *r, const struct node *node)
{
    const struct json_value *value = look_up(r, node->text);
    if (!value || value->text.len == 0) {
        return;
    }
    if (r->form == TEMPLATE_LINE) {
        add_line(r->out, value->text);
    } else if (r->form == TEMPLATE_HTML && node->kind == NODE_VALUE) {
        add_escaped(r->out, value->text);
    } else {
        buf_add(r->out, value->text);
    }
}

static void render(struct renderer *r, uint32_t from, uint32_t to);

/* What is in the section of node `at`, with value at hand. */
static void render_inside(struct renderer *r, uint32_t at, const struct json_value *value)
{
    CHECK(r->depth < TEMPLATE_DEPTH_MAX);
    r->contexts[++r->depth] = value;
    render(r, at + 1, r->template->nodes[at].end);
    r->depth--;
}

static void render_section(struct renderer *r, uint32_t at)
{
    const struct node *node = &r->template->nodes[at];
    const struct json_value *value = look_up(r, node->text);
    if (node->kind == NODE_INVERTED) {
        if (!is_true(value)) {
            render(r, at + 1, node->end);
        }
    } else if (is_true(value) && value->kind == JSON_IS_LIST) {
        for (uint32_t i = 0; i < value->count && step(r); i++) {
            render_inside(r, at, &value->items[i]);
        }
    } else if (is_true(value)) {
        render_inside(r, at, value);
    }
}

static void render(struct renderer *r, uint32_t from, uint32_t to)
{
    const struct node *nodes = r->template->nodes;
    uint32_t at = from;
    while (at < to && step(r)) {
        switch (nodes[at].kind) {
        case NODE_TEXT:
            buf_add(r->out, nodes[at++].text);
            break;
        case NODE_VALUE:
        case NODE_RAW:
            put_value(r, &nodes[at++]);
            break;
        case NODE_SECTION:
        case NODE_INVERTED:
            render_section(r, at);
            at = nodes[at].end;
            break;
        }
        if (r->out->is_over) {
            r->err = ERR_TOO_LARGE;
        }
    }
}

enum err template_render(const struct template *template, const struct json_value *data,
                         enum template_form form, struct buf *out)
{
    struct renderer r = {.template = template, .form = form, .out = out, .contexts = {data}};
    render(&r, 0, template->count);
    return r.err != ERR_OK ? r.err : buf_err(out);
}
