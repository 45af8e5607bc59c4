#!/usr/bin/env python3
"""Compose OCI images out of Debian packages; scripts/make-images calls this, people call that.

    compose-image.py --cache DIR list           name, state and description of every image
    compose-image.py --cache DIR build NAME...  build what is missing, print one line per image

The parts, in the order of this file: the recipes (LAYERS and IMAGES say what is made of what), the
packages (which files a layer holds, asked of apt with the machine's own configuration, as if
nothing were installed), the layers (package files to one sorted tar, gzip or zstd), the images
(config, manifest, layout), the command line.

In CACHE stands, for each finished image, NAME: an OCI image layout whose one tag is "latest"; and
beside them the folder "work" with

    debs        downloaded packages; may be deleted at any time
    blobs       layer blobs; the layouts hold hard links to them, so all are read-only
    layers      one record per built layer: its recipe, its packages, its digests
    tmp         what is being made; emptied when the next build starts

Everything appears under its final name by rename and only when it is complete. A layout or record
whose recipe has changed since counts as missing.

Packages are unpacked, their scripts do not run (but see configure()): shells, compilers and most
other programs work, what wants alternatives, users or caches set up at installation does not.

The bytes depend on the package versions, SOURCE_DATE_EPOCH, and the zlib and zstd in use; never on
the user, the clock, the umask, the directory or the number of processors.
"""

import argparse
import concurrent.futures
import dataclasses
import fcntl
import functools
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.parse
import zlib

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "1735689600"))  # 2025-01-01
FORMAT = 1  # raise it when this file gives other bytes for the same recipe

# ---------------------------------------------------------------------------------- the recipes


@dataclasses.dataclass(frozen=True)
class Layer:
    """What one layer holds. The packages of the layers below it are never repeated.

    kind: "closure"  the packages and whatever they need
          "needs"    whatever the packages need, without themselves
          "only"     the packages themselves, without what they need
          "slice"    part[0] of part[1] about equal parts of the packages and whatever they need
          "site"     generated: the files of an imaginary application, see site()
    """

    packages: tuple = ()
    below: str = ""
    kind: str = "closure"
    part: tuple = ()
    files: tuple = ()  # (path, text) pairs added to the layer


@dataclasses.dataclass(frozen=True)
class Image:
    about: str
    layers: tuple
    flavour: str = "oci"  # or "zstd" (zstd layers) or "docker" (Docker's media types)
    platform: str = ""  # OS/ARCH[/VARIANT]; empty: the machine's own
    members: tuple = ()  # an index over these images instead of an image


# Debian's essential packages and apt: what a minimal container image has.
MINIMAL = """apt base-files base-passwd bash bsdutils coreutils dash debianutils diffutils dpkg
    findutils grep gzip hostname init-system-helpers libc-bin login mount ncurses-base ncurses-bin
    perl-base sed sysvinit-utils tar usr-is-merged util-linux"""
TOOLS = "ca-certificates curl iputils-ping less netbase openssl procps tzdata xz-utils zstd"

# Each layer stands on the one before it: the first 7 make `app`, all of them `big`.
TOWER = {
    "base": MINIMAL,
    "tools": TOOLS,
    "git": "git openssh-client perl",
    "build": "gcc g++ make libssl-dev",
    "python": "python3 python3-venv python3-dev",
    "pydata": "python3-numpy python3-pandas python3-scipy python3-lxml python3-cryptography",
    "servers": "nginx-light redis-server memcached haproxy",
    "postgres": "postgresql-15",
    "java": "openjdk-17-jre-headless",
    "go": "golang-go",
    "clang": "clang-14 llvm-14",
    "office": "libreoffice-core",
    "fonts": "fonts-noto-cjk",
    "tex": "texlive-latex-base",
    "ffmpeg": "ffmpeg",
    "qemu": "qemu-system-x86",
    "r": "r-base-core",
    "debug": "gdb valgrind strace",
    "php": "php-cli ruby",
}
APP = tuple(TOWER)[:7]
MONO = tuple(TOWER)[:12]

