"""docs/reference.md is what the models say, and says it of everything."""

import subprocess
import sys
from pathlib import Path

from vectorops.api.kinds import KINDS
from vectorops.api.meta import ANNOTATIONS
from vectorops.api.reasons import Reason

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference.md").read_text(encoding="utf-8")


def test_what_is_generated_is_current():
    checked = subprocess.run(
        [sys.executable, str(ROOT / "tools/generate.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_page_has_every_kind_every_annotation_and_every_reason():
    assert [info.kind for info in KINDS if f"## {info.kind}\n" not in PAGE] == []
    assert [name for name in (*ANNOTATIONS, *Reason) if f"| `{name}` |" not in PAGE] == []


def test_a_default_stands_in_its_column():
    assert "| `spec.grpcPort` | integer, 1 to 65535 | `6334` | gRPC port of the same host. |" in PAGE
