/* Asking Google who somebody is, of a server on the same loop.
 *
 * Not covered here: what an identity provider can do wrong in its answers, options that cannot work
 * (tests/flow/test_google.c); the HTTP client (tests/unit/net/test_http_client.c).
 */
#include "edge/google.h"

#include "base/conf.h"
#include "support/http_world.h"

#include <unistd.h>

#define SECRET_PATH_MAX 64

struct rig {
    struct http_world world; /* its client is not used */
    struct conf conf;
    struct google *google;
    char secret_path[SECRET_PATH_MAX];
    uint32_t asked;
    uint32_t told;
    uint32_t failed;
    uint64_t token;        /* of the last one told */
    char person[200];      /* likewise: sub, email, name, verified */
    uint32_t close_after;  /* requests seen by the server; 0: when all are told */
    bool is_mute_userinfo; /* the second question hangs */
    bool is_closing;
};

static struct rig *rig;

static void on_google_closed(void *owner UNUSED)
{
    rig->google = NULL;
    dns_close(rig->world.dns, world_on_dns_closed, &rig->world);
}

static void close_google(void)
{
    if (!rig->is_closing) {
        rig->is_closing = true;
        google_close(rig->google, on_google_closed);
    }
}

static void on_person(void *owner, uint64_t token, enum err err, const struct google_person *person)
{
    cr_assert_eq(owner, rig);
    cr_assert(err == ERR_OK || err == ERR_UPSTREAM);
    rig->told++;
    rig->failed += err != ERR_OK;
    rig->token = token;
    (void)snprintf(rig->person, sizeof(rig->person), "%.*s %.*s %.*s %d", SLICE_FMT(person->sub),
                   SLICE_FMT(person->email), SLICE_FMT(person->name), person->is_email_verified);
    if (rig->told == rig->asked) {
        close_google();
    }
}

static void close_later(struct http_world *world UNUSED)
{
    close_google();
}

static void on_request(struct peer *peer, struct slice request)
{
    static const struct slice form =
        SLICE_INIT("\r\n\r\ngrant_type=authorization_code&code=c%2F1%20%26&redirect_uri="
                   "https%3A%2F%2Fa.test%2F%3Fx%3Dy&client_id=client&client_secret=se%2Bcret");
    if (slice_starts(request, SLICE("POST /token "))) {
        cr_assert(slice_ends(request, form), "%.*s", SLICE_FMT(request));
        say_with_body(peer, SLICE("{\"access_token\":\"tok.en\",\"id_token\":\"x\"}"));
    } else {
        cr_assert(slice_starts(request, SLICE("GET /who?x=1 ")));
        cr_assert_neq(slice_find(request, SLICE("\r\nAuthorization: Bearer tok.en\r\n")), SIZE_MAX);
        if (!rig->is_mute_userinfo) {
            say_with_body(peer, SLICE("{\"sub\":\"77\",\"email\":\"A@b.test\",\"name\":\"A B\","
                                      "\"email_verified\":true}"));
        }
    }
    if (rig->world.servers[0].requests == rig->close_after) {
        http_world_step(&rig->world, 1, close_later);
    }
}

static void set(const char *name, const char *value)
{
    cr_assert(conf_set(&rig->conf, slice_str(name), slice_str(value)), "%s", name);
}

static void rig_init(void)
{
    static char program[] = "test";
    char *argv[] = {program, NULL};
    rig = mem_zalloc(sizeof(*rig));
    cr_assert(conf_load(&rig->conf, 1, argv));
    http_world_init(&rig->world);
    struct server *server = http_world_server(&rig->world, "127.0.0.1", NULL);
    server->on_request = on_request;
    (void)snprintf(rig->secret_path, sizeof(rig->secret_path), "/tmp/google-secret-XXXXXX");
    int fd = mkstemp(rig->secret_path);
    cr_assert_neq(fd, -1);
    cr_assert_eq(write(fd, " se+cret\n", 9), 9);
    cr_assert_eq(close(fd), 0);
    char url[100];
    unsigned int tcp_port = server->listener.tcp_port;
    cr_assert_not(google_is_wanted(&rig->conf));
    set("google_client_id", "client");
    set("google_client_secret_file", rig->secret_path);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/token", tcp_port);
    set("google_token_url", url);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/who?x=1", tcp_port);
    set("google_userinfo_url", url);
    cr_assert(google_is_wanted(&rig->conf));
}

static enum err ask(uint64_t token)
{
    enum err err = google_ask(rig->google, SLICE("c/1 &"), SLICE("https://a.test/?x=y"), token);
    rig->asked += err == ERR_OK;
    cr_assert_eq(rig->told, 0, "told inside google_ask");
    return err;
}

static void rig_open(void)
{
    rig->google = google_open(&rig->world.loop, &rig->conf, on_person, rig);
}

static void rig_end(void)
{
    loop_run(&rig->world.loop);
    cr_assert_null(rig->google);
    cr_assert_eq(rig->told, rig->asked);
    http_world_fini(&rig->world);
    conf_fini(&rig->conf);
    cr_assert_eq(unlink(rig->secret_path), 0);
}

Test(google, asks_for_a_token_and_then_for_the_person, .timeout = 30)
{
    rig_init();
    rig_open();
    cr_assert_eq(ask(42), ERR_OK);
    rig_end();
    cr_assert_eq(rig->failed, 0);
    cr_assert_eq(rig->token, 42);
    cr_assert_str_eq(rig->person, "77 A@b.test A B 1");
    free(rig);
}

Test(google, bounds_the_questions_under_way, .timeout = 30)
{
    rig_init();
    rig_open();
    for (uint64_t i = 0; i < GOOGLE_CALLS_MAX; i++) {
        cr_assert_eq(ask(i), ERR_OK);
    }
    cr_assert_eq(ask(99), ERR_BUSY);
    rig_end();
    cr_assert_eq(rig->failed, 0);
    cr_assert_eq(rig->told, GOOGLE_CALLS_MAX);
    free(rig);
}

Test(google, gives_both_questions_one_time, .timeout = 30)
{
    rig_init();
    rig->is_mute_userinfo = true;
    set("google_timeout_ms", "300");
    rig_open();
    uint64_t started_ms = loop_now_ms(&rig->world.loop);
    cr_assert_eq(ask(1), ERR_OK);
    rig_end();
    cr_assert_eq(rig->failed, 1);
    cr_assert_str_eq(rig->person, "   0");
    cr_assert_geq(loop_now_ms(&rig->world.loop) - started_ms, 300);
    free(rig);
}

Test(google, answers_what_is_open_when_it_closes, .timeout = 30)
{
    rig_init();
    rig->is_mute_userinfo = true;
    rig->close_after = 4; /* both wait for the person */
    rig_open();
    cr_assert_eq(ask(1), ERR_OK);
    cr_assert_eq(ask(2), ERR_OK);
    rig_end();
    cr_assert_eq(rig->failed, 2);
    free(rig);

    rig_init();
    rig_open();
    cr_assert_eq(ask(1), ERR_OK);
    close_google(); /* before the first byte */
    rig_end();
    cr_assert_eq(rig->failed, 1);
    cr_assert_eq(rig->world.servers[0].requests, 0);
    free(rig);
}
