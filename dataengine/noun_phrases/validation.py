"""Whether an answer is a noun phrase with its subject; the same rules for the grammar and for language models.

Each fault has a name, so that reports can count it. `read_answer` checks the form of a language model's reply, `faults`
its content.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from difflib import get_close_matches

from instructrestore.dataengine.noun_phrases.english.caption_length import MAX_CAPTION_TOKENS, clip_tokens
from instructrestore.dataengine.noun_phrases.english.clauses import has_finite_verb
from instructrestore.dataengine.noun_phrases.english.noun_phrase import NounPhrase, fold
from instructrestore.dataengine.noun_phrases.english.verbs import AUXILIARIES, PAST
from instructrestore.dataengine.noun_phrases.english.words import (
    ADVERBS,
    CONJUNCTIONS,
    DETERMINERS,
    PHOTO_NOUNS,
    PICTURE_NOUNS,
    PLAIN_ADJECTIVES,
    PREPOSITIONS,
    PRONOUNS,
    SUBORDINATORS,
    word_set,
)
from instructrestore.dataengine.noun_phrases.prompt import EXAMPLES, MAX_DESCRIPTION_CHARACTERS
from instructrestore.shards.parsing import RepeatedName, parse_json

REVISION = "1"  # raised when the same answer gets other faults (this file, caption_length.py, the word lists)

FAULTS: dict[str, str] = {
    "not_json": "the reply is not exactly one JSON object, or is too long to be one",
    "schema": "the JSON object does not hold exactly two texts, noun_phrase and subject",
    "empty": "the noun phrase or the subject holds no letter",
    "not_text": "control characters, markup, a URL, or more signs than letters",
    "leaked_prompt": "words of a prompt, a dialogue or the reply's format, or the prompt's own examples",
    "sentence": "a clause with a finite verb, several sentences or several lines, and no noun phrase",
    "subject_not_in_phrase": "the subject does not stand in the noun phrase",
    "subject_not_a_noun": "the subject is a pronoun, number, adjective, preposition or verb, or names the photo itself",
    "repetition": "a word or a group of words said over and over",
    "too_long": f"the noun phrase has over {MAX_CAPTION_TOKENS} CLIP tokens, or the subject over 4 words",
    "unfaithful": "the subject does not occur in the description",
}

MAX_REPLY_CHARACTERS = 2_000
MAX_SUBJECT_WORDS = 4
# Longer texts are too long whatever their tokens; the other faults are looked for in the first so many characters.
MAX_PHRASE_CHARACTERS = 1_000

# A model may parrot the prompt's examples instead of reading the description.
_PROMPT_EXAMPLES = frozenset(noun_phrase.casefold() for _, noun_phrase, _ in EXAMPLES)

_SMALL_WORDS = DETERMINERS | PREPOSITIONS | CONJUNCTIONS
_NO_NOUNS = (
    _SMALL_WORDS | PRONOUNS | SUBORDINATORS | ADVERBS | PLAIN_ADJECTIVES | PAST | PHOTO_NOUNS | (AUXILIARIES - {"can"})
)
# Similarity from which two spellings are one word: a model may correct "windshiled" but not turn "house" into "horse".
_SAME_WORD = 0.85

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_LEAKS = re.compile(
    r"###|```|<\|?/?\w{1,20}\|?>|\[/?inst\]|[{}\"]\s{0,3}:|noun[ _-]phrase|\bsubject\s?[:=]|\b(?:question|answer|"
    r"assistant|human|user|system|description|input|output|response|instruction|note|caption)s?\s?\d{0,3}\s?[:=]|"
    r"\bassistant\b|^\s{0,3}(?:here (?:is|are)|here's|sure\b|certainly\b|of course\b|okay\b|as an ai\b)|"
    r"\bas an ai\b|\blanguage model\b|\bi(?:'m| am) sorry\b|\bi cannot\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"https?://|www\.|</?[a-z][^<>]{0,40}>|\*\*|\\[nrtu]|[{}\[\]|<>=#*~^`\\_]|\]\(", re.IGNORECASE)
_SEVERAL = re.compile(r"[\n\r]|[.!?;:](?=\s)|[!?;]")
# Unicode categories: control, format, private use, surrogate.
_CONTROL = frozenset(("Cc", "Cf", "Co", "Cs"))
_LETTER = re.compile(r"[^\W\d_]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_answer(text: str) -> NounPhrase | str:
    """The answer in a language model's raw reply, or the name of its fault: "not_json" or "schema".

    The reply must be one JSON object {"noun_phrase": str, "subject": str} of at most 2,000 characters, with
    nothing but white space before or after it, no other key and no repeated key. The values are stripped.
    """
    if len(text) > MAX_REPLY_CHARACTERS:
        return "not_json"
    try:
        values = parse_json(text, "the reply", any_number=True)
    except RepeatedName:
        return "schema"
    except ValueError:
        return "not_json"
    if not isinstance(values, dict):
        return "schema" if isinstance(values, list) else "not_json"
    if sorted(values) != ["noun_phrase", "subject"]:
        return "schema"
    if not all(isinstance(value, str) for value in values.values()):
        return "schema"
    if any(map(_SURROGATE.search, values.values())):  # half of an escaped character, which no file could hold
        return "not_json"
    return NounPhrase(values["noun_phrase"].strip(), values["subject"].strip())


def faults(parsed: NounPhrase, description: str) -> tuple[str, ...]:
    """The names of everything wrong with `parsed` as an answer to `description`, in the order of FAULTS.

    Empty if the answer is valid. Long texts do not make it slow: it reads the first 1,000 characters of a noun phrase
    (a longer one is too long) and of a description, as the grammar and the prompt do.
    """
    phrase, subject = parsed.text, parsed.subject
    if not (_LETTER.search(phrase[:MAX_PHRASE_CHARACTERS]) and _LETTER.search(subject[:MAX_PHRASE_CHARACTERS])):
        return ("empty",)
    too_long = len(phrase) > MAX_PHRASE_CHARACTERS or len(subject) > MAX_PHRASE_CHARACTERS
    phrase, subject = phrase[:MAX_PHRASE_CHARACTERS], subject[:MAX_PHRASE_CHARACTERS]
    description = description[:MAX_DESCRIPTION_CHARACTERS]
    words = _words(phrase)
    subject_words = _words(subject)
    too_long = too_long or clip_tokens(phrase) > MAX_CAPTION_TOKENS or len(subject_words) > MAX_SUBJECT_WORDS
    found = {
        "not_text": _is_not_text(phrase) or _is_not_text(subject),
        "leaked_prompt": _is_leak(phrase, description) or _LEAKS.search(subject) is not None,
        "sentence": _SEVERAL.search(phrase.strip()) is not None or has_finite_verb(words),
        "subject_not_in_phrase": not _contains(words, subject_words),
        "subject_not_a_noun": not _is_noun(subject_words, words),
        "repetition": _repeats(words) or _repeats(subject_words),
        "too_long": too_long,
        "unfaithful": not _is_faithful(subject_words, description),
    }
    return tuple(name for name in FAULTS if found.get(name, False))


def _words(text: str) -> list[str]:
    return [word.casefold().replace("’", "'") for word in _WORD.findall(text)]


def _is_not_text(text: str) -> bool:
    categories = (unicodedata.category(sign) for sign in text if sign not in "\n\r")
    if _MARKUP.search(text) or not _CONTROL.isdisjoint(categories):
        return True
    signs = [sign for sign in text if not sign.isspace()]
    return 2 * sum(sign.isalpha() for sign in signs) < len(signs)


def _is_leak(phrase: str, description: str) -> bool:
    if _LEAKS.search(phrase):
        return True
    if phrase.casefold().strip(" .") not in _PROMPT_EXAMPLES:
        return False
    telling = {fold(word) for word in _words(phrase) if word not in DETERMINERS and word not in PREPOSITIONS}
    return not telling <= {fold(word) for word in _words(description)}


def _contains(words: list[str], part: list[str]) -> bool:
    size = len(part)
    return size > 0 and any(words[i : i + size] == part for i in range(len(words) - size + 1))


def _is_noun(subject: list[str], phrase: list[str]) -> bool:
    if not subject:
        return False
    head = subject[-1]
    if head in _NO_NOUNS or fold(head) in _NO_NOUNS or head.isdigit():
        return False
    if head not in PICTURE_NOUNS or head not in phrase:
        return True
    # "a framed picture on the wall" is a thing; "a picture of a dog", "an indoor picture" and "the photo" are not.
    at = phrase.index(head)
    after = phrase[at + 1] if at + 1 < len(phrase) else ""
    before = [word for word in phrase[:at] if word not in DETERMINERS]
    return after not in ("of", "showing", "depicting", "taken") and (after != "" or bool(set(before) - _OF_A_PHOTO))


# Words about a photo as a whole.
_OF_A_PHOTO = word_set("indoor outdoor daytime night whole entire close-up")


def _repeats(words: list[str]) -> bool:
    """A word twice in a row, a group of two to six words twice in a row, or one content word four times in all."""
    for size in range(1, 7):
        for i in range(len(words) - 2 * size + 1):
            if words[i : i + size] == words[i + size : i + 2 * size]:
                return True
    said = Counter(word for word in words if word not in _SMALL_WORDS)
    return any(count > 3 for count in said.values())


def _is_faithful(subject: list[str], description: str) -> bool:
    """Whether the description contains the subject's last word: in any number, spelt almost the same, or in parts."""
    if not subject:
        return False
    head = fold(subject[-1])
    said = {fold(part) for word in _words(description) for part in (word, *word.split("-"))}
    if head in said or get_close_matches(head, said, n=1, cutoff=_SAME_WORD):
        return True
    return len(subject) > 1 and fold("".join(subject)) in said
