"""What the log looks like, and what never gets into it."""

import io
import json
import logging

import pytest

from vectorops import logs


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.TALKATIVE}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(capture=False)


def test_json_lines_carry_resource_and_reason():
    stream = io.StringIO()
    logs.configure(as_json=True, level="info", stream=stream)

    logging.getLogger("vectorops.test").info(
        "it is %s", "so", extra={"resource": "PointSet team/cats", "reason": "Succeeded"}
    )

    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "vectorops.test",
        "message": "it is so",
        "resource": "PointSet team/cats",
        "reason": "Succeeded",
    }


def test_a_traceback_stays_in_its_line():
    stream = io.StringIO()
    logs.configure(as_json=True, level="info", stream=stream)

    try:
        int("x")
    except ValueError:
        logging.getLogger("vectorops.test").exception("failed")

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["traceback"]


def test_text_lines_are_for_eyes():
    stream = io.StringIO()
    logs.configure(as_json=False, level="info", stream=stream)

    logging.getLogger("vectorops.test").warning("as it is", extra={"resource": "PointSet team/cats"})

    assert stream.getvalue().rstrip().endswith("WARNING as it is resource=PointSet team/cats")


@pytest.mark.parametrize("level", ["debug", "info"])
def test_kopf_does_not_get_to_print_bodies(level):
    stream = io.StringIO()
    logs.configure(as_json=True, level=level, stream=stream)

    logging.getLogger("kopf.objects").debug("Updating is in progress: {'spec': {'payload': 'private'}}")
    logging.getLogger("httpx").info("HTTP Request: GET http://qdrant")
    logging.getLogger("vectorops.test").info("ours")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["ours"]
