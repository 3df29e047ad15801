"""What tools/names.py counts, and what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools/names.py"


@pytest.fixture
def run(tmp_path):
    """Runs the tool on modules that are given as source."""

    def run(modules, *flags):
        for path, source in modules.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(source)
        command = [sys.executable, str(TOOL), *flags, str(tmp_path)]
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return result.returncode, result.stdout.replace(f"{tmp_path}/", "").splitlines()[:-1]

    return run


def test_a_name_that_two_modules_define_is_listed_with_its_places(run):
    _, lines = run(
        {
            "a.py": "def load(): ...\n",
            "deep/b.py": "\nclass load: ...\n",
            "c.py": "Mark = int | str\n",
            "d.py": "class Mark: ...\n",
        }
    )
    assert lines == ["Mark: c.py:1, d.py:1", "load: a.py:1, deep/b.py:2"]


def test_two_modules_of_one_name_are_listed(run):
    assert run({"a/rules.py": "", "b/rules.py": "", "a/__init__.py": "", "b/__init__.py": ""})[1] == [
        "rules.py: a/rules.py:1, b/rules.py:1"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def main(): ...\n",
        "def __getattr__(name): ...\n",
        "T = TypeVar('T')\n",
        "FORMAT = 1\n",
        "class Database:\n    def read(self): ...\n",
    ],
)
def test_what_is_no_second_thing(run, source):
    assert run({"a.py": source, "b.py": source.replace("Database", "Other")})[1] == []


def test_a_command_may_be_called_like_the_function_that_does_it(run):
    assert run({"cli.py": "@app.command()\ndef plan(): ...\n", "plans.py": "def plan(): ...\n"})[1] == []


def test_a_subclass_or_an_alias_of_the_same_name_is_the_same_thing(run):
    assert run({"a.py": "class Spec: ...\n", "b.py": "class Spec(a.Spec): ...\n", "c.py": "Spec = a.Spec\n"})[1] == []


def test_a_definition_repeated_in_one_module_is_one(run):
    assert run({"a.py": "if x:\n    def f(): ...\nelse:\n    def f(): ...\n"})[1] == []


def test_a_private_function_with_one_call_site_is_listed(run):
    assert run({"a.py": "def f():\n    return _half(1)\n\n\ndef _half(x):\n    return x / 2\n"})[1] == ["a.py:5: _half"]


def test_a_method_with_one_call_site_is_listed_even_if_another_module_calls_it(run):
    assert run({"a.py": "class C:\n    def _close(self): ...\n", "b.py": "def f(c):\n    c._close()\n"})[1] == [
        "a.py:2: _close"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def _f(): ...\n_f()\n_f()\n",
        "def _f(): ...\nsorted([], key=_f)\n",
        "@cache\ndef _f(): ...\n_f()\n",
        "def _f(n):\n    return _f(n - 1)\n_f(3)\n",
        "def _f(): ...\n",
        "class A:\n    def _f(self): ...\nclass B:\n    def _f(self): ...\nA()._f()\n",
    ],
    ids=["twice", "as a value", "decorated", "recursive", "never", "two implementations"],
)
def test_what_is_no_helper_called_once(run, source):
    assert run({"a.py": source})[1] == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def _f(x):\n    if x:\n        return 1\n    return 2\ny = _f(3)\n", "returns"),
        ("def _f():\n    yield 1\ny = list(_f())\n", "returns"),
        ("def _f(x):\n    y = x\n    return y\nz = [_f(x) for x in range(3)]\n", "expression"),
        ("def g():\n" + "    x = 1\n" * 30 + "    _f()\ndef _f():\n" + "    x = 1\n" * 30, "screen"),
    ],
)
def test_a_helper_that_could_not_stand_where_it_is_called_saves_something(run, source, reason):
    _, (line,) = run({"a.py": source})
    assert line.endswith(f"_f (saves: {reason})")
    assert run({"a.py": source}, "--max-once", "0")[0] == 0


def test_a_count_above_its_limit_fails_and_shows_why(run):
    modules = {"a.py": "def f():\n    _g()\ndef _g(): ...\n", "b.py": "def f(): ...\n"}
    assert run(modules, "--max-twice", "1", "--max-once", "1", "--quiet") == (0, [])
    assert run(modules, "--max-twice", "0", "--max-once", "1", "--quiet") == (1, ["f: a.py:1, b.py:1"])
    assert run(modules, "--max-twice", "1", "--max-once", "0", "--quiet") == (1, ["a.py:3: _g"])
