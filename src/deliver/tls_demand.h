/* tls_demand.h - what a connection to one mail host must prove before mail goes over it.
 *
 * Pure: from what is known of a destination to what is done. DANE (RFC 7672) goes before MTA-STS
 * (RFC 8461 2), the operator's word for a domain goes before both, and a mail that must not travel
 * in clear (REQUIRETLS, RFC 8689) goes before everything.
 *
 *   mail requires TLS     TLS, verified, REQUIRETLS offered; else bounced
 *   operator: none, may   what he said; the domain's own policies are not looked at
 *   mail waives TLS       as it goes ("TLS-Required: No", RFC 8689 5)
 *   DANE bogus            the host is not used: somebody may be hiding its records
 *   DANE usable           TLS, verified by TLSA
 *   STS enforce           hosts of the policy only; TLS, verified by name
 *   operator: require     TLS, verified by name
 *   DANE unusable         TLS, any certificate (RFC 7672 2.2)
 *   else                  TLS where it works, plain where it does not (RFC 7435)
 *
 * Where TLS is demanded nothing is ever sent without; where it only may be, a failed handshake is
 * followed by one plain try, but never with a password.
 */
#ifndef DELIVER_TLS_DEMAND_H
#define DELIVER_TLS_DEMAND_H

#include "base/base.h"
#include "deliver/attempt_smtp.h"
#include "mail/dsn.h"
#include "net/tls.h"

/* What the operator says of a destination. */
enum tls_override { TLS_OVERRIDE_UNSET, TLS_OVERRIDE_NONE, TLS_OVERRIDE_MAY, TLS_OVERRIDE_REQUIRE };

/* What the DNS says of one mail host. */
enum tls_dane {
    TLS_DANE_NONE,     /* insecure, or securely without TLSA records */
    TLS_DANE_UNUSABLE, /* secure TLSA records, none of them for SMTP */
    TLS_DANE_USABLE,
    TLS_DANE_BOGUS, /* the zone is secure, its TLSA records cannot be had */
};

/* What the domain's MTA-STS policy says. */
enum tls_sts { TLS_STS_NONE, TLS_STS_TESTING, TLS_STS_ENFORCE };

struct tls_facts {
    enum tls_override override;
    enum tls_dane dane;
    enum tls_sts sts;
    bool is_sts_host;  /* the host is named by the policy's mx patterns */
    bool requires_tls; /* the mail's */
    bool waives_tls;   /* the mail's */
    bool is_smarthost; /* then smarthost_tls is the operator's word; DANE and STS are not asked */
    enum smtp_tls smarthost_tls;
    bool has_password; /* something worse than the mail could be read on the way */
};

/* Result types of TLS reports, RFC 8460 4.3, in its order. */
enum tls_result {
    TLS_RESULT_SUCCESS,
    TLS_RESULT_STARTTLS_NOT_SUPPORTED,
    TLS_RESULT_CERTIFICATE_HOST_MISMATCH,
    TLS_RESULT_CERTIFICATE_EXPIRED,
    TLS_RESULT_CERTIFICATE_NOT_TRUSTED,
    TLS_RESULT_VALIDATION_FAILURE,
    TLS_RESULT_TLSA_INVALID,
    TLS_RESULT_DNSSEC_INVALID,
    TLS_RESULT_DANE_REQUIRED,
    TLS_RESULT_STS_POLICY_FETCH_ERROR,
    TLS_RESULT_STS_POLICY_INVALID,
    TLS_RESULT_STS_WEBPKI_INVALID,
    TLS_RESULT_COUNT
};

struct tls_demand {
    bool is_usable;        /* false: the host is left out; result, enhanced and sentence say why */
    enum smtp_tls mode;    /* for attempt_smtp */
    enum tls_verify check; /* how the certificate is judged */
    bool may_go_plain;     /* once more without TLS when the handshake fails */
    bool needs_requiretls; /* the host must offer REQUIRETLS, and MAIL says it */
    const char *policy;    /* attempt.tls_policy: dane, sts, require, opportunistic or "" */
    enum tls_result result;
    const char *enhanced;
    const char *sentence;
};

void tls_demand_of(const struct tls_facts *facts, struct tls_demand *demand);

/* "starttls-not-supported"; "" for success. */
const char *tls_result_word(enum tls_result result);
/* The result to report after a connection failed at a step with a fault of its certificate (NONE
 * when it was not about one). SUCCESS when the failure says nothing about TLS. */
enum tls_result tls_result_of(enum smtp_step step, enum tls_fault fault);

/* The enhanced status of a host that does not offer REQUIRETLS, while others may. */
#define TLS_NO_REQUIRETLS "4.7.30"
/* Turns what kept a mail that requires TLS from going out into its end: RFC 8689 4.2.1 has it
 * bounced, with 5.7.30 when the host lacks REQUIRETLS and 5.7.10 when TLS was not to be had. Other
 * failures, as of a network or said by the server to be temporary, stay deferred. */
void tls_demand_end(const struct tls_demand *demand, struct verdict *verdict);

#endif
