/* tls.c - see tls.h.
 *
 * OpenSSL wants a BIO to read from and write to. Ours reads straight from the slice being fed and
 * writes straight into the caller's buf: no copy between, and an idle connection holds no memory of
 * a BIO (BIO_s_mem keeps the largest block it ever needed, times ten thousand connections).
 */
#include "net/tls.h"

#include "base/check.h"
#include "base/log.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILURE_MAX      160
#define PLAIN_RECORD_MAX 16384 /* RFC 8446 5.1 */
#define HOST_NAME_BYTES  255   /* of a host */
#define PIN_TA           2     /* TLSA usages, RFC 7218 2.1 */
#define PIN_EE           3

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio_method;
    uint32_t users;
    bool is_server;
    enum tls_verify verify;
};

struct tls {
    SSL *ssl;
    struct tls_context *context;
    struct slice in; /* the caller's, during tls_feed only */
    struct buf *out; /* the caller's, during a call only */
    /* Our own word for "the handshake is done": OpenSSL's turns false again while a message after
     * the handshake (RFC 8446 4.6) is half received, at the peer's pleasure. */
    bool has_opened;
    bool has_failed;
    char failure[FAILURE_MAX];
};

static struct tls_context *context_new(const SSL_METHOD *method);
static enum err load_pair(struct tls_context *context, struct slice cert_path,
                          struct slice key_path);
static enum err load_cas(struct tls_context *context, struct slice ca_path);
static enum err copy_path(struct slice path, char out[PATH_MAX]);
static int refuse_passphrase(char *out, int size, int is_writing, void *context);
static void log_file_error(struct slice path, const char *what);
static struct tls *start(struct tls_context *context);
static void name_server(struct tls *tls, struct slice server_name);
static void pin_server(struct tls *tls, struct slice server_name, const struct tls_pins *pins);
static void read_plain(struct tls *tls, struct buf *plain, enum tls_state *state);
static enum tls_state judge(struct tls *tls, int result);
static void fail(struct tls *tls, const char *reason);
static int on_bio_read(BIO *bio, char *out, int len);
static int on_bio_write(BIO *bio, const char *data, int len);
static long on_bio_ctrl(BIO *bio, int command, long number, void *pointer);

enum err tls_server_new(struct slice cert_path, struct slice key_path, struct tls_context **context)
{
    struct tls_context *made = context_new(TLS_server_method());
    made->is_server = true;
    enum err err = load_pair(made, cert_path, key_path);
    if (err != ERR_OK) {
        tls_context_drop(made);
        return err;
    }
    (void)SSL_CTX_set_options(made->ssl, SSL_OP_CIPHER_SERVER_PREFERENCE); /* returns the mask */
    /* Tickets carry the session; keys are made per context, so a reload retires them. No cache of
     * sessions in memory. */
    (void)SSL_CTX_set_session_cache_mode(made->ssl, SSL_SESS_CACHE_OFF); /* returns the old mode */
    *context = made;
    return ERR_OK;
}

enum err tls_client_new(enum tls_verify verify, struct slice ca_path, struct tls_context **context)
{
    struct tls_context *made = context_new(TLS_client_method());
    made->verify = verify;
    switch (verify) {
    case TLS_VERIFY_NONE:
        SSL_CTX_set_verify(made->ssl, SSL_VERIFY_NONE, NULL);
        /* Weak keys are better than the plain text that would follow: RFC 7435 3. */
        SSL_CTX_set_security_level(made->ssl, 1);
        if (load_cas(made, ca_path) != ERR_OK) {
            tls_context_drop(made);
            return ERR_TLS;
        }
        break;
    case TLS_VERIFY_NAME:
        SSL_CTX_set_verify(made->ssl, SSL_VERIFY_PEER, NULL);
        if (load_cas(made, ca_path) != ERR_OK) {
            tls_context_drop(made);
            return ERR_TLS;
        }
        break;
    case TLS_VERIFY_DANE:
        SSL_CTX_set_verify(made->ssl, SSL_VERIFY_PEER, NULL);
        if (SSL_CTX_dane_enable(made->ssl) != 1) {
            fatal("OpenSSL has no DANE: is it installed completely?");
        }
        break;
    }
    *context = made;
    return ERR_OK;
}

