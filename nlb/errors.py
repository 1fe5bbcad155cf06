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


# phase/cause -> what it means and what to look at first; of sessions and of HTTP exchanges. The order is the order of
# the words in a worker's counters, shared by processes of one version only, so a new outcome may be put wherever it
# reads best.
OUTCOMES: dict[str, str] = {
    "accept/limit": "the listener had max_connections sessions; the connection was reset",
    "accept/bug": "an error inside nlb while accepting; the log has the traceback",
    "request/bad_head": "the client sent no HTTP request that has one reading; answered 400, 405, 501 or 505",
    "request/desync": "the request is of a class that the listener's desync mode refuses; answered 400",
    "request/too_large": "the request line, the header or the body was over its limit; answered 413, 414 or 431",
    "request/timeout": "the head of the request did not come within header_timeout; answered 408",
    "request/slow_body": "the body of the request came slower than min_body_rate; answered 408",
    "request/bad_chunk": "the body of the request was not chunked as it said; answered 400",
    "request/redirect": "a rule of the listener answered with its redirect",
    "request/fixed_response": "a rule of the listener answered with its fixed response",
    "request/idle": "the client sent no further request for idle_timeout; closed in order",
    "request/client_closed": "the client closed the connection before its request was complete",
    "request/client_reset": "the client reset the connection before its request was complete",
    "request/target_closed": "the target closed the connection while it was sent the request; answered 502",
    "request/target_reset": "the target reset the connection while it was sent the request; answered 502",
    "request/drain_timeout": "the target's drain time ran out while it was sent the request; answered 502",
    "request/unhealthy": "the target became unhealthy while it was sent the request (on_unhealthy is reset); 502",
    "request/removed": "the target was removed while it was sent the request; answered 502",
    "request/shutdown": "nlb stopped before the request was complete",
    "request/bug": "an error inside nlb while reading a request; the log has the traceback",
    "pick/no_target": "no target could be used: the group is empty, or all are drained, in maint or of weight 0",
    "pick/queue_full": "every target had its max_connections and the queue of the group was full, or is 0",
    "pick/queue_timeout": "every target had its max_connections, and none had room within queue_timeout",
    "pick/client_closed": "the client left while its request waited for a target",
    "pick/client_reset": "the client reset the connection while its request waited for a target",
    "pick/shutdown": "nlb stopped while the session waited, for the first health verdict or in the queue",
    "pick/bug": "an error inside nlb while choosing; the log has the traceback",
    "connect/refused": "every target tried refused the connection: nothing listens on its port",
    "connect/timeout": "no target tried answered within connect_timeout: host down, or packets are dropped",
    "connect/unreachable": "no route to the targets tried, or the network said unreachable",
    "connect/no_port": "no local port was free for a connection to the target (EADDRNOTAVAIL)",
    "connect/descriptors": "nlb had no descriptor left for the connection to the target",
    "connect/client_closed": "the client left before the target had answered the connect",
    "connect/client_reset": "the client reset the connection before the target had answered the connect",
    "connect/drain_timeout": "the target's drain time ran out before it had answered",
    "connect/unhealthy": "the target became unhealthy before it had answered, and on_unhealthy is reset",
    "connect/removed": "the target was removed before it had answered, and no other could be tried",
    "connect/shutdown": "nlb stopped before the target had answered",
    "connect/bug": "an error inside nlb while connecting; the log has the traceback",
    "response/timeout": "the target did not begin its response within response_timeout; answered 504",
    "response/target_closed": "the target closed the connection without a response; answered 502",
    "response/target_reset": "the target reset the connection without a response; answered 502",
    "response/bad_head": "the target sent no HTTP response that has one reading, or a head over 32 KiB; answered 502",
    "response/client_closed": "the client left before the target responded",
    "response/client_reset": "the client reset the connection before the target responded",
    "response/drain_timeout": "the target's drain time ran out before it responded; answered 502",
    "response/unhealthy": "the target became unhealthy before it responded, and on_unhealthy is reset; answered 502",
    "response/removed": "the target was removed before it responded; answered 502",
    "response/shutdown": "nlb stopped before the target responded",
    "response/bug": "an error inside nlb while waiting for a response; the log has the traceback",
    "data/done": "both sides closed in order; of a request: it was answered in full",
    "data/client_reset": "the client reset the connection; the target was reset too",
    "data/target_reset": "the target reset the connection; the client was reset too",
    "data/target_closed": "the target closed the connection in the middle of its response; the client was cut off too",
    "data/bad_chunk": "the target's response was not chunked as it said; the client was cut off",
    "data/idle": "no byte moved for idle_timeout; both sides were reset",
    "data/drain_timeout": "the target's drain time ran out with the session open; both sides were reset",
    "data/unhealthy": "the target became unhealthy and on_unhealthy is reset; both sides were reset",
    "data/removed": "the target was removed and on_remove is reset, or its time to drain ran out",
    "data/shutdown": "nlb stopped and the session had not ended within shutdown_timeout; both sides were reset",
    "data/bug": "an error inside nlb while moving bytes; the log has the traceback",
}
