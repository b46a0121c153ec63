/* dmarc.c - the machine that aligns domains, RFC 9989 4.10 and 5.3.
 *
 *            +--> record ----+
 *            |               v
 *   start -> work <----------+----> done
 *            |               ^
 *            +--> existence -+
 *
 * Work begins anew after each answer: it runs through the steps of the RFC over what is known and
 * stops at the first thing that is not. What is known is a table of names with or without a record,
 * so that walks which meet share their questions.
 */
#include "mail/dmarc.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/sm.h"
#include "mail/addr.h"

#include <string.h>

enum { STATE_WORK, STATE_RECORD, STATE_EXISTENCE, STATE_DONE, STATE_COUNT };

static const struct sm_state states[STATE_COUNT] = {
    [STATE_WORK] = {"work", SM_TO(STATE_RECORD) | SM_TO(STATE_EXISTENCE) | SM_TO(STATE_DONE)},
    [STATE_RECORD] = {"record", SM_TO(STATE_WORK) | SM_TO(STATE_DONE)},
    [STATE_EXISTENCE] = {"existence", SM_TO(STATE_WORK) | SM_TO(STATE_DONE)},
    [STATE_DONE] = {"done", 0},
};

static const struct sm_table table = {"dmarc", states, STATE_COUNT};

/* The author's walk, and of each other domain what lies below the author's organizational one. */
#define NODES_MAX (DMARC_WALK_MAX + DMARC_IDS_MAX * (DMARC_WALK_MAX - 1))

struct node {
    struct slice name; /* the end of a domain in the arena */
    const struct dmarc_record *record;
    bool is_failed;
};

enum existence { EXISTENCE_UNKNOWN, EXISTENCE_YES, EXISTENCE_NO, EXISTENCE_FAILED };

struct dmarc {
    struct arena *arena;
    struct sm sm;
    struct dmarc_verdict verdict;
    struct dmarc_id ids[DMARC_IDS_MAX];
    uint32_t id_count;
    struct node nodes[NODES_MAX];
    uint32_t node_count;
    enum existence existence; /* of the author's domain */

    enum lookup_type question_type;
    char question[DOMAIN_MAX];
    size_t question_len;
    struct slice asked; /* the name whose record is asked for */
};
_Static_assert(sizeof(struct dmarc) <= 8 * KIB, "the machine has its part of DMARC_ARENA_BYTES");

enum walk { WALK_DONE, WALK_WAITS, WALK_FAILED };

struct walk_end {
    struct slice organization;
    const struct node *suffix; /* the record with psd=y that ended it, if one did */
};

static void work(struct dmarc *dmarc);
static void add_ids(struct dmarc *dmarc, const struct dmarc_input *input,
                    enum dmarc_outcome outcome);
static enum walk walk(struct dmarc *dmarc, struct slice start, struct walk_end *end);
static const struct node *look_at(struct dmarc *dmarc, struct slice name);
static void judge(struct dmarc *dmarc, const struct dmarc_record *record,
                  struct slice organization);
static void fail(struct dmarc *dmarc, const struct dmarc_record *record);
static void end_with_problem(struct dmarc *dmarc, enum dmarc_result result, struct slice problem);

/* ---- records, RFC 9989 4.7 ------------------------------------------------------------------ */

/* name "=" value, white space around both. Not tags.h: a malformed tag spoils a signature, but here
 * it is only left out. */
static bool cut_tag(struct slice *rest, struct slice *name, struct slice *value)
{
    struct slice tag = slice_cut(rest, ';');
    size_t equals = slice_find_byte(tag, '=');

    if (equals == SIZE_MAX) {
        return false;
    }
    *name = slice_trim(slice_head(tag, equals));
    *value = slice_trim(slice_from(tag, equals + 1));
    return true;
}

