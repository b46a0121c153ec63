/* Flow: programs that speak SMTP submit their mail: Python's smtplib, swaks, curl and nodemailer,
 * over STARTTLS and over TLS from the start, against the running daemon; what comes out at the
 * other end is signed and verified by dkimpy.
 *
 * nodemailer comes from npm (tools/setup --tests); without it its part is left out and says so.
 *
 * Not covered here: every dialogue (unit/edge/test_submit*), the header's rules
 * (unit/mail/test_submission).
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "support/certs.h"
#include "support/verify.h"
#include "support/world.h"

#define T .timeout = 300

#define FIELDS "From: Ann <ann@send.test>\r\nTo: Bob <bob@dest.test>\r\nSubject: hello\r\n"
#define MAIL   FIELDS "\r\nA line.\r\n.a dot, 8 bits: \xc3\xa4\r\n\r\n\r\n"

struct scene {
    struct world *world;
    struct peer *sink;
    struct certs certs;
    const char *script;
    const char *file; /* MAIL */
    uint32_t files;
};

/* A daemon that takes submissions, an account with send.test, a sink as the host of dest.test. */
static struct scene *begin(void)
{
    struct scene *scene = mem_zalloc(sizeof *scene);
    const char *source = getenv("MEERKAT_SOURCE");
    cr_assert_not_null(source, "MEERKAT_SOURCE is the folder with the sources");
    certs_make(&scene->certs, WORLD_HOST, 86400);
    scene->world = world_new();
    world_set(scene->world, "submission_listen", "127.0.0.1:0, 127.0.0.1:0");
    world_set(scene->world, "submissions_listen", "127.0.0.1:0");
    world_set(scene->world, "tls_cert", "%s", scene->certs.cert_path);
    world_set(scene->world, "tls_key", "%s", scene->certs.key_path);
    scene->sink = world_ready_to_send(scene->world);
    cr_assert_neq(scene->world->submission_port, 0);
    cr_assert_neq(scene->world->submissions_port, 0);
    scene->script = world_text(scene->world, "%s/tests/support/submit.py", source);
    scene->file = world_text(scene->world, "%s/mail.eml", scene->world->dir);
    world_write_file(scene->world, scene->file, SLICE(MAIL));
    return scene;
}

static void finish(struct scene *scene)
{
    world_end(scene->world);
    certs_remove(&scene->certs);
    free(scene);
}

static const char *write_mail(struct scene *scene, struct slice mail)
{
    const char *path = world_text(scene->world, "%s/m%u.eml", scene->world->dir, scene->files++);
    world_write_file(scene->world, path, mail);
    return path;
}

static const char *port_of(struct scene *scene, const char *mode)
{
    bool is_implicit = strcmp(mode, "tls") == 0;
    struct world *world = scene->world;
    return world_text(world, "%u",
                      (unsigned)(is_implicit ? world->submissions_port : world->submission_port));
}

/* What submit.py says; arguments end with NULL. */
static const char *ask(struct scene *scene, const char *mode, const char *what, const char *key,
                       const char *const *arguments)
{
    const char *argv[24] = {"/usr/bin/python3",   scene->script,          what, mode,
                            port_of(scene, mode), scene->certs.cert_path, key};
    size_t count = 7;
    struct slice said;
    while (arguments != NULL && *arguments != NULL) {
        cr_assert_lt(count, ARRAY_LEN(argv) - 1);
        argv[count++] = *arguments++;
    }
    argv[count] = NULL;
    int status = world_tool(scene->world, argv, SLICE(""), &said);
    cr_assert_eq(status, 0, "%s: %.*s", what, SLICE_FMT(said));
    return world_text(scene->world, "%.*s", SLICE_FMT(said));
}

static const char *submit(struct scene *scene, const char *from, const char *file, const char *to)
{
    const char *arguments[] = {from, file, to, NULL};
    return ask(scene, "starttls", "mail", scene->world->key, arguments);
}

/* The id in "queued as msg_...". */
static const char *id_in(struct scene *scene, const char *said)
{
    const char *at = strstr(said, "Ok: queued as msg_");
    cr_assert_not_null(at, "not accepted: %s", said);
    at += strlen("Ok: queued as ");
    return world_text(scene->world, "%.*s",
                      (int)strspn(at, "msg_0123456789"
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "abcdefghijklmnopqrstuvwxyz"),
                      at);
}

#define EXPECT_STARTS(said, prefix)                                                                \
    do {                                                                                           \
        const char *it = (said);                                                                   \
        cr_expect(strncmp(it, prefix, strlen(prefix)) == 0, "expected %s, got %s", prefix, it);    \
    } while (0)

