#include "core/digest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <sodium.h>

#include "core/error.h"

struct algorithm {
    const char *name;
    size_t bytes;
    const EVP_MD *(*md)(void);
};

/* Indexed by enum dray_digest_alg. */
static const struct algorithm algorithms[] = {
    [DRAY_SHA256] = { "sha256", 32, EVP_sha256 },
    [DRAY_SHA384] = { "sha384", 48, EVP_sha384 },
    [DRAY_SHA512] = { "sha512", 64, EVP_sha512 },
};

#define ALGORITHM_END (DRAY_SHA512 + 1)

struct dray_hasher {
    enum dray_digest_alg alg;
    EVP_MD_CTX *ctx;
    bool broken; /* libcrypto refused a step: finish() then gives "none" */
};

static bool is_known(enum dray_digest_alg alg)
{
    return alg >= DRAY_SHA256 && alg < ALGORITHM_END;
}

/* Every digest is made here, so that text and bytes always agree. */
static void set_bytes(struct dray_digest *digest, enum dray_digest_alg alg, const uint8_t *bytes)
{
    const struct algorithm *algorithm = &algorithms[alg];
    const size_t name_len = strlen(algorithm->name);
    struct dray_digest made = { .alg = alg };

    memcpy(made.bytes, bytes, algorithm->bytes);
    memcpy(made.text, algorithm->name, name_len);
    made.text[name_len] = ':';
    sodium_bin2hex(made.text + name_len + 1, sizeof(made.text) - name_len - 1, bytes,
                   algorithm->bytes);
    *digest = made;
}

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* algorithm ::= component (separator component)*, with [a-z0-9]+ and one of "+._-". */
static bool is_algorithm(const char *text, size_t len)
{
    bool after_separator = true;

    for (size_t i = 0; i < len; i++) {
        if (is_lower_or_digit(text[i]))
            after_separator = false;
        else if (!after_separator && memchr("+._-", text[i], 4))
            after_separator = true;
        else
            return false;
    }
    return !after_separator;
}

/* encoded ::= [a-zA-Z0-9=_-]+ */
static bool is_encoded(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!is_lower_or_digit(text[i]) && !(text[i] >= 'A' && text[i] <= 'Z') &&
            !memchr("=_-", text[i], 3))
            return false;
    }
    return len > 0;
}

static enum dray_digest_alg find_algorithm(const char *name, size_t len)
{
    for (enum dray_digest_alg alg = DRAY_SHA256; alg < ALGORITHM_END; alg++) {
        if (len == strlen(algorithms[alg].name) && memcmp(name, algorithms[alg].name, len) == 0)
            return alg;
    }
    return 0;
}

/* The text may come from a registry, so messages repeat no part of it that is not checked. */
int dray_digest_parse(const char *text, size_t len, struct dray_digest *ret_digest,
                      struct dray_error *err)
{
    const char *colon = len > 0 ? memchr(text, ':', len) : NULL;
    const char *hex;
    size_t name_len;
    size_t hex_len;
    enum dray_digest_alg alg;
    uint8_t bytes[DRAY_DIGEST_BYTES_MAX];
    size_t bytes_len;

    if (!colon)
        return dray_error_set(err, DRAY_EINVAL, "a digest is written algorithm:hex");
    name_len = (size_t)(colon - text);
    hex = colon + 1;
    hex_len = len - name_len - 1;

    if (!is_algorithm(text, name_len))
        return dray_error_set(err, DRAY_EINVAL, "the digest names no valid algorithm");
    alg = find_algorithm(text, name_len);
    if (!alg) {
        if (!is_encoded(hex, hex_len))
            return dray_error_set(err, DRAY_EINVAL, "a digest is written algorithm:hex");
        return dray_error_set(err, DRAY_EUNSUPPORTED,
                              "digest algorithm %.*s is not supported (sha256, sha384, sha512 are)",
                              name_len < 64 ? (int)name_len : 64, text);
    }

