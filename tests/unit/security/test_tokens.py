"""No token is taken that our key did not sign for this purpose; what each kind of forgery is, says `forged`."""

from __future__ import annotations

import string

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.contract.tokens import Claims, InvalidToken, UnknownKey, verify_token
from tests.unit.security.forged import Real, forged, strangely_named

NOW = 1_760_000_000
REAL = Real(Ed25519PrivateKey.generate(), "key-1", "access", Claims("usr_1", "ws_1", "ses_1", NOW + 600), NOW)
KEYS = {"key-1": REAL.key.public_key()}
GOOD = REAL.signed()
FORGED = forged(REAL)
STRANGE = strangely_named(REAL)
BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
CHARACTERS = {*BASE64, *"+/.=~ \x00é"}
SAME_END = {each for each in BASE64 if BASE64.index(each) // 16 == BASE64.index(GOOD[-1]) // 16}
"""With the two bits in which a signature ends."""


def test_the_real_one_is_taken() -> None:
    assert verify_token(GOOD, "access", KEYS, now=NOW) == REAL.claims


@pytest.mark.parametrize("name", sorted(FORGED))
def test_a_forged_token_is_refused_for_good(name: str) -> None:
    """And not as one whose key may still arrive."""
    with pytest.raises(InvalidToken) as refused:
        verify_token(FORGED[name], "access", KEYS, now=NOW)
    assert not isinstance(refused.value, UnknownKey)


@pytest.mark.parametrize("name", sorted(STRANGE))
def test_the_name_of_a_key_leads_nowhere_else(name: str) -> None:
    with pytest.raises(InvalidToken):
        verify_token(STRANGE[name], "access", KEYS, now=NOW)


def test_no_character_of_a_token_can_be_changed() -> None:
    """Each, to every other one. Base64 of 64 bytes ends in four bits that mean nothing: only those may differ."""
    taken = set()
    for place, own in enumerate(GOOD):
        for character in CHARACTERS - {own}:
            try:
                claims = verify_token(GOOD[:place] + character + GOOD[place + 1 :], "access", KEYS, now=NOW)
            except InvalidToken:
                continue
            assert claims == REAL.claims
            taken.add((place, character))
    assert taken <= {(len(GOOD) - 1, each) for each in SAME_END}
