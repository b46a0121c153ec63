/* meerkatctl_stored.c - kv/look, with the members that are null without a daemon. */
#include "meerkatctl_stored.h"

#include "base/json.h"

/* The members that a running actor would fill. */
static void write_absent(struct json_writer *w)
{
    static const char *const members[] = {"loop", "isDraining", "actor", "commit", "scan"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        json_key(w, members[i]);
        json_nil(w);
    }
}

static void write_number(struct json_writer *w, const struct kv *kv, uint32_t family)
{
    json_key(w, "shard");
    if (family < kv_shard_count(kv)) {
        json_u64(w, family);
    } else {
        json_nil(w);
    }
}

static void begin(struct json_writer *w, struct buf *out)
{
    json_start(w, out);
    json_open_object(w);
}

void stored_shards(struct kv *kv, struct buf *out)
{
    const uint32_t count = kv_shard_count(kv);
    struct json_writer w;
    begin(&w, out);
    json_key(&w, "data");
    json_open_array(&w);
    for (uint32_t i = 0; i <= count; i++) {
        const uint32_t family = i < count ? i : KV_FAMILY_DELIVER;
        json_open_object(&w);
        write_number(&w, kv, family);
        look_shard(kv, family, &w);
        write_absent(&w);
        json_close_object(&w);
    }
    json_close_array(&w);
    look_store(kv, &w);
    json_key(&w, "shardCount");
    json_u64(&w, count);
    json_close_object(&w);
}

void stored_shard(struct kv *kv, uint32_t family, struct buf *out)
{
    struct json_writer w;
    begin(&w, out);
    write_number(&w, kv, family);
    look_shard(kv, family, &w);
    look_families(kv, family, &w);
    write_absent(&w);
    json_close_object(&w);
}

enum err stored_rows(struct kv *kv, struct look_rows *rows, struct buf *out)
{
    struct json_writer w;
    begin(&w, out);
    const enum err err = look_rows(kv, rows, &w);
    json_close_object(&w);
    return err;
}

enum err stored_mail(struct kv *kv, struct look_mail *mail, struct buf *out)
{
    struct json_writer w;
    begin(&w, out);
    const enum err err = look_mail(kv, mail, &w);
    json_close_object(&w);
    return err;
}
