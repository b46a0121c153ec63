/* sink_smtp.c - one SMTP session: commands in order, one at a time, each through the profile.
 *
 * A reply gathers in out and leaves through finish, at once or when the pause is over; meanwhile
 * the rest of what was pipelined stays in `in` and reading stops.
 */
#include "sink.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

#define HEAD_MAX      (64 * KIB) /* kept of a mail that is logged but not stored */
#define LINE_IN_MAX   2048
#define SMTP_CONN_MAX 4096

static void pump(struct session *session);

/* ---- replies ----------------------------------------------------------------------------------
 */

static void reply(struct session *session, const char *line)
{
    buf_add_str(&session->out, line);
    buf_add_str(&session->out, "\r\n");
    if (line[0] >= '4') {
        session->sink->counts.refused += 1;
    }
}

static void reply_close(struct session *session, const char *line)
{
    reply(session, line);
    session->after = AFTER_CLOSE;
}

static void send_reply(struct session *session)
{
    conn_write(&session->conn, buf_slice(&session->out));
    buf_clear(&session->out);
    enum after after = session->after;
    session->after = AFTER_NOTHING;
    switch (after) {
    case AFTER_NOTHING:
        break;
    case AFTER_CLOSE:
        session->mode = MODE_DEAF;
        conn_close(&session->conn);
        break;
    case AFTER_TLS:
        /* RFC 3207 4.2: nothing said in the clear counts. */
        buf_clear(&session->in);
        buf_clear(&session->helo);
        session->has_mail = false;
        session->is_tls = true;
        conn_start_tls(&session->conn, session->sink->tls, SLICE(""));
        break;
    case AFTER_JUNK:
        session->mode = MODE_JUNK;
        break;
    }
}

static void on_pause_over(struct timer *timer)
{
    struct session *session = CONTAINER_OF(timer, struct session, pause);
    send_reply(session);
    conn_resume(&session->conn);
    pump(session);
}

/* Lets the reply to `step` go now or later. */
static void finish(struct session *session, enum step step)
{
    const struct profile *profile = &session->sink->profile;
    if (profile->slow_ms > 0 && (profile->slow_steps & 1U << step) != 0) {
        conn_pause(&session->conn);
        timer_start(&session->pause, profile->slow_ms);
        return;
    }
    send_reply(session);
}

/* False when the profile takes the step out of the usual course. */
static bool may_answer(struct session *session, enum step step)
{
    const struct profile *profile = &session->sink->profile;
    uint32_t bit = 1U << step;
    if ((profile->stall_steps & bit) != 0) {
        session->mode = MODE_DEAF;
        conn_set_deadline(&session->conn, 0);
        return false;
    }
    if ((profile->drop_steps & bit) != 0) {
        session->mode = MODE_DEAF;
        conn_abort(&session->conn);
        return false;
    }
    if ((profile->garbage_steps & bit) != 0) {
        static const char junk[] = "\x01\x02?!\xff 9 no reply\xc3\x28 at all\r\n";
        buf_add_bytes(&session->out, junk, sizeof junk - 1);
        return false;
    }
    return true;
}

/* ---- commands ---------------------------------------------------------------------------------
 */

static void forget_mail(struct session *session)
{
    session->has_mail = false;
    session->is_8bit = false;
    session->requires_tls = false;
    session->rcpt_count = 0;
    session->mail_bytes = 0;
    buf_clear(&session->from);
    buf_clear(&session->rcpts);
    buf_clear(&session->mail);
}

static bool is_offered(struct sink *sink, const char *name)
{
    char word[64];
    int len = snprintf(word, sizeof word, " %s ", name);
    return slice_find(buf_slice(&sink->without), slice_of(word, (size_t)len)) == SIZE_MAX;
}

