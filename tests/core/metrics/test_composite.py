from __future__ import annotations

import pytest

from stalign_core.metrics import composite_score

_VALUES = {"ari": 0.5, "nmi": 0.7, "silhouette": 0.6, "ilisi": 0.2, "kbet": 0.4}


@pytest.mark.parametrize(("bio_weight", "score"), [(1.0, 0.6), (0.0, 0.3), (0.6, 0.48)])
def test_composite_weighs_the_two_means(bio_weight: float, score: float) -> None:
    assert composite_score(_VALUES, bio_weight) == pytest.approx(score)


def test_composite_of_fewer_metrics_is_refused() -> None:
    with pytest.raises(KeyError, match="kbet"):
        composite_score({name: value for name, value in _VALUES.items() if name != "kbet"}, 0.5)
