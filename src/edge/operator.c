/* operator.c - who may run the server: whoever came through the admin socket, and administrators.
 *
 * The operator shows no credential: the file system and the kernel have said who that is. A route
 * of an account wants to know which one, in a header. A route of the server (ROUTE_ADMIN) may also
 * be used with a session whose user is an administrator; that is in the user's row, so its shard is
 * asked first:
 *
 *   ROUTE_ADMIN with a credential -> SHARD_ME -> administrator: the handler; anybody else: 403
 */
#include "base/check.h"
#include "edge/api_int.h"

#define ACCOUNT_HEADER "x-meerkat-account"

static enum err refuse(struct request *request, enum err err, const char *param,
                       const char *sentence)
{
    request->fault_param = slice_str(param);
    request->fault_sentence = slice_str(sentence);
    return err;
}

enum err operator_admit(struct request *request)
{
    request->caller = (struct caller){.kind = CALLER_OPERATOR, .right = request->route->right};
    if (request->route->access == ROUTE_PUBLIC || request->route->access == ROUTE_ADMIN) {
        return ERR_OK;
    }
    struct slice text = http_header_get(&request->http, SLICE(ACCOUNT_HEADER));
    if (account_parse(text, &request->caller.account) != ERR_OK) {
        return refuse(request, ERR_BAD_FIELD, ACCOUNT_HEADER,
                      "through the admin socket, the header x-meerkat-account names the account");
    }
    return ERR_OK;
}

static enum err refuse_others(struct request *request)
{
    return refuse(request, ERR_SCOPE, "admin", "this is for the administrators of the server");
}

static void on_known(struct request *request, struct msg *msg)
{
    const struct shard_me *me = &msg->body.me;
    if (msg->err != ERR_OK) {
        api_fail_msg(request, msg);
        return;
    }
    if (!me->has_user || !me->user.is_admin) {
        api_fail(request, refuse_others(request));
        return;
    }
    request->admin_email = arena_dup(&request->keep, me->user.email);
    request->route->handle(request);
}

void operator_handle(struct request *request)
{
    CHECK(request->route != NULL);
    if (request->route->access != ROUTE_ADMIN || request->session->is_operator) {
        request->route->handle(request);
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_ME);
    if (msg != NULL) {
        msg->body.me.caller = request->caller;
        api_post_apart(request, api_shard(request), msg, on_known);
    }
}
