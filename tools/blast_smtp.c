/* blast_smtp.c - mails offered over SMTP: as a stranger, or submitted under TLS with a key.
 *
 *     greeting -> EHLO [-> STARTTLS -> TLS -> EHLO] [-> AUTH] -> mails -> QUIT
 *
 * One mail after the other on each connection. Where the server offers PIPELINING the envelope goes
 * in one piece (RFC 2920), else command by command. Each mail has an id of its own, so that nobody
 * takes it for a repetition. */
#include "blast.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "net/tls.h"

enum envelope { ENVELOPE_MAIL, ENVELOPE_RCPT, ENVELOPE_DATA, ENVELOPE_COUNT };

static void say(struct client *client, struct slice line, enum smtp_wait wait)
{
    client->wait = wait;
    conn_write(&client->conn, line);
}

void blast_smtp_open(struct client *client)
{
    struct blast *blast = client->blast;
    if (conn_is_tls(&client->conn) && blast->tls == BLAST_TLS_START) {
        say(client, SLICE("EHLO blast.test\r\n"), SMTP_WAIT_EHLO);
        return;
    }
    client->wait = SMTP_WAIT_GREETING;
    if (conn_is_tls(&client->conn)) {
        return; /* TLS from the start: the greeting comes now */
    }
    blast->sessions += 1;
    smtp_reply_fini(&client->reader);
    smtp_reply_init(&client->reader);
    client->mails = 0;
    if (blast->tls == BLAST_TLS_IMPLICIT) {
        conn_start_tls(&client->conn, blast->tls_context, SLICE("localhost"));
    }
}

void blast_token(const struct blast *blast, uint64_t number, struct buf *out)
{
    buf_add_format(out, "blast-%" PRIu64 "-%" PRIu64 ".", blast->started_unix_ms, number);
}

static void write_envelope(struct client *client, enum envelope part)
{
    const struct blast *blast = client->blast;
    struct buf out;
    buf_init(&out, 8 * KIB);
    switch (part) {
    case ENVELOPE_MAIL:
        buf_add_format(&out, "MAIL FROM:<%.*s>\r\n", SLICE_FMT(blast->options.from));
        break;
    case ENVELOPE_RCPT:
        buf_add_str(&out, "RCPT TO:<");
        blast_add_to(blast, client->number, &out);
        buf_add_str(&out, ">\r\n");
        break;
    case ENVELOPE_DATA:
        buf_add_str(&out, "DATA\r\n");
        break;
    case ENVELOPE_COUNT:
        break;
    }
    CHECK(!out.is_over);
    conn_write(&client->conn, buf_slice(&out)); /* gathered within a turn of the loop */
    buf_fini(&out);
}

void blast_smtp_ask(struct client *client)
{
    client->wait = SMTP_WAIT_ENVELOPE;
    client->replied = 0;
    client->mails += 1;
    write_envelope(client, ENVELOPE_MAIL);
    if (client->has_pipelining) {
        write_envelope(client, ENVELOPE_RCPT);
        write_envelope(client, ENVELOPE_DATA);
    }
}

static void write_mail(struct client *client)
{
    const struct blast *blast = client->blast;
    struct buf out;
    buf_init(&out, 2 * MAIL_BYTES_MAX);
    buf_add_format(&out, "From: <%.*s>\r\nTo: undisclosed-recipients:;\r\nSubject: ",
                   SLICE_FMT(blast->options.from));
    blast_token(blast, client->number, &out);
    buf_add_format(&out, "\r\nMessage-ID: <%" PRIu64 ".%" PRIu64 "@blast.test>\r\n\r\n",
                   client->number, blast->started_unix_ms);
    buf_add(&out, buf_slice(&blast->text));
    buf_add_str(&out, "\r\n.\r\n");
    client->wait = SMTP_WAIT_END;
    conn_write(&client->conn, buf_slice(&out));
    buf_fini(&out);
}

/* Refused before its end: what else is answered to the group says no more than this. */
static void give_up(struct client *client, uint16_t code)
{
    blast_take(client, code, SLICE(""));
    conn_close(&client->conn); /* and connect anew, behind a pause */
}

