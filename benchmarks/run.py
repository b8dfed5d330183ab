"""Measure MetaStore against pygit2 by hand, plain files, plain SQL and metastore-lib, in one run (`make bench`).

Contestants take turns, so that what else the machine does hits all alike: trust the ratios more than the times. The
table goes to stdout, progress to stderr, and all data into a temporary folder.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # when it is started as a file

from benchmarks import (
    bundles_postgres,
    datasets_postgres,
    hosts,
    pages,
    parts,
    peer,
    processes,
    scale,
    search,
    service,
    single,
    upkeep,
)
from benchmarks.table import printed, say

SECTIONS = {
    "writes": ("Create and update", single.writes),
    "syncs": ("Calls of fsync", processes.syncs),
    "reads": ("Read", single.reads),
    "pointers": ("Many resources", scale.pointers),
    "updates": ("Many revisions", scale.updates),
    "parts": ("The history of a part", parts.parts),
    "search": ("Search", search.rows),
    "listing": ("Many datasets", scale.listing),
    "upkeep": ("Looking after a store", upkeep.upkeep),
    "writers": ("Writers side by side", processes.side_by_side),
    "bundles": ("Bundles in PostgreSQL", bundles_postgres.rows),
    "datasets": ("Datasets in PostgreSQL", datasets_postgres.rows),
    "pages": ("Pages", pages.rows),
    "service": ("The service over HTTP", service.rows),
    "starting": ("Starting", processes.starting),
    "hosts": ("Requests on GitHub", hosts.rows),
    "peer": ("metastore-lib 0.2.0, file system", peer.rows),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: below a minute")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder (default: the system's)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="only this section; may be given repeatedly")
    options = parser.parse_args()
    logging.getLogger("metastore").addHandler(logging.NullHandler())  # findings are not what is measured
    start = time.perf_counter()
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    with tempfile.TemporaryDirectory(prefix="metastore-bench-", dir=options.folder) as folder:
        for name in options.only or SECTIONS:
            title, measure = SECTIONS[name]
            lines = list(measure(Path(folder), quick=options.quick))
            print(printed(title, lines, markdown=options.markdown), flush=True)
        say("removing the temporary folder")
    print(f"{'Quick run' if options.quick else 'Run'} of {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
