/* Not covered here: what the options do (each module's tests), and --help and --version, which are
 * main's.
 */
#include "base/conf.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARGUMENTS_MAX 8

static char stderr_text[8192];

/* Each test is a process of its own, so nobody else sees the environment change. */
static void forget_environment(void)
{
    for (size_t i = 0; environ != NULL && environ[i] != NULL;) {
        char name[256];
        const char *equals = strchr(environ[i], '=');
        size_t len = equals != NULL ? (size_t)(equals - environ[i]) : 0;
        if (len > 0 && len < sizeof(name) && strncmp(environ[i], "MEERKAT_", 8) == 0) {
            memcpy(name, environ[i], len);
            name[len] = '\0';
            cr_assert(unsetenv(name) == 0);
        } else {
            i++;
        }
    }
}

TestSuite(conf, .init = forget_environment);

/* conf_load with up to seven arguments, NULL behind the last; stderr goes to stderr_text. */
static bool load(struct conf *conf, const char *const *arguments)
{
    char *argv[ARGUMENTS_MAX + 1] = {NULL};
    int argc = 0;
    argv[argc++] = strdup("meerkatd");
    while (arguments != NULL && arguments[argc - 1] != NULL && argc < ARGUMENTS_MAX) {
        argv[argc] = strdup(arguments[argc - 1]);
        argc++;
    }
    int kept = dup(STDERR_FILENO);
    int capture = memfd_create("stderr", 0);
    cr_assert(kept != -1 && capture != -1);
    cr_assert(dup2(capture, STDERR_FILENO) == STDERR_FILENO);
    bool is_loaded = conf_load(conf, argc, argv);
    cr_assert(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
    ssize_t len = pread(capture, stderr_text, sizeof(stderr_text) - 1, 0);
    cr_assert(len >= 0);
    stderr_text[len] = '\0';
    close(kept);
    close(capture);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return is_loaded;
}

/* A file that needs no name: its path is written into path. */
static void make_file(struct slice text, char path[64])
{
    int fd = memfd_create("conf", 0);
    cr_assert(fd != -1);
    cr_assert_eq(write(fd, text.data, text.len), (ssize_t)text.len);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
}

static void expect_refusal(const char *const *arguments, const char *wanted)
{
    struct conf conf;
    cr_assert(!load(&conf, arguments), "it was accepted; wanted `%s`", wanted);
    cr_assert_not_null(strstr(stderr_text, wanted), "got `%s`, wanted `%s`", stderr_text, wanted);
    cr_assert(strncmp(stderr_text, "meerkatd: ", 10) == 0, "%s", stderr_text);
    char *end = strchr(stderr_text, '\n');
    cr_assert(end != NULL && end[1] == '\0', "not one line: %s", stderr_text);
}

static void expect_file_refusal(struct slice text, const char *wanted)
{
    char path[64];
    make_file(text, path);
    expect_refusal((const char *const[]){"--config", path, NULL}, wanted);
}

Test(conf, has_its_defaults_without_any_source)
{
    struct conf conf;
    cr_assert(conf_load(&conf, 0, NULL));
    cr_assert(slice_equal(conf.data, SLICE("meerkat-data")));
    cr_assert(slice_equal(conf.http_listen, SLICE("127.0.0.1:8080")));
    cr_assert_eq(conf.https_listen.len, 0);
    cr_assert_eq(conf.shards, 32);
    cr_assert_eq(conf.retry_age_ms, UINT64_C(345600000));
    cr_assert(!conf.allow_private_targets);
    conf_fini(&conf);
}

Test(conf, reads_a_file_with_comments_and_odd_spacing)
{
    char path[64];
    make_file(SLICE("# a comment\n"
                    "\n"
                    "  data=/srv/mail # behind a value\r\n"
                    "\thostname  =  mx.example.com\t\n"
                    "smarthost-user = a#b = c\n"
                    "allow_private_targets = YES\n"
                    "#loops = 9\n"
                    "tls_cert =\n"
                    "loops = 3"),
              path);
    struct conf conf;
    cr_assert(load(&conf, (const char *const[]){"--config", path, NULL}), "%s", stderr_text);
    cr_assert(slice_equal(conf.data, SLICE("/srv/mail")));
    cr_assert(slice_equal(conf.hostname, SLICE("mx.example.com")));
    cr_assert(slice_equal(conf.smarthost_user, SLICE("a#b = c")));
    cr_assert(conf.allow_private_targets);
    cr_assert_eq(conf.tls_cert.len, 0);
    cr_assert_eq(conf.loops, 3);
    cr_assert_str_eq(stderr_text, "");
    conf_fini(&conf);
}

Test(conf, prefers_command_line_to_environment_to_file)
{
    char path[64];
    make_file(SLICE("loops = 1\nshards = 2\nworkers = 3\n"), path);
    cr_assert(setenv("MEERKAT_SHARDS", "12", 1) == 0);
    cr_assert(setenv("MEERKAT_WORKERS", "13", 1) == 0);
    struct conf conf;
    cr_assert(load(&conf, (const char *const[]){"--workers", "23", "--config", path, NULL}), "%s",
              stderr_text);
    cr_assert_eq(conf.loops, 1);
    cr_assert_eq(conf.shards, 12);
    cr_assert_eq(conf.workers, 23);
    conf_fini(&conf);
}

Test(conf, takes_arguments_in_every_spelling)
{
    struct conf conf;
    cr_assert(load(&conf, (const char *const[]){"--http-listen", "[::]:80", "--mail_max=2048",
                                                "--public-url=https://a/?b=c", "--data=--odd",
                                                "--mx_host=", NULL}),
              "%s", stderr_text);
    cr_assert(slice_equal(conf.http_listen, SLICE("[::]:80")));
    cr_assert_eq(conf.mail_max, 2048);
    cr_assert(slice_equal(conf.public_url, SLICE("https://a/?b=c")));
    cr_assert(slice_equal(conf.data, SLICE("--odd")));
    cr_assert_eq(conf.mx_host.len, 0);
    conf_fini(&conf);
}

Test(conf, owns_its_text)
{
    char value[] = "mx.example.com";
    struct conf conf;
    cr_assert(load(&conf, NULL));
    cr_assert(conf_set(&conf, SLICE("hostname"), slice_str(value)));
    value[0] = 'x';
    cr_assert(slice_equal(conf.hostname, SLICE("mx.example.com")));
    cr_assert_eq(conf.hostname.data[conf.hostname.len], '\0');
    conf_fini(&conf);
}

Test(conf, names_the_argument_that_is_wrong)
{
    static const struct {
        const char *arguments[4];
        const char *wanted;
    } table[] = {
        {{"--lops", "3"}, "command line, --lops: there is no option `lops`; meerkatd --options"},
        {{"--loops"}, "command line, --loops: it needs a value"},
        {{"--data", "--loops", "3"}, "command line, --data: it needs a value"},
        {{"--loops", "33"}, "loops must be a number from 0 to 32, not `33`"},
        {{"--loops", "-1"}, "loops must be a number from 0 to 32, not `-1`"},
        {{"--loops="}, "loops must be a number from 0 to 32, not ``"},
        {{"--loops", "4k"}, "not `4k`"},
        {{"--retry-first-ms=9"}, "retry_first_ms must be a number from 10 to 3600000, not `9`"},
        {{"--drain-ms=18446744073709551616"}, "from 100 to 600000"},
        {{"--allow-private-targets=maybe"}, "allow_private_targets must be yes or no, not `maybe`"},
        {{"--log-level=loud"}, "log_level must be one of `debug info warn error`, not `loud`"},
        {{"--smarthost_tls="}, "smarthost_tls must be one of `none may require implicit`"},
        {{"--data", "a\nb"}, "data has bytes that are not printable UTF-8"},
        {{"--data", "\xff"}, "data has bytes that are not printable UTF-8"},
        {{"stray"}, "command line: `stray` is not an option; write --name value"},
        {{"-l"}, "command line: `-l` is not an option"},
        {{"--"}, "command line: `--` is not an option"},
        {{"--=3"}, "there is no option ``"},
        {{"--config"}, "command line, --config: it needs a value"},
        {{"--config="}, "command line, --config: it needs the path of a file"},
        {{"--config", "/nonexistent/meerkat.conf"},
         "cannot read /nonexistent/meerkat.conf: No such file or directory; correct the path"},
        {{"--config", "/"}, "cannot read /: Is a directory"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        expect_refusal(table[i].arguments, table[i].wanted);
    }
}

Test(conf, names_the_line_that_is_wrong)
{
    expect_file_refusal(SLICE("# fine\nloops = 3\nlops = 3\n"), ":3: there is no option `lops`");
    expect_file_refusal(SLICE("loops 3\n"), ":1: this is not `name = value`");
    expect_file_refusal(SLICE("\n\nshards = 0"), ":3: shards must be a number from 1 to 32");
    expect_file_refusal(SLICE("= 3"), ":1: there is no option ``");
    expect_file_refusal(SLICE("data = a\0b\n"), ":1: data has bytes");
    expect_file_refusal(SLICE("config = other\n"), ":1: there is no option `config`");
}

static uint32_t count_lines(const char *text)
{
    uint32_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == '\n';
    }
    return count;
}

Test(conf, names_every_mistake_of_a_file_and_of_the_environment_at_once)
{
    struct conf conf;
    char path[64];
    make_file(SLICE("loops = 33\nhostname = good.test\nnonsense\nno_such = 1\n"), path);
    cr_assert_eq(setenv("MEERKAT_LOG_LEVEL", "loud", 1), 0);
    cr_assert_not(load(&conf, (const char *[]){"--config", path, "--workers", "x", NULL}));
    static const char *const wanted[] = {":1: loops", ":3: this is not", ":4: there is no option",
                                         "MEERKAT_LOG_LEVEL", "--workers"};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        cr_expect_not_null(strstr(stderr_text, wanted[i]), "%s\n%s", wanted[i], stderr_text);
    }
    cr_assert_eq(count_lines(stderr_text), ARRAY_LEN(wanted), "%s", stderr_text);
}

