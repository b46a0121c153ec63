/* Not covered here: hostile mails (test_mime_hostile.c), charsets one by one (test_charset.c), what
 * is done to a value before GMime sees it (test_mime_tame.c).
 */
#include "mime_rig.h"

#include "mail/mime_write.h"

static struct mime_rig rig;

static void setup(void)
{
    rig_start(&rig);
}

static void teardown(void)
{
    rig_stop(&rig);
}

TestSuite(mime_read, .init = setup, .fini = teardown);

struct shape {
    const char *name;
    const char *raw;
    const char *story;
    uint32_t damage;
};

/* With LF and with CRLF: the same story. */
static void check_shapes(const struct shape *shapes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct mime_read *mail = rig_read(&rig, slice_str(shapes[i].raw));
        cr_expect_str_eq(rig_story(&rig), shapes[i].story, "%s: %s", shapes[i].name,
                         rig.story.data);
        cr_expect_eq(mail->damage, shapes[i].damage, "%s: damage %x", shapes[i].name, mail->damage);
        cr_expect_eq(mail->is_damaged, shapes[i].damage != 0, "%s", shapes[i].name);
        rig_read(&rig, rig_crlf(&rig, slice_str(shapes[i].raw)));
        cr_expect_str_eq(rig_story(&rig), shapes[i].story, "%s, CRLF: %s", shapes[i].name,
                         rig.story.data);
    }
}

#define MULTIPART(kind) "Content-Type: multipart/" kind "; boundary=\"b\"\n\n"

Test(mime_read, finds_the_texts_of_a_mail)
{
    static const struct shape shapes[] = {
        {"plain", "Subject: x\n\nHello\nworld\n", "T[Hello|world|]", 0},
        {"no body", "Subject: x\n", "T[]", 0},
        {"html only", "Content-Type: text/html\n\n<p>Hi</p>", "H[<p>Hi</p>]", 0},
        {"alternative",
         MULTIPART("alternative") "--b\n\nplain\n--b\nContent-Type: text/html\n\n<b>rich</b>\n"
                                  "--b--\n",
         "T[plain] H[<b>rich</b>]", 0},
        {"alternative in the wrong order",
         MULTIPART("alternative") "--b\nContent-Type: text/html\n\n<b>rich</b>\n--b\n\nplain\n"
                                  "--b--\n",
         "T[plain] H[<b>rich</b>]", 0},
        {"preamble and epilogue",
         MULTIPART("mixed") "preamble\n--b\n\nbody\n--b--\nepilogue\n--b\n\nnot\n", "T[body]", 0},
        {"a footer behind html",
         MULTIPART("mixed") "--b\nContent-Type: text/html\n\n<p>\n--b\n\nfooter\n--b--\n",
         "H[<p>] F[ text/plain attached  footer]", 0},
        {"a second text", MULTIPART("mixed") "--b\n\none\n--b\n\ntwo\n--b--\n",
         "T[one] F[ text/plain attached  two]", 0},
        {"quoted-printable",
         "Content-Type: text/plain; charset=iso-8859-1\n"
         "Content-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe =\nan=20alle\n",
         "T[Gr\xc3\xbc\xc3\x9f"
         "e an alle|]",
         0},
        {"base64",
         "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: BASE64\n\n"
         "R3LDvMOf\nZQ0KYg==\n",
         "T[Gr\xc3\xbc\xc3\x9f"
         "e|b]",
         0},
        {"a named body of a whole mail", "Content-Type: text/plain; name=\"a.txt\"\n\nx", "T[x]",
         0},
        {"blanks behind a boundary", MULTIPART("mixed") "--b  \t\n\nbody\n--b--  \n", "T[body]", 0},
        {"dashes that are no boundary", MULTIPART("mixed") "--b\n\n--bc\n-- \n--b --\n--b--\n",
         "T[--bc|-- |--b --]", 0},
        {"signed",
         "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=s\n\n"
         "--s\n" MULTIPART("mixed") "--b\n\nbody\n--b--\n\n--s\n"
                                    "Content-Type: application/pkcs7-signature; name=smime.p7s\n"
                                    "Content-Transfer-Encoding: base64\n\nU0lH\n--s--\n",
         "T[body] F[smime.p7s application/pkcs7-signature attached  SIG]", 0},
    };
    check_shapes(shapes, ARRAY_LEN(shapes));
}

