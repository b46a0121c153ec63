/* Suppressions over HTTP: what becomes of each field and query, and what the answers look like.
 *
 * Not covered here: what the account's shard makes of it (tests/unit/shards/test_suppression);
 * which right each route asks for (test_route_rights).
 */
#include "unit/edge/edge_rig.h"

#define AREA "/api/contacts/suppressions"

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

Test(api_suppression, an_address_arrives_in_the_form_it_is_compared_in)
{
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    client_ask(&client, "POST", AREA,
               "{'email':' Bob@Dest.TEST ','note':' left ','reason':'complaint'}");
    struct shard_suppression *body = &rig_await(&rig, 1)->body.suppression;
    cr_assert_eq(rig.got[0]->kind, MSG_SHARD_SUPPRESSION);
    cr_expect_eq(body->op, SUPPRESSION_ADD);
    cr_expect_eq(body->caller.right, RIGHT_SUPPRESSIONS_WRITE);
    cr_assert_eq(body->email_count, 1);
    cr_expect(slice_equal(body->emails[0], SLICE("bob@dest.test")));
    cr_expect(slice_equal(body->note, SLICE("left")));
    cr_expect_eq(body->reason, SUPPRESSION_COMPLAINT);
    struct row_suppression row = {
        .email = SLICE("bob@dest.test"), .reason = SUPPRESSION_COMPLAINT, .created_unix_ms = 12};
    body->rows = &row;
    body->row_count = 1;
    body->added_count = 1;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 201);
    cr_expect(client_says(&client, 1,
                          "{\"email\":\"bob@dest.test\",\"reason\":\"complaint\",\"note\":null,"
                          "\"created_at\":12}"));
    client_ask(&client, "POST", AREA, "{'email':'bob@dest.test'}");
    body = &rig_await(&rig, 2)->body.suppression;
    cr_expect_eq(body->reason, SUPPRESSION_MANUAL);
    body->rows = &row;
    body->row_count = 1;
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 200);
    close_rig(&rig, &client);
}

Test(api_suppression, a_list_of_one_is_answered_as_a_list)
{
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    client_ask(&client, "POST", AREA, "{'emails':['a@dest.test']}");
    struct shard_suppression *body = &rig_await(&rig, 1)->body.suppression;
    cr_expect_eq(body->email_count, 1);
    body->added_count = 1;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 201);
    cr_expect(client_says(&client, 1, "{\"added\":1,\"existing\":0}"));
    client_ask(&client, "POST", AREA, "{'emails':['a@dest.test','B@dest.test']}");
    body = &rig_await(&rig, 2)->body.suppression;
    cr_assert_eq(body->email_count, 2);
    cr_expect(slice_equal(body->emails[1], SLICE("b@dest.test")));
    body->known_count = 2;
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 200);
    cr_expect(client_says(&client, 2, "{\"added\":0,\"existing\":2}"));
    close_rig(&rig, &client);
}

Test(api_suppression, mistakes_are_named_and_go_no_further)
{
    static const struct {
        const char *method;
        const char *path;
        const char *body;
        const char *param;
    } cases[] = {
        {"POST", AREA, "{}", "\"param\":\"email\""},
        {"POST", AREA, "{'email':'a@b.test','emails':['a@b.test']}", "\"param\":\"email\""},
        {"POST", AREA, "{'email':'nobody'}", "\"param\":\"email\""},
        {"POST", AREA, "{'email':'A <a@b.test>'}", "\"param\":\"email\""},
        {"POST", AREA, "{'emails':[]}", "\"param\":\"emails\""},
        {"POST", AREA, "{'emails':['a@b.test','b']}", "\"param\":\"emails[1]\""},
        {"POST", AREA, "{'emails':'a@b.test'}", "\"param\":\"emails\""},
        {"POST", AREA, "{'email':'a@b.test','reason':'bored'}", "\"param\":\"reason\""},
        {"POST", AREA, "{'email':'a@b.test','note':'a\\u0007'}", "\"param\":\"note\""},
        {"GET", AREA "?limit=201", "", "\"param\":\"limit\""},
        {"GET", AREA "?limit=0", "", "\"param\":\"limit\""},
    };
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(&client, cases[i].method, cases[i].path, cases[i].body);
        client_expect(&client, i + 1, 400);
        cr_expect(client_says(&client, i + 1, cases[i].param), "case %u: %.*s", i,
                  SLICE_FMT(client_answer(&client, i + 1)));
    }
    cr_expect_eq(rig.got_count, 0);
    close_rig(&rig, &client);
}

Test(api_suppression, a_page_and_an_address_are_asked_for)
{
    static const struct {
        const char *path;
        const char *email;
    } cases[] = {
        {AREA "/Bob%2Bnews%40Dest.TEST", "bob+news@dest.test"},
        {AREA "/Bob+news@Dest.TEST", "bob+news@dest.test"},
        {AREA "/M%C3%BCller@b%C3%BCcher.test", "m\xc3\xbcller@xn--bcher-kva.test"},
        {AREA "/Nobody", "nobody"},
    };
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    client_ask(&client, "GET", AREA "?after=A%40b.test&search=Dest&limit=7", "");
    struct shard_suppression *body = &rig_await(&rig, 1)->body.suppression;
    cr_expect_eq(body->op, SUPPRESSION_LIST);
    cr_expect_eq(body->caller.right, RIGHT_SUPPRESSIONS_READ);
    cr_expect(slice_equal(body->after, SLICE("a@b.test")));
    cr_expect(slice_equal(body->search, SLICE("dest")));
    cr_expect_eq(body->limit, 7);
    struct row_suppression row = {.email = SLICE("b@dest.test"), .note = SLICE("n")};
    body->rows = &row;
    body->row_count = 1;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    cr_expect(client_says(&client, 1,
                          "[{\"email\":\"b@dest.test\",\"reason\":\"hard_bounce\","
                          "\"note\":\"n\",\"created_at\":0}]"));
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(&client, i % 2 ? "GET" : "DELETE", cases[i].path, "");
        body = &rig_await(&rig, i + 2)->body.suppression;
        cr_expect_eq(body->op, i % 2 ? SUPPRESSION_GET : SUPPRESSION_REMOVE);
        cr_assert_eq(body->email_count, 1);
        cr_expect(slice_equal(body->emails[0], slice_str(cases[i].email)), "%.*s",
                  SLICE_FMT(body->emails[0]));
        rig_answer(&rig, i + 2, ERR_NOT_FOUND);
        client_expect(&client, i + 2, 404);
    }
    close_rig(&rig, &client);
}
