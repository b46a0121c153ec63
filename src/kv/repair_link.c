/* repair_link.c - rules about rows that lead to others: names, ids, lists, places, claims. */
#include "base/check.h"
#include "base/limits.h"
#include "kv/repair_int.h"

#include <inttypes.h>
#include <string.h>

#define ID_BYTES     ((size_t)16)
#define AHEAD_MAX_MS (UINT64_C(24) * 3600 * 1000) /* no clock is */
#define ROUTES_MAX   ((size_t)65536)              /* bytes of a list that is made again */
#define MAIL_ROW_MAX (4 * MIB)                    /* bytes of one that is read */

/* A key made of an id that is not of the account would be none of ours. */
static bool is_foreign(const struct patient *patient, struct id id)
{
    return id_account(id).value != patient->at.account.value;
}

/* ---- people --------------------------------------------------------------------------------- */

struct people {
    uint32_t count;
    uint32_t owners;
    uint32_t unread;
};

static bool count_user(void *of, struct slice key UNUSED, struct slice value)
{
    struct people *people = of;
    struct row_user row;
    if (row_user_decode(value, &row) != ERR_OK) {
        people->unread++;
    } else {
        people->count++;
        people->owners += row.role == FACT_ROLE_OWNER;
    }
    return true;
}

void repair_members(struct patient *patient)
{
    struct row_account row;
    struct people people = {.count = 0};
    struct key prefix = key_prefix_users(patient->at.account);
    char text[ID_TEXT_MAX];
    (void)account_text(patient->at.account, text); /* it is terminated */
    if (patient_get_account(patient, patient->finding->key, &row) != ERR_OK ||
        !patient_scan(patient, &prefix, count_user, &people)) {
        return;
    }
    if (people.unread > 0 || people.owners == 0) {
        patient_left(patient, "%s has %s: make somebody its owner", text,
                     people.owners == 0 ? "no owner" : "users that cannot be read");
        return;
    }
    if (row.more_members == people.count - 1 && row.more_owners == people.owners - 1) {
        return;
    }
    row.more_members = people.count - 1;
    row.more_owners = people.owners - 1;
    patient_put_account(patient, patient->finding->key, &row);
    patient_done(patient, "count the people of %s: %" PRIu32 ", owners %" PRIu32, text,
                 people.count, people.owners);
}

/* ---- deliveries by id ----------------------------------------------------------------------- */

void repair_ref(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_delivery delivery;
    struct row_delivery_ref row = {.mail = at->ids[0], .index = at->numbers[0]};
    MAIL_TEXT(text, at->ids[0]);
    if (patient_get_delivery(patient, patient->finding->key, &delivery) != ERR_OK) {
        return;
    }
    if (is_foreign(patient, delivery.id)) {
        patient_left(patient, "the id of delivery %" PRIu32 " of %s names another account",
                     at->numbers[0], text);
    } else {
        patient_put_delivery_ref(patient, key_delivery_ref(at->account, delivery.id), &row);
        patient_done(patient, "let delivery %" PRIu32 " of %s be found by its id", at->numbers[0],
                     text);
    }
}

void repair_ref_dangling(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_delivery delivery;
    struct row_delivery_ref row;
    if (patient_get_delivery_ref(patient, patient->finding->key, &row) != ERR_OK) {
        return;
    }
    enum err err =
        patient_get_delivery(patient, key_delivery(at->account, row.mail, row.index), &delivery);
    if (err == ERR_NOT_FOUND || (err == ERR_OK && !id_equal(delivery.id, at->ids[0]))) {
        patient_put_aside(patient, &patient->finding->key, "the delivery is not there");
    }
}

/* ---- mailboxes and threads ------------------------------------------------------------------ */

static void put_state(struct patient *patient, const struct row_mail *mail)
{
    const struct key_parts *at = &patient->at;
    struct key key = key_mail_state(at->account, at->ids[1]);
    bool is_inbound = mail->direction == FACT_INBOUND;
    struct row_mail_state state;
    MAIL_TEXT(text, at->ids[1]);
    enum err err = patient_get_mail_state(patient, key, &state);
    if (err == ERR_NOT_FOUND) {
        state = (struct row_mail_state){.is_read = !is_inbound,
                                        .folder = is_inbound ? SLICE("inbox") : SLICE("sent")};
    } else if (err != ERR_OK) {
        return; /* one that does not decode goes first */
    }
    char *pack = arena_bytes(patient->rows->arena, state.mailboxes.len + ID_BYTES);
    if (state.mailboxes.len > 0) {
        memcpy(pack, state.mailboxes.data, state.mailboxes.len);
    }
    memcpy(pack + state.mailboxes.len, at->ids[0].bytes, ID_BYTES);
    state.mailboxes = slice_of(pack, state.mailboxes.len + ID_BYTES);
    patient_put_mail_state(patient, key, &state);
    patient_done(patient, "let %s say that it is in its mailbox", text);
}

