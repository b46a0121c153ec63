/* google.c - see google.h.
 *
 *   google_ask --> POST google_token_url --> GET google_userinfo_url --> on_person
 *
 * Both calls share one google_timeout_ms. The form and the token lie in an arena that is wiped.
 */
#include "edge/google.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "net/http_url.h"

#define ANSWER_BYTES_MAX    (64 * KIB)
#define QUESTION_BYTES_MAX  (512 * KIB) /* the form, and both answers read as JSON */
#define TEXT_BYTES_MAX_CONF (16 * KIB)

struct google {
    struct loop *loop;
    struct dns *dns;
    struct http_client *client;
    struct arena arena; /* secret */
    struct slice client_id;
    struct slice client_secret;
    struct slice token_url;
    struct slice userinfo_url;
    uint64_t timeout_ms;
    uint32_t question_count;
    google_fn *on_person;
    google_closed_fn *on_closed;
    void *owner;
};

struct question {
    struct google *google;
    struct http_call call;
    struct arena arena; /* secret */
    uint64_t token;
    uint64_t deadline_ms;
};

struct token_answer {
    struct slice access_token;
    struct slice error;
};

struct person_answer {
    struct slice sub;
    struct slice email;
    struct slice name;
    bool email_verified;
};

static const struct json_field token_fields[] = {
    {.name = "access_token",
     .type = JSON_TEXT,
     .offset = offsetof(struct token_answer, access_token),
     .max = GOOGLE_TOKEN_MAX},
    {.name = "error", .type = JSON_TEXT, .offset = offsetof(struct token_answer, error)},
};
static const struct json_shape token_shape = {token_fields, ARRAY_LEN(token_fields),
                                              sizeof(struct token_answer)};

static const struct json_field person_fields[] = {
    {.name = "sub",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct person_answer, sub),
     .max = GOOGLE_SUB_MAX},
    {.name = "email",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct person_answer, email),
     .max = EMAIL_MAX},
    {.name = "name", .type = JSON_TEXT, .offset = offsetof(struct person_answer, name)},
    {.name = "email_verified",
     .type = JSON_BOOL,
     .offset = offsetof(struct person_answer, email_verified)},
};
static const struct json_shape person_shape = {person_fields, ARRAY_LEN(person_fields),
                                               sizeof(struct person_answer)};

static void read_secret(struct google *google, const struct conf *conf);
static void check_url(const char *option, struct slice url);
static void on_client_closed(void *context);
static void on_dns_closed(void *context);
static struct slice write_form(struct question *question, struct slice code,
                               struct slice redirect_uri);
static void on_token(struct http_call *call, const struct http_call_result *result);
static void on_person(struct http_call *call, const struct http_call_result *result);
static void answer(struct question *question, enum err err, const struct google_person *person);
static void fail(struct question *question, const char *step, const char *why,
                 const struct http_call_result *result);
static const char *reason_of(struct slice error);

bool google_is_wanted(const struct conf *conf)
{
    return conf->google_client_id.len > 0;
}

struct google *google_open(struct loop *loop, const struct conf *conf, google_fn *on_person_fn,
                           void *owner)
{
    CHECK_LOOP(loop);
    check_url("google_token_url", conf->google_token_url);
    check_url("google_userinfo_url", conf->google_userinfo_url);
    if (conf->google_client_id.len > GOOGLE_SECRET_MAX) {
        fatal("google_client_id is longer than %d bytes", GOOGLE_SECRET_MAX);
    }
    struct google *google = mem_zalloc(sizeof *google);
    google->loop = loop;
    google->on_person = on_person_fn;
    google->owner = owner;
    google->timeout_ms = conf->google_timeout_ms;
    arena_init(&google->arena, 1024, TEXT_BYTES_MAX_CONF);
    arena_mark_secret(&google->arena);
    google->client_id = arena_dup(&google->arena, conf->google_client_id);
    google->token_url = arena_dup(&google->arena, conf->google_token_url);
    google->userinfo_url = arena_dup(&google->arena, conf->google_userinfo_url);
    read_secret(google, conf);
    if (dns_open(loop, conf->dns_servers, &google->dns) != ERR_OK) {
        fatal("dns_servers is a list of ip[:port], not \"%.*s\"", SLICE_FMT(conf->dns_servers));
    }
    struct http_client_options options = {.dns = google->dns,
                                          .ca_path = conf->tls_ca,
                                          .user_agent = SLICE("Meerkat"),
                                          .rule.allows_private = true};
    if (http_client_open(loop, &options, &google->client) != ERR_OK) {
        fatal("cannot start the HTTP client for sign-in with Google");
    }
    return google;
}

