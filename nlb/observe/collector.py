"""A snapshot as Prometheus metric families, made anew for each scrape.

Rules that every name here keeps: base units, `_total` on counters, labels only from the config (never anything a
client sent), no averages, and sums over labels that make sense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

import psutil
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from nlb.http1.desync import CLASS_OF
from nlb.model.protocols import HTTP
from nlb.observe.counters import DURATION, LAG, LATENCY

Facts = dict[str, Any]
Figures = dict[str, float]

# Every target of a group is in exactly one of these states, so that their sum is the number of targets.
STATES = ("healthy", "unhealthy", "initial", "drain", "maint")


class SnapshotCollector(Collector):
    """The families of one snapshot. `figures(pid)` tells what the kernel knows of a process, {} if gone."""

    def __init__(self, snapshot: Facts, figures: Callable[[int], Figures] | None = None) -> None:
        self._snapshot = snapshot
        self._figures = figures or process_figures

    def collect(self) -> Iterable[Metric]:
        snapshot = self._snapshot
        yield from _daemon(snapshot)
        yield from _listeners(snapshot["listeners"])
        yield from _shield(snapshot)
        yield from _requests([row for row in snapshot["listeners"] if row["protocol"] in HTTP])
        yield from _groups(snapshot["groups"])
        yield from _groups_of_requests([row for row in snapshot["groups"] if row["protocol"] in HTTP])
        yield from _targets([target for group in snapshot["groups"] for target in group["targets"]])
        yield from _certificates(snapshot["certificates"])
        yield from _handshakes(snapshot["listeners"])
        yield from _workers(snapshot["workers"])
        yield from self._processes()

    def _processes(self) -> Iterator[Metric]:
        pids = {"control": self._snapshot["pid"]}
        pids |= {f"worker-{worker['index']}": worker["pid"] for worker in self._snapshot["workers"]}
        figures = {name: self._figures(pid) for name, pid in pids.items() if pid is not None}
        cpu = _counter("nlb_process_cpu_seconds", "User and system time of a process.", "process")
        memory = _gauge("nlb_process_resident_memory_bytes", "Resident memory of a process.", "process")
        descriptors = _gauge("nlb_process_open_fds", "Open descriptors of a process.", "process")
        start = _gauge("nlb_process_start_time_seconds", "When a process started, in unix seconds.", "process")
        for family, figure in ((cpu, "cpu"), (memory, "memory"), (descriptors, "descriptors"), (start, "started")):
            for process, known in figures.items():
                if figure in known:
                    family.add_metric([process], known[figure])
            yield family
        dropped = _counter("nlb_log_lines_dropped", "Lines of the log that could not be written.", "process")
        dropped.add_metric(["control"], self._snapshot["log_dropped"])
        for worker in self._snapshot["workers"]:
            dropped.add_metric([f"worker-{worker['index']}"], worker["log_dropped"])
        yield dropped


def process_figures(pid: int) -> Figures:
    """cpu (seconds), memory (bytes), descriptors, started (unix seconds): those that may be read."""
    figures: Figures = {}
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            figures["cpu"] = times.user + times.system
            figures["memory"] = process.memory_info().rss
            figures["started"] = process.create_time()
        figures["descriptors"] = process.num_fds()  # the last: another user's process keeps it to itself
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    return figures


def _daemon(snapshot: Facts) -> Iterator[Metric]:
    config = snapshot["config"]
    yield InfoMetricFamily("nlb_build", "The version that runs.", {"version": snapshot["version"]})
    yield InfoMetricFamily("nlb_config", "The config that runs, by the hash of its text.", {"hash": config["hash"]})
    for name, told, value in (
        ("nlb_ready", "1 when some listener has a target to forward to.", snapshot["ready"]),
        ("nlb_config_generation", "Number of the config that runs, counted from the start.", config["generation"]),
        ("nlb_config_last_reload_successful", "0 when a newer config was refused.", config.get("reload_ok")),
        ("nlb_config_last_reload_success_timestamp_seconds", "When the config was loaded.", config["loaded"]),
    ):
        if value is not None:
            yield GaugeMetricFamily(name, told, value=value)


def _listeners(listeners: list[Facts]) -> Iterator[Metric]:
    for family, key in (
        (_counter("nlb_listener_connections", "Connections accepted.", "listener"), "accepted"),
        (_gauge("nlb_listener_sessions", "Open sessions.", "listener"), "sessions"),
        (_gauge("nlb_listener_max_sessions", "Open sessions that are allowed.", "listener"), "max_connections"),
        (_counter("nlb_listener_received_bytes", "Bytes received from clients.", "listener"), "received"),
        (_counter("nlb_listener_sent_bytes", "Bytes sent to clients.", "listener"), "sent"),
    ):
        for row in listeners:
            if row[key] is not None:
                family.add_metric([row["name"]], row[key])
        yield family
    ended = _counter("nlb_sessions_ended", "Sessions by how they ended.", "listener", "phase", "cause")
    durations = _histogram("nlb_session_duration_seconds", "Length of ended sessions.", "listener")
    for row in listeners:
        for outcome, count in row["outcomes"].items():
            phase, _, cause = outcome.partition("/")
            ended.add_metric([row["name"], phase, cause], count)
        _fill(durations, row["name"], row["durations"], DURATION)
    yield ended
    yield durations


def _shield(snapshot: Facts) -> Iterator[Metric]:
    for name, told, key in (
        ("nlb_shield_refused", "Connections and requests that the shield refused.", "refused"),
        ("nlb_shield_monitored", "Those that it would have refused, were its mode not monitor.", "monitored"),
    ):
        family = _counter(name, told, "listener", "reason")
        for row in snapshot["listeners"]:
            for reason, count in row[key].items():
                family.add_metric([row["name"], reason], count)
        yield family
    blocks = _gauge("nlb_blocks", "Networks that are blocked, by an operator or for offences.", "by")
    for by, count in snapshot["blocks"].items():
        blocks.add_metric([by], count)
    yield blocks


def _requests(listeners: list[Facts]) -> Iterator[Metric]:
    """Of listeners that speak http."""
    told = "Requests by the rule that they met, its group and the class of the status that the client got."
    requests = _counter("nlb_http_requests", told, "listener", "rule", "group", "code")
    ended = _counter("nlb_http_exchanges_ended", "Requests by how they ended.", "listener", "phase", "cause")
    told = "Requests that had something odd about them, by AWS's class and reason."
    desync = _counter("nlb_http_desync", told, "listener", "class", "reason")
    for row in listeners:
        for route in row["routes"]:
            for code, count in route["statuses"].items():
                requests.add_metric([row["name"], route["rule"], route["group"], code], count)
        for outcome, count in row["exchanges"].items():
            phase, _, cause = outcome.partition("/")
            ended.add_metric([row["name"], phase, cause], count)
        for reason, count in row["desync"].items():
            desync.add_metric([row["name"], CLASS_OF[reason], reason], count)
    yield from (requests, ended, desync)


def _groups(groups: list[Facts]) -> Iterator[Metric]:
    states = _gauge("nlb_group_targets", "Targets by admin state, those that are ready by health.", "group", "state")
    for row in groups:
        count = dict.fromkeys(STATES, 0)
        for target in row["targets"]:
            admin = target["admin"]["state"]
            count[admin if admin != "ready" else target["health"]["state"]] += 1
        for state, number in count.items():
            states.add_metric([row["name"], state], number)
    yield states
    told = "1 while no target is healthy and all are used."
    for family, key in (
        (_gauge("nlb_group_candidates", "Targets that new work may go to.", "group"), "candidates"),
        (_gauge("nlb_group_fail_open", told, "group"), "fail_open"),
        (_counter("nlb_group_fail_open_picks", "Choices made while failing open.", "group"), "fail_open_picks"),
        (_gauge("nlb_group_queued_sessions", "Sessions or requests that wait for room.", "group"), "queued"),
        (_counter("nlb_group_policy_failures", "Choices that an own policy failed at.", "group"), "policy_failures"),
        (_counter("nlb_group_retries", "Further targets tried after a failed connect.", "group"), "retries"),
    ):
        for row in groups:
            family.add_metric([row["name"]], row[key])
        yield family
    told = "From the start of a session, with http from the choice of a target, until a target was joined."
    connect = _histogram("nlb_connect_duration_seconds", told, "group")
    told = "From the connect, with http from the request sent, until the target's first byte."
    first_byte = _histogram("nlb_first_byte_duration_seconds", told, "group")
    queue = _histogram("nlb_queue_duration_seconds", "In the queue, with a place at the end or without.", "group")
    for row in groups:
        _fill(queue, row["name"], row["queue"], LATENCY)
        _fill(connect, row["name"], row["connect"], LATENCY)
        _fill(first_byte, row["name"], row["first_byte"], LATENCY)
    yield queue
    yield connect
    yield first_byte


def _groups_of_requests(groups: list[Facts]) -> Iterator[Metric]:
    """Of groups that speak http."""
    told = "From a request's first byte until the end of its response."
    durations = _histogram("nlb_http_request_duration_seconds", told, "group")
    for row in groups:
        _fill(durations, row["name"], row["durations"], LATENCY)
    yield durations
    for family, key in (
        (_counter("nlb_http_retries", "Requests that were sent once more.", "group"), "http_retries"),
        (_counter("nlb_http_pool_hits", "Requests that found an open connection.", "group"), "pool_hits"),
        (_counter("nlb_http_pool_misses", "Requests that needed a fresh connection.", "group"), "pool_misses"),
    ):
        for row in groups:
            family.add_metric([row["name"]], row[key])
        yield family


def _targets(targets: list[Facts]) -> Iterator[Metric]:
    per = "group", "target"
    told = "1 when a target may be given new work: ready, healthy, its address known, weight above 0."
    for family, key in (
        (_gauge("nlb_target_usable", told, *per), "usable"),
        (_gauge("nlb_target_weight", "Share of new work.", *per), "weight"),
        (_gauge("nlb_target_sessions", "Sessions, with http requests, that a target has now.", *per), "sessions"),
        (_counter("nlb_target_connections", "Connections made.", *per), "connections"),
        (_counter("nlb_target_connect_failures", "Connections that failed.", *per), "connect_failures"),
        (_counter("nlb_target_received_bytes", "Bytes that the target was sent.", *per), "received"),
        (_counter("nlb_target_sent_bytes", "Bytes that came from the target.", *per), "sent"),
        (_counter("nlb_target_transitions", "Changes between healthy and unhealthy.", *per), "transitions"),
    ):
        for row in targets:
            family.add_metric([row["group"], row["name"]], row[key])
        yield family
    up = _gauge("nlb_target_up", "1 when the target's health is healthy.", *per)
    # One series per target, not one per state and target: with thousands of targets that is what counts.
    admin = _gauge("nlb_target_admin_state", "Always 1: what the operator wants is in `state`.", *per, "state")
    probes = _counter("nlb_probes", "Answers of the health check.", *per, "result")
    for row in targets:
        labels = [row["group"], row["name"]]
        up.add_metric(labels, row["health"]["state"] == "healthy")
        admin.add_metric([*labels, row["admin"]["state"]], 1)
        for result, count in row["probes"].items():
            probes.add_metric([*labels, result], count)
    yield from (up, admin, probes)


def _certificates(certificates: list[Facts]) -> Iterator[Metric]:
    """By the first name; of several with the same one, such as an RSA and an ECDSA one, that which ends first."""
    told = "When a certificate that is shown ends, in unix seconds."
    family = _gauge("nlb_tls_certificate_not_after_timestamp_seconds", told, "listener", "name")
    ends: dict[tuple[str, str], float] = {}
    for row in certificates:
        key = row["listener"], next(iter(row["names"]), row["file"])
        ends[key] = min(row["not_after"], ends.get(key, row["not_after"]))
    for labels, moment in ends.items():
        family.add_metric(labels, moment)
    yield family


def _handshakes(listeners: list[Facts]) -> Iterator[Metric]:
    family = _counter("nlb_tls_handshakes", "TLS handshakes with clients that succeeded.", "listener", "kind")
    for row in listeners:
        for kind, count in (row["handshakes"] or {}).items():
            family.add_metric([row["name"], kind], count)
    yield family


def _workers(workers: list[Facts]) -> Iterator[Metric]:
    up = _gauge("nlb_worker_up", "1 when the worker carries traffic.", "worker")
    lag = _histogram("nlb_event_loop_lag_seconds", "Turns of a worker's loop that took longer than 1 ms.", "worker")
    for row in workers:
        up.add_metric([str(row["index"])], row["state"] == "running")
        _fill(lag, str(row["index"]), row["lag"], LAG)
    yield from (up, lag)
    for family, key in (
        (_counter("nlb_worker_restarts", "Times that the worker was replaced.", "worker"), "restarts"),
        (_gauge("nlb_worker_sessions", "Open sessions.", "worker"), "sessions"),
        (_counter("nlb_loop_turns", "Turns of a worker's loop.", "worker"), "turns"),
    ):
        for row in workers:
            family.add_metric([str(row["index"])], row[key])
        yield family


def _counter(name: str, told: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, told, labels=labels)


def _gauge(name: str, told: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, labels=labels)


def _histogram(name: str, told: str, *labels: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, told, labels=labels)


def _fill(family: HistogramMetricFamily, label: str, seen: Facts, bounds: tuple[float, ...]) -> None:
    """Add one histogram; `seen["counts"]` has a count per bucket, Prometheus wants them cumulated."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    family.add_metric([label], list(zip(names, accumulate(seen["counts"]), strict=True)), seen["sum"])
