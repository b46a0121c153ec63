/* Mails that were made to hurt. Bounds are on what was taken of memory, of stack and of parts, not
 * on time: a test that hangs is stopped by its timeout. Not covered: sizes over MAIL_BYTES_MAX
 * (test_mime_read.c).
 */
#include "mime_rig.h"

#include "mail/charset.h"
#include "mail/mime_tame.h"

#include <malloc.h>
#include <pthread.h>

#define SMALL_STACK (256 * KIB) /* a thirtieth of a worker's; the sanitizers' frames are larger */

static struct mime_rig rig;

static void setup(void)
{
    rig_start(&rig);
}

static void teardown(void)
{
    rig_stop(&rig);
}

TestSuite(mime_hostile, .init = setup, .fini = teardown, .timeout = 100);

static void *read_on_thread(void *context)
{
    (void)context;
    rig_read(&rig, rig_raw(&rig));
    return NULL;
}

/* Reads what was built on a stack that has no room for recursion. */
static const struct mime_read *read_on_small_stack(void)
{
    pthread_t thread;
    pthread_attr_t attr;
    cr_assert_eq(pthread_attr_init(&attr), 0);
    cr_assert_eq(pthread_attr_setstacksize(&attr, SMALL_STACK), 0);
    cr_assert_eq(pthread_create(&thread, &attr, read_on_thread, NULL), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
    return &rig.mail;
}

Test(mime_hostile, stops_at_the_depth_ceiling)
{
    for (uint32_t i = 0; i < 100000; i++) {
        buf_add_format(&rig.raw, "Content-Type: multipart/mixed; boundary=b%u\n\n--b%u\n", i, i);
    }
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->part_count, MIME_DEPTH_MAX + 1);
    cr_expect_eq(mail->file_count, 1);
    cr_expect_eq(mail->damage, MIME_TOO_DEEP | MIME_NOT_CLOSED);
}

Test(mime_hostile, reads_as_deep_as_allowed)
{
    for (uint32_t i = 0; i < MIME_DEPTH_MAX; i++) {
        buf_add_format(&rig.raw, "Content-Type: multipart/mixed; boundary=b%u\n\n--b%u\n", i, i);
    }
    buf_add_str(&rig.raw, "\ndeep");
    for (uint32_t i = MIME_DEPTH_MAX; i > 0; i--) {
        buf_add_format(&rig.raw, "\n--b%u--", i - 1);
    }
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->damage, 0);
    cr_expect(slice_equal(mail->text.text, SLICE("deep")));
}

Test(mime_hostile, stops_at_the_ceiling_of_parts)
{
    buf_add_str(&rig.raw, "Content-Type: multipart/mixed; boundary=b\n\n");
    rig_repeat(&rig, "--b\n\n\n", 1000000);
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->part_count, MIME_PARTS_MAX);
    cr_expect_eq(mail->file_count, MIME_PARTS_MAX - 2);
    cr_expect_eq(mail->damage, MIME_TOO_MANY_PARTS);
    cr_expect_lt(rig.arena.used_bytes, MIB);
}

Test(mime_hostile, does_not_descend_into_mails_within_mails)
{
    rig_repeat(&rig, "Content-Type: message/rfc822\n\n", 100000);
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->part_count, 1);
    cr_expect_eq(mail->file_count, 1);
}

Test(mime_hostile, keeps_few_of_a_million_fields)
{
    rig_repeat(&rig, "a: b\nTo: c@d\nReferences: <x@y>\n", 500000);
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->field_count, MIME_FIELDS_MAX);
    cr_expect_leq(mail->to.count, MIME_ADDRS_MAX);
    cr_expect_eq(mail->damage, MIME_MANY_FIELDS);
    cr_expect_lt(rig.arena.used_bytes, 2 * MIB);
}

/* Every field that is looked into, four times as long as is read of any, for each pattern. */
Test(mime_hostile, reads_a_bounded_part_of_long_fields)
{
    static const char *const names[] = {"Subject", "From",       "To",   "Message-ID",
                                        "Date",    "References", "X-Any"};
    static const char *const patterns[] = {"x",  "<",  "=?",    "=?utf-8?q?x", "a:",  "(",    "\"",
                                           "\\", ",",  "\xff",  "=?utf-8?b?",  "x:;", "<@a,", " ",
                                           "[",  "a@", "\t\n ", "a <b@c>, "};
    size_t most = 0;
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        buf_clear(&rig.raw);
        for (size_t j = 0; j < ARRAY_LEN(names); j++) {
            buf_add_format(&rig.raw, "%s: ", names[j]);
            rig_repeat(&rig, patterns[i], 4 * MIME_ADDRS_FIELD_MAX / strlen(patterns[i]));
            buf_add_byte(&rig.raw, '\n');
        }
        const struct mime_read *mail = read_on_small_stack();
        cr_expect_leq(mail->to.count, MIME_ADDRS_MAX);
        cr_expect_leq(mail->reference_count, MIME_REFS_MAX);
        cr_expect_leq(mail->subject.len, SUBJECT_MAX);
        most = rig.arena.used_bytes > most ? rig.arena.used_bytes : most;
    }
    cr_expect_lt(most, 2 * MIB);
}

