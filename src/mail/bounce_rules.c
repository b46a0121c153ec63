/* bounce_rules.c - see bounce_rules.h. A rule is four patterns that must all fit; the one for the
 * text comes last, for it costs most. */
#include "mail/bounce_rules.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text, three times as long with stars in it, and a piece for each byte of it. */
#define RULES_ARENA_BYTES (3 * 32 * (BOUNCE_FILE_MAX + 64 * KIB))

/* bounce_rules.conf, as the build embeds it. */
extern const unsigned char bounce_rules_shipped[];
extern const size_t bounce_rules_shipped_len;

enum column { COLUMN_HOST, COLUMN_CODE, COLUMN_ENHANCED, COLUMN_TEXT, COLUMN_COUNT };

/* What a pattern between two stars comes to, one behind the other. */
struct piece {
    struct slice text;
    bool is_last; /* of its alternative */
};

struct rule {
    enum bounce_class class;
    struct slice columns[COLUMN_COUNT]; /* lower case */
    struct piece *pieces;               /* of the text's pattern; NULL: it has a ? */
    uint32_t piece_count;
};

struct bounce_rules {
    struct arena arena;
    struct rule *rules;
    uint32_t count;
};

static const struct bounce_traits traits[] = {
    [BOUNCE_NONE] = {"", "", BOUNCE_FAULT_NOBODY, false, false},
    [BOUNCE_HARD] = {"hard", "Permanent", BOUNCE_FAULT_RECIPIENT, true, false},
    [BOUNCE_MAILBOX_FULL] = {"mailbox_full", "Transient", BOUNCE_FAULT_RECIPIENT, false, false},
    [BOUNCE_INACTIVE] = {"inactive", "Permanent", BOUNCE_FAULT_RECIPIENT, true, false},
    [BOUNCE_SOFT] = {"soft", "Transient", BOUNCE_FAULT_SYSTEM, false, false},
    [BOUNCE_BLOCK] = {"block", "Transient", BOUNCE_FAULT_SENDER, false, false},
    [BOUNCE_POLICY] = {"policy", "Transient", BOUNCE_FAULT_SENDER, false, false},
    [BOUNCE_RATE] = {"rate", "Transient", BOUNCE_FAULT_SENDER, false, true},
    [BOUNCE_GREYLIST] = {"greylist", "Transient", BOUNCE_FAULT_SYSTEM, false, true},
    [BOUNCE_TLS] = {"tls", "Transient", BOUNCE_FAULT_SYSTEM, false, false},
    [BOUNCE_SIZE] = {"size", "Transient", BOUNCE_FAULT_SENDER, false, false},
    [BOUNCE_SPAM_CONTENT] = {"spam_content", "Transient", BOUNCE_FAULT_SENDER, false, false},
    [BOUNCE_DNS] = {"dns", "Transient", BOUNCE_FAULT_SYSTEM, false, false},
    [BOUNCE_RELAY] = {"relay", "Transient", BOUNCE_FAULT_SYSTEM, false, false},
    [BOUNCE_AUTH] = {"auth", "Transient", BOUNCE_FAULT_SENDER, false, false},
    [BOUNCE_PROTOCOL] = {"protocol", "Transient", BOUNCE_FAULT_SYSTEM, false, false},
    [BOUNCE_OTHER] = {"other", "Undetermined", BOUNCE_FAULT_NOBODY, false, false},
};
_Static_assert(ARRAY_LEN(traits) == BOUNCE_CLASS_COUNT, "every class has its traits");

static bool read_rules(struct bounce_rules *rules, struct slice text,
                       char reason[BOUNCE_REASON_MAX]);
static const char *read_rule(struct bounce_rules *rules, struct slice line);
static struct slice word_of(struct slice *rest);
static bool fits(const struct rule *rule, const struct slice said[COLUMN_COUNT]);
static bool fits_one_of(struct slice patterns, struct slice text);
static void cut_pieces(struct bounce_rules *rules, struct rule *rule);
static bool has_words(const struct rule *rule, struct slice text);
static bool glob(struct slice pattern, struct slice text);
static struct slice flatten(struct slice text, char *out, size_t max);

