"""`instructrestore build --dry-run`: what a build would do, and what it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

from rich.console import Console

from instructrestore.dataengine.listing import RunListing
from instructrestore.dataengine.photos.row import SourcePhoto
from instructrestore.dataengine.run_folder import RunFolder
from instructrestore.dataengine.running.scratch import scratch
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import build_stages
from instructrestore.pipelines.building.build import LeftOut, listed
from instructrestore.pipelines.building.estimate import estimate, print_estimate
from instructrestore.pipelines.building.measure import draw, measure, start_of_ray
from instructrestore.pipelines.terminal.damage import print_line
from instructrestore.shards.paths import Place


def _counted(photos: Iterable[SourcePhoto], listings: Counter[str]) -> Iterator[SourcePhoto]:
    for photo in photos:
        listings[f"{photo.source} (exclude list)" if photo.excluded else photo.source] += 1
        yield photo


def print_plan(
    settings: BuildSettings, out: Place, console: Console, sample: int | None = None, price: float | None = None
) -> None:
    """What a build would do, without doing it: the photos of each source, and the stages.

    sample: that many photos go through the stages in a folder of their own, from which follows what the build will
    take. price: of an hour.
    """
    folder = RunFolder(out)
    listings = Counter[str]()
    left_out: LeftOut = {}
    with scratch(None) as database:
        listing = RunListing(database, folder.known, _counted(listed(settings, left_out), listings))
        sampled = draw(listing.photos(), sample) if sample else []
    for title, photos in listings.items():
        console.print(f"{photos:>9,}  photos of {title}", highlight=False, markup=False)
    console.print(
        f"{listing.new:>9,}  of them are new to {out}, which has {listing.known:,}", highlight=False, markup=False
    )
    for reason, count in sorted(sum(left_out.values(), Counter[str]()).items()):
        console.print(f"{count:>9,}  annotations are left out: {reason}", highlight=False, markup=False)
    names = [stage.name for stage in build_stages(settings, folder)]
    console.print("stages: " + " -> ".join(names), highlight=False, markup=False)
    if sample is None:
        line = "how long it takes, requests, disk and cost: --measure 20 takes 20 photos through the stages and says"
        print_line(line, console)
    elif listing.new:
        say = partial(print_line, console=console)
        measured = measure(settings, sampled, say)
        found = estimate(settings, measured, listing.new, out, start_of_ray(settings))
        print_estimate(found, measured, out, price, console)
    console.print(f"preset {settings.preset or 'none'}; nothing was written", highlight=False, markup=False)
