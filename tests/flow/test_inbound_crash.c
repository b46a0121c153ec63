/* Sudden death while mail comes in: every mail that was answered with 250 is there, its webhooks
 * fire, and whatever is repeated, by the client or by us, is repeated under the same ids.
 *
 * The clients offer a mail again, byte for byte, until it is taken, as mail servers do. Some mails
 * are longer than what a session holds in memory and are staged in the shards; some have
 * recipients of two accounts. In some rounds the endpoint refuses, so that webhooks go again.
 *
 * Not covered here: sent mail (test_crash.c), a disk that lies about a sync.
 *
 * The seed is printed; MEERKAT_SEED=n repeats its choices, though not the timing.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "support/ledger.h"
#include "support/smtp_load.h"
#include "support/world.h"

#define ROUNDS        20
#define ACCOUNTS      2
#define CONNS         8
#define ROUND_MS      400 /* the longest life of a daemon under load */
#define YOUNG_EVERY   5   /* rounds; then a daemon is killed before, or just when, it is ready */
#define YOUNG_MS      80
#define REFUSE_EVERY  8 /* rounds in which the endpoint answers 404 */
#define BOTH_EVERY    5 /* mails; these go to both accounts */
#define LONG_EVERY    12
#define LONG_BYTES    (MAIL_INLINE_MAX + 100 * KIB)
#define LAST_WORDS_MS 2000
#define DRAIN_MS      90000

struct scene {
    struct world *world;
    struct peer *sink;
    struct mailing mailings[ACCOUNTS]; /* recipient numbers: 2 n and 2 n + 1 of mail n */
    struct buf both;                   /* of uint64_t: mails that both accounts must have */
    struct smtp_load *load;
    uint64_t seed;
};

/* ---- chance ---------------------------------------------------------------------------------- */

/* splitmix64: good enough for choosing moments, and the same everywhere. */
static uint64_t next_random(struct scene *scene, uint64_t below)
{
    scene->seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = scene->seed;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (mixed ^ (mixed >> 31)) % below;
}

static uint64_t choose_seed(void)
{
    const char *given = getenv("MEERKAT_SEED");
    uint64_t seed = clock_unix_ms();
    if (given != NULL) {
        cr_assert_eq(slice_u64(slice_str(given), &seed), ERR_OK, "MEERKAT_SEED is a number");
    }
    printf("MEERKAT_SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* ---- mails ----------------------------------------------------------------------------------- */

static bool is_for_both(uint64_t number)
{
    return number % BOTH_EVERY == 0;
}

/* Whose mail it is, or the first one's of two. */
static uint32_t account_of(uint64_t number)
{
    return is_for_both(number) ? 0 : (uint32_t)(number % ACCOUNTS);
}

static bool ask_one(void *context, uint64_t number, struct buf *envelope, struct buf *content)
{
    (void)context; /* a mail follows from its number */
    uint32_t account = account_of(number);
    buf_add_format(envelope, "MAIL FROM:<s%" PRIu64 "@peer.test>\r\n", number);
    buf_add_format(envelope, "RCPT TO:<n%" PRIu64 "@in%u.test>\r\n", 2 * number + account, account);
    if (is_for_both(number)) {
        buf_add_format(envelope, "RCPT TO:<n%" PRIu64 "@in1.test>\r\n", 2 * number + 1);
    }
    buf_add_format(content,
                   "From: <s%" PRIu64 "@peer.test>\r\nTo: <n@in.test>\r\nSubject: mail %" PRIu64
                   "\r\nMessage-ID: <%" PRIu64 "@peer.test>\r\n\r\n",
                   number, number, number);
    uint64_t wanted = number % LONG_EVERY == 0 ? LONG_BYTES : 200;
    while (content->len < wanted) {
        buf_add_format(content, "line %zu of mail %" PRIu64 ", which has many\r\n", content->len,
                       number);
    }
    return true;
}

/* "250 2.0.0 Ok: queued as msg_..." */
static void take_one(void *context, uint64_t number, struct slice reply)
{
    struct scene *scene = context;
    uint32_t account = account_of(number);
    size_t at = slice_find(reply, SLICE("queued as msg_"));
    cr_assert_neq(at, SIZE_MAX, "%.*s", SLICE_FMT(reply));
    struct slice id = slice_from(reply, at + sizeof("queued as ") - 1);
    mailing_note(&scene->mailings[account], 2 * number + account, id);
    if (is_for_both(number)) {
        buf_add_bytes(&scene->both, &number, sizeof number);
    }
}

/* ---- the scene ------------------------------------------------------------------------------- */

static void open_account(struct scene *scene, uint32_t index)
{
    struct world *world = scene->world;
    const char *name = world_text(world, "in%u.test", (unsigned)index);
    const char *first_key = world->key;
    struct reply *made = world_signup(world, world_text(world, "%u@customer.test", index));
    world->key = reply_text(made, "apiKey");
    const char *domain = world_domain(world, name);
    const char *body = world_text(world, "{\"url\":\"http://127.0.0.1:%u/in%u\"}",
                                  (unsigned)scene->sink->http_port, (unsigned)index);
    struct world_call call = {.method = "PUT",
                              .path = world_text(world, "/api/domains/%s/webhook", domain),
                              .body = slice_str(body)};
    struct reply *set = world_call(world, &call);
    cr_assert_eq(set->status, 200, "%.*s", SLICE_FMT(set->body));
    mailing_init(&scene->mailings[index], world->key, "", name);
    world->key = first_key != NULL ? first_key : world->key;
}

static struct scene *scene_new(void)
{
    struct scene *scene = calloc(1, sizeof *scene);
    cr_assert_not_null(scene);
    scene->seed = choose_seed();
    scene->world = world_new();
    struct world *world = scene->world;
    scene->sink = world_sink(world, "127.0.0.1", NULL);
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "smtp_address_per_min", "0");
    world_set(world, "test_hook_pause_percent", "1"); /* 50 ms, 3 s, 18 s */
    world_set(world, "log_level", "warn");
    world_start(world);
    buf_init(&scene->both, LEDGER_MAX * sizeof(uint64_t));
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        open_account(scene, i);
    }
    scene->load = smtp_load_new(&(struct smtp_load_options){
        .conn_count = CONNS, .rest_ms = 20, .ask = ask_one, .answer = take_one, .context = scene});
    return scene;
}

