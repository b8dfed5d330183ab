"""Runs in the environment of metastore-lib, whose import name is also `metastore`: times one call for each line read.

A line is `<verb> <package> <n>`; the answer is how many seconds a call took.
"""

import json
import sys
import time

from metastore.backend.filesystem import FilesystemStorage

from metastore.types import Author


def main() -> None:
    folder, document = sys.argv[1], json.loads(sys.argv[2])
    storage = FilesystemStorage(f"osfs://{folder}")
    author = Author("Ann Lee", "ann@example.org")
    verbs = {
        "create": lambda package, n: storage.create(package, document, author, "Create"),
        "update": lambda package, n: storage.update(
            package, {**document, "version": f"1.{n}"}, author, message="Update"
        ),
        "read": lambda package, n: storage.fetch(package),
        "list": lambda package, n: storage.revision_list(package),
    }
    for line in sys.stdin:
        verb, package, often = line.split()
        start = time.perf_counter()
        for n in range(int(often)):
            verbs[verb](package, n)
        print((time.perf_counter() - start) / int(often), flush=True)


if __name__ == "__main__":
    main()
