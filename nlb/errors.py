"""What can go wrong, in the words that logs, metrics, CLI and tests share. Nothing here acts.

Two kinds of trouble, kept apart:

* A *mistake of the operator* (config, command line, admin request) is an exception that says where and what
  would be right.
* The *ending of a session* is a value: one of `OUTCOMES`, written phase/cause. The data path never raises for it.
"""

from __future__ import annotations

from dataclasses import dataclass


class NlbError(Exception):
    """Anything that an operator can put right. Its text is shown as it is, without a traceback."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error in a config file: where, what is wrong, what would be right. Lines and columns count from 1."""

    line: int
    column: int
    path: str
    message: str

    def at(self, filename: str) -> str:
        """`file:line:column: path: message`, the form that editors jump to."""
        where = f"{filename}:{self.line}:{self.column}: "
        return where + (f"{self.path}: {self.message}" if self.path else self.message)


class ConfigError(NlbError):
    """A config that cannot run. Carries every mistake at once, in the order of the file."""

    def __init__(self, filename: str, mistakes: list[Mistake]) -> None:
        self.filename = filename
        self.mistakes = sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column, mistake.path))
        super().__init__("\n".join(mistake.at(filename) for mistake in self.mistakes))


class StartError(NlbError):
    """The config is right but this box cannot run it now: a taken port, a missing right, no descriptors."""


class AdminError(NlbError):
    """An admin request that cannot be done: an unknown target, a bad value. Nothing was changed."""


# phase/cause -> what it means and what to look at first. The order is the order of the words in a worker's
# counters, shared by processes of one version only, so a new outcome may be put wherever it reads best.
OUTCOMES: dict[str, str] = {
    "accept/limit": "the listener had max_connections sessions; the connection was reset",
    "accept/bug": "an error inside nlb while accepting; the log has the traceback",
    "pick/no_target": "no target could be used: the group is empty, or all are drained, in maint or of weight 0",
    "pick/queue_full": "every target had its max_connections and the queue of the group was full, or is 0",
    "pick/queue_timeout": "every target had its max_connections, and none had room within queue_timeout",
    "pick/shutdown": "nlb stopped while the session waited, for the first health verdict or in the queue",
    "pick/bug": "an error inside nlb while choosing; the log has the traceback",
    "connect/refused": "every target tried refused the connection: nothing listens on its port",
    "connect/timeout": "no target tried answered within connect_timeout: host down, or packets are dropped",
    "connect/unreachable": "no route to the targets tried, or the network said unreachable",
    "connect/no_port": "no local port was free for a connection to the target (EADDRNOTAVAIL)",
    "connect/descriptors": "nlb had no descriptor left for the connection to the target",
    "connect/drain_timeout": "the target's drain time ran out before it had answered",
    "connect/unhealthy": "the target became unhealthy before it had answered, and on_unhealthy is reset",
    "connect/removed": "the target was removed before it had answered, and no other could be tried",
    "connect/shutdown": "nlb stopped before the target had answered",
    "connect/bug": "an error inside nlb while connecting; the log has the traceback",
    "data/done": "both sides closed in order",
    "data/client_reset": "the client reset the connection; the target was reset too",
    "data/target_reset": "the target reset the connection; the client was reset too",
    "data/idle": "no byte moved for idle_timeout; both sides were reset",
    "data/drain_timeout": "the target's drain time ran out with the session open; both sides were reset",
    "data/unhealthy": "the target became unhealthy and on_unhealthy is reset; both sides were reset",
    "data/removed": "the target was removed and on_remove is reset, or its time to drain ran out",
    "data/shutdown": "nlb stopped and the session had not ended within shutdown_timeout; both sides were reset",
    "data/bug": "an error inside nlb while moving bytes; the log has the traceback",
}
