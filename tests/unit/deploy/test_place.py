"""Where a stack lives, its secrets, and what is refused before anything starts."""

from __future__ import annotations

import socket
import stat
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deploy.local import place, secrets
from deploy.local.errors import StackError
from deploy.local.ports import free_ports, is_free
from deploy.local.supervision import LONGEST_SOCKET, Program, Supervisor
from deploy.settings import LISTENERS


def make(folder: Path) -> place.Place:
    ports = dict(zip((listener.setting for listener in LISTENERS), free_ports(len(LISTENERS)), strict=True))
    return place.Place(folder, ports, {})


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    secrets.make(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert {path.name for path in files} == {"database_password", "service_token", "key-1.pem"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    key = load_pem_private_key((tmp_path / "signing_keys" / "key-1.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    secrets.make(tmp_path)
    assert {path: path.read_bytes() for path in files} == before


def test_secrets_of_two_stacks_differ(tmp_path: Path) -> None:
    for name in ("one", "two"):
        secrets.make(tmp_path / name)
    assert secrets.read(tmp_path / "one", "service_token") != secrets.read(tmp_path / "two", "service_token")


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", ""])
def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LOCKSTEP_WEB_PORT", text)
    with pytest.raises(StackError, match=f"LOCKSTEP_WEB_PORT={text} is not a port"):
        place.requested()


def test_two_settings_with_one_port_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_WEB_PORT", "8101")
    with pytest.raises(
        StackError, match="LOCKSTEP_WEB_PORT and LOCKSTEP_NODE_1_WEBSOCKET_PORT are both 8101"
    ):
        place.requested()


@pytest.mark.parametrize("name", ["it's", 'a"b', "a:b", "a,b", "a;b", "a#b", "a%b"])
def test_a_path_that_java_or_the_supervisor_cannot_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(place.HOME, str(tmp_path / name))
    with pytest.raises(StackError, match="move the clone"):
        place.folder()


def test_what_a_start_used_is_remembered_for_the_commands_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(place.HOME, str(tmp_path))
    assert place.remembered() is None
    before = make(tmp_path)
    before.run.mkdir()
    before.remember()
    assert place.remembered() == before


def test_a_socket_path_stays_within_what_the_system_takes(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    for folder in (tmp_path, deep):
        supervisor = Supervisor(make(folder))
        assert len(str(supervisor.socket)) <= LONGEST_SOCKET
    assert Supervisor(make(deep)).socket != Supervisor(make(deep / "other")).socket


def test_the_supervisor_gives_a_process_its_environment_as_it_is(tmp_path: Path) -> None:
    """Values with spaces, quotes and percent signs (LOCKSTEP_NODES is JSON) arrive unchanged."""
    given = {
        "LOCKSTEP_JSON": '[{"name": "node-1", "share": "100%"}]',
        "LOCKSTEP_EMPTY": "",
        "LOCKSTEP_TEXT": "a b, c=d",
    }
    where = make(tmp_path / "with spaces in it")
    supervisor = Supervisor(where)
    supervisor.start([Program("printer", ["/usr/bin/env"], given)])
    try:
        supervisor.start_program("printer")
        deadline = time.monotonic() + 60
        while supervisor.states()["printer"].alive and time.monotonic() < deadline:
            time.sleep(0.05)
        printed = supervisor.log_file("printer").read_text("utf-8").splitlines()
    finally:
        supervisor.shutdown()
    assert {f"{name}={value}" for name, value in given.items()} <= set(printed)


def test_a_port_that_is_taken_is_seen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not is_free(taken.getsockname()[1])
    assert len(set(free_ports(50))) == 50
