/* test_submission.c - what a submitted mail says of itself, and what is changed of it.
 *
 * Not covered here: how addresses, charsets and encoded words are read (test_mime_read, test_addr,
 * test_author); random bytes (fuzz_submission).
 */
#include <criterion/criterion.h>

#include "base/check.h"
#include "base/crypto.h"
#include "mail/mime_read.h"
#include "mail/submission.h"

#include <stdlib.h>
#include <string.h>

#define FROM  "From: Ann <ann@from.test>\r\n"
#define REST  "To: Bob <bob@to.test>\r\nSubject: hi\r\n\r\nHello.\r\n"
#define DATED "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nMessage-ID: <id@from.test>\r\n"
#define ADDED DATED "MIME-Version: 1.0\r\nFeedback-ID: a:b:c:d\r\n"

struct bench {
    struct arena arena;
    struct buf out;
    struct submission mail;
    struct submission_written written;
    const char *problem;
};

static struct bench *bench_new(void)
{
    struct bench *bench = mem_zalloc(sizeof *bench);
    crypto_init();
    mime_read_init();
    arena_init(&bench->arena, 16 * KIB, SUBMISSION_ARENA_BYTES);
    buf_init(&bench->out, MIB);
    bench->problem = "";
    return bench;
}

static void bench_free(struct bench *bench)
{
    arena_fini(&bench->arena);
    buf_fini(&bench->out);
    free(bench);
    mime_read_fini();
}

static enum err read_mail(struct bench *bench, const char *raw)
{
    arena_clear(&bench->arena);
    return submission_read(slice_str(raw), &bench->arena, &bench->mail, &bench->problem);
}

static enum err write_mail(struct bench *bench, struct slice raw)
{
    const struct submission_adds adds = {.message_id = SLICE("id@from.test"),
                                         .feedback_id = SLICE("a:b:c:d")};
    buf_clear(&bench->out);
    return submission_write(raw, &adds, &bench->out, &bench->written, &bench->problem);
}

static void expect_written(struct bench *bench, const char *raw, const char *wanted)
{
    cr_assert_eq(write_mail(bench, slice_str(raw)), ERR_OK, "%s: %s", raw, bench->problem);
    cr_expect(slice_equal(buf_slice(&bench->out), slice_str(wanted)), "%s\nbecame\n%.*s", raw,
              SLICE_FMT(buf_slice(&bench->out)));
    struct slice header = slice_head(buf_slice(&bench->out), (size_t)bench->written.header_len);
    cr_expect(slice_ends(header, SLICE("\r\n\r\n")));
}

Test(submission, writes_where_a_mail_was_taken_above_all_fields)
{
    struct bench *bench = bench_new();
    const struct submission_adds adds = {.message_id = SLICE("id@from.test"),
                                         .hostname = SLICE("mail.our.test"),
                                         .id = SLICE("msg_1")};
    cr_assert_eq(submission_write(SLICE(FROM DATED "MIME-Version: 1.0\r\n" REST), &adds,
                                  &bench->out, &bench->written, &bench->problem),
                 ERR_OK);
    static const struct slice wanted =
        SLICE_INIT("Received: by mail.our.test with ESMTPSA\r\n\tid msg_1;\r\n"
                   "\tThu, 01 Jan 1970 00:00:00 +0000\r\n" FROM);
    cr_expect(slice_starts(buf_slice(&bench->out), wanted), "%.*s",
              SLICE_FMT(buf_slice(&bench->out)));
    struct slice body = slice_from(buf_slice(&bench->out), (size_t)bench->written.header_len);
    cr_expect(slice_equal(body, SLICE("Hello.\r\n")));
    bench_free(bench);
}

/* ---- reading -------------------------------------------------------------------------------- */

Test(submission, reads_who_wrote_it_and_to_whom)
{
    struct bench *bench = bench_new();
    cr_assert_eq(read_mail(bench, "From: =?utf-8?q?J=C3=B6rg?= (chief) <Joerg@From.TEST>\r\n"
                                  "To: b@to.test, Cy <c@TO.test>, nonsense, grp: d@to.test;\r\n"
                                  "Cc: e@to.test\r\n\r\nx\r\n"),
                 ERR_OK, "%s", bench->problem);
    cr_expect(slice_equal(bench->mail.from.text, SLICE("Joerg@from.test")));
    cr_expect(slice_equal(bench->mail.from.name, SLICE("J\xc3\xb6rg")));
    cr_assert_eq(bench->mail.to_count, 3);
    cr_expect(slice_equal(bench->mail.to[1].name, SLICE("Cy")));
    cr_expect(slice_equal(bench->mail.to[1].text, SLICE("c@to.test")));
    cr_expect(slice_equal(bench->mail.to[2].text, SLICE("d@to.test")));
    cr_assert_eq(bench->mail.cc_count, 1);
    bench_free(bench);
}

