"""Namespaces of Linux: a network without a way out, and hosts that can be killed whole.

`apart` puts a command in a namespace of networks that has a loopback device only, and of
processes, so that nothing it starts outlives it. `host` does so for one host of a simulated
cluster: with a name and a disk, and with processes that all end when its first one is killed.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_SET_FLAGS, _UP = 0x8914, 0x1
_PROCESSES = ("--pid", "--fork", "--kill-child", "--mount-proc")
# Gives a host its name and its disk, and stays its first process.
_FIRST_PROCESS = """
import socket, subprocess, sys
name, disk, place, *command = sys.argv[1:]
socket.sethostname(name)
with open(disk + "/hosts", "w") as hosts:
    hosts.write(f"127.0.0.1 localhost {name}\\n")
subprocess.run(["mount", "--bind", disk + "/hosts", "/etc/hosts"], check=True)
subprocess.run(["mount", "--bind", disk, place], check=True)
sys.exit(subprocess.call(command))
"""


def apart(command: Sequence[str]) -> list[str]:
    """The command in a network and among processes of its own."""
    # Who is not root may do all this in a namespace of users.
    rights = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    return ["unshare", *rights, "--net", *_PROCESSES, "--", *command]


def missing_namespaces() -> str | None:
    """Why a command cannot be run apart here; None where it can."""
    try:
        done = subprocess.run(
            apart([sys.executable, "-m", __name__]),
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "unshare (util-linux) is not installed"
    if done.returncode:
        words = done.stderr.strip().splitlines()
        return f"no namespaces here: {words[-1] if words else done.returncode}"
    return None


def raise_loopback() -> None:
    """Switch on the loopback device of a new network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))


def host(name: str, command: Sequence[str], *, disk: Path, place: Path) -> list[str]:
    """The command as the first that a host runs.

    Args:
        name: of the host.
        command: with its arguments.
        disk: a folder that is the host's alone.
        place: an empty folder, the same for all hosts; each finds its own disk there.
    """
    first = [sys.executable, "-c", _FIRST_PROCESS, name, str(disk), str(place)]
    return ["unshare", "--uts", *_PROCESSES, "--", *first, *command]


def on_host(process: int, command: Sequence[str], *, folder: Path) -> list[str]:
    """The command in a folder of a host whose first process is given."""
    enter = ["nsenter", f"--target={process}", "--uts", "--pid", "--mount", "--"]
    # Who enters begins in the topmost folder.
    return [*enter, "env", f"--chdir={folder}", *command]


if __name__ == "__main__":
    raise_loopback()
    with tempfile.TemporaryDirectory() as folder:
        disk, place = Path(folder, "disk"), Path(folder, "place")
        disk.mkdir()
        place.mkdir()
        sys.exit(subprocess.call(host("host", ["true"], disk=disk, place=place)))