/* ---- clients --------------------------------------------------------------------------------- */

/* The n-th mail of the sink as it was sent, without the lines that the sink put in front. */
static struct slice sent_mail(struct scene *scene, uint32_t number)
{
    struct slice mail = world_sink_mail(scene->world, scene->sink, number);
    while (slice_starts(mail, SLICE("X-Sink-"))) {
        (void)slice_cut(&mail, '\n'); /* it is dropped */
    }
    return mail;
}

static void check_signatures(struct scene *scene, const char *name, struct slice mail)
{
    static const char *const keys[] = {"mk1._domainkey.send.test", "mk2._domainkey.send.test"};
    struct reply *domains = world_get(scene->world, "/api/domains");
    struct reply *domain = world_get(scene->world, "/api/domains/%s", reply_text(domains, "0.id"));
    FILE *pipe = verify_start("verify_dkim.py");
    cr_assert_not_null(pipe);
    verify_put(pipe, "name", slice_str(name));
    verify_put(pipe, "mail", mail);
    verify_put(pipe, "expect", SLICE("pass"));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char entry[2048];
        int len =
            snprintf(entry, sizeof entry, "%s%c%s", keys[i], '\0', reply_record(domain, keys[i]));
        cr_assert_lt((size_t)len, sizeof entry);
        verify_put(pipe, "record", slice_of(entry, (size_t)len));
    }
    verify_end_case(pipe);
    cr_assert_eq(verify_finish(pipe), 0, "%s: dkimpy rejects the mail", name);
}

static const char *by_swaks(struct scene *scene, const char *mode)
{
    struct world *world = scene->world;
    const char *server = world_text(world, "127.0.0.1:%s", port_of(scene, mode));
    const char *data = world_text(world, "@%s", scene->file);
    const char *tls = strcmp(mode, "tls") == 0 ? "--tlsc" : "--tls";
    /* clang-format off */
    const char *argv[] = {"swaks", "--server", server, tls, "--tls-verify", "--tls-ca-path",
                          scene->certs.cert_path, "--auth", "LOGIN", "--auth-user", "anybody",
                          "--auth-password", world->key, "--ehlo",
                          "client.test", "--from", "ann@send.test", "--to", "bob@dest.test",
                          "--data", data, "--suppress-data", NULL};
    /* clang-format on */
    struct slice said;
    int status = world_tool(world, argv, SLICE(""), &said);
    cr_assert_eq(status, 0, "%.*s", SLICE_FMT(said));
    return world_text(world, "%.*s", SLICE_FMT(said));
}

static const char *by_curl(struct scene *scene, const char *mode)
{
    struct world *world = scene->world;
    bool is_implicit = strcmp(mode, "tls") == 0;
    const char *url = world_text(world, "%s://127.0.0.1:%s/client.test",
                                 is_implicit ? "smtps" : "smtp", port_of(scene, mode));
    const char *user = world_text(world, "anybody:%s", world->key);
    /* clang-format off */
    const char *argv[] = {"curl", "-sv", "--stderr", "-", "--noproxy", "*", "--cacert",
                          scene->certs.cert_path, "--ssl-reqd", "--user", user, "--mail-from",
                          "ann@send.test", "--mail-rcpt", "bob@dest.test", "--upload-file",
                          scene->file, url, NULL};
    /* clang-format on */
    struct slice said;
    int status = world_tool(world, argv, SLICE(""), &said);
    cr_assert_eq(status, 0, "%.*s", SLICE_FMT(said));
    return world_text(world, "%.*s", SLICE_FMT(said));
}

static const char *by_smtplib(struct scene *scene, const char *mode)
{
    const char *arguments[] = {"ann@send.test", scene->file, "bob@dest.test", NULL};
    return ask(scene, mode, "mail", scene->world->key, arguments);
}

