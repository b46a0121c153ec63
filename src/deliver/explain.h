/* explain.h - where outbox rows stand in the schedule, for who asks why a mail is not delivered yet
 * (DELIVER_EXPLAIN).
 *
 * It only looks: nothing is moved, looked up or promised, and what it says was true at that moment.
 * What the facts mean in words is the edge's to say.
 */
#ifndef DELIVER_EXPLAIN_H
#define DELIVER_EXPLAIN_H

#include "deliver/deliver_int.h"

/* Cost: some microseconds an entry; tens when thousands stand in line before it.
 * Owns: takes msg. */
void explain_handle(struct deliver *deliver, struct msg *msg);

#endif
