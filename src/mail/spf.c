/* spf.c - the machine that judges a client by the records of a domain, RFC 7208 4.
 *
 *           record <-------------- include, redirect
 *             |                          |
 *             v                          |
 *   start -> term ---> address, exists --+--> back to term, or matched
 *             ^  ----> mx ---> host -----+
 *             |  ----> ptr --> name -----+    (also for the macro p)
 *             v
 *          explain --> reason --> done
 *
 * In term and explain the machine works; in every other state one question is open. Records form a
 * stack: include puts one on top, redirect replaces the top. A frame on the stack has used up a
 * look-up, so ten look-ups bound its height.
 */
#include "mail/spf.h"

#include "base/check.h"
#include "base/sm.h"
#include "mail/addr.h"
#include "mail/spf_int.h"

#include <string.h>

enum {
    STATE_RECORD,
    STATE_TERM,
    STATE_ADDRESS,
    STATE_EXISTS,
    STATE_MX,
    STATE_HOST,
    STATE_PTR,
    STATE_NAME,
    STATE_EXPLAIN,
    STATE_REASON,
    STATE_DONE,
    STATE_COUNT
};

#define TO_ASK                                                                                     \
    (SM_TO(STATE_RECORD) | SM_TO(STATE_ADDRESS) | SM_TO(STATE_EXISTS) | SM_TO(STATE_MX) |          \
     SM_TO(STATE_HOST) | SM_TO(STATE_PTR) | SM_TO(STATE_NAME))
#define TO_WORK (SM_TO(STATE_TERM) | SM_TO(STATE_EXPLAIN) | SM_TO(STATE_DONE))

static const struct sm_state states[STATE_COUNT] = {
    [STATE_RECORD] = {"record", TO_WORK},
    [STATE_TERM] = {"term", TO_ASK | TO_WORK},
    [STATE_ADDRESS] = {"address", TO_WORK},
    [STATE_EXISTS] = {"exists", TO_WORK},
    [STATE_MX] = {"mx", TO_WORK | SM_TO(STATE_HOST)},
    [STATE_HOST] = {"host", TO_WORK | SM_TO(STATE_HOST)},
    [STATE_PTR] = {"ptr", TO_WORK},
    [STATE_NAME] = {"name", TO_WORK},
    [STATE_EXPLAIN] = {"explain",
                       SM_TO(STATE_PTR) | SM_TO(STATE_NAME) | SM_TO(STATE_REASON) | TO_WORK},
    [STATE_REASON] = {"reason", SM_TO(STATE_EXPLAIN) | SM_TO(STATE_DONE)},
    [STATE_DONE] = {"done", 0},
};

static const struct sm_table table = {"spf", states, STATE_COUNT};

struct name {
    char data[DOMAIN_MAX];
    uint8_t len;
};
_Static_assert(DOMAIN_MAX <= UINT8_MAX, "a name's length fits");

struct frame {
    struct slice domain;
    struct slice rest;     /* of the record: terms not yet read */
    struct slice redirect; /* specs of the modifiers; data NULL: not there */
    struct slice explanation;
    struct spf_term include; /* of this record, while the frame above is judged */
    bool is_redirected;      /* then "no record" is an error */
};

enum validity { NAME_UNKNOWN, NAME_VALID, NAME_INVALID };

struct spf {
    struct arena *arena;
    struct sm sm;
    struct spf_verdict verdict;
    struct ip6 client;
    struct slice local;
    struct slice sender_domain;
    struct slice helo;
    struct slice receiver;
    uint64_t now_s;

    struct frame frames[SPF_LOOKUPS_MAX + 1];
    uint32_t depth;
    struct spf_term term;
    bool has_term; /* begun and waiting for an answer */
    uint32_t lookup_count;
    uint32_t void_count;

    enum lookup_type question_type;
    struct name question;

    struct name hosts[SPF_HOSTS_MAX]; /* of the mx in hand */
    uint32_t host_count;
    uint32_t host_at;

    struct name names[SPF_NAMES_MAX]; /* of the client: the same for the whole check */
    enum validity validity[SPF_NAMES_MAX];
    uint32_t name_count;
    uint32_t name_at;
    bool has_names;

