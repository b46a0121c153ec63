/* Starts that must fail: each says on one line what to do about it, ends with status 1, and leaves
 * the store as it was.
 *
 * Not covered here: every option's own rules (tests/unit/base/test_conf.c), damaged rows
 * (tests/unit/kv/test_migrate.c, test_kv.c), a start after a crash (test_crash.c), a full disk
 * (test_disk.c).
 */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"
#include "kv/kv.h"
#include "kv/migrate.h"
#include "kv/row.h"
#include "support/certs.h"
#include "support/world.h"

#define STRANGER    12345 /* a user that nobody runs as */
#define STATUS_FAIL 1

/* A world with a store that has an account in it, stopped. */
static struct world *world_with_store(void)
{
    struct world *world = world_new();
    world_start(world);
    cr_assert_eq(world_signup(world, "ann@boot.test")->status, 201);
    world_stop(world);
    return world;
}

/* The account is there, with its key, and mail can be asked for. */
static void expect_good_start(struct world *world)
{
    world_start(world);
    cr_assert_eq(world_get(world, "/v1/me")->status, 200);
    cr_assert_eq(world_get(world, "/api/messages")->status, 200);
    world_stop(world);
}

static uint32_t lines_with(struct slice text, const char *needle)
{
    uint32_t count = 0;
    while (text.data != NULL) {
        struct slice line = slice_cut(&text, '\n');
        count += slice_find(line, slice_str(needle)) != SIZE_MAX;
    }
    return count;
}

/* Looks alone, or starts, and expects the end, with one line that names the remedy. */
static void expect_end(struct world *world, bool is_look, const char *name, const char *remedy)
{
    size_t before = world_log(world).len;
    int status = is_look ? world_check_config(world) : world_run(world);
    struct slice said = slice_from(world_log(world), before);
    cr_assert_eq(status, STATUS_FAIL, "%s: ended with %d:\n%.*s", name, status, SLICE_FMT(said));
    cr_assert_eq(lines_with(said, remedy), 1, "%s: expected once: %s\n%.*s", name, remedy,
                 SLICE_FMT(said));
    cr_assert_eq(lines_with(said, "Sanitizer"), 0, "%s:\n%.*s", name, SLICE_FMT(said));
    cr_assert_eq(lines_with(said, "CHECK("), 0, "%s:\n%.*s", name, SLICE_FMT(said));
    const char *run_file = world_text(world, "%s/run.json", world->data);
    cr_assert_eq(access(run_file, F_OK), -1, "%s: a run file of a run that is over", name);
}

static void expect_failure(struct world *world, const char *name, const char *remedy)
{
    expect_end(world, false, name, remedy);
}

