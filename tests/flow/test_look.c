/* Flow: the operator looks inside with meerkatctl: at the shards, their rows and one mail, while
 * the daemon runs, after it has stopped, and after it was killed.
 *
 * Not covered here: every family's keys as text (kv_test_key_text), sizes and estimates
 * (kv_test_kv_stat), and how long it takes on a large store (bench).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/key.h"
#include "kv/kv.h"
#include "support/world.h"

#define WORDS_MAX 16

enum { DONE, REFUSED, USAGE, UNREACHABLE, WRONG };

struct said {
    int status;
    struct slice text;
    json_t *json;
};

/* One line of words; a word may have spaces when it stands between apostrophes. */
static size_t cut_words(struct world *world, const char *line, const char *argv[WORDS_MAX])
{
    struct slice rest = slice_str(line);
    size_t count = 3;
    while (rest.len > 0) {
        const bool is_quoted = rest.data[0] == '\'';
        if (is_quoted) {
            rest = slice_from(rest, 1);
        }
        cr_assert_lt(count, WORDS_MAX - 1);
        argv[count++] = arena_cstr(&world->arena, slice_cut(&rest, is_quoted ? '\'' : ' '));
        rest = is_quoted ? slice_trim(rest) : rest;
    }
    return count;
}

static struct said run(struct world *world, const char *line)
{
    const char *argv[WORDS_MAX] = {world_program(world, "meerkatctl"), "--data", world->data};
    struct said said = {.json = NULL};
    (void)cut_words(world, line, argv);
    said.status = world_tool(world, argv, SLICE(""), &said.text);
    /* What it says on standard error stands in front of the document, or behind it. */
    const size_t at = slice_find_byte(said.text, '{');
    if (at != SIZE_MAX) {
        const struct slice document = slice_from(said.text, at);
        said.json = json_loadb(document.data, document.len, JSON_DISABLE_EOF_CHECK, NULL);
    }
    if (said.json != NULL) {
        (void)json_array_append_new(world->documents, said.json);
    }
    return said;
}

static struct said expect(struct world *world, int status, const char *line)
{
    struct said said = run(world, line);
    cr_assert_eq(said.status, status, "%s: %d %.*s", line, said.status, SLICE_FMT(said.text));
    return said;
}

static bool says(const struct said *said, const char *text)
{
    return slice_find(said->text, slice_str(text)) != SIZE_MAX;
}

static json_t *at(const struct said *said, const char *path)
{
    const struct reply reply = {.json = said->json};
    return reply_at(&reply, path);
}

static const char *text_at(const struct said *said, const char *path)
{
    const struct reply reply = {.json = said->json};
    return reply_text(&reply, path);
}

static long long number_at(const struct said *said, const char *path)
{
    const struct reply reply = {.json = said->json};
    return reply_int(&reply, path);
}

/* A world whose first mail was put off, for long. */
static const char *begin(struct world *world)
{
    world_set(world, "retry_first_ms", "1800000");
    world_set(world, "shards", "3");
    struct peer *sink = world_ready_to_send(world);
    world_sink_profile(world, sink, "tempfail:1000");
    const char *id = world_send(world, "{'from':'Ann <a@send.test>','to':'u@dest.test','subject':"
                                       "'Look','text':'x','attachments':[{'filename':'f.txt',"
                                       "'content':'aGVsbG8='}]}");
    (void)world_await(world, id, "deliveries.0.status", "deferred");
    return id;
}

static json_t *rows_of(struct world *world, long long shard, const char *prefix, size_t count)
{
    const struct said said =
        expect(world, DONE,
               world_text(world, "shard %lld --json --limit 1000 --prefix '%s'", shard, prefix));
    cr_assert_eq(json_array_size(at(&said, "rows")), count, "%s: %.*s", prefix,
                 SLICE_FMT(said.text));
    cr_expect(json_is_null(at(&said, "next")));
    return at(&said, "rows");
}

/* The same whether a daemon is asked or the store is read. */
static json_t *look_at_mail(struct world *world, const char *id)
{
    const struct said said =
        expect(world, DONE, world_text(world, "message %s --transcripts --json", id));
    cr_expect_str_eq(text_at(&said, "id"), id);
    cr_expect_str_eq(text_at(&said, "mail.subject"), "Look");
    cr_expect_str_eq(text_at(&said, "deliveries.0.row.status"), "deferred");
    cr_expect_str_eq(text_at(&said, "deliveries.0.attempts.0.row.outcome"), "deferred");
    cr_expect(json_is_object(at(&said, "deliveries.0.outbox")), "it is still due");
    cr_expect_str_eq(text_at(&said, "attachments.0.row.filename"), "f.txt");
    cr_expect_neq(strstr(text_at(&said, "transcripts.0.text"), "RCPT TO"), NULL);
    cr_expect_geq(json_array_size(at(&said, "events")), 2);
    cr_expect_eq(number_at(&said, "damaged"), 0);
    cr_expect_eq(number_at(&said, "chunks"), 1);
    return said.json;
}

