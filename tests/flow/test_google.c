/* Flow: signing in with Google, against an identity provider of the test's own.
 *
 * Not covered here: how the HTTP client fails (tests/unit/net/test_http_client.c), sessions as such
 * (test_account.c).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "support/certs.h"
#include "support/client.h"
#include "support/world.h"

#define SECRET   "s3cret/+& Value" /* as in idp.py */
#define PASSWORD "correct horse"
#define REDIRECT "https://app.test/callback?from=google&x=1"

struct idp {
    uint16_t tcp_port;
    const char *url;
};

/* certs NULL: plain HTTP. */
static struct idp start_idp(struct world *world, const struct certs *certs)
{
    const char *source = getenv("MEERKAT_SOURCE");
    struct idp idp;
    const char *port_file = world_text(world, "%s/idp.port", world->dir);
    const char *script = world_text(world, "%s/tests/support/idp.py", source ? source : "..");
    const char *const argv[] = {"python3",
                                script,
                                port_file,
                                certs != NULL ? certs->cert_path : NULL,
                                certs != NULL ? certs->key_path : NULL,
                                NULL};
    struct peer *peer = world_spawn(world, "idp", argv); /* the world ends it */
    idp.tcp_port = world_await_port(world, peer, port_file);
    idp.url = world_text(world, "%s://127.0.0.1:%u", certs != NULL ? "https" : "http",
                         (unsigned int)idp.tcp_port);
    return idp;
}

static void configure(struct world *world, const struct idp *idp)
{
    const char *file = world_text(world, "%s/google-secret", world->dir);
    world_write_file(world, file, SLICE(SECRET "\n"));
    world_set(world, "google_client_id", "client-1.test");
    world_set(world, "google_client_secret_file", "%s", file);
    world_set(world, "google_token_url", "%s/token", idp->url);
    world_set(world, "google_userinfo_url", "%s/userinfo", idp->url);
}

/* bearer: "" for none. */
static struct reply *sign_in(struct world *world, const char *code, const char *bearer)
{
    struct world_call call = {
        .method = "POST",
        .path = "/api/auth/google",
        .bearer = bearer,
        .body = slice_str(
            world_text(world, "{\"code\":\"%s\",\"redirectUri\":\"" REDIRECT "\"}", code)),
    };
    return world_call(world, &call);
}

static struct reply *log_in(struct world *world, const char *email, const char *password)
{
    return world_post(world, "/api/auth/login", "{'email':'%s','password':'%s'}", email, password);
}

static struct reply *me_of(struct world *world, const char *bearer)
{
    struct world_call call = {.method = "GET", .path = "/v1/me", .bearer = bearer};
    return world_call(world, &call);
}

static struct reply *ask_idp(struct world *world, const struct idp *idp, const char *path)
{
    struct world_call call = {.method = "GET", .path = path, .base = idp->url, .bearer = ""};
    return world_call(world, &call);
}

/* Of all runs, to the last line; so it comes last. */
static void expect_no_secret(struct world *world)
{
    world_stop(world);
    struct slice log = world_log(world);
    cr_assert_eq(slice_find(log, SLICE("s3cret")), SIZE_MAX, "the secret is in the log");
    cr_assert_eq(slice_find(log, SLICE("@google.test")), SIZE_MAX, "a code is in the log");
}

/* The log is written by a thread of its own. */
static void expect_logged(struct world *world, const char *text)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (slice_find(world_log(world), slice_str(text)) == SIZE_MAX) {
        cr_assert(wait_more(&wait), "%s is not in the log", text);
    }
}

static void expect_conflict(const struct reply *reply, const char *word)
{
    cr_expect_eq(reply->status, 409, "%s: %ld", word, reply->status);
    cr_expect_str_eq(reply_text(reply, "code"), "conflict", "%s", word);
    cr_expect_not_null(strstr(reply_text(reply, "error"), word), "%s: %s", word,
                       reply_text(reply, "error"));
}

Test(google, is_off_until_it_is_configured)
{
    struct world *world = world_new();
    world_start(world);
    expect_conflict(sign_in(world, "ok:a@google.test:1", ""), "not configured");
    world_end(world);
}

