/* fetch.h - fetching a file from an address that a client names: attachments by url.
 *
 * One per edge, opened with the first fetch. The address goes through the same guard as webhooks
 * (net/http_client.h): no redirects, and nothing private unless the operator allows it. What may
 * come in at once is bounded in bytes and, so that nobody who names slow servers keeps the others
 * waiting, for each account; the rest waits in line.
 *
 * Who asks was authorised before: nobody else's wishes are followed to other servers.
 */
#ifndef EDGE_FETCH_H
#define EDGE_FETCH_H

#include "base/base.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "net/loop.h"

struct fetcher;
struct fetch;

struct fetcher *fetcher_open(struct loop *loop, const struct conf *conf);
typedef void fetcher_closed_fn(void *owner);
/* No fetch may be open; on_closed when the memory is gone. */
void fetcher_close(struct fetcher *fetcher, fetcher_closed_fn *on_closed, void *owner);

struct fetch_question {
    struct account_id account;
    struct slice url; /* http or https; copied */
    size_t bytes_max; /* ATTACHMENT_BYTES_MAX at most */
};

/* fault: a sentence for the client; NULL when the file is there. */
struct fetch_answer {
    const char *fault;
    bool is_too_large;
    struct slice body; /* both during on_done only */
    struct slice content_type;
};
typedef void fetch_fn(void *owner, const struct fetch_answer *answer);

/* on_done runs once, later, unless fetch_cancel comes first. NULL when too many wait already, of
 * all or of this account. Owns: the fetch frees itself with on_done or fetch_cancel. */
struct fetch *fetch_start(struct fetcher *fetcher, const struct fetch_question *question,
                          fetch_fn *on_done, void *owner);
void fetch_cancel(struct fetch *fetch);

#endif