void tls_context_drop(struct tls_context *context)
{
    if (context == NULL) {
        return;
    }
    CHECK(context->users > 0);
    context->users--;
    if (context->users == 0) {
        SSL_CTX_free(context->ssl);
        BIO_meth_free(context->bio_method);
        free(context);
    }
}

uint64_t tls_context_expires_s(const struct tls_context *context)
{
    const X509 *cert = SSL_CTX_get0_certificate(context->ssl);
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0;
    int seconds = 0;
    bool is_known = cert != NULL && epoch != NULL &&
                    ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notAfter(cert)) == 1;
    ASN1_TIME_free(epoch);
    return is_known && days >= 0 && seconds >= 0 ? (uint64_t)days * 86400 + (uint64_t)seconds : 0;
}

struct tls *tls_new(struct tls_context *context, struct slice server_name)
{
    CHECK(context->is_server || context->verify != TLS_VERIFY_DANE);
    CHECK_IF(context->is_server, server_name.len == 0);
    CHECK_IF(context->verify == TLS_VERIFY_NAME, server_name.len > 0);
    struct tls *tls = start(context);
    if (!context->is_server) {
        name_server(tls, server_name);
    }
    return tls;
}

struct tls *tls_new_pinned(struct tls_context *context, struct slice server_name,
                           const struct tls_pins *pins)
{
    CHECK(!context->is_server && context->verify == TLS_VERIFY_DANE);
    struct tls *tls = start(context);
    pin_server(tls, server_name, pins);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl);
    tls_context_drop(tls->context);
    free(tls);
}

enum tls_state tls_feed(struct tls *tls, struct slice cipher_in, struct buf *plain,
                        struct buf *cipher_out)
{
    if (tls->has_failed) {
        return TLS_FAILED;
    }
    tls->in = cipher_in;
    tls->out = cipher_out;
    ERR_clear_error();
    enum tls_state state = TLS_OPEN;
    if (!SSL_is_init_finished(tls->ssl)) {
        int result = SSL_do_handshake(tls->ssl);
        if (result == 1) {
            tls->has_opened = true;
        } else {
            state = judge(tls, result);
        }
    }
    if (state == TLS_OPEN && SSL_is_init_finished(tls->ssl)) {
        read_plain(tls, plain, &state);
    }
    tls->in = (struct slice){0};
    tls->out = NULL;
    return state;
}

enum err tls_write(struct tls *tls, struct slice plain, struct buf *cipher_out)
{
    CHECK(tls->has_opened);
    if (tls->has_failed) {
        return ERR_TLS;
    }
    if (plain.len == 0) {
        return ERR_OK;
    }
    tls->out = cipher_out;
    ERR_clear_error();
    size_t written = 0;
    int result = SSL_write_ex(tls->ssl, plain.data, plain.len, &written);
    tls->out = NULL;
    if (result != 1 || buf_err(cipher_out) != ERR_OK) {
        fail(tls, "cannot encrypt");
        return ERR_TLS;
    }
    CHECK(written == plain.len); /* no partial writes without their mode */
    return ERR_OK;
}

void tls_shutdown(struct tls *tls, struct buf *cipher_out)
{
    if (tls->has_failed || !tls->has_opened) {
        return;
    }
    tls->out = cipher_out;
    ERR_clear_error();
    /* 0 says that the peer's close_notify is not here yet; nobody waits for it. */
    (void)SSL_shutdown(tls->ssl);
    tls->out = NULL;
}

const char *tls_version(const struct tls *tls)
{
    return SSL_get_version(tls->ssl);
}

const char *tls_cipher(const struct tls *tls)
{
    return SSL_get_cipher_name(tls->ssl);
}

const char *tls_failure(const struct tls *tls)
{
    return tls->failure;
}