# Eight packages a group. What any of them needs is the group's middle layer, so the image of one
# package has everything that it needs, and each image has one layer that no other has.
FLEET_BASE = "base-files base-passwd busybox-static libc6 libgcc-s1 libtinfo6 netbase zlib1g"
FLEET = {
    "editors": "ed file joe less mg nano ne tmux",
    "compress": "brotli bzip2 lz4 lzip pigz unzip zip zstd",
    "shells": "bash dash ksh93u+m mksh posh tcsh yash zsh",
    "languages": "bc bwbasic gforth lua5.4 m4 nasm ocaml-base tcl8.6",
    "python": """python3-click python3-jinja2 python3-markdown python3-psutil python3-pygments
        python3-redis python3-requests python3-yaml""",
}

# With the packages of the fleet, enough of middling size to fill 100 layers evenly.
MANY = """gdb haproxy iproute2 memcached openssh-client perl python3-cryptography python3-lxml
    redis-server rsync ruby strace tcpdump vim-tiny wget"""

# Packages for all architectures only: a foreign architecture need not be configured, and no
# platform's image holds another platform's programs. There is nothing to run in them.
MULTIARCH = {
    "linux/amd64": "ca-certificates",
    "linux/arm64/v8": "media-types netbase",
    "linux/arm/v7": "publicsuffix",
}

LAYERS = {}
IMAGES = {}


def define():
    """Fill LAYERS and IMAGES."""
    below = ""
    for name, packages in TOWER.items():
        LAYERS[name] = Layer(tuple(packages.split()), below)
        below = name
    LAYERS["site"] = Layer(kind="site")
    LAYERS["mono"] = Layer(tuple(" ".join(TOWER[name] for name in MONO).split()))
    below = ""
    for i in range(100):
        packages = tuple(" ".join((MINIMAL, TOOLS, MANY, *FLEET.values())).split())
        LAYERS[f"many-{i:02}"] = Layer(packages, below, "slice", (i, 100))
        below = f"many-{i:02}"

    IMAGES["small"] = Image("3 layers, about 30 MB", ("base", "tools", "site"))
    IMAGES["app"] = Image("8 layers, about 280 MB", (*APP, "site"))
    IMAGES["big"] = Image("20 layers, about 1 GB", (*TOWER, "site"))
    IMAGES["mono"] = Image("1 layer, about 700 MB", ("mono",))
    IMAGES["many"] = Image("100 layers, about 120 MB", tuple(f"many-{i:02}" for i in range(100)))
    for name, image in tuple(IMAGES.items()):
        IMAGES[f"{name}-zstd"] = dataclasses.replace(
            image, about=f"{name} with zstd layers", flavour="zstd")
        IMAGES[f"{name}-docker"] = dataclasses.replace(
            image, about=f"{name} as Docker schema 2, same layers", flavour="docker")

    LAYERS["multiarch-common"] = Layer(("tzdata",), kind="only")
    for platform, packages in MULTIARCH.items():
        name = "multiarch-" + platform.split("/")[1]
        LAYERS[name] = Layer(tuple(packages.split()), "multiarch-common", "only",
                             files=(("etc/platform", platform + "\n"),))
        for flavour, suffix in (("oci", ""), ("docker", "-docker")):
            IMAGES[f"{name}{suffix}"] = Image(f"the {platform} member of multiarch{suffix}",
                                              ("multiarch-common", name), flavour, platform)
    for flavour, suffix in (("oci", ""), ("docker", "-docker")):
        members = tuple(f"multiarch-{p.split('/')[1]}{suffix}" for p in MULTIARCH)
        IMAGES[f"multiarch{suffix}"] = Image(
            "index of " + ", ".join(MULTIARCH) + (" as a Docker list" if suffix else ""),
            (), flavour, members=members)

    LAYERS["fleet-base"] = Layer(tuple(FLEET_BASE.split()))
    number = 0
    for group, packages in FLEET.items():
        LAYERS[f"fleet-{group}"] = Layer(tuple(packages.split()), "fleet-base", "needs")
        for package in packages.split():
            own = f"fleet-{number:02}"
            LAYERS[own] = Layer((package,), f"fleet-{group}", "only")
            IMAGES[f"fleet/{number:02}"] = Image(
                f"3 layers, {package}", ("fleet-base", f"fleet-{group}", own))
            number += 1


