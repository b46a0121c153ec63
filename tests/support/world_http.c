/* world_http.c - the world's client: HTTP through libcurl, JSON by path, and the few calls that
 * nearly every flow begins with. */
#include "support/world.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/limits.h"

#define CALL_SECONDS 60L
#define BODY_MAX     (128 * MIB)
#define PATH_MAX_LEN 256

/* ---- calls ----------------------------------------------------------------------------------- */

static size_t on_bytes(char *data, size_t size, size_t count, void *context)
{
    struct buf *buf = context;
    buf_add_bytes(buf, data, size * count);
    return size * count;
}

static struct curl_slist *make_headers(struct world *world, const struct world_call *call)
{
    struct curl_slist *list = NULL;
    const char *bearer = call->bearer != NULL ? call->bearer : world->key;
    if (bearer != NULL && bearer[0] != '\0') {
        list = curl_slist_append(list, world_text(world, "Authorization: Bearer %s", bearer));
    }
    if (call->body.data != NULL) {
        list = curl_slist_append(list, "Content-Type: application/json");
    }
    for (size_t i = 0; i < ARRAY_LEN(call->headers) && call->headers[i] != NULL; i++) {
        list = curl_slist_append(list, call->headers[i]);
    }
    return list;
}

struct reply *world_call(struct world *world, const struct world_call *call)
{
    CURL *curl = world->curl;
    struct buf head;
    struct buf body;
    char failure[CURL_ERROR_SIZE] = "";
    struct reply *reply = arena_alloc(&world->arena, sizeof *reply);
    struct curl_slist *headers = make_headers(world, call);
    const char *base = call->base != NULL
                           ? call->base
                           : world_text(world, "http://127.0.0.1:%u", (unsigned)world->http_port);
    buf_init(&head, MIB);
    buf_init(&body, BODY_MAX);
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, world_text(world, "%s%s", base, call->path));
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    curl_easy_setopt(curl, CURLOPT_NOBODY, strcmp(call->method, "HEAD") == 0 ? 1L : 0L);
    if (call->body.data != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.data);
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &head);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, CALL_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, failure);
    if (call->ca != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, call->ca);
    }
    CURLcode code = curl_easy_perform(curl);
    reply->failure =
        code == CURLE_OK ? "" : world_text(world, "%s: %s", curl_easy_strerror(code), failure);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_slist_free_all(headers);
    reply->head = arena_dup(&world->arena, buf_slice(&head));
    reply->body = arena_dup(&world->arena, buf_slice(&body));
    reply->json = json_loadb(reply->body.data != NULL ? reply->body.data : "", reply->body.len,
                             JSON_ALLOW_NUL, NULL);
    if (reply->json != NULL) {
        json_array_append_new(world->documents, reply->json);
    }
    buf_fini(&head);
    buf_fini(&body);
    return reply;
}

/* Apostrophes of the format are quotation marks; those in what is put in stay. */
static struct slice format_json(struct world *world, const char *fmt, va_list args)
{
    struct slice copy = arena_dup(&world->arena, slice_str(fmt));
    char *quoted = (char *)(uintptr_t)copy.data;
    for (size_t i = 0; i < copy.len; i++) {
        quoted[i] = quoted[i] == '\'' ? '"' : quoted[i];
    }
    return slice_str(world_vtext(world, quoted, args));
}

struct reply *world_get(struct world *world, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    struct world_call call = {.method = "GET", .path = world_vtext(world, fmt, args)};
    va_end(args);
    return world_call(world, &call);
}

