/* dkim_verify.c - see dkim_verify.h.
 *
 * A signature is settled as soon as its verdict is known, most often by a fault of its own syntax;
 * from then on nobody looks at it again. What is still open at finish goes through the body's hash,
 * the key, and the header's hash, in the order of what they cost.
 *
 * To pick the fields that h= names, they are sorted by name, the lowest first; a name's next
 * instance is then found by a search and a counter, so that a hostile h= and a hostile header
 * multiply by a logarithm only.
 */
#include "mail/dkim_verify.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "mail/addr.h"
#include "mail/dkim.h"
#include "mail/header.h"
#include "mail/tags.h"

#include <stdlib.h>
#include <string.h>

#define BODIES_MAX (2 + DKIM_PARTIAL_MAX) /* both canonical forms, and with l= */
#define ARENA_MAX  (1 * MIB)
#define B_START    8
#define RSA_LEAST  1024 /* RFC 8301 3.2 */
#define UNKNOWN    UINT32_MAX

struct signature {
    struct dkim_verdict verdict; /* DKIM_NONE while it is open */
    struct header_field field;
    struct slice b_whole; /* the bytes of the field that are b='s value */
    struct slice b_text;
    struct slice names; /* h= */
    struct sha256 body_hash;
    uint64_t limit; /* l= */
    enum sign_algo algo;
    enum dkim_canon header_canon;
    enum dkim_canon body_canon;
    uint32_t body;
    uint32_t question;
    bool is_of_subdomain; /* i= is below d=, not in it */
};

struct body {
    struct dkim_body state;
    struct sha256 hash;
    enum dkim_canon canon;
    bool is_open;
};

struct question {
    struct slice name;
    struct slice records[DKIM_RECORDS_MAX];
    uint32_t record_count;
    bool is_answered;
    bool is_failed;
};

struct sorted_field {
    struct header_field field;
    uint32_t order;
    uint32_t taken; /* by the signature at hand; of the first of a name */
};

struct dkim_verify {
    struct arena arena; /* names, records, the sorted fields */
    struct buf header;  /* all of it, until finish */
    struct signature signatures[DKIM_SIGNATURES_MAX];
    struct body bodies[BODIES_MAX];
    struct question questions[DKIM_SIGNATURES_MAX];
    uint64_t now_s;
    uint32_t count;
    uint32_t skipped;
    uint32_t body_count;
    uint32_t question_count;
    uint32_t field_count;
    size_t line_len; /* of the header's line that has no end yet */
    bool is_header_done;
    bool is_ended;
    bool is_finished;
};

_Static_assert(DKIM_FIELDS_MAX * sizeof(struct sorted_field) +
                       DKIM_SIGNATURES_MAX * DKIM_RECORDS_MAX * DKIM_RECORD_BYTES +
                       DKIM_SIGNATURES_MAX * 16 * KIB <=
                   ARENA_MAX,
               "fields, records, and 16 KiB for the names of each signature");

/* What finish hands around. */
struct judging {
    struct dkim_verify *verify;
    struct sorted_field *fields;
    uint32_t count;
    struct buf scratch;
    struct buf uncut;
};

static void add_header(struct dkim_verify *verify, struct slice *data);
static void end_header(struct dkim_verify *verify);
static void read_signature(struct dkim_verify *verify, struct header_field field);
static bool read_who(struct dkim_verify *verify, struct signature *sig,
                     const struct tag_list *list);
static bool read_identity(struct dkim_verify *verify, struct signature *sig, struct slice identity);
static bool read_how(struct dkim_verify *verify, struct signature *sig,
                     const struct tag_list *list);
static bool read_canon(struct signature *sig, struct slice text);
static bool read_what(struct signature *sig, const struct tag_list *list);
static bool read_names(struct signature *sig, struct slice names);
static bool read_when(struct dkim_verify *verify, struct signature *sig,
                      const struct tag_list *list);
