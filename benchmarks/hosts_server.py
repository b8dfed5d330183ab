"""Runs in the environment of metastore-lib: makes one call against an emulated GitHub for each line read.

A line is a verb; the answer is `done`, or what went wrong.
"""

import json
import sys

from metastore.backend.github import GitHubStorage

from metastore.types import Author


def main() -> None:
    url, token, document = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    options = {"base_url": url, "retry": 0, "seconds_between_requests": None, "seconds_between_writes": None}
    author = Author("Ann Lee", "ann@example.org")

    def fresh() -> GitHubStorage:
        return GitHubStorage({"login_or_token": token, **options}, default_owner="physics", default_author=author)

    verbs = {
        "create": lambda: fresh().create("physics/a", document, author, "Create"),
        "update": lambda: fresh().update("physics/a", {**document, "version": "1.1"}, author, message="Update"),
        "read": lambda: fresh().fetch("physics/a"),
        "list revisions": lambda: fresh().revision_list("physics/a"),
        "tag": lambda: fresh().tag_create("physics/a", fresh_head(), "v1", author, "First"),
        "list tags": lambda: fresh().tag_list("physics/a"),
    }

    def fresh_head() -> str:
        return head[0]

    head: list[str] = []
    for line in sys.stdin:
        try:
            made = verbs[line.strip()]()
            if line.strip() == "update":
                head[:] = [made.revision]
            print("done", flush=True)
        except Exception as error:
            print(repr(error), flush=True)


if __name__ == "__main__":
    main()
