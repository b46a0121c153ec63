/* Flow: endpoints that hang, fail, redirect and never stop talking, beside one that behaves: its
 * webhooks all arrive while the others are still open, and theirs are put off with the reason.
 *
 * Not covered here: what each answer means (tests/unit/deliver/test_attempt_hook.c), hosts that
 * are no HTTP servers (tests/unit/net/test_http_client.c).
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "support/load.h"
#include "support/smtp_load.h"
#include "support/world.h"

#define MAILS      60
#define GROWTH_MAX (64 * MIB) /* of a daemon without sanitizers; a few are seen */

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#define IS_SANITIZED __has_feature(address_sanitizer)
#else
#define IS_SANITIZED false
#endif

struct endpoint {
    const char *name; /* local part of its address */
    const char *profile;
    const char *ack_mode;
    const char *response; /* how what is said of its answers begins; "": they are good */
};

static const struct endpoint endpoints[] = {
    {"hang", "http-hang", "lenient", "the answer took too long"},
    {"fail", "http:500", "lenient", "HTTP 500"},
    {"redirect", "http:307", "lenient", "HTTP 307, redirects are not followed"},
    {"endless", "http-endless", "ack", "answered, but did not acknowledge as the route demands"},
    {"good", "", "ack", ""},
};
#define COUNT ARRAY_LEN(endpoints)
#define HANG  0
#define GOOD  (COUNT - 1)

struct scene {
    struct world *world;
    struct peer *sinks[COUNT];
    struct mailing mails; /* ids, in the order of their answers */
};

/* ---- mails ----------------------------------------------------------------------------------- */

static bool ask_one(void *context, uint64_t number, struct buf *envelope, struct buf *content)
{
    (void)context; /* a mail follows from its number */
    if (number >= MAILS) {
        return false;
    }
    buf_add_str(envelope, "MAIL FROM:<a@peer.test>\r\n");
    for (size_t i = 0; i < COUNT; i++) {
        buf_add_format(envelope, "RCPT TO:<%s@in.test>\r\n", endpoints[i].name);
    }
    buf_add_format(content,
                   "From: <a@peer.test>\r\nSubject: %" PRIu64 "\r\nMessage-ID: <%" PRIu64
                   "@peer.test>\r\n\r\nx\r\n",
                   number, number);
    return true;
}

static void take_one(void *context, uint64_t number, struct slice reply)
{
    struct scene *scene = context;
    size_t at = slice_find(reply, SLICE("msg_"));
    cr_assert_neq(at, SIZE_MAX, "%.*s", SLICE_FMT(reply));
    mailing_note(&scene->mails, number, slice_from(reply, at));
}

static void send_all(struct scene *scene)
{
    struct smtp_load *load = smtp_load_new(&(struct smtp_load_options){
        .conn_count = 4, .rest_ms = 20, .ask = ask_one, .answer = take_one, .context = scene});
    smtp_load_connect(load, scene->world->smtp_port);
    smtp_load_run(load, WORLD_WAIT_MS, MAILS);
    cr_assert_eq(smtp_load_counts(load)->accepted, MAILS);
    smtp_load_free(load);
}

/* ---- the scene ------------------------------------------------------------------------------- */

static void open_scene(struct scene *scene)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    mailing_init(&scene->mails, "", "", "");
    for (size_t i = 0; i < COUNT; i++) {
        scene->sinks[i] = world_sink(world, world_text(world, "127.0.0.%zu", i + 1), NULL);
        world_sink_profile(world, scene->sinks[i], endpoints[i].profile);
    }
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "hook_timeout_ms", "3000");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "in.test");             /* found by name */
    for (size_t i = 0; i < COUNT; i++) {
        struct reply *made = world_post(world, "/api/routes",
                                        "{'match':'%s@in.test','action':'webhook',"
                                        "'destination':'http://127.0.0.1:%u/in','ackMode':'%s'}",
                                        endpoints[i].name, (unsigned)scene->sinks[i]->http_port,
                                        endpoints[i].ack_mode);
        cr_assert_eq(made->status, 201, "%.*s", SLICE_FMT(made->body));
    }
}

/* As the kernel counts it. */
static uint64_t resident_bytes(struct world *world)
{
    const char *path = world_text(world, "/proc/%d/status", (int)world->daemon);
    FILE *file = fopen(path, "re"); /* its size is said to be 0 */
    char line[256];
    uint64_t kib = 0;
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtoull(line + 6, NULL, 10);
        }
    }
    (void)fclose(file); /* it was only read */
    cr_assert_gt(kib, 0);
    return kib * KIB;
}

/* ---- what became of the webhooks --------------------------------------------------------------
 */

static struct reply *read_mail(struct scene *scene, uint64_t index)
{
    const struct mailing_entry *entry = mailing_at(&scene->mails, index);
    struct reply *read = world_get(scene->world, "/api/messages/%s", entry->id);
    cr_assert_eq(read->status, 200, "%.*s", SLICE_FMT(read->body));
    cr_assert_eq(reply_count(read, "deliveries"), COUNT);
    return read;
}

