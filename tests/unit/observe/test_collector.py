"""Metrics: what Prometheus itself reads from a scrape, so names, types, labels and escapes are all checked."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from nlb.observe.collector import SnapshotCollector, process_figures
from nlb.observe.counters import DURATION, LATENCY
from tests.unit.admin.canned import NOW, certificate, fact, group, http_snapshot, listener, snapshot, target, worker

Labels = dict[str, str]

ODD_NAMES = ['quo"te', "back\\slash", "line\nbreak", "ünï😀", "{a=b}", "\\n"]


def figures(pid: int) -> dict[str, float]:
    return {4000: {"cpu": 1.5, "memory": 2e7, "descriptors": 40, "started": 1e9}, 4002: {"cpu": 0.5}}.get(pid, {})


def registry(facts: dict[str, Any]) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(SnapshotCollector(facts, figures))
    return made


def scrape(facts: dict[str, Any]) -> dict[str, list[tuple[Labels, float]]]:
    """Every sample by its name, as Prometheus parses it."""
    samples: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry(facts)).decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def value(facts: dict[str, Any], name: str, **labels: str) -> float:
    """The one sample with exactly these labels."""
    found = [number for known, number in scrape(facts)[name] if known == labels]
    assert len(found) == 1, (name, labels, scrape(facts).get(name))
    return found[0]


@pytest.mark.parametrize(
    ("name", "labels", "number"),
    [
        ("nlb_build_info", {"version": "0.1.0"}, 1),
        ("nlb_config_info", {"hash": "3fa1c2d4"}, 1),
        ("nlb_config_generation", {}, 1),
        ("nlb_config_last_reload_successful", {}, 1),
        ("nlb_config_last_reload_success_timestamp_seconds", {}, 1_699_996_400),
        ("nlb_ready", {}, 1),
        ("nlb_listener_connections_total", {"listener": "web"}, 245),
        ("nlb_listener_sessions", {"listener": "web"}, 5),
        ("nlb_listener_max_sessions", {"listener": "web"}, 4000),
        ("nlb_listener_received_bytes_total", {"listener": "web"}, 8192),
        ("nlb_listener_sent_bytes_total", {"listener": "web"}, 10 << 20),
        ("nlb_sessions_ended_total", {"listener": "web", "phase": "data", "cause": "done"}, 230),
        ("nlb_sessions_ended_total", {"listener": "web", "phase": "connect", "cause": "refused"}, 4),
        ("nlb_session_duration_seconds_count", {"listener": "web"}, 9),
        ("nlb_session_duration_seconds_sum", {"listener": "web"}, 0.3),
        ("nlb_session_duration_seconds_bucket", {"listener": "web", "le": "0.005"}, 0),
        ("nlb_session_duration_seconds_bucket", {"listener": "web", "le": "0.01"}, 7),
        ("nlb_session_duration_seconds_bucket", {"listener": "web", "le": "+Inf"}, 9),
        ("nlb_group_targets", {"group": "web", "state": "healthy"}, 2),
        ("nlb_group_targets", {"group": "web", "state": "drain"}, 1),
        ("nlb_group_targets", {"group": "api", "state": "unhealthy"}, 1),
        ("nlb_group_candidates", {"group": "web"}, 2),
        ("nlb_group_fail_open", {"group": "web"}, 0),
        ("nlb_group_fail_open", {"group": "api"}, 1),
        ("nlb_group_fail_open_picks_total", {"group": "api"}, 9),
        ("nlb_group_retries_total", {"group": "web"}, 1),
        ("nlb_connect_duration_seconds_bucket", {"group": "web", "le": "0.001"}, 15),
        ("nlb_connect_duration_seconds_count", {"group": "web"}, 16),
        ("nlb_first_byte_duration_seconds_sum", {"group": "api"}, 0.01),
        ("nlb_target_up", {"group": "web", "target": "web02"}, 1),
        ("nlb_target_up", {"group": "api", "target": "node"}, 0),
        ("nlb_target_usable", {"group": "web", "target": "web02"}, 0),
        ("nlb_target_admin_state", {"group": "web", "target": "web02", "state": "drain"}, 1),
        ("nlb_target_weight", {"group": "web", "target": "web01"}, 1),
        ("nlb_target_sessions", {"group": "web", "target": "web01"}, 2),
        ("nlb_target_connections_total", {"group": "web", "target": "web01"}, 120),
        ("nlb_target_connect_failures_total", {"group": "api", "target": "node"}, 4),
        ("nlb_target_received_bytes_total", {"group": "web", "target": "web01"}, 4096),
        ("nlb_target_sent_bytes_total", {"group": "web", "target": "web01"}, 5 << 20),
        ("nlb_target_transitions_total", {"group": "web", "target": "web01"}, 0),
        ("nlb_probes_total", {"group": "web", "target": "web01", "result": "ok"}, 30),
        ("nlb_probes_total", {"group": "web", "target": "web01", "result": "failed"}, 0),
        ("nlb_worker_up", {"worker": "1"}, 1),
        ("nlb_worker_restarts_total", {"worker": "2"}, 1),
        ("nlb_worker_sessions", {"worker": "1"}, 3),
        ("nlb_loop_turns_total", {"worker": "1"}, 1000),
        ("nlb_event_loop_lag_seconds_bucket", {"worker": "1", "le": "0.005"}, 2),
        ("nlb_event_loop_lag_seconds_sum", {"worker": "1"}, 0.006),
        ("nlb_process_cpu_seconds_total", {"process": "control"}, 1.5),
        ("nlb_process_cpu_seconds_total", {"process": "worker-2"}, 0.5),
        ("nlb_process_resident_memory_bytes", {"process": "control"}, 2e7),
        ("nlb_process_open_fds", {"process": "control"}, 40),
        ("nlb_process_start_time_seconds", {"process": "control"}, 1e9),
        ("nlb_log_lines_dropped_total", {"process": "control"}, 0),
        ("nlb_log_lines_dropped_total", {"process": "worker-1"}, 7),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_sample(name: str, labels: Labels, number: float) -> None:
    assert value(snapshot(), name, **labels) == number


@pytest.mark.parametrize(
    ("name", "labels", "number"),
    [
        ("nlb_http_requests_total", {"listener": "edge", "rule": "api", "group": "api-v1", "code": "2xx"}, 300),
        ("nlb_http_requests_total", {"listener": "edge", "rule": "default", "group": "pages", "code": "none"}, 1),
        ("nlb_http_requests_total", {"listener": "edge", "rule": "old", "group": "", "code": "3xx"}, 80),
        ("nlb_http_exchanges_ended_total", {"listener": "edge", "phase": "data", "cause": "done"}, 900),
        ("nlb_http_exchanges_ended_total", {"listener": "edge", "phase": "response", "cause": "timeout"}, 18),
        ("nlb_sessions_ended_total", {"listener": "edge", "phase": "data", "cause": "done"}, 40),
        ("nlb_sessions_ended_total", {"listener": "edge", "phase": "request", "cause": "idle"}, 12),
        ("nlb_http_desync_total", {"listener": "edge", "class": "ambiguous", "reason": "suspicious_header"}, 5),
        ("nlb_http_desync_total", {"listener": "edge", "class": "severe", "reason": "bad_header"}, 2),
        ("nlb_http_request_duration_seconds_bucket", {"group": "pages", "le": "0.001"}, 800),
        ("nlb_http_request_duration_seconds_count", {"group": "api-v1"}, 900),
        ("nlb_http_request_duration_seconds_sum", {"group": "pages"}, 0.9),
        ("nlb_http_retries_total", {"group": "pages"}, 3),
        ("nlb_http_pool_hits_total", {"group": "pages"}, 880),
        ("nlb_http_pool_misses_total", {"group": "pages"}, 20),
        ("nlb_first_byte_duration_seconds_count", {"group": "pages"}, 7),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_sample_of_requests(name: str, labels: Labels, number: float) -> None:
    assert value(http_snapshot(), name, **labels) == number


def test_certificates_tell_when_they_end_the_first_of_one_name() -> None:
    facts = snapshot(
        certificates=[
            certificate("web", "a.test", "b.test"),
            certificate("web", "a.test", kind="rsa", bits=2048, not_after=NOW + 5),
            certificate("web", file="/etc/nlb/nameless.pem"),
            certificate("api", "a.test"),
        ]
    )
    assert scrape(facts)["nlb_tls_certificate_not_after_timestamp_seconds"] == [
        ({"listener": "web", "name": "a.test"}, NOW + 5),
        ({"listener": "web", "name": "/etc/nlb/nameless.pem"}, NOW + 60 * 86400),
        ({"listener": "api", "name": "a.test"}, NOW + 60 * 86400),
    ]


def test_tcp_has_no_series_of_requests() -> None:
    named = [
        {labels.get("listener"), labels.get("group")}
        for name, found in scrape(http_snapshot()).items()
        if name.startswith("nlb_http_")
        for labels, _ in found
    ]
    assert named
    assert not {"web", "api"} & set.union(*named)
    assert not [name for name in scrape(snapshot()) if name.startswith("nlb_http_")]


@pytest.mark.parametrize(
    ("changes", "name", "labels", "number"),
    [
        ({"ready": False}, "nlb_ready", {}, 0),
        ({"workers": [worker(1, state="backing_off", pid=None)]}, "nlb_worker_up", {"worker": "1"}, 0),
        (
            {"config": {"hash": "1", "generation": 1, "loaded": 0, "reload_ok": False}},
            "nlb_config_last_reload_successful",
            {},
            0,
        ),
        (
            {"groups": [group("web", target(0, "a", health=fact("initial"), usable=False))]},
            "nlb_group_targets",
            {"group": "web", "state": "initial"},
            1,
        ),
        (
            {"groups": [group("web", target(0, "a", health=fact("initial"), usable=False))]},
            "nlb_target_up",
            {"group": "web", "target": "a"},
            0,
        ),
    ],
)
def test_a_sample_that_is_otherwise(changes: dict[str, Any], name: str, labels: Labels, number: float) -> None:
    assert value(snapshot(**changes), name, **labels) == number


def test_target_states_add_up_to_the_targets() -> None:
    states = scrape(snapshot())["nlb_group_targets"]
    assert sum(number for labels, number in states if labels["group"] == "web") == 3
    assert len(states) == 10


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"config": {"hash": "1", "generation": 1, "loaded": 0}}, "nlb_config_last_reload_successful"),
        ({"listeners": [listener("a", "web", max_connections=None)]}, "nlb_listener_max_sessions"),
        ({"listeners": [listener("a", "web", outcomes={})]}, "nlb_sessions_ended_total"),
    ],
)
def test_what_is_not_known_is_left_out(changes: dict[str, Any], missing: str) -> None:
    assert missing not in scrape(snapshot(**changes))


def test_a_process_that_is_gone_is_left_out() -> None:
    facts = snapshot(workers=[worker(1), worker(2), worker(3, pid=None)])
    cpu = [labels["process"] for labels, _ in scrape(facts)["nlb_process_cpu_seconds_total"]]
    assert cpu == ["control", "worker-2"]


def test_names_with_anything_in_them_come_through() -> None:
    targets = [target(number, name, name) for number, name in enumerate(ODD_NAMES)]
    facts = snapshot(
        listeners=[listener(name, name) for name in ODD_NAMES],
        groups=[group(name, each) for name, each in zip(ODD_NAMES, targets, strict=True)],
    )
    samples = scrape(facts)
    assert [labels["listener"] for labels, _ in samples["nlb_listener_sessions"]] == ODD_NAMES
    assert [(labels["group"], labels["target"]) for labels, _ in samples["nlb_target_up"]] == [
        (name, name) for name in ODD_NAMES
    ]


def test_the_rules_of_names_hold_for_every_family() -> None:
    families = list(SnapshotCollector(http_snapshot(), figures).collect())
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith("nlb_"), family.name
        assert family.documentation.endswith("."), family.name
        assert not any(word in family.name for word in ("_ms", "_percent", "_average", "_kb")), family.name
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name


def test_openmetrics_is_valid_too() -> None:
    families = list(openmetrics_families(generate_openmetrics(registry(snapshot())).decode()))
    assert "nlb_sessions_ended" in {family.name for family in families}


def test_buckets_are_those_of_the_counters() -> None:
    samples = scrape(snapshot())
    bounds = [labels["le"] for labels, _ in samples["nlb_connect_duration_seconds_bucket"] if labels["group"] == "web"]
    assert [float(bound) for bound in bounds] == [*LATENCY, float("inf")]
    bounds = [labels["le"] for labels, _ in samples["nlb_session_duration_seconds_bucket"]]
    assert len(bounds) == 2 * (len(DURATION) + 1)


def test_a_target_costs_few_series() -> None:
    def series(count: int) -> int:
        targets = [target(number, f"web{number}") for number in range(count)]
        return sum(map(len, scrape(snapshot(groups=[group("web", *targets)])).values()))

    assert series(11) - series(10) == 12


def test_figures_of_a_living_and_of_a_dead_process() -> None:
    mine = process_figures(os.getpid())
    assert set(mine) == {"cpu", "memory", "descriptors", "started"}
    assert mine["memory"] > 1 << 20
    assert mine["descriptors"] >= 3
    dead = subprocess.Popen(["true"])
    dead.wait()
    assert process_figures(dead.pid) == {}
