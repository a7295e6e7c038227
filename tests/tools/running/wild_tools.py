"""Tools that do what no tool should; the process of a tool imports a copy of this file."""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError, TransientToolError
from tools.protocol import Document, Preselection, Proposal

# Not all of these are open in the process of a tool.
DESCRIPTORS = range(3, 64)
LATER = f"""
import os, time
from contextlib import suppress
time.sleep(0.3)
for descriptor in {DESCRIPTORS}:
    with suppress(OSError):
        os.write(descriptor, b"{{}}" + bytes([10]))
"""


def write_everywhere(line):
    for descriptor in DESCRIPTORS:
        with suppress(OSError):
            os.write(descriptor, line)


def keep(wait):
    held = [bytes(1000) for _ in range(100)]
    wait.wait()
    held.clear()


class Wild(Tool):
    """Does what the first word of its argument says, with the rest of it."""

    name, version, description = "Wild", "1", "Does anything."
    prompt = "its prompt"

    def __init__(self, mark="!"):
        self.mark = mark
        self.tries = 0

    def parse_arguments(self, text):
        if text == "bad":
            raise CallSyntaxError("too_bad", "It is bad.")
        return text.strip()

    def check_position(self, arguments, *, before, after):
        if arguments in after:
            raise CallSyntaxError("look_ahead", "It stands behind.")

    def preselect(self, document):
        return Preselection(document.published_on is not None, "dated")

    def cache_key(self, document):
        return (document.document_id,)

    def call(self, arguments, document):
        do, _, what = arguments.partition(" ")
        answer = getattr(self, f"do_{do}", lambda _: None)(what)
        return f"{arguments}{self.mark}{document.text}" if answer is None else answer

    def do_hang(self, _):
        time.sleep(1000)

    def do_exit(self, status):
        os.write(1, b"out of words\n")
        os._exit(int(status or 3))

    def do_segfault(self, _):
        ctypes.string_at(0)

    def do_quit(self, _):
        sys.exit("enough")

    def do_raise(self, _):
        return self.stumble()

    def stumble(self):
        return json.loads("no JSON")

    def do_refuse(self, _):
        raise ToolCallError("refused", "No.")

    def do_later(self, _):
        raise ToolCallError("refused", "Not now.", is_permanent=False)

    def do_busy(self, _):
        self.tries += 1
        if self.tries < 3:
            raise TransientToolError("Busy.")

    def do_large(self, _):
        return "x" * 100_000_000

    def do_memory(self, _):
        return str(len(bytearray(2**30)))

    def do_threads(self, _):
        wait = threading.Event()
        for _ in range(64):
            threading.Thread(target=keep, args=(wait,)).start()
        status = Path("/proc/self/status").read_text()
        wait.set()
        return status.split("VmPeak:")[1].split()[0]

    def do_streams(self, _):
        sys.stdout.write("noise")
        sys.stdout.flush()
        os.write(1, b"more noise")
        sys.stderr.write("x" * 1_000_000)
        return f"read {sys.stdin.read()!r}"

    def do_surrogate(self, _):
        return "half \ud800 pair"

    def do_spawn(self, what):
        seconds, _, then = what.partition(" ")
        # The second has lost its parent.
        subprocess.Popen(["sleep", seconds], start_new_session=True)
        subprocess.run(["sh", "-c", f"sleep {seconds} &"], check=True)
        self.call(then, Document("", ""))

    def do_connect(self, port):
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=2).close()
        except OSError as error:
            return f"refused: {type(error).__name__}"
        return "connected"

    def do_fork(self, _):
        # The parent comes back later.
        time.sleep(0.3 if os.fork() else 0.0)

    def do_forked(self, _):
        if os.fork() == 0:
            write_everywhere(b'{"answer": "of the child"}\n')
            os._exit(0)
        os.wait()

    def do_forge(self, times):
        write_everywhere(b'{"answer": "forged"}\n' * int(times))

    def do_length(self, _):
        write_everywhere(bytes([0, 0, 0, 30]))

    def do_delayed(self, _):
        for descriptor in DESCRIPTORS:
            with suppress(OSError):
                os.set_inheritable(descriptor, True)
        subprocess.Popen([sys.executable, "-c", LATER], close_fds=False)

    def do_environment(self, _):
        return " ".join(sorted(os.environ))


class Online(Wild):
    name = "Online"
    needs_network = True


class Proposing(Wild):
    name = "Proposing"
    proposals_version = "p1"

    def proposals(self, document):
        yield Proposal(document.text.index("text"), "it")
        while True:
            yield Proposal(99)


class Careless(Wild):
    name = "Careless"

    def call(self, arguments, document):
        raise ToolCallError("HTTP 404: Not Found", "Gone.")

    def check_position(self, arguments, *, before, after):
        raise CallSyntaxError("not here", "Elsewhere.")

    def preselect(self, document):
        return Preselection(True, "Has a text!")

    def cache_key(self, document):
        return (b"bytes",)


class Slow(Wild):
    name = "Slow"

    def prepare(self):
        time.sleep(1.5)
        self.mark = " was prepared "


class Batched(Wild):
    name = "Batched"

    def call_batch(self, requests):
        if any(arguments == "exit" for arguments, _ in requests):
            os._exit(4)
        return [arguments.upper() for arguments, _ in requests]


not_a_tool = 5
