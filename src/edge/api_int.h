/* api_int.h - decode, post and answer helpers for the handlers, and the handlers themselves.
 *
 * A handler is three steps: decode the body (json shapes), post a message to the actor that owns
 * the fact, and later answer from what came home. Every path ends in exactly one api_answer or
 * api_fail.
 */
#ifndef EDGE_API_INT_H
#define EDGE_API_INT_H

#include "base/json.h"
#include "edge/edge_int.h"

/* ---- decode --------------------------------------------------------------------------------- */

/* Reads the body into *out; answers 400 and returns false when it does not fit the shape. */
bool api_read(struct request *request, const struct json_shape *shape, void *out) MUST_USE;
/* `limit` (1 to PAGE_MAX, default PAGE_DEFAULT); answers 400 and returns false on nonsense. */
bool api_page(struct request *request, uint32_t *limit) MUST_USE;
/* Path parameter as an id of that kind; a malformed one is 404, like one that does not exist. */
bool api_param_id(struct request *request, uint32_t index, enum id_kind kind,
                  struct id *id) MUST_USE;

/* Metadata of a mail or a key as a pack of name, value, "t" or "n"; answers 400 and returns false
 * when a name or value is too long. */
bool api_read_metadata(struct request *request, const struct json_pairs *pairs,
                       struct buf *pack) MUST_USE;

/* A time to come, SCHEDULE_MAX_MS ahead at most: RFC 3339, milliseconds, or "in 2 hours"; answers
 * 400 and returns false on anything else. What is past stays past. */
bool api_read_time(struct request *request, struct slice param, const struct json_time *given,
                   uint64_t *unix_ms) MUST_USE;

/* ---- post ----------------------------------------------------------------------------------- */

/* A message of the edge's pool; NULL after answering 503. */
struct msg *api_take(struct request *request, enum msg_kind kind);
/* Moves the request's arena into msg and posts it; on_return gets the message, and the edge puts it
 * back afterwards. When the message failed, the edge answers from its err and on_return is not
 * called, unless wants_errors. */
void api_post(struct request *request, struct actor *to, struct msg *msg,
              request_msg_fn *on_return);
void api_post_errors(struct request *request, struct actor *to, struct msg *msg,
                     request_msg_fn *on_return);
/* Leaves the request its arena, which is still being filled; otherwise as api_post_errors. */
void api_post_apart(struct request *request, struct actor *to, struct msg *msg,
                    request_msg_fn *on_return);
struct actor *api_shard(struct request *request); /* of the caller's account */
/* Counts bytes that the answer will hold against EDGE_BODY_BYTES; answers 503 and returns false
 * when there are too many already. */
bool api_reserve(struct request *request, uint64_t bytes) MUST_USE;

/* ---- answer --------------------------------------------------------------------------------- */

/* A JSON body under construction: api_json_start, writer calls on body->w, api_json_send. */
struct api_body {
    struct buf buf;
    struct json_writer w;
};
void api_json_start(struct api_body *body);
void api_json_send(struct request *request, uint16_t status, struct api_body *body);
void api_send(struct request *request, uint16_t status, struct slice content_type,
              struct slice body);
/* With header lines of its own, each with its CRLF. */
struct api_content {
    struct slice type;
    struct slice body;
};
void api_send_more(struct request *request, uint16_t status, const struct api_content *content,
                   const char *more_headers);
void api_fail(struct request *request, enum err err);
/* With the field at fault and a sentence; either may be empty. */
void api_fail_field(struct request *request, enum err err, struct slice param,
                    struct slice sentence);
/* From a message that came home with an error. */
void api_fail_msg(struct request *request, const struct msg *msg);

void api_id(struct json_writer *w, const char *name, enum id_kind kind, struct id id);
void api_text(struct json_writer *w, const char *name, struct slice text);
void api_text_or_null(struct json_writer *w, const char *name, struct slice text);
void api_u64(struct json_writer *w, const char *name, uint64_t value);
void api_u64_or_null(struct json_writer *w, const char *name, uint64_t value); /* 0: null */
void api_bool(struct json_writer *w, const char *name, bool value);
void api_metadata(struct json_writer *w, struct slice pack);
void api_pack(struct json_writer *w, const char *name, struct slice pack); /* a list of texts */
/* api_mail.c: members of a message; in a list, and whole; its attachments as a list. */
void api_mail_members(struct json_writer *w, const struct row_mail *mail);
void api_full_mail_members(struct json_writer *w, const struct shard_read *read);
void api_attachments(struct request *request, struct json_writer *w, const struct shard_read *read);

