/* Look-ups against a server of the test's own on loopback, UDP and TCP.
 *
 * Not covered here: a server that never answers and its retries, which take 14 s of real time
 * (c-ares has no clock to fake); real resolvers.
 */
#include "net/dns.h"

#include "base/buf.h"
#include "base/clock.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLAG_TRUNCATED 0x0200
#define RCODE_SERVFAIL 2
#define RCODE_NXDOMAIN 3
#define TYPE_CNAME     5
#define TYPE_SOA       6
#define TYPE_MX        15
#define TYPE_TXT       16

struct world;

/* Appends records behind header and question. */
typedef void zone_fn(struct buf *reply);

struct zone {
    const char *name;
    zone_fn *write;
    uint16_t answers;
    uint16_t authorities;
    uint16_t flags; /* and response code */
    bool is_silent;
};

struct asker {
    struct dns_query query;
    struct world *world;
    struct asker *cancels;
    const char *asks_next;
    bool closes;
    bool is_answered;
    struct dns_answer answer;
    struct dns_record first; /* copies of what outlives no callback */
    struct dns_record second;
    char first_text[1100];
    char second_text[64];
    size_t texts_bytes; /* of all records */
};

struct world {
    struct loop loop;
    struct dns *dns;
    uv_udp_t udp;
    uv_tcp_t tcp;
    uv_tcp_t tcp_conn;
    struct buf tcp_in;
    uint16_t tcp_port;
    uint32_t udp_questions;
    uint32_t tcp_questions;
    uint32_t open_questions; /* the dns is closed when it falls to 0 */
    bool is_closing;
    bool is_closed;
    char block[65536];
    struct timer watchdog;
    struct timer step;
};

/* ---- the server -------------------------------------------------------------------------------
 */

static void add_u16(struct buf *out, uint32_t value)
{
    buf_add_byte(out, (char)(value >> 8));
    buf_add_byte(out, (char)value);
}

static void add_u32(struct buf *out, uint32_t value)
{
    add_u16(out, value >> 16);
    add_u16(out, value & 0xffff);
}

static void add_name(struct buf *out, const char *name)
{
    struct slice rest = slice_str(name);
    while (rest.data != NULL && rest.len > 0) {
        struct slice label = slice_cut(&rest, '.');
        buf_add_byte(out, (char)label.len);
        buf_add(out, label);
    }
    buf_add_byte(out, 0);
}

/* A record of the question's name, class IN. */
static void add_rr(struct buf *out, uint16_t type, uint32_t ttl_s, struct slice data)
{
    add_u16(out, 0xc00c);
    add_u16(out, type);
    add_u16(out, 1);
    add_u32(out, ttl_s);
    add_u16(out, (uint32_t)data.len);
    buf_add(out, data);
}

static void add_named_rr(struct buf *out, uint16_t type, uint32_t ttl_s, const char *name)
{
    struct buf data;
    buf_init(&data, 1024);
    if (type == TYPE_MX) {
        add_u16(&data, ttl_s / 10); /* a priority for free */
    }
    add_name(&data, name);
    if (type == TYPE_SOA) {
        add_name(&data, "hostmaster.test");
        for (uint32_t i = 1; i <= 4; i++) {
            add_u32(&data, i);
        }
        add_u32(&data, 30); /* MINIMUM */
    }
    add_rr(out, type, ttl_s, buf_slice(&data));
    buf_fini(&data);
}

static void write_a(struct buf *reply)
{
    add_rr(reply, 1, 300, SLICE("\xc0\x00\x02\x01"));
    add_rr(reply, 1, 60, SLICE("\xc0\x00\x02\x02"));
}

static void write_aaaa(struct buf *reply)
{
    add_rr(reply, 28, 86400, SLICE("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"));
}

static void write_mx(struct buf *reply)
{
    add_named_rr(reply, TYPE_MX, 100, "MX1.Example.TEST");
    add_named_rr(reply, TYPE_MX, 200, "mx2.example.test");
}

