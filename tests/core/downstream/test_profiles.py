"""Sums over the spots of each domain, against scanpy's and numpy's own."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scanpy as sc
from scipy.sparse import csr_matrix

from stalign_core.downstream import DomainProfiles, ProfileSums, shared_profiles
from stalign_core.downstream.profiles import expressed_profiles
from stalign_core.errors import DownstreamError
from tests.core.downstream.donors import DOMAINS, gene_keys, profiles_of, simulated_section


def test_sums_equal_those_over_scanpys_normalised_matrix() -> None:
    counts, domain = simulated_section({("2", 3): 4.0}, seed=0)
    profiles = ProfileSums(DOMAINS, 1e4)
    profiles.add_section(counts, gene_keys(), gene_keys(), domain)
    found = profiles.result()
    adata = anndata.AnnData(counts.astype(np.float64))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    dense, logs = counts.toarray(), adata.X.toarray()
    for position, name in enumerate(DOMAINS):
        inside = domain == name
        assert found.n_spots[position] == inside.sum()
        assert found.library[position] == dense[inside].sum()
        np.testing.assert_array_equal(found.counts[position], dense[inside].sum(axis=0))
        np.testing.assert_array_equal(found.detected[position], (dense[inside] > 0).sum(axis=0))
        np.testing.assert_allclose(found.log_sum[position], logs[inside].sum(axis=0))
        np.testing.assert_allclose(found.log_square_sum[position], (logs[inside] ** 2).sum(axis=0))


def test_sections_of_a_donor_add_up_over_the_genes_that_both_have() -> None:
    first, second = ProfileSums(("a", "b"), 1e4), ProfileSums(("a", "b"), 1e4)
    one = csr_matrix(np.array([[1, 2, 3], [4, 5, 6]]))
    other = csr_matrix(np.array([[10, 30]]))
    genes = np.array(["x", "y", "z"], dtype=object)
    first.add_section(one, genes, genes, np.array(["a", "b"], dtype=object))
    first.add_section(other, genes[[2, 0]], genes[[2, 0]], np.array(["b"], dtype=object))
    second.add_section(one, genes, genes, np.array(["a", "b"], dtype=object))
    both = first.result()
    assert list(both.genes) == ["x", "z"]
    assert both.counts.tolist() == [[1, 3], [4 + 30, 6 + 10]]
    assert both.n_spots.tolist() == [1, 2]
    assert both.library.tolist() == [6, 15 + 40], "a library counts all genes, shared or not"
    assert second.result().counts.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_fold_change_is_that_of_counts_per_million_with_a_prior_count() -> None:
    sums = ProfileSums(("a", "b"), 1e4)
    genes = np.array(["x", "y"], dtype=object)
    sums.add_section(csr_matrix(np.array([[30, 70], [10, 290]])), genes, genes, np.array(["a", "b"], dtype=object))
    # Libraries are 100 and 300, their mean 200: the prior count of .5 becomes .25 and .75.
    expected = np.log2([30.25 / 100.5, 70.25 / 100.5]) - np.log2([10.75 / 301.5, 290.75 / 301.5])
    np.testing.assert_allclose(sums.result().log_ratio(0), expected)


def test_a_domain_with_few_spots_or_without_a_rest_has_no_contrast() -> None:
    found = profiles_of({}, seed=1)
    assert found.has_contrast(0, 40) and not found.has_contrast(0, 41)
    alone = ProfileSums(("a",), 1e4)
    alone.add_section(csr_matrix(np.ones((20, 2), dtype=int)), gene_keys(2), gene_keys(2), np.array(["a"] * 20))
    assert not alone.result().has_contrast(0, 10)


def test_profiles_survive_being_stored_and_are_joined_on_shared_genes() -> None:
    found = profiles_of({}, seed=2)
    again = DomainProfiles.from_arrays(*found.to_arrays())
    np.testing.assert_array_equal(again.counts, found.counts)
    fewer = found.on_genes(["g05", "g02", "g09"])
    joined = shared_profiles({"d1": again, "d2": fewer})
    assert [list(each.genes) for each in joined.values()] == [["g02", "g05", "g09"]] * 2
    np.testing.assert_array_equal(joined["d1"].counts, joined["d2"].counts)


def test_genes_without_enough_counts_are_left_out() -> None:
    found = profiles_of({}, seed=3)
    total = found.counts.sum(axis=0)
    kept = expressed_profiles({"d1": found}, int(np.median(total)))["d1"]
    assert set(kept.genes) == set(found.genes[total >= int(np.median(total))])
    with pytest.raises(DownstreamError, match="no gene has 1000000 counts"):
        expressed_profiles({"d1": found}, 10**6)
