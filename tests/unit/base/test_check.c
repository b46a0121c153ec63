/* Not covered here: what a core file of a failed CHECK holds, and running out of memory, which no
 * test can bring about without hurting its neighbours.
 */
#include "base/check.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int captured_fd;

static void capture_stderr(void)
{
    captured_fd = memfd_create("stderr", 0);
    cr_assert(captured_fd != -1);
    cr_assert(dup2(captured_fd, STDERR_FILENO) == STDERR_FILENO);
}

static void print_on_exit(void)
{
    _exit(3); /* fatal must not come here */
}

Test(check, passes_over_what_holds)
{
    CHECK(1 + 1 == 2);
    CHECK_IF(false, false);
    CHECK_SLOW(true);
}

Test(check, aborts_on_what_does_not_hold, .signal = SIGABRT)
{
    CHECK(1 + 1 == 3);
}

Test(check, aborts_on_a_broken_implication, .signal = SIGABRT)
{
    CHECK_IF(true, false);
}

static void expect_report(int signal_number)
{
    (void)signal_number; /* there is one */
    char text[512] = "";
    ssize_t len = pread(captured_fd, text, sizeof(text) - 1, 0);
    bool is_told = len > 0 && strstr(text, "CHECK(2 > 3) failed in ") != NULL &&
                   strstr(text, "test_check.c:") != NULL && strstr(text, "thread loop7\n") != NULL;
    _exit(is_told ? 7 : 8);
}

Test(check, reports_expression_place_and_thread, .exit_code = 7)
{
    capture_stderr();
    check_name_thread("loop7");
    cr_assert(signal(SIGABRT, expect_report) != SIG_ERR);
    CHECK(2 > 3);
}

Test(check, fatal_exits_with_one_and_runs_no_handlers, .exit_code = 1)
{
    cr_assert(atexit(print_on_exit) == 0);
    fatal("the disk is full; free %d bytes", 17);
}

Test(check, names_a_thread_and_cuts_the_name)
{
    cr_assert_str_eq(check_thread_name(), "main");
    check_name_thread("a-name-of-more-than-fifteen");
    cr_assert_str_eq(check_thread_name(), "a-name-of-more-");
}

Test(check, gives_zeroed_and_grown_memory)
{
    uint8_t *block = mem_zalloc(32);
    for (size_t i = 0; i < 32; i++) {
        cr_assert_eq(block[i], 0);
        block[i] = (uint8_t)i;
    }
    block = mem_realloc(block, 64);
    cr_assert_eq(block[31], 31);
    free(block);
    void *empty = mem_alloc(0);
    cr_assert_not_null(empty);
    free(empty);
}
