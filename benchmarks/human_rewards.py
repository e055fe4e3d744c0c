"""Reward models on real human rankings: accuracy on prompts left out, beside chance, length and what people agree on.

Five folds by prompt; every answer is scored by a model that saw no ranking of its prompt. The trunk is given with
--trunk, or trained on books in two languages first. The sets lie in DATA/prefs: argument pairs (UKPConvArg1), essays in
Portuguese (Essay-BR), OpenAssistant's replies, HH-RLHF's harmless test pairs, and SQuALITY's answers.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data_paths import DataMissing, locate, settings_with_data
from benchmarks.measure import REPO, make_parser, prosa_words, read_words, run_process, say, spread, write_result
from benchmarks.real_input import SMOKE
from prosa.corpus import ReadReport
from prosa.preferences import (
    RankedAnswers,
    Ranking,
    majority_agreement,
    prompt_hash,
    read_essay_br,
    read_hh_pairs,
    read_oasst_ranks,
    read_squality_ranks,
    read_ukp_pairs,
    read_ukp_rankings,
)
from prosa.streams import numpy_stream

_FOLDS = 5
_LARGEST_K, _ROUNDS = 8, 3
_SMOKE_RANKINGS = 40
_CONTEXT = 1024
# Of the texts that an essay's theme comes with, which are longer than the essay and the same for all of them.
_THEME_LETTERS = 500
# Always choosing the longer text, as told of these files.
_STATED_LENGTH = {"ukpconvarg1": 0.774, "essay_br": 0.724, "oasst_ranks": 0.696, "hh_rlhf_harmless": 0.439}


Rankings = Sequence[RankedAnswers]


@dataclass(frozen=True, slots=True)
class HumanSet:
    """What is learned from, what is measured on, and the rankings of single annotators where there are several.

    rounds: how often a long ranking is cut anew.
    """

    learned: list[RankedAnswers]
    tested: list[RankedAnswers]
    by_annotator: list[RankedAnswers]
    rounds: int = _ROUNDS


def read_ukp(data: Path, n: int | None) -> HumanSet:
    """Learned from whole topics in order; measured on pairs with a clear label, of which each has five votes."""
    pairs, arguments, rankings = (
        locate(data, f"prefs/ukpconvarg1/{name}.jsonl.gz") for name in ("pairs", "arguments", "rankings")
    )
    tested = list(islice(read_ukp_pairs(pairs, arguments, ReadReport(), label="strict"), n))
    clear = {one.item_id for one in tested}
    votes = [one for one in read_ukp_pairs(pairs, arguments, ReadReport()) if one.item_id in clear]
    return HumanSet(list(read_ukp_rankings(rankings, ReadReport())), tested, votes)


def read_essays(data: Path, n: int | None) -> HumanSet:
    """Learned from whole rankings by grade; measured, as others do, on pairs at least 80 points apart."""
    path = locate(data, "prefs/essay_br/ranked_essays.jsonl.gz")
    tested = map(shorten, islice(read_essay_br(path, ReadReport(), min_gap=80), n))
    learned = map(shorten, islice(read_essay_br(path, ReadReport()), n))
    return HumanSet(list(learned), list(tested), [], rounds=1)


def shorten(one: RankedAnswers) -> RankedAnswers:
    """With the beginning of its prompt."""
    [message] = one.messages
    return replace(one, messages=({**message, "content": message["content"][:_THEME_LETTERS]},))


def read_squality(data: Path, n: int | None) -> HumanSet:
    """Three answers to a question, ranked by three reviewers each."""
    ranked = list(islice(read_squality_ranks(locate(data, "prefs/squality_ranks/ranks.jsonl.gz"), ReadReport()), n))
    return HumanSet(ranked, ranked, ranked)


def read_oasst(data: Path, n: int | None) -> HumanSet:
    """Replies in the order that several volunteers' rankings were merged to."""
    ranked = list(islice(read_oasst_ranks(locate(data, "prefs/oasst_ranks/ranks.jsonl.gz"), ReadReport()), n))
    return HumanSet(ranked, ranked, [])


def read_hh(data: Path, n: int | None) -> HumanSet:
    """Pairs."""
    ranked = list(islice(read_hh_pairs(locate(data, "prefs/hh_rlhf_harmless/pairs.jsonl.gz"), ReadReport()), n))
    return HumanSet(ranked, ranked, [])


SETS: dict[str, Callable[[Path, int | None], HumanSet]] = {
    "ukpconvarg1": read_ukp,
    "essay_br": read_essays,
    "oasst_ranks": read_oasst,
    "hh_rlhf_harmless": read_hh,
    "squality_ranks": read_squality,
}


def train_trunk(folder: Path, data: Path, minutes: float, *, is_smoke: bool) -> Path:
    """A base model on books in Portuguese and English."""
    changes: dict[str, Any] = {"pretrain.minutes": minutes, "pretrain.context_length": _CONTEXT}
    if is_smoke:
        changes = SMOKE | {"pretrain.context_length": 128, "pretrain.depth": 1}
    settings = settings_with_data(REPO / "configs" / "livros.toml", data, folder / "livros.toml", changes)
    run_process(prosa_words("pretrain", settings, "--run", folder / "run"))
    return folder / "run" / "base" / "model"


def fold_of(one: RankedAnswers) -> int:
    """The fold of a ranking, the same for all of one prompt."""
    return int(prompt_hash(one.messages)[:8], 16) % _FOLDS


