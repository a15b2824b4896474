"""How many tokens CLIP would make of a caption, estimated from above without CLIP's vocabulary."""

from __future__ import annotations

import re
from functools import lru_cache

from instructrestore.dataengine.noun_phrases.english.noun_phrase import fold
from instructrestore.dataengine.noun_phrases.english.verbs import AUXILIARIES
from instructrestore.dataengine.noun_phrases.english.words import (
    ADJECTIVES,
    CONJUNCTIONS,
    DETERMINERS,
    IRREGULAR_PLURALS,
    PREPOSITIONS,
    PRONOUNS,
    RELATIVES,
    SUBORDINATORS,
    word_set,
)

# The caption length up to which no instruction template is cut at CLIP's 77 tokens.
MAX_CAPTION_TOKENS = 40

# Everyday words: single tokens in CLIP's vocabulary, as are their plurals (tested where a tokenizer is available).
_EVERYDAY = word_set(
    "man woman boy girl child kid person people baby guy lady couple player rider driver skier surfer group crowd "
    "team family friend hand head face hair eye ear nose mouth arm leg foot finger body neck back shoulder tail "
    "wing paw horn beak feather fur shirt pants short shoe hat cap coat jacket dress skirt glove scarf sock boot "
    "tie suit belt bag purse watch ring necklace bracelet glass glasses sunglasses helmet mask dog cat horse cow "
    "sheep bird duck goose elephant zebra giraffe bear lion tiger monkey rabbit mouse fish animal insect bee car "
    "truck bus train plane airplane boat ship bike bicycle motorcycle van taxi cab wheel tire engine door window "
    "wall floor ceiling roof house building tower bridge fence gate street road path sidewalk track line corner "
    "sign light lamp pole post wire clock flag statue bench table chair couch sofa bed desk shelf cabinet drawer "
    "counter sink toilet mirror curtain blanket pillow towel rug carpet mat basket box bottle cup mug bowl plate "
    "dish pot pan knife fork spoon napkin tray oven stove fridge microwave computer laptop keyboard screen phone "
    "camera television book paper pen picture painting photo frame poster board ball bat net game court field park "
    "garden yard tree leaf branch trunk bush plant flower grass weed rock stone sand dirt snow ice water sea ocean "
    "lake river pond pool beach wave sky cloud sun moon star hill mountain forest ground shadow food pizza sandwich "
    "bread cake cheese meat egg fruit apple banana orange tomato carrot onion potato salad soup rice coffee tea "
    "wine beer milk juice sugar side top bottom edge end middle part piece row stack pile pair set color background "
    "area room kitchen bathroom bedroom city town village airport station store shop market number letter word "
    "design pattern handle button key umbrella kite surfboard skateboard wearing holding standing sitting walking "
    "riding playing looking running eating hanging flying lying making being having going taking leaning covered "
    "filled made parked painted attached seen very visible slightly also it's not only"
)
_ONE_TOKEN_WORDS = (
    _EVERYDAY
    | ADJECTIVES
    | AUXILIARIES
    | CONJUNCTIONS
    | DETERMINERS
    | PREPOSITIONS
    | PRONOUNS
    | RELATIVES
    | SUBORDINATORS
)
_WITH_IRREGULAR_PLURAL = frozenset(IRREGULAR_PLURALS.values())
# Words of those classes that CLIP splits.
_SPLIT = word_set(
    "blackish bluish bottommost brownish bumpy bushy checkered choppy computer computers crusty cylindrical "
    "diagonal farthest furthest grayish greenish greyish leafless leathery leftmost multicolor multicolored napkins "
    "perpendicular pinkish rightmost silvery sparse surfboard surfboards ontop inthe onthe ofthe topmost "
    "triangular unique unlit whitish woolen yellowish"
)

_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]|_")


def clip_tokens(text: str) -> int:
    """Upper estimate of CLIP's byte-pair tokens of `text`, without the start and end tokens that make up the 77.

    As in CLIP, digits and punctuation marks are a token each, and a non-ASCII letter is at most one per byte. An
    everyday word is one token, any other as many as real words of its length rarely exceed, with one token to spare in
    all. The text is read once.
    """
    counts = [_piece_tokens(piece) for piece in _PIECES.findall(text.casefold())]
    return sum(counts) + any(count > 1 for count in counts)


@lru_cache(maxsize=65536)
def _piece_tokens(piece: str) -> int:
    if not piece.isascii():
        return len(piece.encode("utf-8", "surrogatepass"))
    if len(piece) < 3 or piece.startswith("'"):
        return 1
    if piece not in _SPLIT and (piece in _ONE_TOKEN_WORDS or _everyday_plural(piece)):
        return 1
    return 2 if len(piece) < 7 else 3 if len(piece) < 13 else -(-len(piece) // 3)


def _everyday_plural(word: str) -> bool:
    """Whether `word` is the correct plural of an everyday word: "dogs" and "mice", not "mouses"."""
    singular = fold(word)
    return singular in _EVERYDAY and (singular not in _WITH_IRREGULAR_PLURAL or word in IRREGULAR_PLURALS)
