/* test_smtp_in_trust.c - what is believed of a mail that comes in: TLS, verdicts, the trace.
 *
 * Names are looked up in a table (support/fake_dns). Not here: the arithmetic of SPF, DKIM and
 * DMARC, which has its tests in mail.
 */
#include "support/certs.h"
#include "support/fake_dns.h"

#include "mail/dkim.h"
#include "smtp_rig.h"

#define T .timeout = 60

static void start(struct post *post, struct peer *peer)
{
    post_init(post);
    rig_start(&post->rig);
    peer_open(post, peer);
}

static void end(struct post *post, struct peer *peer)
{
    peer_close(peer);
    post_end(post);
}

static void name(struct post *post, const char *domain, const char *text)
{
    struct fake_row row = {.type = DNS_TXT, .name = domain, .text = text};
    fake_dns_add(post_dns(post), &row, 1);
}

static void deliver(struct peer *peer, const char *sender, struct slice mail)
{
    char line[128];
    (void)snprintf(line, sizeof line, "MAIL FROM:<%s>", sender);
    peer_talk(peer, line, "250");
    peer_talk(peer, "RCPT TO:<ok@mine.test>", "250");
    peer_talk(peer, "DATA", "354");
    peer_write(peer, mail);
    peer_write(peer, SLICE(".\r\n"));
}

/* ---- TLS ------------------------------------------------------------------------------------ */

struct tls_peer {
    struct peer *peer;
    struct tls_context *context;
    struct tls *tls;
    struct buf plain;
};

static void tls_pump(struct tls_peer *it)
{
    struct buf out;
    buf_init(&out, MIB);
    peer_read(it->peer);
    enum tls_state state = tls_feed(it->tls, buf_slice(&it->peer->in), &it->plain, &out);
    cr_assert_neq(state, TLS_FAILED, "%s", tls_failure(it->tls));
    buf_clear(&it->peer->in);
    peer_write(it->peer, buf_slice(&out));
    buf_fini(&out);
}

static void tls_begin(struct tls_peer *it, struct peer *peer)
{
    *it = (struct tls_peer){.peer = peer};
    buf_init(&it->plain, MIB);
    cr_assert_eq(tls_client_new(TLS_VERIFY_NONE, SLICE(""), &it->context), ERR_OK);
    it->tls = tls_new(it->context, SLICE("mx.meerkat.test"));
    POST_WAIT(peer->post, (tls_pump(it), tls_has_opened(it->tls)));
}

static void tls_talk(struct tls_peer *it, const char *line, const char *prefix)
{
    struct buf out;
    buf_init(&out, MIB);
    cr_assert_eq(tls_write(it->tls, slice_str(line), &out), ERR_OK);
    cr_assert_eq(tls_write(it->tls, SLICE("\r\n"), &out), ERR_OK);
    peer_write(it->peer, buf_slice(&out));
    buf_fini(&out);
    POST_WAIT(it->peer->post, (tls_pump(it), reply_len(buf_slice(&it->plain)) > 0));
    cr_assert(slice_starts(buf_slice(&it->plain), slice_str(prefix)), "expected %s, got %.*s",
              prefix, SLICE_FMT(buf_slice(&it->plain)));
    buf_consume(&it->plain, reply_len(buf_slice(&it->plain)));
}

static void tls_end(struct tls_peer *it)
{
    tls_free(it->tls);
    tls_context_drop(it->context);
    buf_fini(&it->plain);
}

static void start_with_tls(struct post *post, struct certs *certs)
{
    certs_make(certs, "mx.meerkat.test", 3600L * 24 * 3650);
    post_init(post);
    set(&post->rig, "tls_cert", certs->cert_path);
    set(&post->rig, "tls_key", certs->key_path);
    rig_start(&post->rig);
}

Test(smtp_in_trust, takes_mail_over_starttls_and_forgets_what_was_said_in_clear, T)
{
    struct post post;
    struct peer peer;
    struct tls_peer it;
    struct certs certs;
    start_with_tls(&post, &certs);
    peer_open(&post, &peer);
    peer_talk(&peer, "STARTTLS", "220 2.0.0");
    tls_begin(&it, &peer);
    tls_talk(&it, SENDER, "503");
    tls_talk(&it, "EHLO over.tls.test", "250");
    tls_talk(&it, "STARTTLS", "503");
    tls_talk(&it, SENDER, "250");
    tls_talk(&it, "RCPT TO:<ok@mine.test>", "250");
    tls_talk(&it, "DATA", "354");
    tls_talk(&it, MAIL_TEXT ".", "250 2.0.0 Ok: queued");
    cr_assert(trace_has(&post.stored[0], "Received: from over.tls.test ([127.0.0.1])\r\n\tby "
                                         "mx.meerkat.test with ESMTPS (TLSv1.3 TLS_"));
    tls_talk(&it, "QUIT", "221");
    tls_end(&it);
    peer_close(&peer);
    post_end(&post);
    certs_remove(&certs);
}

