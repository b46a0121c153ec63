/* fuzz_addr.c - any text as an address: what is accepted is safe in a header and an envelope,
 * parses again to itself, and its domain is its own normal form.
 */
#include "base/check.h"
#include "base/limits.h"
#include "mail/addr.h"
#include "mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(struct slice text, struct arena *arena)
{
    struct addr addr;
    struct addr again;
    struct slice domain;

    if (addr_parse(text, arena, &addr) != ERR_OK) {
        return;
    }
    CHECK(!slice_has_control(addr.text, ""));
    CHECK(!slice_has_control(addr.name, ""));
    CHECK(slice_is_utf8(addr.text));
    CHECK(slice_is_ascii(addr.domain));
    CHECK(addr.needs_utf8 == !slice_is_ascii(addr.local));
    CHECK(addr_parse(addr.text, arena, &again) == ERR_OK);
    CHECK(slice_equal(addr.text, again.text));
    CHECK(domain_normalise(addr.domain, false, arena, &domain) == ERR_OK);
    CHECK(slice_equal(domain, addr.domain));
    struct slice shown = domain_display(domain, arena);
    CHECK(!slice_has_control(shown, ""));

    struct buf out;
    buf_init(&out, 65536);
    addr_write(&addr, &out);
    CHECK(addr.needs_utf8 || slice_is_ascii(buf_slice(&out)));
    /* Encoding a name may carry it over the ceiling for names. */
    CHECK(addr_parse(buf_slice(&out), arena, &again) == ERR_OK || out.len > DISPLAY_NAME_MAX);
    CHECK(slice_equal(again.text, addr.text));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;

    arena_init(&arena, 4096, 1 << 20);
    check_address(slice_of(data, size), &arena);
    arena_fini(&arena);
    return 0;
}
