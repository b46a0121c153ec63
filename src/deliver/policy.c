/* policy.c - the reader of sites.conf, and what is looked up in it. */
#include "deliver/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"
#include "deliver/policy_text.h"

#define POLICY_ARENA_MAX (16 * MIB)

enum section { SECTION_NONE, SECTION_PROVIDER, SECTION_DOMAIN, SECTION_POOL };

struct reader {
    struct policy *policy;
    enum section section;
    bool is_known; /* the section's name was there before: read, and not kept */
    struct policy_provider provider;
    struct policy_domain domain;
    struct policy_pool pool;
    struct slice patterns[POLICY_PATTERNS_MAX]; /* of the section, as it is read */
    struct policy_source sources[POLICY_SOURCES_MAX];
    uint32_t line;
    char *why;
};

struct policy *policy_new(void)
{
    struct policy *policy = mem_zalloc(sizeof *policy);
    arena_init(&policy->arena, 16 * KIB, POLICY_ARENA_MAX);
    policy->providers =
        arena_array(&policy->arena, POLICY_PROVIDERS_MAX, sizeof *policy->providers);
    policy->domains = arena_array(&policy->arena, POLICY_DOMAINS_MAX, sizeof *policy->domains);
    policy->pools = arena_array(&policy->arena, POLICY_POOLS_MAX, sizeof *policy->pools);
    return policy;
}

void policy_free(struct policy *policy)
{
    if (policy == NULL) {
        return;
    }
    arena_fini(&policy->arena);
    free(policy);
}

/* ---- words ---------------------------------------------------------------------------------- */

static bool refuse(const struct reader *reader, const char *what, struct slice word)
{
    (void)snprintf(reader->why, POLICY_WHY_MAX, "line %u: %s: \"%.*s\"", (unsigned)reader->line,
                   what, SLICE_FMT(slice_head(word, 80)));
    return false;
}

/* The next word of a line; empty at its end. */
static struct slice word_of(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t len = 0;
    while (len < rest->len && !ascii_is_space(rest->data[len])) {
        len++;
    }
    struct slice word = slice_head(*rest, len);
    *rest = slice_from(*rest, len);
    return word;
}

static bool is_host_char(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '.' || c == '_';
}

static bool is_host(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_host_char(name.data[i])) {
            return false;
        }
    }
    return name.len > 0 && name.len <= DNS_NAME_MAX;
}

static bool is_label(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!ascii_is_alpha(name.data[i]) && !ascii_is_digit(name.data[i]) && name.data[i] != '-') {
            return false;
        }
    }
    return name.len > 0 && name.len <= POOL_NAME_MAX;
}

static bool read_number(const struct reader *reader, struct slice word, uint32_t max,
                        uint32_t *number)
{
    uint64_t value = 0;
    if (slice_uint(word, max, &value) != ERR_OK) {
        return refuse(reader, "a whole number is needed here, and not so large", word);
    }
    *number = (uint32_t)value;
    return true;
}

/* ---- sections ------------------------------------------------------------------------------- */

static const struct policy_provider *provider_find(const struct policy *policy, struct slice name)
{
    for (uint32_t i = 0; i < policy->provider_count; i++) {
        if (slice_equal(policy->providers[i].name, name)) {
            return &policy->providers[i];
        }
    }
    return NULL;
}

static bool add_provider(struct reader *reader)
{
    struct policy *policy = reader->policy;
    if (slice_equal(reader->provider.name, SLICE("default"))) {
        policy->rules = reader->provider.rules;
        policy->has_default = true;
        return true;
    }
    if (policy->provider_count == POLICY_PROVIDERS_MAX) {
        return refuse(reader, "too many providers, before", reader->provider.name);
    }
    if (reader->provider.pattern_count == 0) {
        return refuse(reader, "a provider without mx", reader->provider.name);
    }
    struct policy_provider *provider = &policy->providers[policy->provider_count++];
    *provider = reader->provider;
    provider->rules.is_provider = true;
    provider->patterns =
        arena_array(&policy->arena, provider->pattern_count, sizeof provider->patterns[0]);
    memcpy(provider->patterns, reader->patterns,
           provider->pattern_count * sizeof provider->patterns[0]);
    return true;
}