Test(smtp_in_trust, takes_nothing_that_was_injected_behind_starttls, T)
{
    struct post post;
    struct peer peer;
    struct certs certs;
    start_with_tls(&post, &certs);
    peer_open(&post, &peer);
    peer_write(&peer, SLICE("STARTTLS\r\nMAIL FROM:<evil@from.test>\r\n"));
    peer_expect(&peer, "501 5.5.1");
    peer_expect_end(&peer);
    peer_close(&peer);
    post_end(&post);
    certs_remove(&certs);
}

Test(smtp_in_trust, waits_a_minute_for_a_handshake, T)
{
    struct post post;
    struct peer peer;
    struct certs certs;
    start_with_tls(&post, &certs);
    peer_open(&post, &peer);
    peer_talk(&peer, "STARTTLS", "220");
    pass(&post.rig, SMTP_IN_TLS_MS + 1);
    peer_expect_end(&peer);
    peer_close(&peer);
    post_end(&post);
    certs_remove(&certs);
}

Test(smtp_in_trust, offers_the_certificate_of_the_last_reload, T)
{
    struct post post;
    struct peer peer;
    struct tls_peer it;
    struct certs certs;
    start_with_tls(&post, &certs);
    struct tls_context *before = post.rig.edge->tls;
    control(&post.rig, CONTROL_RELOAD, 0);
    WAIT_FOR(&post.rig, post.rig.controls_home == 2);
    cr_assert_neq(post.rig.edge->tls, before);
    peer_open(&post, &peer);
    peer_talk(&peer, "STARTTLS", "220");
    tls_begin(&it, &peer);
    tls_talk(&it, "EHLO c", "250");
    tls_end(&it);
    peer_close(&peer);
    post_end(&post);
    certs_remove(&certs);
}

/* ---- the trace ------------------------------------------------------------------------------ */

Test(smtp_in_trust, writes_its_trace_above_the_mail, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    deliver(&peer, "a@from.test", SLICE(MAIL_TEXT));
    peer_expect(&peer, "250");
    struct slice trace = buf_slice(&post.stored[0].trace);
    size_t id = slice_find(trace, SLICE("\tid req_"));
    cr_assert_neq(id, SIZE_MAX);
    cr_assert(slice_starts(trace, SLICE("Return-Path: <a@from.test>\r\n"
                                        "Authentication-Results: mx.meerkat.test;\r\n"
                                        " spf=none smtp.mailfrom=a@from.test;\r\n"
                                        " dkim=none;\r\n"
                                        " dmarc=none header.from=from.test\r\n"
                                        "Received: from client.test ([127.0.0.1])\r\n"
                                        "\tby mx.meerkat.test with ESMTP\r\n"
                                        "\tid req_")),
              "%.*s", SLICE_FMT(trace));
    cr_assert(slice_ends(trace, SLICE("\r\n\tfor <ok@mine.test>;\r\n"
                                      "\tSun, 15 Jun 2025 15:06:40 +0000\r\n")),
              "%.*s", SLICE_FMT(trace));
    end(&post, &peer);
}

Test(smtp_in_trust, tells_no_recipient_of_another, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    peer_talk(&peer, "RCPT TO:<hidden@a1.test>", "250");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250");
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_not(trace_has(&post.stored[i], "for <"));
        cr_assert_not(trace_has(&post.stored[i], "hidden"));
    }
    cr_assert(about_has(&post.stored[0], "to=ok@mine.test\nhelo"));
    cr_assert(about_has(&post.stored[1], "to=hidden@a1.test\nhelo"));
    end(&post, &peer);
}

Test(smtp_in_trust, lets_no_client_write_into_the_trace, T)
{
    static const char *const names[] = {"x) by evil.test (", "a;b",   "\"quoted\"",
                                        "(comment)",         "<x@y>", "two words"};
    struct post post;
    struct peer peer;
    char line[128];
    start(&post, &peer);
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(line, sizeof line, "EHLO %s", names[i]);
        peer_talk(&peer, line, "250");
        deliver(&peer, "", SLICE(MAIL_TEXT));
        peer_expect(&peer, "250");
        cr_assert(trace_has(&post.stored[i], "Received: from unknown ([127.0.0.1])"));
    }
    end(&post, &peer);
}

