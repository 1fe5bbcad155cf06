"""Asking a running nlb something, over its admin socket. Blocks, but never longer than its patience.

Whatever may be at the other end (nobody, a stuck daemon, one of another version, another program), the caller
gets an answer or one sentence that says what is wrong.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import stat
from collections.abc import Mapping
from typing import Any

from nlb import __version__
from nlb.errors import AdminError, NlbError
from nlb.model.places import admin_sockets

PATIENCE = 5.0  # seconds without a byte of the answer
LONGEST_ANSWER = 256 * 1024 * 1024  # bytes: more than every target that nlb can have
CHUNK = 256 * 1024


class NoDaemonError(NlbError):
    """Nobody answers as nlb does: not running, stuck, or another program."""


class Client:
    """One connection. `ask` as often as needed; close it at the end."""

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        """Raises OSError when nobody listens at `path`."""
        self.path = path
        self.version: object = __version__  # of the daemon, once it has answered
        self._patience = patience
        self._rest = b""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.settimeout(patience)
            self._sock.connect(path)
        except BaseException:
            self._sock.close()
            raise

    def ask(self, verb: str, args: Mapping[str, object]) -> Any:
        """The answer's data. Raises AdminError with the daemon's words when it refuses, NoDaemonError when no
        answer comes."""
        try:
            request = json.dumps({"verb": verb, "args": dict(args)})
            try:
                self._sock.sendall(f"{request}\n".encode())
            except BrokenPipeError:
                pass  # closed already, perhaps after saying why: that is read below
            line = self._line()
        except TimeoutError:
            raise NoDaemonError(
                f"the daemon at {self.path} did not answer within {self._patience:g} s; is it stopped or overloaded?"
            ) from None
        except OSError as error:
            raise NoDaemonError(f"the daemon at {self.path} went away: {error.strerror}") from None
        return self._data(line)

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _line(self) -> bytes:
        parts = [self._rest]
        length = 0
        while b"\n" not in parts[-1]:
            received = self._sock.recv(CHUNK)
            length += len(received)
            if not received:
                raise NoDaemonError(f"the daemon at {self.path} went away before it had answered")
            if length > LONGEST_ANSWER:
                raise self._strange()
            parts.append(received)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line

    def _data(self, line: bytes) -> Any:
        try:
            answer = json.loads(line)
            self.version = answer["version"]
            if answer["ok"]:
                return answer["data"]
            text = str(answer["error"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._strange() from None
        raise AdminError(text + another_version(self.version))

    def _strange(self) -> NoDaemonError:
        return NoDaemonError(f"what answers at {self.path} does not speak as nlb does; is it another program's socket?")


def another_version(version: object) -> str:
    """A remark for errors that may come from a daemon that is older or newer than this program."""
    return "" if version == __version__ else f" (the daemon is nlb {version}, this is nlb {__version__})"


def find(given: str | None, env: Mapping[str, str], uid: int, temp: str, patience: float = PATIENCE) -> Client:
    """Connect to the daemon: at the socket that was given, else at $NLB_SOCKET, else at the first default place
    where one listens. Raises NoDaemonError that names every socket tried, and AdminError where we have no right."""
    named = given or env.get("NLB_SOCKET")
    tried = []
    for path in [named] if named else admin_sockets(env, uid, temp):
        if not named and (owner := stranger(os.path.dirname(path), uid)) is not None:
            tried.append(f"{path} (its folder belongs to {_user(owner)})")
            continue
        try:
            return Client(path, patience)
        except PermissionError:
            raise AdminError(_forbidden(path)) from None
        except FileNotFoundError:
            tried.append(f"{path} (not there)")
        except ConnectionRefusedError:
            tried.append(f"{path} (nobody listens)")
        except (BlockingIOError, TimeoutError):
            tried.append(f"{path} (does not accept)")
        except OSError as error:
            tried.append(f"{path} ({error.strerror or error})")
    hint = "" if named else "; is it running? `nlb ctl --socket PATH` or NLB_SOCKET name another place"
    raise NoDaemonError(f"no nlb daemon answers, tried {', '.join(tried)}{hint}")


def stranger(folder: str, uid: int) -> int | None:
    """The user id of somebody else who owns `folder`, where it lies in one that everyone may write to, like /tmp:
    whoever made it first could answer in our place, or ask in ours."""
    try:
        owner = os.lstat(folder).st_uid
        open_to_all = os.stat(os.path.dirname(folder)).st_mode & stat.S_IWOTH
    except OSError:
        return None
    return owner if open_to_all and owner not in (0, uid) else None


def _forbidden(path: str) -> str:
    """Whose socket it is, as far as it can be seen, and what to do."""
    try:
        facts = os.stat(path)
    except OSError:
        return f"no right to look at {path}: run this as the user who runs nlb, or with sudo"
    owner = f"{_user(facts.st_uid)}:{_group(facts.st_gid)}, mode {stat.S_IMODE(facts.st_mode):04o}"
    return f"no right to use {path} ({owner}): run this as that user, as a member of that group, or with sudo"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
