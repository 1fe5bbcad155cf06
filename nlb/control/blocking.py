"""Blocks at run time: an operator's wishes and what offences bring are carried out in every worker, and end in time.

To workers                                              From workers
  block   {blocks: [[network, until], ...], all, cut}     offended {sources: [[network, listener, offence, seconds,
  unblock {networks: [...]}                                                    monitored], ...]}

`until` is monotonic seconds, or null. `all` begins from nothing: what a new worker is told. With `cut`, what these
sources have open is reset within a second. A worker tells of a source when it has offended often enough, with the
seconds that the listener's config says; `monitored`, nothing comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import time
from typing import NamedTuple

from nlb.control.blocks import Block, Blocks, entries, spelled
from nlb.errors import AdminError
from nlb.model.units import format_duration
from nlb.net.channel import Message
from nlb.net.loop import Deadline, Loop
from nlb.observe.log import Events
from nlb.shield.cidr import Network, parse

# Seconds between looks for blocks that have ended: at most, because clocks are set; and at least, because thousands may
# end one after the other.
LOOK = 60.0
LOOK_AGAIN = 1.0

# Seconds in which what offences bring is told and saved together.
GATHER = 1.0

# Sources that an event names.
_NAMED = 5


class Offender(NamedTuple):
    """As a worker tells of it."""

    network: str
    listener: str
    offence: str
    seconds: float
    monitored: bool


class Blocking:
    """Called on the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        blocks: Blocks,
        events: Events,
        tell: Callable[[Message], None],
        clock: Callable[[], float] = time,
    ) -> None:
        """`tell` reaches every worker; one that starts is told `message`. What ended while control was down is gone."""
        self._loop = loop
        self._blocks = blocks
        self._events = events
        self._tell = tell
        self._clock = clock
        self._timer: Deadline | None = None
        self._caught: list[Offender] = []  # not told and saved yet
        self._pushed_out = 0
        self._expire()

    def all(self) -> list[Block]:
        return self._blocks.all()

    def network_of(self, address: str) -> str | None:
        """The most specific network that is blocked and has this address."""
        return self._blocks.find(address)

    def counts(self) -> dict[str, int]:
        """By whose wish."""
        return self._blocks.counts()

    def message(self) -> Message:
        """What a worker must know that knows nothing."""
        return self._block_message(self._blocks.all(), begins=True)

    def block(self, network: str, reason: str, who: str, lasts: float | None, keep: bool = False) -> Block:
        """An operator's wish; in the place of what the network had. `keep`: connections that it has open stay. Raises
        AdminError: nothing was changed."""
        now = self._clock()
        until = None if lasts is None else now + lasts
        block = Block(spelled(_parsed(network)), "operator", who, now, reason, until)
        self._blocks.wish(block)
        self._tell(self._block_message([block], cut=not keep))
        end = "" if lasts is None else f", for {format_duration(lasts)}"
        end += ", open connections stay" if keep else ""
        self._events.say("info", "operator", f"{block.network} blocked by {who}{end}" + (reason and f": {reason}"))
        self._look_again()
        return block

    def unblock(self, network: str, who: str) -> list[Block]:
        """Lift a block, with all in that network. Raises AdminError when there is none."""
        lifted = self._blocks.lift(_parsed(network))
        self._tell({"verb": "unblock", "networks": [block.network for block in lifted]})
        self._events.say("info", "operator", f"{_named([block.network for block in lifted])} unblocked by {who}")
        return lifted

    def offended(self, sources: Iterable[tuple[str, str, str, float, bool]]) -> None:
        """A worker saw sources offend often enough."""
        offenders = [Offender(*source) for source in sources]
        now = self._clock()
        caught = [
            Block(spelled(parse(each.network)), "offences", "", now, _reason(each), now + each.seconds)
            for each in offenders
            if not each.monitored
        ]
        held, gone = self._blocks.catch(caught)
        if gone:
            self._pushed_out += len(gone)
            self._tell({"verb": "unblock", "networks": [block.network for block in gone]})
        if held:
            self._tell(self._block_message(held, cut=True))
        if not self._caught and offenders:
            self._loop.call_at(self._loop.now + GATHER, self._settle, self)
        self._caught += offenders
        if held:
            self._look_again()

    def crashed(self, error: Exception) -> None:
        self._events.bug(error, "blocks")

    def _block_message(self, blocks: list[Block], begins: bool = False, cut: bool = False) -> Message:
        told = entries(blocks, self._clock(), self._loop.now)
        return {"verb": "block", "blocks": [list(entry) for entry in told], "all": begins, "cut": cut}

    def _settle(self) -> None:
        """Say and save what came of offences."""
        caught, self._caught = self._caught, []
        for monitored, are in ((False, "blocked"), (True, "not blocked, because mode is monitor,")):
            found = {each.network: each for each in caught if each.monitored is monitored}
            if len(found) == 1:
                (only,) = found.values()
                self._say(f"{_short(only.network)} {are} for {format_duration(only.seconds)}: {_reason(only)}")
            elif found:
                self._say(f"{len(found)} sources {are} for offences: {_named([_short(each) for each in found])}")
        if self._pushed_out:
            self._say(f"{self._pushed_out} of the oldest blocks for offences were lifted: there is room for no more")
            self._pushed_out = 0
        self._blocks.save_changes()

    def _say(self, text: str) -> None:
        self._events.say("warning", "nlb", text)

    # --- blocks that end by themselves

    def _look_again(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        expiry = self._blocks.next_expiry()
        if expiry is not None:
            wait = min(LOOK, max(LOOK_AGAIN, expiry - self._clock()))
            self._timer = self._loop.call_at(self._loop.now + wait, self._expire, self)

    def _expire(self) -> None:
        ended = self._blocks.expire(self._clock())
        if ended:
            self._tell({"verb": "unblock", "networks": [block.network for block in ended]})
            self._blocks.save_changes()
        for block in ended:
            if block.by == "operator":
                self._events.say("info", "operator", f"{block}: that has ended by itself")
        self._look_again()


def _parsed(text: str) -> Network:
    try:
        return parse(text)
    except ValueError as error:
        raise AdminError(str(error)) from None


def _reason(offender: Offender) -> str:
    return f"offences at listener {offender.listener}, the last: {offender.offence}"


def _short(network: str) -> str:
    return spelled(parse(network))


def _named(networks: list[str]) -> str:
    more = len(networks) - _NAMED
    return ", ".join(networks[:_NAMED]) + (f" and {more} more" if more > 0 else "")
