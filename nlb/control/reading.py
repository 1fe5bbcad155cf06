"""Reads a config in a process of its own, for a daemon that runs: `python -m nlb.control.reading FILE`.

A config of 10,000 targets takes half a second of Python. In a thread of control it would hold the interpreter's lock
while probes and the admin socket need it for every system call, and all of them would stand in line.
"""

from __future__ import annotations

import pickle
import subprocess
import sys

from nlb.control import config_file
from nlb.errors import ConfigError, NlbError
from nlb.model.config import Config

# Seconds for a file that cannot be read to its end, such as one on a network that is away.
PATIENCE = 60.0

# The config and the hash of its text, or why it is none.
Found = tuple[Config, str] | str


def read_aside(path: str) -> bytes:
    """What `unpacked` takes. Blocks: call it in a thread, which waits and holds no lock. Raises NlbError."""
    command = [sys.executable, "-m", "nlb.control.reading", path]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise NlbError(f"{path}: could not be read within {PATIENCE:g} s") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise NlbError(f"{path}: reading it failed: {' '.join(last) or f'exit code {done.returncode}'}")
    return done.stdout


def unpacked(packed: bytes) -> tuple[Config, str]:
    """The config and the hash of its text. Raises NlbError with every mistake."""
    found: Found = pickle.loads(packed)  # from our own child, which ran our own code
    if isinstance(found, str):
        raise NlbError(found)
    return found


def main() -> None:
    found: Found
    try:
        found = config_file.read_hashed(sys.argv[1])
    except ConfigError as error:
        found = str(error)
    sys.stdout.buffer.write(pickle.dumps(found, protocol=5))


if __name__ == "__main__":
    main()
