/* The SMTP client against a server that follows a script.
 *
 * Not covered here: which host is tried and what becomes of a verdict (test_trip), the reading of
 * replies (net/test_smtp), what each of them means (mail/test_dsn), real servers (tests/flow).
 */
#include "deliver/attempt_smtp.h"

#include "base/crypto.h"
#include "support/certs.h"
#include "support/smtp_script.h"

#include <signal.h>
#include <stdarg.h>

/* clang-format off */
#define HELLO   {"", "220 mx.test ESMTP\r\n"}
#define EHLO    {"EHLO mail.meerkat.test", "250-mx.test\r\n250 PIPELINING\r\n"}
#define EHLO_NO {"EHLO mail.meerkat.test", "250 mx.test\r\n"}
#define MAIL    {"MAIL FROM:<s@send.test>", "250 ok\r\n"}
#define RCPT(n) {"RCPT TO:<r" #n "@dest.test>", "250 ok\r\n"}
#define DATA    {"DATA", "354 go\r\n"}
#define DOT     {".", "250 2.0.0 queued\r\n"}
#define RSET    {"RSET", "250 ok\r\n"}
#define END     {NULL, NULL}
#define R1(answer) {"RCPT TO:<r1@dest.test>", answer "\r\n"}
#define R2(answer) {"RCPT TO:<r2@dest.test>", answer "\r\n"}
#define R3(answer) {"RCPT TO:<r3@dest.test>", answer "\r\n"}
#define EHLO_AUTH {"EHLO", "250-mx.test\r\n250 AUTH LOGIN PLAIN\r\n"}
#define EHLO_TLS {"EHLO", "250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"}
#define STARTTLS {"STARTTLS", "!tls"}
/* clang-format on */

#define RCPTS 3
#define BODY  "Subject: hi\r\n\r\n.dot\r\nbye\r\n"

/* What a story asks for; zero is one live mail to r1, quit afterwards. */
struct wish {
    enum smtp_tls tls;
    uint64_t timeout_ms;
    uint64_t size_bytes;
    uint32_t rcpt_count; /* 0: 1 */
    uint32_t mails;      /* one after the other; 0: 1 */
    uint32_t chunks;     /* 0: as few as the script needs */
    bool needs_utf8;
    bool needs_8bit;
    bool has_login;
    bool is_left_idle;    /* no quit: until the server or time ends it */
    bool verifies;        /* TLS_VERIFY_NAME */
    bool is_lock_step;    /* the server's */
    bool aborts_in_chunk; /* the owner gives up while a chunk is asked for */
    bool is_late;         /* chunks are given a turn later */
    bool is_stranger;     /* the client does not know who signed the server's certificate */
};

struct client {
    struct wish wish;
    struct loop loop;
    struct smtp_script script;
    struct attempt_smtp *attempt; /* NULL once gone */
    struct attempt_options options;
    struct attempt_mail mail;
    struct attempt_rcpt rcpts[RCPTS];
    struct timer late;
    struct timer watchdog;
    uint32_t mails;
    uint32_t chunk;
    bool is_over;
    char log[1024];
    size_t log_len;
    char text[VERDICT_TEXT_MAX];
    char transcript[SMTP_TRANSCRIPT_MAX + 1];
    char tls_text[96];
};

static char big_chunk[CHUNK_BYTES];

static PRINTF_LIKE(2, 3) void say(struct client *client, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    client->log_len += (size_t)vsnprintf(client->log + client->log_len,
                                         sizeof client->log - client->log_len, fmt, args);
    va_end(args);
}

static void say_verdict(struct client *client, const struct verdict *verdict)
{
    static const char classes[] = "+4-";
    static const char *const scopes[] = {"rcpt", "mail", "host"};
    say(client, "%c%s/%s/%u/%s", classes[verdict->class], smtp_step_name(verdict->step),
        scopes[verdict->scope], (unsigned)verdict->code, verdict->enhanced);
    (void)snprintf(client->text, sizeof client->text, "%s", verdict->text);
}

static void keep_transcript(struct client *client)
{
    struct slice said = attempt_smtp_transcript(client->attempt);
    (void)snprintf(client->transcript, sizeof client->transcript, "%.*s", SLICE_FMT(said));
    (void)snprintf(client->tls_text, sizeof client->tls_text, "%s",
                   attempt_smtp_tls(client->attempt));
}

static void over(struct client *client)
{
    client->attempt = NULL;
    client->is_over = true;
    timer_stop(&client->watchdog);
    script_close(&client->script);
    loop_stop(&client->loop);
}

static void send_next(struct client *client)
{
    const struct wish *wish = &client->wish;
    static const char *const addrs[RCPTS] = {"r1@dest.test", "r2@dest.test", "r3@dest.test"};
    client->mails += 1;
    client->chunk = 0;
    memset(client->rcpts, 0, sizeof client->rcpts);
    for (uint32_t i = 0; i < RCPTS; i++) {
        client->rcpts[i].addr = slice_str(addrs[i]);
    }
    client->mail = (struct attempt_mail){
        .sender = SLICE("s@send.test"),
        .rcpts = client->rcpts,
        .rcpt_count = wish->rcpt_count == 0 ? 1 : wish->rcpt_count,
        .prefix = SLICE("DKIM-Signature: x\r\n"),
        .size_bytes = wish->size_bytes == 0 ? 100 : wish->size_bytes,
        .chunk_count = wish->chunks,
        .first_chunk = SLICE(BODY),
        .needs_utf8 = wish->needs_utf8,
        .needs_8bit = wish->needs_8bit,
    };
    attempt_smtp_send(client->attempt, &client->mail);
}

