/* address_rate.c - names an address in 64 bits. */
#include "edge/address_rate.h"

#include <string.h>

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

uint64_t address_rate_owner(const struct ip6 *address)
{
    bool is_v4 = memcmp(address->bytes, v4_mapped, sizeof v4_mapped) == 0;
    /* ::ffff:a.b.c.d as 0:0:ffff:a.b.c.d: no v6 network begins like that (RFC 4291 2.5.5). */
    const uint8_t *from = is_v4 ? address->bytes + 8 : address->bytes;
    uint64_t owner = 0;
    for (size_t i = 0; i < sizeof owner; i++) {
        owner = owner << 8 | from[i];
    }
    return owner;
}
