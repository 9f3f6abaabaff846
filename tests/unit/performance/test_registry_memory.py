"""What a node keeps of everybody who is connected to another one: that is what bounds a cell."""

from __future__ import annotations

from channel_server.core.registry import Registry
from services.contract.ids import new_entity_id
from services.contract.presence import LiveSession, NodeBeat, UserSessions, encode, node_key, sessions_key
from tests.unit.performance.counting import allocated

PEOPLE = 5_000
SESSION_BYTES = 750


def test_a_person_at_another_node_takes_so_many_bytes() -> None:
    registry = Registry("a")
    registry.apply(node_key("b"), encode(NodeBeat(name="node-b", at=0)), 0.0)
    told = [
        (
            sessions_key(new_entity_id("usr"), "b"),
            encode(
                UserSessions(
                    sessions=[
                        LiveSession(
                            session=new_entity_id("ses"),
                            device="web",
                            address=f"10.0.{number >> 8}.{number & 255}",
                            since=1_700_000_000_000 + number,
                        )
                    ]
                )
            ),
        )
        for number in range(PEOPLE)
    ]

    def hear() -> None:
        for key, value in told:
            registry.apply(key, value, 1.0)

    size = allocated(hear) / PEOPLE
    assert len(registry) == PEOPLE
    assert size <= SESSION_BYTES, f"{size:.0f} bytes"