Test(mime_hostile, survives_a_field_of_ten_million_bytes)
{
    buf_add_str(&rig.raw, "Subject: ");
    rig_repeat(&rig, "0123456789", 1000000);
    buf_add_str(&rig.raw, "\nContent-Type: text/plain; charset=\"");
    rig_repeat(&rig, "0123456789", 1000000);
    buf_add_str(&rig.raw, "\"\n\nbody");
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->subject.len, SUBJECT_MAX);
    cr_expect(slice_equal(mail->text.text, SLICE("body")));
    cr_expect(mail->damage & MIME_MANY_FIELDS);
    cr_expect_lt(rig.arena.used_bytes, MIB);
}

Test(mime_hostile, survives_groups_within_groups)
{
    static const char *const fields[] = {"From: ", "\nTo: ", "\nCc: ", "\nReply-To: "};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        buf_add_str(&rig.raw, fields[i]);
        rig_repeat(&rig, "a:", 500000);
        rig_repeat(&rig, "b@c,", 1000);
    }
    const struct mime_read *mail = read_on_small_stack();
    cr_expect(mail->damage & MIME_MANY_FIELDS);
}

Test(mime_hostile, reads_a_list_with_more_colons_than_groups_may_have)
{
    buf_add_str(&rig.raw, "To: ");
    for (uint32_t i = 0; i < 3 * MIME_COLONS_MAX; i++) {
        buf_add_format(&rig.raw, "%s\"Re: %u\" <u%u@b.example>", i > 0 ? ", " : "", i, i);
    }
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->to.count, 3 * MIME_COLONS_MAX);
    cr_expect(slice_equal(mail->to.items[0].name, SLICE("Re: 0")));
    cr_expect_eq(mail->damage, 0);
}

/* GMime would keep each name it meets for good. */
Test(mime_hostile, leaves_nothing_behind_of_names_that_nobody_knows)
{
    size_t before = 0;
    for (uint32_t round = 0; round < 20; round++) {
        buf_clear(&rig.raw);
        for (uint32_t i = 0; i < 500; i++) {
            buf_add_format(&rig.raw, "X: =?c%u-%u?q?x?= =?d%u-%u*en?B?eA==?=\n", round, i, round,
                           i);
        }
        buf_add_format(&rig.raw, "Content-Type: a/b%u; charset=e%u; n*=f%u''x; m*0*=\"g%u'x'y\"\n",
                       round, round, round, round);
        buf_add_format(&rig.raw, "Content-Disposition: x; filename *(c)= h%u'a'b\n\nz", round);
        rig_read(&rig, rig_raw(&rig));
        arena_clear(&rig.arena);
        if (round == 3) { /* by now every table of the libraries is made */
            before = mallinfo2().uordblks;
        }
    }
    /* Under AddressSanitizer nothing is counted; the other builds run this too. */
    cr_expect_leq(mallinfo2().uordblks, before + 4 * KIB);
}

Test(mime_hostile, gives_clean_text_whatever_the_bytes)
{
    static const char *const charsets[] = {"utf-8",       "us-ascii", "utf-16",      "utf-7",
                                           "iso-2022-jp", "gb18030",  "iso-2022-kr", "big5",
                                           "shift_jis",   "euc-jp",   "utf-32",      "x"};
    uint32_t state = 1;
    for (size_t i = 0; i < ARRAY_LEN(charsets); i++) {
        buf_clear(&rig.raw);
        buf_add_format(&rig.raw, "Subject: =?%s?q?", charsets[i]);
        for (uint32_t j = 0; j < 256; j++) {
            buf_add_format(&rig.raw, "=%02X", j);
        }
        buf_add_format(&rig.raw,
                       "?=\nX: \xff\xfe\x01\x7f\x80\n"
                       "Content-Type: text/html; charset=%s\n\n",
                       charsets[i]);
        for (uint32_t j = 0; j < 100000; j++) {
            state = state * 1664525 + 1013904223;
            buf_add_byte(&rig.raw, (char)(state >> 24));
        }
        const struct mime_read *mail = read_on_small_stack();
        cr_expect(slice_is_utf8(mail->html.text) && !slice_has_byte(mail->html.text, '\0') &&
                      !slice_has_byte(mail->html.text, '\r'),
                  "%s", charsets[i]);
        cr_expect(slice_is_utf8(mail->subject) && !slice_has_control(mail->subject, ""));
        cr_expect_eq(mail->field_count, 3);
        cr_expect(slice_is_utf8(mail->fields[1].value));
        cr_expect(!slice_has_control(mail->fields[1].value, ""));
    }
}

