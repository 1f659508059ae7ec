#!/usr/bin/env python3
"""Bring the shared libraries that the programs open at run time into .deps/, without root.

    python3 scripts/deps.py [--dir .deps] [NAME...]

Without names: what every machine can use. The group cuda (name it, or one of its members) is for NVIDIA GPUs: a machine that
trains on one needs cuda-nvrtc and cuda-cublas; cuda-ptxas, cuda-runtime, cuda-crt and cuda-driver serve the tests. The group
teacher-gpu, with cuda-nvrtc and cuda-cublas, is for running a teacher on an NVIDIA GPU (`make deps-gpu`).

Wheels are pinned by version and SHA-256 and fetched with pip, which any CPython 3.8+ on linux/amd64 can do: the wheel's
own Python tag does not matter, since only its shared libraries are used. libturbojpeg comes from the Debian or Ubuntu
archive, whose signed index vouches for it; without apt the programs fall back to Go's JPEG decoder. What is already
there is left alone, so a second run takes no time. Standard library only.
"""

import argparse
import ctypes
import fcntl
import fnmatch
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path

WHEELS = {
    "onnxruntime-openvino": {
        "about": "onnxruntime 1.24.1 with its CPU and OpenVINO 2025.4.1 providers",
        "requirement": "onnxruntime-openvino==1.24.1",
        "sha256": "3007c803634cc69c6d52af1dea7ce729d9bb62b9a11070fd2f959119199007a8",
        "python": "3.11",
        "platform": "manylinux_2_28_x86_64",
        "from": "onnxruntime/capi/",
        "to": "",
        "without": ("onnxruntime_pybind11_state", "libopenvino_intel_gpu_plugin", "libopenvino_intel_npu_plugin"),
    },
    "onednn": {
        "about": "oneDNN 3.2 on GNU OpenMP",
        "requirement": "onednn-cpu-gomp==2023.2.0",
        "sha256": "2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb",
        "python": "3.11",
        "platform": "manylinux1_x86_64",
        "from": "onednn_cpu_gomp-2023.2.0.data/data/lib/",
        "to": "lib/",
        "without": (),
    },
    "cuda-nvrtc": {
        "about": "NVRTC 13.0, which compiles the CUDA kernels at first use (90 MB)",
        "requirement": "nvidia-cuda-nvrtc==13.0.88",
        "sha256": "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        "python": "3.11",
        "platform": "manylinux2010_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("lib/libnvrtc.so*", "lib/libnvrtc-builtins.so*", "include/nvrtc.h"),
        "group": "cuda",
    },
    "cuda-cublas": {
        "about": "cuBLASLt 13.1, matrix products on the GPU (420 MB)",
        "requirement": "nvidia-cublas==13.1.1.3",
        "sha256": "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
        "python": "3.11",
        "platform": "manylinux_2_27_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("lib/libcublasLt.so*", "include/cublas*.h"),
        "group": "cuda",
    },
    "cuda-ptxas": {
        "about": "ptxas 13.0, which tells the kernels' registers and spills (37 MB)",
        "requirement": "nvidia-cuda-nvcc==13.0.88",
        "sha256": "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
        "python": "3.11",
        "platform": "manylinux2014_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("bin/ptxas",),
        "group": "cuda",
    },
    "cuda-runtime": {
        "about": "the headers of CUDA 13.0, to check declarations against (2 MB)",
        "requirement": "nvidia-cuda-runtime==13.0.96",
        "sha256": "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        "python": "3.11",
        "platform": "manylinux2014_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("include/*",),
        "group": "cuda",
    },
    "cuda-crt": {
        "about": "the headers of CUDA 13.0's compiler (0.1 MB)",
        "requirement": "nvidia-cuda-crt==13.0.88",
        "sha256": "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
        "python": "3.11",
        "platform": "manylinux2014_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("include/*",),
        "group": "cuda",
    },
    "onnxruntime-gpu": {
        "about": "onnxruntime 1.31.1 with its CUDA 13 and TensorRT providers (260 MB)",
        "requirement": "onnxruntime-gpu==1.31.1",
        "sha256": "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
        "python": "3.11",
        "platform": "manylinux_2_28_x86_64",
        "from": "onnxruntime/capi/",
        "keep": ("libonnxruntime*.so*",),
        "group": "teacher-gpu",
    },
    "cuda-cudart": {
        "about": "the CUDA 13.0 runtime (2 MB)",
        "requirement": "nvidia-cuda-runtime==13.0.96",
        "sha256": "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        "python": "3.11",
        "platform": "manylinux2014_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("lib/libcudart.so*",),
        "group": "teacher-gpu",
    },
    "cuda-blas": {
        "about": "cuBLAS 13.1 itself, from the wheel of cuda-cublas (420 MB)",
        "requirement": "nvidia-cublas==13.1.1.3",
        "sha256": "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
        "python": "3.11",
        "platform": "manylinux_2_27_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("lib/libcublas.so*",),
        "group": "teacher-gpu",
    },
    "cuda-curand": {
        "about": "cuRAND 10.4 (60 MB)",
        "requirement": "nvidia-curand==10.4.0.35",
        "sha256": "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        "python": "3.11",
        "platform": "manylinux_2_27_x86_64",
        "from": "nvidia/cu13/",
        "keep": ("lib/libcurand.so*",),
        "group": "teacher-gpu",
    },
    "cuda-cudnn": {
        "about": "cuDNN 9.20 for CUDA 13 (370 MB)",
        "requirement": "nvidia-cudnn-cu13==9.20.0.48",
        "sha256": "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
        "python": "3.11",
        "platform": "manylinux_2_27_x86_64",
        "from": "nvidia/cudnn/",
        "keep": ("lib/libcudnn*.so*",),
        "group": "teacher-gpu",
    },
}
DEBS = {
    "cuda-driver": {
        "about": "the driver's library of release 535, to check symbols against; it is never loaded (29 MB)",
        "file": "pool/non-free/n/nvidia-graphics-drivers/libcuda1_535.261.03-1_amd64.deb",
        "mirrors": ("http://deb.debian.org/debian/", "https://snapshot.debian.org/archive/debian/20260101T000000Z/"),
        "sha256": "de1e9ca34164a5983b3f752e6699cf1ad924790f1a843b7d582bab6f99206e1e",
        "keep": "*/libcuda.so.535.261.03",
        "group": "cuda",
    },
}
PINNED = {**WHEELS, **DEBS}
TURBOJPEG = "turbojpeg"
TURBOJPEG_PACKAGE = "libturbojpeg0"
TURBOJPEG_SONAME = "libturbojpeg.so.0"
WITHOUT = {
    "cuda-driver": "the test of its symbols will be skipped",
    TURBOJPEG: "JPEGs will be decoded by Go's decoder, which is slower and differs by a few grey levels",
}