static void take_envelope(struct client *client, uint16_t code)
{
    client->replied += 1;
    if (code >= 400) {
        give_up(client, code);
    } else if (client->replied == ENVELOPE_COUNT) {
        write_mail(client);
    } else if (!client->has_pipelining) {
        write_envelope(client, (enum envelope)client->replied);
    }
}

static void end_mail(struct client *client, const struct smtp_reply *reply)
{
    struct slice text = buf_slice(&reply->text);
    size_t at = slice_find(text, SLICE("queued as "));
    struct slice id = slice_from(text, at == SIZE_MAX ? at : at + sizeof("queued as ") - 1);
    uint64_t most = client->blast->options.mails_per_conn;
    client->wait = SMTP_WAIT_NOTHING;
    blast_take(client, reply->code, slice_head(id, slice_find_byte(id, '\n')));
    if (most > 0 && client->mails >= most) {
        say(client, SLICE("QUIT\r\n"), SMTP_WAIT_QUIT);
    } else {
        blast_next(client, reply->code);
    }
}

static void take_ehlo(struct client *client, const struct smtp_reply *reply)
{
    const struct blast *blast = client->blast;
    struct smtp_caps caps;
    smtp_caps_read(reply, &caps);
    client->has_pipelining = caps.pipelining;
    if (reply->code != 250) {
        conn_close(&client->conn);
    } else if (blast->tls == BLAST_TLS_START && !conn_is_tls(&client->conn)) {
        say(client, SLICE("STARTTLS\r\n"), SMTP_WAIT_TLS);
    } else if (blast->auth.len > 0) {
        say(client, buf_slice(&blast->auth), SMTP_WAIT_AUTH);
    } else {
        client->wait = SMTP_WAIT_NOTHING;
        blast_next(client, reply->code);
    }
}

/* What is wrong before the first mail ends the run when it stays so: nothing is ever answered. */
static void complain(struct client *client, const struct smtp_reply *reply)
{
    fprintf(stderr, "blast: %u %.*s\n", reply->code,
            SLICE_FMT(slice_head(buf_slice(&reply->text), 200)));
    conn_close(&client->conn);
}

static void take_reply(struct client *client, const struct smtp_reply *reply)
{
    switch (client->wait) {
    case SMTP_WAIT_GREETING:
        if (reply->code == 220) {
            say(client, SLICE("EHLO blast.test\r\n"), SMTP_WAIT_EHLO);
        } else {
            conn_close(&client->conn);
        }
        return;
    case SMTP_WAIT_EHLO:
        take_ehlo(client, reply);
        return;
    case SMTP_WAIT_TLS:
        if (reply->code == 220) {
            conn_start_tls(&client->conn, client->blast->tls_context, SLICE("localhost"));
        } else {
            complain(client, reply);
        }
        return;
    case SMTP_WAIT_AUTH:
        if (reply->code == 235) {
            client->wait = SMTP_WAIT_NOTHING;
            blast_next(client, reply->code);
        } else {
            complain(client, reply);
        }
        return;
    case SMTP_WAIT_ENVELOPE:
        take_envelope(client, reply->code);
        return;
    case SMTP_WAIT_END:
        end_mail(client, reply);
        return;
    case SMTP_WAIT_QUIT:
        conn_close(&client->conn);
        return;
    case SMTP_WAIT_NOTHING:
        return; /* a 421 to a pause, most likely; the end follows */
    }
}

void blast_smtp_data(struct client *client, struct slice data)
{
    while (data.len > 0 && conn_is_open(&client->conn)) {
        size_t used = 0;
        bool is_done = false;
        if (smtp_reply_feed(&client->reader, data, &used, &is_done) != ERR_OK) {
            fprintf(stderr, "blast: not a reply: %.*s\n", SLICE_FMT(slice_head(data, 200)));
            conn_abort(&client->conn);
            return;
        }
        data = slice_from(data, used);
        if (is_done) {
            take_reply(client, &client->reader.reply);
        }
    }
}
