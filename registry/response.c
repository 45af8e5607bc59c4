#include "registry/response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void dray_http_response_done(struct dray_http_response *response)
{
    dray_buf_done(&response->header);
    dray_buf_done(&response->body);
    dray_url_done(&response->url);
    *response = (struct dray_http_response){ 0 };
}

void dray_http_response_reset(struct dray_http_response *response)
{
    response->status = 0;
    response->has_length = false;
    response->connect_ms = 0;
    response->stalled = false;
    dray_buf_reset(&response->header);
    dray_buf_reset(&response->body);
}

const char *dray_http_response_header(const struct dray_http_response *response, const char *name,
                                      size_t index)
{
    const char *line = dray_buf_text(&response->header);
    const char *end = line + response->header.len;
    size_t name_len = strlen(name);

    for (; line < end; line += strlen(line) + 1) {
        if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
            continue;
        if (index-- == 0)
            return line + name_len + 1 + strspn(line + name_len + 1, " \t");
    }
    return NULL;
}

bool dray_http_response_take_length(struct dray_http_response *response)
{
    const char *value;

    response->has_length = false;
    if (dray_http_response_header(response, "Transfer-Encoding", 0))
        return true;
    for (size_t i = 0; (value = dray_http_response_header(response, "Content-Length", i)); i++) {
        size_t digits = strspn(value, "0123456789");
        uint64_t length = strtoull(value, NULL, 10);

        if (digits == 0 || digits > 19 || value[digits] != '\0' ||
            (response->has_length && length != response->length_bytes))
            return false;
        response->has_length = true;
        response->length_bytes = length;
    }
    return true;
}