static void write_null_mx(struct buf *reply)
{
    add_named_rr(reply, TYPE_MX, 0, "");
}

static void write_txt(struct buf *reply)
{
    add_rr(reply, TYPE_TXT, 100, SLICE("\x07v=spf1 \x00\x04-aLL"));
    add_rr(reply, TYPE_TXT, 100, SLICE("\x00"));
}

static void write_alias(struct buf *reply)
{
    add_named_rr(reply, TYPE_CNAME, 7, "Target.Example.TEST");
    add_rr(reply, 1, 300, SLICE("\xc0\x00\x02\x09"));
}

static void write_ptr(struct buf *reply)
{
    add_named_rr(reply, 12, 50, "host.example.test");
}

static void write_soa(struct buf *reply)
{
    add_named_rr(reply, TYPE_SOA, 900, "ns.test");
}

static void write_short_soa_ttl(struct buf *reply)
{
    add_named_rr(reply, TYPE_SOA, 12, "ns.test");
}

static void write_endless_ttl(struct buf *reply)
{
    add_rr(reply, 1, 0xffffffff, SLICE("\xc0\x00\x02\x01"));
}

static void write_short_a(struct buf *reply)
{
    add_rr(reply, 1, 300, SLICE("\xc0\x00\x02"));
}

static void write_overrun_txt(struct buf *reply)
{
    add_rr(reply, TYPE_TXT, 300, SLICE("\x05hell"));
}

static void write_cut_rr(struct buf *reply)
{
    write_a(reply);
    reply->len -= 2;
}

static void write_name_loop(struct buf *reply)
{
    struct buf data;
    buf_init(&data, 16);
    add_u16(&data, 10);
    add_u16(&data, 0xc000 + (uint32_t)reply->len + 12 + 2); /* points at itself */
    add_rr(reply, TYPE_MX, 300, buf_slice(&data));
    buf_fini(&data);
}

static void write_short_mx(struct buf *reply)
{
    add_rr(reply, TYPE_MX, 300, SLICE("\x00\x0a"));
}

static void write_many_txt(struct buf *reply)
{
    char text[101];
    memset(text, 'x', sizeof(text));
    text[0] = 100;
    for (uint32_t i = 0; i < 40; i++) {
        add_rr(reply, TYPE_TXT, 300, slice_of(text, sizeof(text)));
    }
}

static void write_hundred_a(struct buf *reply)
{
    for (uint32_t i = 0; i < 100; i++) {
        add_rr(reply, 1, 300, SLICE("\xc0\x00\x02\x01"));
    }
}

static const struct zone zones[] = {
    {.name = "a.test", .write = write_a, .answers = 2},
    {.name = "aaaa.test", .write = write_aaaa, .answers = 1},
    {.name = "mx.test", .write = write_mx, .answers = 2},
    {.name = "null.test", .write = write_null_mx, .answers = 1},
    {.name = "txt.test", .write = write_txt, .answers = 2},
    {.name = "alias.test", .write = write_alias, .answers = 2},
    {.name = "1.2.0.192.in-addr.arpa", .write = write_ptr, .answers = 1},
    {.name = "missing.test", .write = write_soa, .authorities = 1, .flags = RCODE_NXDOMAIN},
    {.name = "empty.test", .write = write_short_soa_ttl, .authorities = 1},
    {.name = "bare.test"},
    {.name = "fail.test", .flags = RCODE_SERVFAIL},
    {.name = "endless.test", .write = write_endless_ttl, .answers = 1},
    {.name = "short-a.test", .write = write_short_a, .answers = 1},
    {.name = "overrun.test", .write = write_overrun_txt, .answers = 1},
    {.name = "cut.test", .write = write_cut_rr, .answers = 2},
    {.name = "loop.test", .write = write_name_loop, .answers = 1},
    {.name = "short-mx.test", .write = write_short_mx, .answers = 1},
    {.name = "lies.test", .write = write_a, .answers = 50},
    {.name = "big.test", .write = write_many_txt, .answers = 40, .flags = FLAG_TRUNCATED},
    {.name = "hundred.test", .write = write_hundred_a, .answers = 100},
    {.name = "silent.test", .is_silent = true},
};

