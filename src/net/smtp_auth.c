/* smtp_auth.c - PLAIN has one answer, LOGIN two; either may come with the command itself. */
#include "net/smtp_auth.h"

#include "base/check.h"
#include "base/crypto.h"
#include "base/limits.h"

_Static_assert(SMTP_AUTH_LINE_MAX / 4 * 3 + 3 + SMTP_AUTH_FIELD_MAX <= SMTP_AUTH_LINE_MAX,
               "a user name and the longest line fit one block");

static const struct smtp_refusal unknown = {504, "5.5.4", "mechanism is not offered"};
static const struct smtp_refusal cancelled = {501, "5.7.0", "authentication cancelled"};
static const struct smtp_refusal not_base64 = {501, "5.5.2", "not base64"};
static const struct smtp_refusal malformed = {501, "5.5.2", "malformed credentials"};

void smtp_auth_init(struct smtp_auth_reader *reader)
{
    *reader = (struct smtp_auth_reader){.has_user = false};
    buf_init(&reader->secret, SMTP_AUTH_LINE_MAX);
}

void smtp_auth_wipe(struct smtp_auth_reader *reader)
{
    if (reader->secret.data != NULL) {
        crypto_wipe(reader->secret.data, reader->secret.capacity);
    }
    buf_fini(&reader->secret);
    smtp_auth_init(reader);
}

static enum smtp_auth_result refuse(struct smtp_auth_reader *reader, struct smtp_auth_says *says,
                                    const struct smtp_refusal *refusal)
{
    smtp_auth_wipe(reader);
    says->refusal = refusal;
    return SMTP_AUTH_BAD;
}

/* What is decoded goes behind what secret holds. */
static bool decode(struct smtp_auth_reader *reader, struct slice text, struct slice *decoded)
{
    struct buf *secret = &reader->secret;
    size_t len = 0;
    bool has_space = slice_has_byte(text, ' ') || slice_has_control(text, "");
    if (text.len % 4 != 0 || has_space) {
        return false;
    }
    if (secret->data == NULL) {
        CHECK(buf_room(secret, SMTP_AUTH_LINE_MAX) != NULL);
    }
    char *room = buf_room(secret, text.len / 4 * 3 + 3);
    CHECK(room != NULL); /* a line is below its ceiling */
    if (base64_decode(text, (uint8_t *)room, &len) != ERR_OK) {
        return false;
    }
    buf_grew(secret, len);
    *decoded = slice_of(room, len);
    return true;
}

static enum smtp_auth_result finish(struct smtp_auth_reader *reader, struct smtp_auth_says *says)
{
    const struct smtp_auth *auth = &reader->auth;
    const struct slice fields[] = {auth->authzid, auth->user, auth->password};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].len > SMTP_AUTH_FIELD_MAX || slice_has_byte(fields[i], '\0')) {
            return refuse(reader, says, &malformed);
        }
    }
    if (auth->user.len == 0 && auth->password.len == 0) {
        return refuse(reader, says, &malformed);
    }
    return SMTP_AUTH_DONE;
}

/* [authzid] NUL authcid NUL passwd, RFC 4616 2. */
static enum smtp_auth_result take_plain(struct smtp_auth_reader *reader, struct slice decoded,
                                        struct smtp_auth_says *says)
{
    struct slice rest = decoded;
    reader->auth.authzid = slice_cut(&rest, '\0');
    reader->auth.user = slice_cut(&rest, '\0');
    if (rest.data == NULL) {
        return refuse(reader, says, &malformed);
    }
    reader->auth.password = rest;
    return finish(reader, says);
}

static enum smtp_auth_result take_login(struct smtp_auth_reader *reader, struct slice decoded,
                                        struct smtp_auth_says *says)
{
    if (reader->has_user) {
        reader->auth.user = slice_of(reader->secret.data, reader->user_bytes);
        reader->auth.password = decoded;
        return finish(reader, says);
    }
    if (decoded.len > SMTP_AUTH_FIELD_MAX) {
        return refuse(reader, says, &malformed);
    }
    reader->has_user = true;
    reader->user_bytes = decoded.len;
    says->challenge = "UGFzc3dvcmQ6"; /* Password: */
    return SMTP_AUTH_CHALLENGE;
}

static enum smtp_auth_result take(struct smtp_auth_reader *reader, struct slice text,
                                  struct smtp_auth_says *says)
{
    struct slice decoded;
    if (!decode(reader, text, &decoded)) {
        return refuse(reader, says, &not_base64);
    }
    return reader->auth.kind == SMTP_AUTH_PLAIN ? take_plain(reader, decoded, says)
                                                : take_login(reader, decoded, says);
}

enum smtp_auth_result smtp_auth_begin(struct smtp_auth_reader *reader, struct slice args,
                                      struct smtp_auth_says *says)
{
    struct slice initial = args;
    struct slice mechanism = slice_cut(&initial, ' ');
    bool is_login = slice_equal_nocase(mechanism, SLICE("LOGIN"));
    if (!is_login && !slice_equal_nocase(mechanism, SLICE("PLAIN"))) {
        return refuse(reader, says, &unknown);
    }
    smtp_auth_wipe(reader);
    reader->auth.kind = is_login ? SMTP_AUTH_LOGIN : SMTP_AUTH_PLAIN;
    if (initial.len == 0) {
        says->challenge = is_login ? "VXNlcm5hbWU6" : ""; /* Username: */
        return SMTP_AUTH_CHALLENGE;
    }
    /* RFC 4954 4: "=" stands for an answer of no bytes. */
    return take(reader, slice_equal(initial, SLICE("=")) ? SLICE("") : initial, says);
}

enum smtp_auth_result smtp_auth_line(struct smtp_auth_reader *reader, struct slice line,
                                     struct smtp_auth_says *says)
{
    return slice_equal(line, SLICE("*")) ? refuse(reader, says, &cancelled)
                                         : take(reader, line, says);
}
