/* dns.c - see dns.h.
 *
 * An entry is a question and its answer: first it is asked of c-ares and gathers waiters, then it
 * is ready and answers whoever asks again until it expires. Waiters are answered from one place,
 * on_deliver, at the bottom of the stack; so a callback may ask, cancel or close as it likes.
 *
 * c-ares tells which of its sockets it wants watched; each gets a uv_poll_t of its own. Replies are
 * read here rather than with ares_parse_*_reply, which drop the TTL of most types.
 *
 * ares_library_init does nothing on POSIX systems and is not safe to call from several threads; so
 * it is not called.
 */
#include "net/dns.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/metric.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#define uthash_malloc(bytes) mem_alloc(bytes)
#include <uthash.h>

#define DNS_PORT      53
#define SERVERS_MAX   8
#define TRY_MS        2000 /* of the first try; c-ares doubles it for each further one */
#define TRIES         3
#define EDNS_BYTES    1232 /* fits every path unfragmented; larger answers come over TCP */
#define TTL_MIN_S     5
#define TTL_MAX_S     3600
#define FAILURE_TTL_S 5
#define LABEL_MAX     63
#define HEADER_BYTES  12
#define ENTRY_CHUNK   512
#define ENTRY_BYTES_MAX                                                                            \
    (256 * KIB) /* a reply has 64 KiB; names grow when their escapes are written */
#define CLASS_IN       1
#define TYPE_SOA       6
#define TYPE_CNAME     5
#define FLAG_AD        0x20 /* in the header's fourth byte: RFC 4035 3.2.3 */
#define RCODE_MASK     0x0f
#define RCODE_NXDOMAIN 3

static const uint16_t wire_types[] = {
    [DNS_A] = 1,     [DNS_AAAA] = 28, [DNS_MX] = 15,   [DNS_TXT] = 16,
    [DNS_CNAME] = 5, [DNS_PTR] = 12,  [DNS_TLSA] = 52,
};

struct entry {
    UT_hash_handle hh;
    struct link waiters; /* struct dns_query */
    struct link age;     /* place in dns->ready, oldest first */
    struct link due;     /* place in dns->due while waiters of a ready entry are to be answered */
    struct dns *dns;
    struct dns_answer answer;
    struct arena arena; /* the answer's records */
    uint64_t expire_ms;
    uint64_t asked_us; /* 0: the answer was known without asking */
    bool is_ready;
    bool is_delivering; /* its answer is being shown: may not be dropped */
    enum dns_type type;
    uint32_t key_len;
    char key[1 + DNS_NAME_MAX + 1]; /* type, name in lower case, NUL */
};

struct watch {
    uv_poll_t poll;
    struct link link;
    struct dns *dns;
    ares_socket_t fd;
};

struct dns {
    struct loop *loop;
    ares_channel channel; /* NULL once closing */
    struct entry *entries;
    uint32_t entry_count;
    uint32_t asking_count;
    uint32_t watch_count;
    struct link ready; /* entries that may be evicted */
    struct link due;
    struct link watches;
    struct timer deliver;
    struct timer retry;
    bool is_trusted;
    struct entry refused; /* answers that need no entry of their own */
    struct entry missing;
    bool is_closing;
    dns_closed_fn *on_closed;
    void *context;
};

/* A resource record in a reply. */
struct rr {
    const uint8_t *owner; /* its name, in the reply */
    const uint8_t *data;
    uint32_t ttl_s;
    uint16_t type;
    uint16_t class;
    uint16_t len;
};

struct reply {
    const uint8_t *bytes;
    size_t len;
    size_t at;
    uint16_t answer_count;
    uint16_t authority_count;
};

