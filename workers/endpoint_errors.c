#include "workers/endpoint_errors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"

static bool is_https(const struct dray_endpoint *endpoint)
{
    return strncmp(endpoint->url, "https://", 8) == 0;
}

/* host[:port] of the origin. */
static const char *authority(const struct dray_endpoint *endpoint)
{
    const char *separator = strstr(endpoint->origin, "://");

    return separator ? separator + 3 : endpoint->origin;
}

static bool same_host(const struct dray_endpoint *a, const struct dray_endpoint *b)
{
    return a && b && strcmp(authority(a), authority(b)) == 0;
}

/* Did something that speaks HTTP answer? A name, connection or TLS failure says no; a connection
 * that broke without a status says nothing. */
static bool answered(const struct dray_error *error)
{
    return error->http_status != 0 || error->sys_errno == EKEYREJECTED ||
           (error->code != DRAY_EUNREACHABLE && error->code != DRAY_ETRANSIENT);
}

bool dray_endpoint_errors_allow(const struct dray_endpoint_errors *errors,
                                const struct dray_endpoint *endpoint)
{
    return is_https(endpoint) || !errors->answered || !is_https(errors->answered) ||
           !same_host(errors->answered, endpoint);
}

void dray_endpoint_errors_add(struct dray_endpoint_errors *errors,
                              const struct dray_endpoint *endpoint, const struct dray_error *error)
{
    size_t used = strlen(errors->joined.text);

    if (is_https(endpoint) && answered(error))
        errors->answered = endpoint;

    if (!is_https(endpoint) && answered(error) && same_host(errors->last, endpoint))
        used = errors->last_line;
    else if (used > 0 && used + 1 < sizeof(errors->joined.text))
        errors->joined.text[used++] = '\n';

    /* The last endpoint's word counts most: make room for it at the cost of the others'. */
    if (used + strlen(error->text) >= sizeof(errors->joined.text)) {
        size_t room = sizeof(errors->joined.text) - 1 - strlen(error->text);

        used = room < used ? room : used;
        if (used > 0)
            errors->joined.text[used - 1] = '\n';
    }

    errors->last = endpoint;
    errors->last_line = used;
    snprintf(errors->joined.text + used, sizeof(errors->joined.text) - used, "%s", error->text);

    errors->joined.code = error->code;
    errors->joined.sys_errno = error->sys_errno;
    errors->joined.http_status = error->http_status;
    errors->joined.retry_after_ms = error->retry_after_ms;
    memcpy(errors->joined.hint, error->hint, sizeof(errors->joined.hint));
}

int dray_endpoint_errors_join(const struct dray_endpoint_errors *errors, struct dray_error *err)
{
    if (!errors->last)
        return dray_error_set(err, DRAY_EUNREACHABLE, "no endpoint to ask");
    if (err)
        *err = errors->joined;
    return errors->joined.code;
}
