"""Measurements; `make bench` runs them. Nothing here is installed."""

import os
import tempfile

# The tests, whose servers and faults some sections use, else take a folder in memory, where fsync costs nothing.
os.environ.setdefault("TMPDIR", tempfile.gettempdir())