static enum err set_servers(struct dns *dns, struct slice servers);
static bool make_key(enum dns_type type, struct slice name, struct entry *key);
static bool is_localhost(struct slice name);
static struct entry *find_or_ask(struct dns *dns, const struct entry *key);
static void init_entry(struct entry *entry, struct dns *dns);
static void drop_entry(struct entry *entry);
static void make_room(struct dns *dns);
static void answer_localhost(struct entry *entry);
static void ask(struct entry *entry);
static void on_raw_reply(void *context, int status, int timeouts, unsigned char *bytes, int len);
static void on_reply(void *context, int status, int timeouts, unsigned char *bytes, int len);
static void read_reply(struct entry *entry, struct slice message, bool is_name_missing);
static void set_ready(struct entry *entry, enum err err, uint32_t ttl_s);
static void deliver_soon(struct entry *entry);
static void on_deliver(struct timer *timer);
static void deliver(struct entry *entry);
static void finish_closing(struct dns *dns);
static void on_retry(struct timer *timer);
static void arm_retry(struct dns *dns);
static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable);
static void on_socket_event(uv_poll_t *poll, int status, int events);
static void on_watch_closed(uv_handle_t *handle);
static bool start_reply(struct reply *reply, struct slice message);
static bool skip_name(struct reply *reply);
static bool next_rr(struct reply *reply, struct rr *rr);
static bool read_rr(struct entry *entry, const struct reply *reply, const struct rr *rr,
                    struct dns_record *record);
static bool read_name(struct arena *arena, const struct reply *reply, const uint8_t *at,
                      struct slice *out);
static bool read_txt(struct arena *arena, const struct rr *rr, struct slice *out);
static uint32_t negative_ttl(struct reply *reply);
static uint16_t u16_at(const uint8_t *at);
static uint32_t u32_at(const uint8_t *at);

enum err dns_open(struct loop *loop, struct slice servers, struct dns **dns)
{
    CHECK_LOOP(loop);
    struct dns *made = mem_zalloc(sizeof(*made));
    made->loop = loop;
    list_init(&made->ready);
    list_init(&made->due);
    list_init(&made->watches);
    timer_init(&made->deliver, loop, on_deliver);
    timer_init(&made->retry, loop, on_retry);
    init_entry(&made->refused, made);
    made->refused.is_ready = true;
    made->refused.answer.err = ERR_DNS_TEMP;
    init_entry(&made->missing, made);
    made->missing.is_ready = true;
    made->missing.answer =
        (struct dns_answer){.err = ERR_DNS_NONE, .is_name_missing = true, .ttl_s = TTL_MAX_S};

    struct ares_options options = {
        .flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = TRY_MS,
        .tries = TRIES,
        .ednspsz = EDNS_BYTES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = made,
    };
    int status = ares_init_options(&made->channel, &options,
                                   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                       ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        fatal("cannot start the resolver: %s; look at /etc/resolv.conf", ares_strerror(status));
    }
    if (set_servers(made, servers) != ERR_OK) {
        ares_destroy(made->channel);
        free(made);
        return ERR_INVALID;
    }
    *dns = made;
    return ERR_OK;
}

void dns_trust(struct dns *dns)
{
    CHECK_LOOP(dns->loop);
    CHECK(dns->entry_count == 0); /* what was asked before is not known to be secure */
    dns->is_trusted = true;
    struct ares_addr_node *servers = NULL;
    if (ares_get_servers(dns->channel, &servers) != ARES_SUCCESS) {
        return; /* it only warns */
    }
    for (const struct ares_addr_node *node = servers; node != NULL; node = node->next) {
        char text[INET6_ADDRSTRLEN] = "";
        (void)inet_ntop(node->family, &node->addr, text, sizeof(text)); /* "" on failure */
        if (!slice_starts(slice_str(text), SLICE("127.")) && strcmp(text, "::1") != 0) {
            LOG_WARN("dns.trust", LOG_STR("server", text),
                     LOG_STR("remedy", "dns_validates believes what this resolver says of DNSSEC; "
                                       "use one on this machine"));
        }
    }
    ares_free_data(servers);
}

void dns_close(struct dns *dns, dns_closed_fn *on_closed, void *context)
{
    CHECK_LOOP(dns->loop);
    CHECK(!dns->is_closing);
    dns->is_closing = true;
    dns->on_closed = on_closed;
    dns->context = context;
    timer_stop(&dns->retry);
    ares_destroy(dns->channel); /* ends every open question through on_reply */
    dns->channel = NULL;
    CHECK(dns->asking_count == 0);
    timer_start(&dns->deliver, 0);
}

