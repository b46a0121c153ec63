/* openapi.c - see openapi.h. */
#include "edge/openapi.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/version.h"
#include "edge/api_int.h"

static const struct parameter {
    const char *name;
    const char *in;
    const char *schema; /* JSON */
    const char *text;
} parameters[] = {
    {"before", "query", "{\"type\":\"string\"}",
     "only what is older: a time in milliseconds or an id"},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200,\"default\":100}",
     "how many at most"},
    {"shard", "query", "{\"type\":\"integer\",\"minimum\":0}",
     "which shard; the answer says how many there are"},
    {"after", "query", "{\"type\":\"string\"}", "only what comes behind this id, or address"},
    {"prefix", "query", "{\"type\":\"string\",\"maxLength\":1024}",
     "only rows whose keys begin so: a row family, then the parts of its keys"},
    {"transcripts", "query", "{\"type\":\"boolean\"}", "with the dialogues of SMTP"},
    {"search", "query", "{\"type\":\"string\"}",
     "words in from, to or subject; part of an address"},
    {"direction", "query", "{\"type\":\"string\",\"enum\":[\"inbound\",\"outbound\"]}",
     "which way the message went"},
    {"domain", "query", "{\"type\":\"string\"}", "only of this domain"},
    {"status", "query", "{\"type\":\"string\"}", "only in this state"},
    {"exp", "query", "{\"type\":\"integer\"}", "when the link expires, Unix seconds"},
    {"sig", "query", "{\"type\":\"string\"}", "the link's signature"},
    {"site", "query", "{\"type\":\"string\"}", "only of this site, as the list of sites names it"},
    {"account", "query", "{\"type\":\"string\"}", "only of this account"},
    {"mailbox", "query", "{\"type\":\"string\"}", "only of this mailbox"},
    {"folder", "query", "{\"type\":\"string\",\"maxLength\":64}", "only in this folder"},
    {"page", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":20000,\"default\":1}",
     "which page"},
    {"per_page", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200,\"default\":100}",
     "how many a page holds"},
    {"Idempotency-Key", "header", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}",
     "the same key with the same body within 24 hours is answered as the first time"},
};

static const struct failure {
    uint16_t status;
    const char *text;
} failures[] = {
    {400, "a field is missing or malformed; param names it"},
    {401, "the credential is missing, malformed, revoked, disabled or expired"},
    {403, "the credential lacks the scope, the domain or the address range; or plain HTTP"},
    {404, "there is no such thing in this account"},
    {409, "it exists already, or its present state does not allow that"},
    {413, "the body is larger than x-body-max bytes"},
    {415, "the content encoding is not gzip"},
    {429, "over the account's or the key's limit; retry-after says when to come back"},
    {503, "the service sheds load; retry-after says when to come back"},
};

static const char *const methods[] = {
    [HTTP_METHOD_GET] = "get",     [HTTP_METHOD_POST] = "post",     [HTTP_METHOD_PUT] = "put",
    [HTTP_METHOD_PATCH] = "patch", [HTTP_METHOD_DELETE] = "delete",
};

/* ---- request bodies: a shape as a JSON Schema ----------------------------------------------- */

static void write_shape(struct json_writer *w, const struct json_shape *shape,
                        struct slice required);

static void write_word_type(struct json_writer *w, const char *type, bool is_nullable)
{
    json_key(w, "type");
    if (is_nullable) {
        json_open_array(w);
        json_text(w, slice_str(type));
        json_text(w, SLICE("null"));
        json_close_array(w);
    } else {
        json_text(w, slice_str(type));
    }
}

static void write_max(struct json_writer *w, const char *name, uint64_t max)
{
    if (max != 0) {
        api_u64(w, name, max);
    }
}

static void write_texts(struct json_writer *w, uint64_t max)
{
    api_text(w, "type", SLICE("array"));
    json_key(w, "items");
    json_raw(w, SLICE("{\"type\":\"string\"}"));
    write_max(w, "maxItems", max);
}

/* Lengths are counted in bytes by the reader and in characters by JSON Schema: what the schema
 * refuses is refused, and a few texts that it lets through are not. */
