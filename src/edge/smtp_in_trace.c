/* smtp_in_trace.c - what we write above a mail that came in: Return-Path (RFC 5321 4.4), Received,
 * and what we found out about it (RFC 8601). The mail itself stays as it came, byte for byte. */
#include "edge/smtp_in_int.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "mail/addr.h"
#include "mail/auth_results.h"

/* RFC 5321 4.1.3. */
static void write_literal(const struct ip6 *ip, struct buf *out)
{
    char text[IP6_TEXT_MAX];
    struct slice plain = slice_of(text, ip6_text(ip, text));
    bool is_v6 = slice_has_byte(plain, ':');
    buf_add_format(out, "[%s%.*s]", is_v6 ? "IPv6:" : "", SLICE_FMT(plain));
}

/* A name that may stand in Received as it is. Others say nothing, and could say anything. */
static bool is_plain_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && memchr(".-_:[]", c, 6) == NULL) {
            return false;
        }
    }
    return name.len > 0 && name.len <= DOMAIN_MAX;
}

/* RFC 3848, RFC 6531 4.3. */
static const char *protocol_of(const struct smtp_session *session)
{
    const struct smtp_server *server = &session->server;
    if (session->mail.is_smtputf8) {
        return server->is_tls ? "UTF8SMTPS" : "UTF8SMTP";
    }
    if (!server->is_esmtp) {
        return "SMTP";
    }
    return server->is_tls ? "ESMTPS" : "ESMTP";
}

static void write_received(const struct smtp_session *session, struct buf *out)
{
    const struct inbound *mail = &session->mail;
    const struct smtp_server *server = &session->server;
    char date[CLOCK_TEXT_MAX];
    (void)clock_rfc5322(clock_unix_ms(), date); /* terminated */
    buf_add_str(out, "Received: from ");
    if (is_plain_name(server->hello)) {
        buf_add(out, server->hello);
    } else {
        buf_add_str(out, "unknown");
    }
    buf_add_str(out, " (");
    write_literal(&session->peer, out);
    buf_add_format(out, ")\r\n\tby %.*s with %s", SLICE_FMT(session->smtp->hostname),
                   protocol_of(session));
    if (server->is_tls && session->conn.tls != NULL) {
        buf_add_format(out, " (%s %s)", tls_version(session->conn.tls),
                       tls_cipher(session->conn.tls));
    }
    buf_add_format(out, "\r\n\tid %s", mail->id);
    if (mail->rcpt_count == 1) { /* of several, none may learn of another */
        buf_add_format(out, "\r\n\tfor <%.*s>", SLICE_FMT(mail->rcpts[0].key));
    }
    buf_add_format(out, ";\r\n\t%s\r\n", date);
}

static void write_results(const struct smtp_session *session, struct buf *out)
{
    const struct judge_results *judged = judge_results(session->mail.judge);
    struct auth_dkim dkim[DKIM_SIGNATURES_MAX];
    for (uint32_t i = 0; i < judged->signature_count; i++) {
        const struct judge_signature *signature = &judged->signatures[i];
        bool is_good = signature->result == DKIM_PASS;
        dkim[i] = (struct auth_dkim){
            .result = slice_str(dkim_result_text(signature->result)),
            .domain = signature->verdict->domain,
            .selector = signature->verdict->selector,
            .algorithm = signature->verdict->algo,
            .b_start = signature->verdict->b_start,
            .reason = slice_str(is_good ? "" : signature->reason),
        };
    }
    const struct dmarc_verdict *dmarc = judged->dmarc;
    bool has_policy = dmarc->result == DMARC_PASS || dmarc->result == DMARC_FAIL;
    struct auth_results results = {
        .authserv_id = session->smtp->hostname,
        .spf = {.result = slice_str(spf_result_text(judged->spf->result)),
                .mail_from = session->mail.sender,
                .helo = session->server.hello,
                .reason = judged->spf->problem},
        .dkim = dkim,
        .dkim_count = judged->signature_count,
        .is_dkim_tried = true,
        .dmarc = {.result = slice_str(dmarc_result_text(dmarc->result)),
                  .from = dmarc->author,
                  .policy = slice_str(has_policy ? dmarc_policy_text(dmarc->published) : ""),
                  .reason = dmarc->problem},
    };
    auth_results_write(out, &results);
}

void inbound_trace(const struct smtp_session *session, struct buf *out)
{
    const struct inbound *mail = &session->mail;
    buf_add_format(out, "Return-Path: <%.*s>\r\n", SLICE_FMT(mail->sender));
    write_results(session, out);
    if (mail->forged > 0) { /* RFC 8601 5: those below that bear our name came with the mail */
        buf_add_format(out, "X-Meerkat-Forged-Results: %u\r\n", (unsigned)mail->forged);
    }
    write_received(session, out);
}
