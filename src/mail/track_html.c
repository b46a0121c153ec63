/* track_html.c - see track_html.h.
 *
 * The scanner goes through the text once, from one '<' to the next. What is copied is always a run
 * of the input; a new href value takes the place of the old one with its quotation marks.
 */
#include "mail/track_html.h"

#include "base/check.h"
#include "base/conf.h"

#include <string.h>

#define NONE      SIZE_MAX
#define NAME_MAX  32         /* of an element or attribute that matters here */
#define SCRATCH   (16 * KIB) /* one address: read, decoded, in a token */
#define IMAGE_MAX 64         /* around its address */

_Static_assert(CONF_URL_MAX + IMAGE_MAX + 8 + (32 + TRACK_URL_MAX + 2) / 3 * 4 <= TRACK_LINK_MAX,
               "a link fits its share of the growth");
_Static_assert(4 * TRACK_URL_MAX + 2 * TRACK_LINK_MAX < SCRATCH, "and its making fits its arena");

/* A tag as it was read. The href is the first one, as for browsers. */
struct tag {
    struct slice name;
    bool is_end;
    bool has_href;
    bool is_excluded;
    size_t value_at; /* of href, quotation marks included */
    size_t value_end;
    struct slice href; /* without them */
    size_t end;        /* behind its '>' */
};

struct scan {
    const struct track_html *how;
    struct slice html;
    struct buf *out; /* NULL: only looking */
    size_t at;
    size_t copied;   /* of html, into out */
    size_t image_at; /* where the picture goes; NONE: not known */
    bool is_cut;     /* ended within something */
    struct track_counts counts;
    struct arena arena;
};

static void walk(struct scan *scan);
static void on_tag(struct scan *scan, size_t start, const struct tag *tag);

/* ---- bytes ---------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return ascii_is_space(c) || c == '\f';
}

static size_t find(struct slice html, size_t from, const char *needle)
{
    size_t at = slice_find(slice_from(html, from), slice_str(needle));
    return at == SIZE_MAX ? NONE : from + at;
}

static size_t skip_space(struct slice html, size_t at)
{
    while (at < html.len && is_space(html.data[at])) {
        at++;
    }
    return at;
}

/* ---- tags ----------------------------------------------------------------------------------- */

/* The value of an attribute, from behind its '='; *at goes behind it. False at the end of all. */
static bool read_value(struct slice html, size_t *at, struct slice *value)
{
    size_t from = *at;
    char quote = html.data[from];
    if (quote == '"' || quote == '\'') {
        size_t len = slice_find_byte(slice_from(html, from + 1), quote);
        if (len == SIZE_MAX) {
            return false;
        }
        *value = slice_sub(html, from + 1, len);
        *at = from + len + 2;
        return true;
    }
    size_t end = from;
    while (end < html.len && !is_space(html.data[end]) && html.data[end] != '>') {
        end++;
    }
    *value = slice_sub(html, from, end - from);
    *at = end;
    return end < html.len;
}

static struct slice read_name(struct slice html, size_t *at, const char *ends)
{
    size_t from = *at;
    size_t end = from;
    while (end < html.len && !is_space(html.data[end]) &&
           (end == from || memchr(ends, html.data[end], strlen(ends)) == NULL)) {
        end++;
    }
    *at = end;
    return slice_sub(html, from, end - from);
}

static void take_attribute(struct tag *tag, struct slice name, struct slice value)
{
    if (slice_equal_nocase(name, SLICE("href")) && !tag->has_href) {
        tag->has_href = true;
        tag->href = value;
    }
    tag->is_excluded = tag->is_excluded || slice_equal_nocase(name, SLICE(TRACK_NO_TRACK));
}

/* One attribute; false at the end of all. */
static bool read_attribute(struct slice html, size_t *at, struct tag *tag)
{
    struct slice name = read_name(html, at, "/>=");
    size_t next = skip_space(html, *at);
    if (next >= html.len || html.data[next] != '=') {
        take_attribute(tag, name, SLICE(""));
        *at = next;
        return next < html.len;
    }
    next = skip_space(html, next + 1);
    if (next >= html.len) {
        return false;
    }
    struct slice value;
    size_t value_at = next;
    bool had_href = tag->has_href;
    if (!read_value(html, &next, &value)) {
        return false;
    }
    take_attribute(tag, name, value);
    if (tag->has_href && !had_href) {
        tag->value_at = value_at;
        tag->value_end = next;
    }
    *at = next;
    return true;
}

