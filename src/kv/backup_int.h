/* backup_int.h - words that the files of the backup share.
 *
 * Private to kv. What goes wrong with a folder is said in a sentence, because somebody has to go
 * and look at a disk.
 */
#ifndef KV_BACKUP_INT_H
#define KV_BACKUP_INT_H

#include "kv/backup.h"

/* Writes why; returns err. */
enum err backup_say(char why[BACKUP_WHY_MAX], enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* "cannot read /a/b: No such file or directory". */
enum err backup_say_errno(char why[BACKUP_WHY_MAX], const char *what, const char *path);

#endif
