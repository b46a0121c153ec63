/* mime_html.c - mime_text_from_html of mime_write.h.
 *
 * Not a browser: one pass over tags and text with a little state, no tree and no recursion, so that
 * any input costs its length. White space is owed rather than written; whoever writes the next
 * visible byte pays it, which keeps line ends and collapsed spaces in one place.
 */
#include "mail/mime_write.h"

#include <string.h>

#define NAME_MAX_BYTES 12 /* the longest tag name that means something here */

struct html {
    struct slice source;
    size_t at;
    char *out;
    size_t len;
    size_t capacity;
    size_t lines_owed; /* line ends before the next visible byte; above 2 only within <pre> */
    bool is_space_owed;
    bool is_after_dash; /* of a list item, whose text starts on the same line */
    bool is_pre;
    struct slice href; /* of the link that is open, as written in the source */
    size_t link_start; /* of its text in out */
};

struct tag {
    char name[NAME_MAX_BYTES + 1]; /* lower case; empty when longer than any known name */
    bool is_end;
    struct slice href;
};

struct entity {
    const char *name;
    const char *text;
};

static void put_text(struct html *html, struct slice source);
static void put_entity(struct html *html, struct slice source, size_t *at);
static void put_visible(struct html *html, const char *bytes, size_t len);
static void put_raw(struct html *html, const char *bytes, size_t len);
static void put_char(struct html *html, uint32_t code);
static void owe_lines(struct html *html, size_t lines);
static bool read_markup(struct html *html, struct tag *tag);
static void read_attributes(struct html *html, struct tag *tag);
static void skip_past(struct html *html, const char *end);
static void apply_tag(struct html *html, const struct tag *tag);
static bool is_one_of(const char *name, const char *const *names);
static void close_link(struct html *html);

struct slice mime_text_from_html(struct slice html_source, struct arena *arena)
{
    /* Each construct is longer than what it becomes: "<li>" than a line end, a dash and a space,
     * <a href=u></a> than its " (u)", "&#2048;" than three bytes. */
    struct html html = {
        .source = html_source,
        .out = arena_try(arena, html_source.len + 1),
        .capacity = html_source.len + 1,
    };
    if (html.out == NULL) {
        return slice_of(NULL, 0);
    }

    while (html.at < html.source.len) {
        struct slice rest = slice_from(html.source, html.at);
        size_t text_len = slice_find_byte(rest, '<');
        text_len = text_len == SIZE_MAX ? rest.len : text_len;
        put_text(&html, slice_head(rest, text_len));
        html.at += text_len;
        if (html.at < html.source.len) {
            struct tag tag = {.is_end = false};
            if (read_markup(&html, &tag)) {
                apply_tag(&html, &tag);
            }
        }
    }
    return slice_trim(slice_of(html.out, html.len));
}

/* ---- text ----------------------------------------------------------------------------------- */

static void put_text(struct html *html, struct slice source)
{
    size_t at = 0;

    while (at < source.len) {
        char c = source.data[at];
        if (c == '&') {
            put_entity(html, source, &at);
            continue;
        }
        if (html->is_pre && c == '\n') {
            owe_lines(html, html->lines_owed + 1);
        } else if (html->is_pre && c == ' ') {
            put_visible(html, " ", 1);
        } else if (slice_starts(slice_from(source, at), SLICE("\xc2\xa0"))) {
            html->is_space_owed = true;
            at++;
        } else if ((uint8_t)c <= 0x20 || c == 0x7f) {
            html->is_space_owed = true;
        } else {
            put_visible(html, &c, 1);
        }
        at++;
    }
}

