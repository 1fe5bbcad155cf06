"""Who is blocked at run time, by an operator or for offences: until when, and why. Blocks survive a restart.

Their number is bounded, for each of the two. An operator is told when there is no room; of the blocks for offences the
oldest goes. So a flood of offenders grows nothing, and cannot push out what a person wished.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from nlb.control import kept
from nlb.control.state import Data, Say, StateDir
from nlb.errors import AdminError
from nlb.shield.blocked import Entry
from nlb.shield.cidr import Network, canonical, parse

By = Literal["operator", "offences"]

DOCUMENT = "blocks"  # in the state directory

# Of each. Who needs more should deny them in the config, from a file.
MOST = 10_000

# Bits of the widest network that may be blocked at once, by IP version. One typed wrong could shut out everybody.
WIDEST = {4: 8, 6: 16}


@dataclass(frozen=True, slots=True)
class Block:
    """`network` is spelled as `spelled` does; `who` is the operator, "" for offences. Times are unix seconds; without
    `until` it holds until it is lifted."""

    network: str
    by: By
    who: str
    when: float
    reason: str = ""
    until: float | None = None

    def __str__(self) -> str:
        """`10.0.0.0/8, blocked by ada (a reason)`, for the text of an event."""
        return f"{self.network}, blocked by {self.who or self.by}" + (f" ({self.reason})" if self.reason else "")

    def data(self) -> Data:
        return kept.plain(self)


def spelled(network: Network) -> str:
    """As people write it: an address alone where it is one."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


class Blocks:
    """All blocks that hold, operators' first. Everything is called on the loop's thread.

    Without a state directory they last as long as control runs.
    """

    def __init__(self, state: StateDir | None, say: Say) -> None:
        """Reads what was kept. Some of it may have ended meanwhile: `expire`."""
        self._state = state
        self._unsaved = False
        self._of: dict[By, dict[Network, Block]] = {"operator": {}, "offences": {}}
        kept.load(state, DOCUMENT, Block, self._take_in, say)

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def all(self) -> list[Block]:
        return [block for held in self._of.values() for block in held.values()]

    def find(self, address: str) -> str | None:
        """The most specific network that has it. There may be 20,000, so they are asked for by their lengths."""
        if not canonical(address):
            return None
        alone = parse(address)
        lengths = {network.prefixlen for network, _ in self._items() if network.version == alone.version}
        around = (alone.supernet(new_prefix=length) for length in sorted(lengths, reverse=True))
        return next((str(network) for network in around if any(network in held for held in self._of.values())), None)

    def counts(self) -> dict[str, int]:
        return {by: len(held) for by, held in self._of.items()}

    def wish(self, block: Block) -> None:
        """Keep an operator's, in the place of any that the network had. Raises AdminError; then nothing was changed."""
        network = _admitted(block)
        wished = self._of["operator"]
        if len(wished) >= MOST and network not in wished:
            raise AdminError(f"there is room for {MOST} blocks, and it is full; write some of them into a file of deny")
        for held in self._of.values():
            held.pop(network, None)
        wished[network] = block
        self.save()

    def catch(self, blocks: Iterable[Block]) -> tuple[list[Block], list[Block]]:
        """Take in those for offences, and save them when `save` is called. Returns those that hold now, and those that
        had to go for them. What an operator blocks already stays his."""
        held, gone = self._of["offences"], []
        new = [(network, block) for block in blocks if (network := _admitted(block)) not in self._of["operator"]]
        for network, block in new:
            held.pop(network, None)  # its place is at the end
            if len(held) >= MOST:
                gone.append(held.pop(next(iter(held))))
            held[network] = block
            self._unsaved = True
        lifted = {block.network for block in gone}
        return [block for _, block in new if block.network not in lifted], gone

    def lift(self, network: Network) -> list[Block]:
        """End the block of a network and those of all in it. Raises AdminError when there is none."""
        ended = []
        for held in self._of.values():
            inside = [each for each in held if _is_in(each, network)]
            ended += [held.pop(each) for each in inside]
        if not ended:
            around = [block.network for each, block in self._items() if _is_in(network, each)]
            hint = f"; {around[0]} is, and {spelled(network)} is in it" if around else "; nlb ctl blocked lists who is"
            raise AdminError(f"{spelled(network)} is not blocked{hint}")
        self.save()
        return ended

    def expire(self, now: float) -> list[Block]:
        """End those whose time has come (`now` in unix seconds), and return them."""
        ended = kept.ended(self.all(), now)
        for block in ended:
            del self._of[block.by][parse(block.network)]
        self._unsaved = self._unsaved or bool(ended)
        return ended

    def next_expiry(self) -> float | None:
        """When the next one ends, in unix seconds."""
        return kept.next_end(block for _, block in self._items())

    def save(self) -> None:
        kept.save(self._state, DOCUMENT, self.all())
        self._unsaved = False

    def save_changes(self) -> None:
        """What was caught or has expired since the last time, if anything."""
        if self._unsaved:
            self.save()

    def _items(self) -> Iterator[tuple[Network, Block]]:
        for held in self._of.values():
            yield from held.items()

    def _take_in(self, block: Block) -> None:
        network = _judged(block)
        held = self._of[block.by]
        if any(network in each for each in self._of.values()):
            raise ValueError("this network is there twice")
        if len(held) >= MOST:
            raise ValueError(f"there is room for {MOST}")
        held[network] = block


def entries(blocks: Iterable[Block], wall: float, monotonic: float) -> list[Entry]:
    """As workers are told: ends by the clock that cannot be set, so that they need nobody to end a block."""
    return [
        (block.network, None if block.until is None else round(monotonic + block.until - wall, 3)) for block in blocks
    ]


def _is_in(network: Network, other: Network) -> bool:
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]


def _admitted(block: Block) -> Network:
    """Nothing is kept that the next start would not read."""
    try:
        return _judged(block)
    except ValueError as error:
        raise AdminError(str(error)) from None


def _judged(block: Block) -> Network:
    """The network of a block whose values are of the right type and make sense. Raises ValueError."""
    kept.judge(block, "network", "by", "who", "reason")
    if block.by not in ("operator", "offences"):
        raise ValueError("by must be operator or offences")
    network = parse(block.network)
    if spelled(network) != block.network:
        raise ValueError(f"network must be written {spelled(network)}")
    if network.prefixlen < WIDEST[network.version]:
        raise ValueError(
            f"{network} is too wide to be blocked at once: /{WIDEST[network.version]} is the widest; "
            "`deny` in the config takes any"
        )
    return network
