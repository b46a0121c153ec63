/* http_client.c - see http_client.h.
 *
 *             name known, an address is allowed
 *   LOOKUP ------------------------------------> TRANSFER --+ no connection: the next address
 *     |                                           |    ^----+
 *     |   refused, unknown, malformed, timeout    | answer, failure, timeout
 *     +--------------------> DONE <---------------+
 *
 * An exchange is what a call costs: it is made by http_call_start and freed when it is told or
 * cancelled. on_done is called in one place, on_tell, a chore at the bottom of the stack; so it may
 * start, cancel and close as it likes, and nobody calls libcurl from within libcurl.
 *
 * libcurl says which sockets it wants watched (on_watch) and when it wants to be called again
 * (on_timer). It never resolves a name: CURLOPT_CONNECT_TO ties each transfer to one numeric
 * address, which libcurl also compares before it uses a connection again; and on_socket makes a
 * socket for that address only.
 *
 * libcurl's idea of time is its own; the deadline of a call is a timer of the loop.
 */
#include "net/http_client.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/crypto.h"
#include "base/list.h"
#include "base/sm.h"
#include "net/http_target.h"
#include "net/http_url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define EXCHANGE_CHUNK  1024
#define FIELD_BYTES_MAX (16 * KIB) /* one header field of a request */
#define EXCHANGE_BYTES_MAX                                                                         \
    (4 * HTTP_CALL_URL_MAX + HTTP_CALL_KEEP_MAX * 2 * HTTP_CALL_VALUE_MAX + 16 * KIB)

enum call_state { CALL_STATE_LOOKUP, CALL_STATE_TRANSFER, CALL_STATE_DONE };

static const struct sm_state states[] = {
    [CALL_STATE_LOOKUP] = {"LOOKUP", SM_TO(CALL_STATE_TRANSFER) | SM_TO(CALL_STATE_DONE)},
    [CALL_STATE_TRANSFER] = {"TRANSFER", SM_TO(CALL_STATE_DONE)},
    [CALL_STATE_DONE] = {"DONE", 0},
};
static const struct sm_table machine = {"http_call", states, ARRAY_LEN(states)};

struct http_client {
    struct loop *loop;
    struct dns *dns;
    CURLM *multi;
    struct link open; /* struct exchange, not yet done */
    struct link done; /* to be told */
    uint32_t exchange_count;
    uint32_t watch_count;
    struct timer timer; /* libcurl's */
    struct chore tell;
    struct arena arena;
    const char *ca_path; /* NULL: the system's */
    const char *user_agent;
    struct http_target_rule rule;
    bool is_closing;
    http_client_closed_fn *on_closed;
    void *context;
};

/* A socket that libcurl wants watched. */
struct watch {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
};

struct exchange {
    struct http_call *call;
    struct http_client *client;
    struct link link;
    struct sm sm;
    struct arena arena;
    struct timer deadline;
    uint64_t started_ms;
    uint64_t deadline_ms;
    struct http_url url;
    struct http_target target;
    uint32_t addr_at; /* of the target's */
    CURL *easy;
    bool is_added; /* to the multi */
    struct curl_slist *send_headers;
    struct curl_slist *connect_to;
    struct slice keep[HTTP_CALL_KEEP_MAX];
    uint32_t keep_count;
    uint64_t header_bytes;
    struct buf body;
    size_t body_max;
    bool is_header_over;
    char curl_error[CURL_ERROR_SIZE];
    struct http_call_result result;
};

static void start_curl(void);
static struct exchange *new_exchange(struct http_client *client, struct http_call *call,
                                     const struct http_call_request *request);