void dns_ask(struct dns *dns, struct dns_query *query, enum dns_type type, struct slice name,
             dns_fn *on_answer)
{
    CHECK_LOOP(dns->loop);
    CHECK(query->dns == NULL);
    CHECK(on_answer != NULL);
    struct entry key;
    struct entry *entry = &dns->missing;
    if (make_key(type, name, &key)) {
        entry = find_or_ask(dns, &key);
    }
    query->dns = dns;
    query->on_answer = on_answer;
    list_push_back(&entry->waiters, &query->link);
    if (entry->is_ready) {
        deliver_soon(entry);
    }
}

void dns_cancel(struct dns_query *query)
{
    if (query->dns != NULL) {
        CHECK_LOOP(query->dns->loop);
        list_remove(&query->link);
        query->dns = NULL;
    }
}

static enum err set_servers(struct dns *dns, struct slice servers)
{
    struct ares_addr_port_node nodes[SERVERS_MAX] = {0};
    size_t count = 0;
    struct slice rest = slice_trim(servers);
    if (rest.len == 0) {
        return ERR_OK;
    }
    while (rest.data != NULL) {
        struct conn_addr addr;
        if (count == SERVERS_MAX ||
            conn_addr_parse(slice_cut(&rest, ','), DNS_PORT, &addr) != ERR_OK) {
            return ERR_INVALID;
        }
        struct ares_addr_port_node *node = &nodes[count];
        node->family = addr.storage.ss_family;
        node->udp_port = conn_addr_port(&addr);
        node->tcp_port = node->udp_port;
        if (node->family == AF_INET) {
            node->addr.addr4 = ((const struct sockaddr_in *)&addr.storage)->sin_addr;
        } else {
            memcpy(&node->addr.addr6, &((const struct sockaddr_in6 *)&addr.storage)->sin6_addr, 16);
        }
        if (count > 0) {
            nodes[count - 1].next = node;
        }
        count++;
    }
    int status = ares_set_servers_ports(dns->channel, nodes);
    CHECK(status == ARES_SUCCESS); /* no question is open yet */
    return ERR_OK;
}

/* False when no name in the DNS looks like that. */
static bool make_key(enum dns_type type, struct slice name, struct entry *key)
{
    if (slice_ends(name, SLICE("."))) {
        name.len--;
    }
    if (name.len == 0 || name.len > DOMAIN_MAX) {
        return false;
    }
    size_t label_len = 0;
    key->key[0] = (char)type;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        label_len = c == '.' ? 0 : label_len + 1;
        /* c-ares reads a backslash as an escape. */
        if (c <= ' ' || c > '~' || c == '\\' || label_len > LABEL_MAX ||
            (c == '.' && (i == 0 || name.data[i - 1] == '.'))) {
            return false;
        }
        key->key[1 + i] = ascii_lower(c);
    }
    key->key[1 + name.len] = '\0';
    key->key_len = (uint32_t)(1 + name.len);
    key->type = type;
    return true;
}

static bool is_localhost(struct slice name)
{
    return slice_equal(name, SLICE("localhost")) || slice_ends(name, SLICE(".localhost"));
}

static struct entry *find_or_ask(struct dns *dns, const struct entry *key)
{
    struct entry *entry = NULL;
    HASH_FIND(hh, dns->entries, key->key, key->key_len, entry);
    if (entry != NULL) {
        bool is_stale = entry->is_ready && loop_now_ms(dns->loop) >= entry->expire_ms;
        if (!is_stale || entry->is_delivering || !list_is_empty(&entry->waiters)) {
            return entry;
        }
        drop_entry(entry);
    }
    if (dns->is_closing || dns->asking_count >= DNS_PENDING_MAX) {
        return &dns->refused;
    }
    make_room(dns);
    entry = mem_alloc(sizeof(*entry));
    init_entry(entry, dns);
    entry->type = key->type;
    entry->key_len = key->key_len;
    memcpy(entry->key, key->key, key->key_len + 1);
    HASH_ADD(hh, dns->entries, key, entry->key_len, entry);
    dns->entry_count++;
    if (is_localhost(slice_of(entry->key + 1, entry->key_len - 1))) {
        answer_localhost(entry);
        return entry;
    }
    dns->asking_count++;
    metric_add(METRIC_DNS_LOOKUPS, 1);
    entry->asked_us = clock_mono_us();
    ask(entry);
    if (!timer_is_on(&dns->retry)) {
        arm_retry(dns); /* a newer question is never due before the older ones */
    }
    return entry;
}

