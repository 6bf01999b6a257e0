"""``python -m smartscope_models.tuning DRAFT``: what :mod:`process` starts; gives up by itself, too."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from pathlib import Path

STARTED = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """Do what ``DRAFT/request.json`` asks; leaves a record, and a package where it was kept, in ``DRAFT/version``."""
    import torch

    from smartscope_models.tuning.job import do
    from smartscope_models.tuning.request import REQUEST, Request

    draft = Path((arguments if arguments is not None else sys.argv[1:])[0])
    request = Request.model_validate_json((draft / REQUEST).read_text(encoding="utf-8"))
    torch.set_num_threads(request.threads)
    do(request, draft, lambda: time.monotonic() - STARTED)
    return 0


def be_modest(patience_s: float) -> None:
    """Lowest priority (Windows: see :mod:`process`), and an end should whoever started it be gone."""
    if hasattr(os, "nice"):
        os.nice(19)
    faulthandler.dump_traceback_later(patience_s, exit=True)


if __name__ == "__main__":
    be_modest(float(sys.argv[2]))
    sys.exit(main())
