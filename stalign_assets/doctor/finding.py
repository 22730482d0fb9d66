"""What is wrong in one place of a study, and how it is put right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["found", "repaired", "left"]
Kind = Literal["history", "run", "pool", "pointer", "artifact", "release", "leftover", "tables", "store"]


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes
    ----------
    kind, where, problem
        What is at fault, and what is wrong with it.
    cure
        What puts it right, as a user reads it.
    mend
        Puts it right.
    """

    kind: Kind
    where: str
    problem: str
    cure: str
    mend: Callable[[], object]


@dataclass(frozen=True)
class Told:
    """A finding as it is told: `outcome` is ``"found"``, ``"repaired"`` or ``"left"`` with the reason in `why`."""

    kind: Kind
    where: str
    problem: str
    cure: str
    outcome: Outcome
    why: str = ""

    @property
    def line(self) -> str:
        """For a reader."""
        why = f" ({self.why})" if self.why else ""
        ending = {"found": f"to repair: {self.cure}", "repaired": self.cure, "left": f"left as it is: {self.cure}{why}"}
        return " ".join(f"{self.kind} {self.where}: {self.problem}; {ending[self.outcome]}".split())

    def to_dict(self) -> dict[str, Any]:
        """For a program."""
        return {**vars(self), "line": self.line}
