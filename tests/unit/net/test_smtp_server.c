/* test_smtp_server.c - dialogues with the SMTP server's machine, however their bytes are split.
 *
 * Not covered here: paths and parameters (test_smtp_envelope.c), lines and stuffing on their own
 * (test_smtp.c), sockets and shards (edge), random input and verdicts (tests/fuzz).
 */
#include "net/smtp_server.h"

#include "base/check.h"
#include "base/crypto.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* The session of these tests: it keeps a log of events and reply codes, and its verdicts depend on
 * what is said: local parts "no", "later", "bye", "nodata", "nomail" are refused at RCPT, RCPT,
 * RCPT, DATA and END; so are a hello of "evil" and passwords other than "secret". */
struct session {
    struct smtp_server server;
    struct buf log;
    struct buf mail;
    struct buf held; /* bytes that the machine has not taken */
    char sender[ADDR_MAX];
    bool is_late; /* verdicts come after another attempt to feed */
};

enum profile { MX, SUBMISSION, CLEAR_SUBMISSION, PLAIN_MX, SMALL };

static struct smtp_server_options options_of(enum profile profile)
{
    struct smtp_server_options options = {
        .hostname = SLICE("mx.test"),
        .offers = {.starttls = true,
                   .pipelining = true,
                   .eight_bit_mime = true,
                   .smtputf8 = true,
                   .chunking = true,
                   .enhanced_status = true,
                   .dsn = true},
        .size_max = 100000,
        .rcpt_max = 3,
        .mails_max = 3,
        .bad_max = 4,
        .rcpt_refused_max = 3,
        .auth_refused_max = 2,
    };
    if (profile == SUBMISSION) {
        options.offers.auth = true;
        options.offers.starttls = false;
        options.needs_tls = true;
        options.needs_auth = true;
        options.is_tls = true;
    } else if (profile == CLEAR_SUBMISSION) {
        options.offers.auth = true;
        options.needs_tls = true;
    } else if (profile == PLAIN_MX) {
        options.offers = (struct smtp_offers){.pipelining = true};
    } else if (profile == SMALL) {
        options.size_max = 20;
    }
    return options;
}

static void log_slice(struct session *session, const char *name, struct slice text)
{
    buf_add_format(&session->log, "%s(%.*s)", name, SLICE_FMT(text));
}

/* Codes of what is to be written, each followed by a space. */
static void take_replies(struct session *session)
{
    struct slice rest = smtp_server_out(&session->server);
    size_t len = rest.len;
    while (rest.len > 0) {
        size_t end = slice_find(rest, SLICE("\r\n"));
        cr_assert_neq(end, SIZE_MAX, "replies are whole lines");
        struct slice line = slice_head(rest, end);
        rest = slice_from(rest, end + 2);
        cr_assert_not(slice_has_control(line, ""));
        cr_assert_gt(line.len, 3);
        if (line.data[3] == ' ') {
            buf_add(&session->log, slice_head(line, 4));
        }
    }
    smtp_server_wrote(&session->server, len);
}

static void answer_rcpt(struct session *session)
{
    struct smtp_server *server = &session->server;
    struct slice local = server->rcpt.to.local;
    if (slice_equal(local, SLICE("no"))) {
        smtp_server_refuse(server, 550, "5.1.1", SLICE("no such user"));
    } else if (slice_equal(local, SLICE("later"))) {
        smtp_server_refuse_err(server, ERR_BUSY);
    } else if (slice_equal(local, SLICE("bye"))) {
        smtp_server_refuse(server, 421, "4.3.2", SLICE("shutting down"));
    } else {
        smtp_server_accept(server, SLICE(""));
    }
}

static void answer(struct session *session)
{
    struct smtp_server *server = &session->server;
    struct slice sender = slice_str(session->sender);
    bool is_good = true;
    switch (smtp_server_asked(server)) {
    case SMTP_EVENT_HELLO:
        is_good = !slice_equal(server->hello, SLICE("evil"));
        break;
    case SMTP_EVENT_AUTH:
        is_good = slice_equal(server->auth.password, SLICE("secret"));
        break;
    case SMTP_EVENT_RCPT:
        answer_rcpt(session);
        return;
    case SMTP_EVENT_DATA:
        is_good = !slice_starts(sender, SLICE("nodata@"));
        break;
    case SMTP_EVENT_END:
        is_good = !slice_starts(sender, SLICE("nomail@"));
        break;
    default:
        break;
    }
    if (is_good) {
        smtp_server_accept(server, SLICE(""));
    } else {
        smtp_server_refuse(server, 550, "5.7.1", SLICE("no"));
    }
}

