/* render.c - see render.h. */
#include "shards/render.h"

#include "base/json.h"
#include "base/limits.h"
#include "mail/template.h"
#include "shards/shard_int.h"

enum err render_find(struct shard *shard, struct msg *msg, struct row_template *row)
{
    const struct shard_send *send = &msg->body.send;
    if (id_is_none(send->template) || !id_is_none(row->id)) {
        return ERR_OK;
    }
    struct key key = key_template(send->caller.account, send->template);
    enum err err = shard_get_template(shard, key, &msg->arena, row);
    if (err == ERR_NOT_FOUND) {
        msg->param = SLICE("templateId");
        return ERR_TEMPLATE_NOT_FOUND;
    }
    return err;
}

/* The values of a render, and what is made of one text after the other. */
struct render {
    struct json_value data;
    struct arena scratch;
    struct arena *arena; /* of the outputs */
};

static enum err render_one(struct render *render, struct slice source, enum template_form form,
                           struct slice *out)
{
    const struct template *template;
    struct slice fault;
    struct buf text;
    if (source.len == 0) {
        *out = SLICE("");
        return ERR_OK;
    }
    enum err err = template_compile(source, &render->scratch, &template, &fault);
    if (err != ERR_OK) {
        return err == ERR_BAD_FIELD ? ERR_CORRUPT : err; /* it compiled when it was stored */
    }
    buf_init(&text, TEXT_BYTES_MAX);
    err = template_render(template, &render->data, form, &text);
    if (err == ERR_OK) {
        err = mail_keep(render->arena, buf_slice(&text), out);
    }
    buf_fini(&text);
    return err;
}

enum err render_parts(const struct row_template *row, struct slice data, struct arena *arena,
                      struct row_template *rendered, struct slice *param)
{
    struct render render = {.arena = arena};
    enum err err = ERR_OK;
    *rendered = *row;
    arena_init(&render.scratch, 64 * KIB, TEMPLATE_ARENA_BYTES);
    *param = SLICE("templateData");
    if (data.len > 0) {
        err = json_tree(data, &render.scratch, &render.data);
    }
    if (err == ERR_OK) {
        err = render_one(&render, row->subject, TEMPLATE_LINE, &rendered->subject);
    }
    if (err == ERR_OK) {
        err = render_one(&render, row->html, TEMPLATE_HTML, &rendered->html);
    }
    if (err == ERR_OK) {
        err = render_one(&render, row->text, TEMPLATE_TEXT, &rendered->text);
    }
    arena_fini(&render.scratch);
    if (err == ERR_OK && rendered->subject.len > SUBJECT_MAX) {
        *param = SLICE("subject");
        err = ERR_BAD_FIELD;
    }
    return err;
}

enum err render_send(struct msg *msg, const struct row_template *row)
{
    struct shard_send *send = &msg->body.send;
    struct row_template wanted = *row;
    struct row_template got;
    if (id_is_none(row->id)) {
        return ERR_OK;
    }
    /* What was given is not rendered at all. */
    wanted.subject = send->subject.len > 0 ? SLICE("") : row->subject;
    wanted.html = send->html.len > 0 ? SLICE("") : row->html;
    wanted.text = send->text.len > 0 ? SLICE("") : row->text;
    enum err err = render_parts(&wanted, send->template_data, &msg->arena, &got, &msg->param);
    if (err != ERR_OK) {
        msg->sentence = err == ERR_BAD_FIELD ? SLICE("the rendered subject is too long")
                        : err == ERR_TOO_LARGE
                            ? SLICE("with these values the template becomes too large")
                            : SLICE("");
        return err;
    }
    send->subject = wanted.subject.len > 0 ? got.subject : send->subject;
    send->html = wanted.html.len > 0 ? got.html : send->html;
    send->text = wanted.text.len > 0 ? got.text : send->text;
    msg->param = SLICE("");
    if (send->html.len == 0 && send->text.len == 0) {
        msg->param = SLICE("templateData");
        msg->sentence = SLICE("with these values the template is empty");
        return ERR_BAD_FIELD;
    }
    return ERR_OK;
}
