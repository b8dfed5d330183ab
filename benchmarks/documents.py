"""The descriptors that are measured."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_CATALOGUE = Path(__file__).parent.parent / "examples" / "catalogue"
SMALL, LARGE = "small", "large"
_FILES = {SMALL: "okfn/compression", LARGE: "vega/datasets"}


def descriptor(size: str) -> dict[str, Any]:
    """Return a real descriptor; the small one is made 3 kB long by having its resources twice and thrice."""
    value: dict[str, Any] = json.loads((_CATALOGUE / _FILES[size] / "datapackage.json").read_bytes())
    if size == SMALL:
        value["resources"] = [
            {**resource, "name": f"{resource['name']}-{copy}"} for copy in range(3) for resource in value["resources"]
        ]
    return value


def label(size: str) -> str:
    return f"{len(json.dumps(descriptor(size), indent=2)) / 1000:.0f} kB"


def many_resources(count: int) -> dict[str, Any]:
    """A descriptor whose every resource has a Git LFS pointer, a hundred in a folder."""
    resources = [
        {
            "name": f"part-{number}",
            "path": f"data/{number // 100:03d}/part-{number}.csv",
            "bytes": number,
            "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        }
        for number in range(count)
    ]
    return {"name": "many", "resources": resources}


def sized(size: int) -> dict[str, Any]:
    """Return a descriptor of about so many bytes: real resources, as often as it takes."""
    value = descriptor(LARGE)
    real, resources, left = value["resources"], [], size - len(json.dumps({**value, "resources": []}, indent=2))
    for number in range(size):
        resource = {**real[number % len(real)], "name": f"resource-{number}"}
        left -= len(json.dumps({"resources": [resource]}, indent=2))
        if left < 0:
            break
        resources.append(resource)
    return {**value, "resources": resources or real[:1]}