static void free_exchange(struct exchange *exchange);
static void stop_work(struct exchange *exchange);
static void finish(struct exchange *exchange, enum err err, const char *failure);
static bool add_field(struct exchange *exchange, struct slice name, struct slice value);
static bool add_fields(struct exchange *exchange, const struct http_call_request *request);
static void on_known(struct http_target *target);
static void prepare_easy(struct exchange *exchange, const struct http_call_request *request);
static int prepare_security(struct exchange *exchange);
static int prepare_method(struct exchange *exchange, const struct http_call_request *request);
static void transfer(struct exchange *exchange);
static const char *late_connection(const struct exchange *exchange);
static void on_deadline(struct timer *timer);
static bool is_ready(const struct exchange *exchange);
static void read_messages(struct http_client *client);
static void transfer_ended(struct exchange *exchange, CURLcode code);
static enum err classify(CURLcode code);
static void note_transfer(struct exchange *exchange);
static size_t on_header(char *data, size_t size, size_t count, void *context);
static void keep_field(struct exchange *exchange, struct slice line);
static size_t on_body(char *data, size_t size, size_t count, void *context);
static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *addr);
static int on_watch(CURL *easy, curl_socket_t fd, int what, void *context, void *watch_of_fd);
static int on_timer(CURLM *multi, long timeout_ms, void *context);
static void on_due(struct timer *timer);
static void on_event(uv_poll_t *poll, int status, int events);
static void on_watch_closed(uv_handle_t *handle);
static void act(struct http_client *client, curl_socket_t fd, int events);
static void on_tell(struct chore *chore);
static void try_close(struct http_client *client);

