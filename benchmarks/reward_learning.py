"""What a reward model learns: from how many rankings, with which noise, how calibrated, and what choosing gains.

Experiments E3 (number of rankings, flipped ones), E5 (ties and unreliable people), E6 (calibration), E7 (best of n) and
E15 (choosing what to rank), each over several seeds on a preference whose truth is known.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import make_parser, read_words, say, spread, write_result
from benchmarks.reward_letters import (
    LetterItem,
    make_items,
    rank_items,
    score_items,
    train_reward,
    trained_scale,
    write_trunk,
)
from prosa.preferences import (
    RankedAnswers,
    SimulatedAnnotator,
    annotator_weights,
    expected_information,
    with_weights,
)

_DAVIDSON, _DROP = {"ties": "davidson"}, {"ties": "drop"}


class Bench:
    """One seed's trunk, test items and folder of trainings."""

    def __init__(self, folder: Path, seed: int, n_test: int) -> None:
        self.folder, self.seed, self.numbers = folder / str(seed), seed, count()
        self.trunk = write_trunk(self.folder / "trunk", seed)
        self.test = make_items(n_test, seed=seed, split="test")

    def train(self, ranked: Sequence[RankedAnswers], **settings: Any) -> Path:
        """The stage folder of a new training."""
        done = train_reward(self.folder / f"reward-{next(self.numbers)}", self.trunk, ranked, self.seed, **settings)
        return done.folder

    def measure(self, folder: Path, annotator: SimulatedAnnotator | None = None) -> dict[str, Any]:
        """The report card on the test items, ranked by the truth or by an annotator."""
        from prosa.reward import report_card

        ranked = rank_items(self.test, annotator)
        return report_card(ranked, score_items(folder, self.test), trained_scale=trained_scale(folder)).to_json()


def number_of_rankings(bench: Bench, sizes: Sequence[int]) -> dict[str, Any]:
    """E3: accuracy against the truth by number of rankings, faultless and with a quarter of the pairs reversed."""
    items = make_items(max(sizes), seed=bench.seed)
    flipping = SimulatedAnnotator("flips", temperature=0.0, flip_share=0.25, seed=bench.seed)
    rows = []
    for n in sizes:
        clean = bench.measure(bench.train(rank_items(items[:n])))
        folder = bench.train(rank_items(items[:n], flipping))
        noisy, seen = bench.measure(folder), bench.measure(folder, flipping)
        rows.append({
            "n": n,
            "clean": clean["accuracy"]["share"],
            "flipped": noisy["accuracy"]["share"],
            "flipped_labels": seen["accuracy"]["share"],
        })  # fmt: skip
    return {"rows": rows}


