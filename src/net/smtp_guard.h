/* smtp_guard.h - what one address may do to an SMTP listener: sessions at once, connections a
 * minute, failed credentials and unknown recipients, and bans that expire.
 *
 * One guard serves one listener on one loop, without locks; with several loops an address has its
 * limits on each. An address is a v4 address or a v6 network of 64 bits, which is what one customer
 * has. Each limit is a meter that runs empty at a steady rate (the generic cell rate algorithm): a
 * burst of `limit` is fine, then one every window / limit. Time is a parameter, so tests bring
 * theirs.
 *
 * The table is bounded (SMTP_GUARD_ENTRIES). Who has a session open is always in it; of the others
 * the least recently seen goes first, and of the banned, when there are more than SMTP_GUARD_BANS,
 * the oldest: a flood from many networks costs the guard its memory of some, never the machine its
 * memory. Buckets are chosen with a random key, so nobody can aim at one.
 */
#ifndef NET_SMTP_GUARD_H
#define NET_SMTP_GUARD_H

#include "base/base.h"
#include "base/cidr.h"
#include "base/limits.h"
#include "base/list.h"

/* 0 switches a limit off. */
struct smtp_guard_options {
    uint32_t sessions_max;      /* at once */
    uint32_t connects_max;      /* a minute */
    uint32_t auth_failures_max; /* in window_ms; then a ban */
    uint32_t rcpt_failures_max; /* in window_ms; then a ban */
    uint64_t window_ms;         /* of failures */
    uint64_t ban_ms;
};

enum smtp_guard_verdict {
    SMTP_GUARD_OK,
    SMTP_GUARD_BUSY,   /* too many sessions: 421 4.7.0 */
    SMTP_GUARD_FAST,   /* too many connections a minute: 421 4.7.0 */
    SMTP_GUARD_BANNED, /* 554 5.7.1, or close without a word */
};

struct smtp_guard;

/* Owns: the caller owns the guard and ends it with smtp_guard_free, with or without open sessions.
 */
struct smtp_guard *smtp_guard_new(const struct smtp_guard_options *options);
void smtp_guard_free(struct smtp_guard *guard);

/* A connection came. Only OK counts a session; then smtp_guard_leave must follow. Refused ones do
 * not fill the meters, so who is refused is served as soon as the rate allows.
 * Units: now_ms is monotonic and never goes back.
 * Cost:  one look-up. */
enum smtp_guard_verdict smtp_guard_enter(struct smtp_guard *guard, const struct ip6 *ip,
                                         uint64_t now_ms);
void smtp_guard_leave(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms);

/* A failure of a session that is open. True when the address is banned now: end the session. */
bool smtp_guard_auth_failed(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms);
bool smtp_guard_rcpt_failed(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms);

/* 0 when it is not banned. */
uint64_t smtp_guard_ban_left_ms(struct smtp_guard *guard, const struct ip6 *ip, uint64_t now_ms);

/* How many addresses are remembered, and how many of them stand on the list of bans. */
uint32_t smtp_guard_count(const struct smtp_guard *guard);
uint32_t smtp_guard_ban_count(const struct smtp_guard *guard);

#endif