class DepsError(Exception):
    """What went wrong and what to do about it, in one line."""


class Skipped(Exception):
    """An optional library that cannot be had here, with the reason and what happens without it."""


def say(text):
    print(f"deps: {text}", flush=True)


def last_error(process):
    """The line of a failed command's output that says most."""
    lines = [line.strip() for line in (process.stderr + "\n" + process.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "e:"))]
    return (errors or lines or [f"status {process.returncode}"])[-1]


def command(arguments, **options):
    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", **options)


def stamp_of(spec):
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest() + "\n"


def is_there(folder, stamp):
    try:
        return (folder / ".stamp").read_text() == stamp
    except OSError:
        return False


def publish(unpacked, folder, stamp):
    """Put a complete folder into its place, so that nobody ever sees half of it."""
    (unpacked / ".stamp").write_text(stamp)
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent)) / folder.name
        folder.rename(old)
        unpacked.rename(folder)
        shutil.rmtree(old.parent)
    else:
        unpacked.rename(folder)


def download_wheel(spec, to):
    requirements = to / "requirements.txt"
    requirements.write_text(f"{spec['requirement']} --hash=sha256:{spec['sha256']}\n")
    arguments = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--require-hashes",
                 "--only-binary=:all:", "--python-version", spec["python"], "--implementation", "cp",
                 "--platform", spec["platform"], "--dest", str(to), "-r", str(requirements)]
    process = command(arguments)
    if process.returncode != 0:
        if "No module named pip" in process.stderr:
            raise DepsError(f"{sys.executable} has no pip; install it (Debian: python3-pip) and run this again")
        raise DepsError(f"pip could not fetch {spec['requirement']}: {last_error(process)}")
    wheels = list(to.glob("*.whl"))
    if len(wheels) != 1:
        raise DepsError(f"pip fetched {len(wheels)} wheels for {spec['requirement']}, not one")
    return wheels[0]


