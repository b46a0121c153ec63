/* health.c - the questions, and what their answers mean.
 *
 *      records of the domain, addresses of the server     all at once
 *        -> includes of the SPF record, reverse names, block lists
 *             -> addresses of the reverse names
 *      nothing open any more -> eight checks
 *
 * Each answer may ask more; what does not fit into HEALTH_ASKS_MAX is not asked, and says unknown
 * where it matters.
 */
#include "deliver/health.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crypto.h"
#include "mail/dkim.h"
#include "mail/dmarc.h"

#define TEXTS_MAX     8   /* of one answer that are looked at */
#define FOUND_MAX     300 /* bytes of a record that are shown */
#define ADDRESSES_MAX 4   /* of the server */
#define ZONES_MAX     8
#define SPF_ASKS_MAX  12 /* more than may be asked is wrong already, RFC 7208 4.6.4 */
#define PACK_MAX      (32 * KIB)

/* The first ones are asked once each, and their texts are kept. */
enum subject {
    ASK_MX,
    ASK_SPF,
    ASK_RSA,
    ASK_ED,
    ASK_DMARC,
    ASK_PARENT_DMARC,
    ASK_RETURN_PATH,
    ASK_KEPT_COUNT,
    ASK_ADDRESS = ASK_KEPT_COUNT,
    ASK_INCLUDE,
    ASK_REVERSE,
    ASK_FORWARD,
    ASK_LIST,
};

struct kept {
    bool is_unknown;
    uint32_t count;
    struct slice texts[TEXTS_MAX];
};

/* An address that mail leaves from. */
struct address {
    struct ip6 ip;
    struct slice name; /* the first of its reverse names */
    bool is_unknown;
    bool is_confirmed; /* a reverse name leads back */
    bool is_hello;     /* and is what the server says of itself */
};

struct ask {
    struct dns_query query;
    struct health *health;
    enum subject subject;
    uint32_t address; /* REVERSE, FORWARD, LIST */
    struct slice name;
};

struct health {
    struct dns *dns;
    struct msg *msg;
    struct arena *arena;
    health_fn *on_done;
    void *context;
    struct ask asks[HEALTH_ASKS_MAX];
    uint32_t ask_count;
    uint32_t open;
    bool is_cut; /* not everything could be asked */
    struct kept kept[ASK_KEPT_COUNT];
    uint32_t spf_terms; /* that make receivers ask the DNS */
    uint32_t spf_asks;
    struct slice broken_include;
    bool has_address_gap;
    struct address addresses[ADDRESSES_MAX];
    uint32_t address_count;
    bool has_list_gap;
    struct slice listed; /* "192.0.2.1 in zone, ..." */
};

struct check {
    const char *name;
    const char *status;
    struct slice found;
    struct slice advice;
};

static void on_answer(struct dns_query *query, const struct dns_answer *answer);
static void finish(struct health *health);

/* ---- asking --------------------------------------------------------------------------------- */

static void ask(struct health *health, struct ask what, enum dns_type type)
{
    if (health->ask_count == HEALTH_ASKS_MAX) {
        health->is_cut = true;
        return;
    }
    struct ask *slot = &health->asks[health->ask_count++];
    *slot = what;
    slot->health = health;
    health->open += 1;
    dns_ask(health->dns, &slot->query, type, slot->name, on_answer);
}

static void ask_name(struct health *health, enum subject subject, enum dns_type type,
                     struct slice name)
{
    struct ask what = {.subject = subject, .name = name};
    if (name.len > 0) {
        ask(health, what, type);
    }
}

static struct slice below(struct health *health, const char *label, struct slice domain)
{
    return arena_format(health->arena, "%s.%.*s", label, SLICE_FMT(domain));
}

static struct slice key_name(struct health *health, struct slice selector, struct slice domain)
{
    return arena_format(health->arena, "%.*s._domainkey.%.*s", SLICE_FMT(selector),
                        SLICE_FMT(domain));
}

