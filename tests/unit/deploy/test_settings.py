"""One set of settings, and everything made from it says the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from deploy import compose, settings
from deploy.local.errors import StackError
from deploy.local.place import Place, requested
from deploy.local.postgres import binaries
from deploy.local.toolchain import CLONE, POM
from services.runtime.settings import NodeAddress

PORTS = {listener.setting: 40000 + number for number, listener in enumerate(settings.LISTENERS)}
LOCAL = settings.local_site(PORTS, "/secrets")


def test_the_jars_are_of_the_version_that_the_settings_name() -> None:
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    version = ElementTree.parse(POM).findtext("m:properties/m:kafka.version", namespaces=space)
    assert version == settings.KAFKA_VERSION


def test_the_wheels_postgres_is_of_the_version_of_the_image() -> None:
    said = subprocess.run(
        [binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert said.split()[-1] == settings.POSTGRES_VERSION


def test_no_two_listeners_share_a_port_or_a_setting() -> None:
    every = settings.listeners(settings.MOST_NODES)
    assert len({listener.port for listener in every}) == len(every)
    assert len({listener.setting for listener in every}) == len(every)


def test_a_stack_has_as_many_nodes_as_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.NODE_COUNT, "5")
    place = requested()
    names = [f"node-{number}" for number in range(1, 6)]
    assert [service.name for service in place.site().services if service.is_node] == names
    announced = json.loads(place.environment(place.site().services[0])["LOCKSTEP_NODES"])
    assert [node["name"] for node in announced] == names
    assert len({node["websocket"] for node in announced}) == 5
    assert settings.NODE_COUNT not in place.extra
    services = compose.document(5)["services"]
    assert [name for name in services if name.startswith("node-")] == names
    assert all(f"http://{name}:" in services["web_app"]["environment"]["LOCKSTEP_NODES"] for name in names)


@pytest.mark.parametrize("wrong", ["0", "33", "-1", "two", "2.5"])
def test_a_number_of_nodes_that_is_none_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.NODE_COUNT, wrong)
    with pytest.raises(StackError, match=f"{settings.NODE_COUNT}={wrong} is no number of nodes"):
        requested()


@pytest.mark.parametrize("service", settings.SERVICES, ids=lambda service: service.name)
def test_a_process_is_told_where_to_listen_and_reaches_its_own_health(service: settings.Service) -> None:
    environment = LOCAL.environment(service)
    for listener in service.listeners:
        assert environment[listener.host_variable] == "127.0.0.1"
        assert environment[listener.port_variable] == str(PORTS[listener.setting])
    assert service.health in service.listeners
    assert ("LOCKSTEP_NODE_NAME" in environment) == service.is_node


@pytest.mark.parametrize("site", [LOCAL, compose.site()], ids=["native", "compose"])
def test_every_node_is_announced_with_addresses_that_parse(site: settings.Site) -> None:
    plain = re.sub(r"\$\{\w+:-(\d+)\}", r"\1", site.nodes())
    nodes = TypeAdapter(list[NodeAddress]).validate_json(plain)
    assert [node.name for node in nodes] == ["node-1", "node-2"]
    assert json.loads(plain)[0]["websocket"].endswith("/v1/websocket")


def test_what_durability_depends_on_is_explicit() -> None:
    kafka = settings.KAFKA_SETTINGS
    assert kafka["unclean.leader.election.enable"] == "false"
    assert kafka["auto.create.topics.enable"] == "false"
    assert kafka["log.retention.ms"] == "-1"
    assert {
        "default.replication.factor",
        "min.insync.replicas",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "message.max.bytes",
    } <= kafka.keys()
    assert settings.POSTGRES_SETTINGS["fsync"] == "on"
    assert settings.POSTGRES_SETTINGS["synchronous_commit"] == "on"


def test_compose_yaml_is_current() -> None:
    assert compose.FILE.read_text("utf-8") == compose.render(), "run `make compose`"


def check_against_the_specification(file: Path) -> int:
    """The exit status of a kept tool that carries the Compose specification's schema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_compose_yaml_follows_the_compose_specification(tmp_path: Path) -> None:
    assert check_against_the_specification(compose.FILE) == 0
    broken = yaml.safe_load(compose.FILE.read_text("utf-8"))
    broken["services"]["kafka"]["portz"] = []
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken), "utf-8")
    assert check_against_the_specification(tmp_path / "compose.yaml") != 0


def test_compose_runs_every_process_and_depends_only_on_what_exists() -> None:
    services = compose.document()["services"]
    assert {service.name for service in settings.SERVICES} <= services.keys()
    for service in services.values():
        assert service.get("depends_on", {}).keys() <= services.keys()
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose.document()["volumes"]


def test_compose_gives_the_broker_the_same_settings() -> None:
    environment = compose.document()["services"]["kafka"]["environment"]
    for name, value in settings.KAFKA_SETTINGS.items():
        assert environment[compose.kafka_variable(name)] == value


def test_nothing_in_compose_is_published_beyond_this_machine() -> None:
    for service in compose.document()["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_containers_see_the_files_they_need() -> None:
    ignored = (CLONE / ".dockerignore").read_text("utf-8").split()
    assert "*" in ignored
    for service in settings.SERVICES:
        assert f"!{service.module.partition('.')[0]}" in ignored


def test_both_lock_files_pin_the_same_product() -> None:
    def pins(name: str) -> set[str]:
        text = (CLONE / "requirements" / name).read_text("utf-8")
        return set(re.findall(r"^([\w.\-\[\]]+==\S+)", text, re.MULTILINE))

    assert pins("runtime.txt") <= pins("dev.txt")


def test_a_port_moves_by_its_setting_and_other_variables_reach_the_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCKSTEP_WEB_PORT", "8765")
    monkeypatch.setenv("LOCKSTEP_LOG_LEVEL", "debug")
    monkeypatch.setenv("LOCKSTEP_SECRETS_DIR", "/somewhere/else")
    place: Place = requested()
    environment = place.environment(settings.SERVICES[0])
    assert environment["LOCKSTEP_WEB_PORT"] == "8765"
    assert environment["LOCKSTEP_LOG_LEVEL"] == "debug"
    assert environment["LOCKSTEP_SECRETS_DIR"] == str(place.secrets)
