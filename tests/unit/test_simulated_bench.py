"""The light bench: light that outlives its process, and a history that readers can trust."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.errors import DeviceError
from smartscope_drivers.simulated.bench import RING, LightBench

LIGHTS = ("red", "green")


@pytest.fixture
def bench(tmp_path):
    """A bench of its own."""
    bench = LightBench(uuid.uuid4().hex, LIGHTS, tmp_path)
    yield bench
    bench.close()


def test_off_since_ever(bench) -> None:
    assert bench.read_back() == {"red": 0.0, "green": 0.0}
    assert bench.power_history("red", 0, 100) == [(0, 100, 0.0)]
    assert bench.lights == LIGHTS


def test_history_of_one_light(bench) -> None:
    bench.set_power("green", 2.5, 100)
    bench.set_power("green", 2.5, 150)  # no change
    bench.set_power("green", 0.0, 200)
    assert bench.power_history("green", 50, 250) == [(50, 100, 0.0), (100, 200, 2.5), (200, 250, 0.0)]
    assert bench.power_history("green", 120, 130) == [(120, 130, 2.5)]
    assert bench.power_history("green", 100, 200) == [(100, 200, 2.5)]
    assert bench.power_mw("red") == 0.0
    assert bench.changes_since("green", 1) == (2, [(200, 0.0)])


@settings(max_examples=30, deadline=None)
@given(changes=st.integers(0, 3 * RING), known=st.integers(0, RING))
def test_the_ring_keeps_the_newest(tmp_path_factory, changes: int, known: int) -> None:
    bench = LightBench(uuid.uuid4().hex, LIGHTS, tmp_path_factory.mktemp("bench"))
    try:
        for number in range(changes):
            bench.set_power("red", number + 1.0, 10 * number)
        count, seen = bench.changes_since("red", known)
        assert count == changes
        first = max(known, changes - RING + 1)
        assert seen == [(10 * number, number + 1.0) for number in range(first, changes)]
        assert bench.power_mw("red") == float(changes)
    finally:
        bench.close()


def test_two_processes_look_at_the_same_light(bench) -> None:
    other = LightBench(bench.path.stem.removeprefix("smartscope-lights-"), LIGHTS, bench.path.parent)
    other.set_power("red", 3.0, 5)
    assert bench.power_mw("red") == 3.0
    other.close()
    assert bench.power_mw("red") == 3.0


WRITER = """
import sys, time
from pathlib import Path
from smartscope_drivers.simulated.bench import LightBench
bench = LightBench(sys.argv[1], ("red", "green"), Path(sys.argv[2]))
number = 0
while True:
    number += 1
    bench.set_power("green", float(number), time.perf_counter_ns())
    if number == 5000:
        print("writing", flush=True)
"""


def test_light_survives_the_kill_of_its_writer(tmp_path: Path) -> None:
    """Killed in the middle of writing: the light is on, and the history is whole and in order."""
    token = uuid.uuid4().hex
    # the path, since the source roots need not be installed
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, token, str(tmp_path)]
    bench = LightBench(token, LIGHTS, tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            for _ in range(200):  # read while it writes
                count, seen = bench.changes_since("green", 0)
                assert [power for _, power in seen] == [float(n + 1) for n in range(count - len(seen), count)]
        finally:
            writer.kill()
    killed_ns = time.perf_counter_ns()
    count, seen = bench.changes_since("green", 0)
    assert bench.power_mw("green") == float(count) > 0
    assert len(seen) == RING - 1
    times = [t_ns for t_ns, _ in seen]
    assert times == sorted(times)
    assert times[-1] < killed_ns
    assert bench.power_history("green", killed_ns, killed_ns + 1000) == [(killed_ns, killed_ns + 1000, float(count))]
    bench.close()


def test_stale_benches_are_swept(tmp_path: Path) -> None:
    stale, fresh = tmp_path / "smartscope-lights-old.bin", tmp_path / "smartscope-lights-new.bin"
    for path, age_days in ((stale, 2), (fresh, 0.5)):
        path.write_bytes(b"")
        then = time.time() - age_days * 24 * 3600
        os.utime(path, (then, then))
    LightBench("mine", LIGHTS, tmp_path).close()
    assert not stale.exists()
    assert fresh.exists()


def test_bad_names_are_refused(tmp_path: Path, bench) -> None:
    with pytest.raises(DeviceError, match="cannot name a light bench"):
        LightBench("../x", LIGHTS, tmp_path)
    with pytest.raises(DeviceError, match=r"no light 'blue'.*red, green"):
        bench.set_power("blue", 1.0, 0)
