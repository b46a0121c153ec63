/* Not covered here: exact folding of fields (test_header.c), addresses (test_addr.c). Whole mails
 * are read back by Python's email package, through tests/support/verify_mime.py.
 */
#include "mail/mime_write.h"

#include "base/crypto.h"
#include "mail/header.h"
#include "support/verify.h"

#include <criterion/criterion.h>
#include <string.h>

static struct arena arena;

static void setup(void)
{
    crypto_init();
    arena_init(&arena, 65536, 64 << 20);
}

static void teardown(void)
{
    arena_fini(&arena);
}

TestSuite(mime_write, .init = setup, .fini = teardown);

static struct addr parse(const char *text)
{
    struct addr addr;

    cr_assert_eq(addr_parse(slice_str(text), &arena, &addr), ERR_OK, "%s", text);
    return addr;
}

static struct mime_mail simple_mail(void)
{
    struct addr *to = arena_alloc(&arena, sizeof *to);

    *to = parse("b@example.net");
    return (struct mime_mail){
        .from = parse("a@example.com"),
        .to = to,
        .to_count = 1,
        .subject = SLICE("Hello"),
        .message_id = SLICE("0001@example.com"),
        .date_unix_ms = UINT64_C(1795243131123),
    };
}

static struct slice compose(const struct mime_mail *mail, struct mime_spans *spans)
{
    struct buf out;

    buf_init(&out, 64 << 20);
    buf_add(&out, SLICE("before"));
    cr_assert_eq(mime_write(mail, &out, spans), ERR_OK);
    struct slice copy = arena_dup(&arena, slice_from(buf_slice(&out), 6));
    buf_fini(&out);
    return copy;
}

/* ---- read back by Python -------------------------------------------------------------------- */

static void put_joined(FILE *pipe, const char *key, uint32_t count, const struct slice *parts)
{
    struct buf joined;

    buf_init(&joined, 64 << 20);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_add_byte(&joined, '\0');
        }
        buf_add(&joined, parts[i]);
    }
    verify_put(pipe, key, buf_slice(&joined));
    buf_fini(&joined);
}

static void put_addrs(FILE *pipe, const char *field, const struct addr *addrs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct slice parts[] = {slice_str(field), addrs[i].name, addrs[i].text};
        put_joined(pipe, "addr", 3, parts);
    }
}

/* Inline attachments come first in the mail, so they must be first in the table as well. */
static void verify(FILE *pipe, const char *name, const struct mime_mail *mail, const char *tree)
{
    struct mime_spans spans;
    struct slice composed = compose(mail, &spans);

    verify_put(pipe, "name", slice_str(name));
    verify_put(pipe, "mail", composed);
    verify_put(pipe, "subject", mail->subject);
    put_addrs(pipe, "from", &mail->from, 1);
    put_addrs(pipe, "to", mail->to, mail->to_count);
    put_addrs(pipe, "cc", mail->cc, mail->cc_count);
    put_addrs(pipe, "reply-to", mail->reply_to, mail->reply_to_count);
    for (uint32_t i = 0; i < mail->header_count; i++) {
        struct slice parts[] = {mail->headers[i].name, mail->headers[i].value};
        put_joined(pipe, "header", 2, parts);
    }
    for (uint32_t i = 0; i < mail->attachment_count; i++) {
        const struct mime_attachment *file = &mail->attachments[i];
        struct slice type = file->content_type;
        type = slice_trim(slice_cut(&type, ';'));
        struct slice parts[] = {file->filename,
                                type.len > 0 ? type : SLICE("application/octet-stream"),
                                file->content_id, file->data};
        put_joined(pipe, "file", 4, parts);
    }
    if (mail->text.len > 0) {
        verify_put(pipe, "text", mail->text);
    }
    if (mail->html.len > 0) {
        verify_put(pipe, "html", mail->html);
    }
    if (tree != NULL) {
        verify_put(pipe, "tree", slice_str(tree));
    }
    if (spans.needs_utf8) {
        verify_put(pipe, "utf8", SLICE("1"));
    }
    verify_end_case(pipe);
    cr_expect_eq(spans.header_len, header_block_len(composed), "%s", name);
}

