/* smtp_script.h - an SMTP server that follows a script, on the loop of the test.
 *
 * Each step names the beginning of the line that must come next and what is then said. Special
 * lines: "" is the new connection, "." a whole mail up to its final dot (kept in `mail`), "~" the
 * first bytes of one. Special answers: NULL says nothing, "!close", "!reset", "!tls" (220, then a
 * handshake; "!tls" on the new connection begins with one), "!late ..." after SCRIPT_LATE_MS.
 * Behind the script QUIT is answered and the client's end of file ends the session; any other line
 * is a mismatch, which the test asserts not to have happened. One connection at a time; a script
 * may go over several ("" again). Header-only.
 */
#ifndef SUPPORT_SMTP_SCRIPT_H
#define SUPPORT_SMTP_SCRIPT_H

#include "base/limits.h"
#include "net/conn.h"
#include "net/listen.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SCRIPT_LATE_MS 120

struct script_step {
    const char *line;
    const char *answer;
};

struct smtp_script {
    struct conn conn;
    struct listener listener;
    struct loop *loop;
    struct tls_context *tls;
    struct timer late;
    const char *late_answer;
    const struct script_step *steps; /* ends with a NULL line */
    struct buf in;
    struct buf mail;
    char mismatch[256];   /* empty: none */
    uv_os_sock_t waiting; /* accepted while another connection is open; -1: none */
    uint32_t conns;
    uint32_t quits;
    bool is_in_use;
    bool is_in_mail;
    bool is_lock_step; /* the client may never send a line before the last was answered */
};

static inline void script_miss(struct smtp_script *script, const char *what, struct slice got)
{
    if (script->mismatch[0] == '\0') {
        (void)snprintf(script->mismatch, sizeof script->mismatch, "%s: expected %s, got %.*s", what,
                       script->steps->line == NULL ? "the end" : script->steps->line,
                       SLICE_FMT(slice_head(got, 80)));
    }
    conn_abort(&script->conn);
}

static inline void script_reset(struct smtp_script *script)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    uv_os_fd_t fd = -1;
    cr_assert_eq(uv_fileno((const uv_handle_t *)&script->conn.tcp, &fd), 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    conn_abort(&script->conn);
}

static inline void script_on_late(struct timer *timer)
{
    struct smtp_script *script = CONTAINER_OF(timer, struct smtp_script, late);
    conn_write(&script->conn, slice_str(script->late_answer));
}

static inline void script_say(struct smtp_script *script)
{
    const char *answer = script->steps->answer;
    script->steps += 1;
    if (answer == NULL) {
        return;
    }
    if (strcmp(answer, "!close") == 0) {
        conn_close(&script->conn);
    } else if (strcmp(answer, "!reset") == 0) {
        script_reset(script);
    } else if (strncmp(answer, "!late ", 6) == 0) {
        script->late_answer = answer + 6;
        timer_start(&script->late, SCRIPT_LATE_MS);
    } else if (strcmp(answer, "!tls") == 0) {
        conn_write(&script->conn, SLICE("220 go ahead\r\n"));
        conn_start_tls(&script->conn, script->tls, slice_of(NULL, 0));
    } else {
        conn_write(&script->conn, slice_str(answer));
    }
}

static inline bool script_wants(const struct smtp_script *script, const char *line)
{
    return script->steps->line != NULL && strcmp(script->steps->line, line) == 0;
}

/* Takes a piece of the mail; false when more bytes are needed. */
static inline bool script_take_mail(struct smtp_script *script)
{
    if (script->in.len == 0) {
        return false;
    }
    if (script_wants(script, "~")) {
        script_say(script);
        return true;
    }
    size_t end = slice_starts(buf_slice(&script->in), SLICE(".\r\n")) && script->mail.len == 0
                     ? 0
                     : slice_find(buf_slice(&script->in), SLICE("\r\n.\r\n"));
    if (end == SIZE_MAX) {
        return false;
    }
    size_t len = end == 0 && script->in.data[0] == '.' ? 3 : end + 5;
    buf_add(&script->mail, slice_head(buf_slice(&script->in), len));
    buf_consume(&script->in, len);
    script->is_in_mail = false;
    if (!script_wants(script, ".")) {
        script_miss(script, "a mail came", SLICE("."));
        return false;
    }
    script_say(script);
    return true;
}