static void check_arrived(struct scene *scene, const char *name, const char *id, uint32_t number)
{
    struct slice mail = sent_mail(scene, number);
    size_t body = slice_find(mail, SLICE("\r\n\r\n"));
    cr_assert_neq(body, SIZE_MAX);
    cr_expect(slice_starts(slice_from(mail, body), slice_from(SLICE(MAIL), strlen(FIELDS) - 2)),
              "%s: %.*s", name, SLICE_FMT(mail));
    cr_expect_neq(slice_find(mail, SLICE("\r\n" FIELDS "Date: ")), SIZE_MAX, "%s: %.*s", name,
                  SLICE_FMT(mail));
    check_signatures(scene, name, mail);
    const char *taken = world_text(scene->world, "with ESMTPSA\r\n\tid %s;\r\n", id);
    cr_expect_neq(slice_find(mail, slice_str(taken)), SIZE_MAX, "%s: %.*s", name, SLICE_FMT(mail));
    struct reply *read = world_await(scene->world, id, "message.send_status", "delivered");
    cr_expect_str_eq(reply_text(read, "message.subject"), "hello");
    cr_expect_str_eq(reply_text(read, "message.to.0"), "Bob <bob@dest.test>");
    cr_expect_not_null(strstr(reply_text(read, "message.text_body"), "A line.\n.a dot"));
}

Test(submission, takes_mail_from_real_clients_and_sends_it_signed, T)
{
    static const struct {
        const char *name;
        const char *(*by)(struct scene *scene, const char *mode);
    } clients[] = {{"smtplib", by_smtplib}, {"swaks", by_swaks}, {"curl", by_curl}};
    static const char *const modes[] = {"starttls", "tls"};
    struct scene *scene = begin();
    uint32_t number = 0;
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        for (size_t n = 0; n < ARRAY_LEN(modes); n++) {
            const char *name = world_text(scene->world, "%s, %s", clients[i].name, modes[n]);
            const char *said = clients[i].by(scene, modes[n]);
            check_arrived(scene, name, id_in(scene, said), ++number);
        }
    }
    finish(scene);
}

Test(submission, takes_mail_from_nodemailer, T)
{
    static const char *const modes[] = {"starttls", "tls"};
    struct scene *scene = begin();
    struct world *world = scene->world;
    const char *source = getenv("MEERKAT_SOURCE");
    const char *modules = world_text(world, "%s/build-hooks/node_modules", source);
    DIR *installed = opendir(world_text(world, "%s/nodemailer", modules));
    if (installed == NULL) {
        fprintf(stderr, "submission: nodemailer is not here; its part is left out\n");
        finish(scene);
        return;
    }
    (void)closedir(installed); /* it was only looked for */
    for (uint32_t i = 0; i < ARRAY_LEN(modes); i++) {
        /* clang-format off */
        const char *argv[] = {"env", world_text(world, "NODE_PATH=%s", modules), "node",
                              world_text(world, "%s/tests/support/hooks/submit.js", source),
                              modes[i], port_of(scene, modes[i]), scene->certs.cert_path,
                              world->key, "ann@send.test", "bob@dest.test", "hidden@dest.test",
                              NULL};
        /* clang-format on */
        struct slice said;
        int status = world_tool(world, argv, SLICE(""), &said);
        cr_assert_eq(status, 0, "%.*s", SLICE_FMT(said));
        const char *id = id_in(scene, world_text(world, "%.*s", SLICE_FMT(said)));
        struct slice mail = sent_mail(scene, i + 1);
        cr_expect_eq(slice_find(mail, SLICE("hidden@")), SIZE_MAX);
        cr_expect_eq(slice_find(mail, SLICE("X-Meerkat-Tag")), SIZE_MAX);
        check_signatures(scene, modes[i], mail);
        struct reply *read = world_await(world, id, "message.send_status", "delivered");
        cr_expect_str_eq(reply_text(read, "message.from.name"), "\xc3\x84nn");
        cr_expect_str_eq(reply_text(read, "message.subject"), "Gr\xc3\xbc\xc3\x9f"
                                                              "e von nodemailer");
        cr_expect_str_eq(reply_text(read, "message.text_body"), "Hallo \xc3\xa4\n.\nEnde");
        cr_expect_str_eq(reply_text(read, "message.html_body"), "<p>Hallo \xc3\xa4</p>");
        cr_expect_str_eq(reply_text(read, "message.bcc.0"), "hidden@dest.test");
        cr_expect_str_eq(reply_text(read, "message.tags.0"), "node");
        cr_expect_str_eq(reply_text(read, "message.metadata.order"), "a b");
        cr_expect_str_eq(reply_text(read, "attachments.0.filename"), "\xc3\xa4.txt");
        cr_expect_eq(reply_count(read, "deliveries"), 2);
    }
    finish(scene);
}

