/* References: whatever is accepted reads back as the same from both of its written forms, and
 * whatever is refused is refused in printable text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dray/error.h>
#include <dray/reference.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_read_as(const char *text, const struct dray_reference *expected)
{
    struct dray_reference again;

    if (dray_reference_parse(text, &again, NULL) < 0 ||
        memcmp(&again, expected, sizeof(again)) != 0)
        abort();
}

static void must_be_printable(const char *text)
{
    for (; *text; text++) {
        if (*text < ' ' || *text > '~')
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dray_reference reference;
    struct dray_error err = { 0 };
    char buf[DRAY_REFERENCE_TEXT_MAX];
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    if (dray_reference_parse(text, &reference, &err) < 0) {
        must_be_printable(err.text);
        must_be_printable(err.hint);
    } else {
        if (strstr(reference.path, "..") || strpbrk(reference.path, " \\%?#@:"))
            abort();
        dray_reference_canonical(&reference, buf);
        must_read_as(buf, &reference);
        dray_reference_familiar(&reference, buf);
        must_read_as(buf, &reference);
    }
    free(text);
    return 0;
}
