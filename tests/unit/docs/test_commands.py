"""Each command of the documentation is run by a test: the pages on one side, the tests' sources on the other."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from documented import NOT_RUN, REPLACED, ROOT, Block, CommandsFailed, blocks, documented, pages, replaced, run

TESTS = ROOT / "tests"
PROGRAMS = ("kubectl", "helm", "vectorops", "python", "pip", "make", "curl", "docker", "kind", "git", "argocd", "flux")

Claim = tuple[str, str, int]

BLOCKS = [block for page in pages() for block in blocks(page, (ROOT / page).read_text())]


def claims(source: str, name: str) -> Iterator[Claim]:
    """The calls of `documented` in a module. Names stand for strings that the module gives them at its top."""
    module = ast.parse(source, name)
    known = dict[str, object]()
    for statement in module.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Constant):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            known |= {target.id: statement.value.value for target in targets if isinstance(target, ast.Name)}

    def value(argument: ast.expr) -> object:
        if isinstance(argument, ast.Constant):
            return argument.value
        if isinstance(argument, ast.Name) and argument.id in known:
            return known[argument.id]
        raise ValueError(f"{name}, line {argument.lineno}: name page, heading and number by literals")

    for call in ast.walk(module):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "documented":
            page, heading, number = [*map(value, call.args), 1][:3]
            assert isinstance(page, str)
            assert isinstance(heading, str)
            assert isinstance(number, int)
            yield page, heading, number


def all_claims() -> Counter[Claim]:
    """Of all tests but these, how often each block is claimed."""
    files = [file for file in TESTS.rglob("test_*.py") if file != Path(__file__)]
    return Counter(claim for file in files for claim in claims(file.read_text(), str(file.relative_to(ROOT))))


def claim_of(block: Block) -> Claim:
    return block.page, block.heading, block.number


def test_each_block_of_commands_is_run_by_one_test() -> None:
    given = {claim_of(block) for block in BLOCKS if block.language == "sh"}
    claimed = all_claims()

    assert sorted(given - claimed.keys()) == [], "no test runs these"
    assert sorted(claimed.keys() - given) == [], "tests claim these, and no page has them"
    assert [claim for claim, times in claimed.items() if times > 1] == [], "claimed more than once"


def test_a_block_that_no_test_runs_says_so_and_why() -> None:
    assert {(block.page, block.heading) for block in BLOCKS if block.language == "text"} == NOT_RUN.keys()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language != "sh"], ids=lambda b: b.page)
def test_commands_stand_in_no_block_of_another_kind(block: Block) -> None:
    assert block.language in {"", "text", "yaml", "json", "python", "promql"}
    if block.language == "":
        assert not [line for line in block.content.splitlines() if line.strip().startswith(PROGRAMS)]


# ---- the machinery ----

PAGE = """
# Page

## Doing it

- first:

  ```sh
  echo one
  ```

```yaml
a: 1
```

```sh
echo two
# no heading
```

### And then

```sh
echo three
```
"""


def test_a_block_is_known_by_the_nearest_heading_and_its_number() -> None:
    found = [(block.heading, block.number, block.content) for block in blocks("p.md", PAGE) if block.language == "sh"]

    assert found == [
        ("Doing it", 1, "echo one\n"),
        ("Doing it", 2, "echo two\n# no heading\n"),
        ("And then", 1, "echo three\n"),
    ]


def test_a_block_that_does_not_end_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="has no end"):
        list(blocks("p.md", "```sh\necho\n"))


def test_claims_are_read_from_calls_with_literals_and_names_of_literals() -> None:
    source = "PAGE: Final = 'a.md'\nX = [documented(PAGE, 'One')]\ndef test():\n  run(documented('b.md', 'Two', 2))\n"

    assert set(claims(source, "t.py")) == {("a.md", "One", 1), ("b.md", "Two", 2)}
    with pytest.raises(ValueError, match="line 1: name page"):
        list(claims("documented(page, 'One')", "t.py"))


def test_what_is_not_there_cannot_be_claimed_or_replaced() -> None:
    with pytest.raises(LookupError, match="has no ```sh block number 1"):
        documented("README.md", "No such heading")
    with pytest.raises(LookupError, match="not in REPLACED"):
        replaced("echo one", {"one": "two"})
    with pytest.raises(LookupError, match="not in this block"):
        replaced("echo one", dict.fromkeys(REPLACED, ""))


def test_a_block_ends_at_its_first_error_and_what_it_printed_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandsFailed, match=r"status 1 of\n(.|\n)*before"):
        run("echo before\nfalse | cat\necho after\n", tmp_path)
    assert run('echo "$HELLO"; pwd', tmp_path, environment={"HELLO": "hi"}) == f"hi\n{tmp_path}\n"
