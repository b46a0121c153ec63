/* test_smtp_in_mail.c - the bytes of mails that come in: in memory, in chunks, dropped, repeated.
 *
 * Not here: dialogues (test_smtp_in), verdicts (test_smtp_in_trust), what a shard makes of it all
 * (shards/test_intake).
 */
#include "support/fake_dns.h"

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

/* A mail of exactly so many bytes, in lines, each different. */
static void make_mail(struct buf *mail, size_t bytes)
{
    uint64_t line = 0;
    buf_init(mail, MAIL_BYTES_MAX);
    buf_add_str(mail, "From: a@from.test\r\n\r\n");
    while (mail->len + 40 < bytes) {
        buf_add_format(mail, "line %llu\r\n", (unsigned long long)line++);
    }
    while (mail->len + 2 < bytes) {
        buf_add_byte(mail, 'x');
    }
    buf_add_str(mail, "\r\n");
    cr_assert_eq(mail->len, bytes);
}

static struct smtp_session *session_of_post(struct post *post)
{
    struct smtp_in *smtp = post->rig.edge->smtp;
    cr_assert_not(list_is_empty(&smtp->sessions));
    return CONTAINER_OF(smtp->sessions.next, struct smtp_session, link);
}

static void expect_stored(const struct stored *stored, const struct buf *mail)
{
    cr_assert(stored->is_stored);
    cr_assert_not(stored->is_dropped);
    cr_assert(slice_equal(buf_slice(&stored->bytes), buf_slice(mail)));
}

Test(smtp_in_mail, stages_what_is_longer_than_a_chunk, T)
{
    static const struct {
        size_t bytes;
        uint32_t chunks;
    } table[] = {{MAIL_INLINE_MAX - 1, 0},   {MAIL_INLINE_MAX, 0},     {MAIL_INLINE_MAX + 1, 2},
                 {2 * CHUNK_BYTES, 2},       {2 * CHUNK_BYTES + 1, 3}, {5 * CHUNK_BYTES - 1, 5},
                 {9 * CHUNK_BYTES + 777, 10}};
    struct post post;
    struct peer peer;
    start(&post, &peer);
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf mail;
        make_mail(&mail, table[i].bytes);
        peer_data(&peer);
        peer_write(&peer, buf_slice(&mail));
        peer_write(&peer, SLICE(".\r\n"));
        peer_expect(&peer, "250 2.0.0 Ok: queued");
        expect_stored(&post.stored[i], &mail);
        cr_assert_eq(post.stored[i].chunks, table[i].chunks, "%zu bytes", table[i].bytes);
        cr_assert_eq(post.rig.edge->body_bytes, 0);
        buf_fini(&mail);
    }
    end(&post, &peer);
}

Test(smtp_in_mail, takes_chunks_of_bdat_of_any_size, T)
{
    static const size_t sizes[] = {1, 100, 70000, 400000, 262144, 5};
    struct post post;
    struct peer peer;
    struct buf mail;
    size_t at = 0;
    char line[64];
    start(&post, &peer);
    make_mail(&mail, 800000);
    peer_talk(&peer, SENDER " BODY=8BITMIME", "250");
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slice part = slice_sub(buf_slice(&mail), at, sizes[i]);
        (void)snprintf(line, sizeof line, "BDAT %zu\r\n", part.len);
        peer_write(&peer, slice_str(line));
        peer_write(&peer, part);
        peer_expect(&peer, "250 2.0.0");
        at += part.len;
    }
    (void)snprintf(line, sizeof line, "BDAT %zu LAST\r\n", mail.len - at);
    peer_write(&peer, slice_str(line));
    peer_write(&peer, slice_from(buf_slice(&mail), at));
    peer_expect(&peer, "250 2.0.0 Ok: queued");
    expect_stored(&post.stored[0], &mail);
    buf_fini(&mail);
    end(&post, &peer);
}

Test(smtp_in_mail, gives_each_account_its_chunks, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 700000);
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<ok@a0.test>", "250");
    peer_talk(&peer, "RCPT TO:<ok@a1.test>", "250");
    peer_talk(&peer, "RCPT TO:<ok@a2.test>", "250");
    peer_talk(&peer, "DATA", "354");
    peer_write(&peer, buf_slice(&mail));
    peer_write(&peer, SLICE(".\r\n"));
    peer_expect(&peer, "250 2.0.0 Ok: queued");
    cr_assert_eq(post.stored_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        expect_stored(&post.stored[i], &mail);
        cr_assert_eq(post.stored[i].account.value, 100 + i);
    }
    buf_fini(&mail);
    end(&post, &peer);
}

