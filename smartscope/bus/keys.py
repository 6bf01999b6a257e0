"""Who may connect: CURVE keys on disk, and the allow-list that ZeroMQ asks about every new connection.

``server.json`` stays with the controller: its secret key and the public keys of operators and read-only clients (edit
the lists to admit more). ``operator.json`` and ``read_only.json`` are each all that one client needs; hand them over,
then delete them here.
"""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import Annotated

import zmq
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from zmq.utils import z85

from smartscope.errors import BusError

Key = Annotated[str, Field(min_length=40, max_length=40, pattern=r"^[!-~]{40}$")]
"""32 bytes in Z85 (https://rfc.zeromq.org/spec/32)."""


class Role(StrEnum):
    """What a client's key entitles it to."""

    OPERATOR = "operator"
    READ_ONLY = "read_only"
    """Watch, and switch the lasers off."""


class ServerKeys(BaseModel):
    """The controller's own pair and the public keys that it admits."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    public: Key
    secret: Key
    operators: tuple[Key, ...]
    read_only: tuple[Key, ...]

    def role_of(self, client: bytes) -> Role | None:
        """The role of a client's public key (32 bytes); None: not admitted."""
        key = z85.encode(client).decode()
        if key in self.operators:
            return Role.OPERATOR
        return Role.READ_ONLY if key in self.read_only else None


def new(folder: str | Path) -> list[Path]:
    """Make ``server.json``, ``operator.json`` and ``read_only.json``, readable by their owner alone.

    On Windows the folder's own access list decides who may read: keep it inside the user's profile.

    Raises:
        BusError: the folder holds keys already, or cannot be written.
    """
    server, operator, read_only = (tuple(part.decode() for part in zmq.curve_keypair()) for _ in range(3))
    contents = {
        "server.json": ServerKeys(
            public=server[0], secret=server[1], operators=(operator[0],), read_only=(read_only[0],)
        ).model_dump(),
        "operator.json": {"public": operator[0], "secret": operator[1], "server": server[0]},
        "read_only.json": {"public": read_only[0], "secret": read_only[1], "server": server[0]},
    }
    try:
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        return [_write_secret(Path(folder) / name, content) for name, content in contents.items()]
    except FileExistsError as error:
        raise BusError("keys are there already", where=str(folder), remedy="choose a new folder") from error
    except OSError as error:
        raise BusError(f"keys cannot be written: {error.strerror}", where=str(folder)) from error


def _write_secret(path: Path, content: object) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    return path


def load(folder: str | Path) -> ServerKeys:
    """The controller's keys.

    Raises:
        BusError: ``server.json`` is missing, unreadable or malformed.
    """
    path = Path(folder) / "server.json"
    try:
        return ServerKeys.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BusError(f"no keys: {error.strerror}", where=str(path), remedy="smartscope keys new") from error
    except ValidationError as error:
        raise BusError("not a server key file", where=str(path), remedy="smartscope keys new") from error


class AllowList:
    """Answers, on its own thread, ZeroMQ's question about each new connection of one context (ZAP, RFC 27).

    The thread ends when the context is terminated.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys) -> None:
        self._keys = keys
        self._socket = context.socket(zmq.REP)
        self._socket.bind("inproc://zeromq.zap.01")
        self.thread = Thread(target=self._serve, name="bus-allow-list", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            while True:
                version, request, _domain, _address, _identity, mechanism, *credentials = self._socket.recv_multipart()
                role = self._keys.role_of(credentials[0]) if mechanism == b"CURVE" else None
                status = [b"200", b"OK", role.encode()] if role else [b"400", b"key not admitted", b""]
                self._socket.send_multipart([version, request, *status, b""])
        except zmq.ContextTerminated:
            self._socket.close(linger=0)
