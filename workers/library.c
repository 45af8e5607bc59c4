/* Setting up the libraries below, for dray/dray.h. */
#include <dray/dray.h>

#include <curl/curl.h>
#include <sodium.h>

#include "core/error.h"

int dray_init(struct dray_error *err)
{
    if (sodium_init() < 0)
        return dray_error_set(err, DRAY_EIO, "libsodium cannot be initialised");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return dray_error_set(err, DRAY_EIO, "libcurl cannot be initialised");
    return DRAY_OK;
}

void dray_exit(void)
{
    curl_global_cleanup();
}

const char *dray_version(void)
{
    return DRAY_VERSION;
}

const char *dray_library_versions(void)
{
    return curl_version();
}