static bool read_policy(struct slice value, enum dmarc_policy *policy)
{
    for (int i = DMARC_POLICY_NONE; i <= DMARC_POLICY_REJECT; i++) {
        if (slice_equal_nocase(value, slice_str(dmarc_policy_text((enum dmarc_policy)i)))) {
            *policy = (enum dmarc_policy)i;
            return true;
        }
    }
    return false;
}

/* One URI at least: a scheme, a colon and more (RFC 3986 3). */
static bool has_uri(struct slice list)
{
    while (list.data != NULL) {
        struct slice uri = slice_trim(slice_cut(&list, ','));
        size_t colon = slice_find_byte(uri, ':');
        bool is_valid = colon != SIZE_MAX && colon > 0 && colon + 1 < uri.len &&
                        ascii_is_alpha(uri.data[0]) && !slice_has_byte(uri, ' ');
        for (size_t i = 0; is_valid && i < uri.len; i++) {
            char c = uri.data[i];
            is_valid = c > ' ' && c < 0x7f &&
                       (i >= colon || ascii_is_alpha(c) || ascii_is_digit(c) ||
                        slice_has_byte(SLICE("+-."), c));
        }
        if (is_valid) {
            return true;
        }
    }
    return false;
}

enum tag {
    TAG_P,
    TAG_SP,
    TAG_NP,
    TAG_PSD,
    TAG_T,
    TAG_ADKIM,
    TAG_ASPF,
    TAG_RUA,
    TAG_RUF,
    TAG_KINDS
};

/* Where a tag stands twice, the first is read. */
static void find_tags(struct slice rest, struct slice values[TAG_KINDS])
{
    static const char *const names[TAG_KINDS] = {"p",     "sp",   "np",  "psd", "t",
                                                 "adkim", "aspf", "rua", "ruf"};
    struct slice name;
    struct slice value;

    while (rest.data != NULL) {
        if (!cut_tag(&rest, &name, &value)) {
            continue;
        }
        for (size_t i = 0; i < TAG_KINDS; i++) {
            if (values[i].data == NULL && slice_equal_nocase(name, slice_str(names[i]))) {
                values[i] = value;
            }
        }
    }
}

bool dmarc_record_read(struct slice text, struct dmarc_record *record)
{
    struct slice rest = text;
    struct slice name;
    struct slice value;
    struct slice values[TAG_KINDS] = {{.data = NULL, .len = 0}};

    /* Nothing before the v; the value with its case. */
    if (text.len > DMARC_RECORD_MAX || !cut_tag(&rest, &name, &value) ||
        !slice_starts_nocase(text, SLICE("v")) || !slice_equal_nocase(name, SLICE("v")) ||
        !slice_equal(value, SLICE("DMARC1"))) {
        return false;
    }
    find_tags(rest, values);
    struct dmarc_record read = {
        .rua = values[TAG_RUA],
        .ruf = values[TAG_RUF],
        .is_testing = slice_equal_nocase(values[TAG_T], SLICE("y")),
        .is_strict_dkim = slice_equal_nocase(values[TAG_ADKIM], SLICE("s")),
        .is_strict_spf = slice_equal_nocase(values[TAG_ASPF], SLICE("s")),
        .psd = slice_equal_nocase(values[TAG_PSD], SLICE("y"))   ? DMARC_PSD_YES
               : slice_equal_nocase(values[TAG_PSD], SLICE("n")) ? DMARC_PSD_NO
                                                                 : DMARC_PSD_UNKNOWN,
    };
    /* Without p: none. Each is the default of the next. */
    enum dmarc_policy *policies[] = {&read.policy, &read.subdomain_policy, &read.missing_policy};
    bool is_misspelt = false;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        *policies[i] = i > 0 ? *policies[i - 1] : DMARC_POLICY_NONE;
        is_misspelt = is_misspelt || (values[TAG_P + i].data != NULL &&
                                      !read_policy(values[TAG_P + i], policies[i]));
    }
    read.is_usable = !is_misspelt || has_uri(read.rua);
    if (is_misspelt) { /* 4.10.1: as "p=none", for whoever reads reports */
        read.policy = read.subdomain_policy = read.missing_policy = DMARC_POLICY_NONE;
    }
    *record = read;
    return true;
}