static void on_ready(struct attempt_smtp *attempt)
{
    struct client *client = attempt_smtp_owner(attempt);
    cr_assert(attempt_smtp_is_alive(attempt));
    say(client, "ready ");
    send_next(client);
}

static void give_chunk(struct client *client)
{
    attempt_smtp_chunk(client->attempt, slice_of(big_chunk, sizeof big_chunk));
}

static void on_late(struct timer *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, late);
    if (client->attempt != NULL) {
        give_chunk(client);
    }
}

static void on_chunk(struct attempt_smtp *attempt, uint32_t index)
{
    struct client *client = attempt_smtp_owner(attempt);
    client->chunk += 1;
    cr_assert_eq(index, client->chunk, "chunks are asked for one after the other");
    if (client->wish.aborts_in_chunk) {
        say(client, "abort ");
        attempt_smtp_abort(attempt);
        over(client);
    } else if (client->wish.is_late) {
        timer_start(&client->late, 1);
    } else {
        give_chunk(client);
    }
}

static void on_judged(struct attempt_smtp *attempt)
{
    struct client *client = attempt_smtp_owner(attempt);
    bool is_alive = attempt_smtp_is_alive(attempt);
    say(client, "judged");
    for (uint32_t i = 0; i < client->mail.rcpt_count; i++) {
        cr_assert(client->rcpts[i].is_judged);
        say(client, " ");
        say_verdict(client, &client->rcpts[i].verdict);
    }
    say(client, is_alive ? " alive " : " gone ");
    keep_transcript(client);
    uint32_t wanted = client->wish.mails == 0 ? 1 : client->wish.mails;
    if (!is_alive) {
        over(client);
    } else if (client->mails < wanted) {
        send_next(client);
    } else if (!client->wish.is_left_idle) {
        attempt_smtp_quit(attempt);
        over(client);
    }
}

static void on_failed(struct attempt_smtp *attempt, const struct verdict *verdict)
{
    struct client *client = attempt_smtp_owner(attempt);
    for (uint32_t i = 0; i < client->mail.rcpt_count && client->mails == 1; i++) {
        cr_assert(!client->rcpts[i].is_judged || client->wish.is_left_idle,
                  "a failure is told before anybody was judged");
    }
    say(client, "failed ");
    say_verdict(client, verdict);
    say(client, " ");
    keep_transcript(client);
    over(client);
}

static const struct attempt_handler events = {on_ready, on_chunk, on_judged, on_failed};

static void on_watchdog(struct timer *timer UNUSED)
{
    cr_assert(false, "the story never ended");
}

static void open_attempt(struct client *client)
{
    const struct wish *wish = &client->wish;
    client->options = (struct attempt_options){
        .loop = &client->loop,
        .handler = &events,
        .host = "mx.test",
        .ehlo = SLICE("mail.meerkat.test"),
        .tls = wish->tls,
        .timeout_ms = wish->timeout_ms == 0 ? 3000 : wish->timeout_ms,
    };
    if (wish->has_login) {
        client->options.user = SLICE("operator");
        client->options.password = SLICE("correct horse");
    }
    char text[32];
    int len =
        snprintf(text, sizeof text, "127.0.0.1:%u", (unsigned)client->script.listener.tcp_port);
    cr_assert_eq(conn_addr_parse(slice_of(text, (size_t)len), 0, &client->options.addr), ERR_OK);
}

/* A mail that the server speaks in the midst of must be longer than what fits the sockets. */
static uint32_t chunks_of(const struct script_step *steps)
{
    for (; steps->line != NULL; steps++) {
        if (strcmp(steps->line, "~") == 0) {
            return 40;
        }
    }
    return 1;
}

static void client_init(struct client *client, const struct script_step *steps, struct wish wish)
{
    *client = (struct client){.wish = wish};
    client->wish.chunks = wish.chunks == 0 ? chunks_of(steps) : wish.chunks;
    loop_init(&client->loop, "test", 0);
    script_init(&client->script, &client->loop, steps);
    client->script.is_lock_step = wish.is_lock_step;
    timer_init(&client->late, &client->loop, on_late);
    timer_init(&client->watchdog, &client->loop, on_watchdog);
    timer_start(&client->watchdog, 20000);
    open_attempt(client);
    if (wish.tls != SMTP_TLS_NONE && !wish.verifies) {
        cr_assert_eq(
            tls_client_new(TLS_VERIFY_NONE, slice_of(NULL, 0), &client->options.tls_context),
            ERR_OK);
    }
}

static void client_run(struct client *client)
{
    client->attempt = attempt_smtp_open(&client->options, client);
    cr_assert_eq(client->log_len, 0, "nothing is told inside attempt_smtp_open");
    loop_run(&client->loop);
    cr_assert(client->is_over);
    timer_stop(&client->late);
    loop_fini(&client->loop);
}

static void client_fini(struct client *client)
{
    script_fini(&client->script);
    if (client->script.tls != NULL) {
        tls_context_drop(client->script.tls);
    }
    if (client->options.tls_context != NULL) {
        tls_context_drop(client->options.tls_context);
    }
}

