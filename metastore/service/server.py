"""The service under Gunicorn, with settings for production."""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import ConfigurationProblem, InvalidHeader, NoMoreData, ParseException
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.exceptions import BadRequest

from metastore import config
from metastore.auth.tokens import LONGEST
from metastore.errors import InvalidInput
from metastore.os_errors import in_words
from metastore.printable import printable
from metastore.service.context import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

#: The seconds for which a stopping server lets requests finish.
GRACE = 30
#: The seconds for which an idle connection is kept: longer than the 60 of a proxy, so that the proxy closes it.
KEEP = 75
#: The seconds for which a client may be silent in the middle of a request, or not take a response.
SILENCE = 30
#: The seconds and bytes for which a client may go on sending after its response, so that it reads the response.
_LINGER, _MOST_UNWANTED = 2, 64 * 1024 * 1024
#: The seconds for which a thread stays with one client, and the milliseconds for which it waits for a silent one.
_STAY, _PAUSE = 0.1, 10
#: The seconds for which a process leaves a new connection to others, for each connection that it has, up to a number.
_HANG_BACK, _CROWD = 0.0002, 10
_FASTEST = Path("/dev/shm")  # noqa: S108 - a folder of random name is made in it


@dataclass(frozen=True, slots=True)
class Serving:
    """The parameters of a server.

    Attributes:
        listener: A bound socket.
        workers: The number of processes.
        threads: The requests that each process answers at once.
        ready: Called when the server serves, and can be stopped.
    """

    listener: socket.socket
    workers: int = 2
    threads: int = 128
    ready: Callable[[], None] = lambda: None


def listen(host: str, port: int) -> socket.socket:
    """Bind an address; port 0 chooses a free one. Accepted connections inherit the socket's timeouts (socket(7)).

    Raises:
        InvalidInput: The address cannot be bound; the message has the reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # without them, Gunicorn's threads wait for ever
            listener.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", SILENCE, 0))
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        reason = in_words(error) if isinstance(error, OSError) else "that is not an address of this machine"
        raise InvalidInput(f"cannot listen on {host}:{port}: {reason}") from None
    return listener


def serve(make_app: Callable[[], Flask], serving: Serving) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight then finish. Ends the process.

    Args:
        make_app: Makes the application; called once in each worker, since connections do not survive a fork.
        serving: The parameters.
    """
    scratch = Path(tempfile.mkdtemp(prefix="metastore-", dir=_FASTEST if os.access(_FASTEST, os.W_OK) else None))
    config.share_metrics(str(scratch))
    parent = os.getpid()
    try:
        _Server(make_app, serving, str(scratch)).run()
    finally:
        if os.getpid() == parent:
            shutil.rmtree(scratch, ignore_errors=True)


class _Server(BaseApplication):  # type: ignore[misc]  # has no types
    def __init__(self, make_app: Callable[[], Flask], serving: Serving, scratch: str) -> None:
        self._make_app, self._serving, self._scratch = make_app, serving, scratch
        self._bound = serving.listener.detach()  # our socket would go on listening after Gunicorn closes its own
        super().__init__(prog="metastore")

    def load_config(self) -> None:
        values = {
            "bind": f"fd://{self._bound}",
            "workers": self._serving.workers,
            "threads": self._serving.threads,
            "worker_class": "metastore.service.server.Worker",
            "worker_connections": 1000,
            "worker_tmp_dir": self._scratch,  # touched every second, so better not on a disk
            "timeout": 60,  # of a worker's loop, not of a request
            "graceful_timeout": GRACE,
            "keepalive": KEEP,
            "limit_request_line": 8190,
            "limit_request_fields": 64,
            "limit_request_field_size": LONGEST + 512,  # a token, and the scheme before it
            "forwarder_headers": "SCRIPT_NAME",  # from this machine only; PATH_INFO would do nothing
            "control_socket_disable": True,
            "preload_app": False,
            "loglevel": "warning",
            "logger_class": "metastore.service.server.Logger",
            "when_ready": lambda server: self._serving.ready(),
            "child_exit": _forget,
        }
        for name, value in values.items():
            if name in self.cfg.settings:  # older versions of Gunicorn have fewer
                self.cfg.set(name, value)

    def load(self) -> Flask:
        app = self._make_app()
        app.wsgi_app = _Readable(app.wsgi_app)  # type: ignore[method-assign]
        return app


