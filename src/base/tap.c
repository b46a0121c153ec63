/* tap.c - see tap.h. */
#include "base/tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

#define LINE_MAX   512   /* of text; the rest of a line is cut */
#define KEPT_MS    10000 /* how long what is over can still be read */
#define LINE_BYTES 64    /* what a line costs beside its text */
#define WHO_BYTES  3
#define SHORT_MAX  20 /* of a path: words are, tokens are not */
#define HIDDEN     "(hidden)"

struct ring_line {
    struct link link;
    uint64_t number;
    uint64_t unix_ms;
    uint32_t talk;
    enum tap_kind kind;
    uint32_t len;
    char text[];
};

struct tap {
    struct tap_rule rule; /* its text is in words */
    struct arena words;
    uint32_t serial;
    bool is_over;
    uint64_t end_ms;
    struct link lines; /* oldest first */
    uint64_t bytes;
    uint64_t last; /* number of the newest */
};

const char *tap_kind_text(enum tap_kind kind)
{
    static const char *const texts[] = {"http", "webhook", "smtp-out", "smtp-in", "submission"};
    CHECK((size_t)kind < ARRAY_LEN(texts));
    return texts[kind];
}

/* ---- rings ---------------------------------------------------------------------------------- */

static void drop_oldest(struct tap *trace)
{
    struct ring_line *line = CONTAINER_OF(list_pop_front(&trace->lines), struct ring_line, link);
    trace->bytes -= LINE_BYTES + line->len;
    free(line);
}

static void add_line(struct tap *trace, uint32_t talk, enum tap_kind kind, struct slice text)
{
    struct ring_line *line = mem_zalloc(sizeof *line + text.len);
    trace->last += 1;
    line->number = trace->last;
    line->unix_ms = clock_unix_ms();
    line->talk = talk;
    line->kind = kind;
    line->len = (uint32_t)text.len;
    memcpy(line->text, text.data, text.len);
    list_push_back(&trace->lines, &line->link);
    trace->bytes += LINE_BYTES + line->len;
    while (trace->bytes > TRACE_RING_BYTES) {
        drop_oldest(trace); /* whoever reads sees by the numbers that some are missing */
    }
}

static void trace_free(struct tap *trace)
{
    while (!list_is_empty(&trace->lines)) {
        drop_oldest(trace);
    }
    arena_fini(&trace->words);
    free(trace);
}

static void forget(struct tap_table *table, uint32_t slot)
{
    struct tap *trace = table->traces[slot];
    table->on_count -= trace->is_over ? 0 : 1;
    table->traces[slot] = NULL;
    trace_free(trace);
}

void tap_fini(struct tap_table *table)
{
    for (uint32_t i = 0; i < TRACES_MAX; i++) {
        if (table->traces[i] != NULL) {
            forget(table, i);
        }
    }
    CHECK(table->on_count == 0);
}

/* ---- life ----------------------------------------------------------------------------------- */

static struct tap *find(struct tap_table *table, uint64_t id, uint32_t *slot)
{
    for (uint32_t i = 0; i < TRACES_MAX; i++) {
        if (table->traces[i] != NULL && table->traces[i]->rule.id == id) {
            *slot = i;
            return table->traces[i];
        }
    }
    return NULL;
}

enum err tap_start(struct tap_table *table, const struct tap_rule *rule, uint64_t end_ms)
{
    uint32_t slot = 0;
    CHECK(rule->id != 0);
    if (find(table, rule->id, &slot) != NULL) {
        return ERR_OK;
    }
    for (slot = 0; slot < TRACES_MAX && table->traces[slot] != NULL; slot++) {
    }
    if (slot == TRACES_MAX) {
        return ERR_QUOTA;
    }
    struct tap *trace = mem_zalloc(sizeof *trace);
    arena_init(&trace->words, 256, 4 * KIB);
    list_init(&trace->lines);
    trace->rule = *rule;
    trace->rule.site = arena_dup(&trace->words, slice_head(rule->site, TRACE_WORD_MAX));
    trace->rule.email = arena_dup(&trace->words, slice_head(rule->email, TRACE_WORD_MAX));
    trace->serial = ++table->serial;
    trace->end_ms = end_ms;
    table->traces[slot] = trace;
    table->on_count += 1;
    return ERR_OK;
}

void tap_stop(struct tap_table *table, uint64_t id)
{
    uint32_t slot = 0;
    if (find(table, id, &slot) != NULL) {
        forget(table, slot);
    }
}