/* ---- beginning, asking, ending -------------------------------------------------------------- */

static struct slice keep(struct dmarc *dmarc, struct slice text)
{
    char *copy = arena_try(dmarc->arena, text.len + 1);

    if (copy == NULL) {
        return SLICE("");
    }
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    return slice_of(copy, text.len);
}

static bool is_below(struct slice name, struct slice domain)
{
    return name.len > domain.len && slice_ends(name, domain) &&
           name.data[name.len - domain.len - 1] == '.';
}

/* Lower case A-labels. */
static bool to_domain(struct dmarc *dmarc, struct slice text, struct slice *domain)
{
    if (slice_ends(text, SLICE("."))) {
        text.len--;
    }
    if (!slice_is_ascii(text)) {
        return domain_normalise(text, true, dmarc->arena, domain) == ERR_OK;
    }
    if (!lookup_name_is_valid(text)) {
        return false;
    }
    *domain = arena_lower(dmarc->arena, text);
    return true;
}

struct dmarc *dmarc_start(struct arena *arena, const struct dmarc_input *input)
{
    CHECK(arena->max_bytes - arena->used_bytes >= DMARC_ARENA_BYTES);
    struct dmarc *dmarc = arena_alloc(arena, sizeof(*dmarc));
    dmarc->arena = arena;
    sm_init(&dmarc->sm, &table, STATE_WORK);
    if (!to_domain(dmarc, input->author, &dmarc->verdict.author)) {
        end_with_problem(dmarc, DMARC_PERMERROR, SLICE("there is no single author domain"));
        return dmarc;
    }
    add_ids(dmarc, input, DMARC_ID_PASS);
    add_ids(dmarc, input, DMARC_ID_TEMPERROR);
    work(dmarc);
    return dmarc;
}

static void add_ids(struct dmarc *dmarc, const struct dmarc_input *input,
                    enum dmarc_outcome outcome)
{
    for (uint32_t i = 0; i < input->id_count && dmarc->id_count < DMARC_IDS_MAX; i++) {
        struct dmarc_id id = input->ids[i];
        bool is_known = id.outcome != outcome || !to_domain(dmarc, id.domain, &id.domain);
        for (uint32_t n = 0; !is_known && n < dmarc->id_count; n++) {
            const struct dmarc_id *other = &dmarc->ids[n];
            is_known = other->is_dkim == id.is_dkim && other->outcome == outcome &&
                       slice_equal(other->domain, id.domain);
        }
        if (!is_known) {
            dmarc->ids[dmarc->id_count++] = id;
        }
    }
}

bool dmarc_next(const struct dmarc *dmarc, struct lookup_question *question)
{
    if (dmarc->sm.state == STATE_DONE) {
        return false;
    }
    *question = (struct lookup_question){
        .type = dmarc->question_type,
        .name = slice_of(dmarc->question, dmarc->question_len),
    };
    return true;
}

/* What the answer says of the name that was asked about. */
static struct node to_node(struct dmarc *dmarc, const struct lookup_answer *answer)
{
    struct slice author = dmarc->verdict.author;
    struct node node = {.name = dmarc->asked, .is_failed = answer->outcome == LOOKUP_FAILED};
    struct slice text = SLICE("");
    struct dmarc_record read;
    uint32_t found = 0;

    for (uint32_t i = 0; answer->outcome == LOOKUP_FOUND && i < answer->count; i++) {
        if (dmarc_record_read(answer->records[i].text, &read)) {
            text = answer->records[i].text;
            found++;
        }
    }
    if (found != 1) { /* several are none: 4.10 */
        return node;
    }
    /* Of names beside the author's only the fact and psd matter. */
    bool is_authors = slice_equal(author, node.name) || is_below(author, node.name);
    struct slice kept = is_authors ? keep(dmarc, text) : text;
    struct dmarc_record *record = arena_try(dmarc->arena, sizeof(*record));
    if (record == NULL || kept.len < text.len || !dmarc_record_read(kept, record)) {
        node.is_failed = true; /* the sum in limits.h holds, but the arena may be shared */
        return node;
    }
    if (!is_authors) {
        record->rua = record->ruf = SLICE("");
    }
    node.record = record;
    return node;
}

