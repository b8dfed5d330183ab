"""`metastore serve` as it really runs: starting, stopping, being killed, and clients that misbehave."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import jwt
import pytest

import metastore
from metastore.printable import printable
from metastore.service import server

from ..processes import SOAK
from ..serving import BIN, Served, behind_nginx, served
from ..test_tokens import pem, private
from ..waiting import free_port, until

CARS = "/api/v1/datasets/physics/cars"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), "--workers", "2") as running:
        assert running.ask(CARS, "PUT", {"name": "cars", "text": "x" * 5000}).status == 201
        yield running


@pytest.fixture(scope="module")
def proxied(service: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with behind_nginx(service.port, tmp_path_factory.mktemp("nginx")) as port:
        yield port


def run(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("METASTORE_")}
    command = [str(each) for each in (BIN / "metastore", *arguments)]
    return subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


# Starting


def test_the_start_says_where_who_may_and_how_to_get_in(service: Served) -> None:
    said = service.log("err")
    assert f"Serving {service.folder}/store at http://127.0.0.1:{service.port}" in said
    assert "Anyone may read datasets and bundles without a token" in said
    assert "metastore token --user" in said
    assert service.token not in said


def test_no_answer_names_the_version_of_what_serves(service: Served) -> None:
    for path in ("/", "/healthz", "/nowhere", CARS):
        headers = service.ask(path).headers
        assert headers["Server"] == "gunicorn"
        assert not {"x-powered-by", "via"} & {name.lower() for name in headers}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("METASTORE_PUBLIC_READ", "perhaps"),
        ("METASTORE_JWT_KEY", "/nowhere/key.pem"),
        ("METASTORE_VALIDATION", "sometimes"),
        ("METASTORE_BUNDLES_URL", "gopher://x"),
        ("METASTORE_GROUPS_FILE", "/nowhere/groups"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(tmp_path: Path, variable: str, value: str) -> None:
    done = run(tmp_path, "serve", "--port", "0", **{variable: value})
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "serve", "--port", port)
    assert (done.returncode, done.stderr) == (
        2,
        f"Error: cannot listen on 127.0.0.1:{port}: another process listens there already\n",
    )


@pytest.mark.parametrize("server", ["flask", "gunicorn"])
def test_others_serve_the_application_with_nothing_set(tmp_path: Path, server: str) -> None:
    port = str(free_port())
    command = {
        "flask": ["flask", "--app", "metastore.web", "run", "--port", port],
        "gunicorn": ["gunicorn", "--bind", f"127.0.0.1:{port}", "metastore.web:create_app()"],
    }[server]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("METASTORE_")}
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]], cwd=tmp_path, env=clean, stdout=subprocess.DEVNULL, stderr=err
        )
    try:
        running = Served.__new__(Served)
        running.port = int(port)
        until(lambda: _answers(running))
        assert running.ask("/readyz").json == {"status": "ready"}
        assert (tmp_path / "metastore-data" / "_metastore").is_dir()
        assert "Anyone may read datasets and bundles without a token" in (tmp_path / "err").read_text()
    finally:
        process.terminate()
        process.wait(60)


def _answers(running: Served) -> bool:
    try:
        return running.ask("/healthz").status == 200
    except OSError:
        return False


@pytest.mark.soak
def test_a_flood_by_one_token_leaves_others_served(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2", METASTORE_RATE_AT_ONCE="1") as running:
        for sign in (1, -1):
            running.ask(CARS, "PUT", {f"k{n}": n * sign for n in range(3_000)})
        asked: Counter[int] = Counter()

        def flood() -> None:
            for _ in range(20):
                asked[running.ask(f"{CARS}/diff?from=HEAD~1", Authorization=f"Bearer {running.token}").status] += 1

        threads = [threading.Thread(target=flood) for _ in range(40)]
        for thread in threads:
            thread.start()
        until(lambda: asked[429])
        for number in range(20):  # by address: nobody's token
            assert running.ask(f"{CARS}/diff?from=HEAD").status == 200
            assert running.ask(CARS).status == 200, number
        for thread in threads:
            thread.join()
    assert set(asked) == {200, 429}
    assert asked.total() == 800


@pytest.mark.soak
def test_four_workers_refuse_alike_while_the_files_of_groups_and_keys_are_broken(tmp_path: Path) -> None:
    groups, keys = tmp_path / "groups.conf", tmp_path / "keys.pem"
    members = "groups = NOvA\nNOvA = ann"
    groups.write_text(members)
    keys.write_text(pem(private("RS")))
    claims = {"sub": "ann", "scopes": "ds:*:* bundles:NOvA:write", "exp": time.time() + 3600}
    token = jwt.encode(claims, private("RS"), "RS256")
    settings = {"METASTORE_GROUPS_FILE": str(groups), "METASTORE_JWT_KEY": str(keys)}
    with served(tmp_path, "--workers", "4", **settings) as running:
        running.token = token

        def statuses(path: str, body: dict[str, object]) -> set[int]:
            return {running.ask(path, "PUT", body).status for _ in range(60)}

        bundle = {"event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}
        assert statuses("/api/v1/bundles/NuMI", bundle) <= {200, 201}
        groups.write_text("groups = NOvA\nNOvA = bo")
        assert running.ask("/api/v1/bundles/NuMI", "PUT", bundle).status == 403  # one worker has seen it
        groups.write_text("rubbish")
        assert statuses("/api/v1/bundles/NuMI", bundle) == {403}
        keys.write_text("rubbish")
        assert statuses(CARS, {"name": "cars"}) == {503}
        before = running.workers()
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(set(running.workers()) - {before[0]}) == 4)
        until(lambda: _answers(running))
        assert statuses(CARS, {"name": "cars"}) == {503}  # the new worker as well
        keys.write_text(pem(private("RS")))
        assert statuses(CARS, {"name": "cars"}) <= {200, 201}
        assert statuses("/api/v1/bundles/NuMI", bundle) == {403}
        groups.write_text(members)
        assert statuses("/api/v1/bundles/NuMI", bundle) == {200}


def test_metrics_are_those_of_all_processes_together(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "3") as running:
        for _ in range(30):
            running.ask("/healthz")
        text = running.ask("/metrics").body.decode()
        assert 'metastore_http_requests_total{method="GET",route="/healthz",status="200"} 30.0' in text


def test_no_request_forges_a_line_of_a_log_or_puts_its_body_there(tmp_path: Path) -> None:
    evil = "\x1b[2J\r\n\x9b2J\u202e\u2028{}"
    marked = {"name": "MARK", "title": evil + "MARK", "resources": [{"MARK": "MARK"}], "licenses": "MARK"}
    sent = 0
    with served(tmp_path) as running:
        for method, body in (
            ("PUT", marked),
            ("PATCH", {"title": "MARK"}),
            ("PATCH", [{"op": "MARK"}]),
            ("PUT", "MARK"),
        ):
            running.ask(f"{CARS}?message=MARK", method, body)
            running.ask(CARS, method, body)
            running.ask(CARS, method, body, If_Match='"MARK"')
            running.ask("/api/v1/bundles/NuMI", method, body)
            running.ask(f"/api/v1/{quote(evil, safe='')}", method, body)
            sent += 5
        assert running.ask(CARS).status == 200
    lines = (tmp_path / "out").read_bytes().decode().split("\n")[:-1]
    assert len(lines) == sent + 1
    errors = (tmp_path / "err").read_bytes().decode().split("\n")[:-1]
    assert all("path" in json.loads(line) for line in lines)
    assert any(json.loads(line)["logger"] == "metastore.findings" for line in errors if line.startswith("{"))
    for line in (*lines, *errors):
        assert "MARK" not in line
        assert line == printable(line)


def test_the_access_log_is_json_on_stdout(service: Served) -> None:
    service.ask("/api/v1/datasets?prefix=secret", X_Request_ID="known-here")
    until(lambda: "known-here" in service.log("out"))
    line = next(line for line in service.log("out").splitlines() if "known-here" in line)
    assert json.loads(line)["route"] == "/api/v1/datasets"
    assert "secret" not in line
    assert service.token not in service.log("out") + service.log("err")


# Stopping and dying


class Slow:
    """A write whose body comes in two parts."""

    def __init__(self, running: Served, name: str) -> None:
        body = json.dumps({"name": name}).encode()
        head = (
            f"PUT /api/v1/datasets/physics/{name} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {running.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket = running.connect()
        self.socket.sendall(head.encode() + body[:5])
        self._rest = body[5:]

    def finish(self) -> bytes:
        self.socket.sendall(self._rest)
        answer = self.socket.recv(65536)
        self.socket.close()
        return answer


def test_a_write_in_flight_finishes_when_the_service_is_stopped(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "1") as running:
        slow = Slow(running, "late")
        until(lambda: "in_flight 2.0" in running.ask("/metrics").body.decode())
        running.process.send_signal(signal.SIGTERM)
        until(lambda: not _listens(running.process.pid))
        assert slow.finish().startswith(b"HTTP/1.1 201")
        assert running.process.wait(60) == 0
    with metastore.connect(tmp_path / "store") as store:
        assert store.dataset_read("physics/late").descriptor == {"name": "late"}


def _listens(pid: int) -> bool:
    """Tell whether a process has a socket; the first thing that a stopping server does is to close it."""
    return any(os.readlink(each).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())


def test_what_was_acknowledged_is_there_when_a_worker_is_killed(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as running:
        acknowledged, stop = [], threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    if running.ask(f"/api/v1/datasets/physics/d{number}", "PUT", {"name": "d"}).status == 201:
                        acknowledged.append(f"physics/d{number}")
                except OSError:  # the one that was being answered
                    continue

        writer = threading.Thread(target=write)
        writer.start()
        for count in (3, 6, 9):
            until(lambda count=count: len(acknowledged) >= count)  # type: ignore[misc]
            for pid in running.workers():
                os.kill(pid, signal.SIGKILL)
            until(lambda: len(running.workers()) == 2)
        stop.set()
        writer.join()
        until(lambda: _answers(running))
        for name in acknowledged:
            assert running.ask(f"/api/v1/datasets/{name}").status == 200
    with metastore.connect(tmp_path / "store") as store:
        assert set(acknowledged) <= {str(each) for each in store.dataset_list()}
        assert not [damage for damage in store.verify() if "unreadable" in damage.kind]


def test_nothing_is_left_behind_after_the_end(tmp_path: Path) -> None:
    with served(tmp_path) as running:
        running.ask("/healthz")
        workers = running.workers()
        (counters,) = {path.parent for pid in workers for path in Path("/dev/shm").glob(f"metastore-*/*_{pid}.db")}
        assert running.stop() == 0
    assert not counters.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


# Clients that misbehave

HALVES = {
    "silent": b"",
    "answered, not hung up": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "half a refused body": b"PUT /api/v1/datasets/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_a_hundred_half_open_connections_keep_nobody_else_waiting(service: Served, sent: bytes) -> None:
    held = [service.connect() for _ in range(100)]
    try:
        for each in held:
            each.sendall(sent)
        for _ in range(20):
            assert service.ask(CARS).status == 200
    finally:
        for each in held:
            each.close()


@pytest.mark.parametrize("sent", [HALVES["answered, not hung up"], HALVES["half a refused body"]])
def test_a_hundred_clients_that_do_not_hang_up_keep_nobody_waiting_at_the_end(service: Served, sent: bytes) -> None:
    held = [service.connect() for _ in range(100)]
    for each in held:
        each.sendall(sent)
    for number, each in enumerate(held):
        while each.recv(65536):  # until we are hung up on
            pass
        if number % 10 == 0:
            assert service.ask(CARS).status == 200
    for each in held:
        each.close()


def test_a_client_that_goes_on_sending_after_its_answer_is_hung_up_on(service: Served) -> None:
    with service.connect() as connection:
        connection.sendall(HALVES["half a refused body"].replace(b": 100", b": 10000000"))
        assert connection.recv(65536)

        def is_hung_up_on() -> bool:
            try:
                connection.sendall(b" " * 1000)
            except OSError:
                return True
            return False

        until(is_hung_up_on)


def test_clients_that_ask_on_and_on_leave_threads_for_others(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "1", "--threads", "2") as running:
        answered = threading.Event()

        def ask_on() -> None:
            with running.connect() as connection:
                while not answered.is_set():
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert connection.recv(65536)

        greedy = [threading.Thread(target=ask_on) for _ in range(4)]
        for each in greedy:
            each.start()
        try:
            assert running.ask("/healthz").status == 200
        finally:
            answered.set()
            for each in greedy:
                each.join()


def test_nobody_is_waited_for_without_end() -> None:
    with server.listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                seconds, _ = struct.unpack("ll", accepted.getsockopt(socket.SOL_SOCKET, way, 16))
                assert seconds == server.SILENCE


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_a_thousand_half_open_connections_are_kept_from_us_by_the_proxy(
    service: Served, proxied: int, sent: bytes
) -> None:
    held = [service.connect(proxied) for _ in range(1000 if SOAK else 300)]
    try:
        for each in held:
            each.sendall(sent)
        for _ in range(20):
            assert service.ask(CARS, port=proxied).status == 200
    finally:
        for each in held:
            each.close()


def test_a_body_that_never_ends_is_refused_and_the_rest_is_served(service: Served) -> None:
    head = (
        f"PUT /api/v1/datasets/physics/endless HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with service.connect() as connection:
        connection.sendall(head.encode())
        answer = b""
        for number in range(2000):  # 128 MB, and far more than is taken
            try:
                connection.sendall(chunk)
            except OSError:
                break
            if number == 20:
                assert service.ask(CARS).status == 200
        else:
            pytest.fail("all of it was taken")
        try:
            answer = connection.recv(65536)
        except OSError:
            answer = b"HTTP/1.1 413"  # reset, since we went on sending
    assert answer.startswith(b"HTTP/1.1 413")
    assert service.ask("/api/v1/datasets/physics/endless").status == 404


def test_a_header_of_a_megabyte_is_refused(service: Served) -> None:
    with service.connect() as connection:
        try:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 1024 * 1024 + b"\r\n\r\n")
            answer = connection.recv(65536)
        except OSError:
            answer = b""
    assert answer[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    assert service.ask(CARS).status == 200


def test_a_request_in_tiny_pieces_is_answered(service: Served) -> None:
    with service.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in f"GET {CARS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode():
            connection.sendall(bytes([byte]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


# Behind a proxy


def test_a_weakened_etag_of_a_compressing_proxy_is_understood(service: Served, proxied: int) -> None:
    assert service.ask("/api/v1/datasets/physics/proxied", "PUT", {"name": "p", "text": "x" * 5000}).status == 201
    path = "/api/v1/datasets/physics/proxied"
    got = service.ask(path, port=proxied, Accept_Encoding="gzip")
    assert got.headers["Content-Encoding"] == "gzip"
    assert got.headers["ETag"].startswith('W/"')
    known = service.ask(path, port=proxied, Accept_Encoding="gzip", If_None_Match=got.headers["ETag"])
    assert known.status == 304
    changed = service.ask(path, "PUT", {"name": "p"}, port=proxied, If_Match=got.headers["ETag"])
    assert changed.status == 200
    stale = service.ask(path, "PUT", {"name": "q"}, port=proxied, If_Match=got.headers["ETag"])
    assert stale.status == 412


def test_what_is_too_large_for_the_proxy_is_413(service: Served, proxied: int) -> None:
    assert service.ask(CARS, "PUT", {"name": "x" * 45_000_000}, port=proxied).status == 413


def test_what_is_too_large_for_the_service_is_413_with_words(service: Served, proxied: int) -> None:
    answer = service.ask(CARS, "PUT", {"name": "x" * 38_000_000}, port=proxied)
    assert (answer.status, answer.json["status"]) == (413, 413)


def test_the_request_id_of_the_proxy_is_ours(service: Served, proxied: int) -> None:
    made = service.ask(CARS, port=proxied).headers["X-Request-ID"]
    assert len(made) == 32
    until(lambda: made in service.log("out"))


def test_below_a_path_our_links_have_the_path(service: Served) -> None:
    path = "/metadata/api/v1/datasets/physics/below"
    answer = service.ask(path, "PUT", {"name": "b"}, exact={"SCRIPT_NAME": "/metadata"})
    assert answer.status == 201
    assert answer.headers["Location"] == "/metadata/api/v1/datasets/physics/below"


@pytest.mark.parametrize("name", ["/metadata", "x", "/api/v1/datasets/physics/cars/and/more", "http://example.org"])
def test_a_path_that_does_not_fit_the_proxys_is_400_in_one_line(service: Served, name: str) -> None:
    before = service.log("err")
    answer = service.ask(CARS, exact={"SCRIPT_NAME": name})
    assert answer.status == 400
    assert "Traceback" not in service.log("err").removeprefix(before)
    assert service.ask("/healthz", exact={"PATH_INFO": "/metrics"}).body == service.ask("/healthz").body


@pytest.mark.parametrize(
    "chunks", [b"0x4\r\nabcd\r\n0\r\n\r\n", b"zz\r\n", b"-1\r\n", b"4\r\nabcdXX0\r\n\r\n", b"5\r\nab"]
)
def test_malformed_chunks_are_400_in_one_line(service: Served, chunks: bytes) -> None:
    head = f"PUT {CARS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.token}\r\nConnection: close\r\n"
    before = service.log("err")
    with service.connect() as connection:
        connection.sendall(
            f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks
        )
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert "Traceback" not in service.log("err").removeprefix(before)


def test_below_a_path_the_proxy_keeps_what_is_counted_from_strangers(service: Served, tmp_path: Path) -> None:
    def edit(site: str) -> str:
        site = site.replace("location / {", "location /metadata/ {\n        proxy_set_header SCRIPT_NAME /metadata;")
        site = site.replace("location = /metrics", "location = /metadata/metrics")
        return re.sub(r"allow .*;", "", site)  # we are no stranger here

    with behind_nginx(service.port, tmp_path, edit) as port:
        assert service.ask("/metadata/healthz", port=port).status == 200
        assert service.ask("/metadata/metrics", port=port).status == 403
        assert service.ask("/metadata/datasets/physics/cars", port=port).status == 200
