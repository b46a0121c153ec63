/* fuzz_smtp_server.c - any client against the SMTP server's machine, with verdicts by dice.
 *
 * The first byte of the input chooses the offers, the second seeds the dice and the lengths of
 * pieces. Fed whole and fed in pieces, with verdicts at once and after other attempts to feed, the
 * events, replies and mails are the same; replies are lines; a mail that ends well has no bare CR,
 * no bare LF and no NUL. With STARTTLS only the latter hold: what follows it in the same bytes is
 * treated by how it came.
 */
#include "base/check.h"
#include "base/crypto.h"
#include "net/smtp_server.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct session {
    struct smtp_server server;
    struct buf log;     /* events with what they carry */
    struct buf replies; /* apart: a chunk's reply is no event, so their places may differ */
    struct buf mail;
    uint32_t dice;
    bool is_over;
};

static uint32_t throw_dice(uint32_t *dice)
{
    *dice = *dice * 1103515245U + 12345U;
    return *dice >> 16;
}

static void take_replies(struct session *session)
{
    struct slice out = smtp_server_out(&session->server);
    CHECK(out.len <= SMTP_OUT_MAX);
    bool is_after_cr = false;
    CHECK(!smtp_has_bare(out, &is_after_cr));
    CHECK(out.len == 0 || slice_ends(out, SLICE("\r\n")));
    buf_add(&session->replies, out);
    smtp_server_wrote(&session->server, out.len);
}

static void answer(struct session *session)
{
    static const uint16_t codes[] = {421, 450, 550, 554};
    struct smtp_server *server = &session->server;
    uint32_t verdict = throw_dice(&session->dice) % 16;
    if (verdict >= ARRAY_LEN(codes)) {
        smtp_server_accept(server, verdict == 15 ? SLICE("a\nb\r\n") : SLICE(""));
    } else {
        smtp_server_refuse(server, codes[verdict], verdict < 2 ? "4.0.0" : "5.0.0", SLICE("no"));
    }
}

static void log_event(struct session *session, enum smtp_event event)
{
    const struct smtp_server *server = &session->server;
    bool is_after_cr = false;
    if (event == SMTP_EVENT_CHUNK) {
        CHECK(server->chunk.len > 0 && server->chunk.len <= SMTP_CHUNK_MAX + 1);
        buf_add(&session->mail, server->chunk);
        return;
    }
    buf_put_u8(&session->log, (uint8_t)event);
    switch (event) {
    case SMTP_EVENT_HELLO:
        buf_put_slice(&session->log, server->hello);
        break;
    case SMTP_EVENT_AUTH:
        buf_put_slice(&session->log, server->auth.user);
        buf_put_slice(&session->log, server->auth.password);
        break;
    case SMTP_EVENT_MAIL:
        buf_put_slice(&session->log, server->mail.from.text);
        buf_put_slice(&session->log, server->mail.envid);
        break;
    case SMTP_EVENT_RCPT:
        buf_put_slice(&session->log, server->rcpt.to.text);
        buf_put_slice(&session->log, server->rcpt.orcpt);
        break;
    case SMTP_EVENT_DATA:
        buf_clear(&session->mail);
        break;
    case SMTP_EVENT_END:
        CHECK(server->mail_bytes == session->mail.len && server->rcpts > 0);
        CHECK(!smtp_has_bare(buf_slice(&session->mail), &is_after_cr) && !is_after_cr);
        CHECK(!slice_has_byte(buf_slice(&session->mail), '\0'));
        buf_put_slice(&session->log, buf_slice(&session->mail));
        break;
    default:
        break;
    }
}

static void feed(struct session *session, struct slice piece, bool is_late)
{
    struct smtp_server *server = &session->server;
    enum smtp_event event = SMTP_EVENT_NONE;
    while (event != SMTP_EVENT_MORE && !session->is_over) {
        char *block = mem_alloc(piece.len + 1); /* so that the sanitizer sees its end */
        memcpy(block, piece.data, piece.len);
        size_t used = SIZE_MAX;
        event = smtp_server_feed(server, slice_of(block, piece.len), &used);
        CHECK(used <= piece.len);
        CHECK_IF(event == SMTP_EVENT_MORE || event == SMTP_EVENT_CLOSE, used == piece.len);
        piece = slice_from(piece, used);
        if (event != SMTP_EVENT_MORE) {
            log_event(session, event);
        }
        free(block);
        enum smtp_event asked = smtp_server_asked(server);
        if (asked != SMTP_EVENT_NONE && is_late && asked != SMTP_EVENT_STARTTLS) {
            CHECK(smtp_server_feed(server, piece, &used) == SMTP_EVENT_WAIT && used == 0);
        }
        if (asked != SMTP_EVENT_NONE) {
            answer(session);
        }
        take_replies(session);
        if (asked == SMTP_EVENT_STARTTLS && strcmp(smtp_server_state(server), "tls") == 0) {
            smtp_server_tls_started(server);
        }
        session->is_over = smtp_server_is_closed(server);
    }
}

static struct buf run(struct slice wire, uint8_t offers, uint32_t seed, bool is_whole)
{
    const struct smtp_server_options options = {
        .hostname = SLICE("mx.test"),
        .offers = {.starttls = (offers & 1) != 0,
                   .auth = (offers & 2) != 0,
                   .pipelining = true,
                   .eight_bit_mime = (offers & 4) != 0,
                   .smtputf8 = (offers & 8) != 0,
                   .chunking = (offers & 16) == 0,
                   .enhanced_status = true,
                   .dsn = (offers & 32) != 0,
                   .requiretls = true},
        .size_max = 200,
        .rcpt_max = 4,
        .mails_max = 5,
        .bad_max = 20,
        .rcpt_refused_max = 5,
        .auth_refused_max = 5,
        .needs_auth = (offers & 128) != 0,
        .is_tls = (offers & 64) != 0,
    };
    struct session session = {.dice = seed};
    buf_init(&session.log, 64 * MIB);
    buf_init(&session.replies, 64 * MIB);
    buf_init(&session.mail, MIB);
    smtp_server_init(&session.server, &options);
    smtp_server_accept(&session.server, SLICE(""));
    take_replies(&session);
    uint32_t pieces = seed;
    while (wire.len > 0 && !session.is_over) {
        size_t len = throw_dice(&pieces) % 2 == 0 ? 1 : throw_dice(&pieces) % 40 + 1;
        struct slice piece = slice_head(wire, is_whole ? wire.len : len);
        feed(&session, piece, !is_whole);
        wire = slice_from(wire, piece.len);
    }
    buf_add_str(&session.log, smtp_server_state(&session.server));
    buf_put_slice(&session.log, buf_slice(&session.replies));
    buf_fini(&session.replies);
    smtp_server_fini(&session.server);
    buf_fini(&session.mail);
    return session.log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 256 * KIB) {
        return 0;
    }
    crypto_init();
    struct slice wire = slice_of(data + 2, size - 2);
    struct buf whole = run(wire, data[0], data[1], true);
    struct buf pieces = run(wire, data[0], data[1], false);
    CHECK_IF((data[0] & 1) == 0, slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
