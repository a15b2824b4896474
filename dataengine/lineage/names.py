"""How people name a region: KEY#REGION, the region by its number from 1, as `show` draws it, or by its id."""

from __future__ import annotations

import re

from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.shards.sample import AnnotatedPhoto

_NUMBER = re.compile(r"[1-9]\d{0,5}")
_ID = re.compile(r"[0-9a-f]{16}")


def parse_region(text: str) -> tuple[str, str]:
    """(key or its beginning, region or "") of KEY or KEY#REGION. Raises ValueError for anything else."""
    key, mark, region = text.strip().partition("#")
    if not re.fullmatch(r"[0-9a-f]{1,20}", key) or (mark and not (_NUMBER.fullmatch(region) or _ID.fullmatch(region))):
        raise ValueError(
            f"{text!r} names no region: write a photo's key, and for a region its number after #, as in 8f3a2c#2"
        )
    return key, region


def region_number(sample: AnnotatedPhoto, named: str) -> int:
    """The number from 0 of a region that is named by its number from 1 or its id. Raises ValueError where the photo has
    none such."""
    if _ID.fullmatch(named):
        found = [number for number, region in enumerate(sample.regions) if region_id(region) == named]
        if found:
            return found[0]
        raise ValueError(f"the photo {sample.photo.key} has no region {named}")
    if not 1 <= int(named) <= len(sample.regions):
        raise ValueError(f"the photo {sample.photo.key} has {len(sample.regions)} regions, and no region {named}")
    return int(named) - 1
