"""The small vocabulary of plain wishes, and the scale that each word gives.

A lower scale lets the prior generate more detail, a higher one holds closer to the LQ photo; of bokeh, a lower scale
blurs more. So the stronger the word, the lower the scale. The values are those the paper measured (Tables 2 and 3).
"""

from __future__ import annotations

from enum import Enum

NEUTRAL = 1.0  # "make the dog clear", "keep other parts": the template with its scale left out
PLAIN = 0.8  # "sharpen the dog", "make the dog clearer", "blur the background"
HELD = 1.1  # "keep the dog as it is", "make the sky less sharp"

WordSequence = tuple[str, ...]
LONGEST_PHRASE = 6  # in words


class Verb(Enum):
    MAKE = "make"
    KEEP = "keep"
    SHARPEN = "sharpen"
    BLUR = "blur"
    HOLD = "don't touch"


class State(Enum):
    """What a region or the other parts are to be."""

    CLEAR = "clear"
    CLEARER = "clearer"
    LESS_CLEAR = "less clear"
    SOFT = "soft"
    SOFTER = "softer"
    AS_IT_IS = "as it is"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> frozenset[WordSequence]:
    """Phrases parted by commas."""
    return frozenset(tuple(phrase.split()) for phrase in text.split(","))


VERBS: dict[WordSequence, Verb] = {
    **dict.fromkeys(_phrases("make, making"), Verb.MAKE),
    **dict.fromkeys(
        _phrases("keep, keeping, leave, leaving, hold, holding, preserve, preserving, retain, retaining"), Verb.KEEP
    ),
    **dict.fromkeys(
        _phrases(
            "sharpen, sharpening, restore, restoring, enhance, enhancing, improve, improving, clarify, deblur, unblur, "
            "denoise, refine, repair, fix, fix up, clean, clean up, bring out, focus on, add detail to, "
            "add more detail to, add details to, bring out the detail in, bring out the details in, "
            "bring out the detail of, bring out the details of"
        ),
        Verb.SHARPEN,
    ),
    **dict.fromkeys(_phrases("blur, blurring, soften, softening, defocus"), Verb.BLUR),
    **dict.fromkeys(
        [
            (*never, verb)
            for never in _phrases("don't, do not, dont, never")
            for verb in _words("touch change alter edit sharpen restore enhance")
        ],
        Verb.HOLD,
    ),
    **dict.fromkeys(_phrases("without touching, without changing, without altering, not"), Verb.HOLD),
}
# These start a clause even where no comma or "and" stands before them, once the clause before is complete.
# "Blur" does not: it ends "bokeh blur".
STARTING_WORDS = frozenset(_words("make keep keeping leave leaving sharpen restore"))
# In captions these say what somebody does: "a man holding a dog".
HOLDING = frozenset(verb for verb in VERBS if verb[0].endswith("ing"))
# These are seldom anything but verbs; the others are nouns and adjectives too ("a clean shirt").
ONLY_VERBS = frozenset(
    verb
    for verb in VERBS
    if verb[0]
    in _words(
        "make sharpen restore enhance improve clarify deblur unblur denoise refine soften defocus retain don't do dont "
        "never without add bring"
    )
)

STRENGTHS: dict[WordSequence, float] = {
    **dict.fromkeys(
        _phrases(
            "a little, a bit, a little bit, a touch, a tad, a little more, a bit more, a little bit more, slightly, "
            "slightly more, very slightly, somewhat, gently, lightly, softly, subtly, mildly, a hint, less, "
            "not too much, but not too much, not too strongly, but not too strongly"
        ),
        0.9,
    ),
    **dict.fromkeys(
        _phrases(
            "more, much, a lot, a lot more, much more, strongly, more strongly, heavily, considerably, a good deal, "
            "greatly, significantly, very, really, even more, lots, hard, very much"
        ),
        0.7,
    ),
    **dict.fromkeys(
        _phrases(
            "very strongly, very heavily, extremely, as much as possible, as strongly as possible, fully, completely, "
            "to the maximum, maximally, very very, much much"
        ),
        0.5,
    ),
}

