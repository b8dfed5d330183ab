"""The benchmarks run: a statement or a call that changed would stop them half-way."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

import psycopg
import pytest

import metastore
from benchmarks import scale_postgres
from benchmarks.loading import load, multiply
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import Change, DatasetId

from .bundle.postgres_server import migrated_database

#: Spans are divided in another way if an index is made at once; `verify` looks at what they say.
_TABLES = b"dataset", b"dataset_segment", b"dataset_object", b"dataset_text"
_ROWS = b"SELECT (to_jsonb(t) - %s::text[])::text FROM {} AS t"
_INDEXES = b"""SELECT x.tablename, x.indexdef, pg_get_constraintdef(k.oid) FROM pg_indexes AS x
    LEFT JOIN pg_constraint AS k ON k.conname = x.indexname AND k.conrelid = x.tablename::regclass
    WHERE x.schemaname = current_schema()"""
_OF_WRITES = ["xid", "pos", "attempt", "attempts", "recorded"]
_BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.soak
def test_every_section_of_the_benchmarks_runs_to_its_end(tmp_path):
    command = [sys.executable, str(_BENCHMARKS / "run.py"), "--quick", "--markdown", "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "peer" in run.stderr or "metastore-lib" in run.stdout


def test_benchmarks_measure_in_the_temporary_folder_of_the_system() -> None:
    program = "from tempfile import gettempdir; print(gettempdir()); import benchmarks.run; print(gettempdir())"
    environ = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=_BENCHMARKS.parent, env=environ
    )
    before, after = run.stdout.split()
    assert before == after


def test_rows_that_are_loaded_are_those_that_a_storage_writes() -> None:
    options = Namespace(datasets=6, revisions=3, bytes=1_000, templates=2)
    histories = list(scale_postgres.histories(options))
    with migrated_database() as loaded, migrated_database() as written:
        storage = PostgresStorage(written)
        for copy in range(3):
            for number, (_, revisions) in enumerate(scale_postgres.histories(options)):
                _write(storage, scale_postgres.dataset_id(2 * copy + number), revisions)
        with psycopg.connect(loaded, autocommit=True) as connection:
            load(connection, histories, 60)
            with metastore.MetaStore(PostgresStorage(loaded)) as store:
                connection.execute("TRUNCATE dataset_text")
                store.dataset_search("x")
            identity = {"owner": scale_postgres.OWNER, "name": scale_postgres.NAME}
            assert multiply(loaded, **identity, templates=2, count=6, seconds=60)[0] == 6
        assert _rows(loaded) == _rows(written)
        assert _indexes(loaded) == _indexes(written)
        with metastore.MetaStore(PostgresStorage(loaded)) as store:
            assert list(store.verify()) == []


def _write(storage: PostgresStorage, dataset_id: DatasetId, revisions: Iterable[tuple[bytes, Change]]) -> None:
    head = None
    for content, change in revisions:
        files = {"datapackage.json": content}
        if head is None:
            head = storage.create(dataset_id, files, change)
        else:
            head = storage.append(dataset_id, files, change, parent=head.id)


def _rows(dsn: str) -> dict[bytes, list[tuple[str]]]:
    """Return all rows of the tables of datasets, as JSON, without what differs from one write to the next."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return {table: sorted(connection.execute(_ROWS.replace(b"{}", table), (_OF_WRITES,))) for table in _TABLES}


def _indexes(dsn: str) -> list[tuple[str, str, str | None]]:
    """Return all indexes, and the constraints that they are of, in SQL."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return sorted(connection.execute(_INDEXES), key=str)
