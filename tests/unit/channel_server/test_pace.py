"""How fast a connection and a person may go."""

from __future__ import annotations

from channel_server.core.limits import Limits
from services.contract.codes import CLOSES
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import World

ANN, ROOM = user_id(1), channel_id(1)


def test_going_too_fast_is_refused_and_going_on_is_flooding() -> None:
    world = World(Limits(connection_rate=10, connection_burst=20, flooding_burst=15))
    world.user(ANN)
    world.member(ROOM, ANN)
    client = world.connected(ANN)
    answers = [frame for _ in range(30) for frame in client.sends(ROOM)]
    assert {frame["code"] for frame in answers} == {"slow_down"}
    assert len(answers) == 30 - 19
    assert all(0 < frame["retry_after_ms"] <= 1100 for frame in answers)
    for _ in range(10):
        client.says({"type": "ping"})
    assert client.ended() == CLOSES["flooding"].code


def test_a_person_has_one_pace_over_all_connections() -> None:
    world = World(Limits(user_rate=10, user_burst=10))
    world.user(ANN)
    world.member(ROOM, ANN)
    clients = [world.connected(ANN) for _ in range(3)]
    answers = [frame for _ in range(5) for client in clients for frame in client.sends(ROOM)]
    assert [frame["code"] for frame in answers] == ["slow_down"] * 5


def test_who_comes_back_finds_their_pace_as_it_was() -> None:
    """Else who is sent away for flooding would have a new burst with every connection."""
    world = World(Limits(user_rate=1, user_burst=10))
    world.user(ANN)
    world.member(ROOM, ANN)

    def refused() -> list[str]:
        client = world.connected(ANN)
        answers = [frame["code"] for _ in range(10) for frame in client.sends(ROOM)]
        world.node.disconnected(client.session)
        return answers

    assert refused() == []
    assert refused() == ["slow_down"] * 10
    world.passes(60)
    assert refused() == []
    world.passes(120)
    assert not world.node.state.user_buckets
