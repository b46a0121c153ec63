/* api_unsubscribe.c - /u/<token>: a page that asks, and the wish to get no more mail.
 *
 * GET changes nothing, because scanners follow links; it shows a button. What the button posts is
 * what mailbox providers post for their own one (RFC 8058), and is answered when it is on disk. The
 * body says nothing that the token does not.
 */
#include "edge/api_int.h"
#include "mail/unsubscribe_link.h"

#define HEAD                                                                                       \
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"                              \
    "<meta name=\"viewport\" content=\"width=device-width\"><title>Unsubscribe</title></head>"     \
    "<body><h1>Unsubscribe</h1>"
#define TAIL "</body></html>\n"

static void show(struct request *request, const char *page)
{
    struct api_content content = {
        .type = SLICE("text/html; charset=utf-8"),
        .body = slice_str(page),
    };
    api_send_more(request, 200, &content,
                  "cache-control: no-store\r\n"
                  "content-security-policy: default-src 'none'; form-action 'self'; "
                  "frame-ancestors 'none'\r\n"
                  "referrer-policy: no-referrer\r\n"
                  "x-robots-tag: noindex\r\n");
}

static bool read_token(struct request *request, struct unsubscribe_ref *ref)
{
    if (!unsubscribe_token_read(&request->edge->unsubscribe_key, request->params[0],
                                &request->arena, ref)) {
        api_fail(request, ERR_NOT_FOUND);
        return false;
    }
    return true;
}

void api_unsubscribe_page(struct request *request)
{
    struct unsubscribe_ref ref;
    if (read_token(request, &ref)) {
        show(request, HEAD "<p>Do you want no more mail from this sender?</p>"
                           "<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" "
                           "value=\"One-Click\"><button>Unsubscribe</button></form>" TAIL);
    }
}

static void on_done(struct request *request, struct msg *msg UNUSED)
{
    show(request, HEAD "<p>You will get no more mail from this sender.</p>" TAIL);
}

void api_unsubscribe(struct request *request)
{
    struct unsubscribe_ref ref;
    if (!read_token(request, &ref)) {
        return;
    }
    struct msg *msg = api_take(request, MSG_SHARD_UNSUBSCRIBE);
    if (msg != NULL) {
        msg->body.unsubscribe.ref = ref;
        api_post(request, place_shard(request->edge->place, id_account(ref.mail)), msg, on_done);
    }
}
