/* group.h - finds the sites of domains: looks up who takes their mail, asks the policy whose limits
 * that means.
 *
 * Only the name of the best MX host is asked for here; the way there is route's, at the time of the
 * try. A domain that has none, or cannot be looked up now, is a site of its own: the try says why.
 * At most GROUP_LOOKUPS_MAX questions are open; further domains wait in the schedule.
 */
#ifndef DELIVER_GROUP_H
#define DELIVER_GROUP_H

#include "base/list.h"
#include "deliver/policy.h"
#include "deliver/sched.h"
#include "net/dns.h"
#include "net/loop.h"

struct group_finder;
/* Something became known: entries may have gone to their sites. */
typedef void group_found_fn(struct group_finder *finder);
/* The pool that a site's mail leaves from instead, by the operator's word; untouched: its own. */
typedef void group_moved_fn(void *owner, struct slice site, struct slice *pool);

struct group_finder {
    struct loop *loop;
    struct dns *dns;
    struct sched *sched;
    const struct policy *policy; /* the owner's; may be exchanged between turns */
    group_found_fn *on_found;
    group_moved_fn *moved_to; /* NULL: nothing is moved */
    void *moved_owner;
    struct link looks; /* open questions */
    uint32_t look_count;
    bool has_smarthost; /* then every mail has one site, and nobody is asked */
};

/* Takes domains from the schedule and finds their sites, as many at once as may be. on_found comes
 * for those that were asked for in the DNS. */
void group_find(struct group_finder *finder);
/* Gives up what is open; the schedule hands it out again. */
void group_cancel(struct group_finder *finder);
/* Whether a destination is a webhook's origin, "https://host:port", and no mail domain. */
bool group_is_hook(struct slice name);
/* Whether a host is one of the site's. Anybody may name a provider's hosts in his MX records and be
 * reached at his own: he must neither hold the provider's connections nor speak for it. A site that
 * is the domain's alone has all its hosts. */
bool group_has_host(const struct policy *policy, const struct site *site, struct slice domain,
                    struct slice host);
/* Not all hosts of the domain are its site's: for an hour it has one of its own. */
void group_set_alone(struct group_finder *finder, struct dest *dest);
/* Of a site's name: what stands behind the pool. */
struct slice group_of_site(const struct site *site);

#endif
