"""Flags and variables of `vectorops run`."""

from dataclasses import fields

import pytest
import typer
from typer.testing import CliRunner

from vectorops.settings import LogFormat, LogLevel, Settings, command


@pytest.fixture
def parse():
    def parsed(arguments: list[str], environment: dict[str, str] | None = None) -> Settings | str:
        """The settings, or what was complained of."""
        found: list[Settings] = []
        app = typer.Typer()
        app.command()(command(found.append))
        result = CliRunner().invoke(app, arguments, env=environment)
        return found[0] if result.exit_code == 0 else result.output

    return parsed


def test_without_flags_the_defaults_hold(parse):
    assert parse([]) == Settings()


def test_flags_are_read(parse):
    flags = [
        "--namespace=a",
        "--namespace=b",
        "--workers=3",
        "--log-format=text",
        "--log-level=debug",
        "--health-port=0",
    ]

    assert parse(flags) == Settings(
        namespace=["a", "b"],
        workers=3,
        log_format=LogFormat.TEXT,
        log_level=LogLevel.DEBUG,
        health_port=0,
    )


def test_variables_are_read_and_flags_win(parse):
    variables = {"VECTOROPS_NAMESPACE": "a b a", "VECTOROPS_WORKERS": "3", "VECTOROPS_INSTALLATION": "here"}

    found = parse(["--workers=5"], variables)

    assert found.namespaces == ("a", "b")
    assert (found.workers, found.installation) == (5, "here")


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_each_setting_is_a_flag_and_a_variable(parse, name):
    value = {"log_format": "text", "log_level": "error"}.get(name, "7")

    assert parse([f"--{name.replace('_', '-')}={value}"]) == parse([], {f"VECTOROPS_{name.upper()}": value})
    assert parse([], {f"VECTOROPS_{name.upper()}": value}) != Settings()


@pytest.mark.parametrize("wrong", ["--workers=0", "--per-endpoint=0", "--health-port=70000", "--log-format=xml"])
def test_nonsense_is_refused_by_name(parse, wrong):
    assert wrong.partition("=")[0] in parse([wrong])
