/* conf.c - CONF_TABLE as data, and four sources that all end in assign().
 *
 *   defaults -> file -> environment -> command line       a later one overwrites
 *
 * assign() knows what is wrong with a value and how to mend it; the source knows where the value
 * stands ("meerkat.conf:12", "MEERKAT_LOOPS", "--loops"). A complaint is the two on one line. Names
 * are compared with dashes read as underscores; only the environment's are in upper case.
 */
#include "base/conf.h"

#include "base/check.h"
#include "base/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENV_PREFIX      SLICE("MEERKAT_")
#define FILE_BYTES_MAX  (64 * KIB)
#define VALUE_BYTES_MAX 4096
#define NAME_BYTES_MAX  64
#define TEXT_CHUNK      4096
#define TEXT_MAX        (4 * MIB) /* overwritten values stay until conf_fini */
#define REASON_MAX      512
#define COMPLAINTS_MAX  20 /* about one source: a wrong file has a mistake in each line */

enum conf_type { CONF_TEXT, CONF_UINT, CONF_BOOL };

struct option {
    struct slice name;
    struct slice fallback;
    const char *help;
    uint64_t min;
    uint64_t max;
    size_t offset; /* in struct conf */
    enum conf_type type;
};

static const struct option options[] = {
#define X(name_, type_, fallback_, min_, max_, help_)                                              \
    {                                                                                              \
        .name = SLICE_INIT(#name_),                                                                \
        .fallback = SLICE_INIT(fallback_),                                                         \
        .help = (help_),                                                                           \
        .min = (min_),                                                                             \
        .max = (max_),                                                                             \
        .offset = offsetof(struct conf, name_),                                                    \
        .type = CONF_##type_,                                                                      \
    },
    CONF_TABLE(X)
#undef X
};

/* Texts of a closed set. The table has no column for it: there are two. */
static const struct {
    struct slice name;
    struct slice words;
} choices[] = {
    {SLICE_INIT("smarthost_tls"), SLICE_INIT("none may require implicit")},
    {SLICE_INIT("log_level"), SLICE_INIT("debug info warn error")},
};

/* Why a value was refused, with the remedy; terminated. */
struct reason {
    char text[REASON_MAX];
};

/* Borrowed from argv. */
struct argument {
    struct slice name;
    struct slice value;
};

static void set_defaults(struct conf *conf);
static bool load_file(struct conf *conf, struct slice path);
static bool load_lines(struct conf *conf, struct slice path, struct slice text);
static struct slice strip_comment(struct slice line);
static bool load_environment(struct conf *conf);
static bool load_arguments(struct conf *conf, int argc, char **argv);
static bool find_config(int argc, char **argv, struct slice *path);
static bool take_argument(int argc, char **argv, int *at, struct argument *out);
static const struct option *find_option(struct slice name);
static bool assign(struct conf *conf, struct slice name, struct slice value, struct reason *why);
static bool assign_text(struct conf *conf, const struct option *option, struct slice value,
                        struct reason *why);
static bool is_chosen(struct slice words, struct slice value);
static bool read_bool(struct slice value, bool *out);
static bool refuse(struct reason *why, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void complain(const char *fmt, ...) PRINTF_LIKE(1, 2);

bool conf_load(struct conf *conf, int argc, char **argv)
{
    set_defaults(conf);
    struct slice path = {.data = NULL, .len = 0};
    if (find_config(argc, argv, &path)) {
        /* Each has its say, so that all mistakes are told at once. */
        bool is_good = path.len == 0 || load_file(conf, path);
        is_good = load_environment(conf) && is_good;
        is_good = load_arguments(conf, argc, argv) && is_good;
        if (is_good) {
            return true;
        }
    }
    conf_fini(conf);
    return false;
}

void conf_fini(struct conf *conf)
{
    arena_fini(&conf->arena);
    memset(conf, 0, sizeof(*conf));
}

bool conf_entry_at(size_t index, struct conf_entry *out)
{
    if (index >= ARRAY_LEN(options)) {
        return false;
    }
    const struct option *option = &options[index];
    *out = (struct conf_entry){
        .name = option->name, .fallback = option->fallback, .help = option->help};
    switch (option->type) {
    case CONF_TEXT:
        (void)snprintf(out->values, sizeof(out->values), "text"); /* it fits, here and below */
        break;
    case CONF_UINT:
        (void)snprintf(out->values, sizeof(out->values), "%" PRIu64 " to %" PRIu64, option->min,
                       option->max);
        break;
    case CONF_BOOL:
        (void)snprintf(out->values, sizeof(out->values), "yes, no");
        break;
    }
    return true;
}

void conf_print_markdown(struct buf *out)
{
    struct conf_entry entry;
    buf_add_str(out, "| Option | Environment | Default | Values | Meaning |\n"
                     "| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; conf_entry_at(i, &entry); i++) {
        buf_add_format(out, "| `%s` | `MEERKAT_", entry.name.data);
        for (size_t at = 0; at < entry.name.len; at++) {
            char c = entry.name.data[at];
            buf_add_byte(out, c >= 'a' && c <= 'z' ? (char)(c - 32) : c);
        }
        buf_add_str(out, "` |");
        if (entry.fallback.len > 0) {
            buf_add_format(out, " `%s`", entry.fallback.data);
        }
        buf_add_format(out, " | %s | ", entry.values);
        for (const char *c = entry.help; *c != '\0'; c++) {
            buf_add_format(out, *c == '|' ? "\\%c" : "%c", *c); /* a | would end the cell */
        }
        buf_add_str(out, " |\n");
    }
}

void conf_print_sample(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *option = &options[i];
        buf_add_format(out, "%s# %s", i == 0 ? "" : "\n", option->help);
        if (option->type == CONF_UINT) {
            buf_add_format(out, " (%" PRIu64 " to %" PRIu64 ")", option->min, option->max);
        }
        buf_add_format(out, "\n# %s =%s%s\n", option->name.data,
                       option->fallback.len > 0 ? " " : "", option->fallback.data);
    }
}

struct slice conf_admin_socket(const struct conf *conf, struct arena *arena)
{
    if (slice_equal(conf->admin_socket, SLICE("off"))) {
        return SLICE("");
    }
    if (conf->admin_socket.len > 0) {
        return arena_dup(arena, conf->admin_socket);
    }
    return arena_format(arena, "%.*s/admin.sock", SLICE_FMT(conf->data));
}

bool conf_set(struct conf *conf, struct slice name, struct slice value)
{
    struct reason why;
    return assign(conf, name, value, &why);
}

static void set_defaults(struct conf *conf)
{
    memset(conf, 0, sizeof(*conf));
    arena_init(&conf->arena, TEXT_CHUNK, TEXT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        struct reason why = {.text = ""};
        if (!assign(conf, options[i].name, options[i].fallback, &why)) {
            fatal("the default of %s is not valid: %s; correct CONF_TABLE in src/base/conf.h",
                  options[i].name.data, why.text);
        }
    }
}

static bool load_file(struct conf *conf, struct slice path)
{
    const char *name = arena_cstr(&conf->arena, path);
    char *text = mem_alloc(FILE_BYTES_MAX + 1);
    size_t len = 0;
    bool is_read = false;
    FILE *file = fopen(name, "re");
    if (file != NULL) {
        len = fread(text, 1, FILE_BYTES_MAX + 1, file);
        is_read = ferror(file) == 0;
    }
    if (!is_read) {
        complain("cannot read %s: %s; correct the path given to --config, or let user %u read it",
                 name, strerror(errno), (unsigned int)geteuid());
    } else if (len > FILE_BYTES_MAX) {
        is_read = false;
        complain("%s is larger than %" PRIu64 " bytes; is it the right file?", name,
                 FILE_BYTES_MAX);
    }
    bool is_good = is_read && load_lines(conf, path, slice_of(text, len));
    if (file != NULL) {
        (void)fclose(file); /* it was only read */
    }
    free(text);
    return is_good;
}

static bool load_lines(struct conf *conf, struct slice path, struct slice text)
{
    uint64_t number = 0;
    uint32_t complaints = 0;
    while (text.data != NULL && complaints < COMPLAINTS_MAX) {
        struct slice line = slice_trim(strip_comment(slice_cut(&text, '\n')));
        number++;
        if (line.len == 0) {
            continue;
        }
        if (!slice_has_byte(line, '=')) {
            complain("%.*s:%" PRIu64 ": this is not `name = value`; put a # in front of comments",
                     SLICE_FMT(path), number);
            complaints++;
            continue;
        }
        struct slice value = line;
        struct slice name = slice_trim(slice_cut(&value, '='));
        struct reason why;
        if (!assign(conf, name, slice_trim(value), &why)) {
            complain("%.*s:%" PRIu64 ": %s", SLICE_FMT(path), number, why.text);
            complaints++;
        }
    }
    return complaints == 0;
}

/* A # begins a comment at the start of a line and behind a space: `secret#1` is a value. */
static struct slice strip_comment(struct slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] == '#' && (i == 0 || ascii_is_space(line.data[i - 1]))) {
            return slice_head(line, i);
        }
    }
    return line;
}

