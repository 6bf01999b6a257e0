"""What controller and supervisor say to each other: one JSON object a line, orders one way, reports the other.

Times are ``time.perf_counter_ns()``, which all processes of one machine share.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from smartscope.config import NotNegative
from smartscope.ports import LightsSetup


class Message(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """As it travels."""
        return self.model_dump_json().encode() + b"\n"


class Start(Message):
    """The first line: which lights, how far they may go, whom to watch."""

    setup: LightsSetup
    max_power_mw: dict[str, float]
    """The supervisor's own hard limits; a light that is not named stays off."""
    lease_ms: float
    controller_pid: int | None
    """Process to end before its lights are taken over; None (an understudy): take over when told to, and only then."""


class SetPower(Message):
    """Set a light that the supervisor owns; answered by Done or Failed. Also renews the lease."""

    kind: Literal["set_power"] = "set_power"
    id: int
    light: str
    power_mw: NotNegative
    t_ns: int


class Renew(Message):
    """All is well at ``t_ns``; never answered, and never switches anything on."""

    kind: Literal["renew"] = "renew"
    t_ns: int
    controller_lit: bool = False
    """Whether a light that the controller owns may be on."""


class Dark(Message):
    """Every light off; answered by Done or Failed."""

    kind: Literal["dark"] = "dark"
    id: int
    latch: bool = False
    """Refuse light until Release."""


class Release(Message):
    """End the latch; never answered."""

    kind: Literal["release"] = "release"


class ReadBack(Message):
    """Tell what the hardware says; answered by Done or Failed."""

    kind: Literal["read_back"] = "read_back"
    id: int


class Rehearse(Message):
    """Hand-over at zero power: treat the lease as if a light were on, from ``t_ns``; answered by Darkened."""

    kind: Literal["rehearse"] = "rehearse"
    t_ns: int


class TakeOver(Message):
    """Open the lights that the controller owns, darken, read back; answered by TakenOver."""

    kind: Literal["take_over"] = "take_over"
    why: str
    end_controller: bool
    """False only in the rehearsal, for which the controller has closed its lights."""


class Close(Message):
    """Darken, let go of the hardware, end."""

    kind: Literal["close"] = "close"


class Ready(Message):
    """The lights are open and dark."""

    kind: Literal["ready"] = "ready"
    powers_mw: dict[str, float]


class Done(Message):
    """An order was carried out and confirmed by the hardware."""

    kind: Literal["done"] = "done"
    id: int
    powers_mw: dict[str, float]


class Failed(Message):
    """An order was not carried out; id 0: something went wrong without one."""

    kind: Literal["failed"] = "failed"
    id: int
    what: str
    refused: bool = False


class Darkened(Message):
    """The supervisor switched the lights off of its own accord."""

    kind: Literal["darkened"] = "darkened"
    why: str
    t_ns: int
    """When the hardware had confirmed it."""
    powers_mw: dict[str, float]


class TakenOver(Message):
    """The lights of the controller were opened and darkened by the supervisor."""

    kind: Literal["taken_over"] = "taken_over"
    took_ms: float
    powers_mw: dict[str, float]


class Alive(Message):
    """The supervisor runs; several a second."""

    kind: Literal["alive"] = "alive"


Order = SetPower | Renew | Dark | Release | ReadBack | Rehearse | TakeOver | Close
Report = Ready | Done | Failed | Darkened | TakenOver | Alive

orders: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="kind")])
reports: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])
