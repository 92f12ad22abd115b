"""Domains of other libraries are refused: taken for constants they would all be tried as one point."""

from __future__ import annotations

import pytest
from hyperopt import hp
from scipy import stats

import tuneflow as tune
from tuneflow.errors import InvalidArgument
from tuneflow.search import BayesOptSearch
from tuneflow.space import Space


@pytest.mark.parametrize("domain", [hp.uniform("lr", 0, 1), stats.loguniform(0.1, 1)])
def test_they_are_named(domain: object) -> None:
    with pytest.raises(InvalidArgument, match=r"model/lr=.* is a domain of (hyperopt|scipy)'s.*tune\.uniform"):
        Space({"model": {"lr": domain}})


def test_a_searcher_with_nothing_to_search_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"BayesOptSearch holds nothing to search.*tune\.uniform\(0, 1\)"):
        tune.run(lambda config: 1.0, metric="loss", mode="min", search_alg=BayesOptSearch(space={"lr": (0, 1)}))
