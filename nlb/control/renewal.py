"""Certificates renew themselves: the files of listeners are looked at every few seconds, and what is good in them is
shown in handshakes from then on. No connection is touched.

    look ──> as it was ───────────────────────────────────────────────> rest
      └────> changed ──> as it was a look later ──> read and judged ──> shown, or told why not ──> rest

The look and the reading are done in a thread: a disk on a network that is away delays nobody. A change is read when it
is over, a look later, since certificate and key are written one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Thread
from time import time
from typing import TYPE_CHECKING, Any

from nlb.control import certificates
from nlb.control.certificates import Identity
from nlb.net.certificate import Certificate, judge
from nlb.net.loop import Loop
from nlb.observe.log import Events

if TYPE_CHECKING:
    from nlb.control.listening import Listening, OpenListener
    from nlb.model.config import Listener

# Seconds between two looks. A file costs 3 us.
EVERY = 2.0

# Seconds after which all is read and judged again: time makes certificates valid, and ends them.
AGAIN = 3600.0

# Seconds until what time has done to a certificate is told once more.
DAY = 86400.0

_OF_TIME = ("expired", "ends_soon", "not_yet_valid")

# Names in a sentence.
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Job:
    """What the thread looks at. `pending` is how a change looked when it was first seen."""

    name: str
    settings: Listener
    identity: Identity
    pending: tuple[Any, ...]
    anew: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What it saw. `identity` is None while there is nothing new, or not yet."""

    job: _Job
    pending: tuple[Any, ...]
    identity: Identity | None


class Renewal:
    """For as long as control runs. Everything but the looking is done on the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        listening: Listening,
        certify: Callable[[OpenListener], None],
        events: Events,
        clock: Callable[[], float] = time,
    ) -> None:
        """`certify` tells workers of a listener whose `identity` is another now."""
        self._loop = loop
        self._listening = listening
        self._certify = certify
        self._events = events
        self._clock = clock  # unix seconds, for what time does to certificates
        self._pending: dict[str, tuple[Any, ...]] = {}
        self._looked: dict[str, float] = {}  # by listener: when it was read the last time, on the loop's clock
        self._known: dict[str, tuple[Certificate, ...]] = {}  # by listener: those that were told of
        self._told: dict[str, float] = {}  # sentence -> when it was told
        self._looking = False

    def start(self) -> None:
        self.review()
        self._loop.call_at(self._loop.now + EVERY, self._look, self)

    def crashed(self, error: Exception) -> None:
        self._looking = False
        self._events.bug(error, "the renewal of certificates")

    # --- the look

    def _look(self) -> None:
        self._loop.call_at(self._loop.now + EVERY, self._look, self)
        self.review()  # a reload may have brought others
        now = self._loop.now
        jobs = []
        for name, identity in self._opened():
            last = self._looked.setdefault(name, now)
            settings, pending = self._listening.listeners[name].settings, self._pending.get(name, ())
            jobs.append(_Job(name, settings, identity, pending, now - last > AGAIN))
        if jobs and not self._looking:
            self._looking = True
            Thread(target=self._in_thread, args=(jobs,), name="certificates", daemon=True).start()

    def _in_thread(self, jobs: list[_Job]) -> None:
        try:
            found = [look(job, self._clock()) for job in jobs]
        except Exception as error:
            trouble = error
            self._loop.post(lambda: self.crashed(trouble), self)
        else:
            self._loop.post(lambda: self._take(found), self)

    def _take(self, found: list[_Seen]) -> None:
        self._looking = False
        for seen in found:
            name = seen.job.name
            self._pending[name] = seen.pending
            opened = self._listening.listeners.get(name)
            if seen.identity is None or opened is None or opened.identity is not seen.job.identity:
                continue  # nothing new, or a reload came between
            self._looked[name] = self._loop.now
            before = seen.job.identity.client_ca
            if opened.show(seen.identity):
                self._certify(opened)
            if opened.identity and opened.identity.client_ca != before:
                file = opened.settings.tls.client_ca
                self._say("info", f"other authorities of clients are believed, from {file}", [name])
        self.review()

    # --- what is told

    def review(self) -> None:
        """Say what is new about the certificates that are shown: which came, which went, what is wrong with them."""
        opened = self._opened()
        came: dict[str, list[str]] = {}
        for name, identity in opened:
            known, now = self._known.get(name), identity.certificates
            self._known[name] = now
            for text in _news(known, now) if known is not None else ():  # of a new listener it is no news
                came.setdefault(text, []).append(name)
        for text, names in came.items():
            self._say("info", text, names)
        self._tell_faults(opened, self._clock())

    def _tell_faults(self, opened: list[tuple[str, Identity]], now: float) -> None:
        found: dict[str, tuple[bool, bool, list[str]]] = {}
        for name, identity in opened:
            for is_bad, is_of_time, text in troubles(identity, now):
                found.setdefault(text, (is_bad, is_of_time, []))[2].append(name)
        for text in [text for text in self._told if text not in found]:
            del self._told[text]
        for text, (is_bad, is_of_time, names) in found.items():
            last = self._told.get(text)
            if last is None or (is_of_time and now - last >= DAY):
                self._told[text] = now
                self._say("error" if is_bad else "warning", text, names)

    def _say(self, level: str, text: str, listeners: list[str]) -> None:
        where = "listener" if len(listeners) == 1 else "listeners"
        self._events.say(level, "nlb", f"{where} {_some(listeners)}: {text}", listener=listeners[0])

    def _opened(self) -> list[tuple[str, Identity]]:
        listeners = self._listening.listeners.values()
        return [(opened.name, opened.identity) for opened in listeners if opened.identity]


def look(job: _Job, now: float) -> _Seen:
    """Any thread. Reads when a change is over, or it is time."""
    seen = certificates.seen(job.settings)
    if seen == job.identity.seen and not job.anew:
        return _Seen(job, (), None)
    if seen != job.pending and not job.anew:
        return _Seen(job, seen, None)
    return _Seen(job, (), certificates.read(job.settings, now))


def _news(before: tuple[Certificate, ...], now: tuple[Certificate, ...]) -> Iterator[str]:
    known, files = {one.fingerprint for one in before}, {one.file for one in now}
    for one in now:
        if one.fingerprint not in known:
            yield f"new certificate for {_titles(one)}, valid until {_date(one.not_after)}, from {one.file}"
    for one in before:
        if one.file not in files:
            yield f"the certificate for {_titles(one)} is no longer shown: {one.file} is not there"


def troubles(identity: Identity, now: float) -> Iterator[tuple[bool, bool, str]]:
    """Whether each keeps a certificate from being shown, whether time brings it, and what it is."""
    shown = {one.file: one for one in identity.certificates}
    refused = {one.file for one in identity.found.certificates if shown.get(one.file) is not one}
    for fault in identity.faults:
        if fault.word == "authorities":
            yield True, False, f"{fault.text}; those that were there before are believed"
        elif not fault.usable or fault.file in refused:
            old = shown.get(fault.file)
            instead = f"the old one goes on, valid until {_date(old.not_after)}" if old else "it is not used"
            yield True, False, f"bad certificate {fault.text}; {instead}"
        elif fault.word not in _OF_TIME:
            yield False, False, f"certificate {fault.text}"
    for certificate in identity.served.certificates:
        yield from ((False, True, f"certificate {fault.text}") for fault in judge(certificate, now))


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _titles(certificate: Certificate) -> str:
    return _some([*certificate.names, *certificate.addresses]) or certificate.file


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
