/* Flow: one night on call. A site that puts everything off, a webhook that hangs, a shard that is
 * slow, a row that is gone, a block that is damaged: the operator's tool finds each one, what it
 * advises mends it, and nothing that was accepted is lost.
 *
 * Not covered here: each tool by itself (test_explain, test_queue, test_look), every kind of
 * damage (kv_test_verify).
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "kv/key.h"
#include "kv/kv.h"
#include "shards/place.h"
#include "support/ledger.h"
#include "support/world.h"

#define MAILS   6 /* to the site that puts off */
#define SLOW_MS 300
#define WRONG   4 /* exit status: something is wrong with what was looked at */

struct night {
    struct world *world;
    struct peer *sink;
    const char *log; /* of the sink */
    uint32_t shard;
    struct mailing mails; /* what was promised */
    struct ledger ledger;
};

struct said {
    int status;
    struct slice text;
    json_t *json; /* NULL: it is none */
};

/* The tool with these words, parted by blanks. */
static struct said ctl(struct world *world, const char *words)
{
    struct said said;
    said.status = world_ctl(world, NULL, words, SLICE(""), &said.text);
    said.json = json_loadb(said.text.data, said.text.len, JSON_DISABLE_EOF_CHECK, NULL);
    if (said.json != NULL) {
        json_array_append_new(world->documents, said.json);
    }
    return said;
}

static struct said expect(struct world *world, int status, const char *words)
{
    struct said said = ctl(world, words);
    cr_assert_eq(said.status, status, "%s: %d %.*s", words, said.status, SLICE_FMT(said.text));
    return said;
}

static const char *text_of(json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text != NULL ? text : "";
}

/* As the tool asks, without its start: that takes longer than the answer. */
static json_t *delivery_of(struct world *world, const char *id, size_t index)
{
    struct world_call call = {.method = "GET",
                              .path = world_text(world, "/api/admin/messages/%s/explain", id),
                              .bearer = world->token};
    struct reply *reply = world_call(world, &call);
    cr_assert_eq(reply->status, 200, "%.*s", SLICE_FMT(reply->body));
    return json_array_get(reply_at(reply, "deliveries"), index);
}

/* Asks why until the words are said of that delivery. */
static json_t *await_words(struct world *world, const char *id, size_t index, const char *words)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    json_t *delivery = delivery_of(world, id, index);
    while (strstr(text_of(delivery, "text"), words) == NULL &&
           strcmp(text_of(delivery, "state"), words) != 0 && wait_more(&wait)) {
        delivery = delivery_of(world, id, index);
    }
    cr_assert(strstr(text_of(delivery, "text"), words) != NULL ||
                  strcmp(text_of(delivery, "state"), words) == 0,
              "\"%s\": %s, %s", words, text_of(delivery, "state"), text_of(delivery, "text"));
    return delivery;
}

static void follow(struct world *world, json_t *delivery)
{
    const char *advice = text_of(delivery, "advice");
    const char *command = strstr(advice, "meerkatctl ");
    cr_assert_not_null(command, "%s", advice);
    (void)expect(world, 0, command + strlen("meerkatctl "));
}

/* ---- the scene ------------------------------------------------------------------------------- */

static void set_hook(struct night *night)
{
    struct world *world = night->world;
    const char *domain = reply_text(world_get(world, "/api/domains"), "0.id");
    const char *body =
        world_text(world, "{\"url\":\"http://127.0.0.1:%u/in\",\"ackMode\":\"lenient\"}",
                   (unsigned)night->sink->http_port);
    struct world_call call = {.method = "PUT",
                              .path = world_text(world, "/api/domains/%s/webhook", domain),
                              .body = slice_str(body)};
    cr_assert_eq(world_call(world, &call)->status, 200);
    call.path = world_text(world, "/api/domains/%s/webhook-events", domain);
    call.body = SLICE("{\"events\":[\"email.delivered\"]}");
    cr_assert_eq(world_call(world, &call)->status, 200);
}

static const char *send_one(struct night *night, uint64_t number)
{
    const char *id = world_send(
        night->world, "{'from':'a@send.test','to':'n%llu@dest.test','subject':'s','text':'x'}",
        (unsigned long long)number);
    mailing_note(&night->mails, number, slice_str(id));
    return id;
}

static void begin(struct night *night)
{
    struct world *world = world_new();
    *night = (struct night){.world = world};
    world_set(world, "retry_first_ms", "1800000");
    world_set(world, "hook_timeout_ms", "500");
    night->sink = world_ready_to_send(world);
    set_hook(night);
    struct world_call me = {.method = "GET", .path = "/v1/me", .bearer = world->token};
    struct account_id account;
    cr_assert_eq(
        account_parse(slice_str(reply_text(world_call(world, &me), "account.id")), &account),
        ERR_OK);
    night->shard = place_shard_index(SHARD_COUNT_MAX, account);
    mailing_init(&night->mails, world->key, "a@send.test", "dest.test");
}