static void log_event(struct session *session, enum smtp_event event)
{
    struct smtp_server *server = &session->server;
    switch (event) {
    case SMTP_EVENT_HELLO:
        log_slice(session, server->is_esmtp ? "ehlo" : "helo", server->hello);
        break;
    case SMTP_EVENT_STARTTLS:
        buf_add_str(&session->log, "starttls ");
        break;
    case SMTP_EVENT_AUTH:
        log_slice(session, "auth", server->auth.user);
        break;
    case SMTP_EVENT_MAIL:
        log_slice(session, "mail", server->mail.from.text);
        cr_assert_lt(server->mail.from.text.len, sizeof(session->sender));
        memset(session->sender, 0, sizeof(session->sender));
        if (server->mail.from.text.len > 0) {
            memcpy(session->sender, server->mail.from.text.data, server->mail.from.text.len);
        }
        break;
    case SMTP_EVENT_RCPT:
        log_slice(session, "rcpt", server->rcpt.to.text);
        break;
    case SMTP_EVENT_DATA:
        buf_add_str(&session->log, server->is_bdat ? "bdat " : "data ");
        buf_clear(&session->mail);
        break;
    case SMTP_EVENT_CHUNK:
        cr_assert_leq(server->chunk.len, SMTP_CHUNK_MAX + 1);
        buf_add(&session->mail, server->chunk);
        break;
    case SMTP_EVENT_END:
        log_slice(session, "end", buf_slice(&session->mail));
        cr_expect_eq(server->mail_bytes, session->mail.len);
        break;
    case SMTP_EVENT_RESET:
        buf_add_str(&session->log, "reset ");
        break;
    case SMTP_EVENT_QUIT:
        buf_add_str(&session->log, "quit ");
        break;
    case SMTP_EVENT_CLOSE:
        buf_add_str(&session->log, "close ");
        break;
    default:
        break;
    }
}

/* One piece of bytes, as a connection brings it. False when the session is over. */
static bool bring(struct session *session, struct slice piece)
{
    struct smtp_server *server = &session->server;
    buf_add(&session->held, piece);
    for (;;) {
        /* A block of its own, freed at once: nothing may point into it later. */
        size_t len = session->held.len;
        char *block = mem_alloc(len + 1);
        memcpy(block, len > 0 ? session->held.data : "", len);
        size_t used = SIZE_MAX;
        enum smtp_event event = smtp_server_feed(server, slice_of(block, len), &used);
        cr_assert_leq(used, len);
        log_event(session, event);
        free(block);
        buf_consume(&session->held, used);
        if (session->is_late && smtp_server_asked(server) != SMTP_EVENT_NONE) {
            size_t none = SIZE_MAX;
            cr_assert_eq(smtp_server_feed(server, SLICE(""), &none), SMTP_EVENT_WAIT);
            cr_assert_eq(none, 0);
        }
        if (smtp_server_asked(server) != SMTP_EVENT_NONE) {
            bool is_tls = smtp_server_asked(server) == SMTP_EVENT_STARTTLS;
            answer(session);
            take_replies(session);
            if (is_tls) {
                smtp_server_tls_started(server);
            }
        }
        take_replies(session);
        if (event == SMTP_EVENT_MORE || smtp_server_is_closed(server)) {
            cr_assert(event != SMTP_EVENT_MORE || used == len);
            return !smtp_server_is_closed(server);
        }
    }
}

static void begin(struct session *session, enum profile profile, bool is_late)
{
    struct smtp_server_options options = options_of(profile);
    *session = (struct session){.is_late = is_late};
    buf_init(&session->log, MIB);
    buf_init(&session->mail, MIB);
    buf_init(&session->held, MIB);
    smtp_server_init(&session->server, &options);
    cr_assert_eq(smtp_server_asked(&session->server), SMTP_EVENT_CONNECT);
    smtp_server_accept(&session->server, SLICE(""));
    take_replies(session);
}

static void end(struct session *session)
{
    smtp_server_fini(&session->server);
    buf_fini(&session->log);
    buf_fini(&session->mail);
    buf_fini(&session->held);
}

