"""`nlb serve`: the composition root. It makes control's parts, joins them, and runs the loop until a signal."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import resource
import signal
import socket
import stat
import sys
import tempfile
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import click

from nlb.admin.server import AdminServer
from nlb.control import config_file
from nlb.control.activation import ADMIN_SOCKET, ADMIN_WEB, Activation
from nlb.control.blocking import Blocking
from nlb.control.blocks import Blocks
from nlb.control.content_watch import AUTHORITIES, LISTS, ContentWatch
from nlb.control.controller import Controller
from nlb.control.desk import Desk
from nlb.control.listening import Listening
from nlb.control.naming import Naming
from nlb.control.notify import Notifier
from nlb.control.operator import Operator
from nlb.control.orphans import Orphans
from nlb.control.overrides import Overrides
from nlb.control.refusals import Refusals
from nlb.control.reload import Done, Reloader, Running
from nlb.control.renewal import Renewal
from nlb.control.secret import secret
from nlb.control.snapshot import Reporter, shields
from nlb.control.state import StateDir
from nlb.control.supervisor import GRACE, Supervisor
from nlb.control.watchdog import Watchdog
from nlb.errors import AdminError, StartError
from nlb.model import places
from nlb.model.address import Address
from nlb.model.config import Config, Log
from nlb.model.limits import max_connections
from nlb.model.merge import merge
from nlb.net.loop import Loop
from nlb.net.sockets import bound_to, listen
from nlb.observe.log import Events
from nlb.observe.outlet import open_outlet

if TYPE_CHECKING:
    from nlb.admin.web import WebServer

# Seconds between attempts to write what a reader of the log was too slow for, and that it has at the end.
FLUSH_EVERY = 1.0
LAST_LINES = 0.5

# Seconds for workers of a killed control to knock, when an address is taken: perhaps it is they who have it.
KNOCKS = 1.0

# Seconds beyond the sessions' time and the workers' grace until this process has ended.
SPARE = 3.0


@click.command()
@click.option("-c", "--config", "path", default=places.CONFIG, show_default=True, help="The config file.")
@click.option(
    "--no-orphans",
    is_flag=True,
    help="Workers end when this process is killed. Without it they serve on until nlb is started again, for a minute.",
)
def serve(path: str, no_orphans: bool) -> None:
    """Run the balancer in the foreground: one control process and its workers.

    SIGTERM or Ctrl-C stops accepting and lets sessions finish within shutdown_timeout; a second one ends them at once.
    """
    # systemd's watchdog kills by SIGABRT: where we stood then is worth knowing.
    if sys.stderr:
        faulthandler.enable()
    config, digest = config_file.read_hashed(path)
    Server(Running(os.path.abspath(path), digest, config), not no_orphans).run()


class Server:
    """Everything of the control process, made and joined."""

    def __init__(self, running: Running, orphans_serve_on: bool = True) -> None:
        """Raises StartError when an address is taken or a right is missing."""
        config = running.config
        self._loop = loop = Loop()
        self._notifier = Notifier()
        default = places.admin_sockets(os.environ, os.getuid(), tempfile.gettempdir())[0]
        self._admin_path = config.admin.socket or default
        workers = usable_cores() if config.workers == "auto" else config.workers
        limit = max_connections(raise_descriptor_limit()) * workers
        self._events = events = Events()
        open_logs(events, config.log)
        self._activation = Activation(os.environ, os.getpid(), lambda text: events.say("warning", "nlb", text))
        self._admin_given = self._activation.claim(ADMIN_SOCKET, Address("", 0, self._admin_path))
        self._orphans = Orphans(loop, events)
        admin_socket = self._admin_given or listen_admin(self._admin_path)
        self._admin = AdminServer(loop, admin_socket, None, on_knock=self._orphans.knocked)
        state = state_dir(config, events)
        overrides = remembered(state, events)
        merged = merge(config, overrides.changes())
        web_socket = self._web_socket(config.admin.web)
        listening = self._listen(merged.config, workers)
        door = self._admin_path if orphans_serve_on else None
        self._naming = naming = Naming(loop, events, random.Random())
        config = naming.first(merged.config).config
        key = secret(state, os.urandom)
        self._supervisor = supervisor = Supervisor(
            loop, config, workers, limit, events, listening, self._orphans, door, key
        )
        self._controller = controller = Controller(loop, config, supervisor, events, random.Random(), overrides)
        supervisor.decider = controller
        blocking = Blocking(loop, Blocks(state, events.say), events, supervisor.tell)
        supervisor.blocks, supervisor.offended = blocking.message, blocking.offended
        overrides.drop_void(merged.void)
        overrides.drop_moved((item.target.group, item.target.name, item.target.address) for item in controller.members)
        self._reloader = Reloader(controller, supervisor, overrides, naming, running)
        naming.join(controller, self._reloader.renew)
        operator = Operator(controller, overrides, self._reloader)
        reporter = Reporter(controller, supervisor, running, overrides, naming, blocking.counts)
        desk = Desk(controller, operator, reporter, self._reloader, overrides, key, blocking)
        self._admin.controller = desk
        self._web = web_server(web_socket, desk) if web_socket else None
        self._web_address = bound_to(web_socket) if web_socket else None
        self._watchdog = Watchdog(loop, supervisor, self._notifier)
        self._renewal = Renewal(loop, listening, supervisor.certify, events)
        self._refusals = Refusals(loop, lambda: shields(listening.listeners.values(), supervisor.rows), events)
        self._list_watch = ContentWatch(loop, lambda: running.config, self._reloader.relist, events, LISTS)
        self._trust_watch = ContentWatch(loop, lambda: running.config, self._trust, events, AUTHORITIES)
        self._announced = False

    def run(self) -> None:
        """Serve until a signal; returns when everything has ended."""
        loop, controller = self._loop, self._controller
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.post(controller.stop, controller))
        signal.signal(signal.SIGHUP, lambda *_: loop.post(self._reload, controller))
        signal.signal(signal.SIGUSR1, lambda *_: loop.post(self._reopen_log, controller))
        loop.call_at(loop.now + FLUSH_EVERY, self._flush_log, self._controller)
        controller.on_change = self._announce
        if self._web:
            self._web.start()
        self._supervisor.start()
        controller.start()
        self._watchdog.start()
        self._list_watch.start()
        self._trust_watch.start()
        self._refusals.start()
        self._renewal.start()
        self._say_where()
        loop.run()
        self._events.say("info", "nlb", "stopped")
        self._close()

    def _web_socket(self, address: Address | None) -> socket.socket | None:
        if address is None:
            return None
        try:
            return self._activation.claim(ADMIN_WEB, address) or listen(address, 1)[0]
        except StartError as error:
            raise StartError(f"admin.web: {error}") from None

    def _listen(self, config: Config, workers: int) -> Listening:
        given = self._activation.given
        try:
            return Listening(config, workers, given)
        except StartError:
            left = self._orphans.gather(KNOCKS)
            if not left:
                raise
            return Listening(config, workers, given, left)

    def _trust(self, config: Config, done: Done) -> None:
        """Files of authorities have another content."""
        self._reloader.relist(config, done, "authorities")

    def _reload(self) -> None:
        """SIGHUP: nobody waits for the answer, so the log must tell it; it does, whatever happens."""
        try:
            self._reloader.reload("SIGHUP", lambda result: None)
        except AdminError as error:
            self._events.say("warning", "nlb", f"SIGHUP: {error}")

    def _reopen_log(self) -> None:
        """SIGUSR1: somebody moved the files away and expects new ones."""
        if self._supervisor.open_log(self._controller.config.log):
            self._events.say("info", "operator", "log files opened anew, SIGUSR1")

    def _flush_log(self) -> None:
        """Lines that could not be written at once, by their event."""
        self._loop.call_at(self._loop.now + FLUSH_EVERY, self._flush_log, self._controller)
        self._events.log.flush()

    def _say_where(self) -> None:
        for opened in self._supervisor.listening.listeners.values():
            self._events.say("info", "nlb", f"listener {opened.name} on {', '.join(opened.binds)}")
        for given in self._supervisor.listening.unused:
            self._events.say("warning", "nlb", f"the inherited socket {given} is no listener's: whoever connects waits")
        self._events.say("info", "nlb", f"admin socket {self._admin_path}")
        if self._web:
            self._events.say("info", "nlb", f"status page and metrics on http://{self._web_address}/")

    def _announce(self) -> None:
        """Tell systemd, and once the log, how we are."""
        state = self._controller.state
        targets = [target for group in self._controller.groups.values() for target in group.balance.targets]
        status = f"{sum(target.usable for target in targets)} of {len(targets)} targets usable"
        if all(worker.state == "running" for worker in self._supervisor.workers):
            self._orphans.dismiss(self._supervisor.listening.identities)
        if state == "stopping":
            self._notifier.stopping(self._controller.config.shutdown_timeout + GRACE + SPARE)
        elif state == "running" and not self._announced:
            self._announced = True
            self._notifier.ready(status)
            self._events.say("info", "nlb", f"ready: {status}")
        elif state == "running":
            self._notifier.status(status)

    def _close(self) -> None:
        if self._web:
            self._web.stop()
        self._admin.close()
        if not self._admin_given:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._admin_path)
        self._naming.stop()
        self._loop.close()
        self._events.log.close(patience=LAST_LINES)


def web_server(sock: socket.socket, desk: Desk) -> WebServer:
    """Its libraries take a fifth of the whole start, and 10 MB: who wants no page does not pay for it."""
    from nlb.admin.web import WebServer, asker

    return WebServer(sock, asker(desk))


def open_logs(events: Events, log: Log) -> None:
    """Control's own, and a look whether the workers will be able to open theirs. Raises StartError."""
    for key, place in (("file", log.file), ("access_file", log.access_file)):
        try:
            open_outlet(place).close()
        except StartError as error:
            raise StartError(f"log.{key}: {error}") from None
    events.log.open(log.format, log.file)


