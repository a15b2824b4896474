"""The noun-phrase stage through a real vLLM and a tiny random Qwen2: at a running server, at one that the build
starts, and in process. What a random model says is junk; what is checked is the way there and back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from instructrestore.dataengine.noun_phrases import prompt, validation
from instructrestore.dataengine.noun_phrases.answers import AnswerCache
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase
from instructrestore.dataengine.noun_phrases.parser import Parser, ParserSettings, Question
from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.on_ray.servers.in_process import _Asked
from instructrestore.dataengine.running.on_ray.servers.vllm_server import VllmServer
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.dataengine.running.stage import StageSpec, StopStage, Task
from instructrestore.dataengine.serving.language_model import LanguageModel
from instructrestore.dataengine.sources import parse_source
from instructrestore.pipelines.building.build import build
from instructrestore.pipelines.building.presets import embedded, with_values
from instructrestore.shards.verify import verify
from tests.dataengine.noun_phrases.asking import answers_of
from tests.pipelines.building.test_language_model_build import DESCRIPTIONS, make_source
from tests.vllm.conftest import KEY, served, vllm_processes

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).resolve().parents[2]
# Of the faults, those of the content: the form is what structured output vouches for.
FORM = {"not_json", "schema", "request_failed"}


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


class Rounds:
    """Asks rounds through an answers' cache. parts: what each committed part was made of. on_part: called at each."""

    def __init__(self, cluster: Cluster, folder: Path, on_part: Callable[[], None] = lambda: None) -> None:
        self.parts: list[str] = []
        self._cluster = cluster
        self._on_part = on_part
        self._cache = AnswerCache(folder, self._run, False, {})

    def _run(self, spec: StageSpec, tasks: Sequence[Task]) -> None:
        self._cluster.run_stage(spec, tasks, 100, lambda summary: self._take(summary.outcomes))

    def _take(self, outcomes: str) -> None:
        self.parts.append(outcomes)
        self._on_part()

    def ask(self, settings: dict[str, Any], number: int, descriptions: Sequence[str]) -> pd.DataFrame:
        server = ServerSettings.model_validate(settings)
        return answers_of(self._cache, ParserSettings(kind="server", server=server), number, descriptions)


def check(answers: pd.DataFrame, descriptions: Sequence[str], number: int) -> None:
    """An answer to every description, in the schema's form, judged."""
    assert answers.index.to_list() == list(descriptions)
    assert set(answers["round"]) == {number}
    assert set(answers["model"]) == {"Qwen/tiny"}
    for description, answer in zip(descriptions, answers.itertuples(), strict=True):
        faults = str(answer.faults).split()
        assert FORM.isdisjoint(faults), faults
        said = NounPhrase(str(answer.noun_phrase), str(answer.subject))
        assert list(validation.faults(said, description)) == faults


def test_a_running_server(tiny_qwen: Path, tmp_path: Path, ray_cluster: Cluster) -> None:
    """Started as a user starts one; asked by URL with a key from the environment."""
    running = ServerSettings.model_validate(served(tiny_qwen))
    server = VllmServer(running, "127.0.0.1", KEY)
    before = vllm_processes()
    server.start()
    try:
        by_url = served(tiny_qwen, where="running", urls=[server.url], api_key_env="TINY_KEY", vllm={})
        settings = ServerSettings.model_validate(by_url)
        requests = [
            Parser(ParserSettings(kind="server", server=settings)).request(Question(d, 3)) for d in DESCRIPTIONS
        ]
        for reply in LanguageModel(settings).ask(requests):
            assert isinstance(reply, str)
            said = json.loads(reply)
            assert list(said) == prompt.SCHEMA["required"]
            assert len(said["noun_phrase"]) <= 240 and len(said["subject"]) <= 60

        # The prompt that is made in process is, token for token, the server's.
        question = Question(DESCRIPTIONS[0], 1)
        stage = Parser(ParserSettings(kind="server", server=running), settings)
        asked = _Asked(stage, TypeAdapter(Question), running)
        row = {"row": TypeAdapter(Question).dump_json(question).decode()}
        body = {"model": "Qwen/tiny", "messages": prompt.messages(question.description)}
        address = server.url.removesuffix("/v1") + "/tokenize"
        headers = {"Authorization": f"Bearer {KEY}"}
        tokens = httpx.post(address, json=body, headers=headers, trust_env=False, timeout=30).json()["tokens"]
        assert asked(row)["tokenized_prompt"] == tokens

        rounds = Rounds(ray_cluster, tmp_path / "answers")
        answers = rounds.ask(by_url, 1, DESCRIPTIONS)
        check(answers, DESCRIPTIONS, 1)
        refused = httpx.get(f"{server.url}/models", trust_env=False, timeout=30)
        assert refused.status_code == 401, "nobody else can ask"
    finally:
        server.stop()
    assert vllm_processes() <= before
    again = rounds.ask(by_url, 1, DESCRIPTIONS)  # the server is gone: nobody is asked
    pd.testing.assert_frame_equal(again, answers)