static void init_entry(struct entry *entry, struct dns *dns)
{
    *entry = (struct entry){.dns = dns};
    list_init(&entry->waiters);
    list_init(&entry->age);
    list_init(&entry->due);
    arena_init(&entry->arena, ENTRY_CHUNK, ENTRY_BYTES_MAX);
}

static void drop_entry(struct entry *entry)
{
    struct dns *dns = entry->dns;
    CHECK(entry->is_ready && !entry->is_delivering);
    CHECK(list_is_empty(&entry->waiters));
    HASH_DEL(dns->entries, entry);
    dns->entry_count--;
    list_remove(&entry->age);
    list_remove(&entry->due);
    arena_fini(&entry->arena);
    free(entry);
}

/* The oldest answer goes. Entries in use are few: at most DNS_PENDING_MAX are asked, and the
 * waiters of ready ones are answered within a turn. */
static void make_room(struct dns *dns)
{
    if (dns->entry_count < DNS_CACHE_ENTRIES) {
        return;
    }
    LIST_EACH (&dns->ready, link) {
        struct entry *entry = CONTAINER_OF(link, struct entry, age);
        if (!entry->is_delivering && list_is_empty(&entry->waiters)) {
            drop_entry(entry);
            return;
        }
    }
}

static void answer_localhost(struct entry *entry)
{
    if (entry->type != DNS_A && entry->type != DNS_AAAA) {
        set_ready(entry, ERR_DNS_NONE, TTL_MAX_S);
        return;
    }
    struct dns_record *record = arena_alloc(&entry->arena, sizeof(*record));
    enum err err = conn_addr_parse(entry->type == DNS_A ? SLICE("127.0.0.1") : SLICE("[::1]"), 0,
                                   &record->addr);
    CHECK(err == ERR_OK);
    entry->answer.records = record;
    entry->answer.count = 1;
    set_ready(entry, ERR_OK, TTL_MAX_S);
}

/* May call on_reply before it returns. ares_query has no way to set AD, by which a question asks
 * whether the answer was validated (RFC 6840 5.7). */
static void ask(struct entry *entry)
{
    struct dns *dns = entry->dns;
    const char *name = entry->key + 1;
    int type = wire_types[entry->type];
    unsigned char *bytes = NULL;
    int len = 0;
    if (!dns->is_trusted) {
        ares_query(dns->channel, name, CLASS_IN, type, on_reply, entry);
        return;
    }
    int status = ares_create_query(name, CLASS_IN, type, (uint16_t)crypto_random_u64(), 1, &bytes,
                                   &len, EDNS_BYTES);
    if (status != ARES_SUCCESS) {
        on_reply(entry, status, 0, NULL, 0);
        return;
    }
    CHECK(len >= HEADER_BYTES);
    bytes[3] |= FLAG_AD;
    ares_send(dns->channel, bytes, len, on_raw_reply, entry);
    ares_free_string(bytes);
}

/* As ares_query tells it. */
static void on_raw_reply(void *context, int status, int timeouts, unsigned char *bytes, int len)
{
    if (status == ARES_SUCCESS && (bytes == NULL || len < HEADER_BYTES)) {
        status = ARES_EBADRESP;
    } else if (status == ARES_SUCCESS && (bytes[3] & RCODE_MASK) == RCODE_NXDOMAIN) {
        status = ARES_ENOTFOUND;
    } else if (status == ARES_SUCCESS && (bytes[3] & RCODE_MASK) != 0) {
        status = ARES_ESERVFAIL;
    }
    on_reply(context, status, timeouts, bytes, len);
}

