/* meerkatctl_job.h - long work on the store, as the tool sees it: a job is started, watched, and
 * its report printed.
 *
 * Progress goes to standard error, the report to standard output. Whoever loses patience (Ctrl-C)
 * leaves the job running and is told how to find it again.
 */
#ifndef TOOLS_MEERKATCTL_JOB_H
#define TOOLS_MEERKATCTL_JOB_H

#include "meerkatctl.h"

/* Prints a job that has ended, its report above all, for people. */
typedef void job_print_fn(struct ctl *ctl, json_t *job);

bool ctl_job_is_done(json_t *job); /* neither failed nor cancelled: its report is of all of it */

/* Starts a job of that type, whose further members are in body (taken; NULL: none), and waits for
 * its end, unless --detach was given, which the command lists among its options.
 * EXIT_GOOD; EXIT_WRONG when it found something or failed; EXIT_REFUSED when it was refused or
 * cancelled. With --json the job is printed as it is. */
int ctl_job_run(struct ctl *ctl, const char *type, json_t *body, job_print_fn *print);

#endif
