"""The terminal's view of a running controller: what it is doing, how well, and why it decided as it did."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from smartscope.bus.client import DEFAULT_ENDPOINT, EVENTS, Client, ClientError, Message
from smartscope.errors import BusError

SILENCE_S = 3.0
"""So long without a heartbeat, and the controller counts as gone."""
_STALE_MS = 1000.0
_DECISIONS_SHOWN = 8
_EVENTS_SHOWN = 5
_PASSED_OVER = {"too old": "stale_results", "not trusted": "untrusted_results", "by fall-back": "fallback_results"}


class Board:
    """What is known from the messages so far; ``panel`` for a terminal, ``line`` for a log."""

    def __init__(self) -> None:
        self.session = ""
        self.state = "unknown"
        self.metrics: dict[str, Any] = {}
        self.decisions: deque[str] = deque(maxlen=_DECISIONS_SHOWN)
        self.events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        """Of the specimen, the last ones."""
        self.alarm = ""
        self._frame_ns: int | None = None
        self._published_ns = 0
        self._heard_s = time.monotonic()

    def update(self, message: Message) -> None:
        """Take in one message."""
        header = message.header
        self.session, self._published_ns, self._heard_s = header["session"], header["t_published_ns"], time.monotonic()
        match header["type"]:
            case "state":
                self.state = f"{header['state']} ({header['why']})" if header.get("why") else header["state"]
            case "metrics":
                self.metrics |= {key: value for key, value in header.items() if value is not None}
                self._frame_ns = header["t_ns"]
            case "heartbeat" if header.get("frame_age_ms") is not None:
                self.metrics["frame"] = header["frame"]
                self._frame_ns = header["t_published_ns"] - round(header["frame_age_ms"] * 1e6)
            case "decision":
                self.decisions.append(decision_line(header))
            case "events":
                self.events.extend(event_lines(message))
            case "alarm":
                self.alarm = header["what"]

    def silence_s(self) -> float:
        """Since the last message."""
        return time.monotonic() - self._heard_s

    def frame_age_ms(self) -> float | None:
        """How old the newest frame is by now, on the controller's clock."""
        if self._frame_ns is None:
            return None
        return (self._published_ns - self._frame_ns) / 1e6 + self.silence_s() * 1e3

    def figures(self) -> list[tuple[str, str]]:
        """Name and value of what there is to show."""
        known, age_ms = self.metrics, self.frame_age_ms()
        lights = ", ".join(f"{name} {power:.3g} mW" for name, power in known.get("lights_mw", {}).items())
        rows = [
            ("frame", _number(known, "frame", "{}")),
            ("frame age", "" if age_ms is None else f"{age_ms:.0f} ms"),
            ("signal to noise", _number(known, "signal_to_noise", "{:.2f}")),
            ("molecules glowing", _number(known, "emitters", "{:.1f}")),
            ("density", _number(known, "density_per_um2", "{:.3g} per µm²")),
            ("molecules found", _number(known, "localizations", "{:,.0f}")),
            ("localised within", _number(known, "localization_error_nm", "{:.1f} nm")),
            ("ring resolution", _number(known, "ring_resolution_nm", "{:.0f} nm")),
            ("events", ", ".join(f"{count} {kind}" for kind, count in known.get("events", {}).items())),
            ("exposure", _number(known, "exposure_ms", "{:.4g} ms")),
            ("power", lights),
            ("dose", _number(known, "dose_j_per_cm2", "{:.4g} J/cm²")),
            ("dose budget", _number(known, "budget_j_per_cm2", "{:.4g} J/cm²")),
            ("latency p50", _number(known, "latency_p50_ms", "{:.1f} ms")),
            ("latency p95", _number(known, "latency_p95_ms", "{:.1f} ms")),
            ("lost", _number(known, "lost_frames", "{} frames")),
            ("displaced", _number(known, "displaced_frames", "{} frames")),
            *((name, f"{known[key]} results") for name, key in _PASSED_OVER.items() if known.get(key)),
        ]
        return [(name, value) for name, value in rows if value]

    def line(self) -> str:
        """All figures in one line."""
        return "; ".join([f"state {self.state}", *(f"{name} {value}" for name, value in self.figures())])

    def panel(self) -> Group:
        """The whole view for a terminal."""
        gone = self.silence_s() > SILENCE_S
        colour = "red" if gone or self.alarm else "green"
        banner = f"no word for {self.silence_s():.0f} s" if gone else self.state
        parts: list[Any] = [Text(f" {banner}  {self.session} ", style=f"bold white on {colour}")]
        if self.alarm:
            parts.append(Text(self.alarm, style="bold red"))
        age_ms = self.frame_age_ms()
        stale = age_ms is not None and age_ms > _STALE_MS
        table = Table.grid(padding=(0, 2))
        for name, value in self.figures():
            table.add_row(name, Text(value, style="dim" if stale else ""))
        return Group(*parts, table, *(Text(line) for line in (*self.events, *self.decisions)))


