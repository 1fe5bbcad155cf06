"""Shared memory as control makes it, without the sharing."""

from __future__ import annotations

from nlb.shield import table

SECRET = bytes(range(1, 17))


def memory(workers: int = 1, secret: bytes = SECRET) -> memoryview:
    block = memoryview(bytearray(table.size(workers)))
    table.prepare(block, secret)
    return block
