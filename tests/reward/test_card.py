"""The report card against a town of hand-made rankings and the statistics room's own agreement."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from prosa.errors import DataError
from prosa.preferences import RankedAnswers, Ranking
from prosa.preferences.agreement import majority_agreement
from prosa.reward import RewardCard, card_table, report_card
from prosa.streams import numpy_stream


def ranked(prompt: str, groups: tuple[tuple[int, ...], ...], *answers: str, annotator: str = "ana") -> RankedAnswers:
    return RankedAnswers.make([{"role": "user", "content": prompt}], answers, Ranking(groups), annotator=annotator)


def many(n: int = 300, *, noise: float = 0.5) -> tuple[list[RankedAnswers], list[list[float]]]:
    """Rankings by a hidden score; the model sees it with noise; lengths mean nothing."""
    stream = numpy_stream(0, "card test", n)
    rankings, scores = [], []
    for number in range(n):
        truth = stream.normal(size=4)
        answers = ["y" * int(stream.integers(10, 40)) + str(i) for i in range(4)]
        rankings.append(ranked(f"p{number}", Ranking.from_ranks((-truth).tolist()).groups, *answers))
        scores.append((truth + noise * stream.normal(size=4)).tolist())
    return rankings, scores


def test_a_card_by_hand() -> None:
    """Five strict pairs of two prompts; scores get four right and tie one, lengths get two right and tie one."""
    rankings = [ranked("a", ((0,), (1, 2)), "yy", "yyyy", "y"), ranked("b", ((2,), (0,), (1,)), "yy", "yyy", "yyy")]
    card = report_card(rankings, [[3.0, 1.0, 2.0], [1.0, 1.0, 4.0]])
    assert (card.n_rankings, card.n_prompts, card.n_ties, card.accuracy.n) == (2, 2, 1, 5)
    assert card.accuracy.share == pytest.approx(4.5 / 5)
    # (0 > 1) no, (0 > 2) yes; (2 > 0) yes, (2 > 1) equal, (0 > 1) no.
    assert card.length_only.share == pytest.approx(2.5 / 5)
    assert card.equal_length is not None and card.equal_length.n == 1 and card.equal_length.share == 1
    assert card.by_length is not None and card.by_length.when_so.n == card.by_length.when_not.n == 2
    # Shown first and better: 0 > 1, 0 > 2, and 0 > 1 (tied); later and better: 2 > 0, 2 > 1.
    assert card.by_position is not None and card.by_position.when_so.share == pytest.approx(2.5 / 3)
    assert card.by_position.when_not.share == 1 and card.by_position.mean == pytest.approx((2.5 / 3 + 1) / 2)
    assert card.ceiling is None and card.best_of_n == ()


def test_positions_are_those_of_the_screen_where_they_are_known() -> None:
    rankings = [ranked("a", ((0,), (1,)), "yy", "yyyy"), ranked("b", ((0,), (1,)), "yy", "yyyy")]
    card = report_card(rankings, [[1.0, 0.0], [0.0, 1.0]], shown=[(1, 0), (0, 1)])
    assert card.by_position is not None
    assert (card.by_position.when_not.share, card.by_position.when_so.share) == (1.0, 0.0)
    assert report_card(rankings, [[1.0, 0.0], [0.0, 1.0]]).by_position is None


def test_a_model_of_length_alone_is_exposed() -> None:
    rankings, _ = many()
    by_length = report_card(rankings, [[float(len(answer)) for answer in one.answers] for one in rankings])
    assert by_length.accuracy.share == by_length.length_only.share
    assert by_length.by_length is not None and by_length.by_length.mean == 0.5
    assert by_length.by_length.when_so.share == 1 and by_length.by_length.when_not.share == 0


def test_intervals_by_prompt_are_wider_than_by_pair() -> None:
    rankings, scores = many()
    card = report_card(rankings, scores)
    widths = [one.high - one.low for one in (card.accuracy.wilson, card.accuracy.clustered)]
    assert card.accuracy.n == 1800 and 0.02 < widths[0] < widths[1] < 2 * widths[0]
    assert card.accuracy.clustered.low < card.accuracy.share < card.accuracy.clustered.high


def test_the_ceiling_is_what_the_statistics_room_calls_majority_agreement() -> None:
    stream = numpy_stream(0, "ceiling test")
    rankings, scores = [], []
    for number in range(60):
        truth = stream.normal(size=3)
        for annotator in ("ana", "bia", "caio", "davi"):
            seen = (truth + stream.normal(size=3)).round()
            one = ranked(f"p{number}", Ranking.from_ranks((-seen).tolist()).groups, "a", "b", "c", annotator=annotator)
            rankings.append(one)
            scores.append(truth.tolist())
    card = report_card(rankings, scores)
    assert card.ceiling is not None
    assert card.ceiling.human.share == pytest.approx(majority_agreement(rankings).value)
    assert card.ceiling.human.n == card.ceiling.model.n and card.ceiling.n_annotators == 4
    # The truth agrees with the others more often than one noisy person does.
    assert card.ceiling.model.share > card.ceiling.human.share + 0.05


def test_calibration_before_and_after() -> None:
    rankings, scores = many(600, noise=1.0)
    steep = report_card(rankings, [[4 * score for score in row] for row in scores])
    assert steep.calibration.ece_before > 0.1 > 0.05 > steep.calibration.ece_after
    assert steep.calibration.log_loss_after < steep.calibration.log_loss_before
    flat = report_card(rankings, scores, trained_scale=4.0)
    assert flat.calibration.ece_before == pytest.approx(steep.calibration.ece_before)
    assert flat.calibration.temperature == pytest.approx(steep.calibration.temperature / 4)


def test_the_best_of_n_curve_is_on_the_card() -> None:
    rankings, scores = many(20)
    card = report_card(rankings, scores, samples=scores, samples_gold=scores)
    assert [one.n for one in card.best_of_n] == [1, 2, 4] and card.best_of_n_fit is not None


@pytest.mark.parametrize(
    "scores", [[[1.0]], [[1.0, 2.0, 3.0], [1.0]], [[1.0, float("nan"), 2.0]], []], ids=["few", "rows", "nan", "none"]
)
def test_scores_that_do_not_fit_are_refused(scores: list[list[float]]) -> None:
    with pytest.raises(DataError):
        report_card([ranked("a", ((0,), (1, 2)), "a", "b", "c")], scores)


def test_ties_alone_measure_nothing() -> None:
    with pytest.raises(DataError, match="no ranking says"):
        report_card([ranked("a", ((0, 1),), "a", "b")], [[1.0, 2.0]])


@pytest.mark.parametrize(("language", "words"), [("en", "reward model"), ("pt", "a resposta mais longa")])
def test_people_can_read_it(language: Any, words: str) -> None:
    rankings, scores = many(60)
    card = report_card(rankings + rankings, scores + scores, samples=scores, samples_gold=scores)
    for values in (card, json.loads(json.dumps(card.to_json(), allow_nan=False))):
        assert isinstance(values, RewardCard | dict)
        console = Console(file=StringIO(), width=90)
        console.print(card_table(values, language=language))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert words in text and "…" not in text
        own, other = (",", ".") if language == "pt" else (".", ",")
        assert re.search(rf"\d\{own}\d%", text) and not re.search(rf"\d\{other}\d%", text)
