"""Promise: every node's view of who is connected becomes what is true, whatever crashes, freezes and comes late."""

from __future__ import annotations

import random

import pytest

from channel_server.core.registry import BEAT, GONE, Registry
from services.contract.presence import (
    Away,
    LiveSession,
    NodeBeat,
    UserSessions,
    away_key,
    encode,
    node_key,
    sessions_key,
)
from tests.unit.channel_server.fakes import user_id

ANNA, OMAR = user_id(1), user_id(2)


def of(*sessions: str, active: bool = True) -> bytes:
    return encode(UserSessions(sessions=[LiveSession(session=s, active=active, since=1) for s in sessions]))


def beat(registry: Registry, incarnation: str, now: float) -> None:
    registry.apply(node_key(incarnation), encode(NodeBeat(name=f"name of {incarnation}", at=0)), now)


def beats(registry: Registry, until: float, *incarnations: str) -> None:
    """Heartbeats without a pause, from 0 on."""
    for step in range(int(until / BEAT) + 1):
        for incarnation in incarnations:
            beat(registry, incarnation, step * BEAT)


def sessions(registry: Registry, user: str) -> list[str]:
    return [where.session.session for where in registry.whereabouts(user)]


def test_sessions_at_several_nodes_with_their_places() -> None:
    registry = Registry("a")
    beat(registry, "a", 0)
    beat(registry, "b", 0)
    assert registry.apply(sessions_key(ANNA, "a"), of("s1"), 0) == (ANNA,)
    registry.apply(sessions_key(ANNA, "b"), of("s2", active=False), 0)
    assert {(w.node, w.session.session) for w in registry.whereabouts(ANNA)} == {
        ("name of a", "s1"),
        ("name of b", "s2"),
    }
    assert registry.state(ANNA) == "active"
    registry.apply(sessions_key(ANNA, "a"), None, 1)
    assert registry.state(ANNA) == "away", "idle at the only one that is left"
    registry.apply(sessions_key(ANNA, "b"), None, 1)
    assert registry.state(ANNA) == "offline"
    assert len(registry) == 0


def test_away_by_hand_holds_for_all_sessions_until_it_is_taken_back() -> None:
    registry = Registry("a")
    registry.apply(sessions_key(ANNA, "a"), of("s1", "s2"), 0)
    registry.apply(away_key(ANNA), encode(Away(since=1)), 0)
    assert registry.state(ANNA) == "away"
    registry.apply(away_key(ANNA), None, 0)
    assert registry.state(ANNA) == "active"


def test_a_silent_node_is_gone_with_its_sessions_and_only_one_cleans_up() -> None:
    one, two = Registry("a"), Registry("b")
    for registry in (one, two):
        beat(registry, "dead", 0)
        registry.apply(sessions_key(ANNA, "dead"), of("s1"), 0)
        beats(registry, GONE, "a", "b")
        assert registry.judge(GONE) == (set(), []), "not yet"
    (users, keys), (same, none) = one.judge(GONE + 0.1), two.judge(GONE + 0.1)
    assert users == same == {ANNA}
    assert keys == [sessions_key(ANNA, "dead"), node_key("dead")]
    assert none == []
    assert one.state(ANNA) == two.state(ANNA) == "offline"


def test_a_node_that_was_only_frozen_is_back_when_it_is_heard_again() -> None:
    registry = Registry("b")
    beat(registry, "a", 0)
    registry.apply(sessions_key(ANNA, "a"), of("s1"), 0)
    beats(registry, GONE, "b")
    assert registry.judge(GONE + 1) == ({ANNA}, [sessions_key(ANNA, "a"), node_key("a")])
    assert registry.state(ANNA) == "offline"
    value = encode(NodeBeat(name="a", at=0))
    assert registry.apply(node_key("a"), value, GONE + 2) == (ANNA,)
    assert registry.state(ANNA) == "active"


def test_who_does_not_hear_itself_judges_nobody() -> None:
    registry = Registry("a")
    beat(registry, "a", 0)
    beat(registry, "b", 0)
    registry.apply(sessions_key(ANNA, "b"), of("s1"), 0)
    assert registry.judge(100) == (set(), [])
    assert registry.state(ANNA) == "active"


def test_of_two_that_come_back_with_the_log_the_one_that_is_heard_first_does_not_take_the_other_for_gone() -> (
    None
):
    """The log was away for a minute, and the nodes have begun to tell again, one a little later than the other."""
    registry = Registry("a")
    beats(registry, 30, "a", "b")
    registry.apply(sessions_key(ANNA, "b"), of("s1"), 30)
    for now in (90, 91, 92):
        beat(registry, "a", now)
        assert registry.judge(now) == (set(), [])
        assert registry.state(ANNA) == "active"
    beat(registry, "b", 92.5)
    for now in (93, 95, 98, 101):
        beat(registry, "a", now)
        assert registry.judge(now) == (set(), []), "silent for less than that"
    beat(registry, "a", 104)
    assert registry.judge(104) == ({ANNA}, [sessions_key(ANNA, "b"), node_key("b")])


