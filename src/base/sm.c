/* sm.c - one place where every machine of the program moves. Moves are traced as debug lines, so
 * `log_level = debug` replays any machine from the log.
 */
#include "base/sm.h"

#include "base/check.h"
#include "base/log.h"

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
        /* The report of CHECK alone would not say which machine it was. */
        LOG_ERROR("sm.forbidden", LOG_STR("machine", table->name), LOG_U64("id", sm->id),
                  LOG_STR("from", from->name), LOG_STR("to", to->name));
    }
    CHECK((from->allowed & SM_TO(to_state)) != 0);
    LOG_DEBUG("sm.move", LOG_STR("machine", table->name), LOG_U64("id", sm->id),
              LOG_STR("from", from->name), LOG_STR("to", to->name));
    sm->state = to_state;
}

const char *sm_state_name(const struct sm *sm)
{
    return sm->table->states[sm->state].name;
}