static void on_ehlo(struct session *session, struct slice args)
{
    static const char *const extensions[] = {"PIPELINING", "8BITMIME", "SMTPUTF8",
                                             "ENHANCEDSTATUSCODES"};
    struct sink *sink = session->sink;
    forget_mail(session);
    if (!is_offered(sink, "EHLO")) {
        reply(session, "502 5.5.1 not here");
        return;
    }
    buf_clear(&session->helo);
    buf_add(&session->helo, args);
    struct buf *out = &session->out;
    buf_add_format(out, "250-%.*s greets you\r\n", SLICE_FMT(sink->options.hostname));
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++) {
        if (is_offered(sink, extensions[i])) {
            buf_add_format(out, "250-%s\r\n", extensions[i]);
        }
    }
    if (sink->tls != NULL && !session->is_tls && is_offered(sink, "STARTTLS")) {
        buf_add_str(out, "250-STARTTLS\r\n");
    }
    if (sink->options.has_requiretls && session->is_tls) {
        buf_add_str(out, "250-REQUIRETLS\r\n");
    }
    if (sink->auth.len > 0) {
        buf_add_str(out, "250-AUTH PLAIN\r\n");
    }
    if (is_offered(sink, "SIZE")) {
        buf_add_format(out, "250-SIZE %" PRIu64 "\r\n", sink->size_max);
    }
    reply(session, "250 HELP");
}

static void on_helo(struct session *session, struct slice args)
{
    forget_mail(session);
    buf_clear(&session->helo);
    buf_add(&session->helo, args);
    reply(session, "250 sink");
}

static void on_starttls(struct session *session, struct slice args)
{
    if (session->sink->tls == NULL || session->is_tls) {
        reply(session, "503 5.5.1 no TLS now");
        return;
    }
    if (args.len > 0) {
        reply(session, "501 5.5.4 STARTTLS takes nothing");
        return;
    }
    reply(session, "220 2.0.0 go ahead");
    session->after = session->sink->profile.is_bad_tls ? AFTER_JUNK : AFTER_TLS;
}

static void check_auth(struct session *session, struct slice response)
{
    session->mode = MODE_COMMAND;
    session->is_authenticated = slice_equal(response, buf_slice(&session->sink->auth));
    reply(session, session->is_authenticated ? "235 2.7.0 welcome" : "535 5.7.8 wrong");
}

static void on_auth(struct session *session, struct slice args)
{
    struct slice mechanism = slice_cut(&args, ' ');
    if (session->sink->auth.len == 0 || !slice_equal_nocase(mechanism, SLICE("PLAIN"))) {
        reply(session, "504 5.5.4 no such mechanism");
    } else if (args.len == 0) {
        session->mode = MODE_AUTH;
        reply(session, "334 ");
    } else {
        check_auth(session, args);
    }
}

/* "FROM:<path> params": false when it is not one. Quotes may hold a '>'. */
static bool read_path(struct slice args, struct slice prefix, struct slice *path,
                      struct slice *params)
{
    if (!slice_starts_nocase(args, prefix)) {
        return false;
    }
    struct slice rest = slice_trim(slice_from(args, prefix.len));
    if (!slice_starts(rest, SLICE("<"))) {
        return false;
    }
    bool is_quoted = false;
    for (size_t i = 1; i < rest.len; i++) {
        if (rest.data[i] == '\\') {
            i += 1;
        } else if (rest.data[i] == '"') {
            is_quoted = !is_quoted;
        } else if (rest.data[i] == '>' && !is_quoted) {
            *path = slice_sub(rest, 1, i - 1);
            *params = slice_trim(slice_from(rest, i + 1));
            return true;
        }
    }
    return false;
}

/* NULL, or what is wrong with the parameters. */
static const char *read_mail_params(struct session *session, struct slice params)
{
    while (params.data != NULL) {
        struct slice value = slice_cut(&params, ' ');
        struct slice name = slice_cut(&value, '=');
        uint64_t size = 0;
        if (slice_equal_nocase(name, SLICE("SIZE"))) {
            if (slice_u64(value, &size) != ERR_OK) {
                return "501 5.5.4 SIZE is a number";
            }
            if (size > session->sink->size_max) {
                return "552 5.3.4 too large";
            }
        } else if (slice_equal_nocase(name, SLICE("BODY"))) {
            session->is_8bit = slice_equal_nocase(value, SLICE("8BITMIME"));
            if (session->is_8bit && !is_offered(session->sink, "8BITMIME")) {
                return "555 5.5.4 8BITMIME was not offered";
            }
        } else if (slice_equal_nocase(name, SLICE("SMTPUTF8"))) {
            if (!is_offered(session->sink, "SMTPUTF8")) {
                return "555 5.6.7 SMTPUTF8 was not offered";
            }
        } else if (slice_equal_nocase(name, SLICE("REQUIRETLS"))) {
            session->requires_tls = true;
            if (!session->sink->options.has_requiretls || !session->is_tls) {
                return "555 5.5.4 REQUIRETLS was not offered";
            }
        } else if (name.len > 0 && !slice_equal_nocase(name, SLICE("AUTH"))) {
            return "555 5.5.4 unknown parameter";
        }
    }
    return NULL;
}

