/* track_agent.h - who opens a mail or follows its links: a person, a proxy for one, or a program.
 *
 * One readable table of what stands in User-Agent. Guesses, of course: who wants to look like a
 * browser does. Pure functions.
 */
#ifndef MAIL_TRACK_AGENT_H
#define MAIL_TRACK_AGENT_H

#include "base/base.h"
#include "base/slice.h"

enum track_agent {
    TRACK_AGENT_PERSON,
    TRACK_AGENT_PROXY, /* fetches pictures when somebody looks at the mail */
    TRACK_AGENT_BOT,   /* scans, previews, or fetches ahead whether anybody looks or not */
};

enum track_agent track_agent_of(struct slice user_agent);

#endif