class _Readable:
    """Makes a malformed chunk in a request a bad request, not a failure of the application."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = _Chunks(environ["wsgi.input"])
        return self._app(environ, start_response)


class _Chunks:
    """A body in chunks, which raises `BadRequest` where Gunicorn raises errors of its own."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes. Raises BadRequest: the chunks are malformed or end too early."""
        try:
            content: bytes = self._body.read() if size < 0 else self._body.read(size)
        except (ParseException, NoMoreData):
            raise BadRequest("the chunks of the body are malformed (RFC 9112, 7.1)") from None
        return content


class Worker(ThreadWorker):  # type: ignore[misc]  # has no types
    """Gunicorn's threads, which do two things that Gunicorn leaves to its one loop.

    They answer the next request of the same client, since the way through the loop costs about as much as a response.
    And they wait for clients that do not hang up. Gunicorn's loop waits two seconds for each, and serves nobody else.
    """

    def accept(self, listener: Any) -> None:
        """Accept a new connection. The more this process has, the longer it waits, so that one with fewer is faster."""
        time.sleep(min(self.nr_conns, _CROWD) * _HANG_BACK)
        super().accept(listener)

    def handle(self, conn: Any) -> Any:
        """Answer in a thread. False tells the loop to close the connection."""
        end = time.monotonic() + _STAY
        kept = super().handle(conn)
        while kept is True and self.alive and time.monotonic() < end and _asks_again(conn.sock):
            kept = super().handle(conn)
        if kept is False:
            _hang_up(conn.sock)
        return kept

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be parsed. A `SCRIPT_NAME` that does not fit the path is a bad request too."""
        if isinstance(exc, ConfigurationProblem):
            exc = InvalidHeader("SCRIPT_NAME", req=req)
        super().handle_error(req, client, addr, exc)


def _asks_again(connection: socket.socket) -> bool:
    """Tell whether a client sends something soon, or hangs up."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(_PAUSE))


def _hang_up(connection: socket.socket) -> None:
    """End a connection, but do not close it: bytes that come after that would destroy a response on its way."""
    end, left = time.monotonic() + _LINGER, _MOST_UNWANTED
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_LINGER)
        while left > 0 and time.monotonic() < end and (got := connection.recv(65536)):
            left -= len(got)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


class Logger(glogging.Logger):  # type: ignore[misc]  # has no types
    """Gunicorn's own log, in the form of all other logs."""

    def setup(self, cfg: Any) -> None:
        """Set up logging; called by Gunicorn."""
        super().setup(cfg)
        set_up_logging()


def _forget(server: Any, worker: Any) -> None:
    """Remove a dead worker's requests from those in flight."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


class _Lines(logging.Handler):
    """Writes each line in one call: the kernel keeps lines apart, and no thread waits for another's disk."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit a record without the lock that a handler has."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # a closed log must not fail a request
            os.write(self._descriptor, f"{printable(record.msg)}\n".encode())


class _JsonLines(logging.Formatter):
    """Formats warnings and errors like the access log: as one line of JSON each."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        if (current := request_id()) is not None:
            fields["request_id"] = current
        return printable(json.dumps(fields, ensure_ascii=False))


def set_up_logging() -> None:
    """Write the access log to stdout and everything else to stderr, as lines of JSON."""
    # Our lines need none of these facts, which cost time (Python's logging HOWTO, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    _only(logging.getLogger("metastore.access"), _Lines(sys.stdout.fileno()), logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    handler.addFilter(_is_news)
    for name in ("metastore", "gunicorn.error"):
        _only(logging.getLogger(name), handler, logging.WARNING)


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether to log a record: a client that was silent for too long is not an error of the service."""
    return record.exc_info is None or not isinstance(record.exc_info[1], BlockingIOError)


def _only(logger: logging.Logger, handler: logging.Handler, level: int) -> None:
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
