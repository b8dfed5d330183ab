"""The least that Flask can do: what the service is measured against."""

from flask import Flask

app = Flask("empty")


@app.get("/")
def empty() -> str:
    return "empty"
