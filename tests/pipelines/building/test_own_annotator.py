"""A new annotator by one file and one line in the settings: exactly as CONTRIBUTING.md says, from a temporary file."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from instructrestore.dataengine.weights.own_class import own_class
from instructrestore.shards.index import Dataset
from tests.pipelines.photos import make_photos

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SMALL = ("quality_gate.short_side=64", "quality_gate.score=0", "run.cpus=2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's file and photos."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.partition("## A new annotator")[2], re.DOTALL)
    (tmp_path / "bands.py").write_text(code, "utf-8")
    make_photos(tmp_path / "photos", 4)
    return tmp_path


def build(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The page's command, in that folder."""
    (line,) = re.findall(r"^PYTHONPATH=\. instructrestore (build .*)$", PAGE, re.MULTILINE)
    settings = [word for setting in SMALL for word in ("--set", setting)]
    command = [sys.executable, "-m", "instructrestore", *shlex.split(line), *settings, *more]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_data_set_is_built_with_the_pages_annotators(folder: Path) -> None:
    ended = build(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    dataset = Dataset(str(folder / "run/dataset"))
    samples = [dataset.read(place)[0] for place in range(len(dataset.index))]
    assert len(samples) == 4
    pieces = [piece for sample in samples for region in sample.regions for piece in region.pieces]
    assert {piece.segmenter for piece in pieces} == {"bands:Halves 1"}
    assert {piece.describer for piece in pieces} == {"bands:Brightness 1"}
    assert {piece.description for piece in pieces} <= {"the wall is light", "the wall is dark"}
    assert {region.subject for sample in samples for region in sample.regions} == {"wall"}

    # Another revision: masks are made again, intake and the quality gate are not.
    text = (folder / "bands.py").read_text("utf-8")
    (folder / "bands.py").write_text(text.replace('REVISION = "1"  #', 'REVISION = "2"  #'), "utf-8")
    kept = {path.name for path in (folder / "run/stages/03-quality-gate").iterdir()}
    masks = {path.name for path in (folder / "run/stages/04-masks").glob("*.parquet")}
    assert build(folder).returncode == 0
    assert {path.name for path in (folder / "run/stages/03-quality-gate").iterdir()} == kept
    assert not masks & {path.name for path in (folder / "run/stages/04-masks").glob("*.parquet")}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("absent:Halves", "there is no module absent; put the folder that holds absent.py on PYTHONPATH"),
        ("bands:Thirds", "the module bands has no class Thirds"),
        ("bands:np", "the module bands has no class np"),
        ("bands:Iterable", "the class Iterable needs a REVISION"),
    ],
)
def test_a_wrong_name_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str) -> None:
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        own_class(name, "masks.segmenter")
