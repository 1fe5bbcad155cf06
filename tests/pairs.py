"""Certificates with their keys, as files that an operator would have, from an authority of the tests."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


class Pairs:
    """Those of one authority in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))

    def write(self, name: str, *hosts: str, days: float | None = None, begins: float = -1, **more: Any) -> str:
        """NAME.pem and NAME.key, for hosts or addresses; valid for so many days from now, for ever by default. Returns
        the path without the ending."""
        if days is not None:
            more |= {"not_before": now() + begins * DAY, "not_after": now() + days * DAY}
        issued = self.authority.issue_cert(*(hosts or (name,)), **more)
        self.put(name, issued)
        return str(self.folder / name)

    def put(self, name: str, issued: trustme.LeafCert, key: trustme.LeafCert | None = None) -> None:
        """As renewing tools do it: a new file in the place of the old one."""
        _replace(self.folder / f"{name}.pem", b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        _replace(self.folder / f"{name}.key", (key or issued).private_key_pem.bytes())

    def secrets(self) -> Iterable[str]:
        """What must be seen nowhere: lines of every key in the folder."""
        for path in self.folder.glob("*.key"):
            yield path.read_text().splitlines()[2]


def _replace(path: Path, body: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(body)
    os.replace(beside, path)


def certificates(*paths: str) -> str:
    """The key of a listener."""
    items = ", ".join(f'{{ cert = "{path}.pem", key = "{path}.key" }}' for path in paths)
    return f"certificates = [{items}]"