/* ---- options -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const char *option;
    const char *value;
    const char *option2;
    const char *value2;
    const char *remedy;
} options[] = {
    {"unknown option", "no_such_option", "1", NULL, NULL, "meerkatd --options lists them all"},
    {"not a number", "loops", "many", NULL, NULL, "loops must be a number from 0 to 32"},
    {"too large", "loops", "33", NULL, NULL, "loops must be a number from 0 to 32"},
    {"neither yes nor no", "allow_private_targets", "perhaps", NULL, NULL, "must be yes or no"},
    {"unknown level", "log_level", "loud", NULL, NULL, "debug"},
    {"unknown TLS word", "smarthost", "relay.test:25", "smarthost_tls", "often", "implicit"},
    {"smarthost without host", "smarthost", ":25", NULL, NULL, "smarthost is written host:port"},
    {"smarthost port", "smarthost", "relay.test:99999", NULL, NULL,
     "smarthost is written host:port"},
    {"password file", "smarthost", "relay.test:25", "smarthost_user", "me",
     "smarthost_password_file"},
    {"CA file", "smarthost_tls", "require", "tls_ca", "/nowhere/ca.pem", "set tls_ca"},
    {"DNS servers", "dns_servers", "no-address", NULL, NULL, "dns_servers is written ip[:port]"},
    {"listener", "http_listen", "localhost", NULL, NULL, "write listeners as ip:port"},
    {"foreign address", "http_listen", "192.0.2.1:8080", NULL, NULL, "set another address"},
    {"one address twice", "http_listen", "127.0.0.1:4099", "smtp_listen", "127.0.0.1:4099",
     "give each its own address"},
    {"no certificate", "https_listen", "127.0.0.1:0", "tls_cert", "/nowhere/cert.pem",
     "set tls_cert"},
    {"no PEM", "https_listen", "127.0.0.1:0", "tls_cert", "/proc/self/cmdline", "tls_key"},
    {"log in nowhere", "log_file", "/nowhere/at/all", NULL, NULL, "cannot append to log_file"},
    {"log is a folder", "log_file", "/tmp", NULL, NULL, "log_file"},
    {"data is a file", "data", "/proc/self/cmdline", NULL, NULL, "set `data` to"},
    {"data cannot be made", "data", "/proc/nowhere", NULL, NULL, "set `data` to"},
    {"data in nowhere", "data", "/nowhere/at/all", NULL, NULL, "set `data` to"},
};

Test(boot, refuses_options_that_cannot_work_and_names_them)
{
    struct world *world = world_with_store();
    struct world_option kept[WORLD_OPTIONS_MAX];
    uint32_t kept_count = world->option_count;
    memcpy(kept, world->options, sizeof kept);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        world_set(world, options[i].option, "%s", options[i].value);
        if (strcmp(options[i].name, "CA file") == 0) {
            world_set(world, "smarthost", "relay.test:25");
        }
        if (options[i].option2 != NULL) {
            world_set(world, options[i].option2, "%s", options[i].value2);
        }
        /* Nobody knows that /proc takes no folder until it refuses one. */
        if (strcmp(options[i].name, "data cannot be made") != 0) {
            expect_end(world, true, options[i].name, options[i].remedy);
        }
        expect_failure(world, options[i].name, options[i].remedy);
        memcpy(world->options, kept, sizeof kept);
        world->option_count = kept_count;
    }
    expect_good_start(world);
    world_end(world);
}

/* ---- looking alone -------------------------------------------------------------------------- */

Test(boot, looks_at_a_configuration_without_touching_anything)
{
    struct world *world = world_new();
    const char *new_data = world_text(world, "%s/not-yet", world->dir);
    size_t before = world_log(world).len;
    world_set(world, "data", "%s", new_data);
    cr_assert_eq(world_check_config(world), 0, "%.*s", SLICE_FMT(world_log(world)));
    cr_assert_eq(world_log(world).len, before, "nothing to say: %.*s", SLICE_FMT(world_log(world)));
    cr_assert_eq(access(new_data, F_OK), -1, "a start would make it");
    world_set(world, "data", "%s", world->data);
    world_start(world);
    pid_t daemon = world->daemon;
    world->daemon = 0;
    cr_assert_eq(world_check_config(world), 0, "beside a daemon that runs:\n%.*s",
                 SLICE_FMT(world_log(world)));
    world->daemon = daemon;
    world_stop(world);
    world_end(world);
}

static const struct {
    const char *option;
    const char *value;
    const char *remedy;
} problems[] = {
    {"data", "/nowhere/at/all", "set `data` to"},
    {"tls_cert", "/nowhere/cert.pem", "set tls_cert to"},
    {"tls_key", "/nowhere/key.pem", "set tls_key to"},
    {"tls_ca", "/nowhere/ca.pem", "set tls_ca to"},
    {"site_policy", "/proc/self/cmdline", "site_policy"},
    {"bounce_rules", "/nowhere/rules", "bounce_rules"},
    {"http_listen", "localhost", "http_listen: "},
    {"https_listen", "nobody", "https_listen: "},
    {"smtp_listen", "192.0.2.1:25", "smtp_listen: "},
    {"submission_listen", "127.0.0.1:0,mail.test:587", "\"mail.test:587\" is no address"},
    {"submissions_listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
     "give at most 4"},
    {"smtp_proxies", "10.0.0.0/8, many", "write smtp_proxies as"},
    {"smtp_hostname", "not a name", "write smtp_hostname"},
    {"admin_socket",
     "/a/path/that/is/longer/than/what/a/unix/socket/can/be/called/on/any/system/that/there/is/"
     "today/"
     "or/will/be.sock",
     "set admin_socket to"},
    {"dns_servers", "no-address", "dns_servers is written"},
    {"smarthost", ":25", "smarthost is written"},
    {"smarthost_user", "me", "set smarthost_password_file to"},
    {"rspamd_url", "ftp://127.0.0.1", "write rspamd_url as"},
    {"google_client_id", "client", "set google_client_secret_file to"},
    {"google_token_url", "token", "write google_token_url as"},
    {"tls_report_from", "nobody", "write an address"},
};

