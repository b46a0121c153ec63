/* sm.c - one place where every machine of the program moves. Moves are traced as debug lines, so
 * `log_level = debug` replays any machine from the log.
 */
#include "base/sm.h"

#include "base/check.h"
#include "base/log.h"

#include <stdio.h>

#define STATE_COUNT_MAX 32 /* bits of sm_state.allowed */

void sm_init(struct sm *sm, const struct sm_table *table, uint8_t first_state)
{
    CHECK(table->state_count <= STATE_COUNT_MAX);
    CHECK(first_state < table->state_count);
    *sm = (struct sm){
        .table = table,
        /* Distinct among living machines without a shared counter; owners may set their own. */
        .id = (uint32_t)((uintptr_t)sm >> 3),
        .state = first_state,
    };
}

void sm_move(struct sm *sm, uint8_t to_state)
{
    const struct sm_table *table = sm->table;
    CHECK(to_state < table->state_count);
    const struct sm_state *from = &table->states[sm->state];
    const struct sm_state *to = &table->states[to_state];
    if ((from->allowed & SM_TO(to_state)) == 0) {
        /* As a CHECK, but the report names the machine and the move instead of this expression. */
        char move[160];
        (void)snprintf(move, sizeof(move), "%s %u: %s -> %s is allowed", table->name, sm->id,
                       from->name, to->name); /* a cut name still tells */
        check_failed(move, __FILE__, __LINE__, __func__);
    }
    LOG_DEBUG("sm.move", LOG_STR("machine", table->name), LOG_U64("id", sm->id),
              LOG_STR("from", from->name), LOG_STR("to", to->name));
    sm->state = to_state;
}

const char *sm_state_name(const struct sm *sm)
{
    return sm->table->states[sm->state].name;
}