Test(mime_read, reads_content_types_however_they_are_written)
{
    static const struct {
        const char *type;
        const char *text; /* of "--<boundary>\\n\\nx\\xe9\\n--<boundary>--" or just "x\\xe9" */
        const char *boundary;
    } cases[] = {
        {"text/plain; charset=iso-8859-2", "x\xc3\xa9", NULL},
        {"TEXT/PLAIN;CHARSET=\"ISO-8859-2\"", "x\xc3\xa9", NULL},
        {"text/plain (a comment); charset=iso-8859-2;", "x\xc3\xa9", NULL},
        {"text/plain; format=flowed; charset=\"iso-8859-5", "x\xd1\x89", NULL},
        {"text/plain;\n\tcharset = iso-8859-5", "x\xd1\x89", NULL},
        {"text/plain; charset*=us-ascii'en'iso-8859-5", "x\xd1\x89", NULL},
        {"text", "x\xc3\xa9", NULL},
        {"text/plain; charset", "x\xc3\xa9", NULL},
        {"multipart/mixed; boundary=b", "x\xc3\xa9", "b"},
        {"multipart/mixed;boundary=\"b b'()+_,-./:=?\"", "x\xc3\xa9", "b b'()+_,-./:=?"},
        {"multipart/mixed; boundary=----=_Part_1=2.3", "x\xc3\xa9", "----=_Part_1=2.3"},
        {"multipart/mixed; boundary=a/b:c", "x\xc3\xa9", "a/b:c"},
        {"multipart/mixed; boundary=\"b \"", "x\xc3\xa9", "b"},
        {"multipart/mixed; type=\"a;b\"; boundary=b; boundary=c", "x\xc3\xa9", "b"},
        {"multipart/mixed; boundary*0=on; boundary*1=e", "x\xc3\xa9", "one"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&rig.raw);
        buf_add_format(&rig.raw, "Content-Type: %s\n\n", cases[i].type);
        if (cases[i].boundary != NULL) {
            buf_add_format(&rig.raw, "--%s\n\nx\xe9\n--%s--\n", cases[i].boundary,
                           cases[i].boundary);
        } else {
            buf_add_str(&rig.raw, "x\xe9");
        }
        const struct mime_read *mail = rig_read(&rig, rig_raw(&rig));
        cr_expect(slice_equal(mail->text.text, slice_str(cases[i].text)), "%s: %.*s", cases[i].type,
                  SLICE_FMT(mail->text.text));
        cr_expect_eq(mail->damage, 0, "%s: %x", cases[i].type, mail->damage);
    }
}