enum err http_client_open(struct loop *loop, const struct http_client_options *options,
                          struct http_client **client)
{
    CHECK_LOOP(loop);
    CHECK(options->dns != NULL);
    if (http_target_rule_check(&options->rule) != ERR_OK) {
        return ERR_INVALID;
    }
    start_curl();
    struct http_client *made = mem_zalloc(sizeof(*made));
    made->loop = loop;
    made->dns = options->dns;
    made->rule = options->rule;
    arena_init(&made->arena, EXCHANGE_CHUNK, MIB);
    if (options->ca_path.len > 0) {
        made->ca_path = arena_cstr(&made->arena, options->ca_path);
    }
    if (options->user_agent.len > 0) {
        made->user_agent = arena_cstr(&made->arena, options->user_agent);
    }
    made->rule.allowed_nets = arena_dup(&made->arena, options->rule.allowed_nets);
    list_init(&made->open);
    list_init(&made->done);
    timer_init(&made->timer, loop, on_due);
    chore_init(&made->tell, on_tell);
    made->multi = curl_multi_init();
    if (made->multi == NULL) {
        fatal("cannot start libcurl; look for memory and file descriptors");
    }
    int bad = 0;
    bad |= (int)curl_multi_setopt(made->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
    bad |= (int)curl_multi_setopt(made->multi, CURLMOPT_SOCKETDATA, made);
    bad |= (int)curl_multi_setopt(made->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    bad |= (int)curl_multi_setopt(made->multi, CURLMOPT_TIMERDATA, made);
    bad |= (int)curl_multi_setopt(made->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    bad |= (int)curl_multi_setopt(made->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_CALL_IDLE_CONNS);
    bad |= (int)curl_multi_setopt(made->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                                  (long)HTTP_CALLS_PER_HOST);
    CHECK(bad == 0);
    *client = made;
    return ERR_OK;
}

void http_client_close(struct http_client *client, http_client_closed_fn *on_closed, void *context)
{
    CHECK_LOOP(client->loop);
    CHECK(!client->is_closing);
    client->is_closing = true;
    client->on_closed = on_closed;
    client->context = context;
    LIST_EACH_SAFE (&client->open, link, after) {
        finish(CONTAINER_OF(link, struct exchange, link), ERR_DRAINING, "the client is closing");
    }
    chore_start(client->loop, &client->tell);
}

void http_call_start(struct http_client *client, struct http_call *call,
                     const struct http_call_request *request, http_call_fn *on_done)
{
    CHECK_LOOP(client->loop);
    CHECK(call->exchange == NULL);
    CHECK(on_done != NULL);
    CHECK(request->timeout_ms > 0 && request->timeout_ms <= HTTP_CALL_MS_MAX);
    CHECK(request->body_max <= HTTP_CALL_BODY_MAX);
    CHECK(request->keep_count <= HTTP_CALL_KEEP_MAX);
    CHECK(request->header_count <= HTTP_CALL_SEND_MAX);
    struct exchange *exchange = new_exchange(client, call, request);
    call->exchange = exchange;
    call->on_done = on_done;
    if (client->is_closing) {
        finish(exchange, ERR_DRAINING, "the client is closing");
    } else if (client->exchange_count > HTTP_CALLS_MAX) {
        finish(exchange, ERR_BUSY, "too many calls are open");
    } else if (http_url_parse(request->url, &exchange->arena, &exchange->url) != ERR_OK ||
               exchange->url.needs_idna) {
        finish(exchange, ERR_INVALID, "the address is malformed");
    } else if (!add_fields(exchange, request)) {
        finish(exchange, ERR_INVALID, "a header field is malformed");
    } else {
        prepare_easy(exchange, request);
        http_target_find(&exchange->target, client->dns, &exchange->url, on_known);
    }
}

void http_call_cancel(struct http_call *call)
{
    if (call->exchange != NULL) {
        CHECK_LOOP(call->exchange->client->loop);
        struct http_client *client = call->exchange->client;
        free_exchange(call->exchange);
        call->exchange = NULL;
        if (client->is_closing) {
            chore_start(client->loop, &client->tell);
        }
    }
}

/* Safe to call from several threads at once, as Debian's libcurl is built; it counts its users. */
static void start_curl(void)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    if ((info->features & CURL_VERSION_THREADSAFE) == 0 ||
        (info->features & CURL_VERSION_SSL) == 0 ||
        curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        fatal("libcurl %s cannot be used; install Debian's libcurl4 7.88 or later", info->version);
    }
}

static struct exchange *new_exchange(struct http_client *client, struct http_call *call,
                                     const struct http_call_request *request)
{
    struct exchange *exchange = mem_zalloc(sizeof(*exchange));
    exchange->call = call;
    exchange->client = client;
    exchange->started_ms = loop_now_ms(client->loop);
    exchange->deadline_ms = exchange->started_ms + request->timeout_ms;
    exchange->body_max = request->body_max;
    exchange->target.rule = client->rule;
    exchange->target.rule.allows_private |= request->allows_private;
    arena_init(&exchange->arena, EXCHANGE_CHUNK, EXCHANGE_BYTES_MAX);
    sm_init(&exchange->sm, &machine, CALL_STATE_LOOKUP);
    timer_init(&exchange->deadline, client->loop, on_deadline);
    timer_start(&exchange->deadline, request->timeout_ms);
    buf_init(&exchange->body, request->body_max);
    for (uint32_t i = 0; i < request->keep_count; i++) {
        exchange->keep[i] =
            arena_dup(&exchange->arena, slice_head(request->keep[i], HTTP_CALL_VALUE_MAX));
    }
    exchange->keep_count = request->keep_count;
    list_push_back(&client->open, &exchange->link);
    client->exchange_count++;
    return exchange;
}

static void free_exchange(struct exchange *exchange)
{
    stop_work(exchange);
    CHECK(exchange->client->exchange_count > 0);
    exchange->client->exchange_count--;
    list_remove(&exchange->link);
    if (exchange->body.data != NULL) {
        crypto_wipe(exchange->body.data, exchange->body.len); /* tokens may be in it */
    }
    buf_fini(&exchange->body);
    arena_fini(&exchange->arena);
    free(exchange);
}

/* After this neither dns nor libcurl nor the timer knows of the exchange. */
static void stop_work(struct exchange *exchange)
{
    timer_stop(&exchange->deadline);
    http_target_cancel(&exchange->target);
    if (exchange->is_added) {
        exchange->is_added = false;
        CURLMcode code = curl_multi_remove_handle(exchange->client->multi, exchange->easy);
        CHECK(code == CURLM_OK);
    }
    curl_easy_cleanup(exchange->easy); /* NULL is fine */
    exchange->easy = NULL;
    for (struct curl_slist *it = exchange->send_headers; it != NULL; it = it->next) {
        crypto_wipe(it->data, strlen(it->data)); /* keys and tokens are sent in fields */
    }
    curl_slist_free_all(exchange->send_headers);
    curl_slist_free_all(exchange->connect_to);
    exchange->send_headers = NULL;
    exchange->connect_to = NULL;
}

/* The failure's text may come from libcurl and hold what the server said. */
static void finish(struct exchange *exchange, enum err err, const char *failure)
{
    struct http_client *client = exchange->client;
    struct http_call_result *result = &exchange->result;
    sm_move(&exchange->sm, CALL_STATE_DONE);
    result->err = err;
    (void)snprintf(result->failure, sizeof(result->failure), "%s", failure); /* cut when long */
    for (char *at = result->failure; *at != '\0'; at++) {
        *at = *at < ' ' || *at > '~' ? '?' : *at;
    }
    result->elapsed_ms = loop_now_ms(client->loop) - exchange->started_ms;
    result->body = buf_slice(&exchange->body);
    stop_work(exchange);
    list_remove(&exchange->link);
    list_push_back(&client->done, &exchange->link);
    chore_start(client->loop, &client->tell);
}

/* ---- the request ---------------------------------------------------------------------------- */

/* RFC 9110 5.1 and 5.5: a token, and a value without control bytes. */
static bool add_field(struct exchange *exchange, struct slice name, struct slice value)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if (name.len == 0 || name.len + value.len > FIELD_BYTES_MAX || slice_has_control(value, "\t")) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) &&
            (c == '\0' || memchr(others, c, sizeof(others) - 1) == NULL)) {
            return false;
        }
    }
    /* To libcurl "Name:" means to leave a field out, and "Name;" to send it empty. */
    size_t len = name.len + value.len + 3;
    char *line = mem_alloc(len);
    (void)snprintf(line, len, "%.*s%s%.*s", SLICE_FMT(name), value.len > 0 ? ": " : ";",
                   SLICE_FMT(value)); /* fits */
    struct curl_slist *list = curl_slist_append(exchange->send_headers, line);
    crypto_wipe(line, len);
    free(line);
    if (list == NULL) {
        fatal("out of memory");
    }
    exchange->send_headers = list;
    return true;
}

