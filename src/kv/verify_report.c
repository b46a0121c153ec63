/* verify_report.c - what verify found, as JSON: one document for the tool, online and offline. */
#include "base/json.h"
#include "kv/key_text.h"
#include "kv/kv_stat.h"
#include "kv/verify.h"

#define WORDS_MAX 4096

static void write_key(struct json_writer *w, const char *name, const struct key *key)
{
    struct buf words;
    buf_init(&words, WORDS_MAX);
    key_print(key_slice(key), &words);
    json_key(w, name);
    json_text(w, buf_slice(&words));
    buf_fini(&words);
}

static void write_finding(struct json_writer *w, const struct verify_finding *finding)
{
    char family[16];
    json_open_object(w);
    json_key(w, "kind");
    json_text(w, slice_str(verify_word(finding->kind)));
    json_key(w, "damage");
    json_bool(w, verify_is_damage(finding->kind));
    json_key(w, "family");
    json_text(w, slice_str(kv_family_name(finding->family, family)));
    write_key(w, finding->kind == VERIFY_UNREADABLE ? "after" : "row", &finding->key);
    if (finding->kind == VERIFY_UNREADABLE) {
        json_key(w, "before");
        if (finding->other.len == 0) {
            json_nil(w);
        } else {
            struct buf words;
            buf_init(&words, WORDS_MAX);
            key_print(key_slice(&finding->other), &words);
            json_text(w, buf_slice(&words));
            buf_fini(&words);
        }
    }
    json_key(w, "detail");
    json_text(w, slice_str(finding->detail));
    json_close_object(w);
}

void verify_write(const struct verify *verify, struct json_writer *w, size_t bytes_max)
{
    struct verify_progress progress;
    uint32_t count = 0;
    const struct verify_finding *findings = verify_findings(verify, &count);
    verify_progress(verify, &progress);
    json_key(w, "rows");
    json_u64(w, progress.rows);
    json_key(w, "bytes");
    json_u64(w, progress.bytes);
    json_key(w, "ms");
    json_u64(w, progress.elapsed_ms);
    json_key(w, "damage");
    json_u64(w, progress.damage);
    json_key(w, "notes");
    json_u64(w, progress.notes);
    json_key(w, "kinds");
    json_open_array(w);
    for (enum verify_kind kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        if (progress.counts[kind] > 0) {
            json_open_object(w);
            json_key(w, "kind");
            json_text(w, slice_str(verify_word(kind)));
            json_key(w, "damage");
            json_bool(w, verify_is_damage(kind));
            json_key(w, "count");
            json_u64(w, progress.counts[kind]);
            json_key(w, "text");
            json_text(w, slice_str(verify_sentence(kind)));
            json_close_object(w);
        }
    }
    json_close_array(w);
    json_key(w, "findings");
    json_open_array(w);
    for (uint32_t i = 0; i < count && w->out->len < bytes_max; i++) {
        write_finding(w, &findings[i]);
    }
    json_close_array(w);
}

void verify_report(const struct verify *verify, struct buf *out)
{
    struct json_writer w;
    json_start(&w, out);
    json_open_object(&w);
    verify_write(verify, &w, SIZE_MAX);
    json_close_object(&w);
}