/* Counted when MAIL comes: providers throttle tries, not mails that arrived. */
static bool is_over_rate(struct sink *sink, uint64_t max)
{
    uint64_t second = loop_now_ms(&sink->loop) / 1000;
    if (max == 0) {
        return false;
    }
    if (second != sink->second) {
        sink->second = second;
        sink->second_mails = 0;
    }
    sink->second_mails += 1;
    return sink->second_mails > max;
}

/* What a provider says to a sender that it has had enough of; false when it has not. */
static bool is_turned_away(struct session *session)
{
    struct sink *sink = session->sink;
    const struct profile *profile = &sink->profile;
    if (profile->is_block) {
        reply(session, "554 5.7.1 your address is blocked; see https://sink.example/unblock");
    } else if (is_over_rate(sink, profile->rate_421)) {
        reply_close(session, "421 4.7.28 too many mails from you; slow down");
    } else if (is_over_rate(sink, profile->rate_451)) {
        reply(session, "451 4.7.1 too many mails from you; try again later");
    } else {
        return false;
    }
    return true;
}

static void on_mail(struct session *session, struct slice args)
{
    struct sink *sink = session->sink;
    struct profile *profile = &sink->profile;
    struct slice path;
    struct slice params;
    if (session->helo.len == 0 || session->has_mail) {
        reply(session, "503 5.5.1 not now");
        return;
    }
    if (sink->auth.len > 0 && !session->is_authenticated) {
        reply(session, "530 5.7.0 authenticate first");
        return;
    }
    if (!read_path(args, SLICE("FROM:"), &path, &params)) {
        reply(session, "501 5.5.4 MAIL FROM:<address>");
        return;
    }
    if (profile->mails_max > 0 && session->mail_count >= profile->mails_max) {
        reply_close(session, "421 4.7.0 enough for one connection");
        return;
    }
    if (is_turned_away(session)) {
        return;
    }
    if (profile->tempfail_count > 0) {
        profile->tempfail_count -= 1;
        reply(session, "451 4.3.0 not yet");
        return;
    }
    const char *problem = read_mail_params(session, params);
    if (problem != NULL) {
        reply(session, problem);
        return;
    }
    buf_add(&session->from, path);
    session->has_mail = true;
    reply(session, "250 2.1.0 ok");
}

