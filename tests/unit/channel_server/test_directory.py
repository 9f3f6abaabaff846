"""The read model: whatever the order and the source, the highest version wins."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from channel_server.core.directory import (
    Directory,
    MembershipChanged,
    SessionRevoked,
    UserChanged,
    WorkspaceChanged,
)
from services.contract.directory import (
    ChannelRecord,
    DirectoryRecord,
    GroupRecord,
    KeyRecord,
    MemberRecord,
    RevokedRecord,
    UserRecord,
    WorkspaceRecord,
    decode_record,
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
        WorkspaceRecord(id="w", version=3),
        GroupRecord(id="g", workspace_id="w", handle="h", version=3),
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


def test_a_workspace_of_which_nothing_has_come_is_one_like_any_other() -> None:
    directory = Directory()
    assert directory.workspace("w").active
    assert directory.workspace_of("nobody").max_text == 12_000
    changed = directory.apply(WorkspaceRecord(id="w", version=4, max_text=10, typing_limit=5))
    assert changed == WorkspaceChanged("w", True)
    directory.apply(user(1))
    assert directory.workspace_of("u").max_text == 10
    assert directory.apply(WorkspaceRecord(id="w", version=3, active=False)) is None
    assert directory.apply(WorkspaceRecord(id="w", version=5, active=False)) == WorkspaceChanged("w", False)
    assert not directory.workspace_of("u").active


def test_groups_are_who_is_in_them_now() -> None:
    directory = Directory()
    directory.apply(GroupRecord(id="g", workspace_id="w", handle="h", user_ids=["u", "v"], version=2))
    directory.apply(GroupRecord(id="g", workspace_id="w", handle="h", user_ids=["u"], version=1))
    assert directory.groups["g"].user_ids == ("u", "v")
    directory.apply(
        GroupRecord(id="g", workspace_id="w", handle="h", user_ids=["u"], active=False, version=3)
    )
    assert not directory.groups["g"].user_ids


def test_records_of_an_older_release_are_read_as_what_they_meant() -> None:
    old = decode_record(b'{"type":"user","version":1,"id":"u","workspace_id":"w","name":"n","active":true}')
    assert old == user(1)
    directory = Directory()
    directory.apply(old)
    older = b'{"type":"channel","version":1,"id":"c","workspace_id":"w","kind":"public","archived":false}'
    directory.apply(decode_record(older))
    assert directory.may_post("c", "u")
