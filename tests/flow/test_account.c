/* Flow: signing up, logging in, and who the server thinks one is.
 *
 * Not covered here: password hashing and tokens as such (tests/unit/base/test_crypto.c), keys with
 * fewer rights (test_keys.c).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "support/client.h"
#include "support/world.h"

#define PASSWORD "correct horse"

static struct reply *post_login(struct world *world, const char *email, const char *password)
{
    return world_post(world, "/api/auth/login", "{'email':'%s','password':'%s'}", email, password);
}

static struct reply *me_of(struct world *world, const char *bearer)
{
    struct world_call call = {.method = "GET", .path = "/v1/me", .bearer = bearer};
    return world_call(world, &call);
}

Test(account, signing_up_gives_a_user_an_account_a_token_and_a_key)
{
    struct world *world = world_new();
    world_start(world);
    struct reply *made = world_signup(world, "Owner@Customer.test");
    cr_assert_eq(made->status, 201);
    cr_assert(slice_starts(slice_str(reply_text(made, "user.id")), SLICE("usr_")));
    cr_assert(slice_starts(slice_str(reply_text(made, "account.id")), SLICE("acc_")));
    cr_assert(json_is_boolean(reply_at(made, "user.isAdmin")));
    const char *key = reply_text(made, "apiKey");
    cr_assert_eq(strlen(key), 56, "%s", key);
    cr_assert(slice_starts(slice_str(key), SLICE("mk_live_")));

    struct reply *by_token = me_of(world, reply_text(made, "token"));
    cr_assert_eq(by_token->status, 200);
    cr_assert_str_eq(reply_text(by_token, "account.id"), reply_text(made, "account.id"));
    cr_assert_str_eq(reply_text(by_token, "user.id"), reply_text(made, "user.id"));
    cr_assert_str_eq(reply_text(by_token, "email"), reply_text(made, "user.email"));
    cr_assert_str_eq(reply_text(by_token, "mode"), "live");
    cr_assert_gt(reply_count(by_token, "scopes"), 10);
    cr_assert_null(reply_at(by_token, "key"));

    struct reply *by_key = me_of(world, key);
    cr_assert_eq(by_key->status, 200);
    cr_assert_str_eq(reply_text(by_key, "account.id"), reply_text(made, "account.id"));
    cr_assert_null(reply_at(by_key, "user"));
    cr_assert(slice_starts(slice_str(key), slice_str(reply_text(by_key, "key.prefix"))));
    cr_assert_eq(strlen(reply_text(by_key, "key.prefix")), 16);
    cr_assert(slice_ends(slice_str(key), slice_str(reply_text(by_key, "key.last4"))));
    cr_assert_eq(slice_find(by_key->body, slice_str(key)), SIZE_MAX, "the key is shown again");
    cr_assert_eq(slice_find(world_log(world), slice_str(key)), SIZE_MAX, "the key is in the log");
    cr_assert_eq(slice_find(world_log(world), SLICE(PASSWORD)), SIZE_MAX);
    world_end(world);
}

Test(account, an_email_signs_up_once_however_it_is_written)
{
    static const char *const same[] = {"owner@customer.test", "Owner@customer.test",
                                       "OWNER@CUSTOMER.TEST", "<owner@customer.test>"};
    struct world *world = world_new();
    world_start(world);
    (void)world_signup(world, same[0]); /* its key is the world's */
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        struct reply *reply = world_post(world, "/api/auth/signup",
                                         "{'email':'%s','password':'" PASSWORD "'}", same[i]);
        cr_expect_eq(reply->status, 409, "%s: %ld", same[i], reply->status);
        cr_expect_str_eq(reply_text(reply, "code"), "exists", "%s", same[i]);
    }
    /* The one that was there is untouched. */
    cr_assert_eq(me_of(world, world->key)->status, 200);
    cr_assert_eq(post_login(world, "owner@CUSTOMER.test", PASSWORD)->status, 200);
    world_end(world);
}