/* The question's name as text; its section ends at *end. */
static const struct zone *find_zone(struct slice question, size_t *end)
{
    char name[256] = "";
    size_t len = 0;
    size_t at = 12;
    while (at < question.len && question.data[at] != 0) {
        size_t label = (size_t)question.data[at];
        cr_assert_lt(len + label + 1, sizeof(name));
        (void)memcpy(name + len, question.data + at + 1, label);
        len += label;
        name[len++] = '.';
        at += 1 + label;
    }
    *end = at + 1 + 4;
    name[len > 0 ? len - 1 : 0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        if (slice_equal(slice_str(zones[i].name), slice_str(name)) ||
            (zones[i].is_silent && slice_ends(slice_str(name), slice_str(zones[i].name)))) {
            return &zones[i];
        }
    }
    cr_assert(false, "an unexpected question: %s", name);
    return NULL;
}

/* False when there is to be silence. */
static bool answer(struct slice question, bool is_udp, struct buf *reply)
{
    size_t end = 0;
    const struct zone *zone = find_zone(question, &end);
    bool is_cut = is_udp && (zone->flags & FLAG_TRUNCATED) != 0;
    buf_add(reply, slice_head(question, 2));
    add_u16(reply, 0x8180U | (zone->flags & (is_udp ? 0xffffU : 0xfU)));
    add_u16(reply, 1);
    add_u16(reply, is_cut ? 0 : zone->answers);
    add_u16(reply, zone->authorities);
    add_u16(reply, 0);
    buf_add(reply, slice_sub(question, 12, end - 12));
    if (zone->write != NULL && !is_cut) {
        zone->write(reply);
    }
    return !zone->is_silent;
}

static void on_room(uv_handle_t *handle, size_t suggested UNUSED, uv_buf_t *room)
{
    struct world *world = CONTAINER_OF(handle->loop, struct world, loop.uv);
    *room = uv_buf_init(world->block, sizeof(world->block));
}

static void on_question(uv_udp_t *udp, ssize_t len, const uv_buf_t *room,
                        const struct sockaddr *from, unsigned flags UNUSED)
{
    struct world *world = CONTAINER_OF(udp, struct world, udp);
    if (len <= 0) {
        return;
    }
    world->udp_questions++;
    struct buf reply;
    buf_init(&reply, 65536);
    if (answer(slice_of(room->base, (size_t)len), true, &reply)) {
        uv_buf_t out = uv_buf_init(reply.data, (unsigned)reply.len);
        cr_assert_eq(uv_udp_try_send(udp, &out, 1, from), (int)reply.len);
    }
    buf_fini(&reply);
}

static void on_tcp_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *room)
{
    struct world *world = CONTAINER_OF(stream, struct world, tcp_conn);
    if (len < 0) {
        uv_close((uv_handle_t *)stream, NULL);
        return;
    }
    buf_add_bytes(&world->tcp_in, room->base, (size_t)len);
    if (world->tcp_in.len < 2) {
        return;
    }
    struct slice question = slice_from(buf_slice(&world->tcp_in), 2);
    if (question.len < (size_t)(uint8_t)world->tcp_in.data[1]) {
        return;
    }
    world->tcp_questions++;
    struct buf reply;
    struct buf framed;
    buf_init(&reply, 65536);
    buf_init(&framed, 65536);
    cr_assert(answer(question, false, &reply));
    add_u16(&framed, (uint32_t)reply.len);
    buf_add(&framed, buf_slice(&reply));
    uv_buf_t out = uv_buf_init(framed.data, (unsigned)framed.len);
    cr_assert_eq(uv_try_write(stream, &out, 1), (int)framed.len);
    buf_fini(&reply);
    buf_fini(&framed);
}