Test(google, lets_a_person_in_and_knows_them_again)
{
    struct world *world = world_new();
    struct idp idp = start_idp(world, NULL);
    configure(world, &idp);
    world_start(world);
    struct reply *first = sign_in(world, "ok:New.Person@Google.test:sub-1", "");
    cr_assert_eq(first->status, 200, "%ld", first->status);
    cr_assert_str_eq(reply_text(first, "user.email"), "new.person@google.test");
    cr_assert(slice_starts(slice_str(reply_text(first, "user.id")), SLICE("usr_")));
    cr_assert_eq(reply_count(first, "apiKey"), 0);
    cr_assert_null(reply_at(first, "apiKey"));
    struct reply *me = me_of(world, reply_text(first, "token"));
    cr_assert_eq(me->status, 200);
    cr_assert_str_eq(reply_text(me, "user.id"), reply_text(first, "user.id"));
    cr_assert(json_is_true(reply_at(me, "emailVerified")));

    struct reply *form = ask_idp(world, &idp, "/last");
    cr_assert_str_eq(reply_text(form, "redirect_uri"), REDIRECT);
    cr_assert_str_eq(reply_text(form, "client_id"), "client-1.test");
    cr_assert_str_eq(reply_text(form, "client_secret"), SECRET);
    cr_assert_str_eq(reply_text(form, "type"), "application/x-www-form-urlencoded");

    struct reply *again = sign_in(world, "ok:new.person@google.test:sub-1:noname", "");
    cr_assert_eq(again->status, 200, "%ld", again->status);
    cr_assert_str_eq(reply_text(again, "user.id"), reply_text(first, "user.id"));
    cr_assert_eq(me_of(world, reply_text(first, "token"))->status, 200);

    /* Somebody else got that email since: not the same person. */
    expect_conflict(sign_in(world, "ok:new.person@google.test:sub-2", ""), "another");

    /* There is no password, so none is right; nobody can tell from outside. */
    struct reply *wrong = log_in(world, "new.person@google.test", PASSWORD);
    struct reply *unknown = log_in(world, "nobody@google.test", PASSWORD);
    struct reply *empty = log_in(world, "new.person@google.test", "");
    cr_assert_eq(wrong->status, 401);
    cr_assert(slice_equal(wrong->body, unknown->body));
    cr_assert_neq(empty->status, 200);
    world_kill(world);
    world_start(world); /* what was answered is on disk */
    struct reply *later = sign_in(world, "ok:new.person@google.test:sub-1", "");
    cr_assert_str_eq(reply_text(later, "user.id"), reply_text(first, "user.id"));
    expect_no_secret(world);
    world_end(world);
}

Test(google, links_only_whom_the_password_has_let_in)
{
    struct world *world = world_new();
    struct idp idp = start_idp(world, NULL);
    configure(world, &idp);
    world_start(world);
    struct reply *victim = world_signup(world, "victim@google.test");
    const char *token = world_text(world, "%s", reply_text(victim, "token"));
    const char *user = world_text(world, "%s", reply_text(victim, "user.id"));
    struct reply *other = world_signup(world, "other@google.test");
    const char *other_token = world_text(world, "%s", reply_text(other, "token"));

    /* Who signed up with this email may have been anybody. */
    expect_conflict(sign_in(world, "ok:victim@google.test:sub-v", ""), "password");
    expect_conflict(sign_in(world, "ok:victim@google.test:sub-v", other_token), "email");
    expect_conflict(sign_in(world, "ok:unheard@google.test:sub-u", token), "email");
    cr_assert_eq(sign_in(world, "ok:victim@google.test:sub-v", "not.a.token")->status, 401);
    cr_assert_eq(sign_in(world, "ok:victim@google.test:sub-v", world->key)->status, 401);
    expect_conflict(sign_in(world, "ok:victim@google.test:sub-v", ""), "password");

    struct reply *linked = sign_in(world, "ok:victim@google.test:sub-v", token);
    cr_assert_eq(linked->status, 200, "%ld", linked->status);
    cr_assert_str_eq(reply_text(linked, "user.id"), user);
    struct reply *in = sign_in(world, "ok:victim@google.test:sub-v", "");
    cr_assert_eq(in->status, 200);
    cr_assert_str_eq(reply_text(in, "user.id"), user);
    cr_assert_eq(me_of(world, reply_text(in, "token"))->status, 200);
    expect_conflict(sign_in(world, "ok:victim@google.test:sub-x", ""), "another");
    expect_conflict(sign_in(world, "ok:victim@google.test:sub-x", token), "another");
    cr_assert_eq(log_in(world, "victim@google.test", PASSWORD)->status, 200);
    expect_no_secret(world);
    world_end(world);
}

