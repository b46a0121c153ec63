/* policy_text.h - sites.conf as it was when the program was built.
 *
 * The definitions are made by CMake from the file, so that the one binary needs no other.
 */
#ifndef DELIVER_POLICY_TEXT_H
#define DELIVER_POLICY_TEXT_H

#include <stddef.h>

extern const unsigned char policy_text[];
extern const size_t policy_text_len;

#endif
