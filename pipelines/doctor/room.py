"""Whether this machine, or the cluster, has room for a worker of every stage and for the servers a build starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import get_args

from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.on_ray.cluster import connected, lacking, room
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.dataengine.running.stage import StageSpec
from instructrestore.dataengine.settings import BuildSettings, RunSettings, StageName
from instructrestore.dataengine.stages import photo_stages, resources
from instructrestore.pipelines.doctor.findings import Finding
from instructrestore.pipelines.doctor.machine import Gpu
from instructrestore.shards.errors import first_line


def takers(settings: BuildSettings, servers: list[ServerSettings]) -> list[StageSpec]:
    """Everything that needs room: a worker of each stage of the build, and a replica of each model that it starts."""
    chosen = {spec.name for spec in photo_stages(settings)} | {"noun phrases", "shards"}
    found = [_taker(name, **resources(settings, name)) for name in get_args(StageName) if name in chosen]
    started = {(server.model, server.vllm.gpus_per_replica) for server in servers if server.where != "running"}
    return found + [_taker(f"{model} server", cpus=0, gpus=gpus) for model, gpus in sorted(started)]


_taker = partial(StageSpec, build=lambda: list, identity="", row_type=Row, result_type=Row)


def in_cluster(address: str, takers: list[StageSpec], run: RunSettings) -> Iterator[Finding]:
    """Whether the Ray cluster at `address` has room for a worker of each."""
    try:
        with connected(address, None, run.object_store_mib):
            short = [lacking(spec) for spec in takers if room(spec) == 0]
    except (ValueError, RuntimeError, OSError) as error:  # a RuntimeError if Ray's or Python's versions differ
        fix = "start it, or correct run.address; all machines need the same versions of Python and Ray"
        yield Finding("missing", "cluster", first_line(error), fix)
        return
    fix = "lower what run.stages gives it, or add a machine; for an autoscaling cluster, set run.wait_for_nodes_s"
    if run.wait_for_nodes_s:
        waits = f"now; for {run.wait_for_nodes_s:g} s a build waits for machines that join"
        yield from (
            Finding("warning", "cluster", f"{text} {waits}", "make sure that the cluster can add one") for text in short
        )
    else:
        yield from (Finding("missing", "cluster", text, fix) for text in short)
    if not short:
        yield Finding("ok", "cluster", f"{address} has room for a worker of every stage")


def on_this_machine(present: list[Gpu], cpus: int | None, takers: list[StageSpec]) -> Iterator[Finding]:
    """Whether a worker of each fits, with nothing else running. cpus: what Ray is told it has; None: all."""
    there = {
        "CPUs": float(cpus or os.cpu_count() or 1),
        "GPUs": float(len(present)),
        "GiB of memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
    }
    short = False
    for spec in takers:
        wanted = {"CPUs": spec.cpus, "GPUs": spec.gpus, "GiB of memory": spec.memory_gib, **spec.resources}
        lacks = [f"{need:g} {name}" for name, need in wanted.items() if need > there.get(name, 0)]
        if lacks:
            short = True
            yield Finding(
                "missing",
                "room",
                f"{spec.name}: a worker takes {' and '.join(lacks)}; this machine has "
                + ", ".join(f"{amount:.3g} {name}" for name, amount in there.items()),
                "name a Ray cluster: --set run.address=HOST:PORT; or ask for less in run.stages or vllm",
            )
    if not short:
        given = [f"{spec.name} {spec.gpus:g}" for spec in takers if spec.gpus]
        text = "a worker of every stage fits this machine" + (f"; GPUs: {', '.join(given)}" if given else "")
        yield Finding("ok", "room", text)