static void end(struct night *night)
{
    mailing_fini(&night->mails);
    world_end(night->world);
}

/* ---- a shard that is slow -------------------------------------------------------------------- */

/* Which shard's commits take longest, and how long one does. */
static uint32_t slowest_shard(struct world *world, uint64_t *commit_us)
{
    struct said said = expect(world, 0, "--json top --once");
    json_t *shards = json_object_get(said.json, "shards");
    size_t index;
    json_t *shard;
    uint32_t slowest = UINT32_MAX;
    *commit_us = 0;
    json_array_foreach(shards, index, shard)
    {
        json_int_t batches = json_integer_value(json_object_get(shard, "batches"));
        json_int_t total_us = json_integer_value(json_object_get(shard, "commitUs"));
        uint64_t one_us = batches > 0 ? (uint64_t)(total_us / batches) : 0;
        if (one_us > *commit_us) {
            *commit_us = one_us;
            slowest = (uint32_t)json_integer_value(json_object_get(shard, "shard"));
        }
    }
    return slowest;
}

static void find_the_slow_shard(struct night *night)
{
    struct world *world = night->world;
    world_stop(world);
    world_set(world, "test_slow_shard", "%u", (unsigned)night->shard + 1);
    world_set(world, "test_slow_shard_ms", "%d", SLOW_MS);
    world_start(world);
    const char *id = send_one(night, 1);
    (void)await_words(world, id, 0, "the shard or the disk is slow");
    (void)await_words(world, id, 0, "delivered");
    uint64_t commit_us;
    cr_expect_eq(slowest_shard(world, &commit_us), night->shard);
    cr_expect_geq(commit_us, SLOW_MS * 1000 / 2);
    world_stop(world); /* it has a better disk from now on */
    world_set(world, "test_slow_shard", "0");
    world_start(world);
}

/* ---- a site that puts off, a webhook that hangs ---------------------------------------------- */

static void find_the_site_and_the_webhook(struct night *night)
{
    struct world *world = night->world;
    world_sink_profile(world, night->sink, "http-hang");
    const char *told = send_one(night, 2);
    (void)await_words(world, told, 0, "delivered");
    json_t *hook = await_words(world, told, 1, "the answer took too long");
    cr_expect_str_eq(text_of(hook, "kind"), "webhook");

    world_sink_profile(world, night->sink, "http-hang,tempfail:1000");
    const char *stuck = NULL;
    for (uint64_t i = 0; i < MAILS; i++) {
        stuck = send_one(night, 10 + i);
    }
    json_t *mail = await_words(world, stuck, 0, "waiting");
    cr_expect_not_null(strstr(text_of(mail, "text"), " answered 4"), "%s", text_of(mail, "text"));
    const char *site = text_of(mail, "site");
    struct said ages = expect(world, 0, world_text(world, "--json queue ages --site %s", site));
    cr_expect_geq(json_integer_value(json_object_get(ages.json, "waiting")), 1);
    struct said sites = expect(world, 0, world_text(world, "queue sites --search %s", site));
    cr_expect_neq(slice_find(sites.text, slice_str(site)), SIZE_MAX, "%.*s", SLICE_FMT(sites.text));

    world_sink_profile(world, night->sink, "");
    follow(world, hook);
    (void)await_words(world, told, 1, "delivered");
    for (uint64_t i = 0; i < MAILS; i++) { /* as each is put off, it is let go */
        const char *id = mailing_at(&night->mails, 2 + i)->id;
        mail = delivery_of(world, id, 0);
        if (strcmp(text_of(mail, "state"), "delivered") != 0) {
            (void)expect(world, 0, world_text(world, "queue retry --site %s", site));
        }
        (void)await_words(world, id, 0, "delivered");
    }
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* The outbox row of an open delivery is gone, as after a disk that lied. */
static void lose_outbox(struct night *night, const char *mail)
{
    struct world *world = night->world;
    struct kv *kv = NULL;
    const struct kv_options options = {.path =
                                           slice_str(world_text(world, "%s/store", world->data)),
                                       .cache_bytes = 8 * MIB,
                                       .memtable_bytes = 8 * MIB,
                                       .must_exist = true};
    cr_assert_eq(kv_open(&options, &kv), ERR_OK);
    struct key from = key_prefix_outbox();
    struct key to = key_after(&from);
    struct kv_batch *batch = kv_batch_new(night->shard);
    struct kv_iter *iter = kv_iter_open(kv, night->shard, key_slice(&from), key_slice(&to), false);
    struct slice key;
    struct slice value;
    struct outbox_ref ref;
    struct id id;
    uint32_t count = 0;
    cr_assert_eq(id_parse(ID_MESSAGE, slice_str(mail), &id), ERR_OK);
    while (kv_iter_next(iter, &key, &value)) { /* webhooks of earlier mails may wait there too */
        cr_assert_eq(key_read_outbox(key, &ref), ERR_OK);
        if (id_equal(ref.mail, id)) {
            kv_batch_delete(batch, key);
            count += 1;
        }
    }
    kv_iter_close(iter);
    cr_assert_eq(count, 1);
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    cr_assert_eq(kv_sync(kv), ERR_OK);
    kv_batch_free(batch);
    kv_close(kv);
}

static void find_the_damage(struct night *night)
{
    struct world *world = night->world;
    world_sink_profile(world, night->sink, "tempfail:1000");
    const char *id = send_one(night, 20);
    (void)await_words(world, id, 0, "waiting");
    world_sink_profile(world, night->sink, "");
    world_stop(world);
    (void)expect(world, 0, "verify --offline");
    lose_outbox(night, id);
    world_start(world);
    struct said said = expect(world, WRONG, world_text(world, "--json explain %s", id));
    json_t *mail = json_array_get(json_object_get(said.json, "deliveries"), 0);
    cr_assert_str_eq(text_of(mail, "state"), "lost");
    cr_expect_str_eq(text_of(mail, "advice"), "meerkatctl verify");
    world_stop(world);
    (void)expect(world, WRONG, "verify --offline");
    (void)expect(world, 0, "repair --offline --yes");
    (void)expect(world, 0, "verify --offline");
    world_start(world);
    (void)await_words(world, id, 0, "delivered");
}

/* The largest table of the store: the account's shard has nearly all rows. Its first block, with
 * the account itself. */
static void spoil_block(struct night *night)
{
    struct world *world = night->world;
    const char *store = world_text(world, "%s/store", world->data);
    const char *largest = NULL;
    off_t size = 0;
    DIR *dir = opendir(store);
    cr_assert_not_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        struct stat info;
        const char *file = world_text(world, "%s/%s", store, entry->d_name);
        if (slice_ends(slice_str(file), SLICE(".sst")) && stat(file, &info) == 0 &&
            info.st_size > size) {
            size = info.st_size;
            largest = file;
        }
    }
    (void)closedir(dir); /* it was only read */
    cr_assert_not_null(largest);
    char bytes[32];
    int fd = open(largest, O_RDWR | O_CLOEXEC);
    cr_assert_neq(fd, -1);
    cr_assert_eq(pread(fd, bytes, sizeof bytes, 64), (ssize_t)sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)~bytes[i];
    }
    cr_assert_eq(pwrite(fd, bytes, sizeof bytes, 64), (ssize_t)sizeof bytes);
    cr_assert_eq(close(fd), 0);
}