Test(conf, stops_complaining_of_a_file_that_is_no_configuration)
{
    struct conf conf;
    char path[64];
    char text[2000];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = i % 2 == 0 ? 'x' : '\n';
    }
    make_file(slice_of(text, sizeof text), path);
    cr_assert_not(load(&conf, (const char *[]){"--config", path, NULL}));
    cr_assert_eq(count_lines(stderr_text), 20, "%s", stderr_text);
}

Test(conf, names_the_variable_that_is_wrong)
{
    static const struct {
        const char *name;
        const char *value;
        const char *wanted;
    } table[] = {
        {"MEERKAT_LOPS", "3", "environment MEERKAT_LOPS: there is no option `lops`"},
        {"MEERKAT_LOOPS", "many", "environment MEERKAT_LOOPS: loops must be a number"},
        {"MEERKAT_LOOPS", "", "environment MEERKAT_LOOPS: loops must be a number"},
        {"MEERKAT_loops", "3", "environment MEERKAT_loops: no such option"},
        {"MEERKAT_", "3", "environment MEERKAT_: there is no option"},
        {"MEERKAT_CONFIG", "x", "environment MEERKAT_CONFIG: there is no option `config`"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_assert(setenv(table[i].name, table[i].value, 1) == 0);
        expect_refusal(NULL, table[i].wanted);
        cr_assert(unsetenv(table[i].name) == 0);
    }
}

Test(conf, leaves_foreign_variables_and_those_of_the_tests_alone)
{
    cr_assert(setenv("MEERKAT_BUILD", "/build", 1) == 0);
    cr_assert(setenv("MEERKAT_SOURCE", "/source", 1) == 0);
    cr_assert(setenv("MEERKATX", "1", 1) == 0);
    cr_assert(setenv("XMEERKAT_LOPS", "1", 1) == 0);
    struct conf conf;
    cr_assert(load(&conf, NULL), "%s", stderr_text);
    conf_fini(&conf);
}

Test(conf, refuses_a_value_or_a_file_without_end)
{
    size_t len = 70000;
    char *text = malloc(len + 1);
    cr_assert_not_null(text);
    memset(text, 'x', len);
    text[len] = '\0';
    struct conf conf;
    cr_assert(load(&conf, NULL));
    cr_assert(conf_set(&conf, SLICE("data"), slice_of(text, 4096)));
    cr_assert(!conf_set(&conf, SLICE("data"), slice_of(text, 4097)));
    cr_assert(!conf_set(&conf, slice_of(text, len), SLICE("1")));
    conf_fini(&conf);
    memset(text, '\n', len);
    expect_file_refusal(slice_of(text, len), "is larger than 65536 bytes");
    memset(text, 'x', len);
    expect_refusal((const char *const[]){text, NULL}, "is not an option");
    expect_refusal((const char *const[]){"--config", text, NULL}, "--config: it needs the path");
    free(text);
}

Test(conf, survives_being_set_a_thousand_times)
{
    char value[4096];
    memset(value, 'x', sizeof(value));
    struct conf conf;
    cr_assert(load(&conf, NULL));
    size_t accepted = 0;
    for (int i = 0; i < 2000; i++) {
        accepted += conf_set(&conf, SLICE("data"), slice_of(value, sizeof(value))) ? 1 : 0;
    }
    cr_assert(accepted >= 1000 && accepted < 2000, "the arena has a ceiling");
    cr_assert_eq(conf.data.len, sizeof(value));
    conf_fini(&conf);
}

Test(conf, sets_one_field_for_tests)
{
    struct conf conf;
    cr_assert(load(&conf, NULL));
    cr_assert(conf_set(&conf, SLICE("loops"), SLICE("2")));
    cr_assert(!conf_set(&conf, SLICE("loops"), SLICE("two")));
    cr_assert(!conf_set(&conf, SLICE("lops"), SLICE("2")));
    cr_assert_eq(conf.loops, 2);
    static const char *const yes[] = {"yes", "true", "1", "True"};
    static const char *const no[] = {"no", "false", "0", "NO"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        cr_assert(conf_set(&conf, SLICE("allow_private_targets"), slice_str(yes[i])));
        cr_assert(conf.allow_private_targets, "%s", yes[i]);
        cr_assert(conf_set(&conf, SLICE("allow_private_targets"), slice_str(no[i])));
        cr_assert(!conf.allow_private_targets, "%s", no[i]);
    }
    conf_fini(&conf);
}

/* Taking the # off every option gives a file that says what the defaults say. */
Test(conf, prints_a_sample_it_can_read)
{
    struct buf sample;
    struct buf file;
    buf_init(&sample, 1 << 16);
    buf_init(&file, 1 << 16);
    conf_print_sample(&sample);
    cr_assert_eq(buf_err(&sample), ERR_OK);
    size_t options = 0;
    struct slice rest = buf_slice(&sample);
    while (rest.data != NULL) {
        struct slice line = slice_cut(&rest, '\n');
        struct slice name = slice_from(line, 2);
        name = slice_trim(slice_cut(&name, '='));
        bool is_option = slice_has_byte(line, '=') && !slice_has_byte(name, ' ');
        options += is_option ? 1 : 0;
        buf_add(&file, is_option ? slice_from(line, 2) : line);
        buf_add_byte(&file, '\n');
    }
    size_t declared = 0;
#define X(name, type, fallback, min, max, help) declared++;
    CONF_TABLE(X)
#undef X
    cr_assert_eq(options, declared);
    char path[64];
    make_file(buf_slice(&file), path);
    struct conf conf;
    cr_assert(load(&conf, (const char *const[]){"--config", path, NULL}), "%s", stderr_text);
    cr_assert(slice_equal(conf.data, SLICE("meerkat-data")));
    conf_fini(&conf);
    buf_fini(&sample);
    buf_fini(&file);
}

Test(conf, prints_a_table_row_for_every_option)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    conf_print_markdown(&out);
    cr_assert_eq(buf_err(&out), ERR_OK);
    cr_assert(slice_find(buf_slice(&out),
                         SLICE("| `loops` | `MEERKAT_LOOPS` | `0` | 0 to 32 | ")) != SIZE_MAX);
    struct slice rest = slice_head(buf_slice(&out), out.len - 1);
    while (rest.data != NULL) {
        struct slice line = slice_cut(&rest, '\n');
        size_t bars = 0;
        for (size_t i = 0; i < line.len; i++) {
            bars += line.data[i] == '|' ? 1 : 0;
        }
        cr_assert_eq(bars, 6, "%.*s", SLICE_FMT(line));
    }
    buf_fini(&out);
}

Test(conf, puts_the_admin_socket_beside_the_store_or_where_it_is_told)
{
    static const struct {
        const char *value;
        const char *path;
    } cases[] = {
        {"", "/srv/mail/admin.sock"},
        {"/run/meerkat.sock", "/run/meerkat.sock"},
        {"off", ""},
    };
    struct conf conf;
    struct arena arena;
    arena_init(&arena, 256, 4096);
    cr_assert(load(&conf, NULL));
    cr_assert(conf_set(&conf, SLICE("data"), SLICE("/srv/mail")));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_assert(conf_set(&conf, SLICE("admin_socket"), slice_str(cases[i].value)));
        struct slice path = conf_admin_socket(&conf, &arena);
        cr_expect(slice_equal(path, slice_str(cases[i].path)), "%.*s", SLICE_FMT(path));
    }
    conf_fini(&conf);
    arena_fini(&arena);
}
