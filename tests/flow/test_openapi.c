/* Flow: answers are what the OpenAPI document promises: every member is described, none that is
 * promised is missing, each has its type.
 *
 * Not covered here: the document's own form (tests/unit/edge/test_openapi.c); routes that change
 * things, whose answers are those of the routes that read.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "support/world.h"

/* What a value is judged against, and where it stands, for the complaint. */
struct judge {
    struct world *world;
    json_t *document;
    bool is_part; /* of an allOf: others describe the other members */
};

static void judge(const struct judge *by, json_t *schema, json_t *value, const char *where);

static json_t *resolve(const struct judge *by, const char *ref)
{
    static const char prefix[] = "#/components/schemas/";
    cr_assert_eq(strncmp(ref, prefix, sizeof prefix - 1), 0, "%s", ref);
    json_t *schemas = json_object_get(json_object_get(by->document, "components"), "schemas");
    json_t *found = json_object_get(schemas, ref + sizeof prefix - 1);
    cr_assert_not_null(found, "%s leads nowhere", ref);
    return found;
}

static bool is_of(const json_t *value, const char *type)
{
    return (strcmp(type, "string") == 0 && json_is_string(value)) ||
           (strcmp(type, "integer") == 0 && json_is_integer(value)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(value)) ||
           (strcmp(type, "object") == 0 && json_is_object(value)) ||
           (strcmp(type, "array") == 0 && json_is_array(value)) ||
           (strcmp(type, "null") == 0 && json_is_null(value));
}

static void judge_type(json_t *type, json_t *value, const char *where)
{
    bool is_good = json_is_string(type) && is_of(value, json_string_value(type));
    size_t index;
    json_t *word;
    json_array_foreach(type, index, word)
    {
        is_good = is_good || is_of(value, json_string_value(word));
    }
    cr_expect(type == NULL || is_good, "%s has another type", where);
}

/* Whether the schema, or one that it consists of, describes a member. */
static bool describes(const struct judge *by, json_t *schema, const char *name)
{
    json_t *ref = json_object_get(schema, "$ref");
    size_t index;
    json_t *part;
    if (ref != NULL) {
        return describes(by, resolve(by, json_string_value(ref)), name);
    }
    json_array_foreach(json_object_get(schema, "allOf"), index, part)
    {
        if (describes(by, part, name)) {
            return true;
        }
    }
    return json_object_get(json_object_get(schema, "properties"), name) != NULL;
}

static void judge_members(const struct judge *by, json_t *schema, json_t *value, const char *where)
{
    json_t *properties = json_object_get(schema, "properties");
    const char *name;
    json_t *member;
    size_t index;
    json_t *required;
    struct judge whole = *by;
    whole.is_part = false;
    json_object_foreach(properties, name, member)
    {
        json_t *given = json_object_get(value, name);
        if (given != NULL) {
            judge(&whole, member, given, world_text(by->world, "%s.%s", where, name));
        }
    }
    json_array_foreach(json_object_get(schema, "required"), index, required)
    {
        cr_expect_not_null(json_object_get(value, json_string_value(required)), "%s has no %s",
                           where, json_string_value(required));
    }
}

static void judge(const struct judge *by, json_t *schema, json_t *value, const char *where)
{
    json_t *ref = json_object_get(schema, "$ref");
    size_t index;
    json_t *item;
    const char *name;
    if (ref != NULL) {
        judge(by, resolve(by, json_string_value(ref)), value, where);
        return;
    }
    judge_type(json_object_get(schema, "type"), value, where);
    struct judge part = *by;
    part.is_part = true;
    json_array_foreach(json_object_get(schema, "allOf"), index, item)
    {
        judge(&part, item, value, where);
    }
    judge_members(by, schema, value, where);
    bool is_closed =
        json_object_get(schema, "properties") != NULL || json_object_get(schema, "allOf") != NULL;
    if (json_is_object(value) && is_closed && !by->is_part) {
        json_object_foreach(value, name, item)
        {
            cr_expect(describes(by, schema, name), "%s.%s is not described", where, name);
        }
    }
    struct judge whole = *by;
    whole.is_part = false;
    json_array_foreach(value, index, item)
    {
        json_t *items = json_object_get(schema, "items");
        if (items != NULL) {
            judge(&whole, items, item, world_text(by->world, "%s[%zu]", where, index));
        }
    }
}

