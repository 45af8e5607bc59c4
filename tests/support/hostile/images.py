"""What is served: OCI image layouts, found on disk or made up."""

import collections
import hashlib
import itertools
import json
import os
import random
import re
import struct
import tarfile
import zlib

from hostile.body import IO_BYTES, Body
from hostile.config import ConfigError

DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

Resource = collections.namedtuple("Resource", "body media_type digest")


class Synthetic:
    """Writes an OCI layout with one image whose layers are valid gzipped tars of an exact size.

    The same seed gives the same bytes. A layer holds one file of noise in stored deflate blocks: it
    costs nothing to unpack and cannot shrink on the way. The gzip comment takes up the slack
    between the size that was asked for and what blocks of 512 bytes can reach.
    """

    STORED_MAX = 65535  # bytes in one stored deflate block, RFC 1951 section 3.2.4
    GZIP_FIXED = 10 + 1 + 8  # header, empty comment, trailer
    TAR_FIXED = 512 + 1024  # one header, the end mark

    def __init__(self, layer_sizes, seed=0):
        self.layer_sizes, self.seed = layer_sizes, seed
        smallest = self.gzip_bytes(self.TAR_FIXED)
        if min(layer_sizes, default=smallest) < smallest:
            raise ConfigError(f"a synthetic layer has at least {smallest} bytes")

    def gzip_bytes(self, tar_bytes):
        return self.GZIP_FIXED + tar_bytes + 5 * -(-tar_bytes // self.STORED_MAX)

    def write(self, root, tag):
        blobs = os.path.join(root, "blobs", "sha256")
        os.makedirs(blobs, exist_ok=True)
        layers, diff_ids = [], []
        for number, layer_bytes in enumerate(self.layer_sizes):
            part = os.path.join(blobs, ".part")
            digest, diff_id = self.write_layer(part, number, layer_bytes)
            os.replace(part, os.path.join(blobs, digest))
            layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                           "digest": "sha256:" + digest, "size": layer_bytes})
            diff_ids.append("sha256:" + diff_id)
        config = self.write_json(blobs, "application/vnd.oci.image.config.v1+json", {
            "created": "2020-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
            "config": {"Labels": {"seed": str(self.seed)}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        manifest = self.write_json(blobs, OCI_MANIFEST, {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
        manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
        for name, document in (("oci-layout", {"imageLayoutVersion": "1.0.0"}),
                               ("index.json", {"schemaVersion": 2, "manifests": [manifest]})):
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                json.dump(document, file)

    @staticmethod
    def write_json(blobs, media_type, document):
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def tar_stream(self, number, tar_bytes):
        """Yield the tar in pieces of STORED_MAX bytes, the last one shorter."""
        noise = random.Random(f"{self.seed}/{number}").randbytes(IO_BYTES)
        info = tarfile.TarInfo(f"layer-{number}.bin")
        info.size, info.mode = tar_bytes - self.TAR_FIXED, 0o644
        pending = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        left = info.size
        for block in itertools.count():
            take = min(left, IO_BYTES)
            left -= take
            pending += (block.to_bytes(8, "big") + noise[8:])[:take]  # no two blocks are the same
            if left == 0:
                pending += bytes(1024)
            whole = len(pending) if left == 0 else len(pending) // self.STORED_MAX * self.STORED_MAX
            for at in range(0, whole, self.STORED_MAX):
                yield bytes(pending[at:min(at + self.STORED_MAX, whole)])
            del pending[:whole]
            if left == 0:
                return

    def write_layer(self, path, number, layer_bytes):
        tar_bytes = layer_bytes // 512 * 512
        while self.gzip_bytes(tar_bytes) > layer_bytes:
            tar_bytes -= 512
        slack = layer_bytes - self.gzip_bytes(tar_bytes)
        blob_hash, tar_hash, crc, done = hashlib.sha256(), hashlib.sha256(), 0, 0
        with open(path, "wb") as file:
            def put(data):
                blob_hash.update(data)
                file.write(data)

            put(b"\x1f\x8b\x08\x10" + bytes(5) + b"\xff" + b"." * slack + b"\0")  # FLG.FCOMMENT
            for piece in self.tar_stream(number, tar_bytes):
                done += len(piece)
                final = int(done == tar_bytes)
                put(struct.pack("<BHH", final, len(piece), len(piece) ^ 0xFFFF) + piece)
                tar_hash.update(piece)
                crc = zlib.crc32(piece, crc)
            put(struct.pack("<II", crc, tar_bytes & 0xFFFFFFFF))
        return blob_hash.hexdigest(), tar_hash.hexdigest()


Resource = collections.namedtuple("Resource", "body media_type digest")


class Repository:
    """The images of one name: the contents of one or more OCI layouts."""

    def __init__(self):
        self.directories = []
        self.tags = {}  # tag -> manifest digest
        self.labels = collections.defaultdict(set)  # blob digest -> "config", "layer", "layer:0"...
        self.media_types = {}  # manifest digest -> media type

    def add_layout(self, directory, only_tag):
        self.directories.append(directory)
        try:
            with open(os.path.join(directory, "index.json"), "rb") as file:
                manifests = json.load(file)["manifests"]
            for descriptor in manifests:
                name = descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name")
                tag = re.sub(r".*[/:]", "", name) if name else only_tag or "latest"
                if only_tag in (None, tag):
                    self.tags[tag] = descriptor["digest"]
                    self.walk(descriptor)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigError(f"layout {directory}: {error!r}") from error
        if not self.tags:
            raise ConfigError(f"layout {directory}: no image with tag {only_tag}")

    def walk(self, descriptor):
        digest = descriptor["digest"]
        self.media_types[digest] = descriptor.get("mediaType", OCI_MANIFEST)
        path = self.path_of(digest)
        if path is None:  # an index may name platforms that the layout lacks
            return
        with open(path, "rb") as file:
            document = json.load(file)
        for child in document.get("manifests", []):
            self.walk(child)
        layers = document.get("layers", [])
        for number, layer in enumerate(layers):
            self.labels[layer["digest"]] |= {"layer", f"layer:{number}",
                                             f"layer:{number - len(layers)}"}
        if "config" in document:
            self.labels[document["config"]["digest"]].add("config")

    def path_of(self, digest):
        if DIGEST.fullmatch(digest):
            for directory in self.directories:
                path = os.path.join(directory, "blobs", *digest.split(":"))
                if os.path.isfile(path):
                    return path
        return None

    def manifest(self, reference):
        digest = self.tags.get(reference, reference)
        path = self.path_of(digest)
        if path is None or digest not in self.media_types:
            return None
        return Resource(Body.of_file(path), self.media_types[digest], digest)

    def blob(self, reference):
        labelled = (digest for digest, labels in self.labels.items() if reference in labels)
        digest = reference if DIGEST.fullmatch(reference) else next(labelled, "")
        path = self.path_of(digest)
        return path and Resource(Body.of_file(path), "application/octet-stream", digest)


class ImageStore:
    """Every repository that is served, by name."""

    def __init__(self):
        self.repositories = collections.defaultdict(Repository)

    def add_layout(self, spec):
        name, _, directory = spec.partition("=")
        tag = None
        if not os.path.isdir(directory):
            directory, _, tag = directory.rpartition(":")
        if not name or not os.path.isdir(directory):
            raise ConfigError(f"--layout wants NAME=DIR[:TAG], got {spec!r}")
        self.repositories[name].add_layout(directory, tag)

    def find(self, request, reference=None):
        """The Resource that a manifest or blob request names, or another one of its repository."""
        repository = self.repositories.get(request.name)
        if repository is None or request.kind not in ("manifest", "blob"):
            return None
        return getattr(repository, request.kind)(reference or request.reference)

    def labels(self, request):
        repository = self.repositories.get(request.name)
        return {request.reference} | (repository.labels.get(request.reference, set())
                                      if repository else set())
