/* admin.h - what the handlers of ROUTE_ADMIN share.
 *
 * They post SHARD_ADMIN in the name of whoever asks. Pages are of one shard: `shard`, `after` and
 * `limit` in the query, {data, shard, shardCount, next} in the answer.
 */
#ifndef EDGE_ADMIN_H
#define EDGE_ADMIN_H

#include "edge/api_int.h"

/* NULL after answering 503. The caller is filled in. */
struct msg *admin_take(struct request *request, enum admin_op op);
/* As api_post, to the shard of the account that the body names. */
void admin_post(struct request *request, struct msg *msg, request_msg_fn *on_return);

struct admin_page {
    uint32_t shard;
    uint32_t limit;
    struct slice after; /* text of an id; empty for the first page */
};
/* Answers 400 and returns false on nonsense. */
bool admin_read_page(struct request *request, struct admin_page *page) MUST_USE;
void admin_post_page(struct request *request, const struct admin_page *page, struct msg *msg,
                     request_msg_fn *on_return);
/* Closes the list and the object around it and answers. next: empty when the shard has no more. */
void admin_close_page(struct request *request, struct api_body *body, uint32_t shard,
                      struct slice next);

void admin_write_user(struct json_writer *w, const struct row_user *user);

#endif
