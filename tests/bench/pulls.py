"""What the benchmarks share: images, a server for them, tools that pull them, and one pull."""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PARALLEL = 8  # blobs at once, for every tool that can be told

NGINX_CONF = """
daemon off;
worker_processes 2;
pid "{work}/nginx.pid";
error_log "{work}/error.log";
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path "{work}/tmp"; proxy_temp_path "{work}/tmp"; fastcgi_temp_path "{work}/tmp";
    uwsgi_temp_path "{work}/tmp"; scgi_temp_path "{work}/tmp";
    sendfile on; tcp_nopush on; keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{port};
        limit_rate {rate};
        location = /v2/ {{ default_type application/json; return 200 "{{}}"; }}
{locations}
    }}
}}
"""

IMAGE_LOCATIONS = """
        location ~ "^/v2/{name}/blobs/sha256:(?<hex_{tag}>[0-9a-f]+)$" {{
            default_type application/octet-stream;
            alias "{layout}/blobs/sha256/$hex_{tag}";
        }}
        location ~ "^/v2/{name}/manifests/(latest|{digest})$" {{
            default_type "{media_type}";
            add_header Docker-Content-Digest "{digest}";
            alias "{layout}/blobs/sha256/{hex}";
        }}
"""


class Image:
    """An image in an OCI layout: what curl has to be told, and nginx to serve."""

    def __init__(self, name, cache):
        self.name = name
        self.layout = os.path.join(cache, name)
        try:
            with open(os.path.join(self.layout, "index.json")) as file:
                root = json.load(file)["manifests"][0]
        except OSError:
            sys.exit(f"{name}: not in {cache}; make it with scripts/make-images {name}")
        self.digest = root["digest"]
        self.media_type = root["mediaType"]
        with open(self.blob_path(self.digest)) as file:
            manifest = json.load(file)
        blobs = {b["digest"]: b["size"] for b in manifest["layers"] + [manifest["config"]]}
        self.blobs = list(blobs)
        self.largest = max(blobs.items(), key=lambda blob: blob[1])  # digest, size
        self.size = sum(blobs.values())
        self.layers = len(manifest["layers"])

    def blob_path(self, digest):
        return os.path.join(self.layout, "blobs", *digest.split(":"))


class Server:
    """nginx, serving the images on a free port of loopback for as long as the `with` lasts. rate
    caps each connection, in bytes per second; 0 does not."""

    def __init__(self, images, work, rate=0):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        locations = "".join(
            IMAGE_LOCATIONS.format(
                name=image.name, tag=re.sub(r"\W", "_", image.name), layout=image.layout,
                digest=image.digest, hex=image.digest.split(":")[1], media_type=image.media_type)
            for image in images)
        os.makedirs(f"{work}/tmp", exist_ok=True)
        self.conf = f"{work}/nginx.conf"
        with open(self.conf, "w") as file:
            file.write(NGINX_CONF.format(work=work, port=self.port, rate=rate, locations=locations))
        self.host = f"127.0.0.1:{self.port}"
        self.work = work

    def __enter__(self):
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen([nginx, "-e", f"{self.work}/error.log", "-c", self.conf, *user])
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        sys.exit("nginx did not start: " + open(f"{self.work}/error.log").read())

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


def curl(image, host, out):
    command = ["curl", "-sSf", "-Z", "--parallel-max", str(PARALLEL)]
    for number, digest in enumerate(image.blobs):
        command += ["-o", f"{out}/{number}", f"http://{host}/v2/{image.name}/blobs/{digest}"]
    return command


def curl_and_sha256(image, host, out):
    files = [f"{out}/{number}" for number in range(len(image.blobs))]
    return ["sh", "-c", '"$@" && exec openssl dgst -sha256 "$OUT"/* >/dev/null', "sh",
            *curl(image, host, out)], {"OUT": out}


def skopeo(image, host, out):
    return ["skopeo", "copy", "-q", "--src-tls-verify=false",
            f"docker://{host}/{image.name}:latest", f"oci:{out}/store:latest"]


