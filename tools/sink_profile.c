/* sink_profile.c - the words of a profile, as the banner of sink.c lists them. */
#include "sink.h"

#define ALL_STEPS ((1U << STEP_COUNT) - 1)

static const char *const step_names[STEP_COUNT] = {
    "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "dot", "quit", "other",
};

static bool read_steps(struct slice name, uint32_t *steps)
{
    if (name.len == 0) {
        *steps |= ALL_STEPS;
        return true;
    }
    for (uint32_t i = 0; i < STEP_COUNT; i++) {
        if (slice_equal(name, slice_str(step_names[i]))) {
            *steps |= 1U << i;
            return true;
        }
    }
    return false;
}

static bool add_flag(struct profile *profile, struct slice name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"greylist", &profile->is_greylist},
        {"reject", &profile->is_reject},
        {"reject-data", &profile->is_reject_data},
        {"refuse", &profile->is_refuse},
        {"busy421", &profile->is_busy},
        {"badtls", &profile->is_bad_tls},
        {"block", &profile->is_block},
        {"http-hang", &profile->is_http_hang},
        {"http-endless", &profile->is_http_endless},
    };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (slice_equal(name, slice_str(flags[i].name))) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

static bool add_number(struct profile *profile, struct slice name, struct slice value)
{
    const struct {
        const char *name;
        uint64_t *number;
        uint64_t max;
    } numbers[] = {
        {"tempfail", &profile->tempfail_count, UINT32_MAX},
        {"maxconn", &profile->conns_max, 65536},
        {"maxmails", &profile->mails_max, UINT32_MAX},
        {"maxrcpt", &profile->rcpts_max, 65536},
        {"rate421", &profile->rate_421, UINT32_MAX},
        {"rate451", &profile->rate_451, UINT32_MAX},
        {"http", &profile->http_status, 599},
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (slice_equal(name, slice_str(numbers[i].name))) {
            return slice_uint(value, numbers[i].max, numbers[i].number) == ERR_OK;
        }
    }
    return false;
}

static bool add_word(struct profile *profile, struct slice word)
{
    struct slice value = word;
    struct slice name = slice_cut(&value, ':');
    if (slice_equal(name, SLICE("slow"))) {
        struct slice ms = slice_cut(&value, ':');
        return slice_uint(ms, 3600000, &profile->slow_ms) == ERR_OK &&
               read_steps(value, &profile->slow_steps);
    }
    if (slice_equal(name, SLICE("garbage"))) {
        return read_steps(value, &profile->garbage_steps);
    }
    if (slice_equal(name, SLICE("stall"))) {
        return value.len > 0 && read_steps(value, &profile->stall_steps);
    }
    if (slice_equal(name, SLICE("drop"))) {
        return value.len > 0 && read_steps(value, &profile->drop_steps);
    }
    return value.len > 0 ? add_number(profile, name, value) : add_flag(profile, name);
}

bool sink_read_profile(struct profile *profile, struct slice words)
{
    while (words.data != NULL) {
        struct slice word = slice_trim(slice_cut(&words, ','));
        if (word.len > 0 && !add_word(profile, word)) {
            return false;
        }
    }
    return true;
}
