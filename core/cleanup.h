/* Release by scope: what a function owns is declared with a cleanup attribute. */
#ifndef DRAY_CORE_CLEANUP_H
#define DRAY_CORE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define DRAY_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Define fn##p(type **) for DRAY_CLEANUP, from fn(type *) that accepts NULL. */
#define DRAY_DEFINE_CLEANUP(type, fn)                                                              \
    static inline void fn##p(type **pointer)                                                       \
    {                                                                                              \
        fn(*pointer);                                                                              \
    }                                                                                              \
    struct dray_cleanup_needs_a_semicolon

/* Give ownership away: the value of the pointer, which becomes NULL. */
#define DRAY_TAKE(pointer)                                                                         \
    __extension__({                                                                                \
        __typeof__(pointer) dray_taken = (pointer);                                                \
        (pointer) = NULL;                                                                          \
        dray_taken;                                                                                \
    })

/* The same for a struct held by value, which becomes all zero. */
#define DRAY_MOVE(object)                                                                          \
    __extension__({                                                                                \
        __typeof__(object) dray_moved = (object);                                                  \
        (object) = (__typeof__(object)){ 0 };                                                      \
        dray_moved;                                                                                \
    })

/* The same for a file descriptor, which becomes -1. */
#define DRAY_TAKE_FD(fd)                                                                           \
    __extension__({                                                                                \
        int dray_taken = (fd);                                                                     \
        (fd) = -1;                                                                                 \
        dray_taken;                                                                                \
    })

static inline void dray_freep(void *pointer)
{
    free(*(void **)pointer);
}

static inline void dray_closep(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define DRAY_AUTO_FREE DRAY_CLEANUP(dray_freep)  /* any malloc'ed pointer */
#define DRAY_AUTO_FD   DRAY_CLEANUP(dray_closep) /* int, initialised to -1 */

#endif
