"""Every character as the grammar reads it: the signs, digits and blanks of all scripts as their ASCII sisters.

One character becomes one, so that a place in the reading is the place in the text: the ideographic comma a comma, the
danda a full stop, any script's digit that digit. What shows nothing (soft hyphens, zero-width spaces, controls of the
writing direction) becomes NOTHING. The readings follow from what Unicode says of a character, its category, its
compatibility form and its name, and are found when they are first asked for.
"""

from __future__ import annotations

import unicodedata

NOTHING = "\0"  # no control character is left where a text is read

# Format characters that join what they stand in, or are seen.
_JOINERS = frozenset("\u200c\u200d")
_SEEN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_TAGS = range(0xE0020, 0xE0080)  # the end of some flags
_APOSTROPHES = frozenset("’‛ʼ´`′＇")
_BULLETS = range(0x2300, 0x2600)  # technical signs, lines and geometric shapes

# The first word that a name holds decides; signs without any of them part as a comma does.
_BY_NAME = {
    "SEMICOLON": ";",
    "ANO TELEIA": ";",
    "COLON": ":",
    "QUESTION": "?",
    "INTERROBANG": "?",
    "EXCLAMATION": "!",
    "FULL STOP": ".",
    "DANDA": ".",
    "PERIOD": ".",
    "DECIMAL SEPARATOR": ".",
    "PERCENT": "%",
    "WORDSPACE": " ",
}
# They part nothing: 6′, 1٬000, 5‰, §, and marks inside Hebrew words.
_INSIDE_WORDS = ("PRIME", "THOUSAND", "PER MILLE", "SECTION SIGN", "GERESH", "GERSHAYIM", "QUOTATION MARK")

# Opening quotation marks, and what closes each; the other pairs follow from the names.
_OWN_PAIRS = {
    "'": "'",
    "‘": "’",
    "”": "”",
    "„": "“”‟",
    "‟": "”",
    "»": "«»",
    "›": "‹›",
    "‚": "‘’",
    "‛": "’",
    "〝": "〞〟",
}
# These also stand where nothing is quoted, as apostrophes, inches or pointers.
OPTIONAL_QUOTES = frozenset("'＇”»›")


def reading(text: str) -> str:
    """The text as the grammar reads it, as long as `text`."""
    return text if text.isascii() else text.translate(_READINGS)


def without_nothing(text: str) -> str:
    """The text without the characters that show nothing."""
    return text if text.isascii() else "".join(c for c in text if _READINGS[ord(c)] != NOTHING or c in _JOINERS)


def closing_quotes(opening: str) -> str:
    """The characters that close a quotation which `opening` opens; "" where it opens none. Straight ones aside."""
    return "" if opening.isalnum() or opening == '"' else _CLOSING[opening]


def is_wide(character: str) -> bool:
    """Whether it takes the room of an ideograph: such marks have no blank after them."""
    return unicodedata.east_asian_width(character) in "WFH"


class _Readings(dict[int, str]):
    """Code point -> reading, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _read(chr(code))
        return found


class _Closing(dict[str, str]):
    """Opening quotation mark -> what closes it, filled as characters are met."""

    def __missing__(self, opening: str) -> str:
        self[opening] = found = _closes(opening)
        return found


def _read(character: str) -> str:
    category = unicodedata.category(character)
    if character in _APOSTROPHES:
        return "'"
    if character.isascii() or category[0] in "LMN":
        return _letter_or_digit(character, category)
    if category == "Cf":
        return character if character in _SEEN or ord(character) in _TAGS else NOTHING
    if category[0] == "Z":
        return " " if category == "Zs" else "\n"
    if category in ("So", "Sm") and "ARROW" in unicodedata.name(character, ""):
        return ","
    if category == "So":
        return "," if ord(character) in _BULLETS else character
    return _sign(character, category) if category[0] in "PS" else character


def _letter_or_digit(character: str, category: str) -> str:
    if category == "Nd":
        return str(unicodedata.decimal(character))
    wide = unicodedata.decomposition(character).startswith(("<wide>", "<narrow>"))
    plain = unicodedata.normalize("NFKC", character)
    return plain if wide and plain.isascii() else character


def _sign(character: str, category: str) -> str:
    plain = unicodedata.normalize("NFKC", character)
    if plain.isascii() and len(set(plain)) == 1:  # full-width and small forms, and "…" of three full stops
        return plain[0]
    name = unicodedata.name(character, "")
    if category == "Pd":
        return "-" if "HYPHEN" in name or "MAQAF" in name else "—"
    if category in ("Ps", "Pe") and not _closes(character):
        return "(" if category == "Ps" else ")"
    if category == "Po" and not any(word in name for word in _INSIDE_WORDS):
        return next((sign for word, sign in _BY_NAME.items() if word in name), ",")
    return character


def _closes(opening: str) -> str:
    if opening in _OWN_PAIRS:
        return _OWN_PAIRS[opening]
    plain = unicodedata.normalize("NFKC", opening)
    name = unicodedata.name(opening, "")
    quotes = any(word in name for word in ("QUOTATION MARK", "CORNER BRACKET", "QUOTE ORNAMENT"))
    if quotes and plain in ("'", '"'):
        return opening + plain
    other = name.replace("LEFT", "RIGHT").replace("TURNED ", "")
    if not quotes or other == name or unicodedata.category(opening) not in ("Pi", "Ps", "So"):
        return ""
    try:
        return unicodedata.lookup(other)
    except KeyError:
        return ""


_READINGS = _Readings()
_CLOSING = _Closing()
