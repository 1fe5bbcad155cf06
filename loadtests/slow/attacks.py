"""What slowhttptest does to a web server, and it at work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.peers.loads import Place
from loadtests.rig import LOAD_CORE, need, running

# Connections that it makes in a second.
RATE = 500

# No attack needs as long: it is ended when its time is over.
_FOR_EVER = 3600

# What a slow reader asks for: more than all buffers on the way hold.
PAGE, PAGE_SIZE = "page", 10_000_000


@dataclass(frozen=True)
class Attack:
    """`path` is asked for with `options`. A second between the bytes: of all that keeps a connection busy, the most."""

    name: str
    title: str
    path: str
    options: tuple[str, ...]
    stays: bool = True  # its connections are there until somebody closes them


ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("headers", "slow headers (-H)", "/1k", ("-H", "-i", "1", "-x", "24")),
        Attack("body", "slow body (-B)", "/upload", ("-B", "-i", "1", "-x", "10", "-s", "8192")),
        Attack("read", "slow read (-X)", f"/{PAGE}", ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32")),
        Attack("range", "many ranges (-R)", "/100k", ("-R", "-a", "5", "-b", "2000"), stays=False),
    )
}


@contextmanager
def attacked(attack: Attack, at: Place, connections: int, said: Path) -> Iterator[None]:
    """Under attack. slowhttptest ends when all its connections were closed: then it comes again."""
    url = f"{'https' if at.tls else 'http'}://{at}{attack.path}"
    count = ("-c", str(connections), "-r", str(min(RATE, connections)), "-l", str(_FOR_EVER))
    # Idle: a true attacker's CPU is his own, and here it would be missing to the normal clients beside it.
    command = [need("chrt", "apt-get install util-linux"), "--idle", "0", need("slowhttptest"), *attack.options, *count]
    ends = threading.Event()

    def again() -> None:
        while not ends.is_set():
            with running([*command, "-u", url], LOAD_CORE, said=said) as process:
                while process.poll() is None and not ends.wait(0.1):
                    pass
            ends.wait(0.1)  # where it cannot start, neither shall this spin

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
