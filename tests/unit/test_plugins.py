"""Names become objects; wrong names and options become errors that say what exists."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from smartscope import plugins
from smartscope.errors import PluginError

HERE = __name__


class Thing:
    """A plug-in with options."""

    def __init__(self, setup: str, *, gain: Annotated[float, Field(gt=0)] = 2.0, mode: str = "a") -> None:
        self.setup, self.gain, self.mode = setup, gain, mode


not_a_class = 3


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "plugin_of_a_user", sys.modules[HERE])


def test_a_dotted_path_is_built_with_checked_options() -> None:
    for path in ("plugin_of_a_user:Thing", "plugin_of_a_user.Thing"):
        thing = plugins.build("models", path, {"gain": 3}, "setup")
        assert (thing.setup, thing.gain, thing.mode) == ("setup", 3.0, "a")


def test_wrong_options_are_all_named() -> None:
    problems = plugins.check_options(Thing, {"gain": -1, "gian": 2}, "pipeline.0.options")
    assert {problem.key for problem in problems} == {"pipeline.0.options.gain", "pipeline.0.options.gian"}
    with pytest.raises(PluginError, match="gian"):
        plugins.build("models", "plugin_of_a_user:Thing", {"gian": 2}, "setup")


def test_an_unknown_name_lists_what_exists() -> None:
    with pytest.raises(PluginError, match="detect_cells"):
        plugins.find("models", "dettect")


def test_without_installation_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda **_: ())
    with pytest.raises(PluginError, match="install the project"):
        plugins.find("models", "denoise")


@pytest.mark.parametrize("path", ["no_such_module:Thing", "plugin_of_a_user:Nothing", "plugin_of_a_user:not_a_class"])
def test_a_path_that_leads_nowhere(path: str) -> None:
    with pytest.raises(PluginError):
        plugins.find("policies", path)


def test_long_values_are_shortened() -> None:
    (problem,) = plugins.check_options(Thing, {"mode": list(range(100))}, "o")
    assert len(problem.value) == 60


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wants_torch.py").write_text("raise ModuleNotFoundError('No module named torch.fft', name='torch.fft')")
    (tmp_path / "wants_more.py").write_text("import a_package_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"pip install 'smartscope\[torch\]'"):
        plugins.find("models", "wants_torch:Model")
    with pytest.raises(PluginError, match="check the spelling"):
        plugins.find("models", "wants_more:Model")
