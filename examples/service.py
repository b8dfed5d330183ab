"""A day with the service in Python: METASTORE_SERVICE is its address, METASTORE_TOKEN a token."""

import json
import os
from urllib.error import HTTPError
from urllib.request import Request, urlopen

API = os.environ["METASTORE_SERVICE"] + "/api/v1"


def send(method, path, body=None, kind="application/json", **headers):
    """Send one request; return the answer's headers and JSON."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers |= {"Authorization": "Bearer " + os.environ["METASTORE_TOKEN"], "Content-Type": kind}
    with urlopen(Request(API + path, json.dumps(body).encode() if body else None, headers, method=method)) as answer:
        return answer.headers, json.load(answer)


cars = "/datasets/physics/cars-py"
made, _ = send("PUT", cars, {"name": "cars-py", "resources": [{"name": "cars", "path": "cars.csv"}]})
revision = made["ETag"]

# Change a part of it, if nobody else has changed it meanwhile.
send("PATCH", cars, {"title": "Cars"}, "application/merge-patch+json", If_Match=revision)
try:
    send("PATCH", cars, {"title": "Automobiles"}, "application/merge-patch+json", If_Match=revision)
except HTTPError as error:
    with error:
        print("a stale change:", error.code, json.load(error)["kind"])

print(send("GET", cars)[1]["title"])
for change in send("GET", cars + "/revisions")[1]:
    print(change["author"]["name"], change["message"])

send("POST", cars + "/revert", {"to": revision.strip('"')})
print("title" in send("GET", cars)[1])