    if (hex_len != 2 * algorithms[alg].bytes)
        return dray_error_set(err, DRAY_EINVAL, "the %s digest has %zu hex digits instead of %zu",
                              algorithms[alg].name, hex_len, 2 * algorithms[alg].bytes);
    for (size_t i = 0; i < hex_len; i++) {
        /* sodium_hex2bin() takes upper case too; one blob must have one name */
        if (hex[i] >= 'A' && hex[i] <= 'F')
            return dray_error_set(err, DRAY_EINVAL, "the hex digits of a digest are lower-case");
    }
    if (sodium_hex2bin(bytes, sizeof(bytes), hex, hex_len, NULL, &bytes_len, NULL) != 0)
        return dray_error_set(err, DRAY_EINVAL, "the %s digest is not hexadecimal",
                              algorithms[alg].name);

    set_bytes(ret_digest, alg, bytes);
    return DRAY_OK;
}

bool dray_digest_equal(const struct dray_digest *a, const struct dray_digest *b)
{
    return is_known(a->alg) && a->alg == b->alg &&
           sodium_memcmp(a->bytes, b->bytes, algorithms[a->alg].bytes) == 0;
}

const char *dray_digest_hex(const struct dray_digest *digest)
{
    return is_known(digest->alg) ? digest->text + strlen(algorithms[digest->alg].name) + 1 : "";
}

const char *dray_digest_alg_name(enum dray_digest_alg alg)
{
    return is_known(alg) ? algorithms[alg].name : "none";
}

int dray_hasher_new(enum dray_digest_alg alg, struct dray_hasher **ret_hasher,
                    struct dray_error *err)
{
    DRAY_AUTO_HASHER struct dray_hasher *hasher = calloc(1, sizeof(*hasher));

    assert(is_known(alg));
    if (!hasher)
        return dray_error_nomem(err);
    hasher->alg = alg;
    hasher->ctx = EVP_MD_CTX_new();
    /* these algorithms are always there, so that only memory can be missing */
    if (!hasher->ctx || !EVP_DigestInit_ex(hasher->ctx, algorithms[alg].md(), NULL))
        return dray_error_nomem(err);

    *ret_hasher = DRAY_TAKE(hasher);
    return DRAY_OK;
}

void dray_hasher_reset(struct dray_hasher *hasher)
{
    /* no type: the state is initialised again in the memory it has */
    hasher->broken = !EVP_DigestInit_ex(hasher->ctx, NULL, NULL);
}

void dray_hasher_update(struct dray_hasher *hasher, const void *data, size_t len)
{
    if (!EVP_DigestUpdate(hasher->ctx, data, len))
        hasher->broken = true;
}

void dray_hasher_finish(struct dray_hasher *hasher, struct dray_digest *ret_digest)
{
    uint8_t bytes[EVP_MAX_MD_SIZE];

    /* "none" equals nothing: if libcrypto ever fails, that is a mismatch and never a match */
    if (hasher->broken || !EVP_DigestFinal_ex(hasher->ctx, bytes, NULL))
        *ret_digest = (struct dray_digest){ 0 };
    else
        set_bytes(ret_digest, hasher->alg, bytes);
}

void dray_hasher_free(struct dray_hasher *hasher)
{
    if (!hasher)
        return;
    EVP_MD_CTX_free(hasher->ctx);
    free(hasher);
}

int dray_digest_of(enum dray_digest_alg alg, const void *data, size_t len,
                   struct dray_digest *ret_digest)
{
    uint8_t bytes[EVP_MAX_MD_SIZE];

    assert(is_known(alg));
    if (!EVP_Digest(data, len, bytes, NULL, algorithms[alg].md(), NULL))
        return DRAY_ENOMEM;
    set_bytes(ret_digest, alg, bytes);
    return DRAY_OK;
}

int dray_digest_verify(const struct dray_digest *want, const void *data, size_t len,
                       struct dray_error *err)
{
    struct dray_digest have;

    if (dray_digest_of(want->alg, data, len, &have) < 0)
        return dray_error_nomem(err);
    if (!dray_digest_equal(want, &have))
        return dray_error_set(err, DRAY_EDIGEST, "the digest is %s instead of %s", have.text,
                              want->text);
    return DRAY_OK;
}