static bool add_pool(struct reader *reader)
{
    struct policy *policy = reader->policy;
    if (policy->pool_count == POLICY_POOLS_MAX || reader->pool.source_count == 0) {
        return refuse(reader, "too many pools, or one without a source", reader->pool.name);
    }
    struct policy_pool *pool = &policy->pools[policy->pool_count++];
    *pool = reader->pool;
    pool->sources = arena_array(&policy->arena, pool->source_count, sizeof pool->sources[0]);
    memcpy(pool->sources, reader->sources, pool->source_count * sizeof pool->sources[0]);
    return true;
}

/* What was read goes into the policy, now that it is complete. */
static bool end_section(struct reader *reader)
{
    struct policy *policy = reader->policy;
    enum section section = reader->is_known ? SECTION_NONE : reader->section;
    reader->section = SECTION_NONE;
    switch (section) {
    case SECTION_NONE:
        break;
    case SECTION_PROVIDER:
        return add_provider(reader);
    case SECTION_DOMAIN:
        if (policy->domain_count == POLICY_DOMAINS_MAX) {
            return refuse(reader, "too many domains, before", reader->domain.name);
        }
        policy->domains[policy->domain_count++] = reader->domain;
        break;
    case SECTION_POOL:
        return add_pool(reader);
    }
    return true;
}

static bool begin_provider(struct reader *reader, struct slice name)
{
    bool is_default = slice_equal(name, SLICE("default"));
    if (!is_label(name)) {
        return refuse(reader, "a provider's name is letters, digits and -", name);
    }
    reader->is_known =
        is_default ? reader->policy->has_default : provider_find(reader->policy, name) != NULL;
    reader->provider = (struct policy_provider){.name = name};
    return true;
}

static bool begin_domain(struct reader *reader, struct slice name)
{
    if (!is_host(name)) {
        return refuse(reader, "this is no domain", name);
    }
    reader->domain = (struct policy_domain){.name = arena_lower(&reader->policy->arena, name)};
    reader->is_known = policy_tls(reader->policy, name) != POLICY_TLS_UNSET;
    return true;
}

static bool begin_pool(struct reader *reader, struct slice name)
{
    if (!is_label(name)) {
        return refuse(reader, "a pool's name is letters, digits and -", name);
    }
    bool is_default = slice_equal(name, SLICE("default"));
    reader->pool = (struct policy_pool){.name = is_default ? SLICE("") : name};
    reader->is_known = policy_pool(reader->policy, reader->pool.name) != NULL;
    return true;
}

/* ---- settings ------------------------------------------------------------------------------- */

static bool read_patterns(struct reader *reader, struct slice rest)
{
    struct policy_provider *provider = &reader->provider;
    struct slice word;
    while ((word = word_of(&rest)).len > 0) {
        struct slice name = slice_starts(word, SLICE("*.")) ? slice_from(word, 2) : word;
        if (!is_host(name) || slice_find_byte(name, '.') == SIZE_MAX) {
            return refuse(reader, "a pattern is host.example.com or *.example.com", word);
        }
        if (provider->pattern_count == POLICY_PATTERNS_MAX) {
            return refuse(reader, "too many patterns of one provider", word);
        }
        reader->patterns[provider->pattern_count++] = arena_lower(&reader->policy->arena, word);
    }
    return true;
}

static bool read_provider(struct reader *reader, struct slice name, struct slice rest)
{
    struct site_rules *rules = &reader->provider.rules;
    uint32_t pause_s = 0;
    const struct {
        const char *name;
        uint32_t *value;
        uint32_t max;
    } settings[] = {
        {"connections", &rules->conns_max, ATTEMPTS_MAX},
        {"connections-start", &rules->conns_start, ATTEMPTS_MAX},
        {"mails-per-connection", &rules->mails_per_conn, 100000},
        {"rate", &rules->rate_max, RATE_PER_MIN_MAX},
        {"rate-start", &rules->rate_start, RATE_PER_MIN_MAX},
        {"recipients", &rules->rcpts_max, RCPT_PER_COPY_MAX},
        {"pause", &pause_s, 86400},
    };
    if (slice_equal(name, SLICE("mx"))) {
        return read_patterns(reader, rest);
    }
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (slice_equal(name, slice_str(settings[i].name))) {
            bool is_good =
                read_number(reader, slice_trim(rest), settings[i].max, settings[i].value);
            rules->pause_ms = pause_s > 0 ? pause_s * UINT64_C(1000) : rules->pause_ms;
            return is_good;
        }
    }
    return refuse(reader, "a provider has no such setting", name);
}

