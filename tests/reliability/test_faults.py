"""Every case of the table of faults; ``STALIGN_RELIABILITY=full`` adds every point to every kind of asset."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.reliability.cases import CASES, Case
from tests.reliability.place import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.fault}: {case.name}")
def test_fault(case: Case, place: Place, record_property: Callable[[str, object], None]) -> None:
    record_property("fault", case.fault)
    case.check(place)