static void write_field(struct json_writer *w, const struct json_field *field)
{
    bool is_nullable = field->null_offset != 0;
    switch (field->type) {
    case JSON_TEXT:
        write_word_type(w, "string", is_nullable);
        write_max(w, "maxLength", field->max);
        break;
    case JSON_U64:
        write_word_type(w, "integer", is_nullable);
        api_u64(w, "minimum", 0);
        write_max(w, "maximum", field->max);
        break;
    case JSON_BOOL:
        write_word_type(w, "boolean", is_nullable);
        break;
    case JSON_TEXT_LIST:
        write_texts(w, field->max);
        break;
    case JSON_TEXT_OR_LIST:
        json_key(w, "oneOf");
        json_open_array(w);
        json_raw(w, SLICE("{\"type\":\"string\"}"));
        json_open_object(w);
        write_texts(w, field->max);
        json_close_object(w);
        json_close_array(w);
        break;
    case JSON_MAP:
        write_word_type(w, "object", is_nullable);
        json_key(w, "additionalProperties");
        json_raw(w, SLICE("{\"type\":[\"string\",\"number\",\"boolean\"]}"));
        write_max(w, "maxProperties", field->max);
        break;
    case JSON_LIST:
        api_text(w, "type", SLICE("array"));
        json_key(w, "items");
        json_open_object(w);
        write_shape(w, field->sub, SLICE(""));
        json_close_object(w);
        write_max(w, "maxItems", field->max);
        break;
    case JSON_OBJECT:
        write_shape(w, field->sub, SLICE(""));
        break;
    case JSON_TIME:
        json_key(w, "type");
        json_raw(w, SLICE("[\"string\",\"integer\"]"));
        break;
    case JSON_RAW_OBJECT:
        write_word_type(w, "object", is_nullable);
        break;
    }
}

/* required: names beyond those that the shape itself demands, one space between. */
static void write_shape(struct json_writer *w, const struct json_shape *shape,
                        struct slice required)
{
    api_text(w, "type", SLICE("object"));
    json_key(w, "properties");
    json_open_object(w);
    for (uint32_t i = 0; i < shape->field_count; i++) {
        json_key(w, shape->fields[i].name);
        json_open_object(w);
        write_field(w, &shape->fields[i]);
        json_close_object(w);
    }
    json_close_object(w);
    json_key(w, "required");
    json_open_array(w);
    for (uint32_t i = 0; i < shape->field_count; i++) {
        if (shape->fields[i].is_required) {
            json_text(w, slice_str(shape->fields[i].name));
        }
    }
    while (required.len > 0) {
        json_text(w, slice_cut(&required, ' '));
    }
    json_close_array(w);
}

static bool demands_a_field(const struct route_doc *doc)
{
    bool is_found = doc->required != NULL;
    for (uint32_t i = 0; i < doc->body->field_count; i++) {
        is_found = is_found || doc->body->fields[i].is_required;
    }
    return is_found;
}

static void write_body(struct json_writer *w, const struct route *route)
{
    const struct route_doc *doc = &route->doc;
    json_key(w, "requestBody");
    json_open_object(w);
    api_bool(w, "required", demands_a_field(doc));
    json_key(w, "content");
    json_open_object(w);
    json_key(w, "application/json");
    json_open_object(w);
    json_key(w, "schema");
    json_open_object(w);
    write_shape(w, doc->body, doc->required == NULL ? SLICE("") : slice_str(doc->required));
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
}

/* ---- parameters ----------------------------------------------------------------------------- */

static void write_parameter(struct json_writer *w, struct slice name, const char *in,
                            const char *schema, const char *text)
{
    json_open_object(w);
    api_text(w, "name", name);
    api_text(w, "in", slice_str(in));
    if (slice_equal(slice_str(in), SLICE("path"))) {
        api_bool(w, "required", true);
    }
    api_text(w, "description", slice_str(text));
    json_key(w, "schema");
    json_raw(w, slice_str(schema));
    json_close_object(w);
}

static void write_named(struct json_writer *w, struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const struct parameter *known = &parameters[i];
        if (slice_equal(name, slice_str(known->name))) {
            write_parameter(w, name, known->in, known->schema, known->text);
            return;
        }
    }
    CHECK(name.len == 0); /* of routes.c, and not in the table above */
}

static bool has_path_parameter(const struct route *route)
{
    return slice_has_byte(slice_str(route->path), ':');
}

static void write_parameters(struct json_writer *w, const struct route *route)
{
    struct slice path = slice_str(route->path);
    struct slice query = route->doc.query == NULL ? SLICE("") : slice_str(route->doc.query);
    if (!has_path_parameter(route) && query.len == 0) {
        return;
    }
    json_key(w, "parameters");
    json_open_array(w);
    while (path.data != NULL) {
        struct slice segment = slice_cut(&path, '/');
        if (slice_starts(segment, SLICE(":"))) {
            write_parameter(w, slice_from(segment, 1), "path", "{\"type\":\"string\"}",
                            "as lists show it");
        }
    }
    while (query.len > 0) {
        write_named(w, slice_cut(&query, ' '));
    }
    json_close_array(w);
}

