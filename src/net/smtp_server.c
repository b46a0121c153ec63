/* smtp_server.c - the machine.
 *
 *   GREETING -> HELLO -EHLO-> READY -MAIL-> ENVELOPE -DATA-> DATA -dot-> END -> READY
 *                 ^           |   |            |  |                       ^
 *                 |           |   |<-RSET,EHLO-+  +-BDAT-> CHUNK <-> BDAT |
 *                TLS <-STARTTLS   |                          |            |
 *                                 +-AUTH-> AUTH -> READY     +-BDAT LAST--+
 *
 *   HELLO, READY, ENVELOPE, BDAT -BDAT refused-> SWALLOW -> HELLO, READY
 *   DATA, CHUNK -the mail is refused-> READY
 *   any -> CLOSED
 *
 * A question stands beside the state (asked): the state moves with its answer. Every command gets
 * one reply, in the order of commands, for nothing is read while a question is open.
 */
#include "net/smtp_server.h"

#include "base/check.h"
#include "base/crypto.h"

#include <inttypes.h>
#include <stdio.h>

#define VERB_BYTES 5 /* "AUTH ": enough to know a line's ceiling */

enum state {
    STATE_GREETING, /* CONNECT is asked */
    STATE_HELLO,    /* commands, but no name yet */
    STATE_READY,
    STATE_AUTH, /* a line of the mechanism, or its answer */
    STATE_TLS,  /* 220 was given; nothing in clear counts any more */
    STATE_ENVELOPE,
    STATE_DATA,
    STATE_CHUNK, /* octets of BDAT */
    STATE_BDAT,  /* between two of them */
    STATE_END,   /* the mail is complete; END is asked */
    STATE_SWALLOW,
    STATE_CLOSED,
    STATE_COUNT
};

#define TO(name) SM_TO(STATE_##name)
static const struct sm_state states[] = {
    [STATE_GREETING] = {"greeting", TO(HELLO) | TO(CLOSED)},
    [STATE_HELLO] = {"hello", TO(READY) | TO(SWALLOW) | TO(CLOSED)},
    [STATE_READY] = {"ready", TO(AUTH) | TO(TLS) | TO(ENVELOPE) | TO(SWALLOW) | TO(CLOSED)},
    [STATE_AUTH] = {"auth", TO(READY) | TO(CLOSED)},
    [STATE_TLS] = {"tls", TO(HELLO) | TO(CLOSED)},
    [STATE_ENVELOPE] = {"envelope", TO(READY) | TO(DATA) | TO(CHUNK) | TO(CLOSED)},
    [STATE_DATA] = {"data", TO(END) | TO(READY) | TO(CLOSED)},
    [STATE_CHUNK] = {"chunk", TO(BDAT) | TO(END) | TO(READY) | TO(CLOSED)},
    [STATE_BDAT] = {"bdat", TO(CHUNK) | TO(READY) | TO(CLOSED)},
    [STATE_END] = {"end", TO(READY) | TO(CLOSED)},
    [STATE_SWALLOW] = {"swallow", TO(HELLO) | TO(READY) | TO(CLOSED)},
    [STATE_CLOSED] = {"closed", 0},
};
_Static_assert(ARRAY_LEN(states) == STATE_COUNT, "a row for each state");
static const struct sm_table table = {"smtp_server", states, STATE_COUNT};

/* Where commands are read. */
#define COMMANDS (TO(HELLO) | TO(READY) | TO(ENVELOPE) | TO(BDAT))
/* Where a mail is under way. */
#define MAIL_OPEN (TO(ENVELOPE) | TO(DATA) | TO(CHUNK) | TO(BDAT) | TO(END))

static bool is_in(const struct smtp_server *server, uint32_t any_of)
{
    return (SM_TO(server->sm.state) & any_of) != 0;
}

static void move(struct smtp_server *server, enum state state)
{
    sm_move(&server->sm, (uint8_t)state);
}

/* ---- replies --------------------------------------------------------------------------------- */

/* enhanced NULL: the reply has none (RFC 2034 3: not those of the greeting, EHLO and 3yz). */
static void say(struct smtp_server *server, unsigned int code, const char *enhanced,
                struct slice text)
{
    bool has_enhanced = enhanced != NULL && server->options.offers.enhanced_status;
    smtp_reply_write(&server->out, code, has_enhanced ? enhanced : "", text);
    CHECK(buf_err(&server->out) == ERR_OK); /* limits.h has room above the high mark */
}