def ties_and_noise(bench: Bench, n: int) -> dict[str, Any]:
    """E5: ties used or dropped; a random annotator found out and weighed down, or not."""
    careful = [
        SimulatedAnnotator(name, temperature=0.4, tie_margin=0.4, seed=bench.seed) for name in ("ana", "bia", "caio")
    ]
    random = SimulatedAnnotator("acaso", "random", seed=bench.seed)
    items = make_items(n, seed=bench.seed)
    tied = rank_items(items, careful[0])
    several = [one for annotator in (*careful, random) for one in rank_items(items[: n // 3], annotator)]
    weights = annotator_weights(several)
    losses = {}
    for name, loss in (("davidson", _DAVIDSON), ("rao_kupper", {"ties": "rao_kupper"}), ("drop", _DROP)):
        card = bench.measure(bench.train(tied, loss=loss), careful[1])
        losses[name] = {"log_loss": card["calibration"]["log_loss_before"], "accuracy": card["accuracy"]["share"]}
    return {
        "losses": losses,
        "random_weight": weights[random.name] / max(weights.values()),
        "with_weights": bench.measure(bench.train(with_weights(several, weights)))["accuracy"]["share"],
        "without_weights": bench.measure(bench.train(several))["accuracy"]["share"],
    }


def calibration(bench: Bench, n: int) -> dict[str, Any]:
    """E6: claimed and found, as trained and after a temperature, against new rankings by the same kind of person."""
    person = SimulatedAnnotator("pessoa", temperature=0.7, seed=bench.seed)
    ranked = rank_items(make_items(n, seed=bench.seed), person)
    cards = {}
    for name, epochs in (("one epoch", 1), ("eight epochs", 8)):
        measured = bench.measure(bench.train(ranked, epochs=epochs), person)["calibration"]
        cards[name] = {
            "ece_before": measured["ece_before"],
            "ece_after": measured["ece_after"],
            "claims_too_much": _claims(measured["curve_before"]),
        }
    return cards


def best_of_many(bench: Bench, sizes: Sequence[int], n_prompts: int, n_answers: int) -> dict[str, Any]:
    """E7: what the reward says of its choice and what the choice is worth, for reward models from few and many."""
    from prosa.reward import best_of_n, fit_best_of_n

    person = SimulatedAnnotator("pessoa", temperature=0.7, seed=bench.seed)
    ranked = rank_items(make_items(max(sizes), seed=bench.seed), person)
    many = make_items(n_prompts, seed=bench.seed, K=n_answers, split="best of n")
    curves = {}
    for n in sizes:
        curve = best_of_n(score_items(bench.train(ranked[:n]), many), [item.gold for item in many])
        fit = fit_best_of_n(curve)
        curves[str(n)] = {
            "curve": [{"n": one.n, "kl": one.kl, "proxy": one.proxy, "gold": one.gold} for one in curve],
            "fit": fit and {"a": fit.a, "b": fit.b, "peak_kl": fit.peak_kl},
        }
    return curves


def what_to_rank(bench: Bench, start: int, step: int, rounds: int, pool: int) -> dict[str, Any]:
    """E15: items chosen by what an ensemble expects to learn from them, against items at random."""
    person = SimulatedAnnotator("pessoa", temperature=0.5, seed=bench.seed)
    items = make_items(pool, seed=bench.seed)
    found: dict[str, Any] = {}
    for way in ("random", "active"):
        chosen, left = list(range(start)), list(range(start, pool))
        rows = []
        for _ in range(rounds + 1):
            folder = bench.train(rank_items([items[i] for i in chosen], person), n_members=5, epochs=3)
            rows.append({"n": len(chosen), "accuracy": bench.measure(folder)["accuracy"]["share"]})
            if way == "active":
                left.sort(key=_ranks(-_information(folder, items, left), left))
            chosen, left = chosen + left[:step], left[step:]
        found[way] = rows
    return found


def _information(folder: Path, items: Sequence[LetterItem], left: Sequence[int]) -> np.ndarray:
    """Nats that each item left is expected to tell, from the heads' scores as they were trained."""
    from prosa.reward import RewardFunction

    reward = RewardFunction.load(folder / "model")
    asked = [items[index] for index in left]
    prompts = [item.messages for item in asked for _ in item.answers]
    heads = np.array(reward.head_scores(prompts, [text for item in asked for text in item.answers]))
    by_head = heads.T.reshape(heads.shape[1], len(asked), -1)
    return expected_information(by_head * trained_scale(folder))


def _ranks(values: np.ndarray, keys: Sequence[int]) -> Callable[[int], float]:
    found = dict(zip(keys, values.tolist(), strict=True))
    return found.__getitem__


def _claims(curve: Sequence[dict[str, Any]]) -> float:
    """Mean confidence less mean accuracy: positive for one who is too sure."""
    n = sum(one["n"] for one in curve)
    return float(sum(one["n"] * (one["confidence"] - one["accuracy"]) for one in curve) / n)


def judge(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The pass marks, each in words with what was found; the median over seeds unless the words say otherwise."""
    largest = [run["E3"]["rows"][-1] for run in runs]
    smallest = [run["E3"]["rows"][0] for run in runs]
    over = [run["E6"]["eight epochs"]["claims_too_much"] for run in runs]
    gains = [_rankings_saved(run["E15"]) for run in runs]
    return {
        "E3 clean labels, most rankings: accuracy >= 0.90": _passes([row["clean"] for row in largest], 0.90),
        "E3 a quarter flipped: accuracy against the truth >= 0.85": _passes([row["flipped"] for row in largest], 0.85),
        "E3 a quarter flipped: against the labels <= 0.75 + 0.02": _passes(
            [-row["flipped_labels"] for row in largest], -0.77
        ),
        "E3 fewest rankings: near chance, accuracy <= 0.75": _passes([-row["clean"] for row in smallest], -0.75),
        "E5 ties used: held-out log loss no worse than dropped": _passes(
            [run["E5"]["losses"]["drop"]["log_loss"] - run["E5"]["losses"]["davidson"]["log_loss"] for run in runs], 0.0
        ),
        "E5 the random annotator's weight < 0.2": _passes([-run["E5"]["random_weight"] for run in runs], -0.2),
        "E5 weights help": _passes([run["E5"]["with_weights"] - run["E5"]["without_weights"] for run in runs], 0.0),
        "E6 after eight epochs too sure": _passes(over, 0.0),
        "E6 calibration error after temperature < 0.05": _passes(
            [-run["E6"][name]["ece_after"] for run in runs for name in run["E6"]], -0.05
        ),
        "E15 active: the same accuracy with 25 % fewer rankings": _passes(gains, 0.25),
    }


def _passes(values: Sequence[float], mark: float) -> dict[str, Any]:
    return {"values": spread([round(abs(value), 4) for value in values]), "is_met": statistics.median(values) >= mark}


def _rankings_saved(found: dict[str, Any]) -> float:
    """The share of the random way's rankings that the active way can do without for the random way's last accuracy."""
    wanted = found["random"][-1]["accuracy"]
    needed = next((row["n"] for row in found["active"] if row["accuracy"] >= wanted), None)
    return 0.0 if needed is None else 1 - needed / found["random"][-1]["n"]


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("reward_learning", __doc__)
    parser.set_defaults(seeds=4)
    chosen = read_words(parser, argv)
    is_smoke = chosen.smoke
    runs = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(1 if is_smoke else chosen.seeds):
            bench = Bench(Path(name), seed, 30 if is_smoke else 500)
            run = {
                "E3": number_of_rankings(bench, (12, 24) if is_smoke else (100, 200, 500, 1000, 2000, 4000)),
                "E5": ties_and_noise(bench, 24 if is_smoke else 1500),
                "E6": calibration(bench, 24 if is_smoke else 1000),
                "E7": best_of_many(bench, (12,), 3, 8) if is_smoke else best_of_many(bench, (150, 4000), 40, 256),
                "E15": what_to_rank(bench, 8, 4, 1, 24) if is_smoke else what_to_rank(bench, 100, 100, 5, 3000),
            }
            say(f"seed {seed}: {run['E3']['rows'][-1]}")
            runs.append(run)
    write_result("reward_learning", {"marks": judge(runs), "runs": runs}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
