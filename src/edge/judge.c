/* judge.c - the order of the machines, and the one clock over them.
 *
 *   TAKING -finish-> KEYS -(SPF's verdict, every key)-> SIGNATURES -worker-> POLICY -> DONE
 *
 * The clock rings in KEYS or POLICY: what is open counts as failed, and the walk goes on without
 * asking. A judge that is freed while its job is out dies when the job comes back.
 */
#include "edge/judge.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/metric.h"
#include "base/sm.h"
#include "mail/author.h"

enum state { STATE_TAKING, STATE_KEYS, STATE_SIGNATURES, STATE_POLICY, STATE_DONE, STATE_COUNT };

#define TO(name) SM_TO(STATE_##name)
static const struct sm_state states[] = {
    [STATE_TAKING] = {"taking", TO(KEYS)},
    [STATE_KEYS] = {"keys", TO(SIGNATURES)},
    [STATE_SIGNATURES] = {"signatures", TO(POLICY)},
    [STATE_POLICY] = {"policy", TO(DONE)},
    [STATE_DONE] = {"done", 0},
};
#undef TO
_Static_assert(ARRAY_LEN(states) == STATE_COUNT, "a row for each state");
static const struct sm_table table = {"judge", states, STATE_COUNT};

struct key_ask {
    struct dns_query query;
    struct judge *judge;
};

struct judge {
    struct loop *loop;
    struct dns *dns;
    struct arena arena; /* SPF, DMARC, the author's domain */
    struct sm sm;
    struct spf *spf;
    struct dkim_verify *dkim;
    struct dmarc *dmarc;
    struct dns_query spf_query;
    struct dns_query dmarc_query;
    struct key_ask keys[DKIM_SIGNATURES_MAX];
    uint32_t keys_open;
    struct timer clock;
    struct job job;
    struct slice author;
    struct judge_signature signatures[DKIM_SIGNATURES_MAX];
    struct judge_results results;
    judge_fn *on_done;
    void *context;
    bool is_late;   /* the clock rang: nothing more is asked */
    bool is_orphan; /* freed while its job was out */
    bool is_job_out;
};

/* ---- questions ------------------------------------------------------------------------------ */

static enum dns_type dns_type_of(enum lookup_type type)
{
    static const enum dns_type types[] = {
        [LOOKUP_A] = DNS_A,     [LOOKUP_AAAA] = DNS_AAAA, [LOOKUP_MX] = DNS_MX,
        [LOOKUP_TXT] = DNS_TXT, [LOOKUP_PTR] = DNS_PTR,
    };
    CHECK((size_t)type < ARRAY_LEN(types));
    return types[type];
}

static enum lookup_outcome outcome_of(const struct dns_answer *answer)
{
    if (answer->err == ERR_OK) {
        return LOOKUP_FOUND;
    }
    if (answer->err != ERR_DNS_NONE) {
        return LOOKUP_FAILED;
    }
    return answer->is_name_missing ? LOOKUP_NO_NAME : LOOKUP_NO_RECORD;
}

/* The resolver's answer in the words of mail/. */
static struct lookup_answer translate(const struct dns_answer *answer,
                                      struct lookup_record records[DNS_ANSWERS_MAX])
{
    struct lookup_answer out = {.outcome = outcome_of(answer), .records = records};
    if (out.outcome != LOOKUP_FOUND) {
        return out;
    }
    for (uint32_t i = 0; i < answer->count && i < DNS_ANSWERS_MAX; i++) {
        const struct dns_record *from = &answer->records[i];
        char text[ADDR_TEXT_MAX];
        size_t len = conn_addr_text(&from->addr, text);
        struct lookup_record *to = &records[out.count++];
        *to = (struct lookup_record){.text = from->text, .priority = from->priority};
        if (len > 0) {
            err_ignore(ip6_parse(slice_of(text, len), &to->ip)); /* then it has none */
        }
    }
    return out;
}

static void advance(struct judge *judge);

static void on_spf_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct judge *judge = CONTAINER_OF(query, struct judge, spf_query);
    struct lookup_record records[DNS_ANSWERS_MAX];
    struct lookup_answer translated = translate(answer, records);
    spf_answer(judge->spf, &translated);
    advance(judge);
}

static void on_key_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct key_ask *ask = CONTAINER_OF(query, struct key_ask, query);
    struct judge *judge = ask->judge;
    struct lookup_record records[DNS_ANSWERS_MAX];
    struct lookup_answer translated = translate(answer, records);
    CHECK(judge->keys_open > 0);
    judge->keys_open -= 1;
    dkim_verify_answer(judge->dkim, (uint32_t)(ask - judge->keys), &translated);
    advance(judge);
}