static struct slice repeat(const char *unit, size_t count)
{
    size_t len = strlen(unit);
    char *text = arena_bytes(&arena, len * count + 1);

    for (size_t i = 0; i < count; i++) {
        memcpy(text + i * len, unit, len);
    }
    return slice_of(text, len * count);
}

static struct slice all_bytes(size_t len)
{
    char *bytes = arena_bytes(&arena, len + 1);

    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)(i * 7 + i / 256);
    }
    return slice_of(bytes, len);
}

#define FOX   "\xf0\x9f\xa6\x8a"
#define NIHON "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"

static void verify_bodies(FILE *pipe)
{
    struct slice bodies[] = {
        SLICE("plain\r\n"),
        SLICE("no line end"),
        SLICE("a\nb\rc\r\nd\n\re"),
        SLICE("\n\n\nempty lines\n\n\n"),
        SLICE("trailing  \t\nblanks \t"),
        SLICE(".\n..\n.dot\nFrom here\nFrom there"),
        SLICE("--\n--=_m\n==\n=3D =\n"),
        SLICE("Gr\xc3\xbc\xc3\x9f"
              "e aus K\xc3\xb6ln. Sonst ist hier alles ASCII und bleibt lesbar.\n"),
        SLICE(NIHON NIHON NIHON " " FOX "\n" NIHON),
        repeat("a line of text that is long enough to need soft breaks, \xc3\xa9, ", 300),
        repeat("x", 998),
        repeat("x", 999),
        repeat("x", 5000),
        repeat(NIHON "\r\n", 2000),
        repeat(NIHON, 3000),
        repeat(".From \xc3\xa9", 400),
        repeat("=", 2000),
        repeat(" ", 2000),
        repeat("\t\xc3\xa9 \n", 700),
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct mime_mail mail = simple_mail();
        char name[64];
        snprintf(name, sizeof name, "body %zu text", i);
        mail.text = bodies[i];
        verify(pipe, name, &mail, "plain");
        snprintf(name, sizeof name, "body %zu both", i);
        mail.html = bodies[(i + 7) % ARRAY_LEN(bodies)];
        verify(pipe, name, &mail, "alternative(plain,html)");
        snprintf(name, sizeof name, "body %zu html", i);
        mail.text = SLICE("");
        verify(pipe, name, &mail, "html");
    }
}

static void verify_subjects_and_names(FILE *pipe)
{
    static const char *const SUBJECTS[] = {
        "Hello",
        "",
        "Gr\xc3\xbc\xc3\x9f"
        "e",
        NIHON,
        FOX FOX FOX,
        "two  spaces",
        "a, b; c: d <e> \"f\" (g)",
        "=?UTF-8?Q?not_encoded?=",
        "100% =3D ?= _",
        "tab\there is kept as given",
        "A subject that is longer than seventy-eight columns and so must be folded somewhere in "
        "between",
        "A subj\xc3\xa9"
        "ct that is longer than seventy-eight columns and so must be f\xc3\xb6lded somewhere",
    };
    static const char *const ADDRS[] = {
        "Ann Lee <a@example.com>",
        "\"Lee, Ann\" <a@example.com>",
        "Ann B. Lee <a@example.com>",
        "J\xc3\xbcrgen Gro\xc3\x9f <a@example.com>",
        NIHON " <a@example.com>",
        "\"a \\\"b\\\" \\\\ c\" <a@example.com>",
        "\"=?UTF-8?Q?x?=\" <a@example.com>",
        FOX " <o'neil+x@example.com>",
        "\"very.odd name\" <\"a b\"@example.com>",
        "\"(x) [y] a@b; c:d\" <a@b.c>",
    };
    for (size_t i = 0; i < ARRAY_LEN(SUBJECTS); i++) {
        struct mime_mail mail = simple_mail();
        mail.subject = slice_str(SUBJECTS[i]);
        mail.text = SLICE("x");
        verify(pipe, SUBJECTS[i], &mail, "plain");
    }
    struct addr *many = arena_array(&arena, 5 * ARRAY_LEN(ADDRS), sizeof *many);
    for (size_t i = 0; i < 5 * ARRAY_LEN(ADDRS); i++) {
        many[i] = parse(ADDRS[i % ARRAY_LEN(ADDRS)]);
    }
    for (size_t i = 0; i < ARRAY_LEN(ADDRS); i++) {
        struct mime_mail mail = simple_mail();
        mail.from = many[i];
        mail.text = SLICE("x");
        verify(pipe, ADDRS[i], &mail, "plain");
    }
    struct mime_mail mail = simple_mail();
    mail.to = many;
    mail.to_count = 5 * ARRAY_LEN(ADDRS);
    mail.cc = many + 1;
    mail.cc_count = 9;
    mail.reply_to = many + 3;
    mail.reply_to_count = 2;
    mail.text = SLICE("x");
    verify(pipe, "fifty recipients", &mail, "plain");
}