static bool load_environment(struct conf *conf)
{
    uint32_t complaints = 0;
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        struct slice value = slice_str(*entry);
        if (!slice_starts(value, ENV_PREFIX) || !slice_has_byte(value, '=')) {
            continue;
        }
        struct slice variable = slice_cut(&value, '=');
        struct slice upper = slice_from(variable, ENV_PREFIX.len);
        /* The test suite's own: where the build and the sources are. */
        if (slice_equal(upper, SLICE("BUILD")) || slice_equal(upper, SLICE("SOURCE"))) {
            continue;
        }
        char lower[NAME_BYTES_MAX];
        size_t len = min_size(upper.len, sizeof(lower));
        bool is_upper = upper.len <= sizeof(lower);
        for (size_t i = 0; i < len; i++) {
            lower[i] = ascii_lower(upper.data[i]);
            is_upper = is_upper && (upper.data[i] < 'a' || upper.data[i] > 'z');
        }
        struct reason why;
        if (!is_upper) {
            complain("environment %.*s: no such option; unset it, or see meerkatd --options",
                     SLICE_FMT(slice_head(variable, NAME_BYTES_MAX)));
            complaints++;
        } else if (!assign(conf, slice_of(lower, len), value, &why)) {
            complain("environment %.*s: %s", SLICE_FMT(variable), why.text);
            complaints++;
        }
        if (complaints == COMPLAINTS_MAX) {
            break;
        }
    }
    return complaints == 0;
}