static void on_dmarc_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct judge *judge = CONTAINER_OF(query, struct judge, dmarc_query);
    struct lookup_record records[DNS_ANSWERS_MAX];
    struct lookup_answer translated = translate(answer, records);
    dmarc_answer(judge->dmarc, &translated);
    advance(judge);
}

/* True when SPF has its verdict; else its question is out. */
static bool step_spf(struct judge *judge)
{
    struct lookup_question question;
    if (!spf_next(judge->spf, &question)) {
        return true;
    }
    if (judge->is_late) {
        dns_cancel(&judge->spf_query);
        spf_stop(judge->spf);
        return true;
    }
    if (judge->spf_query.dns == NULL) {
        dns_ask(judge->dns, &judge->spf_query, dns_type_of(question.type), question.name,
                on_spf_answer);
    }
    return false;
}

static bool step_dmarc(struct judge *judge)
{
    struct lookup_question question;
    if (!dmarc_next(judge->dmarc, &question)) {
        return true;
    }
    if (judge->is_late) {
        dns_cancel(&judge->dmarc_query);
        dmarc_stop(judge->dmarc);
        return true;
    }
    if (judge->dmarc_query.dns == NULL) {
        dns_ask(judge->dns, &judge->dmarc_query, dns_type_of(question.type), question.name,
                on_dmarc_answer);
    }
    return false;
}

