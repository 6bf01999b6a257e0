"""TensorRT's log: errors are kept for our messages, chatter is dropped, and nothing a log does can stop a build."""

from __future__ import annotations

import pytest
from fake_tensorrt import ILogger, World, fake_tensorrt

from smartscope_models.engines.tensorrt_log import LINES, log_of

Severity = ILogger.Severity


def test_errors_are_kept_from_listen_on() -> None:
    log = log_of(fake_tensorrt(World()))
    log.native.log(Severity.ERROR, "earlier")
    with log.listen():
        assert log.said() == "TensorRT gave no reason"
        log.native.log(Severity.ERROR, "  first\n")
        log.native.log(Severity.WARNING, "by the way")
        log.native.log(Severity.INTERNAL_ERROR, "second")
        assert log.said() == "first | second"


def test_a_flood_of_errors_is_bounded() -> None:
    log = log_of(fake_tensorrt(World()))
    with log.listen():
        for number in range(10 * LINES):
            log.native.log(Severity.ERROR, str(number))
        assert log.said().count("|") == LINES - 1


def test_a_module_has_one_log() -> None:
    module = fake_tensorrt(World())
    assert log_of(module) is log_of(module)
    assert log_of(module) is not log_of(fake_tensorrt(World()))


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.INTERNAL_ERROR, "WARNING"),  # what is done about it decides whether it is an error
        (Severity.ERROR, "WARNING"),
        (Severity.WARNING, "WARNING"),
        (Severity.INFO, "DEBUG"),
        (Severity.VERBOSE, None),
    ],
)
def test_severities_become_levels(severity: Severity, level: str | None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1):
        log_of(fake_tensorrt(World())).native.log(severity, "words")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == (
        [(level, "TensorRT: words")] if level else []
    )
