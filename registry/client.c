#include "registry/client.h"

#include <stdlib.h>

#include "core/error.h"
#include "registry/shared.h"

/* An upstream and a mirror, each with its token server and content network. Beyond that the one
 * that was idle the longest is closed: with fewer than there are peers to go round, every one. */
#define CONNECTIONS_MAX 6L

struct dray_registry *dray_client_registry(const struct dray_client *client)
{
    return client->registry;
}

const struct dray_cancel *dray_client_cancel(const struct dray_client *client)
{
    return client->cancel;
}

int dray_client_new(struct dray_registry *registry, const struct dray_cancel *cancel,
                    struct dray_client **ret_client, struct dray_error *err)
{
    DRAY_AUTO_CLIENT struct dray_client *client = calloc(1, sizeof(*client));

    if (!client)
        return dray_error_nomem(err);
    client->registry = registry;
    client->cancel = cancel;
    client->multi = curl_multi_init();
    client->easy = curl_easy_init();
    if (!client->multi || !client->easy)
        return dray_error_nomem(err);
    if (curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX) != CURLM_OK ||
        curl_easy_setopt(client->easy, CURLOPT_SHARE, registry->share) != CURLE_OK)
        return dray_error_nomem(err);
    *ret_client = DRAY_TAKE(client);
    return DRAY_OK;
}

void dray_client_free(struct dray_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    curl_multi_cleanup(client->multi);
    free(client->body);
    free(client);
}