/* Follows the script to its end and compares what the owner was told. */
static void follow(const char *name, const struct script_step *steps, struct wish wish,
                   const char *expected)
{
    struct client client;
    client_init(&client, steps, wish);
    client_run(&client);
    cr_assert_str_eq(client.log, expected, "%s", name);
    cr_assert_null(client.script.steps->line, "%s: the script was not followed to its end: %s",
                   name, client.script.steps->line);
    client_fini(&client);
}

#define GOOD          "ready judged +body/mail/250/2.0.0 alive "
#define REFUSED(code) "ready judged -mail/mail/0/" code " alive " /* at once */

static void setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    crypto_init();
    for (size_t i = 0; i < sizeof big_chunk; i++) {
        big_chunk[i] = i % 64 == 63 ? '\n' : i % 64 == 62 ? '\r' : 'x';
    }
}

TestSuite(attempt_smtp, .init = setup);

/* ---- one mail, as it should be -------------------------------------------------------------- */

Test(attempt_smtp, sends_a_mail_line_by_line)
{
    static const struct script_step steps[] = {HELLO, EHLO_NO, MAIL, RCPT(1), DATA, DOT, END};
    struct client client;
    client_init(&client, steps, (struct wish){.is_lock_step = true});
    client_run(&client);
    cr_assert_str_eq(client.log, GOOD);
    cr_assert(slice_equal(buf_slice(&client.script.mail),
                          SLICE("DKIM-Signature: x\r\nSubject: hi\r\n\r\n..dot\r\nbye\r\n.\r\n")));
    cr_assert_eq(client.script.quits, 1);
    client_fini(&client);
}

/* The script keeps silent until the whole envelope is there. */
Test(attempt_smtp, sends_the_envelope_at_once_when_pipelining_is_offered)
{
    static const struct script_step steps[] = {
        HELLO,
        EHLO,
        {"MAIL FROM:<s@send.test>", NULL},
        {"RCPT TO:<r1@dest.test>", NULL},
        {"RCPT TO:<r2@dest.test>", NULL},
        {"DATA", "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"},
        DOT,
        END,
    };
    follow("pipelined", steps, (struct wish){.rcpt_count = 2},
           "ready judged +body/mail/250/2.0.0 +body/mail/250/2.0.0 alive ");
}

Test(attempt_smtp, reads_answers_in_whatever_pieces_they_come)
{
    static const struct script_step steps[] = {
        {"", "220-mx.test\r\n220-ESMTP\r\n220 hello\r\n"},
        {"EHLO", "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 HELP\r\n"},
        {"MAIL FROM:<s@send.test> SIZE=100", NULL},
        {"RCPT", "250-two\r\n250 lines\r\n250 2.1.5 ok\r\n"},
        DATA,
        {".", "250-2.0.0 all\r\n250 2.0.0 good\r\n"},
        END,
    };
    follow("pieces", steps, (struct wish){0}, GOOD);
}

Test(attempt_smtp, says_helo_to_those_who_refuse_ehlo)
{
    static const struct script_step steps[] = {HELLO,
                                               {"EHLO", "502 what?\r\n"},
                                               {"HELO mail.meerkat.test", "250 PIPELINING\r\n"},
                                               MAIL,
                                               RCPT(1),
                                               DATA,
                                               DOT,
                                               END};
    follow("helo", steps, (struct wish){.tls = SMTP_TLS_MAY, .is_lock_step = true}, GOOD);
}

Test(attempt_smtp, says_what_the_mail_needs)
{
    static const char offers[] = "250-mx.test\r\n250-SIZE 200\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";
    static const struct {
        const char *mail;
        struct wish wish;
    } cases[] = {
        {"MAIL FROM:<s@send.test> SIZE=200", {.size_bytes = 200}},
        {"MAIL FROM:<s@send.test> SIZE=100 BODY=8BITMIME", {.needs_8bit = true}},
        {"MAIL FROM:<s@send.test> SIZE=100 BODY=8BITMIME SMTPUTF8", {.needs_utf8 = true}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct script_step steps[] = {
            HELLO, {"EHLO", offers}, {cases[i].mail, "250 ok\r\n"}, RCPT(1), DATA, DOT, END};
        follow(cases[i].mail, steps, cases[i].wish, GOOD);
    }
}

Test(attempt_smtp, bounces_at_once_what_the_server_cannot_take)
{
    static const struct script_step small[] = {HELLO, {"EHLO", "250-mx\r\n250 SIZE 99\r\n"}, END};
    static const struct script_step ascii[] = {HELLO, {"EHLO", "250-mx\r\n250 8BITMIME\r\n"}, END};
    static const struct script_step any[] = {
        HELLO, {"EHLO", "250-mx\r\n250 SIZE 0\r\n"}, MAIL, RCPT(1), DATA, DOT, END};
    follow("size", small, (struct wish){0}, REFUSED("5.3.4"));
    follow("utf8", ascii, (struct wish){.needs_utf8 = true}, REFUSED("5.6.7"));
    follow("8 bits", small, (struct wish){.size_bytes = 9, .needs_8bit = true}, REFUSED("5.6.3"));
    follow("no limit, RFC 1870 3", any, (struct wish){.size_bytes = 1 << 30}, GOOD);
}

Test(attempt_smtp, pulls_the_body_in_chunks)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT(1), DATA, DOT, END};
    for (int is_late = 0; is_late < 2; is_late++) {
        struct client client;
        client_init(&client, steps, (struct wish){.chunks = 9, .is_late = is_late == 1});
        client_run(&client);
        cr_assert_str_eq(client.log, GOOD);
        cr_assert_eq(client.chunk, 8);
        cr_assert_gt(client.script.mail.len, 8 * sizeof big_chunk);
        cr_assert_lt(client.script.mail.len, 8 * sizeof big_chunk + 100);
        client_fini(&client);
    }
}

