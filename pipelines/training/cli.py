"""The commands `instructrestore train` and `distill`. Import what they need when they run, so that --help is quick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrestore.pipelines.terminal.arguments import check_estimate
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import GO_ON, INTERRUPTED, end
from instructrestore.pipelines.training import flags

if TYPE_CHECKING:
    from instructrestore.model.training.settings import TrainingSettings


def train(
    dataset: flags.DatasetPath,
    out: flags.Out = Path("training"),
    mix: flags.Mix = None,
    cache: flags.Cache = None,
    cache_gib: flags.CacheGib = 64,
    base: flags.Base = None,
    base_revision: flags.BaseRevision = None,
    init_from: flags.InitFrom = None,
    init_revision: flags.InitRevision = None,
    preset: flags.Preset = "stage1",
    config: flags.Config = None,
    assignments: flags.Assignments = None,
    workers: flags.Workers = 1,
    address: flags.Address = None,
    device: flags.Device = None,
    resume: flags.Resume = "auto",
    dry_run: flags.DryRun = False,
    measure: flags.Measure = None,
    price: flags.Price = None,
) -> None:
    _train(
        lambda: _settings(preset, config, assignments),
        (dry_run, measure, price),
        dataset=dataset,
        out=out,
        mix=mix or (),
        base=base,
        base_revision=base_revision,
        init_from=init_from,
        init_revision=init_revision,
        workers=workers,
        address=address,
        device=device,
        resume=resume,
        cache=cache,
        cache_gib=cache_gib,
    )


def distill(
    dataset: flags.DatasetPath,
    out: flags.Out = Path("student"),
    mix: flags.Mix = None,
    cache: flags.Cache = None,
    cache_gib: flags.CacheGib = 64,
    base: flags.Base = None,
    base_revision: flags.BaseRevision = None,
    checkpoint: flags.Teacher = None,
    checkpoint_revision: flags.TeacherRevision = None,
    preset: flags.StudentPreset = None,
    config: flags.Config = None,
    assignments: flags.Assignments = None,
    workers: flags.Workers = 1,
    address: flags.Address = None,
    device: flags.Device = None,
    resume: flags.Resume = "auto",
    dry_run: flags.DryRun = False,
    measure: flags.Measure = None,
    price: flags.Price = None,
) -> None:
    def settings() -> TrainingSettings:
        chosen = _settings(preset or ("distil" if base not in (None, "small") else "small-distil"), config, assignments)
        if chosen.learns != "student":
            raise ValueError(
                f"the preset {chosen.preset} trains no student: take distil or small-distil, or `instructrestore train`"
            )
        return chosen

    _train(
        settings,
        (dry_run, measure, price),
        dataset=dataset,
        out=out,
        mix=mix or (),
        base=base,
        base_revision=base_revision,
        init_from=checkpoint,
        init_revision=checkpoint_revision,
        workers=workers,
        address=address,
        device=device,
        resume=resume,
        cache=cache,
        cache_gib=cache_gib,
    )


def _settings(preset: str, config: Path | None, assignments: list[str] | None) -> TrainingSettings:
    from instructrestore.model.training.settings import PRESETS
    from instructrestore.pipelines.building.presets import read_settings

    return read_settings(PRESETS, preset, config, assignments or ())


def _train(
    settings: Callable[[], TrainingSettings], estimate: tuple[bool, int | None, float | None], **options: Any
) -> None:
    """options: the other fields of TrainingOptions. estimate: --dry-run, --measure, --price."""
    check_estimate(*estimate)
    if options["resume"] not in ("auto", "never"):
        raise ValueError(f"--resume must be auto or never, not {options['resume']!r}")
    try:
        from instructrestore.pipelines.training.command import TrainingOptions, run

        asked = TrainingOptions(settings=settings(), **options)
        dry_run, measure, price = estimate
        if dry_run:
            from instructrestore.pipelines.training.estimate import print_plan

            print_plan(asked, measure, price, PlainConsole())
            return
        run(asked, PlainConsole())
    except KeyboardInterrupt:
        end(GO_ON, INTERRUPTED)