    struct slice reason; /* text of the explanation, before its macros are expanded */
    bool has_reason;
};

_Static_assert(sizeof(struct spf) <= 12 * KIB, "the machine has its part of SPF_ARENA_BYTES");

static bool start_identity(struct spf *spf, const struct spf_input *input);
static void run(struct spf *spf);
static void step_term(struct spf *spf);
static void step_explain(struct spf *spf);
static void judge_term(struct spf *spf);
static void on_record(struct spf *spf, const struct lookup_answer *answer);
static void on_address(struct spf *spf, const struct lookup_answer *answer);
static void on_mx(struct spf *spf, const struct lookup_answer *answer);
static void on_names(struct spf *spf, const struct lookup_answer *answer);
static void on_reason(struct spf *spf, const struct lookup_answer *answer);
static void matched(struct spf *spf);
static void unmatched(struct spf *spf);
static void frame_ends(struct spf *spf, enum spf_result result, struct slice mechanism);
static void conclude(struct spf *spf, enum spf_result result, struct slice mechanism);
static void give_error(struct spf *spf, enum spf_result result, struct slice problem);
static struct slice keep(struct spf *spf, struct slice text);

static struct frame *top(struct spf *spf)
{
    return &spf->frames[spf->depth];
}

static struct slice name_slice(const struct name *name)
{
    return slice_of(name->data, name->len);
}

/* ---- names ---------------------------------------------------------------------------------- */

static bool set_name(struct name *name, struct slice text)
{
    if (slice_ends(text, SLICE("."))) {
        text.len--;
    }
    if (!lookup_name_is_valid(text)) {
        return false;
    }
    memcpy(name->data, text.data, text.len);
    name->len = (uint8_t)text.len;
    return true;
}

/* A domain whose record may be asked for (RFC 7208 4.3): more than one label, no address literal.
 * U-labels are converted, because records name A-labels (RFC 8616 4). */
static bool to_domain(struct spf *spf, struct slice text, struct slice *domain)
{
    struct slice ascii = text;

    if (!slice_is_ascii(text) && domain_normalise(text, false, spf->arena, &ascii) != ERR_OK) {
        return false;
    }
    if (slice_ends(ascii, SLICE("."))) {
        ascii.len--;
    }
    if (!lookup_name_is_valid(ascii) || !slice_has_byte(ascii, '.') || ascii.data[0] == '[') {
        return false;
    }
    *domain = keep(spf, ascii);
    return domain->len > 0;
}

/* ---- beginning, asking, ending -------------------------------------------------------------- */

struct spf *spf_start(struct arena *arena, const struct spf_input *input)
{
    CHECK(arena->max_bytes - arena->used_bytes >= SPF_ARENA_BYTES);
    struct spf *spf = arena_alloc(arena, sizeof(*spf));
    spf->arena = arena;
    spf->client = input->client;
    spf->now_s = input->now_s;
    spf->receiver = keep(spf, slice_head(input->receiver, DNS_NAME_MAX));
    sm_init(&spf->sm, &table, STATE_TERM);
    if (!start_identity(spf, input)) {
        conclude(spf, SPF_NONE, SLICE(""));
        return spf;
    }
    spf->verdict.domain = spf->frames[0].domain;
    bool is_set = set_name(&spf->question, spf->frames[0].domain);
    CHECK(is_set);
    spf->question_type = LOOKUP_TXT;
    sm_move(&spf->sm, STATE_RECORD);
    return spf;
}

static bool start_identity(struct spf *spf, const struct spf_input *input)
{
    struct slice helo = slice_head(input->helo, DNS_NAME_MAX);
    if (!to_domain(spf, helo, &spf->helo)) {
        spf->helo = keep(spf, helo); /* %{h} may hold anything (RFC 7208 7.3) */
    }
    struct slice sender = input->mail_from;
    if (sender.len > ADDR_MAX) {
        return false;
    }
    size_t at = slice_rfind_byte(sender, '@');
    spf->local = at != SIZE_MAX && at > 0 ? keep(spf, slice_head(sender, at)) : SLICE("postmaster");
    struct slice text = sender.len == 0  ? helo
                        : at != SIZE_MAX ? slice_from(sender, at + 1)
                                         : sender;
    if (!to_domain(spf, text, &spf->frames[0].domain)) {
        return false;
    }
    spf->sender_domain = spf->frames[0].domain;
    return true;
}

