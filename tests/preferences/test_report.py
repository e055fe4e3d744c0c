"""The report by hand counts, as JSON, and as people see it in both languages."""

import json

import numpy as np
import pytest

from prosa.preferences.judgments import Ranking
from prosa.preferences.report import _PORTUGUESE, describe_judgments, judgments_table
from prosa.preferences.simulated import SimulatedAnnotator
from tests.preferences.rankings import make_item, make_judgment

MODELS = ("model-a", "model-a", "model-b", "model-b")


def render(report, language: str) -> str:
    from rich.console import Console

    console = Console(width=80, no_color=True)
    with console.capture() as captured:
        console.print(judgments_table(report, language=language))
    return captured.get()


@pytest.fixture(scope="module")
def story():
    """Two people and a simulated annotator on 12 items; the first item is gold."""
    gold = Ranking(((0,), (1,), (2,), (3,)))
    items = [make_item(f"p{k}", models=MODELS, gold=gold if k == 0 else None) for k in range(12)]
    robot = SimulatedAnnotator("robot", "random")
    random = np.random.default_rng(0)
    judgments = []
    for k, item in enumerate(items):
        order = random.permutation(4).tolist()
        judgments.append(make_judgment(item, [1, 2, 3, 4], number=10 * k, order=order, seconds=10 + k))
        ranks = [1, 2, 4, 3] if k % 2 else [1, 2, 3, 3]
        judgments.append(make_judgment(item, ranks, number=10 * k + 1, annotator="bia", order=order, seconds=20))
        judgments.append(robot.judge(item, [0.0] * 4))
    judgments.append(make_judgment(items[1], None, number=900))
    judgments.append(make_judgment(items[2], [1, 2, 4, 3], number=901, seconds=30))
    return items, judgments


def test_counts_and_agreement_by_hand(story) -> None:
    report = describe_judgments(*story)
    assert (report["n_items"], report["n_items_judged"], report["n_judgments"], report["n_skipped"]) == (12, 12, 37, 1)
    assert (report["n_annotators"], report["n_simulated_annotators"], report["group"]) == (2, 1, "people")
    ana, bia, robot = report["annotators"]
    assert (ana["name"], ana["n_judgments"], ana["n_skipped"], ana["n_with_ties"]) == ("ana", 13, 1, 0)
    assert (bia["n_judgments"], bia["n_with_ties"], bia["median_seconds"]) == (12, 6, 20)
    assert ana["median_seconds"] == 16
    # Six pairs of each odd item, one of them reversed; five of each even one.
    assert report["agreement"]["pairwise"]["value"] == pytest.approx(60 / 66)
    assert ana["with_others"]["value"] == bia["with_others"]["value"] == pytest.approx(60 / 66)
    assert ana["with_gold"]["value"] == bia["with_gold"]["value"] == 1
    assert ana["with_self"]["value"] == pytest.approx(5 / 6)
    assert report["agreement"]["self"]["n"] == ana["with_self"]["n"]
    assert bia["with_self"] is None
    assert robot["is_simulated"]
    assert robot["weight"] is None
    assert robot["with_others"]["value"] == pytest.approx(0.5, abs=0.2)
    assert report["agreement"]["alpha"]["value"] > 0.8
    assert [model["model"] for model in report["models"]] == ["model-a", "model-b"]
    assert report["models"][0]["win_share"] == 1


def test_json_is_plain_and_repeatable(story) -> None:
    text = json.dumps(describe_judgments(*story), allow_nan=False)
    assert text == json.dumps(describe_judgments(*story), allow_nan=False)


def test_people_read_it_in_both_languages(story) -> None:
    report = describe_judgments(*story)
    english, portuguese = render(report, "en"), render(report, "pt")
    assert "Agreement between people" in english
    assert "90.9%" in english
    assert "Concordância entre pessoas" in portuguese
    assert "90,9%" in portuguese
    for text, word in ((english, "simulated"), (portuguese, "simulado")):
        assert any(line.strip().startswith(word) for line in text.splitlines())
        assert "simulated:robot" in text
    for phrase in _PORTUGUESE:
        assert " " not in phrase or phrase not in portuguese
    for text in (english, portuguese):
        assert "…" not in text  # nothing is cut at 80 columns


def test_simulated_annotators_alone_are_called_so(story) -> None:
    items, judgments = story
    report = describe_judgments(items, [one for one in judgments if one.is_simulated])
    assert report["group"] == "simulated"
    assert "Agreement between simulated annotators" in render(report, "en")


def test_nothing_judged_yet() -> None:
    report = describe_judgments([make_item("p")], [])
    assert json.loads(json.dumps(report, allow_nan=False))["agreement"]["alpha"] is None
    assert "Not enough judgments" in render(report, "en")
    assert "Ainda não há julgamentos" in render(report, "pt")


def test_names_from_outside_do_not_rule_the_terminal(story) -> None:
    items, _ = story
    report = describe_judgments(items, [make_judgment(items[0], [1, 2, 3, 4], number=1, annotator="[red]\x1b[2Jana")])
    assert "\x1b[2J" not in render(report, "en")
    assert "[red]" in render(report, "en")
