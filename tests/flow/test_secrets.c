/* Flow: what must not be seen. A story makes every kind of secret there is; then all that Meerkat
 * said, and all that it keeps, is searched for each.
 *
 * Not covered here: that comparisons take constant time, which is crypto_equal's promise
 * (tests/unit/base/test_crypto.c).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "support/world.h"

#define SECRETS_MAX 32
#define PASSWORD    "correct horse"
#define NEW_WORD    "Staple-battery-77"
#define SMART_WORD  "smarthost-pass-4711"
#define MARK        "FindThisName"

struct secrets {
    const char *texts[SECRETS_MAX];
    size_t count;
};

static const char *keep(struct secrets *secrets, const char *text)
{
    cr_assert_neq(text[0], '\0', "a secret is missing");
    cr_assert_lt(secrets->count, SECRETS_MAX);
    secrets->texts[secrets->count++] = text;
    return text;
}

static struct reply *call(struct world *world, const char *bearer, const char *method,
                          const char *path, const char *body)
{
    struct world_call request = {
        .method = method, .path = path, .bearer = bearer, .body = slice_str(body)};
    return world_call(world, &request);
}

/* What a mistaken client sends is not repeated to it, nor to the log. */
static void make_mistakes(struct world *world, const struct secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        const char *text = secrets->texts[i];
        struct reply *replies[] = {
            call(world, text, "GET", "/v1/nowhere", ""),
            call(world, world_text(world, "%sx", text), "GET", "/v1/me", ""),
            call(world, "", "POST", "/api/auth/login",
                 world_text(world, "{\"email\":\"owner@customer.test\",\"password\":\"%s!\"}",
                            text)),
            call(world, "", "POST", "/api/auth/login", world_text(world, "{\"password\":%s", text)),
            call(world, "", "POST", "/api/auth/join",
                 world_text(world, "{\"token\":\"%s\"}", text)),
        };
        for (size_t n = 0; n < ARRAY_LEN(replies); n++) {
            cr_expect_geq(replies[n]->status, 400);
            cr_expect_eq(slice_find(replies[n]->body, slice_str(text)), SIZE_MAX, "mistake %zu", n);
        }
    }
}

static void tell_story(struct world *world, struct secrets *secrets)
{
    (void)world_signup(world, "owner@customer.test");
    keep(secrets, PASSWORD);
    keep(secrets, SMART_WORD);
    keep(secrets, world->key);
    keep(secrets, world->token);
    const char *domain = world_domain(world, "send.test");
    struct reply *made = world_post(world, "/v1/keys", "{'name':'" MARK "'}");
    keep(secrets, reply_text(made, "key"));
    struct reply *heir =
        world_post(world, world_text(world, "/v1/keys/%s/rotate", reply_text(made, "id")),
                   "{'overlapSeconds':60}");
    keep(secrets, reply_text(heir, "key"));
    struct reply *invited = call(world, world->token, "POST", "/api/members",
                                 "{\"email\":\"guest@customer.test\",\"role\":\"member\"}");
    cr_assert_eq(invited->status, 201, "%.*s", SLICE_FMT(invited->body));
    const char *invite = keep(secrets, reply_text(invited, "inviteToken"));
    struct reply *joined =
        call(world, "", "POST", "/api/auth/join",
             world_text(world, "{\"token\":\"%s\",\"password\":\"" NEW_WORD "\"}", invite));
    cr_assert_eq(joined->status, 200, "%.*s", SLICE_FMT(joined->body));
    keep(secrets, NEW_WORD);
    keep(secrets, reply_text(joined, "token"));
    struct reply *hook =
        call(world, NULL, "PUT", world_text(world, "/api/domains/%s/webhook", domain),
             "{\"url\":\"https://hooks.example.com/in\"}");
    cr_assert_eq(hook->status, 200, "%.*s", SLICE_FMT(hook->body));
    keep(secrets, reply_text(hook, "signingSecret"));
    (void)world_send(world, "{'from':'a@send.test','to':'b@test.invalid','subject':'s','text':'x',"
                            "'sandbox':true}");
}

static bool is_on_disk(struct world *world, const char *option, const char *text)
{
    /* Without the master key and its socket: what a backup of the store would carry away. */
    const char *const argv[] = {
        "env", "LC_ALL=C", "grep", "-r", "-q",
        "-a",  option,     "-e",   text, world_text(world, "%s/store", world->data),
        NULL};
    int status = world_tool(world, argv, SLICE(""), NULL);
    cr_assert_leq(status, 1, "grep failed");
    return status == 0;
}

Test(secrets, are_neither_said_nor_kept)
{
    struct secrets secrets = {.count = 0};
    struct world *world = world_new();
    const char *password = world_text(world, "%s/smarthost-password", world->dir);
    world_write_file(world, password, SLICE(SMART_WORD "\n"));
    world_set(world, "log_level", "debug");
    world_set(world, "smarthost", "127.0.0.1:1");
    world_set(world, "smarthost_user", "relay");
    world_set(world, "smarthost_password_file", "%s", password);
    world_set(world, "login_email_max", "1000");
    world_set(world, "login_address_max", "1000");
    world_start(world);
    tell_story(world, &secrets);
    make_mistakes(world, &secrets);
    struct reply *metrics = call(world, "", "GET", "/metrics", "");
    cr_assert_eq(metrics->status, 200);
    world_stop(world);
    struct slice log = world_log(world);
    cr_assert_gt(log.len, 1000, "a log of nothing proves nothing");
    cr_expect(is_on_disk(world, "-F", MARK), "else the search proves nothing");
    for (size_t i = 0; i < secrets.count; i++) {
        struct slice text = slice_str(secrets.texts[i]);
        cr_expect_eq(slice_find(log, text), SIZE_MAX, "secret %zu is in the log", i);
        cr_expect_eq(slice_find(metrics->body, text), SIZE_MAX, "secret %zu is in the metrics", i);
        cr_expect_not(is_on_disk(world, "-F", secrets.texts[i]), "secret %zu is in the store", i);
    }
    /* PKCS#8 of an RSA and of an Ed25519 key, up to where the key itself begins. */
    cr_expect_not(is_on_disk(world, "-P",
                             "\\x2a\\x86\\x48\\x86\\xf7\\x0d\\x01\\x01\\x01\\x05\\x00\\x04\\x82"));
    cr_expect_not(is_on_disk(world, "-P", "\\x06\\x03\\x2b\\x65\\x70\\x04\\x22\\x04\\x20"));
    cr_expect_not(is_on_disk(world, "-F", "PRIVATE KEY"));
    world_end(world);
}
