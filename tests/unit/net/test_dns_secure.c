/* What the resolver says about DNSSEC, TLSA records and the names behind aliases, against a server
 * of the test's own on loopback.
 *
 * Not covered here: a real validating resolver (flow test_dane); everything else (test_dns).
 */
#include "net/dns.h"

#include "base/buf.h"

#include <criterion/criterion.h>
#include <string.h>

#define AD             0x20 /* in the header's fourth byte */
#define RCODE_SERVFAIL 2
#define RCODE_NXDOMAIN 3

/* Records are whole, behind header and question; the question's name is at 0xc00c. */
struct zone {
    const char *name;
    uint8_t flags; /* fourth byte of the header, without RA */
    uint16_t answers;
    struct slice records;
};

#define RR(type, len) "\xc0\x0c\x00" type "\x00\x01\x00\x00\x00\x64\x00" len
#define TLSA_3_1_1    RR("\x34", "\x07") "\x03\x01\x01\xff\x00\xfe\x0a"
#define ADDR_A        RR("\x01", "\x04") "\xc0\x00\x02\x01"
/* The alias's target at offset 0x0c + 12 + 4 + 12, after "alias.test", type, class and fields. */
#define ALIAS                                                                                      \
    RR("\x05", "\x09")                                                                             \
    "\x02Mx\x04"                                                                                   \
    "Real\x00\x02Mx\x04"                                                                           \
    "Real\x00\x00\x01\x00\x01\x00\x00\x00\x64\x00\x04\xc0\x00\x02\x01"

static const struct zone zones[] = {
    {"signed.test", AD, 1, SLICE_INIT(ADDR_A)},
    {"plain.test", 0, 1, SLICE_INIT(ADDR_A)},
    {"_25._tcp.mx.test", AD, 1, SLICE_INIT(TLSA_3_1_1)},
    {"_25._tcp.bare.test", AD, 1, SLICE_INIT(RR("\x34", "\x03") "\x02\x00\x01")},
    {"_25._tcp.short.test", AD, 1, SLICE_INIT(RR("\x34", "\x02") "\x02\x00")},
    {"_25._tcp.none.test", AD, 0, SLICE_INIT("")},
    {"_25._tcp.missing.test", AD | RCODE_NXDOMAIN, 0, SLICE_INIT("")},
    {"_25._tcp.hidden.test", RCODE_NXDOMAIN, 0, SLICE_INIT("")},
    {"_25._tcp.bogus.test", RCODE_SERVFAIL, 0, SLICE_INIT("")},
    {"alias.test", AD, 2, SLICE_INIT(ALIAS)},
};

struct world {
    struct loop loop;
    struct dns *dns;
    struct dns_query query;
    uv_udp_t udp;
    char block[2048];
    struct timer watchdog;
    uint32_t questions;
    bool has_ad; /* the last question asked for validation */
    bool has_edns;
    const char *asks_again;
    struct dns_answer answer;
    struct dns_record record;
    char text[64];
    char owner[64];
};

static const struct zone *find_zone(struct slice question, size_t *end)
{
    char name[256];
    size_t len = 0;
    size_t at = 12;
    while (question.data[at] != 0) {
        size_t label = (size_t)question.data[at];
        cr_assert_lt(len + label + 1, sizeof name);
        memcpy(name + len, question.data + at + 1, label);
        len += label;
        name[len++] = '.';
        at += 1 + label;
    }
    name[len - 1] = '\0';
    *end = at + 5;
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        if (strcmp(zones[i].name, name) == 0) {
            return &zones[i];
        }
    }
    cr_assert(false, "an unexpected question: %s", name);
    return NULL;
}

static void on_room(uv_handle_t *handle, size_t suggested UNUSED, uv_buf_t *room)
{
    struct world *world = CONTAINER_OF(handle->loop, struct world, loop.uv);
    *room = uv_buf_init(world->block, sizeof world->block);
}

static void on_question(uv_udp_t *udp, ssize_t len, const uv_buf_t *room,
                        const struct sockaddr *from, unsigned flags UNUSED)
{
    struct world *world = CONTAINER_OF(udp, struct world, udp);
    if (len <= 0) {
        return;
    }
    size_t end = 0;
    struct slice question = slice_of(room->base, (size_t)len);
    const struct zone *zone = find_zone(question, &end);
    world->questions += 1;
    world->has_ad = (question.data[3] & AD) != 0;
    world->has_edns = question.data[11] == 1;
    struct buf reply;
    buf_init(&reply, 2048);
    buf_add(&reply, slice_head(question, 2));
    buf_add_byte(&reply, (char)0x81);
    buf_add_byte(&reply, (char)(0x80 | zone->flags));
    char counts[] = {0, 1, 0, (char)zone->answers, 0, 0, 0, 1};
    buf_add_bytes(&reply, counts, sizeof counts);
    buf_add(&reply, slice_sub(question, 12, end - 12));
    buf_add(&reply, zone->records);
    buf_add(&reply, SLICE("\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00")); /* OPT */
    uv_buf_t out = uv_buf_init(reply.data, (unsigned)reply.len);
    cr_assert_eq(uv_udp_try_send(udp, &out, 1, from), (int)reply.len);
    buf_fini(&reply);
}

static void on_watchdog(struct timer *timer UNUSED)
{
    cr_assert(false, "the story never ended");
}

static void on_dns_closed(void *context)
{
    struct world *world = context;
    timer_stop(&world->watchdog);
    uv_close((uv_handle_t *)&world->udp, NULL);
    loop_stop(&world->loop);
}

