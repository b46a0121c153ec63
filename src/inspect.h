/* inspect.h - looks at what a start needs, without starting: meerkatd --check-config.
 *
 * Each thing is read with the function that a start reads it with, and what is wrong is one line
 * that names the remedy. Nothing is made, written, opened for others or asked over the network.
 *
 * A start ends at the first of these; here they are all told.
 */
#ifndef INSPECT_H
#define INSPECT_H

#include "base/base.h"
#include "base/conf.h"

#define INSPECT_WHY_MAX 4600 /* holds a path */

/* Prints a line for each problem to standard error. Returns how many there are. */
uint32_t inspect_conf(const struct conf *conf);

/* The folder exists and is ours. False: why says what to do. */
bool inspect_folder(const char *path, char why[INSPECT_WHY_MAX]) MUST_USE;
/* The same of the master key in it; it may be missing as long as there is no store. */
bool inspect_master_key(const char *folder, char why[INSPECT_WHY_MAX]) MUST_USE;

#endif