Test(mime_hostile, cuts_texts_at_their_ceiling)
{
    buf_add_str(&rig.raw, "Content-Type: multipart/alternative; boundary=b\n\n"
                          "--b\nContent-Type: text/plain; charset=windows-1252\n\n");
    rig_repeat(&rig, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\n", 900000); /* a euro is three bytes */
    buf_add_str(&rig.raw, "\n--b\nContent-Type: text/html; charset=utf-8\n\n");
    rig_repeat(&rig, "0123456789abcdef\n", 800000);
    buf_add_str(&rig.raw, "\n--b--\n");
    const struct mime_read *mail = read_on_small_stack();
    cr_expect(mail->text.is_truncated && mail->html.is_truncated);
    cr_expect_leq(mail->text.text.len, TEXT_BYTES_MAX);
    cr_expect_gt(mail->text.text.len, TEXT_BYTES_MAX - 4);
    cr_expect_eq(mail->html.text.len, TEXT_BYTES_MAX);
    cr_expect(slice_is_utf8(mail->text.text));
    cr_expect_eq(mail->damage, MIME_TEXT_CUT);
}

/* The promise of MIME_READ_ARENA_BYTES: the worst of everything at once is still read. */
Test(mime_hostile, always_fits_its_arena)
{
    static const char *const fields[] = {"To: ", "\nCc: ", "\nReply-To: ", "\nReferences: "};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        buf_add_str(&rig.raw, fields[i]);
        rig_repeat(&rig, i < 3 ? "\x80 <\x80@\x80>," : "<\x80>", 20000);
    }
    for (uint32_t i = 0; i < MIME_FIELDS_MAX; i++) {
        buf_add_str(&rig.raw, "\nA: ");
        rig_repeat(&rig, "\x80", MIME_FIELD_BYTES_MAX / MIME_FIELDS_MAX);
    }
    buf_add_str(&rig.raw, "\nContent-Type: multipart/alternative; boundary=b\n\n");
    static const char *const texts[] = {"plain", "html"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        buf_add_format(&rig.raw, "--b\nContent-Type: text/%s; charset=latin1\n\n", texts[i]);
        rig_repeat(&rig, "\x80", TEXT_BYTES_MAX / 3 + 10);
        buf_add_byte(&rig.raw, '\n');
    }
    for (uint32_t i = 4; i < MIME_PARTS_MAX; i++) {
        buf_add_str(&rig.raw, "--b\nContent-Transfer-Encoding: base64\nContent-Type: a/b; name=\"");
        rig_repeat(&rig, "\x80", i < 300 ? MIME_PARAMS_MAX : 10);
        buf_add_str(&rig.raw, "\"\nContent-Disposition: x; filename=\"");
        rig_repeat(&rig, "\x80", i < 300 ? MIME_PARAMS_MAX : 10);
        buf_add_str(&rig.raw, "\"\n\nAAAA\n");
    }
    buf_add_str(&rig.raw, "--b\nContent-Transfer-Encoding: quoted-printable\n"
                          "Content-Type: a/b\n\n");
    rig_repeat(&rig, "x", MAIL_BYTES_MAX - rig.raw.len);
    const struct mime_read *mail = read_on_small_stack();
    cr_expect(mail->text.is_truncated && mail->html.is_truncated);
    cr_expect_eq(mail->file_count, MIME_PARTS_MAX - 3);
    cr_expect_gt(mail->files[mail->file_count - 1].data.len, 10 * MIB);
}

/* Boundaries that almost match, on every line and on every level. */
Test(mime_hostile, is_not_led_astray_by_what_almost_is_a_boundary)
{
    char longest[MIME_BOUNDARY_MAX + 1];
    memset(longest, 'b', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    buf_add_format(&rig.raw, "Content-Type: multipart/mixed; boundary=\"%s\"\n\n--%s\n\nbody\n",
                   longest, longest);
    for (uint32_t i = 0; i < 15000; i++) {
        buf_add_format(&rig.raw, "--%sx\n", longest);
        buf_add_format(&rig.raw, " --%s\n", longest);
    }
    buf_add_format(&rig.raw, "--%s--\n", longest);
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->part_count, 2);
    cr_expect_eq(mail->damage, 0, "%x", mail->damage);
}

Test(mime_hostile, takes_a_boundary_that_is_too_long_for_none)
{
    buf_add_str(&rig.raw, "Content-Type: multipart/mixed; boundary=");
    rig_repeat(&rig, "b", MIME_BOUNDARY_MAX + 1);
    buf_add_str(&rig.raw, "\n\ntext");
    const struct mime_read *mail = read_on_small_stack();
    cr_expect_eq(mail->damage, MIME_NO_BOUNDARY);
    cr_expect(slice_equal(mail->text.text, SLICE("text")));
}
