#include "core/platform.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "core/error.h"

/* What dray_platform_rank() gives: kinds of fit, with room below each for the finer order. */
enum {
    RANK_EXACT = 1000,
    RANK_OLDER = 900,  /* the same architecture, fewer features: less the steps down */
    RANK_NARROW = 500, /* 32-bit arm on arm64: plus the version of arm */
};

struct spelling {
    const char *text;
    const char *architecture;
    const char *variant; /* NULL: what was given stays */
};

/* Names people write, as containerd's platforms package reads them. */
static const struct spelling spellings[] = {
    { "i386", "386", "" },        { "x86_64", "amd64", NULL }, { "x86-64", "amd64", NULL },
    { "aarch64", "arm64", NULL }, { "armhf", "arm", "v7" },    { "armel", "arm", "v6" },
};

/* Names of Linux kernels (uname -m) that are neither Go's names nor among those above. */
static const struct spelling machines[] = {
    { "i486", "386", "" },        { "i586", "386", "" },
    { "i686", "386", "" },        { "loongarch64", "loong64", "" },
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    { "mips", "mipsle", "" }, /* the kernel says the same for both byte orders */
    { "mips64", "mips64le", "" },
#endif
};

/* What a word that stands alone can mean: the lists of the Go toolchain. */
static const char *const known_oses[] = {
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd",    "illumos", "ios",
    "js",  "linux",   "netbsd", "openbsd",   "plan9",   "solaris", "wasip1",  "windows",
};

static const char *const known_architectures[] = {
    "386",      "amd64",  "arm",   "arm64",   "loong64", "mips",  "mips64",
    "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_listed(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(word, list[i]) == 0)
            return true;
    }
    return false;
}

static void set_part(char part[DRAY_PLATFORM_PART_MAX + 1], const char *value)
{
    snprintf(part, DRAY_PLATFORM_PART_MAX + 1, "%.*s", DRAY_PLATFORM_PART_MAX, value);
}

static void respell(struct dray_platform *platform, const struct spelling *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(platform->architecture, list[i].text) == 0) {
            set_part(platform->architecture, list[i].architecture);
            if (list[i].variant)
                set_part(platform->variant, list[i].variant);
            return;
        }
    }
}

static void to_lower(char *text)
{
    for (; *text; text++) {
        if (*text >= 'A' && *text <= 'Z')
            *text = (char)(*text - 'A' + 'a');
    }
}

void dray_platform_normalise(struct dray_platform *platform)
{
    char *variant = platform->variant;

    to_lower(platform->os);
    to_lower(platform->architecture);
    to_lower(variant);

    if (strcmp(platform->os, "macos") == 0)
        set_part(platform->os, "darwin");
    respell(platform, spellings, COUNT(spellings));

    if (strcmp(platform->architecture, "amd64") == 0) {
        if (strcmp(variant, "v1") == 0)
            set_part(variant, "");
    } else if (strcmp(platform->architecture, "arm64") == 0) {
        if (strcmp(variant, "8") == 0 || strcmp(variant, "v8") == 0 || strcmp(variant, "v8.0") == 0)
            set_part(variant, "");
        else if (strcmp(variant, "9") == 0 || strcmp(variant, "v9.0") == 0)
            set_part(variant, "v9");
    } else if (strcmp(platform->architecture, "arm") == 0) {
        if (variant[0] == '\0')
            set_part(variant, "v7");
        else if (variant[0] >= '5' && variant[0] <= '8' && variant[1] == '\0')
            set_part(variant, (const char *[]){ "v5", "v6", "v7", "v8" }[variant[0] - '5']);
    }
}

static bool is_word(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isascii((unsigned char)text[i]) ||
            (!isalnum((unsigned char)text[i]) && !memchr("_.-", text[i], 3)))
            return false;
    }
    return len > 0 && len <= DRAY_PLATFORM_PART_MAX;
}

int dray_platform_parse(const char *text, struct dray_platform *ret_platform,
                        struct dray_error *err)
{
    struct dray_platform platform = { 0 };
    char *parts[] = { platform.os, platform.architecture, platform.variant };
    size_t count = 0;
    const char *rest = text;

