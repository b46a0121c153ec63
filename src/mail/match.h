/* match.h - whether an address is one that a route's pattern means.
 *
 *   a@example.com         that address; case does not matter, and a+tag@example.com is another
 *   *@example.com         every address of the domain, of no subdomain
 *   support+*@example.com support+anything@example.com, with nothing behind the plus too
 *   /^(a|b)-\d+@/         a regular expression that finds itself anywhere in the address
 *
 * Addresses are compared in the form of addr_key: lower case, domain in A-labels. A pattern's
 * domain may be written with U-labels, but within a regular expression it may not: that sees xn--.
 *
 * Expressions know literals, . [a-z] [^a-z] \d \w \s \D \W \S, groups (also (?:...)), |, * + ? {n}
 * {n,} {n,m} (lazy forms mean the same, since only yes or no is asked), ^ and $. Bytes are what is
 * matched: . takes one byte of UTF-8, but a character that is written out counts as one thing. Case
 * never matters; a flag i at the end is accepted. Back references and look-around do not exist
 * here.
 *
 * Patterns come from customers and addresses from strangers, so the engine is our own, a simulation
 * of the automaton (Thompson): its work is at most states times bytes, whatever either says. PCRE2
 * backtracks, regexec and TRE promise nothing, RE2 has no interface for C.
 */
#ifndef MAIL_MATCH_H
#define MAIL_MATCH_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

/* Immutable; may be used by several threads at once. */
struct match;

/* The pattern lands in arena, of which it takes 64 KiB at most. Errors: ERR_INVALID, with a
 * sentence for the customer in *fault (which lives as long as the program), ERR_TOO_LARGE when the
 * arena is full. */
MUST_USE enum err match_compile(struct slice text, struct arena *arena,
                                const struct match **pattern, const char **fault);
/* key: as addr_key makes it. Cost: 10 ns; for expressions, some ns a byte and state alive. */
bool match_test(const struct match *pattern, struct slice key);
/* The same, and counts the states that were entered into *steps, for tests of the bound. */
bool match_test_counted(const struct match *pattern, struct slice key, uint64_t *steps);
/* The one domain whose addresses can match; empty for an expression. */
struct slice match_domain(const struct match *pattern);

#endif
