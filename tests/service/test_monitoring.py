"""The alert rules and the dashboard: every figure that they name is one that the service gives."""

import json
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_service.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families

MONITORING = Path(__file__).parents[2] / "monitoring"
ALERTS = MONITORING / "alerts.yml"
NAME = re.compile(r"\b(?:errata|process)_\w+")
LABELS = re.compile(r"\bby \(([^)]*)\)|(\w+)(?:=~|!~|!=|=)\"")
OF_PROMETHEUS = {"job", "instance", "le"}
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads((MONITORING / "grafana" / "errata.json").read_text(encoding="utf-8"))["panels"])


def promtool(*arguments: str) -> str:
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


EXPRESSIONS = [rule["expr"] for rule in rules()]
EXPRESSIONS += [target["expr"] for panel in panels() for target in panel.get("targets", ())]


@pytest.fixture(scope="module")
def figures(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each figure that a service gives which has answered a request and continued a prompt."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), redis_url=f"{redis_server}/0")
    with closing(Registry(settings)) as registry:
        metrics = Metrics()
        metrics.watch_work(registry)
        metrics.watch(waiting=lambda: 0, running=lambda: 0)
        metrics.count_request("GET", "/versions", 200)
        metrics.count_ended("length", 1)
        metrics.note_prefill(8, [0.1])
        metrics.note_gaps([0.1], "server")
        metrics.count_server_failure("lost")
        given = text_string_to_metric_families(metrics.exposition().decode())
        return {sample.name: set(sample.labels) for family in given for sample in family.samples}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_figure_that_is_asked_for_is_given_with_its_labels(expression: str, figures: dict[str, set[str]]) -> None:
    named = set(NAME.findall(expression))
    assert named <= figures.keys()
    of_these = set().union(OF_PROMETHEUS, *(figures[name] for name in named))
    asked = {label.strip() for by, one in LABELS.findall(expression) for label in (by or one).split(",")}
    assert asked <= of_these


def test_each_alert_says_what_is_wrong_and_how_bad_that_is() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")


def test_each_panel_has_a_place_of_its_own_and_something_to_show() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(places)
    assert all(panel["targets"] for panel in panels() if panel["type"] != "row")


@needs_promtool
def test_prometheus_reads_its_configuration_and_the_rules_that_it_names() -> None:
    checked = promtool("check", "config", str(MONITORING / "prometheus.yml"))
    assert f"SUCCESS: {len(rules())} rules found" in checked


# What `up` is each 15 s. A name that is gone ends its series (`stale`), as Prometheus does.
@needs_promtool
@pytest.mark.parametrize(
    ("up", "away", "gone"),
    (
        ({"one": "1+0x4 0+0x20"}, ["one"], True),
        ({"one": "1+0x4 stale"}, [], True),
        ({}, [], True),
        ({"one": "1+0x24", "other": "0+0x24"}, ["other"], False),
        ({"one": "1+0x24", "other": "1+0x4 stale"}, [], False),
    ),
)
def test_services_that_do_not_answer_or_are_gone_are_told_of(
    up: dict[str, str], away: list[str], gone: bool, tmp_path: Path
) -> None:
    told: dict[str, list[tuple[dict[str, str], str]]] = {
        "ErrataAway": [({"job": "errata", "instance": name}, f"{name} does not answer.") for name in away],
        "ErrataGone": [({}, "No service answers, or none is there any more.")] if gone else [],
    }
    tests = {
        "interval": "15s",
        "input_series": [{"series": f'up{{job="errata", instance="{one}"}}', "values": up[one]} for one in up],
        "alert_rule_test": [
            {
                "eval_time": "5m",
                "alertname": alert,
                "exp_alerts": [
                    {"exp_labels": {"severity": "critical", **labels}, "exp_annotations": {"summary": summary}}
                    for labels, summary in alerts
                ],
            }
            for alert, alerts in told.items()
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "tests": [tests]}), encoding="utf-8")
    promtool("test", "rules", str(file))