Test(attempt_smtp, may_be_given_up_while_a_chunk_is_on_its_way)
{
    static const struct script_step steps[] = {HELLO, EHLO, MAIL, RCPT(1), DATA, END};
    follow("abort", steps, (struct wish){.chunks = 2, .aborts_in_chunk = true}, "ready abort ");
}

/* ---- several mails -------------------------------------------------------------------------- */

Test(attempt_smtp, sends_further_mails_on_the_same_connection)
{
    static const struct script_step steps[] = {HELLO, EHLO,    MAIL, RCPT(1), DATA, DOT,
                                               MAIL,  RCPT(1), DATA, DOT,     END};
    struct client client;
    client_init(&client, steps, (struct wish){.mails = 2});
    client_run(&client);
    cr_assert_str_eq(client.log, GOOD "judged +body/mail/250/2.0.0 alive ");
    cr_assert_eq(client.script.conns, 1);
    cr_assert_not_null(strstr(client.transcript, "used again, mail 2"));
    cr_assert_null(strstr(client.transcript, "EHLO"), "the transcript is of the last mail");
    client_fini(&client);
}

Test(attempt_smtp, sends_a_mail_behind_one_that_nobody_wanted)
{
    static const struct script_step steps[] = {
        HELLO, EHLO_NO, MAIL, {"RCPT", "550 5.1.1 no\r\n"}, RSET, MAIL, RCPT(1), DATA, DOT, END};
    follow("rset", steps, (struct wish){.mails = 2, .is_lock_step = true},
           "ready judged -rcpt/rcpt/550/5.1.1 alive judged +body/mail/250/2.0.0 alive ");
}

Test(attempt_smtp, tells_when_the_server_ends_an_idle_connection)
{
    static const struct script_step closes[] = {
        HELLO, EHLO, MAIL, RCPT(1), DATA, {".", "250 ok\r\n421 4.4.2 idle\r\n"}, END};
    static const struct script_step nonsense[] = {
        HELLO, EHLO, MAIL, RCPT(1), DATA, {".", "250 ok\r\n250 and again\r\n"}, END};
    follow("421", closes, (struct wish){.is_left_idle = true}, GOOD "failed 4quit/host/421/4.4.2 ");
    follow("an answer to nothing", nonsense, (struct wish){.is_left_idle = true},
           GOOD "failed 4quit/host/250/4.5.0 ");
}

/* ---- recipients, one by one ----------------------------------------------------------------- */

Test(attempt_smtp, judges_each_recipient_by_its_own_answer)
{
    static const char expected[] =
        "ready judged -rcpt/rcpt/550/5.1.1 4rcpt/rcpt/451/4.3.0 +body/mail/250/2.0.0 alive ";
    static const struct script_step piped[] = {
        HELLO, EHLO, MAIL, R1("550 5.1.1 no such user"), R2("451 later"), R3("250 ok"),
        DATA,  DOT,  END};
    static const struct script_step lines[] = {
        HELLO, EHLO_NO, MAIL, R1("550 5.1.1 no such user"), R2("451 later"), R3("251 ok"),
        DATA,  DOT,     END};
    follow("pipelined", piped, (struct wish){.rcpt_count = 3}, expected);
    follow("line by line", lines, (struct wish){.rcpt_count = 3, .is_lock_step = true}, expected);
}

Test(attempt_smtp, gives_the_last_answer_to_those_who_were_accepted)
{
    static const struct script_step steps[] = {
        HELLO, EHLO, MAIL, R1("550 5.1.1 no"), R2("250 ok"), DATA, {".", "554 5.7.1 spam\r\n"},
        END};
    follow("refused", steps, (struct wish){.rcpt_count = 2},
           "ready judged -rcpt/rcpt/550/5.1.1 -body/mail/554/5.7.1 alive ");
}

/* RFC 2920 3.1: DATA was pipelined and is accepted, though nobody is left. */
Test(attempt_smtp, ends_a_mail_for_nobody_with_a_lone_dot)
{
    static const struct script_step steps[] = {HELLO,
                                               EHLO,
                                               MAIL,
                                               R1("550 5.1.1 no"),
                                               R2("452 4.2.2 full"),
                                               DATA,
                                               {".", "554 5.5.1 no valid recipients\r\n"},
                                               END};
    struct client client;
    client_init(&client, steps, (struct wish){.rcpt_count = 2});
    client_run(&client);
    cr_assert_str_eq(client.log, "ready judged -rcpt/rcpt/550/5.1.1 4rcpt/rcpt/452/4.2.2 alive ");
    cr_assert(slice_equal(buf_slice(&client.script.mail), SLICE(".\r\n")), "none of the mail");
    client_fini(&client);
}

Test(attempt_smtp, resets_when_the_sender_is_refused)
{
    static const struct script_step piped[] = {HELLO,
                                               EHLO,
                                               {"MAIL", "550 5.7.1 not you\r\n"},
                                               R1("503 5.5.1 need MAIL"),
                                               R2("250 ok"), /* means nothing */
                                               {"DATA", "503 5.5.1 need MAIL\r\n"},
                                               RSET,
                                               END};
    static const struct script_step lines[] = {
        HELLO, EHLO_NO, {"MAIL", "451 4.7.1 greylisted\r\n"}, RSET, END};
    follow("pipelined", piped, (struct wish){.rcpt_count = 2},
           "ready judged -mail/mail/550/5.7.1 -mail/mail/550/5.7.1 alive ");
    follow("line by line", lines, (struct wish){.rcpt_count = 2, .is_lock_step = true},
           "ready judged 4mail/mail/451/4.7.1 4mail/mail/451/4.7.1 alive ");
}