static bool read_number(const struct tag *tag, uint64_t *number);
static bool is_selector(struct slice text);
static void want_key(struct dkim_verify *verify, struct signature *sig);
static void want_body(struct dkim_verify *verify, struct signature *sig);
static void sort_fields(struct judging *judging);
static void judge(struct judging *judging, struct signature *sig);
static bool judge_body(struct dkim_verify *verify, struct signature *sig);
static bool choose_key(const struct dkim_verify *verify, struct signature *sig,
                       struct dkim_key *key);
static const char *key_fault(const struct signature *sig, const struct dkim_key *key);
static struct sha256 hash_header(struct judging *judging, struct signature *sig);
static const struct header_field *pick(struct judging *judging, struct slice name,
                                       const struct signature *sig);
static void add_own(struct judging *judging, const struct signature *sig);
static void add_simple(struct buf *out, struct slice text);
static void judge_key(struct signature *sig, const struct dkim_key *key,
                      const struct sha256 *digest, struct arena *arena);

/* Always false, so that a reader can end with it. */
static bool settle(struct signature *sig, enum dkim_result result, const char *reason)
{
    sig->verdict.result = result;
    sig->verdict.reason = reason;
    return false;
}

static bool is_open(const struct signature *sig)
{
    return sig->verdict.result == DKIM_NONE;
}

static struct slice tag_value(const struct tag_list *list, struct slice name)
{
    const struct tag *tag = tags_find(list, name);

    return tag != NULL ? tag->value : (struct slice){.data = NULL, .len = 0};
}

const char *dkim_result_text(enum dkim_result result)
{
    switch (result) {
    case DKIM_NONE:
        return "none";
    case DKIM_PASS:
        return "pass";
    case DKIM_FAIL:
        return "fail";
    case DKIM_POLICY:
        return "policy";
    case DKIM_NEUTRAL:
        return "neutral";
    case DKIM_TEMPERROR:
        return "temperror";
    case DKIM_PERMERROR:
        return "permerror";
    }
    return "none";
}

struct dkim_verify *dkim_verify_new(uint64_t now_s)
{
    struct dkim_verify *verify = mem_zalloc(sizeof *verify);

    verify->now_s = now_s;
    arena_init(&verify->arena, 4 * KIB, ARENA_MAX);
    buf_init(&verify->header, DKIM_HEADER_MAX);
    return verify;
}

void dkim_verify_free(struct dkim_verify *verify)
{
    if (verify == NULL) {
        return;
    }
    for (uint32_t i = 0; i < verify->body_count; i++) {
        if (verify->bodies[i].is_open) {
            dkim_body_drop(&verify->bodies[i].state);
        }
    }
    buf_fini(&verify->header);
    arena_fini(&verify->arena);
    free(verify);
}

/* ---- the mail ------------------------------------------------------------------------------- */

void dkim_verify_add(struct dkim_verify *verify, struct slice data)
{
    CHECK(!verify->is_ended);
    if (!verify->is_header_done) {
        add_header(verify, &data);
    }
    for (uint32_t i = 0; i < verify->body_count && data.len > 0; i++) {
        dkim_body_add(&verify->bodies[i].state, data);
    }
}

void dkim_verify_end(struct dkim_verify *verify)
{
    if (!verify->is_header_done) {
        end_header(verify);
    }
    verify->is_ended = true;
}

/* Lines up to the empty one; *data is what is behind it. */
static void add_header(struct dkim_verify *verify, struct slice *data)
{
    while (data->len > 0 && !verify->is_header_done) {
        size_t lf = slice_find_byte(*data, '\n');
        struct slice part = slice_head(*data, lf == SIZE_MAX ? data->len : lf + 1);
        *data = slice_from(*data, part.len);
        buf_add(&verify->header, part);
        verify->line_len += part.len;
        if (buf_err(&verify->header) != ERR_OK) {
            end_header(verify);
        } else if (lf != SIZE_MAX) {
            struct slice header = buf_slice(&verify->header);
            struct slice line = slice_from(header, header.len - verify->line_len);
            verify->line_len = 0;
            if (line.len == 1 || slice_equal(line, SLICE("\r\n"))) {
                end_header(verify);
            }
        }
    }
}