const struct bounce_traits *bounce_traits(enum bounce_class class)
{
    CHECK(class < BOUNCE_CLASS_COUNT);
    return &traits[class];
}

enum bounce_class bounce_class_of(struct slice word)
{
    for (size_t i = BOUNCE_NONE + 1; i < ARRAY_LEN(traits); i++) {
        if (slice_equal(word, slice_str(traits[i].word))) {
            return (enum bounce_class)i;
        }
    }
    return BOUNCE_NONE;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct bounce_rules *bounce_rules_new(struct slice text, char reason[BOUNCE_REASON_MAX])
{
    struct bounce_rules *rules = mem_zalloc(sizeof *rules);
    arena_init(&rules->arena, 16 * KIB, RULES_ARENA_BYTES);
    rules->rules = arena_array(&rules->arena, BOUNCE_RULES_MAX, sizeof *rules->rules);
    struct slice shipped = slice_of(bounce_rules_shipped, bounce_rules_shipped_len);
    if (read_rules(rules, text, reason) && read_rules(rules, shipped, reason)) {
        return rules;
    }
    bounce_rules_free(rules);
    return NULL;
}

struct bounce_rules *bounce_rules_open(struct slice path, char reason[BOUNCE_REASON_MAX])
{
    struct bounce_rules *rules = NULL;
    struct arena arena;
    if (path.len == 0) {
        return bounce_rules_new(SLICE(""), reason);
    }
    arena_init(&arena, 4 * KIB, BOUNCE_FILE_MAX + 16 * KIB);
    const char *name = arena_cstr(&arena, path);
    char *text = arena_bytes(&arena, BOUNCE_FILE_MAX + 1);
    FILE *file = fopen(name, "re");
    size_t len = file == NULL ? 0 : fread(text, 1, BOUNCE_FILE_MAX + 1, file);
    if (file == NULL || ferror(file) != 0) {
        snprintf(reason, BOUNCE_REASON_MAX, "it cannot be read: %s", strerror(errno));
    } else if (len > BOUNCE_FILE_MAX) {
        snprintf(reason, BOUNCE_REASON_MAX, "it is longer than %u bytes",
                 (unsigned)BOUNCE_FILE_MAX);
    } else {
        rules = bounce_rules_new(slice_of(text, len), reason);
    }
    if (file != NULL) {
        (void)fclose(file); /* it was only read */
    }
    arena_fini(&arena);
    return rules;
}

void bounce_rules_read(struct bounce_rules **rules, struct slice path)
{
    char reason[BOUNCE_REASON_MAX];
    struct bounce_rules *fresh = bounce_rules_open(path, reason);
    if (fresh == NULL && *rules == NULL) {
        fatal("bounce_rules %.*s: %s; mend the file, or leave the option out", SLICE_FMT(path),
              reason);
    }
    if (fresh == NULL) {
        LOG_ERROR("bounce_rules.read", LOG_TEXT("path", path), LOG_STR("reason", reason));
        return;
    }
    bounce_rules_free(*rules);
    *rules = fresh;
}

void bounce_rules_free(struct bounce_rules *rules)
{
    if (rules != NULL) {
        arena_fini(&rules->arena);
        free(rules);
    }
}

uint32_t bounce_rules_count(const struct bounce_rules *rules)
{
    return rules->count;
}

static bool read_rules(struct bounce_rules *rules, struct slice text,
                       char reason[BOUNCE_REASON_MAX])
{
    uint32_t number = 0;
    while (text.data != NULL) {
        struct slice line = slice_trim(slice_cut(&text, '\n'));
        number += 1;
        if (line.len == 0 || line.data[0] == '#') {
            continue;
        }
        const char *fault = read_rule(rules, line);
        if (fault != NULL) {
            snprintf(reason, BOUNCE_REASON_MAX, "line %u: %s", (unsigned)number, fault);
            return false;
        }
    }
    return true;
}

/* NULL, or what is wrong with it. */
static const char *read_rule(struct bounce_rules *rules, struct slice line)
{
    struct slice rest = line;
    if (line.len > BOUNCE_RULE_BYTES) {
        return "the rule is too long";
    }
    if (rules->count == BOUNCE_RULES_MAX) {
        return "there are too many rules";
    }
    struct rule rule = {.class = bounce_class_of(word_of(&rest))};
    if (rule.class == BOUNCE_NONE) {
        return "a rule begins with a class: hard, mailbox_full, inactive, soft, block, policy, "
               "rate, greylist, tls, size, spam_content, dns, relay, auth, protocol or other";
    }
    for (size_t i = COLUMN_HOST; i < COLUMN_TEXT; i++) {
        rule.columns[i] = arena_lower(&rules->arena, word_of(&rest));
    }
    struct slice text = slice_trim(rest);
    if (text.len >= 2 && text.data[0] == '"' && text.data[text.len - 1] == '"') {
        text = slice_sub(text, 1, text.len - 2);
    }
    if (rule.columns[COLUMN_ENHANCED].len == 0 || text.len == 0) {
        return "a rule has five columns: class, provider, code, enhanced status, text";
    }
    /* Anywhere: each alternative gets a star on both sides. */
    char wide[2 * BOUNCE_RULE_BYTES + 4];
    size_t len = 0;
    wide[len++] = '*';
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '|') {
            wide[len++] = '*';
            wide[len++] = '|';
            wide[len++] = '*';
        } else {
            wide[len++] = text.data[i];
        }
        if (len > sizeof wide - 4) {
            return "the rule is too long";
        }
    }
    wide[len++] = '*';
    rule.columns[COLUMN_TEXT] = arena_lower(&rules->arena, slice_of(wide, len));
    cut_pieces(rules, &rule);
    rules->rules[rules->count++] = rule;
    return NULL;
}

