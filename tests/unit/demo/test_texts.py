"""The demo's people say what the protocol takes, in many scripts, and nothing that is easy only."""

from __future__ import annotations

import unicodedata
from random import Random

import msgspec

from deploy.demo.table import percentile
from deploy.demo.texts import CORNERS, EMOJI, SENTENCES, say
from services.contract.events import MAX_TEXT, Text

ALL = [sentence for language in SENTENCES.values() for sentence in language] + [*EMOJI, *CORNERS]


def test_everything_said_is_a_message_that_may_be_sent() -> None:
    said = [say(Random(seed)) for seed in range(3_000)]
    for text in {*said, *ALL}:
        assert 1 <= len(text) <= MAX_TEXT
        assert msgspec.convert(text, Text) == text
    assert len(set(said)) > 500


def test_at_least_twelve_languages_and_eight_scripts() -> None:
    assert len(SENTENCES) >= 12
    letters = {character for text in ALL for character in text if character.isalpha()}
    scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in letters}
    assert {
        "LATIN",
        "GREEK",
        "CYRILLIC",
        "ARABIC",
        "HEBREW",
        "DEVANAGARI",
        "THAI",
        "CJK",
        "HIRAGANA",
        "HANGUL",
    } <= scripts


def test_the_hard_cases_are_there() -> None:
    everything = "".join(ALL)
    assert "👩\u200d👩\u200d👧" in everything
    assert "\U0001f1fa\U0001f1e6" in everything  # a flag
    assert any(unicodedata.bidirectional(character) == "AL" for character in everything)
    assert any(unicodedata.bidirectional(character) == "R" for character in everything)
    assert any(unicodedata.combining(character) for character in everything)
    assert any(unicodedata.normalize("NFC", text) != text for text in ALL)
    assert any(ord(character) > 0xFFFF and character.isalpha() for character in everything)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0
