"""Datasets for Git: each is a repository at `/git/{owner}/{name}.git`. A caller who may import can push to it.

Git shows people plain text, so errors are plain text here. It asks for a token as the password of the user `_jwt`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from tempfile import SpooledTemporaryFile
from typing import IO

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from metastore.errors import InvalidInput, MetastoreError, PermissionDenied
from metastore.git import upload_pack
from metastore.git.repository import Repository
from metastore.service import problems, pushes, requests
from metastore.service.context import service
from metastore.service.guard import require_read
from metastore.storage.objects import ObjectStorage
from metastore.types import DatasetId

clones = Blueprint("clones", __name__)
_SERVICE = "git-upload-pack"
#: The most bytes of a request, as sent and when it is unpacked: some 150,000 ids.
_LONGEST = 8 * 1024 * 1024
#: The most objects of one answer, the most bytes of these, and how many bytes of a pack are kept in memory.
_MOST_OBJECTS, _MOST, _IN_MEMORY = 100_000, 64 * 1024 * 1024, 8 * 1024 * 1024


@clones.get("/git/<owner>/<name>.git/info/refs")
def clone_capabilities(owner: str, name: str) -> Response:
    """Say what the server can do: the first request of a clone or push."""
    subject = _readable(owner, name)
    wanted = request.args.get("service")
    if wanted == pushes.SERVICE:
        return _answer(pushes.capabilities(subject), "advertisement", pushes.SERVICE)
    if wanted != _SERVICE:
        raise PermissionDenied("this address is for git clone and git push")
    with _storage().objects(subject):  # whether there is one
        pass
    speaks_2 = "version=2" in request.headers.get("Git-Protocol", "").split(":")
    return _answer(upload_pack.CAPABILITIES if speaks_2 else upload_pack.TOO_OLD, "advertisement")


@clones.post("/git/<owner>/<name>.git/git-upload-pack")
def clone(owner: str, name: str) -> Response:
    """List the branch and the tags of a dataset, or send the objects that a client lacks."""
    subject = _readable(owner, name)
    asked = upload_pack.Request.parse(_body())
    with _storage().objects(subject) as repository:
        try:
            return _answered(repository, asked)
        except InvalidInput as error:
            return _answer(upload_pack.refusal(str(error)))


@clones.post("/git/<owner>/<name>.git/git-receive-pack")
def receive(owner: str, name: str) -> Response:
    """Take revisions and tags that were made elsewhere, and report on each reference."""
    return _answer(pushes.receive(_readable(owner, name)), service_name=pushes.SERVICE)


@clones.errorhandler(MetastoreError)
def _of_ours(error: MetastoreError) -> Response:
    response = problems.of_ours(error)
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="metastore: the user _jwt, a token as the password"'
    return response if response.status_code == 308 else _as_text(response)


@clones.errorhandler(HTTPException)
def _of_werkzeug(error: HTTPException) -> Response:
    return _as_text(problems.of_werkzeug(error))


def _as_text(response: Response) -> Response:
    """Return a problem document as the text that Git shows to people."""
    response.set_data(f"{response.get_json()['detail']}\n")
    response.mimetype = "text/plain"
    return response


def _readable(owner: str, name: str) -> DatasetId:
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    return subject


def _storage() -> ObjectStorage:
    storage = service().store.storage
    if not isinstance(storage, ObjectStorage):
        raise InvalidInput("what this service serves is kept elsewhere: clone it from there")
    return storage


def _body() -> bytes:
    """Return the body of the request; Git compresses long ones."""
    request.max_content_length = _LONGEST
    content = request.get_data(cache=False)
    if request.content_encoding not in ("gzip", "x-gzip"):
        return content
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, _LONGEST + 1)
    except zlib.error:
        raise InvalidInput("the body of the request is not what gzip makes") from None
    if len(unpacked) > _LONGEST:
        raise RequestEntityTooLarge
    return unpacked


def _answered(repository: Repository, asked: upload_pack.Request) -> Response:
    if asked.command == "ls-refs":
        return _answer(b"".join(upload_pack.references(repository, asked)))
    if asked.command != "fetch":
        raise InvalidInput(f"the server does not support {asked.command[:60]!r}")
    fetch = upload_pack.negotiate(repository, asked, _MOST_OBJECTS)
    if fetch.ids is None:
        return _answer(b"".join(fetch.head))
    pack = _spooled(upload_pack.pack_of(repository, fetch.ids, _MOST))
    response = _answer(upload_pack.packed(fetch, pack))
    response.call_on_close(pack.close)
    return response


def _spooled(parts: Iterable[bytes]) -> IO[bytes]:
    """Return a file of the parts: when it is sent, a client that reads slowly holds up no storage."""
    file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed when it is sent
    try:
        file.writelines(parts)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _answer(body: bytes | Iterable[bytes], kind: str = "result", service_name: str = _SERVICE) -> Response:
    response = Response(body, content_type=f"application/x-{service_name}-{kind}")
    response.headers["Cache-Control"] = "no-store"
    return response
