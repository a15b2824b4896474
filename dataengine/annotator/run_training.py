"""From annotated photos to a weights file: heads on folds of the photos, their calibration, the figures.

Every head is trained on all photos but one fold's. So each photo has a head that never saw it: those predictions say
how sure a probability is (`Calibration`), and the mean of the heads is better than any of them. What is done stays in
the folder; the same command continues where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from instructrestore.dataengine.annotator.annotator import Annotator
from instructrestore.dataengine.annotator.evaluation import SegmentOutcome, evaluate, fit_calibration, outcomes
from instructrestore.dataengine.annotator.features import FeatureExtractor
from instructrestore.dataengine.annotator.names import coco_names
from instructrestore.dataengine.annotator.network import Head
from instructrestore.dataengine.annotator.panoptic import PanopticPhoto
from instructrestore.dataengine.annotator.reduction import Reduction, Sight, fit_reduction
from instructrestore.dataengine.annotator.training import HeadSettings, HeadTrainer
from instructrestore.dataengine.annotator.views import ViewStore, augmented
from instructrestore.dataengine.annotator.weights import TrainedHeads, save_weights
from instructrestore.pretrained.backbone import load_backbone
from instructrestore.pretrained.text_vectors import TextEncoder
from instructrestore.shards.files import commit, sweep
from instructrestore.shards.parsing import parse_json, read_bounded

SAVE_EVERY = 25
PHOTOS_TO_REDUCE = 256
ProgressReport = Callable[[str, int, dict[str, float]], None]
"""Called with the head's name, the step and what is new: {"loss": ...}, or figures on photos not trained on."""


@dataclass(frozen=True)
class AnnotatorTraining:
    """folds: heads, each without every folds-th photo; 1 is one head on all, whose calibration is then made on the
    validation photos. wanted: the share of kept segments that must be right, which sets the bar."""

    head: HeadSettings = field(default_factory=HeadSettings)
    folds: int = 4
    wanted: float = 0.8


def train_annotator(
    photos: Sequence[PanopticPhoto],
    validation: Sequence[PanopticPhoto],
    out: Path,
    settings: AnnotatorTraining,
    record: dict[str, str],
    report: ProgressReport,
) -> dict[str, float]:
    """Trains, calibrates, writes `out`/weights.safetensors and `out`/figures.json; the figures on `validation`.

    No weight sees `validation`. record: what else the weights file should say of its making.
    """
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    extractor = FeatureExtractor(load_backbone())
    sight = Sight(extractor, _reduction(out / "reduction.safetensors", extractor, photos))
    store = ViewStore(out / "views", settings.head.seed, sight)
    text = _text(out / "text.safetensors")
    heads, unseen = [], list[SegmentOutcome]()
    for fold in range(settings.folds):
        seen = [photo for number, photo in enumerate(photos) if settings.folds == 1 or number % settings.folds != fold]
        rest = [photo for number, photo in enumerate(photos) if settings.folds > 1 and number % settings.folds == fold]
        head = _trained(f"head-{fold}", out, settings.head, text, seen, store, report)
        heads.append(head)
        unseen.extend(
            _outcomes(out / f"head-{fold}" / "unseen.json", Annotator(sight, (head,)), rest or validation, store)
        )
    trained = TrainedHeads(sight.reduction, tuple(heads), fit_calibration(unseen, settings.wanted))
    figures = evaluate(Annotator(sight, trained.heads), trained.calibration, validation, store)
    commit(out / "figures.json", (json.dumps(figures, indent=1) + "\n").encode())
    save_weights(trained, out / "weights.safetensors", {**record, "settings": json.dumps(asdict(settings))})
    report("all", settings.head.steps, figures)
    return figures


def _trained(
    name: str,
    out: Path,
    settings: HeadSettings,
    text: Tensor,
    photos: Sequence[PanopticPhoto],
    store: ViewStore,
    report: ProgressReport,
) -> Head:
    folder = out / name
    folder.mkdir(exist_ok=True)
    trainer = HeadTrainer(settings, text, photos, store)
    trainer.resume(folder)
    while trainer.step < settings.steps:
        report(name, trainer.step + 1, {"loss": trainer.train_step()})
        if trainer.step % SAVE_EVERY == 0 or trainer.step == settings.steps:
            trainer.save(folder)
    return trainer.averaged.eval()


def _outcomes(
    path: Path, annotator: Annotator, photos: Iterable[PanopticPhoto], store: ViewStore
) -> list[SegmentOutcome]:
    """Made once and kept, for they take as long as many steps."""
    if path.exists():
        return [SegmentOutcome(**entry) for entry in parse_json(read_bounded(path), str(path))]
    found = outcomes(annotator, photos, store)
    commit(path, json.dumps([asdict(each) for each in found]).encode())
    return found


def _reduction(path: Path, extractor: FeatureExtractor, photos: Sequence[PanopticPhoto]) -> Reduction:
    """Fitted on whole photos, evenly taken from all."""
    if path.exists():
        reduction = Reduction()
        reduction.load_state_dict(load_file(path))
        return reduction
    chosen = photos[:: max(1, len(photos) // PHOTOS_TO_REDUCE)]
    reduction = fit_reduction(extractor(augmented(photo.rgb(), photo.segments(), (0, 0, 0))[0]) for photo in chosen)
    commit(path, save(reduction.state_dict()))
    return reduction


def _text(path: Path) -> Tensor:
    if not path.exists():
        commit(path, save({"text": TextEncoder()([name.word for name in coco_names()])}))
    return load_file(path)["text"]
