/* fuzz_policy.c - any text as a policy, any name as an MX host: what is accepted keeps its bounds,
 * and a group's name is safe in a site's.
 */
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "deliver/policy.h"
#include "deliver/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_group(const struct policy *policy, struct slice host)
{
    struct policy_group group;
    policy_group(policy, SLICE("a.test"), host, &group);
    CHECK(group.name[0] != '\0');
    CHECK(strpbrk(group.name, "|/ ") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[POLICY_WHY_MAX] = "";
    struct slice text = slice_of(data, size);
    struct slice host = slice_cut(&text, '\n');
    struct policy *policy = policy_new();
    bool is_good = policy_read(policy, text, why);
    CHECK(is_good || why[0] != '\0');
    CHECK(policy->provider_count <= POLICY_PROVIDERS_MAX);
    CHECK(policy->pool_count <= POLICY_POOLS_MAX);
    check_group(policy, host);
    for (uint32_t i = 0; i < policy->provider_count; i++) {
        CHECK(policy->providers[i].pattern_count > 0);
        check_group(policy, policy->providers[i].patterns[0]);
    }
    struct source_table *sources = source_table_new();
    source_table_apply(sources, policy);
    source_table_free(sources);
    policy_free(policy);
    return 0;
}
