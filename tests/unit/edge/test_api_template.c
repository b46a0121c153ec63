/* Templates over HTTP: what becomes of each field, what is refused, what the answers look like.
 *
 * Not covered here: what the account's shard makes of it (tests/unit/shards/test_template); which
 * right each route asks for (test_route_rights).
 */
#include "unit/edge/edge_rig.h"

static void open_rig(struct rig *rig, struct client *client)
{
    rig_init(rig);
    rig_start(rig);
    client_open(rig, client);
}

static void close_rig(struct rig *rig, struct client *client)
{
    client_close(client);
    rig_end(rig);
}

static const char *path_of(struct id id, const char *tail)
{
    static char path[128];
    char text[ID_TEXT_MAX];
    (void)id_text(ID_TEMPLATE, id, text);
    snprintf(path, sizeof path, "/api/templates/%s%s", text, tail);
    return path;
}

Test(api_template, is_made_and_shown)
{
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    client_ask(&client, "POST", "/api/templates",
               "{'name':' Welcome ','subject':'Hi {{name}}','text':'Dear {{name}}'}");
    struct shard_template *body = &rig_await(&rig, 1)->body.template;
    cr_assert_eq(rig.got[0]->kind, MSG_SHARD_TEMPLATE);
    cr_expect_eq(body->op, TEMPLATE_CREATE);
    cr_expect_eq(body->caller.right, RIGHT_MAIL_WRITE);
    cr_expect(slice_equal(body->wanted.name, SLICE("Welcome")));
    cr_expect(slice_equal(body->wanted.subject, SLICE("Hi {{name}}")));
    cr_expect_eq(body->wanted.html.len, 0);
    struct row_template row = body->wanted;
    row.id = mail_id(7);
    row.created_unix_ms = 1;
    row.updated_unix_ms = 2;
    body->rows = &row;
    body->row_count = 1;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 201);
    cr_expect(client_says(&client, 1,
                          "\"name\":\"Welcome\",\"created_at\":1,\"updated_at\":2,"
                          "\"subject\":\"Hi {{name}}\",\"html\":null,"
                          "\"text\":\"Dear {{name}}\"}"));
    client_ask(&client, "GET", "/api/templates?limit=3&before=77", "");
    body = &rig_await(&rig, 2)->body.template;
    cr_expect_eq(body->op, TEMPLATE_LIST);
    cr_expect_eq(body->limit, 3);
    cr_expect_eq(body->before_unix_ms, 77);
    struct row_template listed = {.name = SLICE("n"), .created_unix_ms = 1, .updated_unix_ms = 2};
    body->rows = &listed;
    body->row_count = 1;
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 200);
    cr_expect(client_says(&client, 2, "\"created_at\":1,\"updated_at\":2}]"));
    close_rig(&rig, &client);
}

Test(api_template, a_change_carries_what_was_given_and_null_for_nothing)
{
    static const struct {
        const char *body;
        uint32_t given;
    } cases[] = {
        {"{}", 0},
        {"{'name':'n'}", TEMPLATE_FIELD_NAME},
        {"{'html':null,'subject':''}", TEMPLATE_FIELD_HTML | TEMPLATE_FIELD_SUBJECT},
        {"{'text':'x','subject':null}", TEMPLATE_FIELD_TEXT | TEMPLATE_FIELD_SUBJECT},
    };
    struct rig rig;
    struct client client;
    struct row_template row = {.id = mail_id(1), .name = SLICE("n")};
    open_rig(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(&client, "PUT", path_of(mail_id(1), ""), cases[i].body);
        struct shard_template *body = &rig_await(&rig, i + 1)->body.template;
        cr_expect_eq(body->op, TEMPLATE_CHANGE);
        cr_expect(id_equal(body->id, mail_id(1)));
        cr_expect_eq(body->given, cases[i].given, "%s", cases[i].body);
        body->rows = &row;
        body->row_count = 1;
        rig_answer(&rig, i + 1, ERR_OK);
        client_expect(&client, i + 1, 200);
    }
    close_rig(&rig, &client);
}

Test(api_template, mistakes_are_named_with_their_place_and_go_no_further)
{
    static const struct {
        const char *method;
        const char *path;
        const char *body;
        const char *said;
    } cases[] = {
        {"POST", "", "{'text':'x'}", "\"param\":\"name\""},
        {"POST", "", "{'name':' ','text':'x'}", "\"param\":\"name\""},
        {"POST", "", "{'name':'a\\nb','text':'x'}", "\"param\":\"name\""},
        {"POST", "", "{'name':'n','text':'x','subject':'a\\nb'}", "\"param\":\"subject\""},
        {"POST", "", "{'name':'n','text':'x','subject':'{{'}", "\"param\":\"subject\""},
        {"POST", "", "{'name':'n','html':'a\\n {{#b}}'}",
         "\"error\":\"line 2, column 5: this section is never closed: b\""},
        {"POST", "", "{'name':'n','html':'{{#b}}'}", "\"param\":\"html\""},
        {"POST", "", "{'name':'n','text':'{{/b}}'}", "\"param\":\"text\""},
        {"POST", "", "{'name':'n','text':1}", "\"param\":\"text\""},
        {"GET", "?before=x", "", "\"param\":\"before\""},
        {"GET", "?limit=0", "", "\"param\":\"limit\""},
    };
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[64];
        snprintf(path, sizeof path, "/api/templates%s", cases[i].path);
        client_ask(&client, cases[i].method, path, cases[i].body);
        client_expect(&client, i + 1, 400);
        cr_expect(client_says(&client, i + 1, cases[i].said), "case %u: %.*s", i,
                  SLICE_FMT(client_answer(&client, i + 1)));
    }
    cr_expect_eq(rig.got_count, 0);
    client_ask(&client, "GET", "/api/templates/tpl_1", "");
    client_expect(&client, ARRAY_LEN(cases) + 1, 404);
    close_rig(&rig, &client);
}

Test(api_template, a_preview_takes_any_object_or_none)
{
    struct rig rig;
    struct client client;
    struct row_template row = {.subject = SLICE("Hi"), .text = SLICE("T")};
    open_rig(&rig, &client);
    client_ask(&client, "POST", path_of(mail_id(1), "/preview"), "{'data':{'a':[1,{'b':null}]}}");
    struct shard_template *body = &rig_await(&rig, 1)->body.template;
    cr_expect_eq(body->op, TEMPLATE_PREVIEW);
    cr_expect(slice_equal(body->data, SLICE("{\"a\":[1,{\"b\":null}]}")));
    body->rows = &row;
    body->row_count = 1;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    cr_expect(client_says(&client, 1, "{\"subject\":\"Hi\",\"html\":null,\"text\":\"T\"}"));
    client_ask(&client, "POST", path_of(mail_id(1), "/preview"), "");
    cr_expect_eq(rig_await(&rig, 2)->body.template.data.len, 0);
    rig_answer(&rig, 2, ERR_NOT_FOUND);
    client_expect(&client, 2, 404);
    client_ask(&client, "POST", path_of(mail_id(1), "/preview"), "{'data':[1]}");
    client_expect(&client, 3, 400);
    cr_expect(client_says(&client, 3, "\"param\":\"data\""));
    close_rig(&rig, &client);
}
