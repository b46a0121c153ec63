/* The OpenAPI document: that it says what the route table says, and holds together.
 *
 * Not covered here: that answers have the members that are promised (flow tests look at answers,
 * tests/flow/test_admin.c at the served document).
 */
#include "edge/openapi.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/version.h"
#include "edge/routes.h"

static json_t *load(const char *server_url)
{
    struct buf out;
    json_error_t error;
    buf_init(&out, 4 * MIB);
    openapi_write(slice_str(server_url), &out);
    cr_assert_not(out.is_over);
    json_t *document = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(document, "%s at byte %d: %.60s", error.text, error.position,
                       out.data + error.position);
    buf_fini(&out);
    return document;
}

/* Members by path, words separated by a bar as paths have slashes and dots. */
static json_t *at(json_t *from, const char *path)
{
    struct slice rest = slice_str(path);
    while (from != NULL && rest.len > 0) {
        char name[128];
        struct slice part = slice_cut(&rest, '|');
        (void)snprintf(name, sizeof name, "%.*s", SLICE_FMT(part)); /* no member is as long */
        from = json_object_get(from, name);
    }
    return from;
}

static const char *text_at(json_t *from, const char *path)
{
    const char *text = json_string_value(at(from, path));
    return text == NULL ? "" : text;
}

static const char *method_of(const struct route *route)
{
    static const char *const names[] = {
        [HTTP_METHOD_GET] = "get",     [HTTP_METHOD_POST] = "post",     [HTTP_METHOD_PUT] = "put",
        [HTTP_METHOD_PATCH] = "patch", [HTTP_METHOD_DELETE] = "delete",
    };
    return names[route->method];
}

/* "/v1/keys/:id" as "/v1/keys/{id}". */
static void path_of(const struct route *route, char out[256])
{
    size_t len = 0;
    for (const char *from = route->path; *from != '\0'; from++) {
        if (*from != ':') {
            out[len++] = *from;
            continue;
        }
        size_t word = strcspn(from + 1, "/");
        len += (size_t)snprintf(out + len, 256 - len, "{%.*s}", (int)word, from + 1);
        from += word;
    }
    out[len] = '\0';
}

static json_t *operation_of(json_t *document, const struct route *route)
{
    char path[256];
    path_of(route, path);
    json_t *item = json_object_get(json_object_get(document, "paths"), path);
    return json_object_get(item, method_of(route));
}

static size_t operation_count(json_t *document)
{
    size_t count = 0;
    const char *path;
    json_t *item;
    json_object_foreach(json_object_get(document, "paths"), path, item)
    {
        count += json_object_size(item);
    }
    return count;
}

Test(openapi, describes_every_route_and_no_other)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    json_t *document = load("https://mail.example.com");
    for (uint32_t i = 0; i < count; i++) {
        json_t *operation = operation_of(document, &routes[i]);
        cr_expect_not_null(operation, "%s %s", method_of(&routes[i]), routes[i].path);
        cr_expect_str_eq(text_at(operation, "summary"), routes[i].doc.summary);
        cr_expect_str_eq(json_string_value(json_array_get(at(operation, "tags"), 0)),
                         routes[i].doc.tag);
    }
    cr_assert_eq(operation_count(document), count);
    json_decref(document);
}

Test(openapi, shows_the_scope_of_every_route)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    json_t *document = load("");
    for (uint32_t i = 0; i < count; i++) {
        const struct route *route = &routes[i];
        json_t *operation = operation_of(document, route);
        cr_expect_str_eq(text_at(operation, "x-required-scope"), right_text(route->right), "%s",
                         route->path);
        cr_expect_eq(json_array_size(at(operation, "security")), route->access != ROUTE_PUBLIC,
                     "%s", route->path);
        cr_expect_eq(json_is_true(at(operation, "x-administrators-only")),
                     route->access == ROUTE_ADMIN, "%s", route->path);
        cr_expect_eq(json_is_true(at(operation, "x-people-only")), route->access == ROUTE_SESSION,
                     "%s", route->path);
        json_t *roles = json_object_get(json_array_get(at(operation, "security"), 0), "bearer");
        cr_expect_eq(json_array_size(roles), route->right != RIGHT_NONE, "%s", route->path);
    }
    json_decref(document);
}