Test(submission, reads_what_is_meant_for_meerkat)
{
    struct bench *bench = bench_new();
    cr_assert_eq(read_mail(bench, "x-meerkat-tag: one\r\n" FROM "X-Meerkat-Tag:\r\n two\r\n"
                                  "X-Meerkat-Idempotency-Key: k 1\r\n"
                                  "X-Meerkat-Metadata: {\"a\":\r\n \"b c\"}\r\n"
                                  "X-Meerkat-Unknown: y\r\n\r\n"),
                 ERR_OK, "%s", bench->problem);
    cr_assert_eq(bench->mail.tag_count, 2);
    cr_expect(slice_equal(bench->mail.tags[0], SLICE("one")));
    cr_expect(slice_equal(bench->mail.tags[1], SLICE("two")));
    cr_expect(slice_equal(bench->mail.idempotency_key, SLICE("k 1")));
    cr_expect(slice_equal(bench->mail.metadata, SLICE("{\"a\": \"b c\"}")), "%.*s",
              SLICE_FMT(bench->mail.metadata));
    bench_free(bench);
}

Test(submission, wants_one_author_whom_every_reader_sees)
{
    static const char *const bad[] = {
        REST,
        FROM FROM REST,
        FROM "from: eve@from.test\r\n" REST,
        "From: a@from.test, b@from.test\r\n" REST,
        "From: a@from.test, b@other.test\r\n" REST,
        "From:\r\n" REST,
        "From: nobody\r\n" REST,
        "From: <>\r\n" REST,
        "From: a@[127.0.0.1]\r\n" REST,
        "From: a@from.test <b@other.test>, <c@from.test>\r\n" REST,
        "From: list: a@from.test, b@from.test;\r\n" REST,
        "From : ann@from.test\r\n" REST,
        "Subject: x\r\n\r\n" FROM REST,
    };
    struct bench *bench = bench_new();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        bench->problem = "";
        cr_expect_eq(read_mail(bench, bad[i]), ERR_BAD_FIELD, "%s", bad[i]);
        cr_expect_neq(strlen(bench->problem), 0);
    }
    bench_free(bench);
}

Test(submission, refuses_headers_that_two_programs_would_read_differently)
{
    static const char *const bad[] = {
        FROM "To: a@to.test\r\nto: b@to.test\r\n\r\n",
        FROM "Subject: a\r\nSubject: b\r\n\r\n",
        FROM "Content-Type: text/plain\r\nContent-type: text/html\r\n\r\n",
        FROM "Date: x\r\nDate: y\r\n\r\n",
        FROM "no colon here\r\n\r\n",
        FROM ": no name\r\n\r\n",
        FROM "Bad Name: x\r\n\r\n",
        FROM "Bcc : a@b.test\r\n\r\n",
        "From ann@from.test Sat Nov 21 2026\r\n" FROM "\r\n",
        " folded: first\r\n" FROM "\r\n",
        FROM "Subject: \xff\xfe\r\n\r\n",
        "\r\n" FROM REST,
    };
    struct bench *bench = bench_new();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_eq(read_mail(bench, bad[i]), ERR_BAD_FIELD, "%s", bad[i]);
        cr_expect_eq(write_mail(bench, slice_str(bad[i])), ERR_BAD_FIELD, "%s", bad[i]);
        cr_expect_eq(bench->out.len, 0, "nothing is written of it");
    }
    bench_free(bench);
}

Test(submission, has_ceilings_for_fields_tags_and_keys)
{
    struct bench *bench = bench_new();
    struct buf raw;
    buf_init(&raw, 4 * MIB);
    buf_add_str(&raw, FROM);
    for (uint32_t i = 0; i < TAG_COUNT + 1; i++) {
        buf_add_str(&raw, "X-Meerkat-Tag: t\r\n");
    }
    buf_add_byte(&raw, '\0');
    cr_expect_eq(read_mail(bench, raw.data), ERR_BAD_FIELD, "tags");
    buf_clear(&raw);
    buf_add_str(&raw, FROM);
    for (uint32_t i = 0; i < MIME_FIELDS_MAX; i++) {
        buf_add_str(&raw, "X: y\r\n");
    }
    buf_add_byte(&raw, '\0');
    cr_expect_eq(read_mail(bench, raw.data), ERR_BAD_FIELD, "fields");
    buf_clear(&raw);
    buf_add_str(&raw, FROM "X: ");
    while (raw.len < SUBMISSION_HEADER_MAX) {
        buf_add_str(&raw, "abc\r\n ");
    }
    buf_add_str(&raw, "\r\n\r\n");
    buf_add_byte(&raw, '\0');
    cr_expect_eq(read_mail(bench, raw.data), ERR_BAD_FIELD, "bytes");
    cr_expect_eq(read_mail(bench, FROM "X-Meerkat-Idempotency-Key:\r\n\r\n"), ERR_BAD_FIELD);
    cr_expect_eq(read_mail(bench, FROM "X-Meerkat-Idempotency-Key: a\r\n"
                                       "X-Meerkat-Idempotency-Key: b\r\n\r\n"),
                 ERR_BAD_FIELD);
    buf_fini(&raw);
    bench_free(bench);
}

