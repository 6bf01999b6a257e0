"""Files that other programs open are written under another name first: nobody meets half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smartscope.errors import InputError


@contextmanager
def written_whole(output: str | Path, source: str | Path) -> Iterator[Path]:
    """A temporary path beside ``output`` that takes its name when all went well, and vanishes otherwise.

    Raises:
        InputError: ``output`` is the source itself, or cannot be written.
    """
    target = Path(output)
    if target.absolute() == Path(source).absolute():
        raise InputError("output and input are the same file", where=str(output), remedy="name another output")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise InputError(what, where=str(output), remedy="check folder and disk") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(output: str | Path, source: str | Path) -> Iterator[Path]:
    """The same for a folder, which must not be there yet, or be empty.

    Raises:
        InputError: something is at ``output`` already, or it cannot be written.
    """
    target = Path(output)
    if target.absolute() == Path(source).absolute() or target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise InputError("exists already", where=str(output), remedy="remove it, or name another output")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.mkdir()
        yield part
        if target.is_dir():
            target.rmdir()
        part.replace(target)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise InputError(what, where=str(output), remedy="check folder and disk") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
