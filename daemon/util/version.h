/* The version, in its one place: what --version prints, and what a release is tagged with. */
#ifndef SP_UTIL_VERSION_H
#define SP_UTIL_VERSION_H

#define SP_VERSION "0.1.0"

#endif
