"""What a listener proves itself with: its certificates and keys off the disk, judged, and chosen among. And whom it, or
a group, believes: files of authorities.

The one rule: a private key is in `Certificate.pem`, from where it goes to workers, and never into words.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from time import time
from typing import Any

from nlb.control import named_file, pem
from nlb.model.checks import Wrong
from nlb.model.config import Config, Listener, TargetGroup
from nlb.model.protocols import HTTP
from nlb.model.sketch import Path
from nlb.model.tls import Certificate as Item
from nlb.net.certificate import Certificate, Fault, Pair, blocks, judge
from nlb.net.certificate_names import Served, serve
from nlb.net.certificates import Folder, Found, Source, find, holders, renewed, state

# What https listeners and https targets agree on where nothing else is written.
HTTP_1 = "http/1.1"


@dataclass(frozen=True, eq=False)
class Identity:
    """`found` is what the files hold, `faults` what is wrong with it or the authorities, `certificates` what of it, and
    of before, is good to serve. `seen` is how the files were, `read` when that was, in unix seconds."""

    found: Found = field(repr=False)
    faults: tuple[Fault, ...] = field(repr=False)
    certificates: tuple[Certificate, ...]
    served: Served = field(repr=False)
    client_ca: str = field(repr=False)
    seen: tuple[Any, ...] = field(repr=False)
    read: float

    def __eq__(self, other: object) -> bool:
        """Renewed certificates make no other config."""
        return isinstance(other, Identity)

    __hash__ = None  # type: ignore[assignment]

    @property
    def fingerprints(self) -> frozenset[str]:
        return frozenset(one.fingerprint for one in self.certificates)

    def after(self, before: Identity | None, now: float) -> Identity:
        """The same, with what must stay of `before`: certificates whose successor is bad, or is not valid yet."""
        kept = renewed(before.certificates, self.found, now) if before else self.found.certificates
        if not kept:  # nothing is left, so nothing is taken away
            kept = before.certificates if before else ()
        has_authorities = not any(fault.word == "authorities" for fault in self.faults)
        client_ca = self.client_ca if has_authorities or before is None else before.client_ca
        return replace(self, certificates=kept, served=_served(kept, now), client_ca=client_ca)


def sources(listener: Listener) -> tuple[Source, ...]:
    return tuple(_source(item) for item in listener.certificates)


def _source(item: Item) -> Source:
    return Folder(item.directory) if item.directory else Pair(item.place, item.key_place)


def seen(listener: Listener) -> tuple[Any, ...]:
    """Differs when a file that the listener proves itself with, or believes, is another."""
    authorities = listener.tls.client_ca
    return state([*sources(listener), *([Pair(authorities, authorities)] if authorities else [])])


def read(listener: Listener, now: float) -> Identity:
    """All from the disk. Raises nothing."""
    before = seen(listener)  # first, so that a change meanwhile is seen later
    found = find(sources(listener), now, listener.tls.policy)
    faults, client_ca = list(found.faults), ""
    if path := listener.tls.client_ca:
        try:
            client_ca = authorities(path)
        except ValueError as error:
            faults.append(Fault("authorities", path, f"{path} {error}"))
    good = found.certificates
    return Identity(found, tuple(faults), good, _served(good, now), client_ca, before, now)


def _served(certificates: tuple[Certificate, ...], now: float) -> Served:
    return serve(certificates, now) if certificates else Served((), (), (), ())


def authorities(path: str) -> str:
    """The certificates in a file, as `ssl` takes them: without the words between them, which may be in any language.
    Raises ValueError with a sentence to be put behind the path."""
    content = named_file.read(path, pem.LARGEST)
    found = b"".join(block for label, block in blocks(content) if label.endswith(b"CERTIFICATE")).decode("latin-1")
    try:
        if not found:
            raise ValueError
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ValueError, ssl.SSLError):
        raise ValueError("holds no certificate that can be read; is the file damaged?") from None
    return found


def tls_spec(listener: Listener, identity: Identity) -> dict[str, Any]:
    """What net.tls.ServerContext takes. It has the keys: for workers alone."""
    settings = listener.tls
    return identity.served.spec | {
        "policy": settings.policy,
        "alpn": list(settings.alpn or ([HTTP_1] if listener.protocol in HTTP else [])),
        "client_ca": identity.client_ca,
        "client_auth": settings.client_auth,
        "strict_sni": settings.strict_sni,
    }


def target_tls_spec(group: TargetGroup) -> dict[str, Any]:
    """How workers greet targets of a group that is encrypted."""
    settings = group.target_tls
    return {
        "verify": settings.verify,
        "ca": group.authorities or None,
        "server_name": settings.server_name or "",
        "alpn": list(settings.alpn or ([HTTP_1] if group.protocol in HTTP else [])),
    }


class Identities:
    """Those of a whole config, each read once."""

    def __init__(self) -> None:
        self._identities: dict[str, Identity] = {}
        self._authorities: dict[str, str] = {}

    def mistakes(self, config: Config) -> Iterator[Wrong]:
        """Reads all that a config names, and tells what is wrong with it at the key that names it."""
        now = time()
        for number, listener in enumerate(config.listeners):
            if listener.is_encrypted:
                yield from self._mistakes_of(listener, ("listener", number), now)
        for number, group in enumerate(config.groups):
            if path := group.target_tls.ca:
                yield from self._unbelievable(("target_group", number, "target_tls", "ca"), path)

    def _mistakes_of(self, listener: Listener, path: Path, now: float) -> Iterator[Wrong]:
        where = (*path, "certificates")
        shallow = list(pem.mistakes_of_certificates(where, listener.certificates))
        if listener.tls.client_ca:
            yield from self._unbelievable((*path, "tls", "client_ca"), listener.tls.client_ca)
        if shallow:
            yield from shallow
            return
        identity = read(listener, now)
        is_useless = not any(one.is_valid(now) for one in identity.certificates)
        for fault in identity.faults:
            if fault.word != "authorities" and (not fault.usable or _is_mistake(fault, is_useless)):
                yield Wrong((*where, *_place(listener.certificates, fault)), fault.text)
        if not identity.certificates and not identity.faults:
            better = "put NAME.pem and NAME.key into one, or NAME/fullchain.pem and NAME/privkey.pem"
            yield Wrong(where, f"there is no certificate in these folders; {better}")
        self._identities[listener.name] = identity

    def _unbelievable(self, path: Path, file: str) -> Iterator[Wrong]:
        shallow = list(pem.mistakes_of_authorities(path, file))
        yield from shallow
        if shallow or file in self._authorities:
            return
        try:
            self._authorities[file] = authorities(file)
        except ValueError as error:
            yield Wrong(path, f"{file} {error}")

    def into(self, config: Config) -> Config:
        """The config with what was read for it, which has no mistakes."""
        changes: dict[str, Any] = {}
        if self._identities:
            changes["listeners"] = tuple(
                listener.with_identity(found) if (found := self._identities.get(listener.name)) else listener
                for listener in config.listeners
            )
        if any(group.target_tls.ca for group in config.groups):
            changes["groups"] = tuple(
                group.with_authorities(self._authorities[path]) if (path := group.target_tls.ca) else group
                for group in config.groups
            )
        return config.model_copy(update=changes) if changes else config


def facts(listener: str, identity: Identity, now: float) -> Iterator[dict[str, Any]]:
    """The certificates that a listener shows, for people and programs, without what is secret."""
    served = identity.served
    for number, (one, names) in enumerate(zip(served.certificates, served.names, strict=True)):
        yield {
            "listener": listener,
            "names": [*one.names, *one.addresses],
            "served_for": list(names),
            "default": number in served.default,
            "kind": one.kind,
            "bits": one.bits,
            "not_before": one.not_before,
            "not_after": one.not_after,
            "state": next((fault.word for fault in judge(one, now)), "ok"),
            "file": one.file,
            "fingerprint": one.fingerprint,
            "subject": one.subject,
            "issuer": one.issuer,
            "chain": one.chain,
        }


def warnings(config: Config) -> Iterator[str]:
    """What is wrong with certificates that are served nevertheless, and what of their folders is passed over."""
    for listener in config.listeners:
        identity: Identity | None = listener.identity
        if identity is None:
            continue
        where = f"listener.{listener.name}.certificates"
        yield from (f"{where}: {fault.text}" for fault in identity.found.faults)
        yield from (f"{where}: {said}" for said in (*identity.found.ignored, *identity.served.ignored))


def _is_mistake(fault: Fault, is_useless: bool) -> bool:
    """Where a certificate that holds is beside it, one that does not is worth a warning only."""
    return fault.word == "no_names" or (is_useless and fault.word == "expired")


def _place(items: Iterable[Item], fault: Fault) -> Path:
    """The key, below `certificates`, that names the file which is to blame."""
    for number, item in enumerate(items):
        if item.directory and item.directory in (fault.file, *holders(fault.file)):
            return (number, "directory")
        if item.cert == fault.file:
            return (number, "key") if item.key and fault.text.startswith(f"{item.key}: ") else (number, "cert")
    return ()