static bool load_arguments(struct conf *conf, int argc, char **argv)
{
    int at = 1;
    while (at < argc) {
        struct argument argument;
        if (!take_argument(argc, argv, &at, &argument)) {
            return false;
        }
        if (slice_equal(argument.name, SLICE("config"))) {
            continue; /* find_config had it */
        }
        struct reason why;
        if (!assign(conf, argument.name, argument.value, &why)) {
            complain("command line, --%.*s: %s", SLICE_FMT(slice_head(argument.name, 64)),
                     why.text);
            return false;
        }
    }
    return true;
}

static bool find_config(int argc, char **argv, struct slice *path)
{
    int at = 1;
    while (at < argc) {
        struct argument argument;
        if (!take_argument(argc, argv, &at, &argument)) {
            return false;
        }
        if (!slice_equal(argument.name, SLICE("config"))) {
            continue;
        }
        if (argument.value.len == 0 || argument.value.len > VALUE_BYTES_MAX) {
            complain("command line, --config: it needs the path of a file");
            return false;
        }
        *path = argument.value;
    }
    return true;
}

/* One `--name value` or `--name=value`; *at moves behind it. */
static bool take_argument(int argc, char **argv, int *at, struct argument *out)
{
    struct slice word = slice_str(argv[*at]);
    if (!slice_starts(word, SLICE("--")) || word.len == 2) {
        complain("command line: `%.*s` is not an option; write --name value",
                 SLICE_FMT(slice_head(word, 64)));
        return false;
    }
    struct slice rest = slice_from(word, 2);
    bool has_value = slice_has_byte(rest, '=');
    out->name = slice_cut(&rest, '=');
    out->value = rest;
    *at += 1;
    if (has_value) {
        return true;
    }
    /* A word that looks like an option is one: `--data --loops 2` forgot the folder. A value that
     * truly begins so can be given behind `=`. */
    if (*at >= argc || slice_starts(slice_str(argv[*at]), SLICE("--"))) {
        complain("command line, --%.*s: it needs a value; write --name value",
                 SLICE_FMT(slice_head(out->name, 64)));
        return false;
    }
    out->value = slice_str(argv[*at]);
    *at += 1;
    return true;
}

static const struct option *find_option(struct slice name)
{
    char normal[NAME_BYTES_MAX];
    if (name.len > sizeof(normal)) {
        return NULL;
    }
    for (size_t i = 0; i < name.len; i++) {
        normal[i] = name.data[i] == '-' ? '_' : name.data[i];
    }
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (slice_equal(options[i].name, slice_of(normal, name.len))) {
            return &options[i];
        }
    }
    return NULL;
}

