"""The command `instructrestore testset`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path

from instructrestore.pipelines.terminal.console import PlainConsole
from instructrestore.pipelines.terminal.ending import INTERRUPTED, end
from instructrestore.pipelines.testset import flags
from instructrestore.pipelines.testset.settings import TestSetSettings

DEFAULTS = TestSetSettings()


def make(
    source: flags.Source,
    out: flags.Out = Path("testset"),
    size: flags.Size = DEFAULTS.size,
    degradation: flags.Degradation = DEFAULTS.degradation,
    seed: flags.Seed = DEFAULTS.seed,
    bokeh: flags.Bokeh = DEFAULTS.bokeh,
    least_share: flags.LeastShare = DEFAULTS.least_share,
    most_share: flags.MostShare = DEFAULTS.most_share,
    limit: flags.Limit = None,
    files: flags.Files = False,
) -> None:
    settings = TestSetSettings(
        size=size, bokeh=bokeh, degradation=degradation, seed=seed, least_share=least_share, most_share=most_share
    )
    try:
        # torch takes seconds to import; mistakes in the options have been reported by now
        from instructrestore.pipelines.testset.command import make_testset

        make_testset(source, out, settings=settings, limit=limit, files=files, console=PlainConsole())
    except KeyboardInterrupt:
        end("interrupted: no part of the test set was kept; run the same command again", INTERRUPTED)