/* ---- writing -------------------------------------------------------------------------------- */

Test(submission, keeps_what_it_need_not_change_byte_for_byte)
{
    struct bench *bench = bench_new();
    const char *full = "X-First:  two  blanks \r\nDate: whenever\r\n" FROM
                       "Message-Id: <mine@x>\r\nMime-Version: 1.0 (mine)\r\n"
                       "List-Unsubscribe: <https://u.test/x>\r\nSubject: folded\r\n\tand on\r\n";
    struct arena *arena = &bench->arena;
    const char *body = "\r\nbody \r\n\r\n.dots\r\n--x\r\n\r\n\r\n";
    const char *raw = arena_cstr(arena, arena_format(arena, "%s%s", full, body));
    const char *wanted =
        arena_cstr(arena, arena_format(arena, "%sFeedback-ID: a:b:c:d\r\n%s", full, body));
    expect_written(bench, raw, wanted);
    cr_expect_not(bench->written.is_8bit || bench->written.is_utf8);
    bench_free(bench);
}

Test(submission, takes_out_what_others_must_not_see_and_adds_what_is_missing)
{
    struct bench *bench = bench_new();
    expect_written(bench,
                   "bcc: secret@to.test,\r\n other@to.test\r\n" FROM
                   "Return-Path: <x@y>\r\nX-MEERKAT-Tag: t\r\nFeedback-ID: forged\r\n"
                   "Resent-Bcc: z@to.test\r\nX-Meerkat: kept\r\n\r\nBcc: in the body\r\n",
                   FROM "X-Meerkat: kept\r\n" ADDED "\r\nBcc: in the body\r\n");
    expect_written(bench, FROM "MIME-Version: 1.0\r\n\r\n",
                   FROM "MIME-Version: 1.0\r\nDate: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
                        "Message-ID: <id@from.test>\r\nFeedback-ID: a:b:c:d\r\n\r\n");
    bench_free(bench);
}

Test(submission, ends_lines_that_chunks_left_open)
{
    struct bench *bench = bench_new();
    expect_written(bench, FROM, FROM ADDED "\r\n");
    expect_written(bench, "From: Ann <ann@from.test>", FROM ADDED "\r\n");
    expect_written(bench, FROM "\r\nopen", FROM ADDED "\r\nopen\r\n");
    bench_free(bench);
}

Test(submission, notes_what_needs_more_than_ascii)
{
    struct bench *bench = bench_new();
    cr_assert_eq(write_mail(bench, SLICE(FROM "\r\n\xc3\xa4\xff\r\n")), ERR_OK);
    cr_expect(bench->written.is_8bit && !bench->written.is_utf8);
    cr_assert_eq(write_mail(bench, SLICE(FROM "Subject: \xc3\xa4\r\n\r\nx\r\n")), ERR_OK);
    cr_expect(!bench->written.is_8bit && bench->written.is_utf8);
    bench_free(bench);
}

Test(submission, refuses_lines_that_may_not_travel)
{
    char line[LINE_MAX_BYTES + 2];
    struct bench *bench = bench_new();
    struct arena *arena = &bench->arena;
    memset(line, 'x', sizeof line);
    cr_expect_eq(write_mail(bench, arena_format(arena, FROM "\r\n%.*s\r\n", LINE_MAX_BYTES, line)),
                 ERR_OK);
    cr_expect_eq(
        write_mail(bench, arena_format(arena, FROM "\r\n%.*s\r\n", LINE_MAX_BYTES + 1, line)),
        ERR_BAD_FIELD);
    cr_expect_eq(
        write_mail(bench, arena_format(arena, FROM "X: %.*s\r\n\r\n", LINE_MAX_BYTES, line)),
        ERR_BAD_FIELD);
    cr_expect_eq(write_mail(bench, SLICE(FROM "\r\na\nb\r\n")), ERR_BAD_FIELD);
    cr_expect_eq(write_mail(bench, SLICE(FROM "\r\na\rb\r\n")), ERR_BAD_FIELD);
    cr_expect_eq(write_mail(bench, SLICE(FROM "\r\na\0b\r\n")), ERR_BAD_FIELD);
    cr_expect_eq(write_mail(bench, SLICE(FROM "X: a\nBcc: b@c.test\r\n\r\n")), ERR_BAD_FIELD);
    struct buf small;
    buf_init(&small, 100);
    struct submission_written written;
    const struct submission_adds adds = {.message_id = SLICE("a@b")};
    cr_expect_eq(submission_write(SLICE(FROM REST), &adds, &small, &written, &bench->problem),
                 ERR_TOO_LARGE);
    buf_fini(&small);
    bench_free(bench);
}