static bool is_good(const struct tls *tls)
{
    return tls->has_opened && SSL_get0_peer_certificate(tls->ssl) != NULL &&
           SSL_get_verify_result(tls->ssl) == X509_V_OK;
}

bool tls_is_verified(const struct tls *tls)
{
    switch (tls->context->verify) {
    case TLS_VERIFY_NONE:
        return false;
    case TLS_VERIFY_NAME:
        return is_good(tls);
    case TLS_VERIFY_DANE:
        return is_good(tls) && SSL_get0_dane_authority(tls->ssl, NULL, NULL) >= 0;
    }
    return false;
}

bool tls_is_named(const struct tls *tls)
{
    uint8_t usage = 0;
    return tls->context->verify == TLS_VERIFY_DANE &&
           SSL_get0_dane_tlsa(tls->ssl, &usage, NULL, NULL, NULL, NULL) >= 0 && usage == PIN_TA;
}

enum tls_fault tls_fault(const struct tls *tls)
{
    switch (SSL_get_verify_result(tls->ssl)) {
    case X509_V_OK:
        return TLS_FAULT_NONE;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_FAULT_NAME;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_FAULT_EXPIRED;
    case X509_V_ERR_DANE_NO_MATCH:
        return TLS_FAULT_OTHER;
    default:
        return TLS_FAULT_UNTRUSTED;
    }
}

void tls_verdict(const struct tls *tls, char out[TLS_VERDICT_MAX])
{
    uint8_t usage = 0;
    uint8_t selector = 0;
    uint8_t matching = 0;
    if (!is_good(tls)) {
        const char *reason = X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl));
        bool has_peer = SSL_get0_peer_certificate(tls->ssl) != NULL;
        (void)snprintf(out, TLS_VERDICT_MAX, "certificate not verified: %s",
                       has_peer ? reason : "there is none");
    } else if (tls->context->verify == TLS_VERIFY_DANE &&
               SSL_get0_dane_tlsa(tls->ssl, &usage, &selector, &matching, NULL, NULL) >= 0) {
        (void)snprintf(out, TLS_VERDICT_MAX, "certificate verified (TLSA %u %u %u)",
                       (unsigned)usage, (unsigned)selector, (unsigned)matching);
    } else {
        (void)snprintf(out, TLS_VERDICT_MAX, "certificate verified (known CA%s)",
                       tls->context->verify == TLS_VERIFY_NONE ? ", not demanded" : "");
    }
}

bool tls_has_opened(const struct tls *tls)
{
    return tls->has_opened;
}

