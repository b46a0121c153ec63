/* openapi.h - the route table as an OpenAPI 3.1 document.
 *
 * Nothing of it is written by hand: paths, scopes and ceilings come from routes.c, request bodies
 * from the shapes that the handlers read with, answers from the schemas of openapi_schemas.c. So a
 * route that exists is described, and as it is. Each edge writes the document once, at its start.
 *
 * Diagnostics: a route whose doc names a parameter or a schema that is not known is a CHECK.
 */
#ifndef EDGE_OPENAPI_H
#define EDGE_OPENAPI_H

#include "base/buf.h"
#include "base/slice.h"

struct json_writer;

/* server_url: where the API is reached; empty when that is not known. */
void openapi_write(struct slice server_url, struct buf *out);

/* openapi_schemas.c: the members of components.schemas, and whether one of that name is there. */
void openapi_write_schemas(struct json_writer *w);
bool openapi_has_schema(struct slice name);

#endif
