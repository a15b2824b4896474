"""This machine: Python, packages, GPUs, limits that matter to Ray, and the run's folder. Imports nothing heavy."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from instructrestore.pipelines.doctor.findings import Finding
from instructrestore.shards.errors import first_line
from instructrestore.shards.files import create
from instructrestore.shards.paths import ObjectPath, Place, remove

OLDEST, TOO_NEW = (3, 10), (3, 14)  # as in pyproject.toml
PACKAGES = ("transformers", "diffusers", "ray")
FEWEST_FILES = 8192  # what Ray recommends
LITTLE_SPACE = 10 << 30
SHARED_MEMORY = Path("/dev/shm")
_NVIDIA_S = 5
_STORE_S = 10


@dataclass(frozen=True)
class Gpu:
    """memory_gib: of the whole device."""

    name: str
    memory_gib: float


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine, as listed by its driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, check=True, timeout=_NVIDIA_S).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found = (line.rpartition(",") for line in listed.splitlines())
    return [Gpu(name.strip(), float(memory) / 1024) for name, _, memory in found if memory.strip().isdigit()]


def packages(present: list[Gpu]) -> Iterator[Finding]:
    """Python and the packages of the base install whose versions matter most."""
    old = sys.version_info[:2]
    supported = OLDEST <= old < TOO_NEW
    versions = f"{OLDEST[0]}.{OLDEST[1]} to {TOO_NEW[0]}.{TOO_NEW[1] - 1}"
    yield Finding(
        "ok" if supported else "missing",
        "Python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if supported else f"use one of {versions}",
    )
    yield _torch(present)
    for name in PACKAGES:
        found = _version(name)
        yield (
            Finding("ok", name, found)
            if found
            else Finding("missing", name, "not installed", "pip install instructrestore")
        )


def _torch(present: list[Gpu]) -> Finding:
    found = _version("torch")
    if not found:
        return Finding("missing", "torch", "not installed", "pip install instructrestore")
    cuda = _cuda()
    if cuda:
        return Finding("ok", "torch", f"{found}, built for CUDA {cuda}")
    if present:
        install = "install torch's build for CUDA: https://pytorch.org/get-started/locally/"
        return Finding(
            "warning", "torch", f"{found}, built for CPUs: it does not use the GPUs of this machine", install
        )
    return Finding("ok", "torch", f"{found}, built for CPUs")


def _cuda() -> str:
    """The version of CUDA that torch was built for, or ""; read from its files, because importing it takes seconds."""
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return ""
    try:
        text = Path(spec.submodule_search_locations[0], "version.py").read_text("utf-8")
    except OSError:
        return ""
    match = re.search(r"^cuda\b.*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return match[1] if match else ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def devices(present: list[Gpu]) -> Finding:
    if not present:
        return Finding("ok", "GPUs", "none on this machine")
    counted: dict[tuple[str, int], int] = {}
    for gpu in present:
        kind = gpu.name, round(gpu.memory_gib)
        counted[kind] = counted.get(kind, 0) + 1
    return Finding("ok", "GPUs", ", ".join(f"{n} x {name}, {gib} GiB" for (name, gib), n in counted.items()))


def limits(object_store_mib: int) -> Iterator[Finding]:
    """Whether this machine meets the needs of a Ray started on it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # Ray raises its own limit to this, up to 65,536
    if hard == resource.RLIM_INFINITY or hard >= FEWEST_FILES:
        yield Finding("ok", "open files", "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard:,}")
    else:
        fix = f"ulimit -n {FEWEST_FILES}, as root or in /etc/security/limits.conf"
        yield Finding("warning", "open files", f"at most {hard:,}: Ray's connections may fail", fix)
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free >> 20
        if free >= object_store_mib:
            yield Finding(
                "ok", "shared memory", f"{free:,} MiB free, of which Ray's object store takes {object_store_mib}"
            )
        else:
            yield Finding(
                "warning",
                "shared memory",
                f"{free:,} MiB free in {SHARED_MEMORY}, Ray's object store takes {object_store_mib}: it uses the disk",
                "enlarge it (docker run --shm-size=1g), or lower run.object_store_mib",
            )
    temporary = Path(tempfile.gettempdir())
    usage = shutil.disk_usage(temporary)
    if usage.free < usage.total / 20:
        yield Finding(
            "warning",
            "temporary files",
            f"the disk of {temporary} is {1 - usage.free / usage.total:.0%} full; above 95% Ray refuses work",
            "free some space, or set RAY_TMPDIR to another disk",
        )


def run_folder(out: Place) -> Iterator[Finding]:
    """Whether a build can write there and lock it, and has room."""
    if isinstance(out, ObjectPath):
        yield _store(out)
        return
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        yield Finding("missing", "run folder", f"{place} is a file", "name a folder with --out")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        fix = "name another folder with --out, or mount it writable and with locks"
        yield Finding("missing", "run folder", f"{place} cannot be written and locked: {first_line(error)}", fix)
        return
    free = shutil.disk_usage(place).free
    new = "" if place == out.absolute() else ", where it will be created,"
    text = f"{place}{new} can be written and locked; {free / (1 << 30):,.0f} GiB free"
    if free < LITTLE_SPACE:
        yield Finding("warning", "run folder", text, "shards take as much space as the photos that are kept: free some")
    else:
        yield Finding("ok", "run folder", text)


def _store(out: ObjectPath) -> Finding:
    """The same for an object store, by creating an object only if it does not exist, like the lock, and removing it."""
    outcome: list[str] = []

    def attempt() -> None:
        trial = out / f".doctor-{uuid.uuid4().hex}"
        try:
            create(trial, b"doctor")
            try:
                create(trial, b"a second build")
                said = "it creates objects that already exist, so a second build would not be locked out"
            except FileExistsError:
                said = ""
            remove([trial])
            outcome.append(said)
        except OSError as error:
            outcome.append(first_line(error))

    worker = threading.Thread(target=attempt, daemon=True)  # a store's client may retry for minutes
    worker.start()
    worker.join(_STORE_S)
    if outcome == [""]:
        return Finding("ok", "run folder", f"{out} can be written")
    why = outcome[0] if outcome else f"nothing within {_STORE_S} s"
    fix = "check its name, its endpoint and the credentials in the environment"
    return Finding("missing", "run folder", f"{out} cannot hold a run: {why}", fix)