/* The log of a dialogue whose bytes come as `first` and then `step` at a time; caller frees. */
static char *run(enum profile profile, struct slice wire, size_t first, size_t step)
{
    struct session session;
    begin(&session, profile, step == 2);
    size_t len = first;
    bool is_on = true;
    while (is_on && wire.len > 0) {
        struct slice piece = slice_head(wire, len);
        is_on = bring(&session, piece);
        wire = slice_from(wire, piece.len);
        len = step;
    }
    buf_add_byte(&session.log, '\0');
    size_t log_len = 0;
    char *log = buf_steal(&session.log, &log_len);
    end(&session);
    return log;
}

struct dialogue {
    const char *name;
    enum profile profile;
    struct slice wire;
    const char *log;
};

static void expect(const struct dialogue *dialogue)
{
    const struct slice wire = dialogue->wire;
    for (size_t cut = 0; cut < wire.len; cut++) {
        /* Whole, byte by byte, in twos with late verdicts, and in two parts cut anywhere. */
        size_t first = cut == 0 ? wire.len : cut;
        size_t step = cut == 1 || cut == 2 ? cut : wire.len;
        char *log = run(dialogue->profile, wire, first, step);
        bool is_right = strcmp(log, dialogue->log) == 0;
        cr_expect(is_right, "%s, cut at %zu:\n  %s\n  %s (wanted)", dialogue->name, cut, log,
                  dialogue->log);
        free(log);
        if (!is_right) {
            return;
        }
    }
}

static void expect_all(const struct dialogue *dialogues, size_t count)
{
    crypto_init();
    for (size_t i = 0; i < count; i++) {
        expect(&dialogues[i]);
    }
}

#define HI       "EHLO me\r\n"
#define ENVELOPE HI "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"
#define HI_LOG   "220 ehlo(me)250 "
#define ENV_LOG  HI_LOG "mail(a@b.test)250 rcpt(c@d.test)250 "
/* The machine is as it was: another transaction goes through. */
#define AGAIN     "MAIL FROM:<>\r\nRCPT TO:<e@f.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
#define AGAIN_LOG "mail()250 rcpt(e@f.test)250 data 354 end(x\r\n)250 quit 221 "

