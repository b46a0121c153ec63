/* meerkatctl_verify.h - what verify and repair share: progress and reports.
 *
 * A report is the document of kv/verify.h, whether the tool read the store itself or the daemon
 * did.
 */
#ifndef TOOLS_MEERKATCTL_VERIFY_H
#define TOOLS_MEERKATCTL_VERIFY_H

#include "meerkatctl.h"

struct verify;

void ctl_print_verified(struct ctl *ctl, json_t *report);
/* One line over itself on a terminal; is_over: takes it away. */
void ctl_show_verify(const struct verify *verify, bool is_over);

#endif