# Apart from the stores, for podman refuses a path of more than 50 characters.
PODMAN_RUN = tempfile.TemporaryDirectory(prefix="dray-bench-", dir="/tmp")


def podman(image, host, out):
    runroot = tempfile.mkdtemp(dir=PODMAN_RUN.name)
    return ["podman", "--root", f"{out}/root", "--runroot", runroot,
            "pull", "-q", "--tls-verify=false", f"{host}/{image.name}:latest"]


def option_parser(description):
    """What all benchmarks can be told."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("-n", "--runs", type=int, default=5, help="counted runs of each (default: 5)")
    parser.add_argument("--dray", default=None, help="the dray to measure (default: build/release)")
    parser.add_argument("--dir", type=os.path.abspath, default=os.curdir,
                        help="where stores are made (default: here)")
    parser.add_argument("--cache", default=None, help="where scripts/make-images keeps its images")
    parser.add_argument("--only", default=None, help="these peers alone, comma-separated")
    return parser


def tool_table(dray, only=None):
    """name -> command maker, of the tools that are here and, but for the floor and dray, wanted"""

    def dray_pull(image, host, out):
        return [dray, "pull", "--quiet", "--jobs", str(PARALLEL), "--plain-http",
                "--store", f"{out}/store", f"{host}/{image.name}:latest"]

    def crane(image, host, out):
        return ["crane", "pull", "--insecure", "--format", "oci", f"{host}/{image.name}:latest",
                f"{out}/store"]

    def oras(image, host, out):
        return ["oras", "copy", "--from-plain-http", "--to-oci-layout",
                "--concurrency", str(PARALLEL), f"{host}/{image.name}:latest", f"{out}/store:latest"]

    def ctr(image, host, out):
        return ["ctr", "-n", "dray-bench", "content", "fetch", "--plain-http",
                f"{host}/{image.name}:latest"]

    table = {
        "curl -Z": (curl, "curl"),
        "curl -Z then sha256": (curl_and_sha256, "openssl"),
        "dray": (dray_pull, dray),
        "skopeo": (skopeo, "skopeo"),
        "crane": (crane, "crane"),
        "oras": (oras, "oras"),
        "podman (unpacks too)": (podman, "podman"),
    }
    # ctr alone does nothing: it asks a daemon, whose CPU and memory no one sees here.
    if os.path.exists("/run/containerd/containerd.sock"):
        table["ctr (wall only)"] = (ctr, "ctr")
    wanted = ["curl -Z", "dray", *(only.split(",") if only else table)]
    return {name: make for name, (make, needs) in table.items() if name in wanted and shutil.which(needs)}


def run(make, image, host, base):
    """One pull into an empty directory: (wall, cpu, MiB)."""
    out = tempfile.mkdtemp(dir=base)
    command = make(image, host, out)
    env = dict(os.environ)
    if isinstance(command, tuple):
        command, extra = command
        env.update(extra)
    subprocess.run(["sync", "-f", base], check=True)
    with tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        subprocess.run(["sync", "-f", out], check=True)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            sys.exit(f"{' '.join(command[:3])}...: exit {process.returncode}\n{log.read().decode()}")
    shutil.rmtree(out)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def find_dray(path):
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    dray = os.path.abspath(path or os.path.join(top, "build", "release", "cmd", "dray"))
    if not shutil.which(dray):
        sys.exit(f"{dray}: not there; build it with cmake --workflow --preset release")
    return dray


def find_cache(path):
    return path or os.environ.get("DRAY_IMAGES") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dray-images")


def versions(dray):
    lines = []
    for command in ([dray, "version"], ["curl", "--version"], ["skopeo", "--version"],
                    ["crane", "version"], ["oras", "version"], ["podman", "--version"]):
        if shutil.which(command[0]):
            out = subprocess.run(command, capture_output=True, text=True).stdout
            words = out.splitlines()[0].split() if out else []
            lines.append(" ".join(words[:3]))
    return "; ".join(lines)
