/* render.h - a send made from a template.
 *
 * What the request gives stands; the template fills in what it leaves out. Rendering may take its
 * time, so it is done on a worker, where the mail is composed as well.
 */
#ifndef SHARDS_RENDER_H
#define SHARDS_RENDER_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/slice.h"
#include "kv/row.h"

struct msg;
struct shard;

/* The template that a send names; none: *row stays without an id. A second call keeps what the
 * first one found, so that all of a mail is of one version. Reads only. Errors:
 * ERR_TEMPLATE_NOT_FOUND, those of reading. */
MUST_USE enum err render_find(struct shard *shard, struct msg *msg, struct row_template *row);
/* Fills in the subject and the bodies of a SHARD_SEND that it did not come with. Nothing to do for
 * a row without an id. Any thread. Errors: ERR_BAD_FIELD, ERR_TOO_LARGE, with the field. */
MUST_USE enum err render_send(struct msg *msg, const struct row_template *row);
/* subject, html and text of *row, each in arena. Any thread. Errors: as render_send; *param is the
 * field. */
MUST_USE enum err render_parts(const struct row_template *row, struct slice data,
                               struct arena *arena, struct row_template *rendered,
                               struct slice *param);

#endif