/* Writes as much as the edge takes while no shard answers. */
static size_t push_all(struct post *post, struct peer *peer, struct slice bytes)
{
    size_t total = 0;
    for (int quiet = 0; quiet < 100; quiet++) {
        size_t sent = peer_push(peer, slice_from(bytes, total));
        total += sent;
        quiet = sent > 0 ? 0 : quiet;
        post_turn(post);
    }
    return total;
}

Test(smtp_in_mail, reads_nothing_while_a_chunk_is_on_its_way, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 20 * MIB);
    peer_data(&peer);
    post.is_holding = true;
    size_t sent = push_all(&post, &peer, buf_slice(&mail));
    const struct smtp_session *session = session_of_post(&post);
    cr_assert_lt(sent, mail.len, "the sender has to wait");
    cr_assert(session->is_paused);
    cr_assert_eq(post.rig.got_count, post.answered + 1, "one message is out");
    cr_assert_leq(session->mail.data.len, INBOUND_HELD_MAX);
    cr_assert_leq(post.rig.edge->body_bytes, 2 * INBOUND_HELD_MAX);
    while (sent < mail.len) { /* round by round: never more than that in hand */
        (void)post_answer(&post);
        sent += push_all(&post, &peer, slice_from(buf_slice(&mail), sent));
        cr_assert_leq(post.rig.edge->body_bytes, 2 * INBOUND_HELD_MAX);
    }
    post.is_holding = false;
    peer_write(&peer, SLICE(".\r\n"));
    peer_expect(&peer, "250 2.0.0 Ok: queued");
    expect_stored(&post.stored[0], &mail);
    buf_fini(&mail);
    end(&post, &peer);
}

/* ---- dropped -------------------------------------------------------------------------------- */

/* Up to where held messages are unanswered: 1 is BEGIN, 2 the first ADD, ... */
static void leave_after(struct post *post, uint32_t held, bool is_answered)
{
    struct peer peer;
    struct buf mail;
    uint32_t before = post->stored_count;
    peer_open(post, &peer);
    peer_data(&peer);
    make_mail(&mail, 4 * CHUNK_BYTES);
    post->is_holding = true;
    size_t sent = push_all(post, &peer, buf_slice(&mail));
    for (uint32_t i = 1; i < held; i++) {
        cr_assert(post_answer(post));
        sent += push_all(post, &peer, slice_from(buf_slice(&mail), sent));
    }
    if (is_answered) {
        cr_assert(post_answer(post));
        post_settle(post);
    }
    struct smtp_session *session = session_of_post(post);
    peer_close(&peer);
    conn_abort(&session->conn); /* a paused conn would not notice */
    POST_WAIT(post, post_sessions(post) == 0);
    post->is_holding = false;
    post_settle(post);
    cr_assert_eq(post->stored_count, before + 1);
    cr_assert(post->stored[before].is_dropped, "after %u messages", held);
    cr_assert_not(post->stored[before].is_stored);
    cr_assert_eq(post->rig.edge->body_bytes, 0);
    buf_fini(&mail);
}

Test(smtp_in_mail, drops_the_chunks_of_who_leaves, T)
{
    struct post post;
    post_init(&post);
    rig_start(&post.rig);
    for (uint32_t held = 1; held <= 4; held++) {
        leave_after(&post, held, false);
        leave_after(&post, held, true);
    }
    post_end(&post);
}

Test(smtp_in_mail, drops_the_chunks_of_who_resets, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 600000);
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    peer_write(&peer, SLICE("BDAT 600000\r\n"));
    peer_write(&peer, buf_slice(&mail));
    peer_expect(&peer, "250");
    cr_assert_gt(post.stored[0].chunks, 0);
    peer_talk(&peer, "RSET", "250");
    POST_WAIT(&post, post.stored[0].is_dropped);
    peer_data(&peer);
    peer_write(&peer, SLICE(MAIL_TEXT ".\r\n"));
    peer_expect(&peer, "250 2.0.0 Ok");
    buf_fini(&mail);
    end(&post, &peer);
}

Test(smtp_in_mail, drops_the_chunks_of_a_mail_with_a_bare_line_end, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 600000);
    peer_data(&peer);
    peer_write(&peer, buf_slice(&mail));
    peer_write(&peer, SLICE("bad\nline\r\n.\r\n"));
    peer_expect(&peer, "550 5.6.11");
    POST_WAIT(&post, post.stored[0].is_dropped);
    buf_fini(&mail);
    end(&post, &peer);
}