def place(name, spec):
    """Where a wheel's member goes, below the library's folder; None for what is not wanted."""
    base = name[len(spec["from"]):]
    if not name.startswith(spec["from"]) or name.endswith("/"):
        return None
    if "keep" in spec:  # patterns below "from", whose folders stay as they are
        return base if any(fnmatch.fnmatch(base, pattern) for pattern in spec["keep"]) else None
    if "/" in base or ".so" not in base or base.startswith(spec["without"]):
        return None
    return spec["to"] + base


def unpack_wheel(wheel, spec, to):
    """Write the wheel's libraries to a folder; files of equal content (a library under three sonames) share their bytes."""
    seen = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            base = place(name, spec)
            if base is None:
                continue
            path = to / base
            path.parent.mkdir(parents=True, exist_ok=True)
            data = archive.read(name)
            digest = hashlib.sha256(data).digest()
            if digest in seen:
                os.link(seen[digest], path)
                continue
            path.write_bytes(data)
            path.chmod(0o755)
            seen[digest] = path
    if not seen:
        raise DepsError(f"{wheel.name} holds no library under {spec['from']}")


def install_pinned(name, spec, unpack, folder, work):
    """Put what a pinned package holds into folder, unless it is there; unpack(spec, to, work) fetches and unpacks it. Says whether it did."""
    stamp = stamp_of(spec)
    if is_there(folder, stamp):
        return False
    say(f"fetching {spec['about']}")
    unpacked = work / name
    unpacked.mkdir()
    unpack(spec, unpacked, work)
    publish(unpacked, folder, stamp)
    return True


def wheel_into(spec, folder, work):
    unpack_wheel(download_wheel(spec, work), spec, folder)


def system_has(soname):
    try:
        ctypes.CDLL(soname)
        return True
    except OSError:
        return False


def fetch_deb(spec):
    """A pinned Debian package, from the first mirror that still has it."""
    reasons = []
    for mirror in spec["mirrors"]:
        try:
            with urllib.request.urlopen(mirror + spec["file"], timeout=60) as answer:
                data = answer.read()
        except OSError as error:
            reasons.append(f"{mirror}: {error}")
            continue
        if hashlib.sha256(data).hexdigest() == spec["sha256"]:
            return data
        reasons.append(f"{mirror}: not the file that is pinned")
    raise Skipped(f"{spec['file'].rsplit('/', 1)[1]} could not be fetched ({'; '.join(reasons)})")


def members_of_deb(data):
    """The data archive of a Debian package, which is an ar archive (deb(5)): 60 bytes before each member, members at even places."""
    at = 8
    while at < len(data):
        name, size = data[at:at + 16].decode().strip(" /"), int(data[at + 48:at + 58])
        if name.startswith("data.tar"):
            return tarfile.open(fileobj=io.BytesIO(data[at + 60:at + 60 + size]))
        at += 60 + size + size % 2
    raise DepsError("a Debian package holds no data")


def deb_into(spec, folder, work):
    with members_of_deb(fetch_deb(spec)) as members:
        for member in members:
            if member.isfile() and fnmatch.fnmatch(member.name, spec["keep"]):
                (folder / Path(member.name).name).write_bytes(members.extractfile(member).read())


