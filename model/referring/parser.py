"""A caption -> Reference: its head, and what singles it out."""

from __future__ import annotations

import re
from dataclasses import replace

from instructrestore.model.referring.reference import (
    ADJECTIVES,
    COLOURS,
    NUMBERS,
    RELATIONS,
    Kind,
    Order,
    Rank,
    Reference,
    StandsTo,
)

# Besides the words that are written.
_MORE_ADJECTIVES: dict[Order, str] = {
    "left": "left-most, left-hand, lefthand, far left, left hand",
    "right": "right-most, right-hand, righthand, far right, right hand",
    "top": "topmost, upper, highest, upmost",
    "bottom": "bottommost, lower, lowermost, bottom-most",
    "middle": "central, center, centre, middlemost",
    "largest": "large, larger, big, bigger, huge",
    "smallest": "small, smaller, little, tiny, tiniest",
    "tallest": "tall, taller",
    "shortest": "short, shorter",
    "widest": "wide, wider",
    "narrowest": "narrow, narrower, thin, thinnest",
}
_MORE_RELATIONS: dict[Kind, str] = {
    "beside": "near, by, close to, alongside, standing beside, standing next to, sitting beside, sitting next to",
    "on": "on top of, standing on, sitting on, lying on",
    "in front of": "before, standing in front of, sitting in front of",
    "above": "over",
    "below": "under, beneath, underneath",
    "left of": "left of, on the left of, at the left of, on the left side of, to the left side of",
    "right of": "right of, on the right of, at the right of, on the right side of, to the right side of",
}


def _either(words: list[str]) -> str:
    """A pattern of any of them, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_ADJECTIVE: dict[str, Order] = {
    word: order for order, own in ADJECTIVES.items() for word in (*own, *_MORE_ADJECTIVES.get(order, "").split(", "))
}
_RELATION: dict[str, Kind] = {
    word: kind for kind, own in RELATIONS.items() for word in (*own, *_MORE_RELATIONS[kind].split(", "))
}
_COLOUR = {colour: colour for colour in COLOURS} | {"gray": "grey", "violet": "purple", "golden": "yellow"}
_NUMBER = {word: place for place, word in enumerate(NUMBERS, 1)} | {
    f"{place}{ending}": place for place, ending in enumerate(("st", "nd", "rd", *["th"] * 7), 1)
}
_ARTICLE = r"(?:the|an?|my|our|your|his|her|their|this|that|these|those)"
_PHOTO = r"(?: of the (?:photo|picture|image|scene|frame))?"
_FLAGS = re.IGNORECASE

_ALL_BUT = re.compile(
    rf"(?:all(?: of)?(?: the)?|every|each|any)(?: (?P<head>.+?))?,? "
    rf"(?:but|except(?: for)?|apart from|other than|besides) (?:for )?{_ARTICLE} (?P<one>.+)",
    _FLAGS,
)
_PLACE = re.compile(
    rf"(?P<head>.+?),?(?: (?:that|which|who) (?:is|are))? (?:on|at|in|to|towards?|near) the (?:far |very )?"
    rf"(?P<side>left|right|top|bottom|middle|cent(?:er|re))(?:[- ]?hand)?(?: side| end| part)?{_PHOTO}",
    _FLAGS,
)
_COUNTED = re.compile(r"(?P<head>.+?),?(?: counted| counting)? (?:from|on) the (?P<side>left|right|top|bottom)", _FLAGS)
_RELATED = re.compile(  # the last relation
    rf"(?P<head>.+?),?(?: (?:that|which|who) (?:is|are))? (?P<relation>{_either(list(_RELATION))}) "
    rf"{_ARTICLE} (?P<other>(?:(?! (?:{_either(list(_RELATION))}) {_ARTICLE} ).)+)",
    _FLAGS,
)
_WORN = re.compile(
    rf"(?P<head>.+?),?(?: (?:that|which|who) (?:is|are))? (?:in|wearing|with|dressed in)(?: {_ARTICLE})?"
    rf"(?: (?:light|dark|bright|pale))? (?P<colour>{_either(list(_COLOUR))})(?: [\w-]+){{0,2}}",
    _FLAGS,
)
_NUMBERED = re.compile(rf"(?P<number>{_either(list(_NUMBER))}) (?P<head>.+)", _FLAGS)
_RANKED = re.compile(rf"(?P<word>{_either(list(_ADJECTIVE))})(?: (?P<head>.+))?", _FLAGS)
_LAST = re.compile(r"last (?P<head>.+)", _FLAGS)
_COLOURED = re.compile(
    rf"(?:(?:light|dark|bright|pale) )?(?P<colour>{_either(list(_COLOUR))})(?: (?P<head>.+))?", _FLAGS
)
_SIDE: dict[str, Order] = {
    "left": "left",
    "right": "right",
    "top": "top",
    "bottom": "bottom",
    "middle": "middle",
    "center": "middle",
    "centre": "middle",
}
_OPPOSITE: dict[Order, Order] = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
_ONE = "one"
_NO_HEADS = frozenset({"of", "part", "side", "corner", "edge", "hand"})


def parse_reference(caption: str) -> Reference:
    """What a caption says; one that singles nothing out has a head alone. Never fails."""
    text = " ".join(caption.split()).rstrip(".,;")
    if found := _ALL_BUT.fullmatch(text):
        one = _one(found["one"])
        if not one.refers:
            one = _one(f"{found['one']} {_ONE}")  # "the tallest"
        if one.refers:
            own = "" if one.head == _ONE else one.head
            return replace(one, head=_head(found["head"] or own), all_but=True)
        return Reference(text)
    return _one(_head(text))


def _head(text: str) -> str:
    """Without an article."""
    return re.sub(rf"{_ARTICLE} (?=.)", "", text, count=1, flags=_FLAGS) if re.match(_ARTICLE, text, _FLAGS) else text


def _one(text: str) -> Reference:
    """text: without an article."""
    said, side, number = Reference(text), None, 0
    while True:
        head = said.head
        if (found := _PLACE.fullmatch(head)) or ((found := _COUNTED.fullmatch(head)) and not side):
            side, head = _SIDE[found["side"].lower()], found["head"]
        elif (found := _WORN.fullmatch(head)) and not said.wears:
            said, head = replace(said, wears=_COLOUR[found["colour"].lower()]), found["head"]
        elif (found := _RELATED.fullmatch(head)) and not said.relation:
            other = parse_reference(found["other"])
            relation = StandsTo(_RELATION[found["relation"].lower()], other.head or found["other"])
            said, head = replace(said, relation=relation), found["head"].rstrip(",")
        else:
            break
        said = replace(said, head=head)
    head, order, last = said.head, None, False
    if found := _NUMBERED.fullmatch(head):
        number, head = _NUMBER[found["number"].lower()], found["head"]
    elif found := _LAST.fullmatch(head):
        last, head = True, found["head"]
    if found := _RANKED.fullmatch(head):
        order, head = _ADJECTIVE[found["word"].lower()], found["head"] or ""
    if found := _COLOURED.fullmatch(head):
        coloured = found["head"] or ""
        if coloured:  # "the orange" is a fruit
            said, head = replace(said, colour=_COLOUR[found["colour"].lower()]), coloured
    order = side or order
    if last:  # "the last car on the right" is the rightmost, as is the last from the left
        order = (side if side and " from the " not in text else _OPPOSITE.get(side or "left")) or "right"
    elif number and order is None:
        order = "left"
    rank = Rank(order, 1 if order == "middle" else max(1, number)) if order else None
    if not head or (rank and head.lower() in _NO_HEADS):
        return Reference(text)
    return replace(said, head=head, rank=rank)