Test(account, of_sign_ups_at_the_same_moment_one_wins)
{
    enum { CROWD = 6 };
    static const char body[] = "{\"email\":\"race@customer.test\",\"password\":\"" PASSWORD "\"}";
    struct world *world = world_new();
    struct client clients[CROWD];
    world_start(world);
    for (size_t i = 0; i < CROWD; i++) {
        client_open(world, &clients[i], INADDR_LOOPBACK);
        client_say(&clients[i],
                   slice_str(world_text(world,
                                        "POST /api/auth/signup HTTP/1.1\r\nHost: h\r\n"
                                        "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                                        sizeof body - 1, body)));
    }
    int made = 0;
    for (size_t i = 0; i < CROWD; i++) {
        client_await_end(&clients[i]);
        int status = client_status(&clients[i], 0);
        cr_expect(status == 201 || status == 409, "%d", status);
        made += status == 201;
        client_close(&clients[i]);
    }
    cr_assert_eq(made, 1);
    cr_assert_eq(post_login(world, "race@customer.test", PASSWORD)->status, 200);
    world_end(world);
}

Test(account, bad_sign_ups_name_the_field)
{
    static const struct {
        const char *body;
        const char *param;
    } bad[] = {
        {"{'password':'" PASSWORD "'}", "email"},
        {"{'email':7,'password':'" PASSWORD "'}", "email"},
        {"{'email':'','password':'" PASSWORD "'}", "email"},
        {"{'email':'owner','password':'" PASSWORD "'}", "email"},
        {"{'email':'Ann <a@b.test>','password':'" PASSWORD "'}", "email"},
        {"{'email':'a@b.test\\r\\nx','password':'" PASSWORD "'}", "email"},
        {"{'email':'a@b.test'}", "password"},
        {"{'email':'a@b.test','password':null}", "password"},
        {"{'email':'a@b.test','password':'123456789'}", "password"},
        {"{'email':'a@b.test','password':'\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc'}",
         "password"}, /* six characters in twelve bytes */
        {"{", ""},
    };
    struct world *world = world_new();
    world_start(world);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reply *reply = world_post(world, "/api/auth/signup", bad[i].body, NULL);
        cr_expect_eq(reply->status, 400, "%s: %.*s", bad[i].body, SLICE_FMT(reply->body));
        cr_expect_str_eq(reply_text(reply, "param"), bad[i].param, "%s", bad[i].body);
    }
    char filler[1026];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    struct reply *reply =
        world_post(world, "/api/auth/signup", "{'email':'a@b.test','password':'%s'}", filler);
    cr_expect_eq(reply->status, 400);
    reply = world_post(world, "/api/auth/signup", "{'email':'a@b.test','password':'1234567890'}");
    cr_expect_eq(reply->status, 201, "ten characters are enough, and nothing was in the way");
    world_end(world);
}

/* ---- logging in ------------------------------------------------------------------------------ */

static uint64_t fastest_us(struct world *world, const char *email, const char *password)
{
    uint64_t fastest = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t start = clock_mono_us();
        struct reply *reply = post_login(world, email, password);
        fastest = min_u64(fastest, clock_mono_us() - start);
        cr_expect_eq(reply->status, 401);
    }
    return fastest;
}

Test(account, an_unknown_email_and_a_wrong_password_look_the_same)
{
    struct world *world = world_new();
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    struct reply *wrong = post_login(world, "owner@customer.test", "wrong horse!");
    struct reply *unknown = post_login(world, "nobody@customer.test", "wrong horse!");
    struct reply *brief = post_login(world, "owner@customer.test", "x");
    cr_assert_eq(wrong->status, 401);
    cr_assert_eq(unknown->status, 401);
    cr_assert_eq(brief->status, 401);
    cr_assert(slice_equal(wrong->body, unknown->body), "%.*s / %.*s", SLICE_FMT(wrong->body),
              SLICE_FMT(unknown->body));
    cr_assert(slice_equal(wrong->body, brief->body));
    cr_assert_str_eq(reply_text(wrong, "code"), "invalid_login");
    cr_assert_null(reply_at(wrong, "param"));

    /* A hash that is skipped is a hundred times faster; noise is not. */
    uint64_t wrong_us = fastest_us(world, "owner@customer.test", "wrong horse!");
    uint64_t unknown_us = fastest_us(world, "nobody@customer.test", "wrong horse!");
    cr_assert_gt(unknown_us * 3, wrong_us, "%ju and %ju us", (uintmax_t)unknown_us,
                 (uintmax_t)wrong_us);
    cr_assert_gt(wrong_us * 3, unknown_us, "%ju and %ju us", (uintmax_t)unknown_us,
                 (uintmax_t)wrong_us);
    world_end(world);
}

Test(account, a_session_ends_after_twelve_hours_and_a_key_does_not)
{
    struct world *world = world_new();
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    struct reply *session = post_login(world, "owner@customer.test", PASSWORD);
    cr_assert_eq(session->status, 200);
    cr_assert_str_eq(reply_text(session, "user.email"), "owner@customer.test");
    const char *token = reply_text(session, "token");
    world_stop(world);
    world_set(world, "test_clock_offset_ms", "%d", 12 * 3600000 - 120000);
    world_start(world);
    cr_assert_eq(me_of(world, token)->status, 200, "it ended early, or with the process");
    world_stop(world);
    world_set(world, "test_clock_offset_ms", "%d", 12 * 3600000 + 1000);
    world_start(world);
    cr_assert_eq(me_of(world, token)->status, 401);
    cr_assert_eq(me_of(world, world->key)->status, 200);
    cr_assert_eq(post_login(world, "owner@customer.test", PASSWORD)->status, 200);
    world_end(world);
}

Test(account, another_server_s_keys_and_tokens_are_strangers_here)
{
    struct world *here = world_new();
    struct world *there = world_new();
    world_start(here);
    world_start(there);
    (void)world_signup(here, "owner@customer.test"); /* the world remembers, here and below */
    (void)world_signup(there, "owner@customer.test");
    cr_assert_eq(me_of(here, there->token)->status, 401);
    cr_assert_eq(me_of(here, there->key)->status, 401);
    cr_assert_eq(me_of(here, "")->status, 401);
    struct reply *reply = me_of(here, "");
    cr_assert(slice_starts(reply_header(reply, "www-authenticate"), SLICE("Bearer")));
    cr_assert_eq(me_of(here, here->token)->status, 200);
    world_end(there);
    world_end(here);
}