Test(boot, names_every_problem_of_a_configuration_at_once)
{
    struct world *world = world_new();
    for (size_t i = 0; i < ARRAY_LEN(problems); i++) {
        world_set(world, problems[i].option, "%s", problems[i].value);
    }
    cr_assert_eq(world_check_config(world), STATUS_FAIL);
    struct slice said = world_log(world);
    for (size_t i = 0; i < ARRAY_LEN(problems); i++) {
        cr_expect_eq(lines_with(said, problems[i].remedy), 1, "%s\n%.*s", problems[i].option,
                     SLICE_FMT(said));
    }
    cr_assert_eq(lines_with(said, "meerkatd: "), ARRAY_LEN(problems), "%.*s", SLICE_FMT(said));
    cr_assert_eq(lines_with(said, "Sanitizer"), 0, "%.*s", SLICE_FMT(said));
    world_end(world);
}

Test(boot, sees_that_a_key_is_not_that_of_the_certificate)
{
    struct world *world = world_new();
    struct certs ours;
    struct certs others;
    certs_make(&ours, "mx.boot.test", 3600);
    certs_make(&others, "mx.boot.test", 3600);
    world_set(world, "https_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", ours.cert_path);
    world_set(world, "tls_key", "%s", ours.key_path);
    cr_assert_eq(world_check_config(world), 0, "%.*s", SLICE_FMT(world_log(world)));
    world_set(world, "tls_key", "%s", others.key_path);
    expect_end(world, true, "another key", "two files that belong together");
    certs_remove(&ours);
    certs_remove(&others);
    world_end(world);
}

/* ---- the port ------------------------------------------------------------------------------- */

Test(boot, tells_that_its_port_is_taken)
{
    struct world *world = world_with_store();
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(fd, -1);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(listen(fd, 1), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    world_set(world, "http_listen", "127.0.0.1:%u", (unsigned)ntohs(addr.sin_port));
    expect_failure(world, "port", "stop what listens there, or set another address");
    cr_assert_eq(close(fd), 0);
    expect_good_start(world);
    world_end(world);
}

/* ---- the folder ----------------------------------------------------------------------------- */

Test(boot, leaves_a_store_alone_that_another_process_has)
{
    struct world *world = world_with_store();
    world_start(world);
    pid_t first = world->daemon;
    size_t before = world_log(world).len;
    world->daemon = 0;
    int status = world_run(world);
    struct slice said = slice_from(world_log(world), before);
    cr_assert_eq(status, STATUS_FAIL, "%.*s", SLICE_FMT(said));
    cr_assert_eq(lines_with(said, "remedy"), 1, "%.*s", SLICE_FMT(said));
    world->daemon = first;
    cr_assert_eq(world_get(world, "/v1/me")->status, 200, "the first one does not notice");
    world_stop(world);
    expect_good_start(world);
    world_end(world);
}

static void need_root(void)
{
    if (geteuid() != 0) {
        cr_skip_test("only root may give files away");
    }
}

Test(boot, refuses_a_folder_or_key_of_another_user)
{
    need_root();
    struct world *world = world_with_store();
    const char *key = world_text(world, "%s/master.key", world->data);
    cr_assert_eq(chown(world->data, STRANGER, (gid_t)-1), 0);
    expect_failure(world, "data", "chown the folder");
    cr_assert_eq(chown(world->data, 0, (gid_t)-1), 0);
    cr_assert_eq(chown(key, STRANGER, (gid_t)-1), 0);
    expect_failure(world, "master.key", "run chown and chmod");
    cr_assert_eq(chown(key, 0, (gid_t)-1), 0);
    expect_good_start(world);
    world_end(world);
}

/* ---- the master key ------------------------------------------------------------------------- */

Test(boot, refuses_a_master_key_that_others_may_read)
{
    static const mode_t modes[] = {0644, 0640, 0604, 0620};
    struct world *world = world_with_store();
    const char *key = world_text(world, "%s/master.key", world->data);
    struct stat info;
    cr_assert_eq(stat(key, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600, "as it is made");
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        cr_assert_eq(chmod(key, modes[i]), 0);
        expect_failure(world, "mode", "with mode 0600; run chown and chmod");
    }
    cr_assert_eq(chmod(key, 0400), 0); /* stricter is fine */
    expect_good_start(world);
    world_end(world);
}

/* A new key beside an old store would strand every secret in it. */
Test(boot, makes_no_second_master_key)
{
    struct world *world = world_with_store();
    const char *key = world_text(world, "%s/master.key", world->data);
    const char *away = world_text(world, "%s/away", world->dir);
    cr_assert_eq(rename(key, away), 0);
    expect_failure(world, "missing", "restore it from your backup");
    cr_assert_eq(access(key, F_OK), -1, "none was made");
    static const size_t sizes[] = {0, 31, 33};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        world_write_file(world, key, slice_of("0123456789abcdef0123456789abcdef0", sizes[i]));
        cr_assert_eq(chmod(key, 0600), 0);
        expect_failure(world, "damaged", "restore it from your backup");
    }
    cr_assert_eq(unlink(key), 0);
    cr_assert_eq(mkdir(key, 0700), 0);
    expect_failure(world, "a folder", "master key");
    cr_assert_eq(rmdir(key), 0);
    cr_assert_eq(rename(away, key), 0);
    expect_good_start(world);
    world_end(world);
}

