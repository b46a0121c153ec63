/* err.c - ERR_TABLE as data. The numbers are checked when compiled: a status that is not of three
 * digits would go out on the wire unnoticed.
 */
#include "base/err.h"

#include "base/check.h"

static const struct err_info err_infos[] = {
#define X(name_, code_, http_, smtp_, enhanced_, retry_, text_)                                    \
    [ERR_##name_] = {                                                                              \
        .name = "ERR_" #name_,                                                                     \
        .code = (code_),                                                                           \
        .text = (text_),                                                                           \
        .smtp_enhanced = (enhanced_),                                                              \
        .http_status = (http_),                                                                    \
        .smtp_code = (smtp_),                                                                      \
        .retry = ERR_RETRY_##retry_,                                                               \
    },
    ERR_TABLE(X)
#undef X
};
_Static_assert(ARRAY_LEN(err_infos) == ERR_COUNT, "one row for each err");

#define X(name, code, http, smtp, enhanced, retry, text)                                           \
    _Static_assert((http) >= 200 && (http) <= 599, "HTTP status of ERR_" #name);                   \
    _Static_assert((smtp) >= 200 && (smtp) <= 599, "SMTP code of ERR_" #name);
ERR_TABLE(X)
#undef X

const struct err_info *err_info(enum err err)
{
    CHECK((unsigned int)err < ERR_COUNT);
    return &err_infos[err];
}
