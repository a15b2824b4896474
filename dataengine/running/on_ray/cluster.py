"""The Ray cluster: reaching or starting it, what a worker takes of it, and for how many it has room."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import ray
from ray._private import node as ray_node
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import AuthenticationError

from instructrestore.dataengine.running.on_ray.loopback import LOOPBACK
from instructrestore.dataengine.running.stage import StageSpec
from instructrestore.shards.errors import first_line

PROBE_S = 5
START_S = 120  # that Ray's first process may take to start
START_TRIES = 4  # its raylet ends where another process takes 15 s to start, which it does on a busy machine
NODE_VERDICT_S = 30
OBJECT_STORE_MIB = 256
# In Ray's workers glibc gives every large array back to the system and takes it again, page by page: that doubled the
# quality gate's time (docs/performance.md). Arrays of up to 32 MiB, the most glibc allows, stay with the worker.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}


@contextmanager
def connected(address: str | None, cpus: int | None, object_store_mib: int) -> Iterator[bool]:
    """Ray for the block: the cluster at `address`, or one of this machine's `cpus` processors (None: all). Gives
    whether it is the latter, which no other machine joins.

    Without an address the variable RAY_ADDRESS counts, which `ray job submit` sets. object_store_mib: shared memory of
    the cluster that is started here; it listens on loopback alone and asks for a token of its own. Raises ValueError
    where the cluster cannot be reached, or does not start.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address == "local":  # Ray's word for one of its own
        address = None
    if address:
        _probe(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    ours = not ray.is_initialized()  # else it is a test's, and stays
    try:
        if ours and address:
            _read_token()
            ray.init(address=address, **quiet)
        elif ours:
            store = object_store_mib << 20
            _start_here(num_cpus=cpus, include_dashboard=False, object_store_memory=store, **quiet)
    except (ConnectionError, AuthenticationError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address}: {first_line(error)}; where it asks for a token, set "
            "RAY_AUTH_MODE=token and give the token in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None
    try:
        yield not address
    finally:
        if ours:
            ray.shutdown()


def _start_here(**given: Any) -> None:
    """Starts a cluster that only this machine can reach, and of it only who knows its token: whoever reaches a Ray
    cluster can run any code in it.

    The token is in the environment of the cluster's processes and of what they start (a model's server), and nowhere
    else: not in a file, a log or a command line.
    RAY_AUTH_MODE=disabled is Ray's way to do without.
    """
    disabled = os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled"
    token = {} if disabled else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_urlsafe(32)}
    with (
        _set_for_now({"RAY_gcs_server_port_wait_time_s": str(START_S), **token}),
        patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False),  # else it listens everywhere, even if told loopback
        patch.object(ray_node, "Node", _Node),
    ):
        _read_token()
        for left in reversed(range(START_TRIES)):
            try:  # "local": else Ray would take a cluster that somebody else has started on this machine
                ray.init(address="local", _node_ip_address=LOOPBACK, **given)
                break
            except ValueError:  # what was given
                raise
            except Exception as error:  # no narrower one: it is what Ray raises
                if _Node.latest:
                    _Node.latest.kill_all_processes(check_alive=False, allow_graceful=False)
                if not left:
                    raise ValueError(
                        f"Ray did not start on this machine, of {os.cpu_count()} processors under a load of "
                        f"{os.getloadavg()[0]:.0f}: {first_line(error)}; where the machine is busy, run again when it "
                        "is less so"
                    ) from error
    assert ipaddress.ip_address(ray.util.get_node_ip_address()).is_loopback, "Ray's own address is not loopback"


class _Node(ray_node.Node):
    """What Ray starts of itself on this machine; known even where it fails, so that what it left can be ended."""

    latest: ray_node.Node | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        _Node.latest = self
        super().__init__(*given, **named)


def _read_token() -> None:
    """Has Ray read the environment again: it keeps the token of a cluster that this process was connected to before."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _set_for_now(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for the block, and for the processes started in it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _probe(address: str) -> None:
    """Raises ValueError where nobody listens at host:port; Ray itself would try for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d+)", address)
    if not match:
        return  # "auto" and the like
    try:
        socket.create_connection((match[1], int(match[2])), PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"no Ray cluster answers at {address}: {error}") from None


def options(spec: StageSpec) -> dict[str, Any]:
    """What Ray is told of a stage's worker; workers of stages with the same options can serve one another's."""
    given: dict[str, Any] = {
        "num_cpus": spec.cpus,
        "num_gpus": spec.gpus,
        "resources": dict(spec.resources),
        "runtime_env": {**spec.runtime_env, "env_vars": {**MALLOC, **spec.runtime_env.get("env_vars", {})}},
    }
    return given | ({"memory": int(spec.memory_gib * 2**30)} if spec.memory_gib else {})


def room(spec: StageSpec) -> int | None:
    """How many workers the cluster's living nodes hold, taken all together; None where a worker takes nothing.

    A worker gets all it needs from one node. What other programs, and a stage that is just ending, hold of the nodes
    counts as free: a worker that cannot start now starts once it is.
    """
    needs = _needs(spec)
    if not needs:
        return None
    return sum(
        min(int(node["Resources"].get(name, 0) / need + 1e-9) for name, need in needs.items())
        for node in ray.nodes()
        if node["Alive"]
    )


def lacking(spec: StageSpec) -> str:
    """What a worker of the stage needs beside what the cluster has, for a sentence."""
    needs, there = _needs(spec), ray.cluster_resources()
    counted = ["CPU", "GPU", *(name for name in needs if name not in ("CPU", "GPU"))]
    needed = _joined([_amount(name, needs.get(name, 0)) for name in counted])
    having = _joined([_amount(name, there.get(name, 0), unit=name not in ("CPU", "GPU")) for name in counted])
    return f"the {spec.name} stage needs {needed} a worker; the cluster has {having}, and no machine with room for one"


def is_lost(node: str, since: float) -> bool | None:
    """Whether the node a worker died on at `since` (monotonic) is gone; None while that cannot be said.

    A cluster needs some seconds to notice that a node is gone, and by then the node's workers are.
    """
    alive = {known["NodeID"] for known in ray.nodes() if known["Alive"]}
    if node not in alive:
        return True
    mine = node == ray.get_runtime_context().get_node_id()
    return False if mine or len(alive) == 1 or time.monotonic() - since > NODE_VERDICT_S else None


def _needs(spec: StageSpec) -> dict[str, float]:
    """What a worker takes of its node, by Ray's names."""
    wanted = {"CPU": spec.cpus, "GPU": spec.gpus, "memory": spec.memory_gib * 2**30, **spec.resources}
    return {name: need for name, need in wanted.items() if need}


def _amount(name: str, count: float, unit: bool = True) -> str:
    if name == "memory":
        return f"{count / 2**30:.3g} GiB of memory"
    return f"{count:g} {name}{'s' if name in ('CPU', 'GPU') else ''}" if unit else f"{count:g}"


def _joined(amounts: list[str]) -> str:
    return " and ".join([", ".join(amounts[:-1]), amounts[-1]])
