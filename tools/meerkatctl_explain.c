/* meerkatctl_explain.c - why one mail is not delivered yet, and trying it again.
 *
 * The server says it in sentences; here they are laid out. Recipients that wait for the same reason
 * are told together, so that a mail to fifty of them is still read at a glance. */
#include "meerkatctl.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"

#define MESSAGES     "/api/admin/messages/"
#define NAMES_SHOWN  5
#define INDENT       "    "
#define LINE_COLUMNS 96

/* Wrapped at blanks. Words of servers and customers reach no terminal as commands. */
static void print_wrapped(const char *head, const char *text)
{
    struct slice rest = slice_str(text);
    size_t column = strlen(head);
    printf("%s", head);
    while (rest.len > 0) {
        struct slice word = slice_cut(&rest, ' ');
        if (column + word.len + 1 > LINE_COLUMNS) {
            printf("\n%*s", (int)strlen(head), "");
            column = strlen(head);
        }
        ctl_print_slice(word, 0);
        printf(rest.len > 0 ? " " : "");
        column += word.len + 1;
    }
    printf("\n");
}

static bool is_same(json_t *a, json_t *b)
{
    static const char *const members[] = {"state", "text", "site", "kind"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (strcmp(ctl_member_text(a, members[i]), ctl_member_text(b, members[i])) != 0) {
            return false;
        }
    }
    return true;
}

/* One reason, and everybody it concerns from `first` on. */
static void print_group(json_t *list, size_t first)
{
    json_t *one = json_array_get(list, first);
    uint32_t count = 0;
    uint32_t left = 0;
    for (size_t i = first; i < json_array_size(list); i++) {
        json_t *other = json_array_get(list, i);
        if (!is_same(one, other)) {
            continue;
        }
        if (count++ >= NAMES_SHOWN) {
            left += 1;
            continue;
        }
        printf("%s", count > 1 ? ", " : "");
        ctl_print_safely(ctl_member_text(other, "recipient"));
        printf(" (%s)", ctl_member_text(other, "id"));
    }
    if (left > 0) {
        printf(" and %u more", (unsigned)left);
    }
    printf("\n  %s%s\n", ctl_member_text(one, "state"),
           json_is_true(json_object_get(one, "needsAction")) ? " - somebody has to act" : "");
    print_wrapped(INDENT, ctl_member_text(one, "text"));
    if (ctl_member_text(one, "advice")[0] != '\0') {
        print_wrapped(INDENT "-> ", ctl_member_text(one, "advice"));
    }
}

static bool was_told(json_t *list, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (is_same(json_array_get(list, i), json_array_get(list, index))) {
            return true;
        }
    }
    return false;
}

static void print_explained(json_t *answer)
{
    json_t *deliveries = json_object_get(answer, "deliveries");
    json_t *notes = json_object_get(answer, "notes");
    size_t index;
    json_t *note;
    size_t count = json_array_size(deliveries);
    printf("%s of %s, %s %s, %s\n", ctl_member_text(answer, "message"),
           ctl_member_text(answer, "account"),
           strcmp(ctl_member_text(answer, "direction"), "inbound") == 0 ? "received" : "accepted",
           ctl_member_text(answer, "acceptedAt"), ctl_member_text(answer, "status"));
    json_array_foreach(notes, index, note)
    {
        print_wrapped("  ", ctl_member_text(note, "text"));
        if (ctl_member_text(note, "advice")[0] != '\0') {
            print_wrapped("  -> ", ctl_member_text(note, "advice"));
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!was_told(deliveries, i)) {
            print_group(deliveries, i);
        }
    }
}

int run_explain(struct ctl *ctl)
{
    json_t *answer = NULL;
    const struct call call = {.method = "GET",
                              .path = ctl_path(ctl, MESSAGES, ctl->words[0], "/explain")};
    int status = ctl_call(ctl, &call, &answer);
    if (status != EXIT_GOOD) {
        return status;
    }
    if (ctl->is_json) {
        ctl_print_done(ctl, answer, "");
    } else {
        print_explained(answer);
    }
    status = json_is_true(json_object_get(answer, "needsAction")) ? EXIT_WRONG : EXIT_GOOD;
    json_decref(answer);
    return status;
}

int run_retry(struct ctl *ctl)
{
    struct id id;
    char account[ID_TEXT_MAX];
    json_t *answer = NULL;
    if (id_parse(ID_DELIVERY, slice_str(ctl->words[0]), &id) != ERR_OK) {
        return ctl_usage(ctl, "%s is no id of a delivery", ctl->words[0]);
    }
    (void)account_text(id_account(id), account); /* terminated */
    const struct call call = {.method = "POST",
                              .path = ctl_path(ctl, "/api/deliveries/", ctl->words[0], "/retry"),
                              .account = account};
    int status = ctl_call(ctl, &call, &answer);
    if (status == EXIT_GOOD) {
        ctl_print_done(ctl, answer, "it is tried now");
        json_decref(answer);
    }
    return status;
}
