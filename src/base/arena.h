/* arena.h - memory that dies all at once.
 *
 * A request, a message, a session owns an arena; whatever it needs is bumped off the current chunk
 * and freed in one call. Every arena has a ceiling: past it arena_try returns NULL and the caller
 * answers ERR_TOO_LARGE; arena_alloc is for amounts the caller has already bounded and CHECKs
 * instead.
 *
 * Chunks are plain heap blocks, so an arena may travel between threads inside a message and may be
 * added to by whoever holds the message. A secret arena is wiped when cleared. Under
 * AddressSanitizer the unused tail of a chunk is poisoned.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/base.h"
#include "base/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used_bytes;          /* handed out, alignment included */
    size_t max_bytes;
    size_t chunk_bytes; /* size of the next ordinary chunk */
    bool is_secret;
};

/* Storage is the caller's; no memory is taken until the first allocation. chunk_bytes is the size
 * of an ordinary chunk (at least 64); larger requests get a chunk of their own. */
void arena_init(struct arena *arena, size_t chunk_bytes, size_t max_bytes);
/* Frees every chunk. The arena may be used again afterwards (as after init). */
void arena_fini(struct arena *arena);
/* Empties the arena but keeps one ordinary chunk for reuse. Wipes first when is_secret. */
void arena_clear(struct arena *arena);
/* Marks the arena as holding secrets: everything is wiped before it is released. */
void arena_mark_secret(struct arena *arena);

/* Zeroed memory aligned for any type. arena_try: NULL when the ceiling would be passed. */
void *arena_try(struct arena *arena, size_t bytes) MUST_USE;
void *arena_alloc(struct arena *arena, size_t bytes);
/* count * size with overflow checked. */
void *arena_array(struct arena *arena, size_t count, size_t size);
/* Unaligned, not zeroed bytes; for text. */
char *arena_bytes(struct arena *arena, size_t bytes);

/* Copies. The result lives as long as the arena. arena_cstr is terminated; arena_dup also puts a
 * NUL behind the slice, outside its length. */
struct slice arena_dup(struct arena *arena, struct slice s);
const char *arena_cstr(struct arena *arena, struct slice s);
struct slice arena_format(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct slice arena_lower(struct arena *arena, struct slice s);

#endif