Test(smtp_in_mail, refuses_what_is_larger_than_a_mail_may_be, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    post_init(&post);
    set(&post.rig, "mail_max", "500000");
    rig_start(&post.rig);
    peer_open(&post, &peer);
    peer_talk(&peer, SENDER " SIZE=500001", "552 5.3.4");
    make_mail(&mail, 510000);
    peer_data(&peer);
    peer_write(&peer, buf_slice(&mail));
    peer_write(&peer, SLICE(".\r\n"));
    peer_expect(&peer, "552 5.3.4");
    POST_WAIT(&post, post.stored[0].is_dropped);
    buf_fini(&mail);
    end(&post, &peer);
}

Test(smtp_in_mail, keeps_its_chunks_to_be_dropped_until_the_pool_has_a_message, T)
{
    static struct msg *msgs[EDGE_POOL_MSGS];
    struct post post;
    struct peer peer;
    struct buf mail;
    uint32_t count = 0;
    start(&post, &peer);
    make_mail(&mail, 600000);
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<ok@mine.test>", "250");
    peer_write(&peer, SLICE("BDAT 600000\r\n"));
    peer_write(&peer, buf_slice(&mail));
    peer_expect(&peer, "250");
    struct msg *msg = NULL;
    while ((msg = msg_take(edge_actor(post.rig.edge), MSG_SHARD_RCPT)) != NULL) {
        msgs[count++] = msg;
    }
    peer_talk(&peer, "RSET", "250");
    pass(&post.rig, 10 * INBOUND_DROP_RETRY_MS);
    cr_assert_not(post.stored[0].is_dropped);
    while (count > 0) {
        msg_put(edge_actor(post.rig.edge), msgs[--count]);
    }
    pass(&post.rig, INBOUND_DROP_RETRY_MS);
    POST_WAIT(&post, post.stored[0].is_dropped);
    buf_fini(&mail);
    end(&post, &peer);
}

Test(smtp_in_mail, refuses_a_mail_that_goes_in_circles, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    for (uint32_t hops = INBOUND_HOPS_MAX; hops <= INBOUND_HOPS_MAX + 1; hops++) {
        buf_init(&mail, MIB);
        for (uint32_t i = 0; i < hops; i++) {
            buf_add_str(&mail, "Received: from a\r\n\tby b; received: folded\r\n");
        }
        buf_add_str(&mail, MAIL_TEXT "Received: in the body\r\n");
        peer_data(&peer);
        peer_write(&peer, buf_slice(&mail));
        peer_write(&peer, SLICE(".\r\n"));
        peer_expect(&peer, hops > INBOUND_HOPS_MAX ? "554 5.4.6" : "250 2.0.0");
        buf_fini(&mail);
    }
    cr_assert_eq(post.stored_count, 1);
    /* A large one has chunks on disk by then. */
    make_mail(&mail, 400000);
    peer_data(&peer);
    for (uint32_t i = 0; i <= INBOUND_HOPS_MAX; i++) {
        peer_write(&peer, SLICE("Received: from a\r\n"));
    }
    peer_write(&peer, buf_slice(&mail));
    peer_write(&peer, SLICE(".\r\n"));
    peer_expect(&peer, "554 5.4.6");
    POST_WAIT(&post, post.stored[1].is_dropped);
    buf_fini(&mail);
    end(&post, &peer);
}

/* ---- put off -------------------------------------------------------------------------------- */

Test(smtp_in_mail, puts_off_a_mail_whose_chunks_find_no_place, T)
{
    static const struct {
        enum err err;
        const char *reply;
    } table[] = {{ERR_STORAGE, "452 4.3.1"}, {ERR_BUSY, "451 4.3.2"}, {ERR_IO, "451 4.3.0"}};
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 900000);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        post.stage_err = table[i].err;
        peer_data(&peer);
        peer_write(&peer, buf_slice(&mail));
        peer_write(&peer, SLICE(".\r\n"));
        peer_expect(&peer, table[i].reply);
        cr_assert_eq(post.rig.edge->body_bytes, 0);
    }
    post.stage_err = ERR_OK;
    peer_data(&peer);
    peer_write(&peer, buf_slice(&mail));
    peer_write(&peer, SLICE(".\r\n"));
    peer_expect(&peer, "250");
    buf_fini(&mail);
    end(&post, &peer);
}

Test(smtp_in_mail, drops_what_one_account_has_when_another_fails, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 400000);
    peer_talk(&peer, SENDER, "250");
    peer_talk(&peer, "RCPT TO:<ok@a0.test>", "250");
    peer_talk(&peer, "RCPT TO:<ok@a1.test>", "250");
    peer_talk(&peer, "DATA", "354");
    post.inbound_err = ERR_STORAGE;
    post.inbound_fails_for = (struct account_id){101};
    peer_write(&peer, buf_slice(&mail));
    peer_write(&peer, SLICE(".\r\n"));
    peer_expect(&peer, "452 4.3.1");
    post_settle(&post);
    cr_assert(post.stored[0].is_stored);
    cr_assert(post.stored[1].is_dropped);
    buf_fini(&mail);
    end(&post, &peer);
}

