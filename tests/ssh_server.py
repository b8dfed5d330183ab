"""A real SSH server for tests: Debian's sshd on loopback, with keys and configuration of its own.

Each connection gets an sshd of its own, as from inetd: so there is no port to choose, and nothing is left running.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Self

#: Debian keeps it where only root looks.
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class SshServer:
    """Admits the key `key`, as the user who runs the tests; `command` is an `ssh` that knows server and key.

    Args:
        folder: A folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o700)
        self.folder = folder
        self.key = self._new_key("key")
        host_key = self._new_key("host_key")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"{getpass.getuser()}@127.0.0.1:{self._listener.getsockname()[1]}"
        self._write(
            "sshd_config",
            HostKey=host_key,
            AuthorizedKeysFile=self.key.with_suffix(".pub"),
            StrictModes="no",  # tests run in folders that others may write to
            PasswordAuthentication="no",
            KbdInteractiveAuthentication="no",
            PidFile="none",
        )
        self.known = self._write("known_hosts")
        self.trust(host_key)
        self.config = self._write(
            "ssh_config",
            IdentityFile=self.key,
            IdentitiesOnly="yes",
            IdentityAgent="none",
            UserKnownHostsFile=self.known,
            GlobalKnownHostsFile="/dev/null",
            StrictHostKeyChecking="yes",
            BatchMode="yes",
        )
        self.command = f"ssh -F {self.config}"

    def trust(self, host_key: Path) -> None:
        """Let clients expect this key of the server, and no other."""
        name = f"[127.0.0.1]:{self._listener.getsockname()[1]}"
        self.known.write_text(f"{name} {host_key.with_suffix('.pub').read_text()}")

    def _new_key(self, name: str) -> Path:
        path = self.folder / name
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, stdin=subprocess.DEVNULL
        )
        return path

    def _write(self, name: str, **settings: object) -> Path:
        path = self.folder / name
        path.write_text("".join(f"{setting} {value}\n" for setting, value in settings.items()))
        return path

    def __enter__(self) -> Self:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's own, wherever its service has not run yet
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._listener.close()

    def _serve(self) -> None:
        sessions = []
        assert SSHD
        with (self.folder / "log").open("ab") as log:
            while True:
                try:
                    client, _ = self._listener.accept()
                except OSError:
                    break
                command = [SSHD, "-i", "-e", "-f", self.folder / "sshd_config"]
                with client:
                    sessions.append(subprocess.Popen(command, stdin=client, stdout=client, stderr=log))
            for each in sessions:
                each.wait()
