/* Flow: what a real rspamd says of mail that comes in, and what happens without it.
 *
 * Not covered here: its other actions, which are a table (edge/spam.c).
 */
#include <criterion/criterion.h>

#include <string.h>

#include "support/world.h"

#define GTUBE "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

struct scene {
    struct world *world;
    uint16_t rspamd_port;
};

static void start_rspamd(struct scene *scene)
{
    struct world *world = scene->world;
    const char *conf = world_text(world, "%s/rspamd.conf", world->dir);
    const char *text = world_text(
        world,
        "options { pidfile = \"%s/rspamd.pid\"; filters = \"\"; tempdir = \"%s\";\n"
        "control_socket = \"%s/rspamd.control\"; dns { nameserver = [\"127.0.0.1:%u\"]; } }\n"
        "logging { type = \"console\"; level = \"warning\"; }\n"
        "metric { name = \"default\"; actions { reject = 15; add_header = 6; } }\n"
        "worker \"normal\" { bind_socket = \"127.0.0.1:%u\"; count = 1; mime = true; }\n",
        world->dir, world->dir, world->dir, (unsigned)world->dns->tcp_port,
        (unsigned)scene->rspamd_port);
    world_write_file(world, conf, slice_str(text));
    const char *const argv[] = {"rspamd", "-f", "-i", "-c", conf, NULL};
    (void)world_spawn(world, "rspamd", argv);
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!world_is_listening(scene->rspamd_port) && wait_more(&wait)) {
    }
    cr_assert(world_is_listening(scene->rspamd_port));
}

static void open_scene(struct scene *scene)
{
    struct world *world = world_new();
    *scene = (struct scene){.world = world};
    scene->rspamd_port = world_free_port();
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "rspamd_url", "http://127.0.0.1:%u", (unsigned)scene->rspamd_port);
    world_start(world);
    (void)world_signup(world, "owner@customer.test");
    (void)world_domain(world, "in.test");
}

/* Hands a mail in as a stranger would; returns the verdict that is stored with it. */
static const char *verdict_of(struct scene *scene, const char *body)
{
    struct world *world = scene->world;
    const char *server = world_text(world, "127.0.0.1:%u", (unsigned)world->smtp_port);
    const char *const argv[] = {"swaks", "--server",   server,   "--from", "joe@example.test",
                                "--to",  "hi@in.test", "--body", body,     NULL};
    struct slice said;
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0, "%.*s", SLICE_FMT(said));
    size_t at = slice_find(said, SLICE("queued as "));
    cr_assert_neq(at, SIZE_MAX);
    struct slice id = slice_from(said, at + strlen("queued as "));
    id = slice_head(id, slice_find_byte(id, '\n'));
    struct reply *read = world_get(world, "/api/messages/%.*s", SLICE_FMT(slice_trim(id)));
    cr_assert_eq(read->status, 200, "%.*s", SLICE_FMT(read->body));
    return reply_text(read, "message.spam");
}

Test(spam, is_what_rspamd_says_it_is)
{
    struct scene scene;
    open_scene(&scene);
    start_rspamd(&scene);
    cr_expect_str_eq(verdict_of(&scene, "See you at nine."), "ham");
    cr_expect_str_eq(verdict_of(&scene, GTUBE), "spam");
    world_end(scene.world);
}

Test(spam, is_nobodys_word_while_rspamd_is_away)
{
    struct scene scene;
    open_scene(&scene);
    cr_expect_str_eq(verdict_of(&scene, GTUBE), "", "the mail goes on unjudged");
    world_end(scene.world);
}