static void end_header(struct dkim_verify *verify)
{
    struct slice rest = buf_slice(&verify->header);
    struct header_field field;
    const char *fault = NULL;

    verify->is_header_done = true;
    while (header_next(&rest, &field)) {
        verify->field_count++;
        if (!slice_equal_nocase(field.name, SLICE("DKIM-Signature"))) {
            continue;
        }
        if (verify->count == DKIM_SIGNATURES_MAX) {
            verify->skipped++;
            continue;
        }
        read_signature(verify, field);
    }
    if (buf_err(&verify->header) != ERR_OK) {
        fault = "the header is larger than is verified";
    } else if (verify->field_count > DKIM_FIELDS_MAX) {
        fault = "the header has more fields than are verified";
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        if (fault != NULL && is_open(&verify->signatures[i])) {
            settle(&verify->signatures[i], DKIM_NEUTRAL, fault);
        }
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        if (is_open(&verify->signatures[i])) {
            want_body(verify, &verify->signatures[i]);
        }
        if (is_open(&verify->signatures[i])) {
            want_key(verify, &verify->signatures[i]);
        }
    }
}

/* Bodies with l= are counted apart, so that no crowd of them can take the place of whole ones. */
static void want_body(struct dkim_verify *verify, struct signature *sig)
{
    uint32_t limited_count = 0;

    for (uint32_t i = 0; i < verify->body_count; i++) {
        if (verify->bodies[i].canon == sig->body_canon &&
            verify->bodies[i].state.limit == sig->limit) {
            sig->body = i;
            return;
        }
        limited_count += verify->bodies[i].state.limit != UINT64_MAX;
    }
    if (sig->limit != UINT64_MAX && limited_count == DKIM_PARTIAL_MAX) {
        settle(sig, DKIM_POLICY, "the mail is signed in part in too many ways");
        return;
    }
    CHECK(verify->body_count < BODIES_MAX);
    struct body *body = &verify->bodies[verify->body_count];
    sig->body = verify->body_count++;
    body->canon = sig->body_canon;
    body->is_open = true;
    dkim_body_start_as(&body->state, sig->body_canon, sig->limit);
}

static void want_key(struct dkim_verify *verify, struct signature *sig)
{
    struct slice name =
        arena_format(&verify->arena, "%.*s._domainkey.%.*s", SLICE_FMT(sig->verdict.selector),
                     SLICE_FMT(sig->verdict.domain));

    if (name.len > DOMAIN_MAX) {
        settle(sig, DKIM_PERMERROR, "the key's name is too long");
        return;
    }
    for (sig->question = 0; sig->question < verify->question_count; sig->question++) {
        if (slice_equal(verify->questions[sig->question].name, name)) {
            return;
        }
    }
    verify->questions[verify->question_count++] = (struct question){.name = name};
}

/* ---- reading a signature -------------------------------------------------------------------- */

static void read_signature(struct dkim_verify *verify, struct header_field field)
{
    struct signature *sig = &verify->signatures[verify->count++];
    struct tag_list list;

    *sig = (struct signature){.field = field, .limit = UINT64_MAX, .question = UNKNOWN};
    switch (tags_parse(field.value, &list)) {
    case TAGS_OK:
        /* Who comes first, so that the verdict names the signer also when the rest is wrong. */
        if (read_who(verify, sig, &list) && read_how(verify, sig, &list) && read_what(sig, &list)) {
            (void)read_when(verify, sig, &list); /* settles by itself */
        }
        break;
    case TAGS_MALFORMED:
        settle(sig, DKIM_PERMERROR, "the signature is malformed");
        break;
    case TAGS_TWICE:
        settle(sig, DKIM_PERMERROR, "the signature has a tag twice");
        break;
    case TAGS_TOO_MANY:
        settle(sig, DKIM_PERMERROR, "the signature has too many tags");
        break;
    }
}

