"""Runs mdformat with the settings of .mdformat.toml: Markdown with one sentence a line.

    python tools/format_markdown.py [--check] FILE...

mdformat-slw warns of `wrap = "no"` at each paragraph. Without it the lines of a sentence would not be joined.
"""

import logging
import runpy
import tomllib
from pathlib import Path

import mdformat

SETTINGS = Path(__file__).parents[1] / ".mdformat.toml"

logging.getLogger("mdformat_slw").setLevel(logging.ERROR)


def format_markdown(text: str) -> str:
    """The same page with one sentence a line."""
    return mdformat.text(text, options=tomllib.loads(SETTINGS.read_text("utf-8")), extensions=("gfm", "tables", "slw"))


if __name__ == "__main__":
    runpy.run_module("mdformat", run_name="__main__")
