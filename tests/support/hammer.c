/* hammer.c - one thread a client; what they share is two words under a mutex. */
#include "support/hammer.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

#define CLIENTS_MAX 32
#define PIPELINE    8
#define WARM        20 /* requests that each client gets in before the key is taken back */
#define PATIENCE_S  60
#define ANSWERS_MAX (64 * 1024)

struct hammer {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    const char *key;
    uint16_t tcp_port;
    bool is_over; /* the answer to the taking back has come */
    uint64_t let_in;
};

struct smith {
    struct hammer *hammer;
    pthread_t thread;
    uint32_t at_once;
    int fd;
    size_t len;
    char in[ANSWERS_MAX];
    const char *fault;
};

static bool is_over(struct hammer *hammer)
{
    CHECK(pthread_mutex_lock(&hammer->lock) == 0);
    bool is = hammer->is_over;
    CHECK(pthread_mutex_unlock(&hammer->lock) == 0);
    return is;
}

static void count_in(struct hammer *hammer, uint64_t count)
{
    CHECK(pthread_mutex_lock(&hammer->lock) == 0);
    hammer->let_in += count;
    CHECK(pthread_cond_signal(&hammer->moved) == 0);
    CHECK(pthread_mutex_unlock(&hammer->lock) == 0);
}

static void open_one(struct smith *smith)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(smith->hammer->tcp_port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    smith->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    smith->len = 0;
    CHECK(smith->fd != -1);
    CHECK(setsockopt(smith->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(connect(smith->fd, (const struct sockaddr *)&addr, sizeof addr) == 0);
}

/* The status of the next whole answer; 0 when the connection has ended. */
static int read_status(struct smith *smith)
{
    for (;;) {
        struct slice have = slice_of(smith->in, smith->len);
        size_t head = slice_find(have, SLICE("\r\n\r\n"));
        size_t length_at = slice_find(have, SLICE("content-length: "));
        uint64_t body = 0;
        if (head != SIZE_MAX && length_at < head) {
            struct slice rest = slice_from(have, length_at + 16);
            CHECK(slice_u64(slice_cut(&rest, '\r'), &body) == ERR_OK);
            size_t whole = head + 4 + (size_t)body;
            if (smith->len >= whole) {
                int status =
                    (have.data[9] - '0') * 100 + (have.data[10] - '0') * 10 + (have.data[11] - '0');
                memmove(smith->in, smith->in + whole, smith->len - whole);
                smith->len -= whole;
                return status;
            }
        }
        CHECK(smith->len < sizeof smith->in);
        ssize_t got = recv(smith->fd, smith->in + smith->len, sizeof smith->in - smith->len, 0);
        if (got == -1 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            smith->fault = "an answer or the end of a connection did not come";
            return 0;
        }
        if (got <= 0) {
            return 0;
        }
        smith->len += (size_t)got;
    }
}

static void say(struct smith *smith)
{
    char text[4096];
    size_t len = 0;
    for (uint32_t i = 0; i < smith->at_once; i++) {
        len +=
            (size_t)snprintf(text + len, sizeof text - len,
                             "GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
                             smith->hammer->key);
    }
    CHECK(len < sizeof text);
    (void)!send(smith->fd, text, len, MSG_NOSIGNAL); /* the end of the connection is read */
}

/* Until the connection ends. */
static void use_one(struct smith *smith)
{
    for (;;) {
        bool was_over = is_over(smith->hammer);
        say(smith);
        for (uint32_t i = 0; i < smith->at_once; i++) {
            int status = read_status(smith);
            if (status == 0) {
                return;
            }
            if (status == 200 && was_over) {
                smith->fault = "a request was let in after the key had been taken back";
                return;
            }
            if (status != 200 && status != 401) {
                smith->fault = "a request got neither 200 nor 401";
                return;
            }
            count_in(smith->hammer, status == 200);
        }
        if (was_over) { /* all refused; nothing but the end may follow */
            if (read_status(smith) != 0) {
                smith->fault = "a connection outlived the key it had used";
            }
            return;
        }
    }
}

/* What was taken back before it could be used again ends the connection with its first answer. */
static void *smith_main(void *context)
{
    struct smith *smith = context;
    do {
        open_one(smith);
        use_one(smith);
        CHECK(close(smith->fd) == 0);
    } while (smith->fault == NULL && !is_over(smith->hammer));
    return NULL;
}

static void take_back(struct world *world, enum hammer_end end, const char *id, const char *domain)
{
    struct world_call call = {.method = "DELETE", .path = world_text(world, "/v1/keys/%s", id)};
    switch (end) {
    case HAMMER_REVOKE:
        break;
    case HAMMER_DISABLE:
        call.method = "PATCH";
        call.body = SLICE("{\"enabled\":false}");
        break;
    case HAMMER_ROTATE:
        call.method = "POST";
        call.path = world_text(world, "/v1/keys/%s/rotate", id);
        break;
    case HAMMER_DOMAIN:
    case HAMMER_END_COUNT:
        call.path = world_text(world, "/api/domains/%s", domain);
        break;
    }
    struct reply *reply = world_call(world, &call);
    if (reply->status != 200) {
        world_fail(world, "taking a key back: %ld %.*s", reply->status, SLICE_FMT(reply->body));
    }
}

uint64_t hammer_round(struct world *world, enum hammer_end end, uint32_t clients)
{
    static uint32_t round;
    static struct smith smiths[CLIENTS_MAX];
    const char *domain = "";
    const char *bound = "";
    CHECK(clients <= CLIENTS_MAX);
    if (end == HAMMER_DOMAIN) {
        struct reply *made =
            world_post(world, "/api/domains", "{'domain':'hammer%u.test'}", (unsigned)++round);
        domain = reply_text(made, "domain.id");
        bound = world_text(world, ",\"domains\":[\"%s\"]", domain);
    }
    struct world_call call = {
        .method = "POST",
        .path = "/v1/keys",
        .body = slice_str(world_text(world, "{\"name\":\"hammered\"%s}", bound)),
    };
    struct reply *made = world_call(world, &call);
    if (made->status != 201) {
        world_fail(world, "making a key: %ld %.*s", made->status, SLICE_FMT(made->body));
    }
    struct hammer hammer = {.key = reply_text(made, "key"), .tcp_port = world->http_port};
    CHECK(pthread_mutex_init(&hammer.lock, NULL) == 0);
    CHECK(pthread_cond_init(&hammer.moved, NULL) == 0);
    for (uint32_t i = 0; i < clients; i++) {
        smiths[i] = (struct smith){.hammer = &hammer, .at_once = i % 2 == 0 ? 1 : PIPELINE};
        CHECK(pthread_create(&smiths[i].thread, NULL, smith_main, &smiths[i]) == 0);
    }
    CHECK(pthread_mutex_lock(&hammer.lock) == 0);
    while (hammer.let_in < (uint64_t)clients * WARM) {
        CHECK(pthread_cond_wait(&hammer.moved, &hammer.lock) == 0);
    }
    CHECK(pthread_mutex_unlock(&hammer.lock) == 0);
    take_back(world, end, reply_text(made, "id"), domain);
    CHECK(pthread_mutex_lock(&hammer.lock) == 0);
    hammer.is_over = true;
    CHECK(pthread_mutex_unlock(&hammer.lock) == 0);
    for (uint32_t i = 0; i < clients; i++) {
        CHECK(pthread_join(smiths[i].thread, NULL) == 0);
        if (smiths[i].fault != NULL) {
            world_fail(world, "client %u: %s", (unsigned)i, smiths[i].fault);
        }
    }
    CHECK(pthread_cond_destroy(&hammer.moved) == 0);
    CHECK(pthread_mutex_destroy(&hammer.lock) == 0);
    return hammer.let_in;
}
