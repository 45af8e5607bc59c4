#!/usr/bin/env python3
"""Check an OCI image layout from outside: does every visible blob match its name, is every tag whole?

    check_store.py STORE [--allow-no-tags]

Shares no code with what wrote the store. Prints one line per fault; exits 1 when there is any.
"""

import hashlib
import json
import os
import stat
import sys

MANIFESTS = ("application/vnd.oci.image.manifest.v1+json",
             "application/vnd.docker.distribution.manifest.v2+json")
INDEXES = ("application/vnd.oci.image.index.v1+json",
           "application/vnd.docker.distribution.manifest.list.v2+json")


def check_blobs(root):
    """Yield faults of the blobs on their own."""
    for algorithm in sorted(os.listdir(f"{root}/blobs")):
        for name in sorted(os.listdir(f"{root}/blobs/{algorithm}")):
            path = f"{root}/blobs/{algorithm}/{name}"
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, algorithm).hexdigest()
            if digest != name:
                yield f"{algorithm}:{name}: the bytes hash to {digest}"
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & 0o222:
                yield f"{algorithm}:{name}: writable, mode {mode:o}"


def check_descriptor(root, descriptor, trail, seen):
    """Yield faults of what a descriptor leads to, unless it was looked at before."""
    digest = descriptor["digest"]
    if (digest, descriptor["size"]) in seen:
        return
    seen.add((digest, descriptor["size"]))
    path = f"{root}/blobs/{digest.replace(':', '/')}"
    trail = f"{trail} -> {digest[:19]}"
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        yield f"{trail}: missing"
        return
    if size != descriptor["size"]:
        yield f"{trail}: {size} bytes, {descriptor['size']} promised"
        return
    if descriptor["mediaType"] not in MANIFESTS + INDEXES:
        return
    with open(path, "rb") as file:
        document = json.load(file)
    children = document.get("manifests" if descriptor["mediaType"] in INDEXES else "layers", [])
    for child in children + ([document["config"]] if "config" in document else []):
        yield from check_descriptor(root, child, trail, seen)


def check(root, allow_no_tags):
    with open(f"{root}/oci-layout") as file:
        if json.load(file) != {"imageLayoutVersion": "1.0.0"}:
            yield "oci-layout: not version 1.0.0"
    with open(f"{root}/index.json") as file:
        index = json.load(file)
    if index.get("schemaVersion") != 2:
        yield "index.json: schemaVersion is not 2"
    if not index["manifests"] and not allow_no_tags:
        yield "index.json: no tags"
    names = [m.get("annotations", {}).get("org.opencontainers.image.ref.name") for m in index["manifests"]]
    for name in {name for name in names if name and names.count(name) > 1}:
        yield f"index.json: {name} stands there more than once"
    seen = set()
    for name, descriptor in zip(names, index["manifests"]):
        yield from check_descriptor(root, descriptor, str(name), seen)
    yield from check_blobs(root)


if __name__ == "__main__":
    faults = list(check(sys.argv[1], "--allow-no-tags" in sys.argv[2:]))
    print("\n".join(faults))
    sys.exit(1 if faults else 0)
