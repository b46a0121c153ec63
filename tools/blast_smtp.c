/* blast_smtp.c - mails offered over SMTP: one after the other on each connection, the envelope
 * pipelined, each with an id of its own so that nobody takes it for a repetition. */
#include "blast.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"

#define ENVELOPE_REPLIES 3 /* MAIL, RCPT, DATA */

void blast_smtp_open(struct client *client)
{
    client->wait = SMTP_WAIT_GREETING;
}

void blast_smtp_ask(struct client *client)
{
    struct blast *blast = client->blast;
    struct buf out;
    buf_init(&out, 8 * KIB);
    client->number = blast->asked;
    client->wait = SMTP_WAIT_DATA;
    client->due = ENVELOPE_REPLIES;
    buf_add_format(&out, "MAIL FROM:<%.*s>\r\nRCPT TO:<", SLICE_FMT(blast->options.from));
    blast_add_to(blast, &out);
    buf_add_str(&out, ">\r\nDATA\r\n");
    CHECK(!out.is_over);
    conn_write(&client->conn, buf_slice(&out));
    buf_fini(&out);
}

static void write_mail(struct client *client)
{
    const struct blast *blast = client->blast;
    struct buf out;
    buf_init(&out, 2 * MAIL_BYTES_MAX);
    buf_add_format(&out,
                   "From: <%.*s>\r\nTo: undisclosed-recipients:;\r\nSubject: blast %" PRIu64
                   "\r\nMessage-ID: <%" PRIu64 ".%" PRIu64 "@blast.test>\r\n\r\n",
                   SLICE_FMT(blast->options.from), client->number, client->number,
                   blast->started_unix_ms);
    buf_add(&out, buf_slice(&blast->text));
    buf_add_str(&out, "\r\n.\r\n");
    client->wait = SMTP_WAIT_END;
    conn_write(&client->conn, buf_slice(&out));
    buf_fini(&out);
}

/* Refused before its end: the rest of the group's replies say no more than this one. */
static void give_up(struct client *client, uint16_t code)
{
    blast_take(client, code, SLICE(""));
    conn_close(&client->conn); /* and connect anew, behind a pause */
}

static void end_mail(struct client *client, uint16_t code, struct slice line)
{
    size_t at = slice_find(line, SLICE("queued as "));
    struct slice id = slice_from(line, at == SIZE_MAX ? at : at + sizeof("queued as ") - 1);
    client->wait = SMTP_WAIT_NOTHING;
    blast_take(client, code, id);
    blast_next(client, code);
}

/* The last line of a reply. */
static void take_line(struct client *client, struct slice line)
{
    uint64_t number = 0;
    if (slice_uint(slice_head(line, 3), 599, &number) != ERR_OK) {
        fprintf(stderr, "blast: not a reply: %.*s\n", SLICE_FMT(slice_head(line, 200)));
        conn_abort(&client->conn);
        return;
    }
    uint16_t code = (uint16_t)number;
    switch (client->wait) {
    case SMTP_WAIT_GREETING:
        if (code != 220) {
            conn_close(&client->conn);
            return;
        }
        client->wait = SMTP_WAIT_EHLO;
        conn_write(&client->conn, SLICE("EHLO blast.test\r\n"));
        return;
    case SMTP_WAIT_EHLO:
        client->wait = SMTP_WAIT_NOTHING;
        blast_next(client, code);
        return;
    case SMTP_WAIT_DATA:
        client->due -= 1;
        if (code >= 400) {
            give_up(client, code);
        } else if (client->due == 0) {
            write_mail(client);
        }
        return;
    case SMTP_WAIT_END:
        end_mail(client, code, line);
        return;
    case SMTP_WAIT_NOTHING:
        return; /* a 421 to a pause, most likely; the end follows */
    }
}

void blast_smtp_data(struct client *client)
{
    for (;;) {
        struct slice in = buf_slice(&client->in);
        size_t len = slice_find(in, SLICE("\r\n"));
        if (client->in.is_over) {
            conn_abort(&client->conn);
            return;
        }
        if (len == SIZE_MAX || !conn_is_open(&client->conn)) {
            return;
        }
        struct slice line = slice_head(in, len);
        if (len < 4 || line.data[3] != '-') {
            take_line(client, line);
        }
        buf_consume(&client->in, len + 2);
    }
}