void health_start(struct dns *dns, struct msg *msg, health_fn *on_done, void *context)
{
    const struct deliver_verify *verify = &msg->body.verify;
    struct health *health = mem_zalloc(sizeof *health);
    struct slice domain = verify->domain;
    struct slice parent = slice_from(domain, slice_find_byte(domain, '.') + 1);
    bool has_parent = slice_find_byte(parent, '.') != SIZE_MAX;
    health->dns = dns;
    health->msg = msg;
    health->arena = &msg->arena;
    health->on_done = on_done;
    health->context = context;
    ask_name(health, ASK_MX, DNS_MX, domain);
    ask_name(health, ASK_SPF, DNS_TXT, domain);
    ask_name(health, ASK_RSA, DNS_TXT, key_name(health, verify->rsa_selector, domain));
    ask_name(health, ASK_ED, DNS_TXT, key_name(health, verify->ed_selector, domain));
    ask_name(health, ASK_DMARC, DNS_TXT, below(health, "_dmarc", domain));
    if (has_parent) {
        ask_name(health, ASK_PARENT_DMARC, DNS_TXT, below(health, "_dmarc", parent));
    }
    ask_name(health, ASK_RETURN_PATH, DNS_CNAME, verify->return_path_host);
    ask_name(health, ASK_ADDRESS, DNS_A, verify->hello);
    ask_name(health, ASK_ADDRESS, DNS_AAAA, verify->hello);
    CHECK(health->open > 0);
}

/* ---- SPF ------------------------------------------------------------------------------------ */

static bool is_spf(struct slice text)
{
    return slice_equal_nocase(slice_cut(&text, ' '), SLICE("v=spf1"));
}

static struct slice without_qualifier(struct slice term)
{
    return term.len > 0 && memchr("+-~?", term.data[0], 4) != NULL ? slice_from(term, 1) : term;
}

/* The name behind "include:" or "redirect="; empty when it is another term. */
static struct slice followed(struct slice term)
{
    if (slice_starts_nocase(term, SLICE("include:"))) {
        return slice_from(term, 8);
    }
    return slice_starts_nocase(term, SLICE("redirect=")) ? slice_from(term, 9) : SLICE("");
}

static bool asks_dns(struct slice term)
{
    static const struct slice words[] = {SLICE_INIT("a"), SLICE_INIT("mx"), SLICE_INIT("ptr"),
                                         SLICE_INIT("exists")};
    size_t end = 0;
    while (end < term.len && term.data[end] != ':' && term.data[end] != '/') {
        end++;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (slice_equal_nocase(slice_head(term, end), words[i])) {
            return true;
        }
    }
    return false;
}

/* Counts what a record makes receivers ask, and asks for the records that it leads to. */
static void walk_spf(struct health *health, struct slice record)
{
    (void)slice_cut(&record, ' '); /* the version */
    while (record.data != NULL) {
        struct slice term = without_qualifier(slice_cut(&record, ' '));
        struct slice name = followed(term);
        if (name.len == 0) {
            health->spf_terms += asks_dns(term);
            continue;
        }
        health->spf_terms += 1;
        if (health->spf_asks < SPF_ASKS_MAX && !slice_has_byte(name, '%')) {
            health->spf_asks += 1;
            ask_name(health, ASK_INCLUDE, DNS_TXT, name);
        }
    }
}

static void on_include(struct health *health, const struct ask *asked,
                       const struct dns_answer *answer)
{
    for (uint32_t i = 0; answer->err == ERR_OK && i < answer->count; i++) {
        if (is_spf(answer->records[i].text)) {
            walk_spf(health, arena_dup(health->arena, answer->records[i].text));
            return;
        }
    }
    if (answer->err != ERR_DNS_TEMP) {
        health->broken_include = asked->name;
    }
}

/* ---- the server's addresses ----------------------------------------------------------------- */