static void say_str(struct smtp_server *server, unsigned int code, const char *enhanced,
                    const char *text)
{
    say(server, code, enhanced, slice_str(text));
}

/* What is offered now: nothing to who said HELO, some only under TLS or only before. */
static struct smtp_offers offers_now(const struct smtp_server *server)
{
    struct smtp_offers offers = server->options.offers;
    if (!server->is_esmtp) {
        return (struct smtp_offers){.starttls = false};
    }
    offers.starttls = offers.starttls && !server->is_tls;
    offers.auth = offers.auth && server->is_tls; /* RFC 4954 4: no secrets in clear */
    offers.requiretls = offers.requiretls && server->is_tls;
    return offers;
}

static void say_hello(struct smtp_server *server)
{
    const struct smtp_offers offers = offers_now(server);
    const struct {
        const char *line;
        bool is_offered;
    } lines[] = {
        {"PIPELINING", offers.pipelining},
        {"STARTTLS", offers.starttls},
        {"AUTH PLAIN LOGIN", offers.auth},
        {"8BITMIME", offers.eight_bit_mime},
        {"ENHANCEDSTATUSCODES", offers.enhanced_status},
        {"CHUNKING", offers.chunking},
        {"SMTPUTF8", offers.smtputf8},
        {"DSN", offers.dsn},
        {"REQUIRETLS", offers.requiretls},
    };
    struct buf text;
    buf_init(&text, SMTP_ANSWER_MAX);
    buf_add(&text, server->options.hostname);
    for (size_t i = 0; i < ARRAY_LEN(lines) && server->is_esmtp; i++) {
        if (lines[i].is_offered) {
            buf_add_format(&text, "\n%s", lines[i].line);
        }
    }
    if (server->is_esmtp) {
        buf_add_format(&text, "\nSIZE %" PRIu64, server->options.size_max);
    }
    say(server, 250, NULL, buf_slice(&text));
    buf_fini(&text);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void drop_line(struct smtp_server *server)
{
    if (server->is_secret) {
        crypto_wipe(server->line.data, server->line.capacity);
        buf_fini(&server->line);
    }
    buf_clear(&server->line);
    server->is_secret = false;
    server->is_line_done = false;
}

static void drop_secret(struct smtp_server *server)
{
    smtp_auth_wipe(&server->reader);
    server->auth = (struct smtp_auth){.kind = SMTP_AUTH_PLAIN};
    if (server->is_secret) {
        drop_line(server);
    }
}

/* The transaction is over, well or not. Ten thousand idle sessions keep no buffers of mail. */
static void end_mail(struct smtp_server *server)
{
    smtp_body_clear(&server->body);
    server->mail = (struct smtp_mail){.size_bytes = 0};
    server->rcpt = (struct smtp_rcpt){.notify = 0};
    server->chunk = SLICE("");
    server->mail_bytes = 0;
    server->rcpts = 0;
    server->is_bdat = false;
    if (is_in(server, MAIL_OPEN)) {
        move(server, STATE_READY);
    }
}

static enum smtp_event give_up(struct smtp_server *server, unsigned int code, const char *enhanced,
                               const char *text)
{
    smtp_server_close(server, (uint16_t)code, enhanced, slice_str(text));
    return SMTP_EVENT_CLOSE;
}

/* A command that is the client's mistake. */
static enum smtp_event bad(struct smtp_server *server, unsigned int code, const char *enhanced,
                           const char *text)
{
    say_str(server, code, enhanced, text);
    server->bad++;
    return SMTP_EVENT_REFUSED;
}

static enum smtp_event note(struct smtp_server *server, unsigned int code, const char *enhanced,
                            const char *text)
{
    say_str(server, code, enhanced, text);
    server->junk++;
    return SMTP_EVENT_NOTED;
}

/* Once a MAIL is refused, what was pipelined behind it is out of place without being a mistake:
 * as much as a transaction has. */
static void excuse(struct smtp_server *server)
{
    server->excused = server->options.rcpt_max + 2;
}

static enum smtp_event misplaced(struct smtp_server *server)
{
    static const char *const texts[STATE_COUNT] = {
        [STATE_HELLO] = "send EHLO first",
        [STATE_READY] = "no transaction is open",
        [STATE_ENVELOPE] = "a transaction is open",
        [STATE_BDAT] = "a transaction in chunks is open",
    };
    const char *text = texts[server->sm.state];
    CHECK(text != NULL);
    if (is_in(server, TO(READY)) && server->excused > 0) {
        server->excused--;
        say_str(server, 503, "5.5.1", text);
        return SMTP_EVENT_REFUSED;
    }
    return bad(server, 503, "5.5.1", text);
}

static enum smtp_event ask(struct smtp_server *server, enum smtp_event event)
{
    server->asked = event;
    return event;
}

/* ---- commands -------------------------------------------------------------------------------- */

static enum smtp_event on_hello(struct smtp_server *server, struct slice args, bool is_esmtp)
{
    if (args.len == 0 || args.len > SMTP_HELLO_MAX) {
        return bad(server, 501, "5.5.4", "syntax: EHLO hostname");
    }
    end_mail(server); /* RFC 5321 4.1.4 */
    for (size_t i = 0; i < args.len; i++) {
        char c = args.data[i];
        server->hello_bytes[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    server->hello = slice_of(server->hello_bytes, args.len);
    server->is_esmtp = is_esmtp;
    server->excused = 0;
    server->junk++;
    return ask(server, SMTP_EVENT_HELLO);
}

static enum smtp_event on_ehlo(struct smtp_server *server, struct slice args)
{
    return on_hello(server, args, true);
}

static enum smtp_event on_helo(struct smtp_server *server, struct slice args)
{
    return on_hello(server, args, false);
}

static enum smtp_event on_lhlo(struct smtp_server *server, struct slice args UNUSED)
{
    return bad(server, 500, "5.5.1", "this is SMTP, not LMTP");
}

static enum smtp_event on_starttls(struct smtp_server *server, struct slice args)
{
    if (args.len > 0) {
        return bad(server, 501, "5.5.4", "STARTTLS takes no parameter");
    }
    if (server->is_tls) {
        return bad(server, 503, "5.5.1", "TLS is already active");
    }
    if (!offers_now(server).starttls) {
        return bad(server, 502, "5.5.1", "STARTTLS is not offered");
    }
    return ask(server, SMTP_EVENT_STARTTLS);
}

static enum smtp_event on_mail(struct smtp_server *server, struct slice args)
{
    const struct smtp_offers offers = offers_now(server);
    if (server->mails >= server->options.mails_max) {
        return give_up(server, 421, "4.7.0", "enough mails for one connection; come again");
    }
    excuse(server);
    if (server->options.needs_tls && !server->is_tls) {
        return bad(server, 530, "5.7.0", "must issue a STARTTLS command first");
    }
    if (server->options.needs_auth && !server->is_authed) {
        return bad(server, 530, "5.7.0", "authentication required");
    }
    const struct smtp_refusal *refusal =
        smtp_mail_read(args, &offers, server->options.size_max, &server->mail);
    if (refusal != NULL) {
        return bad(server, refusal->code, refusal->enhanced, refusal->text);
    }
    return ask(server, SMTP_EVENT_MAIL);
}

static enum smtp_event on_rcpt(struct smtp_server *server, struct slice args)
{
    const struct smtp_offers offers = offers_now(server);
    if (server->rcpts >= server->options.rcpt_max) {
        /* RFC 5321 4.5.3.1.10. Not a mistake, but not without end either. */
        server->junk++;
        say_str(server, 452, "4.5.3", "too many recipients");
        return SMTP_EVENT_REFUSED;
    }
    const struct smtp_refusal *refusal =
        smtp_rcpt_read(args, &offers, server->mail.is_smtputf8, &server->rcpt);
    if (refusal != NULL) {
        return bad(server, refusal->code, refusal->enhanced, refusal->text);
    }
    return ask(server, SMTP_EVENT_RCPT);
}

/* The envelope names nobody whom the mail could go to: RFC 5321 3.3. */
static enum smtp_event nobody(struct smtp_server *server)
{
    say_str(server, 554, "5.5.1", "no valid recipients");
    end_mail(server);
    excuse(server);
    return SMTP_EVENT_RESET;
}

static enum smtp_event on_data(struct smtp_server *server, struct slice args)
{
    if (args.len > 0) {
        return bad(server, 501, "5.5.4", "DATA takes no parameter");
    }
    return server->rcpts > 0 ? ask(server, SMTP_EVENT_DATA) : nobody(server);
}

/* Octets follow and nobody wants them: they must not be read as commands (RFC 3030 2). */
static enum smtp_event swallow(struct smtp_server *server, uint64_t octets, enum smtp_event event)
{
    server->swallow_to = server->sm.state;
    server->body.octets_left = octets;
    move(server, STATE_SWALLOW);
    return event;
}

/* "chunk-size [ LAST ]" */
static bool read_bdat(struct slice args, uint64_t *octets, bool *is_last)
{
    struct slice rest = args;
    struct slice size = slice_cut(&rest, ' ');
    *is_last = slice_equal_nocase(rest, SLICE("LAST"));
    return slice_u64(size, octets) == ERR_OK && (*is_last || rest.data == NULL);
}

static enum smtp_event on_bdat(struct smtp_server *server, struct slice args)
{
    uint64_t octets = 0;
    bool is_last = false;
    const uint64_t size_max = server->options.size_max;
    if (!read_bdat(args, &octets, &is_last)) {
        return give_up(server, 501, "5.5.4", "syntax: BDAT size [LAST]; closing");
    }
    if (octets > size_max + SMTP_SWALLOW_MORE) {
        return give_up(server, 552, "5.3.4", "message size exceeds the limit; closing");
    }
    if (is_in(server, TO(HELLO) | TO(READY))) {
        return swallow(server, octets, misplaced(server));
    }
    if (!offers_now(server).chunking) {
        (void)bad(server, 502, "5.5.1", "CHUNKING is not offered"); /* the event says more */
        end_mail(server);
        return swallow(server, octets, SMTP_EVENT_RESET);
    }
    if (server->rcpts == 0) {
        return swallow(server, octets, nobody(server));
    }
    smtp_body_announce(&server->body, octets, is_last);
    if (is_in(server, TO(BDAT))) {
        move(server, STATE_CHUNK);
        return SMTP_EVENT_NONE;
    }
    server->is_bdat = true;
    return ask(server, SMTP_EVENT_DATA);
}

static enum smtp_event on_rset(struct smtp_server *server, struct slice args)
{
    if (args.len > 0) {
        return bad(server, 501, "5.5.4", "RSET takes no parameter");
    }
    end_mail(server);
    server->excused = 0;
    (void)note(server, 250, "2.0.0", "ok"); /* the event says more */
    return SMTP_EVENT_RESET;
}

static enum smtp_event on_noop(struct smtp_server *server, struct slice args UNUSED)
{
    return note(server, 250, "2.0.0", "ok");
}

static enum smtp_event on_vrfy(struct smtp_server *server, struct slice args)
{
    if (args.len == 0) {
        return bad(server, 501, "5.5.4", "syntax: VRFY address");
    }
    /* RFC 5321 7.3: whether the address exists is told to who sends mail to it. */
    return note(server, 252, "2.5.2", "cannot verify, but will take mail and try");
}

static enum smtp_event on_help(struct smtp_server *server, struct slice args UNUSED)
{
    return note(server, 214, "2.0.0", "see RFC 5321");
}

static enum smtp_event on_expn(struct smtp_server *server, struct slice args UNUSED)
{
    return note(server, 502, "5.5.1", "EXPN is not implemented");
}

static enum smtp_event on_quit(struct smtp_server *server, struct slice args)
{
    if (args.len > 0) {
        return bad(server, 501, "5.5.4", "QUIT takes no parameter");
    }
    smtp_server_close(server, 221, "2.0.0", SLICE("bye"));
    return SMTP_EVENT_QUIT;
}

static enum smtp_event on_auth_result(struct smtp_server *server, enum smtp_auth_result result,
                                      const struct smtp_auth_says *says)
{
    switch (result) {
    case SMTP_AUTH_CHALLENGE:
        say_str(server, 334, NULL, says->challenge);
        return SMTP_EVENT_NOTED;
    case SMTP_AUTH_DONE:
        server->auth = server->reader.auth;
        return ask(server, SMTP_EVENT_AUTH);
    case SMTP_AUTH_BAD:
        break;
    }
    move(server, STATE_READY);
    return bad(server, says->refusal->code, says->refusal->enhanced, says->refusal->text);
}

static enum smtp_event on_auth(struct smtp_server *server, struct slice args)
{
    struct smtp_auth_says says = {.challenge = ""};
    if (!server->options.offers.auth || !server->is_esmtp) {
        return bad(server, 502, "5.5.1", "AUTH is not offered");
    }
    if (!server->is_tls) {
        return bad(server, 530, "5.7.0", "must issue a STARTTLS command first");
    }
    if (server->is_authed) {
        return bad(server, 503, "5.5.1", "already authenticated");
    }
    move(server, STATE_AUTH);
    return on_auth_result(server, smtp_auth_begin(&server->reader, args, &says), &says);
}

static enum smtp_event take_auth(struct smtp_server *server, struct slice line)
{
    struct smtp_auth_says says = {.challenge = ""};
    return on_auth_result(server, smtp_auth_line(&server->reader, line, &says), &says);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static const struct {
    struct slice verb;
    enum smtp_event (*run)(struct smtp_server *server, struct slice args);
    uint32_t allowed; /* states; elsewhere 503 */
} commands[] = {
    {SLICE_INIT("EHLO"), on_ehlo, COMMANDS},
    {SLICE_INIT("HELO"), on_helo, COMMANDS},
    {SLICE_INIT("LHLO"), on_lhlo, COMMANDS},
    {SLICE_INIT("STARTTLS"), on_starttls, TO(READY)}, /* RFC 3207 4: behind EHLO */
    {SLICE_INIT("AUTH"), on_auth, TO(READY)},         /* RFC 4954 4: not in a transaction */
    {SLICE_INIT("MAIL"), on_mail, TO(READY)},
    {SLICE_INIT("RCPT"), on_rcpt, TO(ENVELOPE)},
    {SLICE_INIT("DATA"), on_data, TO(ENVELOPE)}, /* RFC 3030 2: 503 behind BDAT */
    {SLICE_INIT("BDAT"), on_bdat, COMMANDS},     /* has octets to swallow anywhere */
    {SLICE_INIT("RSET"), on_rset, COMMANDS},
    {SLICE_INIT("NOOP"), on_noop, COMMANDS},
    {SLICE_INIT("VRFY"), on_vrfy, COMMANDS},
    {SLICE_INIT("HELP"), on_help, COMMANDS},
    {SLICE_INIT("EXPN"), on_expn, COMMANDS},
    {SLICE_INIT("QUIT"), on_quit, COMMANDS},
};
#undef TO

/* Who can be made to talk HTTP to us can be made to send mail (cross-protocol requests). */
static bool is_http(struct slice verb)
{
    static const struct slice verbs[] = {
        SLICE_INIT("GET"),    SLICE_INIT("POST"),  SLICE_INIT("PUT"),     SLICE_INIT("HEAD"),
        SLICE_INIT("DELETE"), SLICE_INIT("PATCH"), SLICE_INIT("CONNECT"), SLICE_INIT("OPTIONS"),
    };
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (slice_equal_nocase(verb, verbs[i])) {
            return true;
        }
    }
    return false;
}

static bool is_exhausted(const struct smtp_server *server)
{
    const struct smtp_server_options *options = &server->options;
    return server->bad >= options->bad_max || server->rcpts_refused >= options->rcpt_refused_max ||
           server->auths_refused >= options->auth_refused_max ||
           server->junk >= SMTP_JUNK_MAX + options->rcpt_max;
}

static enum smtp_event run_command(struct smtp_server *server, struct slice line)
{
    while (line.len > 0 && (line.data[line.len - 1] == ' ' || line.data[line.len - 1] == '\t')) {
        line = slice_head(line, line.len - 1);
    }
    struct slice args = line;
    struct slice verb = slice_cut(&args, ' ');
    if (is_exhausted(server) && !slice_equal_nocase(verb, SLICE("QUIT"))) {
        return give_up(server, 421, "4.7.0", "too many errors; closing");
    }
    if (slice_has_control(line, "")) {
        return bad(server, 500, "5.5.2", "control characters in a command");
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (slice_equal_nocase(verb, commands[i].verb)) {
            return is_in(server, commands[i].allowed) ? commands[i].run(server, args)
                                                      : misplaced(server);
        }
    }
    if (is_http(verb)) {
        return give_up(server, 421, "4.7.0", "this is SMTP, not HTTP; closing");
    }
    return bad(server, 500, "5.5.2", "command not recognized");
}

struct slice smtp_server_line(const struct smtp_server *server)
{
    bool is_shown = server->is_line_done && !server->is_secret;
    return is_shown ? buf_slice(&server->line) : SLICE("");
}

/* Takes bytes up to the next line's end into server->line, where slices stay in place until the
 * answer. As smtp_line_take otherwise. */
static bool gather(struct smtp_server *server, struct slice *rest, struct slice *line,
                   enum err *err)
{
    struct buf *held = &server->line;
    if (server->is_line_done) {
        drop_line(server);
    }
    size_t lf = slice_find_byte(*rest, '\n');
    struct slice part = slice_head(*rest, lf == SIZE_MAX ? rest->len : lf + 1);
    *rest = slice_from(*rest, part.len);
    server->is_secret = server->is_secret || server->sm.state == STATE_AUTH;
    if (held->len < VERB_BYTES && !server->is_secret) {
        struct slice verb = slice_head(part, VERB_BYTES - held->len);
        buf_add(held, verb);
        part = slice_from(part, verb.len);
        server->is_secret = slice_starts_nocase(buf_slice(held), SLICE("AUTH "));
    }
    size_t max_bytes = server->is_secret ? SMTP_AUTH_LINE_MAX : SMTP_COMMAND_MAX;
    /* A secret gets all its room at once, for a block that grows leaves a copy behind. */
    if (server->is_secret && held->capacity < max_bytes) {
        CHECK(buf_room(held, max_bytes - held->len) != NULL);
    }
    buf_add(held, slice_head(part, max_bytes - held->len));
    struct slice whole = buf_slice(held);
    server->is_line_done = smtp_line_take(&whole, max_bytes, line, err);
    return server->is_line_done;
}

static enum smtp_event step_line(struct smtp_server *server, struct slice *rest)
{
    struct slice line;
    enum err err = ERR_OK;
    if (rest->len == 0) {
        return SMTP_EVENT_MORE;
    }
    if (gather(server, rest, &line, &err)) {
        return server->sm.state == STATE_AUTH ? take_auth(server, line) : run_command(server, line);
    }
    if (err == ERR_OK) {
        return SMTP_EVENT_NONE;
    }
    return give_up(server, 500, "5.5.2",
                   err == ERR_TOO_LARGE ? "line too long; closing"
                                        : "bare CR, bare LF or NUL in a command; closing");
}

/* ---- mail ------------------------------------------------------------------------------------ */

static enum smtp_event refuse_mail(struct smtp_server *server)
{
    const struct smtp_refusal *fault = smtp_body_fault(&server->body);
    say_str(server, fault->code, fault->enhanced, fault->text);
    end_mail(server);
    excuse(server); /* chunks that were pipelined behind a refused one */
    return SMTP_EVENT_RESET;
}

static enum smtp_event step_mail(struct smtp_server *server, struct slice *rest)
{
    if (rest->len == 0 && (!server->is_bdat || server->body.octets_left > 0)) {
        return SMTP_EVENT_MORE;
    }
    enum smtp_body_at at = server->is_bdat ? smtp_body_octets(&server->body, rest, &server->chunk)
                                           : smtp_body_data(&server->body, rest, &server->chunk);
    server->mail_bytes = server->body.bytes;
    if (at == SMTP_BODY_CUT_OFF) {
        return give_up(server, 552, "5.3.4", "message size exceeds the limit; closing");
    }
    if (at == SMTP_BODY_END && smtp_body_fault(&server->body) != NULL) {
        return refuse_mail(server);
    }
    if (at == SMTP_BODY_END && server->is_bdat && !server->body.is_last) {
        say_str(server, 250, "2.0.0", "chunk received");
        move(server, STATE_BDAT);
    } else if (at == SMTP_BODY_END) {
        move(server, STATE_END);
    }
    return server->chunk.len > 0 ? SMTP_EVENT_CHUNK : SMTP_EVENT_NONE;
}

static enum smtp_event step_swallow(struct smtp_server *server, struct slice *rest)
{
    if (smtp_body_swallow(&server->body, rest) == SMTP_BODY_MORE) {
        return SMTP_EVENT_MORE;
    }
    move(server, (enum state)server->swallow_to);
    return SMTP_EVENT_NONE;
}

/* ---- feeding --------------------------------------------------------------------------------- */

static enum smtp_event step(struct smtp_server *server, struct slice *rest)
{
    enum state state = (enum state)server->sm.state;
    server->chunk = SLICE("");
    if (state == STATE_CLOSED) {
        *rest = slice_from(*rest, rest->len);
        return SMTP_EVENT_CLOSE;
    }
    if (server->asked != SMTP_EVENT_NONE) {
        return SMTP_EVENT_WAIT;
    }
    if (server->out.len > SMTP_OUT_HIGH) {
        return SMTP_EVENT_FULL;
    }
    switch (state) {
    case STATE_HELLO:
    case STATE_READY:
    case STATE_AUTH:
    case STATE_ENVELOPE:
    case STATE_BDAT:
        return step_line(server, rest);
    case STATE_TLS: /* in clear, behind the 220: nobody's */
        *rest = slice_from(*rest, rest->len);
        return SMTP_EVENT_MORE;
    case STATE_DATA:
    case STATE_CHUNK:
        return step_mail(server, rest);
    case STATE_SWALLOW:
        return step_swallow(server, rest);
    case STATE_END:
        return ask(server, SMTP_EVENT_END);
    case STATE_GREETING:
    case STATE_CLOSED:
    case STATE_COUNT:
        break;
    }
    return SMTP_EVENT_WAIT;
}

/* Bytes stand behind a command whose answer the client had to wait for: RFC 2920 3.1. */
static enum smtp_event look_behind(struct smtp_server *server, enum smtp_event event)
{
    switch (server->asked) {
    case SMTP_EVENT_CONNECT:
        server->is_early = true;
        break;
    case SMTP_EVENT_HELLO:
        server->is_hasty = true;
        break;
    case SMTP_EVENT_DATA:
        server->is_hasty = server->is_hasty || !server->is_bdat;
        break;
    case SMTP_EVENT_STARTTLS: /* CVE-2011-0411 */
        return give_up(server, 501, "5.5.1", "commands behind STARTTLS; closing");
    default: /* the others may be followed by more */
        break;
    }
    return event;
}

enum smtp_event smtp_server_feed(struct smtp_server *server, struct slice data, size_t *used)
{
    struct slice rest = data;
    enum smtp_event event = SMTP_EVENT_NONE;
    while (event == SMTP_EVENT_NONE) {
        event = step(server, &rest);
    }
    if (rest.len > 0) {
        event = look_behind(server, event);
    }
    *used = event == SMTP_EVENT_CLOSE ? data.len : data.len - rest.len;
    return event;
}

/* ---- the session's side ---------------------------------------------------------------------- */

void smtp_server_init(struct smtp_server *server, const struct smtp_server_options *options)
{
    CHECK(options->hostname.len > 0 && options->hostname.len <= DOMAIN_MAX);
    CHECK(options->size_max > 0 && options->size_max <= MAIL_BYTES_MAX);
    CHECK(options->rcpt_max > 0 && options->rcpt_max <= SMTP_RCPT_MAX);
    *server = (struct smtp_server){
        .options = *options, .asked = SMTP_EVENT_CONNECT, .is_tls = options->is_tls};
    sm_init(&server->sm, &table, STATE_GREETING);
    buf_init(&server->line, SMTP_AUTH_LINE_MAX);
    smtp_body_init(&server->body, options->size_max);
    buf_init(&server->out, SMTP_OUT_MAX);
    smtp_auth_init(&server->reader);
}

void smtp_server_fini(struct smtp_server *server)
{
    drop_secret(server);
    buf_fini(&server->line);
    smtp_body_fini(&server->body);
    buf_fini(&server->out);
}

enum smtp_event smtp_server_asked(const struct smtp_server *server)
{
    return server->asked;
}

/* Takes the open question; none when the session's answer comes too late. */
static enum smtp_event answer(struct smtp_server *server)
{
    enum smtp_event asked = server->asked;
    if (smtp_server_is_closed(server)) {
        return SMTP_EVENT_NONE;
    }
    CHECK(asked != SMTP_EVENT_NONE);
    server->asked = SMTP_EVENT_NONE;
    if (asked == SMTP_EVENT_MAIL) { /* these point into the line */
        server->mail.from = (struct smtp_path){.is_8bit = false};
        server->mail.envid = SLICE("");
    } else if (asked == SMTP_EVENT_RCPT) {
        server->rcpt = (struct smtp_rcpt){.notify = 0};
    } else if (asked == SMTP_EVENT_AUTH) {
        drop_secret(server);
        move(server, STATE_READY);
    }
    return asked;
}

void smtp_server_accept(struct smtp_server *server, struct slice text)
{
    static const struct {
        unsigned int code;
        const char *enhanced;
        const char *text;
    } replies[] = {
        [SMTP_EVENT_STARTTLS] = {220, "2.0.0", "ready to start TLS"},
        [SMTP_EVENT_AUTH] = {235, "2.7.0", "authentication succeeded"},
        [SMTP_EVENT_MAIL] = {250, "2.1.0", "sender ok"},
        [SMTP_EVENT_RCPT] = {250, "2.1.5", "recipient ok"},
        [SMTP_EVENT_DATA] = {354, NULL, "end data with <CR><LF>.<CR><LF>"},
        [SMTP_EVENT_END] = {250, "2.0.0", "accepted"},
    };
    enum smtp_event asked = answer(server);
    if (asked == SMTP_EVENT_NONE) {
        return;
    }
    if (asked == SMTP_EVENT_CONNECT) {
        char words[DOMAIN_MAX + 16];
        snprintf(words, sizeof(words), "%.*s ESMTP", SLICE_FMT(server->options.hostname));
        say_str(server, 220, NULL, words);
        move(server, STATE_HELLO);
    } else if (asked == SMTP_EVENT_HELLO) {
        say_hello(server);
    } else if (asked != SMTP_EVENT_DATA || !server->is_bdat) { /* a chunk is answered behind it */
        struct slice usual = slice_str(replies[asked].text);
        say(server, replies[asked].code, replies[asked].enhanced, text.len > 0 ? text : usual);
    }
    if (asked == SMTP_EVENT_HELLO && server->sm.state == STATE_HELLO) {
        move(server, STATE_READY);
    } else if (asked == SMTP_EVENT_STARTTLS) {
        move(server, STATE_TLS);
    } else if (asked == SMTP_EVENT_AUTH) {
        server->is_authed = true;
    } else if (asked == SMTP_EVENT_MAIL) {
        server->excused = 0;
        move(server, STATE_ENVELOPE);
    } else if (asked == SMTP_EVENT_RCPT) {
        server->rcpts++;
    } else if (asked == SMTP_EVENT_DATA) {
        move(server, server->is_bdat ? STATE_CHUNK : STATE_DATA);
    } else if (asked == SMTP_EVENT_END) {
        server->mails++;
        server->junk = 0;
        end_mail(server);
    }
}

void smtp_server_refuse(struct smtp_server *server, uint16_t code, const char *enhanced,
                        struct slice text)
{
    const bool is_bdat = server->is_bdat;
    const uint64_t octets = server->body.octets_left;
    const bool is_final = code >= 500;
    CHECK(code >= 400 && code <= 599);
    enum smtp_event asked = answer(server);
    if (asked == SMTP_EVENT_NONE) {
        return;
    }
    if (asked == SMTP_EVENT_CONNECT || code == 421) {
        smtp_server_close(server, code, enhanced, text);
        return;
    }
    say(server, code, enhanced, text);
    if (asked == SMTP_EVENT_RCPT) {
        server->rcpts_refused += is_final ? 1 : 0;
    } else if (asked == SMTP_EVENT_AUTH) {
        server->auths_refused += is_final ? 1 : 0;
    } else if (asked == SMTP_EVENT_DATA || asked == SMTP_EVENT_END) {
        end_mail(server);
        excuse(server);
    }
    if (asked == SMTP_EVENT_DATA && is_bdat) {
        (void)swallow(server, octets, SMTP_EVENT_NONE); /* the session knows */
    }
}

void smtp_server_refuse_err(struct smtp_server *server, enum err err)
{
    const struct err_info *info = err_info(err);
    smtp_server_refuse(server, info->smtp_code, info->smtp_enhanced, slice_str(info->text));
}

void smtp_server_close(struct smtp_server *server, uint16_t code, const char *enhanced,
                       struct slice text)
{
    if (smtp_server_is_closed(server)) {
        return;
    }
    say(server, code, enhanced, text);
    server->asked = SMTP_EVENT_NONE;
    drop_secret(server);
    end_mail(server);
    move(server, STATE_CLOSED);
}

bool smtp_server_is_closed(const struct smtp_server *server)
{
    return server->sm.state == STATE_CLOSED;
}

void smtp_server_tls_started(struct smtp_server *server)
{
    if (smtp_server_is_closed(server)) {
        return;
    }
    CHECK(server->out.len == 0); /* the 220 went out in clear */
    server->is_tls = true;
    server->is_esmtp = false;
    server->is_hasty = false;
    server->hello = SLICE("");
    move(server, STATE_HELLO);
}

struct slice smtp_server_out(const struct smtp_server *server)
{
    return buf_slice(&server->out);
}

void smtp_server_wrote(struct smtp_server *server, size_t len)
{
    buf_consume(&server->out, len);
}

bool smtp_server_is_in_mail(const struct smtp_server *server)
{
    return server->sm.state == STATE_DATA || server->sm.state == STATE_CHUNK;
}

const char *smtp_server_state(const struct smtp_server *server)
{
    return sm_state_name(&server->sm);
}