/* But for what is the actors' own. */
static void expect_same_rows(json_t *before, json_t *after)
{
    static const char *const members[] = {"mail", "deliveries", "events", "transcripts",
                                          "attachments"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        cr_expect(
            json_equal(json_object_get(before, members[i]), json_object_get(after, members[i])),
            "%s", members[i]);
    }
}

static long long sum(const struct said *said, const char *path)
{
    long long all = 0;
    for (size_t i = 0; i < json_array_size(at(said, "data")); i++) {
        char whole[64];
        (void)snprintf(whole, sizeof whole, "data.%zu.%s", i, path);
        const long long one = number_at(said, whole);
        all += one > 0 ? one : 0;
    }
    return all;
}

Test(look, sees_the_same_rows_with_a_daemon_without_one_and_after_a_kill)
{
    struct world *world = world_new();
    const char *id = begin(world);
    json_t *online = look_at_mail(world, id);
    const struct slice raw = expect(world, DONE, world_text(world, "message %s --raw", id)).text;
    cr_expect_neq(slice_find(raw, SLICE("Subject: Look")), SIZE_MAX);
    struct said shards = expect(world, DONE, "shards --json");
    cr_expect_eq(number_at(&shards, "shardCount"), 3);
    cr_expect_eq(json_array_size(at(&shards, "data")), 4, "delivery's, too");
    cr_expect_eq(sum(&shards, "accounts.count"), 1);
    cr_expect_eq(sum(&shards, "outbox.count"), 1);
    cr_expect_eq(sum(&shards, "actor.mails"), 1);
    cr_expect_gt(sum(&shards, "commit.lastMinuteUs.max"), 0);
    cr_expect_gt(sum(&shards, "actor.handlerUs"), 0);

    world_stop(world);
    expect_same_rows(online, look_at_mail(world, id));
    struct said said = expect(world, DONE, world_text(world, "message %s --raw --offline", id));
    cr_expect(slice_equal(said.text, raw));
    said = expect(world, DONE, "shards --json");
    cr_expect(says(&said, "is not running; reading the store"));
    cr_expect_eq(sum(&said, "outbox.count"), 1);
    cr_expect(json_is_null(at(&said, "data.0.actor")), "nobody runs");
    cr_expect_geq(sum(&said, "store.rows"), 10);

    world_start(world);
    const char *younger = world_send(world, "{'from':'a@send.test','to':'v@dest.test',"
                                            "'subject':'Younger','text':'x'}");
    said = expect(world, DONE, world_text(world, "message %s --offline", younger));
    cr_expect(says(&said, "has the store open; what is shown is what was written up to now"));
    cr_expect(says(&said, "Younger"), "%.*s", SLICE_FMT(said.text));
    world_kill(world);
    (void)look_at_mail(world, id);
    (void)rows_of(world, number_at(&(struct said){.json = online}, "shard"), "mail", 2);
    said = expect(world, DONE, "shard deliver --offline");
    cr_expect(says(&said, "ledger"), "%.*s", SLICE_FMT(said.text));
    world_end(world);
}

Test(look, shows_rows_by_family_account_and_mail_a_page_at_a_time)
{
    struct world *world = world_new();
    const char *id = begin(world);
    const struct said mail = expect(world, DONE, world_text(world, "message %s --json", id));
    const char *account = text_at(&mail, "account");
    const long long shard = number_at(&mail, "shard");
    struct said said = expect(world, DONE, world_text(world, "shard %lld --json", shard));
    cr_expect_geq(json_array_size(at(&said, "families")), 8);
    cr_expect(json_is_true(at(&said, "families.0.isExact")));
    cr_expect_str_eq(text_at(&said, "families.0.family"), "account");
    (void)rows_of(world, shard, "mail", 1);
    (void)rows_of(world, shard, world_text(world, "delivery %s", account), 1);
    (void)rows_of(world, shard, world_text(world, "delivery %s", id), 1);
    (void)rows_of(world, shard, world_text(world, "chunk %s 0", id), 1);
    (void)rows_of(world, shard, "blocked", 0);
    json_t *keys = rows_of(world, shard, "api_key", 1);
    char *text = json_dumps(keys, JSON_COMPACT);
    cr_expect_neq(strstr(text, world_text(world, "api_key %s ", account)), NULL, "%s", text);
    cr_expect_eq(strstr(text, world->key), NULL, "a key's text is nowhere");
    free(text);

    said = expect(world, DONE, world_text(world, "shard %lld --limit 1", shard));
    cr_expect(says(&said, "more: --after 'account "), "%.*s", SLICE_FMT(said.text));
    said = expect(world, DONE, world_text(world, "shard %lld --all --limit 3", shard));
    cr_expect(says(&said, "\nshard_meta\n"), "the last of them: %.*s", SLICE_FMT(said.text));
    const char *events = world_text(world, "shard %lld --prefix 'event %s' --all", shard, id);
    const struct said all = expect(world, DONE, events);
    const struct said paged = expect(world, DONE, world_text(world, "%s --limit 1", events));
    cr_expect(slice_equal(all.text, paged.text), "pages leave nothing out");
    cr_expect(says(&all, "email.delivery_delayed"));

    said = expect(world, DONE, world_text(world, "account %s --json", account));
    cr_expect_eq(number_at(&said, "shard"), shard);
    cr_expect_eq(number_at(&said, "queue.entries"), 1);
    cr_expect_eq(number_at(&said, "usage.0.mails"), 1);
    cr_expect_str_eq(text_at(&said, "lastMessages.0.id"), id);
    (void)expect(world, DONE, world_text(world, "account %s", account));
    said = expect(world, DONE, world_text(world, "message %s", id));
    cr_expect(says(&said, "deferred after 1 try, next try"), "%.*s", SLICE_FMT(said.text));
    world_end(world);
}

