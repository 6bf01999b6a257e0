"""How a counter that fails betrays itself: by light that it does not account for, or by power that nothing answers.

An estimator that loses molecules as they become dense tells a controller to raise the laser further; raw light does
not lose them. What is seen now is compared with the last look at which the counter was believed, and with an earlier
one at which it *worked*: after which the power fell, or the count answered its rise.
"""

from __future__ import annotations

import math

from smartscope.policies.emitters import Look

LASTING_S = 60.0
"""A look that worked is replaced by the newest one after so long: haze and focus drift, pools and dyes fade."""
ANSWER = 1.1
"""A count that rises by this factor answers a rise of power."""
UNANSWERED, UNANSWERED_IN_SIGHT = 4.0, 64.0
"""Rise of power that must have been answered by the count; more while raw light shows that nothing glows unseen."""
NEAR = 0.15
"""|ln(target / count)| within which the count is at its target, and need not rise."""
DRIFT = 0.02
"""Relative change of light that says nothing."""
UNKNOWN_MOLECULES = 0.2
"""Light of ``target`` molecules over all light, where nothing is known of one."""


def off_target(look: Look, target: float) -> float:
    """ln(target / count), the count being no less than half a molecule."""
    return math.log(target / max(look.emitters, 0.5))


def worked(then: Look, now: Look) -> bool:
    """Whether what is seen now replaces the look ``then`` as the one that worked."""
    answered = now.emitters > max(ANSWER, 1 + now.noise) * then.emitters
    return answered or now.power_mw < 0.98 * then.power_mw or now.at_s - then.at_s >= LASTING_S


def unexplained(then: Look, now: Look, target: float, slack: float) -> str:
    """Why the count contradicts the light since it worked: molecules came by the light, and hardly any were counted.

    ``slack``: molecules that may be missing whatever the count.
    """
    by_light, told = _more_by_light(then, now, target), now.emitters - then.emitters
    if by_light - told <= max(then.emitters / 2, slack) or told >= by_light / 3 or by_light <= 0:
        return ""
    return (
        f"light of {by_light:.2g} molecules more, while the count went from {then.emitters:.3g} to {now.emitters:.3g}"
    )


def vanished(then: Look, now: Look, target: float, slack: float) -> str:
    """Why a fall of the count since it was believed is none of the molecules': light or power fell by less.

    A pool that empties does so in many looks.
    """
    by_power = then.emitters * (min(1.0, now.power_mw / then.power_mw) - 1) if then.power_mw > 0 else 0.0
    expected = then.emitters + min(_more_by_light(then, now, target), by_power, 0.0)
    if expected - now.emitters <= max(expected / 2, slack):
        return ""
    return f"the count fell from {then.emitters:.3g} to {now.emitters:.3g}, where at least {expected:.3g} must be left"


def unanswered(then: Look, now: Look, target: float, floor_mw: float) -> str:
    """Why the power must not rise further: the count did not rise with it since it worked, nor is it at its target."""
    base_mw = max(then.power_mw, floor_mw)
    in_sight = then.light_e is not None and now.light_e is not None
    risen = now.power_mw >= (UNANSWERED_IN_SIGHT if in_sight else UNANSWERED) * base_mw
    if not risen or now.emitters > ANSWER * then.emitters or off_target(now, target) <= NEAR:
        return ""
    return f"{now.power_mw / base_mw:.2g} times the power brought {now.emitters:.3g} emitters after {then.emitters:.3g}"


def _more_by_light(then: Look, now: Look, target: float) -> float:
    """Molecules that came, or went, by the raw light; 0 where it is not measured or hardly changed."""
    if then.light_e is None or now.light_e is None or then.light_e <= 0:
        return 0.0
    more_e = now.light_e - then.light_e
    if abs(more_e) < DRIFT * then.light_e:
        return 0.0
    return more_e / (then.molecule_e or now.molecule_e or UNKNOWN_MOLECULES * then.light_e / target)