    /* what is not a word is not repeated: it may hold anything */
    for (bool more = true; more; count++) {
        size_t len = strcspn(rest, "/");

        if (count == COUNT(parts) || !is_word(rest, len))
            return dray_error_set(err, DRAY_EINVAL,
                                  "a platform is written OS/ARCH[/VARIANT], such as linux/arm/v7");
        memcpy(parts[count], rest, len);
        more = rest[len] == '/';
        rest += len + more;
    }

    if (count == 1) {
        struct dray_platform host;

        dray_platform_host(&host);
        dray_platform_normalise(&platform);
        if (is_listed(platform.os, known_oses, COUNT(known_oses))) {
            memcpy(host.os, platform.os, sizeof(host.os));
            platform = host;
        } else {
            memcpy(platform.architecture, platform.os, sizeof(platform.os));
            memcpy(platform.os, host.os, sizeof(host.os));
        }
    }

    dray_platform_normalise(&platform);
    if (count == 1 &&
        !is_listed(platform.architecture, known_architectures, COUNT(known_architectures)))
        return dray_error_set(err, DRAY_EINVAL, "%s is no operating system or architecture known",
                              text);
    *ret_platform = platform;
    return DRAY_OK;
}

#if defined(__x86_64__)

static bool has_all(unsigned int flags, unsigned int wanted)
{
    return (flags & wanted) == wanted;
}