struct reply *world_post(struct world *world, const char *path, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    struct world_call call = {
        .method = "POST", .path = path, .body = format_json(world, fmt, args)};
    va_end(args);
    return world_call(world, &call);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

json_t *reply_at(const struct reply *reply, const char *path)
{
    json_t *at = reply->json;
    struct slice rest = slice_str(path);
    while (rest.data != NULL && rest.len > 0 && at != NULL) {
        char name[PATH_MAX_LEN];
        struct slice part = slice_cut(&rest, '.');
        uint64_t index = 0;
        (void)snprintf(name, sizeof name, "%.*s", SLICE_FMT(part)); /* no member is as long */
        if (json_is_array(at) && slice_u64(part, &index) == ERR_OK) {
            at = json_array_get(at, (size_t)index);
        } else {
            at = json_object_get(at, name);
        }
    }
    return at;
}

const char *reply_text(const struct reply *reply, const char *path)
{
    const char *text = json_string_value(reply_at(reply, path));
    return text != NULL ? text : "";
}

long long reply_int(const struct reply *reply, const char *path)
{
    json_t *at = reply_at(reply, path);
    return json_is_integer(at) ? json_integer_value(at) : -1;
}

const char *reply_record(const struct reply *domain, const char *name)
{
    size_t index;
    json_t *record;
    json_array_foreach(reply_at(domain, "dns"), index, record)
    {
        if (strcmp(json_string_value(json_object_get(record, "name")), name) == 0) {
            return json_string_value(json_object_get(record, "value"));
        }
    }
    fprintf(stderr, "there is no record %s\n", name);
    CHECK(false);
    return "";
}

size_t reply_count(const struct reply *reply, const char *path)
{
    json_t *at = reply_at(reply, path);
    return json_is_array(at) ? json_array_size(at) : json_object_size(at);
}

struct slice reply_header(const struct reply *reply, const char *name)
{
    struct slice rest = reply->head;
    while (rest.data != NULL) {
        struct slice value = slice_cut(&rest, '\n');
        if (slice_has_byte(value, ':') &&
            slice_equal_nocase(slice_cut(&value, ':'), slice_str(name))) {
            return slice_trim(value);
        }
    }
    return SLICE("");
}

/* ---- accounts, domains, mails ---------------------------------------------------------------- */

static void expect(struct world *world, const struct reply *reply, long status, const char *what)
{
    if (reply->status != status) {
        world_fail(world, "%s: %ld instead of %ld: %.*s%s", what, reply->status, status,
                   SLICE_FMT(reply->body), reply->failure);
    }
}

struct reply *world_signup(struct world *world, const char *email)
{
    struct reply *reply =
        world_post(world, "/api/auth/signup", "{'email':'%s','password':'correct horse'}", email);
    expect(world, reply, 201, "sign-up");
    if (world->key == NULL) {
        world->key = reply_text(reply, "apiKey");
        world->token = reply_text(reply, "token");
    }
    return reply;
}

const char *world_domain(struct world *world, const char *domain)
{
    struct reply *made = world_post(world, "/api/domains", "{'domain':'%s'}", domain);
    expect(world, made, 201, "creating a domain");
    world_publish(world, made, NULL);
    const char *id = reply_text(made, "domain.id");
    struct reply *reply = world_post(world, world_text(world, "/api/domains/%s/verify", id), "{}");
    expect(world, reply, 200, "verifying a domain");
    if (strcmp(reply_text(reply, "status"), "verified") != 0) {
        world_fail(world, "%s is not verified: %.*s", domain, SLICE_FMT(reply->body));
    }
    return id;
}

const char *world_send(struct world *world, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    struct world_call call = {
        .method = "POST", .path = "/v1/send", .body = format_json(world, fmt, args)};
    va_end(args);
    struct reply *reply = world_call(world, &call);
    expect(world, reply, 202, "sending");
    return reply_text(reply, "id");
}

struct reply *world_await(struct world *world, const char *id, const char *path, const char *want)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct reply *reply;
    do {
        reply = world_get(world, "/api/messages/%s", id);
        if (strcmp(reply_text(reply, path), want) == 0) {
            return reply;
        }
    } while (wait_more(&wait));
    world_fail(world, "%s of %s did not become \"%s\": %ld %.*s", path, id, want, reply->status,
               SLICE_FMT(reply->body));
}

struct peer *world_ready_to_send(struct world *world)
{
    struct peer *sink = world_sink(world, "127.0.0.1", NULL);
    world_dns(world,
              "host-record=%s,127.0.0.1\nmx-host=dest.test,mx.dest.test,10\n"
              "host-record=mx.dest.test,127.0.0.1\n",
              WORLD_HOST);
    world_start(world);
    world_signup(world, "owner@customer.test");
    world_domain(world, "send.test");
    return sink;
}

/* ---- the sink's HTTP side -------------------------------------------------------------------- */

static struct reply *ask_sink(struct world *world, const struct peer *sink, const char *method,
                              const char *path, const char *body)
{
    struct world_call call = {
        .method = method,
        .path = path,
        .bearer = "",
        .base = world_text(world, "http://127.0.0.1:%u", (unsigned)sink->http_port),
        .body = body != NULL ? slice_str(body) : slice_of(NULL, 0),
    };
    struct reply *reply = world_call(world, &call);
    expect(world, reply, 200, "asking the sink");
    return reply;
}

void world_sink_profile(struct world *world, const struct peer *sink, const char *words)
{
    (void)ask_sink(world, sink, "POST", "/profile", words); /* its status was looked at */
}

long long world_sink_count(struct world *world, const struct peer *sink, const char *name)
{
    return reply_int(ask_sink(world, sink, "GET", "/count", NULL), name);
}