static const struct entity ENTITIES[] = {
    {"amp", "&"},
    {"lt", "<"},
    {"gt", ">"},
    {"quot", "\""},
    {"apos", "'"},
    {"nbsp", " "},
    {"ensp", " "},
    {"emsp", " "},
    {"thinsp", " "},
    {"zwnj", ""},
    {"zwj", ""},
    {"shy", ""},
    {"copy", "\xc2\xa9"},
    {"reg", "\xc2\xae"},
    {"trade", "\xe2\x84\xa2"},
    {"hellip", "\xe2\x80\xa6"},
    {"mdash", "\xe2\x80\x94"},
    {"ndash", "\xe2\x80\x93"},
    {"lsquo", "\xe2\x80\x98"},
    {"rsquo", "\xe2\x80\x99"},
    {"ldquo", "\xe2\x80\x9c"},
    {"rdquo", "\xe2\x80\x9d"},
    {"bdquo", "\xe2\x80\x9e"},
    {"laquo", "\xc2\xab"},
    {"raquo", "\xc2\xbb"},
    {"bull", "\xe2\x80\xa2"},
    {"middot", "\xc2\xb7"},
    {"sect", "\xc2\xa7"},
    {"para", "\xc2\xb6"},
    {"deg", "\xc2\xb0"},
    {"times", "\xc3\x97"},
    {"divide", "\xc3\xb7"},
    {"plusmn", "\xc2\xb1"},
    {"frac12", "\xc2\xbd"},
    {"euro", "\xe2\x82\xac"},
    {"pound", "\xc2\xa3"},
    {"yen", "\xc2\xa5"},
    {"cent", "\xc2\xa2"},
    {"larr", "\xe2\x86\x90"},
    {"rarr", "\xe2\x86\x92"},
    {"uarr", "\xe2\x86\x91"},
    {"darr", "\xe2\x86\x93"},
    {"check", "\xe2\x9c\x93"},
    {"hearts", "\xe2\x99\xa5"},
    {"iexcl", "\xc2\xa1"},
    {"iquest", "\xc2\xbf"},
    {"Agrave", "\xc3\x80"},
    {"Aacute", "\xc3\x81"},
    {"Acirc", "\xc3\x82"},
    {"Atilde", "\xc3\x83"},
    {"Auml", "\xc3\x84"},
    {"Aring", "\xc3\x85"},
    {"AElig", "\xc3\x86"},
    {"Ccedil", "\xc3\x87"},
    {"Egrave", "\xc3\x88"},
    {"Eacute", "\xc3\x89"},
    {"Ecirc", "\xc3\x8a"},
    {"Euml", "\xc3\x8b"},
    {"Iacute", "\xc3\x8d"},
    {"Ntilde", "\xc3\x91"},
    {"Oacute", "\xc3\x93"},
    {"Ouml", "\xc3\x96"},
    {"Oslash", "\xc3\x98"},
    {"Uacute", "\xc3\x9a"},
    {"Uuml", "\xc3\x9c"},
    {"szlig", "\xc3\x9f"},
    {"agrave", "\xc3\xa0"},
    {"aacute", "\xc3\xa1"},
    {"acirc", "\xc3\xa2"},
    {"atilde", "\xc3\xa3"},
    {"auml", "\xc3\xa4"},
    {"aring", "\xc3\xa5"},
    {"aelig", "\xc3\xa6"},
    {"ccedil", "\xc3\xa7"},
    {"egrave", "\xc3\xa8"},
    {"eacute", "\xc3\xa9"},
    {"ecirc", "\xc3\xaa"},
    {"euml", "\xc3\xab"},
    {"igrave", "\xc3\xac"},
    {"iacute", "\xc3\xad"},
    {"icirc", "\xc3\xae"},
    {"iuml", "\xc3\xaf"},
    {"ntilde", "\xc3\xb1"},
    {"ograve", "\xc3\xb2"},
    {"oacute", "\xc3\xb3"},
    {"ocirc", "\xc3\xb4"},
    {"otilde", "\xc3\xb5"},
    {"ouml", "\xc3\xb6"},
    {"oslash", "\xc3\xb8"},
    {"ugrave", "\xc3\xb9"},
    {"uacute", "\xc3\xba"},
    {"ucirc", "\xc3\xbb"},
    {"uuml", "\xc3\xbc"},
    {"yacute", "\xc3\xbd"},
    {"yuml", "\xc3\xbf"},
};

/* "#65" or "#x41"; false when it is no number. Numbers beyond Unicode stop growing. */
static bool parse_reference(struct slice name, uint32_t *code)
{
    bool is_hex = name.len > 2 && ascii_lower(name.data[1]) == 'x';
    uint32_t value = 0;

    if (name.len < 2 || name.data[0] != '#') {
        return false;
    }
    for (size_t i = is_hex ? 2 : 1; i < name.len; i++) {
        char c = ascii_lower(name.data[i]);
        bool is_letter = is_hex && c >= 'a' && c <= 'f';
        if (!ascii_is_digit(c) && !is_letter) {
            return false;
        }
        uint32_t digit = (uint32_t)(is_letter ? c - 'a' + 10 : c - '0');
        if (value <= 0x10ffff) {
            value = value * (is_hex ? 16 : 10) + digit;
        }
    }
    *code = value;
    return true;
}

/* The entity at *at, or the '&' alone when it is none. */
static void put_entity(struct html *html, struct slice source, size_t *at)
{
    struct slice name = slice_sub(source, *at + 1, NAME_MAX_BYTES);
    size_t end = slice_find_byte(name, ';');
    uint32_t code = 0;

    if (end == SIZE_MAX) {
        put_visible(html, "&", 1);
        *at += 1;
        return;
    }
    name = slice_head(name, end);
    if (parse_reference(name, &code)) {
        put_char(html, code);
        *at += end + 2;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(ENTITIES); i++) {
        if (slice_equal(name, slice_str(ENTITIES[i].name))) {
            const char *text = ENTITIES[i].text;
            if (text[0] == ' ') {
                html->is_space_owed = true;
            } else {
                put_visible(html, text, strlen(text));
            }
            *at += end + 2;
            return;
        }
    }
    put_visible(html, "&", 1);
    *at += 1;
}

