"""What `instructrestore import` does: a Hugging Face folder becomes a data set with its card, and what people changed
in another tool a file of judgements.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import fsspec
from rich.console import Console

from instructrestore.dataengine.exchange.corrections import Corrector, judgements, to_lines
from instructrestore.dataengine.exchange.hugging_face_import import import_hugging_face
from instructrestore.dataengine.reporting import card, statistics
from instructrestore.dataengine.sources import list_photos, parse_source
from instructrestore.dataengine.sources.label_studio import list_label_studio
from instructrestore.pipelines.terminal.amounts import counts_text
from instructrestore.shards.checksums import sha256
from instructrestore.shards.files import commit
from instructrestore.shards.index import Dataset


def import_dataset(folder: Path, out: Path, photos_per_shard: int, console: Console) -> None:
    """Raises as `import_hugging_face` does."""
    made = import_hugging_face(folder, out, out.absolute().name, photos_per_shard)
    card.write_card(out, made, statistics.of_dataset(Dataset(str(out))))
    counted = f"{counts_text(photo=made.photos, triplet=made.regions, shard=len(made.shards))} in {out}"
    console.print(counted, highlight=False, markup=False, soft_wrap=True)


def import_corrections(source: str, dataset: str, who: str, same: float, out: Path, console: Console) -> Counter[str]:
    """Writes the judgements, and prints how many there are of each act and what is none. Returns the acts.

    source: as `build` takes it. Raises ValueError for what is no source or no data set, and a file that is there.
    """
    if out.exists():
        raise ValueError(f"{out} is there already: name a new file")
    opened = Dataset(dataset)
    with fsspec.open(f"{opened.path}/dataset.json", "rb") as file:
        version = sha256(file.read())  # pyright: ignore[reportAttributeAccessIssue]
    settings = parse_source(source)
    left_out = Counter[str]()
    corrector = Corrector(who, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), version, same)
    if settings.kind == "label-studio":
        photos = list_label_studio(settings, left_out, by_people=True)
    else:
        photos = list_photos(settings, left_out)
    found = list(judgements(opened, photos, corrector, left_out))
    out.parent.mkdir(parents=True, exist_ok=True)
    commit(out, to_lines(found))
    acts = Counter(each["act"] for each in found)
    for act, count in sorted(acts.items()):
        console.print(f"{count:>9,}  {act}", highlight=False, markup=False)
    for reason, count in sorted(left_out.items()):
        if count:
            console.print(f"{count:>9,}  left out: {reason}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{counts_text(judgement=len(found))} of {dataset} in {out}", highlight=False, markup=False, soft_wrap=True
    )
    return acts