static void verify_headers(FILE *pipe)
{
    struct mime_header headers[] = {
        {SLICE("X-Plain"), SLICE("value")},
        {SLICE("X-Umlaut"), SLICE("\xc3\xa4\xc3\xb6\xc3\xbc " NIHON)},
        {SLICE("X-Token"), repeat("0123456789", 400)},
        {SLICE("X-Words"),
         SLICE("many words that go on and on, further than one line of the header can hold, "
               "so that it is folded and unfolded")},
        {SLICE("List-Unsubscribe"),
         SLICE("<mailto:u@example.com?subject=x>, <https://example.com/u?a=1&b=2>")},
        {SLICE("References"), SLICE("<1@example.com> <2@example.com>")},
        {repeat("X", 76), repeat("yz", 400)},
    };
    struct mime_mail mail = simple_mail();
    mail.text = SLICE("x");
    mail.headers = headers;
    mail.header_count = ARRAY_LEN(headers);
    mail.in_reply_to = SLICE("<9@example.com>");
    mail.feedback_id = SLICE("a:b:c:d");
    verify(pipe, "headers", &mail, "plain");
}

static void verify_attachments(FILE *pipe)
{
    struct mime_attachment files[] = {
        {SLICE("logo.png"), SLICE("image/png"), SLICE("logo@x"), all_bytes(1000)},
        {SLICE(""), SLICE("image/gif"), SLICE("dot"), all_bytes(1)},
        {SLICE("a.pdf"), SLICE("application/pdf"), SLICE(""), all_bytes(57)},
        {SLICE("a b.txt"), SLICE("text/plain; charset=\"utf-8\""), SLICE(""),
         SLICE("a\nb\r\nc\r\n\n")},
        {SLICE(""), SLICE(""), SLICE(""), all_bytes(58)},
        {SLICE("empty"), SLICE("application/x-empty"), SLICE(""), SLICE("")},
        {SLICE("r\xc3\xa9sum\xc3\xa9 " NIHON ".pdf"), SLICE("application/pdf"), SLICE(""),
         all_bytes(114)},
        {repeat(NIHON, 28), SLICE("application/x-long"), SLICE(""), all_bytes(300)},
        {repeat("long name", 27), SLICE("application/x-long"), SLICE(""), all_bytes(4000)},
        {SLICE("q\"uo\\te;.txt"), SLICE("text/csv"), SLICE(""), SLICE("1;2")},
        {SLICE("it's 100% *.txt"), SLICE("text/csv"), SLICE(""), SLICE("1;2")},
        {SLICE("mail.eml"), SLICE("message/rfc822"), SLICE(""),
         SLICE("From: x@y.z\r\nSubject: inner\r\n\r\nbody\r\n")},
    };
    struct mime_mail mail = simple_mail();

    mail.attachments = files;
    mail.attachment_count = ARRAY_LEN(files);
    mail.text = SLICE("see \xc3\xa4\n");
    mail.html = SLICE("<img src=\"cid:logo@x\">");
    verify(
        pipe, "attachments", &mail,
        "mixed(related(alternative(plain,html),png,gif),pdf,plain,octet-stream,x-empty,pdf,x-long,"
        "x-long,csv,csv,rfc822)");
    mail.text = SLICE("");
    mail.attachment_count = 2;
    verify(pipe, "related to html", &mail, "related(html,png,gif)");
    mail.attachment_count = 3;
    verify(pipe, "mixed and related", &mail, "mixed(related(html,png,gif),pdf)");
    mail.html = SLICE("");
    verify(pipe, "attachments alone", &mail, "mixed(png,gif,pdf)");
    mail.text = SLICE("t");
    verify(pipe, "no html to be inline in", &mail, "mixed(plain,png,gif,pdf)");
    mail.text = SLICE("");
    mail.attachment_count = 0;
    verify(pipe, "nothing at all", &mail, "plain");
    for (size_t len = 0; len < 120; len += 7) {
        struct mime_attachment file = {SLICE("x"), SLICE("application/x"), SLICE(""),
                                       all_bytes(len)};
        mail.attachments = &file;
        mail.attachment_count = 1;
        verify(pipe, "lengths", &mail, "mixed(x)");
    }
}

