/* Stands in for libFuzzer's main() under any compiler: hands every file below the directories
 * named on the command line, and the empty input, to the fuzz target, so that a crash found once
 * stays found. */
#include <dirent.h>
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    struct stat st;

    if (!file || fstat(fileno(file), &st) < 0)
        err(1, "%s", path);
    /* Exactly as large as the input, so that AddressSanitizer sees a read past its end. */
    data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
    if (!data || fread(data, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
        err(1, "read %s", path);
    fclose(file);

    printf("%s\n", path); /* the last line before a crash names the input */
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
    free(data);
}

static size_t replay_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    size_t count = 0;

    if (!dir)
        err(1, "%s", path);
    while ((entry = readdir(dir))) {
        char *name;

        if (entry->d_name[0] == '.')
            continue;
        if (asprintf(&name, "%s/%s", path, entry->d_name) < 0)
            err(1, NULL);
        replay_file(name);
        free(name);
        count++;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    const uint8_t nothing = 0;

    if (argc < 2)
        errx(2, "usage: %s DIRECTORY...", argv[0]);
    LLVMFuzzerTestOneInput(&nothing, 0);
    for (int i = 1; i < argc; i++) {
        if (replay_directory(argv[i]) == 0)
            errx(1, "%s: no inputs", argv[i]);
    }
    return 0;
}
