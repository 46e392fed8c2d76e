"""What alerts and dashboard look at is what a real controller serves."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.acceptance.running import WORKFLOWS, Dev, dev, wait_until

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with dev(tmp_path_factory.mktemp("cluster"), str(WORKFLOWS / "host-metrics.json")) as running:
        yield running


@pytest.fixture(scope="module")
def page(cluster: Dev) -> str:
    """Return the page once loops have committed and queues have been read."""
    assert cluster.address
    address = re.search(r"HTTP (?:http://)?([\d.]+:\d+)", cluster.err)
    assert address is not None, cluster.err

    def busy() -> str:
        text = httpx.get(f"http://{address[1]}/metrics").text
        committed = re.findall(r"^treadle_queue_committed_total\{.*\} ([1-9]\S*)$", text, re.MULTILINE)
        return text if committed else ""

    return wait_until(busy, "messages are committed")


@pytest.fixture(scope="module")
def queries(pytestconfig: pytest.Config) -> list[str]:
    """Return every query of the alerts and of the dashboard."""
    folder = pytestconfig.rootpath / "deploy" / "observability"
    (group,) = yaml.safe_load((folder / "alerts.yaml").read_text())["groups"]
    dashboard = json.loads((folder / "grafana" / "treadle.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    variables = [one["definition"] for one in dashboard["templating"]["list"] if "definition" in one]
    return [rule["expr"] for rule in group["rules"]] + panels + variables


def labels(page: str) -> dict[str, set[str]]:
    """Return the label names of every metric that has samples."""
    return {name: set(re.findall(r'(\w+)="', held)) for name, held, _ in SAMPLE.findall(page)}


def test_every_metric_that_is_looked_at_is_on_the_page(page: str, queries: list[str]) -> None:
    served = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))

    named = {re.sub(r"_bucket$", "", name) for query in queries for name in re.findall(r"\btreadle_\w+", query)}

    assert named - served == set()
    assert served - named == set(), "the dashboard shows all that there is"


def test_every_label_that_is_looked_at_is_on_its_metric(page: str, queries: list[str]) -> None:
    known = labels(page)

    for query in queries:
        for metric, selector in re.findall(r"\b(treadle_\w+)\{([^}]*)\}", query):
            if metric in known:
                assert set(re.findall(r"(\w+)(?:=|!)~?\"", selector)) <= known[metric], query


@pytest.mark.requires("promtool")
def test_promtool_finds_nothing_wrong_with_the_page(page: str, tmp_path: Path) -> None:
    (tmp_path / "page").write_text(page)
    with (tmp_path / "page").open() as text:
        done = subprocess.run(["promtool", "check", "metrics"], stdin=text, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
