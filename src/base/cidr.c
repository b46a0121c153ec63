/* cidr.c - addresses and networks; the C library reads and prints single addresses. */
#include "base/cidr.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V4_AT   12 /* bytes before a mapped v4 address */
#define V4_BITS (8 * V4_AT)

static const uint8_t v4_prefix[V4_AT] = {[10] = 0xff, [11] = 0xff};

static bool is_v4(const struct ip6 *ip)
{
    return memcmp(ip->bytes, v4_prefix, V4_AT) == 0;
}

/* A prefix that ends within the mapping is one of v6, though mapped addresses share its bits. */
static bool net_is_v4(const struct cidr *net)
{
    return net->bits >= V4_BITS && is_v4(&net->base);
}

bool ip6_is_none(const struct ip6 *ip)
{
    static const struct ip6 none;
    return memcmp(ip->bytes, none.bytes, sizeof(none.bytes)) == 0;
}

size_t ip6_text(const struct ip6 *ip, char out[IP6_TEXT_MAX])
{
    const char *text = is_v4(ip) ? inet_ntop(AF_INET, ip->bytes + V4_AT, out, IP6_TEXT_MAX)
                                 : inet_ntop(AF_INET6, ip->bytes, out, IP6_TEXT_MAX);
    CHECK(text); /* the room is enough for both */
    return strlen(out);
}

enum err ip6_parse(struct slice text, struct ip6 *ip)
{
    char terminated[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(terminated) || slice_has_byte(text, '\0')) {
        return ERR_INVALID;
    }
    memcpy(terminated, text.data, text.len);
    terminated[text.len] = '\0';
    struct ip6 read = {.bytes = {0}};
    if (inet_pton(AF_INET, terminated, read.bytes + V4_AT) == 1) {
        memcpy(read.bytes, v4_prefix, V4_AT);
    } else if (inet_pton(AF_INET6, terminated, read.bytes) != 1) {
        return ERR_INVALID;
    }
    *ip = read;
    return ERR_OK;
}

/* How many of the leading bits two addresses share is never needed: only whether `bits` do. */
static bool same_bits(const struct ip6 *a, const struct ip6 *b, uint8_t bits)
{
    size_t whole = bits / 8;
    if (memcmp(a->bytes, b->bytes, whole) != 0) {
        return false;
    }
    uint8_t mask = (uint8_t)(0xff00U >> (bits % 8));
    return bits % 8 == 0 || ((a->bytes[whole] ^ b->bytes[whole]) & mask) == 0;
}

enum err cidr_parse(struct slice text, struct cidr *net)
{
    struct slice rest = text;
    struct slice host = slice_cut(&rest, '/');
    struct cidr read = {.bits = 128};
    uint64_t bits = 0;
    if (ip6_parse(host, &read.base) != ERR_OK) {
        return ERR_INVALID;
    }
    bool is_dotted = !slice_has_byte(host, ':');
    if (rest.data) {
        if (slice_uint(rest, is_dotted ? 32 : 128, &bits) != ERR_OK) {
            return ERR_INVALID;
        }
        read.bits = (uint8_t)(is_dotted ? V4_BITS + bits : bits);
    }
    for (size_t i = 0; i < sizeof(read.base.bytes); i++) {
        size_t kept = read.bits > 8 * i ? (size_t)read.bits - 8 * i : 0;
        if (kept < 8) {
            read.base.bytes[i] &= (uint8_t)(0xff00U >> kept);
        }
    }
    *net = read;
    return ERR_OK;
}

size_t cidr_text(const struct cidr *net, char out[CIDR_TEXT_MAX])
{
    char base[IP6_TEXT_MAX];
    (void)ip6_text(&net->base, base); /* it is terminated */
    unsigned int bits = net_is_v4(net) ? (unsigned int)net->bits - V4_BITS : net->bits;
    if (!net_is_v4(net) && is_v4(&net->base)) {
        /* A v6 prefix inside the mapping reads as v6. */
        const char *text = inet_ntop(AF_INET6, net->base.bytes, base, sizeof(base));
        CHECK(text);
    }
    int len = snprintf(out, CIDR_TEXT_MAX, "%s/%u", base, bits);
    CHECK(len > 0 && len < CIDR_TEXT_MAX);
    return (size_t)len;
}

bool cidr_has(const struct cidr *net, const struct ip6 *ip)
{
    return !ip6_is_none(ip) && net_is_v4(net) == is_v4(ip) && same_bits(&net->base, ip, net->bits);
}

bool cidr_covers(const struct cidr *outer, const struct cidr *inner)
{
    return net_is_v4(outer) == net_is_v4(inner) && outer->bits <= inner->bits &&
           same_bits(&outer->base, &inner->base, outer->bits);
}
