"""A client speaks over TLS only to a server whose certificate is trusted and names it."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import metastore
from metastore import MetastoreError, StorageUnavailable


def certificate(folder: Path, address: str) -> Path:
    """Return a file with a certificate for an address, which only itself vouches for, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{address}.pem"
    plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(*plain) + made.public_bytes(serialization.Encoding.PEM))
    return file


class Recorder(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served_with(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve over TLS; yield the address, and the credentials of each request that came through."""
    asked: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Recorder,), {"asked": asked}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("names", "is_trusted", "is_served"),
    [("127.0.0.1", False, False), ("127.0.0.2", True, False), ("127.0.0.1", True, True)],
)
def test_a_token_goes_only_to_a_server_whose_certificate_is_trusted_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str, is_trusted: bool, is_served: bool
) -> None:
    monkeypatch.setattr("metastore.http.client.time.sleep", lambda seconds: None)
    file = certificate(tmp_path, names)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with served_with(file) as (address, asked), metastore.connect(address, token="t") as store:
        with pytest.raises(MetastoreError) as refused:
            store.dataset_json("physics/cars")
    assert asked == (["Bearer t"] if is_served else [])
    assert is_served or (isinstance(refused.value, StorageUnavailable) and "not trusted" in str(refused.value))