Test(look, says_what_is_wrong_with_what_was_asked)
{
    struct world *world = world_new();
    world_set(world, "shards", "3");
    struct said said = run(world, "shards --offline");
    cr_expect_eq(said.status, UNREACHABLE, "there is no store yet: %.*s", SLICE_FMT(said.text));
    world_start(world);
    for (int is_offline = 0; is_offline <= 1; is_offline++) {
        const char *how = is_offline == 1 ? " --offline" : "";
        (void)expect(world, REFUSED, world_text(world, "shard 3%s", how));
        (void)expect(world, REFUSED, world_text(world, "shard x%s", how));
        said = expect(world, REFUSED, world_text(world, "shard 0 --prefix nonsense%s", how));
        cr_expect(says(&said, "there is no such row family: nonsense"), "%.*s",
                  SLICE_FMT(said.text));
        (void)expect(world, REFUSED, world_text(world, "shard 0 --after 'mail acc_1'%s", how));
        (void)expect(world, USAGE, world_text(world, "shard 0 --limit 0%s", how));
        (void)expect(world, USAGE, world_text(world, "message nonsense%s", how));
        (void)expect(world, REFUSED,
                     world_text(world, "message msg_00000000000000000000a1%s", how));
    }
    (void)expect(world, USAGE, "accounts list --offline");
    (void)expect(world, USAGE, "account acc_1");
    struct reply *signup = world_signup(world, "owner@customer.test");
    cr_assert_eq(signup->status, 201);
    struct world_call call = {
        .method = "GET", .path = "/api/admin/shards/0/rows", .bearer = world->token};
    cr_expect_eq(world_call(world, &call)->status, 403, "rows go through the admin socket only");
    call.path = "/api/admin/shards";
    cr_expect_eq(world_call(world, &call)->status, 200);
    world_end(world);
}

/* A mail's row is overwritten: what is left of it is shown all the same. */
static void damage(struct world *world, const char *id)
{
    struct kv *kv = NULL;
    struct id mail;
    const char *path = world_text(world, "%s/store", world->data);
    const struct kv_options options = {.path = slice_str(path),
                                       .cache_bytes = 8 * MIB,
                                       .memtable_bytes = 8 * MIB,
                                       .must_exist = true};
    cr_assert_eq(id_parse(ID_MESSAGE, slice_str(id), &mail), ERR_OK);
    cr_assert_eq(kv_open(&options, &kv), ERR_OK);
    const struct key key = key_mail(id_account(mail), mail);
    struct kv_batch *batch = kv_batch_new(key_account_shard(kv_shard_count(kv), id_account(mail)));
    kv_batch_put(batch, key_slice(&key), SLICE("nonsense"));
    cr_assert_eq(kv_write(kv, batch), ERR_OK);
    cr_assert_eq(kv_sync(kv), ERR_OK);
    kv_batch_free(batch);
    kv_close(kv);
}

Test(look, shows_what_is_left_around_a_damaged_row_and_exits_with_4)
{
    struct world *world = world_new();
    const char *id = begin(world);
    world_stop(world);
    damage(world, id);
    for (int run_number = 0; run_number < 2; run_number++) {
        struct said said = expect(world, WRONG, world_text(world, "message %s", id));
        cr_expect(says(&said, "its own row is gone or damaged"), "%.*s", SLICE_FMT(said.text));
        cr_expect(says(&said, "u@dest.test"), "its delivery is there");
        cr_expect(says(&said, "1 of its rows cannot be read"));
        said = expect(world, WRONG, world_text(world, "message %s --json", id));
        cr_expect(json_is_null(at(&said, "mail")));
        cr_expect_eq(number_at(&said, "damaged"), 1);
        const long long shard = number_at(&said, "shard");
        said = expect(world, WRONG, world_text(world, "shard %lld --prefix mail", shard));
        cr_expect(says(&said, "DAMAGED"));
        if (run_number == 0) {
            world_start(world); /* and now the daemon is asked */
        }
    }
    world_end(world);
}
