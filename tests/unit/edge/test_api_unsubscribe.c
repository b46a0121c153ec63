/* The page of a recipient who wants no more mail, and the wish.
 *
 * Not covered here: what the account's shard makes of it (tests/unit/shards/test_unsubscribe), the
 * link itself (tests/unit/mail/test_unsubscribe_link).
 */
#include "unit/edge/edge_rig.h"

#include "mail/unsubscribe_link.h"

/* No credential comes with it. */
static void ask(struct client *client, const char *method, const char *path)
{
    client_say(client,
               "%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
               "Content-Length: 26\r\n\r\nList-Unsubscribe=One-Click",
               method, path);
}

static const char *path_of(struct rig *rig)
{
    static char path[256];
    struct arena arena;
    struct seal_key key = crypto_derive(rig->place.master, SLICE(UNSUBSCRIBE_LINK_PURPOSE));
    struct unsubscribe_ref ref = {
        .mail = mail_id(5), .index = 3, .address = SLICE("ann@dest.test")};
    arena_init(&arena, KIB, 8 * KIB);
    struct slice link = unsubscribe_link(&key, &ref, SLICE(""), &arena);
    snprintf(path, sizeof path, "%.*s", SLICE_FMT(link));
    arena_fini(&arena);
    return path;
}

Test(api_unsubscribe, looking_changes_nothing)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    client_say(&client, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path_of(&rig));
    client_expect(&client, 1, 200);
    cr_expect(client_says(&client, 1, "<form method=\"post\">"));
    cr_expect(client_says(&client, 1, "content-type: text/html"));
    cr_expect(client_says(&client, 1, "default-src 'none'"));
    cr_expect(client_says(&client, 1, "cache-control: no-store"));
    client_say(&client, "GET %sA HTTP/1.1\r\nHost: x\r\n\r\n", path_of(&rig));
    client_expect(&client, 2, 404);
    cr_expect_eq(rig.got_count, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(api_unsubscribe, a_wish_needs_the_link_and_nothing_else)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    ask(&client, "POST", path_of(&rig));
    struct msg *msg = rig_await(&rig, 1);
    cr_assert_eq(msg->kind, MSG_SHARD_UNSUBSCRIBE);
    const struct unsubscribe_ref *ref = &msg->body.unsubscribe.ref;
    cr_expect(id_equal(ref->mail, mail_id(5)));
    cr_expect_eq(ref->index, 3);
    cr_expect(slice_equal(ref->address, SLICE("ann@dest.test")));
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 200);
    cr_expect(client_says(&client, 1, "no more mail"));
    ask(&client, "POST", path_of(&rig));
    (void)rig_await(&rig, 2);
    rig_answer(&rig, 2, ERR_STORAGE);
    client_expect(&client, 2, 503);
    ask(&client, "POST", "/u/AAAA");
    client_expect(&client, 3, 404);
    cr_expect_eq(rig.got_count, 2);
    client_close(&client);
    rig_end(&rig);
}
