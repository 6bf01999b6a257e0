"""Long work shows on a terminal how far it is; elsewhere it is quiet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting(title: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar moved by calling ``advance(done, total)``."""
    if not shown:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def working(title: str, *, shown: bool) -> Iterator[None]:
    """A spinner while something of unknown length is done."""
    if not shown:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(title):
        yield


@contextmanager
def polling(title: str, look: Callable[[], tuple[float, float | None, str]], *, shown: bool) -> Iterator[None]:
    """A bar that looks by itself, five times a second, in a thread of its own: (done, total, words)."""
    if not shown:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[words]}"))
    stop = threading.Event()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, words="")

        def follow() -> None:
            while not stop.wait(0.2):
                done, total, words = look()
                bar.update(task, completed=done, total=total, words=words)

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