static void on_tcp_client(uv_stream_t *server, int status)
{
    struct world *world = CONTAINER_OF(server, struct world, tcp);
    cr_assert_eq(status, 0);
    cr_assert_eq(uv_tcp_init(&world->loop.uv, &world->tcp_conn), 0);
    cr_assert_eq(uv_accept(server, (uv_stream_t *)&world->tcp_conn), 0);
    cr_assert_eq(uv_read_start((uv_stream_t *)&world->tcp_conn, on_room, on_tcp_read), 0);
}

/* ---- the world --------------------------------------------------------------------------------
 */

static void on_watchdog(struct timer *timer UNUSED)
{
    cr_assert(false, "the story never ended");
}

/* A free port: for TCP the kernel picks it, then UDP may still be taken. */
static uint16_t bind_pair(int *udp, int *tcp)
{
    for (uint32_t i = 0; i < 50; i++) {
        struct sockaddr_in addr = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(addr);
        *tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        *udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(*tcp, (struct sockaddr *)&addr, len), 0);
        cr_assert_eq(getsockname(*tcp, (struct sockaddr *)&addr, &len), 0);
        if (bind(*udp, (struct sockaddr *)&addr, len) == 0) {
            return ntohs(addr.sin_port);
        }
        cr_assert_eq(close(*tcp), 0);
        cr_assert_eq(close(*udp), 0);
    }
    cr_assert(false, "no free port");
    return 0;
}

static void world_init_behind(struct world *world, const char *other_servers)
{
    *world = (struct world){.is_closed = false};
    loop_init(&world->loop, "test", 0);
    buf_init(&world->tcp_in, 65536);
    timer_init(&world->watchdog, &world->loop, on_watchdog);
    timer_start(&world->watchdog, 5000);
    int udp = -1;
    int tcp = -1;
    world->tcp_port = bind_pair(&udp, &tcp);
    cr_assert_eq(uv_udp_init(&world->loop.uv, &world->udp), 0);
    cr_assert_eq(uv_udp_open(&world->udp, udp), 0);
    cr_assert_eq(uv_udp_recv_start(&world->udp, on_room, on_question), 0);
    cr_assert_eq(uv_tcp_init(&world->loop.uv, &world->tcp), 0);
    cr_assert_eq(uv_tcp_open(&world->tcp, tcp), 0);
    cr_assert_eq(uv_listen((uv_stream_t *)&world->tcp, 8, on_tcp_client), 0);
    char servers[64];
    (void)snprintf(servers, sizeof(servers), "%s127.0.0.1:%u ", other_servers, world->tcp_port);
    cr_assert_eq(dns_open(&world->loop, slice_str(servers), &world->dns), ERR_OK);
}

static void world_init(struct world *world)
{
    world_init_behind(world, "");
}

static void on_dns_closed(void *context)
{
    struct world *world = context;
    cr_assert_not(world->is_closed);
    world->is_closed = true;
    timer_stop(&world->watchdog);
    uv_close((uv_handle_t *)&world->udp, NULL);
    uv_close((uv_handle_t *)&world->tcp, NULL);
    loop_stop(&world->loop);
}

static void ask(struct asker *asker, struct world *world, enum dns_type type, const char *name);

static void on_answer(struct dns_query *query, const struct dns_answer *got)
{
    struct asker *asker = CONTAINER_OF(query, struct asker, query);
    struct world *world = asker->world;
    cr_assert_not(asker->is_answered, "answered twice");
    cr_assert_null(query->dns);
    cr_assert_eq(got->err == ERR_OK, got->count > 0);
    asker->is_answered = true;
    asker->answer = *got;
    asker->answer.records = NULL;
    for (uint32_t i = 0; i < got->count; i++) {
        asker->texts_bytes += got->records[i].text.len;
    }
    if (got->count > 0) {
        asker->first = got->records[0];
        (void)snprintf(asker->first_text, sizeof(asker->first_text), "%.*s",
                       SLICE_FMT(got->records[0].text));
    }
    if (got->count > 1) {
        asker->second = got->records[1];
        (void)snprintf(asker->second_text, sizeof(asker->second_text), "%.*s",
                       SLICE_FMT(got->records[1].text));
    }
    if (asker->cancels != NULL) {
        dns_cancel(&asker->cancels->query);
        world->open_questions--;
    }
    world->open_questions--;
    if (asker->asks_next != NULL) {
        const char *name = asker->asks_next;
        asker->asks_next = NULL;
        asker->is_answered = false;
        ask(asker, world, DNS_A, name);
    } else if ((asker->closes || world->open_questions == 0) && !world->is_closing) {
        world->is_closing = true;
        dns_close(world->dns, on_dns_closed, world);
    }
}

