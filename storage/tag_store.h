/* Tags: the entries of index.json (OCI image-layout 1.1). Each change takes ROOT/dray/index.lock,
 * reads, writes aside, fsyncs, renames: the file always parses and no change is lost, also between
 * processes. Entries that other tools wrote are kept as they are.
 *
 * Other tools take the canonical name as it stands, never a short one: skopeo spells it
 * oci:ROOT:docker.io/library/nginx:latest (ROOT without ':'), umoci
 * ROOT:docker.io/library/nginx:latest. They do not take our lock.
 *
 * Every function may be called from any thread. */
#ifndef DRAY_STORAGE_TAG_STORE_H
#define DRAY_STORAGE_TAG_STORE_H

#include "core/descriptor.h"
#include "storage/store.h"

/* Annotations of an entry. */
#define DRAY_ANNOTATION_REF_NAME "org.opencontainers.image.ref.name" /* canonical reference */
/* Digest that the registry's tag pointed at; differs from the entry's own digest when that was an
 * index of which one platform was pulled. */
#define DRAY_ANNOTATION_SOURCE_DIGEST "dray.source.digest"

struct dray_tag {
    char *name; /* the ref.name annotation; NULL for an entry without (another tool's) */
    struct dray_descriptor descriptor; /* platform set if the entry has one; data never */
    struct dray_digest source_digest;  /* alg 0 if the entry names none */
};

struct dray_tag_list {
    struct dray_tag *items; /* in the file's order */
    size_t count;
    size_t unreadable_count; /* entries left out, with a warning in the log: of another tool */
};

/** @return DRAY_OK, DRAY_ESTORE (index.json is damaged), DRAY_EIO, DRAY_ENOMEM */
int dray_tag_list_read(struct dray_store *store, struct dray_tag_list *ret_list,
                       struct dray_error *err);

void dray_tag_list_done(struct dray_tag_list *list);

/** The tag of this name, or NULL. Owned by the list. */
const struct dray_tag *dray_tag_list_find(const struct dray_tag_list *list, const char *name);

/**
 * Point a name at a manifest; a tag of the same name is replaced. An equal entry is not rewritten.
 * Everything it names is durable already (dray_blob_barrier()); on return the tag is too.
 *
 * @param tag          name and descriptor are required
 * @param cancel       ends the wait for somebody else's change; may be NULL
 * @param ret_changed  whether the file was rewritten; may be NULL
 * @return DRAY_OK, DRAY_ECANCELED, DRAY_ESTORE, DRAY_ENOSPC, DRAY_EIO, DRAY_ENOMEM
 */
int dray_tag_set(struct dray_store *store, const struct dray_tag *tag,
                 const struct dray_cancel *cancel, bool *ret_changed, struct dray_error *err);

/**
 * Remove every entry that has the name of one of the tags, in one change: all or none.
 *
 * @param tags    count of them; each has a name, and nothing else of it is looked at
 * @param cancel  ends the wait for somebody else's change; may be NULL
 * @return DRAY_OK, DRAY_ENOTFOUND (no entry has any of the names), or as dray_tag_set()
 */
int dray_tag_remove(struct dray_store *store, const struct dray_tag *tags, size_t count,
                    const struct dray_cancel *cancel, struct dray_error *err);

#define DRAY_AUTO_TAG_LIST DRAY_CLEANUP(dray_tag_list_done)

#endif
