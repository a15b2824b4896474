"""Builds whose noun phrases a language model's server gives: it misbehaves, is down, comes back, and is cached."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import socket
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from instructrestore.dataengine.noun_phrases.parser import Question, sampling_seed
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.on_ray.runner import Cluster
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.dataengine.running.stage_summary import StageSummary
from instructrestore.dataengine.sources import parse_source
from instructrestore.pipelines.building.build import BuildResult, build
from instructrestore.pipelines.building.presets import embedded, with_values
from instructrestore.shards.index import Dataset
from instructrestore.shards.sample import Answer
from instructrestore.shards.verify import verify
from tests.dataengine.serving.faulty_server import CONTENT, TRANSPORT, FaultyServer, seeded
from tests.pipelines.photos import make_photos

pytestmark = pytest.mark.usefixtures("ray_cluster")
RANK = 3
# Subjects by how many descriptions each has: the first three are well ahead, whatever a few faults take away.
THINGS = {"dog": 14, "house": 11, "tree": 10, "boat": 3, "lamp": 3, "tower": 2}
COLOURS = ("red", "blue", "green", "white", "black", "brown")
DESCRIPTIONS = [
    f"the {thing} number {number} is {COLOURS[number % 6]}"
    for thing, count in THINGS.items()
    for number in range(count)
]
PHOTOS = 6


def make_source(folder: Path) -> Path:
    """A COCO JSON whose categories are the descriptions; every photo has some of each thing, and two of each are
    described twice."""
    make_photos(folder / "photos", PHOTOS)
    names = sorted(path.name for path in (folder / "photos").iterdir())
    regions = [(number, number % PHOTOS) for number in range(len(DESCRIPTIONS))]
    regions += [(number, (number + 1) % PHOTOS) for number in range(0, len(DESCRIPTIONS), 5)]
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(DESCRIPTIONS)],
        "annotations": [
            {"image_id": photo, "category_id": number, "segmentation": [_box(place)]}
            for place, (number, photo) in enumerate(regions)
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def _box(place: int) -> list[int]:
    x, y = place * 17 % 96, place * 11 % 64
    return [x, y, x + 30, y, x + 30, y + 30, x, y + 30]


def model(url: str, name: str, **changes: Any) -> dict[str, Any]:
    quick = {"timeout_s": 3, "backoff_s": 0.02, "tries": 12, "give_up_s": 1.0, "requests_in_flight": 16}
    return {"kind": "server", "strict": False, "server": {"urls": [url], "model": name, **quick, **changes}}


def run(source: Path, out: Path, small: str, large: str, retry_failed: bool = False, **changes: Any) -> BuildResult:
    values = {
        "sources": [parse_source(f"coco:{source}?images={source.parent / 'photos'}")],
        "photos_per_part": 4,
        "shards": {"photos_per_shard": 5},
        "quality_gate": {"short_side": 64, "score": 0.0},
        "masks": {"segmenter": "annotated"},
        "descriptions": {"describer": "annotated"},
        "noun_phrases": {
            "small": model(small, "small", **changes),
            "large": model(large, "large", **changes),
            "rank": RANK,
        },
    }
    return build(with_values(embedded(), values), out, Console(file=io.StringIO()), retry_failed)


def phrases(result: BuildResult) -> StageSummary:
    return next(summary for summary in result.summaries if summary.name.startswith("noun phrases"))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def shards(dataset: Path) -> dict[str, str]:
    """The data set but for the README, which names the settings, the servers' addresses among them."""
    return {name: found for name, found in hashes(dataset).items() if name.endswith((".tar", ".parquet"))}


def answers(dataset: Path) -> dict[str, tuple[Answer, ...]]:
    """Every kept description's attempts, as the shards have them."""
    opened = Dataset(str(dataset))
    found: dict[str, tuple[Answer, ...]] = {}
    for row in range(opened.card.photos):
        for region in opened.read(row)[0].regions:
            for piece in region.pieces:
                assert found.setdefault(piece.description, piece.answers) == piece.answers
    return found


def stage_files(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("stages/*/*-*.parquet")}


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@dataclass
class Asked:
    """What a server was asked. tries: the fate of each try by (description, round), in order."""

    tries: dict[tuple[str, int], list[str]]
    seeds: dict[tuple[str, int], set[Any]]

    @classmethod
    def of(cls, server: FaultyServer) -> Asked:
        asked = cls(defaultdict(list), defaultdict(set))
        fates = {description: iter(served) for description, served in server.served.items()}
        for body in server.bodies:
            description = json.loads(body["messages"][-1]["content"])["description"]
            number = 1 if body["model"] == "small" else 3 if body["temperature"] else 2
            asked.tries[description, number].append(next(fates[description]))
            asked.seeds[description, number].add(body.get("seed"))
        return asked


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source"))


HOPELESS = DESCRIPTIONS[3], DESCRIPTIONS[9]  # of the most frequent subject: its rank is the same without them


