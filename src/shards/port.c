/* port.c - the queue into an actor. */
#include "shards/port.h"

#include "base/check.h"

static void on_async(uv_async_t *handle);
static void on_async_closed(uv_handle_t *handle);
static void open_wake(struct port *port, struct loop *loop);
static void lock(struct port *port);
static void unlock(struct port *port);
static void wake(struct port *port);
static struct msg *detach(struct port *port, uint32_t *count);

void port_init(struct port *port, struct loop *loop, uint32_t depth_max, port_fn *on_wake,
               void *context)
{
    CHECK(depth_max > 0);
    CHECK((loop != NULL) == (on_wake != NULL));
    *port =
        (struct port){.depth_max = depth_max, .on_wake = on_wake, .context = context, .loop = loop};
    int result = pthread_mutex_init(&port->lock, NULL);
    CHECK(result == 0);
    result = pthread_cond_init(&port->arrived, NULL);
    CHECK(result == 0);
    if (loop != NULL) {
        open_wake(port, loop);
    }
}

void port_fini(struct port *port)
{
    CHECK(port->first == NULL);
    CHECK_IF(port->loop != NULL, port->is_closed);
    int result = pthread_cond_destroy(&port->arrived);
    CHECK(result == 0);
    result = pthread_mutex_destroy(&port->lock);
    CHECK(result == 0);
}

void port_close(struct port *port)
{
    CHECK(!port->is_closed);
    lock(port);
    port->is_closed = true;
    unlock(port);
    if (port->loop != NULL) {
        CHECK_LOOP(port->loop);
        uv_close((uv_handle_t *)&port->wake, NULL);
    }
}

void port_leave(struct port *port, port_fn *on_left)
{
    CHECK_LOOP(port->loop);
    CHECK(!port->is_closed);
    CHECK(!port->is_away);
    port->on_left = on_left;
    lock(port);
    port->is_away = true;
    unlock(port);
    uv_close((uv_handle_t *)&port->wake, on_async_closed);
}

void port_arrive(struct port *port, struct loop *loop)
{
    CHECK(port->is_away); /* nobody else writes it meanwhile */
    open_wake(port, loop);
    lock(port);
    port->loop = loop;
    port->is_away = false;
    wake(port); /* whatever came, and whoever nudged */
    unlock(port);
}

void port_push(struct port *port, struct msg *msg)
{
    CHECK(msg->next == NULL);
    lock(port);
    CHECK(!port->is_closed);
    CHECK(port->depth < port->depth_max);
    const bool was_empty = port->first == NULL;
    if (was_empty) {
        port->first = msg;
    } else {
        port->last->next = msg;
    }
    port->last = msg;
    port->depth++;
    if (was_empty) {
        wake(port);
    }
    unlock(port);
}

struct msg *port_detach(struct port *port, uint32_t *count)
{
    if (port->loop != NULL) {
        CHECK_LOOP(port->loop);
    }
    lock(port);
    struct msg *list = detach(port, count);
    unlock(port);
    return list;
}

struct msg *port_wait(struct port *port, uint32_t *count)
{
    CHECK(port->loop == NULL);
    lock(port);
    while (port->first == NULL) {
        const int result = pthread_cond_wait(&port->arrived, &port->lock);
        CHECK(result == 0);
    }
    struct msg *list = detach(port, count);
    unlock(port);
    return list;
}

uint32_t port_depth(struct port *port)
{
    lock(port);
    const uint32_t depth = port->depth;
    unlock(port);
    return depth;
}

void port_nudge(struct port *port)
{
    CHECK(port->loop != NULL);
    lock(port);
    CHECK(!port->is_closed);
    wake(port);
    unlock(port);
}

static void on_async(uv_async_t *handle)
{
    struct port *port = CONTAINER_OF(handle, struct port, wake);
    port->on_wake(port->context);
}

static void on_async_closed(uv_handle_t *handle)
{
    struct port *port = CONTAINER_OF((uv_async_t *)handle, struct port, wake);
    port->on_left(port->context); /* the port may be another thread's now */
}

static void open_wake(struct port *port, struct loop *loop)
{
    CHECK_LOOP(loop);
    int result = uv_async_init(&loop->uv, &port->wake, on_async);
    if (result != 0) {
        fatal("cannot make a wake-up handle (%s): raise the limit of open files (ulimit -n)",
              uv_strerror(result));
    }
}

static void lock(struct port *port)
{
    const int result = pthread_mutex_lock(&port->lock);
    CHECK(result == 0);
}

static void unlock(struct port *port)
{
    const int result = pthread_mutex_unlock(&port->lock);
    CHECK(result == 0);
}

/* Under lock, see the header. */
static void wake(struct port *port)
{
    if (port->is_away) {
        return;
    }
    const int result =
        port->loop != NULL ? uv_async_send(&port->wake) : pthread_cond_signal(&port->arrived);
    CHECK(result == 0);
}

static struct msg *detach(struct port *port, uint32_t *count)
{
    struct msg *list = port->first;
    *count = port->depth;
    port->first = NULL;
    port->last = NULL;
    port->depth = 0;
    return list;
}
