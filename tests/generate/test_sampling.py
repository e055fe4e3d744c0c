from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation import logits_process as theirs

from prosa.config import resolve_settings
from prosa.device import torch_stream
from prosa.errors import ConfigError, ModelFileRefused
from prosa.generate import Sampler, Sampling
from prosa.generate.sampling import draw, keep_min_p, keep_top_k, keep_top_p

torch.set_num_threads(1)


def random_logits(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch_stream(seed, "test logits"))


def column(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


@pytest.mark.parametrize("V", [40, 1000])
def test_cuts_equal_those_of_transformers_row_by_row(V: int) -> None:
    logits = random_logits(4, V)
    nobody = torch.zeros(1, 0, dtype=torch.long)
    ks, ps, min_ps = [1, 5, 0, V + 3], [0.1, 0.9, 1.0, 0.999], [0.5, 0.01, 0.0, 1.0]
    top_k, top_p = keep_top_k(logits, column(*ks).long()), keep_top_p(logits, column(*ps))
    min_p = keep_min_p(logits, column(*min_ps))
    for row in range(4):
        one = logits[row : row + 1]
        expected = one if ks[row] == 0 else theirs.TopKLogitsWarper(ks[row])(nobody, one)
        assert torch.equal(top_k[row : row + 1], expected)
        assert torch.equal(top_p[row : row + 1], theirs.TopPLogitsWarper(ps[row])(nobody, one))
        assert torch.equal(min_p[row : row + 1], theirs.MinPLogitsWarper(min_ps[row])(nobody, one))


@pytest.mark.parametrize("scale", [0.01, 30.0])
def test_a_nucleus_of_any_size_is_the_smallest_that_holds_p(scale: float) -> None:
    logits, p = random_logits(3, 2000, scale=scale), column(0.3, 0.95, 0.6)
    kept = keep_top_p(logits, p).isfinite()
    probabilities = logits.softmax(-1).double()
    for row in range(3):
        inside = probabilities[row][kept[row]]
        assert inside.sum() >= p[row].item() - 1e-6
        assert inside.sum() - inside.min() < p[row].item() + 1e-6
        assert inside.min() >= probabilities[row][~kept[row]].max()


def test_repetition_penalty_equals_transformers() -> None:
    logits, prompt = random_logits(1, 50), [3, 3, 7, 49]
    sampler = Sampler([Sampling(repetition_penalty=1.7, temperature=1)], [prompt], 50)
    written = [11, 3]
    for id in written:
        sampler.record(torch.tensor([id]))
    expected = theirs.RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([prompt + written]), logits)
    torch.testing.assert_close(sampler.scores(logits), expected - expected.max())


def test_frequency_presence_and_bias_equal_their_definition() -> None:
    logits, written = random_logits(2, 30), [[4, 4, 4, 9], [1, 2, 1, 4]]
    settings = [
        Sampling(frequency_penalty=0.7, presence_penalty=-1.1, logit_bias={4: 2.5, 29: -100.0}, temperature=1),
        Sampling(presence_penalty=0.4, temperature=1),
    ]
    sampler = Sampler(settings, [[5, 5], [4]], 30)
    for ids in zip(*written, strict=True):
        sampler.record(torch.tensor(ids))
    scores = sampler.scores(logits)
    for row, s in enumerate(settings):
        counts = Counter(written[row])
        expected = torch.tensor(
            [
                float(logit)
                + s.logit_bias.get(id, 0.0)
                - s.frequency_penalty * counts[id]
                - s.presence_penalty * (counts[id] > 0)
                for id, logit in enumerate(logits[row])
            ]
        )
        torch.testing.assert_close(scores[row], expected - expected.max())


def test_tokens_are_drawn_in_proportion_to_their_probability() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.25, 0.125, 0.125, 0.0])
    n = 4000
    ids = draw(probabilities.log().expand(n, -1), (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    assert ids.bincount(minlength=6).tolist() == [2000, 0, 1000, 500, 500, 0]


def test_the_ends_of_the_unit_interval_draw_tokens_that_have_probability() -> None:
    scores = torch.tensor([[-torch.inf, 0.3, 0.1, -torch.inf]] * 3)
    assert draw(scores, torch.tensor([0.0, 1 - 2**-53, 0.5], dtype=torch.float64)).tolist() == [1, 2, 1]
    many = random_logits(2000, 50)
    many[:, 40:] = -torch.inf
    assert draw(many, torch.full((2000,), 1 - 2**-53, dtype=torch.float64)).max() < 40


def test_temperature_is_a_power_of_the_probabilities() -> None:
    logits = random_logits(1, 20)
    sampler = Sampler([Sampling(temperature=0.5)], [[]], 20)
    expected = logits.softmax(-1) ** 2
    torch.testing.assert_close(sampler.scores(logits).softmax(-1), expected / expected.sum())


@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e-30, 1e-6])
def test_cold_is_greedy(temperature: float) -> None:
    logits = random_logits(1, 300)
    sampler = Sampler([Sampling(temperature=temperature)], [[]], 300)
    scores = sampler.scores(logits)
    assert not scores.isnan().any() and scores.softmax(-1).max() == 1
    assert sampler.choose(logits, torch.tensor([0.999])).tolist() == [int(logits.argmax())]


