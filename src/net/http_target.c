/* http_target.c - see http_target.h. */
#include "net/http_target.h"

#include "base/check.h"

#include <netinet/in.h>

#define NETS_MAX 64

static void on_answer(struct dns_query *query, const struct dns_answer *answer);
static void choose(struct http_target *target);
static void judge(struct http_target *target, const struct conn_addr *addr);
static void set_port(struct conn_addr *addr, uint16_t tcp_port);

enum err http_target_rule_check(const struct http_target_rule *rule)
{
    struct conn_addr none = {0};
    struct slice rest = rule->allowed_nets;
    for (uint32_t count = 0; rest.len > 0; count++) {
        bool is_inside = false;
        if (count == NETS_MAX ||
            conn_addr_in_cidr(&none, slice_cut(&rest, ','), &is_inside) != ERR_OK) {
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

bool http_target_is_allowed(const struct http_target_rule *rule, const struct conn_addr *addr)
{
    if (rule->allows_private || !conn_addr_is_private(addr)) {
        return true;
    }
    struct slice rest = rule->allowed_nets;
    while (rest.len > 0) {
        bool is_inside = false;
        enum err err = conn_addr_in_cidr(addr, slice_cut(&rest, ','), &is_inside);
        CHECK(err == ERR_OK);
        if (is_inside) {
            return true;
        }
    }
    return false;
}

void http_target_find(struct http_target *target, struct dns *dns, const struct http_url *url,
                      http_target_fn *on_known)
{
    static const enum dns_type types[] = {DNS_A, DNS_AAAA};
    target->on_known = on_known;
    target->tcp_port = url->tcp_port;
    if (url->is_literal) {
        target->families[0].addrs[0] = url->addr;
        target->families[0].addr_count = 1;
        choose(target);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(target->families); i++) {
        target->families[i].target = target;
        dns_ask(dns, &target->families[i].query, types[i], url->host, on_answer);
    }
}

void http_target_cancel(struct http_target *target)
{
    for (size_t i = 0; i < ARRAY_LEN(target->families); i++) {
        dns_cancel(&target->families[i].query);
    }
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct http_target_family *family = CONTAINER_OF(query, struct http_target_family, query);
    struct http_target *target = family->target;
    family->is_answered = true;
    family->err = answer->err;
    if (answer->err == ERR_OK) {
        family->addr_count = (uint32_t)min_u64(answer->count, HTTP_CALL_ADDRS_MAX);
        for (uint32_t i = 0; i < family->addr_count; i++) {
            family->addrs[i] = answer->records[i].addr;
            set_port(&family->addrs[i], target->tcp_port);
        }
    }
    if (target->families[0].is_answered && target->families[1].is_answered) {
        choose(target);
    }
}

/* The families take turns, v4 first: a host without a way to v6 then loses no time. */
static void choose(struct http_target *target)
{
    const struct http_target_family *v4 = &target->families[0];
    const struct http_target_family *v6 = &target->families[1];
    for (uint32_t i = 0; i < HTTP_CALL_ADDRS_MAX; i++) {
        if (i < v4->addr_count) {
            judge(target, &v4->addrs[i]);
        }
        if (i < v6->addr_count) {
            judge(target, &v6->addrs[i]);
        }
    }
    if (target->addr_count > 0) {
        target->err = ERR_OK;
    } else if (v4->addr_count + v6->addr_count > 0) {
        target->err = ERR_REFUSED_TARGET;
    } else if (v4->err == ERR_DNS_TEMP || v6->err == ERR_DNS_TEMP) {
        target->err = ERR_DNS_TEMP;
    } else {
        target->err = ERR_DNS_NONE;
    }
    target->on_known(target);
}

static void judge(struct http_target *target, const struct conn_addr *addr)
{
    if (target->addr_count < HTTP_CALL_ADDRS_MAX && http_target_is_allowed(&target->rule, addr)) {
        target->addrs[target->addr_count++] = *addr;
    }
}

static void set_port(struct conn_addr *addr, uint16_t tcp_port)
{
    if (addr->storage.ss_family == AF_INET) {
        ((struct sockaddr_in *)&addr->storage)->sin_port = htons(tcp_port);
    } else {
        ((struct sockaddr_in6 *)&addr->storage)->sin6_port = htons(tcp_port);
    }
}
