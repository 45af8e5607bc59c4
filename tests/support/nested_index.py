#!/usr/bin/env python3
"""Print a scenario in which `latest` is an index of indexes of indexes, each naming one child often.

    nested_index.py MANIFEST_DIGEST MANIFEST_SIZE

Three levels of 300 entries make 27 million manifests for those who count them so, out of documents
that are all small and well-formed.
"""

import hashlib
import json
import sys

TYPE = "application/vnd.oci.image.index.v1+json"

child = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sys.argv[1], "size": int(sys.argv[2])}
rules = []
for level in range(3):
    body = json.dumps({"schemaVersion": 2, "mediaType": TYPE, "manifests": [child] * 300})
    child = {"mediaType": TYPE, "digest": "sha256:" + hashlib.sha256(body.encode()).hexdigest(), "size": len(body)}
    rules.append({"match": {"kind": "manifest", "reference": child["digest"] if level < 2 else "latest"},
                  "action": {"status": 200, "body": body,
                             "headers": {"Content-Type": TYPE, "Docker-Content-Digest": child["digest"]}}})
print(json.dumps({"rules": rules}))
