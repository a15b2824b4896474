"""The real photos that tests use, by name: what else lies in the folder of real data changes no test.

Bounds on shares of photos hold for the photos they were established on. Where more photos say something else, that is
a finding for the docs, not a test that fails on one machine and passes on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest


def _named(folder: str, ending: str, stems: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{stem}{ending}" for stem in stems.split())


CLIC = _named(
    "clic2025",
    ".png",
    "final-test_1b4ad095795ac552b38a21d51be7bfaee8e7d0a70619d84767814321df4ed062 "
    "validation_0c49a5cce349020bbba2f97ae41e90ba validation_22ea12c903e41583b7c469cb86040157 "
    "validation_60430844748882ff66b9a5598ef06dd6 validation_7e499613c3e376ea93afb3649719abeb "
    "validation_d1a9be98d1936065967adac50a6fb750",
)
KODAK = _named("kodak", ".png", "1 13 19 20 23 24 3 5 7 8")
CID22 = _named(
    "cid22",
    ".png",
    "training_106399 training_1130683 training_1200348 training_1391487 training_146083 training_1583339 "
    "training_1687147 training_2290070 training_2387876 training_239581 training_2581922 training_3396657 "
    "training_3493730 training_4934193 training_53435 training_631292 training_67216 training_708587 "
    "training_7233401 training_AgilityCourseElements training_Boxplot training_Verkehrstote_Deutschland_1953-2012 "
    "training_pexels-photo-1029599 training_pexels-photo-1075776 training_pexels-photo-2802032 "
    "training_pexels-photo-7263002 validation_1279330 validation_162520 validation_164595 validation_2079234 "
    "validation_225228 validation_2736139 validation_3653963 validation_6078297 validation_70497 "
    "validation_792079",
)
ANIMALS = _named("gfm_am2k_alpha", ".jpg", "sample1 sample10 sample11 sample13 sample14 sample3 sample5")
PORTRAITS = _named("p3m_portrait_alpha/original", ".jpg", "p_09ba26b4 p_22fc0130 p_bc5cfad1 p_bd6af989")
BOKEH = _named("gfm_samples", ".jpg", "1 2 3 4 5")
COCO_TRAIN = _named(
    "coco_tiny/train2017",
    ".jpg",
    "000000024577 000000116740 000000180239 000000196610 000000204805 000000278528 000000294920 000000319492 "
    "000000352257 000000360452 000000360461 000000401416 000000425988 000000458756 000000501760 000000565248",
)
COCO_VALIDATION = _named(
    "coco_tiny/val2017",
    ".jpg",
    "000000005001 000000030213 000000055299 000000119828 000000166918 000000175364 000000184324 000000208901 "
    "000000261888 000000269314 000000311303 000000343937 000000349184 000000357888 000000404484 000000415748 "
    "000000416256 000000520707 000000555009 000000577539",
)
PANOPTIC = _named("panoptic_sample/input_images", ".jpg", "000000142238 000000439180")
COCO = COCO_TRAIN + COCO_VALIDATION


def present(data: Path, names: Sequence[str]) -> list[Path]:
    """The named files, in the order of their paths; the test is skipped where one is absent."""
    paths = sorted((data / name for name in names), key=lambda path: path.as_posix())
    if absent := [path for path in paths if not path.is_file()]:
        pytest.skip(f"{len(absent)} of {len(paths)} files are not there, the first {absent[0]}")
    return paths


def matte_of(photo: Path) -> Path:
    """Where the matte of an animal's or a portrait's photo lies."""
    folder = photo.parents[1] / "alpha" if photo.parent.name == "original" else photo.parent
    return folder / f"{photo.stem}.png"
