/* Links that are opened and followed while the edge has nothing left to count them with.
 *
 * Not covered here: tokens (tests/unit/mail/test_track_link), what a shard makes of an open or a
 * click (tests/unit/shards/test_track), the daemon (tests/flow/test_tracking).
 */
#include "unit/edge/edge_rig.h"

#include "mail/track_link.h"

#define URL "https://shop.test/cart?a=1"

static void follow(struct client *client, enum track_kind kind)
{
    struct arena arena;
    struct seal_key key = crypto_derive(client->rig->place.master, SLICE(TRACK_LINK_PURPOSE));
    struct track_ref ref = {
        .kind = kind, .mail = mail_id(5), .url = kind == TRACK_CLICK ? SLICE(URL) : SLICE("")};
    arena_init(&arena, KIB, 8 * KIB);
    struct slice link = track_link(&key, &ref, SLICE(""), &arena);
    client_say(client, "GET %.*s HTTP/1.1\r\nHost: x\r\n\r\n", SLICE_FMT(link));
    arena_fini(&arena);
}

Test(api_track, redirects_and_shows_when_no_message_is_left)
{
    static struct msg *taken[EDGE_POOL_MSGS + 1];
    struct rig rig;
    struct client client;
    uint32_t count = 0;
    rig_init(&rig);
    rig_start(&rig);
    struct actor *edge = edge_actor(rig.edge);
    client_open(&rig, &client);
    while (count <= EDGE_POOL_MSGS && (taken[count] = msg_take(edge, MSG_SHARD_TRACK)) != NULL) {
        count += 1;
    }
    cr_assert_eq(count, EDGE_POOL_MSGS);
    follow(&client, TRACK_CLICK);
    client_expect(&client, 1, 302);
    cr_expect(client_says(&client, 1, "\r\nlocation: " URL "\r\n"));
    follow(&client, TRACK_OPEN);
    client_expect(&client, 2, 200);
    cr_expect(client_says(&client, 2, "GIF89a"));
    cr_expect_eq(rig.got_count, 0, "neither could be counted");
    while (count > 0) {
        msg_put(edge, taken[--count]);
    }
    follow(&client, TRACK_CLICK);
    client_expect(&client, 3, 302);
    cr_assert_eq(rig_await(&rig, 1)->kind, MSG_SHARD_TRACK);
    cr_expect(slice_equal(rig.got[0]->body.track.ref.url, SLICE(URL)));
    rig_answer(&rig, 1, ERR_OK);
    client_close(&client);
    rig_end(&rig);
}

/* Strangers leave most of the messages to those who have a credential. */
Test(api_track, redirects_beyond_the_share_of_links)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    rig.edge->tracks_open = TRACK_OPEN_MSGS;
    follow(&client, TRACK_CLICK);
    client_expect(&client, 1, 302);
    cr_expect(client_says(&client, 1, "\r\nlocation: " URL "\r\n"));
    cr_expect_eq(rig.got_count, 0);
    rig.edge->tracks_open = 0;
    client_close(&client);
    rig_end(&rig);
}
