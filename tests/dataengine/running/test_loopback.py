"""A cluster that a run starts is for that run on this machine: where it listens, and the token it asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private import worker as ray_worker

from instructrestore.dataengine.running.on_ray.runner import Cluster
from tests.dataengine.running.test_runner import spec, tasks
from tests.listeners import listeners_below, open_to_others, processes_below

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "the-token-of-that-cluster"
pytestmark = pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="where processes listen is read from /proc/net"
)
HEAD = """
import sys
from ray.cluster_utils import Cluster
nodes = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False})
print("at", nodes.address, flush=True)
sys.stdin.read()
nodes.shutdown()
"""
LATE = """
from instructrestore.dataengine.running.on_ray import cluster
cluster.START_S, cluster.START_TRIES = 0, 2
try:
    with cluster.connected(None, 1, 80):
        print("started")
except ValueError as error:
    print(error)
"""
DRIVER = """
import sys
import ray
from instructrestore.dataengine.running.on_ray.cluster import connected
def joined():
    return 7
for address in sys.argv[1:]:
    try:
        with connected(address if ":" in address else None, None, 80) as alone:
            assert ray.get(ray.remote(joined).remote()) == 7
            print("alone" if alone else "joined")
    except ValueError as error:
        print(error)
"""


def test_a_cluster_of_this_machine_is_open_to_no_other(ray_cluster: Cluster, tmp_path: Path) -> None:
    found: dict[str, str] = {}
    ray_cluster.run_stage(
        spec(tmp_path), tasks(tmp_path, [["ok"]]), 9, lambda summary: found.update(listeners_below(os.getpid()))
    )
    who = " ".join(found.values())
    assert all(each in who for each in ("gcs_server", "raylet", "ray::Actor", "RuntimeEnvAgent")), found
    assert open_to_others(found) == {}


def test_its_token_is_its_own_and_in_no_log_and_no_command(ray_cluster: Cluster, tmp_path: Path) -> None:
    ray_cluster.run_stage(spec(tmp_path), tasks(tmp_path, [["ok"]]), 9, lambda summary: None)
    tokens, commands = set(), b""
    for process in processes_below(os.getpid()):
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        commands += command
        if b"gcs_server" in command:
            assert b"RAY_AUTH_MODE=token" in variables
            tokens |= {each for each in variables if each.startswith(b"RAY_AUTH_TOKEN=")}
    (token,) = [each.partition(b"=")[2] for each in tokens]
    assert len(token) >= 32
    assert token not in commands
    assert "RAY_AUTH_TOKEN" not in os.environ, "what else a run starts does not get it"
    node = ray_worker.global_worker.node
    assert node
    logs = [file for file in Path(node.get_session_dir_path()).rglob("*") if file.is_file()]
    assert logs and not [file for file in logs if token in file.read_bytes()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a user who has no token of Ray's."""
    return tmp_path_factory.mktemp("home")


def variables(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_A")}
    return kept | {"HOME": str(home)} | more


@pytest.fixture(scope="module")
def guarded(home: Path) -> Iterator[str]:
    """The address of a cluster, of somebody else, that asks for its token."""
    environment = variables(home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert head.stdin and head.stdout
    try:
        yield next(line.split()[1] for line in head.stdout if line.startswith("at "))
    finally:
        head.stdin.close()
        head.wait()


def driven(addresses: list[str], environment: dict[str, str]) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, *addresses],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.slow
def test_a_cluster_with_a_token_is_joined_before_and_after_ones_of_this_machine(guarded: str, home: Path) -> None:
    environment = variables(home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    said = driven([guarded, "here", "here", guarded], environment)
    assert said == ["joined", "alone", "alone", "joined"]
    assert not list(home.iterdir()), "no token is left behind"


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", [{}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another"}, {"RAY_AUTH_MODE": "token"}]
)
def test_a_cluster_whose_token_is_not_known_is_one_sentence(guarded: str, home: Path, given: dict[str, str]) -> None:
    (said,) = driven([guarded], variables(home, **given))
    assert said.startswith(f"no Ray cluster answers at {guarded}: ")
    assert "set RAY_AUTH_MODE=token and give the token in RAY_AUTH_TOKEN" in said


def test_a_cluster_of_this_machine_answers_nobody_without_its_token(ray_cluster: Cluster, home: Path) -> None:
    ask = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).get_all_node_info()"
    address = ray.get_runtime_context().gcs_address
    ended = subprocess.run(
        [sys.executable, "-c", ask, address], env=variables(home), capture_output=True, text=True, check=False
    )
    assert ended.returncode and "InvalidAuthToken" in ended.stderr


def test_a_cluster_that_does_not_start_in_time_is_one_sentence(home: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LATE], cwd=ROOT, env=variables(home), capture_output=True, text=True, check=True
    )
    sentence = (
        r"Ray did not start on this machine, of \d+ processors under a load of \d+: .*; "
        r"where the machine is busy, run again when it is less so\n"
    )
    assert re.fullmatch(sentence, said.stdout)
