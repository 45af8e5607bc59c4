/* A program of somebody else, who knows of dray what pkg-config says. */
#include <stdio.h>

#include <dray/dray.h>

int main(void)
{
    struct dray_error err = { 0 };
    struct dray_reference reference;
    char text[DRAY_REFERENCE_TEXT_MAX];

    if (dray_init(&err) < 0 || dray_reference_parse("nginx", &reference, &err) < 0)
        return 1;
    dray_reference_canonical(&reference, text);
    printf("%s %s\n", dray_version(), text);
    dray_exit();
    return 0;
}
