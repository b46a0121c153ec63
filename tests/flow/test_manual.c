/* What the programs say about themselves: manual pages and completion for shells. All of it comes
 * from the tables that the programs obey.
 *
 * Not covered here: whether man renders the pages (packaging/check asks it), and whether docs/ says
 * the same (tools/docs --check).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/world.h"

#define HAS_NOT "no " /* in front of an answer that must not come */

static struct slice say(struct world *world, const char *program, const char *word,
                        const char *what)
{
    struct slice said;
    const char *build = getenv("MEERKAT_BUILD");
    cr_assert_not_null(build, "the suite sets MEERKAT_BUILD");
    const char *argv[] = {world_text(world, "%s/%s", build, program), word, what, NULL};
    cr_assert_eq(world_tool(world, argv, SLICE(""), &said), 0, "%s %s", program, word);
    cr_assert_gt(said.len, 0);
    return said;
}

static bool has_word(struct slice text, struct slice word)
{
    while (text.len > 0) {
        struct slice line = slice_cut(&text, '\n');
        while (line.len > 0) {
            if (slice_equal(slice_cut(&line, ' '), word)) {
                return true;
            }
        }
    }
    return false;
}

/* ---- completion ------------------------------------------------------------------------------ */

/* As a person who types and presses Tab: `complete` has said which function answers. */
static const char ask_bash[] = "source /dev/stdin || exit 1\n"
                               "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n"
                               "[[ $(complete -p \"$1\") =~ -F\\ ([a-z_]+) ]] || exit 1\n"
                               "\"${BASH_REMATCH[1]}\" \"$1\" \"${COMP_WORDS[COMP_CWORD]}\" "
                               "\"${COMP_WORDS[COMP_CWORD - 1]}\"\n"
                               "printf '%s\\n' \"${COMPREPLY[@]}\"\n";

static const struct {
    const char *words[6];
    const char *answers[4];
} typed[] = {
    {{"meerkatctl", "acc"}, {"accounts", HAS_NOT "users"}},
    {{"meerkatctl", "accounts", ""}, {"list", "suspend", HAS_NOT "accounts"}},
    {{"meerkatctl", "accounts", "s"}, {"show", "suspend", HAS_NOT "list"}},
    {{"meerkatctl", "--data", "accounts", "que"}, {"queue"}},
    {{"meerkatctl", "queue", "pause", "--"}, {"--site", "--until", "--json", HAS_NOT "--rate"}},
    {{"meerkatctl", "--json", "keys", "create", "--sc"}, {"--scopes", HAS_NOT "--name"}},
    {{"meerkatctl", "server", "--js"}, {"--json"}},
    {{"meerkatctl", "--config", "/etc/passw"}, {"/etc/passwd"}},
    {{"meerkatctl", "queue", "pause", "--site", ""}, {HAS_NOT "--json", HAS_NOT "pause"}},
    {{"meerkatd", "--take"}, {"--takeover"}},
    {{"meerkatd", "--takeover", "--http"}, {"--http-listen", HAS_NOT "--https-listen-"}},
    {{"meerkatd", "--config", "/etc/passw"}, {"/etc/passwd"}},
    {{"meerkatd", "--loops", ""}, {HAS_NOT "--loops"}},
    {{"meerkatd", "--completion", ""}, {"bash", "zsh", HAS_NOT "--loops"}},
};

Test(manual, completes_what_is_typed_in_bash)
{
    struct world *world = world_new();
    struct slice scripts[2] = {say(world, "meerkatctl", "--completion", "bash"),
                               say(world, "meerkatd", "--completion", "bash")};
    for (size_t i = 0; i < ARRAY_LEN(typed); i++) {
        const char *argv[4 + ARRAY_LEN(typed[i].words) + 1] = {"/bin/bash", "-c", ask_bash, "ask"};
        memcpy(argv + 4, typed[i].words, sizeof typed[i].words);
        bool is_daemon = strcmp(typed[i].words[0], "meerkatd") == 0;
        struct slice said;
        cr_assert_eq(world_tool(world, argv, scripts[is_daemon], &said), 0, "%.*s",
                     SLICE_FMT(said));
        for (size_t n = 0; n < 4 && typed[i].answers[n] != NULL; n++) {
            struct slice answer = slice_str(typed[i].answers[n]);
            bool must_not = slice_starts(answer, SLICE(HAS_NOT));
            answer = slice_from(answer, must_not ? strlen(HAS_NOT) : 0);
            cr_expect_eq(has_word(said, answer), !must_not, "row %zu: %.*s in:\n%.*s", i,
                         SLICE_FMT(answer), SLICE_FMT(said));
        }
    }
    world_end(world);
}

Test(manual, has_completion_that_zsh_can_read)
{
    struct world *world = world_new();
    static const char *const programs[] = {"meerkatctl", "meerkatd"};
    if (access("/usr/bin/zsh", X_OK) != 0) {
        world_end(world);
        cr_skip_test("zsh is not installed: its look at the completion is left out");
    }
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        const char *argv[] = {"/usr/bin/zsh", "-n", "/dev/stdin", NULL};
        struct slice said;
        int status = world_tool(world, argv, say(world, programs[i], "--completion", "zsh"), &said);
        cr_assert_eq(status, 0, "%.*s", SLICE_FMT(said));
    }
    world_end(world);
}

/* ---- pages and tables ------------------------------------------------------------------------ */

Test(manual, has_every_command_in_its_page_and_in_completion)
{
    struct world *world = world_new();
    struct slice page = say(world, "meerkatctl", "--man", NULL);
    struct slice script = say(world, "meerkatctl", "--completion", "bash");
    struct slice rest = say(world, "meerkatctl", "--help", NULL);
    uint32_t count = 0;
    rest = slice_from(rest, slice_find(rest, SLICE("\nCommands:\n")) + strlen("\nCommands:\n"));
    for (struct slice line = slice_cut(&rest, '\n'); line.len > 0; line = slice_cut(&rest, '\n')) {
        struct slice head = slice_from(line, 2);
        struct slice group = slice_cut(&head, ' ');
        struct slice next = slice_cut(&head, ' ');
        bool has_verb = next.len > 0 && next.data[0] >= 'a' && next.data[0] <= 'z';
        const char *entry =
            world_text(world, "\n.TP\n\\fB%.*s%s%.*s\\fR", SLICE_FMT(group), has_verb ? " " : "",
                       has_verb ? (int)next.len : 0, next.data);
        const char *row = world_text(world, "    '%.*s %.*s'", SLICE_FMT(group),
                                     has_verb ? (int)next.len : 0, next.data);
        cr_expect_neq(slice_find(page, slice_str(entry)), SIZE_MAX, "the page lacks %s", entry);
        cr_expect_neq(slice_find(script, slice_str(row)), SIZE_MAX, "completion lacks %s", row);
        count += 1;
    }
    cr_assert_gt(count, 30);
    world_end(world);
}

Test(manual, has_every_option_in_its_page)
{
    struct world *world = world_new();
    struct slice page = say(world, "meerkatd", "--man", NULL);
    struct slice rest = say(world, "meerkatd", "--options", NULL);
    uint32_t count = 0;
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        if (!slice_starts(line, SLICE("| `"))) {
            continue;
        }
        line = slice_from(line, 3);
        struct slice name = slice_cut(&line, '`');
        const char *entry = world_text(world, ".TP\n\\fB%.*s\\fR = ", SLICE_FMT(name));
        cr_expect_neq(slice_find(page, slice_str(entry)), SIZE_MAX, "the page lacks %s", entry);
        count += 1;
    }
    cr_assert_gt(count, 50);
    world_end(world);
}