/* From memory and log into tables. */
static void settle_store(struct world *world)
{
    struct kv *kv = NULL;
    const struct kv_options options = {.path =
                                           slice_str(world_text(world, "%s/store", world->data)),
                                       .cache_bytes = 8 * MIB,
                                       .memtable_bytes = 8 * MIB,
                                       .must_exist = true};
    cr_assert_eq(kv_open(&options, &kv), ERR_OK);
    cr_assert_eq(kv_flush(kv), ERR_OK);
    kv_close(kv);
}

/* A mail is accepted, a backup made, and a block of the disk goes bad. */
static void find_the_bad_block(struct night *night)
{
    struct world *world = night->world;
    world_sink_profile(world, night->sink, "tempfail:1000");
    const char *id = send_one(night, 30);
    (void)await_words(world, id, 0, "waiting");
    world_sink_profile(world, night->sink, "");
    const char *folder = world_text(world, "%s/backups", world->dir);
    const char *copy = world_text(world, "%s/copy", world->dir);
    (void)expect(world, 0, world_text(world, "backup %s", folder));
    world_stop(world);
    settle_store(world);
    (void)expect(world, 0, "verify --offline");
    spoil_block(night);
    (void)expect(world, WRONG, "verify --offline");
    const char *data = world->data;
    world->data = copy;
    (void)expect(world, 0, world_text(world, "restore %s --key %s/master.key", folder, data));
    world->data = data;
    struct said said =
        expect(world, 0, world_text(world, "repair --salvage --yes --from %s/store", copy));
    cr_expect_neq(slice_find(said.text, SLICE("1 holes")), SIZE_MAX, "%.*s", SLICE_FMT(said.text));
    (void)expect(world, 0, "verify --offline");
    world_start(world);
    json_t *mail = await_words(world, id, 0, "waiting");
    follow(world, mail);
    (void)await_words(world, id, 0, "delivered");
}

Test(incident, each_fault_is_found_and_mended_and_nothing_accepted_is_lost)
{
    struct night night;
    begin(&night);
    find_the_slow_shard(&night);
    find_the_site_and_the_webhook(&night);
    find_the_damage(&night);
    find_the_bad_block(&night);
    cr_expect_geq(world_sink_count(night.world, night.sink, "mails"), MAILS + 4);
    ledger_init(&night.ledger, night.world);
    ledger_add(&night.ledger, &night.mails);
    ledger_await(&night.ledger, WORLD_WAIT_MS);
    ledger_fini(&night.ledger);
    end(&night);
}
