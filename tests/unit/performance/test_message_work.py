"""What a message may cost besides showing it: calls on the way in, bytes in the log and on the wire, a heartbeat."""

from __future__ import annotations

import gc
import json

from msgspec.structs import replace

from channel_server.core.compose import event_frame
from services.contract.directory import MemberRecord
from services.contract.envelope import HEADER, decode_envelope, encode_envelope, partition_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.records import read_record
from services.eventlog.sequencer import Sequencer
from tests.unit.channel_server.world import GENERATION
from tests.unit.performance.counting import Channel, allocated, calls

SEND_CALLS = 78
PING_CALLS = 34
LOG_BYTES = 205
ID_BYTES = 350
EVENT_CALLS = 38
MEMBERSHIP_CALLS = 9
FRAME_BYTES = 240


def test_taking_a_send_is_a_bounded_number_of_calls() -> None:
    """From the frame's text to the append, checks and all; with a hundred members as with one."""
    for members in (1, 100):
        channel = Channel(members)
        client = channel.clients[0]
        frame = json.dumps(
            {"type": "send", "channel": channel.channel, "id": channel.world.id(), "text": "x" * 300}
        )
        spent = calls(lambda client=client, frame=frame: client.session.received(frame))  # type: ignore[misc]
        assert len(channel.world.log.appended) == 1
        assert spent <= SEND_CALLS, f"{spent} calls"


def test_a_heartbeat_is_answered_in_a_bounded_number_of_calls() -> None:
    channel = Channel(100)
    client = channel.clients[0]
    spent = calls(lambda: client.session.received('{"type":"ping"}'))
    assert spent <= PING_CALLS, f"{spent} calls"


def test_what_the_log_keeps_of_a_message_besides_its_text() -> None:
    text = "x" * 300
    channel = new_entity_id("ch")
    name, envelope = encode_envelope(channel, new_entity_id("usr"), new_event_id(), 1_700_000_000_000)
    value = encode_event(MessagePosted(text=text))
    size = len(channel) + len(name) + len(envelope) + len(value) - len(text)
    assert size <= LOG_BYTES, f"{size} bytes"


def test_what_the_wire_carries_of_a_message_besides_its_text() -> None:
    text = "x" * 300
    body = encode_event(MessagePosted(text=text))
    frame = event_frame(
        new_entity_id("ch"), 1_234_567, new_event_id(), new_entity_id("usr"), 1_700_000_000_000, body
    )
    assert len(frame) - len(text) <= FRAME_BYTES, f"{len(frame) - len(text)} bytes"


def test_what_the_fold_keeps_of_an_id() -> None:
    """And that none of it is anything which the garbage collector would walk through."""
    count = 20_000
    now = 1_700_000_000_000
    channel, sender = new_entity_id("ch"), new_entity_id("usr")
    sequencer = Sequencer(Generation(epoch=1))

    def fold() -> None:
        for offset in range(count):
            _, header = encode_envelope(channel, sender, new_event_id(now), now)
            sequencer.apply(offset, now, decode_envelope([(HEADER, header)]), offset)

    assert allocated(fold) / count <= ID_BYTES
    assert not gc.is_tracked(sequencer._window)


def test_what_a_node_does_with_what_concerns_nobody_here_is_a_bounded_number_of_calls() -> None:
    """Every message of the cell and every membership: a node that starts does it for all that the log holds."""
    count = 100
    world = Channel(0).world
    channel, now = new_entity_id("ch"), world.clock.wall_ms()
    partition = partition_of(channel, GENERATION.partitions)
    value = encode_event(MessagePosted(text="x" * 300))
    headers = [encode_envelope(channel, new_entity_id("usr"), new_event_id(now), now) for _ in range(count)]

    def replay() -> None:
        read = [
            read_record(partition, GENERATION.partitions, offset, now, [header], value)
            for offset, header in enumerate(headers)
        ]
        world.node.records(partition, read)

    spent = calls(replay) / count
    assert world.node.counts.events == count
    assert spent <= EVENT_CALLS, f"{spent} calls of an event"
    joined = [
        MemberRecord(channel_id=channel, user_id=new_entity_id("usr"), member=True, version=version)
        for version in range(1, count + 1)
    ]
    world.node.directory_records(joined)  # so that everybody is known
    left = [replace(each, member=False, version=each.version + count) for each in joined]
    spent = calls(lambda: world.node.directory_records(left)) / count
    assert world.node.state.directory.members_in(channel) == 0
    assert spent <= MEMBERSHIP_CALLS, f"{spent} calls of a membership"
