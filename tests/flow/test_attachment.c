/* Flow: attachments by signed link, of mail that came in and of mail that went out.
 *
 * Not covered here: which data an attachment has, and that it leaves the disk
 * (tests/unit/shards/test_attachment.c), the links alone (tests/unit/mail/test_attachment_link.c).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "support/client.h"
#include "support/world.h"

#define DATA_LEN 700001 /* three chunks */

struct scene {
    struct world *world;
    const char *link; /* with the base in front */
    struct slice data;
};

/* A daemon that takes mail for recv.test. */
static struct world *begin(void)
{
    struct world *world = world_new();
    crypto_init();
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "recv.test");           /* found by its name */
    return world;
}

static void bring(struct world *world, struct slice mail)
{
    const char *path = world_text(world, "%s/mail.eml", world->dir);
    const char *url = world_text(world, "smtp://127.0.0.1:%u/c", (unsigned)world->smtp_port);
    const char *argv[] = {"curl",        "-s",          "--mail-from",   "a@from.test",
                          "--mail-rcpt", "b@recv.test", "--upload-file", path,
                          url,           NULL};
    struct slice said;
    world_write_file(world, path, mail);
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0, "%.*s", SLICE_FMT(said));
}

static struct reply *fetch(struct scene *scene, const char *method, const char *link,
                           const char *header)
{
    struct world_call call = {.method = method, .path = link, .base = "", .bearer = ""};
    call.headers[0] = header;
    return world_call(scene->world, &call);
}

/* The link to the first attachment of the newest message of that direction. */
static const char *find_link(struct world *world, const char *direction)
{
    struct reply *list = world_get(world, "/api/messages?direction=%s", direction);
    struct reply *one = world_get(world, "/api/messages/%s", reply_text(list, "0.id"));
    cr_assert_eq(one->status, 200);
    cr_assert_gt(reply_int(one, "attachments.0.expiresAt"), 0);
    return reply_text(one, "attachments.0.url");
}

static void receive(struct scene *scene)
{
    struct world *world = scene->world;
    struct buf mail;
    char *data = arena_bytes(&world->arena, DATA_LEN);
    for (size_t i = 0; i < DATA_LEN; i++) {
        data[i] = (char)(i * 2654435761u >> 13);
    }
    scene->data = slice_of(data, DATA_LEN);
    buf_init(&mail, 4 * DATA_LEN);
    buf_add_str(&mail, "From: a@from.test\r\nSubject: file\r\n"
                       "Content-Type: image/svg+xml; name=\"=?utf-8?q?=C3=BC_\\\"x.svg?=\"\r\n"
                       "Content-Transfer-Encoding: base64\r\n\r\n");
    struct slice text = base64_arena(&world->arena, scene->data);
    for (size_t at = 0; at < text.len; at += 76) {
        buf_add(&mail, slice_sub(text, at, 76));
        buf_add_str(&mail, "\r\n");
    }
    bring(world, buf_slice(&mail));
    buf_fini(&mail);
    scene->link = find_link(world, "inbound");
}

static bool has_header(const struct reply *reply, const char *name, const char *want)
{
    struct slice value = reply_header(reply, name);
    return slice_find(value, slice_str(want)) != SIZE_MAX;
}

static void expect_part(struct scene *scene, const char *range, size_t first, size_t len)
{
    struct reply *part = fetch(scene, "GET", scene->link, world_text(scene->world, "%s", range));
    const char *want =
        world_text(scene->world, "bytes %zu-%zu/%d", first, first + len - 1, DATA_LEN);
    cr_expect_eq(part->status, 206, "%s", range);
    cr_expect(has_header(part, "content-range", want), "%s", range);
    cr_expect(slice_equal(part->body, slice_sub(scene->data, first, len)), "%s", range);
}