Test(mime_write, composes_what_another_implementation_reads_back)
{
    FILE *pipe = verify_start("verify_mime.py");

    cr_assert_not_null(pipe);
    verify_bodies(pipe);
    verify_subjects_and_names(pipe);
    verify_headers(pipe);
    verify_attachments(pipe);
    cr_assert_eq(verify_finish(pipe), 0, "Python reads something else; see standard error");
}

/* ---- the mail as bytes ---------------------------------------------------------------------- */

static bool has(struct slice text, const char *part)
{
    return slice_find(text, slice_str(part)) != SIZE_MAX;
}

Test(mime_write, writes_the_fields_of_the_mail)
{
    struct mime_mail mail = simple_mail();
    struct mime_spans spans;

    mail.text = SLICE("x");
    mail.in_reply_to = SLICE("1@x.y <2@x.y><3@x.y>\r\n<\xc3\xa4@x.y> <>");
    mail.feedback_id = SLICE("acme:send:x");
    struct slice out = compose(&mail, &spans);
    cr_assert(slice_equal(out, SLICE("Date: Sat, 21 Nov 2026 06:38:51 +0000\r\n"
                                     "From: a@example.com\r\n"
                                     "To: b@example.net\r\n"
                                     "Subject: Hello\r\n"
                                     "Message-ID: <0001@example.com>\r\n"
                                     "In-Reply-To: <1@x.y> <2@x.y> <3@x.y>\r\n"
                                     "References: <1@x.y> <2@x.y> <3@x.y>\r\n"
                                     "Feedback-ID: acme:send:x\r\n"
                                     "MIME-Version: 1.0\r\n"
                                     "Content-Type: text/plain; charset=utf-8\r\n"
                                     "Content-Transfer-Encoding: 7bit\r\n"
                                     "\r\n"
                                     "x\r\n")),
              "%.*s", SLICE_FMT(out));
    cr_assert(!spans.needs_utf8);
}

Test(mime_write, names_no_recipient_when_all_are_blind)
{
    struct mime_mail mail = simple_mail();
    struct mime_spans spans;

    mail.to_count = 0;
    mail.text = SLICE("x");
    cr_assert(has(compose(&mail, &spans), "\r\nTo: undisclosed-recipients:;\r\n"));
}