/* The sum in limits.h holds for what one check keeps; an arena that is shared may still be full. */
static struct slice keep(struct spf *spf, struct slice text)
{
    char *copy = arena_try(spf->arena, text.len + 1);

    if (copy == NULL) {
        return SLICE("");
    }
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    return slice_of(copy, text.len);
}

bool spf_next(const struct spf *spf, struct lookup_question *question)
{
    if (spf->sm.state == STATE_DONE) {
        return false;
    }
    *question = (struct lookup_question){
        .type = spf->question_type,
        .name = name_slice(&spf->question),
    };
    return true;
}

void spf_answer(struct spf *spf, const struct lookup_answer *answer)
{
    struct lookup_answer read = *answer;

    CHECK(spf->sm.state != STATE_DONE);
    if (read.outcome == LOOKUP_FOUND && read.count == 0) {
        read.outcome = LOOKUP_NO_RECORD;
    }
    switch (spf->sm.state) {
    case STATE_RECORD:
        on_record(spf, &read);
        break;
    case STATE_ADDRESS:
    case STATE_EXISTS:
    case STATE_HOST:
        on_address(spf, &read);
        break;
    case STATE_MX:
        on_mx(spf, &read);
        break;
    case STATE_PTR:
    case STATE_NAME:
        on_names(spf, &read);
        break;
    case STATE_REASON:
        on_reason(spf, &read);
        break;
    default: /* run leaves no other state */
        break;
    }
    run(spf);
}

void spf_stop(struct spf *spf)
{
    if (spf->sm.state == STATE_DONE) {
        return;
    }
    if (spf->verdict.result == SPF_FAIL) { /* known before its explanation is sought */
        sm_move(&spf->sm, STATE_DONE);
        return;
    }
    give_error(spf, SPF_TEMPERROR, SLICE("it took too long"));
}

const struct spf_verdict *spf_verdict(const struct spf *spf)
{
    CHECK(spf->sm.state == STATE_DONE);
    return &spf->verdict;
}

const char *spf_result_text(enum spf_result result)
{
    static const char *const texts[] = {
        [SPF_NONE] = "none",           [SPF_NEUTRAL] = "neutral",   [SPF_PASS] = "pass",
        [SPF_FAIL] = "fail",           [SPF_SOFTFAIL] = "softfail", [SPF_TEMPERROR] = "temperror",
        [SPF_PERMERROR] = "permerror",
    };
    CHECK(result < ARRAY_LEN(texts));
    return texts[result];
}

/* ---- records -------------------------------------------------------------------------------- */

static void run(struct spf *spf)
{
    while (spf->sm.state == STATE_TERM || spf->sm.state == STATE_EXPLAIN) {
        if (spf->sm.state == STATE_TERM) {
            step_term(spf);
        } else {
            step_explain(spf);
        }
    }
}

static void ask(struct spf *spf, uint8_t state, enum lookup_type type, const struct name *name)
{
    spf->question_type = type;
    spf->question = *name;
    sm_move(&spf->sm, state);
}

static void ask_address(struct spf *spf, uint8_t state, const struct name *name)
{
    ask(spf, state, ip6_is_v4(&spf->client) ? LOOKUP_A : LOOKUP_AAAA, name);
}