static struct tls_context *context_new(const SSL_METHOD *method)
{
    struct tls_context *context = mem_zalloc(sizeof(*context));
    context->users = 1;
    context->ssl = SSL_CTX_new(method);
    context->bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "meerkat");
    if (context->ssl == NULL || context->bio_method == NULL) {
        fatal("cannot make a TLS context: is OpenSSL installed completely?");
    }
    /* The setters below fail only when given NULL or an unknown version. */
    (void)BIO_meth_set_read(context->bio_method, on_bio_read);
    (void)BIO_meth_set_write(context->bio_method, on_bio_write);
    (void)BIO_meth_set_ctrl(context->bio_method, on_bio_ctrl);
    (void)SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);
    /* Peers leave without close_notify all the time; HTTP and SMTP know where a message ends
     * without it. */
    (void)SSL_CTX_set_options(context->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                                SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(context->ssl, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

static enum err load_pair(struct tls_context *context, struct slice cert_path,
                          struct slice key_path)
{
    char path[PATH_MAX];
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(context->ssl, refuse_passphrase);
    if (copy_path(cert_path, path) != ERR_OK ||
        SSL_CTX_use_certificate_chain_file(context->ssl, path) != 1) {
        log_file_error(cert_path, "cannot read the certificate chain");
        return ERR_TLS;
    }
    if (copy_path(key_path, path) != ERR_OK ||
        SSL_CTX_use_PrivateKey_file(context->ssl, path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context->ssl) != 1) {
        log_file_error(key_path, "cannot use the private key");
        return ERR_TLS;
    }
    return ERR_OK;
}

static enum err load_cas(struct tls_context *context, struct slice ca_path)
{
    char path[PATH_MAX];
    ERR_clear_error();
    if (ca_path.len == 0) {
        if (SSL_CTX_set_default_verify_paths(context->ssl) == 1) {
            return ERR_OK;
        }
    } else if (copy_path(ca_path, path) == ERR_OK &&
               SSL_CTX_load_verify_file(context->ssl, path) == 1) {
        return ERR_OK;
    }
    log_file_error(ca_path, "cannot read the CA certificates");
    return ERR_TLS;
}

static enum err copy_path(struct slice path, char out[PATH_MAX])
{
    if (path.len == 0 || path.len >= PATH_MAX || slice_has_byte(path, '\0')) {
        return ERR_INVALID;
    }
    memcpy(out, path.data, path.len);
    out[path.len] = '\0';
    return ERR_OK;
}

/* A daemon has nobody to ask; without this OpenSSL would prompt on the terminal. */
static int refuse_passphrase(char *out UNUSED, int size UNUSED, int is_writing UNUSED,
                             void *context UNUSED)
{
    return 0;
}

static void log_file_error(struct slice path, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    LOG_ERROR("tls.file", LOG_STR("problem", what), LOG_TEXT("file", path),
              LOG_STR("reason", reason != NULL ? reason : "no such file, or not PEM"),
              LOG_STR("remedy", "set tls_cert, tls_key and tls_ca to PEM files that meerkatd may "
                                "read"));
    ERR_clear_error();
}

static struct tls *start(struct tls_context *context)
{
    struct tls *tls = mem_zalloc(sizeof(*tls));
    tls->context = context;
    context->users++;
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(context->bio_method);
    if (tls->ssl == NULL || bio == NULL) {
        fatal("out of memory for a TLS connection");
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio); /* takes the one use of bio */
    if (context->is_server) {
        SSL_set_accept_state(tls->ssl);
    } else {
        SSL_set_connect_state(tls->ssl);
    }
    return tls;
}

/* False when no host can be called so. */
static bool copy_name(struct slice name, char out[HOST_NAME_BYTES + 1])
{
    if (slice_ends(name, SLICE("."))) {
        name.len--;
    }
    if (name.len > HOST_NAME_BYTES || slice_has_byte(name, '\0')) {
        return false;
    }
    memcpy(out, name.data, name.len);
    out[name.len] = '\0';
    return true;
}

static void name_server(struct tls *tls, struct slice server_name)
{
    char name[HOST_NAME_BYTES + 1];
    if (server_name.len == 0) {
        return;
    }
    if (!copy_name(server_name, name)) {
        fail(tls, "the server's name is no host name");
        return;
    }

    X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
    uint8_t address[16];
    bool is_address =
        inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    int status = 1;
    if (is_address) {
        status = X509_VERIFY_PARAM_set1_ip_asc(param, name);
    } else {
        /* RFC 6066 3: SNI carries host names, never addresses. */
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        status = X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
                 SSL_set_tlsext_host_name(tls->ssl, name) == 1;
    }
    if (status != 1) {
        fail(tls, "the server's name is no host name");
    }
}

bool tls_pin_is_usable(const struct tls_pin *pin)
{
    if (pin->usage < PIN_TA || pin->usage > PIN_EE || pin->selector > 1 || pin->data.len == 0) {
        return false;
    }
    if (pin->matching != 0) {
        return (pin->matching == 1 && pin->data.len == 32) ||
               (pin->matching == 2 && pin->data.len == 64);
    }
    const uint8_t *at = (const uint8_t *)pin->data.data;
    const uint8_t *end = at + pin->data.len;
    X509 *cert = pin->selector == 0 ? d2i_X509(NULL, &at, (long)pin->data.len) : NULL;
    EVP_PKEY *key = pin->selector == 1 ? d2i_PUBKEY(NULL, &at, (long)pin->data.len) : NULL;
    bool has_key = key != NULL || (cert != NULL && X509_get0_pubkey(cert) != NULL);
    bool is_whole = has_key && at == end;
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return is_whole;
}

/* RFC 7672 3.1: without a usable record OpenSSL would go by CAs instead, which must not happen. */
static void pin_server(struct tls *tls, struct slice server_name, const struct tls_pins *pins)
{
    char name[HOST_NAME_BYTES + 1];
    uint32_t taken = 0;
    ERR_clear_error();
    if (server_name.len == 0 || !copy_name(server_name, name) ||
        SSL_dane_enable(tls->ssl, name) <= 0) {
        fail(tls, "the server's name is no host name");
        return;
    }
    (void)SSL_dane_set_flags(tls->ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS); /* the old flags */
    SSL_set_hostflags(tls->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    for (uint32_t i = 0; i < TLS_PIN_NAMES_MAX; i++) {
        bool is_good = copy_name(pins->names[i], name);
        if (is_good && name[0] != '\0' && SSL_add1_host(tls->ssl, name) != 1) {
            fail(tls, "a name to verify is no host name");
            return;
        }
    }
    for (uint32_t i = 0; i < pins->count; i++) {
        const struct tls_pin *pin = &pins->pins[i];
        bool is_added =
            tls_pin_is_usable(pin) &&
            SSL_dane_tlsa_add(tls->ssl, pin->usage, pin->selector, pin->matching,
                              (const unsigned char *)pin->data.data, pin->data.len) == 1;
        taken += is_added ? 1 : 0;
    }
    ERR_clear_error();
    if (taken == 0) {
        fail(tls, "none of the TLSA records can be used");
    }
}

/* Reads until OpenSSL wants more, which means that all of tls->in was taken. */
static void read_plain(struct tls *tls, struct buf *plain, enum tls_state *state)
{
    for (;;) {
        char *room = buf_room(plain, PLAIN_RECORD_MAX);
        if (room == NULL) {
            fail(tls, "more plaintext than there is room for");
            *state = TLS_FAILED;
            return;
        }
        size_t len = 0;
        int result = SSL_read_ex(tls->ssl, room, PLAIN_RECORD_MAX, &len);
        if (result != 1) {
            *state = judge(tls, result);
            return;
        }
        buf_grew(plain, len);
    }
}

/* The state after an operation that did not succeed. */
static enum tls_state judge(struct tls *tls, int result)
{
    int reason = SSL_get_error(tls->ssl, result);
    if (reason == SSL_ERROR_WANT_READ) {
        return tls->has_opened ? TLS_OPEN : TLS_HANDSHAKE;
    }
    if (reason == SSL_ERROR_ZERO_RETURN) {
        return TLS_ENDED;
    }
    fail(tls, "TLS failed");
    return TLS_FAILED;
}

static void fail(struct tls *tls, const char *reason)
{
    unsigned long code = ERR_peek_error();
    const char *text = ERR_reason_error_string(code);
    long verified = SSL_get_verify_result(tls->ssl);
    tls->has_failed = true;
    if (code != 0 && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        text = X509_verify_cert_error_string(verified);
        (void)snprintf(tls->failure, sizeof(tls->failure), "certificate refused: %s", text);
    } else {
        (void)snprintf(tls->failure, sizeof(tls->failure), "%s", text != NULL ? text : reason);
    }
    ERR_clear_error();
}

static int on_bio_read(BIO *bio, char *out, int len)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0 || tls->in.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t taken = min_size((size_t)len, tls->in.len);
    memcpy(out, tls->in.data, taken);
    tls->in = slice_from(tls->in, taken);
    return (int)taken;
}

/* Never asks to try again: a buf takes everything or, over its ceiling, fails for good. */
static int on_bio_write(BIO *bio, const char *data, int len)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len < 0 || tls->out == NULL) {
        return -1;
    }
    buf_add_bytes(tls->out, data, (size_t)len);
    return buf_err(tls->out) == ERR_OK ? len : -1;
}

static long on_bio_ctrl(BIO *bio UNUSED, int command, long number UNUSED, void *pointer UNUSED)
{
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}
