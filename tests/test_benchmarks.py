"""The benchmarks run: a statement or a call that changed would stop them half-way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.soak
def test_every_section_of_the_benchmarks_runs_to_its_end(tmp_path):
    command = [sys.executable, str(_BENCHMARKS / "run.py"), "--quick", "--markdown", "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "peer" in run.stderr or "metastore-lib" in run.stdout