/* api_queue.c: a site as the operator sees it. */
void api_queue_site(struct json_writer *w, const struct queue_site *site);

/* api_domain.c: a message about a domain, NULL after answering 503; the answer that shows one with
 * its DNS records. */
struct msg *api_domain_take(struct request *request, enum domain_op op);
void api_domain_answer(struct request *request, uint16_t status, const struct row_domain *row);

/* ---- sending: api_send.c, api_batch.c ------------------------------------------------------- */

/* Of the Idempotency-Key header: empty when there is none. */
struct api_idempotency {
    struct slice key;
    struct sha256 body_hash;
};
/* Answers 400 and returns false on a key that cannot be one. */
bool api_read_idempotency(struct request *request, struct api_idempotency *idempotency) MUST_USE;
/* request->http.body as one message: what it is by its types alone. ERR_NOT_JSON, ERR_BAD_FIELD,
 * ERR_TOO_LARGE, with *fault filled and nothing answered. */
MUST_USE enum err api_send_read(struct request *request, struct json_fault *fault);
/* What was read: checked, its attachments fetched, posted and answered. The key is in the arena. */
void api_send_message(struct request *request, const struct api_idempotency *idempotency);
/* The answer of a request that is an item of a batch; it is gone afterwards. */
void api_batch_answer(struct request *item, struct slice body);
/* With the request that it came in. */
void api_batch_drop(struct batch *batch);

/* ---- bodies, for the route table ------------------------------------------------------------ */

extern const struct json_shape api_login_shape;
extern const struct json_shape api_google_shape;
extern const struct json_shape api_join_shape;
extern const struct json_shape api_password_shape;
extern const struct json_shape api_member_shape;
extern const struct json_shape api_role_shape;
extern const struct json_shape api_session_rotate_shape;
extern const struct json_shape api_key_shape;
extern const struct json_shape api_rotate_shape;
extern const struct json_shape api_route_shape;
extern const struct json_shape api_replay_shape;
extern const struct json_shape api_hook_shape;
extern const struct json_shape api_hook_events_shape;
extern const struct json_shape api_hook_rotate_shape;
extern const struct json_shape api_mailbox_shape;
extern const struct json_shape api_mailbox_name_shape;
extern const struct json_shape api_mark_shape;
extern const struct json_shape api_suppression_shape;
extern const struct json_shape api_template_shape;
extern const struct json_shape api_preview_shape;
extern const struct json_shape api_domain_shape;
extern const struct json_shape api_domain_change_shape;
extern const struct json_shape api_domain_tracking_shape;
extern const struct json_shape api_send_shape;
extern const struct json_shape api_batch_shape;
extern const struct json_shape api_schedule_shape;
extern const struct json_shape api_admin_account_shape;
extern const struct json_shape api_admin_new_user_shape;
extern const struct json_shape api_admin_user_shape;
extern const struct json_shape api_queue_shape;
extern const struct json_shape api_trace_shape;
extern const struct json_shape api_job_shape;
extern const struct json_shape api_log_shape;
extern const struct json_shape api_drain_shape;
extern const struct json_shape api_rebalance_shape;

/* ---- handlers ------------------------------------------------------------------------------- */

