/* test_smtp.c - SMTP's lines, replies and data on bytes.
 *
 * Not covered here: what a reply means (mail/test_dsn), sessions and their answers (edge and
 * deliver), random input (tests/fuzz/fuzz_smtp_reply.c, fuzz_smtp_data.c).
 */
#include "net/smtp.h"

#include "base/check.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session;

/* A machine under test fed with one piece; returns false when it is through with its input. */
typedef bool (*feed_fn)(struct session *session, struct slice piece);

struct session {
    struct buf log;
    struct smtp_reply_reader reader;
    struct smtp_stuffer stuffer;
    struct smtp_unstuffer unstuffer;
};

/* What the machine says when wire comes as `first` bytes and then `step` at a time; caller frees.
 */
static char *run(feed_fn feed, struct slice wire, size_t first, size_t step)
{
    struct session session;
    buf_init(&session.log, MIB);
    smtp_reply_init(&session.reader);
    smtp_stuff_init(&session.stuffer);
    smtp_unstuff_init(&session.unstuffer);
    size_t len = first;
    bool is_on = true;
    while (is_on && wire.len > 0) {
        struct slice piece = slice_head(wire, len);
        /* A block of its own, so that the sanitizer sees a read beside the piece. */
        char *block = mem_alloc(piece.len);
        memcpy(block, piece.data, piece.len);
        is_on = feed(&session, slice_of(block, piece.len));
        free(block);
        wire = slice_from(wire, piece.len);
        len = step;
    }
    if (is_on) {
        is_on = feed(&session, SLICE(""));
    }
    buf_add_byte(&session.log, '\0');
    size_t log_len = 0;
    char *log = buf_steal(&session.log, &log_len);
    smtp_reply_fini(&session.reader);
    buf_fini(&session.log);
    return log;
}

static void expect(feed_fn feed, const char *name, struct slice wire, const char *words)
{
    char *whole = run(feed, wire, wire.len, 1);
    cr_expect_str_eq(whole, words, "%s: \"%s\" instead of \"%s\"", name, whole, words);
    free(whole);
    char *bytewise = run(feed, wire, 1, 1);
    cr_expect_str_eq(bytewise, words, "%s: \"%s\" byte by byte", name, bytewise);
    free(bytewise);
    for (size_t cut = 1; cut < wire.len; cut++) {
        char *split = run(feed, wire, cut, wire.len);
        cr_expect_str_eq(split, words, "%s: \"%s\" when cut at %zu", name, split, cut);
        free(split);
    }
}

struct sample {
    const char *name;
    struct slice wire;
    const char *words;
};

/* ---- replies --------------------------------------------------------------------------------- */

static bool feed_replies(struct session *session, struct slice piece)
{
    while (piece.len > 0) {
        size_t used = SIZE_MAX;
        bool is_done = false;
        if (smtp_reply_feed(&session->reader, piece, &used, &is_done) != ERR_OK) {
            buf_add_str(&session->log, "!");
            return false;
        }
        cr_assert_leq(used, piece.len);
        cr_assert(is_done || used == piece.len);
        piece = slice_from(piece, used);
        if (is_done) {
            const struct smtp_reply *reply = &session->reader.reply;
            buf_add_format(&session->log, "%u(%s)%u[%.*s]", (unsigned int)reply->code,
                           reply->enhanced, (unsigned int)reply->line_count,
                           SLICE_FMT(buf_slice(&reply->text)));
        }
    }
    return true;
}