def state_dir(config: Config, events: Events) -> StateDir:
    return StateDir(config.admin.state_dir or places.state_dir(os.environ, os.getuid(), str(Path.home())), events.say)


def remembered(state: StateDir, events: Events) -> Overrides:
    """What the operator changed in earlier runs and has not ended since."""
    overrides = Overrides(state, events.say)
    for ended in overrides.expire(time()):
        events.say("info", "operator", f"{ended.label}: {ended} ended while nlb was down")
    return overrides


def usable_cores() -> int:
    """Cores that this process may run on: those of its cpuset, not those of the box."""
    return len(os.sched_getaffinity(0))


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; workers inherit it. Returns the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def listen_admin(path: str) -> socket.socket:
    """The admin socket, mode 0660: its file's owner and group may operate nlb.

    Makes its folder when that is missing: 0755, or 0700 for our own one under the temp folder. Raises StartError.
    """
    folder = Path(path).parent
    private = folder == Path(tempfile.gettempdir(), f"nlb-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700 if private else 0o755, exist_ok=True)
    except OSError as error:
        raise StartError(f"admin.socket: cannot make the folder {folder}: {os.strerror(error.errno or 0)}") from None
    if private:
        _check_private(folder)
    before = os.umask(0o117)
    try:
        return listen(Address("", 0, path), 1)[0]
    except StartError as error:
        raise StartError(f"admin.socket: {error}; is another nlb running?") from None
    finally:
        os.umask(before)


def _check_private(folder: Path) -> None:
    """A folder in a place where everybody may write must be ours alone, or somebody could swap the socket."""
    about = folder.lstat()
    if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode) or about.st_mode & 0o077:
        raise StartError(f"admin.socket: {folder} is not a 0700 folder of this user; remove it")
