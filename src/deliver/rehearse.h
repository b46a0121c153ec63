/* rehearse.h - what happens to a mail that must not leave: test keys and `sandbox` sends.
 *
 * No socket is opened. Where the mail is scripted (its shard says so: test.invalid, and `sandbox.`
 * in front of a domain of the account) the local part of the recipient decides, a +label allowed:
 * bounced@ bounces, deferred@ is put off, complained@ is delivered and reported as spam. Everything
 * else is delivered. So that the whole path behind the SMTP client can be tried, retries and
 * bounces included.
 */
#ifndef DELIVER_REHEARSE_H
#define DELIVER_REHEARSE_H

#include "base/base.h"
#include "base/slice.h"
#include "mail/dsn.h"

void rehearse(struct slice recipient, bool is_scripted, struct verdict *verdict);

#endif
