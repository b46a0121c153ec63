/* attempt_dns.c - MX, SPF, two DKIM keys and two to come, DMARC, return path and link host of one
 * domain. */
#include "deliver/attempt_dns.h"

#include <stdlib.h>

#include "base/check.h"
#include "deliver/health.h"
#include "mail/dkim.h"
#include "shards/actor.h"

enum question {
    ASK_MX,
    ASK_SPF,
    ASK_RSA,
    ASK_ED,
    ASK_DMARC,
    ASK_RETURN_PATH,
    ASK_TRACK, /* this one and those behind it only where there is something to ask for */
    ASK_NEXT_RSA,
    ASK_NEXT_ED,
    ASK_COUNT
};

struct ask {
    struct dns_query query;
    struct attempt_dns *attempt;
};

struct attempt_dns {
    struct dns *dns;
    struct msg *msg;
    struct ask asks[ASK_COUNT];
    uint32_t waiting;
    uint32_t answered;
    attempt_dns_fn *on_done;
    void *context;
};

static bool names_host(const struct dns_answer *answer, struct slice host)
{
    for (uint32_t i = 0; i < answer->count; i++) {
        if (slice_equal_nocase(answer->records[i].text, host)) {
            return true;
        }
    }
    return false;
}

/* RFC 7208 4.5: exactly one record that begins with v=spf1. It must include ours. */
static bool has_spf(const struct dns_answer *answer, struct slice include)
{
    uint32_t records = 0;
    bool is_included = false;
    for (uint32_t i = 0; i < answer->count; i++) {
        struct slice rest = answer->records[i].text;
        struct slice version = slice_cut(&rest, ' ');
        if (!slice_equal_nocase(version, SLICE("v=spf1"))) {
            continue;
        }
        records += 1;
        while (rest.data != NULL) {
            struct slice term = slice_cut(&rest, ' ');
            if (term.len > 0 && term.data[0] == '+') {
                term = slice_from(term, 1);
            }
            is_included |= slice_starts_nocase(term, SLICE("include:")) &&
                           slice_equal_nocase(slice_from(term, 8), include);
        }
    }
    return records == 1 && is_included;
}

static bool has_dkim(const struct dns_answer *answer, enum sign_algo algo, struct slice public_text)
{
    for (uint32_t i = 0; i < answer->count; i++) {
        if (dkim_record_matches(answer->records[i].text, algo, public_text)) {
            return true;
        }
    }
    return false;
}

/* RFC 7489 6.6.3: a record begins with exactly this tag, and of two neither counts. */
static bool has_dmarc(const struct dns_answer *answer)
{
    uint32_t records = 0;
    for (uint32_t i = 0; i < answer->count; i++) {
        struct slice rest = answer->records[i].text;
        struct slice version = slice_cut(&rest, ';');
        struct slice tag = slice_trim(slice_cut(&version, '='));
        records +=
            slice_equal(tag, SLICE("v")) && slice_equal(slice_trim(version), SLICE("DMARC1"));
    }
    return records == 1;
}

static void judge(struct deliver_verify *verify, enum question question,
                  const struct dns_answer *answer)
{
    struct domain_checks *checks = &verify->checks;
    switch (question) {
    case ASK_MX:
        checks->mx = names_host(answer, verify->mx_host);
        break;
    case ASK_SPF:
        checks->spf = has_spf(answer, verify->spf_include);
        break;
    case ASK_RSA:
        checks->dkim_rsa = has_dkim(answer, SIGN_RSA_SHA256, verify->rsa_public);
        break;
    case ASK_ED:
        checks->dkim_ed = has_dkim(answer, SIGN_ED25519, verify->ed_public);
        break;
    case ASK_DMARC:
        checks->dmarc = has_dmarc(answer);
        break;
    case ASK_RETURN_PATH:
        checks->return_path = names_host(answer, verify->return_path_target);
        break;
    case ASK_TRACK:
        checks->track = names_host(answer, verify->track_target);
        break;
    case ASK_NEXT_RSA:
        checks->next_rsa = has_dkim(answer, SIGN_RSA_SHA256, verify->next_rsa_public);
        break;
    case ASK_NEXT_ED:
        checks->next_ed = has_dkim(answer, SIGN_ED25519, verify->next_ed_public);
        break;
    case ASK_COUNT:
        CHECK(false);
        break;
    }
}

static void finish(void *context)
{
    struct attempt_dns *attempt = context;
    attempt_dns_fn *on_done = attempt->on_done;
    void *owner = attempt->context;
    msg_return(attempt->msg, attempt->answered > 0 ? ERR_OK : ERR_DNS_TEMP);
    free(attempt);
    on_done(owner);
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct ask *ask = CONTAINER_OF(query, struct ask, query);
    struct attempt_dns *attempt = ask->attempt;
    enum question question = (enum question)(ask - attempt->asks);
    CHECK(question < ASK_COUNT);
    CHECK(attempt->waiting > 0);
    attempt->answered += answer->err != ERR_DNS_TEMP;
    attempt->msg->body.verify.has_gaps |= answer->err == ERR_DNS_TEMP;
    if (answer->err == ERR_OK) {
        judge(&attempt->msg->body.verify, question, answer);
    }
    attempt->waiting -= 1;
    if (attempt->waiting > 0) {
        return;
    }
    if (attempt->answered > 0) {
        health_start(attempt->dns, attempt->msg, finish, attempt);
    } else {
        finish(attempt);
    }
}

static struct slice key_name(struct arena *arena, struct slice selector, struct slice domain)
{
    return selector.len == 0 ? selector
                             : arena_format(arena, "%.*s._domainkey.%.*s", SLICE_FMT(selector),
                                            SLICE_FMT(domain));
}

void attempt_dns_start(struct dns *dns, struct msg *msg, attempt_dns_fn *on_done, void *context)
{
    const struct deliver_verify *verify = &msg->body.verify;
    struct attempt_dns *attempt = mem_zalloc(sizeof *attempt);
    attempt->dns = dns;
    attempt->msg = msg;
    attempt->on_done = on_done;
    attempt->context = context;
    struct arena *arena = &msg->arena;
    struct slice domain = verify->domain;
    const struct {
        enum dns_type type;
        struct slice name; /* empty: not asked */
    } questions[ASK_COUNT] = {
        [ASK_MX] = {DNS_MX, domain},
        [ASK_SPF] = {DNS_TXT, domain},
        [ASK_RSA] = {DNS_TXT, key_name(arena, verify->rsa_selector, domain)},
        [ASK_ED] = {DNS_TXT, key_name(arena, verify->ed_selector, domain)},
        [ASK_DMARC] = {DNS_TXT, arena_format(arena, "_dmarc.%.*s", SLICE_FMT(domain))},
        [ASK_RETURN_PATH] = {DNS_CNAME, verify->return_path_host},
        [ASK_TRACK] = {DNS_CNAME, verify->track_host},
        [ASK_NEXT_RSA] = {DNS_TXT, key_name(arena, verify->next_rsa_selector, domain)},
        [ASK_NEXT_ED] = {DNS_TXT, key_name(arena, verify->next_ed_selector, domain)},
    };
    for (uint32_t i = 0; i < ASK_COUNT; i++) {
        attempt->waiting += questions[i].name.len > 0;
    }
    for (uint32_t i = 0; i < ASK_COUNT; i++) {
        attempt->asks[i].attempt = attempt;
        if (questions[i].name.len > 0) {
            dns_ask(dns, &attempt->asks[i].query, questions[i].type, questions[i].name, on_answer);
        }
    }
}