static bool read_domain(struct reader *reader, struct slice name, struct slice rest)
{
    static const char *const words[] = {
        [POLICY_TLS_NONE] = "none", [POLICY_TLS_MAY] = "may", [POLICY_TLS_REQUIRE] = "require"};
    if (!slice_equal(name, SLICE("tls"))) {
        return refuse(reader, "a domain has no such setting", name);
    }
    for (size_t i = POLICY_TLS_NONE; i < ARRAY_LEN(words); i++) {
        if (slice_equal(slice_trim(rest), slice_str(words[i]))) {
            reader->domain.tls = (enum policy_tls)i;
            return true;
        }
    }
    return refuse(reader, "tls is none, may or require", slice_trim(rest));
}

static bool read_source(struct reader *reader, struct slice rest)
{
    struct policy_source source = {.weight = 1};
    struct arena *arena = &reader->policy->arena;
    struct slice ip = word_of(&rest);
    bool has_port = slice_find_byte(ip, '[') != SIZE_MAX ||
                    (slice_find_byte(ip, '.') != SIZE_MAX && slice_has_byte(ip, ':'));
    if (has_port || conn_addr_parse(ip, 0, &source.addr) != ERR_OK) {
        return refuse(reader, "a source is an address of this machine", ip);
    }
    source.text = arena_dup(arena, ip);
    struct slice word;
    while ((word = word_of(&rest)).len > 0) {
        if (slice_equal(word, SLICE("warmup"))) {
            source.is_warming = true;
            continue;
        }
        struct slice value = word_of(&rest);
        if (slice_equal(word, SLICE("weight"))) {
            if (!read_number(reader, value, 1000000, &source.weight)) {
                return false;
            }
        } else if (slice_equal(word, SLICE("helo")) && is_host(value)) {
            source.helo = arena_dup(arena, value);
        } else {
            return refuse(reader, "behind a source stand weight N, helo NAME, warmup", word);
        }
    }
    if (reader->pool.source_count == POLICY_SOURCES_MAX) {
        return refuse(reader, "too many sources of one pool", ip);
    }
    reader->sources[reader->pool.source_count++] = source;
    return true;
}

static bool read_setting(struct reader *reader, struct slice name, struct slice rest)
{
    switch (reader->section) {
    case SECTION_PROVIDER:
        return read_provider(reader, name, rest);
    case SECTION_DOMAIN:
        return read_domain(reader, name, rest);
    case SECTION_POOL:
        return slice_equal(name, SLICE("source"))
                   ? read_source(reader, rest)
                   : refuse(reader, "a pool has no such setting", name);
    case SECTION_NONE:
        break;
    }
    if (slice_equal(name, SLICE("shipped")) && slice_equal(slice_trim(rest), SLICE("off"))) {
        reader->policy->leaves_out_shipped = true;
        return true;
    }
    return refuse(reader, "no section has begun; provider, domain or pool is needed", name);
}

static bool read_line(struct reader *reader, struct slice line)
{
    static const struct {
        const char *name;
        enum section section;
        bool (*begin)(struct reader *reader, struct slice name);
    } sections[] = {
        {"provider", SECTION_PROVIDER, begin_provider},
        {"domain", SECTION_DOMAIN, begin_domain},
        {"pool", SECTION_POOL, begin_pool},
    };
    struct slice rest = slice_trim(slice_cut(&line, '#'));
    struct slice name = word_of(&rest);
    if (name.len == 0) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        if (slice_equal(name, slice_str(sections[i].name))) {
            struct slice title = word_of(&rest);
            if (word_of(&rest).len > 0) {
                return refuse(reader, "one name, and settings on lines of their own", title);
            }
            if (!end_section(reader)) {
                return false;
            }
            title = arena_dup(&reader->policy->arena, title);
            reader->section = sections[i].section;
            return sections[i].begin(reader, title);
        }
    }
    return read_setting(reader, name, rest);
}

bool policy_read(struct policy *policy, struct slice text, char why[POLICY_WHY_MAX])
{
    struct reader reader = {.policy = policy, .why = why};
    if (text.len > POLICY_BYTES_MAX || slice_has_control(text, "\t\r\n")) {
        return refuse(&reader, "this is no policy, or larger than 256 KiB", SLICE(""));
    }
    while (text.data != NULL) {
        reader.line += 1;
        if (!read_line(&reader, slice_cut(&text, '\n'))) {
            return false;
        }
    }
    return end_section(&reader);
}

/* ---- files ---------------------------------------------------------------------------------- */

