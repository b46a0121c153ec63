/* throttle.h - how often something may still fail, for many texts in little memory.
 *
 * A text (an email, an address) may fail `max` times in THROTTLE_WINDOW_MS; then one more try comes
 * every window / max. Of each text one number is kept: when its bucket will be full again. A text
 * whose bucket is full needs no entry, so the table holds only those that failed of late.
 *
 * The table has THROTTLE_ENTRIES places, in small sets chosen by a keyed hash that nobody outside
 * can aim at. In a full set the entry that has failed least makes room: a flood of strange texts
 * pushes out each other, and a locked text only yields to eight in its set that are locked longer.
 *
 * Not kept on disk: a restart forgives.
 */
#ifndef SHARDS_THROTTLE_H
#define SHARDS_THROTTLE_H

#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"

struct throttle;

/* Owns: the caller; throttle_free, which takes NULL too. */
struct throttle *throttle_new(void);
void throttle_free(struct throttle *throttle);

/* One try. ERR_RATE when there is none, with the seconds until there is, at least 1; nothing is
 * counted then. max > 0. */
MUST_USE enum err throttle_take(struct throttle *throttle, struct slice text, uint32_t max,
                                uint64_t now_ms, uint32_t *retry_s);
/* Gives one try back. */
void throttle_give(struct throttle *throttle, struct slice text, uint32_t max, uint64_t now_ms);
/* Forgets the text. */
void throttle_unlock(struct throttle *throttle, struct slice text);

#endif
