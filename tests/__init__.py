"""The tests; they begin by leaving the machine's configuration behind, before anything reads it."""

from .machine import isolate

isolate()
