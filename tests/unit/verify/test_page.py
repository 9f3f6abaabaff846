"""docs/verify.md lists the rules and the kinds of lines as they are."""

from __future__ import annotations

import re
from pathlib import Path

from verify.findings import RULES
from verify.lines import KINDS

PAGE = (Path(__file__).parents[3] / "docs" / "verify.md").read_text("utf-8")


def test_the_table_of_rules_is_the_code() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(rule.property.value, name, rule.sentence) for name, rule in RULES.items()]


def test_the_table_of_lines_is_the_code() -> None:
    section = PAGE.split("## A recording")[1]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == KINDS
