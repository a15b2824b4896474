"""The command `instructrestore train`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path

from instructrestore.pipelines.terminal.arguments import check_estimate
from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import GO_ON, INTERRUPTED, end
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
    dry_run: flags.DryRun = False,
    measure: flags.Measure = None,
    price: flags.Price = None,
) -> None:
    check_estimate(dry_run, measure, price)
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
        if dry_run:
            from instructrestore.pipelines.training.estimate import print_plan

            print_plan(options, measure, price, PlainConsole())
            return
        run(options, PlainConsole())
    except KeyboardInterrupt:
        end(GO_ON, INTERRUPTED)