void dmarc_answer(struct dmarc *dmarc, const struct lookup_answer *answer)
{
    CHECK(dmarc->sm.state == STATE_RECORD || dmarc->sm.state == STATE_EXISTENCE);

    if (dmarc->sm.state == STATE_RECORD) {
        CHECK(dmarc->node_count < NODES_MAX);
        dmarc->nodes[dmarc->node_count++] = to_node(dmarc, answer);
    } else {
        dmarc->existence = answer->outcome == LOOKUP_FAILED    ? EXISTENCE_FAILED
                           : answer->outcome == LOOKUP_NO_NAME ? EXISTENCE_NO
                                                               : EXISTENCE_YES;
    }
    sm_move(&dmarc->sm, STATE_WORK);
    work(dmarc);
}

void dmarc_stop(struct dmarc *dmarc)
{
    if (dmarc->sm.state != STATE_DONE) {
        end_with_problem(dmarc, DMARC_TEMPERROR, SLICE("it took too long"));
    }
}

const struct dmarc_verdict *dmarc_verdict(const struct dmarc *dmarc)
{
    CHECK(dmarc->sm.state == STATE_DONE);
    return &dmarc->verdict;
}

static void end(struct dmarc *dmarc, enum dmarc_result result)
{
    dmarc->verdict.result = result;
    sm_move(&dmarc->sm, STATE_DONE);
}

static void end_with_problem(struct dmarc *dmarc, enum dmarc_result result, struct slice problem)
{
    dmarc->verdict.problem = problem;
    end(dmarc, result);
}

const char *dmarc_result_text(enum dmarc_result result)
{
    static const char *const texts[] = {
        [DMARC_NONE] = "none",           [DMARC_PASS] = "pass",           [DMARC_FAIL] = "fail",
        [DMARC_TEMPERROR] = "temperror", [DMARC_PERMERROR] = "permerror",
    };
    CHECK(result < ARRAY_LEN(texts));
    return texts[result];
}

const char *dmarc_policy_text(enum dmarc_policy policy)
{
    static const char *const texts[] = {
        [DMARC_POLICY_NONE] = "none",
        [DMARC_POLICY_QUARANTINE] = "quarantine",
        [DMARC_POLICY_REJECT] = "reject",
    };
    CHECK(policy < ARRAY_LEN(texts));
    return texts[policy];
}

/* ---- the walk, RFC 9989 4.10 ---------------------------------------------------------------- */

static uint32_t label_count(struct slice name)
{
    uint32_t count = 0;

    while (name.data != NULL) {
        (void)slice_cut(&name, '.'); /* only counted */
        count++;
    }
    return count;
}

/* The end of name that has this many labels. */
static struct slice last_labels(struct slice name, uint32_t count)
{
    uint32_t total = label_count(name);

    for (; total > count; total--) {
        name = slice_from(name, slice_find_byte(name, '.') + 1);
    }
    return name;
}

/* What is known of a name's record. NULL: the question is asked now. */
static const struct node *look_at(struct dmarc *dmarc, struct slice name)
{
    static const struct node nothing;
    static const struct slice PREFIX = SLICE_INIT("_dmarc.");

    for (uint32_t i = 0; i < dmarc->node_count; i++) {
        if (slice_equal(dmarc->nodes[i].name, name)) {
            return &dmarc->nodes[i];
        }
    }
    if (PREFIX.len + name.len > DOMAIN_MAX) {
        return &nothing; /* there can be no such record */
    }
    memcpy(dmarc->question, PREFIX.data, PREFIX.len);
    memcpy(dmarc->question + PREFIX.len, name.data, name.len);
    dmarc->question_len = PREFIX.len + name.len;
    dmarc->question_type = LOOKUP_TXT;
    dmarc->asked = name;
    sm_move(&dmarc->sm, STATE_RECORD);
    return NULL;
}

