/* meerkatctl_write.c - what others say of the commands: the manual page, completion for shells.
 *
 * All of it comes from the table of commands, so a command has them as soon as it is in it. The
 * build puts the page together (packaging/man) and the package installs both.
 */
#include "meerkatctl.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"

#define NAMES_MAX (16 * KIB)
/* Options of every command; those with = take a value. */
#define FILE_OPTIONS "socket data config backup key"

/* ---- the manual page ------------------------------------------------------------------------- */

/* A - is a minus, and nothing at the beginning of a line is a request. */
static void write_roff(const char *text)
{
    bool is_start = true;
    for (const char *at = text; *at != '\0'; at++) {
        if (is_start && (*at == '.' || *at == '\'')) {
            (void)fputs("\\&", stdout);
        }
        if (*at == '-') {
            (void)fputs("\\-", stdout);
        } else if (*at == '\\') {
            (void)fputs("\\e", stdout);
        } else {
            (void)fputc(*at, stdout);
        }
        is_start = *at == '\n';
    }
}

static void write_block(const char *text)
{
    printf(".RS\n.nf\n");
    write_roff(text);
    printf(".fi\n.RE\n");
}

static void write_command(const struct command *command)
{
    printf(".TP\n\\fB");
    write_roff(command->group);
    if (command->verb != NULL) {
        printf(" ");
        write_roff(command->verb);
    }
    printf("\\fR");
    if (command->words[0] != '\0') {
        printf(" \\fI");
        write_roff(command->words);
        printf("\\fR");
    }
    printf("%s\n", command->options[0] != '\0' ? " ..." : "");
    write_roff(command->summary);
    printf("\n");
    if (command->more != NULL) {
        write_block(command->more);
    }
}

int write_man(const struct command *commands, size_t count, const char *footer)
{
    printf(".SH COMMANDS\n");
    for (size_t i = 0; i < count; i++) {
        write_command(&commands[i]);
    }
    printf(".SH OPTIONS\n");
    write_block(footer);
    return EXIT_GOOD;
}

/* ---- completion ------------------------------------------------------------------------------ */

static bool is_first_of_group(const struct command *commands, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(commands[i].group, commands[index].group) == 0) {
            return false;
        }
    }
    return true;
}

/* "--rate --off" of "rate= off". */
static void write_options(const char *list)
{
    struct slice rest = slice_str(list);
    while (rest.len > 0) {
        struct slice item = slice_cut(&rest, ' ');
        printf(" --%.*s", (int)(item.len - slice_ends(item, SLICE("="))), item.data);
    }
}

/* Words that the usage offers in so many letters: "[list|verify] FOLDER". */
static void write_choices(const char *words)
{
    struct slice rest = slice_str(words);
    if (!slice_starts(rest, SLICE("["))) {
        return;
    }
    rest = slice_from(rest, 1);
    struct slice choices = slice_cut(&rest, ']');
    while (choices.len > 0) {
        struct slice word = slice_cut(&choices, '|');
        if (word.len > 0 && word.data[0] >= 'a' && word.data[0] <= 'z') {
            printf(" %.*s", SLICE_FMT(word));
        }
    }
}

/* Whether a list has this item, which stands between spaces. */
static bool has_item(struct slice list, struct slice item)
{
    while (list.len > 0) {
        if (slice_equal(slice_cut(&list, ' '), item)) {
            return true;
        }
    }
    return false;
}

/* The names of options that take a value, of all commands, each once. */
static void gather_valued(struct buf *out, const char *list)
{
    struct slice rest = slice_str(list);
    while (rest.len > 0) {
        struct slice item = slice_cut(&rest, ' ');
        if (slice_ends(item, SLICE("="))) {
            struct slice name = slice_head(item, item.len - 1);
            if (!has_item(buf_slice(out), name)) {
                buf_add_format(out, "%s%.*s", out->len > 0 ? " " : "", SLICE_FMT(name));
            }
        }
    }
}

/* "--socket | --data": a pattern of both shells. Those of files, or the others. */
static void write_pattern(struct slice valued, bool is_file)
{
    bool is_first = true;
    while (valued.len > 0) {
        struct slice name = slice_cut(&valued, ' ');
        if (has_item(SLICE(FILE_OPTIONS), name) == is_file) {
            printf("%s--%.*s", is_first ? "" : " | ", SLICE_FMT(name));
            is_first = false;
        }
    }
}

