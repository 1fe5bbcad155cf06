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
    "accept/denied": "the source is in deny of the shield, or not in allow; the connection was reset",
    "accept/blocked": "the source is blocked, by an operator or for offences (`nlb ctl blocked`); reset",
    "accept/source_limit": "the source had max_connections_per_source connections open; reset",
    "accept/rate": "the source came more often than connection_rate_per_source; the connection was reset",
    "accept/bug": "an error inside nlb while accepting; the log has the traceback",
    "preface/denied": "as accept/denied, of the client that the PROXY header tells of",
    "preface/blocked": "as accept/blocked, of the client that the PROXY header tells of, or of one that was there",
    "preface/source_limit": "as accept/source_limit, of the client that the PROXY header tells of",
    "preface/rate": "as accept/rate, of the client that the PROXY header tells of",
    "preface/bad_proxy_header": "the PROXY header was missing, malformed, or from somebody who is not trusted; reset",
    "preface/timeout": "the PROXY header or the TLS handshake was not complete in time; reset",
    "preface/plain_http": "the client spoke plain HTTP to a port of TLS; answered 400",
    "preface/not_tls": "what the client sent to a port of TLS is not TLS",
    "preface/old_version": "the client has no version of TLS that the policy allows",
    "preface/no_common_cipher": "client and policy have no cipher, group or signature in common",
    "preface/unknown_name": "the client asked for a name that no certificate has, or for none, and strict_sni is on",
    "preface/no_client_certificate": "the client has no certificate, and client_auth is required",
    "preface/bad_client_certificate": "the client's certificate is not from client_ca, or is not valid",
    "preface/client_alert": "the client ended the TLS handshake, mostly as it does not trust the certificate",
    "preface/bad_handshake": "the client broke the rules of TLS",
    "preface/client_closed": "the client closed the connection before it had said what it must",
    "preface/client_reset": "the client reset the connection before it had said what it must",
    "preface/shutdown": "nlb stopped before the client had said what it must",
    "preface/bug": "an error inside nlb before the session began; the log has the traceback",
    "request/bad_head": "the client sent no HTTP request that has one reading; answered 400, 405, 501 or 505",
    "request/desync": "the request is of a class that the listener's desync mode refuses; answered 400",
    "request/method": "the method is none of shield.http.methods; answered 405",
    "request/bad_path": "the path climbs out of the root, or cannot be read in one way; answered 400",
    "request/denied_path": "the path is one of shield.http.deny_path; answered 403",
    "request/rate": "the client sent more requests than a request_rate of the shield; answered 429, or as it says",
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
    "request/blocked": "the source was blocked while it was connected; its connection was reset",
    "request/shutdown": "nlb stopped before the request was complete",
    "request/bug": "an error inside nlb while reading a request; the log has the traceback",
    "pick/no_target": "no target could be used: the group is empty, or all are drained, in maint or of weight 0",
    "pick/queue_full": "every target had its max_connections and the queue of the group was full, or is 0",
    "pick/queue_timeout": "every target had its max_connections, and none had room within queue_timeout",
    "pick/client_closed": "the client left while its request waited for a target",
    "pick/client_reset": "the client reset the connection while its request waited for a target",
    "pick/blocked": "the source was blocked while its session or request waited; its connection was reset",
    "pick/shutdown": "nlb stopped while the session waited, for the first health verdict or in the queue",
    "pick/bug": "an error inside nlb while choosing; the log has the traceback",
    "connect/refused": "every target tried refused the connection: nothing listens on its port",
    "connect/timeout": "no target tried answered within connect_timeout: host down, or packets are dropped",
    "connect/unreachable": "no route to the targets tried, or the network said unreachable",
    "connect/tls": "the TLS handshake with the targets tried failed",
    "connect/certificate": "the certificate of the targets tried is for another name, from nobody we trust, or over",
    "connect/no_port": "no local port was free for a connection to the target (EADDRNOTAVAIL)",
    "connect/descriptors": "nlb had no descriptor left for the connection to the target",
    "connect/client_closed": "the client left before the target had answered the connect",
    "connect/client_reset": "the client reset the connection before the target had answered the connect",
    "connect/drain_timeout": "the target's drain time ran out before it had answered",
    "connect/unhealthy": "the target became unhealthy before it had answered, and on_unhealthy is reset",
    "connect/removed": "the target was removed before it had answered, and no other could be tried",
    "connect/blocked": "the source was blocked before the target had answered; its connection was reset",
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
    "response/blocked": "the source was blocked before the target responded; its connection was reset",
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
    "data/blocked": "the source was blocked with its session or request under way; both sides were reset",
    "data/shutdown": "nlb stopped and the session had not ended within shutdown_timeout; both sides were reset",
    "data/bug": "an error inside nlb while moving bytes; the log has the traceback",
}
