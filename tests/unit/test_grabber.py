"""The grabber numbers frames, counts the missing, hands on by reference, and lends the camera out."""

import pytest
from fakes import SHAPE, FakeMicroscope, small_roi

from smartscope.clock import VirtualClock
from smartscope.command import SetRoi
from smartscope.errors import CameraStopped, DeviceTimeout
from smartscope.frame import Certainty, Frame
from smartscope.grabber import Grabber, Window
from smartscope.mailbox import NewestWins


class Rig:
    """A grabber on a fake microscope."""

    def __init__(self, history: int = 0, frames: int = 10**9) -> None:
        self.clock = VirtualClock()
        self.microscope = FakeMicroscope(self.clock, frames=frames)
        self.seen: list[Frame] = []
        self.mailbox: NewestWins[Window] = NewestWins()
        self.grabber = Grabber(
            self.microscope, self.clock, [self.seen.append], self.mailbox, history=history, frame_timeout_s=0.5
        )
        self.grabber.open_epoch()

    def take(self, count: int) -> None:
        for _ in range(count):
            self.clock.advance_to(self.microscope.frame_due_ns())
            self.grabber.step(0.0)


def test_indices_have_no_gaps_and_losses_are_counted() -> None:
    rig = Rig()
    rig.microscope.lost = {0, 3, 4}
    rig.take(5)
    assert [frame.index for frame in rig.seen] == [0, 1, 2, 3, 4]
    assert [frame.number for frame in rig.seen] == [1, 2, 5, 6, 7]
    assert [frame.lost_before for frame in rig.seen] == [1, 0, 2, 0, 0]
    assert rig.grabber.statistics().lost == 3


def test_pixels_travel_by_reference() -> None:
    rig = Rig()
    rig.take(1)
    window = rig.mailbox.take()
    assert window is not None
    assert window[0].pixels is rig.seen[0].pixels


def test_history_is_what_the_models_asked_for_and_ends_at_an_epoch() -> None:
    rig = Rig(history=2)
    rig.take(5)
    window = rig.mailbox.take()
    assert window is not None
    assert [frame.index for frame in window] == [2, 3, 4]
    rig.grabber.restart_around(lambda: None)
    rig.take(1)
    window = rig.mailbox.take()
    assert window is not None
    assert [frame.index for frame in window] == [5]


def test_a_loan_stops_drains_sets_and_starts_a_new_epoch() -> None:
    rig = Rig()
    rig.take(2)
    rig.microscope.calls.clear()
    future = rig.grabber.borrow(lambda: rig.microscope.apply(SetRoi(small_roi())))
    rig.take(1)
    assert future.result(0).made_true == SetRoi(small_roi())
    assert rig.microscope.calls == ["stop", "roi", "start"]
    assert rig.grabber.statistics().epochs == 2
    rig.take(1)
    assert rig.seen[-1].epoch == 1


def test_a_loan_that_fails_still_starts_the_camera_and_tells_the_borrower() -> None:
    rig = Rig()

    def fail() -> None:
        raise RuntimeError("no")

    future = rig.grabber.borrow(fail)
    rig.take(1)
    with pytest.raises(RuntimeError):
        future.result(0)
    assert rig.microscope.calls[-1] == "start"


def test_a_silent_camera_is_a_fault_after_exposure_and_timeout() -> None:
    rig = Rig()
    rig.microscope.silent_from = 1
    rig.take(1)
    rig.clock.advance_to(rig.clock.now_ns() + 400_000_000)
    assert rig.grabber.step(0.0) is None
    rig.clock.advance_to(rig.clock.now_ns() + 110_000_000)
    with pytest.raises(DeviceTimeout, match=r"no frame for 0\.5 s"):
        rig.grabber.step(0.0)


def test_the_end_of_a_movie_is_no_silence() -> None:
    rig = Rig(frames=1)
    rig.take(1)
    rig.clock.advance_to(10**12)
    assert rig.grabber.step(0.0) is None


def test_a_dead_camera_raises() -> None:
    rig = Rig()
    rig.microscope.dies_at = 1
    rig.take(1)
    with pytest.raises(CameraStopped):
        rig.take(1)


def test_a_driver_that_restarts_by_itself_opens_an_epoch() -> None:
    rig = Rig(history=3)
    rig.take(2)
    rig.microscope.start(7)
    rig.take(1)
    assert rig.seen[-1].lost_before == 0
    assert rig.seen[-1].pixels.shape == SHAPE


def test_a_frame_during_which_the_lease_may_have_lapsed_is_sure_of_no_light() -> None:
    rig = Rig()
    rig.grabber._in_doubt = lambda t_start_ns, t_end_ns: t_end_ns > 7_000_000
    rig.take(2)
    assert [frame.mixed for frame in rig.seen] == [False, True]
    assert rig.seen[1].certainty["light:laser"] is Certainty.MIXED
