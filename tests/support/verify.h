/* verify.h - hands what a test made to an independent reader written in Python, or takes what an
 * independent writer made.
 *
 * A script of tests/support gets cases on its standard input, each a list of named byte strings,
 * and exits with 0 when every case is as it should be; otherwise it says on standard error what is
 * not. It is found through MEERKAT_SOURCE, or else beside this file. Debian's own interpreter is
 * asked for, because python3-dkim is installed for that one.
 */
#ifndef SUPPORT_VERIFY_H
#define SUPPORT_VERIFY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/slice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline FILE *verify_open(const char *script, const char *mode)
{
    const char *source = getenv("MEERKAT_SOURCE");
    char command[4096];

    if (source != NULL) {
        snprintf(command, sizeof command, "/usr/bin/python3 '%s/tests/support/%s'", source, script);
    } else {
        const char *here = __FILE__;
        const char *slash = strrchr(here, '/');
        int len = slash != NULL ? (int)(slash - here) : 1;
        snprintf(command, sizeof command, "/usr/bin/python3 '%.*s/%s'", len,
                 slash != NULL ? here : ".", script);
    }
    return popen(command, mode);
}

/* The pipe to a script, or NULL. */
static inline FILE *verify_start(const char *script)
{
    return verify_open(script, "w");
}

static inline void verify_put(FILE *pipe, const char *key, struct slice value)
{
    fprintf(pipe, "%s %zu\n", key, value.len);
    fwrite(value.data != NULL ? value.data : "", 1, value.len, pipe);
    fputc('\n', pipe);
}

static inline void verify_end_case(FILE *pipe)
{
    fprintf(pipe, "end 0\n\n");
}

/* The next of what a script writes in the same form; value is filled anew. The key "end" ends a
 * case. False at the end of the input or when it is out of step. */
static inline bool verify_get(FILE *pipe, char key[32], struct buf *value)
{
    size_t len = 0;

    buf_clear(value);
    if (fscanf(pipe, "%31s %zu", key, &len) != 2 || fgetc(pipe) != '\n' || len > value->max_bytes) {
        return false;
    }
    char *room = buf_room(value, len + 1);
    if (room == NULL || fread(room, 1, len + 1, pipe) != len + 1 || room[len] != '\n') {
        return false;
    }
    buf_grew(value, len);
    return true;
}

/* 0 when all cases passed. */
static inline int verify_finish(FILE *pipe)
{
    return pclose(pipe);
}

#endif
