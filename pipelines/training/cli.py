"""The command `instructrestore train`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from instructrestore.pipelines.terminal.ending import INTERRUPTED, end
from instructrestore.pipelines.training import flags


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
) -> None:
    if resume not in ("auto", "never"):
        raise ValueError(f"--resume must be auto or never, not {resume!r}")
    try:
        from instructrestore.model.training.settings import PRESETS
        from instructrestore.pipelines.building.presets import read_settings
        from instructrestore.pipelines.training.command import TrainingOptions, run

        options = TrainingOptions(
            dataset=dataset,
            out=out,
            settings=read_settings(PRESETS, preset, config, assignments or ()),
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
        run(options, Console())
    except KeyboardInterrupt:
        end("interrupted; run the same command again to continue", INTERRUPTED)
