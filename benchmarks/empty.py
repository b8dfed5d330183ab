"""The least that Flask can do, what the service is measured against; and the same with as many bytes as it sends."""

from flask import Flask, Response

app = Flask("empty")


@app.get("/")
def empty() -> str:
    return "empty"


_LARGE = b"x" * 300_000


@app.get("/large")
def large() -> Response:
    return Response(_LARGE, mimetype="application/json")