Test(openapi, names_its_version_and_its_server)
{
    json_t *document = load("https://mail.example.com");
    cr_assert_str_eq(text_at(document, "openapi"), "3.1.0");
    cr_assert_str_eq(text_at(document, "info|version"), MEERKAT_VERSION);
    cr_assert_str_neq(text_at(document, "info|title"), "");
    cr_assert_str_eq(text_at(json_array_get(at(document, "servers"), 0), "url"),
                     "https://mail.example.com");
    json_decref(document);
    document = load("");
    cr_assert_null(at(document, "servers"));
    json_decref(document);
}

/* ---- it holds together ----------------------------------------------------------------------- */

static void check_ref(json_t *document, const char *ref)
{
    cr_expect_eq(strncmp(ref, "#/components/", 13), 0, "%s", ref);
    json_t *target = json_object_get(document, "components");
    struct slice rest = slice_str(ref + 13);
    while (rest.len > 0) {
        char name[128];
        struct slice part = slice_cut(&rest, '/');
        (void)snprintf(name, sizeof name, "%.*s", SLICE_FMT(part)); /* no member is as long */
        target = json_object_get(target, name);
    }
    cr_expect_not_null(target, "%s leads nowhere", ref);
}

static bool is_type(const json_t *word)
{
    static const char *const known[] = {"string", "integer", "number", "boolean",
                                        "array",  "object",  "null"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (json_is_string(word) && strcmp(json_string_value(word), known[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void check_schema(json_t *schema)
{
    json_t *type = json_object_get(schema, "type");
    size_t index;
    json_t *word;
    if (json_is_array(type)) {
        json_array_foreach(type, index, word)
        {
            cr_expect(is_type(word));
        }
    } else if (type != NULL) {
        cr_expect(is_type(type));
    }
    json_array_foreach(json_object_get(schema, "required"), index, word)
    {
        cr_expect_not_null(
            json_object_get(json_object_get(schema, "properties"), json_string_value(word)),
            "%s is required and not described", json_string_value(word));
    }
}

/* Every object below: references lead somewhere, schemas are schemas. */
static void check_below(json_t *document, json_t *value)
{
    const char *name;
    size_t index;
    json_t *member;
    if (json_is_object(json_object_get(value, "properties")) ||
        (json_is_string(json_object_get(value, "type")) &&
         json_object_get(value, "scheme") == NULL)) {
        check_schema(value);
    }
    json_object_foreach(value, name, member)
    {
        if (strcmp(name, "$ref") == 0) {
            check_ref(document, json_string_value(member));
        } else if (strcmp(name, "properties") == 0) {
            const char *property;
            json_t *schema;
            json_object_foreach(member, property, schema)
            {
                cr_expect(json_is_object(schema), "%s", property);
                check_below(document, schema);
            }
        } else {
            check_below(document, member);
        }
    }
    json_array_foreach(value, index, member)
    {
        check_below(document, member);
    }
}

static void check_parameters(json_t *operation, const char *path)
{
    size_t index;
    json_t *parameter;
    size_t in_path = 0;
    json_array_foreach(at(operation, "parameters"), index, parameter)
    {
        char braced[64];
        const char *where = text_at(parameter, "in");
        cr_expect_not_null(at(parameter, "schema"), "%s", path);
        (void)snprintf(braced, sizeof braced, "{%s}", text_at(parameter, "name")); /* short */
        bool is_path = strcmp(where, "path") == 0;
        in_path += is_path;
        cr_expect(is_path || strcmp(where, "query") == 0 || strcmp(where, "header") == 0);
        cr_expect_eq(strstr(path, braced) != NULL, is_path, "%s of %s", braced, path);
        cr_expect_eq(json_is_true(at(parameter, "required")), is_path, "%s of %s", braced, path);
    }
    size_t wanted = 0;
    for (const char *from = path; (from = strchr(from, '{')) != NULL; from++) {
        wanted++;
    }
    cr_expect_eq(in_path, wanted, "%s", path);
}

static void check_answers(json_t *operation, const char *path)
{
    const char *status;
    json_t *answer;
    size_t good = 0;
    json_object_foreach(at(operation, "responses"), status, answer)
    {
        cr_expect_eq(strlen(status), 3, "%s: %s", path, status);
        bool is_good = status[0] == '2' || status[0] == '3'; /* or leads somewhere */
        good += is_good;
        cr_expect(!is_good || json_object_get(answer, "description") != NULL, "%s", path);
        cr_expect(is_good || json_object_get(answer, "$ref") != NULL, "%s", path);
    }
    cr_expect_eq(good, 1, "%s", path);
    cr_expect_not_null(at(operation, "responses|503"), "%s", path);
}

Test(openapi, is_well_formed)
{
    json_t *document = load("https://mail.example.com");
    json_t *ids = json_object();
    const char *path;
    const char *method;
    json_t *item;
    json_t *operation;
    check_below(document, document);
    json_object_foreach(at(document, "paths"), path, item)
    {
        cr_expect_eq(path[0], '/', "%s", path);
        cr_expect_null(strchr(path, ':'), "%s", path);
        json_object_foreach(item, method, operation)
        {
            const char *id = text_at(operation, "operationId");
            cr_expect_str_neq(id, "", "%s", path);
            cr_expect_null(json_object_get(ids, id), "%s twice", id);
            json_object_set_new(ids, id, json_true());
            check_parameters(operation, path);
            check_answers(operation, path);
            bool is_get = strcmp(method, "get") == 0;
            cr_expect(!is_get || at(operation, "requestBody") == NULL, "%s", path);
        }
    }
    json_decref(ids);
    json_decref(document);
}

/* ---- bodies are what the handlers read ------------------------------------------------------- */

static const struct route *find(enum http_method method, const char *path)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    for (uint32_t i = 0; i < count; i++) {
        if (routes[i].method == method && strcmp(routes[i].path, path) == 0) {
            return &routes[i];
        }
    }
    cr_assert(false, "%s is gone", path);
    return NULL;
}

static bool has_word(json_t *list, const char *word)
{
    size_t index;
    json_t *item;
    json_array_foreach(list, index, item)
    {
        if (strcmp(json_string_value(item), word) == 0) {
            return true;
        }
    }
    return false;
}

Test(openapi, gives_bodies_their_fields_types_and_ceilings)
{
    json_t *document = load("");
    json_t *send = operation_of(document, find(HTTP_METHOD_POST, "/v1/send"));
    json_t *schema = at(send, "requestBody|content|application/json|schema");
    cr_assert(json_is_true(at(send, "requestBody|required")));
    cr_assert(has_word(at(schema, "required"), "from"));
    cr_assert(has_word(at(schema, "required"), "to"));
    cr_assert_not(has_word(at(schema, "required"), "cc"));
    cr_assert_eq(json_integer_value(at(schema, "properties|subject|maxLength")), SUBJECT_MAX);
    json_t *to = at(schema, "properties|to|oneOf");
    cr_assert_str_eq(text_at(json_array_get(to, 0), "type"), "string");
    cr_assert_eq(json_integer_value(at(json_array_get(to, 1), "maxItems")), API_RCPT_MAX);
    cr_assert_str_eq(text_at(schema, "properties|attachments|items|properties|filename|type"),
                     "string");
    cr_assert_str_eq(text_at(schema, "properties|sandbox|type"), "boolean");
    cr_assert_not_null(at(send, "responses|202"));
    cr_assert_eq(json_integer_value(at(send, "x-body-max")), (json_int_t)HTTP_BODY_MAX);

    json_t *key = operation_of(document, find(HTTP_METHOD_POST, "/v1/keys"));
    schema = at(key, "requestBody|content|application/json|schema");
    cr_assert(has_word(at(schema, "required"), "name"));
    cr_assert(has_word(at(schema, "properties|expiresAt|type"), "null"));
    cr_assert_str_eq(text_at(key, "x-required-scope"), "keys:write");
    json_t *change = operation_of(document, find(HTTP_METHOD_PATCH, "/v1/keys/:id"));
    schema = at(change, "requestBody|content|application/json|schema");
    cr_assert_eq(json_array_size(at(schema, "required")), 0);
    json_decref(document);
}

Test(openapi, lets_no_route_take_a_body_in_secret)
{
    uint32_t count;
    const struct route *routes = routes_all(&count);
    for (uint32_t i = 0; i < count; i++) {
        cr_expect(routes[i].doc.body == NULL || routes[i].body_max > 0, "%s", routes[i].path);
        cr_expect(routes[i].doc.required == NULL || routes[i].doc.body != NULL, "%s",
                  routes[i].path);
    }
}