/* RFC 7208 4.4 to 4.6: one record, understood from end to end. */
static void on_record(struct spf *spf, const struct lookup_answer *answer)
{
    struct frame *frame = top(spf);
    struct slice terms = SLICE("");
    uint32_t found = 0;

    if (answer->outcome == LOOKUP_FAILED) {
        give_error(spf, SPF_TEMPERROR, SLICE("a record could not be looked up"));
        return;
    }
    for (uint32_t i = 0; answer->outcome == LOOKUP_FOUND && i < answer->count; i++) {
        struct slice after;
        if (spf_record_is(answer->records[i].text, &after)) {
            found++;
            terms = after;
        }
    }
    if (found == 0 && !frame->is_redirected) {
        frame_ends(spf, SPF_NONE, SLICE(""));
        return;
    }
    if (found != 1 || terms.len > SPF_RECORD_MAX) {
        give_error(spf, SPF_PERMERROR,
                   found == 0  ? SLICE("a redirect leads to no record")
                   : found > 1 ? SLICE("a domain has several records")
                               : SLICE("a record is too large"));
        return;
    }
    frame->rest = keep(spf, terms);
    frame->redirect = frame->explanation = (struct slice){.data = NULL, .len = 0};
    if (frame->rest.len < terms.len) {
        give_error(spf, SPF_TEMPERROR, SLICE("there is no room for the record"));
        return;
    }
    struct slice rest = frame->rest;
    struct spf_term term;
    enum term_outcome outcome;
    while ((outcome = spf_term_next(&rest, &term)) == TERM_READ) {
        struct slice *modifier = term.kind == TERM_REDIRECT ? &frame->redirect
                                 : term.kind == TERM_EXP    ? &frame->explanation
                                                            : NULL;
        if (modifier != NULL && modifier->data != NULL) { /* RFC 7208 6: once each */
            outcome = TERM_MALFORMED;
            break;
        }
        if (modifier != NULL) {
            *modifier = term.spec;
        }
    }
    if (outcome == TERM_MALFORMED) {
        give_error(spf, SPF_PERMERROR, SLICE("a record has a syntax error"));
        return;
    }
    spf->has_term = false;
    sm_move(&spf->sm, STATE_TERM);
}

/* ---- macros and the names of the client ----------------------------------------------------- */

/* 0: the domain itself, 1: below it, 2: elsewhere. */
static int name_class(struct slice name, struct slice domain)
{
    if (slice_equal_nocase(name, domain)) {
        return 0;
    }
    return name.len > domain.len && slice_ends_nocase(name, domain) &&
                   name.data[name.len - domain.len - 1] == '.'
               ? 1
               : 2;
}

/* A name of the client that leads back to it: the domain's own first, then one below it, then, when
 * worst is 2, any (RFC 7208 5.5, 7.3). False when a question must be answered first. *found is
 * SIZE_MAX when there is none. */
static bool find_name(struct spf *spf, struct slice domain, int worst, size_t *found)
{
    *found = SIZE_MAX;
    if (!spf->has_names) {
        char dots[MACRO_IP_MAX];
        struct name name = {.len = 0};
        struct slice ip = slice_of(dots, macro_ip_dots(&spf->client, dots));
        struct slice zone = ip6_is_v4(&spf->client) ? SLICE("in-addr.arpa") : SLICE("ip6.arpa");
        while (ip.len > 0) {
            size_t dot = slice_rfind_byte(ip, '.');
            struct slice part = slice_from(ip, dot + 1);
            memcpy(name.data + name.len, part.data, part.len);
            name.len = (uint8_t)(name.len + part.len);
            name.data[name.len++] = '.';
            ip = dot == SIZE_MAX ? SLICE("") : slice_head(ip, dot);
        }
        memcpy(name.data + name.len, zone.data, zone.len);
        name.len = (uint8_t)(name.len + zone.len);
        ask(spf, STATE_PTR, LOOKUP_PTR, &name);
        return false;
    }
    for (int class = 0; class <= worst; class ++) {
        for (uint32_t i = 0; i < spf->name_count; i++) {
            if (spf->validity[i] == NAME_INVALID ||
                name_class(name_slice(&spf->names[i]), domain) != class) {
                continue;
            }
            if (spf->validity[i] == NAME_UNKNOWN) {
                spf->name_at = i;
                ask_address(spf, STATE_NAME, &spf->names[i]);
                return false;
            }
            *found = i;
            return true;
        }
    }
    return true;
}

