/* match.c - see match.h.
 *
 * An expression goes through three forms:
 *
 *   text ---- parse ----> nodes ---- emit ----> program ---- copied into the arena
 *
 * Nodes exist because {n,m} writes its operand out several times. A sequence is a list to the right
 * (item, rest), likewise alternatives, so that only groups make parse and emit call themselves.
 *
 * A program is run with the set of states that could be alive at each byte. Each state enters the
 * set once a byte, by a mark, which bounds the work and makes loops that take nothing harmless.
 */
#include "mail/match.h"

#include "base/check.h"
#include "base/limits.h"
#include "mail/addr.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX                                                                                  \
    (2 * MATCH_TEXT_MAX + 2)              /* an item and its place in a sequence, a byte of text   \
                                           */
#define SETS_MAX  (MATCH_TEXT_MAX / 2)    /* \d is the shortest */
#define EMITS_MAX (20 * REGEX_STATES_MAX) /* visits of nodes: ((a{0}){999}){999} emits nothing */
#define FOREVER   UINT32_MAX

enum op {
    OP_BYTE,  /* takes that byte */
    OP_ANY,   /* takes any */
    OP_SET,   /* takes one of sets[x] */
    OP_SPLIT, /* goes on at x and at y */
    OP_JUMP,  /* goes on at x */
    OP_BEGIN, /* only at the first byte */
    OP_END,   /* only behind the last */
    OP_FOUND,
};

struct inst {
    uint8_t op;
    uint8_t byte;
    uint16_t x;
    uint16_t y;
};

struct byte_set {
    uint32_t bits[8];
};

enum match_kind { MATCH_ADDRESS, MATCH_DOMAIN, MATCH_PLUS, MATCH_REGEX };

struct match {
    enum match_kind kind;
    struct slice text;   /* the address, or the local part up to '+' */
    struct slice domain; /* empty for an expression */
    const struct inst *insts;
    const struct byte_set *sets;
    uint32_t inst_count;
};

enum node_kind {
    NODE_EMPTY,
    NODE_BYTE,
    NODE_ANY,
    NODE_SET,
    NODE_BEGIN,
    NODE_END,
    NODE_SEQUENCE, /* left, then right */
    NODE_EITHER,   /* left or right */
    NODE_REPEAT,   /* left, least to most times */
};

struct node {
    enum node_kind kind;
    uint8_t byte;
    uint16_t set;
    uint32_t least;
    uint32_t most;
    struct node *left;
    struct node *right;
};

struct compiler {
    struct slice text;
    size_t at;
    const char *fault; /* the first; everything returns soon after it is set */
    uint32_t depth;
    uint32_t node_count;
    uint32_t set_count;
    uint32_t inst_count;
    uint32_t emit_count;
    struct node nodes[NODES_MAX];
    struct byte_set sets[SETS_MAX];
    struct inst insts[REGEX_STATES_MAX];
};

_Static_assert(REGEX_STATES_MAX * sizeof(struct inst) + SETS_MAX * sizeof(struct byte_set) +
                       sizeof(struct match) <=
                   16 * KIB,
               "a pattern stays well below what the header says");
_Static_assert(ADDR_MAX + 2 < UINT16_MAX, "marks count the bytes of an address");

static enum err compile_address(struct slice text, struct arena *arena, struct match *match,
                                const char **fault);
static enum err compile_regex(struct slice text, struct arena *arena, struct match *match,
                              const char **fault);
static enum err keep_program(const struct compiler *compiler, struct arena *arena,
                             struct match *match);
static struct node *parse_either(struct compiler *compiler);
static struct node *parse_sequence(struct compiler *compiler);
static struct node *parse_item(struct compiler *compiler);
static struct node *parse_group(struct compiler *compiler);
static struct node *parse_escape(struct compiler *compiler);
static struct node *parse_class(struct compiler *compiler);
static bool parse_class_byte(struct compiler *compiler, struct byte_set *set, uint8_t *byte);
static struct node *parse_character(struct compiler *compiler);
static bool parse_count(struct compiler *compiler, uint32_t *least, uint32_t *most);
static bool parse_digits(struct slice text, size_t *at, uint32_t *number);
static void emit(struct compiler *compiler, const struct node *node);
static void emit_either(struct compiler *compiler, const struct node *node);
static void emit_repeat(struct compiler *compiler, const struct node *node);
static bool run(const struct match *match, struct slice text, uint64_t *steps);

