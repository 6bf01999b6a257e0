"""Whatever moves the microscope without a loop is judged all the same."""

import pytest
from fakes import VirtualRig

from smartscope.command import MoveStage, SetLight
from smartscope.errors import Refused
from smartscope.safety.gated import GatedMicroscope


def test_commands_are_judged_counted_and_meant_exactly() -> None:
    rig = VirtualRig(budget_j_per_cm2=1000.0)
    gated = GatedMicroscope(rig.microscope, rig.gate, rig.clock)
    gated.apply(SetLight("laser", 2.0))
    gated.apply(MoveStage(5.0, 0.0))
    rig.clock.sleep(1.0)
    assert rig.ledger.state(rig.clock.now_ns()).spent_j_per_cm2 > 0
    assert gated.settings().x_um == 5.0
    for command in (SetLight("laser", 99.0), MoveStage(900.0, 0.0), SetLight("lamp", 1.0)):
        with pytest.raises(Refused):
            gated.apply(command)
    with pytest.raises(Refused, match="loop"):
        gated.run_plan([])
    gated.dark()
    assert rig.microscope.darkened == 1
