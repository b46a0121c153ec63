/* bounce_rules.h - what is behind a refusal: a table of readable rules, matched first to last.
 *
 *      class  provider  code  enhanced  text
 *      hard   *.example.net|mx.example.org  550  5.1.*  "no such user"
 *
 * provider is the mail host that spoke, code and enhanced what it said; text is looked for anywhere
 * in its words. In all of them * stands for any bytes and ? for one, | separates alternatives, and
 * case does not matter; in the text a run of blanks and line ends counts as one blank. The code is
 * 0 where we speak ourselves. A line that begins with # is a comment.
 *
 * The shipped rules are bounce_rules.conf, part of the program; an operator's own stand in front of
 * them. A class says whose fault it is, whether the address is to be left alone from now on, and
 * whether another try makes sense. Only two classes suppress: everything else is about us, the mail
 * or the moment.
 *
 * Immutable once made; any thread may ask.
 */
#ifndef MAIL_BOUNCE_RULES_H
#define MAIL_BOUNCE_RULES_H

#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"
#include "mail/dsn.h"

enum bounce_fault {
    BOUNCE_FAULT_NOBODY,    /* not known */
    BOUNCE_FAULT_RECIPIENT, /* the address or its mailbox */
    BOUNCE_FAULT_SENDER,    /* the mail, or what is thought of who sends it */
    BOUNCE_FAULT_SYSTEM,    /* servers and what lies between them */
};

struct bounce_traits {
    const char *word; /* in rules, rows and answers */
    const char *type; /* "Permanent", "Transient" or "Undetermined" */
    enum bounce_fault fault;
    bool suppresses;
    bool may_retry; /* even after a reply 5yz: the server means "not now" */
};

/* Of any class but BOUNCE_NONE, which has no word and type. */
const struct bounce_traits *bounce_traits(enum bounce_class class);
/* BOUNCE_NONE when it is the word of no class. */
enum bounce_class bounce_class_of(struct slice word);

struct bounce_rules;

#define BOUNCE_REASON_MAX 256

/* The rules of text, then the shipped ones. NULL when a line cannot be read, which reason names.
 * Owns: the caller frees it. */
struct bounce_rules *bounce_rules_new(struct slice text, char reason[BOUNCE_REASON_MAX]);
/* The same with the text of a file; an empty path: the shipped rules alone. */
struct bounce_rules *bounce_rules_open(struct slice path, char reason[BOUNCE_REASON_MAX]);
/* Puts those of a file into *rules, in place of what was there. A file that cannot be read is fatal
 * at first (*rules is NULL); later it is logged, and the old ones stay. */
void bounce_rules_read(struct bounce_rules **rules, struct slice path);
void bounce_rules_free(struct bounce_rules *rules);
uint32_t bounce_rules_count(const struct bounce_rules *rules);

/* The class of what a host said; BOUNCE_OTHER when no rule fits. host: in any case, may be empty.
 * Cost: 20 to 40 us with the shipped rules. */
enum bounce_class bounce_rules_find(const struct bounce_rules *rules, struct slice host,
                                    const struct verdict *verdict);
/* Sets the class of a verdict, unless it is a success. A refusal for good that means "not now" (a
 * greylist, a rate) becomes one to try again. */
void bounce_rules_judge(const struct bounce_rules *rules, struct slice host,
                        struct verdict *verdict);
/* Likewise of a report that came later: its class alone. Where it gives no code, one is read from
 * the enhanced status. */
void bounce_rules_judge_report(const struct bounce_rules *rules, struct slice host,
                               struct verdict *verdict);

#endif
