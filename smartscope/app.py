"""The composition root: from a configuration to the objects of one run, in the order in which they must open and close."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from smartscope import plugins
from smartscope.bus.control import ControlHandlers, ControlServer
from smartscope.bus.publisher import Publisher
from smartscope.check import check
from smartscope.clock import LiveClock, VirtualClock
from smartscope.config import ExperimentConfig
from smartscope.decider import Decider, RankedPolicy
from smartscope.diary import Diary
from smartscope.errors import DeviceError, SmartscopeError
from smartscope.grabber import Grabber, Window
from smartscope.live import LiveRun
from smartscope.loop import Loop
from smartscope.mailbox import NewestWins
from smartscope.pipeline import Pipeline, Stage
from smartscope.ports import Capabilities, Clock, Instrument, Lights, LightsSetup, Microscope, MicroscopeSetup
from smartscope.progress import polling
from smartscope.recorder.folder import RunFolder
from smartscope.recorder.recorder import Recorder
from smartscope.report import summarise, write_report
from smartscope.safety.gate import SafetyGate
from smartscope.safety.ledger import DoseLedger
from smartscope.safety.lights import open_lights
from smartscope.safety.watchdog import Watchdog
from smartscope.virtual import Schedule, VirtualRun
