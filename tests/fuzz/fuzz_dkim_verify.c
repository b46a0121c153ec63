/* fuzz_dkim_verify.c - any bytes as a mail with any key: the same verdicts however it is cut, one
 * for each signature, and nothing unsafe in what they say.
 */
#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "mail/dkim_verify.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dkim_verify *verify(struct slice mail, struct slice record, uint8_t seed)
{
    struct dkim_verify *verify = dkim_verify_new(1700000000);

    for (size_t at = 0; at < mail.len;) {
        size_t len = 1 + seed % 61;
        seed = (uint8_t)(seed * 5 + 3);
        dkim_verify_add(verify, slice_sub(mail, at, len));
        at += len;
    }
    dkim_verify_end(verify);
    for (uint32_t i = 0; i < dkim_verify_question_count(verify); i++) {
        struct lookup_record found = {.text = record};
        struct lookup_answer answer = {.outcome = LOOKUP_FOUND, .count = 1, .records = &found};
        CHECK(lookup_name_is_valid(dkim_verify_question(verify, i).name));
        dkim_verify_answer(verify, i, &answer);
    }
    dkim_verify_finish(verify);
    return verify;
}

/* The input: the key record up to the first NUL, then the mail. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice mail = slice_of(data, size);
    struct slice record = slice_cut(&mail, '\0');

    if (mail.data == NULL) {
        return 0;
    }
    crypto_init();
    struct dkim_verify *one = verify(mail, record, 60);
    struct dkim_verify *other = verify(mail, record, data[0]);
    CHECK(dkim_verify_count(one) == dkim_verify_count(other));
    CHECK(dkim_verify_count(one) <= DKIM_SIGNATURES_MAX);
    for (uint32_t i = 0; i < dkim_verify_count(one); i++) {
        const struct dkim_verdict *a = dkim_verify_verdict(one, i);
        const struct dkim_verdict *b = dkim_verify_verdict(other, i);
        CHECK(a->result == b->result && a->result != DKIM_NONE);
        CHECK(strcmp(a->reason, b->reason) == 0);
        CHECK(a->is_partial == b->is_partial && a->is_testing == b->is_testing);
        CHECK(slice_equal(a->domain, b->domain) && slice_is_ascii(a->domain));
        CHECK(!slice_has_control(a->domain, "") && !slice_has_control(a->selector, ""));
        CHECK(slice_is_ascii(a->algo) && !slice_has_control(a->algo, ""));
        CHECK(a->b_start.len <= 8 && !slice_has_control(a->b_start, ""));
    }
    dkim_verify_free(one);
    dkim_verify_free(other);
    return 0;
}