static void on_reply(void *context, int status, int timeouts UNUSED, unsigned char *bytes, int len)
{
    struct entry *entry = context;
    CHECK(!entry->is_ready);
    CHECK(entry->dns->asking_count > 0);
    entry->dns->asking_count--;
    bool has_message = bytes != NULL && len > 0;
    if (status == ARES_EBADNAME) {
        entry->answer.is_name_missing = true;
        set_ready(entry, ERR_DNS_NONE, TTL_MAX_S);
    } else if (has_message &&
               (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND)) {
        read_reply(entry, slice_of(bytes, (size_t)len), status == ARES_ENOTFOUND);
    } else {
        set_ready(entry, ERR_DNS_TEMP, FAILURE_TTL_S);
    }
}

/* RFC 1035 4.1. Records of other types (the CNAMEs on the way) only lower the TTL. */
static void read_reply(struct entry *entry, struct slice message, bool is_name_missing)
{
    struct dns_record records[DNS_ANSWERS_MAX];
    struct reply reply;
    struct rr rr;
    uint32_t count = 0;
    uint32_t ttl_s = TTL_MAX_S;
    bool is_alias = false;
    /* A name has one CNAME; what follows it is the chain that some resolvers add. */
    uint32_t max_count = entry->type == DNS_CNAME ? 1 : DNS_ANSWERS_MAX;
    bool is_good = start_reply(&reply, message);
    for (uint16_t i = 0; is_good && i < reply.answer_count; i++) {
        is_good = next_rr(&reply, &rr);
        if (!is_good || rr.class != CLASS_IN) {
            continue;
        }
        ttl_s = (uint32_t)min_u64(ttl_s, rr.ttl_s);
        is_alias |= rr.type == TYPE_CNAME && entry->type != DNS_CNAME;
        if (rr.type == wire_types[entry->type] && count < max_count && !is_name_missing) {
            records[count] = (struct dns_record){0};
            is_good = read_rr(entry, &reply, &rr, &records[count]) &&
                      (count > 0 || !is_alias ||
                       read_name(&entry->arena, &reply, rr.owner, &entry->answer.owner));
            count++;
        }
    }
    if (!is_good) {
        set_ready(entry, ERR_DNS_TEMP, FAILURE_TTL_S);
        return;
    }
    entry->answer.is_secure = entry->dns->is_trusted && (reply.bytes[3] & FLAG_AD) != 0;
    if (count == 0) {
        entry->answer.is_name_missing = is_name_missing;
        set_ready(entry, ERR_DNS_NONE, negative_ttl(&reply));
        return;
    }
    entry->answer.count = count;
    entry->answer.records = arena_array(&entry->arena, count, sizeof(records[0]));
    memcpy(entry->answer.records, records, count * sizeof(records[0]));
    set_ready(entry, ERR_OK, ttl_s);
}

static void set_ready(struct entry *entry, enum err err, uint32_t ttl_s)
{
    CHECK(!entry->is_ready);
    if (entry->asked_us != 0) {
        metric_observe_at(METRIC_DNS_TIME,
                          err == ERR_OK         ? LABEL_DNS_FOUND
                          : err == ERR_DNS_NONE ? LABEL_DNS_NONE
                                                : LABEL_DNS_FAILED,
                          clock_mono_us() - entry->asked_us);
    }
    CHECK_IF(err == ERR_OK, entry->answer.count > 0);
    entry->is_ready = true;
    entry->answer.err = err;
    entry->answer.ttl_s = (uint32_t)max_u64(TTL_MIN_S, min_u64(ttl_s, TTL_MAX_S));
    entry->expire_ms = loop_now_ms(entry->dns->loop) + entry->answer.ttl_s * UINT64_C(1000);
    list_push_back(&entry->dns->ready, &entry->age);
    if (!list_is_empty(&entry->waiters)) {
        deliver_soon(entry);
    }
}

static void deliver_soon(struct entry *entry)
{
    struct dns *dns = entry->dns;
    if (list_is_empty(&entry->due)) {
        list_push_back(&dns->due, &entry->due);
    }
    timer_start(&dns->deliver, 0);
}

static void on_deliver(struct timer *timer)
{
    struct dns *dns = CONTAINER_OF(timer, struct dns, deliver);
    struct link now;
    list_init(&now);
    list_splice(&now, &dns->due);
    struct link *link = NULL;
    while ((link = list_pop_front(&now)) != NULL) {
        deliver(CONTAINER_OF(link, struct entry, due));
    }
    if (dns->is_closing && dns->watch_count == 0 && list_is_empty(&dns->due)) {
        finish_closing(dns);
    }
}

