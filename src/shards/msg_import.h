/* msg_import.h - the message that writes an account that comes from elsewhere, SHARD_IMPORT.
 *
 * A part of msg.h, which includes it. Until IMPORT_LAST there is no account, only rows of one: they
 * count for nothing, and may be taken away again.
 */
#ifndef SHARDS_MSG_IMPORT_H
#define SHARDS_MSG_IMPORT_H

#include "base/base.h"
#include "base/id.h"
#include "base/slice.h"

enum import_op {
    IMPORT_ROWS,  /* as they are to be here */
    IMPORT_CLEAR, /* deletes rows; that there is no account is checked, as ever */
    IMPORT_LAST,  /* the account's own row: from here on it is there, and what is due is told */
};
struct shard_import {
    enum import_op op;
    struct account_id account;
    struct slice rows; /* pack of key, value; CLEAR: of keys */
};

#endif
