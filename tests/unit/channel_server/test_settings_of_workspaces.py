"""What a channel and a workspace allow, as the directory says it: who may post, how long a message is, whether at all."""

from __future__ import annotations

import pytest

from services.contract.codes import CLOSES
from services.contract.directory import (
    ChannelRecord,
    MemberRecord,
    Role,
    UserRecord,
    WorkspaceRecord,
)
from services.contract.events import WhoMay
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import WORKSPACE, Client, World

ANN, BOB = user_id(1), user_id(2)
ROOM = channel_id(1)


def settings(world: World, *, active: bool = True, max_text: int = 12_000) -> None:
    world.tell(WorkspaceRecord(id=WORKSPACE, active=active, max_text=max_text, version=next(world.versions)))


def posting(world: World, who: WhoMay) -> None:
    world.tell(
        ChannelRecord(
            id=ROOM,
            workspace_id=WORKSPACE,
            kind="public",
            archived=False,
            posting=who,
            version=next(world.versions),
        )
    )


def role(world: World, user: str, role: Role) -> None:
    world.tell(
        UserRecord(
            id=user,
            workspace_id=WORKSPACE,
            name="",
            active=True,
            role=role,
            version=next(world.versions),
        )
    )


@pytest.fixture
def world() -> World:
    made = World()
    settings(made)
    posting(made, "everyone")
    for user in (ANN, BOB):
        role(made, user, "member")
        made.tell(
            MemberRecord(channel_id=ROOM, user_id=user, member=True, version=next(made.versions)),
        )
    return made


def refusals(world: World, client: Client) -> list[str]:
    """The codes of its refusals since it was asked last."""
    world.passes(1.5)
    client.hears()
    heard, client.frames = client.frames, []
    return [frame["code"] for frame in heard if frame["type"] == "refused"]


@pytest.mark.parametrize(
    ("who", "may"), [("owner", True), ("admin", True), ("member", False), ("guest", False)]
)
def test_where_only_admins_may_post(world: World, who: Role, may: bool) -> None:
    client = world.connected(ANN)
    posting(world, "admins")
    role(world, ANN, who)
    client.sends(ROOM, "hi")
    assert refusals(world, client) == ([] if may else ["forbidden"])
    assert len(world.log.appended) == may


def test_a_copy_of_what_was_posted_before_is_acknowledged(world: World) -> None:
    client, id = world.connected(ANN), world.id()
    client.sends(ROOM, "hello", id)
    world.tail()
    client.hears()
    client.frames.clear()
    posting(world, "admins")
    settings(world, max_text=3)
    client.sends(ROOM, "hello", id)
    client.hears()
    assert [(frame["type"], frame.get("duplicate")) for frame in client.frames] == [("ack", True)]


def test_the_limit_of_the_workspace_counts_characters(world: World) -> None:
    client = world.connected(ANN)
    settings(world, max_text=3)
    client.sends(ROOM, "👋👋👋")
    client.sends(ROOM, "abcd")
    assert refusals(world, client) == ["too_large"]
    assert len(world.log.appended) == 1


def test_the_sessions_of_a_deleted_workspace_end_for_good(world: World) -> None:
    client = world.connected(ANN)
    settings(world, active=False)
    assert client.ended() == CLOSES["workspace_deleted"].code
    assert not CLOSES["workspace_deleted"].reconnect
    newcomer = world.client(BOB)
    newcomer.connects()
    assert newcomer.ended() == CLOSES["workspace_deleted"].code


def test_other_workspaces_go_on(world: World) -> None:
    client = world.connected(ANN)
    world.tell(WorkspaceRecord(id="ws_other", active=False, version=next(world.versions)))
    assert client.ended() is None
    client.sends(ROOM, "hi")
    assert refusals(world, client) == []
