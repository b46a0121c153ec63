/* attempt_hook.h - one try at one webhook: POST, then judge the answer.
 *
 * Success is a 2xx within HOOK_MS that says what the route's mode asks for: anything (lenient); an
 * acknowledgement, `x-mailkite-ack: ok` or a body {"status":"ok"} (ack); or a command, `ok`,
 * `spam`, `drop`, or {"actions":[{"type":"block-sender"}]} (control). 410 ends the delivery;
 * everything else, redirects included, is put off. Whose fault it is decides what the site learns:
 * no answer, 429 and 5xx concern the endpoint as such, other answers this delivery only.
 *
 * Signing was done by the shard; retries are the trip's.
 */
#ifndef DELIVER_ATTEMPT_HOOK_H
#define DELIVER_ATTEMPT_HOOK_H

#include "base/base.h"
#include "base/slice.h"
#include "mail/dsn.h"
#include "net/http_client.h"
#include "shards/msg.h"

#define HOOK_COMMAND_MAX 16

struct attempt_hook;
typedef void attempt_hook_fn(struct attempt_hook *attempt);

struct hook_request {
    struct slice url;
    struct slice headers; /* pack of name, value */
    struct slice body;
    enum ack_mode ack_mode;
    uint64_t timeout_ms; /* HOOK_MS unless a test says less */
};

struct attempt_hook {
    struct http_call call;
    enum ack_mode ack_mode;
    attempt_hook_fn *on_done;
    uint64_t begun_us; /* monotonic */
    /* out */
    struct verdict verdict;
    char command[HOOK_COMMAND_MAX]; /* "spam", "drop", "block-sender" or empty; terminated */
    char remote_addr[ADDR_TEXT_MAX];
};

/* on_done runs once, later, unless attempt_hook_cancel comes first.
 * Owns: attempt stays the caller's and in place; url and headers are copied, body is not.
 * Loop: the client's. */
void attempt_hook_start(struct http_client *client, struct attempt_hook *attempt,
                        const struct hook_request *request, attempt_hook_fn *on_done);
void attempt_hook_cancel(struct attempt_hook *attempt);

/* The pause behind a failed try, from 1, without jitter: 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h. */
uint64_t hook_pause_ms(uint32_t attempt);
/* Nothing follows this try. */
bool hook_is_last(uint32_t attempt);
/* What an answer means. Pure. */
void hook_judge(enum ack_mode mode, const struct http_call_result *result, struct verdict *verdict,
                char command[HOOK_COMMAND_MAX]);

#endif
