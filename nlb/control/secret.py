"""The key with which nlb signs what clients are to bring back: it outlives a restart, and nobody else may read it."""

from __future__ import annotations

from collections.abc import Callable

from nlb.control.state import Data, StateDir

_NAME = "secret"
_BYTES = 32


def secret(state: StateDir, random: Callable[[int], bytes]) -> bytes:
    """The one that was kept, or a new one. Where it cannot be kept it changes with the next start."""
    kept = state.load(_NAME, _check)
    if kept is not None:
        return bytes.fromhex(kept["key"])
    key = random(_BYTES)
    state.save(_NAME, {"key": key.hex()})
    return key


def _check(data: Data) -> None:
    key = data.get("key")
    if not isinstance(key, str) or len(key) != 2 * _BYTES:
        raise ValueError(f"it should have a key of {_BYTES} bytes in hexadecimal")
    bytes.fromhex(key)
