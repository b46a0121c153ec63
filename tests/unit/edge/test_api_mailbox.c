/* Mailboxes, messages and conversations over HTTP: what becomes of each field and query, and what
 * the answers look like.
 *
 * Not covered here: what the account's shard makes of it (tests/unit/shards/test_mailbox); which
 * right each route asks for (test_route_rights).
 */
#include "unit/edge/edge_rig.h"

static struct id id_of(uint64_t number)
{
    return mail_id(number);
}

static const char *text_of(enum id_kind kind, struct id id)
{
    static char text[4][ID_TEXT_MAX];
    static int next;
    char *out = text[next++ % 4];
    (void)id_text(kind, id, out);
    return out;
}

static const char *path_of(const char *area, enum id_kind kind, struct id id)
{
    static char path[128];
    snprintf(path, sizeof path, "/v1/%s/%s", area, text_of(kind, id));
    return path;
}

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

Test(api_mailbox, an_address_arrives_in_the_form_it_is_compared_in)
{
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    client_ask(&client, "POST", "/v1/mailboxes", "{'address':' Info@Send.TEST ','name':' Desk '}");
    struct shard_mailbox *box = &rig_await(&rig, 1)->body.mailbox;
    cr_assert_eq(rig.got[0]->kind, MSG_SHARD_MAILBOX);
    cr_expect_eq(box->op, MAILBOX_CREATE);
    cr_expect_eq(box->caller.right, RIGHT_MAILBOXES_WRITE);
    cr_expect(slice_equal(box->wanted.address, SLICE("info@send.test")));
    cr_expect(slice_equal(box->wanted.name, SLICE("Desk")));
    struct row_mailbox row = box->wanted;
    row.id = id_of(7);
    row.domain = id_of(8);
    box->mailboxes = &row;
    box->count = 1;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 201);
    cr_expect(client_says(&client, 1, text_of(ID_MAILBOX, row.id)));
    cr_expect(client_says(&client, 1, "\"address\":\"info@send.test\""));
    cr_expect(client_says(&client, 1, text_of(ID_DOMAIN, row.domain)));
    close_rig(&rig, &client);
}

Test(api_mailbox, mistakes_are_named_and_go_no_further)
{
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    const char *mail = text_of(ID_MESSAGE, id_of(1));
    char patch[64];
    snprintf(patch, sizeof patch, "/v1/messages/%s", mail);
    const struct {
        const char *method;
        const char *path;
        const char *body;
        const char *param;
        int status;
    } cases[] = {
        {"POST", "/v1/mailboxes", "{}", "\"param\":\"address\"", 400},
        {"POST", "/v1/mailboxes", "{'address':'nobody'}", "\"param\":\"address\"", 400},
        {"POST", "/v1/mailboxes", "{'address':'A <a@b.test>'}", "\"param\":\"address\"", 400},
        {"POST", "/v1/mailboxes", "{'address':'a@b.test','name':'a\\u0007'}", "\"param\":\"name\"",
         400},
        {"GET", "/v1/mailboxes?page=0", "", "\"param\":\"page\"", 400},
        {"GET", "/v1/mailboxes?page=20001", "", "\"param\":\"page\"", 400},
        {"GET", "/v1/mailboxes?per_page=201", "", "\"param\":\"per_page\"", 400},
        {"GET", "/v1/messages?per_page=x", "", "\"param\":\"per_page\"", 400},
        {"GET", "/v1/messages?mailbox=dom_1", "", "\"param\":\"mailbox\"", 400},
        {"GET", "/v1/messages?folder=a%0ab", "", "\"param\":\"folder\"", 400},
        {"GET", "/v1/threads?mailbox=x", "", "\"param\":\"mailbox\"", 400},
        {"GET", "/v1/threads/msg_1", "", "\"error\":\"not found\"", 404},
        {"GET", "/v1/mailboxes/x", "", "\"error\":\"not found\"", 404},
        {"DELETE", "/v1/messages/x", "", "\"error\":\"not found\"", 404},
        {"PATCH", patch, "{'read':'yes'}", "\"param\":\"read\"", 400},
        {"PATCH", patch, "{'folder':' '}", "\"param\":\"folder\"", 400},
        {"PATCH", patch, "{'folder':'a\\nb'}", "\"param\":\"folder\"", 400},
        {"PATCH", patch,
         "{'folder':'12345678901234567890123456789012345678901234567890123456789012345'}",
         "\"param\":\"folder\"", 400},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(&client, cases[i].method, cases[i].path, cases[i].body);
        client_expect(&client, i + 1, cases[i].status);
        cr_expect(client_says(&client, i + 1, cases[i].param), "case %u: %.*s", i,
                  SLICE_FMT(client_answer(&client, i + 1)));
    }
    cr_expect_eq(rig.got_count, 0);
    close_rig(&rig, &client);
}