Test(smtp, reads_replies_alike_however_they_are_split)
{
    static const struct sample samples[] = {
        {"one line", SLICE_INIT("220 mx ready\r\n"), "220()1[mx ready]"},
        {"lines", SLICE_INIT("250-mx\r\n250-SIZE 1\r\n250 HELP\r\n"), "250()3[mx\nSIZE 1\nHELP]"},
        {"enhanced", SLICE_INIT("550 5.1.1 no such user\r\n"), "550(5.1.1)1[no such user]"},
        {"enhanced on each line", SLICE_INIT("550-5.7.1 go\r\n550 5.7.26 away\r\n"),
         "550(5.7.26)2[go\naway]"},
        {"enhanced on the first line only", SLICE_INIT("450-4.2.1 a\r\n450 b\r\n"),
         "450(4.2.1)2[a\nb]"},
        {"enhanced alone", SLICE_INIT("250 2.0.0\r\n"), "250(2.0.0)1[]"},
        {"longest enhanced", SLICE_INIT("550 5.123.456 x\r\n"), "550(5.123.456)1[x]"},
        {"too long for an enhanced", SLICE_INIT("550 5.1234.1 x\r\n"), "550()1[5.1234.1 x]"},
        {"four parts", SLICE_INIT("550 5.1.1.1 x\r\n"), "550()1[5.1.1.1 x]"},
        {"two parts", SLICE_INIT("550 5.1 x\r\n"), "550()1[5.1 x]"},
        {"empty part", SLICE_INIT("550 5..1 x\r\n"), "550()1[5..1 x]"},
        {"unended", SLICE_INIT("550 5.1.\r\n"), "550()1[5.1.]"},
        {"enhanced of another class is text", SLICE_INIT("550 4.1.1 x\r\n"), "550()1[4.1.1 x]"},
        {"code alone", SLICE_INIT("250\r\n"), "250()1[]"},
        {"code and space", SLICE_INIT("354 \r\n"), "354()1[]"},
        {"empty continuation", SLICE_INIT("250-\r\n250 x\r\n"), "250()2[\nx]"},
        {"bare LF ends a line", SLICE_INIT("250-a\n250 b\n"), "250()2[a\nb]"},
        {"CR in the text stays", SLICE_INIT("250 a\rb\r\n"), "250()1[a\rb]"},
        {"any bytes", SLICE_INIT("554 \xff\x80\r\n"), "554()1[\xff\x80]"},
        {"pipelined", SLICE_INIT("250 2.1.0 a\r\n250-b\r\n250 c\r\n354 d\r\n"),
         "250(2.1.0)1[a]250()2[b\nc]354()1[d]"},
        {"unfinished", SLICE_INIT("250-a\r\n250 b\r"), ""},
        {"code differs", SLICE_INIT("250-a\r\n251 b\r\n"), "!"},
        {"no code", SLICE_INIT("hello\r\n"), "!"},
        {"short", SLICE_INIT("25\r\n"), "!"},
        {"empty", SLICE_INIT("\r\n"), "!"},
        {"empty, LF", SLICE_INIT("\n"), "!"},
        {"below 200", SLICE_INIT("199 x\r\n"), "!"},
        {"above 599", SLICE_INIT("600 x\r\n"), "!"},
        {"four digits", SLICE_INIT("2500 x\r\n"), "!"},
        {"sign", SLICE_INIT("+25 x\r\n"), "!"},
        {"other separator", SLICE_INIT("250_x\r\n"), "!"},
        {"NUL", SLICE_INIT("250 a\0b\r\n"), "!"},
        {"HTTP", SLICE_INIT("HTTP/1.1 400 Bad Request\r\n"), "!"},
        {"good, then bad", SLICE_INIT("250 a\r\n2x0 b\r\n"), "250()1[a]!"},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(feed_replies, samples[i].name, samples[i].wire, samples[i].words);
    }
}

static enum err feed_long_reply(size_t line_bytes, size_t line_count, struct smtp_reply *copy)
{
    struct buf wire;
    buf_init(&wire, 4 * MIB);
    for (size_t i = 0; i < line_count; i++) {
        buf_add_str(&wire, i + 1 < line_count ? "250-" : "250 ");
        for (size_t n = 5; n < line_bytes; n++) {
            buf_add_byte(&wire, 'x');
        }
        buf_add_str(&wire, "\r\n");
    }
    enum err errs[2] = {ERR_OK, ERR_OK};
    for (size_t i = 0; i < 2; i++) {
        struct smtp_reply_reader reader;
        smtp_reply_init(&reader);
        struct slice rest = buf_slice(&wire);
        bool is_done = false;
        while (rest.len > 0 && errs[i] == ERR_OK && !is_done) {
            size_t used = 0;
            size_t step = i == 0 ? rest.len : 13;
            errs[i] = smtp_reply_feed(&reader, slice_head(rest, step), &used, &is_done);
            rest = slice_from(rest, used);
        }
        cr_expect_eq(is_done, errs[i] == ERR_OK);
        *copy = reader.reply;
        copy->text.data = NULL;
        smtp_reply_fini(&reader);
    }
    cr_expect_eq(errs[0], errs[1]);
    buf_fini(&wire);
    return errs[0];
}