/* "1.2.0.192" or nibbles, least first, as PTR and block lists name addresses. */
static struct slice backwards(struct health *health, const struct ip6 *ip)
{
    struct buf out;
    buf_init(&out, 128);
    if (memcmp(ip->bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0) {
        buf_add_format(&out, "%u.%u.%u.%u", ip->bytes[15], ip->bytes[14], ip->bytes[13],
                       ip->bytes[12]);
    } else {
        for (size_t i = sizeof(ip->bytes); i > 0; i--) {
            buf_add_format(&out, "%x.%x%s", ip->bytes[i - 1] & 15u, ip->bytes[i - 1] >> 4u,
                           i > 1 ? "." : "");
        }
    }
    struct slice text = arena_dup(health->arena, buf_slice(&out));
    buf_fini(&out);
    return text;
}

static bool is_v4(const struct ip6 *ip)
{
    return memcmp(ip->bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0;
}

static void ask_lists(struct health *health, uint32_t index, struct slice reversed)
{
    struct slice zones = health->msg->body.verify.blocklists;
    for (uint32_t i = 0; i < ZONES_MAX && zones.data != NULL; i++) {
        struct slice zone = slice_trim(slice_cut(&zones, ','));
        struct ask what = {
            .subject = ASK_LIST,
            .address = index,
            .name = arena_format(health->arena, "%.*s.%.*s", SLICE_FMT(reversed), SLICE_FMT(zone)),
        };
        if (zone.len > 0) {
            ask(health, what, DNS_A);
        }
    }
}

static void take_address(struct health *health, const struct conn_addr *addr)
{
    struct ip6 ip = conn_addr_ip(addr);
    if (health->address_count == ADDRESSES_MAX) {
        return;
    }
    uint32_t index = health->address_count++;
    health->addresses[index] = (struct address){.ip = ip};
    if (conn_addr_is_private(addr)) {
        health->addresses[index].is_unknown = true; /* nobody outside sees it */
        return;
    }
    struct slice reversed = backwards(health, &ip);
    struct ask what = {
        .subject = ASK_REVERSE,
        .address = index,
        .name = arena_format(health->arena, "%.*s.%s", SLICE_FMT(reversed),
                             is_v4(&ip) ? "in-addr.arpa" : "ip6.arpa"),
    };
    ask(health, what, DNS_PTR);
    if (is_v4(&ip)) {
        ask_lists(health, index, reversed);
    }
}

static void on_address(struct health *health, const struct dns_answer *answer)
{
    health->has_address_gap |= answer->err == ERR_DNS_TEMP;
    for (uint32_t i = 0; answer->err == ERR_OK && i < answer->count; i++) {
        take_address(health, &answer->records[i].addr);
    }
}

static void on_reverse(struct health *health, const struct ask *asked,
                       const struct dns_answer *answer)
{
    struct address *address = &health->addresses[asked->address];
    address->is_unknown = answer->err == ERR_DNS_TEMP;
    for (uint32_t i = 0; answer->err == ERR_OK && i < answer->count && i < 2; i++) {
        struct ask what = {
            .subject = ASK_FORWARD,
            .address = asked->address,
            .name = arena_dup(health->arena, answer->records[i].text),
        };
        address->name = i == 0 ? what.name : address->name;
        ask(health, what, is_v4(&address->ip) ? DNS_A : DNS_AAAA);
    }
}

static void on_forward(struct health *health, const struct ask *asked,
                       const struct dns_answer *answer)
{
    struct address *address = &health->addresses[asked->address];
    address->is_unknown |= answer->err == ERR_DNS_TEMP;
    for (uint32_t i = 0; answer->err == ERR_OK && i < answer->count; i++) {
        struct ip6 ip = conn_addr_ip(&answer->records[i].addr);
        if (memcmp(ip.bytes, address->ip.bytes, sizeof ip.bytes) == 0) {
            address->is_confirmed = true;
            address->is_hello |= slice_equal_nocase(asked->name, health->msg->body.verify.hello);
        }
    }
}

static bool is_list_error(const struct ip6 *ip)
{
    return ip->bytes[13] == 255; /* 127.255.255.x: the list refuses to answer (RFC 5782 lets it) */
}

static void on_list(struct health *health, const struct ask *asked, const struct dns_answer *answer)
{
    char text[IP6_TEXT_MAX];
    health->has_list_gap |= answer->err == ERR_DNS_TEMP;
    if (answer->err != ERR_OK) {
        return;
    }
    struct ip6 code = conn_addr_ip(&answer->records[0].addr);
    if (code.bytes[12] != 127 || is_list_error(&code)) {
        health->has_list_gap = true;
        return;
    }
    const struct ip6 *ip = &health->addresses[asked->address].ip;
    struct slice zone = slice_from(asked->name, backwards(health, ip).len + 1);
    (void)ip6_text(ip, text); /* terminated */
    health->listed = arena_format(health->arena, "%.*s%s%s in %.*s", SLICE_FMT(health->listed),
                                  health->listed.len > 0 ? ", " : "", text, SLICE_FMT(zone));
}

/* ---- answers -------------------------------------------------------------------------------- */

static void keep(struct health *health, enum subject subject, const struct dns_answer *answer)
{
    struct kept *kept = &health->kept[subject];
    kept->is_unknown = answer->err == ERR_DNS_TEMP;
    for (uint32_t i = 0; answer->err == ERR_OK && i < answer->count; i++) {
        struct slice text = answer->records[i].text;
        bool is_other = subject == ASK_SPF && !is_spf(text);
        if (!is_other && kept->count < TEXTS_MAX) {
            kept->texts[kept->count++] = arena_dup(health->arena, text);
        }
    }
    if (subject == ASK_SPF && kept->count == 1) {
        walk_spf(health, kept->texts[0]);
    }
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct ask *asked = CONTAINER_OF(query, struct ask, query);
    struct health *health = asked->health;
    CHECK(health->open > 0);
    switch (asked->subject) {
    case ASK_MX:
    case ASK_SPF:
    case ASK_RSA:
    case ASK_ED:
    case ASK_DMARC:
    case ASK_PARENT_DMARC:
    case ASK_RETURN_PATH:
        keep(health, asked->subject, answer);
        break;
    case ASK_ADDRESS:
        on_address(health, answer);
        break;
    case ASK_INCLUDE:
        on_include(health, asked, answer);
        break;
    case ASK_REVERSE:
        on_reverse(health, asked, answer);
        break;
    case ASK_FORWARD:
        on_forward(health, asked, answer);
        break;
    case ASK_LIST:
        on_list(health, asked, answer);
        break;
    }
    health->open -= 1;
    if (health->open == 0) {
        finish(health);
    }
}

/* ---- what it means -------------------------------------------------------------------------- */

static struct check unknown(const char *name)
{
    return (struct check){name, "unknown", SLICE(""),
                          SLICE("The DNS did not answer. It is asked again at the next check.")};
}

/* All that was found, one behind the other. */
static struct slice listing(struct health *health, enum subject subject)
{
    const struct kept *kept = &health->kept[subject];
    struct slice all = SLICE("");
    for (uint32_t i = 0; i < kept->count; i++) {
        all = arena_format(health->arena, "%.*s%s%.*s", SLICE_FMT(all), i > 0 ? ", " : "",
                           SLICE_FMT(slice_head(kept->texts[i], FOUND_MAX)));
    }
    return all;
}

static bool holds(const struct kept *kept, struct slice name)
{
    for (uint32_t i = 0; i < kept->count; i++) {
        if (slice_equal_nocase(kept->texts[i], name)) {
            return true;
        }
    }
    return false;
}

static struct check check_mx(struct health *health)
{
    const struct deliver_verify *verify = &health->msg->body.verify;
    const struct kept *kept = &health->kept[ASK_MX];
    struct check check = {"mx", "ok", listing(health, ASK_MX), SLICE("")};
    if (kept->is_unknown) {
        return unknown("mx");
    }
    if (!holds(kept, verify->mx_host)) {
        check.status = "warn";
        check.advice =
            kept->count == 0
                ? arena_format(
                      health->arena,
                      "Nobody can answer mail from %.*s. To receive it here, publish an MX "
                      "record with priority 10 and the host %.*s.",
                      SLICE_FMT(verify->domain), SLICE_FMT(verify->mx_host))
                : arena_format(health->arena,
                               "Mail to %.*s goes to another server. That is fine if it is meant; "
                               "to receive it here, point the MX record at %.*s.",
                               SLICE_FMT(verify->domain), SLICE_FMT(verify->mx_host));
    }
    return check;
}

struct spf_facts {
    bool is_ours;
    bool is_open; /* "+all" */
    bool has_end;
};

static struct spf_facts read_spf(struct slice record, struct slice include)
{
    struct spf_facts facts = {.is_ours = false};
    while (record.data != NULL) {
        struct slice whole = slice_cut(&record, ' ');
        struct slice term = without_qualifier(whole);
        bool is_all = slice_equal_nocase(term, SLICE("all"));
        facts.is_ours |= slice_starts_nocase(term, SLICE("include:")) &&
                         slice_equal_nocase(slice_from(term, 8), include);
        facts.is_open |= is_all && (whole.len == term.len || whole.data[0] == '+');
        facts.has_end |= is_all || slice_starts_nocase(term, SLICE("redirect="));
    }
    return facts;
}

static struct slice judge_spf(struct health *health, struct slice record, const char **status)
{
    struct slice include = health->msg->body.verify.spf_include;
    struct spf_facts facts = read_spf(record, include);
    *status = "fail";
    if (!facts.is_ours) {
        return arena_format(
            health->arena,
            "The record does not let this server send. Add include:%.*s in front of "
            "the last term.",
            SLICE_FMT(include));
    }
    if (facts.is_open) {
        return SLICE("The record ends in +all and lets everybody send in your name. End it in ~all "
                     "or -all.");
    }
    if (health->spf_terms > 10) {
        return arena_format(health->arena,
                            "Receivers need %u look-ups for this record and stop after 10, as if "
                            "there were none. Remove includes that are no longer needed.",
                            health->spf_terms);
    }
    if (health->broken_include.len > 0) {
        return arena_format(health->arena,
                            "%.*s, which the record includes, has no SPF record; receivers treat "
                            "the whole record as broken. Publish that one, or remove the include.",
                            SLICE_FMT(health->broken_include));
    }
    *status = "warn";
    if (health->spf_terms > 8) {
        return arena_format(health->arena,
                            "Receivers need %u look-ups for this record, and 10 is the most. There "
                            "is little room for another include.",
                            health->spf_terms);
    }
    if (!facts.has_end) {
        return SLICE("The record says nothing about other servers. End it in ~all.");
    }
    *status = "ok";
    return SLICE("");
}

static struct check check_spf(struct health *health)
{
    const struct deliver_verify *verify = &health->msg->body.verify;
    const struct kept *kept = &health->kept[ASK_SPF];
    struct check check = {"spf", "fail", listing(health, ASK_SPF), SLICE("")};
    if (kept->is_unknown) {
        return unknown("spf");
    }
    if (kept->count == 0) {
        check.advice = arena_format(health->arena,
                                    "There is no SPF record. Publish a TXT record at %.*s: v=spf1 "
                                    "include:%.*s ~all",
                                    SLICE_FMT(verify->domain), SLICE_FMT(verify->spf_include));
    } else if (kept->count > 1) {
        check.advice =
            SLICE("There is more than one SPF record, so receivers use none. Make one of "
                  "them: one v=spf1 in front, all terms behind it, one all at the end.");
    } else {
        check.advice = judge_spf(health, kept->texts[0], &check.status);
    }
    return check;
}

/* About how many bits a published RSA key has; 0: it cannot be told. */
static unsigned rsa_bits(struct health *health, struct slice record)
{
    size_t at = slice_find(record, SLICE("p="));
    struct slice text = slice_from(record, at == SIZE_MAX ? record.len : at + 2);
    size_t end = slice_find_byte(text, ';');
    text = slice_head(text, end);
    uint8_t *bytes = arena_try(health->arena, text.len / 4 * 3 + 3);
    size_t len = 0;
    if (bytes == NULL || base64_decode(text, bytes, &len) != ERR_OK || len < 100) {
        return 0;
    }
    return (unsigned)((len - 32) / 64 * 512); /* what is around the number differs by some bytes */
}

static struct check check_key(struct health *health, enum subject subject)
{
    const struct deliver_verify *verify = &health->msg->body.verify;
    bool is_rsa = subject == ASK_RSA;
    const struct kept *kept = &health->kept[subject];
    struct slice key = is_rsa ? verify->rsa_public : verify->ed_public;
    struct slice selector = is_rsa ? verify->rsa_selector : verify->ed_selector;
    struct check check = {is_rsa ? "dkim_rsa" : "dkim_ed25519", "ok", SLICE(""), SLICE("")};
    if (kept->is_unknown) {
        return unknown(check.name);
    }
    for (uint32_t i = 0; i < kept->count; i++) {
        if (dkim_record_matches(kept->texts[i], is_rsa ? SIGN_RSA_SHA256 : SIGN_ED25519, key)) {
            check.found = is_rsa ? SLICE("our key, RSA of 2048 bits") : SLICE("our key, Ed25519");
            return check;
        }
    }
    /* The second key is a bonus: few receivers read it, and the first one signs alone. */
    check.status = is_rsa || kept->count > 0 ? "fail" : "warn";
    check.found = slice_head(listing(health, subject), FOUND_MAX);
    if (kept->count == 0) {
        check.advice = arena_format(health->arena,
                                    "There is no record at %.*s._domainkey.%.*s. Publish the TXT "
                                    "record that the domain's page shows.",
                                    SLICE_FMT(selector), SLICE_FMT(verify->domain));
        return check;
    }
    unsigned bits = is_rsa ? rsa_bits(health, kept->texts[0]) : 0;
    if (bits > 0) {
        check.found = arena_format(health->arena, "another key, RSA of about %u bits", bits);
    }
    check.advice = SLICE("The record holds another key than the one that signs, or was cut when it "
                         "was pasted. Publish it again, whole, and remove any other.");
    return check;
}

static struct slice dmarc_text(const struct kept *kept, struct dmarc_record *record,
                               uint32_t *count)
{
    struct slice found = SLICE("");
    *count = 0;
    for (uint32_t i = 0; i < kept->count; i++) {
        if (dmarc_record_read(kept->texts[i], record)) {
            found = kept->texts[i];
            *count += 1;
        }
    }
    return found;
}

static struct slice judge_dmarc(const struct dmarc_record *record, const char **status)
{
    *status = "warn";
    if (!record->is_usable) {
        *status = "fail";
        return SLICE("The record has no policy that can be read. Write v=DMARC1; p=none; and an "
                     "address for reports, rua=mailto:...");
    }
    if (record->is_strict_spf) {
        return SLICE("aspf=s wants the return path in the very domain of the author; ours is below "
                     "it, so only DKIM makes mail pass. Leave aspf out.");
    }
    if (record->policy == DMARC_POLICY_NONE || record->is_testing) {
        return SLICE(
            "The policy only watches: forged mail is delivered. Once reports show that all "
            "your mail passes, go on to p=quarantine, then p=reject.");
    }
    if (record->rua.len == 0) {
        return SLICE("Nobody receives the reports. Add rua=mailto: and an address that you read.");
    }
    *status = "ok";
    return SLICE("");
}

static struct check check_dmarc(struct health *health)
{
    const struct deliver_verify *verify = &health->msg->body.verify;
    struct check check = {"dmarc", "fail", SLICE(""), SLICE("")};
    struct dmarc_record record;
    uint32_t count;
    if (health->kept[ASK_DMARC].is_unknown) {
        return unknown("dmarc");
    }
    check.found = dmarc_text(&health->kept[ASK_DMARC], &record, &count);
    if (count == 0) {
        check.found = dmarc_text(&health->kept[ASK_PARENT_DMARC], &record, &count);
    }
    check.found = slice_head(check.found, FOUND_MAX);
    if (count == 0) {
        check.advice = arena_format(health->arena,
                                    "There is no DMARC record. Large receivers refuse bulk mail "
                                    "without one. Publish a TXT record at _dmarc.%.*s: v=DMARC1; "
                                    "p=none; rua=mailto: and an address that you read.",
                                    SLICE_FMT(verify->domain));
    } else if (count > 1) {
        check.advice =
            SLICE("There is more than one DMARC record, so receivers use none. Keep one.");
    } else {
        check.advice = judge_dmarc(&record, &check.status);
    }
    return check;
}

static struct check check_return_path(struct health *health)
{
    const struct deliver_verify *verify = &health->msg->body.verify;
    struct check check = {"return_path", "ok", listing(health, ASK_RETURN_PATH), SLICE("")};
    if (health->kept[ASK_RETURN_PATH].is_unknown) {
        return unknown("return_path");
    }
    if (!holds(&health->kept[ASK_RETURN_PATH], verify->return_path_target)) {
        check.status = "warn";
        check.advice =
            arena_format(health->arena,
                         "Bounces come back to %.*s instead of your domain, and SPF does "
                         "not align for DMARC. Publish a CNAME record at %.*s to %.*s.",
                         SLICE_FMT(verify->return_path_target), SLICE_FMT(verify->return_path_host),
                         SLICE_FMT(verify->return_path_target));
    }
    return check;
}

static struct slice address_list(struct health *health)
{
    struct slice all = SLICE("");
    for (uint32_t i = 0; i < health->address_count; i++) {
        char text[IP6_TEXT_MAX];
        const struct address *address = &health->addresses[i];
        (void)ip6_text(&address->ip, text); /* terminated */
        all = arena_format(health->arena, "%.*s%s%s%s%.*s", SLICE_FMT(all), i > 0 ? ", " : "", text,
                           address->name.len > 0 ? " " : "", SLICE_FMT(address->name));
    }
    return all;
}

static struct check check_hello(struct health *health)
{
    struct slice hello = health->msg->body.verify.hello;
    struct check check = {"helo", "ok", hello, SLICE("")};
    if (health->address_count == 0) {
        if (health->has_address_gap) {
            return unknown("helo");
        }
        check.status = "fail";
        check.advice = arena_format(health->arena,
                                    "The server calls itself %.*s, and that name has no address. "
                                    "Set hostname to its real name, or publish an A record for it.",
                                    SLICE_FMT(hello));
    }
    return check;
}

static struct check check_reverse(struct health *health)
{
    struct check check = {"reverse_dns", "ok", address_list(health), SLICE("")};
    uint32_t unconfirmed = 0;
    uint32_t others = 0;
    uint32_t gaps = health->address_count == 0 || health->msg->body.verify.is_relayed;
    for (uint32_t i = 0; i < health->address_count; i++) {
        const struct address *address = &health->addresses[i];
        gaps += address->is_unknown;
        unconfirmed += !address->is_unknown && !address->is_confirmed;
        others += !address->is_unknown && address->is_confirmed && !address->is_hello;
    }
    if (health->msg->body.verify.is_relayed) {
        check.status = "unknown";
        check.advice = SLICE("Mail leaves through the smarthost, whose names count instead.");
    } else if (unconfirmed > 0) {
        check.status = "fail";
        check.advice = arena_format(health->arena,
                                    "An address of the server has no reverse name that leads back "
                                    "to it. Ask whoever runs the network to set its PTR record to "
                                    "%.*s.",
                                    SLICE_FMT(health->msg->body.verify.hello));
    } else if (gaps > 0) {
        check.status = "unknown";
        check.advice = SLICE("The server's name has no address that can be seen from outside, or "
                             "the DNS did not answer.");
    } else if (others > 0) {
        check.status = "warn";
        check.advice =
            arena_format(health->arena,
                         "The reverse name leads back, but the server calls itself %.*s. "
                         "Some receivers want the two to be the same.",
                         SLICE_FMT(health->msg->body.verify.hello));
    }
    return check;
}

static struct check check_lists(struct health *health)
{
    struct check check = {"blocklists", "ok", health->listed, SLICE("")};
    if (health->msg->body.verify.blocklists.len == 0) {
        check.status = "unknown";
        check.advice = SLICE("None is asked. The operator names them in dnsbl_zones.");
    } else if (health->listed.len > 0) {
        check.status = "fail";
        check.advice = SLICE("Receivers that use this list refuse the server's mail. Find out why "
                             "on the list's page, mend it, then ask there to be removed.");
    } else if (health->has_list_gap || health->is_cut || health->address_count == 0) {
        check.status = "unknown";
        check.advice = SLICE("A list did not answer, or does not answer this resolver.");
    }
    return check;
}

static void finish(struct health *health)
{
    const struct check checks[] = {
        check_spf(health),   check_key(health, ASK_RSA), check_key(health, ASK_ED),
        check_dmarc(health), check_mx(health),           check_return_path(health),
        check_hello(health), check_reverse(health),      check_lists(health),
    };
    struct buf pack;
    buf_init(&pack, PACK_MAX);
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        buf_put_slice(&pack, slice_str(checks[i].name));
        buf_put_slice(&pack, slice_str(checks[i].status));
        buf_put_slice(&pack, slice_head(checks[i].found, 4 * FOUND_MAX));
        buf_put_slice(&pack, slice_head(checks[i].advice, 4 * FOUND_MAX));
    }
    CHECK(!pack.is_over);
    health->msg->body.verify.health = arena_dup(health->arena, buf_slice(&pack));
    buf_fini(&pack);
    health_fn *on_done = health->on_done;
    void *context = health->context;
    free(health);
    on_done(context);
}
