/* track_html.h - HTML whose links count clicks, and that tells when it is shown. Sans I/O.
 *
 * Two things change and no other byte: the value of href of an <a> that leads to http or https, and
 * a picture of one pixel before the last </body> (or </html>, or at the end). Tags, attributes,
 * comments and raw text are told apart as browsers do it (WHATWG HTML 13.2.5), so that what looks
 * like a link in a comment, a script or another attribute stays.
 *
 * Left alone: other schemes, relative addresses and fragments; places of templates ("{{"); links to
 * this server itself, which is where people unsubscribe; an <a> with the attribute
 * data-meerkat-no-track; addresses that are longer than TRACK_URL_MAX or that readers could
 * disagree about; links beyond TRACK_LINKS_MAX. HTML that ends within a tag, a comment or raw text
 * gets no picture at its end.
 */
#ifndef MAIL_TRACK_HTML_H
#define MAIL_TRACK_HTML_H

#include "base/buf.h"
#include "mail/track_link.h"

#define TRACK_NO_TRACK "data-meerkat-no-track"

struct track_html {
    const struct seal_key *key;
    struct id mail;
    struct slice base; /* of the links made, without a slash at its end */
    struct slice own;  /* base of links that are left alone beside those; may be empty */
    bool opens;
    bool clicks;
};

struct track_counts {
    uint32_t links; /* rewritten */
    bool has_image;
};

/* What the rewritten html may have beyond its own length. */
#define TRACK_GROWTH_MAX ((TRACK_LINKS_MAX + 1) * TRACK_LINK_MAX)

/* Appends html, rewritten, to out. It always fits when out's ceiling is html.len +
 * TRACK_GROWTH_MAX.
 * Cost: linear. */
struct track_counts track_html_rewrite(const struct track_html *how, struct slice html,
                                       struct buf *out);

/* Where an href leads, as the Location of a redirect: references decoded, white space gone, what is
 * not ASCII in percent. False when it is to be left alone. Text in arena. */
bool track_url_read(struct slice href, struct arena *arena, struct slice *url) MUST_USE;

#endif
