"""The files of networks that `deny` and `allow` of the shield name. They are read with the config: a list that cannot
be read is a mistake in it, for without it everybody would be let in.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping

from nlb.control import named_file
from nlb.errors import NlbError
from nlb.model.checks import Wrong
from nlb.model.config import Config
from nlb.model.network_list import LARGEST_LIST, NetworkFile, NetworkList, read_list
from nlb.model.shield import Shield
from nlb.model.sketch import Path
from nlb.shield.cidr import Networks


def read(path: str) -> NetworkList:
    """The networks in a file. Raises ValueError with a sentence to be put behind its path."""
    content = named_file.read(path, LARGEST_LIST)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"has a byte at {error.start} that is not UTF-8; is this a list of networks?") from None
    return NetworkList(Networks(read_list(text)).parts())


# Path -> what is in the file, or what is wrong with it.
Contents = Mapping[str, NetworkList | str]

# Seconds for files that cannot be read to their end, such as some on a network that is away.
_PATIENCE = 60.0


def read_aside(paths: list[str]) -> Contents:
    """Reads files in a process beside: 100,000 networks would take 0.4 s of ours. Blocks: for a thread, which waits and
    holds no lock. Raises NlbError."""
    command = [sys.executable, "-m", "nlb.control.lists", *paths]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NlbError(f"files of networks could not be read: {error}") from None
    contents: Contents = pickle.loads(done.stdout)  # from our own child, which ran our own code
    return contents


def in_config(config: Config) -> dict[str, NetworkList]:
    """All files of networks, with what they had when they were read."""
    shields = (config.shield, *(listener.shield for listener in config.listeners))
    return {path: content for shield in shields for path, content in shield.lists.items()}


def with_contents(config: Config, contents: Mapping[str, NetworkList]) -> Config:
    """The same, where these files have other contents."""

    def renewed(shield: Shield) -> Shield:
        return shield.with_lists({**shield.lists, **contents}) if contents.keys() & shield.lists.keys() else shield

    listeners = tuple(
        listener if shield is listener.shield else listener.with_shield(shield)
        for listener in config.listeners
        for shield in (renewed(listener.shield),)
    )
    return config.model_copy(update={"shield": renewed(config.shield), "listeners": listeners})


class Lists:
    """Each file is read once, however many listeners name it."""

    def __init__(self) -> None:
        self._found: dict[str, NetworkList | ValueError] = {}

    def mistakes(self, where: Path, shield: Shield) -> Iterator[Wrong]:
        """Reads the files of a shield, and tells what is wrong with them at the keys that name them. `where` is the
        path of its table; of a listener's only its own keys are in it."""
        for key in ("deny", "allow"):
            items: tuple[str | NetworkFile, ...] = getattr(shield, key) if key in shield.model_fields_set else ()
            for number, item in enumerate(items):
                if isinstance(item, NetworkFile) and (trouble := self._trouble_with(item.path)):
                    yield Wrong((*where, key, number, "file"), f"{item.path} {trouble}")

    def into(self, shield: Shield) -> Shield:
        """The shield with the networks of its files, which have no mistakes."""
        if not shield.files:
            return shield
        return shield.with_lists({path: self._content(path) for path in shield.files})

    def _trouble_with(self, path: str) -> ValueError | None:
        if path not in self._found:
            try:
                self._found[path] = read(path)
            except ValueError as error:
                self._found[path] = error
        found = self._found[path]
        return found if isinstance(found, ValueError) else None

    def _content(self, path: str) -> NetworkList:
        content = self._found[path]
        assert isinstance(content, NetworkList)
        return content


def main() -> None:
    """`python -m nlb.control.lists PATH...`, for `read_aside`."""
    contents: dict[str, NetworkList | str] = {}
    for path in sys.argv[1:]:
        try:
            contents[path] = read(path)
        except ValueError as error:
            contents[path] = str(error)
    sys.stdout.buffer.write(pickle.dumps(contents, protocol=5))


if __name__ == "__main__":
    main()
