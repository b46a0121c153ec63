/* check.c - reports go straight to file descriptor 2, formatted on the stack.
 *
 * Neither the heap nor stdio's buffers are touched on the way out: the heap may be what broke, and
 * a lock of stdio may be held by the thread that failed. fatal leaves by _exit, because atexit
 * handlers and C++ destructors of libraries would run beside loops that are still working.
 */
#include "base/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPORT_MAX      1024
#define THREAD_NAME_MAX 16 /* the kernel's TASK_COMM_LEN, NUL included */

/* One a thread, written by that thread alone. */
static _Thread_local char thread_name[THREAD_NAME_MAX];

static void write_report(const char *text, int wanted_len);

NORETURN void check_failed(const char *expression, const char *file, int line, const char *func)
{
    char report[REPORT_MAX];
    int len =
        snprintf(report, sizeof(report), "meerkatd: CHECK(%s) failed in %s, %s:%d, thread %s\n",
                 expression, func, file, line, check_thread_name());
    write_report(report, len);
    abort();
}

NORETURN void fatal(const char *fmt, ...)
{
    char text[REPORT_MAX - 16];
    char report[REPORT_MAX];
    va_list args;
    va_start(args, fmt);
    int text_len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (text_len < 0) {
        text[0] = '\0';
    }
    int len = snprintf(report, sizeof(report), "meerkatd: %s\n", text);
    write_report(report, len);
    _exit(1);
}

void check_name_thread(const char *name)
{
    size_t len = strnlen(name, THREAD_NAME_MAX - 1);
    memcpy(thread_name, name, len);
    thread_name[len] = '\0';
    if (gettid() == getpid()) {
        return; /* the main thread's name is the process's: ps and pkill know it as meerkatd */
    }
    /* Fails only for names that are too long, and this one was cut. */
    (void)pthread_setname_np(pthread_self(), thread_name);
}

const char *check_thread_name(void)
{
    return thread_name[0] != '\0' ? thread_name : "main";
}

void *mem_alloc(size_t bytes)
{
    void *block = malloc(bytes != 0 ? bytes : 1);
    if (block == NULL) {
        fatal("out of memory for %zu bytes; add memory or lower delivery_max and body_max", bytes);
    }
    return block;
}

void *mem_zalloc(size_t bytes)
{
    void *block = calloc(1, bytes != 0 ? bytes : 1);
    if (block == NULL) {
        fatal("out of memory for %zu bytes; add memory or lower delivery_max and body_max", bytes);
    }
    return block;
}

void *mem_realloc(void *block, size_t bytes)
{
    void *grown = realloc(block, bytes != 0 ? bytes : 1);
    if (grown == NULL) {
        fatal("out of memory for %zu bytes; add memory or lower delivery_max and body_max", bytes);
    }
    return grown;
}

static void write_report(const char *text, int wanted_len)
{
    size_t len = 0;
    if (wanted_len > 0) {
        len = min_size((size_t)wanted_len, REPORT_MAX - 1);
    }
    while (len > 0) {
        ssize_t written = write(STDERR_FILENO, text, len);
        if (written == -1 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return; /* nowhere left to complain */
        }
        text += written;
        len -= (size_t)written;
    }
}