Test(smtp, holds_the_ceilings_of_a_reply)
{
    struct smtp_reply reply;
    cr_expect_eq(feed_long_reply(SMTP_REPLY_LINE, 1, &reply), ERR_OK);
    cr_expect_eq(reply.text.len, SMTP_REPLY_LINE - 5);
    cr_expect_eq(feed_long_reply(SMTP_REPLY_LINE + 1, 1, &reply), ERR_INVALID);
    cr_expect_eq(feed_long_reply(30, SMTP_REPLY_LINES, &reply), ERR_OK);
    cr_expect_eq(feed_long_reply(30, SMTP_REPLY_LINES + 1, &reply), ERR_INVALID);
}

Test(smtp, cuts_the_text_of_a_long_reply)
{
    struct smtp_reply reply;
    cr_expect_eq(feed_long_reply(SMTP_REPLY_LINE, SMTP_REPLY_LINES, &reply), ERR_OK);
    cr_expect_eq(reply.text.len, SMTP_TRANSCRIPT_MAX);
    cr_expect_not(reply.text.is_over);
}

Test(smtp, reads_what_ehlo_offers)
{
    static const struct {
        const char *wire;
        struct smtp_caps caps;
    } rows[] = {
        {"250 mx\r\n", {.has_size = false}},
        {"250-STARTTLS\r\n250 SIZE\r\n", {.has_size = true}}, /* the first line is a name */
        {"250-mx\r\n250-STARTTLS\r\n250-pipelining\r\n250-8BitMime\r\n250-SMTPUTF8\r\n"
         "250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250-REQUIRETLS\r\n250 SIZE 35882577\r\n",
         {.starttls = true,
          .pipelining = true,
          .eight_bit_mime = true,
          .smtputf8 = true,
          .chunking = true,
          .enhanced_status = true,
          .requiretls = true,
          .has_size = true,
          .size_max = 35882577}},
        {"250-mx\r\n250 AUTH CRAM-MD5 PLAIN login\r\n", {.auth_plain = true, .auth_login = true}},
        {"250-mx\r\n250 AUTH=LOGIN\r\n", {.auth_login = true}},
        {"250-mx\r\n250 AUTH=PLAIN X\r\n", {.auth_plain = true}},
        {"250-mx\r\n250-AUTH\r\n250 AUTHPLAIN\r\n", {.has_size = false}},
        {"250-mx\r\n250 SIZE 0\r\n", {.has_size = true}},
        {"250-mx\r\n250 SIZE many\r\n", {.has_size = true}},
        {"250-mx\r\n250 SIZE 99999999999999999999\r\n", {.has_size = true}},
        {"250-mx\r\n250-STARTTLSX\r\n250 XSTARTTLS\r\n", {.has_size = false}},
        {"250-mx\r\n250-\r\n250 STARTTLS \r\n", {.starttls = true}},
        {"502-mx\r\n502 STARTTLS\r\n", {.has_size = false}},
        {"250\r\n", {.has_size = false}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct smtp_reply_reader reader;
        smtp_reply_init(&reader);
        size_t used = 0;
        bool is_done = false;
        cr_assert_eq(smtp_reply_feed(&reader, slice_str(rows[i].wire), &used, &is_done), ERR_OK);
        cr_assert(is_done);
        struct smtp_caps caps = {.starttls = true, .size_max = 7};
        smtp_caps_read(&reader.reply, &caps);
        const struct smtp_caps *wanted = &rows[i].caps;
        cr_expect_eq(caps.starttls, wanted->starttls, "row %zu", i);
        cr_expect_eq(caps.pipelining, wanted->pipelining, "row %zu", i);
        cr_expect_eq(caps.eight_bit_mime, wanted->eight_bit_mime, "row %zu", i);
        cr_expect_eq(caps.smtputf8, wanted->smtputf8, "row %zu", i);
        cr_expect_eq(caps.chunking, wanted->chunking, "row %zu", i);
        cr_expect_eq(caps.enhanced_status, wanted->enhanced_status, "row %zu", i);
        cr_expect_eq(caps.requiretls, wanted->requiretls, "row %zu", i);
        cr_expect_eq(caps.auth_plain, wanted->auth_plain, "row %zu", i);
        cr_expect_eq(caps.auth_login, wanted->auth_login, "row %zu", i);
        cr_expect_eq(caps.has_size, wanted->has_size, "row %zu", i);
        cr_expect_eq(caps.size_max, wanted->size_max, "row %zu", i);
        smtp_reply_fini(&reader);
    }
}

/* ---- data, written --------------------------------------------------------------------------- */

static bool feed_stuff(struct session *session, struct slice piece)
{
    if (piece.len == 0) {
        smtp_stuff_end(&session->stuffer, &session->log);
        return false;
    }
    smtp_stuff(&session->stuffer, piece, &session->log);
    return true;
}

Test(smtp, stuffs_data_alike_however_it_is_split)
{
    static const struct sample samples[] = {
        {"nothing", SLICE_INIT(""), ".\r\n"},
        {"line", SLICE_INIT("a\r\n"), "a\r\n.\r\n"},
        {"no line end", SLICE_INIT("a"), "a\r\n.\r\n"},
        {"dots", SLICE_INIT(".\r\n..\r\n.a\r\na.\r\n"), "..\r\n...\r\n..a\r\na.\r\n.\r\n"},
        {"dot alone", SLICE_INIT("."), "..\r\n.\r\n"},
        {"bare LF", SLICE_INIT("a\nb\n"), "a\r\nb\r\n.\r\n"},
        {"bare CR", SLICE_INIT("a\rb\r"), "a\r\nb\r\n.\r\n"},
        {"CR CR LF", SLICE_INIT("a\r\r\nb"), "a\r\n\r\nb\r\n.\r\n"},
        {"LF CR", SLICE_INIT("a\n\rb"), "a\r\n\r\nb\r\n.\r\n"},
        {"empty lines", SLICE_INIT("\n\n\r\n\r\r"), "\r\n\r\n\r\n\r\n\r\n.\r\n"},
        {"LF dot LF", SLICE_INIT("a\n.\nMAIL FROM:<b>\n"), "a\r\n..\r\nMAIL FROM:<b>\r\n.\r\n"},
        {"CR dot CR", SLICE_INIT("a\r.\rb"), "a\r\n..\r\nb\r\n.\r\n"},
        {"CRLF dot LF", SLICE_INIT("a\r\n.\nb"), "a\r\n..\r\nb\r\n.\r\n"},
        {"LF dot CRLF", SLICE_INIT("a\n.\r\nb"), "a\r\n..\r\nb\r\n.\r\n"},
        {"CRLF dot CRLF", SLICE_INIT("a\r\n.\r\nb"), "a\r\n..\r\nb\r\n.\r\n"},
        {"any byte", SLICE_INIT("\xff\x01\x80"), "\xff\x01\x80\r\n.\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(feed_stuff, samples[i].name, samples[i].wire, samples[i].words);
    }
}

/* ---- data, read ------------------------------------------------------------------------------ */

static bool feed_unstuff(struct session *session, struct slice piece)
{
    size_t used = SIZE_MAX;
    bool is_done = false;
    smtp_unstuff(&session->unstuffer, piece, &used, &is_done, &session->log);
    cr_assert_leq(used, piece.len);
    cr_assert(is_done || used == piece.len);
    bool is_end = is_done || piece.len == 0;
    if (is_end) {
        buf_add_str(&session->log, session->unstuffer.has_bare ? "|bare" : "|");
        buf_add_str(&session->log, is_done ? "|done" : "|more");
    }
    return !is_end;
}

Test(smtp, ends_data_at_crlf_dot_crlf_only)
{
    static const struct sample samples[] = {
        {"nothing", SLICE_INIT(".\r\n"), "||done"},
        {"line", SLICE_INIT("a\r\n.\r\n"), "a\r\n||done"},
        {"what follows is not data", SLICE_INIT("a\r\n.\r\nQUIT\r\n"), "a\r\n||done"},
        {"dots", SLICE_INIT("..\r\n...\r\n.a\r\na.\r\n.\r\n"), ".\r\n..\r\na\r\na.\r\n||done"},
        {"dot within", SLICE_INIT("a.\r\n.\r\n"), "a.\r\n||done"},
        {"empty line", SLICE_INIT("\r\n\r\n.\r\n"), "\r\n\r\n||done"},
        {"no line end before", SLICE_INIT("a.\r\n"), "a.\r\n||more"},
        {"LF dot LF", SLICE_INIT("a\n.\nb\r\n.\r\n"), "a\n.\nb\r\n|bare|done"},
        {"LF dot CRLF", SLICE_INIT("a\n.\r\nb\r\n.\r\n"), "a\n.\r\nb\r\n|bare|done"},
        {"CRLF dot LF", SLICE_INIT("a\r\n.\nb\r\n.\r\n"), "a\r\n\nb\r\n|bare|done"},
        {"CR dot CR", SLICE_INIT("a\r.\rb\r\n.\r\n"), "a\r.\rb\r\n|bare|done"},
        {"CRLF dot CR", SLICE_INIT("a\r\n.\rb\r\n.\r\n"), "a\r\n\rb\r\n|bare|done"},
        {"CR dot CRLF", SLICE_INIT("a\r.\r\nb\r\n.\r\n"), "a\r.\r\nb\r\n|bare|done"},
        {"CR LF split by a CR", SLICE_INIT("a\r\r\n.\r\n"), "a\r\r\n|bare|done"},
        {"dot CR CR LF", SLICE_INIT("a\r\n.\r\r\n.\r\n"), "a\r\n\r\r\n|bare|done"},
        {"dot CR dot CR LF", SLICE_INIT("\r\n.\r.\r\n.\r\n"), "\r\n\r.\r\n|bare|done"},
        {"LF first", SLICE_INIT("\n.\r\n.\r\n"), "\n.\r\n|bare|done"},
        {"unfinished", SLICE_INIT("a\r\n.\r"), "a\r\n||more"},
        {"any byte", SLICE_INIT("\xff\x01\r\n.\r\n"), "\xff\x01\r\n||done"},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        expect(feed_unstuff, samples[i].name, samples[i].wire, samples[i].words);
    }
}

Test(smtp, passes_long_lines_through_both_ways)
{
    struct buf text;
    struct buf wire;
    struct buf back;
    buf_init(&text, MIB);
    buf_init(&wire, MIB);
    buf_init(&back, MIB);
    for (size_t i = 0; i < 10000; i++) {
        buf_add_byte(&text, i % 5000 == 4999 ? '.' : 'a');
    }
    buf_add_str(&text, "\r\n");
    struct smtp_stuffer stuffer;
    smtp_stuff_init(&stuffer);
    smtp_stuff(&stuffer, buf_slice(&text), &wire);
    smtp_stuff_end(&stuffer, &wire);
    struct smtp_unstuffer unstuffer;
    smtp_unstuff_init(&unstuffer);
    size_t used = 0;
    bool is_done = false;
    smtp_unstuff(&unstuffer, buf_slice(&wire), &used, &is_done, &back);
    cr_expect(is_done);
    cr_expect_eq(used, wire.len);
    cr_expect_not(unstuffer.has_bare);
    cr_expect(slice_equal(buf_slice(&text), buf_slice(&back)));
    buf_fini(&text);
    buf_fini(&wire);
    buf_fini(&back);
}

/* ---- command lines --------------------------------------------------------------------------- */

Test(smtp, takes_lines_that_end_with_crlf)
{
    struct slice rest = SLICE("EHLO a\r\n\r\nQUIT\r\nRSE");
    static const char *const wanted[] = {"EHLO a", "", "QUIT"};
    enum err err = ERR_INTERNAL;
    struct slice line;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        cr_assert(smtp_line_take(&rest, 512, &line, &err));
        cr_expect_eq(err, ERR_OK);
        cr_expect(slice_equal(line, slice_str(wanted[i])));
    }
    cr_expect_not(smtp_line_take(&rest, 512, &line, &err));
    cr_expect_eq(err, ERR_OK);
    cr_expect(slice_equal(rest, SLICE("RSE")));
}

Test(smtp, takes_no_line_behind_which_a_command_could_hide)
{
    static const struct {
        struct slice wire;
        enum err err;
    } rows[] = {
        {SLICE_INIT("a\nb\r\n"), ERR_INVALID},
        {SLICE_INIT("\n"), ERR_INVALID},
        {SLICE_INIT("a\rb\r\n"), ERR_INVALID},
        {SLICE_INIT("a\r\r\n"), ERR_INVALID},
        {SLICE_INIT("a\0\r\n"), ERR_INVALID},
        {SLICE_INIT("a\rb"), ERR_INVALID},
        {SLICE_INIT("a\0"), ERR_INVALID},
        {SLICE_INIT(""), ERR_OK},
        {SLICE_INIT("a\r"), ERR_OK},
        {SLICE_INIT("\r"), ERR_OK},
        {SLICE_INIT("1234567\r"), ERR_TOO_LARGE},
        {SLICE_INIT("12345678"), ERR_TOO_LARGE},
        {SLICE_INIT("1234567\r\n"), ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice rest = rows[i].wire;
        struct slice line = SLICE("untouched");
        enum err err = ERR_INTERNAL;
        cr_expect_not(smtp_line_take(&rest, 8, &line, &err), "row %zu", i);
        cr_expect_eq(err, rows[i].err, "row %zu: %s", i, err_info(err)->name);
        cr_expect_eq(rest.len, rows[i].wire.len, "row %zu", i);
        cr_expect(slice_equal(line, SLICE("untouched")));
    }
    struct slice rest = SLICE("123456\r\n");
    struct slice line;
    enum err err = ERR_INTERNAL;
    cr_expect(smtp_line_take(&rest, 8, &line, &err), "the ceiling counts CRLF");
}

Test(smtp, writes_xtext)
{
    struct buf out;
    buf_init(&out, 1024);
    smtp_xtext(&out, SLICE("a+b=c d~!\x7f\xc3\0"));
    cr_expect(slice_equal(buf_slice(&out), SLICE("a+2Bb+3Dc+20d~!+7F+C3+00")));
    buf_fini(&out);
}

/* ---- octets and replies ---------------------------------------------------------------------- */

Test(smtp, finds_bare_cr_and_lf_wherever_octets_are_split)
{
    static const struct {
        struct slice octets;
        bool has_bare;
    } rows[] = {
        {SLICE_INIT(""), false},         {SLICE_INIT("a\r\nb"), false},
        {SLICE_INIT("\r\n\r\n"), false}, {SLICE_INIT("\n"), true},
        {SLICE_INIT("\r"), true},        {SLICE_INIT("a\nb"), true},
        {SLICE_INIT("a\rb\r\n"), true},  {SLICE_INIT("\r\r\n"), true},
        {SLICE_INIT("\r\n\n"), true},    {SLICE_INIT("\r\n\r"), true},
        {SLICE_INIT("\n\r\n"), true},    {SLICE_INIT("a\r\n\rb"), true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t cut = 0; cut <= rows[i].octets.len; cut++) {
            bool is_after_cr = false;
            bool has_bare = smtp_has_bare(slice_head(rows[i].octets, cut), &is_after_cr);
            has_bare = has_bare || smtp_has_bare(slice_from(rows[i].octets, cut), &is_after_cr);
            cr_expect_eq(has_bare || is_after_cr, rows[i].has_bare, "row %zu cut at %zu", i, cut);
        }
    }
}

Test(smtp, writes_replies_that_its_reader_reads)
{
    static const struct {
        const char *text;
        const char *read;
    } rows[] = {{"ok", "ok"}, {"a\nb\nc", "a\nb\nc"}, {"", ""}, {"a\r\n\x80", "a?\n?"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct smtp_reply_reader reader;
        struct buf out;
        size_t used = 0;
        bool is_done = false;
        smtp_reply_init(&reader);
        buf_init(&out, KIB);
        smtp_reply_write(&out, 550, "5.1.1", slice_str(rows[i].text));
        cr_assert_eq(smtp_reply_feed(&reader, buf_slice(&out), &used, &is_done), ERR_OK);
        cr_expect(is_done && used == out.len);
        cr_expect_eq(reader.reply.code, 550);
        cr_expect_str_eq(reader.reply.enhanced, "5.1.1");
        cr_expect(slice_equal(buf_slice(&reader.reply.text), slice_str(rows[i].read)), "row %zu",
                  i);
        buf_fini(&out);
        smtp_reply_fini(&reader);
    }
}