def event_lines(message: Message) -> list[str]:
    """One line for each event: ``214 division confirmed 0.97 at (31, 207) px since frame 211, track 8``."""
    header, columns = message.header, {name: column.tolist() for name, column in message.arrays.items()}
    lines = []
    for n in range(len(columns["event_id"])):
        event = {name: column[n] for name, column in columns.items()}
        kind, status = header["kinds"][event["kind"]], header["statuses"][event["status"]]
        who = ", track " + "/".join(str(event[name]) for name in ("track_id", "other_id") if event[name] >= 0)
        place = f"({event['x_px']:.0f}, {event['y_px']:.0f}) px since frame {event['onset_frame']}"
        told = f"{header['frame']} {kind} {status} {event['probability']:.2f} at {place}"
        lines.append(told + who if event["track_id"] >= 0 else told)
    return lines


def decision_line(decision: Mapping[str, Any]) -> str:
    """One decision with its reason."""
    asked, granted = _command(decision.get("asked")), _command(decision.get("granted"))
    if granted is None:
        fate = "not carried out" if decision.get("shadow") else "refused"
    else:
        fate = "granted" if granted == asked else f"granted {granted}"
    clipped = f" by {decision['clipped_by']}" if decision.get("clipped_by") else ""
    shadow = " (shadow)" if decision.get("shadow") else ""
    who = decision.get("policy", "")
    return f"{decision.get('frame', -1)} {who}: {asked}, {fate}{clipped}{shadow}: {decision.get('why', '')}"


def _command(command: Any) -> str | None:
    if isinstance(command, Mapping):
        parts = ((key, f"{value:.4g}" if isinstance(value, float) else value) for key, value in command.items())
        return " ".join(f"{key} {value}" for key, value in parts if key != "type")
    return None if command is None else str(command)


def _number(known: Mapping[str, Any], key: str, form: str) -> str:
    return form.format(known[key]) if key in known else ""


def watch(
    endpoint: str = DEFAULT_ENDPOINT, *, key_file: str | Path | None = None, console: Console | None = None
) -> int:
    """Show the session until it ends or Ctrl-C; a live view on a terminal, plain lines elsewhere. Returns 0.

    Raises:
        BusError: nothing answers at ``endpoint``.
    """
    console, board = console or Console(), Board()
    try:
        with Client(endpoint, key_file=key_file) as client:
            if console.is_terminal:
                with Live(get_renderable=board.panel, console=console, refresh_per_second=4):
                    _follow(client, board, None)
            else:
                _follow(client, board, console)
    except KeyboardInterrupt:
        pass
    except ClientError as error:
        raise BusError(str(error), where=endpoint) from error
    return 0


def _follow(client: Client, board: Board, lines: Console | None) -> None:
    for message in client.subscribe(*EVENTS, "events"):
        board.update(message)
        kind = message.header["type"]
        if lines and kind in ("state", "heartbeat"):
            lines.print(board.line(), markup=False, soft_wrap=True)
        elif lines and kind == "events":
            for said in event_lines(message):
                lines.print(f"event {said}", markup=False, soft_wrap=True)
        elif lines and kind in ("decision", "alarm"):
            said = board.alarm if kind == "alarm" else board.decisions[-1]
            lines.print(f"{kind} {said}", markup=False, soft_wrap=True)
        if kind == "session.end":
            return


def laser_off(endpoint: str = DEFAULT_ENDPOINT, *, key_file: str | Path | None = None) -> int:
    """Switch every light off and print one line; 0 if the hardware confirms, else 1."""
    try:
        with Client(endpoint, key_file=key_file) as client:
            power_mw = client.laser_off()
    except ClientError as error:
        print(f"lasers NOT confirmed off: {error}", file=sys.stderr)
        return 1
    if lit := {light: power for light, power in power_mw.items() if power != 0}:
        print(f"lasers NOT off: {', '.join(f'{light} {power} mW' for light, power in lit.items())}", file=sys.stderr)
        return 1
    print(f"lasers off: {', '.join(f'{light} reads 0 mW' for light in power_mw) or 'there are none'}")
    return 0
