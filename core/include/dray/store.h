/* The local store: an OCI image layout that dray, skopeo, podman and umoci read. */
#ifndef DRAY_STORE_H
#define DRAY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/digest.h>
#include <dray/error.h>
#include <dray/log.h>
#include <dray/platform.h>
#include <dray/reference.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_store;
struct dray_cancel;

enum dray_store_mode {
    DRAY_STORE_READ,  /* must exist; works on a read-only file system */
    DRAY_STORE_WRITE, /* made when missing */
};

/**
 * Open a store. Any number of processes may have it open; one object may be used by all threads.
 *
 * @param root  a directory; copied
 * @param log   copied; may be NULL
 * @return DRAY_OK; DRAY_ENOTFOUND (DRAY_STORE_READ, nothing there); DRAY_ESTORE: not an OCI layout,
 *         damaged, or of a newer format; DRAY_EIO (sys_errno: EACCES, EROFS...); DRAY_ENOSPC;
 *         DRAY_ENOMEM
 */
int dray_store_open(const char *root, enum dray_store_mode mode, const struct dray_log *log,
                    struct dray_store **ret_store, struct dray_error *err);

/** Close; NULL is allowed. No puller uses the store any more. */
void dray_store_close(struct dray_store *store);

/** Where a user's store is without --store: $DRAY_STORE, /var/lib/dray as root, else
 *  $XDG_DATA_HOME/dray or ~/.local/share/dray. malloc'ed; NULL without memory or home. */
char *dray_store_default_root(void);

/** One image as it is listed. A plain value. */
struct dray_image {
    char reference[DRAY_REFERENCE_TEXT_MAX]; /* canonical; the name it was tagged with */
    struct dray_digest digest;               /* of the manifest or index the name points at */
    struct dray_digest source_digest; /* what the registry's tag pointed at: of an index perhaps */
    struct dray_platform platform;    /* parts "" for an index of several or an artifact */
    char media_type[256];
    char created[64];    /* RFC 3339, "" if unknown */
    uint64_t size_bytes; /* compressed: manifests, config and layers, each blob once */
    uint32_t layer_count;
    bool complete; /* every blob it names is there with the right size */
};

/**
 * List the images, sorted by reference.
 *
 * @param ret_images  an array of *ret_count, free() it
 * @return DRAY_OK, DRAY_ESTORE, DRAY_EIO or DRAY_ENOMEM
 */
int dray_store_list(struct dray_store *store, struct dray_image **ret_images, size_t *ret_count,
                    struct dray_error *err);

/**
 * Read the documents of one image.
 *
 * @param reference      looked up by canonical name; one with a digest also by repository, tag (if
 *                       it has one) and digest: the image's own or what the registry's tag
 *                       pointed at
 * @param ret_manifest   raw bytes, NUL-terminated, free() them; NULL: not wanted
 * @param ret_config     the same; set to NULL for an index
 * @return DRAY_OK, DRAY_ENOTFOUND, DRAY_EDIGEST or DRAY_ESTORE (damaged), DRAY_EIO, DRAY_ENOMEM
 */
int dray_store_inspect(struct dray_store *store, const struct dray_reference *reference,
                       struct dray_image *ret_image, char **ret_manifest, char **ret_config,
                       struct dray_error *err);

/** What dray_store_remove() did. */
struct dray_removal {
    uint64_t blob_count;  /* blobs deleted */
    uint64_t freed_bytes; /* their sizes */
};

/**
 * Remove an image's name, then every blob that no other image uses. Waits until no pull is
 * running in the store (a log line says so); cancel ends that wait.
 *
 * @param reference  looked up as by dray_store_inspect(). A digest without a tag means every name
 *                   that its repository has for it: all are removed
 * @return DRAY_OK, DRAY_ENOTFOUND, DRAY_ECANCELED, DRAY_EINVAL (opened for reading), DRAY_ESTORE,
 *         DRAY_EIO or DRAY_ENOMEM
 */
int dray_store_remove(struct dray_store *store, const struct dray_reference *reference,
                      struct dray_cancel *cancel, struct dray_removal *ret_removal,
                      struct dray_error *err);

/** Absolute or caller-given root of the store, owned by it. */
const char *dray_store_root(const struct dray_store *store);

#ifdef __cplusplus
}
#endif

#endif
