/* Bodies that come packed: what is understood, and where a small body that grows without end stops.
 *
 * Not covered here: the format itself (tests/unit/base/test_gzip.c).
 */
#include "unit/edge/edge_rig.h"

#include "base/gzip.h"

static void post_packed(struct client *client, const char *path, const char *encoding,
                        struct slice body)
{
    client_say(client,
               "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
               path, client->rig->key.text, encoding, body.len);
    client_write(client, body);
}

static void pack(struct slice plain, struct buf *packed)
{
    buf_init(packed, 64 * MIB);
    cr_assert_eq(gzip_pack(plain, packed), ERR_OK);
}

Test(packed, reads_a_body_that_comes_as_gzip_as_if_it_had_come_plain)
{
    struct rig rig;
    struct client client;
    struct buf packed;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    pack(SLICE(SEND_BODY), &packed);
    post_packed(&client, "/v1/send", "gzip\r\nIdempotency-Key: k", buf_slice(&packed));
    const struct shard_send *send = &rig_await(&rig, 1)->body.send;
    struct sha256 plain = crypto_sha256(SLICE(SEND_BODY));
    cr_expect(slice_equal(send->text, SLICE("hi")));
    cr_expect_eq(memcmp(&send->body_hash, &plain, sizeof plain), 0, "the digest of what is meant");
    cr_expect_eq(rig.check_count, 1, "its sender is known before anything is unpacked");
    rig_answer(&rig, 1, ERR_OK);
    client_expect(&client, 1, 202);
    post_packed(&client, "/v1/send", "X-GZIP", buf_slice(&packed));
    (void)rig_await(&rig, 2);
    rig_answer(&rig, 2, ERR_OK);
    client_expect(&client, 2, 202);
    cr_expect_eq(rig.edge->body_bytes, 0);
    buf_fini(&packed);
    client_close(&client);
    rig_end(&rig);
}

/* Text that shrinks well, and not beyond what is believed of text. */
static void write_text(struct buf *plain, uint64_t len)
{
    char *room = buf_room(plain, (size_t)len);
    memset(room, ' ', (size_t)len);
    for (size_t at = 0; at + 4096 <= len; at += 4096) {
        uint64_t random[16];
        for (size_t i = 0; i < ARRAY_LEN(random); i++) {
            random[i] = crypto_random_u64();
        }
        hex_encode(slice_of(random, sizeof random), room + at);
    }
    buf_grew(plain, (size_t)len);
}

Test(packed, stops_at_the_ceiling_of_the_plain_body)
{
    static const char *const paths[] = {"/v1/send", "/v1/keys"};
    static const uint64_t ceilings[] = {HTTP_BODY_MAX, 64 * KIB};
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct buf plain;
        struct buf packed;
        buf_init(&plain, 64 * MIB);
        write_text(&plain, ceilings[i] + 1);
        pack(buf_slice(&plain), &packed);
        cr_assert_lt(packed.len, ceilings[i] / 8, "it comes in small");
        post_packed(&client, paths[i], "gzip", buf_slice(&packed));
        client_expect(&client, 2 * i + 1, 413);
        buf_fini(&packed);
        pack(slice_from(buf_slice(&plain), 1), &packed);
        post_packed(&client, paths[i], "gzip", buf_slice(&packed));
        client_expect(&client, 2 * i + 2, 400); /* all of it is read, and is no JSON */
        buf_fini(&packed);
        buf_fini(&plain);
    }
    cr_expect_eq(rig.got_count, 0);
    cr_expect_eq(rig.edge->body_bytes, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(packed, lets_no_small_body_keep_the_loop_busy)
{
    static const uint64_t lens[] = {HTTP_UNPACK_MAX, HTTP_BODY_MAX};
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf plain;
        struct buf packed;
        buf_init(&plain, 64 * MIB);
        memset(buf_room(&plain, (size_t)lens[i]), ' ', (size_t)lens[i]);
        buf_grew(&plain, (size_t)lens[i]);
        pack(buf_slice(&plain), &packed);
        post_packed(&client, "/v1/send", "gzip", buf_slice(&packed));
        client_expect(&client, i + 1, lens[i] == HTTP_BODY_MAX ? 413 : 400);
        buf_fini(&packed);
        buf_fini(&plain);
    }
    cr_expect_eq(rig.edge->body_bytes, 0);
    client_close(&client);
    rig_end(&rig);
}

Test(packed, refuses_what_is_damaged_and_goes_on)
{
    struct rig rig;
    struct client client;
    struct buf packed;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    pack(SLICE(SEND_BODY), &packed);
    const struct slice bad[] = {
        SLICE("{}"),
        slice_head(buf_slice(&packed), packed.len - 1),
        slice_from(buf_slice(&packed), 1),
    };
    for (uint32_t i = 0; i < ARRAY_LEN(bad); i++) {
        post_packed(&client, "/v1/send", "gzip", bad[i]);
        client_expect(&client, i + 1, 400);
        cr_expect(client_says(&client, i + 1, "\"param\":\"content-encoding\""));
    }
    cr_expect_eq(rig.got_count, 0);
    buf_fini(&packed);
    client_close(&client);
    rig_end(&rig);
}

Test(packed, knows_no_other_encoding)
{
    static const char *const others[] = {"br", "deflate", "zstd", "gzip, gzip", "gzip, identity"};
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    for (uint32_t i = 0; i < ARRAY_LEN(others); i++) {
        post_packed(&client, "/v1/send", others[i], SLICE("xx"));
        client_expect(&client, i + 1, 415);
    }
    client_close(&client);
    rig_end(&rig);
}

/* Nobody without a good credential has anything unpacked. */
Test(packed, is_not_unpacked_for_a_stranger)
{
    struct rig rig;
    struct client client;
    rig_init(&rig);
    rig_start(&rig);
    client_open(&rig, &client);
    rig.check_err = ERR_UNAUTHORIZED;
    post_packed(&client, "/v1/send", "gzip", SLICE("not gzip at all"));
    client_expect(&client, 1, 401);
    client_close(&client);
    rig_end(&rig);
}
