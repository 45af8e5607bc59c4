/* Digests: strict reading, and hashing that agrees with a second implementation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/digest.h"
#include "core/error.h"

#define EMPTY_SHA256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static int parse(const char *text, struct dray_digest *ret_digest, struct dray_error *err)
{
    return dray_digest_parse(text, strlen(text), ret_digest, err);
}

/* FIPS 180-2, appendices B and C, and the empty message. */
static const struct {
    enum dray_digest_alg alg;
    const char *message;
    const char *digest;
} vectors[] = {
    { DRAY_SHA256, "", EMPTY_SHA256 },
    { DRAY_SHA256, "abc",
      "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { DRAY_SHA256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { DRAY_SHA384, "",
      "sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da"
      "274edebfe76f65fbd51ad2f14898b95b" },
    { DRAY_SHA384, "abc",
      "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
      "8086072ba1e7cc2358baeca134c825a7" },
    { DRAY_SHA512, "",
      "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
      "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e" },
    { DRAY_SHA512, "abc",
      "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
};

static void known_messages_have_their_published_digests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const char *message = vectors[i].message;
        struct dray_digest want;
        struct dray_digest have;

        assert_int_equal(parse(vectors[i].digest, &want, NULL), DRAY_OK);
        assert_int_equal(want.alg, vectors[i].alg);
        assert_string_equal(want.text, vectors[i].digest);
        assert_int_equal(dray_digest_of(vectors[i].alg, message, strlen(message), &have), DRAY_OK);
        assert_string_equal(have.text, vectors[i].digest);
        assert_true(dray_digest_equal(&want, &have));
        assert_int_equal(dray_digest_verify(&want, message, strlen(message), NULL), DRAY_OK);
    }
}

static void a_message_in_any_pieces_agrees_with_libsodium(void **state)
{
    static const enum dray_digest_alg algs[] = { DRAY_SHA256, DRAY_SHA512 };
    enum { MESSAGE_MAX = 200000 };
    const uint32_t seed = randombytes_random();
    uint8_t seed_bytes[randombytes_SEEDBYTES] = { 0 };
    uint8_t *message = malloc(MESSAGE_MAX);

    (void)state;
    assert_non_null(message);
    print_message("seed %u\n", seed);
    memcpy(seed_bytes, &seed, sizeof(seed));
    randombytes_buf_deterministic(message, MESSAGE_MAX, seed_bytes);
    srandom(seed);

    for (size_t a = 0; a < sizeof(algs) / sizeof(algs[0]); a++) {
        DRAY_AUTO_HASHER struct dray_hasher *hasher = NULL;

        assert_int_equal(dray_hasher_new(algs[a], &hasher, NULL), DRAY_OK);
        for (int round = 0; round < 40; round++) {
            /* lengths around the block and padding edges first, then any */
            const size_t len = round < 20 ? 110 + (size_t)round : (size_t)random() % MESSAGE_MAX;
            const size_t piece_max = 1 + (size_t)random() % 9000;
            uint8_t expected[crypto_hash_sha512_BYTES];
            struct dray_digest digest;
            size_t done = 0;

            if (round > 0)
                dray_hasher_reset(hasher);
            while (done < len) {
                size_t piece = (size_t)random() % (piece_max + 1); /* 0 too */

                if (piece > len - done)
                    piece = len - done;
                dray_hasher_update(hasher, message + done, piece);
                done += piece;
            }
            dray_hasher_finish(hasher, &digest);

            if (algs[a] == DRAY_SHA256)
                crypto_hash_sha256(expected, message, len);
            else
                crypto_hash_sha512(expected, message, len);
            assert_memory_equal(digest.bytes, expected, algs[a] == DRAY_SHA256 ? 32 : 64);
        }
    }
    free(message);
}

static void a_reset_forgets_the_data_before_it(void **state)
{
    DRAY_AUTO_HASHER struct dray_hasher *hasher = NULL;
    struct dray_digest digest;

    (void)state;
    assert_int_equal(dray_hasher_new(DRAY_SHA256, &hasher, NULL), DRAY_OK);
    dray_hasher_update(hasher, "unfinished", 10);
    dray_hasher_reset(hasher);
    dray_hasher_finish(hasher, &digest);
    assert_string_equal(digest.text, EMPTY_SHA256);
}

static void freeing_no_hasher_is_allowed(void **state)
{
    (void)state;
    dray_hasher_free(NULL);
}

static void verifying_other_bytes_names_both_digests(void **state)
{
    struct dray_error err = { 0 };
    struct dray_digest want;

    (void)state;
    assert_int_equal(parse(EMPTY_SHA256, &want, NULL), DRAY_OK);
    assert_int_equal(dray_digest_verify(&want, "abc", 3, &err), DRAY_EDIGEST);
    assert_int_equal(err.code, DRAY_EDIGEST);
    assert_non_null(strstr(err.text, EMPTY_SHA256));
    assert_non_null(strstr(err.text, vectors[1].digest));
}

