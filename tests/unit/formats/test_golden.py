"""What writers really write becomes the points of tests/golden/expected.yaml, or is refused in its words."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import yaml

from vectorops.api.source import Mapping
from vectorops.errors import Terminal
from vectorops.formats.read import format_of, read_rows
from vectorops.points.block import Block
from vectorops.points.identity import point_id
from vectorops.points.mapping import Mapper
from vectorops.points.schema import VectorSchema
from vectorops.qdrant.database import UNNAMED
from vectorops.vectors import Sparse

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = {file.name: file for file in (GOLDEN / "files").iterdir()}
EXPECTED = yaml.safe_load((GOLDEN / "expected.yaml").read_text())


def test_each_golden_file_is_small_and_has_a_row_in_the_table():
    assert FILES.keys() == {case["file"] for case in EXPECTED}
    assert max(file.stat().st_size for file in FILES.values()) <= 20_000


def blocks_of(case) -> list[Block]:
    schema = {
        name: VectorSchema(**of) for name, of in case.get("vectors", {UNNAMED: {"kind": "dense", "size": 4}}).items()
    }
    mapping = Mapping.model_validate(case.get("mapping", {}))
    mapper = Mapper(mapping, schema, id_format=case.get("idFormat", "Auto"))
    rows = read_rows(FILES[case["file"]], mapping.format or format_of(case["file"]), columns=mapper.wanted)
    return [mapper.map(batch, file=case["file"]) for batch in rows]


def declared(point, *, id_format):
    """A point of the table, as `found` shows one."""
    vectors = point.get("vectors") or ({UNNAMED: point["vector"]} if "vector" in point else {})
    return (
        point_id(point["id"], id_format),
        json.dumps(point["payload"], sort_keys=True),
        {name: of if isinstance(of, dict) else np.array(of, np.float32).tolist() for name, of in vectors.items()},
    )


def found(blocks):
    """Ids, payloads as JSON (which tells 1 from 1.0 and from true), vectors as lists."""
    for block in blocks:
        for row, (id, payload) in enumerate(zip(block.ids, block.payloads, strict=True)):
            vectors = {name: column[row] for name, column in block.vectors.items() if column[row] is not None}
            yield id, json.dumps(payload, sort_keys=True), {name: shown(vector) for name, vector in vectors.items()}


def shown(vector):
    if isinstance(vector, Sparse):
        return {"indices": vector.indices.tolist(), "values": vector.values.tolist()}
    return vector.tolist()


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: f"{case['file']}{', mapped' if 'mapping' in case else ''}")
def test_a_file_becomes_its_points_or_is_refused(case):
    if "refused" in case:
        with pytest.raises(Terminal) as refused:
            blocks_of(case)
        assert [words for words in [case["file"], *case["refused"]] if words not in str(refused.value)] == []
        return

    blocks = blocks_of(case)

    id_format = case.get("idFormat", "Auto")
    assert list(found(blocks)) == [declared(point, id_format=id_format) for point in case.get("points", ())]
    failures = chain.from_iterable(block.failures for block in blocks)
    assert {failure.number: failure.reason for failure in failures} == case.get("failures", {})
