/* Content digests: "sha256:<hex>" and its longer siblings (OCI image-spec 1.1, "Digests"). */
#ifndef DRAY_DIGEST_H
#define DRAY_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_error;

enum dray_digest_alg {
    DRAY_SHA256 = 1,
    DRAY_SHA384,
    DRAY_SHA512,
};

#define DRAY_DIGEST_BYTES_MAX 64
#define DRAY_DIGEST_TEXT_MAX  (7 + 2 * DRAY_DIGEST_BYTES_MAX + 1) /* "sha512:", hex, NUL */

/** A parsed digest. A plain value; all zero means "none". Once parsed, safe in paths and URLs. */
struct dray_digest {
    enum dray_digest_alg alg; /* 0: none */
    uint8_t bytes[DRAY_DIGEST_BYTES_MAX];
    char text[DRAY_DIGEST_TEXT_MAX]; /* "alg:hex", lower case */
};

/**
 * Read a digest strictly: a known algorithm, exactly its number of lower-case hex digits, nothing
 * else. len is the length of text, which needs no NUL.
 *
 * @return DRAY_OK; DRAY_EINVAL for anything malformed; DRAY_EUNSUPPORTED for a well-formed digest
 *         of another algorithm
 */
int dray_digest_parse(const char *text, size_t len, struct dray_digest *ret_digest,
                      struct dray_error *err);

/** Same algorithm and same bytes, compared in constant time. Two "none" are not equal. */
bool dray_digest_equal(const struct dray_digest *a, const struct dray_digest *b);

/** The hex part of digest->text. */
const char *dray_digest_hex(const struct dray_digest *digest);

/** "sha256", "sha384", "sha512"; the directory name below blobs/. */
const char *dray_digest_alg_name(enum dray_digest_alg alg);

#ifdef __cplusplus
}
#endif

#endif
