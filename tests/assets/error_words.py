"""Errors that a source makes without saying what was expected or what to do, found in its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

BASE = "StalignError"
ADVICE = ("expected", "remedy")
OWN_FILE = "stalign_core/errors.py"
"""Where errors are defined: it only hands on what it was given."""

Maker = tuple[str, ...]
"""The names of a callable's parameters that may hold advice, in the order of its parameters; others are ``""``."""


def mute_errors(sources: Mapping[str, str]) -> list[str]:
    """``file:line`` of each call that makes an error of stalign with neither `expected` nor `remedy`.

    A function that makes an error with advice that it is given, and may not be given, is held to the same: each call of
    it must give some.

    Parameters
    ----------
    sources
        Text of each file, by its path.
    """
    trees = {path: ast.parse(text) for path, text in sources.items()}
    makers: dict[str, Maker] = dict.fromkeys(_error_classes(trees.values()), ("", "", *ADVICE))
    # Helpers of helpers are found by the next round.
    while True:
        calls = [call for path, tree in trees.items() if path != OWN_FILE for call in _calls(path, tree, makers)]
        found = {call.helper: call.signature for call in calls if call.helper and call.helper not in makers}
        if not found:
            return [call.place for call in calls if not call.helper and not call.has_advice]
        makers |= found


@dataclass(frozen=True)
class _Call:
    """A call that makes an error; `helper` names the function around it if that must be given the advice itself."""

    place: str
    has_advice: bool
    helper: str
    signature: Maker


def _error_classes(trees: Iterable[ast.Module]) -> set[str]:
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    known = {BASE}
    while True:
        more = {each.name for each in classes if {_name(base) for base in each.bases} & known} - known
        if not more:
            return known
        known |= more


def _calls(path: str, tree: ast.Module, makers: Mapping[str, Maker]) -> Iterator[_Call]:
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    within = {id(node): function for function in functions for node in ast.walk(function)}  # the innermost comes last
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = within.get(id(node))
        name = _name(node.func)
        signature = ("", "", *ADVICE) if function and name in _given_classes(function) else makers.get(name)
        if signature is None:
            continue
        given = list(_advice(node, signature))
        optional = _optional_words(function) if function else ()
        handed_on = {word.id for word in given if isinstance(word, ast.Name) and word.id in optional}
        has_advice = any(not _may_be_empty(word, handed_on) for word in given)
        is_helper = function is not None and bool(handed_on) and not has_advice
        yield _Call(
            f"{path}:{node.lineno}",
            has_advice,
            function.name if function and is_helper else "",
            tuple(word if word in handed_on else "" for word in _parameters(function)) if function else (),
        )


def _advice(call: ast.Call, signature: Maker) -> Iterator[ast.expr]:
    """What a call gives for the parameters that hold advice."""
    yield from (value for name, value in zip(signature, call.args, strict=False) if name)
    yield from (keyword.value for keyword in call.keywords if keyword.arg in signature)


def _may_be_empty(word: ast.expr, handed_on: set[str]) -> bool:
    if isinstance(word, ast.IfExp):
        return _may_be_empty(word.body, handed_on) or _may_be_empty(word.orelse, handed_on)
    if isinstance(word, ast.Constant):
        return not word.value
    return isinstance(word, ast.Name) and word.id in handed_on


def _given_classes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Parameters that are classes of errors."""
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {each.arg for each in given if each.annotation and ast.unparse(each.annotation) == f"type[{BASE}]"}


def _optional_words(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Parameters that are ``""`` unless they are given."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    defaults = list(zip(reversed(named), reversed(arguments.defaults), strict=False))
    defaults += [
        (each, value) for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value
    ]
    return {each.arg for each, value in defaults if isinstance(value, ast.Constant) and value.value == ""}


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