static void put_char(struct html *html, uint32_t code)
{
    char bytes[4];
    size_t len = 0;

    /* Invisible characters that newsletters use as padding: soft hyphen, combining grapheme joiner,
     * zero width space and joiners, byte order mark. */
    if (code == 0xad || code == 0x34f || (code >= 0x200b && code <= 0x200d) || code == 0xfeff) {
        return;
    }
    if (code <= 0x20 || (code >= 0x7f && code <= 0xa0)) {
        html->is_space_owed = true;
        return;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
        code = 0xfffd;
    }
    if (code < 0x80) {
        bytes[len++] = (char)code;
    } else if (code < 0x800) {
        bytes[len++] = (char)(0xc0 | code >> 6);
        bytes[len++] = (char)(0x80 | (code & 63));
    } else {
        if (code < 0x10000) {
            bytes[len++] = (char)(0xe0 | code >> 12);
        } else {
            bytes[len++] = (char)(0xf0 | code >> 18);
            bytes[len++] = (char)(0x80 | (code >> 12 & 63));
        }
        bytes[len++] = (char)(0x80 | (code >> 6 & 63));
        bytes[len++] = (char)(0x80 | (code & 63));
    }
    put_visible(html, bytes, len);
}

/* Pays what is owed, then writes. Nothing is owed at the start of the text. */
static void put_visible(struct html *html, const char *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    if (html->len > 0 && html->lines_owed > 0) {
        for (size_t i = 0; i < html->lines_owed; i++) {
            put_raw(html, "\n", 1);
        }
    } else if (html->len > 0 && html->is_space_owed && html->out[html->len - 1] != '\n') {
        put_raw(html, " ", 1);
    }
    html->lines_owed = 0;
    html->is_space_owed = false;
    html->is_after_dash = false;
    put_raw(html, bytes, len);
}

static void put_raw(struct html *html, const char *bytes, size_t len)
{
    if (len <= html->capacity - html->len) {
        memcpy(html->out + html->len, bytes, len);
        html->len += len;
    }
}

static void owe_lines(struct html *html, size_t lines)
{
    if (!html->is_after_dash && html->lines_owed < lines) {
        html->lines_owed = lines;
    }
}

/* ---- markup --------------------------------------------------------------------------------- */

/* Reads what the '<' at html->at begins. True for a tag; comments and declarations are skipped, a
 * '<' that begins nothing is text. */
static bool read_markup(struct html *html, struct tag *tag)
{
    struct slice rest = slice_from(html->source, html->at);

    if (slice_starts(rest, SLICE("<!--"))) {
        html->at += 4;
        skip_past(html, "-->");
        return false;
    }
    if (slice_starts(rest, SLICE("<!")) || slice_starts(rest, SLICE("<?"))) {
        skip_past(html, ">");
        return false;
    }
    tag->is_end = slice_starts(rest, SLICE("</"));
    size_t name_start = html->at + (tag->is_end ? 2 : 1);
    if (name_start >= html->source.len || !ascii_is_alpha(html->source.data[name_start])) {
        put_visible(html, "<", 1);
        html->at++;
        return false;
    }
    size_t end = name_start;
    while (end < html->source.len &&
           (ascii_is_alpha(html->source.data[end]) || ascii_is_digit(html->source.data[end]))) {
        end++;
    }
    if (end - name_start <= NAME_MAX_BYTES) {
        for (size_t i = name_start; i < end; i++) {
            tag->name[i - name_start] = ascii_lower(html->source.data[i]);
        }
    }
    html->at = end;
    read_attributes(html, tag);
    return true;
}

/* Up to the '>', which may also stand within quotes. */
static void read_attributes(struct html *html, struct tag *tag)
{
    const char *data = html->source.data;
    size_t len = html->source.len;

    while (html->at < len && data[html->at] != '>') {
        size_t start = html->at;
        while (html->at < len && !ascii_is_space(data[html->at]) && data[html->at] != '=' &&
               data[html->at] != '>') {
            html->at++;
        }
        struct slice name = slice_of(data + start, html->at - start);
        while (html->at < len && ascii_is_space(data[html->at])) {
            html->at++;
        }
        if (html->at == len || data[html->at] != '=') {
            continue;
        }
        html->at++;
        while (html->at < len && ascii_is_space(data[html->at])) {
            html->at++;
        }
        struct slice value = slice_from(html->source, html->at);
        char quote = value.len > 0 ? value.data[0] : '\0';
        if (quote == '"' || quote == '\'') {
            value = slice_from(value, 1);
            size_t end = slice_find_byte(value, quote);
            value = slice_head(value, end);
            html->at = end == SIZE_MAX ? len : html->at + end + 2;
        } else {
            size_t end = 0;
            while (end < value.len && !ascii_is_space(value.data[end]) && value.data[end] != '>') {
                end++;
            }
            value = slice_head(value, end);
            html->at += end;
        }
        if (slice_equal_nocase(name, SLICE("href"))) {
            tag->href = slice_trim(value);
        }
    }
    if (html->at < len) {
        html->at++;
    }
}

