/* Flow: mail that others bring over SMTP. swaks, curl over STARTTLS and a real Postfix deliver, and
 * what was stored is read back over HTTP byte for byte behind our trace.
 *
 * Postfix needs root and Debian's postfix user; without them its tests say so and are skipped.
 *
 * Not covered here: every dialogue (unit/edge/test_smtp_in*), webhooks and routes of received mail
 * (test_webhook).
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/buf.h"
#include "support/certs.h"
#include "support/world.h"

/* ---- the world ------------------------------------------------------------------------------- */

/* A daemon that takes mail for recv.test. */
static struct world *begin(const struct certs *certs)
{
    struct world *world = world_new();
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_set(world, "tls_cert", "%s", certs->cert_path);
    world_set(world, "tls_key", "%s", certs->key_path);
    world_dns(world, "host-record=" WORLD_HOST ",127.0.0.1\n"
                     "txt-record=from.test,\"v=spf1 ip4:127.0.0.1 -all\"\n"
                     "txt-record=_dmarc.from.test,\"v=DMARC1; p=reject\"\n");
    world_start(world);
    cr_assert_neq(world->smtp_port, 0);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "recv.test");           /* found by its name */
    return world;
}

static void finish(struct world *world, const struct certs *certs)
{
    world_end(world);
    certs_remove(certs);
}

struct letter {
    const char *from;
    const char *to;
    const char *file; /* what is sent, with the line ends of the wire */
    bool is_plain;    /* no STARTTLS */
};

/* What the client said, its exit status in *status. swaks speaks in clear, curl over STARTTLS or
 * not at all. */
static struct slice bring(struct world *world, const struct letter *letter, int *status)
{
    const char *server = world_text(world, "127.0.0.1:%u", (unsigned)world->smtp_port);
    const char *data = world_text(world, "@%s", letter->file);
    const char *url = world_text(world, "smtp://%s/client.from.test", server);
    /* clang-format off */
    const char *plain[] = {"swaks", "--server", server, "--ehlo", "client.from.test", "--from",
                           letter->from, "--to", letter->to, "--data", data, "--suppress-data",
                           NULL};
    const char *over_tls[] = {"curl", "-sv", "--stderr", "-", "-k", "--ssl-reqd", "--mail-from",
                              letter->from, "--mail-rcpt", letter->to, "--upload-file",
                              letter->file, url, NULL};
    /* clang-format on */
    struct slice said;
    *status = world_tool(world, letter->is_plain ? plain : over_tls, SLICE(""), &said);
    return said;
}

/* The id in "queued as msg_...". */
static const char *id_in(struct world *world, struct slice said)
{
    size_t at = slice_find(said, SLICE("Ok: queued as msg_"));
    cr_assert_neq(at, SIZE_MAX, "not accepted: %.*s", SLICE_FMT(said));
    struct slice rest = slice_from(said, at + strlen("Ok: queued as "));
    size_t len = 0;
    while (len < rest.len && (ascii_is_alpha(rest.data[len]) || ascii_is_digit(rest.data[len]) ||
                              rest.data[len] == '_')) {
        len += 1;
    }
    return world_text(world, "%.*s", (int)len, rest.data);
}

static struct slice raw_of(struct world *world, const char *id)
{
    struct reply *raw = world_get(world, "/api/messages/%s/raw", id);
    cr_assert_eq(raw->status, 200, "%s", id);
    return raw->body;
}

/* What stands behind the trace: it ends with the first Received field. */
static struct slice behind_trace(struct slice raw)
{
    size_t at = slice_find(raw, SLICE("\r\nReceived: from "));
    cr_assert(slice_starts(raw, SLICE("Return-Path: <")), "%.*s", SLICE_FMT(slice_head(raw, 200)));
    cr_assert_neq(at, SIZE_MAX);
    at += 2;
    for (;;) { /* its folded lines */
        size_t end = slice_find(slice_from(raw, at), SLICE("\r\n"));
        cr_assert_neq(end, SIZE_MAX);
        at += end + 2;
        if (at < raw.len && raw.data[at] != '\t' && raw.data[at] != ' ') {
            return slice_from(raw, at);
        }
    }
}