static void deliver(struct entry *entry)
{
    struct link now;
    list_init(&now);
    list_splice(&now, &entry->waiters);
    entry->is_delivering = true;
    struct link *link = NULL;
    while ((link = list_pop_front(&now)) != NULL) {
        struct dns_query *query = CONTAINER_OF(link, struct dns_query, link);
        query->dns = NULL;
        query->on_answer(query, &entry->answer);
    }
    entry->is_delivering = false;
}

static void finish_closing(struct dns *dns)
{
    struct entry *entry = NULL;
    struct entry *after = NULL;
    HASH_ITER(hh, dns->entries, entry, after)
    {
        drop_entry(entry);
    }
    CHECK(dns->entry_count == 0);
    CHECK(list_is_empty(&dns->watches));
    timer_stop(&dns->deliver);
    dns_closed_fn *on_closed = dns->on_closed;
    void *context = dns->context;
    free(dns);
    on_closed(context);
}

static void on_retry(struct timer *timer)
{
    struct dns *dns = CONTAINER_OF(timer, struct dns, retry);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_retry(dns);
}

static void arm_retry(struct dns *dns)
{
    struct timeval wait = {0};
    if (ares_timeout(dns->channel, NULL, &wait) != NULL) {
        /* Rounded up: c-ares does nothing when it is called a microsecond early. */
        timer_start(&dns->retry, (uint64_t)wait.tv_sec * 1000 + (uint64_t)wait.tv_usec / 1000 + 1);
    }
}

/* Both 0: c-ares is about to close the socket. */
static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
    struct dns *dns = context;
    struct watch *watch = NULL;
    LIST_EACH (&dns->watches, link) {
        struct watch *other = CONTAINER_OF(link, struct watch, link);
        watch = other->fd == fd ? other : watch;
    }
    int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    if (events == 0) {
        if (watch != NULL) {
            list_remove(&watch->link);
            (void)uv_poll_stop(&watch->poll); /* always succeeds */
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        }
        return;
    }
    if (watch == NULL) {
        watch = mem_zalloc(sizeof(*watch));
        watch->dns = dns;
        watch->fd = fd;
        list_push_back(&dns->watches, &watch->link);
        dns->watch_count++;
        int made = uv_poll_init(&dns->loop->uv, &watch->poll, fd);
        CHECK(made == 0); /* a fresh socket that nobody else watches */
    }
    int status = uv_poll_start(&watch->poll, events, on_socket_event);
    CHECK(status == 0);
}

static void on_socket_event(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = CONTAINER_OF(poll, struct watch, poll);
    bool is_broken = status != 0; /* let c-ares find out by itself */
    ares_process_fd(watch->dns->channel,
                    is_broken || (events & UV_READABLE) != 0 ? watch->fd : ARES_SOCKET_BAD,
                    is_broken || (events & UV_WRITABLE) != 0 ? watch->fd : ARES_SOCKET_BAD);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = CONTAINER_OF(handle, struct watch, poll);
    struct dns *dns = watch->dns;
    free(watch);
    CHECK(dns->watch_count > 0);
    dns->watch_count--;
    if (dns->is_closing) {
        timer_start(&dns->deliver, 0);
    }
}

static bool start_reply(struct reply *reply, struct slice message)
{
    *reply = (struct reply){.bytes = (const uint8_t *)message.data, .len = message.len};
    if (message.len < HEADER_BYTES) {
        return false;
    }
    uint16_t question_count = u16_at(reply->bytes + 4);
    reply->answer_count = u16_at(reply->bytes + 6);
    reply->authority_count = u16_at(reply->bytes + 8);
    reply->at = HEADER_BYTES;
    for (uint16_t i = 0; i < question_count; i++) {
        if (!skip_name(reply) || reply->len - reply->at < 4) {
            return false;
        }
        reply->at += 4; /* type and class */
    }
    return true;
}

