"""The presets, and the settings that the documents show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instructrestore.dataengine.noun_phrases.parser import cache_identity
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import photo_stages
from instructrestore.pipelines.building.presets import PRESETS, paper, read_build_settings, to_toml

DOCS = Path(__file__).resolve().parents[3]
COMMIT = re.compile(r"[0-9a-f]{40}")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_file_says(name: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(to_toml(PRESETS[name]()), "utf-8")
    assert read_build_settings("embedded", file, ()) == PRESETS[name]()


@pytest.mark.parametrize("choice", ["merge.synonyms=false", "quality_gate.metric=embedded"])
def test_what_is_chosen_otherwise_than_the_preset_does_stays_so(choice: str, tmp_path: Path) -> None:
    settings, file = read_build_settings("embedded", None, [choice]), tmp_path / "settings.toml"
    assert settings != PRESETS["embedded"]()
    file.write_text(to_toml(settings), "utf-8")
    assert read_build_settings("embedded", file, ()) == settings


@pytest.mark.parametrize("name", PRESETS)
def test_however_settings_were_read_they_are_the_same_stages_and_answers(name: str) -> None:
    made = PRESETS[name]()
    read = type(made).model_validate(made.model_dump())
    assert [spec.identity for spec in photo_stages(read)] == [spec.identity for spec in photo_stages(made)]
    assert cache_identity(read.noun_phrases.small) == cache_identity(made.noun_phrases.small)
    assert cache_identity(read.noun_phrases.large) == cache_identity(made.noun_phrases.large)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_identities_of_their_own(name: str) -> None:
    """So that a run that changes its preset redoes what differs."""
    stages = {spec.name: spec.identity for spec in photo_stages(PRESETS[name]())}
    others = [{spec.name: spec.identity for spec in photo_stages(PRESETS[n]())} for n in PRESETS if n != name]
    assert all(stages != other for other in others)
    assert all(stages["intake"] == other["intake"] for other in others)


def test_the_paper_s_figures() -> None:
    s = paper()
    assert (s.quality_gate.short_side, s.quality_gate.score, s.quality_gate.metric) == (512, 60, "musiq")
    assert not s.merge.synonyms and s.agreement is None
    assert (s.noun_phrases.rank, s.noun_phrases.rounds) == (200, 3)
    small, large = s.noun_phrases.small.server, s.noun_phrases.large.server
    assert small and large and "7B" in small.model and "72B" in large.model and large.vllm.tensor_parallel == 4


@pytest.mark.parametrize("name", ["paper", "modern"])
def test_downloads_name_a_commit(name: str) -> None:
    """All but Osprey-7b, of which none is known, and Semantic-SAM, which is on no hub."""
    unpinned = {where for where, revision in _revisions(PRESETS[name]().model_dump()) if not COMMIT.fullmatch(revision)}
    known = {"paper": {"masks.semantic_sam.revision", "descriptions.osprey.revision"}, "modern": set()}
    assert unpinned == known[name]


def _revisions(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _revisions(value, f"{path}{key}.")
        elif key.endswith("revision"):
            yield path + key, value


def _snippets() -> Iterator[Any]:
    for file in ("docs/annotators.md", "docs/cluster.md", "README.md"):
        text = (DOCS / file).read_text("utf-8")
        for number, match in enumerate(re.finditer(r"^( *)```toml\n(.*?)^\1```", text, re.S | re.M)):
            yield pytest.param(match[2], id=f"{file}-{number}")


@pytest.mark.parametrize("snippet", list(_snippets()))
def test_settings_in_the_documents_are_valid(snippet: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(snippet, "utf-8")
    read_build_settings("embedded", file, ())


@pytest.mark.parametrize("setting", ["masks.segmenter", "descriptions.describer"])
def test_what_version_0_1_called_embedded_is_said_to_have_two_names(setting: str) -> None:
    with pytest.raises(ValueError, match="is called") as said:
        read_build_settings("embedded", None, [f"{setting}=embedded"])
    assert str(said.value) == (
        f'setting {setting}: version 0.1\'s "embedded" is called "colour" now, and "named" is what took its place'
    )


def test_settings_that_began_as_no_preset_say_so_and_can_be_read_again(tmp_path: Path) -> None:
    assert BuildSettings().preset == ""
    assert all(PRESETS[name]().preset == name for name in PRESETS)
    file = tmp_path / "settings.toml"
    file.write_text(to_toml(BuildSettings()), "utf-8")
    read = read_build_settings("embedded", file, [])
    assert read == BuildSettings(preset="embedded")  # every value is the file's
