/* fuzz_submission.c - any bytes as a submitted mail: what is written has one From field, none of
 * the fields that are left out, the body as it came, lines that may travel, and is written again as
 * it is, Feedback-ID aside.
 */
#include "base/check.h"
#include "base/crypto.h"
#include "mail/header.h"
#include "mail/mime_read.h"
#include "mail/submission.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct submission_adds adds = {.message_id = {.data = "a@b", .len = 3},
                                            .feedback_id = {.data = "a:b:c:d", .len = 7}};

static void check_fields(struct slice block)
{
    struct header_field field;
    uint32_t authors = 0;
    uint32_t feedback = 0;
    while (header_next(&block, &field)) {
        CHECK(header_name_is_valid(field.name));
        CHECK(slice_ends(field.whole, SLICE("\r\n")));
        CHECK(!slice_equal_nocase(field.name, SLICE("bcc")));
        CHECK(!slice_starts_nocase(field.name, SLICE("x-meerkat-")));
        authors += slice_equal_nocase(field.name, SLICE("from"));
        feedback += slice_equal_nocase(field.name, SLICE("feedback-id"));
    }
    CHECK(authors == 1);
    CHECK(feedback == 1);
}

static void check_written(struct slice raw, struct slice mail,
                          const struct submission_written *written)
{
    struct submission_written again;
    const char *problem;
    struct buf twice;
    struct slice body = slice_from(raw, header_block_len(raw));
    struct slice kept = slice_from(mail, (size_t)written->header_len);
    CHECK(header_block_len(mail) == written->header_len);
    CHECK(slice_starts(kept, body));
    CHECK(kept.len <= body.len + 2);
    check_fields(slice_head(mail, (size_t)written->header_len - 2));
    buf_init(&twice, 32 << 20);
    CHECK(submission_write(mail, &adds, &twice, &again, &problem) == ERR_OK);
    CHECK(twice.len == mail.len);
    CHECK(again.header_len == written->header_len);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice raw = slice_of(data, size);
    struct submission mail;
    struct submission_written written;
    const char *problem = NULL;
    struct arena arena;
    struct buf out;

    crypto_init();
    mime_read_init();
    arena_init(&arena, 4096, 64 << 20);
    buf_init(&out, 32 << 20);
    enum err read = submission_read(raw, &arena, &mail, &problem);
    CHECK(read == ERR_OK || problem != NULL);
    if (read == ERR_OK) {
        CHECK(mail.from.domain.len > 0);
        CHECK(mail.tag_count <= TAG_COUNT);
    }
    if (submission_write(raw, &adds, &out, &written, &problem) == ERR_OK) {
        check_written(raw, buf_slice(&out), &written);
    } else {
        CHECK(read != ERR_OK || problem != NULL);
    }
    buf_fini(&out);
    arena_fini(&arena);
    return 0;
}