def chain(name):
    """The layer and all below it, lowest first."""
    layer = LAYERS[name]
    return (chain(layer.below) if layer.below else ()) + (name,)


def recipe_of(*parts):
    """A short name for everything that the bytes of a layer or image are made from."""
    text = json.dumps([FORMAT, EPOCH, machine_platform(), *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def layer_recipe(name):
    return recipe_of([dataclasses.astuple(LAYERS[below]) for below in chain(name)])


def image_recipe(image):
    return recipe_of([layer_recipe(name) for name in image.layers], image.flavour, image.platform,
                     [image_recipe(IMAGES[name]) for name in image.members])


@functools.cache
def machine_platform():
    """The platform of the packages that apt gives, as OCI spells it."""
    arch = run(["dpkg", "--print-architecture"]).strip()
    known = {"armhf": "arm/v7", "armel": "arm/v5", "i386": "386", "arm64": "arm64/v8",
             "mips64el": "mips64le", "ppc64el": "ppc64le"}
    return "linux/" + known.get(arch, arch)


# --------------------------------------------------------------------------------- the packages


class Failure(Exception):
    """Something that the person at the keyboard can read and act on."""

    status = 1


class Misuse(Failure):
    status = 2


def say(text):
    print(f"make-images: {text}", file=sys.stderr, flush=True)


def run(argv, **options):
    """The standard output of a program that has to succeed."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, **options)
    if done.returncode != 0:
        raise Failure(f"{argv[0]} failed with status {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def package_of(deb):
    return deb.split("_")[0]


class Apt:
    """The machine's apt, looking at an empty system and writing nothing outside the cache.

    A package is known here by its file name, NAME_VERSION_ARCH.deb with ":" as "%3a".
    """

    def __init__(self, work):
        self.debs = f"{work}/debs"
        self.tmp = f"{work}/tmp/debs"
        state = f"{work}/apt"
        os.makedirs(self.debs, exist_ok=True)
        os.makedirs(f"{state}/archives/partial", exist_ok=True)
        with open(f"{state}/status", "w", encoding="ascii"):
            pass
        self.options = ["-qq", "--no-install-recommends"]
        for option in (f"Dir::State::status={state}/status", f"Dir::Cache={state}",
                       f"Dir::State::extended_states={state}/extended_states",
                       "Debug::NoLocking=1", "APT::Sandbox::User="):
            self.options += ["-o", option]

    def list(self, verb, packages):
        """The files that `apt-get VERB PACKAGES` would fetch, as (file, bytes), in apt's order."""
        try:
            text = run(["apt-get", *self.options, "--yes", "--print-uris", verb, *packages],
                       env={**os.environ, "LC_ALL": "C.UTF-8"})
        except Failure as failure:
            raise Failure(f"{failure}\nThe recipes are written for Debian 12, with package lists "
                          "fetched by `apt-get update`.") from None
        found = [line.split() for line in text.splitlines() if line.startswith("'")]
        return [(fields[1], int(fields[2])) for fields in found]

    def fetch(self, debs):
        """Download what is not there yet; apt compares each file with the signed lists."""
        missing = [deb for deb in sorted(set(debs)) if not os.path.exists(f"{self.debs}/{deb}")]
        if not missing:
            return
        say(f"downloading {len(missing)} packages")
        os.makedirs(self.tmp)
        wanted = []
        for deb in missing:
            name, version, _ = deb.split("_")
            wanted.append(f"{name}={urllib.parse.unquote(version)}")
        run(["apt-get", *self.options, "download", *wanted], cwd=self.tmp)
        for deb in missing:
            os.rename(f"{self.tmp}/{deb}", f"{self.debs}/{deb}")


class Plan:
    """Which packages each layer holds. Built layers keep theirs, whatever apt offers by now."""

    def __init__(self, apt, store, layers):
        self.store = store
        self.sizes = {}
        self.debs = {}
        todo = [name for name in layers if not store.layer(name)]
        # apt takes most of a second to start: ask for all single packages in one run, and for
        # the closures in parallel.
        singles = sorted({p for name in todo if LAYERS[name].kind == "only"
                          for p in LAYERS[name].packages})
        self.single = {package_of(deb): deb
                       for deb, size in (apt.list("download", singles) if singles else ())}
        asked = {self.seeds(name) for name in todo if LAYERS[name].kind in
                 ("closure", "needs", "slice")}
        with concurrent.futures.ThreadPoolExecutor(processors()) as pool:
            answers = pool.map(lambda seeds: (seeds, apt.list("install", seeds)), asked)
            self.closures = dict(answers)
        for name in todo:
            self.of(name)

    @staticmethod
    def seeds(name):
        return tuple(sorted({p for below in chain(name) for p in LAYERS[below].packages}))

    def of(self, name):
        if name not in self.debs:
            record = self.store.layer(name)
            self.debs[name] = record["debs"] if record else self.choose(name)
        return self.debs[name]

    def choose(self, name):
        layer = LAYERS[name]
        if layer.kind == "site":
            return []
        if layer.kind == "only":
            return [self.single[package] for package in layer.packages]
        closure = self.closures[self.seeds(name)]
        if layer.kind == "slice":
            return cut(closure, layer.part[1])[layer.part[0]]
        have = {package_of(deb) for below in chain(name)[:-1] for deb in self.of(below)}
        if layer.kind == "needs":
            have.update(layer.packages)
        return [deb for deb, size in closure if package_of(deb) not in have]


def cut(closure, count):
    """Share (file, bytes) pairs out among `count` layers of about equal size."""
    if len(closure) < count:
        raise Failure(f"{len(closure)} packages do not make {count} layers")
    parts = [[] for _ in range(count)]
    sizes = [0] * count
    for deb, size in sorted(closure, key=lambda pair: (-pair[1], pair[0])):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(deb)
        sizes[smallest] += size
    return parts


# ----------------------------------------------------------------------------------- the layers

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr since Debian 12


def path_of(member_name):
    """Where a package's "./lib/x" ends up in an image; "" for the root directory."""
    path = os.path.normpath(member_name)
    if path == ".":
        return ""
    return f"usr/{path}" if path.split("/")[0] in MERGED else path


def is_left_out(path):
    """The documentation and translations that Debian's slim images leave out; licences stay."""
    if path.startswith("usr/share/doc/"):
        return path.count("/") > 3 or (path.count("/") == 3 and not path.endswith("/copyright"))
    return path.startswith(("usr/share/man/", "usr/share/info/", "usr/share/locale/",
                            "usr/share/lintian/", "usr/share/groff/"))


class Tree:
    """The files of a layer to be: path -> (TarInfo, where the content starts in the spool).

    All content lies in one spool file; two paths with one start are hard links of each other.
    """

    def __init__(self, spool):
        self.spool = spool
        self.entries = {}

    def add_deb(self, deb):
        """Add a package as `dpkg -x` would unpack it, without needing root for it."""
        start = self.spool.seek(0, os.SEEK_END)
        subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=self.spool, check=True,
                       stdin=subprocess.DEVNULL)
        self.spool.seek(start)
        content = {}
        with tarfile.open(fileobj=self.spool, mode="r:") as tar:
            for member in tar:
                path = path_of(member.name)
                offset = member.offset_data
                if member.islnk():
                    member.size, offset = content[path_of(member.linkname)]
                    member.type, member.linkname = tarfile.REGTYPE, ""
                if member.isreg():
                    content[path] = (member.size, offset)
                if path and not is_left_out(path):
                    self.put(path, offset, type=member.type, mode=member.mode, uid=member.uid,
                             gid=member.gid, size=member.size, linkname=member.linkname,
                             mtime=min(int(member.mtime), EPOCH))
        control = run(["dpkg-deb", "--field", deb])
        package = package_of(os.path.basename(deb))
        self.add_file(f"var/lib/dpkg/status.d/{package}", control)
        self.configure(package)

    def configure(self, package):
        """Do what a package's own script would do at installation, where an image needs it."""
        if package == "base-files":
            for name in MERGED:
                if name not in ("lib32", "libx32"):
                    self.add_link(name, f"usr/{name}")
        elif package == "base-passwd":
            for name in ("passwd", "group"):
                info, offset = self.entries[f"usr/share/base-passwd/{name}.master"]
                self.add_file(f"etc/{name}", self.read(info, offset))
        elif package == "busybox-static":
            self.add_link("usr/bin/sh", "busybox")
        elif package == "iputils-ping":
            # A version 2 file capability (linux/capability.h): CAP_NET_RAW, permitted, effective.
            info, _ = self.entries["usr/bin/ping"]
            info.pax_headers["SCHILY.xattr.security.capability"] = (
                "\x01\0\0\x02" "\0\x20\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0")

    def read(self, info, offset):
        self.spool.seek(offset)
        return self.spool.read(info.size)

    def put(self, path, offset, **fields):
        info = tarfile.TarInfo(path)
        for field, value in fields.items():
            setattr(info, field, value)
        self.entries[path] = (info, offset)

    def add_file(self, path, content, mode=0o644, owner=0):
        content = content if isinstance(content, bytes) else content.encode()
        offset = self.spool.seek(0, os.SEEK_END)
        self.spool.write(content + b"\0")  # so that two empty files do not share one place
        self.put(path, offset, mode=mode, uid=owner, gid=owner, size=len(content), mtime=EPOCH)

    def add_link(self, path, target):
        self.put(path, None, type=tarfile.SYMTYPE, linkname=target, mode=0o777, mtime=EPOCH)

    def add_hardlink(self, path, target):
        info, offset = self.entries[target]
        self.put(path, offset, mode=info.mode, uid=info.uid, gid=info.gid, size=info.size,
                 mtime=info.mtime)

    def add_dir(self, path, mode=0o755, owner=0):
        self.put(path, None, type=tarfile.DIRTYPE, mode=mode, uid=owner, gid=owner, mtime=EPOCH)

    def write(self, out):
        """Write the tar to a file-like object, in the order of a walk through the tree."""
        for path in tuple(self.entries):
            while path := os.path.dirname(path):
                if path not in self.entries:
                    self.add_dir(path)
        written = {}
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT,
                          bufsize=1 << 20) as tar:
            for path in sorted(self.entries, key=lambda path: path.split("/")):
                info, offset = self.entries[path]
                if info.isreg() and offset in written:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, written[offset], 0
                    info.pax_headers = {}
                if info.isreg():
                    written[offset] = path
                    self.spool.seek(offset)
                tar.addfile(info, self.spool if info.isreg() else None)