def test_every_description_is_parsed_dropped_or_failed_and_the_cache_is_the_truth(
    source: Path, tmp_path: Path, ray_cluster: Cluster
) -> None:
    faulty = seeded(0.3, seed=5)
    healed: list[bool] = []

    def choose(description: str, tried: int) -> str:
        if description in HOPELESS:
            return "ok" if healed else "400"
        return faulty(description, tried)

    with FaultyServer(choose, late_s=4) as server:
        out = tmp_path / "out"
        result = run(source, out, server.url, server.url)
        asked = Asked.of(server)
        first = len(server.bodies)

        # Each description is asked once a round, and again only after a fault on the way.
        assert {description for description, _ in asked.tries} == set(DESCRIPTIONS)
        for (description, number), fates in asked.tries.items():
            assert all(fate in TRANSPORT for fate in fates[:-1]), (description, number, fates)
            assert fates[-1] not in TRANSPORT, (description, number, fates)
            seed = sampling_seed(Question(description, 3)) if number == 3 else None
            assert asked.seeds[description, number] == {seed}
        seen = {fate for fates in asked.tries.values() for fate in fates}
        assert len(seen & set(TRANSPORT)) >= 4, seen
        assert len(seen & set(CONTENT)) >= 2, seen

        # Rounds 2 and 3 are for faulty answers and for subjects beyond the rank.
        rare = {description for description in DESCRIPTIONS if description.split()[1] not in list(THINGS)[:RANK]}
        last = {key: fates[-1] for key, fates in asked.tries.items()}
        assert {d for d, n in last if n == 1} == set(DESCRIPTIONS)
        again = {d for d in DESCRIPTIONS if last[d, 1] != "ok"} | rare
        assert {d for d, n in last if n == 2} == again
        good = {d for d in DESCRIPTIONS if "ok" in (last[d, 1], last.get((d, 2)))}
        assert {d for d, n in last if n == 3} == (set(DESCRIPTIONS) - good) | rare

        # And so each ends parsed, dropped for its fault, or failed.
        good |= {d for d in DESCRIPTIONS if last.get((d, 3)) == "ok"}
        summary = phrases(result)
        assert summary.input == len(DESCRIPTIONS) == summary.ok + sum(summary.dropped.values()) + len(HOPELESS)
        assert summary.ok == len(good)
        assert summary.failed == {"request_failed": len(HOPELESS)}
        assert all(reason.startswith("invalid noun phrase: ") for reason in summary.dropped)
        assert summary.counts["rare subject"] == len(good & rare)
        assert verify(str(result.dataset)) == []

        # The shards say who said what in which round.
        kept = answers(result.dataset)
        assert set(kept) == good
        for description, given in kept.items():
            rounds = [number for number in (1, 2, 3) if (description, number) in last]
            assert [answer.round for answer in given] == rounds
            assert [answer.model for answer in given] == ["small", "large", "large"][: len(rounds)]
            assert [not answer.faults for answer in given] == [last[description, n] == "ok" for n in rounds]
        assert Counter(answer.round for given in kept.values() for answer in given)[3] > 5

        # The same answers give the same bytes, and nobody is asked: neither by a new run nor by the same.
        cached = RunFolder(tmp_path / "cached")
        cached.create()
        shutil.copytree(out / "answers", cached.answers, dirs_exist_ok=True)
        copy = run(source, cached.path, server.url, server.url)
        assert hashes(copy.dataset) == hashes(result.dataset)
        for folder in ("stages", "tables", "dataset"):
            shutil.rmtree(out / folder)
        assert hashes(run(source, out, server.url, server.url).dataset) == hashes(copy.dataset)
        assert len(server.bodies) == first

        # Requests that failed for good are sent again when that is asked for, and those alone.
        healed.append(True)
        assert phrases(run(source, out, server.url, server.url)).failed == {"request_failed": len(HOPELESS)}
        assert len(server.bodies) == first
        result = run(source, out, server.url, server.url, retry_failed=True)
        sent = [json.loads(body["messages"][-1]["content"])["description"] for body in server.bodies[first:]]
        assert sorted(sent) == sorted(HOPELESS)
        assert phrases(result).failed == {}
        assert set(answers(result.dataset)) == good | set(HOPELESS)
        assert verify(str(result.dataset)) == []
        run(source, out, server.url, server.url, retry_failed=True)
        assert len(server.bodies) == first + len(HOPELESS)


@pytest.mark.slow
def test_attempts_that_failed_are_told_as_attempts_of_their_round(
    source: Path, tmp_path: Path, ray_cluster: Cluster
) -> None:
    """A request that failed for good in round 1 and was answered in round 2."""
    with FaultyServer(lambda description, tried: "400" if description in HOPELESS and not tried else "ok") as server:
        result = run(source, tmp_path / "out", server.url, server.url)
    assert phrases(result).failed == {}
    kept = answers(result.dataset)
    for description in HOPELESS:
        told = [(answer.round, answer.model, answer.faults) for answer in kept[description]]
        assert told == [(1, "small", "request_failed"), (2, "large", "")]


def test_a_server_that_is_down_stops_the_build_and_the_same_command_goes_on(
    source: Path, tmp_path: Path, ray_cluster: Cluster
) -> None:
    out, port = tmp_path / "out", closed_port()
    large = f"http://127.0.0.1:{port}/v1"
    with FaultyServer() as server:
        sentence = f"the language model server at {large} does not answer"
        with pytest.raises(StopStage, match=re.escape(sentence)) as stopped:
            run(source, out, server.url, large)
        assert len(str(stopped.value).splitlines()) == 1
        assert len(server.bodies) == len(DESCRIPTIONS), "round 1 was answered"
        before = stage_files(out)
        assert {name.split("/")[1][3:] for name in before} == {
            "intake",
            "deduplicate",
            "quality-gate",
            "masks",
            "descriptions",
        }
        with FaultyServer(port=port) as back:
            result = run(source, out, server.url, large)
        assert len(server.bodies) == len(DESCRIPTIONS), "round 1 is not asked again"
        rare = sum(count for thing, count in THINGS.items() if thing not in list(THINGS)[:RANK])
        assert len(back.bodies) == 2 * rare, "rounds 2 and 3"
        after = stage_files(out)
        assert {name: after[name] for name in before} == before
        assert verify(str(result.dataset)) == []
        undisturbed = run(source, tmp_path / "undisturbed", server.url, server.url)
        assert shards(undisturbed.dataset) == shards(result.dataset)