/* To behind the next `end`, which is compared without regard to case, or to the end. */
static void skip_past(struct html *html, const char *end)
{
    struct slice needle = slice_str(end);

    while (html->at < html->source.len) {
        size_t next = slice_find_byte(slice_from(html->source, html->at), needle.data[0]);
        if (next == SIZE_MAX) {
            break;
        }
        html->at += next;
        if (slice_starts_nocase(slice_from(html->source, html->at), needle)) {
            html->at += needle.len;
            return;
        }
        html->at++;
    }
    html->at = html->source.len;
}

static void apply_tag(struct html *html, const struct tag *tag)
{
    static const char *const PARAGRAPHS[] = {
        "p",  "h1", "h2", "h3", "h4",    "h5",         "h6",     "pre",
        "ul", "ol", "dl", "hr", "table", "blockquote", "figure", NULL,
    };
    static const char *const LINES[] = {
        "div",        "tr",       "li",      "dt",    "dd",     "section", "article", "header",
        "footer",     "address",  "center",  "form",  "main",   "nav",     "aside",   "body",
        "figcaption", "fieldset", "caption", "tbody", "option", NULL,
    };
    static const struct {
        const char *name;
        const char *end;
    } HIDDEN[] = {
        {"script", "</script"},     {"style", "</style"},       {"title", "</title"},
        {"template", "</template"}, {"textarea", "</textarea"},
    };

    for (size_t i = 0; i < ARRAY_LEN(HIDDEN); i++) {
        if (!tag->is_end && strcmp(tag->name, HIDDEN[i].name) == 0) {
            skip_past(html, HIDDEN[i].end);
            skip_past(html, ">");
            return;
        }
    }
    if (strcmp(tag->name, "pre") == 0) {
        html->is_pre = !tag->is_end;
    }
    if (strcmp(tag->name, "li") == 0) {
        html->is_after_dash = false;
    }
    if (is_one_of(tag->name, PARAGRAPHS)) {
        owe_lines(html, 2);
    } else if (is_one_of(tag->name, LINES)) {
        owe_lines(html, 1);
    } else if (strcmp(tag->name, "br") == 0) {
        owe_lines(html, html->lines_owed == 0 ? 1 : 2);
    } else if (strcmp(tag->name, "td") == 0 || strcmp(tag->name, "th") == 0) {
        html->is_space_owed = true;
    }
    if (strcmp(tag->name, "li") == 0 && !tag->is_end) {
        put_visible(html, "-", 1);
        html->is_space_owed = true;
        html->is_after_dash = true;
    }
    if (strcmp(tag->name, "a") == 0) {
        close_link(html);
        html->href = tag->href;
        html->link_start = html->len;
    }
}

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(name, *names) != 0) {
        names++;
    }
    return *names != NULL;
}

/* Writes " (url)" behind the link's text, unless that says the same. */
static void close_link(struct html *html)
{
    static const struct slice SCHEMES[] = {
        SLICE_INIT("https://"),
        SLICE_INIT("http://"),
        SLICE_INIT("mailto:"),
        SLICE_INIT("tel:"),
    };
    const struct slice *scheme = NULL;

    for (size_t i = 0; i < ARRAY_LEN(SCHEMES); i++) {
        if (slice_starts_nocase(html->href, SCHEMES[i])) {
            scheme = &SCHEMES[i];
        }
    }
    if (scheme != NULL) {
        struct html before = *html;
        struct slice text =
            slice_trim(slice_of(html->out + html->link_start, html->len - html->link_start));
        html->is_space_owed = true;
        html->lines_owed = 0;
        put_visible(html, "(", 1);
        size_t url_start = html->len;
        html->is_pre = false;
        put_text(html, html->href);
        struct slice url = slice_of(html->out + url_start, html->len - url_start);
        put_visible(html, ")", 1);
        html->lines_owed = before.lines_owed;
        html->is_space_owed = before.is_space_owed;
        html->is_after_dash = false;
        html->is_pre = before.is_pre;
        if (slice_equal(text, url) || slice_equal(text, slice_from(url, scheme->len))) {
            *html = before;
        }
    }
    html->href = slice_of(NULL, 0);
}
