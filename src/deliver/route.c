/* route.c - MX, then addresses.
 *
 *   MX --found--> A and AAAA of each host --all back--> targets in order
 *    +--none----> the domain itself as the only host (RFC 5321 5.1)
 *    +--null----> bounced 5.1.10;  no such name: bounced 5.1.2;  temporary: deferred 4.4.3
 */
#include "deliver/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crypto.h"

static void on_mx(struct dns_query *query, const struct dns_answer *answer);
static void look_up_hosts(struct route *route);

static void set_port(struct conn_addr *addr, uint16_t tcp_port)
{
    if (addr->storage.ss_family == AF_INET) {
        ((struct sockaddr_in *)(void *)&addr->storage)->sin_port = htons(tcp_port);
    } else {
        ((struct sockaddr_in6 *)(void *)&addr->storage)->sin6_port = htons(tcp_port);
    }
}

static void add_host(struct route *route, struct slice name, uint16_t priority)
{
    if (route->host_count == ROUTE_HOSTS_MAX || name.len > DNS_NAME_MAX) {
        return;
    }
    struct route_host *host = &route->hosts[route->host_count++];
    memcpy(host->name, name.data, name.len);
    host->name[name.len] = '\0';
    host->priority = priority;
    host->route = route;
}

void route_find(struct route *route, const struct route_options *options, route_found_fn *on_found)
{
    memset(route, 0, sizeof *route);
    route->dns = options->dns;
    route->on_found = on_found;
    route->tcp_port = options->tcp_port;
    route->allows_private = options->allows_private;
    if (options->is_host) {
        add_host(route, options->name, 0);
        look_up_hosts(route);
        return;
    }
    add_host(route, options->name, 0); /* replaced when there are MX records */
    route->waiting = 1;
    dns_ask(route->dns, &route->mx, DNS_MX, options->name, on_mx);
}

void route_cancel(struct route *route)
{
    dns_cancel(&route->mx);
    for (uint32_t i = 0; i < route->host_count; i++) {
        dns_cancel(&route->hosts[i].a);
        dns_cancel(&route->hosts[i].aaaa);
    }
}

static void fail(struct route *route, enum verdict_class class, const char *enhanced,
                 const char *text)
{
    verdict_own(&route->verdict, SMTP_STEP_RESOLVE, class, enhanced, text);
    route->verdict.scope = class == VERDICT_BOUNCED ? VERDICT_MAIL : VERDICT_HOST;
    route->target_count = 0;
    route->on_found(route);
}

/* ---- MX ------------------------------------------------------------------------------------- */

/* RFC 5321 5.1: equal preferences are tried in random order, to spread the load. */
struct mx_choice {
    struct slice name;
    uint32_t rank; /* preference, then chance */
};

static int compare_choices(const void *a, const void *b)
{
    uint32_t left = ((const struct mx_choice *)a)->rank;
    uint32_t right = ((const struct mx_choice *)b)->rank;
    return left < right ? -1 : left > right;
}

static void choose_hosts(struct route *route, const struct dns_answer *answer)
{
    struct mx_choice choices[DNS_ANSWERS_MAX];
    uint32_t count = answer->count < DNS_ANSWERS_MAX ? answer->count : DNS_ANSWERS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const struct dns_record *record = &answer->records[i];
        uint32_t chance = (uint32_t)(crypto_random_u64() & 0xffff);
        choices[i] = (struct mx_choice){record->text, (uint32_t)record->priority << 16 | chance};
    }
    qsort(choices, count, sizeof choices[0], compare_choices);
    route->host_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        add_host(route, choices[i].name, (uint16_t)(choices[i].rank >> 16));
    }
}

