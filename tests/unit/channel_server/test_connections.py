"""The list of connections that operators look at, the crowd before the welcome, and the metric of each decision."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from channel_server.connections import page_of
from channel_server.core import company, noticeboard, presence, redaction, registry, state, typing
from channel_server.core.limits import Limits
from channel_server.core.state import SLOW_DOWNS
from channel_server.metrics import NodeCollector
from channel_server.settings import ChannelServerSettings
from channel_server.websocket import addresses, sockets
from channel_server.websocket import metrics as websocket_metrics
from services.contract.codes import CLOSES
from services.contract.events import MessagePosted
from services.contract.internal import ConnectionInfo, ConnectionPage
from services.contract.notices import AnnouncementPosted, MentionMade
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import World

ANN, BOB, ROOM = user_id(1), user_id(2), channel_id(1)


def made(**limits: float) -> World:
    world = World(Limits(**limits))  # type: ignore[arg-type]
    for user in (ANN, BOB):
        world.user(user)
        world.member(ROOM, user)
    return world


def page(
    world: World, limit: int = 100, cursor: int = 0, state: str | None = None, user: str | None = None
) -> ConnectionPage:
    return asyncio.run(page_of(world.node, limit=limit, cursor=cursor, state=state, user=user))


def metric(world: World, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(NodeCollector(world.node))
    return registry.get_sample_value(f"lockstep_node_{name}", labels)


def code(name: str) -> int:
    return CLOSES[name].code


# --- the list ------------------------------------------------------------------------------------------------------


def test_each_state_has_its_name_and_its_beginning() -> None:
    world = made(high_water=1000)
    silent = world.client(ANN)
    stranger = world.client(user_id(9), "ses_9")
    stranger.connects()
    quick, slow = world.connected(ANN), world.connected(BOB, "ses_2")
    slow.link.reads = False
    slow.link.unsent_since = world.clock.now + 1.0
    world.clock.now += 2.0
    world.current()
    for _ in range(20):
        world.append(ROOM, ANN, MessagePosted(text="x" * 200))
    world.passes(0.25)
    world.clock.now += 1.0
    world.current()
    found = {info.number: info for info in page(world).items}
    assert found[silent.session.number].state == "connecting"
    assert found[stranger.session.number].state == "admitting"
    assert found[quick.session.number].state == "live"
    behind = found[slow.session.number]
    assert behind.state == "behind"
    assert 0 <= world.clock.wall_ms() - behind.since <= 1500
    assert behind.buffered_bytes == slow.link.unread
    assert behind.oldest_unsent_seconds == pytest.approx(2.2, abs=0.2)
    (lag,) = behind.lag
    assert (lag.channel, lag.head, lag.events) == (ROOM, 20, 20 - (lag.last or 0))
    assert (behind.lagging_channels, behind.lagging_events) == (1, lag.events)
    world.clock.now += 2.5
    world.node.tick()
    held = page(world, state="held").items
    assert [info.number for info in held] == [quick.session.number]
    assert held[0].since < world.clock.wall_ms()
    world.node.state.draining = True
    assert page(world, state="draining").total == 1
    quick.session.end("drained")
    assert page(world, state="closing").total == 1


def test_the_worst_off_come_first_and_pages_hold_everybody_once() -> None:
    world = made()
    clients = [world.connected(ANN, f"ses_{number}") for number in range(30)]
    for place, client in enumerate(clients):
        client.link.unread = 100 * (place % 7)
    clients[13].link.unsent_since = world.clock.now - 5
    clients[17].link.unsent_since = world.clock.now - 9
    seen: list[ConnectionInfo] = []
    cursor: str | None = "0"
    while cursor is not None:
        got = page(world, limit=8, cursor=int(cursor))
        assert got.total == 30
        seen += got.items
        cursor = got.next_cursor
    numbers = [info.number for info in seen]
    assert numbers[:2] == [clients[17].session.number, clients[13].session.number]
    assert sorted(numbers) == sorted(client.session.number for client in clients)
    rest = [(-info.buffered_bytes, info.number) for info in seen[2:]]
    assert rest == sorted(rest)
    assert page(world, user=BOB) == ConnectionPage(items=(), total=0, next_cursor=None)


def test_where_each_stands_in_the_notices_is_told_and_how_far_that_is_from_their_head() -> None:
    world = made(high_water=10)
    silent = world.client(ANN)
    quick, slow = world.connected(ANN), world.connected(BOB, "ses_2")
    for client in (quick, slow):
        assert "notice" not in [frame["type"] for frame in client.frames]
    slow.link.reads = False

    def stands() -> dict[int, tuple[int | None, int, int]]:
        return {
            info.number: (info.notices, info.lagging_notices, info.lagging_channels)
            for info in page(world).items
        }

    for number in range(5):
        world.notice(AnnouncementPosted(text=str(number), all=True))
    assert stands() == {
        silent.session.number: (None, 0, 0),
        quick.session.number: (5, 0, 0),
        slow.session.number: (1, 4, 0),
    }
    assert page(world, limit=1).items[0].number == slow.session.number
    world.notice(MentionMade(channel=ROOM, seq=1, user_ids=[ANN]))
    assert stands()[slow.session.number] == (1, 5, 0), "whomever they address"
    slow.link.reads, slow.link.unread = True, 0
    world.node.drained(slow.session)
    slow.hears()
    assert stands()[slow.session.number] == (6, 0, 0)
    ahead = world.connected(ANN, "ses_3", notices=9)
    assert stands()[ahead.session.number] == (9, 0, 0), "another node was further on"
    assert page(world, limit=1).items[0].number == ahead.session.number, "of equals, who is not at the head"


# --- the crowd before the welcome -------------------------------------------------------------------------------------


def test_who_says_nothing_makes_room_for_who_speaks() -> None:
    world = made(unadmitted=10)
    silent = [world.client(ANN) for _ in range(10)]
    world.clock.now += 1.0
    speaker = world.connected(BOB)
    assert speaker.ended() is None
    assert [client.ended() for client in silent] == [code("connect_timeout")] + [None] * 9
    assert world.connected(BOB).ended() is None, "a welcome takes no room"
    assert metric(world, "crowded_out_total") == 1
    assert metric(world, "unadmitted_connections") == 9


def test_a_crowd_that_came_a_moment_ago_is_not_sent_away_for_the_next() -> None:
    world = made(unadmitted=10)
    storm = [world.client(ANN) for _ in range(15)]
    assert [client.ended() for client in storm] == [None] * 10 + [code("not_ready")] * 5
    assert all(client.connects()[-1]["type"] == "welcome" for client in storm[:10])


def test_a_forged_keys_name_keeps_nobody_out_either() -> None:
    world = made(unadmitted=3)
    strangers = [world.client(user_id(9), f"ses_{n}") for n in range(3)]
    for stranger in strangers:
        stranger.connects()
    world.clock.now += 1.0
    world.current()
    assert world.connected(ANN).ended() is None
    assert strangers[0].ended() == code("not_ready")


def test_of_those_who_are_sent_away_no_more_close_at_once_than_may_wait() -> None:
    world = made(unadmitted=3)
    speaker = world.connected(BOB)
    strangers = []
    for _ in range(9):
        strangers.append(world.client(ANN))
        world.clock.now += 1.0
    aborted = [client.link.aborted for client in strangers]
    assert aborted == [True] * 3 + [False] * 6, "3 wait, 3 close, the others were cut short"
    assert metric(world, "cut_short_total") == 3
    world.node.disconnected(strangers[3].session)
    world.client(ANN)
    assert metric(world, "cut_short_total") == 3, "one had gone by itself"
    speaker.session.end("drained")
    assert metric(world, "cut_short_total") == 3, "who had a welcome does not count"
    world.client(ANN)
    assert strangers[4].link.aborted


def test_who_is_gone_takes_no_room() -> None:
    world = made(unadmitted=3)
    for _ in range(50):
        world.node.disconnected(world.client(ANN).session)
    assert not world.node.state.unadmitted
    world.connected(ANN)
    assert metric(world, "crowded_out_total") == 0


# --- a metric for each decision ------------------------------------------------------------------------------------------


def test_every_slow_down_says_which_limit_it_was() -> None:
    world = made(
        connection_burst=10, connection_rate=0.1, user_burst=8, user_rate=0.1, sends_per_connection=4
    )
    ann = world.connected(ANN)
    for _ in range(7):
        ann.sends(ROOM)
    for limit in ("unacknowledged", "user_rate", "connection_rate"):
        ann.sends(ROOM)
        ann.says(json.dumps({"type": "ping"}))
        if metric(world, "slow_downs_total", limit=limit):
            continue
    bob = world.connected(BOB)
    world.log.full = True
    bob.sends(ROOM)
    world.log.full = False
    world.clock.now += 1.5
    bob.sends(ROOM)
    counted = {limit: metric(world, "slow_downs_total", limit=limit) for limit in SLOW_DOWNS}
    assert counted["waiting"] == 0
    assert all(count for limit, count in counted.items() if limit != "waiting"), counted
    told = sum(frame.get("code") == "slow_down" for frame in ann.frames + bob.frames)
    assert sum(count or 0 for count in counted.values()) == told


def test_sends_that_wait_for_the_directory_are_bounded_and_counted() -> None:
    world = made(waits_per_node=2)
    ann = world.connected(ANN)
    for number in range(4):
        ann.sends(channel_id(50 + number))
    assert metric(world, "slow_downs_total", limit="waiting") == 2


def test_falling_behind_and_coming_back_are_counted() -> None:
    world = made(high_water=1000, chunk=2000, behind_timeout=5, hard_limit=100_000)
    slow = world.connected(BOB)
    slow.link.reads = False
    for _ in range(50):
        world.append(ROOM, ANN, MessagePosted(text="x" * 200))
    assert metric(world, "fell_behind_total") == 1
    slow.link.reads, slow.link.unread = True, 0
    world.node.drained(slow.session)
    assert [frame["seq"] for frame in slow.hears() if frame["type"] == "event"] == list(range(1, 51))
    assert metric(world, "drained_total") == 1
    assert (metric(world, "catch_up_writes_total") or 0) >= 5, "in chunks"
    slow.link.reads = False
    for _ in range(10):
        world.append(ROOM, ANN, MessagePosted(text="x" * 200))
    world.passes(6)
    assert slow.ended() == code("too_slow")
    assert metric(world, "too_slow_total", reason="time") == 1


# --- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"send_buffer_bytes": 100},
        {"send_buffer_bytes": 1 << 30},
        {"max_handshakes": 0},
        {"connection_rate": 0},
        {"address_rate": -1},
        {"behind_bytes": 8192, "high_water_bytes": 16384},
        {"burst_seconds": 0},
    ],
)
def test_a_limit_out_of_bounds_is_a_settings_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError) as error:
        ChannelServerSettings(node_name="n", secrets_dir="/nowhere", **wrong)  # type: ignore[arg-type]
    assert error.value.errors()[0]["loc"][0] in wrong


def test_the_settings_defaults_are_the_limits_defaults() -> None:
    settings = ChannelServerSettings(node_name="n", secrets_dir="/nowhere")  # type: ignore[arg-type]
    assert settings.limits() == Limits()


OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(ChannelServerSettings.model_fields))
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    (row,) = [
        line
        for line in OPERATIONS.splitlines()
        if line.startswith("| `LOCKSTEP_") and f"`LOCKSTEP_{name.upper()}`" in line.split("|")[1]
    ] or [line for line in OPERATIONS.splitlines() if f"`LOCKSTEP_{name.upper()}`" in line][:1]
    field = ChannelServerSettings.model_fields[name]
    if isinstance(field.default, int | float) and not isinstance(field.default, bool):
        assert f"`{field.default:g}" in row or f"`{field.default}" in row, row


def fixed_values() -> dict[str, float]:
    """The table's values by name."""
    section = OPERATIONS.split("### Fixed values", 1)[1].split("\n## ", 1)[0]
    return {
        name: float(value) for name, value in re.findall(r"^\| `(\w+\.\w+)` \| `([\d.]+)` \|", section, re.M)
    }