/* A row that shows the mail is missing, or the mail does not say that it is shown there. */
void repair_place(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    const struct key *key = &patient->finding->key;
    struct row_mail mail;
    struct slice value;
    MAIL_TEXT(text, at->ids[1]);
    if (at->shape == NULL ||
        patient_get_mail(patient, key_mail(at->account, at->ids[1]), &mail) != ERR_OK) {
        return;
    }
    if (is_foreign(patient, at->ids[0])) {
        patient_left(patient, "%s says that it is with another account", text);
        return;
    }
    enum err err = patient_get(patient, key, &value);
    if (at->shape->tag == 'l' && err == ERR_OK) {
        put_state(patient, &mail);
    } else if (at->shape->tag == 'l' && err == ERR_NOT_FOUND) {
        struct row_mailbox_mail row = {.thread = mail.thread};
        patient_put_mailbox_mail(patient, *key, &row);
        patient_done(patient, "show %s in its mailbox again", text);
    } else if (at->shape->tag == 'r' && err == ERR_NOT_FOUND) {
        struct row_thread_mail row = {.is_inbound = mail.direction == FACT_INBOUND};
        patient_put_thread_mail(patient, *key, &row);
        patient_done(patient, "show %s in its thread again", text);
    }
}

void repair_place_dangling(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_mail mail;
    enum err err = patient_get_mail(patient, key_mail(at->account, at->ids[1]), &mail);
    bool is_other = err == ERR_OK && at->shape->tag == 'r' && !id_equal(mail.thread, at->ids[0]);
    if (err == ERR_NOT_FOUND || is_other) {
        patient_put_aside(patient, &patient->finding->key,
                          is_other ? "the mail is of another thread" : "the mail is not there");
    }
}

struct thread_of {
    struct patient *patient;
    struct row_thread row;
    struct arena arena; /* of one mail */
    struct buf subject;
    uint32_t unread;
};

static bool add_member(void *of, struct slice key, struct slice value UNUSED)
{
    struct thread_of *thread = of;
    struct row_thread *row = &thread->row;
    struct repair_rows *rows = thread->patient->rows;
    struct key_parts at;
    struct row_mail mail;
    struct slice bytes;
    if (key_read(key, &at) != ERR_OK) {
        return true;
    }
    struct key own = key_mail(at.account, at.ids[1]);
    arena_clear(&thread->arena);
    enum err err = rows->get(rows->context, thread->patient->family, &own, &thread->arena, &bytes);
    err = err == ERR_OK ? row_mail_decode(bytes, &mail) : err;
    thread->unread += err != ERR_OK;
    if (err == ERR_OK) {
        if (row->mail_count == 0 || mail.received_unix_ms < row->first_unix_ms) {
            row->first_unix_ms = mail.received_unix_ms;
            buf_clear(&thread->subject);
            buf_add(&thread->subject, mail.subject);
        }
        row->last_unix_ms = max_u64(row->last_unix_ms, mail.received_unix_ms);
        row->mail_count++;
    }
    return thread->unread == 0;
}

static void set_thread(struct patient *patient, const struct thread_of *found)
{
    struct row_thread row;
    char text[ID_TEXT_MAX];
    (void)id_text(ID_THREAD, patient->at.ids[0], text); /* it is terminated */
    if (found->unread > 0) {
        patient_left(patient, "%s has mails that are not there or cannot be read; they go first",
                     text);
        return;
    }
    enum err err = patient_get_thread(patient, patient->finding->key, &row);
    if (err == ERR_OK && found->row.mail_count == 0) {
        patient_put_aside(patient, &patient->finding->key, "a thread without mails");
    } else if (err == ERR_OK && row.mail_count != found->row.mail_count) {
        row.mail_count = found->row.mail_count;
        patient_put_thread(patient, patient->finding->key, &row);
        patient_done(patient, "count the mails of %s: %" PRIu32, text, row.mail_count);
    } else if (err == ERR_NOT_FOUND && found->row.mail_count > 0) {
        patient_put_thread(patient, patient->finding->key, &found->row);
        patient_done(patient, "make %s again from its %" PRIu32 " mails", text,
                     found->row.mail_count);
    }
}