SETTINGS = [
    Sampling(),
    Sampling(temperature=0),
    Sampling(temperature=0, repetition_penalty=1.5),
    Sampling(top_k=3),
    Sampling(top_p=0.7, temperature=1.5),
    Sampling(min_p=0.2),
    Sampling(top_k=20, top_p=0.9, min_p=0.05, frequency_penalty=1, presence_penalty=0.3, repetition_penalty=1.2),
    Sampling(logit_bias={3: 5.0}),
]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    V, prompts = 600, [[row, row + 1] for row in range(len(SETTINGS))]
    together = Sampler(SETTINGS, prompts, V)
    alone = [Sampler([s], [prompt], V) for s, prompt in zip(SETTINGS, prompts, strict=True)]
    for step in range(6):
        logits = random_logits(len(SETTINGS), V, seed=step)
        uniforms = torch.rand(len(SETTINGS), generator=torch_stream(step, "test"), dtype=torch.float64)
        ids = together.choose(logits, uniforms)
        for row, sampler in enumerate(alone):
            own = sampler.choose(logits[row : row + 1], uniforms[row : row + 1])
            assert own[0] == ids[row]
            sampler.record(own)
        together.record(ids)
    rows = [6, 1, 4]
    together.select(rows)
    logits, uniforms = random_logits(3, V, seed=99), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    ids = together.choose(logits, uniforms)
    for position, row in enumerate(rows):
        assert alone[row].choose(logits[position : position + 1], uniforms[position : position + 1])[0] == ids[position]


def test_what_is_chosen_follows_the_scores() -> None:
    logits, n = random_logits(1, 50), 5000
    sampler = Sampler([Sampling(top_k=6, temperature=0.7)] * n, [[]] * n, 50)
    grid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    shares = sampler.choose(logits.expand(n, -1), grid).bincount(minlength=50) / n
    torch.testing.assert_close(shares, sampler.scores(logits.expand(n, -1))[0].softmax(-1), rtol=0, atol=2 / n)


def test_logits_that_are_no_numbers_are_reported() -> None:
    with pytest.raises(ModelFileRefused, match="not finite"):
        draw(torch.tensor([[0.0, torch.nan]]), torch.tensor([0.5]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temperature": -0.1}, "greater than or equal to 0"),
        ({"temperature": 11}, "less than or equal to 10"),
        ({"temperature": float("nan")}, "finite number"),
        ({"temperature": float("inf")}, "finite number"),
        ({"temperature": "warm"}, "valid number"),
        ({"top_k": -1}, "greater than or equal to 0"),
        ({"top_k": 2.5}, "valid integer"),
        ({"top_p": 0}, "greater than 0"),
        ({"top_p": 1.01}, "less than or equal to 1"),
        ({"min_p": -1}, "greater than or equal to 0"),
        ({"repetition_penalty": 0}, "greater than or equal to 0.1"),
        ({"repetition_penalty": 1e9}, "less than or equal to 10"),
        ({"frequency_penalty": 3}, "less than or equal to 2"),
        ({"presence_penalty": -3}, "greater than or equal to -2"),
        ({"logit_bias": {3: 101}}, "less than or equal to 100"),
        ({"logit_bias": {-3: 1}}, "greater than or equal to 0"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**63}, "less than 9223372036854775808"),
        ({"max_new_tokens": 0}, "greater than or equal to 1"),
        ({"max_new_tokens": 10**9}, "less than or equal to 1048576"),
        ({"n": 0}, "greater than or equal to 1"),
        ({"n": 10**6}, "less than or equal to 1024"),
        ({"top_logprobs": 101}, "less than or equal to 100"),
        ({"stop": [""]}, "at least 1 character"),
        ({"stop": ["x"] * 17}, "at most 16 items"),
        ({"stop": ["x" * 257]}, "at most 256 characters"),
        ({"when_full": "crash"}, "'slide' or 'stop'"),
        ({"temprature": 1}, "unknown setting `temprature`"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_with_the_range(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        resolve_settings(Sampling, values, origin="sampling")
    assert "\n" not in caught.value.args[0]
    if "temprature" in values:
        assert caught.value.hint == "did you mean `temperature`?"