static bool has_client(const struct spf *spf, const struct lookup_answer *answer, uint8_t bits4,
                       uint8_t bits6)
{
    uint8_t bits = ip6_is_v4(&spf->client) ? (uint8_t)(96 + bits4) : bits6;

    for (uint32_t i = 0; answer->outcome == LOOKUP_FOUND && i < answer->count; i++) {
        struct cidr net = {.base = answer->records[i].ip, .bits = bits};
        if (cidr_has(&net, &spf->client)) {
            return true;
        }
    }
    return false;
}

static bool is_void(const struct lookup_answer *answer)
{
    return answer->outcome == LOOKUP_NO_RECORD || answer->outcome == LOOKUP_NO_NAME;
}

/* Counts a term in vain. True when it was one too many. */
static bool is_void_over(struct spf *spf, const struct lookup_answer *answer)
{
    if (is_void(answer) && ++spf->void_count > SPF_VOIDS_MAX) {
        give_error(spf, SPF_PERMERROR, SLICE("too many look-ups find nothing"));
        return true;
    }
    return false;
}

/* An error here only means that there are fewer names: the owner of the address made it. */
static void on_names(struct spf *spf, const struct lookup_answer *answer)
{
    bool is_explaining = spf->verdict.result == SPF_FAIL;

    if (spf->sm.state == STATE_NAME) {
        spf->validity[spf->name_at] = has_client(spf, answer, 32, 128) ? NAME_VALID : NAME_INVALID;
    } else {
        spf->has_names = true;
        for (uint32_t i = 0;
             answer->outcome == LOOKUP_FOUND && i < answer->count && i < SPF_NAMES_MAX; i++) {
            if (set_name(&spf->names[spf->name_count], answer->records[i].text)) {
                spf->name_count++;
            }
        }
        if (!is_explaining && spf->term.kind == TERM_PTR && is_void_over(spf, answer)) {
            return;
        }
    }
    sm_move(&spf->sm, is_explaining ? STATE_EXPLAIN : STATE_TERM);
}

/* False when a question must be answered first. */
static bool expand(struct spf *spf, struct slice spec, bool is_domain, struct macro_text *out)
{
    struct slice validated = SLICE("unknown"); /* RFC 7208 7.3 */

    if (macro_has_letter(spec, 'p')) {
        size_t found;
        if (!find_name(spf, top(spf)->domain, 2, &found)) {
            return false;
        }
        if (found != SIZE_MAX) {
            validated = name_slice(&spf->names[found]);
        }
    }
    struct macro_values values = {
        .local = spf->local,
        .sender_domain = spf->sender_domain,
        .domain = top(spf)->domain,
        .validated = validated,
        .helo = spf->helo,
        .receiver = spf->receiver,
        .client = &spf->client,
        .now_s = spf->now_s,
    };
    macro_expand(spec, &values, is_domain, out);
    return true;
}

enum target { TARGET_NAME, TARGET_NONE, TARGET_WAITS };

/* The name a term is about. None when what comes out cannot be a name. */
static enum target find_target(struct spf *spf, struct slice spec, struct name *name)
{
    struct macro_text text;

    if (spec.len == 0) {
        return set_name(name, top(spf)->domain) ? TARGET_NAME : TARGET_NONE;
    }
    if (!expand(spf, spec, true, &text)) {
        return TARGET_WAITS;
    }
    struct slice made = slice_of(text.data, text.len);
    if (slice_ends(made, SLICE("."))) {
        made.len--;
    }
    while (made.len > DOMAIN_MAX) { /* RFC 7208 7.3: labels go from the left */
        size_t dot = slice_find_byte(made, '.');
        if (dot == SIZE_MAX) {
            return TARGET_NONE;
        }
        made = slice_from(made, dot + 1);
    }
    return set_name(name, made) ? TARGET_NAME : TARGET_NONE;
}

/* ---- terms ---------------------------------------------------------------------------------- */

