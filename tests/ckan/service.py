"""A MetaStore service beside a CKAN, always at one address, that can be stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.serving import BIN
from tests.waiting import free_port, reachable, until


class Service:
    """`metastore serve` in a folder, which takes tokens that are signed with the folder's `signing.pem`, and no others.

    Without a token nothing can be read there.

    Args:
        folder: For the store, the keys and the log.
        trusting: Settings that say whose tokens are taken, instead of the folder's.
    """

    def __init__(self, folder: Path, trusting: Mapping[str, str] | None = None) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.signing_key, self._public = folder / "signing.pem", folder / "public.pem"
        self._process: subprocess.Popen[bytes] | None = None
        make_keys(self.signing_key, self._public)
        self._trusting = trusting or {"METASTORE_JWT_KEY": str(self._public)}

    def start(self) -> None:
        """Start it, and wait until it can be reached."""
        command = [BIN / "metastore", "serve", "--store", self.folder / "store", "--port", str(self.port)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METASTORE_")}
        environment |= {**self._trusting, "METASTORE_PUBLIC_READ": "false"}
        with (self.folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--workers", "2"], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        until(lambda: reachable(self.port))

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all of its workers at once."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it take connections and answer none."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, how)
            process.wait(60)
            until(lambda: not reachable(self.port))


def make_keys(private: Path, public: Path) -> None:
    """Write a pair of RSA keys, as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    encoding = serialization.Encoding.PEM
    private.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
