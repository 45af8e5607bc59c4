/* Endpoints: the addresses at which an image's registry may be reached, in the order to try. */
#ifndef DRAY_REGISTRY_ENDPOINT_H
#define DRAY_REGISTRY_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include <dray/reference.h>

#include "registry/registry.h"

/** One address. Immutable. */
struct dray_endpoint {
    char *url;        /* scheme://host[:port][/prefix], no slash at the end */
    char *origin;     /* scheme://host[:port]: what secrets are bound to, and what errors show */
    char *host;       /* the name whose credentials count: "docker.io" for Docker Hub */
    char *upstream;   /* of a mirror: the domain of the reference, sent as ?ns=; else NULL */
    bool mirror;      /* named by the user as a mirror: no credentials of the upstream go there */
    bool skip_verify; /* certificates are not verified */
};

struct dray_endpoint_list {
    struct dray_endpoint *items;
    size_t count;
};

/**
 * List the endpoints of a reference: its domain's mirrors in the user's order, then the upstream by
 * https, then by http where that is allowed: loopback names and addresses, or the insecure option.
 * With plain_http there is only http. Docker Hub is registry-1.docker.io, always by verified https.
 *
 * A mirror serves one domain, Docker Hub's unless the user names another: a cache of Docker Hub
 * that was asked for quay.io/acme/app would answer with whoever's docker.io/acme/app. The query
 * parameter ns (OCI distribution-spec, "Registry Proxying") tells the domain to a mirror of many,
 * but plain registries ignore it.
 *
 * Who walks the list must not go on to http once the same host has answered by https. An https
 * endpoint has not answered when the error is DRAY_EUNREACHABLE with http_status 0 and sys_errno
 * other than EKEYREJECTED: that one means that TLS is spoken there but a certificate was refused.
 *
 * @param ret_list  release it with dray_endpoint_list_done()
 * @return DRAY_OK, DRAY_EINVAL (a domain that cannot stand in a URL), DRAY_ENOMEM
 */
int dray_endpoint_list_make(const struct dray_registry *registry,
                            const struct dray_reference *reference,
                            struct dray_endpoint_list *ret_list, struct dray_error *err);

void dray_endpoint_list_done(struct dray_endpoint_list *list);

#define DRAY_AUTO_ENDPOINT_LIST DRAY_CLEANUP(dray_endpoint_list_done)

#endif
