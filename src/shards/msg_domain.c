/* msg_domain.c - names of a domain's keys, and what is asked of the DNS for it. */
#include "shards/msg_domain.h"

#include "base/check.h"

struct slice domain_rsa_selector(const struct row_domain *row)
{
    return row->rsa_selector.len > 0 ? row->rsa_selector : SLICE("mk1");
}

struct slice domain_ed_selector(const struct row_domain *row)
{
    return row->ed_selector.len > 0 ? row->ed_selector : SLICE("mk2");
}

/* Two for each kind of key, in turn. */
struct slice domain_other_selector(struct slice selector)
{
    static const struct slice pairs[][2] = {
        {SLICE_INIT("mk1"), SLICE_INIT("mk3")},
        {SLICE_INIT("mk3"), SLICE_INIT("mk1")},
        {SLICE_INIT("mk2"), SLICE_INIT("mk4")},
        {SLICE_INIT("mk4"), SLICE_INIT("mk2")},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (slice_equal(selector, pairs[i][0])) {
            return pairs[i][1];
        }
    }
    CHECK(false); /* rows have no others */
    return SLICE("");
}

/* What the host of a domain's links must be an alias of: a name, whatever links begin with. */
static struct slice link_host(struct slice own, const struct conf *conf)
{
    size_t scheme = slice_find(own, SLICE("://"));
    struct slice rest = slice_from(own, scheme == SIZE_MAX ? 0 : scheme + 3);
    struct slice authority = slice_cut(&rest, '/');
    struct slice host = slice_cut(&authority, ':');
    bool is_name =
        host.len > 0 && !slice_has_byte(host, '[') && !ascii_is_digit(host.data[host.len - 1]);
    return is_name ? host : conf->hostname;
}

void deliver_verify_fill(struct deliver_verify *verify, const struct row_domain *row,
                         const struct conf *conf, struct slice own, struct arena *arena)
{
    *verify = (struct deliver_verify){
        .id = row->id,
        .domain = arena_dup(arena, row->name),
        .rsa_public = arena_dup(arena, row->rsa_public),
        .ed_public = arena_dup(arena, row->ed_public),
        .rsa_selector = arena_dup(arena, domain_rsa_selector(row)),
        .ed_selector = arena_dup(arena, domain_ed_selector(row)),
        .next_rsa_selector = arena_dup(arena, row->next_rsa_selector),
        .next_ed_selector = arena_dup(arena, row->next_ed_selector),
        .next_rsa_public = arena_dup(arena, row->next_rsa_public),
        .next_ed_public = arena_dup(arena, row->next_ed_public),
        .mx_host = conf->mx_host.len > 0 ? conf->mx_host : conf->hostname,
        .spf_include = conf->spf_include.len > 0
                           ? conf->spf_include
                           : arena_format(arena, "spf.%.*s", SLICE_FMT(conf->hostname)),
        .return_path_host = arena_format(arena, "%.*s.%.*s", SLICE_FMT(conf->return_path_label),
                                         SLICE_FMT(row->name)),
        .return_path_target = conf->hostname,
        .track_host = arena_dup(arena, row->track_host),
        .track_target = arena_dup(arena, link_host(own, conf)),
        .hello = conf->hostname,
        .blocklists = conf->dnsbl_zones,
        .is_relayed = conf->smarthost.len > 0,
    };
}
