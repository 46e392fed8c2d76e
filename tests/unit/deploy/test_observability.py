from __future__ import annotations

import json
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def folder(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "deploy" / "observability"


@pytest.fixture(scope="module")
def dashboard(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "grafana" / "treadle.json").read_text())
    return loaded


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.requires("promtool")
def test_prometheus_takes_the_configuration_and_the_rules(folder: Path) -> None:
    assert "SUCCESS" in promtool("check", "config", folder / "prometheus.yaml")


@pytest.mark.requires("promtool")
def test_alerts_fire_when_they_should_and_only_then(folder: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", folder / "alerts.test.yaml")


def test_every_alert_is_tried_by_a_rule_test(folder: Path) -> None:
    (group,) = yaml.safe_load((folder / "alerts.yaml").read_text())["groups"]
    tests = (folder / "alerts.test.yaml").read_text()

    assert [rule["alert"] for rule in group["rules"] if rule["alert"] not in tests] == []


@pytest.mark.requires("promtool")
def test_every_query_of_the_dashboard_is_one(dashboard: dict[str, Any], tmp_path: Path) -> None:
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    assert f"SUCCESS: {len(queries)} rules" in promtool("check", "rules", tmp_path / "rules.yaml")


def test_panels_have_places_and_numbers_of_their_own(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_the_dashboard_uses_only_variables_that_it_has(dashboard: dict[str, Any]) -> None:
    names = {variable["name"] for variable in dashboard["templating"]["list"]}

    assert {"datasource", "namespace", "workflow"} == names
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"] if "targets" in panel)


def test_the_collectors_pipelines_use_what_is_defined_and_all_of_it(folder: Path) -> None:
    config = yaml.safe_load((folder / "collector.yaml").read_text())
    pipelines = config["service"]["pipelines"]

    assert set(pipelines) == {"traces", "metrics", "logs"}
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines.values() for name in pipeline[kind]} == set(config[kind])
    assert config["service"]["extensions"] == list(config["extensions"])
    for pipeline in pipelines.values():
        assert pipeline["processors"][0] == "memory_limiter", "what protects the collector comes first"