/* What may come behind the words that stand there: in bash's words, and zsh takes them too. */
static void write_cases(const struct command *commands, size_t count, const char *globals)
{
    printf("    case \"$group $verb\" in\n    ' ') list='");
    for (size_t i = 0; i < count; i++) {
        if (is_first_of_group(commands, i)) {
            printf("%s ", commands[i].group);
        }
    }
    write_options(globals);
    printf("' ;;\n");
    for (size_t i = 0; i < count; i++) {
        if (commands[i].verb == NULL || !is_first_of_group(commands, i)) {
            continue;
        }
        printf("    '%s ') list='", commands[i].group);
        for (size_t n = i; n < count; n++) {
            if (strcmp(commands[n].group, commands[i].group) == 0 && commands[n].verb != NULL) {
                printf("%s ", commands[n].verb);
            }
        }
        printf("' ;;\n");
    }
    for (size_t i = 0; i < count; i++) {
        const struct command *command = &commands[i];
        if (command->verb == NULL) {
            printf("    '%s '*) list='", command->group);
        } else {
            printf("    '%s %s') list='", command->group, command->verb);
        }
        write_choices(command->words);
        write_options(command->options);
        write_options(globals);
        printf("' ;;\n");
    }
    printf("    esac\n");
}

/* Which words are the command's own: neither options nor their values. */
static void write_walk(struct slice valued, const char *words, const char *first, const char *end)
{
    printf("    for ((i = %s; i < %s; i++)); do\n        case ${%s[i]} in\n        ", first, end,
           words);
    write_pattern(valued, true);
    printf(" | ");
    write_pattern(valued, false);
    printf(") ((i++)) ;;\n"
           "        -*) ;;\n"
           "        *) if [[ -z $group ]]; then group=${%s[i]}; elif [[ -z $verb ]]; then "
           "verb=${%s[i]}; fi ;;\n"
           "        esac\n    done\n",
           words, words);
}

static void write_bash(const struct command *commands, size_t count, struct slice valued,
                       const char *globals)
{
    printf("# bash completion for meerkatctl, by `meerkatctl --completion bash`\n"
           "_meerkatctl() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
           "    local group= verb= list= i\n");
    write_walk(valued, "COMP_WORDS", "1", "COMP_CWORD");
    printf("    case $prev in\n    ");
    write_pattern(valued, true);
    printf(") mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n    ");
    write_pattern(valued, false);
    printf(") COMPREPLY=(); return ;;\n    esac\n");
    write_cases(commands, count, globals);
    printf("    mapfile -t COMPREPLY < <(compgen -W \"$list\" -- \"$cur\")\n"
           "}\n"
           "complete -o filenames -o default -F _meerkatctl meerkatctl\n");
}

static void write_zsh(const struct command *commands, size_t count, struct slice valued,
                      const char *globals)
{
    printf("#compdef meerkatctl\n# zsh completion, by `meerkatctl --completion zsh`\n"
           "_meerkatctl() {\n"
           "    local group= verb= list= i\n");
    write_walk(valued, "words", "2", "CURRENT");
    printf("    case ${words[CURRENT - 1]} in\n    ");
    write_pattern(valued, true);
    printf(") _files; return ;;\n    ");
    write_pattern(valued, false);
    printf(") return ;;\n    esac\n");
    write_cases(commands, count, globals);
    printf("    compadd -- ${=list} || _files\n"
           "}\n"
           "_meerkatctl \"$@\"\n");
}

int write_completion(struct ctl *ctl, const struct command *commands, size_t count,
                     const char *globals)
{
    struct buf valued;
    const char *shell = ctl_option(ctl, "completion");
    bool is_bash = strcmp(shell, "bash") == 0;
    if (!is_bash && strcmp(shell, "zsh") != 0) {
        return ctl_usage(ctl, "--completion is for bash or zsh, not \"%s\"", shell);
    }
    buf_init(&valued, NAMES_MAX);
    gather_valued(&valued, globals);
    for (size_t i = 0; i < count; i++) {
        gather_valued(&valued, commands[i].options);
    }
    if (is_bash) {
        write_bash(commands, count, buf_slice(&valued), globals);
    } else {
        write_zsh(commands, count, buf_slice(&valued), globals);
    }
    buf_fini(&valued);
    return EXIT_GOOD;
}
