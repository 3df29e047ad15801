"""Counts what makes code slow to read: names with two meanings, and helpers that are called once and save nothing.

    python tools/names.py operator/vectorops      # prints both lists, each line with its place
    python tools/names.py --max-twice 9 --max-once 40 operator/vectorops      # fails when a count is higher

**A name defined twice**: a function, class or type alias at the top level of one module that has the name of one at the
top level of another module. A module is counted, too, if another module has its name. These are no second thing:

- a definition repeated in one module (overloads, a fallback under `if` or `except`),
- a class that has a class of the same name as its base, or an alias for the same thing (`Name = other.Name`),
- methods, fields and nested functions, which are read with their owner; so all implementations of one protocol are one
  thing,
- a function that a decorator hands to a framework (`@app.command()`): its name is that of a command or an event,
- `main`, `logger`, names with double underscores, `__init__.py`, and type variables.

**A helper called once**: a function or method with a leading underscore that has exactly one call site in the package.
Tests are no call sites. These are not counted: a function with a decorator, one that is passed on as a value, one that
calls itself, and a method that two classes of a module define.

**A helper that saves nothing** is a helper called once whose body could stand where it is called. These save something:

- *returns*: it has a `yield`, or a `return` that is not its last statement, so its body cannot be pasted,
- *expression*: it has several statements, and is called where only an expression can stand (a comprehension, a lambda,
  an operand of `and` or `if`),
- *screen*: with its body the caller would be longer than `--screen` lines.
"""

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef

SCREEN_LINES = 50
ONE_THING = frozenset({"main", "logger"})
EXPRESSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda, ast.IfExp, ast.BoolOp)


@dataclass(frozen=True, order=True, slots=True)
class Definition:
    """Where a name is defined."""

    name: str
    module: Path
    """Relative to the package."""
    line: int


@dataclass(frozen=True, order=True, slots=True)
class Helper:
    """A private function that is called once."""

    module: Path
    line: int
    name: str
    saves: str
    """Why it cannot stand where it is called: `returns`, `expression`, `screen`; empty if it can."""