/* d=, s=, i= */
static bool read_who(struct dkim_verify *verify, struct signature *sig, const struct tag_list *list)
{
    struct slice selector = tag_value(list, SLICE("s"));
    const struct tag *identity = tags_find(list, SLICE("i"));
    struct dkim_verdict *verdict = &sig->verdict;

    if (domain_normalise(tag_value(list, SLICE("d")), false, &verify->arena, &verdict->domain) !=
        ERR_OK) {
        return settle(sig, DKIM_PERMERROR, "d= is missing or no domain");
    }
    /* RFC 8616 4: U-labels may stand in either; a selector in ASCII may hold '_' besides. */
    if (is_selector(selector)) {
        verdict->selector = arena_lower(&verify->arena, selector);
    } else if (slice_is_ascii(selector) ||
               domain_normalise(selector, true, &verify->arena, &verdict->selector) != ERR_OK) {
        return settle(sig, DKIM_PERMERROR, "s= is missing or no selector");
    }
    return identity == NULL || read_identity(verify, sig, identity->value);
}

/* RFC 6376 3.5: the domain of i= is that of d= or below it. */
static bool read_identity(struct dkim_verify *verify, struct signature *sig, struct slice identity)
{
    size_t at = slice_rfind_byte(identity, '@');
    struct slice parent = sig->verdict.domain;
    struct slice domain;

    if (at == SIZE_MAX || domain_normalise(slice_trim(slice_from(identity, at + 1)), false,
                                           &verify->arena, &domain) != ERR_OK) {
        return settle(sig, DKIM_PERMERROR, "i= is malformed");
    }
    sig->is_of_subdomain = domain.len > parent.len;
    if (!slice_ends(domain, parent) ||
        (sig->is_of_subdomain && domain.data[domain.len - parent.len - 1] != '.')) {
        return settle(sig, DKIM_PERMERROR, "i= is not within d=");
    }
    return true;
}

/* The labels of RFC 6376 3.1, and '_', which people publish. */
static bool is_selector(struct slice text)
{
    if (text.len == 0 || text.len > DOMAIN_MAX) {
        return false;
    }
    while (text.data != NULL) {
        struct slice label = slice_cut(&text, '.');
        if (label.len == 0 || label.len > 63) {
            return false;
        }
        for (size_t i = 0; i < label.len; i++) {
            char c = label.data[i];
            if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_') {
                return false;
            }
        }
    }
    return true;
}

/* v=, a=, c=, q= */
static bool read_how(struct dkim_verify *verify, struct signature *sig, const struct tag_list *list)
{
    struct slice algo = tag_value(list, SLICE("a"));
    const struct tag *query = tags_find(list, SLICE("q"));

    bool is_word = algo.len > 0 && algo.len <= 32;
    for (size_t i = 0; i < algo.len && is_word; i++) {
        is_word =
            ascii_is_alpha(algo.data[i]) || ascii_is_digit(algo.data[i]) || algo.data[i] == '-';
    }
    if (is_word) {
        sig->verdict.algo = arena_lower(&verify->arena, algo);
    }
    if (!slice_equal(tag_value(list, SLICE("v")), SLICE("1"))) {
        return settle(sig, DKIM_PERMERROR, "v= is missing or of another version");
    }
    if (!is_word) {
        return settle(sig, DKIM_PERMERROR, "a= is missing or malformed");
    }
    if (slice_equal(sig->verdict.algo, SLICE("rsa-sha1"))) {
        return settle(sig, DKIM_PERMERROR, "rsa-sha1 is no longer a signature"); /* RFC 8301 3.1 */
    }
    if (slice_equal(sig->verdict.algo, SLICE("rsa-sha256"))) {
        sig->algo = SIGN_RSA_SHA256;
    } else if (slice_equal(sig->verdict.algo, SLICE("ed25519-sha256"))) {
        sig->algo = SIGN_ED25519;
    } else {
        return settle(sig, DKIM_NEUTRAL, "the algorithm is not known");
    }
    if (query != NULL && !tags_list_has(query->value, SLICE("dns/txt"))) {
        return settle(sig, DKIM_NEUTRAL, "q= names no way to the key that is known");
    }
    return read_canon(sig, tag_value(list, SLICE("c")));
}