/* Asks for path, which is `route` of the document with its parameters filled in. */
static void check(const struct judge *by, const char *bearer, const char *route, const char *path)
{
    const struct world_call call = {.method = "GET", .path = path, .bearer = bearer};
    struct reply *reply = world_call(by->world, &call);
    cr_assert_eq(reply->status, 200, "%s: %ld %.*s", path, reply->status, SLICE_FMT(reply->body));
    json_t *operation =
        json_object_get(json_object_get(json_object_get(by->document, "paths"), route), "get");
    cr_assert_not_null(operation, "%s is not described", route);
    json_t *answer = json_object_get(json_object_get(operation, "responses"), "200");
    json_t *content = json_object_get(answer, "content");
    json_t *schema = json_object_get(json_object_get(content, "application/json"), "schema");
    cr_assert_gt(json_object_size(schema), 0, "%s promises nothing", route);
    judge(by, schema, reply->json, path);
}

Test(openapi, answers_are_what_it_promises)
{
    struct world *world = world_new();
    (void)world_ready_to_send(world); /* the sink takes the mail; nobody looks at it */
    const char *id = world_send(world, "{'from':'a@send.test','to':'b@dest.test','subject':'s',"
                                       "'text':'t','metadata':{'n':1},'tags':['x'],'attachments':"
                                       "[{'filename':'a.txt','content':'aGVsbG8='}]}");
    (void)world_await(world, id, "message.send_status", "delivered"); /* so there are attempts */
    struct reply *document = world_get(world, "/openapi.json");
    struct judge by = {.world = world, .document = document->json};
    struct reply *keys = world_get(world, "/v1/keys");
    struct reply *domains = world_get(world, "/api/domains");
    struct reply *me = world_call(
        world, &(struct world_call){.method = "GET", .path = "/v1/me", .bearer = world->token});
    check(&by, "", "/api/health", "/api/health");
    check(&by, world->key, "/v1/me", "/v1/me");
    check(&by, world->token, "/v1/me", "/v1/me");
    check(&by, world->key, "/v1/keys", "/v1/keys");
    check(&by, world->key, "/api/keys/{id}",
          world_text(world, "/api/keys/%s", reply_text(keys, "0.id")));
    check(&by, world->key, "/api/domains", "/api/domains");
    check(&by, world->key, "/api/domains/{id}",
          world_text(world, "/api/domains/%s", reply_text(domains, "0.id")));
    check(&by, world->key, "/api/messages", "/api/messages");
    check(&by, world->key, "/api/messages/{id}", world_text(world, "/api/messages/%s", id));
    struct reply *box = world_post(world, "/v1/mailboxes", "{'address':'info@send.test'}");
    cr_assert_eq(box->status, 201, "%.*s", SLICE_FMT(box->body));
    check(&by, world->key, "/v1/mailboxes", "/v1/mailboxes");
    check(&by, world->key, "/v1/mailboxes/{id}",
          world_text(world, "/v1/mailboxes/%s", reply_text(box, "id")));
    check(&by, world->key, "/v1/messages", "/v1/messages?page=1&per_page=10");
    check(&by, world->key, "/v1/messages/{id}", world_text(world, "/v1/messages/%s", id));
    check(&by, world->key, "/v1/threads", "/v1/threads");
    check(&by, world->key, "/api/audit", "/api/audit");
    check(&by, world->token, "/api/members", "/api/members");
    check(&by, world->token, "/api/admin/accounts", "/api/admin/accounts?limit=1");
    check(&by, world->token, "/api/admin/accounts/{id}",
          world_text(world, "/api/admin/accounts/%s", reply_text(me, "account.id")));
    check(&by, world->token, "/api/admin/users", "/api/admin/users");
    check(&by, world->token, "/api/admin/users/{email}", "/api/admin/users/owner@customer.test");
    check(&by, world->token, "/api/admin/server", "/api/admin/server");
    world_end(world);
}