static void ask(struct asker *asker, struct world *world, enum dns_type type, const char *name)
{
    asker->world = world;
    world->open_questions++;
    dns_ask(world->dns, &asker->query, type, slice_str(name), on_answer);
    cr_assert_not(asker->is_answered, "answered inside dns_ask");
}

/* Runs until every question is answered and the dns is closed. */
static void world_run(struct world *world)
{
    loop_run(&world->loop);
    cr_assert(world->is_closed);
    buf_fini(&world->tcp_in);
    loop_fini(&world->loop);
}

/* One question in a world of its own. */
static void ask_alone(struct asker *asker, enum dns_type type, const char *name)
{
    struct world world;
    *asker = (struct asker){.world = &world};
    world_init(&world);
    ask(asker, &world, type, name);
    world_run(&world);
    cr_assert(asker->is_answered);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void check_addr(const struct dns_record *record, const char *text)
{
    char is[ADDR_TEXT_MAX];
    (void)conn_addr_text(&record->addr, is);
    cr_assert_str_eq(is, text);
    cr_assert_eq(conn_addr_port(&record->addr), 0);
}

Test(dns, answers_with_addresses)
{
    struct asker asker;
    ask_alone(&asker, DNS_A, "a.test");
    cr_assert_eq(asker.answer.err, ERR_OK);
    cr_assert_eq(asker.answer.count, 2);
    cr_assert_eq(asker.answer.ttl_s, 60, "the smaller one");
    check_addr(&asker.first, "192.0.2.1");
    check_addr(&asker.second, "192.0.2.2");

    ask_alone(&asker, DNS_AAAA, "aaaa.test");
    cr_assert_eq(asker.answer.count, 1);
    cr_assert_eq(asker.answer.ttl_s, 3600, "never longer than an hour");
    check_addr(&asker.first, "2001:db8::1");
}

Test(dns, answers_with_mail_exchangers)
{
    struct asker asker;
    ask_alone(&asker, DNS_MX, "mx.test");
    cr_assert_eq(asker.answer.count, 2);
    cr_assert_str_eq(asker.first_text, "mx1.example.test");
    cr_assert_eq(asker.first.priority, 10);
    cr_assert_str_eq(asker.second_text, "mx2.example.test");
    cr_assert_eq(asker.second.priority, 20);
}

Test(dns, shows_a_null_mx)
{
    struct asker asker;
    ask_alone(&asker, DNS_MX, "null.test");
    cr_assert_eq(asker.answer.err, ERR_OK);
    cr_assert_eq(asker.answer.count, 1);
    cr_assert_eq(asker.first.text.len, 0);
    cr_assert_eq(asker.first.priority, 0);
    cr_assert_eq(asker.answer.ttl_s, 5, "never shorter than five seconds");
}

Test(dns, joins_the_strings_of_a_txt_record)
{
    struct asker asker;
    ask_alone(&asker, DNS_TXT, "txt.test");
    cr_assert_eq(asker.answer.count, 2);
    cr_assert_str_eq(asker.first_text, "v=spf1 -aLL");
    cr_assert_str_eq(asker.second_text, "");
}

Test(dns, follows_aliases_and_shows_them)
{
    struct asker asker;
    ask_alone(&asker, DNS_A, "alias.test");
    cr_assert_eq(asker.answer.count, 1);
    cr_assert_eq(asker.answer.ttl_s, 7, "the alias expires first");
    check_addr(&asker.first, "192.0.2.9");
    ask_alone(&asker, DNS_CNAME, "alias.test");
    cr_assert_eq(asker.answer.count, 1);
    cr_assert_str_eq(asker.first_text, "target.example.test");
    ask_alone(&asker, DNS_PTR, "1.2.0.192.in-addr.arpa");
    cr_assert_str_eq(asker.first_text, "host.example.test");
}

struct none_case {
    const char *name;
    enum dns_type type;
    enum err err;
    bool is_name_missing;
    uint32_t ttl_s;
};

Test(dns, tells_a_missing_name_from_a_missing_record_and_both_from_trouble)
{
    static const struct none_case cases[] = {
        {"missing.test", DNS_A, ERR_DNS_NONE, true, 30},
        {"missing.test", DNS_MX, ERR_DNS_NONE, true, 30},
        {"empty.test", DNS_A, ERR_DNS_NONE, false, 12},
        {"bare.test", DNS_TXT, ERR_DNS_NONE, false, 5},
        {"a.test", DNS_MX, ERR_DNS_NONE, false, 5}, /* answers of other types only */
        {"fail.test", DNS_A, ERR_DNS_TEMP, false, 5},
        {"localhost", DNS_MX, ERR_DNS_NONE, false, 3600},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asker asker;
        ask_alone(&asker, cases[i].type, cases[i].name);
        cr_assert_eq(asker.answer.err, cases[i].err, "%s", cases[i].name);
        cr_assert_eq(asker.answer.is_name_missing, cases[i].is_name_missing, "%s", cases[i].name);
        cr_assert_eq(asker.answer.ttl_s, cases[i].ttl_s, "%s: %u", cases[i].name,
                     asker.answer.ttl_s);
    }
}

Test(dns, takes_a_malformed_reply_for_a_temporary_failure)
{
    static const struct none_case cases[] = {
        {.name = "short-a.test", .type = DNS_A},   {.name = "overrun.test", .type = DNS_TXT},
        {.name = "cut.test", .type = DNS_A},       {.name = "loop.test", .type = DNS_MX},
        {.name = "short-mx.test", .type = DNS_MX}, {.name = "lies.test", .type = DNS_A},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asker asker;
        ask_alone(&asker, cases[i].type, cases[i].name);
        cr_assert_eq(asker.answer.err, ERR_DNS_TEMP, "%s", cases[i].name);
        cr_assert_eq(asker.answer.count, 0, "%s", cases[i].name);
    }
}

Test(dns, reads_a_ttl_beyond_31_bits_as_zero)
{
    struct asker asker;
    ask_alone(&asker, DNS_A, "endless.test");
    cr_assert_eq(asker.answer.err, ERR_OK);
    cr_assert_eq(asker.answer.ttl_s, 5);
}

Test(dns, keeps_no_more_records_than_its_ceiling)
{
    struct asker asker;
    ask_alone(&asker, DNS_A, "hundred.test");
    cr_assert_eq(asker.answer.count, DNS_ANSWERS_MAX);
}

Test(dns, asks_again_over_tcp_when_the_answer_was_cut)
{
    struct world world;
    struct asker asker = {.world = &world};
    world_init(&world);
    ask(&asker, &world, DNS_TXT, "big.test");
    world_run(&world);
    cr_assert_eq(world.udp_questions, 1);
    cr_assert_eq(world.tcp_questions, 1);
    cr_assert_eq(asker.answer.count, 40);
    cr_assert_eq(asker.texts_bytes, 40 * 100);
}

Test(dns, answers_localhost_and_impossible_names_by_itself)
{
    char long_label[80];
    char long_name[300];
    memset(long_label, 'a', sizeof(long_label));
    memcpy(long_label + 64, ".test", 6);
    for (size_t i = 0; i < sizeof(long_name) - 1; i++) {
        long_name[i] = i % 2 == 0 ? 'a' : '.';
    }
    long_name[sizeof(long_name) - 1] = '\0';
    const char *const impossible[] = {"",         ".",        "..",       ".test",
                                      "a..test",  "a b.test", "a\\.test", "\xc3\xbc.test",
                                      long_label, long_name};
    struct world world;
    struct asker askers[ARRAY_LEN(impossible)] = {0};
    struct asker v4 = {0};
    struct asker v6 = {0};
    world_init(&world);
    for (size_t i = 0; i < ARRAY_LEN(impossible); i++) {
        ask(&askers[i], &world, DNS_A, impossible[i]);
    }
    ask(&v4, &world, DNS_A, "Localhost");
    ask(&v6, &world, DNS_AAAA, "db.LOCALHOST.");
    world_run(&world);
    cr_assert_eq(world.udp_questions, 0);
    for (size_t i = 0; i < ARRAY_LEN(impossible); i++) {
        cr_assert_eq(askers[i].answer.err, ERR_DNS_NONE, "%s", impossible[i]);
        cr_assert(askers[i].answer.is_name_missing, "%s", impossible[i]);
    }
    check_addr(&v4.first, "127.0.0.1");
    check_addr(&v6.first, "::1");
}

/* ---- cache and questions at once --------------------------------------------------------------
 */

Test(dns, asks_once_for_what_many_want)
{
    struct world world;
    struct asker askers[4] = {0};
    static const char *const spellings[] = {"a.test", "A.TEST", "a.test.", "A.tesT."};
    world_init(&world);
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        ask(&askers[i], &world, DNS_A, spellings[i]);
    }
    world_run(&world);
    cr_assert_eq(world.udp_questions, 1);
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        cr_assert_eq(askers[i].answer.count, 2);
    }
}

