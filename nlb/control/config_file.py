"""The config file, and the files that it names: their bytes off the disk. What the text means is `model/parse.py`'s;
here is only what can go wrong before there is a text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain

from nlb.balance import trial
from nlb.control.certificates import Identities
from nlb.control.lists import Lists
from nlb.control.pages import Pages
from nlb.errors import ConfigError, Mistake
from nlb.model.checks import Wrong
from nlb.model.config import Config
from nlb.model.parse import parse

# Room for some 50,000 targets, more than are allowed. What is larger is not a config.
LARGEST = 8 << 20


class NoConfigError(ConfigError):
    """There is no text to point into: the file is missing, unreadable or no config at all."""

    def __init__(self, filename: str, message: str) -> None:
        super().__init__(filename, [])
        self.args = (f"{filename}: {message}",)


def read(path: str | os.PathLike[str]) -> Config:
    """Read and check a config. Raises ConfigError: a daemon never starts on defaults because a file is missing."""
    return read_hashed(path)[0]


def read_hashed(path: str | os.PathLike[str]) -> tuple[Config, str]:
    """As `read`, and a hash of the text, short enough to be compared by eye."""
    name = os.fspath(path)
    text, pages, lists, identities = _text(name), Pages(), Lists(), Identities()

    def mistakes(config: Config) -> Iterator[Wrong]:
        return chain(
            trial.mistakes(config), pages.mistakes(config), _networks(config, lists), identities.mistakes(config)
        )

    config = _with_networks(pages.into(parse(text, name, mistakes)), lists)
    return identities.into(config), sha256(text.encode()).hexdigest()[:12]


def _networks(config: Config, lists: Lists) -> Iterator[Wrong]:
    yield from lists.mistakes(("shield",), config.shield)
    for number, listener in enumerate(config.listeners):
        yield from lists.mistakes(("listener", number, "shield"), listener.shield)


def _with_networks(config: Config, lists: Lists) -> Config:
    if config.shield.files:
        config = config.model_copy(update={"shield": lists.into(config.shield)})
    if not any(listener.shield.files for listener in config.listeners):
        return config
    listeners = tuple(listener.with_shield(lists.into(listener.shield)) for listener in config.listeners)
    return config.model_copy(update={"listeners": listeners})


def _text(name: str) -> str:
    try:
        with open(name, "rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise NoConfigError(name, "there is no such file; begin with a copy of conf/minimal.toml") from None
    except PermissionError:
        raise NoConfigError(name, "this user may not read it; see the mode of the file and of its folders") from None
    except IsADirectoryError:
        raise NoConfigError(name, f"this is a folder; name a file in it, such as {name.rstrip('/')}/nlb.toml") from None
    except OSError as error:
        raise NoConfigError(name, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    except ValueError:  # a NUL byte in the name
        raise NoConfigError(name, "this cannot be the name of a file") from None
    if len(content) > LARGEST:
        raise NoConfigError(name, f"larger than {LARGEST >> 20} MiB, so this is not a config")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(name, [_not_utf8(content, error)]) from None


def _not_utf8(content: bytes, error: UnicodeDecodeError) -> Mistake:
    before = content[: error.start].decode()
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return Mistake(line, column, "", f"byte 0x{content[error.start]:02x} is not UTF-8; save the file in UTF-8")