/* From start up to the top, jumping to seven labels; psd ends it. The organizational domain is the
 * one that says psd=n, or that lies below one that says psd=y, or the highest with a record, or the
 * start (4.10.2). */
static enum walk walk(struct dmarc *dmarc, struct slice start, struct walk_end *end)
{
    struct slice name = start;
    uint32_t count = label_count(start);

    *end = (struct walk_end){.organization = start};
    for (;;) {
        const struct node *node = look_at(dmarc, name);
        if (node == NULL) {
            return WALK_WAITS;
        }
        if (node->is_failed) {
            return WALK_FAILED;
        }
        enum dmarc_psd psd = node->record != NULL ? node->record->psd : DMARC_PSD_UNKNOWN;
        if (psd == DMARC_PSD_YES) {
            end->suffix = node;
            end->organization = last_labels(start, count + (name.len < start.len ? 1 : 0));
            return WALK_DONE;
        }
        if (node->record != NULL) {
            end->organization = name;
        }
        if (psd == DMARC_PSD_NO || count == 1) {
            return WALK_DONE;
        }
        count = count < DMARC_WALK_MAX ? count - 1 : DMARC_WALK_MAX - 1;
        name = last_labels(name, count);
    }
}

/* ---- the verdict, RFC 9989 5.3 -------------------------------------------------------------- */

static bool is_strict(const struct dmarc_record *record, const struct dmarc_id *id)
{
    return id->is_dkim ? record->is_strict_dkim : record->is_strict_spf;
}

static bool is_author(const struct dmarc *dmarc, const struct dmarc_id *id)
{
    return slice_equal(id->domain, dmarc->verdict.author);
}

static void pass(struct dmarc *dmarc, const struct dmarc_id *id)
{
    dmarc->verdict.aligned = id->domain;
    dmarc->verdict.is_dkim = id->is_dkim;
    end(dmarc, DMARC_PASS);
}

/* Whether the author's organizational domain can matter though its own record is there. */
static bool needs_organization(const struct dmarc *dmarc, const struct dmarc_record *record)
{
    for (uint32_t i = 0; i < dmarc->id_count; i++) {
        if (!is_author(dmarc, &dmarc->ids[i]) && !is_strict(record, &dmarc->ids[i])) {
            return true;
        }
    }
    return false;
}

static bool take_record(struct dmarc *dmarc, struct slice domain, const struct dmarc_record *record)
{
    bool is_own = slice_equal(domain, dmarc->verdict.author);

    if (!record->is_usable) {
        end_with_problem(dmarc, DMARC_PERMERROR, SLICE("the record's policy is malformed"));
        return false;
    }
    dmarc->verdict.policy_domain = domain;
    dmarc->verdict.rua = record->rua;
    dmarc->verdict.ruf = record->ruf;
    dmarc->verdict.is_testing = record->is_testing;
    dmarc->verdict.published = is_own ? record->policy : record->subdomain_policy;
    return true;
}