Test(dns, remembers_answers_and_asks_types_apart)
{
    struct world world;
    struct asker asker = {.asks_next = "A.test"};
    struct asker other = {.asks_next = "missing.test"};
    world_init(&world);
    ask(&asker, &world, DNS_A, "a.test");
    ask(&other, &world, DNS_A, "missing.test");
    world_run(&world);
    cr_assert_eq(world.udp_questions, 2);
    cr_assert_eq(asker.answer.count, 2);
    cr_assert(other.answer.is_name_missing);

    struct asker mx = {0};
    struct asker txt = {0};
    world_init(&world);
    ask(&mx, &world, DNS_MX, "bare.test");
    ask(&txt, &world, DNS_TXT, "bare.test");
    world_run(&world);
    cr_assert_eq(world.udp_questions, 2);
}

static void on_third_answer(struct dns_query *query, const struct dns_answer *got)
{
    struct asker *asker = CONTAINER_OF(query, struct asker, query);
    cr_assert_eq(got->err, ERR_OK);
    cr_assert_eq(asker->world->udp_questions, 2, "expired");
    dns_close(asker->world->dns, on_dns_closed, asker->world);
}

static struct asker *aging;

static void ask_third(struct timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, step);
    dns_ask(world->dns, &aging->query, DNS_A, SLICE("a.test"), on_third_answer);
}

