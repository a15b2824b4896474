"""Servers that the build starts on its Ray cluster: up while successive stages ask the same model, then stopped.

A replica is an actor with the GPUs of one server, which runs vLLM on its node (vllm_server.py). Ray ends the actors
with their driver, and the operating system ends vLLM with its actor: nothing stays behind, however the driver ends.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from instructrestore.dataengine.running.on_ray.loopback import LOOPBACK
from instructrestore.dataengine.running.on_ray.servers import keeper
from instructrestore.dataengine.running.on_ray.servers.replicas import count_replicas
from instructrestore.dataengine.running.on_ray.servers.vllm_server import ServerFault, VllmServer
from instructrestore.dataengine.running.server_settings import ServerSettings, VllmSettings
from instructrestore.dataengine.running.stage import StageSpec, StopStage
from instructrestore.dataengine.running.worker import Stopped
from instructrestore.shards.errors import first_line

PLACED_WITHIN_S = 900
REQUESTS_PER_SERVER = 128  # of several workers together; a single one may have more under way
_POLL_S = 0.5


class _Replica:
    """One server on the actor's node. `watch` lasts as long as the server; the others are called beside it."""

    def __init__(self, settings: ServerSettings, host: str, key: str) -> None:
        self._server = VllmServer(settings, host or ray.util.get_node_ip_address(), key)

    def start(self) -> str | Stopped:
        """The server's address, once it answers."""
        try:
            self._server.start()
        except ServerFault as fault:
            return Stopped(str(fault))
        return self._server.url

    def watch(self) -> str:
        """Why the server is gone for good."""
        try:
            self._server.watch()
        except ServerFault as fault:
            return str(fault)
        return "it was stopped"

    def stop(self) -> None:
        self._server.stop()


class Servers:
    """The servers that a build has started: those of one model at a time, so that every model has all GPUs.

    alone: the cluster is this machine and no other will join; servers then listen on loopback.
    wait_s: how long they wait for a place where there is none, for nodes that join.
    """

    def __init__(self, alone: bool = True, wait_s: float = 0) -> None:
        self._alone = alone
        self._wait_s = wait_s
        self._of: tuple[str, str, VllmSettings] | None = None
        self._replicas: list[ActorHandle] = []
        self._urls: list[str] = []
        self._watched: list[ray.ObjectRef] = []
        self._key = ""

    def ready(self, spec: StageSpec) -> StageSpec:
        """The stage, told how its server is reached, which is started if that is the build's to do. Servers that it
        does not ask are stopped first.

        Raises StopStage, in one sentence, where the model cannot be served.
        """
        server = spec.server
        if server is None or server.where != "started":
            self.stop()
            return spec
        of = server.model, server.revision, server.vllm
        if of != self._of or len(self._lost()) == len(self._watched):
            self.stop()
            self._start(server)
            self._of = of
        waited_s = server.vllm.restarts * server.vllm.start_limit_s  # a server that is started again is waited for
        # There may be many more processors than servers, and what a server has waiting too long is asked again.
        workers = max(1, len(self._urls) * REQUESTS_PER_SERVER // server.requests_in_flight)
        return replace(
            spec,
            server=server.reached(self._urls, self._key),
            workers=min(spec.workers or workers, workers),
            min_workers=min(spec.min_workers, workers),
            part_limit_s=spec.part_limit_s + waited_s,
            row_limit_s=spec.row_limit_s + waited_s,
        )

    def check(self) -> None:
        """Raises StopStage, with the latest reason, once no server is left."""
        lost = self._lost()
        if lost and len(lost) == len(self._watched):
            raise StopStage(lost[-1])

    def stop(self) -> None:
        """Stops all servers; returns when their processes are gone."""
        replicas, self._replicas = self._replicas, []
        self._of, self._urls, self._watched = None, [], []
        stopping: list[Any] = [replica.stop.remote() for replica in replicas]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=keeper.GRACE_S + 20)
        for replica in replicas:
            ray.kill(replica)

    def _start(self, server: ServerSettings) -> None:
        vllm = server.vllm
        count = count_replicas(vllm, ray.nodes(), self._wait_s > 0)
        self._key = secrets.token_urlsafe(32)
        host = LOOPBACK if self._alone else ""
        # No CPUs are set aside: a GPU's server needs few, and the stage that asks it needs a worker beside it.
        gpus = vllm.gpus_per_replica
        takes: dict[str, Any] = {"num_cpus": 0, "num_gpus": gpus, "max_restarts": 0, "max_concurrency": 4}
        actor: Any = ray.remote(**takes)(_Replica)
        self._replicas = [actor.remote(server, host, self._key) for _ in range(count)]
        try:
            self._urls = self._addresses(server, [replica.start.remote() for replica in self._replicas])
        finally:  # Ctrl-C too
            if not self._urls:
                self.stop()
        self._watched = [replica.watch.remote() for replica in self._replicas]

    def _addresses(self, server: ServerSettings, starting: list[ray.ObjectRef]) -> list[str]:
        """Of the servers, once all of them are ready."""
        waiting, deadline = starting, time.monotonic() + server.vllm.start_limit_s + max(PLACED_WITHIN_S, self._wait_s)
        while waiting:
            done, waiting = ray.wait(waiting, timeout=_POLL_S)
            if time.monotonic() > deadline:
                raise StopStage(f'no room was found for the servers of "{server.model}": the cluster may be full')
            for ref in done:
                try:
                    address = ray.get(ref)
                except RayError as error:
                    died = f'the process that was to serve "{server.model}" died'
                    raise StopStage(f"{died}: {first_line(error)}") from None
                if isinstance(address, Stopped):
                    raise address.error()
        return ray.get(starting)

    def _lost(self) -> list[str]:
        """Why servers are gone for good."""
        if not self._watched:
            return []
        done, _ = ray.wait(self._watched, num_returns=len(self._watched), timeout=0)
        return [_reason(ref) for ref in done]


def _reason(watched: ray.ObjectRef) -> str:
    try:
        return ray.get(watched)
    except RayError as error:
        return f"a language model's server and its process are gone: {first_line(error)}"