def site(tree):
    """The last layer of an image as `COPY . /srv/app` and a clean-up make it: many small files,
    another owner, links, names that need pax headers, whiteouts and an opaque directory."""
    app, user = "srv/app", 1000
    for path in (app, f"{app}/static", f"{app}/empty"):
        tree.add_dir(path, owner=user)
    for i in range(400):
        line = f"export const chunk{i} = {i};\n"
        tree.add_file(f"{app}/static/chunk-{i}.js", line * (i % 37 + 1), owner=user)
    tree.add_file(f"{app}/main.sh", "#!/bin/sh\necho hello from dray\n", 0o755, user)
    tree.add_hardlink(f"{app}/start.sh", f"{app}/main.sh")
    tree.add_link("usr/local/bin/app", "../../../srv/app/main.sh")
    tree.add_file("etc/app.conf", "listen=127.0.0.1:8080\n", 0o640)
    tree.add_file(f"{app}/EMPTY", "", owner=user)
    tree.add_file(f"{app}/static/na\u00efve-\u540d\u524d.txt", "a name in UTF-8\n", owner=user)
    long = "a-long-directory-name-" * 5
    tree.add_file(f"{app}/{long}/{long}/deep.txt", "a path longer than 100 bytes\n", owner=user)
    tree.add_dir("var/tmp", 0o1777)
    tree.add_file("usr/share/doc/.wh.curl", "")  # removes a directory of `tools`
    tree.add_file("etc/skel/.wh..wh..opq", "")  # hides what `base` has in there
    tree.add_file("etc/skel/.profile", "# the only file left\n")