Test(smtp_in_trust, counts_results_that_claim_to_be_ours, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    deliver(&peer, "a@from.test",
            SLICE("Authentication-Results: mx.meerkat.test; dmarc=pass\r\n"
                  "Authentication-Results: elsewhere.test; dmarc=pass\r\n"
                  "Authentication-Results: MX.Meerkat.Test; spf=pass\r\n" MAIL_TEXT
                  "Authentication-Results: mx.meerkat.test; in=body\r\n"));
    peer_expect(&peer, "250");
    cr_assert(trace_has(&post.stored[0], "\r\nX-Meerkat-Forged-Results: 2\r\n"));
    deliver(&peer, "a@from.test", SLICE(MAIL_TEXT));
    peer_expect(&peer, "250");
    cr_assert_not(trace_has(&post.stored[1], "Forged"));
    end(&post, &peer);
}

/* ---- verdicts ------------------------------------------------------------------------------- */

Test(smtp_in_trust, asks_who_may_send_for_the_sender, T)
{
    static const struct {
        const char *record;
        const char *spf;
        const char *dmarc;
    } table[] = {
        {"v=spf1 ip4:127.0.0.1 -all", "spf=pass\n", "dmarc=pass\n"},
        {"v=spf1 ip4:192.0.2.1 -all", "spf=fail\n", "dmarc=fail\n"},
        {"v=spf1 ~all", "spf=softfail\n", "dmarc=fail\n"},
        {"v=spf1 include:gone.test -all", "spf=permerror\n", "dmarc=fail\n"},
        {"v=spf1 a:host.from.test -all", "spf=pass\n", "dmarc=pass\n"},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++) {
        struct post post;
        struct peer peer;
        struct fake_row host = {.type = DNS_A, .name = "host.from.test", .text = "127.0.0.1"};
        start(&post, &peer);
        name(&post, "from.test", table[i].record);
        name(&post, "_dmarc.from.test", "v=DMARC1; p=reject");
        fake_dns_add(post_dns(&post), &host, 1);
        deliver(&peer, "a@from.test", SLICE(MAIL_TEXT));
        peer_expect(&peer, "250"); /* the policy is noted, no more */
        cr_assert(about_has(&post.stored[0], table[i].spf), "%s", table[i].record);
        cr_assert(about_has(&post.stored[0], table[i].dmarc), "%s", table[i].record);
        end(&post, &peer);
    }
}

Test(smtp_in_trust, judges_the_null_sender_by_its_greeting, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    name(&post, "client.test", "v=spf1 ip4:127.0.0.1 -all");
    deliver(&peer, "", SLICE(MAIL_TEXT));
    peer_expect(&peer, "250");
    cr_assert(about_has(&post.stored[0], "spf=pass\n"));
    cr_assert(trace_has(&post.stored[0], "spf=pass smtp.helo=client.test"));
    end(&post, &peer);
}

Test(smtp_in_trust, asks_nothing_for_who_only_tries_addresses, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    name(&post, "from.test", "v=spf1 -all");
    for (int i = 0; i < 5; i++) {
        peer_talk(&peer, SENDER, "250");
        peer_talk(&peer, "RCPT TO:<nobody@mine.test>", "550");
        peer_talk(&peer, "RSET", "250");
    }
    cr_assert_eq(post_dns(&post)->question_count, 0);
    end(&post, &peer);
}

