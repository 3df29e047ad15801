"""docs/uninstall.md names every CRD that it has people delete."""

from pathlib import Path

from vectorops.api.kinds import KINDS
from vectorops.api.meta import GROUP

PAGE = Path(__file__).parents[3] / "docs/uninstall.md"


def test_the_page_deletes_the_crd_of_every_kind():
    (command,) = [block for block in PAGE.read_text().split("```") if "kubectl delete crd" in block and "sh\n" in block]

    assert [info.plural for info in KINDS if f" {info.plural}.{GROUP}" not in command] == []