class Sink:
    """Takes a tar, hashes it, compresses it into a file and hashes that too."""

    def __init__(self, out):
        self.out = out
        self.diff_id = hashlib.sha256()
        self.digest = hashlib.sha256()
        self.size = 0
        self.tar_size = 0
        self.gzip = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: a gzip header, no name, no time

    def write(self, data):
        self.diff_id.update(data)
        self.tar_size += len(data)
        self.emit(self.gzip.compress(data))

    def close(self):
        self.emit(self.gzip.flush())

    def emit(self, data):
        self.digest.update(data)
        self.size += len(data)
        self.out.write(data)


def load_json(path):
    """What a JSON file holds; nothing if it is not there or a crash left it torn."""
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except (FileNotFoundError, ValueError):
        return {}


class Store:
    """The cache directory."""

    def __init__(self, cache):
        self.cache = os.path.abspath(cache)
        self.work = f"{self.cache}/work"

    def lock(self):
        """One build at a time; the kernel drops the lock with the process."""
        os.makedirs(self.work, exist_ok=True)
        self.lock_file = open(f"{self.work}/lock", "w", encoding="ascii")
        try:
            fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build in this cache")
            fcntl.flock(self.lock_file, fcntl.LOCK_EX)
        self.clean()
        for name in ("blobs", "layers", "tmp"):
            os.makedirs(f"{self.work}/{name}", exist_ok=True)
        self.prune()

    def prune(self):
        """Drop the layers of older recipes; layouts made of them keep their own links."""
        keep = set()
        for file in os.listdir(f"{self.work}/layers"):
            name = file.removesuffix(".json")
            record = self.layer(name) if name in LAYERS else None
            if record:
                keep.update(record[form]["digest"] for form in ("gzip", "zstd") if form in record)
            else:
                os.unlink(f"{self.work}/layers/{file}")
        for file in os.listdir(f"{self.work}/blobs"):
            if f"sha256:{file}" not in keep:
                os.unlink(f"{self.work}/blobs/{file}")

    def clean(self):
        shutil.rmtree(f"{self.work}/tmp", ignore_errors=True)

    def blob(self, digest):
        return f"{self.work}/blobs/{digest.partition(':')[2]}"

    def keep(self, tmp, digest):
        os.chmod(tmp, 0o444)
        os.rename(tmp, self.blob(digest))

    def layer(self, name):
        """The record of a built layer, or None."""
        record = load_json(f"{self.work}/layers/{name}.json")
        current = record.get("recipe") == layer_recipe(name) and self.has(record["gzip"])
        return record if current else None

    def has(self, blob):
        path = self.blob(blob["digest"])
        return os.path.exists(path) and os.path.getsize(path) == blob["size"]

    def keep_layer(self, name, record):
        tmp = f"{self.work}/tmp/{name}.json"
        with open(tmp, "w", encoding="utf-8") as f:
            json.dump(record, f, indent=1)
        os.rename(tmp, f"{self.work}/layers/{name}.json")

    def image(self, name):
        """The index.json of a finished image, or None."""
        index = load_json(f"{self.cache}/{name}/index.json")
        current = index.get("annotations", {}).get(RECIPE) == image_recipe(IMAGES[name])
        return index if current else None


