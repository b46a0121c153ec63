/* track_agent.c - the table of user agents. */
#include "mail/track_agent.h"

/* The first line that is found counts. Words are compared without case; "bot" stands with what
 * follows it, because there are telephones called CUBOT. */
static const struct {
    const char *word;
    enum track_agent is;
} agents[] = {
    /* Mail services that show pictures through themselves. */
    {"GoogleImageProxy", TRACK_AGENT_PROXY},
    {"YahooMailProxy", TRACK_AGENT_PROXY},

    /* Scanners in front of mailboxes. */
    {"Barracuda", TRACK_AGENT_BOT},
    {"Mimecast", TRACK_AGENT_BOT},
    {"Proofpoint", TRACK_AGENT_BOT},
    {"Symantec", TRACK_AGENT_BOT},
    {"MessageLabs", TRACK_AGENT_BOT},
    {"TrendMicro", TRACK_AGENT_BOT},
    {"BitDefender", TRACK_AGENT_BOT},
    {"Kaspersky", TRACK_AGENT_BOT},
    {"Sophos", TRACK_AGENT_BOT},
    {"Zscaler", TRACK_AGENT_BOT},
    {"FortiGuard", TRACK_AGENT_BOT},
    {"VirusTotal", TRACK_AGENT_BOT},
    {"urlscan", TRACK_AGENT_BOT},
    {"Google-Safety", TRACK_AGENT_BOT},
    {"ExistenceDiscovery", TRACK_AGENT_BOT},
    {"Existence Discovery", TRACK_AGENT_BOT},

    /* Previews in chats. */
    {"facebookexternalhit", TRACK_AGENT_BOT},
    {"SkypeUriPreview", TRACK_AGENT_BOT},
    {"Slack-ImgProxy", TRACK_AGENT_BOT},
    {"WhatsApp/", TRACK_AGENT_BOT},
    {"BingPreview", TRACK_AGENT_BOT},
    {"Google Web Preview", TRACK_AGENT_BOT},

    /* Crawlers, and programs that say what they are. */
    {"bot/", TRACK_AGENT_BOT},
    {"bot-", TRACK_AGENT_BOT},
    {"bot;", TRACK_AGENT_BOT},
    {"bot (", TRACK_AGENT_BOT},
    {"crawler", TRACK_AGENT_BOT},
    {"spider", TRACK_AGENT_BOT},
    {"Slurp", TRACK_AGENT_BOT},
    {"HeadlessChrome", TRACK_AGENT_BOT},
    {"PhantomJS", TRACK_AGENT_BOT},
    {"curl/", TRACK_AGENT_BOT},
    {"Wget/", TRACK_AGENT_BOT},
    {"libwww-perl", TRACK_AGENT_BOT},
    {"python-", TRACK_AGENT_BOT},
    {"Python/", TRACK_AGENT_BOT},
    {"Go-http-client", TRACK_AGENT_BOT},
    {"Java/", TRACK_AGENT_BOT},
    {"Apache-HttpClient", TRACK_AGENT_BOT},
    {"node-fetch", TRACK_AGENT_BOT},
    {"axios/", TRACK_AGENT_BOT},
    {"Scrapy", TRACK_AGENT_BOT},
};

static bool has_word(struct slice text, struct slice word)
{
    for (size_t at = 0; at + word.len <= text.len; at++) {
        if (slice_starts_nocase(slice_from(text, at), word)) {
            return true;
        }
    }
    return false;
}

enum track_agent track_agent_of(struct slice user_agent)
{
    struct slice text = slice_trim(user_agent);
    /* Apple's Mail Privacy Protection fetches every picture of every mail and says no more. */
    if (text.len == 0 || slice_equal(text, SLICE("Mozilla/5.0"))) {
        return TRACK_AGENT_BOT;
    }
    for (size_t i = 0; i < ARRAY_LEN(agents); i++) {
        if (has_word(text, slice_str(agents[i].word))) {
            return agents[i].is;
        }
    }
    return TRACK_AGENT_PERSON;
}
