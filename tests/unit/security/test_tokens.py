"""No token is taken that our key did not sign for this purpose; what each kind of forgery is, says `forged`."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.contract.tokens import Claims, InvalidToken, UnknownKey, verify_token
from tests.unit.security.forged import Real, forged, strangely_named

NOW = 1_760_000_000
REAL = Real(Ed25519PrivateKey.generate(), "key-1", "access", Claims("usr_1", "ws_1", "ses_1", NOW + 600), NOW)
KEYS = {"key-1": REAL.key.public_key()}
GOOD = REAL.signed()
FORGED = forged(REAL)
STRANGE = strangely_named(REAL)


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


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("ABCdefXYZ0189-_.=\x00é"))
def test_no_character_of_a_token_can_be_changed(place: int, character: str) -> None:
    """Base64 of 64 bytes ends in four bits that mean nothing: only those may differ."""
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed == GOOD:
        return
    try:
        claims = verify_token(changed, "access", KEYS, now=NOW)
    except InvalidToken:
        return
    assert place == len(GOOD) - 1
    assert claims == REAL.claims