static void on_second_answer(struct dns_query *query, const struct dns_answer *got)
{
    struct asker *asker = CONTAINER_OF(query, struct asker, query);
    cr_assert_eq(got->err, ERR_OK);
    cr_assert_eq(asker->world->udp_questions, 1, "remembered");
    clock_set_fake(clock_mono_ms() + 1, 1000);
    timer_start(&asker->world->step, 0);
}

static void on_first_answer(struct dns_query *query, const struct dns_answer *got)
{
    struct asker *asker = CONTAINER_OF(query, struct asker, query);
    cr_assert_eq(got->ttl_s, 60);
    clock_set_fake(clock_mono_ms() + 59999, 1000);
    dns_ask(asker->world->dns, query, DNS_A, SLICE("a.test"), on_second_answer);
}

Test(dns, forgets_answers_when_they_expire)
{
    struct world world;
    struct asker asker = {.world = &world};
    clock_set_fake(1000, 1000);
    world_init(&world);
    timer_stop(&world.watchdog); /* a minute passes in this story */
    timer_init(&world.step, &world.loop, ask_third);
    aging = &asker;
    dns_ask(world.dns, &asker.query, DNS_A, SLICE("a.test"), on_first_answer);
    world_run(&world);
    cr_assert_eq(world.udp_questions, 2);
    clock_set_fake(0, 0);
}

