"""Shows progress and results; the output of TFX and TensorFlow goes to a log."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape


@contextlib.contextmanager
def chatter_to(path: str | None, plain: bool = False) -> Iterator[Console]:
    """Appends everything that libraries write, C++ code too, to a file.

    Args:
      path: the log file; None leaves it on the screen.
      plain: whether nothing may be drawn on the screen, where somebody types into a debugger.

    Yields:
      A console on the real standard error.
    """
    if path is None:
        yield Console(stderr=True, soft_wrap=True, force_terminal=False if plain else None)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        with open(os.dup(saved[1]), "w", encoding="utf-8", buffering=1) as screen:
            yield Console(file=screen, soft_wrap=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in enumerate(saved, start=1):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(log)


class Progress:
    """Says which nodes run, how far along the run is, and how long each node took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._spinner = console.status("")
        self._current: list[str] = []

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Names the step on a spinner (on a terminal) while the work lasts; steps may overlap."""
        if not self._console.is_terminal:
            self._console.print(f"{label} …", highlight=False, markup=False)
        self._show(self._current.append, label)
        try:
            yield
        finally:
            self._show(self._current.remove, label)

    def done(self, label: str, seconds: float, note: str = "") -> None:
        """A finished step: its own seconds, and the seconds since the start."""
        total = time.monotonic() - self._start
        self._console.print(
            f"{label:<32}{seconds:7.1f} s{note and '  ' + note:<10}  (at {total:.0f} s)",
            highlight=False,
            markup=False,
        )

    def _show(self, change: Callable[[str], None], label: str) -> None:
        with self._lock:
            change(label)
            if not self._console.is_terminal:
                return
            if self._current:
                self._spinner.update(escape(f"{', '.join(self._current)} …"))
                self._spinner.start()
            else:
                self._spinner.stop()