void api_health(struct request *request);
void api_metrics(struct request *request);
void api_openapi(struct request *request);
void api_admin_accounts(struct request *request);
void api_admin_account(struct request *request);
void api_admin_account_change(struct request *request);
void api_admin_users(struct request *request);
void api_admin_user_create(struct request *request);
void api_admin_user(struct request *request);
void api_admin_user_change(struct request *request);
void api_admin_user_unlock(struct request *request);
void api_admin_server(struct request *request);
void api_inspect_shards(struct request *request);
void api_inspect_shard(struct request *request);
void api_inspect_rows(struct request *request);
void api_inspect_mail(struct request *request);
void api_top(struct request *request);
void api_job_start(struct request *request);
void api_job_list(struct request *request);
void api_job_get(struct request *request);
void api_job_cancel(struct request *request);
void api_message_explain(struct request *request);
void api_log_show(struct request *request);
void api_log_set(struct request *request);
void api_drain_show(struct request *request);
void api_drain_start(struct request *request);
void api_drain_cancel(struct request *request);
void api_places_show(struct request *request);
void api_rebalance(struct request *request);
void api_trace_start(struct request *request);
void api_trace_read(struct request *request);
void api_trace_stop(struct request *request);
void api_queue_sites(struct request *request);
void api_queue_accounts(struct request *request);
void api_queue_holds(struct request *request);
void api_queue_ages(struct request *request);
void api_queue_pause(struct request *request);
void api_queue_resume(struct request *request);
void api_queue_retry(struct request *request);
void api_queue_expire(struct request *request);
void api_queue_move(struct request *request);
void api_signup(struct request *request);
void api_login(struct request *request);
void api_logout(struct request *request);
void api_password(struct request *request);
void api_join(struct request *request);
void api_google(struct request *request);
/* What google.h calls: owner is the edge. */
void api_google_person(void *owner, uint64_t token, enum err err,
                       const struct google_person *person);
void api_me(struct request *request);
void api_member_list(struct request *request);
void api_member_add(struct request *request);
void api_member_change(struct request *request);
void api_member_remove(struct request *request);
/* Makes the next key that signs session tokens, tells every edge, answers 200 {ok, generation}. The
 * one before is accepted for SESSION_MS, or no longer when is_now. From any request whose caller
 * was found to be the operator. */
void session_rotate(struct request *request, bool is_now);
void api_session_rotate(struct request *request);
void api_key_create(struct request *request);
void api_key_list(struct request *request);
void api_key_get(struct request *request);
void api_key_change(struct request *request);
void api_key_revoke(struct request *request);
void api_key_rotate(struct request *request);
void api_key_rotate_first(struct request *request);
void api_audit_list(struct request *request);
void api_domain_create(struct request *request);
void api_domain_list(struct request *request);
void api_domain_get(struct request *request);
void api_domain_change(struct request *request);
void api_domain_delete(struct request *request);
void api_domain_verify(struct request *request);
void api_domain_rotate(struct request *request);
void api_domain_health(struct request *request);
void api_domain_track(struct request *request);
void api_domain_untrack(struct request *request);
void api_track_open(struct request *request);
void api_track_click(struct request *request);
/* A message of theirs came home.
 * Owns: takes msg. */
void track_home(struct edge *edge, struct msg *msg);
void api_send_mail(struct request *request);
void api_send_batch(struct request *request);
void api_scheduled_list(struct request *request);
void api_scheduled_get(struct request *request);
void api_scheduled_change(struct request *request);
void api_scheduled_cancel(struct request *request);
void api_message_cancel(struct request *request);
void api_route_create(struct request *request);
void api_route_list(struct request *request);
void api_route_get(struct request *request);
void api_route_change(struct request *request);
void api_route_delete(struct request *request);
void api_route_replay(struct request *request);
void api_hook_set(struct request *request);
void api_hook_clear(struct request *request);
void api_hook_secret(struct request *request);
void api_hook_rotate(struct request *request);
void api_hook_events(struct request *request);
void api_hook_events_clear(struct request *request);
void api_hook_test(struct request *request);
void api_message_list(struct request *request);
void api_message_get(struct request *request);
void api_message_raw(struct request *request);
void api_attachment(struct request *request);
void api_delivery_retry(struct request *request);
void api_mailbox_create(struct request *request);
void api_mailbox_list(struct request *request);
void api_mailbox_get(struct request *request);
void api_mailbox_change(struct request *request);
void api_mailbox_delete(struct request *request);
void api_box_message_list(struct request *request);
void api_box_message_get(struct request *request);
void api_box_message_change(struct request *request);
void api_box_message_delete(struct request *request);
void api_thread_list(struct request *request);
void api_thread_get(struct request *request);
void api_template_create(struct request *request);
void api_template_list(struct request *request);
void api_template_get(struct request *request);
void api_template_change(struct request *request);
void api_template_delete(struct request *request);
void api_template_preview(struct request *request);
void api_unsubscribe_page(struct request *request);
void api_unsubscribe(struct request *request);
void api_suppression_list(struct request *request);
void api_suppression_add(struct request *request);
void api_suppression_get(struct request *request);
void api_suppression_remove(struct request *request);

#endif
