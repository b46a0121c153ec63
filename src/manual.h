/* manual.h - what meerkatd prints about itself, and then ends: help, version, options.
 *
 * Everything about options comes from the table in base/conf.h: the example of a configuration, the
 * table in docs/OPERATIONS.md (tools/docs), the manual page and completion for shells.
 */
#ifndef MANUAL_H
#define MANUAL_H

#include "base/base.h"

/* Whether the command line asked for something of the kind, which was then printed. */
bool manual_print(int argc, char **argv) MUST_USE;

#endif
