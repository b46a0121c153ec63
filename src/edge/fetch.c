/* fetch.c - see fetch.h.
 *
 *   fetch_start --> waiting --room and turn--> open --> on_done
 */
#include "edge/fetch.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "net/dns.h"
#include "net/http_client.h"

#define FETCH_TEXT_MAX (16 * KIB)

struct fetcher {
    struct loop *loop;
    struct dns *dns;
    struct http_client *client;
    struct link waiting; /* oldest first */
    struct link open;
    uint32_t fetch_count;
    uint64_t open_bytes; /* that the open ones may bring */
    fetcher_closed_fn *on_closed;
    void *owner;
};

struct fetch {
    struct link link; /* fetcher->waiting or open */
    struct fetcher *fetcher;
    struct http_call call;
    struct arena arena;
    struct account_id account;
    struct slice url;
    size_t bytes_max;
    bool is_open;
    fetch_fn *on_done;
    void *owner;
};

static void on_client_closed(void *context);
static void on_dns_closed(void *context);
static void start_waiting(struct fetcher *fetcher);
static bool may_start(const struct fetcher *fetcher, const struct fetch *fetch);
static uint32_t count_of(const struct link *list, struct account_id account);
static void start(struct fetch *fetch);
static void on_called(struct http_call *call, const struct http_call_result *result);
static const char *fault_of(const struct http_call_result *result);
static void forget(struct fetch *fetch);

struct fetcher *fetcher_open(struct loop *loop, const struct conf *conf)
{
    CHECK_LOOP(loop);
    struct fetcher *fetcher = mem_zalloc(sizeof *fetcher);
    fetcher->loop = loop;
    list_init(&fetcher->waiting);
    list_init(&fetcher->open);
    if (dns_open(loop, conf->dns_servers, &fetcher->dns) != ERR_OK) {
        fatal("dns_servers is a list of ip[:port], not \"%.*s\"", SLICE_FMT(conf->dns_servers));
    }
    struct http_client_options options = {
        .dns = fetcher->dns,
        .ca_path = conf->tls_ca,
        .user_agent = SLICE("Meerkat-Attachments/1.0"),
        .rule = {.allows_private = conf->allow_private_targets},
    };
    if (http_client_open(loop, &options, &fetcher->client) != ERR_OK) {
        fatal("the client for attachments by url cannot be set up; check tls_ca");
    }
    return fetcher;
}

void fetcher_close(struct fetcher *fetcher, fetcher_closed_fn *on_closed, void *owner)
{
    CHECK_LOOP(fetcher->loop);
    CHECK(fetcher->fetch_count == 0);
    fetcher->on_closed = on_closed;
    fetcher->owner = owner;
    http_client_close(fetcher->client, on_client_closed, fetcher);
}

static void on_client_closed(void *context)
{
    struct fetcher *fetcher = context;
    dns_close(fetcher->dns, on_dns_closed, fetcher);
}

static void on_dns_closed(void *context)
{
    struct fetcher *fetcher = context;
    fetcher_closed_fn *on_closed = fetcher->on_closed;
    void *owner = fetcher->owner;
    free(fetcher);
    on_closed(owner);
}

struct fetch *fetch_start(struct fetcher *fetcher, const struct fetch_question *question,
                          fetch_fn *on_done, void *owner)
{
    CHECK_LOOP(fetcher->loop);
    CHECK(fetcher->on_closed == NULL);
    CHECK(question->bytes_max <= ATTACHMENT_BYTES_MAX);
    CHECK(question->url.len <= HTTP_CALL_URL_MAX);
    if (fetcher->fetch_count >= FETCHES_MAX ||
        count_of(&fetcher->waiting, question->account) +
                count_of(&fetcher->open, question->account) >=
            FETCHES_WAITING) {
        return NULL;
    }
    struct fetch *fetch = mem_zalloc(sizeof *fetch);
    fetch->fetcher = fetcher;
    fetch->account = question->account;
    fetch->bytes_max = question->bytes_max;
    fetch->on_done = on_done;
    fetch->owner = owner;
    arena_init(&fetch->arena, KIB, FETCH_TEXT_MAX);
    fetch->url = arena_dup(&fetch->arena, question->url);
    fetcher->fetch_count += 1;
    list_push_back(&fetcher->waiting, &fetch->link);
    start_waiting(fetcher);
    return fetch;
}

