/* conf.h - the configuration: one table, one immutable struct.
 *
 * CONF_TABLE is the only place an option exists; the struct, the file parser, the environment
 * names, the command line and docs/OPERATIONS.md all come from it. Precedence: command line
 * (`--name value`), then environment (`MEERKAT_NAME`), then the file (`name = value`, `#`
 * comments), then the default. An unknown name, a bad value or an unreadable file is one line that
 * names the file, the line and the remedy.
 *
 * The struct is read-only once loaded and may be read by every thread.
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

/*  name, type (TEXT, UINT, BOOL), default, minimum, maximum (UINT only), help */
#define CONF_TABLE(X)                                                                              \
    X(data, TEXT, "meerkat-data", 0, 0, "folder of the store and the master key")                  \
    X(http_listen, TEXT, "127.0.0.1:8080", 0, 0,                                                   \
      "plain HTTP listener, host:port; empty for none; port 0 picks a free one")                   \
    X(https_listen, TEXT, "", 0, 0, "HTTPS listener, host:port; empty for none")                   \
    X(tls_cert, TEXT, "", 0, 0, "certificate chain, PEM; read again on SIGHUP")                    \
    X(tls_key, TEXT, "", 0, 0, "private key of tls_cert, PEM")                                     \
    X(trusted_proxies, TEXT, "", 0, 0,                                                             \
      "addresses (CIDR, comma separated) whose X-Forwarded-For and X-Forwarded-Proto are "         \
      "believed")                                                                                  \
    X(access_log, BOOL, "no", 0, 0, "a line in the log for every HTTP request")                    \
    X(mail_log, BOOL, "no", 0, 0,                                                                  \
      "a line for every mail accepted, delivered or put off; those that fail are always told")     \
    X(public_url, TEXT, "", 0, 0, "base of links in answers; default: http:// and the listener")   \
    X(admin_socket, TEXT, "", 0, 0,                                                                \
      "Unix socket of meerkatctl; empty: admin.sock in the data folder; off: none")                \
    X(hostname, TEXT, "localhost", 0, 0, "name said in EHLO, Message-ID and Received")             \
    X(mx_host, TEXT, "", 0, 0, "host customers point MX records at; default: hostname")            \
    X(return_path_label, TEXT, "bounces", 0, 0,                                                    \
      "label under a sending domain for the return path's CNAME")                                  \
    X(spf_include, TEXT, "", 0, 0, "name customers include in SPF; default: spf.<hostname>")       \
    X(loops, UINT, "0", 0, 32, "event loops for connections and shards; 0: one a core")            \
    X(shards, UINT, "32", 1, 32, "column families; used only when the store is formatted")         \
    X(workers, UINT, "0", 0, 64, "threads for signing and password hashing; 0: one a core")        \
    X(dns_servers, TEXT, "", 0, 0,                                                                 \
      "resolvers, ip[:port] comma separated; empty: /etc/resolv.conf")                             \
    X(dns_validates, BOOL, "no", 0, 0,                                                             \
      "the resolvers validate DNSSEC and nobody can touch their answers on the way (unbound on "   \
      "loopback): DANE is obeyed")                                                                 \
    X(smtp_listen, TEXT, "", 0, 0,                                                                 \
      "SMTP listener for mail that comes in, host:port; empty for none")                           \
    X(submission_listen, TEXT, "", 0, 0,                                                           \
      "listeners for mail that clients submit over STARTTLS, host:port, comma separated")          \
    X(submissions_listen, TEXT, "", 0, 0, "the same with TLS from the start")                      \
    X(submission_auth_failures_max, UINT, "20", 0, 1000000,                                        \
      "wrong API keys over SMTP from one address in 10 minutes, then a ban as long; 0: no limit")  \
    X(smtp_hostname, TEXT, "", 0, 0,                                                               \
      "name said to SMTP clients and in Authentication-Results; default: hostname")                \
    X(smtp_greet_delay_ms, UINT, "0", 0, 60000,                                                    \
      "pause before the SMTP greeting; who speaks before it is refused; 0: none")                  \
    X(smtp_proxies, TEXT, "", 0, 0,                                                                \
      "addresses (CIDR, comma separated) of balancers, from which the PROXY protocol is demanded") \
    X(smtp_sessions_max, UINT, "2000", 1, 10000, "SMTP sessions at once on one loop")              \
    X(smtp_address_sessions_max, UINT, "50", 0, 10000,                                             \
      "SMTP sessions at once from one address on one loop; 0: no limit")                           \
    X(smtp_address_per_min, UINT, "600", 0, 1000000,                                               \
      "SMTP connections an address may make a minute on one loop; 0: no limit")                    \
    X(smtp_rcpt_failures_max, UINT, "100", 0, 1000000,                                             \
      "unknown recipients from one address in 10 minutes, then a ban as long; 0: no limit")        \
    X(smtp_dmarc_reject, BOOL, "no", 0, 0,                                                         \
      "refuse mail that fails DMARC when the author's domain asks for it")                         \
    X(smtp_port, UINT, "25", 1, 65535, "port of remote mail servers (tests change it)")            \
    X(sts_port, UINT, "443", 1, 65535, "port of MTA-STS policy hosts (tests change it)")           \
    X(tls_report_from, TEXT, "", 0, 0,                                                             \
      "sender of reports on TLS, of a verified domain of an account here; empty: none by mail")    \
    X(tls_report_spread_s, UINT, "14400", 0, 43200,                                                \
      "reports on a day's TLS go out at random within this time after midnight UTC, seconds")      \
    X(smarthost, TEXT, "", 0, 0, "host:port that relays all outgoing mail; empty: deliver by MX")  \
    X(smarthost_tls, TEXT, "may", 0, 0, "TLS towards the smarthost: none, may, require, implicit") \
    X(smarthost_user, TEXT, "", 0, 0, "user name for AUTH at the smarthost")                       \
    X(smarthost_password_file, TEXT, "", 0, 0, "file with the password for the smarthost")         \
    X(tls_ca, TEXT, "", 0, 0, "CA file for verified TLS towards others; empty: the system's")      \
    X(allow_private_targets, BOOL, "no", 0, 0,                                                     \
      "deliver to, call and fetch from loopback and private addresses (tests, a local "            \
      "sink)")                                                                                     \
    X(sandbox_domain, TEXT, "", 0, 0,                                                              \
      "a domain that verifies without DNS, for trying Meerkat out; empty for none")                \
    X(retry_first_ms, UINT, "60000", 10, 3600000, "first retry of a put-off mail, milliseconds")   \
    X(retry_max_ms, UINT, "14400000", 10, 86400000,                                                \
      "longest pause between two tries, milliseconds")                                             \
    X(retry_age_ms, UINT, "345600000", 1000, 2592000000,                                           \
      "age at which a mail that is still put off bounces")                                         \
    X(bounce_rules, TEXT, "", 0, 0,                                                                \
      "file of rules for what servers answer, in front of the shipped ones; read again on SIGHUP") \
    X(complaint_address, TEXT, "", 0, 0,                                                           \
      "address that feedback loops report to, at a host of ours; empty: none")                     \
    X(smtp_timeout_ms, UINT, "0", 0, 3600000,                                                      \
      "one limit for every SMTP step; 0: those of RFC 5321 4.5.3.2")                               \
    X(rspamd_url, TEXT, "", 0, 0,                                                                  \
      "rspamd to ask about mail coming in, http://host:port; empty: none")                         \
    X(rspamd_timeout_ms, UINT, "5000", 10, 60000, "time for rspamd's answer, milliseconds")        \
    X(hook_timeout_ms, UINT, "15000", 10, 15000, "a webhook must have answered by then")           \
    X(delivery_max, UINT, "1000", 1, 1365, "delivery attempts at once")                            \
    X(site_max, UINT, "20", 1, 1000, "connections at once to one destination")                     \
    X(site_policy, TEXT, "", 0, 0,                                                                 \
      "file about mail providers and source addresses, read before what is shipped; and on "       \
      "SIGHUP")                                                                                    \
    X(reserve_mb, UINT, "256", 1, 1048576,                                                         \
      "free disk space below which no new mail is accepted, MiB")                                  \
    X(drain_ms, UINT, "20000", 100, 600000, "time for a graceful stop, milliseconds")              \
    X(drain_notice_ms, UINT, "250", 0, 60000,                                                      \
      "time at a stop in which new requests are told 503 before connections are refused")          \
    X(mail_max, UINT, "31457280", 1024, 31457280, "largest composed mail, bytes")                  \
    X(body_max, UINT, "41943040", 1024, 41943040, "largest request body, bytes")                   \
    X(daily_max, UINT, "0", 0, 4294967295, "mails an account may send a day; 0: no limit")         \
    X(retention_days, UINT, "0", 0, RETENTION_DAYS_MAX,                                            \
      "days that mails are kept, unless their account or domain says otherwise; 0: for ever")      \
    X(google_client_id, TEXT, "", 0, 0, "OAuth client for sign-in with Google; empty: none")       \
    X(google_client_secret_file, TEXT, "", 0, 0, "file with the secret of google_client_id")       \
    X(google_token_url, TEXT, "https://oauth2.googleapis.com/token", 0, 0,                         \
      "where a code becomes a token")                                                              \
    X(google_userinfo_url, TEXT, "https://openidconnect.googleapis.com/v1/userinfo", 0, 0,         \
      "where a token becomes a person")                                                            \
    X(google_timeout_ms, UINT, "10000", 10, 60000, "time for both, milliseconds")                  \
    X(signup_open, BOOL, "yes", 0, 0,                                                              \
      "anybody may sign up; if not, only the first user of a new server may")                      \
    X(login_email_max, UINT, "10", 0, 1000000,                                                     \
      "failed tries to log in to one email in 15 minutes; 0: no limit")                            \
    X(login_address_max, UINT, "30", 0, 1000000,                                                   \
      "failed tries to log in, sign up or join from one address in 15 minutes; 0: no limit")       \
    X(rate_account_per_min, UINT, "60000", 0, 4294967295,                                          \
      "requests an account may make a minute, unless its row says otherwise; 0: no limit")         \
    X(rate_key_per_min, UINT, "60000", 0, 4294967295,                                              \
      "requests an API key may make a minute, unless its row says otherwise; 0: no limit")         \
    X(rate_address_per_min, UINT, "6000", 0, 4294967295,                                           \
      "requests without a valid credential that an address may make a minute on one loop; "        \
      "0: no limit")                                                                               \
    X(dnsbl_zones, TEXT, "", 0, 0,                                                                 \
      "block lists (DNS zones, comma separated, 8 at most) that a domain's health asks; empty: "   \
      "none")                                                                                      \
    X(track_bot_ms, UINT, "2000", 0, 600000,                                                       \
      "clicks this soon after delivery, or on several links at once, are a scanner's; "            \
      "milliseconds, 0: no such guess")                                                            \
    X(log_file, TEXT, "", 0, 0,                                                                    \
      "file that the log is appended to, opened anew on SIGHUP and SIGUSR1; empty: standard "      \
      "error")                                                                                     \
    X(log_level, TEXT, "info", 0, 0, "debug, info, warn or error")                                 \
    X(test_commit_delay_ms, UINT, "0", 0, 60000, "tests: pause before each sync")                  \
    X(test_slow_shard, UINT, "0", 0, 32,                                                           \
      "tests: number of a shard, from 1, whose batches are written slowly; 0: none")               \
    X(test_slow_shard_ms, UINT, "500", 0, 60000, "tests: pause before each batch of that shard")   \
    X(test_delivery_delay_ms, UINT, "0", 0, 60000, "tests: pause before each attempt")             \
    X(test_sign, TEXT, "both", 0, 0,                                                               \
      "benchmarks: DKIM signatures of sent mail: both, rsa or none")                               \
    X(test_hook_pause_percent, UINT, "100", 0, 100, "tests: of the pauses between webhook tries")  \
    X(test_clock_offset_ms, UINT, "0", 0, 31536000000, "tests: added to wall time")

