"""Makes category names into phrases: "sky-other-merged" -> "the sky", "wall-brick" -> "the brick wall".

By rules, without a list of any data set's names. They cover how COCO (`hair drier`), COCO-stuff and COCO panoptic
(`wall-brick`, `grass-merged`), LVIS (`bow_(decorative_ribbons)`), EntitySeg (`building_others`, `river/stream`) and
ADE20K (`door, double door`) write names.
"""

from __future__ import annotations

import re

REVISION = "1"

# Words that say how a data set sorts its categories, and nothing about what is seen.
_SORTING = frozenset({"merged", "other", "others", "stuff", "thing", "things", "misc", "miscellaneous"})
# Names that name nothing.
_NAMELESS = frozenset({
    "unknown", "unlabeled", "unlabelled", "undefined", "unspecified", "void", "ignore", "ignored", "none", "null", "na",
    "nan",
})  # fmt: skip
_DETERMINERS = frozenset({
    "a", "an", "the", "this", "that", "these", "those", "my", "his", "her", "its", "our", "their", "some",
})  # fmt: skip

# "surface-material", as in COCO-stuff, is turned round; "bow-tie" and "window-blind" keep their order.
_SURFACES = frozenset({
    "wall", "floor", "ceiling", "ground", "roof", "door", "fence", "window", "table", "road", "pavement", "path",
    "counter", "bridge",
})  # fmt: skip
_MATERIALS = {
    "wood": "wooden", "tile": "tiled", "panel": "panelled", "brick": "brick", "stone": "stone", "rock": "rock",
    "marble": "marble", "concrete": "concrete", "cement": "cement", "metal": "metal", "steel": "steel",
    "iron": "iron", "glass": "glass", "plastic": "plastic", "paper": "paper", "carpet": "carpet", "grass": "grass",
    "dirt": "dirt", "sand": "sand", "gravel": "gravel", "bamboo": "bamboo", "leather": "leather", "fabric": "fabric",
    "asphalt": "asphalt", "plaster": "plaster", "granite": "granite", "mud": "mud", "snow": "snow",
}  # fmt: skip

# A gerund written as one word with the place or tool it is for, as in "playingfield".
_GROWN_TOGETHER = re.compile(r"([a-z]{2,}ing)(field|ground|room|pool|table|board|machine|pan|hall|lot|area)(s?)")


def phrase_of(label: str) -> str:
    """A category's name as a noun phrase with its article, or "" for a name that says nothing ("other", "void").

    Of several names for the same thing ("door, double door", "river/stream") the first is taken; of a name with an
    explanation in brackets, the part after them if there is one (LVIS puts the fuller name there), otherwise the part
    before them. Lower case, as the text encoder reads it.
    """
    text = label.casefold().replace("_", " ")
    text = re.split(r"[,;/|]", text)[0]
    before, bracket, after = re.sub(r"\([^()]*\)?", "(", text).partition("(")
    text = after if bracket and re.search(r"[^\W\d]", after) else before
    words = [part for word in text.split() if (part := _word(word))]
    while words and words[-1].isdigit():  # "person 2" is the second of its kind
        words.pop()
    words = [word for word in words if word not in _SORTING]
    if not any(re.search(r"[^\W\d]", word) for word in words) or (_NAMELESS | _DETERMINERS).issuperset(words):
        return ""
    return " ".join(words if words[0] in _DETERMINERS else ["the", *words])


def _word(word: str) -> str:
    """One word of a name, without sorting words, and with a material moved in front of its surface."""
    parts = [part for part in word.strip("-.:\"'()").split("-") if part and part not in _SORTING]
    if len(parts) == 2 and parts[0] in _SURFACES:
        return f"{_MATERIALS[parts[1]]} {parts[0]}" if parts[1] in _MATERIALS else " ".join(parts)
    return _GROWN_TOGETHER.sub(r"\1 \2\3", "-".join(parts))