/* ---- answers -------------------------------------------------------------------------------- */

static void write_answer_schema(struct json_writer *w, struct slice name)
{
    bool is_list = slice_starts(name, SLICE("["));
    struct slice bare = is_list ? slice_sub(name, 1, name.len - 2) : name;
    char text[96];
    struct buf ref;
    CHECK(openapi_has_schema(bare));
    buf_init(&ref, sizeof text);
    buf_add_str(&ref, "#/components/schemas/");
    buf_add(&ref, bare);
    if (is_list) {
        api_text(w, "type", SLICE("array"));
        json_key(w, "items");
        json_open_object(w);
    }
    api_text(w, "$ref", buf_slice(&ref));
    if (is_list) {
        json_close_object(w);
    }
    buf_fini(&ref);
}

static void write_success(struct json_writer *w, const struct route_doc *doc)
{
    uint16_t status = doc->status == 0 ? 200 : doc->status;
    char key[8];
    struct buf text;
    buf_init(&text, sizeof key);
    buf_add_u64(&text, status);
    json_key_slice(w, buf_slice(&text));
    buf_fini(&text);
    json_open_object(w);
    api_text(w, "description", slice_str(http_reason(status)));
    json_key(w, "content");
    json_open_object(w);
    json_key(w, doc->media == NULL ? "application/json" : doc->media);
    json_open_object(w);
    json_key(w, "schema");
    json_open_object(w);
    if (doc->answer != NULL) {
        write_answer_schema(w, slice_str(doc->answer));
    } else if (doc->media != NULL) {
        api_text(w, "type", SLICE("string"));
    }
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
}

static bool may_fail_with(const struct route *route, uint16_t status)
{
    switch (status) {
    case 400:
        return route->body_max > 0 || route->doc.query != NULL;
    case 401:
    case 429:
        return route->access != ROUTE_PUBLIC || route->body_max > 0;
    case 404:
        return has_path_parameter(route);
    case 409:
        return route->method != HTTP_METHOD_GET;
    case 413:
    case 415:
        return route->body_max > 0;
    }
    return true;
}

static void write_answers(struct json_writer *w, const struct route *route)
{
    json_key(w, "responses");
    json_open_object(w);
    write_success(w, &route->doc);
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        if (may_fail_with(route, failures[i].status)) {
            struct buf text;
            buf_init(&text, 64);
            buf_add_u64(&text, failures[i].status);
            json_key_slice(w, buf_slice(&text));
            json_open_object(w);
            buf_clear(&text);
            buf_add_format(&text, "#/components/responses/%u", (unsigned)failures[i].status);
            api_text(w, "$ref", buf_slice(&text));
            json_close_object(w);
            buf_fini(&text);
        }
    }
    json_close_object(w);
}

static void write_failures(struct json_writer *w)
{
    json_key(w, "responses");
    json_open_object(w);
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        struct buf text;
        buf_init(&text, 8);
        buf_add_u64(&text, failures[i].status);
        json_key_slice(w, buf_slice(&text));
        buf_fini(&text);
        json_open_object(w);
        api_text(w, "description", slice_str(failures[i].text));
        if (failures[i].status == 429 || failures[i].status == 503) {
            json_key(w, "headers");
            json_raw(w, SLICE("{\"retry-after\":{\"description\":\"seconds\",\"schema\":"
                              "{\"type\":\"integer\"}}}"));
        }
        json_key(w, "content");
        json_raw(w, SLICE("{\"application/json\":{\"schema\":"
                          "{\"$ref\":\"#/components/schemas/Error\"}}}"));
        json_close_object(w);
    }
    json_close_object(w);
}

/* ---- operations ----------------------------------------------------------------------------- */

/* "get /v1/keys/:id" as getV1KeysId. */
static void write_operation_id(struct json_writer *w, const struct route *route)
{
    struct buf text;
    bool is_start = true;
    buf_init(&text, 256);
    buf_add_str(&text, methods[route->method]);
    for (const char *at = route->path; *at != '\0'; at++) {
        bool is_word = ascii_is_alpha(*at) || ascii_is_digit(*at);
        bool is_lower = *at >= 'a' && *at <= 'z';
        if (is_word) {
            buf_add_byte(&text, is_start && is_lower ? (char)(*at - 32) : *at);
        }
        is_start = !is_word;
    }
    api_text(w, "operationId", buf_slice(&text));
    buf_fini(&text);
}