struct conf {
#define CONF_MEMBER_TEXT                        struct slice
#define CONF_MEMBER_UINT                        uint64_t
#define CONF_MEMBER_BOOL                        bool
#define X(name, type, fallback, min, max, help) CONF_MEMBER_##type name;
    CONF_TABLE(X)
#undef X
    struct arena arena; /* owns all text */
};

/* Fills *conf from defaults, the file named by --config (if any), the environment and argv. Prints
 * a line to standard error for each mistake (one on the command line ends it) and returns false.
 * `--help` and `--version` are main's business. */
bool conf_load(struct conf *conf, int argc, char **argv) MUST_USE;
void conf_fini(struct conf *conf);
/* The table as Markdown, for docs/OPERATIONS.md. */
void conf_print_markdown(struct buf *out);
/* One option after the other, for those who print them otherwise; false behind the last one. */
struct conf_entry {
    struct slice name;
    struct slice fallback;
    const char *help;
    char values[64]; /* "0 to 32", "yes, no", or "text" */
};
bool conf_entry_at(size_t index, struct conf_entry *out);
/* All options as a commented file with their defaults. */
void conf_print_sample(struct buf *out);

/* The path of the admin socket, in arena; empty when there is none. */
struct slice conf_admin_socket(const struct conf *conf, struct arena *arena);

/* The base of links, without a slash at its end: public_url, or else the HTTP listener by a name
 * that others know, with the port it got. */
#define CONF_URL_MAX 300
struct slice conf_public_url(const struct conf *conf, uint16_t tcp_port, uint16_t tls_tcp_port,
                             char out[CONF_URL_MAX]);
/* The ports that are asked for, where it is not known which ones were given. */
struct slice conf_asked_url(const struct conf *conf, char out[CONF_URL_MAX]);

/* One field by name, for tests; false when unknown or bad. */
bool conf_set(struct conf *conf, struct slice name, struct slice value) MUST_USE;

#endif