/* RFC 6376 3.5: simple is the default of either half. */
static bool read_canon(struct signature *sig, struct slice text)
{
    struct slice header = slice_trim(slice_cut(&text, '/'));
    struct slice body = slice_trim(text);

    sig->header_canon = slice_equal_nocase(header, SLICE("relaxed")) ? DKIM_RELAXED : DKIM_SIMPLE;
    sig->body_canon = slice_equal_nocase(body, SLICE("relaxed")) ? DKIM_RELAXED : DKIM_SIMPLE;
    bool is_header_known = sig->header_canon == DKIM_RELAXED || header.data == NULL ||
                           slice_equal_nocase(header, SLICE("simple"));
    bool is_body_known = sig->body_canon == DKIM_RELAXED || text.data == NULL ||
                         slice_equal_nocase(body, SLICE("simple"));
    if (!is_header_known || !is_body_known) {
        return settle(sig, DKIM_PERMERROR, "c= names no known canonical form");
    }
    return true;
}

/* h=, bh=, l=, b= */
static bool read_what(struct signature *sig, const struct tag_list *list)
{
    struct slice body_hash = tag_value(list, SLICE("bh"));
    const struct tag *signature = tags_find(list, SLICE("b"));
    const struct tag *length = tags_find(list, SLICE("l"));
    uint8_t bytes[256];
    size_t len = 0;
    size_t start = 0;

    if (signature == NULL || signature->value.len == 0 ||
        signature->value.len > DKIM_SIGNATURE_LEN) {
        return settle(sig, DKIM_PERMERROR, "b= is missing or too long");
    }
    uint8_t scratch[DKIM_SIGNATURE_LEN / 4 * 3 + 3];
    if (base64_decode(signature->value, scratch, &len) != ERR_OK) {
        return settle(sig, DKIM_PERMERROR, "b= is not base64");
    }
    sig->b_whole = signature->whole;
    sig->b_text = signature->value;
    while (start < sig->b_text.len && start < B_START && !ascii_is_space(sig->b_text.data[start])) {
        start++;
    }
    sig->verdict.b_start = slice_head(sig->b_text, start);
    if (body_hash.len / 4 * 3 + 3 > sizeof bytes ||
        base64_decode(body_hash, bytes, &len) != ERR_OK || len != SHA256_LEN) {
        return settle(sig, DKIM_PERMERROR, "bh= is missing or no SHA-256");
    }
    memcpy(sig->body_hash.bytes, bytes, SHA256_LEN);
    if (length != NULL && (!read_number(length, &sig->limit) || sig->limit == UINT64_MAX)) {
        return settle(sig, DKIM_PERMERROR, "l= is no length");
    }
    return read_names(sig, tag_value(list, SLICE("h")));
}

static bool read_names(struct signature *sig, struct slice names)
{
    struct slice rest = names;
    uint32_t count = 0;
    bool has_from = false;

    while (rest.data != NULL && count <= DKIM_NAMES_MAX) {
        has_from |= slice_equal_nocase(slice_trim(slice_cut(&rest, ':')), SLICE("from"));
        count++;
    }
    if (names.len == 0) {
        return settle(sig, DKIM_PERMERROR, "h= is missing or empty");
    }
    if (count > DKIM_NAMES_MAX) {
        return settle(sig, DKIM_PERMERROR, "h= names too many fields");
    }
    if (!has_from) {
        return settle(sig, DKIM_PERMERROR, "h= does not name From"); /* RFC 6376 5.4 */
    }
    sig->names = names;
    return true;
}

