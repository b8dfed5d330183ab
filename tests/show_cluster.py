"""Shows a cluster that loses its primary under load: `make run-cluster`. No acknowledged change is lost."""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import time
from pathlib import Path

from .cluster import missing
from .test_cluster import Run, at_work, cluster_of, plain_folder


def main() -> None:
    if lacking := missing():
        sys.exit(lacking)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it names each connection that is lost
    print("Starting three machines with etcd, Patroni and PostgreSQL, and two services …", flush=True)
    with (
        cluster_of(plain_folder) as cluster,
        tempfile.TemporaryDirectory() as folder,
        at_work(cluster, Path(folder), with_proxies=False) as run,
    ):
        run.until_all_write()
        leader = cluster.leader()
        _say(run, f"eight writers; the primary is on machine {leader}")
        cluster.kill_patroni(leader)
        cluster.signal_postgres(leader, signal.SIGKILL)
        killed = time.monotonic()
        run.until_all_write()
        _say(run, f"machine {leader} was killed; all wrote again after {time.monotonic() - killed:.0f} s")
        cluster.start()
        run.until_all_write()
        _say(run, f"machine {leader} follows machine {cluster.leader()}")
        run.end()
        lost = sum(writer.check() for writer in run.writers)
        _say(run, f"the end: {lost} acknowledged changes are lost")
    sys.exit(bool(lost))


def _say(run: Run, what: str) -> None:
    counts = {
        "acknowledged": sum(len(writer.made) for writer in run.writers),
        "refused": sum(len(writer.refused) for writer in run.writers),
        "unknown, then settled": sum(writer.settled for writer in run.writers),
        "still unknown": sum(len(writer.doubtful) for writer in run.writers),
        "reads from replicas": run.reads,
    }
    print(f"{what}\n    " + ", ".join(f"{name} {count:,}" for name, count in counts.items()), flush=True)


if __name__ == "__main__":
    main()