Test(mime_read, finds_the_attachments_of_a_mail)
{
    static const struct shape shapes[] = {
        {"attachment only",
         "Content-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\n"
         "Content-Transfer-Encoding: base64\n\nUERG\n",
         "F[a.pdf application/pdf attached  PDF]", 0},
        {"a text as an attachment",
         "Content-Type: text/plain\nContent-Disposition: attachment\n\nx",
         "F[ text/plain attached  x]", 0},
        {"a named text behind the body",
         MULTIPART("mixed") "--b\n\nbody\n--b\nContent-Type: TEXT/CSV; name=\"t.csv\"\n\n1,2\n"
                            "--b--\n",
         "T[body] F[t.csv text/csv attached  1,2]", 0},
        {"a named text before the body",
         MULTIPART(
             "mixed") "--b\nContent-Disposition: inline; filename=a.txt\n\nfile\n--b\n\nbody\n"
                      "--b--\n",
         "T[body] F[a.txt text/plain inline  file]", 0},
        {"an image of the html",
         MULTIPART("related") "--b\nContent-Type: text/html\n\n<img src=cid:i@x>\n--b\n"
                              "Content-Type: image/png; name=i.png\nContent-ID: <i@x>\n"
                              "Content-Transfer-Encoding: base64\n\nUE5H\n--b--\n",
         "H[<img src=cid:i@x>] F[i.png image/png inline i@x PNG]", 0},
        {"an invitation",
         MULTIPART(
             "alternative") "--b\n\ncome\n--b\nContent-Type: text/calendar; method=REQUEST\n\n"
                            "BEGIN:VCALENDAR\n--b--\n",
         "T[come] F[invite.ics text/calendar attached  BEGIN:VCALENDAR]", 0},
        {"a forwarded mail, which is not looked into",
         MULTIPART("mixed") "--b\n\nfyi\n--b\nContent-Type: message/rfc822\n\nSubject: s\n\nbody\n"
                            "--b--\n",
         "T[fyi] F[message.eml message/rfc822 attached  Subject: s||body]", 0},
        {"a digest", MULTIPART("digest") "--b\n\nSubject: s\n\nbody\n--b--\n",
         "F[message.eml message/rfc822 attached  Subject: s||body]", 0},
        {"winmail.dat",
         MULTIPART("mixed") "--b\n\nx\n--b\nContent-Type: application/ms-tnef; name=winmail.dat\n"
                            "Content-Transfer-Encoding: base64\n\nVE5FRg==\n--b--\n",
         "T[x] F[winmail.dat application/ms-tnef attached  TNEF]", 0},
        {"encrypted",
         "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n"
         "Content-Transfer-Encoding: base64\n\nRU5D\n",
         "F[smime.p7m application/pkcs7-mime attached  ENC]", 0},
        {"a type that is none", MULTIPART("mixed") "--b\n\nx\n--b\nContent-Type: ]/[\n\ny\n--b--\n",
         "T[x] F[ application/octet-stream attached  y]", 0},
        {"an unknown disposition",
         MULTIPART("mixed") "--b\nContent-Disposition: strange\n\nx\n--b--\n",
         "F[ text/plain attached  x]", 0},
        {"damaged base64",
         "Content-Type: image/gif\nContent-Transfer-Encoding: base64\n\nR0*lG\n!\nODk",
         "F[ image/gif attached  GIF89]", 0},
    };
    check_shapes(shapes, ARRAY_LEN(shapes));
}

Test(mime_read, reads_what_is_left_of_a_damaged_mail)
{
    static const struct shape shapes[] = {
        {"no boundary is named", "Content-Type: multipart/mixed\n\n--b\n\nbody\n--b--\n",
         "T[--b||body|--b--|]", MIME_NO_BOUNDARY},
        {"the boundary never comes", MULTIPART("mixed") "just text\n", "T[just text|]",
         MIME_NO_BOUNDARY},
        {"the final boundary is missing", MULTIPART("mixed") "--b\n\none\n", "T[one|]",
         MIME_NOT_CLOSED},
        {"cut behind a boundary", MULTIPART("mixed") "--b\n\none\n--b", "T[one]", MIME_NOT_CLOSED},
        {"an inner part runs into the outer boundary",
         MULTIPART("mixed") "--b\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\nin\n"
                            "--b\nContent-Type: image/x\n\nI\n--b--\n",
         "T[in] F[ image/x attached  I]", MIME_NOT_CLOSED},
        {"an unknown charset", "Content-Type: text/plain; charset=x-nobody\n\n\xe9\n",
         "T[\xc3\xa9|]", MIME_BAD_CHARSET},
        {"no empty line", "Subject: x\nFrom: a@b\nThis is a text already\n",
         "T[This is a text already|]", MIME_BAD_HEADERS},
        {"a line that is no field", "Subject: x\nnonsense\nFrom: a@b\n\nbody\n", "T[body|]",
         MIME_BAD_HEADERS},
        {"a line of an mbox", "From a@b Mon Jan  1 00:00:00 2024\nSubject: x\n\nbody\n", "T[body|]",
         0},
        {"a type that is none, of a whole mail", "Content-Type: nonsense\n\nbody\n", "T[body|]", 0},
        {"nothing at all", "", "T[]", 0},
        {"an empty line only", "\n", "T[]", 0},
        {"only boundaries", MULTIPART("mixed") "--b\n--b\n--b--\n", "T[] F[ text/plain attached  ]",
         0},
        {"closed at once", MULTIPART("mixed") "--b--\n", "", 0},
    };
    check_shapes(shapes, ARRAY_LEN(shapes));
}