/* ---- the format of the store ---------------------------------------------------------------- */

/* Reads the stamp into *row, and writes another one when there is one. */
static void change_stamp(struct world *world, struct row_format *row, const struct row_format *to)
{
    struct arena arena;
    struct buf bytes;
    struct kv *kv;
    struct slice value;
    arena_init(&arena, 4096, MIB);
    buf_init(&bytes, 4096);
    struct kv_options how = {
        .path = slice_str(world_text(world, "%s/store", world->data)),
        .cache_bytes = 8 * MIB,
        .memtable_bytes = 8 * MIB,
        .must_exist = true,
    };
    cr_assert_eq(kv_open(&how, &kv), ERR_OK);
    cr_assert_eq(kv_get(kv, KV_FAMILY_META, SLICE("format"), &arena, &value), ERR_OK);
    cr_assert_eq(row_format_decode(value, row), ERR_OK);
    if (to != NULL) {
        struct kv_batch *batch = kv_batch_new(KV_FAMILY_META);
        row_format_encode(to, &bytes);
        kv_batch_put(batch, SLICE("format"), buf_slice(&bytes));
        cr_assert_eq(kv_write(kv, batch), ERR_OK);
        cr_assert_eq(kv_sync(kv), ERR_OK);
        kv_batch_free(batch);
    }
    kv_close(kv);
    buf_fini(&bytes);
    arena_fini(&arena);
}

Test(boot, refuses_a_store_of_a_format_that_it_does_not_know)
{
    struct world *world = world_with_store();
    struct row_format good;
    struct row_format seen;
    change_stamp(world, &good, NULL);
    cr_assert_eq(good.format, STORE_FORMAT);
    const struct {
        const char *remedy;
        uint32_t format;
        uint32_t shard_count;
    } cases[] = {
        {"upgrade this one", STORE_FORMAT + 1, good.shard_count},
        {"upgrade this one", UINT32_MAX, good.shard_count},
        {"restore the store from a backup", 0, good.shard_count},
        {"restore the store from a backup", STORE_FORMAT, good.shard_count - 1},
        {"restore the store from a backup", STORE_FORMAT, good.shard_count + 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct row_format bad = good;
        bad.format = cases[i].format;
        bad.shard_count = cases[i].shard_count;
        change_stamp(world, &seen, &bad);
        expect_failure(world, "format", cases[i].remedy);
        change_stamp(world, &seen, &good);
        cr_assert_eq(seen.format, bad.format, "the stamp was left alone");
        cr_assert_eq(seen.boots, bad.boots);
    }
    expect_good_start(world);
    world_end(world);
}

Test(boot, keeps_the_number_of_shards_that_a_store_was_made_with)
{
    struct world *world = world_with_store();
    struct row_format before;
    struct row_format after;
    change_stamp(world, &before, NULL);
    world_set(world, "shards", "%u", (unsigned)(before.shard_count == 1 ? 2 : 1));
    expect_good_start(world);
    change_stamp(world, &after, NULL);
    cr_assert_eq(after.shard_count, before.shard_count);
    cr_assert_eq(after.boots, before.boots + 1);
    world_end(world);
}
