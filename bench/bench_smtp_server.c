/* bench_smtp_server.c - sessions a second that the SMTP server's machine takes from memory:
 * greeting, EHLO, one mail, QUIT, every question answered at once; by size of mail, with DATA and
 * with BDAT. Prints `name value unit`.
 */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "net/smtp_server.h"

#define RUN_US  UINT64_C(500000)
#define BURST   64         /* sessions between two looks at the clock */
#define READ_AT (64 * KIB) /* bytes that a connection brings at once */

static void make_session(size_t mail_bytes, bool is_bdat, struct buf *out)
{
    static const char line[] =
        "a line of a mail, as long as most lines of most mails are today..\r\n";
    struct buf mail;
    buf_init(&mail, 4 * MIB);
    while (mail.len < mail_bytes) {
        buf_add_str(&mail, line);
    }
    buf_add_str(out, "EHLO client.example.org\r\nMAIL FROM:<sender@example.org> SIZE=5000\r\n"
                     "RCPT TO:<someone@example.com>\r\n");
    if (is_bdat) {
        buf_add_format(out, "BDAT %zu LAST\r\n", mail.len);
        buf_add(out, buf_slice(&mail));
    } else {
        struct smtp_stuffer stuffer;
        smtp_stuff_init(&stuffer);
        buf_add_str(out, "DATA\r\n");
        smtp_stuff(&stuffer, buf_slice(&mail), out);
        smtp_stuff_end(&stuffer, out);
    }
    buf_add_str(out, "QUIT\r\n");
    buf_fini(&mail);
}

/* As a session does it: reads of a bounded size, replies taken when bytes are used up. */
static void run_session(const struct smtp_server_options *options, struct slice bytes)
{
    struct smtp_server server;
    uint64_t mail_bytes = 0;
    enum smtp_event event = SMTP_EVENT_NONE;
    smtp_server_init(&server, options);
    smtp_server_accept(&server, SLICE(""));
    while (event != SMTP_EVENT_QUIT) {
        size_t used = 0;
        event = smtp_server_feed(&server, slice_head(bytes, READ_AT), &used);
        bytes = slice_from(bytes, used);
        mail_bytes += event == SMTP_EVENT_CHUNK ? server.chunk.len : 0;
        if (event == SMTP_EVENT_END) {
            CHECK(server.mail_bytes == mail_bytes);
        }
        if (smtp_server_asked(&server) != SMTP_EVENT_NONE) {
            smtp_server_accept(&server, SLICE(""));
        }
        smtp_server_wrote(&server, smtp_server_out(&server).len);
        CHECK(event != SMTP_EVENT_CLOSE);
    }
    CHECK(bytes.len == 0);
    smtp_server_fini(&server);
}

static void bench(size_t mail_bytes, bool is_bdat)
{
    const struct smtp_server_options options = {
        .hostname = SLICE("mx.example.net"),
        .offers = {.pipelining = true,
                   .eight_bit_mime = true,
                   .smtputf8 = true,
                   .chunking = true,
                   .enhanced_status = true},
        .size_max = MAIL_BYTES_MAX,
        .rcpt_max = 100,
        .mails_max = 100,
        .bad_max = 10,
        .rcpt_refused_max = 10,
        .auth_refused_max = 3,
    };
    struct buf bytes;
    buf_init(&bytes, 8 * MIB);
    make_session(mail_bytes, is_bdat, &bytes);
    uint64_t count = 0;
    const uint64_t begun_us = clock_mono_us();
    uint64_t took_us = 0;
    while (took_us < RUN_US) {
        for (uint32_t i = 0; i < BURST; i++) {
            run_session(&options, buf_slice(&bytes));
        }
        count += BURST;
        took_us = clock_mono_us() - begun_us;
    }
    printf("smtp_%s_%zu_bytes %.0f sessions/s\n", is_bdat ? "bdat" : "data", mail_bytes,
           (double)count * 1e6 / (double)took_us);
    buf_fini(&bytes);
}

int main(void)
{
    static const size_t sizes[] = {0, 5120, 262144};
    struct utsname machine;
    if (uname(&machine) == 0) {
        printf("# %s %s %s, %ld cores\n", machine.sysname, machine.release, machine.machine,
               sysconf(_SC_NPROCESSORS_ONLN));
    }
    crypto_init();
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        bench(sizes[i], false);
        bench(sizes[i], true);
    }
    return 0;
}