Test(dns, drops_the_oldest_answers_when_it_is_full)
{
    static struct asker askers[DNS_CACHE_ENTRIES / 2 + 500];
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "n%zu.localhost", i);
        ask(&askers[i], &world, DNS_A, name);
    }
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        askers[i].asks_next = "one.more.localhost";
    }
    world_run(&world);
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        cr_assert_eq(askers[i].answer.err, ERR_OK);
    }
}

Test(dns, refuses_at_once_beyond_its_ceiling_of_open_questions)
{
    static struct asker askers[DNS_PENDING_MAX + 1];
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "n%zu.silent.test", i);
        ask(&askers[i], &world, DNS_A, name);
    }
    askers[DNS_PENDING_MAX].closes = true; /* the first that is answered */
    world_run(&world);
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        cr_assert(askers[i].is_answered);
        cr_assert_eq(askers[i].answer.err, ERR_DNS_TEMP);
    }
}

/* ---- cancelling and closing -------------------------------------------------------------------
 */

Test(dns, never_answers_a_cancelled_question)
{
    struct world world;
    struct asker early = {0};
    struct asker first = {0};
    struct asker second = {0};
    world_init(&world);
    ask(&early, &world, DNS_A, "a.test");
    dns_cancel(&early.query);
    dns_cancel(&early.query);
    world.open_questions--;
    first.cancels = &second; /* of the same answer, in the callback of the first */
    ask(&first, &world, DNS_A, "a.test");
    ask(&second, &world, DNS_A, "a.test");
    world_run(&world);
    cr_assert(first.is_answered);
    cr_assert_not(early.is_answered);
    cr_assert_not(second.is_answered);
    cr_assert_eq(world.udp_questions, 1);
}

Test(dns, answers_open_questions_when_it_closes)
{
    struct world world;
    struct asker silent = {0};
    struct asker closer = {.closes = true};
    struct asker cancelled = {0};
    world_init(&world);
    ask(&silent, &world, DNS_A, "silent.test");
    ask(&cancelled, &world, DNS_A, "other.silent.test");
    dns_cancel(&cancelled.query);
    ask(&closer, &world, DNS_A, "a.test");
    world_run(&world);
    cr_assert_eq(closer.answer.err, ERR_OK);
    cr_assert_eq(silent.answer.err, ERR_DNS_TEMP);
    cr_assert_not(cancelled.is_answered);
}

Test(dns, closes_without_a_question)
{
    struct world world;
    world_init(&world);
    dns_close(world.dns, on_dns_closed, &world);
    cr_assert_not(world.is_closed);
    world_run(&world);
}

/* A port that nobody listens on: it was free a moment ago. */
static uint16_t dead_port(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    cr_assert_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    cr_assert_eq(close(fd), 0);
    return ntohs(addr.sin_port);
}

Test(dns, goes_to_the_next_server_when_one_is_gone)
{
    struct world world;
    struct asker asker = {0};
    char others[32];
    (void)snprintf(others, sizeof(others), "127.0.0.1:%u , ", dead_port());
    world_init_behind(&world, others);
    ask(&asker, &world, DNS_A, "a.test");
    world_run(&world);
    cr_assert_eq(asker.answer.count, 2);
}

Test(dns, refuses_servers_that_do_not_parse)
{
    static const char *const texts[] = {
        "resolver.test",   "127.0.0.1,",    ",",
        "127.0.0.1:99999", "127.0.0.1 ::1", "::1,::1,::1,::1,::1,::1,::1,::1,::1",
    };
    struct loop loop;
    loop_init(&loop, "test", 0);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct dns *dns = NULL;
        cr_assert_eq(dns_open(&loop, slice_str(texts[i]), &dns), ERR_INVALID, "%s", texts[i]);
        cr_assert_null(dns);
    }
    loop_fini(&loop);
}