Test(mime_read, hands_out_the_parts_of_reports)
{
    static const struct shape shapes[] = {
        {"bounce",
         "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
         "--b\n\nSorry\n--b\nContent-Type: message/delivery-status\n\n"
         "Reporting-MTA: dns; mx\n\nAction: failed\n--b\n"
         "Content-Type: text/rfc822-headers\n\nSubject: s\n--b--\n",
         "T[Sorry] R[0 Reporting-MTA: dns; mx||Action: failed] R[3 Subject: s]", 0},
        {"complaint",
         "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
         "--b\n\nabuse\n--b\nContent-Type: message/feedback-report\n"
         "Content-Transfer-Encoding: base64\n\nRmVlZGJhY2stVHlwZTogYWJ1c2U=\n--b\n"
         "Content-Type: message/rfc822\n\nSubject: s\n--b--\n",
         "T[abuse] F[message.eml message/rfc822 attached  Subject: s] "
         "R[1 Feedback-Type: abuse]",
         0},
        {"receipt", "Content-Type: message/disposition-notification\n\nDisposition: displayed\n",
         "R[2 Disposition: displayed|]", 0},
    };
    check_shapes(shapes, ARRAY_LEN(shapes));
}

Test(mime_read, reads_file_names_however_they_are_written)
{
    static const struct {
        const char *fields;
        const char *name;
    } names[] = {
        {"Content-Disposition: attachment; filename=a.pdf", "a.pdf"},
        {"Content-Disposition: attachment; filename=\"a b.pdf\"", "a b.pdf"},
        {"Content-Disposition: attachment; filename=a b.pdf", "a b.pdf"},
        {"Content-Type: image/png; name=\"n.png\"\nContent-Disposition: attachment", "n.png"},
        {"Content-Disposition: attachment; filename*=UTF-8''na%C3%AFve.txt", "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment; filename*=iso-8859-1'fr'na%EFve.txt",
         "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment; filename*=x-nobody''na%EFve.txt", "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment; filename*=''na%C3%AFve.txt", "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment;\n filename*0*=UTF-8''na%C3%AF;\n filename*1*=ve%20;\n"
         " filename*2=\"it's.txt\"",
         "na\xc3\xafve it%27s.txt"},
        {"Content-Disposition: attachment;\n filename*1=\"two\"; filename*0=\"one\"", "onetwo"},
        {"Content-Disposition: attachment; filename=\"it's.txt\"", "it's.txt"},
        {"Content-Disposition: attachment; filename=\"=?utf-8?B?bmHDr3ZlLnR4dA==?=\"",
         "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment; filename=\"=?iso-8859-1?Q?na=EFve.txt?=\"",
         "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment; filename=\"na\xc3\xafve.txt\"", "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment; filename=\"na\xefve.txt\"", "na\xc3\xafve.txt"},
        {"Content-Disposition: attachment; filename=\"../../etc/passwd\"", "passwd"},
        {"Content-Disposition: attachment; filename=\"C:\\\\Temp\\\\a.doc\"", "a.doc"},
        {"Content-Disposition: attachment; filename*=utf-8''a%0d%0ab%1f.txt", "a  b .txt"},
        {"Content-Disposition: attachment; filename*=utf-8''a%E2%80%AEgpj.exe", "agpj.exe"},
        {"Content-Disposition: attachment; filename=\"..\"", ""},
        {"Content-Disposition: attachment; filename=\"\"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        buf_clear(&rig.raw);
        buf_add_format(&rig.raw, "%s\n\nx", names[i].fields);
        const struct mime_read *mail = rig_read(&rig, rig_raw(&rig));
        cr_assert_eq(mail->file_count, 1, "%s", names[i].fields);
        cr_expect(slice_equal(mail->files[0].filename, slice_str(names[i].name)), "%s: \"%.*s\"",
                  names[i].fields, SLICE_FMT(mail->files[0].filename));
    }
}

static void expect_text(struct slice is, const char *wanted)
{
    cr_expect(slice_equal(is, slice_str(wanted)), "\"%.*s\" is not \"%s\"", SLICE_FMT(is), wanted);
}

Test(mime_read, reads_who_and_what_about)
{
    const struct mime_read *mail = rig_read(
        &rig, SLICE("From: =?utf-8?Q?J=C3=BCrgen?= \"M.\" <j@example.com>, x@example.com\r\n"
                    "To: a@example.com, \"B, b\" <b@example.com>,\r\n"
                    " Team: c@example.com, d@example.com;, undisclosed:;\r\n"
                    "To: e@example.com\r\n"
                    "Cc: =?iso-8859-1?q?Andr=E9?= <f@example.com>\r\n"
                    "Reply-To: <g@example.com>\r\n"
                    "Subject: =?utf-8?B?R3LDvMOf?=\r\n =?utf-8?Q?e_an_alle?= und mehr\r\n"
                    "Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n"
                    "Message-ID: <own@example.com>\r\n"
                    "In-Reply-To: <parent@example.com>\r\n"
                    "References: <root@example.com>\r\n <mid@example.com> <parent@example.com>\r\n"
                    "Auto-Submitted: auto-replied (vacation)\r\nPrecedence: bulk\r\n"
                    "List-Id: The list <list.example.com>\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n"));
    expect_text(mail->from.name, "J\xc3\xbcrgen M.");
    expect_text(mail->from.address, "j@example.com");
    static const char *const to[] = {"a@example.com", "b@example.com", "c@example.com",
                                     "d@example.com", "e@example.com"};
    cr_assert_eq(mail->to.count, ARRAY_LEN(to));
    for (size_t i = 0; i < ARRAY_LEN(to); i++) {
        expect_text(mail->to.items[i].address, to[i]);
    }
    expect_text(mail->to.items[1].name, "B, b");
    cr_assert_eq(mail->cc.count, 1);
    expect_text(mail->cc.items[0].name, "Andr\xc3\xa9");
    cr_assert_eq(mail->reply_to.count, 1);
    expect_text(mail->reply_to.items[0].address, "g@example.com");
    expect_text(mail->subject, "Gr\xc3\xbc\xc3\x9f"
                               "e an alle und mehr");
    cr_expect(mail->has_date);
    cr_expect_eq(mail->date_unix_ms, UINT64_C(880127706000));
    expect_text(mail->message_id, "own@example.com");
    expect_text(mail->in_reply_to, "parent@example.com");
    cr_assert_eq(mail->reference_count, 3);
    expect_text(mail->references[1], "mid@example.com");
    expect_text(mail->auto_submitted, "auto-replied (vacation)");
    expect_text(mail->precedence, "bulk");
    expect_text(mail->list_id, "The list <list.example.com>");
    cr_assert_eq(mail->field_count, 15);
    expect_text(mail->fields[14].name, "x-twice");
    expect_text(mail->fields[14].value, "2");
    expect_text(mime_field_value(mail, SLICE("X-TWICE")), "1");
    expect_text(mime_field_value(mail, SLICE("X-Thrice")), "");
    cr_expect_eq(mail->damage, 0);
}

Test(mime_read, knows_a_sender_however_broken_the_field_is)
{
    static const struct {
        const char *fields;
        const char *name;
        const char *address;
    } cases[] = {
        {"From: a@b.example", "", "a@b.example"},
        {"From: <a@b.example>", "", "a@b.example"},
        {"From: a@b.example (The A)", "The A", "a@b.example"},
        {"From:a@b.example", "", "a@b.example"},
        {"FROM: \"x\\\"y\" <a@b.example>", "x\"y", "a@b.example"},
        {"Sender: s@b.example", "", "s@b.example"},
        {"From: \nSender: s@b.example", "", "s@b.example"},
        {"From: ,;,", ",;,", ""},
        {"From: \xc3\xa4 <a@b.example>", "\xc3\xa4", "a@b.example"},
        {"From: \xe4 <a@b.example>", "\xc3\xa4", "a@b.example"},
        {"From: \xc3\xa4@b.example", "", "\xc3\xa4@b.example"},
        {"X: y", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&rig.raw);
        buf_add_format(&rig.raw, "%s\n\nx", cases[i].fields);
        const struct mime_read *mail = rig_read(&rig, rig_raw(&rig));
        expect_text(mail->from.name, cases[i].name);
        expect_text(mail->from.address, cases[i].address);
    }
}

Test(mime_read, tells_the_root_of_a_thread)
{
    static const struct {
        const char *fields;
        const char *root;
    } cases[] = {
        {"References: <r@x> <p@x>\nIn-Reply-To: <p@x>\nMessage-ID: <m@x>", "r@x"},
        {"In-Reply-To: <p@x>\nMessage-ID: <m@x>", "p@x"},
        {"In-Reply-To: your mail of Monday <p@x>\nMessage-ID: <m@x>", "p@x"},
        {"In-Reply-To: your mail of Monday\nMessage-ID: <m@x>", "m@x"},
        {"References: \nMessage-ID: m@x", "m@x"},
        {"Message-ID: < m@x >", "m@x"},
        {"Subject: x", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&rig.raw);
        buf_add_format(&rig.raw, "%s\n\n", cases[i].fields);
        expect_text(mime_thread_root(rig_read(&rig, rig_raw(&rig))), cases[i].root);
    }
}

Test(mime_read, has_no_date_when_none_can_be_read)
{
    static const char *const dates[] = {"", "yesterday", "Fri, 32 Foo 1997",
                                        "1 Jan 1901 00:00 +0000"};
    for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
        buf_clear(&rig.raw);
        buf_add_format(&rig.raw, "Date: %s\n\n", dates[i]);
        cr_expect_not(rig_read(&rig, rig_raw(&rig))->has_date, "%s", dates[i]);
    }
}