/* A mail of about so many bytes. */
static struct slice make_mail(struct world *world, const char *id, size_t bytes)
{
    struct buf mail;
    uint64_t line = 0;
    buf_init(&mail, bytes + 1024);
    buf_add_format(&mail,
                   "From: Ann <ann@from.test>\r\nTo: Bob <bob@recv.test>\r\nSubject: hello\r\n"
                   "Message-ID: <%s@from.test>\r\nDate: Sat, 21 Nov 2026 06:38:51 +0000\r\n\r\n",
                   id);
    buf_add_str(&mail, ".a dot, and 8 bits: \xc3\xa4\r\n..two\r\n");
    while (mail.len < bytes) {
        buf_add_format(&mail, "line %llu of a long text\r\n", (unsigned long long)line++);
    }
    struct slice copy = arena_dup(&world->arena, buf_slice(&mail));
    buf_fini(&mail);
    return copy;
}

static const char *write_mail(struct world *world, const char *id, struct slice mail)
{
    const char *path = world_text(world, "%s/%s.eml", world->dir, id);
    world_write_file(world, path, mail);
    return path;
}

/* ---- clients --------------------------------------------------------------------------------- */

Test(inbound_smtp, stores_what_clients_bring_byte_for_byte)
{
    static const size_t sizes[] = {400, 200000, 262144, 900000};
    struct certs certs;
    certs_make(&certs, WORLD_HOST, 86400);
    struct world *world = begin(&certs);
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        size_t size = sizes[i / 2];
        const char *name = world_text(world, "m%zu", i);
        struct slice mail = make_mail(world, name, size);
        int status = 0;
        struct letter letter = {.from = "ann@from.test",
                                .to = "bob@recv.test",
                                .file = write_mail(world, name, mail),
                                .is_plain = i % 2 == 0};
        struct slice said = bring(world, &letter, &status);
        cr_assert_eq(status, 0, "%.*s", SLICE_FMT(said));
        struct slice raw = raw_of(world, id_in(world, said));
        struct slice got = behind_trace(raw);
        cr_assert(slice_starts(got, mail), "%zu bytes differ", size);
        cr_assert_eq(got.len, mail.len + (letter.is_plain ? 2 : 0), "swaks ends one line more");
        struct slice trace = slice_head(raw, raw.len - got.len);
        cr_expect_neq(slice_find(trace, SLICE("spf=pass smtp.mailfrom=ann@from.test")), SIZE_MAX);
        cr_expect_neq(slice_find(trace, SLICE("dmarc=pass header.from=from.test")), SIZE_MAX);
        const char *with = letter.is_plain ? "with ESMTP\r\n" : "with ESMTPS (TLSv1.3 ";
        cr_expect_neq(slice_find(trace, slice_str(with)), SIZE_MAX, "%.*s", SLICE_FMT(trace));
        cr_expect_neq(slice_find(trace, SLICE("for <bob@recv.test>;")), SIZE_MAX);
    }
    finish(world, &certs);
}

Test(inbound_smtp, refuses_what_is_not_for_its_domains)
{
    static const struct {
        const char *to;
        const char *reply;
    } table[] = {{"bob@elsewhere.test", "550 5.7.1"}, {"bob@sub.recv.test", "550 5.7.1"}};
    struct certs certs;
    certs_make(&certs, WORLD_HOST, 86400);
    struct world *world = begin(&certs);
    const char *file = write_mail(world, "x", make_mail(world, "x", 300));
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int status = 0;
        struct letter letter = {.from = "ann@from.test", .to = table[i].to, .file = file};
        struct slice said = bring(world, &letter, &status);
        cr_expect_neq(status, 0);
        cr_expect_neq(slice_find(said, slice_str(table[i].reply)), SIZE_MAX, "%.*s",
                      SLICE_FMT(said));
    }
    finish(world, &certs);
}

