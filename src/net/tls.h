/* tls.h - TLS as a byte filter, and the policy that goes with it.
 *
 * A tls turns ciphertext from a socket into plaintext and back, in the caller's memory; it owns no
 * socket and never waits. conn.c drives it; nobody else includes openssl/ssl.h. TLS 1.2 is the
 * floor, 1.3 preferred, compression and renegotiation are off, session tickets on for servers.
 *
 * A tls_context holds certificates and policy. It is immutable after it is made and may be shared
 * by the connections of one loop; a reload makes a new one, and connections keep the one they
 * started with.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct tls_context; /* counts its users; freed with the last */
struct tls;

enum tls_verify {
    TLS_VERIFY_NONE, /* opportunistic, RFC 7435: encrypt, take any certificate; tls_verdict tells
                        what a stricter look would have said */
    TLS_VERIFY_NAME, /* chain to a known CA and match the server's name (RFC 6125) */
    TLS_VERIFY_DANE, /* match a TLSA record of the connection's (RFC 7671): tls_new_pinned */
};

/* What was wrong with a certificate. */
enum tls_fault {
    TLS_FAULT_NONE,
    TLS_FAULT_NAME,
    TLS_FAULT_EXPIRED,
    TLS_FAULT_UNTRUSTED,
    TLS_FAULT_OTHER
};

/* A TLSA record, RFC 6698 2.1. */
struct tls_pin {
    uint8_t usage;
    uint8_t selector;
    uint8_t matching;
    struct slice data;
};

/* Names are what DANE-TA compares beside the server's; DANE-EE compares none (RFC 7672 3.1.1). */
#define TLS_PIN_NAMES_MAX 2
struct tls_pins {
    const struct tls_pin *pins;
    uint32_t count;
    struct slice names[TLS_PIN_NAMES_MAX]; /* may be empty */
};

/* Server: certificate chain and key in PEM files. On ERR_TLS one line is logged that names the file
 * and the reason. Owns: the caller holds one use of *context; ends it with tls_context_drop. */
MUST_USE enum err tls_server_new(struct slice cert_path, struct slice key_path,
                                 struct tls_context **context);
/* Client. ca_path empty: the system's CAs. TLS_VERIFY_DANE reads none. */
MUST_USE enum err tls_client_new(enum tls_verify verify, struct slice ca_path,
                                 struct tls_context **context);
void tls_context_drop(struct tls_context *context);
/* When its own certificate expires, in unix seconds; 0: it has none, or says nonsense. */
uint64_t tls_context_expires_s(const struct tls_context *context);

/* server_name: SNI and the name to verify, for clients; empty for servers.
 * Owns: the caller owns the result; holds a use of context until tls_free. */
struct tls *tls_new(struct tls_context *context, struct slice server_name);
/* The same for a context of TLS_VERIFY_DANE. server_name is the TLSA base domain. The pins are
 * copied; at least one must be usable, or the handshake fails. */
struct tls *tls_new_pinned(struct tls_context *context, struct slice server_name,
                           const struct tls_pins *pins);
/* Whether SMTP can verify by this record (RFC 7672 3.1.3, RFC 7671 4.1): usages 2 and 3 with known
 * selector and matching type, and data that is what they say. */
bool tls_pin_is_usable(const struct tls_pin *pin);
void tls_free(struct tls *tls);

enum tls_state { TLS_HANDSHAKE, TLS_OPEN, TLS_ENDED, TLS_FAILED };

/* Feeds ciphertext. Decrypted bytes are appended to plain, bytes to send to cipher_out.
 * Returns the state afterwards; TLS_ENDED is the peer's close_notify. */
enum tls_state tls_feed(struct tls *tls, struct slice cipher_in, struct buf *plain,
                        struct buf *cipher_out);
/* Encrypts; only in TLS_OPEN. */
MUST_USE enum err tls_write(struct tls *tls, struct slice plain, struct buf *cipher_out);
/* Appends a close_notify. */
void tls_shutdown(struct tls *tls, struct buf *cipher_out);

/* For logs and rows: "TLSv1.3", "TLS_AES_256_GCM_SHA384", and the reason after TLS_FAILED
 * (terminated, owned by tls). verified: whether the peer's certificate was checked and good. */
const char *tls_version(const struct tls *tls);
const char *tls_cipher(const struct tls *tls);
const char *tls_failure(const struct tls *tls);
bool tls_is_verified(const struct tls *tls);
/* Whether a pinned peer was verified by a CA's record, where its name counts (DANE-TA). */
bool tls_is_named(const struct tls *tls);
enum tls_fault tls_fault(const struct tls *tls);
/* "certificate verified (TLSA 3 1 1)", "certificate not verified: self-signed certificate";
 * terminated. */
#define TLS_VERDICT_MAX 160
void tls_verdict(const struct tls *tls, char out[TLS_VERDICT_MAX]);
/* Whether the handshake was ever finished: TLS_ENDED may come with the last of it. */
bool tls_has_opened(const struct tls *tls);

#endif
