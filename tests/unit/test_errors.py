"""Errors are one line that a user can act on."""

from smartscope.errors import ConfigurationError, DeviceError, Problem


def test_line_has_place_range_and_remedy() -> None:
    error = DeviceError("no answer", where="stage", allowed="2 s", remedy="check the cable")
    assert str(error) == "stage: no answer; allowed: 2 s; remedy: check the cable"


def test_a_configuration_error_shows_every_problem() -> None:
    error = ConfigurationError(
        "a.yaml", [Problem("x", "1", "too small", "> 1", "raise it"), Problem("y", "", "missing")]
    )
    assert str(error) == "a.yaml: x = 1: too small; allowed: > 1; remedy: raise it | y: missing"
