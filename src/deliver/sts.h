/* sts.h - what is known of recipient domains' MTA-STS policies (RFC 8461), and how it gets known.
 *
 * A domain's policy is looked for where it was kept (a note in delivery's family, so that a restart
 * opens no window for a downgrade), then its TXT record is asked for, and when that names a policy
 * which is not the one at hand, the policy is fetched over verified HTTPS.
 *
 * What makes it safe is what does not change a policy: no record, no DNS, no policy host, a file
 * that is none. A policy once seen counts until its max_age is over. It is fetched anew once a day,
 * when its domain is asked for or not, so that it does not run out while its host is well. After a
 * failed fetch the next one waits five minutes.
 *
 * Those who ask for one domain at the same time wait for the same answer. Domains are forgotten
 * least used first beyond STS_DOMAINS_MAX; their notes stay until they have run out.
 *
 * Not here: what a policy means for a connection (tls_demand), TLS reports (tls_report).
 */
#ifndef DELIVER_STS_H
#define DELIVER_STS_H

#include "base/base.h"
#include "base/list.h"
#include "base/slice.h"
#include "mail/sts_policy.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "shards/actor.h"
#include "shards/msg.h"
#include "shards/place.h"

struct sts;
struct sts_query;
typedef void sts_found_fn(struct sts_query *query);

/* Why there is a record and no fresh policy; RFC 8460 4.3 has words for it. */
enum sts_fault {
    STS_FAULT_NONE,
    STS_FAULT_FETCH,   /* no answer, or another one than 200 and text/plain */
    STS_FAULT_WEBPKI,  /* the policy host's certificate is not good */
    STS_FAULT_INVALID, /* what came is no policy */
};

struct sts_query {
    struct link link; /* among those who wait; zeroed before first use */
    sts_found_fn *on_found;
    /* out */
    const struct sts_policy *policy; /* NULL: none, or its mode is none. In on_found only */
    enum sts_fault fault;
    bool is_unknown; /* what was kept could not be read: nothing may be said of the domain */
};

struct sts_options {
    struct loop *loop;
    struct dns *dns;          /* outlives the sts, as the client does */
    struct http_client *http; /* verifies names */
    struct actor *actor;      /* its pool lends the notes, it gives them to sts_on_note */
    const struct place *place;
    uint16_t tcp_port; /* of policy hosts: 443 */
};

/* Owns: caller; sts_free after sts_close. */
struct sts *sts_new(const struct sts_options *options);
void sts_free(struct sts *sts);
/* Reads what was kept, and goes on refreshing it. */
void sts_start(struct sts *sts);
/* Whatever is under way ends here, without a callback. Nobody waits any more. */
void sts_close(struct sts *sts);

/* on_found runs once, at once or later, unless sts_cancel comes first. domain: a recipient's, in
 * lower case.
 * Owns: query stays the caller's and in place until found or cancelled; domain is copied. */
void sts_find(struct sts *sts, struct sts_query *query, struct slice domain,
              sts_found_fn *on_found);
void sts_cancel(struct sts_query *query);

/* A SHARD_NOTE of kind NOTE_STS came home. Owns: takes msg. */
void sts_on_note(struct sts *sts, struct msg *msg);

uint32_t sts_count(const struct sts *sts);

#endif
