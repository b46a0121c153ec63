/* rehearse.h - what happens to a mail that must not leave: test keys and `sandbox` sends.
 *
 * No socket is opened; the local part of the recipient decides, a +label allowed, at test.invalid
 * and at domains that begin with "sandbox.": bounced@ and suppressed@ bounce, deferred@ is put off,
 * everything else is delivered. So that the whole path behind the SMTP client can be tried, retries
 * and bounces included.
 */
#ifndef DELIVER_REHEARSE_H
#define DELIVER_REHEARSE_H

#include "base/slice.h"
#include "mail/dsn.h"

void rehearse(struct slice recipient, struct verdict *verdict);

#endif