Test(inbound_smtp, has_an_answered_mail_on_disk_whatever_happens_next)
{
    struct certs certs;
    certs_make(&certs, WORLD_HOST, 86400);
    struct world *world = begin(&certs);
    struct slice mail = make_mail(world, "kept", 600000);
    int status = 0;
    struct letter letter = {.from = "ann@from.test",
                            .to = "bob@recv.test",
                            .file = write_mail(world, "kept", mail),
                            .is_plain = true};
    const char *id = id_in(world, bring(world, &letter, &status));
    world_kill(world);
    world_start(world);
    cr_assert(slice_starts(behind_trace(raw_of(world, id)), mail));
    /* Its sender did not hear the answer and brings it again: it is the same mail. */
    const char *again = id_in(world, bring(world, &letter, &status));
    cr_assert_str_eq(again, id);
    finish(world, &certs);
}

Test(inbound_smtp, takes_the_bounce_of_a_mail_that_it_sent)
{
    struct certs certs;
    certs_make(&certs, WORLD_HOST, 86400);
    struct world *world = begin(&certs);
    struct peer *sink = world_sink(world, "127.0.0.1", NULL);
    world_dns(world, "host-record=mx.dest.test,127.0.0.1\nmx-host=dest.test,mx.dest.test,10\n");
    world_stop(world);
    world_start(world);
    (void)world_send(world, "{'from':'ann@recv.test','to':'x@dest.test','text':'x'}");
    struct slice sent = world_sink_mail(world, sink, 1);
    size_t at = slice_find(sent, SLICE("<b."));
    cr_assert_neq(at, SIZE_MAX, "%.*s", SLICE_FMT(slice_head(sent, 400)));
    struct slice path = slice_from(sent, at + 1);
    path = slice_head(path, slice_find_byte(path, '>'));
    const char *to = world_text(world, "%.*s", SLICE_FMT(path));
    const char *file = write_mail(world, "bounce", make_mail(world, "bounce", 300));
    int status = 0;
    struct letter letter = {.from = "<>", .to = to, .file = file};
    struct slice said = bring(world, &letter, &status);
    cr_assert_eq(status, 0, "%.*s", SLICE_FMT(said));
    (void)id_in(world, said); /* it was accepted */
    /* With another check it is nobody's. */
    char *forged = (char *)(uintptr_t)world_text(world, "%s", to);
    char *end = strchr(forged, '@') - 1;
    *end = *end == '0' ? '1' : '0';
    letter.to = forged;
    said = bring(world, &letter, &status);
    cr_assert_neq(status, 0, "%.*s", SLICE_FMT(said));
    finish(world, &certs);
}

/* ---- by hand --------------------------------------------------------------------------------- */

