/* race_mime.c - mails read on several threads at once, with charsets that GMime and iconv meet for
 * the first time in all of them together.
 *
 * Plain program for TSan: prints one line and returns 0 when every thread read the same. GLib and
 * GMime are not instrumented, and GLib's locks are futexes that TSan does not see; so what they
 * call is left out, and what is checked is ours: no state that two readings share.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/mime_read.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define ROUNDS  100

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "ignore_noninstrumented_modules=1";
}

static const char *const charsets[] = {"iso-8859-2",   "koi8-r",      "shift_jis", "gb2312",
                                       "windows-1251", "iso-2022-jp", "x-nobody",  "utf-16",
                                       "big5",         "euc-kr"};

struct reader {
    pthread_barrier_t *together;
    struct sha256 sum; /* of all that was read */
};

static void read_one(const char *charset, struct sha256_stream *sum)
{
    struct arena arena;
    struct mime_read mail;
    struct buf raw;
    buf_init(&raw, MIB);
    buf_add_format(&raw,
                   "From: =?%s?q?=C4=E3?= <a@b.example>\nTo: g: c@d.example, e@f.example;\n"
                   "Subject: =?%s?b?xOM=?=\nReferences: <a@b> <c@d>\n"
                   "Date: Fri, 21 Nov 1997 09:55:06 -0600\n"
                   "Content-Type: multipart/mixed; boundary=b\n\n"
                   "--b\nContent-Type: text/plain; charset=%s\n\n\xc4\xe3\n"
                   "--b\nContent-Type: image/png; name*=%s''%%C4%%E3.png\n"
                   "Content-Transfer-Encoding: base64\n\nUE5H\n--b--\n",
                   charset, charset, charset, charset);
    arena_init(&arena, 4096, MIME_READ_ARENA_BYTES);
    enum err err = mime_read(buf_slice(&raw), &arena, &mail);
    CHECK(err == ERR_OK);
    CHECK(mail.file_count == 1 && mail.to.count == 2);
    sha256_add(sum, mail.from.name);
    sha256_add(sum, mail.subject);
    sha256_add(sum, mail.text.text);
    sha256_add(sum, mail.files[0].filename);
    sha256_add(sum, mail.files[0].data);
    arena_fini(&arena);
    buf_fini(&raw);
}

static void *read_all(void *context)
{
    struct reader *reader = context;
    struct sha256_stream sum;
    sha256_start(&sum);
    pthread_barrier_wait(reader->together);
    for (size_t i = 0; i < ROUNDS; i++) {
        read_one(charsets[i % ARRAY_LEN(charsets)], &sum);
    }
    reader->sum = sha256_finish(&sum);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    struct reader readers[THREADS];
    pthread_barrier_t together;
    crypto_init();
    mime_read_init();
    int status = pthread_barrier_init(&together, NULL, THREADS);
    CHECK(status == 0);
    for (size_t i = 0; i < THREADS; i++) {
        readers[i].together = &together;
        status = pthread_create(&threads[i], NULL, read_all, &readers[i]);
        CHECK(status == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        status = pthread_join(threads[i], NULL);
        CHECK(status == 0);
        CHECK(memcmp(&readers[i].sum, &readers[0].sum, sizeof readers[i].sum) == 0);
    }
    pthread_barrier_destroy(&together);
    mime_read_fini();
    printf("race_mime: %d threads read %d mails each\n", THREADS, ROUNDS);
    return 0;
}
