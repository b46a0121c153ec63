/* template.h - texts with places to be filled in. Pure functions.
 *
 * Mustache, as people know it: {{name}} is a value, {{{name}}} and {{&name}} the same unescaped,
 * {{#items}}..{{/items}} a section (once for each item of a list, once for anything true, with its
 * members at hand), {{^items}}..{{/items}} its opposite, {{!..}} a comment. Names are dotted paths;
 * {{.}} is the item itself; what is missing is empty. Tags that stand alone on a line take the line
 * with them. There are no partials, no lambdas and no other delimiters: a template is data, and
 * cannot reach anything but the values it is given.
 *
 * A template is compiled where it is written, so that a mistake is told to who made it; rendering
 * fails only at its ceilings: of the output, which is the buf's, and of the steps, which keeps
 * lists within lists within lists from taking for ever.
 */
#ifndef MAIL_TEMPLATE_H
#define MAIL_TEMPLATE_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/slice.h"

struct template;

/* What the output is, and so what is done to values: nothing; escaped unless asked otherwise; or
 * kept on one line, whatever was asked. */
enum template_form { TEMPLATE_TEXT, TEMPLATE_HTML, TEMPLATE_LINE };

/* *template lies in arena and borrows from source. Errors: ERR_BAD_FIELD with *fault, a sentence in
 * arena that names line and column; ERR_TOO_LARGE when the arena is full. */
MUST_USE enum err template_compile(struct slice source, struct arena *arena,
                                   const struct template **template, struct slice *fault);
/* Appends to out. Errors: ERR_TOO_LARGE. */
MUST_USE enum err template_render(const struct template *template, const struct json_value *data,
                                  enum template_form form, struct buf *out);

#endif