/* t=, x= */
static bool read_when(struct dkim_verify *verify, struct signature *sig,
                      const struct tag_list *list)
{
    const struct tag *made = tags_find(list, SLICE("t"));
    const struct tag *expires = tags_find(list, SLICE("x"));
    uint64_t made_s = 0;
    uint64_t expires_s = UINT64_MAX;

    if ((made != NULL && !read_number(made, &made_s)) ||
        (expires != NULL && !read_number(expires, &expires_s))) {
        return settle(sig, DKIM_PERMERROR, "t= or x= is no time");
    }
    if (made_s > verify->now_s && made_s - verify->now_s > DKIM_SKEW_S) {
        return settle(sig, DKIM_PERMERROR, "the signature is of the future");
    }
    if (made != NULL && expires_s <= made_s) {
        return settle(sig, DKIM_PERMERROR, "the signature expires before it was made");
    }
    if (expires_s < verify->now_s && verify->now_s - expires_s > DKIM_SKEW_S) {
        return settle(sig, DKIM_PERMERROR, "the signature has expired");
    }
    return true;
}

/* Up to 76 digits (RFC 6376 3.5); beyond 64 bits is as far as ever. */
static bool read_number(const struct tag *tag, uint64_t *number)
{
    if (tag->value.len == 0 || tag->value.len > 76) {
        return false;
    }
    for (size_t i = 0; i < tag->value.len; i++) {
        if (!ascii_is_digit(tag->value.data[i])) {
            return false;
        }
    }
    if (slice_u64(tag->value, number) != ERR_OK) {
        *number = UINT64_MAX;
    }
    return true;
}

/* ---- keys ----------------------------------------------------------------------------------- */

uint32_t dkim_verify_question_count(const struct dkim_verify *verify)
{
    return verify->question_count;
}

struct lookup_question dkim_verify_question(const struct dkim_verify *verify, uint32_t index)
{
    CHECK(index < verify->question_count);
    return (struct lookup_question){.type = LOOKUP_TXT, .name = verify->questions[index].name};
}

void dkim_verify_answer(struct dkim_verify *verify, uint32_t index,
                        const struct lookup_answer *answer)
{
    CHECK(index < verify->question_count);
    CHECK(!verify->is_finished);
    struct question *question = &verify->questions[index];

    CHECK(!question->is_answered);
    question->is_answered = true;
    question->is_failed = answer->outcome == LOOKUP_FAILED;
    for (uint32_t i = 0; i < answer->count && answer->outcome == LOOKUP_FOUND; i++) {
        struct slice text = answer->records[i].text;
        if (question->record_count < DKIM_RECORDS_MAX && text.len <= DKIM_RECORD_BYTES) {
            question->records[question->record_count++] = arena_dup(&verify->arena, text);
        }
    }
}

/* ---- judging -------------------------------------------------------------------------------- */

void dkim_verify_finish(struct dkim_verify *verify)
{
    struct judging judging = {.verify = verify};

    CHECK(verify->is_ended);
    CHECK(!verify->is_finished);
    verify->is_finished = true;
    for (uint32_t i = 0; i < verify->body_count; i++) {
        verify->bodies[i].hash = dkim_body_finish(&verify->bodies[i].state);
        verify->bodies[i].is_open = false;
    }
    buf_init(&judging.scratch, 4 * DKIM_HEADER_MAX);
    buf_init(&judging.uncut, 4 * DKIM_HEADER_MAX);
    for (uint32_t i = 0; i < verify->count; i++) {
        if (is_open(&verify->signatures[i])) {
            judge(&judging, &verify->signatures[i]);
        }
        /* The header goes, the verdict stays. */
        struct dkim_verdict *verdict = &verify->signatures[i].verdict;
        verdict->b_start = arena_dup(&verify->arena, verdict->b_start);
    }
    buf_fini(&judging.scratch);
    buf_fini(&judging.uncut);
    buf_fini(&verify->header);
}

static void judge(struct judging *judging, struct signature *sig)
{
    struct dkim_verify *verify = judging->verify;
    struct dkim_key key;

    if (!judge_body(verify, sig) || !choose_key(verify, sig, &key)) {
        return;
    }
    if (judging->fields == NULL) {
        sort_fields(judging);
    }
    struct sha256 digest = hash_header(judging, sig);
    judge_key(sig, &key, &digest, &verify->arena);
}