def build_layer(store, apt, name, debs):
    spool_path, blob_path = f"{store.work}/tmp/{name}.spool", f"{store.work}/tmp/{name}.gz"
    with open(spool_path, "w+b") as spool, open(blob_path, "wb") as blob:
        tree = Tree(spool)
        for deb in sorted(debs):
            tree.add_deb(f"{apt.debs}/{deb}")
        for path, text in LAYERS[name].files:
            tree.add_file(path, text)
        if LAYERS[name].kind == "site":
            site(tree)
        sink = Sink(blob)
        tree.write(sink)
        sink.close()
    os.unlink(spool_path)
    digest = f"sha256:{sink.digest.hexdigest()}"
    store.keep(blob_path, digest)
    store.keep_layer(name, {
        "recipe": layer_recipe(name), "debs": debs, "entries": len(tree.entries),
        "diff_id": f"sha256:{sink.diff_id.hexdigest()}", "tar_size": sink.tar_size,
        "gzip": {"digest": digest, "size": sink.size}})
    say(f"layer {name}: {len(debs)} packages, {len(tree.entries)} entries, "
        f"{sink.tar_size / 1e6:.1f} MB, gzip {sink.size / 1e6:.1f} MB")


def add_zstd(store, name):
    """Give a built layer a zstd form of the same tar."""
    record = store.layer(name)
    if "zstd" in record and store.has(record["zstd"]):
        return
    tmp = f"{store.work}/tmp/{name}.zst"
    with open(tmp, "wb") as out, gzip.open(store.blob(record["gzip"]["digest"])) as tar:
        zstd = subprocess.Popen(["zstd", "-q", "-3", "--single-thread", "-c"],
                                stdin=subprocess.PIPE, stdout=out)
        with zstd.stdin:
            shutil.copyfileobj(tar, zstd.stdin, 1 << 20)
        if zstd.wait() != 0:
            raise Failure(f"zstd failed with status {zstd.returncode}")
    with open(tmp, "rb") as f:
        digest = hashlib.sha256()
        while data := f.read(1 << 20):
            digest.update(data)
    digest = f"sha256:{digest.hexdigest()}"
    record["zstd"] = {"digest": digest, "size": os.path.getsize(tmp)}
    store.keep(tmp, digest)
    store.keep_layer(name, record)
    say(f"layer {name}: zstd {record['zstd']['size'] / 1e6:.1f} MB")


