/* arena.c - a list of heap blocks, the newest ordinary one in front.
 *
 *   arena -> [head|####...----] -> [head|########] -> [head|####################]
 *             bumped now            full               a large request's own
 *
 * A request larger than an ordinary chunk gets a block of its own, linked behind the front, so the
 * front's free tail is not lost. `used_bytes` counts what was handed out with its alignment; chunk
 * heads and lost tails are not the caller's doing and are not counted.
 */
#include "base/arena.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(at, len)   ASAN_POISON_MEMORY_REGION(at, len)
#define UNPOISON(at, len) ASAN_UNPOISON_MEMORY_REGION(at, len)
#else
#define POISON(at, len)                                                                            \
    do {                                                                                           \
        (void)(at);                                                                                \
        (void)(len);                                                                               \
    } while (0)
#define UNPOISON(at, len) POISON(at, len)
#endif

#define CHUNK_BYTES_MIN 64

struct arena_chunk {
    struct arena_chunk *next;
    size_t capacity; /* of data */
    size_t used;
    _Alignas(max_align_t) char data[];
};

static char *bump(struct arena *arena, size_t bytes, size_t alignment);
static struct arena_chunk *chunk_new(size_t capacity);
static void chunk_wipe(struct arena_chunk *chunk);
static void chunk_free(struct arena *arena, struct arena_chunk *chunk);

void arena_init(struct arena *arena, size_t chunk_bytes, size_t max_bytes)
{
    CHECK(chunk_bytes >= CHUNK_BYTES_MIN);
    *arena = (struct arena){
        .chunks = NULL,
        .used_bytes = 0,
        .max_bytes = max_bytes,
        .chunk_bytes = chunk_bytes,
        .is_secret = false,
    };
}

void arena_fini(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        chunk_free(arena, chunk);
        chunk = next;
    }
    arena->chunks = NULL;
    arena->used_bytes = 0;
    arena->is_secret = false;
}

void arena_clear(struct arena *arena)
{
    struct arena_chunk *kept = NULL;
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        if (kept == NULL && chunk->capacity == arena->chunk_bytes) {
            kept = chunk;
        } else {
            chunk_free(arena, chunk);
        }
        chunk = next;
    }
    if (kept != NULL) {
        if (arena->is_secret) {
            chunk_wipe(kept);
        }
        kept->next = NULL;
        kept->used = 0;
        POISON(kept->data, kept->capacity);
    }
    arena->chunks = kept;
    arena->used_bytes = 0;
}

void arena_mark_secret(struct arena *arena)
{
    arena->is_secret = true;
}

void *arena_try(struct arena *arena, size_t bytes)
{
    char *at = bump(arena, bytes, _Alignof(max_align_t));
    if (at != NULL) {
        memset(at, 0, bytes);
    }
    return at;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    void *at = arena_try(arena, bytes);
    CHECK(at != NULL);
    return at;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t bytes = 0;
    bool is_overflow = __builtin_mul_overflow(count, size, &bytes);
    CHECK(!is_overflow);
    return arena_alloc(arena, bytes);
}

char *arena_bytes(struct arena *arena, size_t bytes)
{
    char *at = bump(arena, bytes, 1);
    CHECK(at != NULL);
    return at;
}

struct slice arena_dup(struct arena *arena, struct slice s)
{
    CHECK(s.len < SIZE_MAX);
    char *at = arena_bytes(arena, s.len + 1);
    if (s.len > 0) {
        memcpy(at, s.data, s.len);
    }
    at[s.len] = '\0';
    return slice_of(at, s.len);
}

const char *arena_cstr(struct arena *arena, struct slice s)
{
    return arena_dup(arena, s).data;
}

struct slice arena_format(struct arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    CHECK(len >= 0);
    char *at = arena_bytes(arena, (size_t)len + 1);
    va_start(args, fmt);
    int written = vsnprintf(at, (size_t)len + 1, fmt, args);
    va_end(args);
    CHECK(written == len);
    return slice_of(at, (size_t)len);
}

struct slice arena_lower(struct arena *arena, struct slice s)
{
    CHECK(s.len < SIZE_MAX);
    char *at = arena_bytes(arena, s.len + 1);
    for (size_t i = 0; i < s.len; i++) {
        at[i] = ascii_lower(s.data[i]);
    }
    at[s.len] = '\0';
    return slice_of(at, s.len);
}

/* Bytes from the front chunk, or from a new one; NULL when the ceiling would be passed. */
static char *bump(struct arena *arena, size_t bytes, size_t alignment)
{
    CHECK(arena->chunk_bytes >= CHUNK_BYTES_MIN); /* arena_init was called */
    size_t left = arena->max_bytes - arena->used_bytes;
    struct arena_chunk *front = arena->chunks;
    if (front != NULL) {
        size_t padding = (alignment - front->used % alignment) % alignment;
        size_t room = front->capacity - front->used;
        if (padding <= room && bytes <= room - padding) {
            if (padding > left || bytes > left - padding) {
                return NULL;
            }
            char *at = front->data + front->used + padding;
            UNPOISON(at, bytes);
            front->used += padding + bytes;
            arena->used_bytes += padding + bytes;
            return at;
        }
    }
    if (bytes > left) {
        return NULL;
    }
    bool is_large = bytes > arena->chunk_bytes;
    struct arena_chunk *chunk = chunk_new(is_large ? bytes : arena->chunk_bytes);
    if (is_large && front != NULL) {
        chunk->next = front->next;
        front->next = chunk;
    } else {
        chunk->next = front;
        arena->chunks = chunk;
    }
    UNPOISON(chunk->data, bytes);
    chunk->used = bytes;
    arena->used_bytes += bytes;
    return chunk->data;
}

static struct arena_chunk *chunk_new(size_t capacity)
{
    CHECK(capacity <= SIZE_MAX - sizeof(struct arena_chunk));
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + capacity);
    chunk->next = NULL;
    chunk->capacity = capacity;
    chunk->used = 0;
    POISON(chunk->data, capacity);
    return chunk;
}

/* Only what was handed out can hold a secret. */
static void chunk_wipe(struct arena_chunk *chunk)
{
    UNPOISON(chunk->data, chunk->capacity);
    explicit_bzero(chunk->data, chunk->used);
}

static void chunk_free(struct arena *arena, struct arena_chunk *chunk)
{
    if (arena->is_secret) {
        chunk_wipe(chunk);
    }
    UNPOISON(chunk->data, chunk->capacity);
    free(chunk);
}