static bool read_file(struct policy *policy, struct slice path, char why[POLICY_WHY_MAX])
{
    const char *name = arena_cstr(&policy->arena, path);
    char *text = mem_alloc(POLICY_BYTES_MAX + 1);
    size_t len = 0;
    ssize_t got = -1;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    while (fd != -1 && len <= POLICY_BYTES_MAX &&
           (got = read(fd, text + len, POLICY_BYTES_MAX + 1 - len)) > 0) {
        len += (size_t)got;
    }
    if (fd == -1 || got == -1) {
        (void)snprintf(why, POLICY_WHY_MAX, "it cannot be read: %s", strerror(errno));
    }
    if (fd != -1) {
        (void)close(fd); /* it was only read */
    }
    bool is_good = fd != -1 && got != -1 && policy_read(policy, slice_of(text, len), why);
    free(text);
    return is_good;
}

struct policy *policy_load(struct slice path, char why[POLICY_WHY_MAX])
{
    struct policy *policy = policy_new();
    bool is_good = path.len == 0 || read_file(policy, path, why);
    if (is_good && !policy->leaves_out_shipped) {
        is_good = policy_read(policy, slice_of(policy_text, policy_text_len), why);
    }
    if (!is_good) {
        policy_free(policy);
        return NULL;
    }
    return policy;
}

/* ---- looking up ----------------------------------------------------------------------------- */

static bool fits(struct slice pattern, struct slice host)
{
    if (slice_starts(pattern, SLICE("*."))) {
        return slice_ends_nocase(host, slice_from(pattern, 1)) && host.len >= pattern.len;
    }
    return slice_equal_nocase(pattern, host);
}

/* The last two labels, three where the second-level one is short as in co.uk, com.au, ne.jp. It is
 * a guess that needs no list: wrong, it makes two groups of one, or one of two small ones. */
static struct slice tail_of(struct slice host)
{
    size_t dots[3] = {SIZE_MAX, SIZE_MAX, SIZE_MAX};
    struct slice rest = host;
    for (size_t i = 0; i < ARRAY_LEN(dots); i++) {
        dots[i] = slice_rfind_byte(rest, '.');
        if (dots[i] == SIZE_MAX) {
            break;
        }
        rest = slice_head(rest, dots[i]);
    }
    if (dots[0] == SIZE_MAX || dots[1] == SIZE_MAX) {
        return host;
    }
    bool is_country = host.len - dots[0] - 1 == 2 && dots[0] - dots[1] - 1 <= 3;
    if (!is_country) {
        return slice_from(host, dots[1] + 1);
    }
    return dots[2] == SIZE_MAX ? host : slice_from(host, dots[2] + 1);
}

static const struct policy_provider *provider_of_host(const struct policy *policy,
                                                      struct slice host)
{
    for (uint32_t i = 0; i < policy->provider_count; i++) {
        const struct policy_provider *provider = &policy->providers[i];
        for (uint32_t n = 0; n < provider->pattern_count; n++) {
            if (fits(provider->patterns[n], host)) {
                return provider;
            }
        }
    }
    return NULL;
}

void policy_group(const struct policy *policy, struct slice domain, struct slice mx_host,
                  struct policy_group *group)
{
    struct slice name = domain;
    *group = (struct policy_group){.rules = policy->rules};
    if (is_host(mx_host)) { /* what the DNS says may be anything */
        const struct policy_provider *provider = provider_of_host(policy, mx_host);
        name = provider != NULL ? provider->name : tail_of(mx_host);
        group->rules = provider != NULL ? provider->rules : policy->rules;
    }
    name = slice_head(name, sizeof group->name - 1);
    for (size_t i = 0; i < name.len; i++) {
        group->name[i] = ascii_lower(name.data[i]);
    }
}

const struct site_rules *policy_rules(const struct policy *policy, struct slice group)
{
    const struct policy_provider *provider = provider_find(policy, group);
    return provider != NULL ? &provider->rules : &policy->rules;
}

enum policy_tls policy_tls(const struct policy *policy, struct slice domain)
{
    for (uint32_t i = 0; i < policy->domain_count; i++) {
        if (slice_equal_nocase(policy->domains[i].name, domain)) {
            return policy->domains[i].tls;
        }
    }
    return POLICY_TLS_UNSET;
}

const struct policy_pool *policy_pool(const struct policy *policy, struct slice name)
{
    for (uint32_t i = 0; i < policy->pool_count; i++) {
        if (slice_equal(policy->pools[i].name, name)) {
            return &policy->pools[i];
        }
    }
    return NULL;
}
