"""The read model: whatever the order and the source, the highest version wins."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from channel_server.core.directory import Directory, MembershipChanged, SessionRevoked, UserChanged
from services.contract.directory import (
    ChannelRecord,
    DirectoryRecord,
    KeyRecord,
    MemberRecord,
    RevokedRecord,
    UserRecord,
)
from tests.unit.channel_server.world import PEM

CHANNELS = ["c1", "c2"]
USERS = ["u1", "u2"]

states = st.lists(st.tuples(st.sampled_from(CHANNELS), st.sampled_from(USERS), st.booleans()), max_size=30)


@given(states, st.randoms(use_true_random=False))
def test_memberships_converge_whatever_the_order_and_the_source(
    states: list[tuple[str, str, bool]], rng: random.Random
) -> None:
    versioned = [(version, *state) for version, state in enumerate(states, 1)]
    expected = {(c, u): version << 1 | m for version, c, u, m in versioned}
    shuffled = versioned * 2
    rng.shuffle(shuffled)
    directory = Directory()
    now: dict[tuple[str, str], int] = {}
    for version, channel, user, member in shuffled:
        if rng.random() < 0.5:
            record = MemberRecord(channel_id=channel, user_id=user, member=member, version=version)
            change = directory.apply(record)
        else:
            change = directory.set_member(channel, user, version, member)
        before = now.get((channel, user), 0)
        if version > before >> 1:
            now[channel, user] = version << 1 | member
            assert change == MembershipChanged(channel, user, before, version << 1 | member)
        else:
            assert change is None
        assert directory.holds(f"member:{channel}:{user}", version)
        assert not directory.holds(f"member:{channel}:{user}", len(states) + 1)
    assert {(c, u): directory.membership(c, u) for c, u in expected} == expected


def user(version: int, active: bool = True) -> UserRecord:
    return UserRecord(id="u", workspace_id="w", name="n", active=active, version=version)


def test_an_older_record_changes_nothing() -> None:
    directory = Directory()
    assert directory.apply(user(5)) == UserChanged("u", True)
    assert directory.apply(user(4, active=False)) is None
    assert directory.users["u"].active
    for version, archived in ((3, True), (2, False)):
        directory.apply(
            ChannelRecord(id="c", workspace_id="w", kind="public", archived=archived, version=version)
        )
    assert directory.is_archived("c")
    assert not directory.is_archived("unknown")
    for version, active in ((3, True), (2, False)):
        directory.apply(KeyRecord(kid="k", public_key=PEM, active=active, version=version))
    assert "k" in directory.keys
    directory.apply(KeyRecord(kid="k", public_key=PEM, active=False, version=4))
    assert "k" not in directory.keys


def test_a_key_that_cannot_be_read_is_no_key() -> None:
    directory = Directory()
    directory.apply(KeyRecord(kid="k", public_key="-----BEGIN", active=True, version=1))
    assert not directory.keys
    assert directory.holds("key:k", 1)


def test_every_kind_of_key_says_how_far_it_is_known() -> None:
    directory = Directory()
    records: list[DirectoryRecord] = [
        user(3),
        ChannelRecord(id="c", workspace_id="w", kind="public", archived=False, version=3),
        MemberRecord(channel_id="c", user_id="u", member=False, version=3),
        KeyRecord(kid="k", public_key=PEM, active=True, version=3),
        RevokedRecord(session_id="s", until_ms=1000, version=3),
    ]
    for record in records:
        assert not directory.holds(record.key, 3)
        directory.apply(record)
        assert [directory.holds(record.key, version) for version in (0, 2, 3, 4)] == [
            False,
            True,
            True,
            False,
        ]
    assert not directory.holds("planet:x", 1)
    assert not directory.holds("member:", 1)


def test_revocations_are_remembered_as_long_as_a_token_may_name_them() -> None:
    directory = Directory()
    assert directory.apply(RevokedRecord(session_id="s", until_ms=1000, version=1)) == SessionRevoked("s")
    directory.forget_revoked(1000)
    assert directory.is_revoked("s")
    directory.forget_revoked(1001)
    assert not directory.is_revoked("s")


def test_a_membership_may_come_before_the_person_and_the_channel() -> None:
    directory = Directory()
    directory.set_member("c", "u", 7, True)
    assert directory.users["u"].version == 0
    directory.apply(user(3))
    assert directory.membership("c", "u") == 15