Test(smtp_in_trust, refuses_by_policy_when_the_operator_says_so, T)
{
    static const struct {
        const char *record;
        const char *reply;
    } table[] = {
        {"v=DMARC1; p=reject", "550 5.7.1"},
        {"v=DMARC1; p=quarantine", "250 2.0.0"},
        {"v=DMARC1; p=reject; t=y", "250 2.0.0"},
        {"v=DMARC1; p=none", "250 2.0.0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct post post;
        struct peer peer;
        post_init(&post);
        set(&post.rig, "smtp_dmarc_reject", "yes");
        rig_start(&post.rig);
        peer_open(&post, &peer);
        name(&post, "from.test", "v=spf1 -all");
        name(&post, "_dmarc.from.test", table[i].record);
        deliver(&peer, "a@from.test", SLICE(MAIL_TEXT));
        peer_expect(&peer, table[i].reply);
        deliver(&peer, "a@other.test", SLICE("From: a@other.test\r\n\r\n"));
        peer_expect(&peer, "250 2.0.0");
        end(&post, &peer);
    }
}

static struct slice signed_mail(struct post *post, struct arena *arena, struct slice header,
                                struct slice body)
{
    struct sign_key *key;
    struct slice der;
    struct slice public_text;
    struct slice field;
    struct dkim_body hash;
    cr_assert_eq(crypto_make_key(SIGN_ED25519, arena, &der, &public_text), ERR_OK);
    cr_assert_eq(sign_key_new(SIGN_ED25519, der, &key), ERR_OK);
    dkim_body_start(&hash);
    dkim_body_add(&hash, body);
    struct sha256 digest = dkim_body_finish(&hash);
    struct dkim_signer signer = {.domain = SLICE("from.test"),
                                 .selector = SLICE("s1"),
                                 .key = key,
                                 .time_s = RIG_UNIX_MS / 1000};
    cr_assert_eq(dkim_sign(&signer, header, &digest, arena, &field), ERR_OK);
    sign_key_free(key);
    name(post, "s1._domainkey.from.test",
         arena_cstr(arena, dkim_record(SIGN_ED25519, public_text, arena)));
    return arena_format(arena, "%.*s%.*s\r\n%.*s", SLICE_FMT(field), SLICE_FMT(header),
                        SLICE_FMT(body));
}

#define HEADER "From: a@from.test\r\nSubject: signed\r\n"

Test(smtp_in_trust, verifies_signatures_of_small_and_large_mails, T)
{
    static const size_t sizes[] = {20, 300000, 700000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct post post;
        struct peer peer;
        struct arena arena;
        struct buf body;
        start(&post, &peer);
        arena_init(&arena, 64 * KIB, 16 * MIB);
        buf_init(&body, MIB);
        while (body.len < sizes[i]) {
            buf_add_str(&body, "a line of text\r\n");
        }
        name(&post, "_dmarc.from.test", "v=DMARC1; p=reject");
        struct slice mail = signed_mail(&post, &arena, SLICE(HEADER), buf_slice(&body));
        deliver(&peer, "bounce@elsewhere.test", mail);
        peer_expect(&peer, "250");
        cr_assert(about_has(&post.stored[0], "dkim=pass\ndmarc=pass\n"), "%.*s",
                  SLICE_FMT(buf_slice(&post.stored[0].about)));
        cr_assert(trace_has(&post.stored[0], "dkim=pass header.d=from.test header.s=s1"));
        deliver(&peer, "bounce@elsewhere.test", arena_format(&arena, "%.*sx\r\n", SLICE_FMT(mail)));
        peer_expect(&peer, "250");
        cr_assert(about_has(&post.stored[1], "dkim=fail\ndmarc=fail\n"));
        buf_fini(&body);
        arena_fini(&arena);
        end(&post, &peer);
    }
}

Test(smtp_in_trust, waits_ten_seconds_for_names_and_then_takes_the_mail, T)
{
    struct post post;
    struct peer peer;
    struct arena arena;
    start(&post, &peer);
    arena_init(&arena, 4096, MIB);
    struct slice mail = signed_mail(&post, &arena, SLICE(HEADER), SLICE("x\r\n"));
    post_dns(&post)->loop = NULL; /* nobody answers any more */
    deliver(&peer, "a@from.test", mail);
    POST_WAIT(&post, post_dns(&post)->question_count >= 2);
    pass(&post.rig, JUDGE_MS - 1);
    cr_assert_eq(post.stored_count, 0);
    pass(&post.rig, 2);
    peer_expect(&peer, "250 2.0.0");
    cr_assert(about_has(&post.stored[0], "spf=temperror\ndkim=temperror\ndmarc=temperror\n"));
    post_dns(&post)->loop = &post.rig.loop;
    arena_fini(&arena);
    end(&post, &peer);
}

Test(smtp_in_trust, gives_up_its_questions_when_the_client_leaves, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    post_dns(&post)->loop = NULL;
    deliver(&peer, "a@from.test", SLICE(MAIL_TEXT));
    POST_WAIT(&post, post_dns(&post)->question_count >= 1);
    post_settle(&post);
    struct smtp_session *session =
        CONTAINER_OF(post.rig.edge->smtp->sessions.next, struct smtp_session, link);
    conn_abort(&session->conn);
    POST_WAIT(&post, post_sessions(&post) == 0);
    for (size_t i = 0; i < post_dns(&post)->question_count; i++) {
        cr_assert_null(post_dns(&post)->questions[i].query);
    }
    post_dns(&post)->loop = &post.rig.loop;
    end(&post, &peer);
}

Test(smtp_in_trust, finds_no_author_behind_an_endless_header, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    name(&post, "_dmarc.from.test", "v=DMARC1; p=reject");
    buf_init(&mail, MIB);
    while (mail.len < 2 * CHUNK_BYTES) {
        buf_add_str(&mail,
                    "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    }
    buf_add_str(&mail, MAIL_TEXT);
    deliver(&peer, "a@from.test", buf_slice(&mail));
    peer_expect(&peer, "250");
    cr_assert(about_has(&post.stored[0], "dmarc=permerror\n"));
    buf_fini(&mail);
    end(&post, &peer);
}
