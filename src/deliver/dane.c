/* dane.c - the look-up.
 *
 *   route or addresses insecure --no alias--> none
 *             +--alias--> CNAME of the host --secure--> TLSA at the host's name
 *   addresses secure --> TLSA behind the alias --> TLSA at the host's name --> none
 *   any of these fails --> bogus
 */
#include "deliver/dane.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"

#define PIN_BYTES_MAX (128 * KIB) /* a reply has 64 KiB, and the arena's blocks have heads */

static void ask_tlsa(struct dane *dane);

static void add_name(struct dane *dane, const char *name)
{
    CHECK(dane->name_count < DANE_NAMES_MAX);
    (void)snprintf(dane->names[dane->name_count], sizeof dane->names[0], "%s", name);
    dane->name_count += 1;
}

static void found(struct dane *dane, enum tls_dane result)
{
    dane->result = result;
    dane->on_found(dane);
}

static void keep_pins(struct dane *dane, const struct dns_answer *answer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < answer->count && count < DANE_PINS_MAX; i++) {
        const struct dns_record *record = &answer->records[i];
        struct tls_pin pin = {record->usage, record->selector, record->matching, record->text};
        if (tls_pin_is_usable(&pin)) {
            pin.data = arena_dup(&dane->arena, pin.data);
            dane->stored[count++] = pin;
        }
    }
    dane->base = slice_str(dane->names[dane->name]);
    dane->pins.pins = dane->stored;
    dane->pins.count = count;
}

static void on_tlsa(struct dns_query *query, const struct dns_answer *answer)
{
    struct dane *dane = CONTAINER_OF(query, struct dane, query);
    if (answer->err == ERR_OK && answer->is_secure) {
        keep_pins(dane, answer);
        found(dane, dane->pins.count > 0 ? TLS_DANE_USABLE : TLS_DANE_UNUSABLE);
    } else if (answer->err != ERR_OK && answer->err != ERR_DNS_NONE) {
        found(dane, TLS_DANE_BOGUS);
    } else if (dane->name + 1 < dane->name_count) {
        dane->name += 1;
        ask_tlsa(dane);
    } else {
        found(dane, TLS_DANE_NONE);
    }
}

/* RFC 6698 3. */
static void ask_tlsa(struct dane *dane)
{
    char name[DNS_NAME_MAX + 32];
    int len = snprintf(name, sizeof name, "_%u._tcp.%s", (unsigned)dane->tcp_port,
                       dane->names[dane->name]);
    CHECK(len > 0 && (size_t)len < sizeof name);
    dns_ask(dane->dns, &dane->query, DNS_TLSA, slice_of(name, (size_t)len), on_tlsa);
}

/* The addresses behind the alias are not secure, the alias may be. */
static void on_alias(struct dns_query *query, const struct dns_answer *answer)
{
    struct dane *dane = CONTAINER_OF(query, struct dane, query);
    if (answer->err == ERR_OK && answer->is_secure) {
        ask_tlsa(dane);
    } else if (answer->err == ERR_OK || answer->err == ERR_DNS_NONE) {
        found(dane, TLS_DANE_NONE);
    } else {
        found(dane, TLS_DANE_BOGUS);
    }
}

bool dane_find(struct dane *dane, struct dns *dns, const struct route *route,
               const struct route_host *host, dane_found_fn *on_found)
{
    CHECK(dane->query.dns == NULL);
    dane_fini(dane);
    arena_init(&dane->arena, 1024, PIN_BYTES_MAX);
    dane->has_arena = true;
    dane->dns = dns;
    dane->on_found = on_found;
    dane->name_count = 0;
    dane->name = 0;
    dane->tcp_port = route->tcp_port;
    dane->result = TLS_DANE_NONE;
    dane->pins = (struct tls_pins){.count = 0};
    dane->base = slice_of(NULL, 0);
    if (!route->is_secure || (!host->is_secure && !host->is_alias)) {
        return true;
    }
    if (host->is_secure && host->is_alias) {
        add_name(dane, host->owner);
    }
    add_name(dane, host->name);
    if (host->is_secure) {
        ask_tlsa(dane);
    } else {
        dns_ask(dns, &dane->query, DNS_CNAME, slice_str(host->name), on_alias);
    }
    return false;
}

void dane_write(const struct dane *dane, struct buf *out)
{
    for (uint32_t i = 0; i < dane->pins.count; i++) {
        const struct tls_pin *pin = &dane->pins.pins[i];
        char head[DNS_NAME_MAX + 64];
        int len = snprintf(head, sizeof head, "_%u._tcp.%.*s. IN TLSA %u %u %u ",
                           (unsigned)dane->tcp_port, SLICE_FMT(dane->base), (unsigned)pin->usage,
                           (unsigned)pin->selector, (unsigned)pin->matching);
        CHECK(len > 0 && (size_t)len < sizeof head);
        if (out->len + (size_t)len + 2 * pin->data.len + 1 > out->max_bytes) {
            continue;
        }
        buf_add_bytes(out, head, (size_t)len);
        hex_encode(pin->data, buf_room(out, 2 * pin->data.len));
        buf_grew(out, 2 * pin->data.len);
        buf_add_byte(out, '\n');
    }
}

void dane_cancel(struct dane *dane)
{
    dns_cancel(&dane->query);
}

void dane_fini(struct dane *dane)
{
    CHECK(dane->query.dns == NULL);
    if (dane->has_arena) {
        arena_fini(&dane->arena);
        dane->has_arena = false;
    }
}