static void on_answer(struct dns_query *query, const struct dns_answer *answer)
{
    struct world *world = CONTAINER_OF(query, struct world, query);
    world->answer = *answer;
    (void)snprintf(world->owner, sizeof world->owner, "%.*s", SLICE_FMT(answer->owner));
    if (answer->count > 0) {
        world->record = answer->records[0];
        cr_assert_leq(world->record.text.len, sizeof world->text);
        for (size_t i = 0; i < world->record.text.len; i++) {
            world->text[i] = world->record.text.data[i];
        }
    }
    if (world->asks_again != NULL) {
        dns_ask(world->dns, query, DNS_A, slice_str(world->asks_again), on_answer);
        world->asks_again = NULL;
        return;
    }
    dns_close(world->dns, on_dns_closed, world);
}

/* Asks once, or twice; what came last is in *world. */
static void ask(struct world *world, bool is_trusted, enum dns_type type, const char *name)
{
    struct sockaddr_in addr;
    int len = sizeof addr;
    char servers[64];
    loop_init(&world->loop, "test", 0);
    timer_init(&world->watchdog, &world->loop, on_watchdog);
    timer_start(&world->watchdog, 5000);
    cr_assert_eq(uv_ip4_addr("127.0.0.1", 0, &addr), 0);
    cr_assert_eq(uv_udp_init(&world->loop.uv, &world->udp), 0);
    cr_assert_eq(uv_udp_bind(&world->udp, (const struct sockaddr *)&addr, 0), 0);
    cr_assert_eq(uv_udp_getsockname(&world->udp, (struct sockaddr *)&addr, &len), 0);
    cr_assert_eq(uv_udp_recv_start(&world->udp, on_room, on_question), 0);
    (void)snprintf(servers, sizeof servers, "127.0.0.1:%u", (unsigned)ntohs(addr.sin_port));
    cr_assert_eq(dns_open(&world->loop, slice_str(servers), &world->dns), ERR_OK);
    if (is_trusted) {
        dns_trust(world->dns);
    }
    dns_ask(world->dns, &world->query, type, slice_str(name), on_answer);
    loop_run(&world->loop);
    loop_fini(&world->loop);
}

struct secure_case {
    const char *name;
    bool is_trusted;
    enum dns_type type;
    enum err err;
    bool is_secure;
};

static const struct secure_case cases[] = {
    {"signed.test", true, DNS_A, ERR_OK, true},
    {"plain.test", true, DNS_A, ERR_OK, false},
    {"signed.test", false, DNS_A, ERR_OK, false},
    {"_25._tcp.none.test", true, DNS_TLSA, ERR_DNS_NONE, true},
    {"_25._tcp.missing.test", true, DNS_TLSA, ERR_DNS_NONE, true},
    {"_25._tcp.hidden.test", true, DNS_TLSA, ERR_DNS_NONE, false},
    {"_25._tcp.missing.test", false, DNS_TLSA, ERR_DNS_NONE, false},
    {"_25._tcp.bogus.test", true, DNS_TLSA, ERR_DNS_TEMP, false},
    {"_25._tcp.short.test", true, DNS_TLSA, ERR_DNS_TEMP, false},
    {"localhost", true, DNS_A, ERR_OK, false},
};

Test(dns_secure, takes_the_word_of_trusted_resolvers_only, .timeout = 30)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct secure_case *c = &cases[i];
        struct world world = {.questions = 0};
        ask(&world, c->is_trusted, c->type, c->name);
        cr_expect_eq(world.answer.err, c->err, "%s", c->name);
        cr_expect_eq(world.answer.is_secure, c->is_secure, "%s", c->name);
        cr_expect_eq(world.has_ad, c->is_trusted && world.questions > 0, "%s", c->name);
        cr_expect_eq(world.has_edns, world.questions > 0, "%s", c->name);
    }
}

Test(dns_secure, remembers_what_was_secure, .timeout = 30)
{
    struct world world = {.asks_again = "signed.test"};
    ask(&world, true, DNS_A, "signed.test");
    cr_expect_eq(world.questions, 1);
    cr_expect(world.answer.is_secure);
}

Test(dns_secure, reads_tlsa_records, .timeout = 30)
{
    struct world world = {.questions = 0};
    ask(&world, true, DNS_TLSA, "_25._tcp.mx.test");
    cr_assert_eq(world.answer.count, 1);
    cr_expect_eq(world.record.usage, 3);
    cr_expect_eq(world.record.selector, 1);
    cr_expect_eq(world.record.matching, 1);
    cr_assert_eq(world.record.text.len, 4);
    cr_expect_arr_eq(world.text, "\xff\x00\xfe\x0a", 4, "bytes, not text");
    cr_expect_str_eq(world.owner, "");

    ask(&world, true, DNS_TLSA, "_25._tcp.bare.test");
    cr_expect_eq(world.answer.count, 1);
    cr_expect_eq(world.record.usage, 2);
    cr_expect_eq(world.record.text.len, 0);
}

Test(dns_secure, names_what_an_alias_stands_for, .timeout = 30)
{
    struct world world = {.questions = 0};
    ask(&world, true, DNS_A, "alias.test");
    cr_expect_eq(world.answer.count, 1);
    cr_expect_str_eq(world.owner, "mx.real");
    ask(&world, false, DNS_A, "alias.test");
    cr_expect_str_eq(world.owner, "mx.real");
    ask(&world, true, DNS_CNAME, "alias.test");
    cr_expect_eq(world.answer.count, 1);
    cr_expect_str_eq(world.owner, "", "an alias itself is no alias's end");
}