Test(attempt_smtp, judges_all_when_the_data_are_refused)
{
    static const struct script_step steps[] = {
        HELLO, EHLO, MAIL, RCPT(1), {"DATA", "554 5.7.1 no\r\n"}, RSET, END};
    static const struct script_step success[] = {
        HELLO, EHLO_NO, MAIL, RCPT(1), {"DATA", "250 2.0.0 thank you\r\n"}, RSET, END};
    follow("554", steps, (struct wish){0}, "ready judged -data/mail/554/5.7.1 alive ");
    follow("250 without a mail", success, (struct wish){.is_lock_step = true},
           "ready judged 4data/host/250/2.0.0 alive ");
}

/* ---- the end at each step ------------------------------------------------------------------- */

#define BYE "421 4.3.2 closing\r\n"

static const struct {
    const char *name;
    struct script_step steps[12];
    const char *expected;
} byes[] = {
    {"greeting", {{"", BYE}}, "failed 4greeting/host/421/4.3.2 "},
    {"ehlo", {HELLO, {"EHLO", BYE}}, "failed 4ehlo/host/421/4.3.2 "},
    {"mail", {HELLO, EHLO_NO, {"MAIL", BYE}}, "ready failed 4mail/host/421/4.3.2 "},
    {"first rcpt",
     {HELLO, EHLO_NO, MAIL, R1("421 4.3.2 bye")},
     "ready failed 4rcpt/host/421/4.3.2 "},
    {"second rcpt",
     {HELLO, EHLO_NO, MAIL, R1("250 ok"), R2("421 4.3.2 bye")},
     "ready failed 4rcpt/host/421/4.3.2 "},
    /* The first one's refusal stands, and the others are tried again later. */
    {"second rcpt behind a refusal",
     {HELLO, EHLO_NO, MAIL, R1("550 5.1.1 no"), R2("421 4.3.2 bye")},
     "ready judged -rcpt/rcpt/550/5.1.1 4rcpt/host/421/4.3.2 gone "},
    {"data",
     {HELLO, EHLO_NO, MAIL, R1("250 ok"), R2("250 ok"), {"DATA", BYE}},
     "ready failed 4data/host/421/4.3.2 "},
    {"final dot",
     {HELLO, EHLO_NO, MAIL, R1("250 ok"), R2("250 ok"), DATA, {".", BYE}},
     "ready judged 4body/host/421/4.3.2 4body/host/421/4.3.2 gone "},
    {"rset",
     {HELLO, EHLO_NO, {"MAIL", "550 5.7.1 no\r\n"}, {"RSET", BYE}},
     "ready judged -mail/mail/550/5.7.1 -mail/mail/550/5.7.1 gone "},
};

Test(attempt_smtp, ends_on_421_at_each_step)
{
    for (size_t i = 0; i < ARRAY_LEN(byes); i++) {
        follow(byes[i].name, byes[i].steps, (struct wish){.rcpt_count = 2}, byes[i].expected);
    }
}

static const struct {
    const char *name;
    struct script_step steps[12];
    const char *expected;
    bool is_uncertain;
} drops[] = {
    {"greeting", {{"", "!close"}}, "failed 4greeting/host/0/4.4.2 ", false},
    {"ehlo", {HELLO, {"EHLO", "!close"}}, "failed 4ehlo/host/0/4.4.2 ", false},
    {"mail", {HELLO, EHLO, {"MAIL", "!close"}}, "ready failed 4mail/host/0/4.4.2 ", false},
    {"rcpt", {HELLO, EHLO_NO, MAIL, {"RCPT", "!close"}}, "ready failed 4rcpt/host/0/4.4.2 ", false},
    {"rcpt behind a refusal",
     {HELLO, EHLO_NO, MAIL, R1("550 5.1.1 no"), {"RCPT", "!reset"}},
     "ready judged -rcpt/rcpt/550/5.1.1 4rcpt/host/0/4.4.2 gone ",
     false},
    {"data",
     {HELLO, EHLO_NO, MAIL, R1("250 ok"), R2("250 ok"), {"DATA", "!close"}},
     "ready failed 4data/host/0/4.4.2 ",
     false},
    {"before the final dot",
     {HELLO, EHLO, MAIL, R1("250 ok"), R2("250 ok"), DATA, {"~", "!reset"}},
     "ready judged 4data/host/0/4.4.2 4data/host/0/4.4.2 gone ",
     false},
    {"after the final dot",
     {HELLO, EHLO, MAIL, R1("250 ok"), R2("250 ok"), DATA, {".", "!close"}},
     "ready judged 4body/host/0/4.4.2 4body/host/0/4.4.2 gone ",
     true},
    {"reset after the final dot",
     {HELLO, EHLO, MAIL, R1("550 5.1.1 no"), R2("250 ok"), DATA, {".", "!reset"}},
     "ready judged -rcpt/rcpt/550/5.1.1 4body/host/0/4.4.2 gone ",
     true},
    {"after a lone dot",
     {HELLO, EHLO, MAIL, R1("550 5.1.1 no"), R2("550 5.1.1 no"), DATA, {".", "!close"}},
     "ready judged -rcpt/rcpt/550/5.1.1 -rcpt/rcpt/550/5.1.1 gone ",
     false},
    {"rset",
     {HELLO, EHLO_NO, {"MAIL", "550 5.7.1 no\r\n"}, {"RSET", "!close"}},
     "ready judged -mail/mail/550/5.7.1 -mail/mail/550/5.7.1 gone ",
     false},
};

