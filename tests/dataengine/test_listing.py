"""What a run's listing on the disk says is new, or contradicts itself, against the same in memory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from instructrestore.dataengine import listing
from instructrestore.dataengine.listing import RunListing
from instructrestore.dataengine.photos.row import Annotation, PolygonMask, Row, SegmentMask, SourcePhoto
from tests.dataengine.emptied import emptied

MASKS = [PolygonMask([[0, 0, 4, 0, 4, 4.5]]), PolygonMask([]), SegmentMask("m.png", None)]
SIGNED = "https://host/a.jpg?X-Amz-Signature=secret"
photos = st.builds(
    SourcePhoto,
    uri=st.sampled_from(["u1", "u2", "/a'; DROP TABLE known; --", "\x00", "ü ", "", SIGNED]),
    name=st.sampled_from(["a.jpg", "b'.jpg"]),
    source=st.sampled_from(["one", "two"]),
    licence=st.sampled_from(["", "", "CC0"]),
    annotations=st.one_of(
        st.none(), st.lists(st.builds(Annotation, st.sampled_from(MASKS), st.just("cat")), max_size=1).map(tuple)
    ),
    bokeh=st.sampled_from([None, None, True, False]),
    excluded=st.integers(0, 3).map(lambda n: n == 0),
    problem=st.sampled_from(["", "", "missing photo"]),
    annotated_size=st.sampled_from([None, None, (4, 8)]),
)


def fingerprint(photo: SourcePhoto) -> bytes:
    said = replace(photo, name="", source="", annotations=None if photo.problem else photo.annotations)
    return TypeAdapter(SourcePhoto).dump_json(said)


def in_memory(known: dict[str, bytes], listed: list[SourcePhoto]) -> tuple[Counter[str], list[SourcePhoto] | str]:
    """Counts, and the new photos or the complaint, as it was done before it went to the disk."""
    seen: dict[str, SourcePhoto] = {}
    counts, fresh = Counter(new=0, twice=0, known=0, signed=0), list[SourcePhoto]()
    complaint = ""
    for photo in listed:
        if first := seen.get(photo.uri):
            counts["twice"] += 1
            try:
                listing._Said.by(first).check(photo)
            except ValueError as error:
                complaint = complaint or str(error)
        else:
            seen[photo.uri] = photo
            if photo.uri not in known:
                counts["new"] += 1
                counts["signed"] += "Signature" in photo.uri
                fresh.append(photo)
                continue
            counts["known"] += 1
            without_size = fingerprint(replace(photo, annotated_size=None))
            if known[photo.uri] not in (fingerprint(photo), without_size):
                complaint = complaint or f"the sources say other things of {photo.name}"
    return counts, complaint or fresh


@given(known=st.lists(photos, max_size=6), listed=st.lists(photos, max_size=12), again=st.booleans())
@settings(max_examples=40, deadline=None)
def test_on_the_disk_is_new_what_is_new_in_memory(
    known: list[SourcePhoto], listed: list[SourcePhoto], again: bool
) -> None:
    """again: the sources list what the run has, before anything else."""
    had = {photo.uri: fingerprint(photo) for photo in known}
    rows = {photo.uri: TypeAdapter(Row).dump_json(Row(photo)) for photo in known}
    listed = [*known, *listed] if again else listed
    counts, expected = in_memory(had, listed)
    signed: list[None] = []
    with emptied() as database:
        found = RunListing(database, rows.items, listed, lambda: signed.append(None))
        assert (found.new, found.twice, found.gone) == (counts["new"], counts["twice"], len(had) - counts["known"])
        assert found.new_signed == counts["signed"] and bool(signed) == any("Signature" in each.uri for each in listed)
        if isinstance(expected, list):
            found.check()
            assert list(found.photos()) == expected
        else:
            with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
                found.check()