/* FNV-1a; a collision costs a test one greylisting, and there is none. */
static uint64_t hash_pair(struct slice a, struct slice b)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const struct slice parts[] = {a, SLICE("\n"), b};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        for (size_t n = 0; n < parts[i].len; n++) {
            hash = (hash ^ (unsigned char)parts[i].data[n]) * UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

static bool is_new_to_greylist(struct sink *sink, struct slice from, struct slice rcpt)
{
    uint64_t hash = hash_pair(from, rcpt);
    for (size_t i = 0; i < sink->grey_count; i++) {
        if (sink->grey[i] == hash) {
            return false;
        }
    }
    if (sink->grey_count == GREY_MAX) {
        return false; /* full: let everyone in */
    }
    sink->grey[sink->grey_count++] = hash;
    return true;
}

static const char *judge_rcpt(struct session *session, struct slice rcpt)
{
    struct sink *sink = session->sink;
    const struct profile *profile = &sink->profile;
    if (profile->is_reject) {
        return "550 5.1.1 no such user here";
    }
    if (sink->options.is_by_name && slice_starts_nocase(rcpt, SLICE("bounce"))) {
        return "550 5.1.1 no such user here";
    }
    if (sink->options.is_by_name && slice_starts_nocase(rcpt, SLICE("defer"))) {
        return "451 4.2.1 mailbox is busy, try later";
    }
    if (profile->rcpts_max > 0 && session->rcpt_count >= profile->rcpts_max) {
        return "452 4.5.3 too many recipients";
    }
    if (profile->is_greylist && is_new_to_greylist(sink, buf_slice(&session->from), rcpt)) {
        return "451 4.7.1 greylisted, come back later";
    }
    return NULL;
}

static void on_rcpt(struct session *session, struct slice args)
{
    struct slice path;
    struct slice params;
    if (!session->has_mail) {
        reply(session, "503 5.5.1 MAIL comes first");
        return;
    }
    if (!read_path(args, SLICE("TO:"), &path, &params) || path.len == 0) {
        reply(session, "501 5.5.4 RCPT TO:<address>");
        return;
    }
    const char *problem = judge_rcpt(session, path);
    if (problem != NULL) {
        reply(session, problem);
        return;
    }
    buf_put_slice(&session->rcpts, path);
    session->rcpt_count += 1;
    reply(session, "250 2.1.5 ok");
}

static void on_data_command(struct session *session, struct slice args)
{
    (void)args; /* DATA has none */
    if (!session->has_mail) {
        reply(session, "503 5.5.1 MAIL comes first");
    } else if (session->rcpt_count == 0) {
        reply(session, "554 5.5.1 no valid recipients");
    } else {
        session->mode = MODE_DATA;
        smtp_unstuff_init(&session->unstuffer);
        reply(session, "354 end with a dot on a line by itself");
    }
}

static void on_rset(struct session *session, struct slice args)
{
    (void)args; /* RSET has none */
    forget_mail(session);
    reply(session, "250 2.0.0 ok");
}

static void on_noop(struct session *session, struct slice args)
{
    (void)args; /* RFC 5321 4.1.1.9: to be ignored */
    reply(session, "250 2.0.0 ok");
}

static void on_quit(struct session *session, struct slice args)
{
    (void)args; /* QUIT has none */
    reply_close(session, "221 2.0.0 bye");
}

static const struct command {
    struct slice verb;
    enum step step;
    void (*run)(struct session *session, struct slice args);
} commands[] = {
    {SLICE_INIT("EHLO"), STEP_EHLO, on_ehlo},
    {SLICE_INIT("HELO"), STEP_EHLO, on_helo},
    {SLICE_INIT("STARTTLS"), STEP_STARTTLS, on_starttls},
    {SLICE_INIT("AUTH"), STEP_AUTH, on_auth},
    {SLICE_INIT("MAIL"), STEP_MAIL, on_mail},
    {SLICE_INIT("RCPT"), STEP_RCPT, on_rcpt},
    {SLICE_INIT("DATA"), STEP_DATA, on_data_command},
    {SLICE_INIT("RSET"), STEP_OTHER, on_rset},
    {SLICE_INIT("NOOP"), STEP_OTHER, on_noop},
    {SLICE_INIT("QUIT"), STEP_QUIT, on_quit},
};

static void run_command(struct session *session, struct slice line)
{
    struct slice args = line;
    struct slice verb = slice_cut(&args, ' ');
    args = slice_trim(args);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (slice_equal_nocase(verb, commands[i].verb)) {
            if (may_answer(session, commands[i].step)) {
                commands[i].run(session, args);
            }
            finish(session, commands[i].step);
            return;
        }
    }
    reply(session, "500 5.5.2 unknown command");
    finish(session, STEP_OTHER);
}

/* ---- the session ------------------------------------------------------------------------------
 */

static void end_of_data(struct session *session)
{
    session->mode = MODE_COMMAND;
    if (may_answer(session, STEP_DOT)) {
        if (session->sink->profile.is_reject_data) {
            reply(session, "554 5.7.1 not wanted here");
        } else if (session->mail_bytes > session->sink->size_max || session->mail.is_over) {
            reply(session, "552 5.3.4 too large");
        } else {
            sink_take_mail(session);
        }
    }
    forget_mail(session);
    finish(session, STEP_DOT);
}

static void read_data(struct session *session)
{
    struct sink *sink = session->sink;
    size_t used = 0;
    bool is_done = false;
    size_t before = session->mail.len;
    smtp_unstuff(&session->unstuffer, buf_slice(&session->in), &used, &is_done, &session->mail);
    session->mail_bytes += session->mail.len - before;
    if (sink->options.store.len == 0 && session->mail.len > HEAD_MAX) {
        session->mail.len = HEAD_MAX;
    }
    buf_consume(&session->in, used);
    if (is_done) {
        end_of_data(session);
    }
}

/* False when more bytes are needed first. */
static bool read_line(struct session *session)
{
    struct slice rest = buf_slice(&session->in);
    struct slice line;
    enum err err;
    if (!smtp_line_take(&rest, LINE_IN_MAX, &line, &err)) {
        if (err == ERR_OK) {
            return false;
        }
        reply_close(session, "500 5.5.2 not a line");
        finish(session, STEP_OTHER);
        return true;
    }
    char copy[LINE_IN_MAX]; /* the handlers may clear what was read */
    memcpy(copy, line.data, line.len);
    line = slice_of(copy, line.len);
    buf_consume(&session->in, session->in.len - rest.len);
    if (session->mode == MODE_AUTH) {
        check_auth(session, line);
        finish(session, STEP_AUTH);
    } else {
        run_command(session, line);
    }
    return true;
}

