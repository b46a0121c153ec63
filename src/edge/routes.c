/* routes.c - the route table and its matcher. */
#include "edge/routes.h"

#include "base/limits.h"
#include "edge/api_int.h"

#define SMALL (64 * KIB) /* a body of a few fields */
/* A template, or values for one, with every quote and line break escaped. */
#define TEMPLATE_BODY_MAX (4 * TEMPLATE_BYTES_MAX)

/* Chapter, summary, name of the answer's schema, then more members of struct route_doc. */
#define DOC(tag_, summary_, ...)                                                                   \
    {                                                                                              \
        .tag = (tag_), .summary = (summary_), .answer = __VA_ARGS__                                \
    }

static const struct route routes[] = {
    {HTTP_METHOD_GET, "/api/health", ROUTE_PUBLIC, RIGHT_NONE, 0, api_health,
     DOC("service", "Tell whether the service takes requests", "Ok")},
    {HTTP_METHOD_GET, "/openapi.json", ROUTE_PUBLIC, RIGHT_NONE, 0, api_openapi,
     DOC("service", "Describe every route, as OpenAPI 3.1", NULL)},
    {HTTP_METHOD_GET, "/metrics", ROUTE_PUBLIC, RIGHT_NONE, 0, api_metrics,
     DOC("service", "Show the metrics, in Prometheus text", NULL, .media = "text/plain")},

    {HTTP_METHOD_POST, "/api/auth/signup", ROUTE_PUBLIC, RIGHT_NONE, SMALL, api_signup,
     DOC("people", "Sign up: a user, an account, a first key", "SignedUp", .body = &api_login_shape,
         .status = 201)},
    {HTTP_METHOD_POST, "/api/auth/login", ROUTE_PUBLIC, RIGHT_NONE, SMALL, api_login,
     DOC("people", "Log in: opens a session", "LoggedIn", .body = &api_login_shape)},
    {HTTP_METHOD_POST, "/api/auth/google", ROUTE_PUBLIC, RIGHT_NONE, SMALL, api_google,
     DOC("people", "Sign in with Google: the code of its redirect for a session", "LoggedIn",
         .body = &api_google_shape)},
    {HTTP_METHOD_POST, "/api/auth/join", ROUTE_PUBLIC, RIGHT_NONE, SMALL, api_join,
     DOC("people", "Accept an invitation: a first password", "LoggedIn", .body = &api_join_shape)},
    {HTTP_METHOD_POST, "/api/auth/logout", ROUTE_SESSION, RIGHT_NONE, SMALL, api_logout,
     DOC("people", "End this session", "Ok")},
    {HTTP_METHOD_POST, "/api/auth/password", ROUTE_SESSION, RIGHT_NONE, SMALL, api_password,
     DOC("people", "Change the password; ends all other sessions", "Ok",
         .body = &api_password_shape)},
    {HTTP_METHOD_GET, "/v1/me", ROUTE_CREDENTIAL, RIGHT_NONE, 0, api_me,
     DOC("people", "Show who the credential belongs to and what it may do", "Me")},

    {HTTP_METHOD_GET, "/api/members", ROUTE_SESSION, RIGHT_NONE, 0, api_member_list,
     DOC("people", "List the people of the account, newest first", "[Member]")},
    {HTTP_METHOD_POST, "/api/members", ROUTE_SESSION, RIGHT_NONE, SMALL, api_member_add,
     DOC("people", "Add a person; without a password, invite", "NewMember",
         .body = &api_member_shape, .status = 201)},
    {HTTP_METHOD_PATCH, "/api/members/:id", ROUTE_SESSION, RIGHT_NONE, SMALL, api_member_change,
     DOC("people", "Change a person's role", "Member", .body = &api_role_shape)},
    {HTTP_METHOD_DELETE, "/api/members/:id", ROUTE_SESSION, RIGHT_NONE, SMALL, api_member_remove,
     DOC("people", "Remove a person; ends all their sessions", "Ok")},

    {HTTP_METHOD_POST, "/api/admin/sessions/rotate", ROUTE_ADMIN, RIGHT_NONE, SMALL,
     api_session_rotate,
     DOC("admin",
         "Make another key sign session tokens; the old one counts for 12 hours more, "
         "or no longer",
         "Rotation", .body = &api_session_rotate_shape)},

    {HTTP_METHOD_POST, "/v1/send", ROUTE_CREDENTIAL, RIGHT_MAIL_SEND, HTTP_BODY_MAX, api_send_mail,
     DOC("sending", "Send a mail; answered when it is on disk", "Accepted", .body = &api_send_shape,
         .query = "Idempotency-Key", .status = 202)},
    {HTTP_METHOD_POST, "/v1/send/batch", ROUTE_CREDENTIAL, RIGHT_MAIL_SEND, HTTP_BODY_MAX,
     api_send_batch,
     DOC("sending", "Send up to 100 mails, each with an answer of its own", "Batch",
         .body = &api_batch_shape, .query = "Idempotency-Key")},
    {HTTP_METHOD_GET, "/v1/scheduled", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_scheduled_list,
     DOC("sending", "List the mails that wait for their time, newest first", "[Scheduled]",
         .query = "before limit")},
    {HTTP_METHOD_GET, "/v1/scheduled/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_scheduled_get,
     DOC("sending", "Show a mail that was scheduled", "Scheduled")},
    {HTTP_METHOD_PATCH, "/v1/scheduled/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_SEND, SMALL,
     api_scheduled_change,
     DOC("sending", "Move a mail that waits to another time", "Scheduled",
         .body = &api_schedule_shape)},
    {HTTP_METHOD_DELETE, "/v1/scheduled/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_SEND, SMALL,
     api_scheduled_cancel, DOC("sending", "Cancel a mail that waits", "Cancelled")},

    {HTTP_METHOD_GET, "/v1/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_list,
     DOC("keys", "List the API keys, newest first", "[Key]", .query = "before limit")},
    {HTTP_METHOD_POST, "/v1/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_create,
     DOC("keys", "Make an API key; its text is shown this once", "NewKey", .body = &api_key_shape,
         .required = "name", .status = 201)},
    {HTTP_METHOD_POST, "/v1/keys/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate_first, DOC("keys", "Rotate the account's first key, at once", "KeyText")},
    {HTTP_METHOD_GET, "/v1/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_get,
     DOC("keys", "Show an API key", "Key")},
    {HTTP_METHOD_PATCH, "/v1/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_change,
     DOC("keys", "Change an API key", "Key", .body = &api_key_shape)},
    {HTTP_METHOD_DELETE, "/v1/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_revoke,
     DOC("keys", "Revoke an API key; it stays listed", "Ok")},
    {HTTP_METHOD_POST, "/v1/keys/:id/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate,
     DOC("keys", "Replace an API key by a new one", "NewKey", .body = &api_rotate_shape)},
    {HTTP_METHOD_GET, "/api/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_list,
     DOC("keys", "List the API keys, newest first", "[Key]", .query = "before limit")},
    {HTTP_METHOD_POST, "/api/keys", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_create,
     DOC("keys", "Make an API key; its text is shown this once", "NewKey", .body = &api_key_shape,
         .required = "name", .status = 201)},
    {HTTP_METHOD_POST, "/api/keys/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate_first, DOC("keys", "Rotate the account's first key, at once", "KeyText")},
    {HTTP_METHOD_GET, "/api/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_key_get,
     DOC("keys", "Show an API key", "Key")},
    {HTTP_METHOD_PATCH, "/api/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_change,
     DOC("keys", "Change an API key", "Key", .body = &api_key_shape)},
    {HTTP_METHOD_DELETE, "/api/keys/:id", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL, api_key_revoke,
     DOC("keys", "Revoke an API key; it stays listed", "Ok")},
    {HTTP_METHOD_POST, "/api/keys/:id/rotate", ROUTE_CREDENTIAL, RIGHT_KEYS_WRITE, SMALL,
     api_key_rotate,
     DOC("keys", "Replace an API key by a new one", "NewKey", .body = &api_rotate_shape)},

    {HTTP_METHOD_GET, "/api/audit", ROUTE_CREDENTIAL, RIGHT_KEYS_READ, 0, api_audit_list,
     DOC("keys", "List who did what in the account, newest first", "[Audit]",
         .query = "before limit")},

    {HTTP_METHOD_GET, "/api/domains", ROUTE_CREDENTIAL, RIGHT_DOMAINS_READ, 0, api_domain_list,
     DOC("domains", "List the domains, newest first", "[Domain]", .query = "before limit")},
    {HTTP_METHOD_POST, "/api/domains", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_create,
     DOC("domains", "Add a domain", "DomainWithDns", .body = &api_domain_shape, .status = 201)},
    {HTTP_METHOD_GET, "/api/domains/:id", ROUTE_CREDENTIAL, RIGHT_DOMAINS_READ, 0, api_domain_get,
     DOC("domains", "Show a domain and the DNS records to publish", "DomainWithDns")},
    {HTTP_METHOD_PATCH, "/api/domains/:id", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_change,
     DOC("domains", "Change how long mails of a domain are kept", "DomainWithDns",
         .body = &api_domain_change_shape)},
    {HTTP_METHOD_DELETE, "/api/domains/:id", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_delete, DOC("domains", "Remove a domain", "Ok")},
    {HTTP_METHOD_POST, "/api/domains/:id/verify", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_verify, DOC("domains", "Look the DNS records of a domain up", "DomainChecks")},

    {HTTP_METHOD_GET, "/api/domains/:id/health", ROUTE_CREDENTIAL, RIGHT_DOMAINS_READ, 0,
     api_domain_health,
     DOC("domains", "Show what the last check found, and what to do about it", "DomainHealth")},
    {HTTP_METHOD_POST, "/api/domains/:id/dkim/rotate", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_rotate,
     DOC("domains", "Make new DKIM keys, which sign once their records are seen", "DomainWithDns")},
    {HTTP_METHOD_PUT, "/api/domains/:id/tracking", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_track,
     DOC("domains", "Choose whether opens and clicks are counted, and the host of their links",
         "DomainWithDns", .body = &api_domain_tracking_shape)},
    {HTTP_METHOD_DELETE, "/api/domains/:id/tracking", ROUTE_CREDENTIAL, RIGHT_DOMAINS_WRITE, SMALL,
     api_domain_untrack,
     DOC("domains", "Count nothing, and forget the host of the links", "DomainWithDns")},

    {HTTP_METHOD_PUT, "/api/domains/:id/webhook", ROUTE_CREDENTIAL, RIGHT_WEBHOOKS_WRITE, SMALL,
     api_hook_set,
     DOC("webhooks", "Set the webhook of a domain", "DomainHook", .body = &api_hook_shape)},
    {HTTP_METHOD_DELETE, "/api/domains/:id/webhook", ROUTE_CREDENTIAL, RIGHT_WEBHOOKS_WRITE, SMALL,
     api_hook_clear, DOC("webhooks", "Remove the webhook of a domain", "Ok")},
    {HTTP_METHOD_POST, "/api/domains/:id/webhook/test", ROUTE_CREDENTIAL, RIGHT_WEBHOOKS_WRITE,
     SMALL, api_hook_test, DOC("webhooks", "Call the webhook with a signed test event", "Called")},
    {HTTP_METHOD_GET, "/api/domains/:id/webhook/secret", ROUTE_CREDENTIAL, RIGHT_WEBHOOKS_READ, 0,
     api_hook_secret, DOC("webhooks", "Show the secret that signs", "Secret")},
    {HTTP_METHOD_POST, "/api/domains/:id/webhook/secret/rotate", ROUTE_CREDENTIAL,
     RIGHT_WEBHOOKS_WRITE, SMALL, api_hook_rotate,
     DOC("webhooks", "Replace the secret; both sign during the overlap", "Secret",
         .body = &api_hook_rotate_shape)},
    {HTTP_METHOD_PUT, "/api/domains/:id/webhook-events", ROUTE_CREDENTIAL, RIGHT_WEBHOOKS_WRITE,
     SMALL, api_hook_events,
     DOC("webhooks", "Choose the events of sent mail that the webhook hears of", "Events",
         .body = &api_hook_events_shape)},
    {HTTP_METHOD_DELETE, "/api/domains/:id/webhook-events", ROUTE_CREDENTIAL, RIGHT_WEBHOOKS_WRITE,
     SMALL, api_hook_events_clear,
     DOC("webhooks", "Have the webhook hear of received mail only", "Ok")},

    {HTTP_METHOD_GET, "/api/routes", ROUTE_CREDENTIAL, RIGHT_ROUTES_READ, 0, api_route_list,
     DOC("routes", "List the routes, newest first", "[Route]", .query = "before limit")},
    {HTTP_METHOD_POST, "/api/routes", ROUTE_CREDENTIAL, RIGHT_ROUTES_WRITE, SMALL, api_route_create,
     DOC("routes", "Make a route", "Route", .body = &api_route_shape, .required = "match action",
         .status = 201)},
    {HTTP_METHOD_GET, "/api/routes/:id", ROUTE_CREDENTIAL, RIGHT_ROUTES_READ, 0, api_route_get,
     DOC("routes", "Show a route", "Route")},
    {HTTP_METHOD_PATCH, "/api/routes/:id", ROUTE_CREDENTIAL, RIGHT_ROUTES_WRITE, SMALL,
     api_route_change, DOC("routes", "Change a route", "Route", .body = &api_route_shape)},
    {HTTP_METHOD_DELETE, "/api/routes/:id", ROUTE_CREDENTIAL, RIGHT_ROUTES_WRITE, SMALL,
     api_route_delete, DOC("routes", "Delete a route", "Ok")},
    {HTTP_METHOD_POST, "/api/routes/:id/replay", ROUTE_CREDENTIAL, RIGHT_ROUTES_WRITE, SMALL,
     api_route_replay,
     DOC("routes", "Call a route's webhook again for mails received since a time", "Replayed",
         .body = &api_replay_shape)},

    {HTTP_METHOD_GET, "/api/messages", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_message_list,
     DOC("messages", "List the messages, newest first", "[Message]",
         .query = "before limit search direction domain status")},
    {HTTP_METHOD_GET, "/api/messages/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_message_get,
     DOC("messages", "Show a message, its deliveries and its events", "MessageWithDeliveries")},
    {HTTP_METHOD_GET, "/api/messages/:id/raw", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0,
     api_message_raw,
     DOC("messages", "Show a message as it goes out", NULL, .media = "message/rfc822")},
    {HTTP_METHOD_POST, "/api/messages/:id/cancel", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, SMALL,
     api_message_cancel,
     DOC("messages", "Cancel a message that is not being sent yet", "Cancelled")},
    {HTTP_METHOD_GET, "/att/:mid/:idx", ROUTE_PUBLIC, RIGHT_NONE, 0, api_attachment,
     DOC("messages", "Fetch an attachment by its signed link", NULL, .query = "exp sig",
         .media = "application/octet-stream")},
    {HTTP_METHOD_GET, "/u/:token", ROUTE_PUBLIC, RIGHT_NONE, 0, api_unsubscribe_page,
     DOC("messages", "The page that lets a recipient unsubscribe", NULL, .media = "text/html")},
    {HTTP_METHOD_POST, "/u/:token", ROUTE_PUBLIC, RIGHT_NONE, SMALL, api_unsubscribe,
     DOC("messages", "Unsubscribe with one click (RFC 8058)", NULL, .media = "text/html")},
    {HTTP_METHOD_GET, "/t/o/:token", ROUTE_PUBLIC, RIGHT_NONE, 0, api_track_open,
     DOC("messages", "The picture that tells of an open", NULL, .media = "image/gif")},
    {HTTP_METHOD_GET, "/t/c/:token", ROUTE_PUBLIC, RIGHT_NONE, 0, api_track_click,
     DOC("messages", "Follow a link that tells of a click", NULL, .status = 302)},
    {HTTP_METHOD_POST, "/api/deliveries/:id/retry", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, SMALL,
     api_delivery_retry, DOC("messages", "Try a delivery again now", "Retried")},

    {HTTP_METHOD_GET, "/api/templates", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_template_list,
     DOC("templates", "List the templates, newest first, without their bodies", "[TemplateHint]",
         .query = "before limit")},
    {HTTP_METHOD_POST, "/api/templates", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, TEMPLATE_BODY_MAX,
     api_template_create,
     DOC("templates", "Make a template: {{name}} stands for a value", "Template",
         .body = &api_template_shape, .required = "name", .status = 201)},
    {HTTP_METHOD_GET, "/api/templates/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_template_get,
     DOC("templates", "Show a template", "Template")},
    {HTTP_METHOD_PUT, "/api/templates/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, TEMPLATE_BODY_MAX,
     api_template_change,
     DOC("templates", "Change a template: what is given, null for nothing", "Template",
         .body = &api_template_shape)},
    {HTTP_METHOD_DELETE, "/api/templates/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, SMALL,
     api_template_delete, DOC("templates", "Delete a template", "Ok")},
    {HTTP_METHOD_POST, "/api/templates/:id/preview", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE,
     TEMPLATE_BODY_MAX, api_template_preview,
     DOC("templates", "Show what a send would make of a template", "Rendered",
         .body = &api_preview_shape)},

    {HTTP_METHOD_GET, "/api/contacts/suppressions", ROUTE_CREDENTIAL, RIGHT_SUPPRESSIONS_READ, 0,
     api_suppression_list,
     DOC("suppressions", "List the addresses that get no more mail, in the order of addresses",
         "[Suppression]", .query = "after limit search")},
    {HTTP_METHOD_POST, "/api/contacts/suppressions", ROUTE_CREDENTIAL, RIGHT_SUPPRESSIONS_WRITE,
     512 * KIB, api_suppression_add,
     DOC("suppressions", "Suppress an address, or a list of them; 200 when that was known already",
         NULL, .body = &api_suppression_shape, .status = 201)},
    {HTTP_METHOD_GET, "/api/contacts/suppressions/:email", ROUTE_CREDENTIAL,
     RIGHT_SUPPRESSIONS_READ, 0, api_suppression_get,
     DOC("suppressions", "Show why an address gets no more mail", "Suppression")},
    {HTTP_METHOD_DELETE, "/api/contacts/suppressions/:email", ROUTE_CREDENTIAL,
     RIGHT_SUPPRESSIONS_WRITE, SMALL, api_suppression_remove,
     DOC("suppressions", "Let an address have mail again", "Ok")},

    {HTTP_METHOD_GET, "/v1/mailboxes", ROUTE_CREDENTIAL, RIGHT_MAILBOXES_READ, 0, api_mailbox_list,
     DOC("mailboxes", "List the mailboxes, newest first", "Mailboxes", .query = "page per_page")},
    {HTTP_METHOD_POST, "/v1/mailboxes", ROUTE_CREDENTIAL, RIGHT_MAILBOXES_WRITE, SMALL,
     api_mailbox_create,
     DOC("mailboxes", "Make a mailbox of an address", "Mailbox", .body = &api_mailbox_shape,
         .status = 201)},
    {HTTP_METHOD_GET, "/v1/mailboxes/:id", ROUTE_CREDENTIAL, RIGHT_MAILBOXES_READ, 0,
     api_mailbox_get, DOC("mailboxes", "Show a mailbox", "Mailbox")},
    {HTTP_METHOD_PATCH, "/v1/mailboxes/:id", ROUTE_CREDENTIAL, RIGHT_MAILBOXES_WRITE, SMALL,
     api_mailbox_change,
     DOC("mailboxes", "Rename a mailbox", "Mailbox", .body = &api_mailbox_name_shape)},
    {HTTP_METHOD_DELETE, "/v1/mailboxes/:id", ROUTE_CREDENTIAL, RIGHT_MAILBOXES_WRITE, SMALL,
     api_mailbox_delete, DOC("mailboxes", "Delete a mailbox; its messages stay", "Ok")},

    {HTTP_METHOD_GET, "/v1/messages", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_box_message_list,
     DOC("mailboxes", "List the messages, newest first, with what a reader did to them",
         "BoxMessages", .query = "mailbox folder page per_page")},
    {HTTP_METHOD_GET, "/v1/messages/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_box_message_get,
     DOC("mailboxes", "Show a message", "FullBoxMessage")},
    {HTTP_METHOD_PATCH, "/v1/messages/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, SMALL,
     api_box_message_change,
     DOC("mailboxes", "Mark a message as read or starred, or put it into a folder", "BoxMessage",
         .body = &api_mark_shape)},
    {HTTP_METHOD_DELETE, "/v1/messages/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_WRITE, SMALL,
     api_box_message_delete,
     DOC("mailboxes", "Delete a message that has no delivery open, and all that belongs to it",
         "Ok")},
    {HTTP_METHOD_GET, "/v1/threads", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_thread_list,
     DOC("mailboxes", "List the conversations, those with the newest message first", "Threads",
         .query = "mailbox page per_page")},
    {HTTP_METHOD_GET, "/v1/threads/:id", ROUTE_CREDENTIAL, RIGHT_MAIL_READ, 0, api_thread_get,
     DOC("mailboxes", "Show a conversation with its messages, oldest first", "ThreadWithMessages")},

    {HTTP_METHOD_GET, "/api/admin/accounts", ROUTE_ADMIN, RIGHT_NONE, 0, api_admin_accounts,
     DOC("admin", "List the accounts of one shard", "AdminAccounts", .query = "shard after limit")},
    {HTTP_METHOD_GET, "/api/admin/accounts/:id", ROUTE_ADMIN, RIGHT_NONE, 0, api_admin_account,
     DOC("admin", "Show an account, its users and what it has", "AdminAccountFacts")},
    {HTTP_METHOD_PATCH, "/api/admin/accounts/:id", ROUTE_ADMIN, RIGHT_NONE, SMALL,
     api_admin_account_change,
     DOC("admin", "Rename, limit, suspend or resume an account", "AdminAccount",
         .body = &api_admin_account_shape)},
    {HTTP_METHOD_GET, "/api/admin/users", ROUTE_ADMIN, RIGHT_NONE, 0, api_admin_users,
     DOC("admin", "List the users of one shard", "AdminUsers", .query = "shard after limit")},
    {HTTP_METHOD_POST, "/api/admin/users", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_admin_user_create,
     DOC("admin", "Make a user with an account of its own", "AdminNewUser",
         .body = &api_admin_new_user_shape, .status = 201)},
    {HTTP_METHOD_GET, "/api/admin/users/:email", ROUTE_ADMIN, RIGHT_NONE, 0, api_admin_user,
     DOC("admin", "Show a user", "AdminUser")},
    {HTTP_METHOD_PATCH, "/api/admin/users/:email", ROUTE_ADMIN, RIGHT_NONE, SMALL,
     api_admin_user_change,
     DOC("admin", "Make a user administrator or not, or set a password", "AdminUser",
         .body = &api_admin_user_shape)},
    {HTTP_METHOD_POST, "/api/admin/users/:email/unlock", ROUTE_ADMIN, RIGHT_NONE, SMALL,
     api_admin_user_unlock, DOC("admin", "Forget the failed log-ins of a user", "Ok")},
    {HTTP_METHOD_GET, "/api/admin/server", ROUTE_ADMIN, RIGHT_NONE, 0, api_admin_server,
     DOC("admin", "Show the daemon that answers", "AdminServer")},
    {HTTP_METHOD_GET, "/api/admin/shards", ROUTE_ADMIN, RIGHT_NONE, 0, api_inspect_shards,
     DOC("admin", "Show every shard, delivery's too, and the store in numbers", "Shards")},
    {HTTP_METHOD_GET, "/api/admin/shards/:shard", ROUTE_ADMIN, RIGHT_NONE, 0, api_inspect_shard,
     DOC("admin", "Show a shard and how many rows of each family it has", "ShardWithFamilies")},
    {HTTP_METHOD_GET, "/api/admin/shards/:shard/rows", ROUTE_ADMIN, RIGHT_NONE, 0, api_inspect_rows,
     DOC("admin", "List rows of a shard in the order of their keys", "ShardRows",
         .query = "prefix after limit")},
    {HTTP_METHOD_GET, "/api/admin/messages/:id", ROUTE_ADMIN, RIGHT_NONE, 0, api_inspect_mail,
     DOC("admin", "Show everything that is stored of a message", "StoredMessage",
         .query = "transcripts")},
    {HTTP_METHOD_GET, "/api/admin/top", ROUTE_ADMIN, RIGHT_NONE, 0, api_top,
     DOC("admin", "Show what the process, its loops, shards and busiest sites do; twice for rates",
         "AdminTop")},
    {HTTP_METHOD_POST, "/api/admin/jobs", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_job_start,
     DOC("admin", "Start long work on the store; 409 while a job runs", "Job",
         .body = &api_job_shape, .required = "type", .status = 202)},
    {HTTP_METHOD_GET, "/api/admin/jobs", ROUTE_ADMIN, RIGHT_NONE, 0, api_job_list,
     DOC("admin", "List the job that runs and the last ones that ended", "Jobs")},
    {HTTP_METHOD_GET, "/api/admin/jobs/:id", ROUTE_ADMIN, RIGHT_NONE, 0, api_job_get,
     DOC("admin", "Show a job, and its report once it has ended", "Job")},
    {HTTP_METHOD_DELETE, "/api/admin/jobs/:id", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_job_cancel,
     DOC("admin", "Cancel a job: it ends after the piece that it is at", "Job")},
    {HTTP_METHOD_GET, "/api/admin/messages/:id/explain", ROUTE_ADMIN, RIGHT_NONE, 0,
     api_message_explain,
     DOC("admin", "Say why a message, or one delivery of it, is not delivered yet",
         "MessageExplained")},
    {HTTP_METHOD_GET, "/api/admin/loglevel", ROUTE_ADMIN, RIGHT_NONE, 0, api_log_show,
     DOC("admin", "Show the levels of the log", "LogLevels")},
    {HTTP_METHOD_PUT, "/api/admin/loglevel", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_log_set,
     DOC("admin", "Set a level of the log, of all events or of those that begin with a text",
         "LogLevels", .body = &api_log_shape)},
    {HTTP_METHOD_GET, "/api/admin/drain", ROUTE_ADMIN, RIGHT_NONE, 0, api_drain_show,
     DOC("admin", "Show how far a drain is, and what is left", "Drain")},
    {HTTP_METHOD_POST, "/api/admin/drain", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_drain_start,
     DOC("admin", "Take no more work, and deliver what is queued", "Drain",
         .body = &api_drain_shape)},
    {HTTP_METHOD_DELETE, "/api/admin/drain", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_drain_cancel,
     DOC("admin", "Take a drain back", "Drain")},
    {HTTP_METHOD_GET, "/api/admin/rebalance", ROUTE_ADMIN, RIGHT_NONE, 0, api_places_show,
     DOC("admin", "Show which loop has which shard, and the last rebalance", "Places")},
    {HTTP_METHOD_POST, "/api/admin/rebalance", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_rebalance,
     DOC("admin", "Move shards between loops: those named, or as the load says", "Places",
         .body = &api_rebalance_shape)},
    {HTTP_METHOD_GET, "/api/admin/queue/sites", ROUTE_ADMIN, RIGHT_NONE, 0, api_queue_sites,
     DOC("admin", "List the sites that mail goes to, by name", "QueueSites",
         .query = "after limit search")},
    {HTTP_METHOD_GET, "/api/admin/queue/accounts", ROUTE_ADMIN, RIGHT_NONE, 0, api_queue_accounts,
     DOC("admin", "List the accounts that have something queued", "QueueAccounts",
         .query = "after limit")},
    {HTTP_METHOD_GET, "/api/admin/queue/holds", ROUTE_ADMIN, RIGHT_NONE, 0, api_queue_holds,
     DOC("admin", "List what is paused or moved", "QueueHolds")},
    {HTTP_METHOD_GET, "/api/admin/queue/ages", ROUTE_ADMIN, RIGHT_NONE, 0, api_queue_ages,
     DOC("admin", "Show how long what is queued has waited, and how long it will", "QueueAges",
         .query = "site account")},
    {HTTP_METHOD_POST, "/api/admin/queue/pause", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_queue_pause,
     DOC("admin", "Send nothing to a site, or for an account, until further notice", "QueueDone",
         .body = &api_queue_shape)},
    {HTTP_METHOD_POST, "/api/admin/queue/resume", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_queue_resume,
     DOC("admin", "Take a pause back", "QueueDone", .body = &api_queue_shape)},
    {HTTP_METHOD_POST, "/api/admin/queue/retry", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_queue_retry,
     DOC("admin", "Try what waits for its next try now, one after the other", "QueueDone",
         .body = &api_queue_shape)},
    {HTTP_METHOD_POST, "/api/admin/queue/expire", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_queue_expire,
     DOC("admin", "Give up everything that is queued: it bounces", "QueueDone",
         .body = &api_queue_shape)},
    {HTTP_METHOD_POST, "/api/admin/queue/move", ROUTE_ADMIN, RIGHT_NONE, SMALL, api_queue_move,
     DOC("admin", "Send a site's mail from another pool; null for its own again", "QueueDone",
         .body = &api_queue_shape)},
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