Test(mime_write, lets_no_value_start_a_field)
{
    /* What the API refuses must be harmless here too. */
    struct addr evil = {.name = SLICE("x\r\nEvil: 1"),
                        .local = SLICE("a"),
                        .domain = SLICE("b.c"),
                        .text = SLICE("a@b.c")};
    struct mime_header headers[] = {
        {SLICE("X-A"), SLICE("x\r\nEvil: 2")},         {SLICE("X-B\r\nEvil: 3"), SLICE("x")},
        {SLICE("X-C: x\r\nEvil"), SLICE("4")},         {SLICE("X-D"), SLICE("x\nEvil: 5\rEvil: 6")},
        {SLICE("From"), SLICE("second@evil.example")}, {SLICE("content-type"), SLICE("text/evil")},
    };
    struct mime_attachment file = {SLICE("x\r\nEvil: 7"), SLICE("text/plain\r\nEvil: 8"),
                                   SLICE("x>\r\nEvil: 9"), SLICE("data")};
    struct mime_mail mail = simple_mail();
    struct mime_spans spans;

    mail.from = evil;
    mail.to = &evil;
    mail.subject = SLICE("x\r\nEvil: 10\r\n\r\nbody");
    mail.message_id = SLICE("x>\r\nEvil: 11");
    mail.in_reply_to = SLICE("x\r\nEvil: 12");
    mail.feedback_id = SLICE("x\r\nEvil: 13\r\n\r\nbody");
    mail.headers = headers;
    mail.header_count = ARRAY_LEN(headers);
    mail.attachments = &file;
    mail.attachment_count = 1;
    mail.text = SLICE("x");
    struct slice out = compose(&mail, &spans);
    cr_assert(!has(out, "\nEvil"));
    cr_assert(!has(out, "\rEvil"));
    cr_assert(!has(out, "second@evil"));
    cr_assert(!has(out, "text/evil"));
    cr_assert(!has(out, "Content-ID"));
    cr_assert(has(out, "\r\nContent-Type: application/octet-stream\r\n"));
    cr_assert_eq(spans.header_len, header_block_len(out));
}

Test(mime_write, says_when_an_address_needs_smtputf8)
{
    struct mime_mail mail = simple_mail();
    struct mime_spans spans;
    struct addr cc = parse("\xc3\xa4@example.com");

    mail.text = SLICE("x");
    mail.cc = &cc;
    mail.cc_count = 1;
    struct slice out = compose(&mail, &spans);
    cr_assert(spans.needs_utf8);
    cr_assert(has(out, "\r\nCc: \xc3\xa4@example.com\r\n"));
}

Test(mime_write, chooses_the_shortest_encoding_that_is_allowed)
{
    struct {
        struct slice text;
        enum mime_encoding encoding;
    } rows[] = {
        {SLICE("plain\ttext\r\n"), MIME_7BIT},
        {SLICE("lone\rCR"), MIME_7BIT},
        {repeat("x", 998), MIME_7BIT},
        {repeat("x", 999), MIME_QUOTED_PRINTABLE},
        {SLICE("a\nFrom b"), MIME_QUOTED_PRINTABLE},
        {SLICE("nul \0 within some longer text"), MIME_QUOTED_PRINTABLE},
        {SLICE("mostly ASCII, one \xc3\xa4"), MIME_QUOTED_PRINTABLE},
        {SLICE(NIHON NIHON), MIME_BASE64},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mime_mail mail = simple_mail();
        struct mime_spans spans;
        mail.text = rows[i].text;
        struct slice out = compose(&mail, &spans);
        cr_expect_eq(spans.text.encoding, rows[i].encoding, "row %zu", i);
        cr_expect(!slice_has_byte(out, '\0'));
    }
}