static void scene_end(struct scene *scene)
{
    world_end(scene->world);
    smtp_load_free(scene->load);
    buf_fini(&scene->both);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        mailing_fini(&scene->mailings[i]);
    }
    free(scene);
}

/* ---- what became of the mails ---------------------------------------------------------------- */

/* The second account of a mail for both never told an id; its webhook must have come all the
 * same. */
static void check_both(const struct scene *scene, const struct ledger *ledger)
{
    for (size_t at = 0; at < scene->both.len; at += sizeof(uint64_t)) {
        uint64_t number;
        memcpy(&number, scene->both.data + at, sizeof number);
        cr_expect_gt(ledger->fates[2 * number + 1].arrivals, 0,
                     "mail %" PRIu64 " came to one of its accounts only", number);
    }
}

/* Every acknowledged mail can be read, and every webhook came, as often as its log says, and under
 * one id: a mail that was stored twice would come under two. */
static void check_all(struct scene *scene)
{
    struct ledger ledger;
    ledger_init(&ledger, scene->world);
    ledger.status = "webhook_status";
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        ledger_add(&ledger, &scene->mailings[i]);
    }
    ledger_await(&ledger, DRAIN_MS);
    ledger_read_hooks(&ledger, scene->sink);
    ledger_judge(&ledger);
    check_both(scene, &ledger);
    printf("twice %" PRIu64 ", attempts that may have arrived %" PRIu64 "\n", ledger.twice,
           ledger.excuses);
    ledger_fini(&ledger);
}

/* ---- the test -------------------------------------------------------------------------------- */

/* While it reads the log back, sweeps what was staged, or opens its port. */
static void kill_young(struct scene *scene)
{
    world_launch(scene->world);
    struct wait wait = wait_start(next_random(scene, YOUNG_MS));
    while (wait_more(&wait)) {
    }
    world_kill(scene->world);
}

Test(inbound_crash, loses_no_mail_that_was_answered_250_in_twenty_kills, .timeout = 300)
{
    struct scene *scene = scene_new();
    struct world *world = scene->world;
    uint64_t began_ms = clock_mono_ms();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        if (round % YOUNG_EVERY == YOUNG_EVERY - 1) {
            kill_young(scene);
            world_verify(world);
            continue;
        }
        if (world->daemon == 0) {
            world_sink_profile(world, scene->sink, round % REFUSE_EVERY == 1 ? "http:404" : "");
            world_start(world);
        }
        smtp_load_connect(scene->load, world->smtp_port);
        smtp_load_run(scene->load, 1 + next_random(scene, ROUND_MS), 0);
        world_kill(world);
        smtp_load_last_words(scene->load, LAST_WORDS_MS);
        world_verify(world);
    }
    world_sink_profile(world, scene->sink, "");
    world_start(world);
    smtp_load_connect(scene->load, world->smtp_port);
    bool is_done = smtp_load_finish(scene->load, WORLD_WAIT_MS);
    const struct smtp_load_counts *counts = smtp_load_counts(scene->load);
    uint64_t rounds_ms = clock_mono_ms() - began_ms;
    cr_assert(is_done, "what was begun is taken in the end");
    cr_assert_eq(counts->strange, 0, "an answer of 5yz to a mail without fault");
    cr_assert_gt(counts->accepted, 2 * ROUNDS, "the load is too weak to prove anything");
    check_all(scene);
    printf("%u kills in %" PRIu64 " ms, %" PRIu64 " mails acknowledged, %" PRIu64
           " offered again, %" PRIu64 " put off, all told after %" PRIu64 " ms\n",
           ROUNDS, rounds_ms, counts->accepted, counts->offered_again, counts->put_off,
           clock_mono_ms() - began_ms);
    scene_end(scene);
}