/* From behind '<' or '</' on; false when the text ends before the tag does. */
static bool read_tag(struct slice html, size_t at, struct tag *tag)
{
    tag->name = read_name(html, &at, "/>");
    while (at < html.len) {
        char c = html.data[at];
        if (c == '>') {
            tag->end = at + 1;
            return true;
        }
        if (is_space(c) || c == '/') {
            at++;
        } else if (!read_attribute(html, &at, tag)) {
            return false;
        }
    }
    return false;
}

static bool is_raw(struct slice name)
{
    static const char *const names[] = {"script", "style",   "textarea", "title",
                                        "xmp",    "noembed", "noframes", "iframe"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_equal_nocase(name, slice_str(names[i]))) {
            return true;
        }
    }
    return false;
}

/* Where the end tag of a raw text element begins; NONE when it has none. */
static size_t raw_end(struct slice html, size_t at, struct slice name)
{
    while (at != NONE) {
        at = find(html, at, "</");
        if (at == NONE) {
            return NONE;
        }
        struct slice rest = slice_from(html, at + 2);
        if (slice_starts_nocase(rest, name) && rest.len > name.len &&
            (is_space(rest.data[name.len]) || rest.data[name.len] == '/' ||
             rest.data[name.len] == '>')) {
            return at;
        }
        at += 2;
    }
    return NONE;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* What is behind a '<' that begins no tag: a comment, or nothing. NONE: it does not end. */
static size_t skip_other(struct slice html, size_t start)
{
    struct slice rest = slice_from(html, start);
    if (slice_starts(rest, SLICE("<!--"))) {
        size_t end = find(html, start + 2, "-->"); /* "<!-->" is whole, too */
        return end == NONE ? NONE : end + 3;
    }
    if (rest.len > 1 && memchr("!?/", rest.data[1], 3) != NULL) {
        size_t end = find(html, start + 2, ">");
        return end == NONE ? NONE : end + 1;
    }
    return start + 1;
}

static void walk(struct scan *scan)
{
    struct slice html = scan->html;
    while (scan->at < html.len) {
        size_t start = find(html, scan->at, "<");
        if (start == NONE) {
            return;
        }
        struct tag tag = {.is_end = slice_starts(slice_from(html, start), SLICE("</"))};
        size_t name_at = start + (tag.is_end ? 2 : 1);
        if (name_at < html.len && ascii_is_alpha(html.data[name_at])) {
            if (!read_tag(html, name_at, &tag)) {
                scan->is_cut = true;
                return;
            }
            on_tag(scan, start, &tag);
            scan->at = tag.end;
            if (!tag.is_end && is_raw(tag.name)) {
                scan->at = raw_end(html, tag.end, tag.name);
            } else if (!tag.is_end && slice_equal_nocase(tag.name, SLICE("plaintext"))) {
                scan->at = NONE;
            }
        } else {
            scan->at = skip_other(html, start);
        }
        scan->is_cut = scan->at == NONE;
    }
}

static void copy_to(struct scan *scan, size_t end)
{
    CHECK(end >= scan->copied);
    buf_add(scan->out, slice_sub(scan->html, scan->copied, end - scan->copied));
    scan->copied = end;
}

static void add_image(struct scan *scan)
{
    struct track_ref ref = {.kind = TRACK_OPEN, .mail = scan->how->mail};
    buf_add_str(scan->out, "<img src=\"");
    buf_add(scan->out, track_link(scan->how->key, &ref, scan->how->base, &scan->arena));
    buf_add_str(scan->out, "\" width=\"1\" height=\"1\" alt=\"\">");
    arena_clear(&scan->arena);
    scan->counts.has_image = true;
}

static bool is_below(struct slice url, struct slice base)
{
    struct slice rest = slice_from(url, base.len);
    return base.len > 0 && slice_starts_nocase(url, base) &&
           (rest.len == 0 || memchr("/?#", rest.data[0], 3) != NULL);
}

static void rewrite(struct scan *scan, const struct tag *tag)
{
    const struct track_html *how = scan->how;
    struct track_ref ref = {.kind = TRACK_CLICK, .mail = how->mail};
    arena_clear(&scan->arena);
    if (!track_url_read(tag->href, &scan->arena, &ref.url) || is_below(ref.url, how->base) ||
        is_below(ref.url, how->own)) {
        return;
    }
    copy_to(scan, tag->value_at);
    buf_add_byte(scan->out, '"');
    buf_add(scan->out, track_link(how->key, &ref, how->base, &scan->arena));
    buf_add_byte(scan->out, '"');
    scan->copied = tag->value_end;
    scan->counts.links++;
}

static void on_tag(struct scan *scan, size_t start, const struct tag *tag)
{
    bool is_body = slice_equal_nocase(tag->name, SLICE("body"));
    if (scan->out == NULL) {
        if (tag->is_end && (is_body || slice_equal_nocase(tag->name, SLICE("html")))) {
            /* </html> counts only where no </body> was. */
            struct slice known = slice_from(scan->html, scan->image_at + 2);
            bool has_body = scan->image_at != NONE && slice_starts_nocase(known, SLICE("body"));
            scan->image_at = is_body || !has_body ? start : scan->image_at;
        }
        return;
    }
    if (start == scan->image_at) {
        copy_to(scan, start);
        add_image(scan);
    }
    if (scan->how->clicks && !tag->is_end && tag->has_href && !tag->is_excluded &&
        tag->value_end > tag->value_at && slice_equal_nocase(tag->name, SLICE("a")) &&
        scan->counts.links < TRACK_LINKS_MAX) {
        rewrite(scan, tag);
    }
}

struct track_counts track_html_rewrite(const struct track_html *how, struct slice html,
                                       struct buf *out)
{
    struct scan look = {.how = how, .html = html, .image_at = NONE};
    struct scan scan = {.how = how, .html = html, .image_at = NONE, .out = out};
    CHECK(how->base.len < CONF_URL_MAX);
    arena_init(&scan.arena, SCRATCH, SCRATCH);
    if (how->opens) {
        walk(&look);
        scan.image_at = look.image_at;
    }
    walk(&scan);
    copy_to(&scan, html.len);
    if (how->opens && !scan.counts.has_image && !scan.is_cut) {
        add_image(&scan);
    }
    arena_fini(&scan.arena);
    return scan.counts;
}

/* ---- addresses ------------------------------------------------------------------------------ */

struct text {
    char *data;
    size_t len;
    size_t max;
    bool is_over;
};

static void add(struct text *text, char c)
{
    if (text->len == text->max) {
        text->is_over = true;
        return;
    }
    text->data[text->len++] = c;
}

static void add_code_point(struct text *text, uint32_t c)
{
    if (c < 0x80) {
        add(text, (char)c);
        return;
    }
    if (c < 0x800) {
        add(text, (char)(0xc0 | c >> 6));
    } else if (c < 0x10000) {
        add(text, (char)(0xe0 | c >> 12));
        add(text, (char)(0x80 | (c >> 6 & 0x3f)));
    } else {
        add(text, (char)(0xf0 | c >> 18));
        add(text, (char)(0x80 | (c >> 12 & 0x3f)));
        add(text, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    add(text, (char)(0x80 | (c & 0x3f)));
}

static int digit_of(char c, bool is_hex)
{
    return is_hex || ascii_is_digit(c) ? ascii_hex_value(c) : -1;
}

/* "#38;" or "#x26;", from the '#' on: how many bytes it has, 0 when nobody knows what it means. */
static size_t numeric(struct slice rest, struct text *out)
{
    bool is_hex = rest.len > 1 && ascii_lower(rest.data[1]) == 'x';
    size_t first = is_hex ? 2 : 1;
    size_t at = first;
    uint32_t value = 0;
    while (at < rest.len && digit_of(rest.data[at], is_hex) >= 0) {
        if (value > 0x10ffff) {
            return 0;
        }
        value = value * (is_hex ? 16 : 10) + (uint32_t)digit_of(rest.data[at], is_hex);
        at++;
    }
    if (at == first || at >= rest.len || rest.data[at] != ';' || value > 0x10ffff ||
        (value >= 0xd800 && value < 0xe000) || (value >= 0x7f && value < 0xa0) || value == 0) {
        return 0;
    }
    add_code_point(out, value);
    return at + 1;
}

/* What stands behind an '&' (HTML 13.2.5.73): a reference, or an ampersand as addresses have them.
 * How many bytes were used; SIZE_MAX when it could be either. */
static size_t reference(struct slice rest, struct text *out)
{
    static const struct {
        struct slice name;
        char c;
    } known[] = {
        {SLICE_INIT("amp"), '&'},  {SLICE_INIT("lt"), '<'},    {SLICE_INIT("gt"), '>'},
        {SLICE_INIT("quot"), '"'}, {SLICE_INIT("apos"), '\''},
    };
    if (rest.len > 0 && rest.data[0] == '#') {
        size_t used = numeric(rest, out);
        return used == 0 ? SIZE_MAX : used;
    }
    size_t len = 0;
    while (len < rest.len && (ascii_is_alpha(rest.data[len]) || ascii_is_digit(rest.data[len]))) {
        len++;
    }
    if (len == 0 || (len < rest.len && rest.data[len] == '=')) {
        add(out, '&');
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(known) && len < rest.len && rest.data[len] == ';'; i++) {
        if (slice_equal(slice_head(rest, len), known[i].name)) {
            add(out, known[i].c);
            return len + 1;
        }
    }
    return SIZE_MAX;
}

static bool decode(struct slice href, struct text *out)
{
    for (size_t at = 0; at < href.len && !out->is_over; at++) {
        char c = href.data[at];
        if (c != '&') {
            add(out, c);
            continue;
        }
        size_t used = reference(slice_from(href, at + 1), out);
        if (used == SIZE_MAX) {
            return false;
        }
        at += used;
    }
    return !out->is_over;
}

/* Behind "://": a host of ASCII, and something of it. */
static bool has_plain_host(struct slice url)
{
    size_t scheme = slice_starts_nocase(url, SLICE("https://"))  ? 8
                    : slice_starts_nocase(url, SLICE("http://")) ? 7
                                                                 : 0;
    size_t at = scheme;
    while (at < url.len && memchr("/?#", url.data[at], 3) == NULL) {
        unsigned char c = (unsigned char)url.data[at];
        if (c <= ' ' || c >= 0x7f || memchr("\\\"<>`", c, 5) != NULL) {
            return false;
        }
        at++;
    }
    return scheme > 0 && at > scheme;
}

static void add_percent(struct text *out, char c)
{
    static const char hex[] = "0123456789ABCDEF";
    add(out, '%');
    add(out, hex[(unsigned char)c >> 4]);
    add(out, hex[(unsigned char)c & 15]);
}

bool track_url_read(struct slice href, struct arena *arena, struct slice *url)
{
    if (href.len > 4 * TRACK_URL_MAX) {
        return false;
    }
    struct text plain = {.data = arena_bytes(arena, TRACK_URL_MAX), .max = TRACK_URL_MAX};
    struct text out = {.data = arena_bytes(arena, TRACK_URL_MAX), .max = TRACK_URL_MAX};
    if (!decode(href, &plain)) {
        return false;
    }
    struct slice text = slice_of(plain.data, plain.len);
    while (text.len > 0 && is_space(text.data[0])) {
        text = slice_from(text, 1);
    }
    while (text.len > 0 && is_space(text.data[text.len - 1])) {
        text = slice_head(text, text.len - 1);
    }
    if (!has_plain_host(text) || !slice_is_utf8(text) || slice_has_control(text, "\t\r\n") ||
        slice_find(text, SLICE("{{")) != SIZE_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '\t' || c == '\r' || c == '\n') {
            continue; /* as browsers do */
        }
        if (c >= 0x7f || memchr(" \"<>`", c, 5) != NULL) {
            add_percent(&out, text.data[i]);
        } else {
            add(&out, text.data[i]);
        }
    }
    *url = slice_of(out.data, out.len);
    return !out.is_over;
}