/* RFC 5321 4.5.3.2.6: only between the final dot and its answer can nobody know. */
Test(attempt_smtp, says_when_nobody_knows_what_became_of_the_mail)
{
    for (size_t i = 0; i < ARRAY_LEN(drops); i++) {
        struct client client;
        client_init(&client, drops[i].steps, (struct wish){.rcpt_count = 2});
        client_run(&client);
        cr_assert_str_eq(client.log, drops[i].expected, "%s", drops[i].name);
        bool is_uncertain = strstr(client.text, "may have been delivered") != NULL;
        cr_assert_eq(is_uncertain, drops[i].is_uncertain, "%s: %s", drops[i].name, client.text);
        client_fini(&client);
    }
}

static const struct {
    const char *name;
    struct script_step steps[12];
    const char *expected;
    const char *text;
} silences[] = {
    {"greeting", {{"", NULL}}, "failed 4greeting/host/0/4.4.2 ", "no answer in time at greeting"},
    {"ehlo", {HELLO, {"EHLO", NULL}}, "failed 4ehlo/host/0/4.4.2 ", "no answer in time at ehlo"},
    {"half an answer",
     {HELLO, {"EHLO", "250-mx.test\r\n"}},
     "failed 4ehlo/host/0/4.4.2 ",
     "no answer in time at ehlo"},
    {"mail",
     {HELLO, EHLO_NO, {"MAIL", NULL}},
     "ready failed 4mail/host/0/4.4.2 ",
     "no answer in time at mail"},
    {"rcpt",
     {HELLO, EHLO_NO, MAIL, {"RCPT", NULL}},
     "ready failed 4rcpt/host/0/4.4.2 ",
     "no answer in time at rcpt"},
    {"data",
     {HELLO, EHLO_NO, MAIL, RCPT(1), {"DATA", NULL}},
     "ready failed 4data/host/0/4.4.2 ",
     "no answer in time at data"},
    {"final dot",
     {HELLO, EHLO_NO, MAIL, RCPT(1), DATA, {".", NULL}},
     "ready judged 4body/host/0/4.4.2 gone ",
     "no answer in time at body after the whole mail was sent; it may have been delivered"},
    {"rset",
     {HELLO, EHLO_NO, {"MAIL", "550 5.7.1 no\r\n"}, {"RSET", NULL}},
     "ready judged -mail/mail/550/5.7.1 gone ",
     NULL},
};

Test(attempt_smtp, waits_no_longer_than_it_may)
{
    for (size_t i = 0; i < ARRAY_LEN(silences); i++) {
        struct client client;
        client_init(&client, silences[i].steps, (struct wish){.timeout_ms = 30});
        client_run(&client);
        cr_assert_str_eq(client.log, silences[i].expected, "%s", silences[i].name);
        if (silences[i].text != NULL) {
            cr_assert_str_eq(client.text, silences[i].text);
        }
        client_fini(&client);
    }
}

/* RFC 5321 4.5.3.2: the limit is for each command; many recipients may take longer together. */
Test(attempt_smtp, gives_each_command_its_time)
{
    static const struct script_step steps[] = {
        HELLO, EHLO_NO, MAIL, R1("!late 250 ok"), R2("!late 250 ok"), R3("!late 250 ok"),
        DATA,  DOT,     END};
    follow("slow", steps, (struct wish){.rcpt_count = 3, .timeout_ms = 5 * SCRIPT_LATE_MS / 2},
           "ready judged +body/mail/250/2.0.0 +body/mail/250/2.0.0 +body/mail/250/2.0.0 alive ");
}

/* ---- what is not SMTP ----------------------------------------------------------------------- */

static const struct {
    const char *name;
    struct script_step steps[12];
    const char *expected;
} oddities[] = {
    {"another protocol", {{"", "SSH-2.0-OpenSSH_9.2\r\n"}}, "failed 4greeting/host/0/4.5.0 "},
    {"web server",
     {HELLO, {"EHLO", "HTTP/1.1 400 Bad Request\r\n\r\n"}},
     "failed 4ehlo/host/0/4.5.0 "},
    {"codes that differ", {HELLO, {"EHLO", "250-a\r\n550 b\r\n"}}, "failed 4ehlo/host/0/4.5.0 "},
    {"garbage for a recipient",
     {HELLO, EHLO_NO, MAIL, {"RCPT", "ok\r\n"}},
     "ready failed 4rcpt/host/0/4.5.0 "},
    {"garbage for a mail",
     {HELLO, EHLO_NO, MAIL, RCPT(1), DATA, {".", "queued\r\n"}},
     "ready judged 4body/host/0/4.5.0 gone "},
    {"no service", {{"", "554 5.7.1 go away\r\n"}}, "failed 4greeting/host/554/5.7.1 "},
    /* A good answer to nothing must not count as the mail's. */
    {"250 for a greeting", {{"", "250 hello\r\n"}}, "failed 4greeting/host/250/4.5.0 "},
    {"250 in the middle of the mail",
     {HELLO, EHLO, MAIL, RCPT(1), DATA, {"~", "250 2.0.0 got it\r\n"}},
     "ready judged 4body/host/250/4.5.0 gone "},
    {"250 before the mail",
     {HELLO, EHLO, MAIL, RCPT(1), {"DATA", "354 go\r\n250 2.0.0 got it\r\n"}},
     "ready judged 4body/host/0/4.5.0 gone "},
    {"554 in the middle of the mail",
     {HELLO, EHLO, MAIL, RCPT(1), DATA, {"~", "554 5.7.1 spam\r\n"}},
     "ready judged -body/mail/554/5.7.1 gone "},
    {"354 for a mail",
     {HELLO, EHLO, MAIL, RCPT(1), DATA, {".", "354 more\r\n"}},
     "ready judged 4body/mail/354/4.5.0 alive "},
};

