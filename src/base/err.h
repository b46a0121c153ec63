/* err.h - every operating error, with all that anyone says about it, in one table.
 *
 * An enum err is what a function returns when the world did not cooperate: the peer closed, the
 * field is malformed, the quota is used up. The table gives each its machine word (the "code" of a
 * JSON error), its public sentence, HTTP status, SMTP reply with enhanced status, and whether
 * trying again helps. Handlers never invent a status: they return an err, and the edge prints the
 * table's row.
 *
 * Remote SMTP verdicts are data (mail/dsn.h), not errs. Programmer errors are CHECKs.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/base.h"

enum err_retry {
    ERR_RETRY_NEVER,     /* the same request will fail the same way */
    ERR_RETRY_LATER,     /* it may succeed unchanged */
    ERR_RETRY_ELSEWHERE, /* another host or connection may take it */
};

/*  name, code, HTTP, SMTP, enhanced, retry, sentence */
#define ERR_TABLE(X)                                                                               \
    X(OK, "ok", 200, 250, "2.0.0", NEVER, "ok")                                                    \
    X(INVALID, "invalid", 400, 501, "5.5.4", NEVER, "the request is malformed")                    \
    X(BAD_FIELD, "invalid_field", 400, 554, "5.6.0", NEVER, "a field is missing or malformed")     \
    X(NOT_JSON, "not_json", 400, 554, "5.6.0", NEVER, "the body is not valid JSON")                \
    X(BAD_HTTP, "bad_request", 400, 500, "5.5.2", NEVER, "the HTTP request is malformed")          \
    X(UNAUTHORIZED, "unauthorized", 401, 535, "5.7.8", NEVER,                                      \
      "a valid API key or session token is required")                                              \
    X(LOGIN, "invalid_login", 401, 535, "5.7.8", NEVER, "the email or the password is wrong")      \
    X(SCOPE, "scope", 403, 550, "5.7.1", NEVER, "this key lacks the required scope")               \
    X(SUSPENDED, "suspended", 403, 550, "5.7.1", NEVER, "this account is suspended")               \
    X(SIGNUP_CLOSED, "signup_closed", 403, 550, "5.7.1", NEVER, "this server takes no sign-ups")   \
    X(KEY_SCOPE, "key_scope", 403, 550, "5.7.1", NEVER, "this key may not use that domain")        \
    X(KEY_IP, "key_ip", 403, 550, "5.7.1", NEVER, "this key may not be used from this address")    \
    X(PLAIN_HTTP, "tls_required", 403, 530, "5.7.0", NEVER, "requests must be made over TLS")      \
    X(BAD_SIGNATURE, "bad_signature", 403, 550, "5.7.1", NEVER, "the link has been altered")       \
    X(NO_ROUTE, "not_found", 404, 502, "5.5.1", NEVER, "there is no such route")                   \
    X(NOT_FOUND, "not_found", 404, 550, "5.1.1", NEVER, "not found")                               \
    X(DOMAIN_NOT_OWNED, "domain_not_owned", 404, 550, "5.7.1", NEVER,                              \
      "the sender's domain does not belong to this account")                                       \
    X(TEMPLATE_NOT_FOUND, "template_not_found", 404, 550, "5.3.0", NEVER,                          \
      "there is no such template in this account")                                                 \
    X(METHOD, "method_not_allowed", 405, 502, "5.5.1", NEVER, "this route has no such method")     \
    X(TIMEOUT, "timeout", 408, 421, "4.4.2", LATER, "the request took too long to arrive")         \
    X(EXISTS, "exists", 409, 550, "5.3.0", NEVER, "it already exists")                             \
    X(CONFLICT, "conflict", 409, 550, "5.3.0", NEVER, "its present state does not allow that")     \
    X(DOMAIN_UNVERIFIED, "domain_unverified", 409, 550, "5.7.1", NEVER,                            \
      "the sender's domain is not verified")                                                       \
    X(SUPPRESSED, "suppressed", 409, 550, "5.7.1", NEVER, "every recipient is suppressed")         \
    X(IDEMPOTENCY_REUSED, "idempotency_reused", 409, 550, "5.3.0", NEVER,                          \
      "the idempotency key was used with another body")                                            \
    X(IDEMPOTENCY_RUNNING, "idempotency_running", 409, 451, "4.7.0", LATER,                        \
      "a request with this idempotency key is still being worked on; repeat it shortly")           \
    X(EXPIRED, "expired", 410, 550, "5.3.0", NEVER, "the link has expired")                        \
    X(TOO_LARGE, "too_large", 413, 552, "5.3.4", NEVER, "the request is too large")                \
    X(ENCODING, "unsupported_encoding", 415, 554, "5.6.0", NEVER,                                  \
      "the content encoding is not supported")                                                     \
    X(HEADERS_TOO_LARGE, "headers_too_large", 400, 500, "5.5.2", NEVER,                            \
      "the request's header block is too large")                                                   \
    X(QUOTA, "quota", 429, 452, "4.5.3", LATER, "the account is over its limit")                   \
    X(RATE, "rate_limited", 429, 450, "4.7.0", LATER, "too many requests; slow down")              \
    X(INTERNAL, "internal", 500, 451, "4.3.0", LATER, "an internal error occurred")                \
    X(CORRUPT, "internal", 500, 451, "4.3.0", NEVER, "a stored row is damaged")                    \
    X(UPSTREAM, "upstream", 502, 451, "4.4.0", LATER, "an upstream service failed")                \
    X(BUSY, "busy", 503, 451, "4.3.2", LATER, "the service is busy; try again shortly")            \
    X(STORAGE, "storage", 503, 452, "4.3.1", LATER, "the service cannot store mail at present")    \
    X(DRAINING, "draining", 503, 421, "4.3.2", LATER, "the service is shutting down")              \
    X(CLOSED, "closed", 502, 421, "4.4.2", ELSEWHERE, "the connection was closed by the peer")     \
    X(CONNECT, "connect", 502, 451, "4.4.1", ELSEWHERE, "the connection could not be made")        \
    X(TLS, "tls", 502, 454, "4.7.0", ELSEWHERE, "the TLS handshake failed")                        \
    X(DNS_NONE, "dns_none", 502, 550, "5.1.2", NEVER, "the name does not exist or has no record")  \
    X(DNS_TEMP, "dns_temp", 502, 451, "4.4.3", LATER, "the name could not be looked up")           \
    X(REFUSED_TARGET, "target_refused", 400, 550, "5.7.1", NEVER,                                  \
      "the address is not a public one")                                                           \
    X(IO, "io", 500, 451, "4.3.0", LATER, "an input or output operation failed")

enum err {
#define X(name, code, http, smtp, enhanced, retry, text) ERR_##name,
    ERR_TABLE(X)
#undef X
        ERR_COUNT
};

struct err_info {
    const char *name; /* as in the source: "ERR_BUSY" */
    const char *code;
    const char *text;
    const char *smtp_enhanced;
    uint16_t http_status;
    uint16_t smtp_code;
    enum err_retry retry;
};

/* The table's row. err must be below ERR_COUNT. Never NULL; lives as long as the program. */
const struct err_info *err_info(enum err err);

/* Says in code that a failure changes nothing here; the caller writes the reason beside it. */
static inline void err_ignore(enum err err UNUSED)
{
}

#endif