void google_close(struct google *google, google_closed_fn *on_closed)
{
    CHECK_LOOP(google->loop);
    CHECK(google->on_closed == NULL);
    google->on_closed = on_closed;
    http_client_close(google->client, on_client_closed, google);
}

enum err google_ask(struct google *google, struct slice code, struct slice redirect_uri,
                    uint64_t token)
{
    static const struct http_header headers[] = {
        {SLICE_INIT("Content-Type"), SLICE_INIT("application/x-www-form-urlencoded")},
        {SLICE_INIT("Accept"), SLICE_INIT("application/json")},
    };
    CHECK_LOOP(google->loop);
    CHECK(google->on_closed == NULL);
    CHECK(code.len <= GOOGLE_CODE_MAX && redirect_uri.len <= HTTP_CALL_URL_MAX);
    if (google->question_count >= GOOGLE_CALLS_MAX) {
        return ERR_BUSY;
    }
    google->question_count += 1;
    struct question *question = mem_zalloc(sizeof *question);
    question->google = google;
    question->token = token;
    question->deadline_ms = loop_now_ms(google->loop) + google->timeout_ms;
    arena_init(&question->arena, 4 * KIB, QUESTION_BYTES_MAX);
    arena_mark_secret(&question->arena);
    struct http_call_request request = {
        .method = HTTP_METHOD_POST,
        .url = google->token_url,
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .body = write_form(question, code, redirect_uri),
        .body_max = ANSWER_BYTES_MAX,
        .timeout_ms = google->timeout_ms,
    };
    http_call_start(google->client, &question->call, &request, on_token);
    return ERR_OK;
}

static void read_secret(struct google *google, const struct conf *conf)
{
    char text[GOOGLE_SECRET_MAX + 2];
    const char *name = arena_cstr(&google->arena, conf->google_client_secret_file);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd == -1 ? -1 : read(fd, text, sizeof text);
    if (len == -1) {
        fatal("cannot read google_client_secret_file \"%s\": %s", name, strerror(errno));
    }
    (void)close(fd); /* it was only read */
    struct slice secret = slice_trim(slice_of(text, (size_t)len));
    if (secret.len == 0 || secret.len > GOOGLE_SECRET_MAX) {
        fatal("google_client_secret_file %s holds no secret of 1 to %d bytes", name,
              GOOGLE_SECRET_MAX);
    }
    google->client_secret = arena_dup(&google->arena, secret);
    crypto_wipe(text, sizeof text);
}

static void check_url(const char *option, struct slice url)
{
    struct arena arena;
    struct http_url parsed;
    arena_init(&arena, 1024, 2 * HTTP_CALL_URL_MAX);
    if (http_url_parse(url, &arena, &parsed) != ERR_OK || parsed.needs_idna) {
        fatal("%s is not an http or https address: \"%.*s\"", option, SLICE_FMT(url));
    }
    arena_fini(&arena);
}

static void on_client_closed(void *context)
{
    struct google *google = context;
    CHECK(google->question_count == 0);
    dns_close(google->dns, on_dns_closed, google);
}

static void on_dns_closed(void *context)
{
    struct google *google = context;
    google_closed_fn *on_closed = google->on_closed;
    void *owner = google->owner;
    arena_fini(&google->arena);
    free(google);
    on_closed(owner);
}

/* ---- the form ------------------------------------------------------------------------------- */

/* As forms are encoded; each byte takes three at most. Returns the end. */
static char *add_field(char *at, struct slice name, struct slice value)
{
    static const char hex[] = "0123456789ABCDEF";
    memcpy(at, name.data, name.len);
    at += name.len;
    *at++ = '=';
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '_' || c == '.') {
            *at++ = c;
        } else {
            *at++ = '%';
            *at++ = hex[(unsigned char)c >> 4];
            *at++ = hex[c & 15];
        }
    }
    *at++ = '&';
    return at;
}

