/* api_track.c - links that count: what a domain wants counted, the picture, the redirect.
 *
 * Whoever opens a mail or follows a link waits for nobody: the answer is in the link itself, the
 * shard is told on the side, and when there is no message to tell it with, the open or click goes
 * uncounted. At most TRACK_OPEN_MSGS of the edge's messages are out for this, so that strangers
 * leave the others to those who have a credential.
 */
#include "base/cidr.h"
#include "base/limits.h"
#include "edge/api_int.h"
#include "mail/addr.h"
#include "mail/track_link.h"

/* ---- what a domain wants -------------------------------------------------------------------- */

struct tracking_body {
    struct slice host;
    bool has_host;
    bool opens;
    bool has_opens;
    bool clicks;
    bool has_clicks;
};

static const struct json_field tracking_fields[] = {
    {.name = "host",
     .type = JSON_TEXT,
     .offset = offsetof(struct tracking_body, host),
     .has_offset = offsetof(struct tracking_body, has_host),
     .max = DOMAIN_MAX},
    {.name = "opens",
     .type = JSON_BOOL,
     .offset = offsetof(struct tracking_body, opens),
     .has_offset = offsetof(struct tracking_body, has_opens)},
    {.name = "clicks",
     .type = JSON_BOOL,
     .offset = offsetof(struct tracking_body, clicks),
     .has_offset = offsetof(struct tracking_body, has_clicks)},
};
const struct json_shape api_domain_tracking_shape = {tracking_fields, ARRAY_LEN(tracking_fields),
                                                     sizeof(struct tracking_body)};

static void on_changed(struct request *request, struct msg *msg)
{
    api_domain_answer(request, 200, &msg->body.domain.rows[0]);
}

void api_domain_track(struct request *request)
{
    struct tracking_body body;
    struct slice host = SLICE("");
    if (!api_param_id(request, 0, ID_DOMAIN, &request->subject) ||
        !api_read(request, &api_domain_tracking_shape, &body)) {
        return;
    }
    if (body.host.len > 0 && domain_normalise(body.host, false, &request->arena, &host) != ERR_OK) {
        api_fail_field(request, ERR_BAD_FIELD, SLICE("host"),
                       SLICE("host is not a valid host name"));
        return;
    }
    struct msg *msg = api_domain_take(request, DOMAIN_CHANGE);
    if (msg != NULL) {
        struct shard_domain *change = &msg->body.domain;
        change->given |= body.has_host ? DOMAIN_FIELD_TRACK_HOST : 0;
        change->given |= body.has_opens ? DOMAIN_FIELD_TRACK_OPENS : 0;
        change->given |= body.has_clicks ? DOMAIN_FIELD_TRACK_CLICKS : 0;
        change->track_host = host;
        change->tracks_opens = body.opens;
        change->tracks_clicks = body.clicks;
        api_post(request, api_shard(request), msg, on_changed);
    }
}

void api_domain_untrack(struct request *request)
{
    if (!api_param_id(request, 0, ID_DOMAIN, &request->subject)) {
        return;
    }
    struct msg *msg = api_domain_take(request, DOMAIN_CHANGE);
    if (msg != NULL) {
        msg->body.domain.given =
            DOMAIN_FIELD_TRACK_HOST | DOMAIN_FIELD_TRACK_OPENS | DOMAIN_FIELD_TRACK_CLICKS;
        api_post(request, api_shard(request), msg, on_changed);
    }
}

/* ---- opens and clicks ----------------------------------------------------------------------- */

static void tell(struct request *request, const struct track_ref *ref)
{
    struct edge *edge = request->edge;
    char ip[IP6_TEXT_MAX];
    struct msg *msg = NULL;
    if (edge->tracks_open < TRACK_OPEN_MSGS) {
        msg = msg_take(&edge->actor, MSG_SHARD_TRACK);
    }
    if (msg == NULL) {
        return; /* uncounted */
    }
    struct slice agent = http_header_get(&request->http, SLICE("user-agent"));
    struct shard_track *track = &msg->body.track;
    track->ref = *ref;
    track->ref.url = arena_dup(&msg->arena, ref->url);
    track->agent = arena_dup(&msg->arena, slice_head(agent, TRACK_AGENT_MAX));
    track->ip = arena_dup(&msg->arena, slice_of(ip, ip6_text(&request->caller.peer, ip)));
    track->is_head = request->is_head;
    msg->expire_ms = loop_now_ms(edge->loop) + REQUEST_WAIT_MS;
    edge->tracks_open++;
    actor_post(place_shard(edge->place, id_account(ref->mail)), msg);
}

void track_home(struct edge *edge, struct msg *msg)
{
    edge->tracks_open--;
    msg_put(&edge->actor, msg);
}

void api_track_open(struct request *request)
{
    /* Transparent, one pixel. */
    static const char gif[] = "GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1"
                              "\0\1\0\0\2\2D\1\0;";
    struct track_ref ref = {.kind = TRACK_OPEN};
    if (!track_token_read(&request->edge->track_key, request->params[0], &request->arena, &ref)) {
        api_fail(request, ERR_NOT_FOUND);
        return;
    }
    tell(request, &ref);
    struct api_content content = {
        .type = SLICE("image/gif"),
        .body = slice_of(gif, sizeof(gif) - 1),
    };
    api_send_more(request, 200, &content, "cache-control: no-store\r\n");
}

void api_track_click(struct request *request)
{
    struct track_ref ref = {.kind = TRACK_CLICK};
    if (!track_token_read(&request->edge->track_key, request->params[0], &request->arena, &ref)) {
        api_fail(request, ERR_NOT_FOUND);
        return;
    }
    tell(request, &ref);
    /* What was signed had passed track_url_read: ASCII, no controls. */
    struct slice more = arena_format(&request->keep,
                                     "location: %.*s\r\ncache-control: no-store\r\n"
                                     "referrer-policy: no-referrer\r\n",
                                     SLICE_FMT(ref.url));
    struct api_content content = {.type = SLICE("")};
    api_send_more(request, 302, &content, more.data);
}