enum err tap_read(struct tap_table *table, uint64_t id, uint64_t after, struct arena *arena,
                  struct tap_page *page)
{
    uint32_t slot = 0;
    struct tap *trace = find(table, id, &slot);
    if (trace == NULL) {
        return ERR_NOT_FOUND;
    }
    *page = (struct tap_page){.last = after, .end_ms = trace->end_ms, .is_over = trace->is_over};
    page->lines = arena_array(arena, TRACE_PAGE_LINES, sizeof *page->lines);
    LIST_EACH (&trace->lines, it) {
        const struct ring_line *line = CONTAINER_OF(it, struct ring_line, link);
        if (line->number <= after) {
            continue;
        }
        if (page->line_count == TRACE_PAGE_LINES) {
            page->is_over = false; /* there is more to read */
            break;
        }
        page->lost += page->line_count == 0 ? line->number - after - 1 : 0;
        page->last = line->number;
        page->lines[page->line_count++] = (struct tap_line){
            .number = line->number,
            .unix_ms = line->unix_ms,
            .talk = line->talk,
            .kind = line->kind,
            .text = arena_dup(arena, slice_of(line->text, line->len)),
        };
    }
    return ERR_OK;
}

uint64_t tap_expire(struct tap_table *table, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t i = 0; i < TRACES_MAX; i++) {
        struct tap *trace = table->traces[i];
        if (trace != NULL && !trace->is_over && now_ms >= trace->end_ms) {
            trace->is_over = true;
            table->on_count -= 1;
        }
        if (trace != NULL && now_ms >= trace->end_ms + KEPT_MS) {
            forget(table, i);
            trace = NULL;
        }
        if (trace != NULL) {
            next_ms = min_u64(next_ms, trace->end_ms + (trace->is_over ? KEPT_MS : 0));
        }
    }
    return next_ms;
}

/* ---- fitting -------------------------------------------------------------------------------- */

static bool fits_account(const struct tap_rule *rule, const struct tap_facts *facts)
{
    for (uint32_t i = 0; i < facts->account_count; i++) {
        if (facts->accounts[i].value == rule->account.value) {
            return true;
        }
    }
    return rule->account.value == 0;
}

static bool fits_site(const struct tap_rule *rule, const struct tap_facts *facts)
{
    size_t bar = slice_rfind_byte(facts->site, '|');
    struct slice group = bar == SIZE_MAX ? facts->site : slice_from(facts->site, bar + 1);
    return rule->site.len == 0 || slice_equal_nocase(rule->site, facts->site) ||
           slice_equal_nocase(rule->site, group) || slice_equal_nocase(rule->site, facts->domain);
}

static bool fits_email(const struct tap_rule *rule, const struct tap_facts *facts)
{
    if (rule->email.len == 0 || slice_equal_nocase(rule->email, facts->sender)) {
        return true;
    }
    for (uint32_t i = 0; i < facts->email_count; i++) {
        if (slice_equal_nocase(rule->email, facts->emails[i])) {
            return true;
        }
    }
    return false;
}

static bool fits_ip(const struct tap_rule *rule, const struct tap_facts *facts)
{
    return !rule->has_ip ||
           (facts->ip != NULL && memcmp(facts->ip, &rule->ip, sizeof rule->ip) == 0);
}

static bool fits(const struct tap_rule *rule, const struct tap_facts *facts)
{
    return (rule->kinds & (1U << facts->kind)) != 0 && fits_account(rule, facts) &&
           fits_site(rule, facts) && fits_email(rule, facts) && fits_ip(rule, facts);
}

/* ---- saying --------------------------------------------------------------------------------- */

static void drop_aside(struct tap_table *table, struct tap_talk *talk)
{
    CHECK(table->aside_bytes >= talk->aside.len);
    table->aside_bytes -= talk->aside.len;
    buf_fini(&talk->aside);
    talk->aside = (struct buf){.len = 0};
}

/* Each is kept with a line end behind it. */
static void put_aside(struct tap_table *table, struct tap_talk *talk, struct slice line)
{
    size_t bytes = line.len + 1;
    if (talk->aside.max_bytes == 0) {
        buf_init(&talk->aside, TRACE_ASIDE_BYTES);
    }
    if (talk->aside.len + bytes <= TRACE_ASIDE_BYTES &&
        table->aside_bytes + bytes <= TRACE_ASIDE_TOTAL) {
        buf_add(&talk->aside, line);
        buf_add_byte(&talk->aside, '\n');
        table->aside_bytes += bytes;
    }
}

static void bring_back(const struct tap_talk *talk, struct tap *trace, enum tap_kind kind)
{
    struct slice rest = buf_slice(&talk->aside);
    while (rest.len > 0) {
        add_line(trace, talk->number, kind, slice_cut(&rest, '\n'));
    }
}