Test(mime_read, keeps_what_was_not_encoded_within_the_raw_mail)
{
    struct slice raw = SLICE("Content-Type: application/x\n\nbytes\0with\xff");
    const struct mime_read *mail = rig_read(&rig, raw);
    cr_assert_eq(mail->file_count, 1);
    cr_expect_eq(mail->files[0].data.data, raw.data + 29);
    cr_expect_eq(mail->files[0].data.len, raw.len - 29);
}

Test(mime_read, refuses_only_what_is_too_large)
{
    rig_repeat(&rig, "x: y\n", MAIL_BYTES_MAX / 5 + 1);
    struct slice raw = rig_raw(&rig);
    cr_expect_eq(mime_read(raw, &rig.arena, &rig.mail), ERR_TOO_LARGE);
    struct arena small;
    for (size_t bytes = 0; bytes < 3000; bytes += 16) {
        arena_init(&small, 64, bytes);
        enum err err = mime_read(SLICE("From: a@b\nTo: c@d, e@f\nReferences: <x@y>\n"
                                       "Content-Type: image/png\n"
                                       "Content-Transfer-Encoding: base64\n\nUE5H\n"),
                                 &small, &rig.mail);
        cr_expect(err == ERR_TOO_LARGE || (err == ERR_OK && rig.mail.file_count == 1), "%zu",
                  bytes);
        cr_expect(err == ERR_TOO_LARGE || bytes > 200);
        arena_fini(&small);
    }
}

