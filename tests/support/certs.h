/* certs.h - a throw-away certificate for tests of TLS, made in process.
 *
 * Self-signed, for one host name and 127.0.0.1, P-256, written as two PEM files into a temporary
 * folder; the certificate serves as its own CA file. Header-only, so that a test needs no library
 * of helpers. Every failure aborts: a test without a certificate has nothing to say.
 */
#ifndef SUPPORT_CERTS_H
#define SUPPORT_CERTS_H

#include "base/base.h"
#include "base/check.h"
#include "base/slice.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct certs {
    char dir[64];
    char cert_path[96];
    char key_path[96];
};

static inline void certs_write(const struct certs *certs, X509 *cert, EVP_PKEY *key)
{
    FILE *cert_file = fopen(certs->cert_path, "w");
    FILE *key_file = fopen(certs->key_path, "w");
    CHECK(cert_file != NULL && key_file != NULL);
    int cert_written = PEM_write_X509(cert_file, cert);
    int key_written = PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL);
    CHECK(cert_written == 1 && key_written == 1);
    int cert_closed = fclose(cert_file);
    int key_closed = fclose(key_file);
    CHECK(cert_closed == 0 && key_closed == 0);
}

/* host: "mx.example.test", or several as "mx.a.test,DNS:*.b.test". valid_s below 0 makes a
 * certificate that has expired. */
static inline void certs_make(struct certs *certs, const char *host, long valid_s)
{
    (void)snprintf(certs->dir, sizeof(certs->dir), "/tmp/certs-XXXXXX");
    char *made = mkdtemp(certs->dir);
    CHECK(made != NULL);
    (void)snprintf(certs->cert_path, sizeof(certs->cert_path), "%s/cert.pem", certs->dir);
    (void)snprintf(certs->key_path, sizeof(certs->key_path), "%s/key.pem", certs->dir);

    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    CHECK(key != NULL && cert != NULL);
    char names[300];
    (void)snprintf(names, sizeof(names), "DNS:%s,IP:127.0.0.1", host);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    X509_NAME *subject = X509_get_subject_name(cert);
    int all_set =
        X509_set_version(cert, 2) && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -86400) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(cert), valid_s) != NULL && X509_set_pubkey(cert, key) &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)host,
                                   (int)strcspn(host, ","), -1, 0) &&
        X509_set_issuer_name(cert, subject) && san != NULL && X509_add_ext(cert, san, -1) &&
        X509_sign(cert, key, EVP_sha256()) > 0;
    CHECK(all_set);
    certs_write(certs, cert, key);
    X509_EXTENSION_free(san);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void certs_remove(const struct certs *certs)
{
    int cert_gone = unlink(certs->cert_path);
    int key_gone = unlink(certs->key_path);
    int dir_gone = rmdir(certs->dir);
    CHECK(cert_gone == 0 && key_gone == 0 && dir_gone == 0);
}

#endif