static json_t *delivery_of(const struct reply *read, const struct endpoint *endpoint)
{
    size_t index;
    json_t *delivery;
    json_array_foreach(reply_at(read, "deliveries"), index, delivery)
    {
        const char *rcpt = json_string_value(json_object_get(delivery, "recipient"));
        if (rcpt != NULL && strncmp(rcpt, endpoint->name, strlen(endpoint->name)) == 0) {
            return delivery;
        }
    }
    cr_assert_fail("there is no webhook for %s@in.test", endpoint->name);
    return NULL;
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text != NULL ? text : "";
}

/* Tries that ended, each with the words that it should have. */
static size_t check_log(const json_t *delivery, const struct endpoint *endpoint)
{
    size_t index;
    json_t *attempt;
    json_array_foreach(json_object_get(delivery, "log"), index, attempt)
    {
        const char *response = text_of(attempt, "response");
        cr_expect_str_eq(text_of(attempt, "outcome"), "deferred", "%s: %s", endpoint->name,
                         response);
        cr_expect_eq(strncmp(response, endpoint->response, strlen(endpoint->response)), 0, "%s: %s",
                     endpoint->name, response);
    }
    return json_array_size(json_object_get(delivery, "log"));
}

/* How many of an endpoint's webhooks were tried. All are still owed. */
static size_t count_tried(struct scene *scene, size_t which)
{
    const struct endpoint *endpoint = &endpoints[which];
    size_t count = 0;
    for (uint64_t i = 0; i < MAILS; i++) {
        json_t *delivery = delivery_of(read_mail(scene, i), endpoint);
        const char *status = text_of(delivery, "status");
        size_t tries = check_log(delivery, endpoint);
        cr_expect_str_eq(status, tries == 0 ? "pending" : "deferred", "%s", endpoint->name);
        count += tries > 0;
    }
    return count;
}

static void await_good(struct scene *scene)
{
    struct wait wait = wait_start(2 * WORLD_WAIT_MS);
    long long count = 0;
    do {
        count = world_sink_count(scene->world, scene->sinks[GOOD], "hooks");
    } while (count < MAILS && wait_more(&wait));
    cr_assert_eq(count, MAILS, "the endpoint that behaves waits for those that do not");
}

/* Its webhooks cannot wait for a circuit that others opened, nor for their timeouts. */
static void check_good(struct scene *scene)
{
    for (uint64_t i = 0; i < MAILS; i++) {
        json_t *delivery = delivery_of(read_mail(scene, i), &endpoints[GOOD]);
        for (struct wait wait = wait_start(WORLD_WAIT_MS);
             strcmp(text_of(delivery, "status"), "delivered") != 0 && wait_more(&wait);) {
            delivery = delivery_of(read_mail(scene, i), &endpoints[GOOD]);
        }
        cr_expect_str_eq(text_of(delivery, "status"), "delivered");
        cr_expect_eq(json_array_size(json_object_get(delivery, "log")), 1);
    }
    cr_expect_eq(world_sink_count(scene->world, scene->sinks[GOOD], "hooks"), MAILS, "once each");
}

/* Each of the others said what it has to say to one webhook at least. */
static void check_bad(struct scene *scene, size_t which)
{
    struct wait wait = wait_start(2 * WORLD_WAIT_MS);
    size_t tried = count_tried(scene, which);
    while (tried == 0 && wait_more(&wait)) {
        tried = count_tried(scene, which);
    }
    printf("%s: %zu of %d webhooks were tried\n", endpoints[which].name, tried, MAILS);
    cr_expect_gt(tried, 0, "%s", endpoints[which].name);
}

Test(hostile_hooks, do_not_hold_up_an_endpoint_that_behaves, .timeout = 120)
{
    struct scene scene;
    open_scene(&scene);
    uint64_t before = resident_bytes(scene.world);
    send_all(&scene);
    await_good(&scene);
    cr_expect_lt(count_tried(&scene, HANG), MAILS, "those that hang came to their end before");
    check_good(&scene);
    for (size_t i = 0; i < GOOD; i++) {
        check_bad(&scene, i);
    }
    uint64_t after = resident_bytes(scene.world);
    printf("resident: %" PRIu64 " MiB, %" PRIu64 " MiB before\n", after / MIB, before / MIB);
    if (!IS_SANITIZED) { /* shadow memory and red zones are nobody's ceiling */
        cr_expect_lt(after, before + GROWTH_MAX);
    }
    /* Nobody followed: each of its requests went to where the route leads. */
    struct slice hook = world_read_file(
        scene.world, world_text(scene.world, "%s/000001-hook.http", scene.sinks[2]->store));
    cr_expect(slice_starts(hook, SLICE("POST /in\r\n")), "%.*s", SLICE_FMT(hook));
    long long hooks = world_sink_count(scene.world, scene.sinks[2], "hooks");
    for (long long i = 2; i <= hooks; i++) {
        hook = world_read_file(
            scene.world, world_text(scene.world, "%s/%06lld-hook.http", scene.sinks[2]->store, i));
        cr_expect(slice_starts(hook, SLICE("POST /in\r\n")), "%.*s", SLICE_FMT(hook));
    }
    world_end(scene.world);
    mailing_fini(&scene.mails);
}
