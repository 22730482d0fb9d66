"""The source that a computation rests on, found by reading imports and names, without running anything.

From a function, the names in its body lead to other definitions, in its own module or in those it imports from, and
so on within the packages that are followed. What is reached is hashed as a syntax tree without texts that stand
alone, so that comments, docstrings and formatting do not count, nor does what the computation does not name.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HASH_LENGTH = 16
WHOLE = "*"
"""In a `Place`: every definition of the module."""

Place = tuple[str, str]
"""A module, and the name of a definition in it, or of a method as ``Class.method``."""


@dataclass
class Source:
    """One module: definitions, methods as ``Class.method``, imports, and the statements that run on every import."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    methods: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Place] = field(default_factory=dict)
    imports_for_types: dict[str, Place] = field(default_factory=dict)
    statements: list[ast.stmt] = field(default_factory=list)

    def named(self, name: str) -> list[ast.stmt]:
        """The statements that define a name, or a method."""
        return self.methods[name] if name in self.methods else self.definitions[name]


class SourceCover:
    """Reads source below a folder.

    Parameters
    ----------
    root
        The folder that holds the packages.
    followed
        Packages, or modules, whose source counts.
    left_out
        Packages, or modules, below them whose source does not.
    """

    def __init__(self, root: Path, followed: Iterable[str], left_out: Iterable[str] = ()) -> None:
        self._root = root
        self._followed = frozenset(followed)
        self._left_out = frozenset(left_out)
        self._sources: dict[str, Source] = {}

    def hashes(self, start: Place) -> dict[str, str]:
        """Hash of what is reached from a definition, by module.

        Raises
        ------
        LookupError
            If a module, or a name in it, is not there.
        """
        reached: dict[str, set[str]] = {}
        pending = [start]
        while pending:
            module, name = pending.pop()
            names = reached.setdefault(module, set())
            if not names:
                pending += self._places_in(module, self._source(module).statements)
            if name not in names:
                names.add(name)
                pending += self._places_of(module, name)
        return {module: _hash(self._source(module), reached[module]) for module in sorted(reached)}

    def _places_of(self, module: str, name: str) -> Iterator[Place]:
        source = self._source(module)
        if name == WHOLE:
            yield from ((module, each) for each in source.definitions)
            return
        yield from self._places_in(module, source.named(name))
        if name in source.methods:
            yield from ((module, each) for each in _methods_used(source, name))

    def _places_in(self, module: str, statements: list[ast.stmt]) -> Iterator[Place]:
        """The places that the names in statements of a module mean."""
        source = self._source(module)
        for statement in statements:
            imports = {**source.imports, **_imports_of(statement)}
            for name, attribute in _names_used(statement):
                if name in imports:
                    yield from self._imported(*imports[name], attribute)
                elif name in source.definitions:
                    yield module, name

    def _imported(self, module: str, name: str, attribute: str | None = None) -> Iterator[Place]:
        """The place that an imported name means; of a module, its `attribute`, or all of it where none is named."""
        if not self._follows(module):
            return
        if name == WHOLE:
            yield from self._imported(module, attribute) if attribute else [(module, WHOLE)]
            return
        source = self._source(module)
        if name in source.definitions:
            yield module, name
        elif (found := source.imports.get(name) or source.imports_for_types.get(name)) is not None:
            yield from self._imported(*found, attribute)
        elif self._file_of(f"{module}.{name}") is not None:
            yield from self._imported(f"{module}.{name}", WHOLE, attribute)
        else:
            raise LookupError(f"{module} holds no '{name}'")

    def _follows(self, module: str) -> bool:
        return _is_among(module, self._followed) and not _is_among(module, self._left_out)

    def _source(self, module: str) -> Source:
        if module not in self._sources:
            path = self._file_of(module)
            if path is None:
                raise LookupError(f"there is no module {module}")
            self._sources[module] = _read(path)
        return self._sources[module]

    def _file_of(self, module: str) -> Path | None:
        stem = self._root.joinpath(*module.split("."))
        candidates = (stem.with_suffix(".py"), stem / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)


def _is_among(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _read(path: Path) -> Source:
    source = Source()
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            source.imports |= _imports_of(statement)
        elif _is_for_types(statement):
            source.imports_for_types |= _imports_of(statement)
        elif names := _names_defined(statement):
            for name in names:
                source.definitions.setdefault(name, []).append(statement)
            if isinstance(statement, ast.ClassDef):
                for each in statement.body:
                    for name in _names_defined(each):
                        source.methods.setdefault(f"{statement.name}.{name}", []).append(each)
        elif not _is_text(statement):
            source.statements.append(statement)
    return source


def _imports_of(statement: ast.stmt) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: (alias.name, WHOLE) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return found


def _names_used(statement: ast.stmt) -> Iterator[tuple[str, str | None]]:
    """Names in a statement, each with the attribute that is taken of it, if any."""
    owners = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owners.add(node.value)
            yield node.value.id, node.attr
        elif isinstance(node, ast.Name) and node not in owners:
            yield node.id, None


def _methods_used(source: Source, name: str) -> Iterator[str]:
    """What a method takes of its own object, and how that was made."""
    owner = name.split(".", 1)[0]
    taken = {attribute for each in source.methods[name] for used, attribute in _names_used(each) if used == "self"}
    yield from (
        each for each in (f"{owner}.{attribute}" for attribute in {*taken, "__init__"}) if each in source.methods
    )


def _names_defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _is_for_types(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class _WithoutTexts(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a text that stands alone."""
        return None if _is_text(node) else node


def _hash(source: Source, names: Iterable[str]) -> str:
    counted = [each for name in sorted(set(names) - {WHOLE}) for each in source.named(name)]
    bare = [_WithoutTexts().visit(each) for each in counted + source.statements]
    return hashlib.sha256("\n".join(sorted(map(ast.dump, bare))).encode()).hexdigest()[:HASH_LENGTH]