static bool judge_body(struct dkim_verify *verify, struct signature *sig)
{
    const struct body *body = &verify->bodies[sig->body];

    if (sig->limit != UINT64_MAX) {
        if (sig->limit > body->state.total_bytes) {
            return settle(sig, DKIM_PERMERROR, "l= is more than there is");
        }
        sig->verdict.is_partial = sig->limit < body->state.total_bytes;
    }
    if (!slice_equal(sha256_slice(&body->hash), sha256_slice(&sig->body_hash))) {
        return settle(sig, DKIM_FAIL, "the body is not what was signed");
    }
    return true;
}

/* RFC 6376 3.6.2.2 wants one record. Of several, the first that fits the signature counts; of none,
 * the first one's fault is told. */
static bool choose_key(const struct dkim_verify *verify, struct signature *sig,
                       struct dkim_key *key)
{
    const struct question *question = &verify->questions[sig->question];
    const char *first = NULL;

    if (!question->is_answered || question->is_failed) {
        return settle(sig, DKIM_TEMPERROR, "the key could not be looked up");
    }
    for (uint32_t i = 0; i < question->record_count; i++) {
        const char *fault = dkim_key_read(question->records[i], key);
        if (fault == NULL) {
            fault = key_fault(sig, key);
        }
        if (fault == NULL) {
            sig->verdict.is_testing = key->is_testing;
            return true;
        }
        first = first != NULL ? first : fault;
    }
    return settle(sig, DKIM_PERMERROR, first != NULL ? first : "no key is published");
}

static const char *key_fault(const struct signature *sig, const struct dkim_key *key)
{
    struct slice type = sig->algo == SIGN_ED25519 ? SLICE("ed25519") : SLICE("rsa");

    if (key->public_text.len == 0) {
        return "the key has been revoked";
    }
    if (!slice_equal(key->type, type)) {
        return "the key is of another algorithm";
    }
    if (!key->is_for_sha256) {
        return "the key is not for SHA-256";
    }
    if (!key->is_for_mail) {
        return "the key is not for mail";
    }
    if (key->is_exact && sig->is_of_subdomain) {
        return "the key is not for subdomains";
    }
    return NULL;
}

static void judge_key(struct signature *sig, const struct dkim_key *key,
                      const struct sha256 *digest, struct arena *arena)
{
    uint8_t bytes[DKIM_SIGNATURE_LEN / 4 * 3 + 3];
    size_t len = 0;
    enum err err = base64_decode(sig->b_text, bytes, &len);

    if (err == ERR_OK) {
        err = crypto_verify(sig->algo, key->public_text, digest, slice_of(bytes, len));
    }
    if (err == ERR_OK) {
        settle(sig, DKIM_PASS, "the signature is good");
        return;
    }
    if (err == ERR_BAD_SIGNATURE) {
        settle(sig, DKIM_FAIL, "the header is not what was signed, or the key is another");
        return;
    }
    uint32_t bits = crypto_public_bits(sig->algo, key->public_text);
    if (bits == 0) {
        settle(sig, DKIM_PERMERROR, "the published key is damaged");
    } else if (sig->algo == SIGN_RSA_SHA256 && bits < RSA_LEAST) {
        struct slice text = arena_format(arena, "a key of %u bits is too weak", bits);
        settle(sig, DKIM_POLICY, text.data);
    } else {
        settle(sig, DKIM_POLICY, "the key costs too much to verify with");
    }
}

/* ---- the header's hash ---------------------------------------------------------------------- */

static int compare_names(struct slice a, struct slice b)
{
    size_t len = min_size(a.len, b.len);

    for (size_t i = 0; i < len; i++) {
        int difference = (uint8_t)ascii_lower(a.data[i]) - (uint8_t)ascii_lower(b.data[i]);
        if (difference != 0) {
            return difference;
        }
    }
    return (a.len > b.len) - (a.len < b.len);
}

/* For qsort: by name, within a name from the bottom up, RFC 6376 5.4.2. */
static int compare_fields(const void *left, const void *right)
{
    const struct sorted_field *a = left;
    const struct sorted_field *b = right;
    int by_name = compare_names(a->field.name, b->field.name);

    return by_name != 0 ? by_name : (a->order < b->order) - (a->order > b->order);
}