static void drop_keys(struct judge *judge)
{
    for (uint32_t i = 0; i < DKIM_SIGNATURES_MAX; i++) {
        dns_cancel(&judge->keys[i].query);
    }
    judge->keys_open = 0;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Worker. */
static void verify_job(struct job *job)
{
    dkim_verify_finish(CONTAINER_OF(job, struct judge, job)->dkim);
}

static void take_signatures(struct judge *judge)
{
    /* From the best to the worst. */
    static const enum dkim_result order[] = {DKIM_PASS,      DKIM_POLICY, DKIM_NEUTRAL,
                                             DKIM_TEMPERROR, DKIM_FAIL,   DKIM_PERMERROR};
    struct judge_results *results = &judge->results;
    uint32_t count = dkim_verify_count(judge->dkim);
    CHECK(count <= DKIM_SIGNATURES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct judge_signature *signature = &judge->signatures[i];
        const struct dkim_verdict *verdict = dkim_verify_verdict(judge->dkim, i);
        *signature = (struct judge_signature){verdict->result, verdict, verdict->reason};
        if (verdict->result == DKIM_PASS && verdict->is_partial) {
            signature->result = DKIM_POLICY;
            signature->reason = "the body goes on behind what was signed";
        } else if (verdict->result == DKIM_PASS && verdict->is_testing) {
            signature->result = DKIM_NEUTRAL;
            signature->reason = "the domain is testing";
        }
    }
    results->signatures = judge->signatures;
    results->signature_count = count;
    results->dkim = DKIM_NONE;
    for (size_t i = 0; i < ARRAY_LEN(order) && results->dkim == DKIM_NONE; i++) {
        for (uint32_t j = 0; j < count; j++) {
            if (judge->signatures[j].result == order[i]) {
                results->dkim = order[i];
            }
        }
    }
}

static enum dmarc_outcome outcome_of_result(bool is_pass, bool is_temperror)
{
    if (is_pass) {
        return DMARC_ID_PASS;
    }
    return is_temperror ? DMARC_ID_TEMPERROR : DMARC_ID_FAIL;
}

static void start_dmarc(struct judge *judge)
{
    struct dmarc_id ids[1 + DKIM_SIGNATURES_MAX];
    enum spf_result spf = judge->results.spf->result;
    ids[0] = (struct dmarc_id){
        .domain = judge->results.spf->domain,
        .outcome = outcome_of_result(spf == SPF_PASS, spf == SPF_TEMPERROR),
    };
    for (uint32_t i = 0; i < judge->results.signature_count; i++) {
        const struct judge_signature *signature = &judge->signatures[i];
        ids[1 + i] = (struct dmarc_id){
            .domain = signature->verdict->domain,
            .outcome = outcome_of_result(signature->result == DKIM_PASS,
                                         signature->result == DKIM_TEMPERROR),
            .is_dkim = true,
        };
    }
    struct dmarc_input input = {
        .author = judge->author, .ids = ids, .id_count = 1 + judge->results.signature_count};
    judge->dmarc = dmarc_start(&judge->arena, &input);
}

static void on_verified(struct job *job)
{
    struct judge *judge = CONTAINER_OF(job, struct judge, job);
    judge->is_job_out = false;
    if (judge->is_orphan) {
        judge_free(judge);
        return;
    }
    take_signatures(judge);
    start_dmarc(judge);
    sm_move(&judge->sm, STATE_POLICY);
    advance(judge);
}

static void count_results(const struct judge_results *results)
{
    metric_add(results->spf->result == SPF_PASS ? METRIC_SPF_PASSED : METRIC_SPF_OTHER, 1);
    metric_add(results->dkim == DKIM_PASS ? METRIC_DKIM_PASSED : METRIC_DKIM_OTHER, 1);
    if (results->dmarc->result == DMARC_PASS) {
        metric_add(METRIC_DMARC_PASSED, 1);
    } else if (results->dmarc->result == DMARC_FAIL) {
        metric_add(METRIC_DMARC_FAILED, 1);
    }
}

/* Goes as far as it can without an answer. The judge may be gone afterwards. */
static void advance(struct judge *judge)
{
    bool has_spf = step_spf(judge);
    if (judge->sm.state == STATE_KEYS && has_spf && judge->keys_open == 0) {
        sm_move(&judge->sm, STATE_SIGNATURES);
        judge->results.spf = spf_verdict(judge->spf);
        judge->is_job_out = true;
        loop_offload(judge->loop, &judge->job, verify_job, on_verified);
    } else if (judge->sm.state == STATE_POLICY && step_dmarc(judge)) {
        sm_move(&judge->sm, STATE_DONE);
        timer_stop(&judge->clock);
        judge->results.dmarc = dmarc_verdict(judge->dmarc);
        count_results(&judge->results);
        judge->on_done(judge->context);
    }
}

static void on_clock(struct timer *timer)
{
    struct judge *judge = CONTAINER_OF(timer, struct judge, clock);
    judge->is_late = true;
    drop_keys(judge);
    advance(judge);
}

/* ---- the session's side --------------------------------------------------------------------- */

struct judge *judge_new(struct loop *loop, struct dns *dns, const struct judge_input *input)
{
    CHECK_LOOP(loop);
    struct judge *judge = mem_zalloc(sizeof *judge);
    uint64_t now_s = clock_unix_ms() / 1000;
    judge->loop = loop;
    judge->dns = dns;
    arena_init(&judge->arena, 4 * KIB, JUDGE_ARENA_BYTES);
    sm_init(&judge->sm, &table, STATE_TAKING);
    timer_init(&judge->clock, loop, on_clock);
    for (uint32_t i = 0; i < DKIM_SIGNATURES_MAX; i++) {
        judge->keys[i].judge = judge;
    }
    judge->dkim = dkim_verify_new(now_s);
    struct spf_input spf = {.client = input->client,
                            .helo = input->helo,
                            .mail_from = input->mail_from,
                            .receiver = input->hostname,
                            .now_s = now_s};
    judge->spf = spf_start(&judge->arena, &spf);
    advance(judge);
    return judge;
}

void judge_free(struct judge *judge)
{
    CHECK_LOOP(judge->loop);
    timer_stop(&judge->clock);
    dns_cancel(&judge->spf_query);
    dns_cancel(&judge->dmarc_query);
    drop_keys(judge);
    if (judge->is_job_out) {
        judge->is_orphan = true;
        return;
    }
    dkim_verify_free(judge->dkim);
    arena_fini(&judge->arena);
    free(judge);
}

void judge_add(struct judge *judge, struct slice data)
{
    CHECK(judge->sm.state == STATE_TAKING);
    dkim_verify_add(judge->dkim, data);
}

void judge_header(struct judge *judge, struct slice header_block)
{
    CHECK(judge->sm.state == STATE_TAKING);
    if (author_domain(header_block, &judge->arena, &judge->author) != ERR_OK) {
        judge->author = SLICE(""); /* DMARC says so: permerror */
    }
}

void judge_finish(struct judge *judge, judge_fn *on_done, void *context)
{
    CHECK_LOOP(judge->loop);
    judge->on_done = on_done;
    judge->context = context;
    dkim_verify_end(judge->dkim);
    uint32_t count = dkim_verify_question_count(judge->dkim);
    CHECK(count <= DKIM_SIGNATURES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct lookup_question question = dkim_verify_question(judge->dkim, i);
        judge->keys_open += 1;
        dns_ask(judge->dns, &judge->keys[i].query, dns_type_of(question.type), question.name,
                on_key_answer);
    }
    sm_move(&judge->sm, STATE_KEYS);
    timer_start(&judge->clock, JUDGE_MS);
    advance(judge);
}

const struct judge_results *judge_results(const struct judge *judge)
{
    CHECK(judge->sm.state == STATE_DONE);
    return &judge->results;
}