/* Its mails say what it is; what it says of itself beside that stays. */
void repair_thread(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct key prefix = key_prefix_thread_mails(at->account, at->ids[0]);
    struct thread_of found = {.patient = patient, .row = {.id = at->ids[0]}};
    arena_init(&found.arena, 64 * KIB, MAIL_ROW_MAX);
    buf_init(&found.subject, MAIL_ROW_MAX);
    if (patient_scan(patient, &prefix, add_member, &found)) {
        found.row.subject = buf_slice(&found.subject);
        set_thread(patient, &found);
    }
    buf_fini(&found.subject);
    arena_fini(&found.arena);
}

/* ---- names and ids -------------------------------------------------------------------------- */

void repair_mailbox_name(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_mailbox box;
    struct row_mailbox_name name;
    struct slice value;
    if (at->shape == NULL || at->shape->tag == 'n') {
        if (patient_get_mailbox_name(patient, patient->finding->key, &name) == ERR_OK) {
            struct key key = key_mailbox(at->account, name.mailbox);
            if (patient_get(patient, &key, &value) == ERR_NOT_FOUND) {
                patient_put_aside(patient, &patient->finding->key, "its mailbox is not there");
            }
        }
        return;
    }
    if (patient_get_mailbox(patient, patient->finding->key, &box) != ERR_OK) {
        return;
    }
    struct key key = key_mailbox_name(at->account, box.address);
    enum err err = patient_get_mailbox_name(patient, key, &name);
    if (err == ERR_NOT_FOUND) {
        name = (struct row_mailbox_name){.mailbox = box.id};
        patient_put_mailbox_name(patient, key, &name);
        patient_done(patient, "let %.*s lead to its mailbox again", SLICE_FMT(box.address));
    } else if (err == ERR_OK && !id_equal(name.mailbox, box.id)) {
        patient_left(patient, "two mailboxes are called %.*s: delete one", SLICE_FMT(box.address));
    }
}

void repair_domain_name(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_domain domain;
    struct row_domain_name name;
    if (at->shape == NULL || at->shape->tag == 'N') {
        if (patient_get_domain_name(patient, patient->finding->key, &name) == ERR_OK) {
            enum err err = patient_get_domain(patient, key_domain(at->account, name.id), &domain);
            if (err == ERR_NOT_FOUND || (err == ERR_OK && !slice_equal(domain.name, at->text))) {
                patient_put_aside(patient, &patient->finding->key, "its domain is not there");
            }
        }
        return;
    }
    if (patient_get_domain(patient, patient->finding->key, &domain) != ERR_OK) {
        return;
    }
    struct key key = key_domain_name(at->account, domain.name);
    enum err err = patient_get_domain_name(patient, key, &name);
    if (err == ERR_NOT_FOUND) {
        name = (struct row_domain_name){.id = domain.id};
        patient_put_domain_name(patient, key, &name);
        patient_done(patient, "let the name %.*s lead to its domain again", SLICE_FMT(domain.name));
    } else if (err == ERR_OK && !id_equal(name.id, domain.id)) {
        patient_left(patient, "two domains of the account are called %.*s: delete one",
                     SLICE_FMT(domain.name));
    }
}

void repair_key_id(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_api_key row;
    struct row_api_key_id index;
    char text[ID_TEXT_MAX];
    if (at->shape == NULL || at->shape->tag == 'J') {
        if (patient_get_api_key_id(patient, patient->finding->key, &index) == ERR_OK) {
            enum err err =
                patient_get_api_key(patient, key_api_key(at->account, &index.hash), &row);
            if (err == ERR_NOT_FOUND || (err == ERR_OK && !id_equal(row.id, at->ids[0]))) {
                patient_put_aside(patient, &patient->finding->key, "its key is not there");
            }
        }
        return;
    }
    if (patient_get_api_key(patient, patient->finding->key, &row) != ERR_OK) {
        return;
    }
    (void)id_text(ID_KEY, row.id, text); /* it is terminated */
    if (is_foreign(patient, row.id)) {
        patient_left(patient, "%s names another account", text);
        return;
    }
    struct key key = key_api_key_id(at->account, row.id);
    enum err err = patient_get_api_key_id(patient, key, &index);
    if (err == ERR_NOT_FOUND) {
        memcpy(index.hash.bytes, at->hash.data, sizeof(index.hash.bytes));
        patient_put_api_key_id(patient, key, &index);
        patient_done(patient, "let %s lead to its key again", text);
    } else if (err == ERR_OK) {
        patient_left(patient, "%s leads to another key", text);
    }
}

/* ---- routes --------------------------------------------------------------------------------- */

struct routes {
    struct buf ids;
};

static bool add_route(void *of, struct slice key, struct slice value)
{
    struct routes *routes = of;
    struct row_route row;
    struct key_parts at;
    if (key_read(key, &at) == ERR_OK && row_route_decode(value, &row) == ERR_OK) {
        buf_add_bytes(&routes->ids, at.ids[0].bytes, ID_BYTES); /* ids begin with their time */
    }
    return true;
}

