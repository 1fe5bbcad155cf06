"""Where the daemon's files are when nobody says otherwise. Daemon and `nlb ctl` ask the same functions, so they
meet; nothing here looks whether a file exists.
"""

from __future__ import annotations

from collections.abc import Mapping

CONFIG = "/etc/nlb/nlb.toml"

_SOCKET = "nlb.sock"
_ROOT_SOCKET = "/run/nlb/nlb.sock"


def admin_sockets(env: Mapping[str, str], uid: int, temp: str) -> list[str]:
    """Paths of the admin socket, in order. The first is the one the daemon makes; `nlb ctl` tries them all.

    `temp` is the folder for temporary files. Anyone may make the folder in it that is named here, so the daemon
    makes it with mode 0700, and both sides must see that it belongs to `uid` before they trust it.
    """
    places = []
    if runtime := _first(env.get("RUNTIME_DIRECTORY", "")):
        places.append(f"{runtime}/{_SOCKET}")
    if uid == 0:
        places.append(_ROOT_SOCKET)
    else:
        if runtime := _absolute(env.get("XDG_RUNTIME_DIR", "")):
            places.append(f"{runtime}/nlb/{_SOCKET}")
        places.append(f"{temp.rstrip('/')}/nlb-{uid}/{_SOCKET}")
        places.append(_ROOT_SOCKET)  # a daemon of root's, asked by a member of its group
    return list(dict.fromkeys(places))


def state_dir(env: Mapping[str, str], uid: int, home: str) -> str:
    """The folder for what must outlive a restart."""
    if state := _first(env.get("STATE_DIRECTORY", "")):
        return state
    if uid == 0:
        return "/var/lib/nlb"
    state = _absolute(env.get("XDG_STATE_HOME", "")) or f"{home.rstrip('/')}/.local/state"
    return f"{state}/nlb"


def _first(folders: str) -> str:
    """systemd gives several folders with colons between them."""
    return _absolute(folders.partition(":")[0])


def _absolute(folder: str) -> str:
    """The XDG rules: a relative path is as good as none."""
    return folder.rstrip("/") if folder.startswith("/") else ""
