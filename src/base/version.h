/* version.h - the version of this Meerkat, once.
 *
 * CMakeLists.txt reads it from here, so that programs, documents and packages say the same.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define MEERKAT_VERSION "0.1.0"

#endif
