from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from instructrestore.dataengine.judging.difference import RegionChange, RegionName, difference, to_json
from instructrestore.dataengine.judging.judgement import region_id
from instructrestore.shards.sample import AnnotatedPhoto
from tests.dataengine.small_dataset import photo_of, region_of, write_dataset


def test_says_what_came_went_and_changed(tmp_path: Path) -> None:
    photos = [photo_of(seed, 64, 48, format="webp" if seed == 3 else "png") for seed in range(5)]
    kept, changed, gone, elsewhere, new = (photo for photo, _ in photos)
    sky, dog, cat = (
        region_of(changed, *box, caption, subject)
        for box, caption, subject in (
            ((0, 0, 64, 20), "the sky", "sky"),
            ((4, 24, 20, 20), "a dog", "dog"),
            ((40, 26, 10, 10), "a cat\x1b[2J<b>", "cat"),
        )
    )
    brushed = replace(dog, mask=region_of(changed, 4, 24, 18, 20, "", "").mask)
    ball = region_of(changed, 50, 40, 5, 5, "a ball", "ball")

    def plain(place: int) -> tuple[AnnotatedPhoto, object]:
        photo, rgb = photos[place]
        return AnnotatedPhoto(photo, (region_of(photo, 0, 0, 64, 20, "the sky", "sky"),)), rgb

    first = [plain(0), (AnnotatedPhoto(changed, (sky, dog, cat)), photos[1][1]), plain(2), plain(3)]
    second = [
        plain(0),
        (AnnotatedPhoto(changed, (replace(sky, caption="the sea", subject="sea"), brushed, ball)), photos[1][1]),
        plain(3),
        plain(4),
    ]
    before, after = (write_dataset(tmp_path / name, each) for name, each in (("v1", first), ("v2", second)))
    found = difference(before, after)
    assert (found.photos_came, found.photos_went, found.photos_changed) == ([new.key], [gone.key], [changed.key])
    assert found.photos_same == 2
    assert found.regions_came == [RegionName(changed.key, region_id(ball), "a ball")]
    assert found.regions_went == [RegionName(changed.key, region_id(cat), cat.caption)]
    assert {change.before: change for change in found.regions_changed} == {
        region_id(sky): RegionChange(
            changed.key,
            region_id(sky),
            region_id(replace(sky, caption="the sea")),
            ("the sky", "the sea"),
            ("sky", "sea"),
        ),
        region_id(dog): RegionChange(changed.key, region_id(dog), region_id(brushed), mask=True),
    }
    assert kept.key not in found.photos_changed and elsewhere.key not in found.photos_changed
    said = to_json(before, after, found)
    assert "\x1b" not in said and json.loads(said)["regions_went"][0]["caption"] == cat.caption
    assert json.loads(said)["before"]["sha256"] == before.sha256


def test_a_version_is_no_other_than_itself(tmp_path: Path) -> None:
    photo, rgb = photo_of(1, 64, 48)
    dataset = write_dataset(tmp_path / "v1", [(AnnotatedPhoto(photo, (region_of(photo, 0, 0, 8, 8, "x", "x"),)), rgb)])
    found = difference(dataset, dataset)
    assert found.photos_same == 1 and not (found.photos_changed or found.regions_changed)