def download_deb(package, work):
    """Fetch a Debian package with apt, whose state is kept in our own folder where the system's index is empty."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Skipped(f"no apt here to fetch {package} with")
    here = work / "deb"
    here.mkdir()
    own = []
    for option, sub in (("Dir::State", "state"), ("Dir::State::lists", "state/lists"), ("Dir::Cache", "cache")):
        path = work / "apt" / sub
        (path / "partial").mkdir(parents=True, exist_ok=True)
        own += ["-o", f"{option}={path}"]
    own += ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "APT::Sandbox::User="]
    # apt runs hooks after an update that tidy the system's cache as root; ours is thrown away anyway.
    own += ["-o", "APT::Update::Post-Invoke::=true", "-o", "APT::Update::Post-Invoke-Success::=true"]
    fetched = command(["apt-get", "download", package], cwd=here)
    if fetched.returncode != 0:
        updated = command(["apt-get", *own, "update"], cwd=here)
        fetched = command(["apt-get", *own, "download", package], cwd=here)
        if fetched.returncode != 0:
            failed = updated if updated.returncode != 0 else fetched
            raise Skipped(f"apt could not fetch {package}: {last_error(failed)}")
    return next(here.glob("*.deb"))


def install_turbojpeg(folder, work):
    stamp = stamp_of({"package": TURBOJPEG_PACKAGE, "to": "lib/"})
    if is_there(folder, stamp) or system_has(TURBOJPEG_SONAME):
        return False
    say("fetching libjpeg-turbo")
    deb = download_deb(TURBOJPEG_PACKAGE, work)
    raw, unpacked = work / "raw", work / TURBOJPEG
    process = command(["dpkg-deb", "-x", str(deb), str(raw)])
    if process.returncode != 0:
        raise Skipped(f"{deb.name} could not be unpacked: {last_error(process)}")
    lib = unpacked / "lib"
    lib.mkdir(parents=True)
    for path in sorted(raw.rglob("libturbojpeg.so*")):
        shutil.copy2(path, lib / path.name, follow_symlinks=False)
    publish(unpacked, folder, stamp)
    return True


def install(name, deps):
    with tempfile.TemporaryDirectory(prefix=f".new-{name}-", dir=deps) as work:
        if name == TURBOJPEG:
            return install_turbojpeg(deps / name, Path(work))
        if name in DEBS:
            return install_pinned(name, DEBS[name], deb_into, deps / name, Path(work))
        return install_pinned(name, WHEELS[name], wheel_into, deps / name, Path(work))


def chosen(names):
    """Names with each group replaced by its members; without names, all that belong to no group."""
    wanted = []
    for name in names or [n for n, spec in PINNED.items() if "group" not in spec] + [TURBOJPEG]:
        wanted += [n for n, spec in PINNED.items() if spec.get("group") == name] or [name]
    return wanted


def main():
    names = [*PINNED, TURBOJPEG, *sorted({spec["group"] for spec in PINNED.values() if "group" in spec})]
    parser = argparse.ArgumentParser(description="Bring the shared libraries into .deps/, without root.")
    parser.add_argument("--dir", type=Path, default=Path(__file__).resolve().parent.parent / ".deps", help="where to (default: .deps of this tree)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(names)} (default: all outside a group)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in names]
    if unknown:
        parser.error(f"unknown library {unknown[0]}; known are {', '.join(names)}")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise DepsError(f"libraries are pinned for linux/amd64, this is {sys.platform}/{platform.machine()}")
    deps = arguments.dir
    try:
        deps.mkdir(parents=True, exist_ok=True)
        lock = open(deps / ".lock", "w")
    except OSError as error:
        raise DepsError(f"cannot write to {deps}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in chosen(arguments.names):
            try:
                if install(name, deps):
                    say(f"{name} is in {deps / name}")
            except Skipped as reason:
                say(f"{name} left out: {reason}; {WITHOUT[name]}")
            except OSError as error:
                raise DepsError(f"{name}: {error}") from error


if __name__ == "__main__":
    try:
        main()
    except DepsError as error:
        print(f"deps: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