Test(smtp_in_mail, forgets_the_answer_of_a_mail_whose_client_left_but_not_its_chunks, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 400000);
    peer_data(&peer);
    peer_write(&peer, buf_slice(&mail));
    post.inbound_err = ERR_IO;
    POST_WAIT(&post, post.stored_count == 1 && post.stored[0].chunks == 1);
    peer_write(&peer, SLICE(".\r\n"));
    post.is_holding = true;
    while (post.rig.got_count == post.answered ||
           post.rig.got[post.answered]->kind != MSG_SHARD_INBOUND) {
        if (post.rig.got_count > post.answered) {
            (void)post_answer(&post);
        }
        turn(&post.rig);
    }
    conn_abort(&session_of_post(&post)->conn);
    peer_close(&peer);
    POST_WAIT(&post, post_sessions(&post) == 0);
    cr_assert_not(post.stored[0].is_dropped, "the shard may be storing it");
    post.is_holding = false;
    POST_WAIT(&post, post.stored[0].is_dropped);
    buf_fini(&mail);
    post_end(&post);
}

/* ---- repeated ------------------------------------------------------------------------------- */

static struct sha256 digest_of(struct peer *peer, const char *sender, const char *const *rcpts,
                               const char *text)
{
    struct post *post = peer->post;
    char line[128];
    (void)snprintf(line, sizeof line, "MAIL FROM:<%s>", sender);
    peer_talk(peer, line, "250");
    for (; *rcpts != NULL; rcpts++) {
        (void)snprintf(line, sizeof line, "RCPT TO:<%s>", *rcpts);
        peer_talk(peer, line, "250");
    }
    peer_talk(peer, "DATA", "354");
    peer_write(peer, slice_str(text));
    peer_write(peer, SLICE(".\r\n"));
    peer_expect(peer, "250 2.0.0 Ok");
    return post->stored[post->stored_count - 1].digest;
}

#define RCPTS(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(smtp_in_mail, knows_a_mail_again_by_its_envelope_and_bytes, T)
{
    struct post post;
    struct peer peer;
    start(&post, &peer);
    const char *text = "A: b\r\n\r\nc\r\n";
    struct sha256 digests[] = {
        digest_of(&peer, "s@from.test", RCPTS("ok@mine.test", "two@mine.test"), text),
        digest_of(&peer, "t@from.test", RCPTS("ok@mine.test", "two@mine.test"), text),
        digest_of(&peer, "", RCPTS("ok@mine.test", "two@mine.test"), text),
        digest_of(&peer, "s@from.test", RCPTS("ok@mine.test"), text),
        digest_of(&peer, "s@from.test", RCPTS("ok@mine.test", "two@mine.test"),
                  "A: b\r\n\r\nd\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
        for (size_t j = 0; j < i; j++) {
            cr_assert_neq(memcmp(&digests[i], &digests[j], sizeof digests[i]), 0, "%zu %zu", i, j);
        }
    }
    struct sha256 again =
        digest_of(&peer, "s@from.test", RCPTS("two@mine.test", "OK@mine.test"), text);
    cr_assert_eq(memcmp(&again, &digests[0], sizeof again), 0, "in another order");
    /* The other accounts of a mail do not matter to one: a sender may split it anew. */
    (void)digest_of(&peer, "s@from.test", RCPTS("ok@mine.test", "two@mine.test", "ok@a1.test"),
                    text);
    again = post.stored[post.stored_count - 2].digest;
    cr_assert_eq(memcmp(&again, &digests[0], sizeof again), 0, "with other accounts beside it");
    end(&post, &peer);
}

Test(smtp_in_mail, knows_a_large_mail_again_too, T)
{
    struct post post;
    struct peer peer;
    struct buf mail;
    start(&post, &peer);
    make_mail(&mail, 300000);
    for (int i = 0; i < 2; i++) {
        peer_data(&peer);
        peer_write(&peer, buf_slice(&mail));
        peer_write(&peer, SLICE(".\r\n"));
        peer_expect(&peer, "250");
    }
    cr_assert_eq(memcmp(&post.stored[0].digest, &post.stored[1].digest, sizeof(struct sha256)), 0);
    buf_fini(&mail);
    end(&post, &peer);
}