def fixed_in_the_code() -> dict[str, float]:
    """What no setting can change: of the limits, and the named numbers of the modules that have a policy."""
    fields = ChannelServerSettings.model_fields.items()
    other = {name: field.default * 2 for name, field in fields if isinstance(field.default, int | float)}
    settings = ChannelServerSettings(node_name="n", secrets_dir="/nowhere", **other)  # type: ignore[arg-type]
    doubled = settings.limits()._asdict()
    values = {f"limits.{name}": value for name, value in Limits()._asdict().items() if doubled[name] == value}
    for module in (typing, presence, company, registry, state, noticeboard, redaction, sockets, addresses):
        for name in re.findall(r"^([A-Z]\w+)(?:: Final)? = ", inspect.getsource(module), re.MULTILINE):
            value = getattr(module, name)
            if isinstance(value, int | float):
                values[f"{module.__name__.rpartition('.')[2]}.{name}"] = value
    return values


def test_every_fixed_value_is_documented_as_it_is() -> None:
    assert fixed_values() == fixed_in_the_code()


def existing_metrics() -> str:
    """All that a node tells when it is asked."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(made().node))
    assert websocket_metrics.REFUSED  # registered with the library, by being there
    return generate_latest(registry).decode() + generate_latest().decode()


@pytest.mark.parametrize(
    ("begin", "end"),
    [("### Who is slow", "`GET /internal/v1/connections`"), ("### Fixed values", "## Kafka")],
    ids=["decisions", "fixed values"],
)
def test_every_metric_of_a_table_exists(begin: str, end: str) -> None:
    table = OPERATIONS[OPERATIONS.index(begin) : OPERATIONS.index(end)]
    named = {f"lockstep_{name}" for name in re.findall(r"`((?:node|websocket)_\w+)", table)}
    here = existing_metrics()
    assert len(named) > 15
    assert not [name for name in named if f"# TYPE {name} " not in here]
