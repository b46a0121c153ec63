/* Not covered here: the trace lines of moves (test_log covers lines), and the real machines, which
 * are tested with their modules.
 */
#include "base/sm.h"

#include <criterion/criterion.h>

#include <signal.h>

enum { DOOR_OPEN, DOOR_SHUT, DOOR_LOCKED, DOOR_COUNT };

static const struct sm_state door_states[] = {
    [DOOR_OPEN] = {"open", SM_TO(DOOR_SHUT)},
    [DOOR_SHUT] = {"shut", SM_TO(DOOR_OPEN) | SM_TO(DOOR_LOCKED)},
    [DOOR_LOCKED] = {"locked", SM_TO(DOOR_SHUT) | SM_TO(DOOR_LOCKED)},
};
static const struct sm_table door_table = {"door", door_states, DOOR_COUNT};

Test(sm, walks_the_moves_its_table_allows)
{
    struct sm sm;
    sm_init(&sm, &door_table, DOOR_OPEN);
    cr_assert_str_eq(sm_state_name(&sm), "open");
    sm_move(&sm, DOOR_SHUT);
    sm_move(&sm, DOOR_LOCKED);
    sm_move(&sm, DOOR_LOCKED);
    cr_assert_eq(sm.state, DOOR_LOCKED);
    cr_assert_str_eq(sm_state_name(&sm), "locked");
}

Test(sm, aborts_on_a_move_that_is_not_in_the_table, .signal = SIGABRT)
{
    struct sm sm;
    sm_init(&sm, &door_table, DOOR_OPEN);
    sm_move(&sm, DOOR_LOCKED);
}

Test(sm, aborts_on_standing_still_unless_allowed, .signal = SIGABRT)
{
    struct sm sm;
    sm_init(&sm, &door_table, DOOR_SHUT);
    sm_move(&sm, DOOR_SHUT);
}

Test(sm, aborts_on_a_state_past_the_table, .signal = SIGABRT)
{
    struct sm sm;
    sm_init(&sm, &door_table, DOOR_SHUT);
    sm_move(&sm, DOOR_COUNT);
}

Test(sm, aborts_on_a_first_state_past_the_table, .signal = SIGABRT)
{
    struct sm sm;
    sm_init(&sm, &door_table, DOOR_COUNT);
}

Test(sm, tells_machines_of_one_table_apart)
{
    struct sm machines[2];
    sm_init(&machines[0], &door_table, DOOR_OPEN);
    sm_init(&machines[1], &door_table, DOOR_OPEN);
    cr_assert_neq(machines[0].id, machines[1].id);
}
