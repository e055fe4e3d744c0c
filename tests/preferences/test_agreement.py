"""Agreement against Krippendorff's and Siegel's worked tables, slow references from the definitions, and chance."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.errors import DataError
from prosa.preferences.agreement import (
    agreement_with,
    kendall_tau_b,
    kendall_w,
    krippendorff_alpha,
    majority_agreement,
    pair_votes,
    pairwise_agreement,
    ranking_alpha,
    ranking_w,
    self_agreement,
    share,
)
from tests.preferences.rankings import make_ranked


def values_of(*rows: str) -> np.ndarray:
    """One row a rater, one character a unit, `.` where nothing was said."""
    return np.array([[np.nan if value == "." else ord(value) - ord("0") for value in row] for row in rows], float)


# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections A, B and C.
BINARY = values_of("0100000010", "1110010000")
CATEGORIES = values_of("aabbdcccedda", "babbbccceddd")
FOUR_OBSERVERS = values_of("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


@pytest.mark.parametrize(
    ("values", "metric", "alpha"),
    [
        (BINARY, "nominal", 0.095),
        (CATEGORIES, "nominal", 0.692),
        (FOUR_OBSERVERS, "nominal", 0.743),
        (FOUR_OBSERVERS, "ordinal", 0.815),
        (FOUR_OBSERVERS, "interval", 0.849),
    ],
)
def test_alpha_equals_krippendorffs_tables(values, metric, alpha) -> None:
    assert round(krippendorff_alpha(values, metric), 3) == alpha


def slow_alpha(values: np.ndarray, metric: str) -> float:
    """Observed over expected disagreement, each a mean over ordered pairs of values, written from the definition."""
    units = [[value for value in column if not np.isnan(value)] for column in values.T]
    units = [unit for unit in units if len(unit) > 1]
    pooled = [value for unit in units for value in unit]

    def distance(c: float, k: float) -> float:
        if metric == "nominal":
            return float(c != k)
        if metric == "interval":
            return (c - k) ** 2
        low, high = min(c, k), max(c, k)
        between = sum(low <= value <= high for value in pooled)
        return (between - (pooled.count(c) + pooled.count(k)) / 2) ** 2

    observed = sum(
        sum(distance(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(pooled)
    expected = sum(distance(a, b) for a, b in itertools.permutations(pooled, 2)) / len(pooled) / (len(pooled) - 1)
    return 1 - observed / expected


tables = st.lists(
    st.lists(st.sampled_from([np.nan, 1.0, 2.0, 2.5, 7.0]), min_size=5, max_size=5), min_size=2, max_size=4
)


@given(tables, st.sampled_from(["nominal", "ordinal", "interval"]))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_alpha_equals_its_definition(rows, metric) -> None:
    values = np.array(rows)
    paired = values[:, (~np.isnan(values)).sum(0) > 1]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        assert np.isnan(krippendorff_alpha(values, metric))
    else:
        assert krippendorff_alpha(values, metric) == pytest.approx(slow_alpha(values, metric))


# Siegel, Nonparametric Statistics (1956), chapter 9: six applicants and three executives; ten objects with ties.
EXECUTIVES = np.array([[1, 6, 3, 2, 5, 4], [1, 5, 6, 4, 2, 3], [6, 3, 2, 5, 4, 1]], float)
WITH_TIES = np.array(
    [
        [1, 4.5, 2, 4.5, 3, 7.5, 6, 9, 7.5, 10],
        [2.5, 1, 2.5, 4.5, 4.5, 8, 9, 6.5, 10, 6.5],
        [2, 1, 4.5, 4.5, 4.5, 4.5, 8, 8, 8, 10],
    ]
)


def test_w_equals_siegels_tables() -> None:
    assert round(kendall_w(EXECUTIVES), 2) == 0.16
    assert round(kendall_w(WITH_TIES), 3) == 0.828


def test_w_follows_from_the_mean_rank_correlation() -> None:
    """Without ties W = (1 + (m - 1) mean Spearman) / m."""
    random = np.random.default_rng(0)
    ranks = np.array([random.permutation(7) + 1 for _ in range(5)], float)
    correlations = np.corrcoef(ranks)[np.triu_indices(5, 1)]
    assert kendall_w(ranks) == pytest.approx((1 + 4 * correlations.mean()) / 5)
    assert kendall_w(np.tile(ranks[0], (3, 1))) == pytest.approx(1)
    assert kendall_w(np.array([[1, 2, 3, 4], [4, 3, 2, 1]], float)) == pytest.approx(0)
    assert np.isnan(kendall_w(np.full((2, 3), 2.0)))


def test_tau_b() -> None:
    assert kendall_tau_b(np.array([12.0, 2, 1, 12, 2]), np.array([1.0, 4, 7, 1, 0])) == pytest.approx(-0.4714045)
    assert kendall_tau_b(np.arange(4.0), np.arange(4.0)) == 1
    assert kendall_tau_b(np.arange(4.0), -np.arange(4.0)) == -1
    assert np.isnan(kendall_tau_b(np.ones(3), np.arange(3.0)))


def test_votes_take_rankings_apart() -> None:
    votes = pair_votes([make_ranked([1, None, 2, 2]), make_ranked([2, 1], item="2", annotator="bia")])
    assert votes.annotators == ("ana", "bia")
    assert list(zip(votes.item, votes.first, votes.second, votes.vote, votes.annotator, strict=True)) == [
        (0, 0, 2, 1, 0),
        (0, 0, 3, 1, 0),
        (0, 2, 3, 0, 0),
        (1, 0, 1, -1, 1),
    ]
    assert votes.weight.tolist() == pytest.approx([2 / 3] * 3 + [1])
    assert len(set(votes.pair.tolist())) == 4
    with pytest.raises(DataError, match="2 answers in one ranking and 3"):
        pair_votes([make_ranked([1, 2]), make_ranked([1, 2, 3])])


def test_pairwise_agreement_by_hand() -> None:
    # Item 1: both of the pairs (0, 1) and (1, 2) agree, (0, 2) agrees: 3 of 3. Item 2: one of three pairs agrees; the
    # tie of bia leaves (0, 1) out. Item 3: nobody else.
    ranked = [
        make_ranked([1, 2, 3], item="1", annotator="ana"),
        make_ranked([1, 2, 3], item="1", annotator="bia"),
        make_ranked([1, 2, 3], item="2", annotator="ana"),
        make_ranked([2, 2, 1], item="2", annotator="bia"),
        make_ranked([3, 2, 1], item="3", annotator="bia"),
    ]
    estimate = pairwise_agreement(ranked)
    assert estimate.value == pytest.approx(6 / 10)
    assert estimate.n == 10  # preferences: two for each pair that both prefer
    assert agreement_with(ranked[:1], ranked[1:2]).value == 1
    assert agreement_with(ranked[2:3], ranked[3:4]).value == 0


def slow_agreement(ranked) -> float:
    """For every preference of every annotator, the share of the others with a preference who share it; their mean."""
    shares = []
    for one in ranked:
        for pair in one.ranking.pairs():
            others = [
                pair in other.ranking.pairs()
                for other in ranked
                if other is not one
                and other.item_id == one.item_id
                and (pair in other.ranking.pairs() or pair[::-1] in other.ranking.pairs())
            ]
            if others:
                shares.append(sum(others) / len(others))
    return float(np.mean(shares))


def slow_majority(ranked) -> tuple[int, int]:
    n_agree = n = 0
    for one in ranked:
        for better, worse in one.ranking.pairs():
            said = [0, 0, 0]
            for other in ranked:
                if other is not one and other.item_id == one.item_id:
                    said[0] += (better, worse) in other.ranking.pairs()
                    said[1] += (worse, better) in other.ranking.pairs()
                    said[2] += tuple(sorted((better, worse))) in other.ranking.ties()
            if said.count(max(said)) == 1 and max(said) != said[2]:
                n_agree += max(said) == said[0]
                n += 1
    return n_agree, n


def random_rankings(seed: int, *, n_items: int = 6, annotators: str = "abcde"):
    random = np.random.default_rng(seed)
    return [
        make_ranked(
            [None if random.random() < 0.15 else int(rank) for rank in random.integers(1, 4, 4)],
            item=str(item),
            annotator=name,
        )
        for item in range(n_items)
        for name in annotators
    ]


@pytest.mark.parametrize("seed", range(4))
def test_agreements_equal_their_definitions(seed) -> None:
    ranked = random_rankings(seed)
    assert pairwise_agreement(ranked).value == pytest.approx(slow_agreement(ranked))
    n_agree, n = slow_majority(ranked)
    assert (majority_agreement(ranked).value, majority_agreement(ranked).n) == (pytest.approx(n_agree / n), n)


def test_repeats_count_once_between_annotators_and_measure_the_annotator() -> None:
    ranked = [
        make_ranked([1, 2, 3], annotator="ana"),
        make_ranked([1, 2, 3], annotator="bia"),
        make_ranked([1, 3, 2], annotator="ana"),
        make_ranked([3, 2, 1], annotator="bia", item="2"),
    ]
    assert pairwise_agreement(ranked).value == 1
    assert self_agreement(ranked).value == pytest.approx(2 / 3)
    assert self_agreement(ranked[:2]).n == 0


def test_alpha_of_rankings_is_alpha_of_places() -> None:
    ranked = [one for one in random_rankings(1, n_items=8, annotators="abc") if len(one.ranking.ranked) == 4]
    units = sorted({(one.item_id, k) for one in ranked for k in range(4)})
    values = np.full((3, len(units)), np.nan)
    for one in ranked:
        for k, rank in enumerate(one.ranking.ranks(4)):
            values["abc".index(one.annotator), units.index((one.item_id, k))] = rank
    estimate = ranking_alpha(ranked)
    assert estimate.value == pytest.approx(krippendorff_alpha(values))
    assert estimate.low < estimate.value < estimate.high


def test_random_rankings_agree_by_chance_and_equal_ones_fully() -> None:
    random = np.random.default_rng(5)
    ranked = [
        make_ranked((random.permutation(4) + 1).tolist(), item=str(item), annotator=name)
        for item in range(150)
        for name in "abc"
    ]
    alpha, (w, w_by_chance), agreement = ranking_alpha(ranked), ranking_w(ranked), pairwise_agreement(ranked)
    assert alpha.low < 0 < alpha.high
    assert w_by_chance == pytest.approx(1 / 3)
    assert w.low < 1 / 3 < w.high
    assert agreement.low < 0.5 < agreement.high
    same = [make_ranked([1, 2, 3, 4], item=str(item), annotator=name) for item in range(5) for name in "ab"]
    assert (ranking_alpha(same).value, ranking_w(same)[0].value, pairwise_agreement(same).value) == (1, 1, 1)


def test_nothing_to_compare_is_said_so() -> None:
    for estimate in (pairwise_agreement([]), ranking_alpha([]), majority_agreement([]), ranking_w([])[0]):
        assert estimate.n == 0
        assert np.isnan(estimate.value)
    alone = [make_ranked([1, 2, 3])]
    assert (pairwise_agreement(alone).n, ranking_alpha(alone).n, agreement_with(alone, []).n) == (0, 0, 0)
    unranked = [make_ranked([None, None], annotator=name) for name in "ab"]
    assert (pairwise_agreement(unranked).n, ranking_alpha(unranked).n) == (0, 0)
    all_tied = [make_ranked([1, 1, 1], annotator=name) for name in "ab"]
    assert (pairwise_agreement(all_tied).n, ranking_alpha(all_tied).n, ranking_w(all_tied)[0].n) == (0, 0, 0)


def test_interval_resamples_whole_prompts() -> None:
    """Ten identical rows in each of 30 clusters say no more than one, and the interval holds the truth."""
    n_covered = 0
    for seed in range(60):
        hits = (np.random.default_rng(seed).random(30) < 0.7).astype(float)
        single = share(hits, np.ones(30), np.arange(30), seed=seed, n_resamples=300)
        repeated = share(np.repeat(hits, 10), np.ones(300), np.repeat(np.arange(30), 10), seed=seed, n_resamples=300)
        assert (single.low, single.high) == (pytest.approx(repeated.low), pytest.approx(repeated.high))
        n_covered += single.low <= 0.7 <= single.high
    assert n_covered >= 50
    same_prompt = [
        make_ranked(ranks, item=str(k), annotator=name, prompt="one for all")
        for k in range(10)
        for name, ranks in (("a", [1, 2]), ("b", [1, 2] if k % 2 else [2, 1]))
    ]
    # One prompt is one trial, whatever was said about it.
    estimate = pairwise_agreement(same_prompt)
    assert estimate.value == 0.5
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (0.055, 0.945)


def test_unanimous_prompts_have_wilsons_interval() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I: 0 of 20 has the interval 0 to 0.1611."""
    estimate = share(np.zeros(60), np.ones(60), np.arange(60) % 20, seed=0)
    assert (estimate.value, estimate.low, round(estimate.high, 4)) == (0, 0, 0.1611)
