"""What a horizontal flip does to a caption: left and right change places, or the photo is not to be flipped."""

from __future__ import annotations

import re

# "left" and "right" as words, with the endings that keep their meaning: "leftmost", "right-hand", "leftward".
_SIDE = re.compile(r"\b(left|right)(?=(?:most|hand|ward|wards|ish)?\b)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
# Captions of which a flipped photo would be no example, and no exchange of words helps: what is written or counted
# round would stand mirrored; and "left" and "right" that mean no side.
_FIXED = re.compile(
    r"""\b(?: texts? | letter(?:s|ed|ing)? | words? | wordings? | writings? | written | handwritten | handwriting
            | inscriptions? | captions? | numbers? | numerals? | digits? | sign(?:s|age|boards?)? | billboards?
            | logos? | labels? | label(?:l)?ed | posters? | newspapers? | barcodes? | licen[cs]e[ ]plates?
            | clocks? | wristwatch(?:es)? | dials? | (?:anti|counter)?-?clockwise | calendars? | keyboards?
            | maps? | globes?
            | says? | saying | reads
            | left[ -](?:over|overs|behind|alone|open|out|empty|standing|unattended)
            | right[ -](?:angled?s? | angles | now | side[ -]up | behind | above | below | under | beside | next )
            | (?:all | up ) [ ]right )\b
        | ["“”„«»] """,
    re.IGNORECASE | re.VERBOSE,
)


def flipped_caption(caption: str) -> str | None:
    """The caption that fits the mirrored photo, or None where there is none and the photo must stay as it is.

    "the cat on the left-hand side" becomes "the cat on the right-hand side"; "a sign that says stop" has no mirror
    image. Case is kept for "left", "Left" and "LEFT"; a caption in another mix of cases stays unflipped.
    """
    sides = [match[1] for match in _SIDE.finditer(caption)]
    if _FIXED.search(caption) or any(side not in _OTHER for side in sides):
        return None
    return _SIDE.sub(lambda match: _OTHER[match[1]], caption)