static void work(struct dmarc *dmarc)
{
    struct slice author = dmarc->verdict.author;
    const struct node *own = look_at(dmarc, author);
    const struct node *policy = own;
    struct walk_end up = {.organization = author};

    if (own == NULL) {
        return;
    }
    if (own->is_failed) {
        end_with_problem(dmarc, DMARC_TEMPERROR, SLICE("the record could not be looked up"));
        return;
    }
    if (own->record != NULL) {
        if (!take_record(dmarc, author, own->record)) {
            return;
        }
        for (uint32_t i = 0; i < dmarc->id_count; i++) {
            if (dmarc->ids[i].outcome == DMARC_ID_PASS && is_author(dmarc, &dmarc->ids[i])) {
                pass(dmarc, &dmarc->ids[i]);
                return;
            }
        }
    }
    if (own->record == NULL || needs_organization(dmarc, own->record)) {
        enum walk walked = walk(dmarc, author, &up);
        if (walked == WALK_FAILED) {
            end_with_problem(dmarc, DMARC_TEMPERROR, SLICE("a record could not be looked up"));
        }
        if (walked != WALK_DONE) {
            return;
        }
    }
    if (own->record == NULL) {
        /* 4.10.1: the organizational domain's record; without one, its public suffix speaks. */
        policy = up.suffix;
        for (uint32_t i = 0; i < dmarc->node_count; i++) {
            const struct node *node = &dmarc->nodes[i];
            if (node->record != NULL && slice_equal(node->name, up.organization)) {
                policy = node;
            }
        }
        if (policy == NULL) {
            end(dmarc, DMARC_NONE);
            return;
        }
        if (!take_record(dmarc, policy->name, policy->record)) {
            return;
        }
    }
    judge(dmarc, policy->record, up.organization);
}

/* One that has the author's domain or organization, as far as can be said without asking. */
static bool may_align(const struct dmarc *dmarc, const struct dmarc_record *record,
                      const struct dmarc_id *id, struct slice organization)
{
    return is_author(dmarc, id) ||
           (!is_strict(record, id) &&
            (slice_equal(id->domain, organization) || is_below(id->domain, organization)));
}

static void judge(struct dmarc *dmarc, const struct dmarc_record *record, struct slice organization)
{
    bool is_uncertain = false;

    for (uint32_t i = 0; i < dmarc->id_count; i++) {
        const struct dmarc_id *id = &dmarc->ids[i];
        struct walk_end up = {.organization = organization};
        if (!may_align(dmarc, record, id, organization)) {
            continue;
        }
        if (id->outcome == DMARC_ID_TEMPERROR) {
            is_uncertain = true;
            continue;
        }
        if (!is_author(dmarc, id) && is_below(id->domain, organization)) {
            enum walk walked = walk(dmarc, id->domain, &up);
            if (walked == WALK_WAITS) {
                return;
            }
            if (walked == WALK_FAILED) {
                is_uncertain = true;
                continue;
            }
        }
        if (slice_equal(up.organization, organization)) {
            pass(dmarc, id);
            return;
        }
    }
    if (is_uncertain) { /* 5.3.6: neither pass nor fail */
        end_with_problem(dmarc, DMARC_TEMPERROR, SLICE("a domain that may align is undecided"));
        return;
    }
    fail(dmarc, record);
}

static void fail(struct dmarc *dmarc, const struct dmarc_record *record)
{
    struct dmarc_verdict *verdict = &dmarc->verdict;
    bool is_own = slice_equal(verdict->policy_domain, verdict->author);

    /* RFC 9989 3.2.13: what NXDOMAIN is said of does not exist. */
    if (!is_own && record->missing_policy != record->subdomain_policy) {
        if (dmarc->existence == EXISTENCE_UNKNOWN) {
            memcpy(dmarc->question, verdict->author.data, verdict->author.len);
            dmarc->question_len = verdict->author.len;
            dmarc->question_type = LOOKUP_A;
            sm_move(&dmarc->sm, STATE_EXISTENCE);
            return;
        }
        if (dmarc->existence == EXISTENCE_FAILED) {
            end_with_problem(dmarc, DMARC_TEMPERROR, SLICE("the domain could not be looked up"));
            return;
        }
        if (dmarc->existence == EXISTENCE_NO) {
            verdict->published = record->missing_policy;
        }
    }
    verdict->policy = verdict->published;
    if (verdict->is_testing && verdict->policy > DMARC_POLICY_NONE) {
        verdict->policy--;
    }
    end(dmarc, DMARC_FAIL);
}