def test_servers_that_a_build_starts(tiny_qwen: Path, tmp_path: Path, ray_cluster: Cluster) -> None:
    """The whole build; the server is killed when the first round has been asked, and replaced."""
    before = vllm_processes()
    source = make_source(tmp_path / "source")
    server = served(tiny_qwen)
    values = {
        "sources": [parse_source(f"coco:{source}?images={source.parent / 'photos'}")],
        "photos_per_part": 4,
        "quality_gate": {"short_side": 64, "score": 0.0},
        "masks": {"segmenter": "annotated"},
        "descriptions": {"describer": "annotated"},
        "noun_phrases": {
            "small": {"kind": "server", "server": {**server, "temperature": 0.9}},
            "large": {"kind": "server", "strict": False, "server": server},
            "invalid": "keep",
        },
    }
    settings, out = with_values(embedded(), values), tmp_path / "out"
    killed: list[int] = []

    def kill_an_engine() -> None:
        if eventually(lambda: any((out / "answers").glob("*/round-1/*.parquet")), 900):
            killed.append(max(vllm_processes() - before))
            os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_an_engine, daemon=True)
    killer.start()
    result = build(settings, out, Console(file=io.StringIO()))
    assert killed
    assert eventually(lambda: vllm_processes() <= before, 30)
    summary = next(summary for summary in result.summaries if summary.name.startswith("noun phrases"))
    assert summary.input == len(DESCRIPTIONS)
    assert summary.failed == {}
    assert not any("not_json" in reason or "schema" in reason for reason in summary.dropped)
    assert verify(str(result.dataset)) == []

    def hashes() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in result.dataset.iterdir()}

    made = hashes()
    for path in (out / "tables").glob("phrases-*"):
        path.unlink()
    build(settings, out, Console(file=io.StringIO()))
    assert hashes() == made
    assert vllm_processes() <= before, "the answers are known: no server was started"


def test_in_process(tiny_qwen: Path, tmp_path: Path, ray_cluster: Cluster) -> None:
    before = vllm_processes()
    many = [f"the {thing} number {number} is red" for number in range(100) for thing in ("dog", "house", "tree")]
    rounds = Rounds(ray_cluster, tmp_path / "answers")
    in_process = served(tiny_qwen, where="in_process")
    answers = rounds.ask(in_process, 3, many)
    check(answers, many, 3)
    assert [len(part) for part in rounds.parts] == [256, 44], "committed chunk by chunk"
    assert eventually(lambda: vllm_processes() <= before, 30)
    # The cache is the same wherever the model runs.
    again = rounds.ask(served(tiny_qwen), 3, many)
    pd.testing.assert_frame_equal(again, answers)
    assert vllm_processes() <= before


@pytest.mark.parametrize("where", ["started", "in_process"])
def test_a_model_that_cannot_run_is_one_sentence(
    tiny_qwen: Path, tmp_path: Path, ray_cluster: Cluster, where: str
) -> None:
    before = vllm_processes()
    server = served(tiny_qwen, where=where)
    server["vllm"]["max_model_len"] = 1 << 20
    with pytest.raises(StopStage, match=r"1048576|max_model_len") as stopped:
        Rounds(ray_cluster, tmp_path / "answers").ask(server, 1, DESCRIPTIONS)
    assert "\n" not in str(stopped.value)
    assert eventually(lambda: vllm_processes() <= before, 60)


_DRIVER = """
import sys
from pathlib import Path
from instructrestore.dataengine.noun_phrases.answers import AnswerCache
from instructrestore.dataengine.noun_phrases.parser import ParserSettings
from instructrestore.dataengine.running.on_ray.runner import cluster
from tests.dataengine.noun_phrases.asking import answers_of
settings = ParserSettings.model_validate_json(sys.argv[1])
with cluster(None, 2) as held:
    cache = AnswerCache(Path(sys.argv[2]), lambda spec, tasks: held.run_stage(spec, tasks, 100, print), False, {})
    answers_of(cache, settings, 1, [f"the dog number {n} is red" for n in range(5_000)])
"""


@pytest.mark.parametrize("where", ["started", "in_process"])
def test_nothing_stays_behind_a_driver_that_is_killed(tiny_qwen: Path, tmp_path: Path, where: str) -> None:
    before = vllm_processes()
    settings = json.dumps({"kind": "server", "server": served(tiny_qwen, where=where)})
    command = [sys.executable, "-c", _DRIVER, settings, str(tmp_path / "answers")]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        answered = (tmp_path / "answers").glob
        assert eventually(lambda: any(answered("*/round-1/*.parquet")) or driver.poll() is not None, 900)
        assert len(vllm_processes() - before) >= 2, (tmp_path / "log").read_text()
    finally:
        driver.kill()
    assert eventually(lambda: vllm_processes() <= before, 90)
    assert any((tmp_path / "answers").glob("*/round-1/*.parquet")), "what was answered stays"
