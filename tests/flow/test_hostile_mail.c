/* Flow: mails that nobody should write, as they come in over SMTP. Each is taken, and can then be
 * read and is told as JSON, or is refused with a word why; and the daemon goes on.
 *
 * Not covered here: what is read of them (tests/unit/mail/test_mime_read.c), the dialogue
 * (tests/unit/edge/test_smtp_in.c).
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/limits.h"
#include "support/world.h"

#define RAW_MAX (24 * MIB)

/* ---- the mails ------------------------------------------------------------------------------- */

static const char *const head = "From: =?utf-8?q?A_=C3=A4?= <a@peer.test>\r\n"
                                "To: <x@in.test>\r\nSubject: hostile\r\nMIME-Version: 1.0\r\n";

static void nest(struct buf *out)
{
    buf_add_str(out, head);
    for (unsigned i = 0; i < 5000; i++) {
        buf_add_format(out, "Content-Type: multipart/mixed; boundary=b%u\r\n\r\n--b%u\r\n", i, i);
    }
    buf_add_str(out, "\r\nthe middle\r\n");
}

static void nest_messages(struct buf *out)
{
    buf_add_str(out, head);
    for (unsigned i = 0; i < 2000; i++) {
        buf_add_str(out, "Content-Type: message/rfc822\r\n\r\n");
    }
    buf_add_str(out, "\r\nthe middle\r\n");
}

static void part(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (unsigned i = 0; i < 5000; i++) {
        buf_add_format(
            out, "--b\r\nContent-Disposition: attachment; filename=f%u\r\n\r\npart %u\r\n", i, i);
    }
    buf_add_str(out, "--b--\r\n");
}

static void null(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "\r\nbefore ");
    buf_add_byte(out, '\0');
    buf_add_str(out, " behind\r\n");
}

static void bare(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "\r\nsmuggled\n.\nMAIL FROM:<b@peer.test>\r\n");
}

static void fill(struct buf *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf_add_byte(out, (char)('a' + i % 26));
    }
}

static void stretch(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "X-Long: ");
    fill(out, 10 * MIB);
    buf_add_str(out, "\r\n\r\nx\r\n");
}

static void address(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "Cc: ");
    for (unsigned i = 0; i < 20000; i++) {
        buf_add_format(out, "g%u: \"(\" <a%u@peer.test>,;,\r\n ", i, i);
    }
    buf_add_str(out, "<end@peer.test>\r\n\r\nx\r\n");
}

static void encode(struct buf *out)
{
    buf_add_str(out, "From: =?x-unknown?q?=FF=FE?= <a@peer.test>\r\nSubject: =?utf-8?b?/////w?= "
                     "\xff\xfe =?utf-8?q?=ED=A0=80?=\r\nContent-Type: multipart/mixed; "
                     "boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
                     "Content-Transfer-Encoding: base64\r\n\r\n////gICA=!?=AAAA\r\n--b\r\n"
                     "Content-Type: text/html; charset=x-none\r\n"
                     "Content-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ=F=\xc3\x28=00=1b\r\n"
                     "--b\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+AAA-\xf8\x88\r\n--b--"
                     "\r\n");
}

static void lose_boundary(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "Content-Type: multipart/alternative\r\n\r\n--what\r\n\r\nx\r\n");
}

static void lose_head(struct buf *out)
{
    buf_add_str(out, "no header field here, and no author\r\nnor here\r\n");
}

static void be_empty(struct buf *out)
{
    buf_add_str(out, "");
}

static void name_in_pieces(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out,
                "Content-Type: application/octet-stream\r\nContent-Disposition: attachment;\r\n"
                " filename*0*=utf-8''%e2%82%ac%20;\r\n filename*1=\"rates\";\r\n"
                " filename*2*=%2etxt\r\n\r\nx\r\n");
}

static void invite(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n"
                     "Content-Type: text/plain\r\n\r\ncome\r\n--b\r\n"
                     "Content-Type: text/calendar; method=REQUEST; name=invite.ics\r\n\r\n"
                     "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n--b--\r\n");
}