static void step_term(struct spf *spf)
{
    struct frame *frame = top(spf);

    if (!spf->has_term) {
        enum term_outcome outcome = spf_term_next(&frame->rest, &spf->term);
        CHECK(outcome != TERM_MALFORMED); /* on_record read it all */
        if (outcome == TERM_END) {
            if (frame->redirect.data == NULL) {
                frame_ends(spf, SPF_NEUTRAL, SLICE("default")); /* RFC 7208 4.7 */
                return;
            }
            spf->term = (struct spf_term){.kind = TERM_REDIRECT, .spec = frame->redirect};
        } else if (spf->term.kind >= TERM_REDIRECT) {
            return; /* modifiers have no turn of their own */
        }
        bool has_lookup =
            spf->term.kind != TERM_ALL && spf->term.kind != TERM_IP4 && spf->term.kind != TERM_IP6;
        if (has_lookup && ++spf->lookup_count > SPF_LOOKUPS_MAX) {
            give_error(spf, SPF_PERMERROR, SLICE("too many terms need look-ups"));
            return;
        }
        spf->has_term = true;
    }
    judge_term(spf);
}

static void enter_record(struct spf *spf, const struct name *name)
{
    struct slice domain = keep(spf, name_slice(name));

    if (domain.len == 0) {
        give_error(spf, SPF_TEMPERROR, SLICE("there is no room for the record"));
        return;
    }
    if (spf->term.kind == TERM_INCLUDE) {
        top(spf)->include = spf->term;
        spf->depth++; /* a look-up each, counted above */
        CHECK(spf->depth < ARRAY_LEN(spf->frames));
        *top(spf) = (struct frame){.is_redirected = false};
    } else {
        top(spf)->is_redirected = true;
    }
    top(spf)->domain = domain;
    ask(spf, STATE_RECORD, LOOKUP_TXT, name);
}

static void judge_ptr(struct spf *spf, const struct name *target)
{
    size_t found;

    if (find_name(spf, name_slice(target), 1, &found)) {
        if (found != SIZE_MAX) {
            matched(spf);
        } else {
            unmatched(spf);
        }
    }
}

static void judge_term(struct spf *spf)
{
    struct name name;
    enum term_kind kind = spf->term.kind;

    if (kind == TERM_ALL) {
        matched(spf);
        return;
    }
    if (kind == TERM_IP4 || kind == TERM_IP6) {
        /* An address of v4 is never one of v6, though it came over it (RFC 7208 5). */
        bool is_same_family = (kind == TERM_IP4) == ip6_is_v4(&spf->client);
        if (is_same_family && cidr_has(&spf->term.net, &spf->client)) {
            matched(spf);
        } else {
            unmatched(spf);
        }
        return;
    }
    enum target target = find_target(spf, spf->term.spec, &name);
    if (target == TARGET_WAITS) {
        return;
    }
    if (kind == TERM_INCLUDE || kind == TERM_REDIRECT) {
        /* RFC 7208 4.3 makes it "none", 5.2 and 6.1 make that an error. */
        if (target == TARGET_NONE || !slice_has_byte(name_slice(&name), '.')) {
            give_error(spf, SPF_PERMERROR, SLICE("a record leads to no domain"));
        } else {
            enter_record(spf, &name);
        }
    } else if (target == TARGET_NONE) {
        unmatched(spf);
    } else if (kind == TERM_A) {
        ask_address(spf, STATE_ADDRESS, &name);
    } else if (kind == TERM_EXISTS) {
        ask(spf, STATE_EXISTS, LOOKUP_A, &name); /* even for v6: RFC 7208 5.7 */
    } else if (kind == TERM_MX) {
        ask(spf, STATE_MX, LOOKUP_MX, &name);
    } else {
        CHECK(kind == TERM_PTR);
        judge_ptr(spf, &name);
    }
}

static void on_address(struct spf *spf, const struct lookup_answer *answer)
{
    uint8_t state = spf->sm.state;

    if (answer->outcome == LOOKUP_FAILED) {
        give_error(spf, SPF_TEMPERROR, SLICE("an address could not be looked up"));
        return;
    }
    if (state != STATE_HOST && is_void_over(spf, answer)) {
        return;
    }
    bool is_match = state == STATE_EXISTS
                        ? answer->outcome == LOOKUP_FOUND
                        : has_client(spf, answer, spf->term.bits4, spf->term.bits6);
    if (is_match) {
        matched(spf);
    } else if (state == STATE_HOST && ++spf->host_at < spf->host_count) {
        ask_address(spf, STATE_HOST, &spf->hosts[spf->host_at]);
    } else {
        unmatched(spf);
    }
}

