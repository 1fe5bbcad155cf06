"""A real systemd, the first process of namespaces of its own, over a throw-away copy of this box's root.

Nothing of the box's own services is started and nothing of the box is changed: /proc/sys is read-only in there, since
systemd would set limits that are the kernel's and not a namespace's. nlb is installed where its unit looks for it.
Ending it ends everything in it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import psutil

from tests.waiting import until

Made = TypeVar("Made")

ROOT = Path(__file__).resolve().parents[1]

PATIENCE = 30.0

_SYSTEMD = "/lib/systemd/systemd"
_NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")
_CLONE_NEWNET = 0x40000000

# Arguments: a folder, the repository, python's prefix, the site-packages, python's version, systemd.
_BOOT = r"""
set -eu
T=$1 REPO=$2 PREFIX=$3 PACKAGES=$4 PYTHON=$5 SYSTEMD=$6 R=$1/root
mount -t tmpfs -o mode=755 tmpfs $T
mkdir $T/upper $T/work $R
mount -t overlay overlay -o lowerdir=/,upperdir=$T/upper,workdir=$T/work $R
mount -t proc proc $R/proc
mount --bind $R/proc/sys $R/proc/sys
mount -o remount,bind,ro $R/proc/sys
mount -t sysfs -o ro sysfs $R/sys
mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs $R/dev
for node in null zero full random urandom tty; do touch $R/dev/$node; mount --bind /dev/$node $R/dev/$node; done
mkdir $R/dev/pts $R/dev/shm
mount -t devpts devpts $R/dev/pts
mount -t tmpfs -o mode=1777 tmpfs $R/dev/shm
ln -s /proc/self/fd $R/dev/fd
ln -s pts/ptmx $R/dev/ptmx
mount -t tmpfs -o mode=755 tmpfs $R/run
mount -t tmpfs -o mode=1777 tmpfs $R/tmp
mount -t tmpfs tmpfs $R/etc/systemd/system
printf '[Unit]\nDescription=nothing but what a test starts\n' > $R/etc/systemd/system/nlbtest.target
cp $REPO/systemd/* $R/etc/systemd/system/
# Where DynamicUser keeps what lasts must be empty, as on a new box.
for folder in lib cache log; do mkdir -p $R/var/$folder; mount -t tmpfs -o mode=755 tmpfs $R/var/$folder; done

N=$R/opt/nlb V=$R/opt/nlb/.venv
mkdir -p $N/python $N/packages $N/src $V/bin $V/lib/python$PYTHON/site-packages $R/etc/nlb
chmod 755 $R/opt $N
mount --bind $PREFIX $N/python
mount --bind $PACKAGES $N/packages
cp -r $REPO/nlb $N/src/
printf 'home = /opt/nlb/python/bin\n' > $V/pyvenv.cfg
ln -s /opt/nlb/python/bin/python$PYTHON $V/bin/python
printf '/opt/nlb/src\n/opt/nlb/packages\n' > $V/lib/python$PYTHON/site-packages/nlb.pth
printf '#!/opt/nlb/.venv/bin/python\nfrom nlb.cli import main\nmain()\n' > $V/bin/nlb
# Python may look for its library where it was built, which no service sees.
mkdir $R/etc/systemd/system/nlb.service.d
printf '[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/nlb/python/lib\n' > $R/etc/systemd/system/nlb.service.d/test.conf
chmod -R a+rX,go-w $N/src $V
chmod a+x $V/bin/nlb
env -u PYTHONPYCACHEPREFIX $N/python/bin/python$PYTHON -m compileall -q $N/src

ip link set lo up
cd $R
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other $SYSTEMD --system --unit=nlbtest.target
"""


def missing() -> str:
    """Why it cannot run here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("unshare", "nsenter", "pivot_root", "systemctl", "ip", _SYSTEMD):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if _cgroups() is None:
        return "no cgroup2 file system is mounted"
    return ""


def _cgroups() -> Path | None:
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)


class RealSystemd:
    """Runs from `with` to its end. `folder` is an empty one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        cgroups = _cgroups()
        assert cgroups is not None
        self._cgroup = cgroups / f"nlb-test-{os.getpid()}"
        self._netns = -1
        self.pid = 0  # of the first process in there, as it is called out here

    def __enter__(self) -> RealSystemd:
        self._cgroup.mkdir()
        try:
            self._boot()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _boot(self) -> None:
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        boot = ["bash", "-c", _BOOT, "boot", self._folder, ROOT, sys.base_prefix, packages, version, _SYSTEMD]
        unshare = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "--propagation", "private", *boot]
        enter = ["bash", "-c", f'echo $$ > {self._cgroup}/cgroup.procs; exec "$@"', "enter", *unshare]
        with (self._folder.parent / "systemd.log").open("wb") as log:
            self._process = subprocess.Popen(enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self._process.poll() is not None or self._is_up(), PATIENCE)
        assert self._process.poll() is None, (self._folder.parent / "systemd.log").read_text()
        self._netns = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)

    def _is_up(self) -> bool:
        children = psutil.Process(self._process.pid).children()
        if not children:
            return False
        self.pid = children[0].pid
        return children[0].name() == "systemd" and self.systemctl("is-active", "nlbtest.target").returncode == 0

    def stop(self) -> None:
        """Kill it, and with it all of its namespaces; remove its cgroups."""
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()
        if self._netns >= 0:
            os.close(self._netns)
            self._netns = -1

        def removed() -> bool:
            for folder, _, _ in os.walk(self._cgroup, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    return False  # somebody in it is still dying
            return True

        until(removed, PATIENCE)

    # --- in there

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self.pid), "-p", "-m", "-u", "-i", "-n", "-C", "-r", "-w", "--"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60, check=False)

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", *arguments)

    def show(self, unit: str, fact: str) -> str:
        return self.systemctl("show", "--value", "-p", fact, unit).stdout.strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def path(self, path: str) -> Path:
        """What is `path` in there."""
        return Path(f"/proc/{self.pid}/root{path}")

    def processes(self, unit: str) -> list[psutil.Process]:
        """All of a unit's, as they are called out here."""
        pids = (self._cgroup / "system.slice" / unit / "cgroup.procs").read_text().split()
        return [psutil.Process(int(pid)) for pid in pids if pid != "0"]

    def inside(self, make: Callable[[], Made]) -> Made:
        """What `make` opens is in its network."""

        def run() -> Made:
            self.enter_network()
            return make()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(run).result()

    def enter_network(self) -> None:
        """What this thread opens from now on is in its network."""
        if ctypes.CDLL(None, use_errno=True).setns(self._netns, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