/* More than a line when it is percent-encoded. */
#define LONG_NAME                                                                                  \
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe3\x81\xa8\xe3\x81\xa6\xe3\x82\x82"         \
    "\xe9\x95\xb7\xe3\x81\x84\xe5\x90\x8d\xe5\x89\x8d\xe3\x81\xa7\xe3\x81\x99"

static const char text_of_trip[] = "Gr\xc3\xbc\xc3\x9f"
                                   "e,\n\nFrom here on: =?utf-8?q?no_word?=\n--\n.\n";

Test(mime_read, reads_back_what_mime_write_composes)
{
    static const char *const names[] = {
        "plain.pdf",
        "na\xc3\xafve \"quoted\" it's 100%.txt",
        LONG_NAME ".png",
        "=?utf-8?q?word?=.txt",
    };
    struct mime_attachment files[ARRAY_LEN(names)];
    char data[5000];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (char)(i * 7 + i / 256);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        files[i] = (struct mime_attachment){
            .filename = slice_str(names[i]),
            .content_type = SLICE("application/x-test"),
            .content_id = i == 0 ? SLICE("id@x") : SLICE(""),
            .data = slice_of(data, sizeof data - i), /* every kind of padding */
        };
    }
    struct addr from = {.name = SLICE("M\xc3\xbcller, J\xc3\xbcrgen"),
                        .text = SLICE("a@b.example")};
    struct addr to = {.name = SLICE("Doe, \"Jane\""), .text = SLICE("c@d.example")};
    struct mime_mail mail = {
        .from = from,
        .to = &to,
        .to_count = 1,
        .subject =
            SLICE("Gr\xc3\xbc\xc3\x9f"
                  "e =?utf-8?q?aus?= K\xc3\xb6ln, \xf0\x9f\x98\x80 und noch einiges mehr, was "
                  "\xc3\xbc"
                  "ber eine Zeile geht"),
        .message_id = SLICE("m@x"),
        .in_reply_to = SLICE("p@x"),
        .text = slice_str(text_of_trip),
        .html = SLICE("<p>caf\xc3\xa9</p>\n"),
        .attachments = files,
        .attachment_count = ARRAY_LEN(files),
        .date_unix_ms = UINT64_C(1750000000000),
    };
    struct mime_spans spans;
    cr_assert_eq(mime_write(&mail, &rig.raw, &spans), ERR_OK);
    const struct mime_read *back = rig_read(&rig, rig_raw(&rig));
    cr_expect_eq(back->damage, 0);
    expect_text(back->from.name, "M\xc3\xbcller, J\xc3\xbcrgen");
    expect_text(back->to.items[0].name, "Doe, \"Jane\"");
    cr_expect(slice_equal(back->subject, mail.subject), "%.*s", SLICE_FMT(back->subject));
    expect_text(back->message_id, "m@x");
    expect_text(mime_thread_root(back), "p@x");
    cr_expect_eq(back->date_unix_ms, mail.date_unix_ms);
    expect_text(back->text.text, text_of_trip);
    expect_text(back->html.text, "<p>caf\xc3\xa9</p>\n");
    cr_assert_eq(back->file_count, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        expect_text(back->files[i].filename, names[i]);
        expect_text(back->files[i].content_type, "application/x-test");
        cr_expect_eq(back->files[i].is_inline, i == 0);
        cr_expect(slice_equal(back->files[i].data, files[i].data), "%s", names[i]);
    }
    expect_text(back->files[0].content_id, "id@x");
}