Test(attachment, is_fetched_whole_or_in_part_by_whoever_has_the_link)
{
    struct scene scene = {.world = begin()};
    receive(&scene);
    struct reply *whole = fetch(&scene, "GET", scene.link, NULL);
    cr_assert_eq(whole->status, 200, "%.*s", SLICE_FMT(whole->body));
    cr_expect(slice_equal(whole->body, scene.data));
    cr_expect(has_header(whole, "content-type", "image/svg+xml"));
    cr_expect(has_header(whole, "content-disposition", "attachment; filename=\""));
    cr_expect(has_header(whole, "content-disposition", "filename*=UTF-8''%C3%BC"));
    cr_expect(has_header(whole, "x-content-type-options", "nosniff"));
    cr_expect(has_header(whole, "content-security-policy", "sandbox"));
    cr_expect(has_header(whole, "cache-control", "private"));
    struct reply *head = fetch(&scene, "HEAD", scene.link, NULL);
    cr_expect_eq(head->status, 200);
    cr_expect(has_header(head, "content-length", "700001"));
    cr_expect_eq(head->body.len, 0);
    expect_part(&scene, "range: bytes=0-0", 0, 1);
    expect_part(&scene, "range: bytes=262143-262144", 262143, 2);
    expect_part(&scene, "range: bytes=100-599999", 100, 599900);
    expect_part(&scene, "range: bytes=700000-", 700000, 1);
    expect_part(&scene, "range: bytes=-5", DATA_LEN - 5, 5);
    expect_part(&scene, "range: bytes=5-9999999", 5, DATA_LEN - 5);
    const char *beyond[] = {"range: bytes=700001-", "range: bytes=-0"};
    for (size_t i = 0; i < ARRAY_LEN(beyond); i++) {
        struct reply *none = fetch(&scene, "GET", scene.link, beyond[i]);
        cr_expect_eq(none->status, 416, "%s", beyond[i]);
        cr_expect(has_header(none, "content-range", "bytes */700001"));
    }
    const char *ignored[] = {"range: bytes=5-1", "range: bytes=0-1,4-5", "range: lines=0-1",
                             "range: bytes=x-y", "range: bytes=-"};
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
        cr_expect_eq(fetch(&scene, "GET", scene.link, ignored[i])->status, 200, "%s", ignored[i]);
    }
    world_end(scene.world);
}

static void expect_refused(struct scene *scene, const char *link, long status, const char *code)
{
    struct reply *reply = fetch(scene, "GET", link, NULL);
    cr_expect_eq(reply->status, status, "%s: %ld", link, reply->status);
    cr_expect_str_eq(reply_text(reply, "code"), code);
}

Test(attachment, is_refused_to_whoever_alters_the_link)
{
    struct scene scene = {.world = begin()};
    receive(&scene);
    size_t len = strlen(scene.link);
    for (size_t i = 1; i <= 3; i++) { /* the signature's last digits */
        char *link = (char *)arena_cstr(&scene.world->arena, slice_str(scene.link));
        link[len - i] = link[len - i] == '0' ? '1' : '0';
        expect_refused(&scene, link, 403, "bad_signature");
    }
    const char *query = strchr(scene.link, '?');
    const char *sig = strstr(scene.link, "sig=");
    int path_len = (int)(query - scene.link);
    const char *links[] = {
        world_text(scene.world, "%.*s", path_len, scene.link),
        world_text(scene.world, "%.*s?%s", path_len, scene.link, sig),
        world_text(scene.world, "%.*s?exp=1&%s", path_len, scene.link, sig),
        world_text(scene.world, "%.*s?exp=99999999999&%s", path_len, scene.link, sig),
        world_text(scene.world, "%.*s?exp=x&%s", path_len, scene.link, sig),
        world_text(scene.world, "%.*s1%s", path_len - 1, scene.link, query),
        world_text(scene.world, "%.*sx%s", path_len - 1, scene.link, query),
        world_text(scene.world, "%.*s99999999999%s", path_len - 1, scene.link, query),
        world_text(scene.world, "http://127.0.0.1:%u/att/msg_1/0%s",
                   (unsigned)scene.world->http_port, query),
    };
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        expect_refused(&scene, links[i], 403, "bad_signature");
    }
    world_stop(scene.world);
    world_set(scene.world, "test_clock_offset_ms", "%llu", 8ull * 24 * 3600 * 1000);
    world_set(scene.world, "public_url", "http://127.0.0.1:1");
    world_start(scene.world);
    const char *path = strstr(scene.link, "/att/");
    const char *link =
        world_text(scene.world, "http://127.0.0.1:%u%s", (unsigned)scene.world->http_port, path);
    expect_refused(&scene, link, 410, "expired");
    char *altered = (char *)arena_cstr(&scene.world->arena, slice_str(link));
    altered[strlen(altered) - 1] ^= 1;
    expect_refused(&scene, altered, 403, "bad_signature");
    world_end(scene.world);
}

