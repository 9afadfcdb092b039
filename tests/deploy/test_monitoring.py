"""Dashboards and alerts: each names metrics that the programs expose, each alert comes when it shall and no sooner."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.tools import ensure
from tests.conftest import programs
from tests.deploy.manifests import KUBERNETES, ROOT
from tests.patience import PATIENCE
from tests.programs import run_program
from tests.redis.servers import RedisServer
from trunkline import Tls

RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [
    panel
    for panel in json.loads((KUBERNETES / "components/dashboards/trunkline.json").read_text())["panels"]
    if panel["type"] != "row"
]
SHOWN = [target["expr"] for panel in PANELS for target in panel["targets"]]
METRIC = re.compile(r"\b(?:trunkline|process)_[a-z_]+")
PAGE = (ROOT / "docs" / "operations.md").read_text()

WELL, FAULTY = 70, 150
"""Minutes. Until then each case is well; then it is not."""


@pytest.fixture(scope="module")
def exposed(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The series that a bus over Redis with TLS, a state service and a sidecar answer a scrape with."""
    folder = tmp_path_factory.mktemp("monitoring")
    assert run_program("certs", f"{folder}/certs", module="trunkline.cli").returncode == 0
    scraped = ("--metrics-address", "127.0.0.1:0")
    tls = ("--tls-cert", f"{folder}/certs/server.pem", "--tls-key", f"{folder}/certs/server.key")
    redis = ("--engine", "redis", "--redis-url", redis_server.url, "--redis-prefix", "monitoring")
    with programs() as start:
        started = [
            start("bus", *scraped, *redis, *tls, tls=Tls(ca=f"{folder}/certs/ca.pem")),
            start("state", *scraped, "--path", f"{folder}/state.db", "--bus-address", "127.0.0.1:1"),
            start("sidecar", *scraped, "--socket-path", f"{folder}/lines.sock", "--store-path", f"{folder}/sidecar.db"),
        ]
        return {name for program in started for name in _series(str(program.metrics_address))}


def _series(address: str) -> set[str]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
        types = re.findall(r"^# TYPE (\S+) (\S+)$", answer.read().decode(), re.MULTILINE)
    assert types
    return {
        name + end for name, kind in types for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }


def test_every_metric_that_is_named_is_exposed(exposed: set[str]) -> None:
    named = {name for expression in SHOWN + [rule["expr"] for rule in ALERTS] for name in METRIC.findall(expression)}
    assert len(named) > 40
    assert named - exposed == set()