Test(submission, answers_a_client_that_pipelines, T)
{
    struct scene *scene = begin();
    const char *arguments[] = {"ann@send.test", scene->file, "bob@dest.test", NULL};
    const char *said = ask(scene, "tls", "pipeline", scene->world->key, arguments);
    const char *first = strstr(said, "Ok: queued as ");
    cr_assert_not_null(first, "%s", said);
    cr_expect_not_null(strstr(first + 1, "Ok: queued as "), "%s", said);
    (void)sent_mail(scene, 2); /* waits for both */
    finish(scene);
}

/* ---- refusals -------------------------------------------------------------------------------- */

Test(submission, takes_a_key_under_tls_only_and_none_that_is_wrong, T)
{
    struct scene *scene = begin();
    const char *said = ask(scene, "starttls", "clear", "-", NULL);
    EXPECT_STARTS(said, "no AUTH\n530 5.7.0");
    cr_expect_not_null(strstr(said, "\n530 5.7.0 must issue a STARTTLS"), "%s", said);
    char *wrong = strdup(scene->world->key);
    cr_assert_not_null(wrong);
    wrong[20] = wrong[20] == 'x' ? 'y' : 'x';
    EXPECT_STARTS(ask(scene, "starttls", "login", wrong, NULL), "535 5.7.8");
    EXPECT_STARTS(ask(scene, "tls", "login", scene->world->key, NULL), "235 2.7.0");
    free(wrong);
    struct reply *narrow =
        world_post(scene->world, "/v1/keys", "{'name':'n','scopes':['mail:read']}");
    EXPECT_STARTS(ask(scene, "tls", "login", reply_text(narrow, "key"), NULL), "535 5.7.8");
    struct reply *far =
        world_post(scene->world, "/v1/keys", "{'name':'f','allowedIps':['192.0.2.0/24']}");
    EXPECT_STARTS(ask(scene, "tls", "login", reply_text(far, "key"), NULL), "535 5.7.8");
    finish(scene);
}

Test(submission, refuses_with_the_code_that_says_why, T)
{
    struct scene *scene = begin();
    struct world *world = scene->world;
    cr_assert_eq(world_post(world, "/api/domains", "{'domain':'unverified.test'}")->status, 201);
    struct reply *made =
        world_post(world, "/api/contacts/suppressions", "{'email':'gone@dest.test'}");
    cr_assert_leq(made->status, 201);
    const char *not_ours = write_mail(scene, SLICE("From: a@elsewhere.test\r\n\r\nx\r\n"));
    const char *unverified = write_mail(scene, SLICE("From: a@unverified.test\r\n\r\nx\r\n"));
    const char *two = write_mail(scene, SLICE("From: a@send.test\r\nFrom: b@send.test\r\n\r\n"));
    const char *none = write_mail(scene, SLICE("Subject: x\r\n\r\nx\r\n"));
    char *line = mem_zalloc(1200);
    memset(line, 'x', 1100);
    const char *longest =
        write_mail(scene, slice_str(world_text(world, "From: a@send.test\r\n\r\n%s\r\n", line)));
    free(line);
    const struct {
        const char *file;
        const char *to;
        const char *reply;
    } table[] = {
        {not_ours, "bob@dest.test", "550 5.7.1"},
        {unverified, "bob@dest.test", "550 5.7.1"},
        {scene->file, "gone@dest.test", "550 5.7.1"},
        {two, "bob@dest.test", "554 5.6.0"},
        {none, "bob@dest.test", "554 5.6.0"},
        {longest, "bob@dest.test", "554 5.6.0"},
        {scene->file, "x@", "501 5.1.3"},
        {scene->file, "bob@dest.test", "250 2.0.0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        EXPECT_STARTS(submit(scene, "any@thing.test", table[i].file, table[i].to), table[i].reply);
    }
    world_stop(world);
    world_set(world, "mail_max", "2000");
    world_set(world, "daily_max", "2");
    world_start(world);
    struct slice large = slice_str(world_text(world, MAIL "%2000s\r\n%0900d\r\n", "", 1));
    const char *arguments[] = {"ann@send.test", write_mail(scene, large), "bob@dest.test", NULL};
    EXPECT_STARTS(ask(scene, "tls", "mail", world->key, arguments), "55"); /* 554 or 552 */
    const char *sized[] = {"size=999999", "ann@send.test", scene->file, "bob@dest.test", NULL};
    EXPECT_STARTS(ask(scene, "tls", "mailto", world->key, sized), "552 5.3.4");
    EXPECT_STARTS(submit(scene, "", scene->file, "bob@dest.test"), "250 2.0.0");
    EXPECT_STARTS(submit(scene, "", scene->file, "bob@dest.test"), "452 4.7.1");
    finish(scene);
}

Test(submission, replays_a_mail_under_its_idempotency_key, T)
{
    struct scene *scene = begin();
    const char *file = write_mail(scene, SLICE("X-Meerkat-Idempotency-Key: k-1\r\n" MAIL));
    const char *other = write_mail(scene, SLICE("X-Meerkat-Idempotency-Key: k-1\r\n" MAIL "x\r\n"));
    const char *first = id_in(scene, submit(scene, "a@send.test", file, "bob@dest.test"));
    const char *again = id_in(scene, submit(scene, "b@send.test", file, "bob@dest.test"));
    cr_expect_str_eq(first, again);
    EXPECT_STARTS(submit(scene, "a@send.test", other, "bob@dest.test"), "554 5.7.0");
    EXPECT_STARTS(submit(scene, "a@send.test", file, "cy@dest.test"), "554 5.7.0");
    (void)world_await(scene->world, first, "message.send_status", "delivered"); /* it was sent */
    cr_expect_eq(world_sink_count(scene->world, scene->sink, "mails"), 1);
    finish(scene);
}

/* ---- keys ------------------------------------------------------------------------------------ */

Test(submission, ends_the_session_of_a_key_that_is_revoked, T)
{
    static const char *const modes[] = {"starttls", "tls"};
    struct scene *scene = begin();
    struct world *world = scene->world;
    const char *url = world_text(world, "http://127.0.0.1:%u", (unsigned)world->http_port);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct reply *made = world_post(world, "/v1/keys", "{'name':'k','permission':'send'}");
        cr_assert_eq(made->status, 201);
        const char *arguments[] = {url, world->key, reply_text(made, "id"), NULL};
        const char *said = ask(scene, modes[i], "revoke", reply_text(made, "key"), arguments);
        EXPECT_STARTS(said, "200\n421 4.7.0");
        cr_expect_not_null(strstr(said, "\nclosed\n535 5.7.8"), "%s", said);
    }
    finish(scene);
}

