"""Only this file knows how life goes on in equal steps, with straight lines between them, whoever looks and when."""

from __future__ import annotations

from abc import ABC, abstractmethod

from smartscope.errors import InputError


class Paced(ABC):
    """Something that changes at the beginning of a step and moves during it.

    Args:
        step_s: length of a step.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._steps = 0
        self._t_s = 0.0

    def advance(self, t_s: float) -> None:
        """Move on to ``t_s``.

        Raises:
            InputError: it lies before the time already reached.
        """
        if t_s < self._t_s:
            raise InputError(
                f"a specimen at {self._t_s} s cannot go back to {t_s} s", remedy="make one of the same seed"
            )
        self._t_s = t_s
        while self._steps * self._step_s < t_s:
            self._change(self._steps)
            self._move(self._steps)
            self._steps += 1

    @property
    def _weight(self) -> float:
        """How much of the present step is over, 0 to 1."""
        return 1.0 - (self._steps - self._t_s / self._step_s)

    @abstractmethod
    def _change(self, number: int) -> None:
        """Let those come, go, divide and fuse whose time has come when step ``number`` begins."""

    @abstractmethod
    def _move(self, number: int) -> None:
        """Remember where everything is, and move it through step ``number``."""