static bool add_fields(struct exchange *exchange, const struct http_call_request *request)
{
    static const char *const left_out[] = {"Expect:", "Accept-Encoding:"};
    for (size_t i = 0; i < ARRAY_LEN(left_out); i++) {
        struct curl_slist *list = curl_slist_append(exchange->send_headers, left_out[i]);
        if (list == NULL) {
            fatal("out of memory");
        }
        exchange->send_headers = list;
    }
    for (uint32_t i = 0; i < request->header_count; i++) {
        struct slice value = slice_trim(request->headers[i].value);
        if (!add_field(exchange, request->headers[i].name, value)) {
            return false;
        }
    }
    return true;
}

static void prepare_easy(struct exchange *exchange, const struct http_call_request *request)
{
    struct slice url = http_url_text(&exchange->url, &exchange->arena);
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        fatal("out of memory");
    }
    exchange->easy = easy;
    int bad = 0;
    bad |= (int)curl_easy_setopt(easy, CURLOPT_URL, arena_cstr(&exchange->arena, url));
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->send_headers);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_USERAGENT, exchange->client->user_agent);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, exchange);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)exchange);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->curl_error);
    bad |= prepare_security(exchange);
    bad |= prepare_method(exchange, request);
    CHECK(bad == 0);
}

/* What libcurl would do by itself, or on a word from the environment, and must not. Without a
 * folder of CAs it reads the file of CAs once, not for each connection. */
static int prepare_security(struct exchange *exchange)
{
    static const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_NETRC, CURL_NETRC_IGNORED},
        {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_HTTP09_ALLOWED, 0},
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_MAXAGE_CONN, HTTP_CALL_IDLE_S},
        {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
        {CURLOPT_SSL_VERIFYPEER, 1},
        {CURLOPT_SSL_VERIFYHOST, 2},
    };
    CURL *easy = exchange->easy;
    int bad = 0;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        bad |= (int)curl_easy_setopt(easy, numbers[i].option, numbers[i].value);
    }
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PROXY, "");
    bad |= (int)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    const char *ca_path = exchange->client->ca_path;
    if (ca_path != NULL) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAINFO, ca_path);
    }
    if (ca_path != NULL || curl_version_info(CURLVERSION_NOW)->cainfo != NULL) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    return bad;
}

