/* fuzz_json_parse.c - our reader of JSON against jansson: both refuse, or both read the same. Where
 * they may differ is said below, and nowhere else.
 */
#include <jansson.h>

#include "base/check.h"
#include "base/json_parse.h"
#include "base/limits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES 80

static double number_of(const struct json_node *node)
{
    char text[NUMBER_BYTES];
    CHECK(node->text.len < sizeof text);
    memcpy(text, node->text.data, node->text.len);
    text[node->text.len] = '\0';
    return strtod(text, NULL);
}

static bool is_same(const struct json_node *node, const json_t *value);

static bool is_same_object(const struct json_node *node, json_t *value)
{
    const struct json_node *member = node->first;
    const char *key;
    json_t *item;
    if (node->count != json_object_size(value)) {
        return false;
    }
    json_object_foreach(value, key, item)
    {
        if (!member || !slice_equal(member->name, slice_str(key)) || !is_same(member, item)) {
            return false;
        }
        member = member->next;
    }
    return !member;
}

static bool is_same_array(const struct json_node *node, const json_t *value)
{
    const struct json_node *item = node->first;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!item || !is_same(item, json_array_get(value, i))) {
            return false;
        }
        item = item->next;
    }
    return !item && node->count == json_array_size(value);
}

static bool is_same(const struct json_node *node, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
        return node->kind == JSON_NODE_NULL;
    case JSON_TRUE:
        return node->kind == JSON_NODE_TRUE;
    case JSON_FALSE:
        return node->kind == JSON_NODE_FALSE;
    case JSON_INTEGER:
        return node->kind == JSON_NODE_INTEGER &&
               number_of(node) == (double)json_integer_value(value);
    case JSON_REAL:
        return node->kind == JSON_NODE_REAL && number_of(node) == json_real_value(value);
    case JSON_STRING:
        return node->kind == JSON_NODE_STRING &&
               slice_equal(node->text,
                           slice_of(json_string_value(value), json_string_length(value)));
    case JSON_ARRAY:
        return node->kind == JSON_NODE_ARRAY && is_same_array(node, value);
    case JSON_OBJECT:
        return node->kind == JSON_NODE_OBJECT && is_same_object(node, (json_t *)(uintptr_t)value);
    }
    return false;
}

/* Ours has ceilings that jansson lacks, or sets elsewhere. */
static bool is_of_ceilings(const struct json_mistake *mistake)
{
    static const char *const sentences[] = {
        "the JSON of the body is nested too deeply", "the JSON of the body has too many fields",
        "the JSON of the body has too many values",
        "the body contains a number that is too large", /* more digits than anybody means */
    };
    for (size_t i = 0; i < ARRAY_LEN(sentences); i++) {
        if (strcmp(mistake->sentence, sentences[i]) == 0) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_of(data, size);
    bool has_nul = size > 0 && memchr(data, 0, size); /* jansson takes "2" and a NUL behind it */
    struct arena nodes;
    struct arena texts;
    struct json_node *root = NULL;
    struct json_mistake mistake;
    json_error_t error;
    arena_init(&nodes, 4096, 16 * MIB);
    arena_init(&texts, 4096, 16 * MIB);
    enum err err = json_parse(body, &nodes, &texts, &root, &mistake);
    json_t *tree =
        json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    CHECK(err == ERR_OK || err == ERR_NOT_JSON || err == ERR_TOO_LARGE);
    CHECK_IF(err == ERR_OK, tree && is_same(root, tree));
    CHECK_IF(err == ERR_NOT_JSON,
             mistake.sentence && (!tree || has_nul || is_of_ceilings(&mistake)));
    json_decref(tree);
    arena_fini(&texts);
    arena_fini(&nodes);
    return 0;
}
