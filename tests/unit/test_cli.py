"""Commands that need no run: schema, doctor, keys, version, wrong usage."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smartscope import __version__, doctor
from smartscope.cli import app, main

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
runner = CliRunner()


def output(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_version() -> None:
    assert output("--version").strip() == f"smartscope {__version__}"


def test_schema_of_the_configuration_lists_the_options_of_every_plug_in() -> None:
    schema = json.loads(output("schema", "config"))
    assert schema["properties"]["start"]
    assert schema["additionalProperties"] is False
    assert "target_signal_to_noise" in schema["x-plugins"]["policies"]["exposure"]["properties"]
    assert "movie" in schema["x-plugins"]["microscopes"]["replay"]["properties"]


def test_schema_of_a_plug_in_that_cannot_be_imported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartscope.plugins.names", lambda group: ["nowhere:Nothing"])
    schema = json.loads(output("schema", "config"))
    assert "cannot be imported" in schema["x-plugins"]["models"]["nowhere:Nothing"]["description"]


def test_schema_of_the_wire() -> None:
    assert json.loads(output("schema", "wire"))


def test_doctor_finds_the_plug_ins_and_shows_all_topics() -> None:
    findings = json.loads(output("doctor", "--json"))
    assert findings["plugins"]["microscopes.simulated"] == "ok"
    text = output("doctor")
    assert all(f"{topic}:" in text for topic in findings)


def test_doctor_names_what_is_amiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: {"mm-test-adapters": "1.2"}.get(package))
    monkeypatch.setattr("smartscope.plugins.names", lambda group: ["nowhere:Nothing"])
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1e9}))
    warnings = "\n".join(doctor.examine()["warnings"])
    assert "numpy is not installed" in warnings
    assert "does not match device interface" in warnings
    assert "GB free here" in warnings
    assert "nowhere:Nothing" in warnings


def test_doctor_without_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartscope.plugins.names", lambda group: [])
    assert any("no plug-ins are registered" in warning for warning in doctor.examine()["warnings"])


def test_check_as_json() -> None:
    result = runner.invoke(app, ["check", str(DEMO), "--json", "--set", "start.exposure_ms=500"])
    assert result.exit_code == 1
    assert json.loads(result.output)["problems"][0]["key"] == "start.exposure_ms"
    assert "nothing wrong" in output("check", str(DEMO))


def test_keys(tmp_path: Path) -> None:
    said = output("keys", "new", str(tmp_path / "keys"))
    made = {path.name for path in (tmp_path / "keys").iterdir()}
    assert {name for name in made if name in said} == {"operator.json", "read_only.json"}


def test_wrong_usage_is_2() -> None:
    assert runner.invoke(app, ["run"]).exit_code == 2
    assert runner.invoke(app, ["replay", "x", "--schedule", "sometimes"]).exit_code == 2


def test_a_deliberate_error_is_one_line_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["smartscope", "run", "nowhere.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.splitlines() == [
        "smartscope: nowhere.yaml: no such file; remedy: give the path of an experiment's YAML file"
    ]


def test_figures_are_shown_with_and_without_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartscope.benchmarks.bus_figures", lambda: {"offer_us": 9})
    assert output("bench", "bus") == "offer_us: 9\n"
    assert json.loads(output("bench", "bus", "--json")) == {"offer_us": 9}
