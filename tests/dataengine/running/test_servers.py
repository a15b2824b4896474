"""Servers that the build starts: real processes on a real Ray cluster, with a small program in vLLM's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from instructrestore.dataengine.descriptions.describe import Describe
from instructrestore.dataengine.noun_phrases.answers import AnswerCache
from instructrestore.dataengine.noun_phrases.parser import (
    Parser,
    ParserAnswer,
    ParserSettings,
    Question,
    cache_identity,
)
from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.on_ray.servers.replicas import count_replicas
from instructrestore.dataengine.running.on_ray.servers.vllm_server import ServerFault, VllmServer, command, telling
from instructrestore.dataengine.running.server_settings import ServerSettings, VllmSettings
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import photo_stages
from tests.dataengine.noun_phrases.asking import answers_of
from tests.dataengine.running import stand_in_vllm

ROOT = Path(__file__).resolve().parents[3]
KEY = "a-key-that-nobody-may-see"
DESCRIPTIONS = [f"the {thing} number {n} is red" for n in range(4) for thing in ("dog", "house", "tree")]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def python(tmp_path: Path) -> str:
    """In place of the Python that has vLLM."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in_vllm.__file__}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def model(folder: Path, *acts: str) -> Path:
    """A folder in place of a model's weights, which says what its server does."""
    folder.mkdir(exist_ok=True)
    for act in acts:
        (folder / act).touch()
    return folder


def settings(python: str, folder: Path, **vllm: Any) -> ServerSettings:
    quick = {"start_limit_s": 60, "gpus": 0, "restarts": 1}
    return ServerSettings(
        where="started",
        model=f"Qwen/{folder.name}",
        revision="c0ffee",
        timeout_s=5,
        backoff_s=0.05,
        requests_in_flight=2,
        vllm=VllmSettings(python=python, folder=str(folder), **{**quick, **vllm}),
    )


def noted(folder: Path, what: str) -> list[str]:
    path = folder / what
    return path.read_text().splitlines() if path.exists() else []


