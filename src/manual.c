/* manual.c - see manual.h. */
#include "manual.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/limits.h"
#include "base/version.h"

/* Words of their own; the first ones stand in front of options. */
#define MODES "--takeover --check-config --sample-config --options --completion --version --help"

static const char help[] =
    "usage: meerkatd [--config FILE] [--option value ...]\n"
    "       meerkatd --takeover [--config FILE] [--option value ...]\n"
    "       meerkatd --check-config [--config FILE] [--option value ...]\n"
    "       meerkatd --sample-config | --options | --completion bash | --version\n\n";

/* Of nroff: a - is a minus, and nothing at the beginning of a line is a request. */
static void add_roff(struct buf *out, const char *text)
{
    if (*text == '.' || *text == '\'') {
        buf_add_str(out, "\\&");
    }
    for (const char *at = text; *at != '\0'; at++) {
        buf_add_str(out, *at == '-' || *at == '\\' ? "\\" : "");
        buf_add_byte(out, *at == '\\' ? 'e' : *at);
    }
}

static void add_page(struct buf *out)
{
    struct conf_entry entry;
    for (size_t i = 0; conf_entry_at(i, &entry); i++) {
        buf_add_format(out, ".TP\n\\fB%s\\fR = \\fI%s\\fR", entry.name.data, entry.values);
        if (entry.fallback.len > 0) {
            buf_add_str(out, " (");
            add_roff(out, entry.fallback.data);
            buf_add_str(out, ")");
        }
        buf_add_str(out, "\n");
        add_roff(out, entry.help);
        buf_add_str(out, "\n");
    }
}

/* An option of a file, by its name and what it says. */
static bool is_of_file(const struct conf_entry *entry)
{
    static const char *const names[] = {"data",     "tls_cert",     "tls_key",     "tls_ca",
                                        "log_file", "bounce_rules", "site_policy", "admin_socket"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_equal(entry->name, slice_str(names[i]))) {
            return true;
        }
    }
    return slice_ends(entry->name, SLICE("_file"));
}

/* --http-listen, as people write it on a command line. */
static void add_names(struct buf *out, bool has_files)
{
    struct conf_entry entry;
    for (size_t i = 0; conf_entry_at(i, &entry); i++) {
        if (has_files || !is_of_file(&entry)) {
            buf_add_str(out, has_files ? " --" : " | --");
            for (size_t at = 0; at < entry.name.len; at++) {
                buf_add_byte(out, entry.name.data[at] == '_' ? '-' : entry.name.data[at]);
            }
        }
    }
}

static void add_bash(struct buf *out)
{
    buf_add_str(out, "# bash completion for meerkatd, by `meerkatd --completion bash`\n"
                     "_meerkatd() {\n"
                     "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                     "    local list='--config");
    add_names(out, true);
    buf_add_str(out, "'\n    case $prev in\n    --completion) list='bash zsh' ;;\n    nothing");
    add_names(out, false);
    buf_add_str(out, ") COMPREPLY=(); return ;;\n"
                     "    --takeover | --check-config | meerkatd | */meerkatd | [!-]*) ;;\n"
                     "    *) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n"
                     "    esac\n"
                     "    [[ $COMP_CWORD -gt 1 ]] || list+=' " MODES "'\n"
                     "    mapfile -t COMPREPLY < <(compgen -W \"$list\" -- \"$cur\")\n"
                     "}\n"
                     "complete -o filenames -F _meerkatd meerkatd\n");
}

static void add_zsh(struct buf *out)
{
    buf_add_str(out, "#compdef meerkatd\n# zsh completion, by `meerkatd --completion zsh`\n"
                     "_meerkatd() {\n    local list='--config");
    add_names(out, true);
    buf_add_str(out, "'\n    case ${words[CURRENT - 1]} in\n"
                     "    --completion) list='bash zsh' ;;\n    nothing");
    add_names(out, false);
    buf_add_str(out, ") return ;;\n"
                     "    --takeover | --check-config | meerkatd | */meerkatd | [^-]*) ;;\n"
                     "    *) _files; return ;;\n"
                     "    esac\n"
                     "    (( CURRENT > 2 )) || list+=' " MODES "'\n"
                     "    compadd -- ${=list}\n"
                     "}\n"
                     "_meerkatd \"$@\"\n");
}

static void add_asked(struct buf *out, const char *word, const char *what)
{
    bool is_completion = strcmp(word, "--completion") == 0;
    if (is_completion && strcmp(what, "bash") == 0) {
        add_bash(out);
    } else if (is_completion && strcmp(what, "zsh") == 0) {
        add_zsh(out);
    } else if (what[0] != '\0') {
        return;
    } else if (strcmp(word, "--version") == 0) {
        buf_add_str(out, "meerkatd " MEERKAT_VERSION "\n");
    } else if (strcmp(word, "--help") == 0) {
        buf_add_str(out, help);
        conf_print_sample(out);
    } else if (strcmp(word, "--sample-config") == 0) {
        conf_print_sample(out);
    } else if (strcmp(word, "--options") == 0) {
        conf_print_markdown(out);
    } else if (strcmp(word, "--man") == 0) {
        add_page(out);
    }
}

bool manual_print(int argc, char **argv)
{
    struct buf out;
    if (argc != 2 && argc != 3) {
        return false;
    }
    buf_init(&out, MIB);
    add_asked(&out, argv[1], argc == 3 ? argv[2] : "");
    bool is_asked = out.len > 0;
    if (is_asked) {
        (void)fwrite(out.data, 1, out.len, stdout); /* nowhere else to say that it failed */
    }
    buf_fini(&out);
    return is_asked;
}