Test(attempt_smtp, takes_nothing_odd_for_a_delivery)
{
    for (size_t i = 0; i < ARRAY_LEN(oddities); i++) {
        struct client client;
        client_init(&client, oddities[i].steps, (struct wish){.is_late = true});
        client_run(&client);
        cr_assert_str_eq(client.log, oddities[i].expected, "%s", oddities[i].name);
        client_fini(&client);
    }
}

Test(attempt_smtp, tells_that_nobody_listens)
{
    static const struct script_step steps[] = {END};
    struct client client;
    client_init(&client, steps, (struct wish){0});
    script_close(&client.script); /* now the port is nobody's */
    client_run(&client);
    cr_assert_str_eq(client.log, "failed 4connect/host/0/4.4.1 ");
    cr_assert_not_null(strstr(client.text, "cannot connect to 127.0.0.1"));
    client_fini(&client);
}

/* ---- logging in ----------------------------------------------------------------------------- */

Test(attempt_smtp, logs_in_and_hides_the_password)
{
    /* base64 of NUL operator NUL correct horse */
    static const struct script_step steps[] = {
        HELLO, EHLO_AUTH, {"AUTH PLAIN AG9wZXJhdG9yAGNvcnJlY3QgaG9yc2U=", "235 2.7.0 ok\r\n"},
        MAIL,  RCPT(1),   DATA,
        DOT,   END};
    struct client client;
    client_init(&client, steps, (struct wish){.has_login = true});
    client_run(&client);
    cr_assert_str_eq(client.log, GOOD);
    cr_assert_not_null(strstr(client.transcript, "C: AUTH PLAIN (hidden)\n"));
    cr_assert_null(strstr(client.transcript, "AG9wZXJhdG9y"));
    client_fini(&client);
}

