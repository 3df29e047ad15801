"""Whether the libraries that read sources are there: they are an extra, which the image has."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Final

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal

LIBRARIES: Final = ("pyarrow",)
"""The top packages of the extra `sources`."""


def require_installed(libraries: Sequence[str] = LIBRARIES) -> None:
    """Raises Terminal SourceRefused if a library is missing. Imports none of them."""
    missing = [library for library in libraries if importlib.util.find_spec(library) is None]
    if missing:
        raise Terminal(
            Reason.SOURCE_REFUSED,
            f"spec.source: the libraries that read sources are not installed ({', '.join(missing)}): run the image as "
            "it is built, or install vectorops[sources]",
        )
