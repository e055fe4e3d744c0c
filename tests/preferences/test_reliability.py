"""Annotators' reliability against Dawid and Skene's own table, slow references, and simulated annotators."""

import itertools
import math
import re

import numpy as np
import pytest

from prosa.preferences.judgments import RankedAnswers
from prosa.preferences.reliability import (
    annotator_precisions,
    annotator_weights,
    dawid_skene,
    pair_informedness,
    with_weights,
)
from prosa.preferences.simulated import SimulatedAnnotator
from tests.preferences.rankings import ANSWERS, make_ranked

# Dawid & Skene, Applied Statistics 28 (1979), table 1: 45 patients; observer 1 saw each three times, four others once.
PATIENTS = re.findall(
    r"\d{7}",
    "1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 "
    "1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 "
    "1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 "
    "2322222 1211111 2222222",
)
OBSERVERS = (0, 0, 0, 1, 2, 3, 4)
LABELS = np.array(
    [
        (patient, OBSERVERS[place], int(label) - 1)
        for patient, labels in enumerate(PATIENTS)
        for place, label in enumerate(labels)
    ]
)


def test_dawid_and_skenes_own_result() -> None:
    fit = dawid_skene(LABELS, n_classes=4)
    assert len(PATIENTS) == 45
    assert fit.class_shares.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    # Table 2: individual error rates of observer 1.
    assert fit.confusion[0].round(2).tolist() == [
        [0.89, 0.11, 0.0, 0.0],
        [0.07, 0.88, 0.05, 0.0],
        [0.0, 0.34, 0.66, 0.0],
        [0.0, 0.0, 0.56, 0.44],
    ]
    assert fit.posteriors.argmax(1)[:4].tolist() == [0, 3, 1, 1]


def slow_dawid_skene(labels, n_classes: int, n_labels: int, smoothing: float, n_rounds: int):
    """EM with loops and plain probabilities."""
    n_items, n_annotators = labels[:, 0].max() + 1, labels[:, 1].max() + 1
    posterior = [[0.0] * n_classes for _ in range(n_items)]
    for item, _, label in labels:
        if label < n_classes:
            posterior[item][label] += 1
    posterior = [[v / sum(row) for v in row] if sum(row) else [1 / n_classes] * n_classes for row in posterior]
    for _ in range(n_rounds):
        shares = [sum(row[c] for row in posterior) / n_items for c in range(n_classes)]
        counts = [[[smoothing] * n_labels for _ in range(n_classes)] for _ in range(n_annotators)]
        for item, annotator, label in labels:
            for c in range(n_classes):
                counts[annotator][c][label] += posterior[item][c]
        confusion = [[[v / sum(row) for v in row] for row in table] for table in counts]
        posterior = [list(shares) for _ in range(n_items)]
        for item, annotator, label in labels:
            for c in range(n_classes):
                posterior[item][c] *= confusion[annotator][c][label]
        posterior = [[v / sum(row) for v in row] for row in posterior]
    return np.array(shares), np.array(confusion), np.array(posterior)


def test_em_equals_a_slow_one() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 30)
    labels = np.array(
        [
            (item, annotator, truth[item] if random.random() < 0.8 else random.integers(0, 3))
            for item in range(30)
            for annotator in range(3)
        ]
    )
    fit = dawid_skene(labels, n_classes=2, n_labels=3, smoothing=0.5)
    shares, confusion, posterior = slow_dawid_skene(labels, 2, 3, 0.5, 2000)
    assert fit.class_shares == pytest.approx(shares, abs=1e-3)
    assert fit.confusion == pytest.approx(confusion, abs=1e-3)
    assert fit.posteriors == pytest.approx(posterior, abs=1e-3)


def simulate(
    annotators: list[SimulatedAnnotator], *, n_items: int, k: int = 4, per_item: int = 0, seed: int = 0
) -> list[RankedAnswers]:
    """Every item by all annotators, or by `per_item` of them in turn."""
    random = np.random.default_rng(seed)
    ranked = []
    for item in range(n_items):
        truth = random.normal(0, 1, k)
        order = random.permutation(k).tolist()
        chosen = annotators if not per_item else random.choice(np.array(annotators), per_item, replace=False)
        for one in chosen:
            ranking = one.rank(truth, ANSWERS[:k], order, item_id=str(item))
            ranked.append(
                RankedAnswers(str(item), ({"role": "user", "content": str(item)},), ANSWERS[:k], ranking, one.name)
            )
    return ranked


GOOD = [SimulatedAnnotator(f"good {k}", temperature=0.4, seed=k) for k in range(3)]
RANDOM = SimulatedAnnotator("random", "random")


@pytest.mark.parametrize("model", ["temperature", "dawid_skene"])
@pytest.mark.parametrize("seed", range(4))
def test_random_annotator_weighs_less_than_a_fifth_of_a_good_one(model, seed) -> None:
    ranked = simulate([*GOOD, RANDOM], n_items=60, seed=seed)
    weights = annotator_weights(ranked, model=model)
    assert weights["simulated:random"] < 0.2 * min(weights[one.name] for one in GOOD)
    assert sum(weights[one.annotator] for one in ranked) / len(ranked) == pytest.approx(1)