static int dial(const struct world *world)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(world->smtp_port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {.tv_sec = WORLD_WAIT_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_neq(fd, -1);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

/* Sends, and reads until it stands in what came; that, terminated. */
static const char *say(struct world *world, int fd, struct slice bytes, const char *expected)
{
    char *in = arena_bytes(&world->arena, 4096);
    size_t len = 0;
    in[0] = '\0';
    cr_assert_eq(send(fd, bytes.data, bytes.len, MSG_NOSIGNAL), (ssize_t)bytes.len);
    while (strstr(in, expected) == NULL) {
        ssize_t got = recv(fd, in + len, 4095 - len, 0);
        cr_assert_gt(got, 0, "expected %s, got %s", expected, in);
        len += (size_t)got;
        in[len] = '\0';
    }
    return in;
}

Test(inbound_smtp, hears_a_mail_out_when_it_is_told_to_stop)
{
    struct certs certs;
    certs_make(&certs, WORLD_HOST, 86400);
    struct world *world = begin(&certs);
    struct slice mail = make_mail(world, "last", 500000);
    int fd = dial(world);
    (void)say(world, fd,
              SLICE("EHLO client.from.test\r\nMAIL FROM:<ann@from.test>\r\n"
                    "RCPT TO:<bob@recv.test>\r\nDATA\r\n"),
              "\r\n354 ");
    int idle = dial(world);
    (void)say(world, idle, SLICE("EHLO idle.from.test\r\n"), "SIZE");
    /* make_mail's second line begins with a dot that must be doubled; leave both out. */
    size_t body = slice_find(mail, SLICE("line 0 "));
    struct slice header = slice_head(mail, slice_find(mail, SLICE("\r\n\r\n")) + 4);
    struct slice text = slice_from(mail, body);
    (void)say(world, fd, header, "");
    (void)say(world, fd, slice_head(text, 300000), "");
    cr_assert_eq(kill(world->daemon, SIGTERM), 0);
    (void)say(world, idle, SLICE(""), "421 4.3.2");
    (void)say(world, fd, slice_from(text, 300000), "");
    const char *said = say(world, fd, SLICE(".\r\n"), "421 4.3.2");
    const char *id = id_in(world, slice_str(said));
    cr_assert_eq(close(fd), 0);
    cr_assert_eq(close(idle), 0);
    world_await_stop(world);
    world_start(world);
    struct slice got = behind_trace(raw_of(world, id));
    cr_assert(slice_starts(got, header));
    cr_assert(slice_equal(slice_from(got, header.len), text));
    finish(world, &certs);
}

/* ---- Postfix --------------------------------------------------------------------------------- */

static const char main_cf[] = "compatibility_level = 3.6\n"
                              "queue_directory = $config_directory/queue\n"
                              "data_directory = $config_directory/data\n"
                              "command_directory = /usr/sbin\n"
                              "daemon_directory = /usr/lib/postfix/sbin\n"
                              "maillog_file = $config_directory/maillog\n"
                              "maillog_file_prefixes = $config_directory\n"
                              "myhostname = out.from.test\n"
                              "mydestination =\n"
                              "alias_maps =\n"
                              "inet_interfaces = 127.0.0.1\n"
                              "inet_protocols = ipv4\n"
                              "mynetworks = 127.0.0.0/8\n"
                              "message_size_limit = 40000000\n"
                              "smtpd_peername_lookup = no\n"
                              "smtpd_relay_restrictions = permit_mynetworks, reject\n"
                              "smtp_dns_support_level = disabled\n"
                              "relayhost = [127.0.0.1]:%u\n"
                              "smtp_tls_security_level = encrypt\n"
                              "smtp_tls_loglevel = 1\n";

static const char master_cf[] = "127.0.0.1:%u inet n - n - - smtpd\n"
                                "cleanup   unix       n - n - 0 cleanup\n"
                                "qmgr      unix       n - n 300 1 qmgr\n"
                                "tlsmgr    unix       - - n 1000? 1 tlsmgr\n"
                                "rewrite   unix       - - n - - trivial-rewrite\n"
                                "bounce    unix       - - n - 0 bounce\n"
                                "defer     unix       - - n - 0 bounce\n"
                                "trace     unix       - - n - 0 bounce\n"
                                "proxymap  unix       - - n - - proxymap\n"
                                "smtp      unix       - - n - - smtp\n"
                                "relay     unix       - - n - - smtp\n"
                                "error     unix       - - n - - error\n"
                                "retry     unix       - - n - - error\n"
                                "anvil     unix       - - n - 1 anvil\n"
                                "scache    unix       - - n - 1 scache\n"
                                "postlog   unix-dgram n - n - 1 postlogd\n";

struct postfix {
    const char *dir;
    uint16_t tcp_port;
};

static void make_folder(struct world *world, const char *path, uid_t owner)
{
    if (mkdir(path, 0755) == -1 || chown(path, owner, (gid_t)-1) == -1) {
        world_fail(world, "cannot make %s: %s", path, strerror(errno));
    }
}

static struct slice log_of(struct world *world, const struct postfix *postfix)
{
    return world_read_file(world, world_text(world, "%s/maillog", postfix->dir));
}

/* One that relays whatever it gets to the daemon, over TLS or not at all. */
static struct postfix start_postfix(struct world *world)
{
    const struct passwd *user = getpwnam("postfix");
    uid_t uid = user->pw_uid;
    struct postfix postfix = {.dir = world_text(world, "%s/postfix", world->dir),
                              .tcp_port = world_free_port()};
    (void)chmod(world->dir, 0711); /* Postfix's processes say what they cannot reach */
    make_folder(world, postfix.dir, 0);
    make_folder(world, world_text(world, "%s/queue", postfix.dir), 0);
    make_folder(world, world_text(world, "%s/data", postfix.dir), uid);
    world_write_file(world, world_text(world, "%s/main.cf", postfix.dir),
                     slice_str(world_text(world, main_cf, (unsigned)world->smtp_port)));
    world_write_file(world, world_text(world, "%s/master.cf", postfix.dir),
                     slice_str(world_text(world, master_cf, (unsigned)postfix.tcp_port)));
    const char *check[] = {"/usr/sbin/postfix", "-c", postfix.dir, "check", NULL};
    const char *run[] = {"/usr/lib/postfix/sbin/master", "-c", postfix.dir, "-s", NULL};
    if (world_tool(world, check, SLICE(""), NULL) != 0) {
        world_fail(world, "Postfix does not like its folder");
    }
    (void)world_spawn(world, "postfix", run); /* the world stops it */
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!world_is_listening(postfix.tcp_port)) {
        if (!wait_more(&wait)) {
            world_fail(world, "Postfix does not start: %.*s", SLICE_FMT(log_of(world, &postfix)));
        }
    }
    return postfix;
}

/* Hands a mail to Postfix and waits until the daemon has taken it from there; its id. */
static const char *relay(struct world *world, const struct postfix *postfix, const char *file)
{
    const char *server = world_text(world, "127.0.0.1:%u", (unsigned)postfix->tcp_port);
    const char *data = world_text(world, "@%s", file);
    const char *argv[] = {"swaks", "--server",      server,   "--from", "ann@from.test",
                          "--to",  "bob@recv.test", "--data", data,     "--suppress-data",
                          NULL};
    struct slice said;
    size_t before = log_of(world, postfix).len;
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0, "%.*s", SLICE_FMT(said));
    struct wait wait = wait_start(WORLD_WAIT_MS);
    for (;;) {
        struct slice log = slice_from(log_of(world, postfix), before);
        if (slice_find(log, SLICE("status=sent")) != SIZE_MAX) {
            return id_in(world, log);
        }
        if (!wait_more(&wait)) {
            world_fail(world, "Postfix could not deliver: %.*s", SLICE_FMT(log));
        }
    }
}

