/* bench_mime.c - mails composed, read and signed a second, by size, on one core. Composing is what
 * a send costs before it is stored, signing what it costs before it is delivered, reading what a
 * received mail costs a worker. Prints `name value unit`.
 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "mail/dkim.h"
#include "mail/mime_read.h"
#include "mail/mime_write.h"

#define RUN_US  UINT64_C(500000)
#define BURST   16 /* rounds between two looks at the clock */
#define DATE_MS UINT64_C(1750000000000)

struct sample {
    const char *name;
    size_t text_bytes;
    size_t attachment_bytes;
    bool is_plain; /* ASCII in short lines; else quoted-printable */
};

typedef void round_fn(void *context);

static double rate_of(round_fn *round, void *context)
{
    uint64_t count = 0;
    const uint64_t begun_us = clock_mono_us();
    uint64_t took_us = 0;
    while (took_us < RUN_US) {
        for (uint32_t i = 0; i < BURST; i++) {
            round(context);
        }
        count += BURST;
        took_us = clock_mono_us() - begun_us;
    }
    return (double)count * 1e6 / (double)took_us;
}

/* ---- composing ------------------------------------------------------------------------------ */

struct composing {
    struct mime_mail mail;
    struct mime_attachment attachment;
    struct addr to;
    struct buf out;
};

static void compose_round(void *context)
{
    struct composing *composing = context;
    struct mime_spans spans;
    struct dkim_body body;
    buf_clear(&composing->out);
    enum err err = mime_write(&composing->mail, &composing->out, &spans);
    CHECK(err == ERR_OK);
    dkim_body_start(&body);
    dkim_body_add(&body, slice_from(buf_slice(&composing->out), (size_t)spans.header_len));
    (void)dkim_body_finish(&body); /* only its cost is wanted */
}

struct reading {
    struct slice raw;
    struct arena arena;
};

static void read_round(void *context)
{
    struct reading *reading = context;
    struct mime_read mail;
    arena_clear(&reading->arena);
    enum err err = mime_read(reading->raw, &reading->arena, &mail);
    CHECK(err == ERR_OK);
    CHECK(mail.damage == 0);
}

/* raw is a mail that was just composed. */
static void bench_read(const struct sample *sample, struct slice raw)
{
    struct reading reading = {.raw = raw};
    arena_init(&reading.arena, 64 * KIB, MIME_READ_ARENA_BYTES);
    double rate = rate_of(read_round, &reading);
    printf("read_%s %.0f mails/s\n", sample->name, rate);
    printf("read_%s_bytes %.1f MB/s\n", sample->name, rate * (double)raw.len / 1e6);
    arena_fini(&reading.arena);
}

static struct slice make_text(const struct sample *sample, struct arena *arena)
{
    static const char plain[] = "A line of an ordinary letter, as customers send it.\n";
    static const char accented[] = "Gr\xc3\xbc\xc3\x9f"
                                   "e aus K\xc3\xb6ln, sch\xc3\xb6n dich zu sehen.\n";
    const char *line = sample->is_plain ? plain : accented;
    size_t line_len = strlen(line);
    size_t len = sample->text_bytes / line_len * line_len;
    char *text = arena_bytes(arena, len);
    for (size_t at = 0; at < len; at += line_len) {
        memcpy(text + at, line, line_len);
    }
    return slice_of(text, len);
}

static void bench_compose(const struct sample *sample)
{
    struct arena arena;
    struct composing composing = {.mail = {.subject = SLICE_INIT("Your order has been shipped")}};
    arena_init(&arena, 64 * KIB, 64 * MIB);
    buf_init(&composing.out, MAIL_BYTES_MAX);
    enum err err = addr_parse(SLICE("Shop <shop@example.com>"), &arena, &composing.mail.from);
    CHECK(err == ERR_OK);
    err = addr_parse(SLICE("customer@example.org"), &arena, &composing.to);
    CHECK(err == ERR_OK);
    char *data = arena_bytes(&arena, sample->attachment_bytes + 1);
    crypto_random(data, sample->attachment_bytes);
    composing.attachment = (struct mime_attachment){
        .filename = SLICE("invoice.pdf"),
        .content_type = SLICE("application/pdf"),
        .data = slice_of(data, sample->attachment_bytes),
    };
    composing.mail.to = &composing.to;
    composing.mail.to_count = 1;
    composing.mail.message_id = SLICE("0123456789abcdef@example.com");
    composing.mail.text = make_text(sample, &arena);
    composing.mail.attachments = &composing.attachment;
    composing.mail.attachment_count = sample->attachment_bytes > 0 ? 1 : 0;
    composing.mail.date_unix_ms = DATE_MS;
    printf("compose_%s %.0f mails/s\n", sample->name, rate_of(compose_round, &composing));
    bench_read(sample, buf_slice(&composing.out));
    buf_fini(&composing.out);
    arena_fini(&arena);
}

/* ---- signing -------------------------------------------------------------------------------- */

static void sign_round(void *context)
{
    static const char header[] = "Date: Sat, 21 Nov 2026 06:38:51 +0000\r\n"
                                 "From: Shop <shop@example.com>\r\nTo: customer@example.org\r\n"
                                 "Subject: Your order has been shipped\r\n"
                                 "Message-ID: <0123456789abcdef@example.com>\r\n"
                                 "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n";
    struct arena arena;
    struct slice field;
    struct sha256 hash = crypto_sha256(SLICE("a body"));
    arena_init(&arena, 8 * KIB, MIB);
    struct dkim_signer signer = {.domain = SLICE("example.com"),
                                 .selector = SLICE("mk1"),
                                 .key = context,
                                 .time_s = DATE_MS / 1000};
    enum err err = dkim_sign(&signer, slice_str(header), &hash, &arena, &field);
    CHECK(err == ERR_OK);
    arena_fini(&arena);
}

static void bench_sign(const char *name, enum sign_algo algo)
{
    struct arena arena;
    struct slice private_der;
    struct slice public_text;
    struct sign_key *key = NULL;
    arena_init(&arena, 8 * KIB, MIB);
    enum err err = crypto_make_key(algo, &arena, &private_der, &public_text);
    CHECK(err == ERR_OK);
    err = sign_key_new(algo, private_der, &key);
    CHECK(err == ERR_OK);
    printf("sign_%s %.0f mails/s\n", name, rate_of(sign_round, key));
    sign_key_free(key);
    arena_fini(&arena);
}

int main(void)
{
    static const struct sample samples[] = {
        {"1k", 1024, 0, true},
        {"5k", 5120, 0, true},
        {"5k_utf8", 5120, 0, false},
        {"100k", 100000, 0, true},
        {"1m_attached", 5120, 1000000, true},
        {"20m_attached", 5120, 20000000, true},
    };
    struct utsname machine;
    crypto_init();
    mime_read_init();
    if (uname(&machine) == 0) {
        printf("# %s %s %s, %ld cores\n", machine.sysname, machine.release, machine.machine,
               sysconf(_SC_NPROCESSORS_ONLN));
    }
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        bench_compose(&samples[i]);
    }
    bench_sign("rsa2048", SIGN_RSA_SHA256);
    bench_sign("ed25519", SIGN_ED25519);
    mime_read_fini();
    return 0;
}