static void write_security(struct json_writer *w, const struct route *route)
{
    const char *right = right_text(route->right);
    json_key(w, "security");
    json_open_array(w);
    if (route->access != ROUTE_PUBLIC) {
        json_open_object(w);
        json_key(w, "bearer");
        json_open_array(w);
        if (route->right != RIGHT_NONE) {
            json_text(w, slice_str(right));
        }
        json_close_array(w);
        json_close_object(w);
    }
    json_close_array(w);
    api_text_or_null(w, "x-required-scope", slice_str(right));
    if (route->access == ROUTE_ADMIN) {
        api_bool(w, "x-administrators-only", true);
    }
    if (route->access == ROUTE_SESSION) {
        api_bool(w, "x-people-only", true); /* a key is refused, whatever its scopes */
    }
}

static void write_operation(struct json_writer *w, const struct route *route)
{
    CHECK(route->doc.summary != NULL);
    CHECK(route->doc.tag != NULL);
    CHECK((size_t)route->method < ARRAY_LEN(methods) && methods[route->method] != NULL);
    json_key(w, methods[route->method]);
    json_open_object(w);
    write_operation_id(w, route);
    api_text(w, "summary", slice_str(route->doc.summary));
    json_key(w, "tags");
    json_open_array(w);
    json_text(w, slice_str(route->doc.tag));
    json_close_array(w);
    write_security(w, route);
    write_parameters(w, route);
    if (route->doc.body != NULL) {
        write_body(w, route);
    }
    if (route->body_max > 0) {
        api_u64(w, "x-body-max", route->body_max);
    }
    write_answers(w, route);
    json_close_object(w);
}

/* ":id" as "{id}". */
static void write_path_key(struct json_writer *w, const char *path)
{
    struct slice rest = slice_from(slice_str(path), 1);
    struct buf text;
    buf_init(&text, 256);
    while (rest.data != NULL) {
        struct slice segment = slice_cut(&rest, '/');
        bool is_parameter = slice_starts(segment, SLICE(":"));
        buf_add_str(&text, is_parameter ? "/{" : "/");
        buf_add(&text, slice_from(segment, is_parameter ? 1 : 0));
        buf_add_str(&text, is_parameter ? "}" : "");
    }
    json_key_slice(w, buf_slice(&text));
    buf_fini(&text);
}

static bool is_same_path(const struct route *a, const struct route *b)
{
    return slice_equal(slice_str(a->path), slice_str(b->path));
}

static void write_paths(struct json_writer *w)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    json_key(w, "paths");
    json_open_object(w);
    for (uint32_t i = 0; i < count; i++) {
        bool is_first = true;
        for (uint32_t n = 0; n < i; n++) {
            is_first = is_first && !is_same_path(&routes[n], &routes[i]);
        }
        if (!is_first) {
            continue;
        }
        write_path_key(w, routes[i].path);
        json_open_object(w);
        for (uint32_t n = i; n < count; n++) {
            if (is_same_path(&routes[n], &routes[i])) {
                write_operation(w, &routes[n]);
            }
        }
        json_close_object(w);
    }
    json_close_object(w);
}

void openapi_write(struct slice server_url, struct buf *out)
{
    struct json_writer writer;
    struct json_writer *w = &writer;
    json_start(w, out);
    json_open_object(w);
    api_text(w, "openapi", SLICE("3.1.0"));
    json_key(w, "info");
    json_open_object(w);
    api_text(w, "title", SLICE("Meerkat"));
    api_text(w, "version", SLICE(MEERKAT_VERSION));
    api_text(w, "description",
             SLICE("Transactional email. Times are Unix milliseconds; every answer carries "
                   "x-request-id; x-required-scope is what an API key must be granted."));
    json_close_object(w);
    if (server_url.len > 0) {
        json_key(w, "servers");
        json_open_array(w);
        json_open_object(w);
        api_text(w, "url", server_url);
        json_close_object(w);
        json_close_array(w);
    }
    write_paths(w);
    json_key(w, "components");
    json_open_object(w);
    json_key(w, "securitySchemes");
    json_raw(w, SLICE("{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":"
                      "\"an API key (mk_live_..., mk_test_...) or a session token\"}}"));
    write_failures(w);
    json_key(w, "schemas");
    json_open_object(w);
    openapi_write_schemas(w);
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
    CHECK(w->depth == 0); /* what was opened was closed */
}