/* ---- patterns ------------------------------------------------------------------------------- */

enum err match_compile(struct slice text, struct arena *arena, const struct match **pattern,
                       const char **fault)
{
    struct match made = {.kind = MATCH_ADDRESS};
    enum err err = ERR_INVALID;

    *fault = "";
    text = slice_trim(text);
    if (text.len > MATCH_TEXT_MAX) {
        *fault = "the pattern is too long";
        return ERR_INVALID;
    }
    if (slice_has_control(text, "") || !slice_is_utf8(text)) {
        *fault = "the pattern holds control characters or is not UTF-8";
        return ERR_INVALID;
    }
    if (slice_starts(text, SLICE("/"))) {
        err = compile_regex(text, arena, &made, fault);
    } else {
        err = compile_address(text, arena, &made, fault);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct match *match = arena_try(arena, sizeof *match);
    if (match == NULL) {
        return ERR_TOO_LARGE;
    }
    *match = made;
    *pattern = match;
    return ERR_OK;
}

static enum err compile_address(struct slice text, struct arena *arena, struct match *match,
                                const char **fault)
{
    size_t at = slice_rfind_byte(text, '@');
    struct slice local = slice_head(text, at);
    struct slice domain = slice_from(text, at == SIZE_MAX ? text.len : at + 1);
    struct addr addr;

    if (at == SIZE_MAX) {
        *fault = "a pattern is an address, *@domain, name+*@domain or /expression/";
        return ERR_INVALID;
    }
    if (domain_normalise(domain, false, arena, &match->domain) != ERR_OK) {
        *fault = "the pattern's domain is malformed";
        return ERR_INVALID;
    }
    if (slice_equal(local, SLICE("*"))) {
        match->kind = MATCH_DOMAIN;
        return ERR_OK;
    }
    bool is_plus = local.len > 2 && slice_ends(local, SLICE("+*"));
    local.len -= is_plus;
    if (slice_has_byte(local, '*')) {
        *fault = "* stands for all of the name, or for what follows a +";
        return ERR_INVALID;
    }
    /* A letter in place of the star makes it an address, to be read and written as all are. */
    struct slice full = arena_format(arena, "%.*s%s@%.*s", SLICE_FMT(local), is_plus ? "x" : "",
                                     SLICE_FMT(match->domain));
    if (addr_parse(full, arena, &addr) != ERR_OK) {
        *fault = "the pattern's address is malformed";
        return ERR_INVALID;
    }
    struct slice key = addr_key(&addr, arena);
    match->kind = is_plus ? MATCH_PLUS : MATCH_ADDRESS;
    match->text = is_plus ? slice_head(key, addr.local.len - 1) : key;
    return ERR_OK;
}

bool match_test(const struct match *pattern, struct slice key)
{
    uint64_t steps = 0;

    return match_test_counted(pattern, key, &steps);
}

bool match_test_counted(const struct match *pattern, struct slice key, uint64_t *steps)
{
    if (key.len > ADDR_MAX) {
        return false; /* no address */
    }
    size_t at = slice_rfind_byte(key, '@');
    struct slice local = slice_head(key, at);
    struct slice domain = slice_from(key, at == SIZE_MAX ? key.len : at + 1);

    switch (pattern->kind) {
    case MATCH_ADDRESS:
        return slice_equal_nocase(key, pattern->text);
    case MATCH_DOMAIN:
        return at != SIZE_MAX && slice_equal_nocase(domain, pattern->domain);
    case MATCH_PLUS:
        return slice_starts_nocase(local, pattern->text) &&
               slice_equal_nocase(domain, pattern->domain);
    case MATCH_REGEX:
        return run(pattern, key, steps);
    }
    return false;
}

struct slice match_domain(const struct match *pattern)
{
    return pattern->domain;
}

/* ---- expressions: compiling ----------------------------------------------------------------- */

static enum err compile_regex(struct slice text, struct arena *arena, struct match *match,
                              const char **fault)
{
    size_t close = slice_rfind_byte(text, '/');
    struct slice flags = slice_from(text, close + 1);
    enum err err = ERR_INVALID;

    if (close == 0 || (flags.len > 0 && !slice_equal(flags, SLICE("i")))) {
        *fault = "an expression ends in / or /i";
        return ERR_INVALID;
    }
    if (close == 1) {
        *fault = "the expression is empty";
        return ERR_INVALID;
    }
    struct compiler *compiler = mem_zalloc(sizeof *compiler);
    compiler->text = slice_sub(text, 1, close - 1);
    const struct node *root = parse_either(compiler);
    if (compiler->fault == NULL && compiler->at < compiler->text.len) {
        compiler->fault = "the expression closes a group that it did not open";
    }
    if (compiler->fault == NULL) {
        emit(compiler, root);
    }
    if (compiler->fault == NULL && compiler->inst_count == REGEX_STATES_MAX) {
        compiler->fault = "the expression is too large";
    }
    *fault = compiler->fault;
    if (compiler->fault == NULL) {
        compiler->insts[compiler->inst_count++].op = OP_FOUND;
        err = keep_program(compiler, arena, match);
    }
    free(compiler);
    return err;
}

static enum err keep_program(const struct compiler *compiler, struct arena *arena,
                             struct match *match)
{
    size_t inst_bytes = compiler->inst_count * sizeof compiler->insts[0];
    size_t set_bytes = compiler->set_count * sizeof compiler->sets[0];
    struct inst *insts = arena_try(arena, inst_bytes);
    struct byte_set *sets = arena_try(arena, set_bytes + 1); /* there may be none */

    if (insts == NULL || sets == NULL) {
        return ERR_TOO_LARGE;
    }
    memcpy(insts, compiler->insts, inst_bytes);
    memcpy(sets, compiler->sets, set_bytes);
    *match = (struct match){
        .kind = MATCH_REGEX, .insts = insts, .sets = sets, .inst_count = compiler->inst_count};
    return ERR_OK;
}

static bool has_more(const struct compiler *compiler)
{
    return compiler->fault == NULL && compiler->at < compiler->text.len;
}

static bool is_next(const struct compiler *compiler, char c)
{
    return has_more(compiler) && compiler->text.data[compiler->at] == c;
}

static bool skip(struct compiler *compiler, char c)
{
    bool is_there = is_next(compiler, c);

    compiler->at += is_there;
    return is_there;
}

static struct node *new_node(struct compiler *compiler, enum node_kind kind)
{
    CHECK(compiler->node_count < NODES_MAX); /* two for each byte of text */
    struct node *node = &compiler->nodes[compiler->node_count++];

    node->kind = kind;
    return node;
}

static struct node *refuse(struct compiler *compiler, const char *fault)
{
    if (compiler->fault == NULL) {
        compiler->fault = fault;
    }
    return &compiler->nodes[0]; /* never looked at */
}

/* sequence *( "|" sequence ) */
static struct node *parse_either(struct compiler *compiler)
{
    struct node *first = parse_sequence(compiler);
    struct node **last = &first;

    while (skip(compiler, '|')) {
        struct node *either = new_node(compiler, NODE_EITHER);
        either->left = *last;
        either->right = parse_sequence(compiler);
        *last = either;
        last = &either->right;
    }
    return first;
}

/* Items up to '|', ')' or the end; none at all is the empty text. */
static struct node *parse_sequence(struct compiler *compiler)
{
    struct node *first = NULL;
    struct node **last = &first;

    while (has_more(compiler) && !is_next(compiler, '|') && !is_next(compiler, ')')) {
        struct node *item = parse_item(compiler);
        if (*last == NULL) {
            *last = item;
            continue;
        }
        struct node *sequence = new_node(compiler, NODE_SEQUENCE);
        sequence->left = *last;
        sequence->right = item;
        *last = sequence;
        last = &sequence->right;
    }
    return first != NULL ? first : new_node(compiler, NODE_EMPTY);
}

/* One thing and how often it may occur. */
static struct node *parse_item(struct compiler *compiler)
{
    uint32_t least = 1;
    uint32_t most = 1;
    bool can_repeat = false;
    struct node *item = NULL;

    if (parse_count(compiler, &least, &most)) {
        return refuse(compiler, "the expression repeats nothing");
    }
    if (skip(compiler, '^')) {
        item = new_node(compiler, NODE_BEGIN);
    } else if (skip(compiler, '$')) {
        item = new_node(compiler, NODE_END);
    } else {
        can_repeat = true;
        if (skip(compiler, '(')) {
            item = parse_group(compiler);
        } else if (skip(compiler, '[')) {
            item = parse_class(compiler);
        } else if (skip(compiler, '\\')) {
            item = parse_escape(compiler);
        } else if (skip(compiler, '.')) {
            item = new_node(compiler, NODE_ANY);
        } else {
            item = parse_character(compiler);
        }
    }
    if (!parse_count(compiler, &least, &most)) {
        return item;
    }
    (void)skip(compiler, '?'); /* lazy: the answer is the same */
    uint32_t again_least = 0;
    uint32_t again_most = 0;
    if (!can_repeat || parse_count(compiler, &again_least, &again_most)) {
        return refuse(compiler, "the expression repeats what cannot be repeated");
    }
    struct node *repeat = new_node(compiler, NODE_REPEAT);
    repeat->left = item;
    repeat->least = least;
    repeat->most = most;
    return repeat;
}

/* * + ? {n} {n,} {n,m}. Braces that hold anything else are ordinary: '{' may stand in an address.
 */
static bool parse_count(struct compiler *compiler, uint32_t *least, uint32_t *most)
{
    struct slice text = compiler->text;
    size_t at = compiler->at + 1;
    uint32_t low = 0;
    uint32_t high = FOREVER;

    if (skip(compiler, '*') || skip(compiler, '+') || skip(compiler, '?')) {
        char c = text.data[compiler->at - 1];
        *least = c == '+' ? 1 : 0;
        *most = c == '?' ? 1 : FOREVER;
        return true;
    }
    if (!is_next(compiler, '{') || !parse_digits(text, &at, &low)) {
        return false;
    }
    bool has_comma = at < text.len && text.data[at] == ',';
    at += has_comma;
    if (!has_comma) {
        high = low;
    } else if (at < text.len && text.data[at] != '}' && !parse_digits(text, &at, &high)) {
        return false;
    }
    if (at >= text.len || text.data[at] != '}') {
        return false;
    }
    if (low > REGEX_REPEAT_MAX || (high != FOREVER && high > REGEX_REPEAT_MAX)) {
        (void)refuse(compiler, "the expression repeats something too often");
    } else if (low > high) {
        (void)refuse(compiler, "in {n,m} n is more than m");
    }
    compiler->at = at + 1;
    *least = low;
    *most = high;
    return true;
}

/* Saturates far above what is allowed. */
static bool parse_digits(struct slice text, size_t *at, uint32_t *number)
{
    size_t start = *at;

    *number = 0;
    while (*at < text.len && ascii_is_digit(text.data[*at])) {
        uint32_t digit = (uint32_t)(text.data[*at] - '0');
        *number = *number > REGEX_REPEAT_MAX ? *number : *number * 10 + digit;
        (*at)++;
    }
    return *at > start;
}

static struct node *parse_group(struct compiler *compiler)
{
    if (skip(compiler, '?') && !skip(compiler, ':')) {
        return refuse(compiler, "of the groups that begin with (? only (?: is known");
    }
    if (compiler->depth == REGEX_DEPTH_MAX) {
        return refuse(compiler, "the expression has too many groups within groups");
    }
    compiler->depth++;
    struct node *inner = parse_either(compiler);
    compiler->depth--;
    if (compiler->fault == NULL && !skip(compiler, ')')) {
        return refuse(compiler, "the expression does not close a group");
    }
    return inner;
}

/* A character of UTF-8 is one item, so that a star behind it means all of it. */
static struct node *parse_character(struct compiler *compiler)
{
    char c = compiler->text.data[compiler->at++];
    struct node *node = new_node(compiler, NODE_BYTE);

    node->byte = (uint8_t)ascii_lower(c);
    if (((uint8_t)c & 0x80) == 0 || !has_more(compiler) ||
        ((uint8_t)compiler->text.data[compiler->at] & 0xc0) != 0x80) {
        return node;
    }
    struct node *sequence = new_node(compiler, NODE_SEQUENCE);
    sequence->left = node;
    sequence->right = parse_character(compiler); /* three deep at most */
    return sequence;
}

/* ---- classes -------------------------------------------------------------------------------- */

static void set_add(struct byte_set *set, uint8_t byte)
{
    set->bits[byte / 32] |= UINT32_C(1) << byte % 32;
}

static bool set_has(const struct byte_set *set, uint8_t byte)
{
    return (set->bits[byte / 32] >> byte % 32 & 1) != 0;
}

static void set_turn(struct byte_set *set)
{
    for (size_t i = 0; i < ARRAY_LEN(set->bits); i++) {
        set->bits[i] = ~set->bits[i];
    }
}

/* What \d, \w and \s mean, and in capitals everything else. False for another letter. */
static bool set_add_named(struct byte_set *set, char name)
{
    struct byte_set named = {{0}};
    char kind = ascii_lower(name);

    if (kind != 'd' && kind != 'w' && kind != 's') {
        return false;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        bool is_word = ascii_is_alpha(c) || ascii_is_digit(c) || c == '_';
        bool is_space = ascii_is_space(c) || c == '\f' || c == '\v';
        if (kind == 'd' ? ascii_is_digit(c) : kind == 'w' ? is_word : is_space) {
            set_add(&named, (uint8_t)byte);
        }
    }
    if (kind != name) {
        set_turn(&named);
    }
    for (size_t i = 0; i < ARRAY_LEN(set->bits); i++) {
        set->bits[i] |= named.bits[i];
    }
    return true;
}

static struct node *new_set(struct compiler *compiler, const struct byte_set *set)
{
    struct node *node = new_node(compiler, NODE_SET);

    while (node->set < compiler->set_count &&
           memcmp(&compiler->sets[node->set], set, sizeof *set) != 0) {
        node->set++;
    }
    if (node->set == compiler->set_count) {
        CHECK(compiler->set_count < SETS_MAX);
        compiler->sets[compiler->set_count++] = *set;
    }
    return node;
}

static struct node *parse_escape(struct compiler *compiler)
{
    struct byte_set set = {{0}};

    if (!has_more(compiler)) {
        return refuse(compiler, "the expression ends in a backslash");
    }
    char c = compiler->text.data[compiler->at];
    if (set_add_named(&set, c)) {
        compiler->at++;
        return new_set(compiler, &set);
    }
    if (c >= '1' && c <= '9') {
        return refuse(compiler, "back references are not supported");
    }
    if (ascii_is_alpha(c) || c == '0') {
        return refuse(compiler, "of the letters behind a backslash only d, w and s are known");
    }
    return parse_character(compiler);
}

/* What stands between brackets; a ']' that comes first stands for itself. */
static struct node *parse_class(struct compiler *compiler)
{
    struct byte_set set = {{0}};
    bool is_turned = skip(compiler, '^');
    bool is_first = true;

    while (has_more(compiler) && (is_first || !is_next(compiler, ']'))) {
        uint8_t low = 0;
        uint8_t high = 0;
        is_first = false;
        if (!parse_class_byte(compiler, &set, &low)) {
            continue;
        }
        high = low;
        struct slice rest = slice_from(compiler->text, compiler->at);
        if (rest.len > 1 && rest.data[0] == '-' && rest.data[1] != ']') {
            compiler->at++;
            if (!parse_class_byte(compiler, &set, &high)) {
                set_add(&set, low); /* [a-\d]: the '-' stands for itself */
                low = high = '-';
            }
        }
        if (low > high) {
            return refuse(compiler, "a range of the expression is upside down");
        }
        for (unsigned byte = low; byte <= high; byte++) {
            set_add(&set, (uint8_t)byte);
        }
    }
    if (compiler->fault == NULL && !skip(compiler, ']')) {
        return refuse(compiler, "the expression does not close a [");
    }
    /* Case is folded before the set is turned: [^A] is not to take 'a'. */
    for (unsigned byte = 'A'; byte <= 'Z'; byte++) {
        if (set_has(&set, (uint8_t)byte)) {
            set_add(&set, (uint8_t)(byte + 'a' - 'A'));
        }
    }
    if (is_turned) {
        set_turn(&set);
    }
    return new_set(compiler, &set);
}

/* One byte of a class; false when it was a named set, which is added, or a fault. */
static bool parse_class_byte(struct compiler *compiler, struct byte_set *set, uint8_t *byte)
{
    struct slice rest = slice_from(compiler->text, compiler->at);
    char c = rest.data[0];

    compiler->at++;
    if (c == '[' && rest.len > 1 && memchr(":.=", rest.data[1], 3) != NULL) {
        (void)refuse(compiler, "[:names:] of classes are not supported");
        return false;
    }
    if (c == '\\') {
        if (rest.len < 2) {
            (void)refuse(compiler, "the expression ends in a backslash");
            return false;
        }
        c = rest.data[1];
        compiler->at++;
        if (set_add_named(set, c)) {
            return false;
        }
        if (ascii_is_alpha(c) || ascii_is_digit(c)) {
            (void)refuse(compiler, "of the letters behind a backslash only d, w and s are known");
            return false;
        }
    }
    if (((uint8_t)c & 0x80) != 0) {
        (void)refuse(compiler, "between [ and ] only ASCII may stand");
        return false;
    }
    *byte = (uint8_t)c;
    return true;
}

/* ---- programs ------------------------------------------------------------------------------- */

/* The place of a new instruction; another's when there is no room, which the fault tells. */
static uint16_t add_inst(struct compiler *compiler, enum op op)
{
    if (compiler->inst_count == REGEX_STATES_MAX) {
        (void)refuse(compiler, "the expression is too large");
        return 0;
    }
    compiler->insts[compiler->inst_count] = (struct inst){.op = (uint8_t)op};
    return (uint16_t)compiler->inst_count++;
}

static void emit(struct compiler *compiler, const struct node *node)
{
    while (node->kind == NODE_SEQUENCE && compiler->fault == NULL) {
        emit(compiler, node->left);
        node = node->right;
    }
    if (++compiler->emit_count > EMITS_MAX) {
        (void)refuse(compiler, "the expression is too large");
    }
    if (compiler->fault != NULL) {
        return;
    }
    switch (node->kind) {
    case NODE_SEQUENCE:
    case NODE_EMPTY:
        break;
    case NODE_BYTE:
        compiler->insts[add_inst(compiler, OP_BYTE)].byte = node->byte;
        break;
    case NODE_ANY:
        (void)add_inst(compiler, OP_ANY);
        break;
    case NODE_SET:
        compiler->insts[add_inst(compiler, OP_SET)].x = node->set;
        break;
    case NODE_BEGIN:
        (void)add_inst(compiler, OP_BEGIN);
        break;
    case NODE_END:
        (void)add_inst(compiler, OP_END);
        break;
    case NODE_EITHER:
        emit_either(compiler, node);
        break;
    case NODE_REPEAT:
        emit_repeat(compiler, node);
        break;
    }
}

/* Splits or jumps that wait for their end are chained through the field that will hold it. */
static void emit_either(struct compiler *compiler, const struct node *node)
{
    uint16_t chain = UINT16_MAX;

    while (node->kind == NODE_EITHER && compiler->fault == NULL) {
        uint16_t split = add_inst(compiler, OP_SPLIT);
        compiler->insts[split].x = (uint16_t)compiler->inst_count;
        emit(compiler, node->left);
        uint16_t jump = add_inst(compiler, OP_JUMP);
        compiler->insts[jump].x = chain;
        chain = jump;
        compiler->insts[split].y = (uint16_t)compiler->inst_count;
        node = node->right;
    }
    emit(compiler, node);
    while (chain != UINT16_MAX && compiler->fault == NULL) {
        uint16_t next = compiler->insts[chain].x;
        compiler->insts[chain].x = (uint16_t)compiler->inst_count;
        chain = next;
    }
}

static void emit_repeat(struct compiler *compiler, const struct node *node)
{
    uint16_t chain = UINT16_MAX;
    uint32_t start = compiler->inst_count;

    for (uint32_t i = 0; i < node->least && compiler->fault == NULL; i++) {
        start = compiler->inst_count;
        emit(compiler, node->left);
    }
    if (node->most == FOREVER && node->least > 0) {
        /* once more from the last copy, or on */
        uint16_t split = add_inst(compiler, OP_SPLIT);
        compiler->insts[split].x = (uint16_t)start;
        compiler->insts[split].y = (uint16_t)compiler->inst_count;
        return;
    }
    uint32_t optional = node->most == FOREVER ? 1 : node->most - node->least;
    for (uint32_t i = 0; i < optional && compiler->fault == NULL; i++) {
        uint16_t split = add_inst(compiler, OP_SPLIT);
        compiler->insts[split].x = (uint16_t)compiler->inst_count;
        compiler->insts[split].y = chain;
        chain = split;
        emit(compiler, node->left);
        if (node->most == FOREVER) {
            uint16_t jump = add_inst(compiler, OP_JUMP);
            compiler->insts[jump].x = split;
        }
    }
    while (chain != UINT16_MAX && compiler->fault == NULL) {
        uint16_t next = compiler->insts[chain].y;
        compiler->insts[chain].y = (uint16_t)compiler->inst_count;
        chain = next;
    }
}

/* ---- expressions: running ------------------------------------------------------------------- */

/* The states that take a byte and are alive at one place of the text. */
struct alive {
    uint32_t count;
    uint16_t states[REGEX_STATES_MAX];
};

struct runner {
    const struct match *match;
    size_t text_len;
    uint64_t steps;
    uint16_t marks[REGEX_STATES_MAX]; /* 1 + the place at which a state was last entered */
    uint16_t stack[REGEX_STATES_MAX];
    uint32_t depth;
};

static void enter(struct runner *runner, uint16_t state, size_t at)
{
    if (runner->marks[state] != at + 1) {
        runner->marks[state] = (uint16_t)(at + 1);
        runner->stack[runner->depth++] = state;
    }
}

/* Adds a state and all that can be reached from it without taking a byte. True when one of them is
 * the end. */
static bool follow(struct runner *runner, uint16_t state, size_t at, struct alive *alive)
{
    runner->depth = 0;
    enter(runner, state, at);
    while (runner->depth > 0) {
        uint16_t here = runner->stack[--runner->depth];
        const struct inst *inst = &runner->match->insts[here];
        runner->steps++;
        switch ((enum op)inst->op) {
        case OP_BYTE:
        case OP_ANY:
        case OP_SET:
            alive->states[alive->count++] = here;
            break;
        case OP_SPLIT:
            enter(runner, inst->y, at);
            enter(runner, inst->x, at);
            break;
        case OP_JUMP:
            enter(runner, inst->x, at);
            break;
        case OP_BEGIN:
            if (at == 0) {
                enter(runner, (uint16_t)(here + 1), at);
            }
            break;
        case OP_END:
            if (at == runner->text_len) {
                enter(runner, (uint16_t)(here + 1), at);
            }
            break;
        case OP_FOUND:
            return true;
        }
    }
    return false;
}

static bool takes(const struct match *match, const struct inst *inst, uint8_t byte)
{
    return inst->op == OP_ANY || (inst->op == OP_BYTE && inst->byte == byte) ||
           (inst->op == OP_SET && set_has(&match->sets[inst->x], byte));
}

static bool run(const struct match *match, struct slice text, uint64_t *steps)
{
    struct runner runner;
    struct alive lists[2];
    struct alive *now = &lists[0];
    struct alive *next = &lists[1];
    bool is_anchored = match->insts[0].op == OP_BEGIN;
    bool is_found = false;

    runner.match = match;
    runner.text_len = text.len;
    runner.steps = 0;
    memset(runner.marks, 0, match->inst_count * sizeof runner.marks[0]);
    now->count = 0;
    for (size_t at = 0; !is_found; at++) {
        /* It may begin anywhere, unless it says that it does not. */
        if (at == 0 || !is_anchored) {
            is_found = follow(&runner, 0, at, now);
        }
        if (is_found || at == text.len || (is_anchored && now->count == 0)) {
            break;
        }
        uint8_t byte = (uint8_t)ascii_lower(text.data[at]);
        next->count = 0;
        for (uint32_t i = 0; i < now->count && !is_found; i++) {
            uint16_t state = now->states[i];
            if (takes(match, &match->insts[state], byte)) {
                is_found = follow(&runner, (uint16_t)(state + 1), at + 1, next);
            }
        }
        struct alive *done = now;
        now = next;
        next = done;
    }
    *steps += runner.steps;
    return is_found;
}
