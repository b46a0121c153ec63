/* sts_policy.c - see sts_policy.h. */
#include "mail/sts_policy.h"

#include "base/check.h"

#define LABEL_MAX 63

static const char *const mode_names[] = {"none", "testing", "enforce"};

/* ---- records -------------------------------------------------------------------------------- */

/* RFC 8461 3.1: the version, then a semicolon, or nothing more. */
static bool is_of_version(struct slice text, struct slice version)
{
    struct slice first = slice_cut(&text, ';');
    return slice_equal(slice_trim(first), version) && slice_starts(first, version);
}

bool text_record_field(const struct text_records *records, struct slice version, struct slice name,
                       struct slice *value)
{
    struct slice record = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < records->count; i++) {
        if (is_of_version(records->texts[i], version)) {
            record = records->texts[i];
            count += 1;
        }
    }
    if (count != 1) {
        return false;
    }
    (void)slice_cut(&record, ';'); /* the version */
    while (record.data != NULL) {
        struct slice field = slice_trim(slice_cut(&record, ';'));
        struct slice key = slice_cut(&field, '=');
        if (field.data != NULL && slice_equal(key, name)) {
            *value = slice_trim(field);
            return true;
        }
    }
    return false;
}

bool sts_record_id(const struct text_records *records, struct slice *id)
{
    struct slice value;
    if (!text_record_field(records, SLICE("v=STSv1"), SLICE("id"), &value) || value.len == 0 ||
        value.len > STS_ID_MAX) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!ascii_is_alpha(value.data[i]) && !ascii_is_digit(value.data[i])) {
            return false;
        }
    }
    *id = value;
    return true;
}

/* ---- the policy ----------------------------------------------------------------------------- */

static bool is_label(struct slice label)
{
    if (label.len == 0 || label.len > LABEL_MAX || label.data[0] == '-' ||
        label.data[label.len - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < label.len; i++) {
        char c = label.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}

/* RFC 8461 3.2: an asterisk is the whole first label, or nowhere. */
static bool is_pattern(struct slice text)
{
    struct slice rest = slice_starts(text, SLICE("*.")) ? slice_from(text, 2) : text;
    if (text.len == 0 || text.len > DOMAIN_MAX) {
        return false;
    }
    while (rest.data != NULL) {
        if (!is_label(slice_cut(&rest, '.'))) {
            return false;
        }
    }
    return true;
}

static enum err read_mode(struct slice value, enum sts_mode *mode)
{
    for (size_t i = 0; i < ARRAY_LEN(mode_names); i++) {
        if (slice_equal(value, slice_str(mode_names[i]))) {
            *mode = (enum sts_mode)i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

static enum err read_max_age(struct slice value, uint64_t *max_age_s)
{
    uint64_t given_s;
    if (value.len > 10 || slice_u64(value, &given_s) != ERR_OK) {
        return ERR_INVALID;
    }
    *max_age_s = min_u64(given_s, STS_MAX_AGE_S);
    return ERR_OK;
}

static enum err add_mx(struct sts_policy *policy, struct slice value)
{
    if (!is_pattern(value)) {
        return ERR_INVALID;
    }
    if (policy->mx_count == STS_MX_MAX) {
        return ERR_TOO_LARGE;
    }
    policy->mx[policy->mx_count++] = value;
    return ERR_OK;
}

struct seen {
    bool version;
    bool mode;
    bool max_age;
};

/* Marks a field as seen; false when it was before. */
static bool is_first(bool *seen)
{
    bool was_seen = *seen;
    *seen = true;
    return !was_seen;
}

static enum err read_field(struct sts_policy *policy, struct seen *seen, struct slice name,
                           struct slice value)
{
    if (slice_equal(name, SLICE("version"))) {
        bool counts = is_first(&seen->version);
        return !counts || slice_equal(value, SLICE("STSv1")) ? ERR_OK : ERR_INVALID;
    }
    if (slice_equal(name, SLICE("mode"))) {
        return is_first(&seen->mode) ? read_mode(value, &policy->mode) : ERR_OK;
    }
    if (slice_equal(name, SLICE("max_age"))) {
        return is_first(&seen->max_age) ? read_max_age(value, &policy->max_age_s) : ERR_OK;
    }
    return slice_equal(name, SLICE("mx")) ? add_mx(policy, value) : ERR_OK;
}

enum err sts_policy_read(struct slice text, struct sts_policy *policy)
{
    struct sts_policy read = {0};
    struct seen seen = {0};
    struct slice rest = text;
    if (text.len > STS_POLICY_BYTES) {
        return ERR_TOO_LARGE;
    }
    while (rest.data != NULL) {
        struct slice line = slice_trim(slice_cut(&rest, '\n'));
        struct slice name = slice_trim(slice_cut(&line, ':'));
        if (line.data == NULL && name.len > 0) {
            return ERR_INVALID; /* a line without a colon: a page, not a policy */
        }
        enum err err = read_field(&read, &seen, name, slice_trim(line));
        if (err != ERR_OK) {
            return err;
        }
    }
    if (!seen.version || !seen.mode || !seen.max_age ||
        (read.mode != STS_MODE_NONE && read.mx_count == 0)) {
        return ERR_INVALID;
    }
    *policy = read;
    return ERR_OK;
}

void sts_policy_write(const struct sts_policy *policy, struct buf *out)
{
    buf_add_format(out, "version: STSv1\nmode: %s\n", mode_names[policy->mode]);
    for (uint32_t i = 0; i < policy->mx_count; i++) {
        buf_add_format(out, "mx: %.*s\n", SLICE_FMT(policy->mx[i]));
    }
    buf_add_format(out, "max_age: %llu\n", (unsigned long long)policy->max_age_s);
}

bool sts_policy_has(const struct sts_policy *policy, struct slice host)
{
    if (slice_ends(host, SLICE("."))) {
        host = slice_head(host, host.len - 1);
    }
    size_t dot = slice_find_byte(host, '.');
    struct slice parent = dot == SIZE_MAX || dot == 0 ? SLICE("") : slice_from(host, dot + 1);
    for (uint32_t i = 0; i < policy->mx_count; i++) {
        struct slice pattern = policy->mx[i];
        bool is_wild = slice_starts(pattern, SLICE("*."));
        if (is_wild ? parent.len > 0 && slice_equal_nocase(parent, slice_from(pattern, 2))
                    : slice_equal_nocase(host, pattern)) {
            return true;
        }
    }
    return false;
}

const char *sts_mode_name(enum sts_mode mode)
{
    CHECK(mode < ARRAY_LEN(mode_names));
    return mode_names[mode];
}
