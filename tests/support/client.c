/* client.c - see client.h. */
#include "support/client.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"

#define READ_BYTES (64 * KIB)

static void dial(struct world *world, struct client *client, uint32_t ip, uint16_t tcp_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(tcp_port)};
    addr.sin_addr.s_addr = htonl(ip);
    client->world = world;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(client->fd != -1);
    if (connect(client->fd, (struct sockaddr *)&addr, sizeof addr) == -1) {
        world_fail(world, "cannot connect to the daemon");
    }
    buf_init(&client->in, 64 * MIB);
    client->is_ended = false;
}

void client_open(struct world *world, struct client *client, uint32_t ip)
{
    dial(world, client, ip, world->http_port);
}

void client_dial(struct world *world, struct client *client, uint16_t tcp_port)
{
    dial(world, client, INADDR_LOOPBACK, tcp_port);
}

void client_close(struct client *client)
{
    (void)close(client->fd); /* nothing is lost that matters */
    buf_fini(&client->in);
}

void client_say(struct client *client, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t count = send(client->fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (count <= 0) {
            return;
        }
        bytes = slice_from(bytes, (size_t)count);
    }
}

bool client_read(struct client *client, int ms)
{
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
    if (client->is_ended || poll(&poll_fd, 1, ms) != 1) {
        return false;
    }
    char *room = buf_room(&client->in, (size_t)READ_BYTES);
    CHECK(room != NULL);
    ssize_t count = recv(client->fd, room, (size_t)READ_BYTES, 0);
    if (count <= 0) {
        client->is_ended = true;
        return false;
    }
    buf_grew(&client->in, (size_t)count);
    return true;
}

void client_await_end(struct client *client)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (!client->is_ended && wait_more(&wait)) {
        (void)client_read(client, 100); /* is_ended tells */
    }
    if (!client->is_ended) {
        world_fail(client->world, "the server keeps the connection: %.*s",
                   SLICE_FMT(buf_slice(&client->in)));
    }
}

void client_await(struct client *client, const char *needle, size_t count)
{
    struct wait wait = wait_start(WORLD_WAIT_MS);
    while (client_count(buf_slice(&client->in), needle) < count && !client->is_ended &&
           wait_more(&wait)) {
        (void)client_read(client, 100); /* what came is counted */
    }
    if (client_count(buf_slice(&client->in), needle) < count) {
        world_fail(client->world, "not %zu times \"%s\" in: %.*s", count, needle,
                   SLICE_FMT(buf_slice(&client->in)));
    }
}

int client_status(const struct client *client, size_t number)
{
    struct slice rest = buf_slice(&client->in);
    for (size_t i = 0;; i++) {
        size_t at = slice_find(rest, SLICE("HTTP/1.1 "));
        uint64_t status = 0;
        if (at == SIZE_MAX) {
            return -1;
        }
        rest = slice_from(rest, at + 9);
        if (i == number) {
            return slice_uint(slice_head(rest, 3), 999, &status) == ERR_OK ? (int)status : -1;
        }
    }
}

size_t client_count(struct slice text, const char *needle)
{
    size_t count = 0;
    size_t at;
    while ((at = slice_find(text, slice_str(needle))) != SIZE_MAX) {
        count += 1;
        text = slice_from(text, at + 1);
    }
    return count;
}
