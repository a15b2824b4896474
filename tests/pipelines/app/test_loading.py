"""What the app loads at its start in two threads is whole, whichever of them is quicker."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from accelerate import init_empty_weights

from instructrestore.dataengine.annotator.annotator import load_annotator
from instructrestore.pipelines.app.segments import Segmenter
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.inference import photo_parts
from instructrestore.pipelines.inference.model_source import ModelSource
from tests.pipelines.app.conftest import settings_in


def test_the_annotator_has_its_weights_though_the_model_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, entered, go_on = threading.Event(), threading.Event(), threading.Event()

    def load(source: ModelSource) -> None:
        with init_empty_weights():  # as diffusers does, for all threads
            begun.set()
            assert go_on.wait(60)

    def annotator() -> Any:
        entered.set()
        return load_annotator()

    monkeypatch.setattr(ModelSource, "load", load)
    monkeypatch.setattr(photo_parts, "load_annotator", annotator)
    bench, segmenter = make_server(settings_in(tmp_path)).state.app.bench, Segmenter()
    threads = [threading.Thread(target=bench.load), threading.Thread(target=segmenter.warm)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    assert not entered.wait(0.5)
    go_on.set()
    for thread in threads:
        thread.join()
    assert not any(weight.is_meta for weight in segmenter._finder.annotator[0].sight.extractor.parameters())
