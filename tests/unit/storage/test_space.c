#include "storage/space.h"

#include <sys/statvfs.h>

#include "tests/unit/storage/scratch.h"

static void what_fits_is_let_through(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);

    assert_ok(dray_store_check_room(store, 0, NULL));
    assert_ok(dray_store_check_room(store, 1, NULL));
}

static void more_than_there_is_is_refused_with_both_numbers(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_error err = { 0 };

    assert_int_equal(dray_store_check_room(store, UINT64_C(1) << 50, &err), DRAY_ENOSPC);
    assert_non_null(strstr(err.text, *state));
    assert_non_null(strstr(err.text, "1125899906842624 more bytes needed"));
    assert_non_null(strstr(err.text, "bytes are free"));
    assert_string_not_equal(err.hint, "");
    assert_int_equal(dray_store_check_room(store, UINT64_MAX, NULL), DRAY_ENOSPC);
}

/* In a file system of 1 MiB: everything but the reserve may be used, and a full one is enough for
 * a pull that needs nothing. */
static int fill_up(void *ctx)
{
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    DRAY_AUTO_FREE char *filler = calloc(1, 2 << 20);
    struct statvfs fs;
    uint64_t free_bytes;

    if (!filler || !mount_small(ctx))
        return NOT_PERMITTED;
    store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    if (statvfs(ctx, &fs) < 0)
        return 1;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (dray_store_check_room(store, free_bytes - DRAY_STORE_RESERVE_BYTES, NULL) != DRAY_OK)
        return 2;
    if (dray_store_check_room(store, free_bytes - DRAY_STORE_RESERVE_BYTES + 1, NULL) !=
        DRAY_ENOSPC)
        return 3;

    FILE *file = fopen(below(ctx, "filler"), "w");
    if (!file || fwrite(filler, 1, 2 << 20, file) == 2 << 20)
        return 4;
    fclose(file);
    if (dray_store_check_room(store, 1, NULL) != DRAY_ENOSPC)
        return 5;
    return dray_store_check_room(store, 0, NULL) == DRAY_OK ? 0 : 6;
}

static void a_full_file_system_has_room_for_nothing(void **state)
{
    int status = end_child(start_child(fill_up, *state));

    if (status == NOT_PERMITTED)
        skip();
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(what_fits_is_let_through),
        scratch_test(more_than_there_is_is_refused_with_both_numbers),
        scratch_test(a_full_file_system_has_room_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
