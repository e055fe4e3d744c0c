"""Rows of public data sets of human rankings become RankedAnswers.

Köpf et al., OpenAssistant (arXiv:2304.07327); Wang et al., SQuALITY (arXiv:2205.11465); Bai et al., HH-RLHF
(arXiv:2204.05862); Marinho et al., Essay-BR (2021); Habernal and Gurevych, UKPConvArg1 (ACL 2016).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from prosa.corpus import ReadReport, read_rows
from prosa.errors import DataError
from prosa.preferences.formats import read_pair_row
from prosa.preferences.judgments import Message, RankedAnswers, Ranking
from prosa.preferences.row_files import Row, convert_rows

Aspect = Literal["overall", "correctness", "selection"]
UkpLabel = Literal["votes", "gold", "strict"]
_VOTES = {"a1": Ranking(((0,), (1,))), "a2": Ranking(((1,), (0,))), "equal": Ranking(((0, 1),))}


def read_oasst_ranks(path: Path | str, report: ReadReport) -> Iterator[RankedAnswers]:
    """Replies to a conversation, ranked by volunteers and merged to one order; rank 0 is best."""
    return convert_rows(path, report, oasst_rankings)


def read_squality_ranks(path: Path | str, report: ReadReport, *, aspect: Aspect = "overall") -> Iterator[RankedAnswers]:
    """Answers to a question about a story (the story is not part of the data), ranked by each of three reviewers."""
    return convert_rows(path, report, lambda row: squality_rankings(row, aspect))


def read_hh_pairs(path: Path | str, report: ReadReport) -> Iterator[RankedAnswers]:
    """Two continuations of one dialogue, the chosen one first."""
    return convert_rows(path, report, read_pair_row)


def read_essay_br(path: Path | str, report: ReadReport, *, min_gap: int = 0) -> Iterator[RankedAnswers]:
    """Essays on one prompt by their grade, equal grades tied; with `min_gap`, pairs at least so many points apart."""
    return convert_rows(path, report, lambda row: essay_rankings(row, min_gap))


def read_ukp_rankings(path: Path | str, report: ReadReport) -> Iterator[RankedAnswers]:
    """All arguments for one stance, most convincing first."""
    return convert_rows(path, report, ukp_rankings)


def read_ukp_pairs(
    path: Path | str, arguments: Path | str, report: ReadReport, *, label: UkpLabel = "votes"
) -> Iterator[RankedAnswers]:
    """Pairs of arguments: one ranking for each of five votes, or one for the label made of them.

    Pairs with an argument that the file `arguments` lacks, and those without the label, are counted and left out.
    """
    texts = {row["id"]: row for row, _ in read_rows(str(arguments), report)}

    def convert(row: Row) -> list[RankedAnswers]:
        missing = [row[side] for side in ("a1", "a2") if row[side] not in texts]
        if missing:
            raise DataError("an argument that is not in the file of arguments")
        pair = [texts[row[side]] for side in ("a1", "a2")]
        messages = _ukp_prompt(row["title"], pair[0]["stance"])
        answers = [argument["text"] for argument in pair]
        if label != "votes":
            if row[label] is None:
                raise DataError(f"a pair without the label {label}")
            return [RankedAnswers.make(messages, answers, _VOTES[row[label]])]
        return [
            RankedAnswers.make(messages, answers, _VOTES[vote["v"]], annotator=f"worker {vote['w']}")
            for vote in row["votes"]
        ]

    return convert_rows(path, report, convert)


def oasst_rankings(row: Row) -> list[RankedAnswers]:
    roles = {"prompter": "user", "assistant": "assistant"}
    messages = [{"role": roles[turn["role"]], "content": turn["text"]} for turn in row["history"]]
    replies = row["ranked"]
    ranking = Ranking.from_ranks([reply["rank"] for reply in replies])
    return [RankedAnswers.make(messages, [reply["text"] for reply in replies], ranking)]


def squality_rankings(row: Row, aspect: Aspect = "overall") -> list[RankedAnswers]:
    """One ranking of each reviewer."""
    # The story's name keeps "What is the plot of the story?" apart from the same question about another one.
    messages = [{"role": "system", "content": row["story_id"]}, {"role": "user", "content": row["question"]}]
    candidates = row["candidates"]
    reviews: dict[str, list[float | None]] = {}
    for index, candidate in enumerate(candidates):
        for review in candidate["reviews"]:
            ranks = reviews.setdefault(review["worker_id"], [None] * len(candidates))
            ranks[index] = review[f"{aspect}-rank"]
    answers = [candidate["text"] for candidate in candidates]
    return [
        RankedAnswers.make(messages, answers, Ranking.from_ranks(ranks), annotator=name)
        for name, ranks in reviews.items()
    ]


def essay_rankings(row: Row, min_gap: int = 0) -> list[RankedAnswers]:
    """One ranking by grade, or pairs at least `min_gap` points apart."""
    messages = [{"role": "user", "content": row["prompt"]}]
    texts = ["\n\n".join(filter(None, [essay["title"], essay["essay"]])) for essay in row["essays"]]
    scores = [essay["score"] for essay in row["essays"]]
    if not min_gap:
        return [RankedAnswers.make(messages, texts, Ranking.from_ranks([-score for score in scores]))]
    return [
        RankedAnswers.make(messages, [texts[better], texts[worse]], _VOTES["a1"])
        for better in range(len(texts))
        for worse in range(len(texts))
        if scores[better] - scores[worse] >= min_gap
    ]


def ukp_rankings(row: Row) -> list[RankedAnswers]:
    ranking = Ranking.from_ranks([argument["rank"] for argument in row["ranked"]])
    answers = [argument["text"] for argument in row["ranked"]]
    return [RankedAnswers.make(_ukp_prompt(row["title"], row["stance"]), answers, ranking)]


def _ukp_prompt(title: str, stance: str) -> list[Message]:
    return [{"role": "user", "content": f"{title}\n{stance}"}]
