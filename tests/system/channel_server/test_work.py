"""What a message costs the network: counted in segments, which on the loopback are system calls."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from pathlib import Path

from tests.system.channel_server.cell import Cell, Client, Node

MESSAGES = 12

_DATA_SEGMENTS_IN = 152
"""Offset of `tcpi_data_segs_in` in Linux's `struct tcp_info`."""


def segments(client: Client) -> int:
    """Segments with data that have come to this client."""
    connection = client.socket.transport.get_extra_info("socket")
    facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("=I", facts, _DATA_SEGMENTS_IN)[0])


async def test_a_message_is_one_write_to_a_listener_and_one_to_its_sender(cell: Cell) -> None:
    people = await cell.people(3)
    channel = await cell.channel(*people)
    (node,) = await cell.nodes("node-work")
    sender, *listeners = [await cell.connect(node, person) for person in people]
    for client in (sender, *listeners):
        await client.opened(channel)
    first = (await sender.say(channel, "the first one"))["seq"]
    for client in (sender, *listeners):
        await client.shown(channel, first)
    before = {client: segments(client) for client in (sender, *listeners)}
    for number in range(MESSAGES):
        await sender.say(channel, f"message {number}")
    for client in (sender, *listeners):
        await client.shown(channel, first + MESSAGES)
    # The sender's acknowledgement goes with the event, in one write.
    for client in (sender, *listeners):
        assert segments(client) - before[client] <= MESSAGES


def sleeps(node: Node) -> int:
    """How often the process has gone to sleep, hence how often it was woken."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


async def woken_per_second(node: Node, seconds: float) -> float:
    before, began = sleeps(node), time.monotonic()
    await asyncio.sleep(seconds)
    return (sleeps(node) - before) / (time.monotonic() - began)


async def test_a_node_that_nobody_speaks_to_wakes_for_several_things_at_once(cell: Cell) -> None:
    (node,) = await cell.nodes("node-idle")
    # Not in the first of them: for a second after news nobody waits for the beat.
    least = min([await woken_per_second(node, 2.0) for _ in range(3)])
    # Twenty ticks, sixteen answers of brokers (four readers, four times a second), and some in between when timers are a
    # millisecond apart: about 49. With a timer for each of them it was 63 to 80.
    assert least < 58