/* The alternatives of the text, which stars surround, as pieces to look for. */
static void cut_pieces(struct bounce_rules *rules, struct rule *rule)
{
    struct slice patterns = rule->columns[COLUMN_TEXT];
    if (slice_has_byte(patterns, '?')) {
        return;
    }
    uint32_t max = 1;
    for (size_t i = 0; i < patterns.len; i++) {
        max += patterns.data[i] == '|' || patterns.data[i] == '*';
    }
    rule->pieces = arena_array(&rules->arena, max, sizeof *rule->pieces);
    while (patterns.data != NULL) {
        struct slice pattern = slice_cut(&patterns, '|');
        uint32_t first = rule->piece_count;
        while (pattern.data != NULL) {
            struct slice text = slice_cut(&pattern, '*');
            if (text.len > 0) {
                rule->pieces[rule->piece_count++] = (struct piece){.text = text};
            }
        }
        if (rule->piece_count == first) {
            rule->pieces[rule->piece_count++] = (struct piece){.text = SLICE("")}; /* anything */
        }
        rule->pieces[rule->piece_count - 1].is_last = true;
    }
}

static struct slice word_of(struct slice *rest)
{
    struct slice left = slice_trim(*rest);
    size_t end = 0;
    while (end < left.len && !ascii_is_space(left.data[end])) {
        end++;
    }
    *rest = slice_from(left, end);
    return slice_head(left, end);
}

/* ---- matching ------------------------------------------------------------------------------- */

