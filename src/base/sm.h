/* sm.h - a state machine whose moves are checked against a table.
 *
 * Anything that waits more than once is a machine: the source file draws it, lists its states and,
 * for each, the set of states it may move to. sm_move CHECKs the move and traces it when tracing is
 * on, so a log replays the machine. At most 32 states. The state is read directly from sm->state.
 */
#ifndef BASE_SM_H
#define BASE_SM_H

#include "base/base.h"

struct sm_state {
    const char *name;
    uint32_t allowed; /* SM_TO(a) | SM_TO(b): the states that may follow */
};

#define SM_TO(state) (UINT32_C(1) << (state))

struct sm_table {
    const char *name;
    const struct sm_state *states;
    uint8_t state_count;
};

struct sm {
    const struct sm_table *table;
    uint32_t id; /* tells machines of one table apart in traces */
    uint8_t state;
};

void sm_init(struct sm *sm, const struct sm_table *table, uint8_t first_state);
void sm_move(struct sm *sm, uint8_t to_state);
const char *sm_state_name(const struct sm *sm);

#endif
