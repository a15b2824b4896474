"""Which licences are known to allow that a photo is passed on: the one table of them, and what they ask for.

It judges nothing else: neither who owns a photo, nor what may be made of it. A licence that is not in the table may
allow sharing all the same (the Unsplash License, a photographer's word); whoever knows that says so by its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import pyarrow as pa

from instructrestore.dataengine.reporting.index_totals import NOT_STATED
from instructrestore.shards.addresses import has_secret


@dataclass(frozen=True)
class Terms:
    """A licence that allows sharing, and on which conditions. source: where it says so.

    attribution: the maker must be named. non_commercial: not for commerce. no_derivatives: only as it is. share_alike:
    what is made of it only under the same licence.
    """

    source: str
    attribution: bool = False
    non_commercial: bool = False
    no_derivatives: bool = False
    share_alike: bool = False


_CC = "https://creativecommons.org"
# By the name that `_name` gives them, without a version: every version of each allows sharing.
ALLOW_SHARING = {
    "cc0": Terms(f"{_CC}/publicdomain/zero/1.0/legalcode"),
    "public-domain-mark": Terms(f"{_CC}/publicdomain/mark/1.0/"),
    "cc-by": Terms(f"{_CC}/licenses/by/4.0/legalcode#s2a1A", True),
    "cc-by-sa": Terms(f"{_CC}/licenses/by-sa/4.0/legalcode#s2a1A", True, share_alike=True),
    "cc-by-nd": Terms(f"{_CC}/licenses/by-nd/4.0/legalcode#s2a1A", True, no_derivatives=True),
    "cc-by-nc": Terms(f"{_CC}/licenses/by-nc/4.0/legalcode#s2a1A", True, True),
    "cc-by-nc-sa": Terms(f"{_CC}/licenses/by-nc-sa/4.0/legalcode#s2a1A", True, True, share_alike=True),
    "cc-by-nc-nd": Terms(f"{_CC}/licenses/by-nc-nd/4.0/legalcode#s2a1A", True, True, True),
    "pddl": Terms("https://opendatacommons.org/licenses/pddl/1-0/"),
    "odc-by": Terms("https://opendatacommons.org/licenses/by/1-0/", True),
    "odbl": Terms("https://opendatacommons.org/licenses/odbl/1-0/", True, share_alike=True),
    "mit": Terms("https://opensource.org/license/mit", True),
    "apache-2.0": Terms("https://www.apache.org/licenses/LICENSE-2.0", True),
    "unlicense": Terms("https://unlicense.org/"),
}
_PLACE = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/(?:licenses/(by(?:-[a-z]{2}){0,2})|publicdomain/(zero|mark))"
    r"/[\d.]+(?:/[a-z]{2,5})?(?:/(?:deed|legalcode)(?:\.[a-z-]+)?)?/?"
)
_VERSION = re.compile(r"-\d\.\d(?:-[a-z]{2,5})?$")


def terms_of(licence: str) -> Terms | None:
    """The conditions of a licence given by name, SPDX identifier or Creative Commons address; None where it is not
    known to allow sharing."""
    text = licence.strip().casefold()
    if found := _PLACE.fullmatch(text):
        text = f"cc-{found[1]}" if found[1] else {"zero": "cc0", "mark": "public-domain-mark"}[found[2]]
    name = re.sub(r"[\s_-]+", "-", text)
    name = name if name in ALLOW_SHARING else _VERSION.sub("", name)
    return ALLOW_SHARING.get({"cc-by-nd-nc": "cc-by-nc-nd", "cc-zero": "cc0"}.get(name, name))


@dataclass(frozen=True)
class HeldBack:
    """A photo that is not shared. row: of the index. reason: in a few words, to be counted."""

    row: int
    key: str
    licence: str
    reason: str


def held_back(index: pa.Table, granted: Collection[str]) -> list[HeldBack]:
    """The photos of a data set's index that are not to be passed on, in its order.

    granted: licences, as the data set names them, that the caller says allow it; "not stated": photos without one.
    """
    known = {_folded(name) for name in granted}
    reasons: dict[str, str] = {}
    found = []
    columns = (index[name].to_pylist() for name in ("key", "licence", "url"))
    for row, (key, licence, url) in enumerate(zip(*columns, strict=True)):
        if licence not in reasons:
            reasons[licence] = "" if _folded(licence) in known or terms_of(licence) else _why(licence)
        reason = "its address holds a signature or key" if has_secret(url) else reasons[licence]
        if reason:
            found.append(HeldBack(row, key, licence, reason))
    return found


def unused(index: pa.Table, granted: Iterable[str]) -> list[str]:
    """The granted names that no photo of the index has: most likely misspelt."""
    there = {_folded(licence) for licence in index["licence"].unique().to_pylist()}
    return [name for name in granted if _folded(name) not in there]


def conditions(licences: Iterable[tuple[str, int]]) -> list[str]:
    """What the licences of a data set's photos ask of whoever passes them on, a sentence each.

    licences: each with the number of its photos.
    """
    asked = [(photos, terms) for licence, photos in licences if (terms := terms_of(licence))]
    said = (
        (
            sum(photos for photos, terms in asked if terms.attribution),
            "must be passed on with the name of who made them (BY); each record has what its source stated",
        ),
        (sum(photos for photos, terms in asked if terms.non_commercial), "must not be used for commerce (NC)"),
        (
            sum(photos for photos, terms in asked if terms.no_derivatives),
            "may be passed on only as they are (ND): what is made of them may not",
        ),
        (
            sum(photos for photos, terms in asked if terms.share_alike),
            "may be changed only under the same licence (SA)",
        ),
    )
    return [f"{photos:,} photos {sentence}." for photos, sentence in said if photos]


def _folded(licence: str) -> str:
    return " ".join(licence.split()).casefold() or NOT_STATED


def _why(licence: str) -> str:
    if _folded(licence) == NOT_STATED:
        return "no licence is stated"
    return "its licence is not known to allow sharing"
