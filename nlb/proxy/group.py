"""A target group in this worker: who may be chosen, with what timeouts, and who waits: for the first verdict, or for
room at a target.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from nlb.balance.group import Group
from nlb.balance.policy import Means
from nlb.balance.retries import RetryBudget
from nlb.balance.slow_start import FULL
from nlb.balance.target import Target
from nlb.http1.edits import HeaderEdit
from nlb.http1.sticky import Sticky
from nlb.model.address import Address
from nlb.net.loop import Deadline, Loop, Owner
from nlb.net.sockets import dial
from nlb.net.tls_client import ClientContext
from nlb.observe.counters import POLICY_FAILURES, POOL_HITS, POOL_MISSES, Words
from nlb.proxy.queue import Queue
from nlb.proxy.sources import Sources, sources
from nlb.proxy.upstream import Pool

if TYPE_CHECKING:
    from nlb.proxy.seeker import Seeker

# The reports of one cause about one target are sent together, this many seconds apart: a dead target under load
# fails thousands of times a second, and three failures are enough for control to act.
REPORT_EVERY = 0.05

# Seconds between two looks at what other workers did, while sessions come: how old an opinion of theirs may be. A
# look at 10,000 targets takes 0.5 ms.
LOOK_EVERY = 0.1

# Seconds between two complaints about a policy of the operator's own. It may fail thousands of times a second.
COMPLAIN_EVERY = 60.0


class WorkerGroup:
    """Empty until `load`. `balance` may be another one after each."""

    def __init__(
        self,
        loop: Loop,
        owner: Owner,
        words: Words,
        everywhere: list[Words],
        connect_failed: Callable[[Target, str], None],
        report: Callable[[str, str], None],
        dial: Callable[[Address], tuple[socket.socket, int]] = dial,
    ) -> None:
        """`words` are this worker's counters of the group, `everywhere` those of all workers. `connect_failed` hears
        of (target, cause), `report` of (level, text); `owner` is who crashes when something here does."""
        self.balance = Group("", "round_robin", [])
        self.words = words
        self.tries = 1
        self.connect_timeout = 0.0
        self.connect_failed = connect_failed
        self.dial = dial
        self.sources: Sources | None = None  # where connections come from; None is the kernel's choice
        self.parked: list[Seeker] = []
        self.queue = Queue(self, loop, owner, words, everywhere)
        # What targets want before all else; `greets` is whether they want anything.
        self.greets = False
        self.tls: ClientContext | None = None
        self.tls_name = ""  # whose certificate it must be; "" is the target's own name or address
        # What only exchanges ask for.
        self.is_http = False
        self.pool = Pool(loop, owner)
        self.budget = RetryBudget(0.0, self._requests)
        self.sticky: Sticky | None = None
        self.request_edit: HeaderEdit | None = None  # None changes nothing, and costs nothing
        self.response_edit: HeaderEdit | None = None
        self.response_timeout = self.tunnel_timeout = inf
        self._loop = loop
        self._owner = owner
        self._report = report
        self._look_at = 0.0
        self._easing: Deadline | None = None
        self._complain_at = 0.0
        self._complained = words[POLICY_FAILURES]

    def load(self, spec: dict[str, Any], targets: list[Target], offset: int, random: Callable[[], float]) -> None:
        """Be what control says. `rebuild` comes next; `offset` is the worker's number."""
        means = Means(offset, random, spec["max_load"], self._policy_failed)
        name, policy, hash_key, slow_start = spec["name"], spec["policy"], spec["hash_key"], spec["slow_start"]
        self.balance = Group(name, policy, targets, hash_key, slow_start, means)
        self.tries = spec["tries"]
        self.connect_timeout = spec["connect_timeout"]
        self.sources = sources(spec["source"], spec["transparent"])
        self.queue.size = spec["queue"]
        self.queue.timeout = spec["queue_timeout"]
        self._load_greeting(spec, targets)
        self.is_http = spec["http"] is not None
        if self.is_http:
            self._load_http(spec["http"], targets)

    def _load_greeting(self, spec: dict[str, Any], targets: list[Target]) -> None:
        tls = spec.get("tls")
        self.tls = ClientContext(tls["verify"], tls["ca"], tls["alpn"]) if tls else None
        self.tls_name = tls["server_name"] if tls else ""
        self.greets = bool(tls) or any(target.proxy_protocol for target in targets)

    def _load_http(self, spec: dict[str, Any], targets: list[Target]) -> None:
        self.pool.size = spec["pool_size"]
        self.pool.timeout = spec["pool_timeout"]
        self.budget.percent = spec["retry_budget"]
        self.response_timeout = spec["response_timeout"]
        self.tunnel_timeout = inf if spec["tunnel_timeout"] is None else spec["tunnel_timeout"]
        self.request_edit = HeaderEdit(**spec["request_headers"]) or None
        self.response_edit = HeaderEdit(**spec["response_headers"]) or None
        self.sticky = None
        if sticky := spec["stickiness"]:
            places = {f"{target.name} {target.address}": target for target in targets}
            key = bytes.fromhex(spec["key"])
            self.sticky = Sticky(
                sticky["type"], sticky["name"] or sticky["cookie"], sticky["duration"], key, self.balance.name, places
            )

    def _requests(self) -> int:
        return self.words[POOL_HITS] + self.words[POOL_MISSES]

    def unload(self) -> None:
        """The group is gone from the config: whoever still comes finds no target."""
        self.balance = Group(self.balance.name, "round_robin", [])
        self.sticky = None
        self.rebuild()

    def rebuild(self, table: memoryview | None = None) -> None:
        """Anything about a target changed. `table` is what control built of it."""
        balance = self.balance
        balance.rebuild(table, self._loop.now)
        if self.is_http:
            self.pool.keep_only(balance.candidates)
        if balance.is_easing and self._easing is None:
            step = balance.slow_start / FULL
            self._easing = self._loop.call_at(self._loop.now + step, self._ease, self._owner)
        self.resume()

    def resume(self) -> None:
        """Let those who waited choose, once there is something to choose by."""
        if self.balance.waiting:
            return
        parked, self.parked = self.parked, []
        for session in parked:
            if not session.outcome:
                session.begin()
        self.queue.serve_soon()

    def stop_waiting(self) -> None:
        """The first verdict is late: choose without it."""
        self.balance.stop_waiting()
        self.resume()

    # --- for a balance that is attentive

    def must_wait(self, session: Seeker) -> bool:
        """Before a pick: see what other workers did, and whether others wait for room already. Who failed at a target
        had its turn before them."""
        now = self._loop.now
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self.balance.look()
        if session.tried or not (self.balance.is_limited and self.queue.anyone):
            return False
        session.waits()
        self.queue.join(session)
        self.queue.serve_soon()
        return True

    def left(self, target: Target) -> None:
        """A session is counted at `target` no more."""
        if self.balance.left(target):
            self.queue.serve_soon()

    # --- once in a while

    def sweep(self, now: float) -> None:
        """What only exchanges ask for."""
        self.pool.sweep(now)
        self.budget.turn(now)

    def _ease(self) -> None:
        self._easing = None
        self.rebuild()

    def _policy_failed(self, text: str) -> None:
        words, now = self.words, self._loop.now
        words[POLICY_FAILURES] += 1
        if now < self._complain_at:
            return
        self._complain_at = now + COMPLAIN_EVERY
        times = words[POLICY_FAILURES] - self._complained
        self._complained = words[POLICY_FAILURES]
        often = f", {times} times since this was said last" if times > 1 else ""
        self._report("error", f"group {self.balance.name}: {text}{often}; round robin chooses instead")