class Module:
    """One file of the package, and who encloses whom in its syntax tree."""

    def __init__(self, path: Path, source: str) -> None:
        """`path` is relative to the package."""
        self.path = path
        self.tree = ast.parse(source)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def enclosing(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around this one, innermost first."""
        while node := self.parents.get(node):  # type: ignore[assignment]
            yield node


def read_package(root: Path) -> list[Module]:
    """Parse all modules below a folder."""
    return [Module(path.relative_to(root), path.read_text("utf-8")) for path in sorted(root.rglob("*.py"))]


# ------------------------------------------------------------------------------------------------- names defined twice


def find_names_defined_twice(modules: list[Module]) -> dict[str, list[Definition]]:
    """All definitions of each name that two modules define."""
    found: dict[str, list[Definition]] = defaultdict(list)
    for module in modules:
        first: dict[str, Definition] = {}
        if module.path.stem not in {"__init__", "__main__"}:
            found[f"{module.path.stem}.py"].append(Definition(f"{module.path.stem}.py", module.path, 1))
        for name, line in _top_level(module.tree.body):
            first.setdefault(name, Definition(name, module.path, line))
        for name, definition in first.items():
            found[name].append(definition)
    return {name: places for name, places in sorted(found.items()) if len(places) > 1}


def _top_level(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                if not any(_last_name(base) == name for base in node.bases):
                    yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                registered = any(
                    isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) for d in node.decorator_list
                )
                if not registered and name not in ONE_THING and name.strip("_") and not name.startswith("__"):
                    yield name, node.lineno
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                if _is_type_alias(name, value):
                    yield name, node.lineno
            case ast.If() | ast.Try():
                for part in (node.body, node.orelse, *(handler.body for handler in getattr(node, "handlers", ()))):
                    yield from _top_level(part)
            case _:
                pass


def _is_type_alias(name: str, value: ast.expr | None) -> bool:
    """A name in capitals and small letters for an expression of types."""
    if not name[:1].isupper() or name.isupper() or _last_name(value) == name:
        return False
    return not (isinstance(value, ast.Call) and _last_name(value.func) in {"TypeVar", "ParamSpec", "TypeVarTuple"})


def _last_name(node: ast.AST | None) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _last_name(value)
        case _:
            return None


# ------------------------------------------------------------------------------------------------- helpers called once


def find_helpers_called_once(modules: list[Module], screen_lines: int = SCREEN_LINES) -> list[Helper]:
    """All private functions with exactly one call site."""
    uses: dict[str, list[tuple[Module, ast.AST]]] = defaultdict(list)
    defined: dict[str, list[tuple[Module, Function]]] = defaultdict(list)
    for module in modules:
        for node in ast.walk(module.tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    if name.startswith("_") and not name.startswith("__") and name.strip("_"):
                        defined[name].append((module, node))
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                    uses[name].append((module, node))
                case ast.ImportFrom():
                    for imported in node.names:
                        uses[imported.name].append((module, imported))
                case _:
                    pass
    found = []
    for name, definitions in defined.items():
        for module, function in definitions:
            is_method = isinstance(module.parents[function], ast.ClassDef)
            if function.decorator_list or (is_method and sum(1 for other, _ in definitions if other is module) > 1):
                continue
            # Another module may use a method, or import a function by its name.
            shared = len(definitions) == 1
            call = _only_call([use for use in uses[name] if shared or use[0] is module])
            if call is not None and function not in call[0].enclosing(call[1]):
                found.append(Helper(module.path, function.lineno, name, _saved(function, *call, screen_lines)))
    return sorted(found)


def _only_call(uses: list[tuple[Module, ast.AST]]) -> tuple[Module, ast.Call] | None:
    """The one call among the uses of a name; None if there are more, or if it is used as a value."""
    if len(uses) != 1:
        return None
    module, use = uses[0]
    parent = module.parents.get(use)
    return (module, parent) if isinstance(parent, ast.Call) and parent.func is use else None


def _saved(function: Function, module: Module, call: ast.Call, screen_lines: int) -> str:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    inner = [node for statement in body for node in _own_nodes(statement)]
    returns = [node for node in inner if isinstance(node, ast.Return)]
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in inner) or (returns and returns != body[-1:]):
        return "returns"
    around = list(module.enclosing(call))
    if len(body) > 1 and any(isinstance(node, EXPRESSIONS) for node in _until_statement(around)):
        return "expression"
    caller = next((node for node in around if isinstance(node, Function)), None)
    body_lines = (function.end_lineno or 0) - (body[0].lineno if body else function.lineno) + 1
    if caller is not None and (caller.end_lineno or 0) - caller.lineno + 1 + body_lines - 1 > screen_lines:
        return "screen"
    return ""


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is below it, without the bodies of other functions."""
    yield node
    if not isinstance(node, Function | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _own_nodes(child)


def _until_statement(around: list[ast.AST]) -> Iterator[ast.AST]:
    for node in around:
        if isinstance(node, ast.stmt):
            return
        yield node


# ------------------------------------------------------------------------------------------------------------- command


def main() -> None:
    """Print both lists and the counts; end with 1 if a count is above its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", type=Path, help="the folder of a package")
    parser.add_argument("--max-twice", type=int, metavar="N", help="fail if more names are defined twice")
    parser.add_argument("--max-once", type=int, metavar="N", help="fail if more helpers called once save nothing")
    parser.add_argument("--screen", type=int, metavar="LINES", default=SCREEN_LINES, help="default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="print a list only if its count is above its limit")
    flags = parser.parse_args()
    modules = read_package(flags.package)
    if not modules:
        sys.exit(f"{flags.package}: no Python module is there")

    twice = [
        f"{name}: {', '.join(f'{flags.package / place.module}:{place.line}' for place in places)}"
        for name, places in find_names_defined_twice(modules).items()
    ]
    helpers = find_helpers_called_once(modules, flags.screen)
    once = [
        f"{flags.package / helper.module}:{helper.line}: {helper.name}"
        + (f" (saves: {helper.saves})" if helper.saves else "")
        for helper in helpers
        if not (flags.quiet and helper.saves)
    ]
    idle = sum(not helper.saves for helper in helpers)

    failures = []
    for lines, count, limit, advice in (
        (twice, len(twice), flags.max_twice, "names are defined twice: rename one of each"),
        (once, idle, flags.max_once, "helpers are called once and save nothing: inline some"),
    ):
        above = limit is not None and count > limit
        if above:
            failures.append(f"{count} {advice} (at most {limit}; rule: tools/names.py)\n")
        if above or not flags.quiet:
            sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.write(
        f"{flags.package}: {len(twice)} names are defined twice; "
        f"{len(helpers)} private functions are called once, {idle} of them save nothing\n"
    )
    sys.exit("".join(failures) or 0)


if __name__ == "__main__":
    main()