enum bounce_class bounce_rules_find(const struct bounce_rules *rules, struct slice host,
                                    const struct verdict *verdict)
{
    char code[8];
    char text[VERDICT_TEXT_MAX];
    char name[DOMAIN_MAX + 1];
    int code_len = snprintf(code, sizeof code, "%u", (unsigned)verdict->code);
    const struct slice said[COLUMN_COUNT] = {
        [COLUMN_HOST] = flatten(host, name, sizeof name),
        [COLUMN_CODE] = slice_of(code, (size_t)code_len),
        [COLUMN_ENHANCED] = slice_str(verdict->enhanced),
        [COLUMN_TEXT] = flatten(slice_str(verdict->text), text, sizeof text),
    };
    for (uint32_t i = 0; i < rules->count; i++) {
        if (fits(&rules->rules[i], said)) {
            return rules->rules[i].class;
        }
    }
    return BOUNCE_OTHER;
}

void bounce_rules_judge(const struct bounce_rules *rules, struct slice host,
                        struct verdict *verdict)
{
    if (verdict->class == VERDICT_DELIVERED) {
        verdict->bounce = BOUNCE_NONE;
        return;
    }
    verdict->bounce = bounce_rules_find(rules, host, verdict);
    if (verdict->class == VERDICT_BOUNCED && verdict->code != 0 &&
        traits[verdict->bounce].may_retry) {
        verdict->class = VERDICT_DEFERRED;
    }
}

void bounce_rules_judge_report(const struct bounce_rules *rules, struct slice host,
                               struct verdict *verdict)
{
    struct verdict said = *verdict;
    if (said.code == 0) {
        said.code = said.enhanced[0] == '4' ? 450 : 550;
    }
    verdict->bounce = bounce_rules_find(rules, host, &said);
}

static bool fits(const struct rule *rule, const struct slice said[COLUMN_COUNT])
{
    static const enum column order[] = {COLUMN_CODE, COLUMN_ENHANCED, COLUMN_HOST, COLUMN_TEXT};
    size_t count = rule->pieces == NULL ? ARRAY_LEN(order) : ARRAY_LEN(order) - 1;
    for (size_t i = 0; i < count; i++) {
        if (!fits_one_of(rule->columns[order[i]], said[order[i]])) {
            return false;
        }
    }
    return rule->pieces == NULL || has_words(rule, said[COLUMN_TEXT]);
}

static bool fits_one_of(struct slice patterns, struct slice text)
{
    while (patterns.data != NULL) {
        if (glob(slice_cut(&patterns, '|'), text)) {
            return true;
        }
    }
    return false;
}

static bool has_words(const struct rule *rule, struct slice text)
{
    struct slice rest = text;
    bool is_found = true;
    for (uint32_t i = 0; i < rule->piece_count; i++) {
        const struct piece *piece = &rule->pieces[i];
        size_t at = is_found ? slice_find(rest, piece->text) : SIZE_MAX;
        is_found = at != SIZE_MAX;
        rest = is_found ? slice_from(rest, at + piece->text.len) : rest;
        if (piece->is_last && is_found) {
            return true;
        }
        if (piece->is_last) {
            rest = text;
            is_found = true;
        }
    }
    return false;
}

/* Goes back to the last star only: whatever stood before it is matched as early as can be. */
static bool glob(struct slice pattern, struct slice text)
{
    size_t at = 0;
    size_t star = SIZE_MAX;
    size_t star_text = 0;
    size_t i = 0;
    while (i < text.len) {
        if (at < pattern.len && pattern.data[at] == '*') {
            star = at++;
            star_text = i;
        } else if (at < pattern.len &&
                   (pattern.data[at] == '?' || pattern.data[at] == text.data[i])) {
            at++;
            i++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            i = ++star_text;
        } else {
            return false;
        }
    }
    while (at < pattern.len && pattern.data[at] == '*') {
        at++;
    }
    return at == pattern.len;
}

/* Lower case, with one blank for each run of them. */
static struct slice flatten(struct slice text, char *out, size_t max)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len && len < max; i++) {
        char c = ascii_is_space(text.data[i]) ? ' ' : ascii_lower(text.data[i]);
        if (c != ' ' || (len > 0 && out[len - 1] != ' ')) {
            out[len++] = c;
        }
    }
    return slice_of(out, len);
}