/* Oldest first, as the list is kept. */
void repair_route_list(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_route_list row = {.routes = SLICE("")};
    struct routes routes;
    struct key prefix = key_prefix_routes(at->account);
    char text[ID_TEXT_MAX];
    (void)account_text(at->account, text); /* it is terminated */
    buf_init(&routes.ids, ROUTES_MAX);
    enum err err = patient_get_route_list(patient, patient->finding->key, &row);
    if ((err == ERR_OK || err == ERR_NOT_FOUND) &&
        patient_scan(patient, &prefix, add_route, &routes) && buf_err(&routes.ids) == ERR_OK &&
        !slice_equal(row.routes, buf_slice(&routes.ids))) {
        row.routes = buf_slice(&routes.ids);
        patient_put_route_list(patient, patient->finding->key, &row);
        patient_done(patient, "list the %zu routes of %s again", routes.ids.len / ID_BYTES, text);
    }
    buf_fini(&routes.ids);
}

/* ---- claims and the floor of ids ------------------------------------------------------------ */

/* A verified domain whose name nobody has gets it again. Whose an email is, when nobody has it, is
 * for people to say: a sign-up that was cut short looks the same. */
void repair_unclaimed(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    struct row_domain domain;
    struct slice value;
    if (at->shape == NULL || at->shape->tag != 'D' ||
        patient_get_domain(patient, patient->finding->key, &domain) != ERR_OK ||
        domain.name.len > KEY_TEXT_MAX) {
        return;
    }
    struct key key = key_directory(DIRECTORY_DOMAIN, domain.name);
    patient->family = key_directory_shard(patient->rows->shard_count, domain.name);
    if (patient_get(patient, &key, &value) == ERR_NOT_FOUND) {
        struct row_directory row = {
            .account = at->account, .id = domain.id, .created_unix_ms = patient->rows->now_unix_ms};
        patient_put_directory(patient, key, &row);
        patient_done(patient, "enter %.*s in the directory again", SLICE_FMT(domain.name));
    }
}

/* Only what nobody holds is freed: an email whose user is gone, a name whose domain is. The claim
 * of the first user stays: without its account nobody is administrator until somebody is named. */
void repair_name(struct patient *patient)
{
    const struct key_parts *at = &patient->at;
    const struct repair_rows *rows = patient->rows;
    struct row_directory row;
    struct slice value;
    if (at->shape == NULL || (at->kind != DIRECTORY_EMAIL && at->kind != DIRECTORY_DOMAIN) ||
        at->text.len > KEY_TEXT_MAX ||
        patient_get_directory(patient, patient->finding->key, &row) != ERR_OK) {
        return;
    }
    uint32_t family = key_account_shard(rows->shard_count, row.account);
    bool is_email = at->kind == DIRECTORY_EMAIL;
    struct key key =
        is_email ? key_user(row.account, row.id) : key_domain_name(row.account, at->text);
    enum err err = rows->get(rows->context, family, &key, rows->arena, &value);
    if (err == ERR_NOT_FOUND && !is_email) {
        key = key_domain(row.account, row.id);
        err = rows->get(rows->context, family, &key, rows->arena, &value);
    }
    if (err == ERR_NOT_FOUND) {
        patient_put_aside(patient, &patient->finding->key,
                          is_email ? "its user is not there; the email is free again"
                                   : "its domain is not there; the name is free again");
    }
}

void repair_floor(struct patient *patient)
{
    struct key key = key_shard_meta();
    struct row_shard_meta row = {.id_floor_ms = 0};
    uint64_t least = patient->rows->now_unix_ms;
    if (patient->at.shape != NULL && patient->at.shape->tag == 'M') {
        least = max_u64(least, id_unix_ms(patient->at.ids[0]));
    }
    if (least > patient->rows->now_unix_ms + AHEAD_MAX_MS) {
        MAIL_TEXT(text, patient->at.ids[0]);
        patient_left(patient, "%s is of a time far ahead, and all ids would be: delete it", text);
        return;
    }
    enum err err = patient_get_shard_meta(patient, key, &row);
    if (err == ERR_CORRUPT) {
        patient_put_aside(patient, &key, "the floor of ids does not decode");
    }
    if ((err == ERR_OK && row.id_floor_ms < least) || err == ERR_CORRUPT || err == ERR_NOT_FOUND) {
        row.id_floor_ms = least;
        patient_put_shard_meta(patient, key, &row);
        patient_done(patient, "raise the floor of ids: none that is taken is given out again");
    }
}