Test(attempt_smtp, defers_when_it_cannot_log_in)
{
    static const struct script_step refused[] = {
        HELLO, EHLO_AUTH, {"AUTH PLAIN", "535 5.7.8 wrong\r\n"}, END};
    static const struct script_step not_offered[] = {
        HELLO, {"EHLO", "250-mx.test\r\n250 AUTH LOGIN\r\n"}, END};
    static const struct script_step more[] = {HELLO, EHLO_AUTH, {"AUTH PLAIN", "334 \r\n"}, END};
    static const struct script_step odd[] = {HELLO, EHLO_AUTH, {"AUTH PLAIN", "250 ok\r\n"}, END};
    static const struct script_step in_clear[] = {HELLO, EHLO_AUTH, END};
    struct wish wish = {.has_login = true};
    follow("535", refused, wish, "failed 4auth/host/535/5.7.8 ");
    follow("no PLAIN", not_offered, wish, "failed 4ehlo/host/0/4.7.0 ");
    follow("334", more, wish, "failed 4auth/host/334/4.5.0 ");
    follow("250", odd, wish, "failed 4auth/host/250/4.5.0 ");
    wish.tls = SMTP_TLS_MAY;
    follow("in clear", in_clear, wish, "failed 4ehlo/host/0/4.7.0 ");
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static void follow_tls(const char *name, const struct script_step *steps, struct wish wish,
                       const char *expected)
{
    struct certs certs;
    certs_make(&certs, "mx.test", 3600);
    struct client client;
    client_init(&client, steps, wish);
    cr_assert_eq(
        tls_server_new(slice_str(certs.cert_path), slice_str(certs.key_path), &client.script.tls),
        ERR_OK);
    if (wish.verifies) {
        struct slice ca = wish.is_stranger ? slice_of(NULL, 0) : slice_str(certs.cert_path);
        cr_assert_eq(tls_client_new(TLS_VERIFY_NAME, ca, &client.options.tls_context), ERR_OK);
    }
    client_run(&client);
    cr_assert_str_eq(client.log, expected, "%s: %s", name, client.text);
    bool was_good = strstr(expected, "+body") != NULL;
    bool was_tls = strncmp(client.tls_text, "TLSv1.3 TLS_", 12) == 0;
    cr_assert_eq(was_tls, was_good, "%s: %s", name, client.tls_text);
    client_fini(&client);
    certs_remove(&certs);
}

Test(attempt_smtp, sends_over_tls)
{
    static const struct script_step upgraded[] = {HELLO,   EHLO_TLS, STARTTLS, EHLO, MAIL,
                                                  RCPT(1), DATA,     DOT,      END};
    static const struct script_step implicit[] = {{"", "!tls"}, HELLO, EHLO, MAIL,
                                                  RCPT(1),      DATA,  DOT,  END};
    follow_tls("may", upgraded, (struct wish){.tls = SMTP_TLS_MAY}, GOOD);
    follow_tls("require", upgraded, (struct wish){.tls = SMTP_TLS_REQUIRE, .verifies = true}, GOOD);
    follow_tls("implicit", implicit, (struct wish){.tls = SMTP_TLS_IMPLICIT, .verifies = true},
               GOOD);
}

/* RFC 3207 4.2: what was said in clear is forgotten, also what came behind the 220. */
Test(attempt_smtp, forgets_what_was_said_before_tls)
{
    static const struct script_step injected[] = {
        HELLO, EHLO_TLS, {"STARTTLS", "220 go\r\n250-evil\r\n250 SIZE 1\r\n"}, END};
    static const struct script_step shrunk[] = {
        HELLO,    {"EHLO", "250-mx.test\r\n250-SIZE 1\r\n250-PIPELINING\r\n250 STARTTLS\r\n"},
        STARTTLS, EHLO_NO,
        MAIL,     RCPT(1),
        DATA,     DOT,
        END};
    struct wish wish = {.tls = SMTP_TLS_MAY, .timeout_ms = 50};
    follow("injected", injected, wish, "failed 4tls/host/0/4.4.2 ");
    wish = (struct wish){.tls = SMTP_TLS_MAY, .is_lock_step = true};
    follow_tls("caps", shrunk, wish, GOOD);
}

Test(attempt_smtp, sends_in_clear_only_where_it_may)
{
    static const struct script_step none[] = {HELLO, EHLO_TLS, MAIL, RCPT(1), DATA, DOT, END};
    static const struct script_step not_offered[] = {HELLO, EHLO, MAIL, RCPT(1), DATA, DOT, END};
    static const struct script_step refused[] = {
        HELLO, EHLO_TLS, {"STARTTLS", "454 4.7.0 not now\r\n"}, MAIL, RCPT(1), DATA, DOT, END};
    static const struct script_step wanted[] = {HELLO, EHLO, END};
    static const struct script_step wanted_refused[] = {
        HELLO, EHLO_TLS, {"STARTTLS", "454 4.7.0 not now\r\n"}, END};
    static const struct script_step wanted_odd[] = {
        HELLO, EHLO_TLS, {"STARTTLS", "250 sure\r\n"}, END};
    static const struct script_step helo[] = {HELLO, {"EHLO", "502 what?\r\n"}, END};
    struct wish may = {.tls = SMTP_TLS_MAY};
    struct wish must = {.tls = SMTP_TLS_REQUIRE};
    follow("none", none, (struct wish){.tls = SMTP_TLS_NONE}, GOOD);
    follow("may, not offered", not_offered, may, GOOD);
    follow("may, refused", refused, may, GOOD);
    follow("require, not offered", wanted, must, "failed 4starttls/host/0/4.7.4 ");
    follow("require, refused", wanted_refused, must, "failed 4starttls/host/454/4.7.0 ");
    follow("require, odd", wanted_odd, must, "failed 4starttls/host/250/4.5.0 ");
    follow("require, no ehlo", helo, must, "failed 4ehlo/host/502/5.5.1 ");
}

Test(attempt_smtp, tells_a_failed_handshake_from_other_failures)
{
    static const struct script_step closes[] = {HELLO, EHLO_TLS, {"STARTTLS", "220 go\r\n"}, END};
    static const struct script_step stranger[] = {HELLO, EHLO_TLS, STARTTLS, END};
    follow("silence", closes, (struct wish){.tls = SMTP_TLS_MAY, .timeout_ms = 50},
           "failed 4tls/host/0/4.4.2 ");
    follow_tls("unknown certificate", stranger,
               (struct wish){.tls = SMTP_TLS_REQUIRE, .verifies = true, .is_stranger = true},
               "failed 4tls/host/0/4.7.5 ");
}

/* ---- what is kept --------------------------------------------------------------------------- */

Test(attempt_smtp, keeps_the_dialogue)
{
    static const struct script_step steps[] = {HELLO, EHLO_NO, MAIL, RCPT(1), DATA, DOT, END};
    struct client client;
    client_init(&client, steps, (struct wish){0});
    client_run(&client);
    static const char *const lines[] = {
        "-- connecting to mx.test [127.0.0.1]:", "S: 220 mx.test ESMTP\n",
        "C: EHLO mail.meerkat.test\nS: 250 mx.test\nC: MAIL FROM:<s@send.test>\nS: 250 ok\n",
        "C: RCPT TO:<r1@dest.test>\n",
        "C: DATA\nS: 354 go\nC: (100 bytes of mail, then the final dot)\nS: 250 queued\n"};
    const char *at = client.transcript;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        at = strstr(at, lines[i]);
        cr_assert_not_null(at, "%s in\n%s", lines[i], client.transcript);
    }
    client_fini(&client);
}

/* A server that talks without end fills the transcript, no more. */
Test(attempt_smtp, keeps_the_dialogue_within_its_ceiling)
{
    static char long_answer[64 * 1024];
    size_t len = 0;
    for (int i = 0; i < 90; i++) {
        len += (size_t)snprintf(long_answer + len, sizeof long_answer - len, "250%c%d%0*d\r\n",
                                i < 89 ? '-' : ' ', i, 80 + i, 7);
    }
    const struct script_step steps[] = {
        {"", "220 mx\r\n"}, {"EHLO", long_answer}, MAIL, RCPT(1), DATA, DOT, END};
    follow("long", steps, (struct wish){0}, GOOD);
}