void fetch_cancel(struct fetch *fetch)
{
    struct fetcher *fetcher = fetch->fetcher;
    CHECK_LOOP(fetcher->loop);
    if (fetch->is_open) {
        http_call_cancel(&fetch->call);
    }
    forget(fetch);
    start_waiting(fetcher);
}

static void forget(struct fetch *fetch)
{
    struct fetcher *fetcher = fetch->fetcher;
    if (fetch->is_open) {
        CHECK(fetcher->open_bytes >= fetch->bytes_max);
        fetcher->open_bytes -= fetch->bytes_max;
    }
    CHECK(fetcher->fetch_count > 0);
    fetcher->fetch_count -= 1;
    list_remove(&fetch->link);
    arena_fini(&fetch->arena);
    free(fetch);
}

/* The oldest one that may; an account that has its share under way lets others pass. */
static void start_waiting(struct fetcher *fetcher)
{
    LIST_EACH_SAFE (&fetcher->waiting, it, after) {
        struct fetch *fetch = CONTAINER_OF(it, struct fetch, link);
        if (may_start(fetcher, fetch)) {
            start(fetch);
        }
    }
}

static bool may_start(const struct fetcher *fetcher, const struct fetch *fetch)
{
    return count_of(&fetcher->open, fetch->account) < FETCHES_PER_ACCOUNT &&
           fetcher->open_bytes + fetch->bytes_max <= FETCH_BYTES_MAX;
}

static uint32_t count_of(const struct link *list, struct account_id account)
{
    uint32_t count = 0;
    LIST_EACH (list, it) {
        const struct fetch *fetch = CONTAINER_OF(it, const struct fetch, link);
        count += fetch->account.value == account.value;
    }
    return count;
}

static void start(struct fetch *fetch)
{
    static const struct slice keep[] = {SLICE_INIT("content-type")};
    struct fetcher *fetcher = fetch->fetcher;
    struct http_call_request request = {
        .method = HTTP_METHOD_GET,
        .url = fetch->url,
        .keep = keep,
        .keep_count = ARRAY_LEN(keep),
        .body_max = fetch->bytes_max,
        .timeout_ms = FETCH_MS,
    };
    fetch->is_open = true;
    fetcher->open_bytes += fetch->bytes_max;
    list_remove(&fetch->link);
    list_push_back(&fetcher->open, &fetch->link);
    http_call_start(fetcher->client, &fetch->call, &request, on_called);
}

static void on_called(struct http_call *call, const struct http_call_result *result)
{
    struct fetch *fetch = CONTAINER_OF(call, struct fetch, call);
    struct fetcher *fetcher = fetch->fetcher;
    struct fetch_answer answer = {
        .fault = fault_of(result),
        .is_too_large = result->is_cut,
        .body = result->body,
        .content_type = result->headers[0],
    };
    fetch_fn *on_done = fetch->on_done;
    void *owner = fetch->owner;
    if (answer.fault != NULL) {
        LOG_INFO("attachment.not_fetched", LOG_U64("account", fetch->account.value),
                 LOG_ERR(result->err), LOG_U64("status", result->status),
                 LOG_STR("reason", result->failure));
    }
    forget(fetch);
    on_done(owner, &answer);
    start_waiting(fetcher);
}

/* Little is said of why: a client should not learn from us what our network looks like. */
static const char *fault_of(const struct http_call_result *result)
{
    if (result->err == ERR_TIMEOUT) {
        return "the file did not arrive in time";
    }
    if (result->err == ERR_DNS_NONE || result->err == ERR_DNS_TEMP) {
        return "the server of the file was not found";
    }
    if (result->err != ERR_OK) {
        return "the file could not be fetched";
    }
    if (result->status >= 300 && result->status < 400) {
        return "the address of the file redirects, which is not followed";
    }
    if (result->status != 200) {
        return "the server of the file refused it";
    }
    return result->is_cut ? "the attachments are larger than 25 MiB together" : NULL;
}
