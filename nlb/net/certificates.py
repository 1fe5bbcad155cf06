"""Certificates where operators keep them: pairs of files, and directories of pairs. What is passed over is told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from nlb.net.certificate import BadPair, Certificate, Fault, Pair, blocks, judge, read_file, read_pair, words_of

_SUFFIXES = (".pem", ".crt")
_KEY_SUFFIX = ".key"
_WATCHED = (*_SUFFIXES, _KEY_SUFFIX)


class Folder(NamedTuple):
    """A directory of pairs: every .pem and .crt with its key in it, or beside it in a .key of the same name. Names that
    begin with a dot are not looked at."""

    directory: str


Source = Pair | Folder


@dataclass(frozen=True, slots=True)
class Found:
    """All that sources hold. `files` are those of certificates that were looked for, good or bad; `ignored` are
    sentences about what was passed over."""

    files: tuple[str, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    faults: tuple[Fault, ...] = ()
    ignored: tuple[str, ...] = ()


def find(sources: Iterable[Source], now: float, policy: str = "intermediate") -> Found:
    """All of these, in their order, directories by name. Raises nothing: what is wrong is in the result."""
    files: list[str] = []
    certificates: dict[str, Certificate] = {}
    faults: list[Fault] = []
    ignored: list[str] = []
    for pair in _pairs(sources, faults, ignored):
        files.append(pair.cert)
        try:
            certificate, doubts = read_pair(pair, policy)
        except BadPair as bad:
            faults.append(Fault(bad.word, pair.cert, str(bad)))
            continue
        if (same := certificates.get(certificate.fingerprint)) is not None:
            if same.file != certificate.file:
                ignored.append(f"{certificate.file}: the same certificate as {same.file}")
            continue
        certificates[certificate.fingerprint] = certificate
        faults += doubts
        faults += judge(certificate, now)
    return Found(tuple(files), tuple(certificates.values()), tuple(faults), tuple(ignored))


def renewed(old: Sequence[Certificate], found: Found, now: float) -> tuple[Certificate, ...]:
    """What to serve when files have changed: what was found; but where a file's new certificate is bad, or is worse
    than the old one while that is valid, the old one goes on. So ask again from time to time, not on change only."""
    before = {one.file: one for one in old}
    new = {one.file: one for one in found.certificates}
    failed = {fault.file for fault in found.faults if not fault.usable}
    chosen = []
    for file in found.files:
        ours, theirs = before.get(file), new.get(file)
        if theirs is None:
            theirs = ours if file in failed else None
        elif ours is not None and ours.is_valid(now) and _is_worse(theirs, ours, now):
            theirs = ours
        if theirs is not None:
            chosen.append(theirs)
    lost = [one for one in old if os.path.dirname(one.file) in failed]  # of a directory that cannot be read
    return tuple({one.fingerprint: one for one in (*chosen, *lost)}.values())


def _is_worse(new: Certificate, old: Certificate, now: float) -> bool:
    return not new.is_valid(now) or not set(new.doubts) <= set(old.doubts)


def state(sources: Iterable[Source]) -> tuple[Any, ...]:
    """Differs when any file of these has changed, been added or gone; symlinks are followed. 5 us a file."""
    seen: list[Any] = []
    for source in sources:
        paths: Iterable[str] = source
        if isinstance(source, Folder):
            with suppress(OSError):
                names = sorted(os.listdir(source.directory))
                paths = [os.path.join(source.directory, name) for name in names if name.endswith(_WATCHED)]
        for path in paths:
            try:
                about = os.stat(path)
                seen.append((path, about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size))
            except OSError as trouble:
                seen.append((path, trouble.errno))
    return tuple(seen)


# --- files


def _pairs(sources: Iterable[Source], faults: list[Fault], ignored: list[str]) -> Iterable[Pair]:
    for source in sources:
        if isinstance(source, Pair):
            yield source
        else:
            yield from _folder(source.directory, faults, ignored)


def _folder(directory: str, faults: list[Fault], ignored: list[str]) -> Iterable[Pair]:
    try:
        files = sorted(os.listdir(directory))
    except OSError as trouble:
        faults.append(Fault("unreadable", directory, f"{directory}: {words_of(trouble)}"))
        return
    keys = {name for name in files if name.endswith(_KEY_SUFFIX)}
    stems = set()
    for name in files:
        path = os.path.join(directory, name)
        stem, suffix = os.path.splitext(name)
        if name in keys or name.startswith("."):
            continue
        if suffix not in _SUFFIXES:
            ignored.append(f"{path}: not a {' or '.join(_SUFFIXES)} file")
        elif stem + _KEY_SUFFIX in keys:
            stems.add(stem)
            yield Pair(path, os.path.join(directory, stem + _KEY_SUFFIX))
        elif os.path.isdir(path):
            ignored.append(f"{path}: a directory")
        elif _has_key(path):
            yield Pair(path, path)
        else:
            ignored.append(f"{path}: no key, neither in it nor in {stem}{_KEY_SUFFIX} beside it")
    ignored.extend(
        f"{os.path.join(directory, name)}: a key without a certificate of its name beside it"
        for name in sorted(keys)
        if name.removesuffix(_KEY_SUFFIX) not in stems
    )


def _has_key(path: str) -> bool:
    try:
        return any(b"PRIVATE KEY" in label for label, _ in blocks(read_file(path)))
    except BadPair:
        return True  # so that the fault is told