/* RFC 1035 4.1.4: labels, ended by an empty one or by a pointer. */
static bool skip_name(struct reply *reply)
{
    while (reply->at < reply->len) {
        size_t label = reply->bytes[reply->at];
        if (label == 0) {
            reply->at += 1;
            return true;
        }
        if ((label & 0xc0) == 0xc0) {
            reply->at += 2;
            return reply->at <= reply->len;
        }
        if (label > LABEL_MAX) {
            return false;
        }
        reply->at += 1 + label;
    }
    return false;
}

static bool next_rr(struct reply *reply, struct rr *rr)
{
    rr->owner = reply->bytes + reply->at;
    if (!skip_name(reply) || reply->len - reply->at < 10) {
        return false;
    }
    const uint8_t *fixed = reply->bytes + reply->at;
    rr->type = u16_at(fixed);
    rr->class = u16_at(fixed + 2);
    rr->ttl_s = u32_at(fixed + 4);
    rr->len = u16_at(fixed + 8);
    rr->data = fixed + 10;
    if (rr->ttl_s > INT32_MAX) {
        rr->ttl_s = 0; /* RFC 2181 8 */
    }
    if (reply->len - reply->at - 10 < rr->len) {
        return false;
    }
    reply->at += 10U + rr->len;
    return true;
}

static bool read_rr(struct entry *entry, const struct reply *reply, const struct rr *rr,
                    struct dns_record *record)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&record->addr.storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&record->addr.storage;
    switch (entry->type) {
    case DNS_A:
        if (rr->len != 4) {
            return false;
        }
        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, rr->data, 4);
        return true;
    case DNS_AAAA:
        if (rr->len != 16) {
            return false;
        }
        v6->sin6_family = AF_INET6;
        memcpy(&v6->sin6_addr, rr->data, 16);
        return true;
    case DNS_MX:
        if (rr->len < 3) {
            return false;
        }
        record->priority = u16_at(rr->data);
        return read_name(&entry->arena, reply, rr->data + 2, &record->text);
    case DNS_TXT:
        return read_txt(&entry->arena, rr, &record->text);
    case DNS_CNAME:
    case DNS_PTR:
        return rr->len > 0 && read_name(&entry->arena, reply, rr->data, &record->text);
    case DNS_TLSA: /* RFC 6698 2.1 */
        if (rr->len < 3) {
            return false;
        }
        record->usage = rr->data[0];
        record->selector = rr->data[1];
        record->matching = rr->data[2];
        record->text = arena_dup(&entry->arena, slice_of(rr->data + 3, rr->len - 3U));
        return true;
    }
    return false;
}

static bool read_name(struct arena *arena, const struct reply *reply, const uint8_t *at,
                      struct slice *out)
{
    char *name = NULL;
    long taken = 0;
    if (ares_expand_name(at, reply->bytes, (int)reply->len, &name, &taken) != ARES_SUCCESS) {
        return false;
    }
    *out = arena_lower(arena, slice_str(name));
    ares_free_string(name);
    return true;
}

/* RFC 1035 3.3.14: strings of up to 255 bytes; SPF, DKIM and DMARC read them as one (RFC 7208
 * 3.3). */
static bool read_txt(struct arena *arena, const struct rr *rr, struct slice *out)
{
    char *text = arena_bytes(arena, rr->len);
    size_t text_len = 0;
    size_t at = 0;
    while (at < rr->len) {
        size_t part_len = rr->data[at];
        at++;
        if (part_len > rr->len - at) {
            return false;
        }
        memcpy(text + text_len, rr->data + at, part_len);
        text_len += part_len;
        at += part_len;
    }
    *out = slice_of(text, text_len);
    return true;
}

/* RFC 2308 5: the smaller of the SOA's TTL and its MINIMUM, the last of its five numbers. */
static uint32_t negative_ttl(struct reply *reply)
{
    struct rr rr;
    for (uint16_t i = 0; i < reply->authority_count; i++) {
        if (!next_rr(reply, &rr)) {
            break;
        }
        if (rr.type == TYPE_SOA && rr.len >= 22) {
            return (uint32_t)min_u64(rr.ttl_s, u32_at(rr.data + rr.len - 4));
        }
    }
    return TTL_MIN_S;
}

static uint16_t u16_at(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t u32_at(const uint8_t *at)
{
    return (uint32_t)u16_at(at) << 16 | u16_at(at + 2);
}