def test_what_is_left_of_a_node_that_said_goodbye_is_nothing() -> None:
    """Also when this one had not taken it for gone yet."""
    registry = Registry("a")
    beat(registry, "b", 0)
    registry.apply(sessions_key(ANNA, "b"), of("s1"), 0)
    registry.apply(node_key("b"), None, 1)
    assert sessions(registry, ANNA) == ["s1"], "the heartbeats ended, and nobody has said so of the session"
    registry.apply(sessions_key(ANNA, "b"), None, 2)
    registry.apply(node_key("b"), None, 2)
    assert registry.nodes(2) == []


def test_a_restarted_node_does_not_bring_back_its_earlier_runs_sessions() -> None:
    registry = Registry("new")
    beat(registry, "old", 0)
    registry.apply(sessions_key(ANNA, "old"), of("s1"), 0)
    beat(registry, "new", 0)
    for now in range(1, 15):
        beat(registry, "new", now)
        registry.judge(now)
    assert registry.state(ANNA) == "offline"


def test_a_late_goodbye_of_an_earlier_run_erases_nothing_of_the_newer() -> None:
    registry = Registry("x")
    registry.apply(sessions_key(ANNA, "new"), of("s2"), 1)
    registry.apply(sessions_key(ANNA, "old"), None, 2)
    assert sessions(registry, ANNA) == ["s2"]


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"sessions":5}', b'{"sessions":[{}]}'])
def test_what_cannot_be_read_is_nobodys_session(value: bytes) -> None:
    registry = Registry("a")
    registry.apply(sessions_key(ANNA, "b"), value, 0)
    registry.apply(node_key("b"), value, 0)
    registry.apply("nonsense", value, 0)
    registry.apply("usr_", value, 0)
    assert registry.state(ANNA) == "offline"


class Cluster:
    """Nodes on one topic, each reading at its own pace; they crash for good, and freeze for a while."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.log: list[tuple[str, bytes | None]] = []
        self.truth: dict[str, dict[str, set[str]]] = {}  # incarnation -> user -> sessions
        self.views: dict[str, Registry] = {}
        self.read: dict[str, int] = {}
        self.frozen: dict[str, float] = {}
        self.beats: dict[str, float] = {}
        self.runs = 0
        for _ in range(3):
            self.start()

    def start(self) -> None:
        self.runs += 1
        incarnation = f"run{self.runs}"
        self.truth[incarnation] = {}
        self.views[incarnation] = Registry(incarnation)
        self.read[incarnation] = 0
        self.beats[incarnation] = 0.0

    def crash(self, incarnation: str) -> None:
        for per_node in (self.truth, self.views, self.read, self.frozen, self.beats):
            per_node.pop(incarnation, None)

    def tell(self, incarnation: str, user: str) -> None:
        of_user = sorted(self.truth[incarnation].get(user, ()))
        self.log.append((sessions_key(user, incarnation), of(*of_user) if of_user else None))

    def run(self, incarnation: str, all_of_it: bool = False) -> None:
        """One turn of a node that is not frozen: beat, read, compare, judge."""
        view = self.views[incarnation]
        if self.now >= self.beats[incarnation]:
            self.beats[incarnation] = self.now + BEAT
            self.log.append((node_key(incarnation), encode(NodeBeat(name=incarnation, at=0))))
        begin = self.read[incarnation]
        end = len(self.log) if all_of_it else self.rng.randint(begin, len(self.log))
        for key, value in self.log[begin:end]:
            for user in view.apply(key, value, self.now):
                own = key == sessions_key(user, incarnation)
                told = {s.session for s in view.told_of(user)}
                if own and told != self.truth[incarnation].get(user, set()):
                    self.tell(incarnation, user)  # others took it for gone, or something newer is on its way
        self.read[incarnation] = end
        _, keys = view.judge(self.now)
        self.log += [(key, None) for key in keys]

    def step(self) -> None:
        act = self.rng.random()
        incarnation = self.rng.choice(sorted(self.truth))
        if act < 0.35:
            user, session = self.rng.choice((ANNA, OMAR)), f"s{self.rng.randint(1, 4)}"
            if incarnation not in self.frozen:
                of_user = self.truth[incarnation].setdefault(user, set())
                (of_user.discard if session in of_user else of_user.add)(session)
                self.tell(incarnation, user)
        elif act < 0.4 and len(self.truth) > 1:
            self.crash(incarnation)
        elif act < 0.45 and len(self.truth) < 4:
            self.start()
        elif act < 0.5:
            self.frozen[incarnation] = self.now + self.rng.uniform(0, 25)
        self.now += self.rng.uniform(0, 1.5)
        for each in sorted(self.truth):
            if self.now >= self.frozen.get(each, 0):
                self.frozen.pop(each, None)
                self.run(each)


@pytest.mark.parametrize("seed", range(40))
def test_all_views_become_what_is_true(seed: int) -> None:
    cluster = Cluster(random.Random(seed))
    for _ in range(300):
        cluster.step()
    cluster.frozen.clear()
    for _ in range(40):
        cluster.now += 1.0
        for incarnation in sorted(cluster.truth):
            cluster.run(incarnation, all_of_it=True)
    for view in cluster.views.values():
        for user in (ANNA, OMAR):
            expected = sorted(s for users in cluster.truth.values() for s in users.get(user, ()))
            assert sorted(sessions(view, user)) == expected
        assert len(view.nodes(cluster.now)) == len(cluster.truth)
    compacted = {key for key, value in dict(cluster.log).items() if value is not None}
    assert {key.rpartition(":")[2] for key in compacted} <= set(cluster.truth), "the dead left nothing behind"