Test(google, gives_one_answer_however_google_fails)
{
    static const char *const codes[] = {
        "denied:a@google.test",
        "token-500",
        "token-hang",
        "token-junk",
        "token-list",
        "token-moved",
        "token-long",
        "user-500",
        "user-hang",
        "user-junk",
        "user-empty",
        "user-number",
        "nonsense",
        "user-no-email",
        "ok:broken:1",
        "ok:a@google.test:",
        "ok::1",
        "ok:a@google.test:1:textverified",
    };
    struct world *world = world_new();
    struct idp idp = start_idp(world, NULL);
    configure(world, &idp);
    world_set(world, "google_timeout_ms", "700");
    world_start(world);
    struct reply *first = sign_in(world, codes[0], "");
    cr_assert_eq(first->status, 502, "%ld", first->status);
    cr_assert_str_eq(reply_text(first, "code"), "upstream");
    for (size_t i = 1; i < ARRAY_LEN(codes); i++) {
        uint64_t started_ms = clock_mono_ms();
        struct reply *reply = sign_in(world, codes[i], "");
        cr_expect_eq(reply->status, 502, "%s: %ld", codes[i], reply->status);
        cr_expect(slice_equal(reply->body, first->body), "%s", codes[i]);
        cr_expect_lt(clock_mono_ms() - started_ms, 6000, "%s", codes[i]);
    }
    expect_logged(world, "google.failed");
    expect_logged(world, "invalid_grant");

    expect_conflict(sign_in(world, "ok:a@google.test:1:unverified", ""), "verified");
    cr_assert_eq(sign_in(world, "ok:a@google.test:1", "")->status, 200);

    /* A wrong secret, and nobody there at all. */
    world_stop(world);
    world_write_file(world, world_text(world, "%s/google-secret", world->dir), SLICE("wrong"));
    world_start(world);
    struct reply *wrong = sign_in(world, "ok:a@google.test:1", "");
    cr_expect(slice_equal(wrong->body, first->body));
    expect_logged(world, "invalid_client");
    world_stop(world);
    world_set(world, "google_token_url", "http://127.0.0.1:%u/token",
              (unsigned int)world_free_port());
    world_start(world);
    struct reply *gone = sign_in(world, "ok:a@google.test:1", "");
    cr_expect_eq(gone->status, 502);
    cr_expect(slice_equal(gone->body, first->body));
    expect_no_secret(world);
    world_end(world);
}

Test(google, opens_no_account_where_sign_ups_are_closed)
{
    struct world *world = world_new();
    struct idp idp = start_idp(world, NULL);
    configure(world, &idp);
    world_set(world, "signup_open", "no");
    world_start(world);
    struct reply *first = sign_in(world, "ok:first@google.test:1", "");
    cr_assert_eq(first->status, 200, "%ld", first->status);
    cr_assert(json_is_true(reply_at(first, "user.isAdmin")), "the first of a new server");
    struct reply *second = sign_in(world, "ok:second@google.test:2", "");
    cr_assert_eq(second->status, 403, "%ld", second->status);
    cr_assert_str_eq(reply_text(second, "code"), "signup_closed");
    cr_assert_eq(sign_in(world, "ok:first@google.test:1", "")->status, 200);
    world_end(world);
}

