"""Common verbs of English: which words are finite verbs, which are participles, and how a verb takes -ing."""

from __future__ import annotations

from instructrestore.dataengine.noun_phrases.english.words import ED_NOT_PARTICIPLES, ING_NOUNS, word_set

BE = word_set("is are was were am be been isn't aren't wasn't weren't")
HAVE = word_set("has have had hasn't haven't")
MODALS = word_set("can could will would may might must shall should cannot can't do does did doesn't don't didn't")
# Verbs for how a thing looks to the speaker, not for what it does.
SEEMING = word_set("appears appear appeared seems seem seemed looks")
AUXILIARIES = BE | HAVE | MODALS

# Bases whose forms are almost never nouns.
_PLAIN_BASES = word_set(
    "wear hold sit lie lay lean graze eat ride hang contain surround overlook reflect grow sleep carry throw go "
    "come make get give take try want prepare extend appear seem read pull push kick drive hit catch feed stare "
    "gaze kneel crouch bend climb enter approach attach belong bring build chase collect cover decorate depict "
    "display enjoy examine feature fill float follow gather grab grip hover indicate include involve keep lead let "
    "lick listen lurk meet need occupy operate perch play pose pour provide put receive remain resemble resume say "
    "see sell serve shine sniff spill spray stick stretch swim talk teach tell think touch travel wash watch write "
    "connect create consist compete comprise hug imply suggest tend allow add accent complement contrast protrude "
    "adorn accompany showcase revolve blend encase enclose emerge emit face frolic"
)
# Bases whose forms in -s, or bare, are common nouns too ("a vendor stands", "two stands").
_NOUN_LIKE_BASES = word_set(
    "stand walk run look rest jump swing fly smile turn point slide wait start stop land sail skate ski surf work "
    "race roam move dance march bark drink cook cut plant sign light line wave rock park fence call top cross use "
    "leave fall rise peek lift drop drag slice step leap roll skateboard snowboard bathe dive cast show mark "
    "support form frame block shade dry chew bite pass perform practice swerve blow flow hop paddle snow rain match "
    "sort store"
)

# Verbs that need an object, so that a bare preposition after them shows a noun ("wrist watches on a table").
_TRANSITIVE = word_set(
    "watch plant sign light line park fence call top cut use leave cast show mark support form frame block shade "
    "cover play match sort store face serve cook drink rock wave cross wash complement accent"
)

_DOUBLING = word_set(
    "sit get run hit put stop swim cut let hug chop hop skip drop drag grab grip rub plan set shut step top wrap "
    "clap dig dip jog nap pat peg pet pin pop rip rob sip slip snap spin strap strip tap tip trim trip win zip knit "
    "fit split"
)
_IRREGULAR_PAST = {
    "wore": "wear", "held": "hold", "sat": "sit", "stood": "stand", "ate": "eat", "rode": "ride", "hung": "hang",
    "grew": "grow", "slept": "sleep", "threw": "throw", "went": "go", "came": "come", "made": "make", "got": "get",
    "gave": "give", "took": "take", "ran": "run", "drove": "drive", "caught": "catch", "flew": "fly", "fell": "fall",
    "swam": "swim", "wrote": "write", "shone": "shine", "knelt": "kneel", "drank": "drink", "rose": "rise",
}  # fmt: skip
_PAST_NOT_FINITE = frozenset(("held", "made", "caught", "hung", "rose"))  # participles (or a noun) as well

_IRREGULAR_PARTICIPLES = word_set(
    "made seen shown hung worn held taken built lit written driven eaten drawn thrown bent broken torn stuck left "
    "tied laid cast shut given grown known blown flown fallen frozen hidden ridden sewn sold split spread strewn "
    "sunk swept swung woven wound wrapped caught chosen cut dug done found forgotten kept led lain lost met paid "
    "put clad spun stood strung bound born begun bitten brought bought fed mounted outstretched shaven shot struck "
    "sunlit upset dressed parked stacked wed overgrown inlaid hand-held slung unlit set-up rung"
)
# Irregular participles that stand as freely as nouns; after a noun they are verbs only before a preposition.
NOUN_LIKE_PARTICIPLES = word_set("cut spread cast shot left split found wound put struck set-up")


def _third_person(base: str) -> str:
    if base.endswith(("s", "sh", "ch", "x", "z", "o")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


def _gerund(base: str) -> str:
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base in _DOUBLING:
        return base + base[-1] + "ing"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    return base + "ing"


_BASES = sorted(_PLAIN_BASES | _NOUN_LIKE_BASES)
# Every finite form that the grammar knows, with its base.
FINITE: dict[str, str] = (
    {_third_person(base): base for base in _BASES} | {base: base for base in _BASES} | _IRREGULAR_PAST
)
THIRD_PERSON = frozenset(_third_person(base) for base in _BASES)
NOUN_LIKE = frozenset(form for form, base in FINITE.items() if base in _NOUN_LIKE_BASES or base in _TRANSITIVE)
NEEDS_OBJECT = frozenset(form for form, base in FINITE.items() if base in _TRANSITIVE)
BARE = frozenset(_BASES)
PAST = frozenset(_IRREGULAR_PAST) - _PAST_NOT_FINITE


def present_participle(finite: str) -> str:
    """The -ing form of a finite verb of FINITE: "holds" -> "holding", "lies" -> "lying", "sat" -> "sitting"."""
    return _gerund(FINITE[finite])


def is_gerund(word: str) -> bool:
    """Whether `word` (lower case) is a verb's -ing form and not a plain noun such as "building"."""
    return len(word) > 4 and word.endswith("ing") and word not in ING_NOUNS


def is_participle(word: str) -> bool:
    """Whether `word` (lower case) is a past participle; regular simple pasts look the same and count as well."""
    if word in _IRREGULAR_PARTICIPLES:
        return True
    return len(word) > 4 and word.endswith("ed") and word not in ED_NOT_PARTICIPLES
