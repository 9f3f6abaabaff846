"""What a message costs the network: counted in segments, which on the loopback are system calls."""

from __future__ import annotations

import socket
import struct

from tests.system.channel_server.cell import Cell, Client

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