static bool assign(struct conf *conf, struct slice name, struct slice value, struct reason *why)
{
    const struct option *option = find_option(name);
    if (option == NULL) {
        return refuse(why, "there is no option `%.*s`; meerkatd --options lists them all",
                      SLICE_FMT(slice_head(name, 64)));
    }
    if (value.len > VALUE_BYTES_MAX) {
        return refuse(why, "%s is longer than %d bytes; shorten it", option->name.data,
                      VALUE_BYTES_MAX);
    }
    if (!slice_is_utf8(value) || slice_has_control(value, "")) {
        return refuse(why, "%s has bytes that are not printable UTF-8; remove them",
                      option->name.data);
    }
    char *member = (char *)conf + option->offset;
    switch (option->type) {
    case CONF_TEXT:
        return assign_text(conf, option, value, why);
    case CONF_UINT: {
        uint64_t number = 0;
        if (slice_uint(value, option->max, &number) != ERR_OK || number < option->min) {
            return refuse(why, "%s must be a number from %" PRIu64 " to %" PRIu64 ", not `%.*s`",
                          option->name.data, option->min, option->max,
                          SLICE_FMT(slice_head(value, 64)));
        }
        *(uint64_t *)(void *)member = number;
        return true;
    }
    case CONF_BOOL:
        if (!read_bool(value, (bool *)(void *)member)) {
            return refuse(why, "%s must be yes or no, not `%.*s`", option->name.data,
                          SLICE_FMT(slice_head(value, 64)));
        }
        return true;
    }
    return false;
}

static bool assign_text(struct conf *conf, const struct option *option, struct slice value,
                        struct reason *why)
{
    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        if (slice_equal(choices[i].name, option->name) && !is_chosen(choices[i].words, value)) {
            return refuse(why, "%s must be one of `%.*s`, not `%.*s`", option->name.data,
                          SLICE_FMT(choices[i].words), SLICE_FMT(slice_head(value, 64)));
        }
    }
    if (value.len + 1 > conf->arena.max_bytes - conf->arena.used_bytes) {
        return refuse(why, "all values together are longer than %" PRIu64 " bytes; shorten them",
                      TEXT_MAX);
    }
    struct slice *member = (struct slice *)(void *)((char *)conf + option->offset);
    *member = arena_dup(&conf->arena, value);
    return true;
}

static bool is_chosen(struct slice words, struct slice value)
{
    while (words.data != NULL) {
        if (slice_equal(slice_cut(&words, ' '), value)) {
            return true;
        }
    }
    return false;
}

static bool read_bool(struct slice value, bool *out)
{
    static const struct {
        struct slice word;
        bool meaning;
    } words[] = {
        {SLICE_INIT("yes"), true}, {SLICE_INIT("true"), true},   {SLICE_INIT("1"), true},
        {SLICE_INIT("no"), false}, {SLICE_INIT("false"), false}, {SLICE_INIT("0"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (slice_equal_nocase(value, words[i].word)) {
            *out = words[i].meaning;
            return true;
        }
    }
    return false;
}

/* Always false, so that callers can return it. */
static bool refuse(struct reason *why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why->text, sizeof(why->text), fmt, args); /* a cut reason still tells */
    va_end(args);
    return false;
}

static void complain(const char *fmt, ...)
{
    char text[REASON_MAX + VALUE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* a cut line still tells */
    va_end(args);
    (void)fprintf(stderr, "meerkatd: %s\n", text); /* nowhere left to complain */
}

struct slice conf_public_url(const struct conf *conf, uint16_t tcp_port, uint16_t tls_tcp_port,
                             char out[CONF_URL_MAX])
{
    bool is_plain = conf->http_listen.len > 0;
    struct slice where = is_plain ? conf->http_listen : conf->https_listen;
    struct slice host = slice_head(where, slice_rfind_byte(where, ':'));
    if (conf->public_url.len > 0) {
        struct slice url = conf->public_url;
        while (slice_ends(url, SLICE("/"))) {
            url = slice_head(url, url.len - 1);
        }
        snprintf(out, CONF_URL_MAX, "%.*s", SLICE_FMT(url));
        return slice_str(out);
    }
    if (host.len == 0 || slice_equal(host, SLICE("0.0.0.0")) || slice_equal(host, SLICE("[::]"))) {
        host = conf->hostname;
    }
    snprintf(out, CONF_URL_MAX, "%s://%.*s:%u", is_plain ? "http" : "https", SLICE_FMT(host),
             (unsigned)(is_plain ? tcp_port : tls_tcp_port));
    return slice_str(out);
}

static uint16_t port_of(struct slice listen)
{
    uint64_t port = 0;
    struct slice text = slice_from(listen, slice_rfind_byte(listen, ':') + 1);
    err_ignore(slice_uint(text, UINT16_MAX, &port)); /* checked when it was opened */
    return (uint16_t)port;
}

struct slice conf_asked_url(const struct conf *conf, char out[CONF_URL_MAX])
{
    return conf_public_url(conf, port_of(conf->http_listen), port_of(conf->https_listen), out);
}