Test(smtp_server, takes_mails_in_dialogue_order)
{
    static const struct dialogue dialogues[] = {
        {"nothing", MX, SLICE_INIT("QUIT\r\n"), "220 quit 221 "},
        {"a mail", MX, SLICE_INIT(ENVELOPE "DATA\r\nhi\r\n..dot\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 end(hi\r\n.dot\r\n)250 " AGAIN_LOG},
        {"an empty mail", MX, SLICE_INIT(ENVELOPE "DATA\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 end()250 " AGAIN_LOG},
        {"helo", MX, SLICE_INIT("HELO me\r\n" AGAIN), "220 helo(me)250 " AGAIN_LOG},
        {"any case, spaces at the end", MX,
         SLICE_INIT("ehlo me \r\nmail from:<a@b.test> \r\nrcpt to: <c@d.test>\r\ndata\t\r\n.\r\n"),
         ENV_LOG "data 354 end()250 "},
        {"recipients are judged one by one", MX,
         SLICE_INIT(ENVELOPE "RCPT TO:<no@d.test>\r\nRCPT TO:<later@d.test>\r\nRCPT TO:<e@d.test>"
                             "\r\nDATA\r\n.\r\n"),
         ENV_LOG "rcpt(no@d.test)550 rcpt(later@d.test)451 rcpt(e@d.test)250 data 354 end()250 "},
        {"nobody is left", MX,
         SLICE_INIT(HI "MAIL FROM:<a@b.test>\r\nRCPT TO:<no@d.test>\r\nDATA\r\n" AGAIN),
         HI_LOG "mail(a@b.test)250 rcpt(no@d.test)550 reset 554 " AGAIN_LOG},
        {"too many recipients", MX,
         SLICE_INIT(ENVELOPE "RCPT TO:<c@e>\r\nRCPT TO:<c@f>\r\nRCPT TO:<c@g>\r\nDATA\r\n.\r\n"),
         ENV_LOG "rcpt(c@e)250 rcpt(c@f)250 452 data 354 end()250 "},
        {"postmaster", MX, SLICE_INIT(HI "MAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\n"),
         HI_LOG "mail()250 rcpt(Postmaster)250 "},
        {"DATA is refused", MX,
         SLICE_INIT(HI "MAIL FROM:<nodata@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" AGAIN),
         HI_LOG "mail(nodata@b)250 rcpt(c@d)250 data 550 " AGAIN_LOG},
        {"the mail is refused", MX,
         SLICE_INIT(HI "MAIL FROM:<nomail@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n" AGAIN),
         HI_LOG "mail(nomail@b)250 rcpt(c@d)250 data 354 end(x\r\n)550 " AGAIN_LOG},
        {"RSET", MX, SLICE_INIT(ENVELOPE "RSET\r\nDATA\r\nRSET\r\n" AGAIN),
         ENV_LOG "reset 250 503 reset 250 " AGAIN_LOG},
        {"EHLO ends a transaction", MX, SLICE_INIT(ENVELOPE HI "RCPT TO:<c@d>\r\n" AGAIN),
         ENV_LOG "ehlo(me)250 503 " AGAIN_LOG},
        {"EHLO is refused", MX, SLICE_INIT("EHLO evil\r\nMAIL FROM:<>\r\n" HI AGAIN),
         "220 ehlo(evil)550 503 ehlo(me)250 " AGAIN_LOG},
        {"notices", MX,
         SLICE_INIT("NOOP\r\nHELP\r\nVRFY x\r\nEXPN x\r\nnoop with words\r\n" HI AGAIN),
         "220 250 214 252 502 250 ehlo(me)250 " AGAIN_LOG},
        {"mails on one connection", MX,
         SLICE_INIT(ENVELOPE "DATA\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<x@y>\r\nDATA\r\n.\r\nMAIL FROM:"
                             "<>\r\nRCPT TO:<x@y>\r\nDATA\r\n.\r\nMAIL FROM:<>\r\nNOOP\r\n"),
         ENV_LOG "data 354 end()250 mail()250 rcpt(x@y)250 data 354 end()250 mail()250 "
                 "rcpt(x@y)250 data 354 end()250 close 421 "},
        {"421 closes", MX, SLICE_INIT(ENVELOPE "RCPT TO:<bye@d>\r\nDATA\r\n"),
         ENV_LOG "rcpt(bye@d)421 "},
    };
    expect_all(dialogues, ARRAY_LEN(dialogues));
}

Test(smtp_server, refuses_what_is_malformed_or_out_of_place)
{
    static const struct dialogue dialogues[] = {
        {"before EHLO", MX, SLICE_INIT("MAIL FROM:<>\r\nRCPT TO:<x@y>\r\nDATA\r\n" HI AGAIN),
         "220 503 503 503 ehlo(me)250 " AGAIN_LOG},
        {"no order", MX, SLICE_INIT(HI "RCPT TO:<x@y>\r\nDATA\r\n" AGAIN),
         HI_LOG "503 503 " AGAIN_LOG},
        {"nested MAIL", MX, SLICE_INIT(ENVELOPE "MAIL FROM:<>\r\nSTARTTLS\r\nDATA\r\n.\r\n"),
         ENV_LOG "503 503 data 354 end()250 "},
        {"unknown", MX, SLICE_INIT("FOO\r\n\r\n MAIL\r\n" HI), "220 500 500 500 ehlo(me)250 "},
        {"LMTP", MX, SLICE_INIT("LHLO me\r\n"), "220 500 "},
        {"HTTP", MX, SLICE_INIT("GET / HTTP/1.1\r\nMAIL FROM:<>\r\n"), "220 close 421 "},
        {"HTTP in a transaction", MX, SLICE_INIT(ENVELOPE "POST / HTTP/1.1\r\n"),
         ENV_LOG "close 421 "},
        {"no name", MX, SLICE_INIT("EHLO\r\nHELO \r\n" HI), "220 501 501 ehlo(me)250 "},
        {"a strange name", MX, SLICE_INIT("EHLO [x] \xff(y)\r\n"), "220 ehlo([x] ?(y))250 "},
        {"parameters where none may be", MX, SLICE_INIT("RSET x\r\nQUIT x\r\nVRFY\r\n"),
         "220 501 501 501 "},
        {"DATA with a parameter", MX, SLICE_INIT(ENVELOPE "DATA x\r\nDATA\r\n.\r\n"),
         ENV_LOG "501 data 354 end()250 "},
        {"bad paths", MX, SLICE_INIT(HI "MAIL FROM:a@b\r\nMAIL FROM:<a@b>X\r\n" AGAIN),
         HI_LOG "501 501 " AGAIN_LOG},
        {"bad recipient", MX, SLICE_INIT(ENVELOPE "RCPT TO:<>\r\nDATA\r\n.\r\n"),
         ENV_LOG "501 data 354 end()250 "},
        {"control characters", MX, SLICE_INIT("NOOP \x1b[2J\r\nNOOP a\tb\r\n"), "220 500 500 "},
        {"HELO has no extensions", MX,
         SLICE_INIT("HELO x\r\nMAIL FROM:<> SIZE=1 BODY=8BITMIME\r\nSTARTTLS\r\nAUTH PLAIN\r\n"),
         "220 helo(x)250 555 502 502 "},
        {"declared size", SMALL, SLICE_INIT(HI "MAIL FROM:<> SIZE=21\r\nMAIL FROM:<> SIZE=20\r\n"),
         HI_LOG "552 mail()250 "},
        {"not ASCII", MX,
         SLICE_INIT(HI "MAIL FROM:<\xc3\xa4@b>\r\nMAIL FROM:<\xc3\xa4@b> SMTPUTF8\r\nRCPT "
                       "TO:<\xc3\xa4@b>\r\n"),
         HI_LOG "553 mail(\xc3\xa4@b)250 rcpt(\xc3\xa4@b)250 "},
        {"not ASCII, recipient", MX, SLICE_INIT(ENVELOPE "RCPT TO:<\xc3\xa4@b>\r\n"),
         ENV_LOG "553 "},
        {"errors end a session", MX, SLICE_INIT("A\r\nB\r\nC\r\nD\r\nNOOP\r\n" HI),
         "220 500 500 500 500 close 421 "},
        {"but it may QUIT", MX, SLICE_INIT("A\r\nB\r\nC\r\nD\r\nquit\r\n"),
         "220 500 500 500 500 quit 221 "},
        {"so do unknown recipients", MX,
         SLICE_INIT(ENVELOPE "RCPT TO:<no@a>\r\nRCPT TO:<no@b>\r\nRCPT TO:<no@c>\r\nDATA\r\n"),
         ENV_LOG "rcpt(no@a)550 rcpt(no@b)550 rcpt(no@c)550 close 421 "},
        {"what was pipelined behind a refused MAIL is no error", MX,
         SLICE_INIT(HI "MAIL FROM:x\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@c>\r\nRCPT TO:<a@d>\r\nDATA\r\n"
                       "RSET\r\n" AGAIN),
         HI_LOG "501 503 503 503 503 reset 250 " AGAIN_LOG},
        {"behind a mail it is one", MX,
         SLICE_INIT(ENVELOPE "DATA\r\n.\r\nDATA\r\nDATA\r\nDATA\r\nDATA\r\nNOOP\r\n"),
         ENV_LOG "data 354 end()250 503 503 503 503 close 421 "},
        {"within bounds", MX,
         SLICE_INIT(HI "MAIL FROM:x\r\nDATA\r\nDATA\r\nDATA\r\nDATA\r\nDATA\r\nDATA\r\nDATA\r\n"
                       "DATA\r\nNOOP\r\n"),
         HI_LOG "501 503 503 503 503 503 503 503 503 close 421 "},
    };
    expect_all(dialogues, ARRAY_LEN(dialogues));
}

Test(smtp_server, never_lets_a_mail_smuggle_commands)
{
    static const struct dialogue dialogues[] = {
        /* In commands: 500 and the end. */
        {"bare LF", MX, SLICE_INIT("EHLO me\nMAIL FROM:<>\n"), "220 close 500 "},
        {"bare CR", MX, SLICE_INIT("EHLO me\rNOOP\r\n"), "220 close 500 "},
        {"CR CR LF", MX, SLICE_INIT("EHLO me\r\r\n"), "220 close 500 "},
        {"LF CR", MX, SLICE_INIT("NOOP\n\rNOOP\r\n"), "220 close 500 "},
        {"NUL", MX, SLICE_INIT("EHLO m\0e\r\n"), "220 close 500 "},
        {"a TLS hello in clear", MX, SLICE_INIT("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"),
         "220 close 500 "},
        /* In DATA: the mail is refused, at its true end. */
        {"LF . LF", MX, SLICE_INIT(ENVELOPE "DATA\r\na\n.\nMAIL FROM:<x@y>\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"LF . CRLF", MX, SLICE_INIT(ENVELOPE "DATA\r\na\n.\r\nMAIL FROM:<x@y>\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"CRLF . LF", MX, SLICE_INIT(ENVELOPE "DATA\r\na\r\n.\nMAIL FROM:<x@y>\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"CR . CR", MX, SLICE_INIT(ENVELOPE "DATA\r\na\r.\rMAIL FROM:<x@y>\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"CRLF . CR", MX, SLICE_INIT(ENVELOPE "DATA\r\na\r\n.\rMAIL FROM:<x@y>\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"CR . CRLF", MX, SLICE_INIT(ENVELOPE "DATA\r\na\r.\r\nMAIL FROM:<x@y>\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"CR CRLF . CRLF", MX, SLICE_INIT(ENVELOPE "DATA\r\na\r\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"CRLF . CR CRLF", MX, SLICE_INIT(ENVELOPE "DATA\r\n.\r\r\nQUIT\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"CRLF . NUL CRLF", MX, SLICE_INIT(ENVELOPE "DATA\r\n.\0\r\nQUIT\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"LF alone", MX, SLICE_INIT(ENVELOPE "DATA\r\n\n.\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"NUL in a mail", MX, SLICE_INIT(ENVELOPE "DATA\r\na\0b\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 550 " AGAIN_LOG},
        {"dots", MX, SLICE_INIT(ENVELOPE "DATA\r\n..\r\n. \r\n.x.\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 end(.\r\n \r\nx.\r\n)250 " AGAIN_LOG},
        /* Sizes. */
        {"too large", SMALL, SLICE_INIT(ENVELOPE "DATA\r\n0123456789\r\n0123456789\r\n.\r\n" AGAIN),
         ENV_LOG "data 354 reset 552 " AGAIN_LOG},
        {"just not too large", SMALL, SLICE_INIT(ENVELOPE "DATA\r\n012345678901234567\r\n.\r\n"),
         ENV_LOG "data 354 end(012345678901234567\r\n)250 "},
        {"stuffing does not count", SMALL,
         SLICE_INIT(ENVELOPE "DATA\r\n..1234567890123456\r\n"
                             "\r\n.\r\n"),
         ENV_LOG "data 354 reset 552 "},
    };
    expect_all(dialogues, ARRAY_LEN(dialogues));
}

Test(smtp_server, takes_mails_in_chunks)
{
    static const struct dialogue dialogues[] = {
        {"one", MX, SLICE_INIT(ENVELOPE "BDAT 4 LAST\r\nhi\r\n" AGAIN),
         ENV_LOG "bdat end(hi\r\n)250 " AGAIN_LOG},
        {"several", MX,
         SLICE_INIT(ENVELOPE "BDAT 3\r\nhi\rBDAT 1\r\n\nBDAT 0\r\nbdat 3 last\r\n.\r\n" AGAIN),
         ENV_LOG "bdat 250 250 250 end(hi\r\n.\r\n)250 " AGAIN_LOG},
        {"nothing", MX, SLICE_INIT(ENVELOPE "BDAT 0 LAST\r\n" AGAIN),
         ENV_LOG "bdat end()250 " AGAIN_LOG},
        {"an empty last one", MX, SLICE_INIT(ENVELOPE "BDAT 2\r\n\r\nBDAT 0 LAST\r\n"),
         ENV_LOG "bdat 250 end(\r\n)250 "},
        {"commands in octets", MX, SLICE_INIT(ENVELOPE "BDAT 11 LAST\r\n\r\n.\r\nQUIT\r\n" AGAIN),
         ENV_LOG "bdat end(\r\n.\r\nQUIT\r\n)250 " AGAIN_LOG},
        {"no line end", MX, SLICE_INIT(ENVELOPE "BDAT 2 LAST\r\nhiNOOP\r\n"),
         ENV_LOG "bdat end(hi)250 250 "},
        {"DATA behind BDAT", MX, SLICE_INIT(ENVELOPE "BDAT 2\r\n\r\nDATA\r\nBDAT 0 LAST\r\n"),
         ENV_LOG "bdat 250 503 end(\r\n)250 "},
        {"RCPT and MAIL behind BDAT", MX,
         SLICE_INIT(ENVELOPE "BDAT 0\r\nRCPT TO:<x@y>\r\nMAIL FROM:<>\r\nBDAT 0 LAST\r\n"),
         ENV_LOG "bdat 250 503 503 end()250 "},
        {"RSET between", MX, SLICE_INIT(ENVELOPE "BDAT 2\r\n\r\nRSET\r\n" AGAIN),
         ENV_LOG "bdat 250 reset 250 " AGAIN_LOG},
        {"before EHLO", MX, SLICE_INIT("BDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<>\r\n" HI AGAIN),
         "220 503 503 ehlo(me)250 " AGAIN_LOG},
        {"without a transaction", MX, SLICE_INIT(HI "BDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\n" AGAIN),
         HI_LOG "503 503 " AGAIN_LOG},
        {"nobody", MX,
         SLICE_INIT(HI "MAIL FROM:<>\r\nRCPT TO:<no@y>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n"
                       "RSET\r\n" AGAIN),
         HI_LOG "mail()250 rcpt(no@y)550 reset 554 503 reset 250 " AGAIN_LOG},
        {"refused", MX,
         SLICE_INIT(HI "MAIL FROM:<nodata@b>\r\nRCPT TO:<c@d>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\n"
                       "QUIT\r\n" AGAIN),
         HI_LOG "mail(nodata@b)250 rcpt(c@d)250 bdat 550 503 " AGAIN_LOG},
        {"not offered", PLAIN_MX, SLICE_INIT(ENVELOPE "BDAT 6 LAST\r\nQUIT\r\n" AGAIN),
         ENV_LOG "reset 502 " AGAIN_LOG},
        {"bare LF", MX, SLICE_INIT(ENVELOPE "BDAT 2 LAST\r\na\n" AGAIN),
         ENV_LOG "bdat reset 550 " AGAIN_LOG},
        {"bare CR at the end", MX, SLICE_INIT(ENVELOPE "BDAT 2 LAST\r\na\r" AGAIN),
         ENV_LOG "bdat reset 550 " AGAIN_LOG},
        {"bare CR over chunks", MX, SLICE_INIT(ENVELOPE "BDAT 1\r\n\rBDAT 1 LAST\r\nx" AGAIN),
         ENV_LOG "bdat 250 reset 550 " AGAIN_LOG},
        {"NUL", MX, SLICE_INIT(ENVELOPE "BDAT 1 LAST\r\n\0" AGAIN),
         ENV_LOG "bdat reset 550 " AGAIN_LOG},
        {"too large at once", SMALL,
         SLICE_INIT(ENVELOPE "BDAT 21\r\n0123456789012345678\r\nBDAT 0 LAST\r\n" AGAIN),
         ENV_LOG "bdat reset 552 503 " AGAIN_LOG},
        {"too large together", SMALL,
         SLICE_INIT(ENVELOPE "BDAT 20\r\n012345678901234567\r\nBDAT 1 LAST\r\nx" AGAIN),
         ENV_LOG "bdat 250 reset 552 " AGAIN_LOG},
        {"chunks pipelined behind a refused one are no errors", SMALL,
         SLICE_INIT(ENVELOPE "BDAT 21\r\n0123456789012345678\r\nBDAT 1\r\nxBDAT 1\r\nxBDAT 1\r\nx"
                             "BDAT 1\r\nxBDAT 1 LAST\r\nx" AGAIN),
         ENV_LOG "bdat reset 552 503 503 503 503 503 " AGAIN_LOG},
        {"beyond swallowing", SMALL, SLICE_INIT(ENVELOPE "BDAT 18446744073709551615 LAST\r\nQUIT"),
         ENV_LOG "close 552 "},
        {"no number", MX, SLICE_INIT(ENVELOPE "BDAT x LAST\r\nQUIT\r\n"), ENV_LOG "close 501 "},
        {"too big a number", MX, SLICE_INIT(ENVELOPE "BDAT 18446744073709551616\r\nQUIT\r\n"),
         ENV_LOG "close 501 "},
        {"sign", MX, SLICE_INIT(ENVELOPE "BDAT -1\r\nQUIT\r\n"), ENV_LOG "close 501 "},
        {"other words", MX, SLICE_INIT(ENVELOPE "BDAT 1 FIRST\r\nx"), ENV_LOG "close 501 "},
        {"no size", MX, SLICE_INIT(ENVELOPE "BDAT\r\n"), ENV_LOG "close 501 "},
    };
    expect_all(dialogues, ARRAY_LEN(dialogues));
}

Test(smtp_server, reads_credentials)
{
    static const struct dialogue dialogues[] = {
        {"PLAIN at once", SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN AG1lAHNlY3JldA==\r\n" AGAIN), /* NUL me NUL secret */
         HI_LOG "auth(me)235 " AGAIN_LOG},
        {"PLAIN by challenge", SUBMISSION,
         SLICE_INIT(HI "AUTH plain\r\nAG1lAHNlY3JldA==\r\n" AGAIN),
         HI_LOG "334 auth(me)235 " AGAIN_LOG},
        {"LOGIN", SUBMISSION, SLICE_INIT(HI "AUTH LOGIN\r\nbWU=\r\nc2VjcmV0\r\n" AGAIN),
         HI_LOG "334 334 auth(me)235 " AGAIN_LOG},
        {"LOGIN with the name", SUBMISSION, SLICE_INIT(HI "AUTH LOGIN bWU=\r\nc2VjcmV0\r\n" AGAIN),
         HI_LOG "334 auth(me)235 " AGAIN_LOG},
        {"a name of no bytes", SUBMISSION, SLICE_INIT(HI "AUTH LOGIN =\r\nc2VjcmV0\r\n"),
         HI_LOG "334 auth()235 "},
        {"wrong, then right", SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN AG1lAHdyb25n\r\nAUTH PLAIN AG1lAHNlY3JldA==\r\n" AGAIN),
         HI_LOG "auth(me)550 auth(me)235 " AGAIN_LOG},
        {"too often", SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN AG1lAHdyb25n\r\nAUTH PLAIN AG1lAHdyb25n\r\nAUTH PLAIN x\r\n"),
         HI_LOG "auth(me)550 auth(me)550 close 421 "},
        {"cancelled", SUBMISSION, SLICE_INIT(HI "AUTH LOGIN\r\n*\r\nAUTH LOGIN\r\nbWU=\r\n*\r\n"),
         HI_LOG "334 501 334 334 501 "},
        {"needed", SUBMISSION, SLICE_INIT(HI "MAIL FROM:<>\r\n"), HI_LOG "530 "},
        {"twice", SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN AG1lAHNlY3JldA==\r\nAUTH PLAIN AG1lAHNlY3JldA==\r\n"),
         HI_LOG "auth(me)235 503 "},
        {"unknown mechanism", SUBMISSION, SLICE_INIT(HI "AUTH CRAM-MD5\r\nAUTH\r\nNOOP\r\n"),
         HI_LOG "504 504 250 "},
        {"not base64", SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN ????\r\nAUTH PLAIN AG1l AHNl\r\nAUTH PLAIN AG1lAHNlY3JldA\r\n"),
         HI_LOG "501 501 501 "},
        {"not three parts", SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN bWU=\r\nAUTH PLAIN AAAAAA==\r\nAUTH PLAIN AAA=\r\n"),
         HI_LOG "501 501 501 "},
        {"a command in the middle is an answer", SUBMISSION,
         SLICE_INIT(HI "AUTH LOGIN\r\nRSET\r\n"), HI_LOG "334 334 "},
        {"before EHLO", SUBMISSION, SLICE_INIT("AUTH PLAIN AG1lAHNlY3JldA==\r\n"), "220 503 "},
        {"in clear", CLEAR_SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN AG1lAHNlY3JldA==\r\nMAIL FROM:<>\r\n"), HI_LOG "530 530 "},
        {"not offered", MX, SLICE_INIT(HI "AUTH PLAIN AG1lAHNlY3JldA==\r\n"), HI_LOG "502 "},
        {"in a transaction", SUBMISSION,
         SLICE_INIT(HI "AUTH PLAIN AG1lAHNlY3JldA==\r\nMAIL FROM:<>\r\nAUTH LOGIN\r\n"),
         HI_LOG "auth(me)235 mail()250 503 "},
    };
    expect_all(dialogues, ARRAY_LEN(dialogues));
}