static inline bool script_take_line(struct smtp_script *script)
{
    struct slice all = buf_slice(&script->in);
    size_t end = slice_find(all, SLICE("\r\n"));
    if (end == SIZE_MAX) {
        return false;
    }
    struct slice line = slice_head(all, end);
    if (script->is_lock_step && all.len > end + 2) {
        script_miss(script, "more than one line", all);
        return false;
    }
    if (script->steps->line == NULL && slice_equal(line, SLICE("QUIT"))) {
        script->quits += 1;
        conn_write(&script->conn, SLICE("221 bye\r\n"));
        conn_close(&script->conn);
    } else if (script->steps->line == NULL || !slice_starts(line, slice_str(script->steps->line))) {
        script_miss(script, "a line", line);
        return false;
    } else {
        const char *answer = script->steps->answer;
        script->is_in_mail =
            slice_equal(line, SLICE("DATA")) && answer != NULL && strstr(answer, "354") != NULL;
        script_say(script);
    }
    buf_consume(&script->in, end + 2);
    return true;
}

static inline struct smtp_script *script_of(struct conn *conn)
{
    return CONTAINER_OF(conn, struct smtp_script, conn);
}

static inline void script_on_open(struct conn *conn)
{
    struct smtp_script *script = script_of(conn);
    if (script_wants(script, "")) { /* not after STARTTLS */
        script_say(script);
    }
}

static inline void script_on_data(struct conn *conn, struct slice data)
{
    struct smtp_script *script = script_of(conn);
    buf_add(&script->in, data);
    while (conn_is_open(conn) &&
           (script->is_in_mail ? script_take_mail(script) : script_take_line(script))) {
    }
}

static inline void script_on_fail(struct conn *conn, enum err err UNUSED)
{
    conn_abort(conn);
}

static inline void script_begin(struct smtp_script *script, uv_os_sock_t socket);

/* The client may be back before we saw it leave. */
static inline void script_on_closed(struct conn *conn)
{
    struct smtp_script *script = script_of(conn);
    timer_stop(&script->late);
    script->is_in_use = false;
    script->is_in_mail = false;
    buf_clear(&script->in);
    if (script->waiting != -1) {
        uv_os_sock_t socket = script->waiting;
        script->waiting = -1;
        script_begin(script, socket);
    }
}

static const struct conn_handler script_handler = {
    .on_open = script_on_open,
    .on_data = script_on_data,
    .on_fail = script_on_fail,
    .on_closed = script_on_closed,
};

static inline void script_begin(struct smtp_script *script, uv_os_sock_t socket)
{
    script->is_in_use = true;
    bool is_tls = script_wants(script, "") && script->steps->answer != NULL &&
                  strcmp(script->steps->answer, "!tls") == 0;
    if (is_tls) {
        script->steps += 1; /* the greeting comes inside: the next step's line is "" too */
    }
    enum err err = conn_accept(&script->conn, script->loop, socket, is_tls ? script->tls : NULL,
                               &script_handler);
    cr_assert_eq(err, ERR_OK);
}

static inline void script_on_accept(struct listener *listener, uv_os_sock_t socket)
{
    struct smtp_script *script = CONTAINER_OF(listener, struct smtp_script, listener);
    script->conns += 1;
    if (!script->is_in_use) {
        script_begin(script, socket);
        return;
    }
    cr_assert_eq(script->waiting, -1, "one connection at a time, and one behind it");
    script->waiting = socket;
}

/* Listens on a free port of loopback, told in script->listener.tcp_port. */
static inline void script_init(struct smtp_script *script, struct loop *loop,
                               const struct script_step *steps)
{
    *script = (struct smtp_script){.loop = loop, .steps = steps, .waiting = -1};
    buf_init(&script->in, 4 * MIB);
    buf_init(&script->mail, 4 * MIB);
    timer_init(&script->late, loop, script_on_late);
    struct conn_addr addr;
    cr_assert_eq(conn_addr_parse(SLICE("127.0.0.1:0"), 0, &addr), ERR_OK);
    cr_assert_eq(listener_open(&script->listener, loop, &addr, script_on_accept), ERR_OK);
}

static inline void script_on_unlistened(struct listener *listener UNUSED)
{
}

/* No more connections; the loop can end once the present one has. */
static inline void script_close(struct smtp_script *script)
{
    listener_close(&script->listener, script_on_unlistened);
}

/* After the loop ended. */
static inline void script_fini(struct smtp_script *script)
{
    cr_assert_str_eq(script->mismatch, "");
    cr_assert_not(script->is_in_use);
    cr_assert_eq(script->waiting, -1);
    buf_fini(&script->in);
    buf_fini(&script->mail);
}

#endif
