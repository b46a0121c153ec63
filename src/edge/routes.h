/* routes.h - every HTTP route in one readable table: method, path, credential, right, body ceiling,
 * handler, and what /openapi.json says of it.
 *
 * A path is literal segments and `:name` parameters, at most ROUTE_PARAM_MAX. The handler runs when
 * the whole request is there and the credential's syntax was checked; the right is checked by the
 * account's shard.
 */
#ifndef EDGE_ROUTES_H
#define EDGE_ROUTES_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "net/http.h"
#include "shards/msg.h"

#define ROUTE_PARAM_MAX 2

struct json_shape;
struct request;
typedef void route_fn(struct request *request);

/* ROUTE_ADMIN: the server's own people, whatever their account: through the admin socket, or with a
 * session of a user who is an administrator. No API key. */
enum route_access {
    ROUTE_PUBLIC,
    ROUTE_CREDENTIAL, /* a key or a session */
    ROUTE_SESSION,    /* of a person: 403 for a key, whatever its scopes */
    ROUTE_ADMIN,
};

/* A route as its users see it. */
struct route_doc {
    const char *summary;           /* "List the API keys, newest first" */
    const char *tag;               /* one word: the chapter it stands in */
    const struct json_shape *body; /* what the handler reads; NULL: nothing */
    const char *required;          /* fields that the handler demands beyond the shape: "from to" */
    const char *query;  /* parameters beside those of the path, as openapi.c knows them: "limit" */
    const char *answer; /* name of a schema in openapi_schemas.c, "[Key]" for a list; NULL: any */
    const char *media;  /* of the answer; NULL: application/json */
    uint16_t status;    /* of success; 0: 200 */
};

struct route {
    enum http_method method;
    const char *path;
    enum route_access access;
    enum right right;
    uint64_t body_max;
    route_fn *handle;
    struct route_doc doc;
};

/* Finds the route; params are percent-decoded into arena. ERR_NO_ROUTE, ERR_METHOD (the path
 * exists). HEAD finds GET. */
MUST_USE enum err routes_find(enum http_method method, struct slice path, struct arena *arena,
                              const struct route **route, struct slice params[ROUTE_PARAM_MAX]);
/* The table, for tests and documents. */
const struct route *routes_all(uint32_t *count);

#endif
