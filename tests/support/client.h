/* client.h - an HTTP client that writes what it likes and reads what comes.
 *
 * For bytes that libcurl would never send, and for several requests at once. One blocking socket;
 * what the server said gathers in `in`. Waiting too long ends the test as world_fail does.
 */
#ifndef SUPPORT_CLIENT_H
#define SUPPORT_CLIENT_H

#include "base/buf.h"
#include "support/world.h"

struct client {
    struct world *world;
    int fd;
    struct buf in;
    bool is_ended; /* the server has closed */
};

/* Connects to the daemon's HTTP port at ip (host byte order). */
void client_open(struct world *world, struct client *client, uint32_t ip);
/* The same to another port of the daemon, at 127.0.0.1. */
void client_dial(struct world *world, struct client *client, uint16_t tcp_port);
void client_close(struct client *client);
/* What the server does not take, because it has closed, is dropped. */
void client_say(struct client *client, struct slice bytes);
/* Reads once; false when nothing came within ms or the server has closed. */
bool client_read(struct client *client, int ms);
/* Waits until the server closes. */
void client_await_end(struct client *client);
/* Waits until needle stands `count` times in what came. */
void client_await(struct client *client, const char *needle, size_t count);
/* The status of the n-th answer, from 0; -1 when there is none. */
int client_status(const struct client *client, size_t number);
size_t client_count(struct slice text, const char *needle);

#endif
