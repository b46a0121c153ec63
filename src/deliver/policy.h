/* policy.h - what the operator (and we, by default) know of destinations and of our own addresses.
 *
 * A readable text: sections that begin with `provider NAME`, `domain NAME` or `pool NAME`, a
 * setting a line, `#` comments. sites.conf beside this file is shipped in the program; the file of
 * the option site_policy comes before it, and of two sections with one name the first counts.
 * `shipped off` leaves ours out.
 *
 * A provider is known by its MX hosts. Every domain whose mail goes to the same provider shares its
 * limits; where no pattern fits, domains share by the registrable part of their best MX host.
 */
#ifndef DELIVER_POLICY_H
#define DELIVER_POLICY_H

#include "base/arena.h"
#include "base/base.h"
#include "base/slice.h"
#include "deliver/site.h"
#include "net/conn.h"

#define POLICY_WHY_MAX   256
#define POLICY_GROUP_MAX 256

/* Overrides the choice of TLS towards one recipient domain. */
enum policy_tls { POLICY_TLS_UNSET, POLICY_TLS_NONE, POLICY_TLS_MAY, POLICY_TLS_REQUIRE };

struct policy_provider {
    struct slice name;
    struct slice *patterns; /* "mx.example.com" or "*.example.com"; small letters */
    uint32_t pattern_count;
    struct site_rules rules;
};

struct policy_domain {
    struct slice name;
    enum policy_tls tls;
};

/* An address of ours that mail leaves from. */
struct policy_source {
    struct slice text; /* "192.0.2.1" */
    struct conn_addr addr;
    struct slice helo; /* empty: the server's name */
    uint32_t weight;
    bool is_warming; /* daily volume grows from its first mail on */
};

struct policy_pool {
    struct slice name;
    struct policy_source *sources;
    uint32_t source_count;
};

struct policy {
    struct arena arena;
    struct policy_provider *providers;
    uint32_t provider_count;
    struct policy_domain *domains;
    uint32_t domain_count;
    struct policy_pool *pools;
    uint32_t pool_count;
    struct site_rules rules; /* for everybody else: provider `default` */
    bool has_default;
    bool leaves_out_shipped;
};

struct policy_group {
    char name[POLICY_GROUP_MAX]; /* terminated */
    struct site_rules rules;
};

/* Owns: the caller, who ends it with policy_free. */
struct policy *policy_new(void);
void policy_free(struct policy *policy);
/* Adds a text. False: why names line and reason, and the policy is good for policy_free only. */
bool policy_read(struct policy *policy, struct slice text, char why[POLICY_WHY_MAX]) MUST_USE;
/* The file (empty path: none), then what is shipped. NULL: why says what is wrong. */
struct policy *policy_load(struct slice path, char why[POLICY_WHY_MAX]);

/* Whose limits count for mail of a domain whose best MX host this is (empty: it has none). */
void policy_group(const struct policy *policy, struct slice domain, struct slice mx_host,
                  struct policy_group *group);
/* Of a group by its name. */
const struct site_rules *policy_rules(const struct policy *policy, struct slice group);
enum policy_tls policy_tls(const struct policy *policy, struct slice domain);
/* NULL when there is none of that name. The default pool has the empty name, written `default`. */
const struct policy_pool *policy_pool(const struct policy *policy, struct slice name);

#endif