/* The features for which the kernel saves registers (XCR0); only valid with OSXSAVE. */
static unsigned int saved_state(void)
{
    unsigned int low;
    unsigned int high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/*
 * The level of the x86-64 psABI, "Micro-Architecture Levels". __builtin_cpu_supports() would be
 * shorter, but clang 14 knows only part of these features and none of the levels.
 */
static int amd64_level(void)
{
    enum {
        SSE3 = 1 << 0,
        SSSE3 = 1 << 9,
        FMA = 1 << 12,
        CX16 = 1 << 13,
        SSE4_1 = 1 << 19,
        SSE4_2 = 1 << 20,
        MOVBE = 1 << 22,
        POPCNT = 1 << 23,
        OSXSAVE = 1 << 27,
        AVX = 1 << 28,
        F16C = 1 << 29, /* leaf 1, ecx */

        LAHF = 1 << 0,
        LZCNT = 1 << 5, /* leaf 0x80000001, ecx */

        BMI1 = 1 << 3,
        AVX2 = 1 << 5,
        BMI2 = 1 << 8,
        AVX512F = 1 << 16,
        AVX512DQ = 1 << 17,
        AVX512CD = 1 << 28,
        AVX512BW = 1 << 30, /* leaf 7, ebx */

        STATE_AVX = 0x06,   /* xmm, ymm */
        STATE_AVX512 = 0xe6 /* and opmask, zmm */
    };
    const unsigned int AVX512VL = 1u << 31; /* leaf 7, ebx; too large for an enum */
    unsigned int eax;
    unsigned int ebx;
    unsigned int edx;
    unsigned int basic = 0;
    unsigned int extended = 0;
    unsigned int leaf7 = 0;

    __get_cpuid(1, &eax, &ebx, &basic, &edx);
    __get_cpuid(0x80000001, &eax, &ebx, &extended, &edx);
    __get_cpuid_count(7, 0, &eax, &leaf7, &ebx, &edx);

    if (!has_all(basic, SSE3 | SSSE3 | CX16 | SSE4_1 | SSE4_2 | POPCNT) || !has_all(extended, LAHF))
        return 1;
    if (!has_all(basic, OSXSAVE | AVX | F16C | FMA | MOVBE) || !has_all(extended, LZCNT) ||
        !has_all(leaf7, BMI1 | BMI2 | AVX2) || !has_all(saved_state(), STATE_AVX))
        return 2;
    if (!has_all(leaf7, AVX512F | AVX512DQ | AVX512CD | AVX512BW | AVX512VL) ||
        !has_all(saved_state(), STATE_AVX512))
        return 3;
    return 4;
}

#else

/* A 32-bit or foreign build under emulation: every amd64 machine runs level 1. */
static int amd64_level(void)
{
    return 1;
}

#endif

void dray_platform_host(struct dray_platform *ret_platform)
{
    struct dray_platform host = { 0 };
    struct utsname name;

    uname(&name); /* fails only for a bad pointer */
    set_part(host.os, name.sysname);
    if (strncmp(name.machine, "armv", 4) == 0) {
        /* "armv7l", "armv5tel": the digit is the version, the letters are byte order and such */
        set_part(host.architecture, "arm");
        host.variant[0] = 'v';
        host.variant[1] = name.machine[4];
    } else {
        set_part(host.architecture, name.machine);
        respell(&host, machines, COUNT(machines));
    }
    dray_platform_normalise(&host);

    if (strcmp(host.architecture, "amd64") == 0) {
        int level = amd64_level();

        if (level > 1)
            snprintf(host.variant, sizeof(host.variant), "v%d", level);
    }
    *ret_platform = host;
}

void dray_platform_format(const struct dray_platform *platform, char *buf)
{
    snprintf(buf, DRAY_PLATFORM_TEXT_MAX, "%s/%s%s%s", platform->os, platform->architecture,
             platform->variant[0] ? "/" : "", platform->variant);
}

/* "vM" or "vM.N", one digit each, as 10 * M + N; 0 for anything else. */
static int variant_number(const char *variant)
{
    if (variant[0] != 'v' || variant[1] < '1' || variant[1] > '9')
        return 0;
    if (variant[2] == '\0')
        return 10 * (variant[1] - '0');
    if (variant[2] != '.' || variant[3] < '0' || variant[3] > '9' || variant[4] != '\0')
        return 0;
    return 10 * (variant[1] - '0') + (variant[3] - '0');
}

/* A number that grows with what the machine can do; 0 where variants have no order. */
static int level(const struct dray_platform *platform)
{
    const char *variant = platform->variant;
    int number;

    if (strcmp(platform->architecture, "amd64") == 0)
        return variant_number(variant[0] ? variant : "v1");
    if (strcmp(platform->architecture, "arm64") == 0)
        return variant_number(variant[0] ? variant : "v8");
    if (strcmp(platform->architecture, "arm") == 0) {
        number = variant_number(variant);
        return number >= 50 && number <= 80 ? number : 0; /* v4 lacks what v5 programs use */
    }
    return 0;
}

/* Armv9.N has all of Armv8.(N+5), but nothing of Armv8 that came later. */
static bool arm64_runs(int wanted, int offered)
{
    return wanted < 90 || offered >= 90 || offered - 80 <= wanted - 90 + 5;
}

int dray_platform_rank(const struct dray_platform *wanted, const struct dray_platform *offered)
{
    /* callers may have filled them by hand */
    struct dray_platform want = *wanted;
    struct dray_platform have = *offered;
    int want_level;
    int have_level;

    dray_platform_normalise(&want);
    dray_platform_normalise(&have);
    if (strcmp(want.os, have.os) != 0)
        return 0;

    want_level = level(&want);
    have_level = level(&have);
    if (strcmp(want.architecture, have.architecture) == 0) {
        if (strcmp(want.variant, have.variant) == 0)
            return RANK_EXACT;
        if (have_level == 0 || have_level > want_level)
            return 0;
        if (strcmp(want.architecture, "arm64") == 0 && !arm64_runs(want_level, have_level))
            return 0;
        return RANK_OLDER - (want_level - have_level);
    }

    if (strcmp(want.architecture, "arm64") == 0 && want_level > 0 &&
        strcmp(have.architecture, "arm") == 0 && have_level > 0)
        return RANK_NARROW + have_level;
    return 0;
}

int dray_platform_from_json(const json_t *object, struct dray_platform *ret_platform,
                            struct dray_error *err)
{
    struct dray_platform platform;
    int rc;

    rc = dray_json_copy_text(object, "os", platform.os, sizeof(platform.os), err);
    if (rc < 0)
        return rc;
    rc = dray_json_copy_text(object, "architecture", platform.architecture,
                             sizeof(platform.architecture), err);
    if (rc < 0)
        return rc;
    rc = dray_json_copy_text(object, "variant", platform.variant, sizeof(platform.variant), err);
    if (rc < 0)
        return rc;

    dray_platform_normalise(&platform);
    *ret_platform = platform;
    return DRAY_OK;
}
