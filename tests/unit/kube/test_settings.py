"""Flags and variables of `vectorops run`."""

from dataclasses import fields

import pytest
import typer
from typer.testing import CliRunner

from vectorops.embedders.base import EmbedderSettings
from vectorops.settings import LogFormat, LogLevel, Settings, command_of, parse_bytes
from vectorops.sources.source_settings import SourceSettings


@pytest.fixture
def parse():
    def parsed(arguments: list[str], environment: dict[str, str] | None = None) -> Settings | str:
        """The settings, or what was complained of."""
        found: list[Settings] = []
        # Without boxes, whose width breaks the words somewhere: where, a long path decides.
        app = typer.Typer(rich_markup_mode=None)
        app.command()(command_of(Settings, found.append))
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
def test_each_setting_is_a_flag_and_a_variable(parse, tmp_path, name):
    flag, variable = f"--{name.replace('_', '-')}", f"VECTOROPS_{name.upper()}"
    given = {"log_format": "text", "log_level": "error", "offline": "true"}
    given |= dict.fromkeys(("model_folder", "source_folder", "staging_folder"), str(tmp_path))
    value = given.get(name, "7")

    told = parse([], {variable: value})

    assert isinstance(told, Settings)
    assert told == parse([flag] if isinstance(getattr(told, name), bool) else [f"{flag}={value}"])
    assert told != Settings()


def test_a_variable_can_say_that_models_may_be_asked_for_on_the_hub(parse):
    assert parse([], {"VECTOROPS_OFFLINE": "false"}) == Settings()


def test_what_is_said_of_embedders_reaches_them(parse, tmp_path):
    flags = [
        f"--model-folder={tmp_path}",
        "--offline",
        "--allowed-model=sentence-transformers/*",
        "--allowed-model=BAAI/*",
        "--allowed-host=*.openai.com",
        "--embedding-device=cpu",
        "--embedding-threads=3",
        "--embedding-idle-seconds=20",
        "--embedding-concurrency=2",
        "--embedding-timeout-seconds=5",
    ]

    assert parse(flags).embedders == EmbedderSettings(
        model_folder=tmp_path,
        offline=True,
        allowed_models=("sentence-transformers/*", "BAAI/*"),
        allowed_hosts=("*.openai.com",),
        device="cpu",
        threads=3,
        idle_seconds=20,
        concurrency=2,
        timeout_seconds=5,
    )


def test_without_flags_embedders_have_their_own_defaults(parse):
    assert parse([]).embedders == EmbedderSettings()


@pytest.mark.parametrize("flag", ["--model-folder", "--source-folder", "--staging-folder"])
def test_a_folder_that_is_not_there_is_refused_before_anything_runs(parse, tmp_path, flag):
    assert "does not exist" in parse([f"{flag}={tmp_path / 'nowhere'}"])


def test_what_is_said_of_sources_reaches_them(parse, tmp_path):
    flags = [
        "--allowed-source-host=*.amazonaws.com",
        "--allowed-source-host=files.example.org",
        f"--source-folder={tmp_path}",
        f"--staging-folder={tmp_path}",
        "--staging-bytes=9728Mi",
        "--max-unpacked-bytes=1G",
    ]

    assert parse(flags).sources == SourceSettings(
        allowed_hosts=("*.amazonaws.com", "files.example.org"),
        folder=tmp_path,
        staging_folder=tmp_path,
        staging_bytes=9728 * 2**20,
        max_unpacked_bytes=10**9,
    )


def test_without_flags_sources_have_their_own_defaults(parse):
    assert parse([]).sources == SourceSettings()


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("4096", 4096), ("2k", 2000), ("3Ki", 3072), ("1Ti", 2**40)])
def test_a_size_has_a_unit_of_kubernetes_or_none(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "wrong",
    [
        "--workers=0",
        "--per-endpoint=0",
        "--max-migrations=0",
        "--health-port=70000",
        "--log-format=xml",
        "--embedding-threads=0",
    ]
    + [f"--staging-bytes={size}" for size in ("much", "-1", "1.5Gi", "10GiB", "10 Gi", "")],
)
def test_nonsense_is_refused_by_name(parse, wrong):
    assert wrong.partition("=")[0] in parse([wrong])