Test(mime_write, keeps_messages_readable_and_wraps_those_that_cannot_be)
{
    struct {
        const char *type;
        struct slice data;
        const char *want;
        bool needs_8bit;
    } rows[] = {
        {"message/rfc822", SLICE("From: a@b.c\n\nx\n"),
         "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n"
         "Content-Disposition: attachment\r\n\r\nFrom: a@b.c\r\n\r\nx\r\n",
         false},
        {"Message/RFC822", SLICE("From: a@b.c\r\n\r\n\xc3\xa4\r\n"),
         "Content-Transfer-Encoding: 8bit\r\nContent-Disposition: attachment\r\n\r\nFrom: "
         "a@b.c\r\n\r\n"
         "\xc3\xa4\r\n",
         true},
        {"message/rfc822", SLICE("From: a@b.c\r\n\r\n\0"), "application/octet-stream", false},
        {"message/rfc822", SLICE("From: a@b.c\r\n\r\na\rb"), "application/octet-stream", false},
        {"message/rfc822", repeat("x", 999), "application/octet-stream", false},
        {"multipart/mixed; boundary=x", SLICE("--x\r\n"), "application/octet-stream", false},
        {"message/delivery-status", SLICE("Action: failed\r\n"),
         "message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mime_attachment file = {.content_type = slice_str(rows[i].type),
                                       .data = rows[i].data};
        struct mime_mail mail = simple_mail();
        struct mime_spans spans;
        mail.attachments = &file;
        mail.attachment_count = 1;
        cr_expect(has(compose(&mail, &spans), rows[i].want), "row %zu", i);
        cr_expect_eq(spans.needs_8bit, rows[i].needs_8bit, "row %zu", i);
    }
}

static void expect_decoded(struct slice mail, const struct mime_span *span, struct slice want)
{
    cr_assert_leq(span->offset + span->len, mail.len);
    struct slice content = slice_sub(mail, (size_t)span->offset, (size_t)span->len);
    cr_expect(slice_equal(mime_decode(span->encoding, content, &arena), want), "[%.*s]",
              SLICE_FMT(content));
}

Test(mime_write, reports_where_text_and_html_can_be_found_again)
{
    struct slice bodies[] = {
        SLICE("plain"),
        SLICE("plain\n"),
        SLICE("\n"),
        SLICE("a \nb\t\n\n"),
        SLICE("\xc3\xa4 and more of it"),
        SLICE("\xc3\xa4 and more of it \n"),
        repeat(NIHON "\n", 3000),
        repeat("0123456789", 1000),
        SLICE("tricky =\n=3D = \t\n=\n"),
        repeat(NIHON FOX, 911),
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        for (size_t n = 0; n < ARRAY_LEN(bodies); n++) {
            struct mime_mail mail = simple_mail();
            struct mime_spans spans;
            mail.text = bodies[i];
            struct slice out = compose(&mail, &spans);
            cr_assert(spans.text.is_present && !spans.html.is_present);
            expect_decoded(out, &spans.text, bodies[i]);
            mail.html = bodies[n];
            out = compose(&mail, &spans);
            cr_assert(spans.text.is_present && spans.html.is_present);
            expect_decoded(out, &spans.text, bodies[i]);
            expect_decoded(out, &spans.html, bodies[n]);
        }
    }
}

Test(mime_write, answers_too_large_at_the_ceiling)
{
    struct mime_mail mail = simple_mail();
    struct mime_attachment file = {.data = all_bytes(5000)};
    struct mime_spans spans;

    mail.text = repeat("text \xc3\xa4\n", 300);
    mail.attachments = &file;
    mail.attachment_count = 1;
    struct slice whole = compose(&mail, &spans);
    for (size_t ceiling = 0; ceiling < whole.len; ceiling += 97) {
        struct buf out;
        buf_init(&out, ceiling);
        cr_expect_eq(mime_write(&mail, &out, &spans), ERR_TOO_LARGE);
        cr_expect_leq(out.len, ceiling);
        buf_fini(&out);
    }
    struct buf out;
    buf_init(&out, whole.len + 4096);
    cr_expect_eq(mime_write(&mail, &out, &spans), ERR_OK);
    buf_fini(&out);
}

