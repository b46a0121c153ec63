/* fact.c - see fact.h. */
#include "kv/fact.h"

struct slice fact_origin(struct slice url, struct arena *arena)
{
    size_t scheme = slice_find(url, SLICE("://"));
    if (scheme == SIZE_MAX) {
        return SLICE("webhook://"); /* no route has such a destination */
    }
    struct slice rest = slice_from(url, scheme + 3);
    size_t end = 0;
    while (end < rest.len && rest.data[end] != '/' && rest.data[end] != '?' &&
           rest.data[end] != '#') {
        end++;
    }
    struct slice host = slice_head(rest, end);
    size_t colon = slice_rfind_byte(host, ':');
    bool has_port = colon != SIZE_MAX && slice_find_byte(slice_from(host, colon), ']') == SIZE_MAX;
    bool is_tls = slice_starts_nocase(url, SLICE("https:"));
    struct slice lower = arena_lower(arena, slice_head(url, scheme + 3 + end));
    return has_port ? lower
                    : arena_format(arena, "%.*s:%s", SLICE_FMT(lower), is_tls ? "443" : "80");
}