def check_rules(groups: list[dict[str, Any]], where: Path) -> subprocess.CompletedProcess[str]:
    (where / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    checked = [ensure("promtool"), "check", "rules", "--lint-fatal", str(where / "rules.yaml")]
    return subprocess.run(checked, capture_output=True, text=True, check=False)


def test_the_rules_are_taken(tmp_path: Path) -> None:
    """By Prometheus itself, and a broken one is not."""
    ran = check_rules(GROUPS, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    broken = [{"name": "broken", "rules": [{**ALERTS[0], "expr": "up{job=~} =="}]}]
    assert check_rules(broken, tmp_path).returncode != 0


def test_the_dashboard_asks_what_prometheus_can_answer(tmp_path: Path) -> None:
    """Each query as a rule, with Grafana's variables filled in."""
    filled = [each.replace("$__rate_interval", "5m").replace("$job", ".+") for each in SHOWN]
    assert [each for each in filled if "$" in each] == []
    ran = check_rules(
        [{"name": "shown", "rules": [{"record": f"shown:{i}", "expr": e} for i, e in enumerate(filled)]}], tmp_path
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_panels_neither_overlap_nor_share_an_id() -> None:
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_the_operators_rules_are_the_same() -> None:
    rule = yaml.safe_load((KUBERNETES / "components/alerts/prometheus-rule.yaml").read_text())
    assert rule["spec"] == {"groups": GROUPS}


def test_every_alert_has_its_runbook_and_no_other() -> None:
    section = PAGE.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(Trunkline\w+)` \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    assert [name for name, _, _ in rows] == [rule["alert"] for rule in ALERTS]
    assert {rule["labels"]["severity"] for rule in ALERTS} == {"critical", "warning", "info"}


CASES: dict[str, list[tuple[str, str, str]]] = {
    "TrunklineDown": [('up{job="trunkline/trunkline-sidecar",instance="i"}', "1+0", "0+0")],
    "TrunklineAbsent": [("trunkline_bus_subscriptions", "1+0", "_"), ("trunkline_state_revision", "1+0", "1+0")],
    "TrunklineInsecure": [("trunkline_insecure", "0+0", "1+0")],
    "TrunklineCertificateEnds": [("trunkline_tls_certificate_end_seconds", "864000+60", "86400+60")],
    "TrunklineCertificateNotTaken": [("trunkline_tls_files_bad", "0+0", "1+0")],
    "TrunklineAccessFileNotTaken": [("trunkline_access_file_failures_total", "0+0", "1+1")],
    "TrunklineAccessDenied": [("trunkline_access_denials_total", "0+6", "720+120")],
    "TrunklineEventLoopLate": [
        ('trunkline_event_loop_lag_seconds_bucket{le="0.05"}', "0+100", "12000+50"),
        ('trunkline_event_loop_lag_seconds_bucket{le="0.5"}', "0+100", "12000+100"),
        ('trunkline_event_loop_lag_seconds_bucket{le="+Inf"}', "0+100", "12000+100"),
    ],
    "TrunklineCoreFull": [('process_cpu_seconds_total{job="trunkline-bus"}', "0+30", "3600+57")],
    "TrunklineUnexpectedErrors": [
        ('trunkline_rpc_calls_total{code="INTERNAL"}', "0+0", "1+1"),
        ('trunkline_rpc_calls_total{code="UNAVAILABLE"}', "0+1", "120+1"),
    ],
    "TrunklineQueuesFull": [
        ("trunkline_bus_queue_memory_bytes", "10+0", "81+0"),
        ("trunkline_bus_max_queue_memory_bytes", "100+0", "100+0"),
    ],
    "TrunklineMessagesDropped": [
        ('trunkline_bus_messages_dropped_total{reason="lagged"}', "0+0", "1+9"),
        ('trunkline_bus_messages_dropped_total{reason="expired"}', "0+9", "1080+9"),
    ],
    "TrunklineRequestsUnanswered": [
        ("trunkline_bus_requests_total", "0+100", "12000+100"),
        ("trunkline_bus_request_timeouts_total", "0+2", "240+4"),
        ("trunkline_bus_no_responders_total", "0+0", "0+4"),
    ],
    "TrunklineReplicaApart": [("trunkline_bus_replicas_reached", "1+0", "0+0")],
    "TrunklineJournalWithoutOwner": [
        ('trunkline_bus_owns_journal{job="j",instance="a"}', "1+0", "0+0"),
        ('trunkline_bus_owns_journal{job="j",instance="b"}', "0+0", "0+0"),
    ],
    "TrunklineNeededMessagesLost": [("trunkline_bus_lost_to_limits_total", "0+0", "1+1")],
    "TrunklineDeadLetters": [("trunkline_bus_dead_lettered_total", "0+0", "1+1")],
    "TrunklineDurableFallsBehind": [
        ('trunkline_bus_durable_messages{durable="d",state="waiting"}', "5000-10", "5000+10"),
    ],
    "TrunklineDurablePaused": [("trunkline_bus_durable_paused", "0+0", "1+0")],
    "TrunklineJournalSlow": [
        ('trunkline_bus_commit_seconds_bucket{le="0.1"}', "0+100", "12000+50"),
        ('trunkline_bus_commit_seconds_bucket{le="1"}', "0+100", "12000+100"),
        ('trunkline_bus_commit_seconds_bucket{le="+Inf"}', "0+100", "12000+100"),
    ],
    "TrunklineStateCommitsSlow": [
        ('trunkline_state_commit_seconds_bucket{le="0.1"}', "0+100", "12000+50"),
        ('trunkline_state_commit_seconds_bucket{le="1"}', "0+100", "12000+100"),
        ('trunkline_state_commit_seconds_bucket{le="+Inf"}', "0+100", "12000+100"),
    ],
    "TrunklineStateFails": [
        ('trunkline_state_errors_total{reason="STORAGE_UNAVAILABLE"}', "0+0", "1+5"),
        ('trunkline_state_errors_total{reason="REVISION_CONFLICT"}', "0+9", "1080+9"),
    ],
    "TrunklineOutboxWaits": [("trunkline_state_outbox_oldest_seconds", "3+0", "121+60")],
    "TrunklineOutboxStuck": [("trunkline_state_outbox_stuck", "0+0", "1+0")],
    "TrunklineSidecarCutOff": [('trunkline_sidecar_upstream_up{service="bus"}', "1+0", "0+0")],
    "TrunklineSidecarHolds": [("trunkline_sidecar_held_messages", "9+0", "50001+0")],
    "TrunklineSidecarSetAside": [("trunkline_sidecar_set_aside_messages", "0+0", "1+0")],
    "TrunklineSidecarClientsDenied": [("trunkline_sidecar_clients_denied_total", "0+0", "1+1")],
}
"""The series of each alert, what each is while all is well, and then; a minute a step."""

PRESENT = {"trunkline_bus_subscriptions": "1+0", "trunkline_state_revision": "1+0"}
"""What is there in every case."""


def test_each_alert_comes_when_it_shall_and_no_sooner(tmp_path: Path) -> None:
    """None while all is well; at the end this one, and no other."""
    assert set(CASES) == {rule["alert"] for rule in ALERTS}
    cases = []
    for alert, series in CASES.items():
        given = {name: (well, faulty) for name, well, faulty in series}
        given |= {name: (level, level) for name, level in PRESENT.items() if name not in given}
        firing = {"expr": 'group by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{FAULTY - 1}m"}
        expected = {"labels": f'{{alertname="{alert}"}}', "value": 1}
        cases.append(
            {
                "name": alert,
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": f"{well}x{WELL - 1} {faulty}x{FAULTY - WELL}"}
                    for name, (well, faulty) in given.items()
                ],
                "promql_expr_test": [
                    {**firing, "eval_time": f"{WELL - 1}m", "exp_samples": []},
                    {**firing, "exp_samples": [expected]},
                ],
            }
        )
    test = tmp_path / "test.yaml"
    test.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    ran = subprocess.run([ensure("promtool"), "test", "rules", str(test)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