Test(mime_write, takes_time_in_proportion_to_a_hostile_text)
{
    /* Each of these made some earlier idea quadratic. */
    struct slice texts[] = {repeat("\r", 300000),      repeat("\n", 300000),
                            repeat("<", 300000),       repeat("&", 300000),
                            repeat("<a ", 100000),     repeat("<!-", 100000),
                            repeat("<script>", 40000), repeat("<a href=x>", 30000)};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct mime_mail mail = simple_mail();
        struct mime_spans spans;
        struct buf out;
        buf_init(&out, 16 << 20);
        mail.text = texts[i];
        cr_assert_eq(mime_write(&mail, &out, &spans), ERR_OK);
        struct slice text = mime_text_from_html(texts[i], &arena);
        cr_assert_leq(text.len, texts[i].len);
        buf_fini(&out);
    }
}

/* ---- validity ------------------------------------------------------------------------------- */

Test(mime_write, accepts_media_types_and_nothing_else)
{
    static const struct {
        const char *type;
        bool is_valid;
    } ROWS[] = {
        {"text/plain", true},
        {"application/vnd.api+json", true},
        {"text/plain; charset=utf-8", true},
        {"text/plain;charset=\"utf-8\" ; format=flowed", true},
        {"a/b; c=\"d;\\\" e\"", true},
        {"", false},
        {"text", false},
        {"text/", false},
        {"/plain", false},
        {"text /plain", false},
        {"text/plain;", false},
        {"text/plain; charset", false},
        {"text/plain; charset=", false},
        {"text/plain; =x", false},
        {"text/plain; a=\"b", false},
        {"text/plain; a=\"b\\", false},
        {"text/plain x", false},
        {"text/plain\r\nX: y", false},
        {"text/plain; a=\"b\r\nX: y\"", false},
        {"text/pl\xc3\xa4in", false},
        {"text/plain, text/html", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        cr_expect_eq(mime_type_is_valid(slice_str(ROWS[i].type)), ROWS[i].is_valid, "%s",
                     ROWS[i].type);
    }
    cr_expect(!mime_type_is_valid(slice_of("a/b\0", 4)));
    cr_expect(!mime_type_is_valid(repeat("a/b; c=d", 40)));
}

Test(mime_write, accepts_printable_content_ids)
{
    cr_expect(mime_content_id_is_valid(SLICE("logo")));
    cr_expect(mime_content_id_is_valid(SLICE("a.b+c@d")));
    cr_expect(mime_content_id_is_valid(repeat("x", 255)));
    cr_expect(!mime_content_id_is_valid(repeat("x", 256)));
    static const char *const WRONG[] = {"", "<a>", "a b", "a\r\nb", "\xc3\xa4", "a>"};
    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        cr_expect(!mime_content_id_is_valid(slice_str(WRONG[i])), "%s", WRONG[i]);
    }
}

/* ---- decoding ------------------------------------------------------------------------------- */