def alive(folder: Path) -> list[int]:
    """Of the processes that the folder's servers were, those that still run."""
    return [int(pid) for pid in noted(folder, "pids") if _runs(int(pid))]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(holds: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Rounds:
    """Asks rounds through the answers' cache on a cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._cache = AnswerCache(folder, self._run, False, {})

    def _run(self, spec: StageSpec, tasks: Sequence[Task]) -> None:
        self._cluster.run_stage(spec, tasks, 100, lambda summary: None)

    def ask(self, server: ServerSettings, number: int, descriptions: Sequence[str] = DESCRIPTIONS) -> pd.DataFrame:
        return answers_of(self._cache, ParserSettings(kind="server", server=server), number, descriptions)


@pytest.fixture
def rounds(ray_cluster: Cluster, tmp_path: Path) -> Any:
    """Its cluster's servers are stopped with the test."""
    yield Rounds(ray_cluster, tmp_path / "answers")
    ray_cluster.servers.stop()


def test_the_server_is_started_asked_and_stopped(
    python: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = model(tmp_path / "small")
    server = VllmServer(settings(python, folder), "127.0.0.1", KEY)
    server.start()
    reached = settings(python, folder).reached([server.url], KEY)
    outcome = Parser(ParserSettings(kind="server", server=settings(python, folder)), reached)(
        [Question("the dog is red", 1)]
    )
    assert isinstance(outcome[0], ParserAnswer)
    assert (outcome[0].answer.noun_phrase, outcome[0].answer.model) == ("the red dog", "Qwen/small")
    assert len(alive(folder)) == 1
    server.stop()
    assert alive(folder) == []
    assert noted(folder, "keys") == [KEY]
    shown = f"{capfd.readouterr()} {noted(folder, 'commands')} {reached!r} {reached.model_dump_json()}"
    assert "starting with ***" in shown
    assert KEY not in shown


def test_a_command_says_all_that_the_settings_say() -> None:
    vllm = VllmSettings(
        python="/envs/vllm/bin/python",
        tensor_parallel=4,
        gpu_memory=0.85,
        max_model_len=4096,
        dtype="bfloat16",
        options={"enforce_eager": True, "enable_prefix_caching": False, "limit_mm_per_prompt": {"image": 2}},
    )
    server = ServerSettings(where="started", model="Qwen/Qwen2.5-72B-Instruct", revision="c0ffee", vllm=vllm)
    words = command(server, "10.0.0.7", 8123)
    assert words[:3] == ["/envs/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    given = dict(zip(words[3::2], words[4::2], strict=False))
    assert given["--model"] == given["--served-model-name"] == "Qwen/Qwen2.5-72B-Instruct"
    assert (given["--revision"], given["--host"], given["--port"]) == ("c0ffee", "10.0.0.7", "8123")
    assert (given["--tensor-parallel-size"], given["--gpu-memory-utilization"]) == ("4", "0.85")
    assert (given["--max-model-len"], given["--dtype"]) == ("4096", "bfloat16")
    assert json.loads(given["--structured-outputs-config"])["backend"] == "xgrammar"
    rest = " ".join(words)
    assert "--enforce-eager --no-enable-prefix-caching" in rest
    assert json.loads(words[words.index("--limit-mm-per-prompt") + 1]) == {"image": 2}


@pytest.mark.parametrize("name", ["host", "port", "api_key", "api-key", "uds"])
def test_where_a_server_listens_and_for_which_key_it_asks_is_no_option(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is the build's to say"):
        VllmSettings(options={name: "0.0.0.0"})


def test_a_log_is_cut_down_to_what_tells() -> None:
    log = [
        "INFO 11-23 10:00:00 [a.py:1] loading",
        "(Worker pid=9) ERROR 11-23 10:00:01 [b.py:2] torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "nanobind: leaked 64 types!",
    ]
    assert telling(log) == "torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB"
    assert telling(log[:1] + log[3:]) == "loading | nanobind: leaked 64 types!"
    invalid = [
        "(APIServer pid=9) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "(APIServer pid=9)   Value error, max_model_len (9) is greater than 8",
        "(APIServer pid=9) sys:1: DeprecationWarning",
    ]
    assert telling(invalid).endswith("for ModelConfig | Value error, max_model_len (9) is greater than 8")
    remote = [
        "OSError: no tokenizer in /m",
        "",
        "ray.data.exceptions.UserCodeException: UDF failed to process a block.",
    ]
    assert telling(remote) == "OSError: no tokenizer in /m"
    assert telling([]) == ""
    assert len(telling(["ValueError: " + "x" * 5_000])) < 500


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        ("cannot load", r'the model "Qwen/m" cannot be served: vLLM ended with status 1; .*ValueError: no weights of'),
        ("never healthy", r'the model "Qwen/m" cannot be served: vLLM was not ready within 2 s'),
    ],
)
def test_a_server_that_does_not_come_up_is_one_sentence(
    python: str, tmp_path: Path, rounds: Rounds, act: str, sentence: str
) -> None:
    folder = model(tmp_path / "m", act)
    with pytest.raises(StopStage, match=sentence) as stopped:
        rounds.ask(settings(python, folder, start_limit_s=2 if act == "never healthy" else 60), 1)
    assert "\n" not in str(stopped.value)
    assert alive(folder) == []


def test_a_port_that_another_program_took_is_given_up_for_another(python: str, tmp_path: Path, rounds: Rounds) -> None:
    folder = model(tmp_path / "m", "port taken")
    answers = rounds.ask(settings(python, folder), 1)
    assert answers.loc[DESCRIPTIONS[0], "noun_phrase"] == "the red dog"
    assert len(noted(folder, "commands")) == 2


def test_an_environment_without_vllm_is_one_sentence(tmp_path: Path) -> None:
    for python, said in (
        ("/no/such/python", "cannot run /no/such/python"),
        (sys.executable, "No module named 'vllm'"),
    ):
        with pytest.raises(ServerFault, match=said) as fault:
            VllmServer(settings(python, model(tmp_path / "m")), "127.0.0.1", KEY).start()
        assert "\n" not in str(fault.value)


def test_servers_stay_while_rounds_ask_the_same_model_and_give_way_to_another(
    python: str, tmp_path: Path, rounds: Rounds, ray_cluster: Cluster
) -> None:
    small, large = model(tmp_path / "small"), model(tmp_path / "large")
    ask_small, ask_large = settings(python, small), settings(python, large, replicas=2)
    answers = rounds.ask(ask_small, 1)
    assert answers.loc[DESCRIPTIONS[0], "noun_phrase"] == "the red dog"
    assert set(answers["faults"]) == {""}
    assert len(alive(small)) == 1

    answers = rounds.ask(ask_large, 2)
    assert alive(small) == [], "its GPU is free before the large model comes"
    two = alive(large)
    assert len(two) == 2
    keys = {*noted(small, "keys"), *noted(large, "keys")}
    assert len(keys) == 2, "a key for each start"
    assert all(key not in "".join(noted(large, "commands")) for key in keys)
    assert '--host", "127.0.0.1"' in noted(large, "commands")[0], "one node: nobody else can reach it"
    assert set(noted(large, "hosts")) == {"127.0.0.1"}, "nor its processes, which talk among themselves"

    changed = ask_large.model_copy(update={"retry_temperature": 1.0})
    rounds.ask(changed, 3)
    assert alive(large) == two, "the same servers, asked in another way"
    rounds.ask(ask_large, 2)
    assert len(noted(large, "commands")) == 2, "what is known is not asked again"

    spec = StageSpec("grammar", partial(Parser, ParserSettings()), "0", Question, ParserAnswer)
    assert ray_cluster.servers.ready(spec) == spec
    assert alive(large) == [], "a stage that asks nobody has the GPUs"


def test_a_server_that_dies_is_started_again(python: str, tmp_path: Path, rounds: Rounds) -> None:
    folder = model(tmp_path / "m", "dies once")
    answers = rounds.ask(settings(python, folder), 1)
    assert set(answers["faults"]) == {""}
    assert len(noted(folder, "pids")) == 2
    assert len(set(noted(folder, "keys"))) == 1
    ports = {json.loads(line)[json.loads(line).index("--port") + 1] for line in noted(folder, "commands")}
    assert len(ports) == 1, "where its askers know it"


def test_a_server_that_keeps_dying_stops_the_stage_with_its_last_words(
    python: str, tmp_path: Path, rounds: Rounds
) -> None:
    folder = model(tmp_path / "m", "dies")
    with pytest.raises(StopStage, match=r"after 1 restarts; .*torch.OutOfMemoryError: CUDA out of memory") as stopped:
        rounds.ask(settings(python, folder), 1)
    assert "\n" not in str(stopped.value)
    assert len(noted(folder, "pids")) == 2
    assert alive(folder) == []


def test_a_server_that_was_killed_from_outside_is_replaced(python: str, tmp_path: Path, rounds: Rounds) -> None:
    folder = model(tmp_path / "m")
    server = settings(python, folder)
    rounds.ask(server, 1)
    os.kill(alive(folder)[0], signal.SIGKILL)
    assert set(rounds.ask(server, 2)["faults"]) == {""}
    assert len(noted(folder, "pids")) == 2


def test_servers_that_were_all_lost_are_started_anew_for_the_next_round(
    python: str, tmp_path: Path, rounds: Rounds, ray_cluster: Cluster
) -> None:
    import ray

    folder = model(tmp_path / "m")
    server = settings(python, folder)
    rounds.ask(server, 1)
    for replica in ray_cluster.servers._replicas:
        ray.kill(replica)
    assert eventually(lambda: alive(folder) == []), "it ends with its actor"
    assert eventually(lambda: bool(ray_cluster.servers._lost()))
    with pytest.raises(StopStage, match="gone"):
        ray_cluster.servers.check()
    assert set(rounds.ask(server, 2)["faults"]) == {""}


def test_more_gpus_than_a_node_has_are_one_sentence(python: str, tmp_path: Path, rounds: Rounds) -> None:
    folder = model(tmp_path / "m")
    with pytest.raises(StopStage, match="1 vLLM of 4 GPUs each, on one node each, do not fit"):
        rounds.ask(settings(python, folder, gpus=None, tensor_parallel=4), 1)


@pytest.mark.parametrize(
    ("gpus", "nodes", "fit"),
    [(1, [8, 8], 16), (4, [8, 2], 2), (0.5, [2], 4), (0.2, [1], 5), (0.1, [1], 10), (0.3, [8], 24), (0, [0], 1)],
)
def test_replicas_are_as_many_as_the_gpus_hold(gpus: float, nodes: list[int], fit: int) -> None:
    there = [{"Alive": True, "Resources": {"GPU": count}} for count in nodes]
    there.append({"Alive": False, "Resources": {"GPU": 8}})
    assert count_replicas(VllmSettings(gpus=gpus), there) == fit
    assert count_replicas(VllmSettings(gpus=gpus), there, may_grow=True) == fit
    assert count_replicas(VllmSettings(gpus=gpus, replicas=100), there, may_grow=True) == 100


def test_where_machines_may_join_a_server_waits_for_one() -> None:
    nowhere = [{"Alive": True, "Resources": {"CPU": 8}}]
    assert count_replicas(VllmSettings(), nowhere, may_grow=True) == 1
    with pytest.raises(StopStage, match="do not fit"):
        count_replicas(VllmSettings(), nowhere)


_DRIVER = """
import sys, time
import ray
from instructrestore.dataengine.running.stage import StageSpec
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.dataengine.noun_phrases.parser import ParserAnswer, Parser, Question
from instructrestore.dataengine.running.on_ray.runner import cluster
server = ServerSettings.model_validate_json(sys.argv[1])
with cluster(None, 1) as held:
    held.servers.ready(StageSpec("s", Parser, "0", Question, ParserAnswer, server=server))
    print("up", flush=True)
    time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_nothing_stays_behind_a_driver_that_ends(python: str, tmp_path: Path, number: int) -> None:
    """Killed, or by Ctrl-C; the server ignores SIGTERM and has a child."""
    folder = model(tmp_path / "m", "stubborn")
    server = settings(python, folder).model_dump_json()
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, server], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert driver.stdout
        assert driver.stdout.readline() == "up\n"
        assert len(alive(folder)) == 2
        driver.send_signal(number)
        assert eventually(lambda: alive(folder) == [], 120)
        driver.wait(30)
    finally:
        driver.kill()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"where": "running"}, "needs its urls"),
        ({"where": "started"}, "give its revision"),
        ({"where": "in_process"}, "give its revision"),
        ({"where": "started", "revision": "c0ffee", "vllm": {"tensor_parallel": 0}}, "greater than or equal to 1"),
        ({"where": "elsewhere"}, "running"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ServerSettings.model_validate({"model": "m", **changes})


def test_a_vision_language_model_can_be_served_by_the_build() -> None:
    def stage(**server: Any) -> StageSpec:
        asked = {"describer": "vision_language", "vision_language": {"server": {"model": "Qwen/Qwen3-VL", **server}}}
        build = BuildSettings.model_validate({"descriptions": asked})
        return next(spec for spec in photo_stages(build) if spec.name == "descriptions")

    started, running = (
        stage(where="started", revision="c0ffee"),
        stage(urls=["http://a:1/v1"], revision="c0ffee"),
    )
    assert started.identity == running.identity
    assert started.server and started.server.where == "started"
    reached = started.server.reached(["http://127.0.0.1:9/v1"], KEY)
    assert isinstance(started.build(reached), Describe)
    with pytest.raises(ValidationError, match="asked at servers"):
        stage(where="in_process", revision="c0ffee")


def test_where_a_model_runs_changes_no_identity_and_no_dump_of_before() -> None:
    base = {"model": "m", "revision": "r"}
    running = ServerSettings.model_validate({**base, "urls": ["http://a:1/v1"]})
    assert not {"where", "vllm"} & set(running.model_dump())
    started = ServerSettings.model_validate({**base, "where": "started", "vllm": {"tensor_parallel": 4}})
    in_process = ServerSettings.model_validate({**base, "where": "in_process"})
    assert ServerSettings.model_validate(started.model_dump()) == started
    names = {cache_identity(ParserSettings(kind="server", server=s)) for s in (running, started, in_process)}
    # Answers of earlier builds are found again. (Changes with the prompt's words and the validation's revision, and
    # with nothing else.)
    assert names == {"704cdd51d559e245"}