static int prepare_method(struct exchange *exchange, const struct http_call_request *request)
{
    CURL *easy = exchange->easy;
    enum http_method method = request->method;
    CHECK(method == HTTP_METHOD_GET || method == HTTP_METHOD_POST || method == HTTP_METHOD_PUT ||
          method == HTTP_METHOD_DELETE);
    int bad = 0;
    if (method == HTTP_METHOD_POST || method == HTTP_METHOD_PUT) {
        const char *body = request->body.len > 0 ? request->body.data : "";
        bad |= (int)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        bad |=
            (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    }
    if (method == HTTP_METHOD_PUT || method == HTTP_METHOD_DELETE) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST,
                                     method == HTTP_METHOD_PUT ? "PUT" : "DELETE");
    }
    return bad;
}

/* ---- where to ------------------------------------------------------------------------------- */

static void on_known(struct http_target *target)
{
    struct exchange *exchange = CONTAINER_OF(target, struct exchange, target);
    if (target->err == ERR_OK) {
        sm_move(&exchange->sm, CALL_STATE_TRANSFER);
        transfer(exchange);
    } else {
        finish(exchange, target->err, err_info(target->err)->text);
    }
}

/* Ties the transfer to the next address and starts it. An address that does not answer gets its
 * share of the time that is left; the last one all of it. */
static void transfer(struct exchange *exchange)
{
    struct http_client *client = exchange->client;
    const struct conn_addr *addr = &exchange->target.addrs[exchange->addr_at];
    bool is_v6 = addr->storage.ss_family == AF_INET6;
    char ip[ADDR_TEXT_MAX];
    char line[ADDR_TEXT_MAX + 16];
    (void)conn_addr_text(addr, ip); /* terminated; the length is not needed */
    (void)snprintf(line, sizeof(line), is_v6 ? "::[%s]:%u" : "::%s:%u", ip,
                   (unsigned int)conn_addr_port(addr)); /* fits */
    curl_slist_free_all(exchange->connect_to);
    exchange->connect_to = curl_slist_append(NULL, line);
    if (exchange->connect_to == NULL) {
        fatal("out of memory");
    }
    uint64_t now_ms = loop_now_ms(client->loop);
    uint64_t left_ms = exchange->deadline_ms > now_ms ? exchange->deadline_ms - now_ms : 1;
    uint64_t share_ms = max_u64(1, left_ms / (exchange->target.addr_count - exchange->addr_at));
    int bad = 0;
    bad |= (int)curl_easy_setopt(exchange->easy, CURLOPT_CONNECT_TO, exchange->connect_to);
    bad |= (int)curl_easy_setopt(
        exchange->easy, CURLOPT_CONNECTTIMEOUT_MS,
        (long)(exchange->addr_at + 1 < exchange->target.addr_count ? share_ms : HTTP_CALL_MS_MAX));
    CHECK(bad == 0);
    exchange->result.peer = *addr;
    exchange->result.has_peer = true;
    exchange->is_added = true;
    CURLMcode code = curl_multi_add_handle(client->multi, exchange->easy);
    CHECK(code == CURLM_OK);
}

/* ---- the end of a transfer ------------------------------------------------------------------ */

static const char *late_connection(const struct exchange *exchange)
{
    return exchange->url.is_tls ? "the connection and its TLS handshake took too long"
                                : "the connection was not made in time";
}

static void on_deadline(struct timer *timer)
{
    struct exchange *exchange = CONTAINER_OF(timer, struct exchange, deadline);
    const char *failure = "the answer took too long";
    if (exchange->sm.state == CALL_STATE_LOOKUP) {
        failure = "the name was not looked up in time";
    } else {
        note_transfer(exchange);
        if (exchange->result.status != 0) {
            failure = "the answer did not end in time";
        } else if (!is_ready(exchange)) {
            failure = late_connection(exchange);
        }
    }
    finish(exchange, ERR_TIMEOUT, failure);
}

/* Whether the connection was ready to send on. */
static bool is_ready(const struct exchange *exchange)
{
    curl_off_t time_us = 0;
    CURLcode code = curl_easy_getinfo(exchange->easy, CURLINFO_PRETRANSFER_TIME_T, &time_us);
    CHECK(code == CURLE_OK);
    return time_us > 0;
}