Test(mime_write, decodes_what_is_damaged_as_well_as_it_can)
{
    static const struct {
        enum mime_encoding encoding;
        const char *content;
        const char *want;
    } ROWS[] = {
        {MIME_7BIT, "a\r\nb\rc\nd", "a\nb\rc\nd"},
        {MIME_7BIT, "", ""},
        {MIME_QUOTED_PRINTABLE, "a=20b=\r\nc=3d=\nd", "a bc=d"},
        {MIME_QUOTED_PRINTABLE, "=", "="},
        {MIME_QUOTED_PRINTABLE, "=4", "=4"},
        {MIME_QUOTED_PRINTABLE, "=ZZ=4x", "=ZZ=4x"},
        {MIME_QUOTED_PRINTABLE, "=0D=0A", "\n"},
        {MIME_BASE64, "YWJj\r\nZGVm", "abcdef"},
        {MIME_BASE64, "YW*Jj ZA", "abcd"},
        {MIME_BASE64, "YQ==YQ==", "a"},
        {MIME_BASE64, "Y", ""},
        {MIME_BASE64, "YQ0KYg==", "a\nb"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice got = mime_decode(ROWS[i].encoding, slice_str(ROWS[i].content), &arena);
        cr_expect(slice_equal(got, slice_str(ROWS[i].want)), "%s: %.*s", ROWS[i].content,
                  SLICE_FMT(got));
    }
}

/* ---- text from html ------------------------------------------------------------------------- */

Test(mime_write, makes_readable_text_from_html)
{
    static const struct {
        const char *html;
        const char *want;
    } ROWS[] = {
        {"", ""},
        {"plain", "plain"},
        {"a  b\r\n\tc", "a b c"},
        {"<p>one</p><p>two</p>", "one\n\ntwo"},
        {"<div>one</div><div>two</div>", "one\ntwo"},
        {"one<br>two<br/><br />three", "one\ntwo\n\nthree"},
        {"<b>bo</b>ld and <i>it</i>alic", "bold and italic"},
        {"<ul><li>one</li><li><p>two</p></li><li></li></ul>x", "- one\n- two\n\n-\n\nx"},
        {"<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"},
        {"<h1>Head</h1>text", "Head\n\ntext"},
        {"<html><head><title>T</title><style>p{color:red}</style></head><body>x</body></html>",
         "x"},
        {"a<script>if (1<2) '</p>'</SCRIPT >b", "ab"},
        {"a<!-- > <p> -->b", "ab"},
        {"<!DOCTYPE html><?xml version='1'?>a", "a"},
        {"1 < 2 && 3 > 2", "1 < 2 && 3 > 2"},
        {"&lt;b&gt; &amp;amp; &quot;&apos;&#39;", "<b> &amp; \"''"},
        {"&eacute;&#233;&#xE9;&#x1F98A;&euro;",
         "\xc3\xa9\xc3\xa9\xc3\xa9\xf0\x9f\xa6\x8a\xe2\x82\xac"},
        {"a&nbsp;&nbsp;b\xc2\xa0"
         "c&zwnj;&#8203;d",
         "a b cd"},
        {"&unknown; &#; &#x; &#xZZ; &amp", "&unknown; &#; &#x; &#xZZ; &amp"},
        {"&#0;&#13;&#10;x&#xD800;&#9999999;", "x\xef\xbf\xbd\xef\xbf\xbd"},
        {"<a href=\"https://x.y/?a=1&amp;b=2\">here</a>.", "here (https://x.y/?a=1&b=2)."},
        {"<a href=https://x.y>https://x.y</a> <a href='http://x.y'>x.y</a>", "https://x.y x.y"},
        {"<a href='mailto:a@b.c'>a@b.c</a> <a href='#top'>top</a> <a href='javascript:x()'>js</a>",
         "a@b.c top js"},
        {"<a class=b HREF = 'https://x.y' title=\"a>b\">t</a>", "t (https://x.y)"},
        {"<a href='https://x.y'><img src=z></a>", "(https://x.y)"},
        {"<a href='https://x.y'>open<a href='https://z.y'>other</a>",
         "open (https://x.y)other (https://z.y)"},
        {"<pre>a\n  b\n\nc</pre>d", "a\n  b\n\nc\n\nd"},
        {"<p", ""},
        {"a<b c='", "a"},
        {"a<", "a<"},
        {"</>x", "</>x"},
        {"<averyveryverylongtagname>x", "x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct slice html = slice_str(ROWS[i].html);
        struct slice got = mime_text_from_html(html, &arena);
        cr_expect(slice_equal(got, slice_str(ROWS[i].want)), "%s\n[%.*s]", ROWS[i].html,
                  SLICE_FMT(got));
        cr_expect_leq(got.len, html.len + 1);
    }
}

Test(mime_write, gives_no_text_when_the_arena_is_full)
{
    struct arena small;

    arena_init(&small, 64, 64);
    cr_assert_eq(mime_text_from_html(repeat("x", 100), &small).len, 0);
    cr_assert_eq(mime_decode(MIME_7BIT, repeat("x", 100), &small).len, 0);
    arena_fini(&small);
}