static void bring_large(struct scene *scene, size_t len)
{
    struct buf mail;
    buf_init(&mail, len + 4096);
    buf_add_str(&mail, "Subject: large\r\nContent-Type: text/csv; name=l.csv\r\n\r\n");
    while (mail.len < len) {
        buf_add_str(&mail, "one,two,three,four,five,six,seven,eight,nine,ten,eleven,twelve,13\r\n");
    }
    bring(scene->world, buf_slice(&mail));
    buf_fini(&mail);
    scene->link = find_link(scene->world, "inbound");
}

/* Each asks for the whole and reads nothing, until one is told to come again. */
Test(attachment, leaves_room_when_those_who_fetch_do_not_read)
{
    struct scene scene = {.world = begin()};
    struct client slow[32];
    uint32_t count = 0;
    world_stop(scene.world);
    world_set(scene.world, "loops", "1"); /* the ceiling is one loop's */
    world_start(scene.world);
    bring_large(&scene, 25 << 20);
    const char *path = strstr(scene.link, "/att/");
    const char *ask = world_text(scene.world, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    int status = 0;
    while (status != 503 && count < ARRAY_LEN(slow)) {
        struct client *client = &slow[count++];
        client_open(scene.world, client, INADDR_LOOPBACK);
        client_say(client, slice_str(ask));
        while (client->in.len == 0 && client_read(client, WORLD_WAIT_MS)) {
        }
        status = client_status(client, 0);
        cr_assert(status == 200 || status == 503, "%d", status);
    }
    cr_expect_eq(status, 503, "%u were served", (unsigned)count);
    cr_expect_gt(count, 3);
    cr_expect_eq(world_get(scene.world, "/api/messages")->status, 200, "others are served");
    for (uint32_t i = 0; i < count; i++) {
        client_close(&slow[i]);
    }
    struct wait wait = wait_start(WORLD_WAIT_MS);
    struct reply *reply;
    do {
        reply = fetch(&scene, "GET", scene.link, "range: bytes=0-9");
    } while (reply->status == 503 && wait_more(&wait));
    cr_expect_eq(reply->status, 206);
    world_end(scene.world);
}

Test(attachment, of_a_sent_mail_has_a_link_too)
{
    struct scene scene = {.world = begin()};
    (void)world_send(scene.world,
                     "{'from':'a@recv.test','to':'b@test.invalid','subject':'s','text':'t',"
                     "'sandbox':true,'attachments':[{'filename':'a b.txt','content':'aGVsbG8=',"
                     "'contentType':'text/html; charset=x'}]}");
    struct reply *whole = fetch(&scene, "GET", find_link(scene.world, "outbound"), NULL);
    cr_expect_eq(whole->status, 200);
    cr_expect(slice_equal(whole->body, SLICE("hello")));
    cr_expect(has_header(whole, "content-type", "application/octet-stream"),
              "parameters are not passed on");
    cr_expect(has_header(whole, "content-disposition", "filename=\"a b.txt\""));
    world_end(scene.world);
}