static void read_messages(struct http_client *client)
{
    int left = 0;
    CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CHECK(message->msg == CURLMSG_DONE);
        CURLcode result = message->data.result; /* the message dies with the handle's removal */
        char *private = NULL;
        CURLcode code = curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        CHECK(code == CURLE_OK);
        transfer_ended((struct exchange *)(void *)private, result);
    }
}

static void transfer_ended(struct exchange *exchange, CURLcode code)
{
    note_transfer(exchange);
    bool may_go_on =
        !is_ready(exchange) && (code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT);
    if (may_go_on && exchange->addr_at + 1 < exchange->target.addr_count) {
        CURLMcode removed = curl_multi_remove_handle(exchange->client->multi, exchange->easy);
        CHECK(removed == CURLM_OK);
        exchange->addr_at++;
        transfer(exchange);
        return;
    }
    bool has_answer = code == CURLE_OK || exchange->result.is_cut;
    if (has_answer && exchange->result.status == 0) {
        finish(exchange, ERR_UPSTREAM, "the answer never became a final one");
    } else if (has_answer) {
        finish(exchange, ERR_OK, "");
    } else if (exchange->is_header_over) {
        finish(exchange, ERR_UPSTREAM, "the header of the answer is too large");
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        finish(exchange, ERR_TIMEOUT, late_connection(exchange));
    } else {
        bool has_text = exchange->curl_error[0] != '\0';
        finish(exchange, classify(code),
               has_text ? exchange->curl_error : curl_easy_strerror(code));
    }
}

static enum err classify(CURLcode code)
{
    switch ((int)code) {
    case CURLE_COULDNT_CONNECT:
        return ERR_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_INITFAILED:
        return ERR_TLS;
    case CURLE_GOT_NOTHING:
        return ERR_CLOSED;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
        return ERR_IO;
    default: /* an answer that libcurl does not take for HTTP, in its many ways */
        return ERR_UPSTREAM;
    }
}

static void note_transfer(struct exchange *exchange)
{
    long status = 0;
    long connects = 0;
    CURLcode code = curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
    CURLcode count_code = curl_easy_getinfo(exchange->easy, CURLINFO_NUM_CONNECTS, &connects);
    CHECK(code == CURLE_OK && count_code == CURLE_OK);
    exchange->result.status = status >= 200 && status <= 999 ? (uint16_t)status : 0;
    exchange->result.connects = (uint32_t)connects;
}

/* ---- what libcurl calls --------------------------------------------------------------------- */

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    struct exchange *exchange = context;
    struct slice line = slice_of(data, size * count);
    exchange->header_bytes += line.len;
    if (exchange->header_bytes > HTTP_CALL_HEADER_MAX) {
        exchange->is_header_over = true;
        return 0;
    }
    if (slice_starts(line, SLICE("HTTP/"))) {
        /* An interim answer came before this one (RFC 9110 15.2). */
        memset(exchange->result.headers, 0, sizeof(exchange->result.headers));
    } else if (exchange->body.len == 0) { /* not a trailer */
        keep_field(exchange, line);
    }
    return line.len;
}

static void keep_field(struct exchange *exchange, struct slice line)
{
    struct slice rest = line;
    struct slice name = slice_cut(&rest, ':');
    struct slice value = slice_head(slice_trim(rest), HTTP_CALL_VALUE_MAX);
    for (uint32_t i = 0; i < exchange->keep_count; i++) {
        struct slice *kept = &exchange->result.headers[i];
        if (kept->len == 0 && slice_equal_nocase(name, exchange->keep[i])) {
            char *copy = arena_try(&exchange->arena, value.len + 1);
            if (copy != NULL && value.len > 0) { /* endless interim answers use the arena up */
                memcpy(copy, value.data, value.len);
                *kept = slice_of(copy, value.len);
            }
        }
    }
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t len = size * count;
    size_t room = exchange->body_max - exchange->body.len;
    buf_add_bytes(&exchange->body, data, min_size(len, room));
    if (len > room) {
        exchange->result.is_cut = true;
        return 0; /* ends the transfer and its connection */
    }
    return len;
}

/* The last word on where a call goes: the address that is about to be connected to is the one that
 * was judged, and judging it again says the same. */
