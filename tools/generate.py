"""Writes the files that are made from others: the API reference, the chart's README, Argo CD's settings.

    python tools/generate.py [--check]

With `--check` it writes nothing, and ends with 1 if a file is not what would be written.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import argocd_settings
import chart_page
import reference_page
from format_markdown import format_markdown

ROOT: Final = Path(__file__).parents[1]

FILES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/reference.md": lambda: format_markdown(reference_page.page()),
    "charts/vectorops/README.md": lambda: format_markdown(chart_page.page()),
    "gitops/argocd/argocd-cm.yaml": argocd_settings.config_map,
}


def main() -> None:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    check = parser.parse_args().check
    outdated = []
    for name, generate in FILES.items():
        file, text = ROOT / name, generate()
        if not check:
            file.write_text(text, "utf-8")
        elif not file.exists() or file.read_text("utf-8") != text:
            outdated.append(name)
    if outdated:
        sys.exit(f"{', '.join(outdated)}: out of date, run `make docs`")


if __name__ == "__main__":
    main()
