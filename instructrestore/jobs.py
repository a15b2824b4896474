"""The jobs of the command line as functions: paths and settings in, what was made out.

They do what the commands of the same names do, print what those print unless `quiet`, and go on where an earlier call
for the same folder was. `settings` are those that `--set` takes, by name: {"quality_gate.score": 55}.

A user's mistake is a ValueError with one plain sentence, which names the command's option where there is one;
RuntimeError says why going on is pointless (a server that is down).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from instructrestore.dataengine.running.stage import StopStage
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.shards.index import Dataset

if TYPE_CHECKING:
    import pandas as pd

    from instructrestore.pipelines.restoration.files import RestoreSummary
    from instructrestore.pipelines.understanding.wishes import Understood

AnyPath = str | PathLike[str]  # a local path; an fsspec URI or hub id where the function says so


def understand(wish: str, *, language_model: str | None = None, language_model_name: str | None = None) -> Understood:
    """What a wish in any words and language means: `.instruction`, and `.model`, which read it.

    The grammar of `parse_instruction` reads it where it can; then `.model` is None and nothing is sent anywhere.
    language_model: an OpenAI-compatible server for what the grammar refuses, as in http://127.0.0.1:8000/v1; its key,
    if it needs one, is in the environment variable INSTRUCTRESTORE_LANGUAGE_MODEL_KEY. None: nobody is asked.
    language_model_name: the model's name there; None: the only one that it has.

    ValueError says why there is no instruction in the wish, RuntimeError that the server cannot be asked. Look at
    `.instruction` before you use it: a model may have understood something else.
    """
    from instructrestore.pipelines.understanding.confirming import reader_named

    with _stops():
        return reader_named(language_model, language_model_name)(wish)


def open_dataset(path: AnyPath) -> Dataset:
    """A data set opened for reading: its card, its index, and each photo with its regions.

    path: its folder, or its fsspec URI.
    """
    return Dataset(fspath(path))


def build(
    *sources: AnyPath,
    out: AnyPath,
    preset: str = "embedded",
    config: AnyPath | None = None,
    settings: Mapping[str, object] | None = None,
    exclude: Sequence[AnyPath] = (),
    limit: int | None = None,
    address: str | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
) -> Dataset:
    """Makes a data set of photos, as `instructrestore build` does, and opens it.

    sources: folders of photos, annotations or manifests, as in [KIND:]PATH[?OPTION=VALUE&...]. out: the run's folder,
    local or an fsspec URI. preset, config, settings: where the settings begin, a TOML file and single settings, each
    laid over the one before. exclude: sources of test photos, which are left out together with their near-duplicates.
    limit: how many photos to take. address: a Ray cluster; None: this machine. retry_failed: do the failed rows again,
    and those alone.
    """
    from instructrestore.pipelines.building.build import build as run_build
    from instructrestore.pipelines.building.build import print_summary
    from instructrestore.pipelines.building.presets import build_settings, with_values
    from instructrestore.shards.paths import parse_place

    chosen = build_settings(
        sources=[fspath(source) for source in sources],
        exclude=[fspath(source) for source in exclude],
        preset=preset,
        config=Path(config) if config else None,
        limit=limit,
        address=address,
    )
    console = PlainConsole(quiet=quiet)
    with _stops():
        result = run_build(with_values(chosen, _nested(settings)), parse_place(fspath(out)), console, retry_failed)
    print_summary(result, console)
    return Dataset(str(result.dataset))


def train(
    dataset: AnyPath,
    *,
    out: AnyPath,
    preset: str = "stage1",
    config: AnyPath | None = None,
    settings: Mapping[str, object] | None = None,
    base: AnyPath | None = None,
    init_from: AnyPath | None = None,
    mix: Mapping[str, float] | None = None,
    workers: int = 1,
    address: str | None = None,
    device: str | None = None,
    resume: bool = True,
    quiet: bool = False,
) -> Path:
    """Trains a checkpoint on a data set, as `instructrestore train` does; returns the folder of the last one.

    dataset: its folder or fsspec URI. out: the run's folder, in which a run that was interrupted goes on, unless
    `resume` is False. preset, config, settings: as in `build`. base: a Stable Diffusion 2.1 base, a folder or hub id;
    the presets "tiny" and "small-base" make their own, "small" takes the model that ships. init_from: the checkpoint
    or run to begin with; None: the base's UNet.
    mix: further data sets, each with its share of the samples. workers, address: of Ray, where there are several.
    """
    from instructrestore.model.training.checkpoints import last_of_run
    from instructrestore.model.training.settings import PRESETS
    from instructrestore.pipelines.building.presets import read_settings, with_values
    from instructrestore.pipelines.training.command import TrainingOptions, run

    chosen = read_settings(PRESETS, preset, Path(config) if config else None, ())
    options = TrainingOptions(
        dataset=fspath(dataset),
        out=Path(out),
        settings=with_values(chosen, _nested(settings)),
        mix=[f"{path}:{share}" for path, share in (mix or {}).items()],
        base=_text(base),
        init_from=_text(init_from),
        workers=workers,
        address=address,
        device=device,
        resume="auto" if resume else "never",
    )
    with _stops():
        run(options, PlainConsole(quiet=quiet))
    return Path(last_of_run(fspath(out)))


def restore(
    photos: AnyPath | Sequence[AnyPath],
    instruction: str,
    *,
    base: AnyPath = "small",
    checkpoint: AnyPath | None = None,
    out: AnyPath = "restored",
    masks: Sequence[AnyPath] = (),
    unite: Sequence[AnyPath] = (),
    intersect: Sequence[AnyPath] = (),
    subtract: Sequence[AnyPath] = (),
    protect: Sequence[AnyPath] = (),
    scale_map: AnyPath | None = None,
    scale_range: tuple[float, float] | None = None,
    points: Sequence[tuple[float, float]] = (),
    boxes: Sequence[tuple[float, float, float, float]] = (),
    save_mask: bool = False,
    mask_only: bool = False,
    compare: bool = False,
    sweep: Sequence[float] = (),
    auto: str | None = None,
    seeds: int = 1,
    skip_existing: bool = False,
    format: str = "png",
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    dtype: str | None = None,
    device: str | None = None,
    memory: str | int = "none",
    batch: int = 1,
    language_model: str | None = None,
    language_model_name: str | None = None,
    yes: bool = False,
    quiet: bool = False,
) -> RestoreSummary:
    """Restores photo files into a folder, as `instructrestore restore` does; returns what became of them.

    photos: files or folders. base: a Stable Diffusion 2.1 base, or a whole pipeline, a folder or hub id; "small" is the
    model that ships.
    checkpoint: the trained ControlNet, a folder, a training run or a hub id; None: the base's own.
    masks: for each region a file for all photos, or a folder of files named like them, in place of predicted ones; so
    are unite, intersect and subtract, for the masks of all regions, protect, of what must not change, and scale_map,
    scales pixel by pixel, where scale_range are those of black and white.
    points, boxes: of a single photo, where its one region is: (x, y) and (x, y, width, height) in pixels.
    sweep: scales of the first region, for a contact sheet. auto: find the scales for this aim (natural, faithful or
    detail), trying so many seeds. format: png, jpeg, webp, avif, tiff (16 bits a channel) or
    original (the photo's own where it is one of these). settings: of SamplingSettings, by name.
    language_model, language_model_name: as in `understand`. yes: what it understood is done; otherwise it is the text
    of a ValueError, to be looked at first.
    dtype, device, memory: as in `load_pipeline`.

    The summary has `restored` and `skipped`, numbers of photos, and `failed`, name and reason of each that could not be
    restored: one bad photo ends nothing. To restore pictures in memory take `load_pipeline`.
    """
    from instructrestore.pipelines.inference.model_source import ModelSource
    from instructrestore.pipelines.inference.options import sampling_settings
    from instructrestore.pipelines.inference.restorer import OutputSettings
    from instructrestore.pipelines.pictures.output_file import checked_format
    from instructrestore.pipelines.restoration.files import RestoreOptions
    from instructrestore.pipelines.restoration.files import restore as restore_files
    from instructrestore.pipelines.restoration.inputs import find_jobs
    from instructrestore.pipelines.restoration.mask_files import AskedMasks
    from instructrestore.pipelines.understanding.confirming import reader_named, refusal

    console = PlainConsole(quiet=quiet)
    read = reader_named(language_model, language_model_name)
    kind = checked_format(format, "format")
    listed = [photos] if isinstance(photos, (str, PathLike)) else photos
    with _stops():
        jobs = find_jobs(
            [*(fspath(photo) for photo in listed), instruction],
            Path(out),
            seed=seed,
            asked=AskedMasks(
                masks=tuple(map(Path, masks)),
                unite=tuple(map(Path, unite)),
                intersect=tuple(map(Path, intersect)),
                subtract=tuple(map(Path, subtract)),
                protect=tuple(map(Path, protect)),
                scale_map=Path(scale_map) if scale_map else None,
                scale_range=scale_range,
            ),
            points=points,
            boxes=boxes,
            say=console.print,
            format=kind,
            read=read,
        )
    if read.by_model and not yes:
        raise ValueError(refusal(read.by_model))
    source = ModelSource.named(
        fspath(base), _text(checkpoint), console.print, dtype=dtype, device=device, memory=memory
    )
    wanted = OutputSettings(
        save_mask=save_mask,
        mask_only=mask_only,
        compare=compare,
        sweep=tuple(sweep),
        auto=auto,
        seeds=seeds,
        skip_existing=skip_existing,
        format=kind,
    )
    options = RestoreOptions(source, sampling_settings(dict(settings or {}), ()), wanted, batch)
    return restore_files(jobs, Path(out), options, console)


def make_testset(
    source: AnyPath,
    *,
    out: AnyPath,
    size: int = 512,
    bokeh: bool = False,
    degradation: Literal["release", "real-esrgan"] = "release",
    seed: int = 0,
    limit: int | None = None,
    quiet: bool = False,
) -> Dataset:
    """Makes a test set of a data set or a CSV of photo pairs, as `instructrestore testset` does, and opens it.

    size: side of the square crops, a multiple of 64. bokeh: only regions in front of a blurred background.
    degradation, seed: how LQ photos are made where there are none. limit: the most samples, spread over the source.
    """
    from instructrestore.pipelines.testset.command import make_testset as make
    from instructrestore.pipelines.testset.settings import TestSetSettings
    from instructrestore.shards.pairs import TestSet

    settings = TestSetSettings(size=size, bokeh=bokeh, degradation=degradation, seed=seed)
    make(fspath(source), Path(out), settings=settings, limit=limit, console=PlainConsole(quiet=quiet))
    return TestSet(fspath(out))


def evaluate(
    testset: AnyPath,
    *,
    base: AnyPath | None = None,
    checkpoint: AnyPath | None = None,
    out: AnyPath = "evaluation",
    results: Mapping[str, AnyPath] | None = None,
    runs: Sequence[str] = (),
    metrics: str = "embedded",
    given_masks: bool = False,
    seed: int = 0,
    limit: int | None = None,
    settings: Mapping[str, object] | None = None,
    dtype: str = "float32",
    device: str | None = None,
    batch: int = 1,
    address: str | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Measures a model, other methods or both over a test set, as `instructrestore evaluate` does.

    base, checkpoint: the model, as in `restore`; None: "small" where there are no results and runs. results: folders
    of restored photos by their methods' names. runs: methods to run, as in real-esrgan=RealESRGAN_x4plus.pth.
    metrics: embedded (no weights), all, or names with commas between them. given_masks: restore with the regions' own
    masks.

    Returns a row for each figure of each photo, with the columns method, s1, s2, key, photo, caption, scope (region,
    rest or whole), metric and value; the tables and the page lie in `out`, and which photos failed in its
    evaluation.json.
    """
    from instructrestore.pipelines.evaluation.methods.restorers import compared_group, model_group
    from instructrestore.pipelines.evaluation.methods.spec import parse_method
    from instructrestore.pipelines.evaluation.options import (
        evaluation_settings,
        given_results,
        metric_settings,
        scales_of,
        tables_of,
    )
    from instructrestore.pipelines.evaluation.run import EvaluationRequest, run_evaluation
    from instructrestore.pipelines.inference.model_source import ModelSource
    from instructrestore.shards.pairs import TestSet

    groups = [compared_group(run, device, seed) for run in map(parse_method, runs) if run.name != "lq"]
    if base or not (results or runs):
        source = ModelSource(base=fspath(base or "small"), checkpoint=_last(checkpoint), dtype=dtype, device=device)
        scales = scales_of(tables_of((), TestSet(fspath(testset)).bokeh))
        groups.insert(0, model_group(source, evaluation_settings(dict(settings or {}), ()), scales, given_masks))
    with _stops():
        request = EvaluationRequest(
            testset=fspath(testset),
            out=Path(out),
            metrics=metric_settings(metrics, device),
            groups=groups,
            found=given_results([f"{name}={fspath(folder)}" for name, folder in (results or {}).items()]),
            seed=seed,
            batch=batch,
            limit=limit,
            address=address,
        )
        evaluated = run_evaluation(request, PlainConsole(quiet=quiet))
    return evaluated.scores


def _text(place: AnyPath | None) -> str | None:
    return None if place is None else fspath(place)


def _last(checkpoint: AnyPath | None) -> str | None:
    """A checkpoint, or the last one of a training run's folder."""
    from instructrestore.model.training.checkpoints import last_of_run

    return None if checkpoint is None else last_of_run(fspath(checkpoint))


def _nested(settings: Mapping[str, object] | None) -> dict[str, Any]:
    """{"a.b": 1, "a.c": 2} as {"a": {"b": 1, "c": 2}}."""
    nested: dict[str, Any] = {}
    for name, value in (settings or {}).items():
        *outer, last = name.split(".")
        place = nested
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return nested


@contextmanager
def _stops() -> Iterator[None]:
    """A run that stops because going on is pointless, as an exception that a caller knows."""
    try:
        yield
    except StopStage as error:
        raise RuntimeError(str(error)) from error