static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *addr)
{
    const struct exchange *exchange = context;
    const struct conn_addr *judged = &exchange->target.addrs[exchange->addr_at];
    struct conn_addr real = {0};
    if (purpose != CURLSOCKTYPE_IPCXN || addr->addrlen > sizeof(real.storage)) {
        return CURL_SOCKET_BAD;
    }
    memcpy(&real.storage, &addr->addr, addr->addrlen);
    char real_ip[ADDR_TEXT_MAX];
    char judged_ip[ADDR_TEXT_MAX];
    size_t real_len = conn_addr_text(&real, real_ip);
    size_t judged_len = conn_addr_text(judged, judged_ip);
    if (!slice_equal(slice_of(real_ip, real_len), slice_of(judged_ip, judged_len)) ||
        conn_addr_port(&real) != conn_addr_port(judged) ||
        !http_target_is_allowed(&exchange->target.rule, &real)) {
        return CURL_SOCKET_BAD;
    }
    return socket(addr->family, addr->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, addr->protocol);
}

static int on_watch(CURL *easy UNUSED, curl_socket_t fd, int what, void *context, void *watch_of_fd)
{
    struct http_client *client = context;
    struct watch *watch = watch_of_fd;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL) {
            (void)curl_multi_assign(client->multi, fd, NULL); /* fails when fd is gone already */
            (void)uv_poll_stop(&watch->poll);                 /* always succeeds */
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        }
        return 0;
    }
    if (watch == NULL) {
        watch = mem_zalloc(sizeof(*watch));
        watch->client = client;
        watch->fd = fd;
        client->watch_count++;
        int made = uv_poll_init(&client->loop->uv, &watch->poll, fd);
        CHECK(made == 0); /* a socket that nobody else watches */
        CURLMcode code = curl_multi_assign(client->multi, fd, watch);
        CHECK(code == CURLM_OK);
    }
    int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    int status = uv_poll_start(&watch->poll, events, on_event);
    CHECK(status == 0);
    return 0;
}

static int on_timer(CURLM *multi UNUSED, long timeout_ms, void *context)
{
    struct http_client *client = context;
    if (timeout_ms < 0) {
        timer_stop(&client->timer);
    } else {
        timer_start(&client->timer, (uint64_t)timeout_ms);
    }
    return 0;
}

static void on_due(struct timer *timer)
{
    act(CONTAINER_OF(timer, struct http_client, timer), CURL_SOCKET_TIMEOUT, 0);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = CONTAINER_OF(poll, struct watch, poll);
    int what = ((events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
               ((events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0);
    act(watch->client, watch->fd, status == 0 ? what : CURL_CSELECT_ERR);
}

static void act(struct http_client *client, curl_socket_t fd, int events)
{
    int running = 0;
    CURLMcode code = curl_multi_socket_action(client->multi, fd, events, &running);
    CHECK(code == CURLM_OK);
    read_messages(client);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = CONTAINER_OF(handle, struct watch, poll);
    struct http_client *client = watch->client;
    free(watch);
    CHECK(client->watch_count > 0);
    client->watch_count--;
    try_close(client);
}

/* ---- telling and closing -------------------------------------------------------------------- */

static void on_tell(struct chore *chore)
{
    struct http_client *client = CONTAINER_OF(chore, struct http_client, tell);
    struct link now;
    list_init(&now);
    list_splice(&now, &client->done);
    struct link *link = NULL;
    while ((link = list_pop_front(&now)) != NULL) {
        struct exchange *exchange = CONTAINER_OF(link, struct exchange, link);
        struct http_call *call = exchange->call;
        call->exchange = NULL;
        call->on_done(call, &exchange->result);
        free_exchange(exchange);
    }
    try_close(client);
}

static void try_close(struct http_client *client)
{
    if (!client->is_closing || client->exchange_count > 0) {
        return;
    }
    if (client->multi != NULL) {
        CURLMcode code = curl_multi_cleanup(client->multi); /* closes what was kept */
        CHECK(code == CURLM_OK);
        client->multi = NULL;
        curl_global_cleanup();
    }
    if (client->watch_count > 0) {
        return;
    }
    timer_stop(&client->timer);
    chore_stop(&client->tell);
    http_client_closed_fn *on_closed = client->on_closed;
    void *context = client->context;
    arena_fini(&client->arena);
    free(client);
    on_closed(context);
}