# ----------------------------------------------------------------------------------- the images

RECIPE = "dray.make-images.recipe"  # annotation of index.json
REF_NAME = "org.opencontainers.image.ref.name"
OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
TYPES = {  # flavour: index, manifest, config, layer
    "oci": (OCI + "index.v1+json", OCI + "manifest.v1+json", OCI + "config.v1+json",
            OCI + "layer.v1.tar+gzip"),
    "zstd": (OCI + "index.v1+json", OCI + "manifest.v1+json", OCI + "config.v1+json",
             OCI + "layer.v1.tar+zstd"),
    "docker": (DOCKER + "distribution.manifest.list.v2+json",
               DOCKER + "distribution.manifest.v2+json", DOCKER + "container.image.v1+json",
               DOCKER + "image.rootfs.diff.tar.gzip"),
}


class Layout:
    """An OCI image layout in the making."""

    def __init__(self, path):
        self.path = path
        os.makedirs(f"{path}/blobs/sha256")

    def write(self, name, content):
        with open(f"{self.path}/{name}", "wb") as f:
            f.write(content)
        os.chmod(f.name, 0o444)

    def add_json(self, media_type, value):
        """Add a blob, return its descriptor."""
        content = json.dumps(value, separators=(",", ":")).encode()
        digest = hashlib.sha256(content).hexdigest()
        self.write(f"blobs/sha256/{digest}", content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_link(self, blob):
        target = f"{self.path}/blobs/sha256/{os.path.basename(blob)}"
        if not os.path.exists(target):
            os.link(blob, target)


def split_platform(platform):
    system, arch, variant = (platform.split("/") + [""])[:3]
    fields = {"architecture": arch, "os": system}
    return {**fields, "variant": variant} if variant else fields


def add_image(store, layout, name):
    """Add an image's blobs to a layout, return the manifest's descriptor."""
    image = IMAGES[name]
    _, manifest_type, config_type, layer_type = TYPES[image.flavour]
    records = [store.layer(layer) for layer in image.layers]
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
    history = [{"created": created, "created_by": f"make-images layer {layer}"}
               for layer in image.layers]
    history.append({"created": created, "created_by": 'CMD ["/bin/sh"]', "empty_layer": True})
    config = layout.add_json(config_type, {
        "created": created, **split_platform(image.platform or machine_platform()),
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG=C.UTF-8"],
            "Cmd": ["/bin/sh"], "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": name}},
        "rootfs": {"type": "layers", "diff_ids": [record["diff_id"] for record in records]},
        "history": history})
    layers = []
    for record in records:
        blob = record["zstd" if image.flavour == "zstd" else "gzip"]
        layout.add_link(store.blob(blob["digest"]))
        layers.append({"mediaType": layer_type, **blob})
    return layout.add_json(manifest_type, {"schemaVersion": 2, "mediaType": manifest_type,
                                           "config": config, "layers": layers})