static struct slice write_form(struct question *question, struct slice code,
                               struct slice redirect_uri)
{
    const struct google *google = question->google;
    const struct {
        struct slice name;
        struct slice value;
    } fields[] = {
        {SLICE("grant_type"), SLICE("authorization_code")},
        {SLICE("code"), code},
        {SLICE("redirect_uri"), redirect_uri},
        {SLICE("client_id"), google->client_id},
        {SLICE("client_secret"), google->client_secret},
    };
    size_t room = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        room += fields[i].name.len + 3 * fields[i].value.len + 2;
    }
    char *form = arena_bytes(&question->arena, room);
    char *at = form;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        at = add_field(at, fields[i].name, fields[i].value);
    }
    return slice_of(form, (size_t)(at - form) - 1); /* without the last '&' */
}

/* ---- the answers ---------------------------------------------------------------------------- */

static void on_token(struct http_call *call, const struct http_call_result *result)
{
    struct question *question = CONTAINER_OF(call, struct question, call);
    struct google *google = question->google;
    struct token_answer token = {0};
    struct json_fault fault;
    bool is_json =
        result->err == ERR_OK && !result->is_cut &&
        json_read(result->body, &token_shape, &question->arena, &token, &fault) == ERR_OK;
    if (result->err != ERR_OK || result->status != 200) {
        fail(question, "token", is_json ? reason_of(token.error) : "", result);
        return;
    }
    if (!is_json || token.access_token.len == 0) {
        fail(question, "token", "the answer has no access_token", result);
        return;
    }
    struct http_header headers[] = {
        {SLICE("Authorization"),
         arena_format(&question->arena, "Bearer %.*s", SLICE_FMT(token.access_token))},
        {SLICE("Accept"), SLICE("application/json")},
    };
    uint64_t now_ms = loop_now_ms(google->loop);
    struct http_call_request request = {
        .method = HTTP_METHOD_GET,
        .url = google->userinfo_url,
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .body_max = ANSWER_BYTES_MAX,
        .timeout_ms = question->deadline_ms > now_ms ? question->deadline_ms - now_ms : 1,
    };
    http_call_start(google->client, &question->call, &request, on_person);
}

static void on_person(struct http_call *call, const struct http_call_result *result)
{
    struct question *question = CONTAINER_OF(call, struct question, call);
    struct person_answer told;
    struct json_fault fault;
    if (result->err != ERR_OK || result->status != 200) {
        fail(question, "userinfo", "", result);
        return;
    }
    if (result->is_cut ||
        json_read(result->body, &person_shape, &question->arena, &told, &fault) != ERR_OK ||
        told.sub.len == 0 || told.email.len == 0) {
        fail(question, "userinfo", "the answer does not say who it is", result);
        return;
    }
    struct google_person person = {
        .sub = told.sub,
        .email = told.email,
        .is_email_verified = told.email_verified,
    };
    if (told.name.len <= DISPLAY_NAME_MAX && !slice_has_control(told.name, "")) {
        person.name = told.name; /* else nobody's name; it matters to nobody but them */
    }
    answer(question, ERR_OK, &person);
}

static void answer(struct question *question, enum err err, const struct google_person *person)
{
    struct google *google = question->google;
    CHECK(google->question_count > 0);
    google->question_count -= 1;
    google->on_person(google->owner, question->token, err, person);
    arena_fini(&question->arena);
    free(question);
}

static void fail(struct question *question, const char *step, const char *why,
                 const struct http_call_result *result)
{
    static const struct google_person nobody = {.sub = {NULL, 0}};
    LOG_WARN("google.failed", LOG_STR("step", step), LOG_ERR(result->err),
             LOG_U64("status", result->status),
             LOG_STR("reason", result->failure[0] != '\0' ? result->failure : why));
    answer(question, ERR_UPSTREAM, &nobody);
}

/* RFC 6749 5.2 and one of Google's own. Whatever else an answer says stays out of the log: it may
 * hold what we sent. */
static const char *reason_of(struct slice error)
{
    static const char *const reasons[] = {
        "invalid_request",        "invalid_client", "invalid_grant",         "unauthorized_client",
        "unsupported_grant_type", "invalid_scope",  "redirect_uri_mismatch",
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (slice_equal(error, slice_str(reasons[i]))) {
            return reasons[i];
        }
    }
    return "";
}