Test(api_mailbox, a_page_is_asked_for_and_comes_in_its_envelope)
{
    struct rig rig;
    struct client client;
    char path[128];
    open_rig(&rig, &client);
    struct id mailbox = id_of(3);
    snprintf(path, sizeof path, "/v1/messages?mailbox=%s&folder=to+do&page=3&per_page=5",
             text_of(ID_MAILBOX, mailbox));
    client_ask(&client, "GET", path, "");
    struct shard_mailbox *box = &rig_await(&rig, 1)->body.mailbox;
    cr_expect_eq(box->op, MAILBOX_MAILS);
    cr_expect_eq(box->caller.right, RIGHT_MAIL_READ);
    cr_expect(id_equal(box->mailbox, mailbox));
    cr_expect(slice_equal(box->folder, SLICE("to do")));
    cr_expect_eq(box->page, 3);
    cr_expect_eq(box->limit, 5);
    struct mail_entry entry = {
        .mail = {.id = id_of(1), .direction = DIRECTION_INBOUND, .thread = id_of(2)},
        .state = {.is_read = true, .folder = SLICE("to do")},
    };
    entry.state.mailboxes = slice_of(mailbox.bytes, sizeof(mailbox.bytes));
    box->mails = &entry;
    box->count = 1;
    box->total = 11;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    cr_expect(client_says(&client, 1, "{\"data\":[{"));
    cr_expect(client_says(&client, 1, "\"total\":11,\"page\":3,\"per_page\":5}"));
    cr_expect(client_says(&client, 1, "\"read\":true,\"starred\":false,\"folder\":\"to do\""));
    cr_expect(client_says(&client, 1, text_of(ID_MAILBOX, mailbox)));
    cr_expect(client_says(&client, 1, text_of(ID_THREAD, entry.mail.thread)));
    client_ask(&client, "GET", "/v1/threads", "");
    box = &rig_await(&rig, 2)->body.mailbox;
    cr_expect_eq(box->op, MAILBOX_THREADS);
    cr_expect_eq(box->page, 1);
    cr_expect_eq(box->limit, PAGE_DEFAULT);
    cr_expect(id_is_none(box->mailbox));
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 200);
    cr_expect(client_says(&client, 2, "{\"data\":[],\"total\":0,\"page\":1,\"per_page\":100}"));
    close_rig(&rig, &client);
}

Test(api_mailbox, a_mark_carries_only_what_was_given)
{
    static const struct {
        const char *body;
        uint32_t given;
    } cases[] = {
        {"{}", 0},
        {"{'read':false}", MARK_READ},
        {"{'starred':true,'unknown':1}", MARK_STARRED},
        {"{'folder':'a','read':true}", MARK_FOLDER | MARK_READ},
    };
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    struct mail_entry entry = {.mail = {.id = id_of(1)}, .state = {.folder = SLICE("a")}};
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(&client, "PATCH", path_of("messages", ID_MESSAGE, id_of(1)), cases[i].body);
        struct shard_mailbox *box = &rig_await(&rig, i + 1)->body.mailbox;
        cr_expect_eq(box->op, MAILBOX_MARK);
        cr_expect_eq(box->given, cases[i].given, "%s", cases[i].body);
        cr_expect(id_equal(box->id, id_of(1)));
        cr_expect_eq(box->caller.right, RIGHT_MAIL_WRITE);
        box->mails = &entry;
        box->count = 1;
        rig_answer(&rig, i + 1, ERR_OK);
        client_expect(&client, i + 1, 200);
    }
    close_rig(&rig, &client);
}

Test(api_mailbox, refusals_of_the_shard_reach_the_client)
{
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    client_ask(&client, "DELETE", path_of("messages", ID_MESSAGE, id_of(1)), "");
    cr_expect_eq(rig_await(&rig, 1)->body.mailbox.op, MAILBOX_DISCARD);
    rig_answer(&rig, 1, ERR_CONFLICT);
    client_expect(&client, 1, 409);
    client_ask(&client, "DELETE", path_of("mailboxes", ID_MAILBOX, id_of(1)), "");
    cr_expect_eq(rig_await(&rig, 2)->body.mailbox.op, MAILBOX_DELETE);
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 200);
    cr_expect(client_says(&client, 2, "{\"ok\":true}"));
    client_ask(&client, "PATCH", path_of("mailboxes", ID_MAILBOX, id_of(1)), "{'name':''}");
    cr_expect_eq(rig_await(&rig, 3)->body.mailbox.op, MAILBOX_RENAME);
    rig_answer(&rig, 3, ERR_KEY_SCOPE);
    client_expect(&client, 3, 403);
    client_ask(&client, "GET", path_of("messages", ID_MESSAGE, id_of(1)), "");
    cr_expect_eq(rig_await(&rig, 4)->kind, MSG_SHARD_READ);
    rig_answer(&rig, 4, ERR_NOT_FOUND);
    client_expect(&client, 4, 404);
    close_rig(&rig, &client);
}

Test(api_mailbox, a_thread_comes_with_its_messages)
{
    struct rig rig;
    struct client client;
    open_rig(&rig, &client);
    client_ask(&client, "GET", path_of("threads", ID_THREAD, id_of(5)), "");
    struct shard_mailbox *box = &rig_await(&rig, 1)->body.mailbox;
    cr_expect_eq(box->op, MAILBOX_THREAD);
    cr_expect(id_equal(box->id, id_of(5)));
    struct row_thread thread = {.id = id_of(5),
                                .subject = SLICE("s"),
                                .first_unix_ms = 1,
                                .last_unix_ms = 2,
                                .mail_count = 9};
    struct mail_entry entries[2] = {{.mail = {.id = id_of(1)}}, {.mail = {.id = id_of(2)}}};
    box->threads = &thread;
    box->mails = entries;
    box->count = 2;
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    cr_expect(client_says(&client, 1,
                          "\"subject\":\"s\",\"message_count\":9,\"first_at\":1,"
                          "\"last_at\":2,\"messages\":[{"));
    cr_expect(client_says(&client, 1, text_of(ID_MESSAGE, id_of(1))));
    cr_expect(client_says(&client, 1, text_of(ID_MESSAGE, id_of(2))));
    close_rig(&rig, &client);
}