/* H-37 */
static void malformed_digests_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        "sha256",
        "sha256:",
        ":e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",   /* short */
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550", /* long */
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 ",
        " " EMPTY_SHA256,
        EMPTY_SHA256 "\n",
        "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852B855",
        "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:0x3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
        "sha256:../../x",
        "sha256:../../../../../../../../../../../../../../../../../../../etc/passwd",
        "sha256:e3b0c44298fc1c149afbf4c8996fb924/27ae41e4649b934ca495991b7852b85",
        "../sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256::3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "blake3:",
        "blake3:../x",
        "+b64:abc",
        "sha256+:abc",
        "multihash++base58:abc",
        "\xc5\xa1ha256:abc",
    };
    struct dray_digest untouched = { .alg = DRAY_SHA384 };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct dray_error err = { 0 };

        if (parse(texts[i], &untouched, &err) != DRAY_EINVAL)
            fail_msg("\"%s\" was not refused", texts[i]);
        assert_int_equal(err.code, DRAY_EINVAL);
        assert_int_not_equal(err.text[0], '\0');
    }
    assert_int_equal(untouched.alg, DRAY_SHA384);
}

static void the_length_ends_the_text_and_a_nul_does_not(void **state)
{
    const size_t len = strlen(EMPTY_SHA256);
    char text[] = EMPTY_SHA256 "/more";
    struct dray_digest digest;

    (void)state;
    assert_int_equal(dray_digest_parse(text, len, &digest, NULL), DRAY_OK);
    assert_string_equal(digest.text, EMPTY_SHA256);
    assert_int_equal(dray_digest_parse(text, len + 1, &digest, NULL), DRAY_EINVAL);
    text[20] = '\0';
    assert_int_equal(dray_digest_parse(text, len, &digest, NULL), DRAY_EINVAL);
    assert_int_equal(dray_digest_parse(NULL, 0, &digest, NULL), DRAY_EINVAL);
}

static void other_algorithms_are_told_from_malformed_digests(void **state)
{
    static const char *const texts[] = {
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564=",
        "sha2567:00",
        "sha25:00",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct dray_digest digest;
        struct dray_error err = { 0 };

        assert_int_equal(parse(texts[i], &digest, &err), DRAY_EUNSUPPORTED);
        assert_memory_equal(strstr(err.text, "algorithm ") + 10, texts[i], strcspn(texts[i], ":"));
    }
}

static void no_error_text_holds_control_bytes(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        const char name[] = { (char)c, 'a', ':', '0', '\0' };
        const char hex[] = { 'b', ':', (char)c, '\0' };
        struct dray_error err = { 0 };
        struct dray_digest digest;

        parse(name, &digest, &err);
        for (const char *at = err.text; *at; at++)
            assert_in_range((unsigned char)*at, ' ', '~');
        parse(hex, &digest, &err);
        for (const char *at = err.text; *at; at++)
            assert_in_range((unsigned char)*at, ' ', '~');
    }
}

static void digests_are_equal_only_in_algorithm_and_all_bytes(void **state)
{
    struct dray_digest a;
    struct dray_digest b;
    const struct dray_digest none = { 0 };

    (void)state;
    assert_int_equal(dray_digest_of(DRAY_SHA512, "x", 1, &a), DRAY_OK);
    b = a;
    assert_true(dray_digest_equal(&a, &b));
    b.bytes[63] ^= 1;
    assert_false(dray_digest_equal(&a, &b));
    b = a;
    b.alg = DRAY_SHA256;
    assert_false(dray_digest_equal(&a, &b));
    assert_false(dray_digest_equal(&a, &none));
    assert_false(dray_digest_equal(&none, &none));
}

static void the_hex_part_and_the_algorithm_make_a_path(void **state)
{
    struct dray_digest digest;
    const struct dray_digest none = { 0 };

    (void)state;
    assert_int_equal(parse(EMPTY_SHA256, &digest, NULL), DRAY_OK);
    assert_string_equal(dray_digest_hex(&digest), strchr(EMPTY_SHA256, ':') + 1);
    assert_string_equal(dray_digest_hex(&none), "");
    assert_string_equal(dray_digest_alg_name(DRAY_SHA256), "sha256");
    assert_string_equal(dray_digest_alg_name(DRAY_SHA384), "sha384");
    assert_string_equal(dray_digest_alg_name(DRAY_SHA512), "sha512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_messages_have_their_published_digests),
        cmocka_unit_test(a_message_in_any_pieces_agrees_with_libsodium),
        cmocka_unit_test(a_reset_forgets_the_data_before_it),
        cmocka_unit_test(freeing_no_hasher_is_allowed),
        cmocka_unit_test(verifying_other_bytes_names_both_digests),
        cmocka_unit_test(malformed_digests_are_refused),
        cmocka_unit_test(the_length_ends_the_text_and_a_nul_does_not),
        cmocka_unit_test(other_algorithms_are_told_from_malformed_digests),
        cmocka_unit_test(no_error_text_holds_control_bytes),
        cmocka_unit_test(digests_are_equal_only_in_algorithm_and_all_bytes),
        cmocka_unit_test(the_hex_part_and_the_algorithm_make_a_path),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