def cut_rankings(ranked: Rankings, seed: int, rounds: int) -> list[RankedAnswers]:
    """Rankings of more than eight answers as several of at most eight, drawn anew in each of the rounds."""
    cut = []
    for number, one in enumerate(ranked):
        order = one.ranking.ranked
        if len(order) <= _LARGEST_K:
            cut.append(one)
            continue
        for turn in range(rounds):
            drawn = numpy_stream(seed, "cut rankings", number, turn).permutation(order)
            for few in np.array_split(drawn, -(-len(order) // _LARGEST_K)):
                groups = (tuple(index for index in group if index in few) for group in one.ranking.groups)
                cut.append(replace(one, ranking=Ranking(tuple(filter(None, groups)))))
    return cut


def measure_set(found: HumanSet, trunk: Path, folder: Path, seed: int, epochs: float) -> dict[str, Any]:
    """The report card over all folds: every answer is scored by a model that saw no ranking of its prompt."""
    from prosa.reward import report_card

    scores: dict[tuple[str, str], float] = {}
    for fold in range(_FOLDS):
        learned = [one for one in found.learned if fold_of(one) != fold]
        asked = [one for one in (*found.tested, *found.by_annotator) if fold_of(one) == fold]
        if learned and asked:
            cut = cut_rankings(learned, seed, found.rounds)
            scores |= score_left_out(folder / f"fold-{fold}", trunk, cut, asked, seed, epochs)

    def scored(ranked: Rankings) -> tuple[list[RankedAnswers], list[list[float]]]:
        keys = [[(prompt_hash(one.messages), text) for text in one.answers] for one in ranked]
        known = [number for number, row in enumerate(keys) if all(key in scores for key in row)]
        return [ranked[number] for number in known], [[scores[key] for key in keys[number]] for number in known]

    tested, rows = scored(found.tested)
    card = report_card(tested, rows, seed=seed).to_json()
    votes, vote_rows = scored(found.by_annotator)
    people = None
    if votes:
        ceiling = report_card(votes, vote_rows, seed=seed).ceiling
        people = {"majority": asdict(majority_agreement(votes)), "ceiling": ceiling and asdict(ceiling)}
    return {"card": card, "people": people, "n_left_out": len(found.tested) - len(tested)}


def score_left_out(
    folder: Path,
    trunk: Path,
    learned: Sequence[RankedAnswers],
    asked: Sequence[RankedAnswers],
    seed: int,
    epochs: float,
) -> dict[tuple[str, str], float]:
    """Scores by (prompt, text) of a model trained on the other folds; without those too long for its context."""
    from prosa.reward import RewardFunction, RewardSettings, encode_answers, main

    settings = RewardSettings(epochs=epochs, seed=seed, validation_fraction=0.0, evaluate_every=10**9)
    main(folder, settings, trunk, learned, is_shown=False)
    reward = RewardFunction.load(folder / "model")
    sequences: dict[tuple[str, str], list[int]] = {}
    for one in asked:
        for text in one.answers:
            key = (prompt_hash(one.messages), text)
            if key not in sequences:
                encoded = encode_answers(reward.tokenizer, one.messages, [text], reward.model.settings.context_length)
                if encoded is not None:
                    sequences[key] = encoded[0][0]
    return dict(zip(sequences, reward.score_ids(list(sequences.values())), strict=True))


def summarize(name: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy over the seeds beside length and people; what is claimed is only what beats the length baseline."""
    cards = [run["card"] for run in runs]
    accuracy = spread([card["accuracy"]["share"] for card in cards])
    length = cards[0]["length_only"]
    lowest = min(card["accuracy"]["clustered"]["low"] for card in cards)
    # People may well prefer the shorter.
    by_length = max(length["share"], 1 - length["share"])
    return {
        "accuracy": accuracy,
        "length_only": length,
        "stated_length": _STATED_LENGTH.get(name),
        "chance": 0.5,
        "beats_chance": lowest > 0.5,
        "beats_length": lowest > by_length,
        "runs": list(runs),
    }


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("human_rewards", __doc__, needs_data=True)
    # Ten models a set: five folds by two seeds.
    parser.set_defaults(seeds=2)
    parser.add_argument("--trunk", type=Path, help="a model folder; without it one is trained first")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training the trunk (default: 10)")
    parser.add_argument("--epochs", type=float, default=2.0, help="over the rankings of the other folds (default: 2)")
    parser.add_argument("--set", choices=sorted(SETS), help="only this one")
    chosen = read_words(parser, argv)
    n = _SMOKE_RANKINGS if chosen.smoke else None
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            trunk = chosen.trunk or train_trunk(folder, chosen.data, chosen.minutes, is_smoke=chosen.smoke)
        except DataMissing as error:
            say(str(error))
            return 0
        for key in [chosen.set] if chosen.set else SETS:
            try:
                found = SETS[key](chosen.data, n)
            except DataMissing as error:
                say(f"{key}: {error}")
                continue
            runs = []
            for seed in range(1 if chosen.smoke else chosen.seeds):
                runs.append(measure_set(found, trunk, folder / f"{key}-{seed}", seed, chosen.epochs))
            result[key] = summarize(key, runs)
            say(f"{key}: {result[key]['accuracy'].median:.3f}, longer {result[key]['length_only']['share']:.3f}")
            # After each set: all of them take an hour.
            write_result("human_rewards", result, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