@pytest.mark.parametrize("model", ["temperature", "dawid_skene"])
def test_random_annotator_is_found_where_only_two_rank_each_item(model) -> None:
    ranked = simulate([*GOOD, RANDOM], n_items=300, per_item=2)
    weights = annotator_weights(ranked, model=model)
    assert weights["simulated:random"] < 0.2 * min(weights[one.name] for one in GOOD)


@pytest.mark.parametrize("rate", [annotator_precisions, pair_informedness])
def test_better_annotators_have_higher_rates(rate) -> None:
    annotators = [SimulatedAnnotator(f"t {t}", temperature=t) for t in (0.3, 1.0, 3.0)]
    rates = list(rate(simulate([*annotators, GOOD[0], GOOD[1]], n_items=250)).values())
    assert rates[0] > rates[1] > rates[2] > 0


def test_who_always_ties_or_prefers_the_worse_has_no_weight() -> None:
    ranked = simulate([*GOOD, SimulatedAnnotator("ties", "ties")], n_items=60)
    reverse = [
        RankedAnswers(one.item_id, one.messages, one.answers, type(one.ranking)(one.ranking.groups[::-1]), "reverse")
        for one in ranked
        if one.annotator == GOOD[0].name
    ]
    for model in ("temperature", "dawid_skene"):
        weights = annotator_weights([*ranked, *reverse], model=model)
        assert weights["reverse"] == 0
        assert weights["simulated:ties"] < 0.1 * weights[GOOD[1].name]
    assert annotator_precisions([*ranked, *reverse])["reverse"] < 0


@pytest.mark.parametrize("model", ["temperature", "dawid_skene"])
def test_names_of_answers_do_not_matter(model) -> None:
    """The same rankings with the answers of every item in another order give the same weights."""
    ranked = simulate([*GOOD, RANDOM], n_items=20)
    order = [2, 0, 3, 1]
    moved = [
        make_ranked([one.ranking.ranks(4)[k] for k in order], item=one.item_id, annotator=one.annotator)
        for one in ranked
    ]
    before, after = annotator_weights(ranked, model=model), annotator_weights(moved, model=model)
    for name, weight in before.items():
        assert after[name] == pytest.approx(weight, abs=2e-3)


def slow_precisions(ranked: list[RankedAnswers], n_rounds: int = 60) -> dict[str, float]:
    """The same alternation with loops: each half is climbed to its end by many small steps."""
    names = sorted({one.annotator for one in ranked})
    items = sorted({one.item_id for one in ranked})
    votes = {
        (one.item_id, one.annotator): [
            (i, j, 2 / len(one.ranking.ranked), 1.0 if (i, j) in one.ranking.pairs() else 0.5)
            for i, j in one.ranking.pairs() + one.ranking.ties()
        ]
        for one in ranked
    }
    n = len(ranked[0].answers)
    b = dict.fromkeys(names, 1.0)
    for _ in range(n_rounds):
        strengths = {}
        for item, out in itertools.product(items, names):
            s = [0.0] * n
            for _ in range(200):
                slope = [-value for value in s]
                for name in names:
                    if name != out:
                        for i, j, weight, target in votes.get((item, name), []):
                            push = weight * b[name] * (target - 1 / (1 + math.exp(-b[name] * (s[i] - s[j]))))
                            slope[i] += push
                            slope[j] -= push
                s = [value + 0.1 * step for value, step in zip(s, slope, strict=True)]
            strengths[item, out] = s
        mean = sum(b.values()) / len(b)
        for name in names:
            for _ in range(50):
                slope, room = mean - b[name], 1.0
                for item in items:
                    s = strengths[item, name]
                    for i, j, weight, target in votes.get((item, name), []):
                        p = 1 / (1 + math.exp(-b[name] * (s[i] - s[j])))
                        slope += weight * (s[i] - s[j]) * (target - p)
                        room += weight * (s[i] - s[j]) ** 2 * p * (1 - p)
                b[name] += 0.3 * slope / room
    return b


def test_precisions_equal_a_slow_alternation() -> None:
    ranked = simulate([GOOD[0], GOOD[1], RANDOM], n_items=5, k=3, seed=1)
    assert annotator_precisions(ranked) == pytest.approx(slow_precisions(ranked), abs=0.02)


def test_without_overlap_all_weigh_the_same() -> None:
    alone = [make_ranked([1, 2, 3], item=str(k), annotator="ab"[k % 2]) for k in range(6)]
    assert annotator_weights(alone) == {"a": 1.0, "b": 1.0}
    assert annotator_weights([]) == {}
    assert annotator_weights([], model="dawid_skene") == {}
    assert annotator_weights([make_ranked([None, 1])]) == {}


def test_weights_go_into_the_rankings() -> None:
    ranked = [make_ranked([1, 2], annotator="a"), make_ranked([1, 2], annotator="b", weight=0.5)]
    assert [one.weight for one in with_weights(ranked, {"a": 0.25})] == [0.25, 0.5]
