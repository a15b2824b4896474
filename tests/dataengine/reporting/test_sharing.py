"""The licence gate: what is known to allow sharing, under every name that sources give it, and what is held back."""

from __future__ import annotations

import pyarrow as pa
import pytest

from instructrestore.dataengine.reporting.sharing import ALLOW_SHARING, conditions, held_back, terms_of, unused


@pytest.mark.parametrize(
    ("licence", "name"),
    [
        ("CC0-1.0", "cc0"),
        ("CC0 1.0", "cc0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public-domain-mark"),
        ("CC BY 4.0", "cc-by"),
        ("CC-BY-NC-SA-2.0", "cc-by-nc-sa"),
        ("CC BY-NC-ND 2.0", "cc-by-nc-nd"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "cc-by-nc-nd"),
        ("creativecommons.org/licenses/by-sa/3.0/de/deed.de", "cc-by-sa"),
        ("http://creativecommons.org/licenses/by/2.0/", "cc-by"),
        ("cc by", "cc-by"),
        ("MIT", "mit"),
        ("Apache-2.0", "apache-2.0"),
    ],
)
def test_a_known_licence_is_known_by_all_its_names(licence: str, name: str) -> None:
    assert terms_of(licence) == ALLOW_SHARING[name]


@pytest.mark.parametrize(
    "licence",
    [
        "", "Unsplash License", "All rights reserved", "not CC BY 4.0", "CC BY 4.0 except for the logo", "CC", "by",
        "No known copyright restrictions", "https://example.org/creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org/licenses/sampling/1.0/", "https://creativecommons.org.evil/licenses/by/4.0/",
        "apache-1.0",
    ],
)  # fmt: skip
def test_anything_else_is_not(licence: str) -> None:
    assert terms_of(licence) is None


def test_the_table_says_where_it_has_it_from_and_its_conditions_follow_from_the_names() -> None:
    for name, terms in ALLOW_SHARING.items():
        assert terms.source.startswith("https://")
        if name.startswith("cc-"):
            parts = set(name.split("-"))
            assert (terms.attribution, terms.non_commercial) == (True, "nc" in parts), name
            assert (terms.no_derivatives, terms.share_alike) == ("nd" in parts, "sa" in parts), name


def index_of(*photos: tuple[str, str]) -> pa.Table:
    keys = [f"{number:020x}" for number in range(len(photos))]
    return pa.table({"key": keys, "licence": [a for a, _ in photos], "url": [b for _, b in photos]})


def test_unknown_licences_are_held_back_unless_someone_says_that_they_allow_it() -> None:
    index = index_of(("CC BY 4.0", "https://a.org/1"), ("Unsplash License", ""), ("", ""), ("CC BY-NC 2.0", ""))
    assert [(each.row, each.reason) for each in held_back(index, ())] == [
        (1, "its licence is not known to allow sharing"),
        (2, "no licence is stated"),
    ]
    assert [each.row for each in held_back(index, ["unsplash  license"])] == [2]
    assert held_back(index, ["Unsplash License", "not stated"]) == []
    assert unused(index, ["Unsplash Licence", "not stated"]) == ["Unsplash Licence"]


def test_a_signed_address_is_never_passed_on() -> None:
    index = index_of(("CC0-1.0", "https://a.org/1.jpg?X-Amz-Signature=abc"), ("CC0-1.0", "https://a.org/2.jpg"))
    assert [(each.row, each.reason) for each in held_back(index, ["CC0-1.0"])] == [
        (0, "its address holds a signature or key")
    ]


def test_conditions_are_counted_over_all_licences() -> None:
    said = conditions([("CC BY-NC-ND 2.0", 2), ("CC BY-SA 4.0", 1000), ("CC0-1.0", 5), ("Unsplash License", 7)])
    assert [line.split(" ")[0] for line in said] == ["1,002", "2", "2", "1,000"]
    assert ["BY" in said[0], "NC" in said[1], "ND" in said[2], "SA" in said[3]] == [True] * 4
