"""Certificates where operators keep them: pairs of files, and directories of pairs. What is passed over is told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nlb.net.certificate import BadPair, Certificate, Fault, Pair, blocks, judge, read_file, read_pair, words_of

_SUFFIXES = (".pem", ".crt")
_KEY_SUFFIX = ".key"
_WATCHED = (*_SUFFIXES, _KEY_SUFFIX)

# In a directory of its own, as certbot lays out its `live`: the certificate with its chain, and its key.
CHAIN, CHAINS_KEY = "fullchain.pem", "privkey.pem"
_CERTBOTS_WORDS = "README"


class Folder(NamedTuple):
    """A directory of pairs: every .pem and .crt with its key in it, or beside it in a .key of the same name; and every
    directory in it with a fullchain.pem and a privkey.pem. Names that begin with a dot are not looked at."""

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
    lost = [one for one in old if not failed.isdisjoint(holders(one.file))]  # of a directory that cannot be read
    return tuple({one.fingerprint: one for one in (*chosen, *lost)}.values())


def _is_worse(new: Certificate, old: Certificate, now: float) -> bool:
    return not new.is_valid(now) or not set(new.doubts) <= set(old.doubts)


def state(sources: Iterable[Source]) -> tuple[Any, ...]:
    """Differs when any file of these has changed, been added or gone; symlinks are followed. 8 us a file."""
    seen: list[Any] = []
    for source in sources:
        for path in _watched(source) if isinstance(source, Folder) else source:
            try:
                about = os.stat(path)
                seen.append((path, about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size))
            except OSError as trouble:
                seen.append((path, trouble.errno))
    return tuple(seen)


def _watched(folder: Folder) -> Iterable[str]:
    try:
        names = sorted(os.listdir(folder.directory))
    except OSError:
        return folder  # the directory itself
    paths = []
    for path in [os.path.join(folder.directory, name) for name in names]:
        if os.path.isdir(path):
            paths += [os.path.join(path, CHAIN), os.path.join(path, CHAINS_KEY)]
        elif path.endswith(_WATCHED):
            paths.append(path)
    return paths


def holders(file: str) -> Iterator[str]:
    """The directories by which a certificate may have been found."""
    directory, name = os.path.split(file)
    yield directory
    if name == CHAIN:
        yield os.path.dirname(directory)


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
        if name in keys or name.startswith(".") or name == _CERTBOTS_WORDS:
            continue
        if os.path.isdir(path):
            yield from _inner(path, faults, ignored)
        elif suffix not in _SUFFIXES:
            ignored.append(f"{path}: not a {' or '.join(_SUFFIXES)} file")
        elif stem + _KEY_SUFFIX in keys:
            stems.add(stem)
            yield Pair(path, os.path.join(directory, stem + _KEY_SUFFIX))
        elif _has_key(path):
            yield Pair(path, path)
        else:
            ignored.append(f"{path}: no key, neither in it nor in {stem}{_KEY_SUFFIX} beside it")
    ignored.extend(
        f"{os.path.join(directory, name)}: a key without a certificate of its name beside it"
        for name in sorted(keys)
        if name.removesuffix(_KEY_SUFFIX) not in stems
    )


def _inner(directory: str, faults: list[Fault], ignored: list[str]) -> Iterable[Pair]:
    """In a directory of a directory: what else is there besides a pair, certbot's cert.pem and chain.pem, is in it."""
    try:
        files = os.listdir(directory)
    except OSError as trouble:
        faults.append(Fault("unreadable", directory, f"{directory}: {words_of(trouble)}"))
        return
    missing = [name for name in (CHAIN, CHAINS_KEY) if name not in files]
    if missing:
        ignored.append(f"{directory}: a directory without {' and '.join(missing)}")
    else:
        yield Pair(os.path.join(directory, CHAIN), os.path.join(directory, CHAINS_KEY))


def _has_key(path: str) -> bool:
    try:
        return any(b"PRIVATE KEY" in label for label, _ in blocks(read_file(path)))
    except BadPair:
        return True  # so that the fault is told
