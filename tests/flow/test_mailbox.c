/* Flow: mail that comes in is found in its mailbox, read, marked, answered and deleted.
 *
 * Not covered here: pages, ceilings and what keys may see (tests/unit/shards/test_mailbox.c);
 * mistakes in requests (tests/unit/edge/test_api_mailbox.c); credentials (test_cross.c).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "support/world.h"

/* A daemon that takes mail for recv.test. */
static struct world *begin(void)
{
    struct world *world = world_new();
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n");
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    (void)world_domain(world, "recv.test");
    return world;
}

/* The client's exit status. */
static int bring(struct world *world, const char *rcpt, const char *id, const char *more)
{
    const char *path = world_text(world, "%s/mail.eml", world->dir);
    const char *url = world_text(world, "smtp://127.0.0.1:%u/c", (unsigned)world->smtp_port);
    const char *mail = world_text(world,
                                  "From: Ann <a@from.test>\r\nTo: %s\r\nSubject: About %s\r\n"
                                  "Message-ID: <%s@from.test>\r\n%s\r\nText of %s\r\n",
                                  rcpt, id, id, more, id);
    const char *argv[] = {"curl",          "-s", "--mail-from", "a@from.test", "--mail-rcpt", rcpt,
                          "--upload-file", path, url,           NULL};
    struct slice said;
    world_write_file(world, path, slice_str(mail));
    return world_tool(world, argv, SLICE(""), &said);
}

static struct reply *call(struct world *world, const char *method, const char *path,
                          const char *body)
{
    char *json = arena_bytes(&world->arena, strlen(body) + 1);
    for (size_t i = 0; i <= strlen(body); i++) {
        json[i] = body[i] == '\'' ? '"' : body[i];
    }
    struct world_call wanted = {.method = method, .path = path, .body = slice_str(json)};
    return world_call(world, &wanted);
}

static const char *make(struct world *world, const char *address)
{
    struct reply *made = world_post(world, "/v1/mailboxes", "{'address':'%s'}", address);
    cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    return reply_text(made, "id");
}

Test(mailbox, holds_what_came_for_its_address)
{
    struct world *world = begin();
    const char *box = make(world, "info@recv.test");
    cr_assert_eq(bring(world, "Info@recv.test", "one", ""), 0);
    cr_expect_neq(bring(world, "nobody@recv.test", "lost", ""), 0, "there is no such mailbox");
    struct reply *list = world_get(world, "/v1/messages?mailbox=%s&folder=inbox", box);
    cr_assert_eq(reply_int(list, "total"), 1, "%.*s", SLICE_FMT(list->body));
    cr_expect_str_eq(reply_text(list, "data.0.subject"), "About one");
    cr_expect_str_eq(reply_text(list, "data.0.mailbox_ids.0"), box);
    const char *path = world_text(world, "/v1/messages/%s", reply_text(list, "data.0.id"));
    struct reply *marked = call(world, "PATCH", path, "{'read':true,'folder':'done'}");
    cr_expect_eq(marked->status, 200);
    struct reply *mail = world_get(world, "%s", path);
    cr_assert_eq(mail->status, 200);
    cr_expect_str_eq(reply_text(mail, "text_body"), "Text of one\n");
    cr_expect_str_eq(reply_text(mail, "folder"), "done");
    cr_expect(json_is_true(reply_at(mail, "read")));
    cr_expect(json_is_false(reply_at(mail, "starred")));
    list = world_get(world, "/v1/messages?mailbox=%s&folder=inbox", box);
    cr_expect_eq(reply_int(list, "total"), 0);
    cr_expect_eq(call(world, "DELETE", world_text(world, "/v1/mailboxes/%s", box), "")->status,
                 200);
    cr_expect_eq(world_get(world, "%s", path)->status, 200, "its mail stays");
    cr_expect_eq(world_get(world, "/v1/messages?mailbox=%s", box)->status, 404);
    world_end(world);
}

Test(mailbox, keeps_a_conversation_together_until_its_mails_are_deleted)
{
    struct world *world = begin();
    const char *box = make(world, "info@recv.test");
    cr_assert_eq(bring(world, "info@recv.test", "one", ""), 0);
    cr_assert_eq(bring(world, "info@recv.test", "two", "In-Reply-To: <one@from.test>\r\n"), 0);
    cr_assert_eq(bring(world, "info@recv.test", "three", ""), 0);
    struct reply *list = world_get(world, "/v1/threads?mailbox=%s", box);
    cr_assert_eq(reply_int(list, "total"), 2, "%.*s", SLICE_FMT(list->body));
    cr_expect_str_eq(reply_text(list, "data.0.subject"), "About three");
    cr_expect_eq(reply_int(list, "data.1.message_count"), 2);
    const char *path = world_text(world, "/v1/threads/%s", reply_text(list, "data.1.id"));
    struct reply *thread = world_get(world, "%s", path);
    cr_assert_eq(reply_count(thread, "messages"), 2);
    for (int i = 0; i < 2; i++) {
        const char *name = world_text(world, "messages.%d.id", i);
        const char *mail = world_text(world, "/v1/messages/%s", reply_text(thread, name));
        cr_expect_eq(call(world, "DELETE", mail, "")->status, 200);
        cr_expect_eq(world_get(world, "%s", mail)->status, 404);
        cr_expect_eq(world_get(world, "/api%s/raw", mail + 3)->status, 404);
    }
    cr_expect_eq(world_get(world, "%s", path)->status, 404);
    world_kill(world);
    world_start(world);
    list = world_get(world, "/v1/messages?mailbox=%s", box);
    cr_assert_eq(reply_int(list, "total"), 1, "%.*s", SLICE_FMT(list->body));
    cr_expect_str_eq(reply_text(list, "data.0.subject"), "About three");
    world_end(world);
}