/* To every trace that it fits; true when there is one that it does not fit yet. */
static bool tell(struct tap_table *table, struct tap_talk *talk, const struct tap_facts *facts,
                 struct slice line)
{
    bool is_wanted_later = false;
    for (uint32_t i = 0; i < TRACES_MAX; i++) {
        struct tap *trace = table->traces[i];
        if (trace == NULL || trace->is_over) {
            continue;
        }
        bool has_fitted = talk->fits[i] == trace->serial;
        if (!has_fitted && fits(&trace->rule, facts)) {
            talk->fits[i] = trace->serial;
            bring_back(talk, trace, facts->kind);
            has_fitted = true;
        }
        if (has_fitted) {
            add_line(trace, talk->number, facts->kind, line);
        } else {
            is_wanted_later |= (trace->rule.kinds & (1U << facts->kind)) != 0;
        }
    }
    return is_wanted_later;
}

static struct slice make_line(char out[WHO_BYTES + LINE_MAX], const char *who, struct slice text)
{
    size_t len = min_size(text.len, LINE_MAX);
    memcpy(out, who, WHO_BYTES);
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        unsigned char next = i + 1 < len ? (unsigned char)text.data[i + 1] : 0;
        bool is_c1 = byte == 0xc2 && (next & 0xe0) == 0x80; /* U+0080 to U+009F */
        out[WHO_BYTES + i] = byte < 0x20 || byte == 0x7f || is_c1 ? '?' : (char)byte;
        if (is_c1) {
            out[WHO_BYTES + ++i] = '?';
        }
    }
    return slice_of(out, WHO_BYTES + len);
}

void tap_say(struct tap_table *table, struct tap_talk *talk, const struct tap_facts *facts,
             const char *who, struct slice text)
{
    CHECK(strlen(who) == WHO_BYTES);
    if (!tap_is_on(table)) {
        return;
    }
    if (talk->number == 0) {
        talk->number = ++table->talks;
    }
    while (text.data != NULL && text.len > 0) {
        char bytes[WHO_BYTES + LINE_MAX];
        struct slice line = make_line(bytes, who, slice_trim(slice_cut(&text, '\n')));
        if (tell(table, talk, facts, line)) {
            put_aside(table, talk, line);
        } else if (talk->aside.len > 0) {
            drop_aside(table, talk);
        }
    }
}

void tap_say_format(struct tap_table *table, struct tap_talk *talk, const struct tap_facts *facts,
                    const char *fmt, ...)
{
    char text[LINE_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len > 0) {
        tap_say(table, talk, facts, "-- ", slice_of(text, min_size((size_t)len, sizeof text - 1)));
    }
}

/* ---- what may be seen ----------------------------------------------------------------------- */

static bool is_id(struct slice text)
{
    struct id id;
    struct account_id account;
    for (int kind = 0; kind < ID_KIND_COUNT; kind++) {
        if (id_parse((enum id_kind)kind, text, &id) == ERR_OK) {
            return true;
        }
    }
    return account_parse(text, &account) == ERR_OK;
}

static bool may_show(struct slice part)
{
    return part.len <= SHORT_MAX || slice_has_byte(part, '@') || is_id(part);
}

static void add_query(struct slice query, struct buf *out)
{
    const char *before = "?";
    while (query.len > 0) {
        struct slice value = slice_cut(&query, '&');
        bool has_value = slice_has_byte(value, '=');
        struct slice name = slice_cut(&value, '=');
        buf_add_str(out, before);
        buf_add(out, has_value && name.len <= SHORT_MAX ? name : SLICE(HIDDEN));
        buf_add_str(out, has_value ? "=" HIDDEN : "");
        before = "&";
    }
}

void tap_path(struct slice path, struct buf *out)
{
    size_t mark = slice_find_byte(path, '?');
    struct slice query = mark == SIZE_MAX ? SLICE("") : slice_from(path, mark + 1);
    struct slice rest = slice_head(path, mark);
    bool is_first = true;
    while (rest.data != NULL) {
        struct slice part = slice_cut(&rest, '/');
        buf_add_str(out, is_first ? "" : "/");
        buf_add(out, may_show(part) ? part : SLICE(HIDDEN));
        is_first = false;
    }
    add_query(query, out);
}

void tap_url(struct slice url, struct buf *out)
{
    size_t scheme = slice_find(url, SLICE("://"));
    struct slice rest = slice_from(url, scheme == SIZE_MAX ? 0 : scheme + 3);
    size_t end = 0; /* a query may follow at once */
    while (end < rest.len && memchr("/?#", rest.data[end], 3) == NULL) {
        end += 1;
    }
    size_t at = slice_rfind_byte(slice_head(rest, end), '@'); /* a password may stand before */
    struct slice target = slice_from(rest, end);
    target = slice_head(target, slice_find_byte(target, '#')); /* which is not sent */
    buf_add(out, slice_from(slice_head(rest, end), at == SIZE_MAX ? 0 : at + 1));
    buf_add_str(out, slice_starts(target, SLICE("/")) ? "" : "/");
    tap_path(target, out);
}

void tap_talk_end(struct tap_table *table, struct tap_talk *talk)
{
    if (talk->number != 0) {
        drop_aside(table, talk);
        *talk = (struct tap_talk){.number = 0};
    }
}
