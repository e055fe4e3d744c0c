"""The choice of a token made visible: logits and scores come in, the candidates with their chances go out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from prosa.generate.engine import Drawn
from prosa.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rich.table import Table

N_CANDIDATES = 10
_BAR_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could come next.

    probability: the model's own; sampling_probability: after temperature, penalties and cuts; logprob: of the former,
    in nats.
    """

    id: int
    text: str
    probability: float
    logprob: float
    sampling_probability: float


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """One step of writing: the tokens so far in printable form, the likeliest next ones, and the one chosen."""

    step: int
    tokens: list[str]
    candidates: list[Candidate]
    chosen: Candidate


def list_candidates(
    tokenizer: Tokenizer, logits: Float[Tensor, " V"], scores: Float[Tensor, " V"], n: int | None = None
) -> list[Candidate]:
    """The `n` (default: all) likeliest tokens in the model's own distribution, likeliest first."""
    logprobs, sampling = logits.double().log_softmax(-1), scores.double().softmax(-1)
    top = logprobs.sort(descending=True, stable=True).indices[:n]
    return [
        Candidate(id, tokenizer.show(id), probability, logprob, chance)
        for id, probability, logprob, chance in zip(
            top.tolist(), logprobs[top].exp().tolist(), logprobs[top].tolist(), sampling[top].tolist(), strict=True
        )
    ]


def explain_step(tokenizer: Tokenizer, drawn: Drawn) -> ExplainedStep:
    """The step in which `drawn` was drawn, which must have kept its scores."""
    assert drawn.scores is not None
    candidates = list_candidates(tokenizer, drawn.logits, drawn.scores, N_CANDIDATES)
    chosen = next((candidate for candidate in candidates if candidate.id == drawn.id), None)
    if chosen is None:
        logprob = drawn.row.logprobs[-1]
        chance = float(torch.softmax(drawn.scores.double(), -1)[drawn.id])
        chosen = Candidate(drawn.id, tokenizer.show(drawn.id), float(torch.tensor(logprob).exp()), logprob, chance)
    tokens = [tokenizer.show(id) for id in drawn.row.ids[:-1]]
    return ExplainedStep(len(drawn.row.ids) - drawn.row.n_prompt, tokens, candidates, chosen)


def render_step(step: ExplainedStep) -> "Table":
    """A table of the candidates with bars: solid for the chance in sampling, hollow for the model's own probability."""
    from rich.table import Table
    from rich.text import Text

    title = Text("".join(step.tokens[-24:]), style="dim", overflow="ellipsis", no_wrap=True)
    table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 1))
    shown = step.candidates
    if step.chosen.id not in {candidate.id for candidate in shown}:
        shown = [*shown, step.chosen]
    for candidate in shown:
        is_chosen = candidate.id == step.chosen.id
        table.add_row(
            Text("\N{BLACK RIGHT-POINTING TRIANGLE}" if is_chosen else " "),
            Text(candidate.text, style="bold green" if is_chosen else ""),
            f"{candidate.probability:6.1%}",
            _bar(candidate),
            f"{candidate.sampling_probability:6.1%}",
        )
    return table


def _bar(candidate: Candidate) -> str:
    own = round(candidate.probability * _BAR_WIDTH)
    chance = round(candidate.sampling_probability * _BAR_WIDTH)
    return "\N{FULL BLOCK}" * chance + "\N{LIGHT SHADE}" * max(0, own - chance)
