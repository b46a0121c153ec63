/* routes.c - the route table and its matcher. */
#include "edge/routes.h"

#include "base/limits.h"
#include "edge/api_int.h"

#define SMALL (64 * KIB) /* a body of a few fields */

static const struct route routes[] = {
    {HTTP_METHOD_GET, "/api/health", ROUTE_PUBLIC, RIGHT_NONE, 0, api_health},
    {HTTP_METHOD_GET, "/metrics", ROUTE_PUBLIC, RIGHT_NONE, 0, api_metrics},

    {HTTP_METHOD_POST, "/api/auth/signup", ROUTE_PUBLIC, RIGHT_NONE, SMALL, api_signup},
    {HTTP_METHOD_POST, "/api/auth/login", ROUTE_PUBLIC, RIGHT_NONE, SMALL, api_login},
    {HTTP_METHOD_GET, "/v1/me", ROUTE_CREDENTIAL, RIGHT_NONE, 0, api_me},

    {HTTP_METHOD_POST, "/v1/send", ROUTE_CREDENTIAL, RIGHT_MAIL_SEND, HTTP_BODY_MAX, api_send_mail},

    {HTTP_METHOD_GET, "/v1/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_list},
    {HTTP_METHOD_POST, "/v1/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_create},
    {HTTP_METHOD_POST, "/v1/keys/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate_first},
    {HTTP_METHOD_GET, "/v1/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_get},
    {HTTP_METHOD_PATCH, "/v1/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_change},
    {HTTP_METHOD_DELETE, "/v1/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_revoke},
    {HTTP_METHOD_POST, "/v1/keys/:id/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate},
    {HTTP_METHOD_GET, "/api/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_list},
    {HTTP_METHOD_POST, "/api/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_create},
    {HTTP_METHOD_POST, "/api/keys/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate_first},
    {HTTP_METHOD_GET, "/api/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_get},
    {HTTP_METHOD_PATCH, "/api/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_change},
    {HTTP_METHOD_DELETE, "/api/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_revoke},
    {HTTP_METHOD_POST, "/api/keys/:id/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate},

    {HTTP_METHOD_GET, "/api/domains", ROUTE_CREDENTIAL, RIGHT_DOMAINS_READ, 0, api_domain_list},
    {HTTP_METHOD_POST, "/api/domains", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_create},
    {HTTP_METHOD_GET, "/api/domains/:id", ROUTE_CREDENTIAL, RIGHT_DOMAINS_READ, 0, api_domain_get},
    {HTTP_METHOD_DELETE, "/api/domains/:id", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_delete},
    {HTTP_METHOD_POST, "/api/domains/:id/verify", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_verify},

    {HTTP_METHOD_GET, "/api/messages", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_message_list},
    {HTTP_METHOD_GET, "/api/messages/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_message_get},
    {HTTP_METHOD_GET, "/api/messages/:id/raw", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0,
     api_message_raw},
    {HTTP_METHOD_POST, "/api/deliveries/:id/retry", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, SMALL,
     api_delivery_retry},
};

static bool match(const struct route *route, struct slice path,
                  struct slice params[ROUTE_PARAM_MAX])
{
    struct slice pattern = slice_str(route->path);
    uint32_t count = 0;
    while (pattern.data != NULL && path.data != NULL) {
        struct slice want = slice_cut(&pattern, '/');
        struct slice have = slice_cut(&path, '/');
        if (want.len > 0 && want.data[0] == ':') {
            if (have.len == 0 || count == ROUTE_PARAM_MAX) {
                return false;
            }
            params[count++] = have;
        } else if (!slice_equal(want, have)) {
            return false;
        }
    }
    return pattern.data == NULL && path.data == NULL;
}

enum err routes_find(enum http_method method, struct slice path, struct arena *arena,
                     const struct route **route, struct slice params[ROUTE_PARAM_MAX])
{
    enum http_method wanted = method == HTTP_METHOD_HEAD ? HTTP_METHOD_GET : method;
    bool is_path_known = false;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        struct slice found[ROUTE_PARAM_MAX] = {{0}};
        if (!match(&routes[i], path, found)) {
            continue;
        }
        is_path_known = true;
        if (routes[i].method != wanted) {
            continue;
        }
        for (size_t n = 0; n < ROUTE_PARAM_MAX; n++) {
            if (found[n].len > 0 && http_unescape(found[n], arena, &params[n]) != ERR_OK) {
                return ERR_NO_ROUTE;
            }
        }
        *route = &routes[i];
        return ERR_OK;
    }
    return is_path_known ? ERR_METHOD : ERR_NO_ROUTE;
}

const struct route *routes_all(uint32_t *count)
{
    *count = ARRAY_LEN(routes);
    return routes;
}