/* RFC 7208 5.4: only the hosts named; the domain is not its own exchanger. */
static void on_mx(struct spf *spf, const struct lookup_answer *answer)
{
    if (answer->outcome == LOOKUP_FAILED) {
        give_error(spf, SPF_TEMPERROR, SLICE("an mx could not be looked up"));
        return;
    }
    if (is_void_over(spf, answer)) {
        return;
    }
    uint32_t count = answer->outcome == LOOKUP_FOUND ? answer->count : 0;
    if (count > SPF_HOSTS_MAX) {
        give_error(spf, SPF_PERMERROR, SLICE("an mx has too many hosts"));
        return;
    }
    spf->host_at = spf->host_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (set_name(&spf->hosts[spf->host_count], answer->records[i].text)) {
            spf->host_count++;
        }
    }
    if (spf->host_count == 0) {
        unmatched(spf);
    } else {
        ask_address(spf, STATE_HOST, &spf->hosts[0]);
    }
}

static void unmatched(struct spf *spf)
{
    spf->has_term = false;
    sm_move(&spf->sm, STATE_TERM);
}

static void matched(struct spf *spf)
{
    frame_ends(spf, spf->term.result, spf->term.text);
}

/* The record on top has a result. Under it an include waits for it (RFC 7208 5.2), and may give its
 * own record a result in turn. */
static void frame_ends(struct spf *spf, enum spf_result result, struct slice mechanism)
{
    while (spf->depth > 0) {
        if (result == SPF_NONE) {
            give_error(spf, SPF_PERMERROR, SLICE("an include leads to no record"));
            return;
        }
        spf->depth--;
        if (result != SPF_PASS) {
            unmatched(spf);
            return;
        }
        result = top(spf)->include.result;
        mechanism = top(spf)->include.text;
    }
    conclude(spf, result, mechanism);
}

static void give_error(struct spf *spf, enum spf_result result, struct slice problem)
{
    spf->verdict.problem = problem;
    spf->depth = 0; /* whatever includes it has the error too */
    conclude(spf, result, SLICE(""));
}

static void conclude(struct spf *spf, enum spf_result result, struct slice mechanism)
{
    spf->verdict.result = result;
    spf->verdict.mechanism = slice_head(mechanism, SPF_EXPLANATION_MAX);
    bool is_explained = result == SPF_FAIL && top(spf)->explanation.data != NULL;
    sm_move(&spf->sm, is_explained ? STATE_EXPLAIN : STATE_DONE);
}

/* ---- the explanation, RFC 7208 6.2 ---------------------------------------------------------- */

/* Whatever goes wrong here, the verdict stands, without words. */
static void step_explain(struct spf *spf)
{
    if (!spf->has_reason) {
        struct name name;
        enum target target = find_target(spf, top(spf)->explanation, &name);
        if (target == TARGET_NAME) {
            ask(spf, STATE_REASON, LOOKUP_TXT, &name);
        } else if (target == TARGET_NONE) {
            sm_move(&spf->sm, STATE_DONE);
        }
        return;
    }
    struct macro_text text;
    if (!expand(spf, spf->reason, false, &text)) {
        return;
    }
    struct slice made = slice_head(slice_of(text.data, text.len), SPF_EXPLANATION_MAX);
    if (slice_is_ascii(made) && !slice_has_control(made, "")) {
        spf->verdict.explanation = keep(spf, made);
    }
    sm_move(&spf->sm, STATE_DONE);
}

static void on_reason(struct spf *spf, const struct lookup_answer *answer)
{
    struct slice text =
        answer->outcome == LOOKUP_FOUND && answer->count == 1 ? answer->records[0].text : SLICE("");

    if (text.len == 0 || text.len > SPF_RECORD_MAX || !macro_is_valid(text, MACRO_EXPLANATION)) {
        sm_move(&spf->sm, STATE_DONE);
        return;
    }
    spf->reason = keep(spf, text);
    spf->has_reason = true;
    sm_move(&spf->sm, STATE_EXPLAIN);
}