static void on_mx(struct dns_query *query, const struct dns_answer *answer)
{
    struct route *route = CONTAINER_OF(query, struct route, mx);
    CHECK(route->waiting == 1);
    route->waiting -= 1;
    route->is_secure = answer->is_secure;
    if (answer->err == ERR_OK) {
        if (answer->count == 1 && answer->records[0].text.len == 0) {
            fail(route, VERDICT_BOUNCED, "5.1.10",
                 "the domain accepts no mail (null MX, RFC 7505)");
            return;
        }
        choose_hosts(route, answer);
        look_up_hosts(route);
    } else if (answer->err == ERR_DNS_NONE && answer->is_name_missing) {
        fail(route, VERDICT_BOUNCED, "5.1.2", "the recipient's domain does not exist");
    } else if (answer->err == ERR_DNS_NONE) {
        look_up_hosts(route);
    } else {
        fail(route, VERDICT_DEFERRED, "4.4.3", "the domain's MX records could not be looked up");
    }
}

/* ---- addresses ------------------------------------------------------------------------------ */

static void finish(struct route *route)
{
    CHECK(route->waiting == 0);
    CHECK(route->target_count == 0);
    for (uint32_t i = 0; i < route->host_count; i++) {
        struct route_host *host = &route->hosts[i];
        for (uint32_t n = 0; n < host->addr_count && route->target_count < ROUTE_ADDRS_MAX; n++) {
            struct route_target *target = &route->targets[route->target_count++];
            memcpy(target->host, host->name, sizeof target->host);
            target->host_index = i;
            target->addr = host->addrs[n];
            set_port(&target->addr, route->tcp_port);
        }
    }
    if (route->target_count > 0) {
        route->on_found(route);
    } else if (route->has_temporary) {
        fail(route, VERDICT_DEFERRED, "4.4.3", "no address of the mail hosts could be looked up");
    } else if (route->has_private) {
        fail(route, VERDICT_BOUNCED, "5.4.4",
             "the mail hosts have only addresses that are not public");
    } else {
        /* A host that is missing today is often a mistake that somebody mends; retries run out by
         * themselves. */
        fail(route, VERDICT_DEFERRED, "4.4.4", "none of the domain's mail hosts has an address");
    }
}

static void on_addrs(struct route_host *host, const struct dns_answer *answer)
{
    struct route *route = host->route;
    CHECK(route->waiting > 0);
    route->has_temporary |= answer->err == ERR_DNS_TEMP;
    host->is_secure |= answer->is_secure; /* both come from one zone */
    if (answer->owner.len > 0 && answer->owner.len <= DNS_NAME_MAX) {
        host->is_alias = true;
        (void)snprintf(host->owner, sizeof host->owner, "%.*s", SLICE_FMT(answer->owner));
    }
    for (uint32_t i = 0; answer->err == ERR_OK && i < answer->count; i++) {
        const struct conn_addr *addr = &answer->records[i].addr;
        if (!route->allows_private && conn_addr_is_private(addr)) {
            route->has_private = true;
            continue;
        }
        if (host->addr_count == ROUTE_ADDRS_MAX) {
            break;
        }
        uint32_t at = host->addr_count++;
        if (addr->storage.ss_family == AF_INET) { /* IPv4 first */
            memmove(&host->addrs[1], &host->addrs[0], at * sizeof host->addrs[0]);
            at = 0;
        }
        host->addrs[at] = *addr;
    }
    route->waiting -= 1;
    if (route->waiting == 0) {
        finish(route);
    }
}

static void on_a(struct dns_query *query, const struct dns_answer *answer)
{
    on_addrs(CONTAINER_OF(query, struct route_host, a), answer);
}

static void on_aaaa(struct dns_query *query, const struct dns_answer *answer)
{
    on_addrs(CONTAINER_OF(query, struct route_host, aaaa), answer);
}

static void look_up_hosts(struct route *route)
{
    CHECK(route->waiting == 0);
    if (route->host_count == 0) {
        finish(route); /* every MX name was longer than a host's may be */
        return;
    }
    route->waiting = 2 * route->host_count;
    for (uint32_t i = 0; i < route->host_count; i++) {
        struct route_host *host = &route->hosts[i];
        dns_ask(route->dns, &host->a, DNS_A, slice_str(host->name), on_a);
        dns_ask(route->dns, &host->aaaa, DNS_AAAA, slice_str(host->name), on_aaaa);
    }
}
