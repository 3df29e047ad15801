"""Helm with the chart of this repository: rendered for looking at, or installed in an API server.

`render` needs no cluster. `Helm` is for tests that install, upgrade and uninstall.
"""

import copy
import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from servers.kubeapi import Object
from servers.programs import helm_program

CHART: Final = Path(__file__).parents[2] / "charts" / "vectorops"
RELEASE: Final = "vectorops"
NAMESPACE: Final = "vectorops-system"

Values = Mapping[str, Any]


class HelmError(Exception):
    """Helm refused; the message is what it said."""


def render(
    values: Values | None = None, *flags: str, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """All objects that the chart makes of these values, hooks included. flags: more of `helm template`."""
    return copy.deepcopy(_rendered(json.dumps(dict(values or {})), flags, release, namespace))


@cache
def _rendered(values: str, flags: tuple[str, ...], release: str, namespace: str) -> list[Object]:
    """values: as JSON. Helm reads all of the chart each time, and most of what it makes of it is asked for twice."""
    # The CRDs take seconds in Python, a tenth of one in C.
    text = _helm(["template", release, str(CHART), "--namespace", namespace, *flags], json.loads(values), {})
    return [found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found is not None]


def lint(values: Values | None = None) -> str:
    """What `helm lint --strict` says; HelmError if it finds fault."""
    return _helm(["lint", "--strict", str(CHART)], values or {}, {})


class Helm:
    """One release in a cluster. folder: for Helm's own files."""

    def __init__(self, kubeconfig: Path, folder: Path, *, release: str = RELEASE, namespace: str = NAMESPACE) -> None:
        self._flags = ["--kubeconfig", str(kubeconfig), "--namespace", namespace]
        self._release = release
        folders = {f"HELM_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        self._environment = {**os.environ, **folders}

    def install(self, values: Values | None = None, *flags: str) -> str:
        """Returns what Helm prints: the notes. The namespace is made if need be."""
        return self._run(["install", self._release, str(CHART), "--create-namespace", *flags], values)

    def upgrade(self, values: Values | None = None, *flags: str) -> str:
        """To these values alone; those of the installation are forgotten."""
        return self._run(["upgrade", self._release, str(CHART), "--reset-values", *flags], values)

    def uninstall(self, *flags: str) -> str:
        """Takes away all that the chart does not keep."""
        return self._run(["uninstall", self._release, *flags], None)

    def _run(self, command: list[str], values: Values | None) -> str:
        return _helm([*command, *self._flags], values, self._environment)


def _helm(command: list[str], values: Values | None, environment: Mapping[str, str]) -> str:
    given = [] if values is None else ["--values", "-"]
    done = subprocess.run(
        [str(helm_program()), *command, *given],
        input="" if values is None else yaml.safe_dump(dict(values)),
        env=environment or None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise HelmError(done.stderr)
    return done.stdout
