"""Figures of real models, written as files in the library's layout, come back as the schema that is known of each."""

import pytest

from unit.embedders.real_models import NEW, OLD, ROWS, files_of, resolve, table, write
from vectorops.errors import Terminal

KNOWN = [row for row in ROWS if "refused" not in row]
REFUSED = [row for row in ROWS if "refused" in row]


def test_there_are_at_least_45_and_none_stands_twice():
    models = [row["model"] for row in ROWS]
    assert len(models) >= 45
    assert len(set(models)) == len(models)


@pytest.mark.parametrize("library", [OLD, NEW])
@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row["model"])
async def test_a_real_model_is_resolved_to_what_its_card_says(row, library, tmp_path):
    write(tmp_path / row["model"], files_of(row, library))

    found = await resolve(tmp_path, row["model"])

    prompts = row.get("prompts", {})
    assert (found.kind, found.size) == (row.get("kind", "dense"), row.get("size"))
    assert found.normalized == row.get("normalize", False)
    assert found.distance == {"cosine": "Cosine"}.get(row.get("similarity"))
    assert (found.document_prompt, found.query_prompt) == (prompts.get("document", ""), prompts.get("query", ""))


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["model"])
async def test_a_real_model_with_code_of_its_own_is_refused(row, tmp_path):
    write(tmp_path / row["model"], files_of(row, OLD))
    with pytest.raises(Terminal, match=row["refused"]):
        await resolve(tmp_path, row["model"])


async def test_the_table_has_a_line_for_each(tmp_path):
    lines = {line.model: line for line in await table(tmp_path)}
    assert list(lines) == [row["model"] for row in ROWS]
    assert lines["sentence-transformers/distiluse-base-multilingual-cased-v2"].where == "2_Dense/config.json"
    assert lines["colbert-ir/colbertv2.0"].where == "model.safetensors, linear.weight"
    assert lines["naver/splade-v3"].size is None
    assert "its own code" in lines["jinaai/jina-embeddings-v3"].where
