"""What the policy writes: as `generate` does, with the log-probabilities of one whole pass, and scored as it is."""

from pathlib import Path

import pytest
import torch

from prosa.errors import ConfigError, DataError
from prosa.generate import LanguageModel, Sampling, load
from prosa.rl import (
    Answer,
    EncodedPrompt,
    ask_worth,
    choose_best,
    describe,
    encode_prompts,
    load_function,
    make_experience,
    render_record,
    token_records,
    worth_by_function,
    worth_by_model,
    write_answers,
)
from prosa.rl.experience import ScoredAnswer
from tests.reward.tiny import reward_model
from tests.rl.tiny_rl import PROMPTS, TOKENIZER, count_x, settings, start_policy


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load(start_policy(tmp_path_factory.mktemp("policy") / "start"))


def prompts() -> list[EncodedPrompt]:
    return encode_prompts(TOKENIZER, PROMPTS, context_length=96, max_new_tokens=6)[0]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_answers_are_those_of_generate(llm: LanguageModel, temperature: float) -> None:
    answers = write_answers(llm.model, TOKENIZER, prompts(), n=2, temperature=temperature, max_new_tokens=6, seed=3)
    sampling = Sampling(temperature=temperature, max_new_tokens=6, seed=3, n=2, when_full="stop")
    expected = [one for of_prompt in llm.complete([one.ids for one in prompts()], sampling) for one in of_prompt]
    assert [list(answer.ids) for answer in answers] == [one.ids for one in expected]
    assert [answer.prompt.ids for answer in answers[::2]] == [one.ids for one in prompts()]
    for answer in answers[:4]:
        ids = [*answer.prompt.ids, *answer.ids]
        whole = (llm.model(torch.tensor([ids]))[0].detach() / temperature).log_softmax(-1)
        n = len(answer.prompt.ids)
        found = [float(whole[t - 1, ids[t]]) for t in range(n, len(ids))]
        assert list(answer.logprobs) == pytest.approx(found, abs=1e-4)


def test_a_cut_answer_is_scored_as_if_it_ended(llm: LanguageModel) -> None:
    from prosa.reward import RewardFunction

    reward = RewardFunction(reward_model(), TOKENIZER)
    worth = worth_by_model(reward, TOKENIZER)
    ids = tuple(TOKENIZER.encode("ok"))
    cut = Answer(prompts()[0], ids, "ok", (0.0, 0.0), False)
    ended = Answer(prompts()[0], (*ids, TOKENIZER.im_end_id), "ok", (0.0,) * 3, True)
    [a, b] = worth([cut, ended])
    assert a == pytest.approx(b)
    assert b == pytest.approx(reward([list(PROMPTS[0].messages)], ["ok"])[0], abs=1e-5)
    scored = [
        ScoredAnswer(one, value, None, [0.0] * len(one.ids), [0.0] * len(one.ids))
        for one, value in ((cut, a), (ended, b))
    ]
    s = settings(algorithm="grpo", prompts_per_step=1, answers_per_prompt=2, unended_penalty=1.5).fill()
    first, second = make_experience(0, scored, s, 0.0).scores
    assert second - first == pytest.approx(1.5)


def test_averaging_counts_what_it_says() -> None:
    answers = [Answer(prompts()[0], tuple(range(97, 97 + n)), "", (-1.0,) * n, n < 4) for n in (1, 4)]
    scored = [ScoredAnswer(one, 1.0, None, [-1.0] * len(one.ids), [0.0] * len(one.ids)) for one in answers]
    sums = {}
    for averaging in ("token", "answer", "constant"):
        s = settings(algorithm="grpo", answers_per_prompt=2, prompts_per_step=1, averaging=averaging).fill()
        batch = make_experience(0, scored, s, 0.0).batch
        sums[averaging] = (batch.weights.sum(1).tolist(), batch.n_targets)
    assert sums == {"token": ([1, 4], 5), "answer": ([1, 1], 2), "constant": ([1, 4], 12)}
    s = settings(algorithm="grpo", answers_per_prompt=2, prompts_per_step=1, drops_unended=True).fill()
    batch = make_experience(0, scored, s, 0.0).batch
    assert batch.weights.sum(1).tolist() == [1, 0] and batch.n_targets == 1


def test_a_step_in_numbers_and_token_by_token(llm: LanguageModel) -> None:
    answers = write_answers(llm.model, TOKENIZER, prompts(), n=2, temperature=1.0, max_new_tokens=6, seed=3)
    scored = [ScoredAnswer(one, 0.5, 0.25, [p - 0.1 for p in one.logprobs], [0.0] * len(one.ids)) for one in answers]
    s = settings(algorithm="rloo", prompts_per_step=8, answers_per_prompt=2).fill()
    experience = make_experience(0, scored, s, 0.1)
    numbers = describe(experience, s)
    assert numbers["reward"] == 0.5 and numbers["gold"] == 0.25
    assert numbers["kl"] == pytest.approx(0.1 * sum(len(one.ids) for one in answers) / len(answers), rel=1e-4)
    [record] = token_records(experience, TOKENIZER, [0])
    assert len(record["tokens"]) == len(record["kl"]) == len(record["advantage"]) == len(answers[0].ids)
    assert record["kl"] == pytest.approx([0.1] * len(answers[0].ids), abs=1e-4)
    render_record({"step": 1, **record}, "pt")


def test_the_best_is_kept(llm: LanguageModel) -> None:
    best = choose_best(llm, PROMPTS, count_x, n=64, max_new_tokens=40, seed=0)
    assert best, "with 64 answers of 40 bytes some end"
    assert all(one.score >= one.mean_score and one.answer.is_ended for one in best)
    assert best[0].to_conversation()["messages"][-1]["role"] == "assistant"


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "rewards.py"
    path.write_text(
        "def kind(messages, answers):\n    return [len(a) for a in answers]\n\ndef bad(m, a):\n    return 1 / 0\n"
    )
    answers = [Answer(prompts()[0], (97,), "a", (-1.0,), True)]
    assert ask_worth(worth_by_function(load_function(f"{path}:kind")), answers) == [1.0]
    with pytest.raises(DataError, match="`bad` raised ZeroDivisionError"):
        ask_worth(worth_by_function(load_function(f"{path}:bad")), answers)
    with pytest.raises(ConfigError, match="no function `none`"):
        load_function(f"{path}:none")
    with pytest.raises(ConfigError, match="no Python file"):
        load_function(f"{tmp_path}/other.py:kind")
