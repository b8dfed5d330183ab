"""The command `metastore`, forked from a process that has imported all of it: it starts in a tenth of the time.

`forking` puts it into a folder for the path. It sees the arguments, variables, folder and files of its caller, and ends
with the same code. What runs on, as a service does, is started as users start it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel

#: Shell and Python both take the second line: the path of Python may have spaces.
_CLIENT = """#!/bin/sh
"exec" "{python}" "-IS" "$0" "$@"
import json, os, socket, sys
if "serve" in sys.argv:
    os.execv({command!r}, [{command!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(server, [b"%d\\n" % len(call)], [0, 1, 2])
    server.sendall(call)
    sys.exit(int(server.recv(10) or 1))
"""


@contextlib.contextmanager
def forking() -> Iterator[Path]:
    """Run a server as long as the body; yield the folder of the command."""
    with tempfile.TemporaryDirectory(prefix="metastore-") as folder:  # a socket's path has at most 107 bytes
        programs = Path(folder)
        with _running(programs):
            yield programs


@contextlib.contextmanager
def _running(programs: Path) -> Iterator[None]:
    address, command, client = (
        str(programs / "server"),
        Path(sys.executable).parent / "metastore",
        programs / "metastore",
    )
    client.write_text(_CLIENT.format(python=sys.executable, command=str(command), address=address))
    client.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(100)
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def _serve(listener: socket.socket) -> None:
    """Fork a child for each call, for ever."""
    import metastore
    import metastore.cli.app
    import metastore.storage.local.storage
    from metastore.cli import main

    metastore.connect("memory:").close()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        caller, _ = listener.accept()
        with caller:
            if not os.fork():
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(caller, main)


def _answer(caller: socket.socket, main: Callable[[], object]) -> None:
    """Do what a caller wants in its place, tell it the exit code, and end."""
    code: object = 1
    try:
        size, files, _, _ = socket.recv_fds(caller, 20, 3)
        data = caller.makefile("rb")
        # Some of the call may have come with its size.
        head, _, start = size.partition(b"\n")
        sys.argv, environment, folder = json.loads(start + data.read(int(head) - len(start)))
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        tempfile.tempdir = None  # looked up again
        pygit2.settings.search_path[ConfigLevel.GLOBAL] = environment["HOME"]
        configuration = environment.get("XDG_CONFIG_HOME", f"{environment['HOME']}/.config")
        pygit2.settings.search_path[ConfigLevel.XDG] = f"{configuration}/git"
        os.chdir(folder)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        code = main()
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        caller.sendall(b"%d" % (code if isinstance(code, int) else 0 if code is None else 1))
        os._exit(0)


if __name__ == "__main__":
    sys.path.pop(0)
    _serve(socket.socket(fileno=int(sys.argv[1])))
