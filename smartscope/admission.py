"""Which results may drive hardware: none that is too old, and nothing that rests on an image that nobody can trust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from smartscope.config import SafetyConfig
from smartscope.ports import READABLE, Policy
from smartscope.result import Result


class Refusal(NamedTuple):
    """Why a policy's requests on a result are refused."""

    by: str
    """``age`` or ``image_trust``."""
    why: str


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of one run; they know no clock, so a replay admits what the run admitted."""

    max_age_ms: float
    min_image_trust: float

    @classmethod
    def of(cls, safety: SafetyConfig) -> Admission:
        """As configured."""
        return cls(safety.max_result_age_ms, safety.min_image_trust)

    def too_old(self, result: Result, t_ns: int) -> Refusal | None:
        """At time ``t_ns``, counted from the middle of the exposure."""
        if (age_ms := (t_ns - result.frame.t_mid_ns) / 1e6) <= self.max_age_ms:
            return None
        return Refusal("age", f"the result is {age_ms:.0f} ms old; at most {self.max_age_ms:g} (max_result_age_ms)")

    def untrusted(self, result: Result) -> Refusal | None:
        """Where there is a denoised image that does not explain its frame, or that nobody has judged."""
        if result.image is None and not result.from_image:
            return None
        if result.image_trust is None:
            return Refusal("image_trust", "nobody has judged the denoised image")
        if result.image_trust >= self.min_image_trust:
            return None
        why = f"trust in the image {result.image_trust:.2g}; at least {self.min_image_trust:g} (min_image_trust)"
        return Refusal("image_trust", f"{why}: {result.why_trust}" if result.why_trust else why)


def rests_on_image(policy: Policy, result: Result) -> bool:
    """Whether the policy reads anything of this result that comes from the denoised image.

    Of ``quality`` it is shown the raw figures alone, so that reading it does not count.
    """
    reads: frozenset[str] = getattr(policy, "reads", READABLE)
    return bool((reads - {"quality"}) & result.from_image)