def build_image(store, name):
    """Write the layout aside, then put it in place."""
    image = IMAGES[name]
    tmp, final = f"{store.work}/tmp/image", f"{store.cache}/{name}"
    layout = Layout(tmp)
    if image.members:
        index_type = TYPES[image.flavour][0]
        members = [{**add_image(store, layout, member),
                    "platform": split_platform(IMAGES[member].platform)}
                   for member in image.members]
        top = layout.add_json(index_type, {"schemaVersion": 2, "mediaType": index_type,
                                           "manifests": members})
    else:
        top = add_image(store, layout, name)
    layout.write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}\n')
    layout.write("index.json", json.dumps({
        "schemaVersion": 2, "mediaType": TYPES["oci"][0],
        "manifests": [{**top, "annotations": {REF_NAME: "latest"}}],
        "annotations": {RECIPE: image_recipe(image)}}, indent=1).encode() + b"\n")
    if os.path.exists(final):  # of an older recipe
        os.rename(final, f"{store.work}/tmp/old")
        shutil.rmtree(f"{store.work}/tmp/old")
    os.makedirs(os.path.dirname(final), exist_ok=True)
    os.rename(tmp, final)


def build(store, names):
    wanted = [name for name in names if not store.image(name)]
    if not wanted:
        return
    store.lock()
    wanted = [name for name in wanted if not store.image(name)]  # another build may have been here
    images = [IMAGES[member] for name in wanted for member in (IMAGES[name].members or (name,))]
    layers = sorted({name for image in images for layer in image.layers for name in chain(layer)})
    zstd = sorted({layer for image in images if image.flavour == "zstd" for layer in image.layers})
    try:
        apt = Apt(store.work)
        plan = Plan(apt, store, layers)
        todo = {name: debs for name, debs in plan.debs.items() if not store.layer(name)}
        apt.fetch(deb for debs in todo.values() for deb in debs)
        # The largest first, so that no processor is left with it at the end.
        order = sorted(todo, reverse=True, key=lambda name: sum(
            os.path.getsize(f"{apt.debs}/{deb}") for deb in todo[name]))
        in_parallel(lambda name: build_layer(store, apt, name, todo[name]), order)
        in_parallel(lambda name: add_zstd(store, name), zstd)
        for name in wanted:
            build_image(store, name)
    finally:
        store.clean()


def processors():
    return len(os.sched_getaffinity(0))


def in_parallel(work, items):
    """Threads do: zlib, hashlib and other programs run outside Python's lock."""
    pool = concurrent.futures.ThreadPoolExecutor(processors())
    try:
        for done in concurrent.futures.as_completed([pool.submit(work, i) for i in items]):
            done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


# ----------------------------------------------------------------------------- the command line


def expand(names):
    """The images that the arguments stand for, each once."""
    found = {}
    for name in names:
        if name == "fleet":
            found.update((image, None) for image in IMAGES if image.startswith("fleet/"))
        elif name in IMAGES:
            found[name] = None
        else:
            raise Misuse(f"no image is called {name!r}; --list shows them all")
    return list(found)


def describe(store, name):
    """NAME LAYERS BYTES DIGEST, where an index counts every blob of its members once."""
    path = f"{store.cache}/{name}/blobs/sha256"
    top = store.image(name)["manifests"][0]

    def load(descriptor):
        return load_json(f"{path}/{descriptor['digest'].partition(':')[2]}")

    manifests = [load(m) for m in load(top).get("manifests", [top])]
    layers = {layer["digest"]: layer["size"] for m in manifests for layer in m["layers"]}
    return f"{name} {len(layers)} {sum(layers.values())} {top['digest']}"


def main():
    parser = argparse.ArgumentParser(description="the part of make-images that composes images")
    parser.add_argument("--cache", required=True)
    parser.add_argument("verb", choices=("list", "build"))
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    define()
    store = Store(args.cache)
    names = expand(args.names)
    if args.verb == "list":
        for name, image in IMAGES.items():
            print(f"{name:22} {'built' if store.image(name) else '-':6} {image.about}")
    else:
        build(store, names)
        for name in names:
            print(describe(store, name))


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        say(failure)
        status = getattr(failure, "status", 1)
    except KeyboardInterrupt:
        status = 130
    else:
        status = 0
    sys.stdout.flush()
    os._exit(status)  # after a failure, without waiting for the layers that others still make