static void seal(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "Content-Type: application/pkcs7-mime; smime-type=enveloped-data;"
                     " name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n"
                     "Content-Disposition: attachment; filename=smime.p7m\r\n\r\nMIAGCSqGSIb3\r\n");
}

static void outlook(struct buf *out)
{
    buf_add_str(out, head);
    buf_add_str(out, "Content-Type: application/ms-tnef; name=\"winmail.dat\"\r\n"
                     "Content-Transfer-Encoding: base64\r\n\r\neJ8+IgAA\r\n");
}

struct sample {
    const char *name; /* local part of its recipient */
    void (*make)(struct buf *out);
    const char *file; /* name of the first attachment; NULL: any or none */
    bool is_refused;
};

static const struct sample samples[] = {
    {"nested", nest, NULL, false},
    {"messages", nest_messages, NULL, false},
    {"parts", part, "f0", false},
    {"nul", null, NULL, true},
    {"bare", bare, NULL, true},
    {"stretched", stretch, NULL, false},
    {"addresses", address, NULL, false},
    {"encoded", encode, NULL, false},
    {"boundless", lose_boundary, NULL, false},
    {"headless", lose_head, NULL, false},
    {"empty", be_empty, NULL, false},
    {"pieces", name_in_pieces, "\xe2\x82\xac rates.txt", false},
    {"calendar", invite, "invite.ics", false},
    {"sealed", seal, "smime.p7m", false},
    {"outlook", outlook, "winmail.dat", false},
};

/* ---- SMTP ------------------------------------------------------------------------------------ */

struct dialogue {
    int fd;
    char line[1024]; /* the last one of the last reply, terminated */
};

