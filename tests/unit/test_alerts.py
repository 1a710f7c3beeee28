"""Alerts and dashboard: they use existing metrics, Prometheus accepts them, and each alert names an action."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.missing_program import missing_program
from tests.harness.promql import selectors
from tests.harness.registered_metrics import families, samples

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "sms-bridge.rules.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
BOARD = json.loads((ROOT / "deploy" / "grafana" / "sms-bridge.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
SCALING = yaml.safe_load_all(
    (ROOT / "deploy" / "kubernetes-keda" / "scaling.yaml").read_text(encoding="utf-8")
)
EXPRESSIONS = [
    *(rule["expr"] for rule in RULES),
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
    *(one["metadata"]["query"] for one in next(SCALING)["spec"]["triggers"] if one["type"] == "prometheus"),
]
#: Metrics of the client library for each process, on Linux.
CLIENT = frozenset(
    {"process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"}
)

rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    own = Path(sys.executable).with_name("promtool")
    found = str(own) if own.exists() else shutil.which("promtool")
    if found is None:
        missing_program("promtool")
    return subprocess.run(
        [found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_use_existing_metrics(expression: str) -> None:
    real = samples()
    values = {
        (sample.name, label, value)
        for family in families().values()
        for sample in family.samples
        for label, value in sample.labels.items()
    }
    asked = selectors(expression)

    assert asked
    for selector in asked:
        assert selector.name in {*real, *CLIENT}
        assert [one for one in selector.labels if (selector.name, *one) not in values] == []


def test_labels_of_aggregations_exist() -> None:
    known = {label for labels in samples().values() for label in labels} | {"instance", "process"}
    by = {
        label.strip()
        for expression in EXPRESSIONS
        for labels in re.findall(r"(?:by|on) \(([^)]*)\)", expression)
        for label in labels.split(",")
        if label
    }

    assert by <= known


def test_prometheus_takes_the_rules() -> None:
    checked = promtool("check", "rules", "sms-bridge.rules.yaml", cwd=PROMETHEUS)

    assert checked.returncode == 0, checked.stderr


def test_alerts_fire_in_their_conditions() -> None:
    tested = promtool("test", "rules", "sms-bridge.rules.test.yaml", cwd=PROMETHEUS)

    assert tested.returncode == 0, tested.stderr + tested.stdout


def test_prometheus_accepts_the_queries_of_dashboard_and_scaling(tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel_{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(EXPRESSIONS[len(RULES) :])
    ]
    rules_file = tmp_path / "panels.yaml"
    rules_file.write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8"
    )
    checked = promtool("check", "rules", "panels.yaml", cwd=tmp_path)

    assert checked.returncode == 0, checked.stderr


@rules
def test_alert_has_a_meaning_and_a_link_to_an_action(rule: dict[str, Any]) -> None:
    page, _, section = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^##+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)

    assert all(rule["annotations"][key] for key in ("summary", "meaning", "action"))
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert section in {heading.lower().replace(" ", "-") for heading in headings}


@rules
def test_alert_rounds_its_numbers(rule: dict[str, Any]) -> None:
    said = [value for text in rule["annotations"].values() for value in re.findall(r"{{(.*?)}}", text)]
    numbers = [value for value in said if "$value" in value]

    assert [value for value in numbers if "printf" not in value and "humanizeDuration" not in value] == []


def test_names_of_alerts_are_unique() -> None:
    names = [rule["alert"] for rule in RULES]

    assert len(names) == len(set(names))


# -- the dashboard ---------------------------------------------------------------------------------


def test_panels_have_titles_and_do_not_overlap() -> None:
    def corners(panel: dict[str, Any]) -> tuple[int, int, int, int]:
        at = panel["gridPos"]
        return at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"]

    def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
        left, top, right, bottom = corners(one)
        left_2, top_2, right_2, bottom_2 = corners(other)
        return left < right_2 and left_2 < right and top < bottom_2 and top_2 < bottom

    assert all(panel["description"] for panel in PANELS)
    assert [pair for pair in combinations(BOARD["panels"], 2) if overlap(*pair)] == []
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert max(corners(panel)[2] for panel in PANELS) <= 24


def test_dashboard_queries_the_selected_prometheus() -> None:
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert [one["name"] for one in BOARD["templating"]["list"]] == ["datasource", "instance"]
