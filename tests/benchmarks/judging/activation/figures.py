"""How well a run held its density: settled when, how far above, how evenly, beside what blinking alone allows."""

from __future__ import annotations

from typing import Any

import numpy as np

from judging.activation.witness import Diary

NEAR, IN_A_ROW = 0.1, 10
"""Settled: ten one-second means in a row within ten per cent."""


def per_second(values: list[float] | list[int], t_s: list[float]) -> np.ndarray:
    """Means (S,) of each whole second since the first frame; not a number for a second without frames."""
    seconds = np.floor(np.array(t_s) - t_s[0]).astype(int)
    totals = np.bincount(seconds, np.array(values, float))
    counts = np.bincount(seconds)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (totals / counts)[: int(t_s[-1] - t_s[0] + 0.5)]


def settled_s(active: np.ndarray, target: float) -> int | None:
    """The first second from which ten means in a row are near the target; None: never."""
    near = np.abs(active / target - 1) <= NEAR
    return next((i for i in range(len(near) - IN_A_ROW + 1) if near[i : i + IN_A_ROW].all()), None)


def blinking_bound(visits: list[int], active: float, frames_per_s: float) -> float:
    """Relative standard deviation of one-second means of molecules that switch on at an even rate.

    Each brings as many sightings as its visit has frames, k: variance over mean of the sum is E[k^2] / E[k].
    """
    k = np.array(visits, float)
    return float(np.sqrt((k**2).mean() / k.mean() / (active * frames_per_s)))


def steadiness(means: np.ndarray, target: float) -> dict[str, Any]:
    """Settling, peak and deviation of one-second means, from the target and from their own level.

    The own level, the mean of the second half, is independent of a scale that the counter has wrong.
    """
    level = float(np.nanmean(means[len(means) // 2 :]))
    settled, level_reached = settled_s(means, target), settled_s(means, level)
    late, at_level = means[settled or 0 :], means[level_reached or 0 :]
    return {
        "mean_active": float(np.nanmean(late)),
        "settled_s": settled,
        "peak": float(np.nanmax(means) / target),
        "rms": float(np.sqrt(np.nanmean((late / target - 1) ** 2))),
        "own_level": level,
        "settled_at_own_level_s": level_reached,
        "peak_over_own_level": float(np.nanmax(means) / level),
        "rms_about_own_level": float(np.sqrt(np.nanmean((at_level / level - 1) ** 2))),
    }


def held(diary: Diary, target: float) -> dict[str, Any]:
    """Figures of a run: of all active molecules, and of those alone that nobody should miss."""
    t_s = diary.t_s
    active, power_mw = per_second(diary.active, t_s), per_second(diary.power_mw, t_s)
    frames_per_s = (len(t_s) - 1) / (t_s[-1] - t_s[0])
    found = steadiness(active, target)
    return {
        "seconds": len(active),
        **found,
        "plain": steadiness(per_second(diary.plain, t_s), target),
        "blinking_bound": blinking_bound(diary.visits, found["mean_active"], frames_per_s),
        "counted_over_active": float(np.nansum(diary.counted) / np.sum(diary.active)),
        "localizations": int(np.sum(diary.found)),
        "right": int(np.sum(diary.right)),
        "power_mw_mean": float(np.nanmean(power_mw)),
        "power_mw_end": float(power_mw[-1]),
        "active_end": float(np.nanmean(active[-10:])),
    }


def after_failure(diary: Diary, from_s: float, target: float) -> dict[str, Any]:
    """Whether the light went down, not up."""
    power_mw, active = per_second(diary.power_mw, diary.t_s), per_second(diary.active, diary.t_s)
    begin = int(from_s)
    before_mw = float(power_mw[begin - 10 : begin].mean())
    return {
        "power_mw_before": before_mw,
        "highest_power_over_before": float(np.nanmax(power_mw[begin:]) / before_mw),
        "power_mw_end": float(power_mw[-1]),
        "highest_density_over_target": float(np.nanmax(active[begin:]) / target),
        "density_over_target_end": float(np.nanmean(active[-10:]) / target),
    }
