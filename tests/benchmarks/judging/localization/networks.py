"""Networks beside each other: learned numbers, multiply-adds of a frame, time on this processor, what they find."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from judging.figures import Row
from smartscope_models.localization.sight import CONDITIONS
from smartscope_models.training.learn_localizer import LOCALIZER_RECIPES
from smartscope_models.training.localizer import Localizer

from .bench import Bench
from .crowds import crowded, judged
from .multiply_adds import multiply_adds, parameters
from .peer_networks import FRAMES, PEER_NETWORKS

SIDE_PX = 128
OURS = "ours"


def networks(bench: Bench) -> dict[str, Any]:
    """Costs; and what each finds on its own, by the same decoder, where trained peers were given."""
    torch.set_num_threads(1)
    rows = costs(bench.turns)
    mine = next(row for row in rows if row["network"] == OURS)
    for row in rows:
        row["over_ours"] = row["gmac_streamed"] / mine["gmac_streamed"]
    found = judged(bench, crowded(bench), ("density",), bench.alone) if bench.alone else {}
    return {"side_px": SIDE_PX, "costs": rows, **found}


def costs(turns: int) -> list[Row]:
    """Of one frame; streamed: what was made of the two frames before is kept, which all three networks allow."""
    cells = SIDE_PX // 2
    ours = Localizer(LOCALIZER_RECIPES["localize_flat"].sizes).eval()
    earlier = torch.zeros(1, 2 * ours.sizes.stem, cells, cells)
    told = torch.zeros(1, CONDITIONS)

    def one() -> object:
        return ours(torch.zeros(1, 4, cells, cells), earlier, told)

    counted = sum(multiply_adds(ours, one).values())
    rows = [{"network": OURS, **_row(ours, counted, counted), **_timed(one, turns)}]
    for name, kind in PEER_NETWORKS.items():
        peer = kind().eval()

        def run(peer: torch.nn.Module = peer) -> object:
            return peer(torch.zeros(1, FRAMES, SIDE_PX, SIDE_PX), told)

        layers = multiply_adds(peer, run)
        each = sum(number for layer, number in layers.items() if layer.startswith("per_frame."))
        window = sum(layers.values())
        rows.append(
            {"network": name, **_row(peer, window, window - each * (FRAMES - 1) // FRAMES), **_timed(run, turns)}
        )
    return rows


def _row(network: torch.nn.Module, window: int, streamed: int) -> Row:
    return {"parameters": parameters(network), "gmac_window": window / 1e9, "gmac_streamed": streamed / 1e9}


def _timed(run: Callable[[], object], turns: int) -> Row:
    """CPU milliseconds by torch, one thread, whole window."""
    took = []
    with torch.inference_mode():
        run()
        for _ in range(turns):
            began = time.process_time()
            run()
            took.append(1e3 * (time.process_time() - began))
    return {"cpu_ms_window": float(np.median(took))}