Test(google, refuses_malformed_questions_before_it_asks)
{
    static const char *const bodies[] = {
        "{}",
        "{'code':'ok:a@google.test:1'}",
        "{'redirectUri':'https://a.test'}",
        "{'code':1,'redirectUri':'https://a.test'}",
        "{'code':'','redirectUri':'https://a.test'}",
        "{'code':'ok:a@google.test:1','redirectUri':''}",
        "[]",
        "{'code':",
    };
    struct world *world = world_new();
    struct idp idp = start_idp(world, NULL);
    configure(world, &idp);
    world_start(world);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct reply *reply = world_post(world, "/api/auth/google", bodies[i], "");
        cr_expect_eq(reply->status, 400, "%s: %ld", bodies[i], reply->status);
    }
    char code[3000];
    memset(code, 'c', sizeof code);
    code[2049] = '\0';
    cr_assert_eq(sign_in(world, code, "")->status, 400);
    cr_assert_eq(reply_int(ask_idp(world, &idp, "/count"), "token"), 0);
    /* Whatever is in them arrives as it is, and stays in its field. */
    code[2048] = '\0';
    cr_assert_eq(sign_in(world, code, "")->status, 502);
    cr_assert_eq(sign_in(world, "ok&client_secret=x:\xc3\xbc%00+", "")->status, 502);
    struct reply *form = ask_idp(world, &idp, "/last");
    cr_assert_str_eq(reply_text(form, "code"), "ok&client_secret=x:\xc3\xbc%00+");
    cr_assert_str_eq(reply_text(form, "client_secret"), SECRET);
    world_end(world);
}

Test(google, verifies_the_certificate)
{
    struct certs certs;
    certs_make(&certs, "idp.test", 3600);
    struct world *world = world_new();
    struct idp idp = start_idp(world, &certs);
    configure(world, &idp);
    world_set(world, "tls_ca", "%s", certs.cert_path);
    world_start(world);
    cr_assert_eq(sign_in(world, "ok:a@google.test:1", "")->status, 200);
    world_stop(world);
    world_set(world, "tls_ca", "%s", "");
    world_start(world);
    cr_assert_eq(sign_in(world, "ok:a@google.test:1", "")->status, 502);
    expect_logged(world, "ERR_TLS");
    world_end(world);
    certs_remove(&certs);
}

Test(google, hangs_and_leaves_without_harm)
{
    struct world *world = world_new();
    struct idp idp = start_idp(world, NULL);
    struct client leaver;
    struct client waiter;
    configure(world, &idp);
    world_set(world, "google_timeout_ms", "60000");
    world_set(world, "drain_ms", "500");
    world_start(world);
    const char *body = "{\"code\":\"user-hang\",\"redirectUri\":\"" REDIRECT "\"}";
    const char *request = world_text(world,
                                     "POST /api/auth/google HTTP/1.1\r\nHost: h\r\n"
                                     "Content-Length: %zu\r\n\r\n%s",
                                     strlen(body), body);
    client_open(world, &leaver, INADDR_LOOPBACK);
    client_open(world, &waiter, INADDR_LOOPBACK);
    client_say(&leaver, slice_str(request));
    client_say(&waiter, slice_str(request));
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (reply_int(ask_idp(world, &idp, "/count"), "userinfo") < 2) {
        cr_assert(wait_more(&wait), "Google is not asked");
    }
    client_close(&leaver);
    cr_assert_eq(sign_in(world, "ok:a@google.test:1", "")->status, 200);
    world_stop(world); /* cuts the one that waits */
    client_close(&waiter);
    world_end(world);
}

Test(google, says_at_the_start_what_cannot_work)
{
    struct world *world = world_new();
    struct idp idp = {.url = "http://127.0.0.1:1"};
    configure(world, &idp);
    world_set(world, "google_client_secret_file", "%s/absent", world->dir);
    cr_assert_eq(world_run(world), 1);
    expect_logged(world, "google_client_secret_file");
    configure(world, &idp);
    world_write_file(world, world_text(world, "%s/google-secret", world->dir), SLICE(" \n"));
    cr_assert_eq(world_run(world), 1);
    configure(world, &idp);
    world_set(world, "google_token_url", "ftp://a.test/");
    cr_assert_eq(world_run(world), 1);
    expect_logged(world, "google_token_url is not");
    world_end(world);
}