static void open_dialogue(struct dialogue *dialogue, uint16_t tcp_port)
{
    const struct timeval patience = {.tv_sec = 30};
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(tcp_port),
    };
    dialogue->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(dialogue->fd != -1);
    CHECK(setsockopt(dialogue->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(setsockopt(dialogue->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0);
    cr_assert_eq(connect(dialogue->fd, (const struct sockaddr *)&to, sizeof to), 0);
}

/* The code of the next reply, or 0 when there is none. */
static unsigned read_reply(struct dialogue *dialogue)
{
    size_t len = 0;
    do {
        len = 0;
        while (len < sizeof dialogue->line - 1 &&
               recv(dialogue->fd, &dialogue->line[len], 1, 0) == 1 && dialogue->line[len] != '\n') {
            len += 1;
        }
        dialogue->line[len] = '\0';
    } while (len > 3 && dialogue->line[3] == '-');
    return (unsigned)strtoul(dialogue->line, NULL, 10);
}

/* A server may have answered, and left, before it was told everything. */
static unsigned say(struct dialogue *dialogue, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(dialogue->fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (sent <= 0) {
            break;
        }
        bytes = slice_from(bytes, (size_t)sent);
    }
    return read_reply(dialogue);
}

/* The last code; the reply's text in dialogue->line. */
static unsigned offer(struct dialogue *dialogue, struct world *world, const struct sample *sample)
{
    struct buf raw;
    buf_init(&raw, RAW_MAX);
    sample->make(&raw);
    buf_add_str(&raw, "\r\n.\r\n");
    CHECK(!raw.is_over);
    open_dialogue(dialogue, world->smtp_port);
    cr_assert_eq(read_reply(dialogue), 220, "%s", dialogue->line);
    cr_assert_eq(say(dialogue, SLICE("EHLO peer.test\r\n")), 250, "%s", dialogue->line);
    cr_assert_eq(say(dialogue, SLICE("MAIL FROM:<a@peer.test>\r\n")), 250, "%s", dialogue->line);
    const char *rcpt = world_text(world, "RCPT TO:<%s@in.test>\r\n", sample->name);
    cr_assert_eq(say(dialogue, slice_str(rcpt)), 250, "%s", dialogue->line);
    cr_assert_eq(say(dialogue, SLICE("DATA\r\n")), 354, "%s", dialogue->line);
    unsigned code = say(dialogue, buf_slice(&raw));
    (void)close(dialogue->fd); /* everything was said */
    buf_fini(&raw);
    return code;
}

/* ---- what became of them --------------------------------------------------------------------- */

static struct peer *open_world(struct world **made)
{
    struct world *world = world_new();
    *made = world;
    struct peer *sink = world_sink(world, "127.0.0.1", NULL);
    world_set(world, "smtp_listen", "127.0.0.1:0");
    world_start(world);
    (void)world_signup(world, "owner@customer.test"); /* its key is the world's */
    (void)world_domain(world, "in.test");             /* found by name */
    struct reply *route =
        world_post(world, "/api/routes",
                   "{'match':'*@in.test','action':'webhook','destination':'http://127.0.0.1:%u/'}",
                   (unsigned)sink->http_port);
    cr_assert_eq(route->status, 201, "%.*s", SLICE_FMT(route->body));
    return sink;
}

static void check_read(struct world *world, const struct sample *sample, const char *line)
{
    const char *id = strstr(line, "msg_");
    cr_assert_not_null(id, "%s", line);
    struct slice rest = slice_str(id);
    struct slice text = slice_trim(slice_cut(&rest, '\r'));
    struct reply *read = world_get(world, "/api/messages/%.*s", SLICE_FMT(text));
    cr_expect_eq(read->status, 200, "%s: %ld", sample->name, read->status);
    cr_expect_not_null(read->json, "%s: %.*s", sample->name,
                       SLICE_FMT(slice_head(read->body, 400)));
    cr_expect_str_eq(reply_text(read, "deliveries.0.recipient"),
                     world_text(world, "%s@in.test", sample->name));
}

static const struct sample *sample_of(const char *rcpt)
{
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        size_t len = strlen(samples[i].name);
        if (strncmp(rcpt, samples[i].name, len) == 0 && rcpt[len] == '@') {
            return &samples[i];
        }
    }
    cr_assert_fail("a webhook for %s", rcpt);
    return NULL;
}

static void check_hook(struct world *world, const char *path)
{
    struct slice request = world_read_file(world, path);
    size_t at = slice_find(request, SLICE("\r\n\r\n"));
    cr_assert_neq(at, SIZE_MAX);
    struct slice body = slice_from(request, at + 4);
    json_error_t error;
    json_t *json = json_loadb(body.data, body.len, JSON_ALLOW_NUL, &error);
    cr_assert_not_null(json, "%s in %.*s", error.text, SLICE_FMT(slice_head(request, 400)));
    json_array_append_new(world->documents, json);
    cr_expect_str_eq(json_string_value(json_object_get(json, "type")), "email.received");
    const json_t *to = json_array_get(json_object_get(json, "to"), 0);
    const struct sample *sample = sample_of(json_string_value(json_object_get(to, "address")));
    if (sample->file != NULL) {
        const json_t *file = json_array_get(json_object_get(json, "attachments"), 0);
        const char *name = json_string_value(json_object_get(file, "filename"));
        cr_expect_str_eq(name != NULL ? name : "", sample->file, "%s", sample->name);
    }
}

Test(hostile_mail, is_taken_and_told_or_refused_with_a_reason, .timeout = 120)
{
    struct world *world = NULL;
    struct peer *sink = open_world(&world);
    long long taken = 0;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *sample = &samples[i];
        struct dialogue dialogue;
        unsigned code = offer(&dialogue, world, sample);
        printf("%s: %s\n", sample->name, dialogue.line);
        cr_expect(code == 250 || (code >= 500 && strlen(dialogue.line) > 10), "%s: %s",
                  sample->name, dialogue.line);
        cr_expect_eq(code != 250, sample->is_refused, "%s: %s", sample->name, dialogue.line);
        if (code == 250) {
            taken += 1;
            check_read(world, sample, dialogue.line);
        }
    }
    struct wait wait = wait_start(2 * WORLD_WAIT_MS);
    while (world_sink_count(world, sink, "hooks") < taken && wait_more(&wait)) {
    }
    cr_assert_eq(world_sink_count(world, sink, "hooks"), taken);
    for (long long i = 1; i <= taken; i++) {
        check_hook(world, world_text(world, "%s/%06lld-hook.http", sink->store, i));
    }
    cr_expect_eq(world_get(world, "/api/health")->status, 200);
    world_end(world);
}