static void pump(struct session *session)
{
    while (session->mode < MODE_JUNK && session->in.len > 0 && !timer_is_on(&session->pause) &&
           conn_is_open(&session->conn) && !conn_is_handshaking(&session->conn)) {
        if (session->mode == MODE_DATA) {
            read_data(session);
        } else if (!read_line(session)) {
            break;
        }
    }
    if (session->mode >= MODE_JUNK) {
        buf_clear(&session->in);
    }
}

static void on_session_open(struct conn *conn)
{
    struct session *session = CONTAINER_OF(conn, struct session, conn);
    struct sink *sink = session->sink;
    const struct profile *profile = &sink->profile;
    conn_set_deadline(conn, IDLE_MS);
    if (session->is_tls && !sink->options.is_tls_implicit) {
        return; /* the second time, behind STARTTLS */
    }
    session->is_tls = sink->options.is_tls_implicit;
    if (!may_answer(session, STEP_GREETING)) {
        finish(session, STEP_GREETING);
        return;
    }
    if (profile->is_refuse) {
        reply_close(session, "554 5.7.1 no mail service here");
    } else if (profile->is_busy ||
               (profile->conns_max > 0 && sink->open_count > profile->conns_max)) {
        reply_close(session, "421 4.7.0 too many connections, try later");
    } else {
        buf_add_format(&session->out, "220 %.*s ESMTP sink\r\n", SLICE_FMT(sink->options.hostname));
    }
    finish(session, STEP_GREETING);
}

static void on_session_data(struct conn *conn, struct slice data)
{
    struct session *session = CONTAINER_OF(conn, struct session, conn);
    if (session->mode == MODE_JUNK) {
        /* Behind the ClientHello: together with the 220 it would be dropped (RFC 3207 4.2). */
        conn_write(conn, SLICE("this is not TLS \xff\xfe\r\n"));
        session->mode = MODE_DEAF;
    }
    if (session->mode == MODE_DEAF) {
        return;
    }
    conn_set_deadline(conn, IDLE_MS);
    buf_add(&session->in, data);
    if (session->in.is_over) {
        conn_abort(conn);
        return;
    }
    pump(session);
}

static void on_session_fail(struct conn *conn, enum err err)
{
    (void)err; /* gone is gone */
    conn_abort(conn);
}

static void on_session_closed(struct conn *conn)
{
    struct session *session = CONTAINER_OF(conn, struct session, conn);
    session->sink->open_count -= 1;
    timer_stop(&session->pause);
    list_remove(&session->link);
    struct buf *bufs[] = {&session->in,    &session->out,  &session->from,
                          &session->rcpts, &session->mail, &session->helo};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++) {
        buf_fini(bufs[i]);
    }
    free(session);
}

static const struct conn_handler session_handler = {
    .on_open = on_session_open,
    .on_data = on_session_data,
    .on_fail = on_session_fail,
    .on_closed = on_session_closed,
};

void sink_accept_smtp(struct listener *listener, uv_os_sock_t socket)
{
    struct sink *sink = CONTAINER_OF(listener, struct sink, smtp);
    if (sink->open_count >= SMTP_CONN_MAX) {
        (void)close(socket); /* nothing was written */
        return;
    }
    struct session *session = mem_zalloc(sizeof *session);
    session->sink = sink;
    buf_init(&session->in, MIB);
    buf_init(&session->out, MIB);
    buf_init(&session->from, 4 * KIB);
    buf_init(&session->rcpts, 4 * MIB);
    buf_init(&session->mail, MAIL_MAX);
    buf_init(&session->helo, 4 * KIB);
    timer_init(&session->pause, &sink->loop, on_pause_over);
    list_push_back(&sink->sessions, &session->link);
    sink->open_count += 1;
    sink->counts.connections += 1;
    struct tls_context *tls = sink->options.is_tls_implicit ? sink->tls : NULL;
    /* A socket that is dead already comes back through on_closed. */
    err_ignore(conn_accept(&session->conn, &sink->loop, socket, tls, &session_handler));
}