Test(inbound_smtp, stores_what_postfix_brings_byte_for_byte)
{
    static const size_t sizes[] = {500, 250000, 3000000};
    struct certs certs;
    if (geteuid() != 0 || getpwnam("postfix") == NULL) {
        cr_skip_test("Postfix needs root and its user");
    }
    certs_make(&certs, WORLD_HOST, 86400);
    struct world *world = begin(&certs);
    struct postfix postfix = start_postfix(world);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const char *name = world_text(world, "p%zu", sizes[i]);
        struct slice mail = make_mail(world, name, sizes[i]);
        const char *id = relay(world, &postfix, write_mail(world, name, mail));
        struct slice raw = raw_of(world, id);
        struct slice got = behind_trace(raw);
        cr_assert(slice_starts(got, SLICE("Received: from ")), "Postfix's own: %.*s",
                  SLICE_FMT(slice_head(got, 200)));
        size_t at = slice_find(got, SLICE("From: Ann "));
        cr_assert_neq(at, SIZE_MAX);
        cr_assert(slice_starts(slice_from(got, at), mail), "%zu bytes differ", sizes[i]);
        struct slice trace = slice_head(raw, raw.len - got.len);
        cr_expect_neq(slice_find(trace, SLICE("from out.from.test ([127.0.0.1])")), SIZE_MAX);
        cr_expect_neq(slice_find(trace, SLICE("with ESMTPS (TLSv1.3 ")), SIZE_MAX);
        cr_expect_neq(slice_find(trace, SLICE("dmarc=pass")), SIZE_MAX);
    }
    finish(world, &certs);
}
