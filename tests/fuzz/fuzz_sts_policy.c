/* fuzz_sts_policy.c - any text as a policy and as a record: what is accepted is within its
 * ceilings, written down it reads as the same, and its own hosts are in it.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/sts_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_policy(struct slice text)
{
    struct sts_policy policy;
    struct sts_policy again;
    if (sts_policy_read(text, &policy) != ERR_OK) {
        return;
    }
    CHECK(policy.mx_count <= STS_MX_MAX && policy.max_age_s <= STS_MAX_AGE_S);
    CHECK(policy.mode == STS_MODE_NONE || policy.mx_count > 0);
    struct buf out;
    buf_init(&out, 2 * STS_POLICY_BYTES);
    sts_policy_write(&policy, &out);
    CHECK(sts_policy_read(buf_slice(&out), &again) == ERR_OK);
    CHECK(again.mode == policy.mode && again.max_age_s == policy.max_age_s);
    CHECK(again.mx_count == policy.mx_count);
    for (uint32_t i = 0; i < policy.mx_count; i++) {
        bool is_wild = policy.mx[i].data[0] == '*';
        CHECK(slice_equal(policy.mx[i], again.mx[i]));
        CHECK(is_wild || sts_policy_has(&policy, policy.mx[i]));
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct slice parts[2] = {text, slice_from(text, size / 2)};
    struct text_records records = {.texts = parts, .count = 2};
    struct slice id;
    check_policy(text);
    (void)sts_policy_has(&(struct sts_policy){.mx = {SLICE("*.a.test")}, .mx_count = 1},
                         text); /* any name is held against it */
    if (sts_record_id(&records, &id)) {
        CHECK(id.len > 0 && id.len <= STS_ID_MAX);
    }
    return 0;
}