Test(submission, sends_nothing_of_a_test_key, T)
{
    struct scene *scene = begin();
    struct world *world = scene->world;
    struct reply *made = world_post(world, "/v1/keys", "{'name':'t','mode':'test'}");
    const char *key = reply_text(made, "key");
    const char *arguments[] = {"ann@send.test", scene->file, "bounced@test.invalid", NULL};
    const char *id = id_in(scene, ask(scene, "tls", "mail", key, arguments));
    struct wait wait = wait_start(WORLD_WAIT_MS);
    const char *status = "";
    do {
        struct world_call call = {
            .method = "GET", .path = world_text(world, "/api/messages/%s", id), .bearer = key};
        struct reply *read = world_call(world, &call);
        cr_assert_eq(read->status, 200);
        cr_expect_str_eq(reply_text(read, "message.mode"), "test");
        status = reply_text(read, "message.send_status");
    } while (strcmp(status, "bounced") != 0 && wait_more(&wait));
    cr_expect_str_eq(status, "bounced");
    cr_expect_eq(world_sink_count(world, scene->sink, "mails"), 0);
    finish(scene);
}

/* ---- crashes --------------------------------------------------------------------------------- */

Test(submission, has_an_answered_mail_on_disk_whatever_happens_next, T)
{
    struct scene *scene = begin();
    struct world *world = scene->world;
    size_t kept = 0;
    for (size_t round = 0; round < 3; round++) {
        /* clang-format off */
        const char *argv[] = {"/usr/bin/python3", scene->script, "flood", "tls",
                              port_of(scene, "tls"), scene->certs.cert_path, world->key,
                              "ann@send.test", scene->file, "bob@dest.test", NULL};
        /* clang-format on */
        struct peer *flood = world_spawn(world, "flood", argv);
        struct wait wait = wait_start(WORLD_WAIT_MS);
        struct slice said;
        do {
            said = world_read_file(world, flood->output);
        } while (said.len < 400 * (round + 1) && wait_more(&wait));
        world_kill(world);
        world_peer_stop(world, flood, SIGTERM);
        said = world_read_file(world, flood->output);
        world_start(world);
        while (said.data != NULL) {
            struct slice line = slice_cut(&said, '\n');
            if (slice_starts(line, SLICE("250 "))) {
                const char *id = id_in(scene, world_text(world, "%.*s", SLICE_FMT(line)));
                cr_assert_eq(world_get(world, "/api/messages/%s", id)->status, 200, "%s", id);
                kept += 1;
            }
        }
    }
    cr_assert_gt(kept, 10);
    finish(scene);
}