static void sort_fields(struct judging *judging)
{
    struct dkim_verify *verify = judging->verify;
    struct slice rest = buf_slice(&verify->header);
    struct header_field field;

    judging->fields = arena_array(&verify->arena, verify->field_count, sizeof *judging->fields);
    while (judging->count < verify->field_count && header_next(&rest, &field)) {
        judging->fields[judging->count] =
            (struct sorted_field){.field = field, .order = judging->count};
        judging->count++;
    }
    qsort(judging->fields, judging->count, sizeof *judging->fields, compare_fields);
}

static struct sha256 hash_header(struct judging *judging, struct signature *sig)
{
    struct sha256_stream stream;
    struct slice names = sig->names;

    sha256_start(&stream);
    for (uint32_t i = 0; i < judging->count; i++) {
        judging->fields[i].taken = 0;
    }
    while (names.data != NULL) {
        struct slice name = slice_trim(slice_cut(&names, ':'));
        const struct header_field *field = pick(judging, name, sig);
        if (field == NULL) {
            continue; /* RFC 6376 5.4: a field that is not there is the null string */
        }
        buf_clear(&judging->scratch);
        if (sig->header_canon == DKIM_RELAXED) {
            dkim_relax_header(field->name, field->value, &judging->scratch);
        } else {
            add_simple(&judging->scratch, field->whole);
        }
        sha256_add(&stream, buf_slice(&judging->scratch));
    }
    add_own(judging, sig);
    sha256_add(&stream, buf_slice(&judging->scratch));
    return sha256_finish(&stream);
}

/* The next instance of the name, from the bottom; never the signature itself, RFC 6376 5.4. */
static const struct header_field *pick(struct judging *judging, struct slice name,
                                       const struct signature *sig)
{
    uint32_t low = 0;
    uint32_t high = judging->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_names(judging->fields[middle].field.name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == judging->count || name.len == 0) {
        return NULL;
    }
    for (;;) {
        uint32_t at = low + judging->fields[low].taken;
        if (at >= judging->count || compare_names(judging->fields[at].field.name, name) != 0) {
            return NULL;
        }
        judging->fields[low].taken++;
        if (judging->fields[at].field.whole.data != sig->field.whole.data) {
            return &judging->fields[at].field;
        }
    }
}

/* The signature itself comes last, with an empty b= and without CRLF, RFC 6376 3.7. */
static void add_own(struct judging *judging, const struct signature *sig)
{
    struct slice text = sig->header_canon == DKIM_RELAXED ? sig->field.value : sig->field.whole;
    size_t cut = (size_t)(sig->b_whole.data - text.data);

    buf_clear(&judging->uncut);
    buf_add(&judging->uncut, slice_head(text, cut));
    buf_add(&judging->uncut, slice_from(text, cut + sig->b_whole.len));
    buf_clear(&judging->scratch);
    if (sig->header_canon == DKIM_RELAXED) {
        dkim_relax_header(sig->field.name, buf_slice(&judging->uncut), &judging->scratch);
    } else {
        add_simple(&judging->scratch, buf_slice(&judging->uncut));
    }
    judging->scratch.len -= 2;
}

/* As it stands (RFC 6376 3.4.1), but for lines that end in LF alone, and with a line end. */
static void add_simple(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        struct slice line = slice_cut(&text, '\n');
        if (text.data != NULL && slice_ends(line, SLICE("\r"))) {
            line.len--;
        }
        buf_add(out, line);
        buf_add(out, SLICE("\r\n"));
    }
}

/* ---- verdicts ------------------------------------------------------------------------------- */

uint32_t dkim_verify_count(const struct dkim_verify *verify)
{
    return verify->count;
}

uint32_t dkim_verify_skipped(const struct dkim_verify *verify)
{
    return verify->skipped;
}

const struct dkim_verdict *dkim_verify_verdict(const struct dkim_verify *verify, uint32_t index)
{
    CHECK(verify->is_finished);
    CHECK(index < verify->count);
    return &verify->signatures[index].verdict;
}
