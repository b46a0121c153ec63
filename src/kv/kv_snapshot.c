/* kv_snapshot.c - one moment of the store, and the files it is in.
 *
 * A snapshot spans all families, because they share one sequence of numbers. What is read here is
 * read by those who expect damage (verify, salvage), so errors go back as they are and nothing is
 * logged. */
#include "kv/kv.h"

#include "base/check.h"
#include "kv/kv_int.h"

#include <stdio.h>
#include <stdlib.h>

struct kv_snapshot *kv_snapshot_new(struct kv *kv)
{
    struct kv_snapshot *snapshot = mem_zalloc(sizeof(*snapshot));
    snapshot->rocks = rocksdb_create_snapshot(kv->db);
    return snapshot;
}

void kv_snapshot_free(struct kv *kv, struct kv_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    rocksdb_release_snapshot(kv->db, snapshot->rocks);
    free(snapshot);
}

enum err kv_get_at(struct kv *kv, struct kv_place place, struct slice key, struct arena *arena,
                   struct slice *value)
{
    CHECK(key.len > 0);
    char *words = NULL;
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    if (place.snapshot != NULL) {
        rocksdb_readoptions_set_snapshot(read, place.snapshot->rocks);
    }
    rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned_cf(
        kv->db, read, kv_family_handle(kv, place.family), key.data, key.len, &words);
    rocksdb_readoptions_destroy(read);
    if (words != NULL) {
        CHECK(pinned == NULL);
        return kv_rocks_err(words);
    }
    return kv_rocks_value(pinned, arena, value);
}

static struct slice family_name(const struct kv *kv, uint32_t family, char text[FAMILY_NAME_MAX])
{
    if (family == KV_FAMILY_META) {
        return SLICE(META_NAME);
    }
    if (family == KV_FAMILY_DELIVER) {
        return SLICE(DELIVER_NAME);
    }
    CHECK(family < kv->shard_count);
    (void)snprintf(text, FAMILY_NAME_MAX, "shard%02u", (unsigned)family); /* fits */
    return slice_str(text);
}

void kv_files(struct kv *kv, uint32_t family, kv_file_fn *fn, void *context)
{
    char text[FAMILY_NAME_MAX];
    const struct slice wanted = family_name(kv, family, text);
    const rocksdb_livefiles_t *files = rocksdb_livefiles(kv->db);
    for (int i = 0; i < rocksdb_livefiles_count(files); i++) {
        struct kv_file file = {.level = rocksdb_livefiles_level(files, i)};
        size_t len = 0;
        if (!slice_equal(slice_str(rocksdb_livefiles_column_family_name(files, i)), wanted)) {
            continue;
        }
        file.name = slice_str(rocksdb_livefiles_name(files, i));
        const char *bytes = rocksdb_livefiles_smallestkey(files, i, &len);
        file.smallest = slice_of(bytes, len);
        bytes = rocksdb_livefiles_largestkey(files, i, &len);
        file.largest = slice_of(bytes, len);
        fn(context, &file);
    }
    rocksdb_livefiles_destroy(files);
}