_CLEAR = _words("clear sharp crisp detailed readable legible")
_SOFT = _words("soft blurred blurry bokeh defocused fuzzy")
STATES: dict[WordSequence, State] = {
    **dict.fromkeys(((word,) for word in _CLEAR), State.CLEAR),
    ("in", "focus"): State.CLEAR,
    **dict.fromkeys(_phrases("clearer, sharper, crisper, better, more in focus"), State.CLEARER),
    **{("more", word): State.CLEARER for word in _CLEAR},
    **{("less", word): State.CLEARER for word in _SOFT},
    **{("less", word): State.LESS_CLEAR for word in _CLEAR},
    **dict.fromkeys(((word,) for word in _SOFT), State.SOFT),
    **dict.fromkeys(_phrases("blur, bokeh blur, out of focus"), State.SOFT),
    **dict.fromkeys(_phrases("softer, blurrier, smoother, more out of focus"), State.SOFTER),
    **{("more", word): State.SOFTER for word in _SOFT},
    **dict.fromkeys(
        _phrases(
            "as it is, as is, as they are, as it was, as they were, just as it is, just as they are, exactly as it is, "
            "exactly as they are, the way it is, the way they are, alone, untouched, unchanged, intact, the same, "
            "natural, faithful, close to the photo, close to the original, true to the photo, true to the original"
        ),
        State.AS_IT_IS,
    ),
}
# "as clear as possible"
STATES_WITH_STRENGTH: dict[WordSequence, tuple[State, float]] = {
    ("as", word, "as", "possible"): (state, 0.5)
    for words, state in ((_CLEAR, State.CLEAR), (_SOFT, State.SOFT))
    for word in words
}

_PHOTO = _words("photo image picture scene frame shot")
OTHERS: frozenset[WordSequence] = _phrases(
    "other part, other parts, the other part, the other parts, all other parts, all the other parts, "
    "all of the other parts, any other parts, others parts, the others parts, "
    "other things, other areas, the other areas, other regions, the other regions, others, the others, "
    "the remaining parts, the remainder, rest, the rest, all the rest, the rest of it, everything else, "
    "anything else, all else, the surroundings, its surroundings"
) | {
    *((*rest, "of", "the", photo) for rest in _phrases("the rest, the other parts") for photo in _PHOTO),
    *(("everything", where, whom) for where in _words("around behind") for whom in _words("it them him her")),
}
# The other parts where a region is named as well, and otherwise a region themselves ("sharpen the background").
BACKGROUND: frozenset[WordSequence] = _phrases(
    "background, the background, the backdrop, its background, the whole background, the entire background, everything"
) | {
    *(("the", "background", "of", "the", photo) for photo in _PHOTO),
    *(("the", *whole, photo) for whole in ((), ("whole",), ("entire",)) for photo in _PHOTO),
}
ALL_BUT: frozenset[WordSequence] = frozenset(
    (everything, *but)
    for everything in ("everything", "all", "anything")
    for but in _phrases("but, except, except for, apart from, other than, besides")
)
BOKEH: frozenset[WordSequence] = frozenset(
    (*the, *name)
    for the in ((), ("the",), ("its",))
    for name in _phrases(
        "bokeh blur, bokeh, blur, background blur, background bokeh, blurred background, blurry background, "
        "soft background, bokeh background, out of focus background"
    )
)
BEHIND = frozenset(_words("behind around surrounding"))

SEPARATORS = frozenset(_words("and but then while yet &"))
DETERMINERS = frozenset(_words("the a an my our your his her its their this that these those all both"))
POLITE_START = frozenset(_words("please kindly also just only now can could would will you"))
POLITE_END: frozenset[WordSequence] = _phrases("please, too, also, as well, thanks, thank you, at all, only")
AFTER_VERB = frozenset(_words("only just"))
NAMELESS = frozenset(_words("it them him her this that these those one the a an"))  # no captions by themselves
APPEARANCE = frozenset(_words("look be appear seem become"))

# What tells a caption from a wish that it may have swallowed (swallowed.py).
ARTICLES = frozenset(_words("the a an my our your his her its their"))
ALTERNATIVES = SEPARATORS | frozenset(_words("or nor plus also next afterwards"))
NUMBER_GOES_ON = frozenset(_words("more less so few half"))  # "2 or more people"
GOES_ON = frozenset(_words("plus also afterwards"))  # not said of what "clear" says something of: "clear plus the cat"
MADE_NOUNS = frozenset(_words("up over out shift believe"))  # "a woman with make up"
SAYS_HOW = frozenset(_words("is are was were looks so very and"))  # "the sky is clear"
LEADS_TO_A_THING = frozenset(_words("in on at of near from with to into by for"))  # "parked in a lot"
PREPOSITIONS = LEADS_TO_A_THING | frozenset(
    _words(
        "without than behind as like over above under below among amongst amid between onto beside besides before "
        "after against around across along past toward towards off out through"
    )
)
# After these a verb is part of a noun phrase or a clause.
LEADS_TO_A_VERB = frozenset(
    _words(
        "the a an my our your his her its their this these those that no some any every each who which whose they we "
        "he she to in of with for from at by can could would will may must might shall should did does do didn't "
        "doesn't says say saying said reads read reading titled called labeled labelled is are was were be been being "
        "isn't aren't if"
    )
)
