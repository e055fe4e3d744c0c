"""The whole stage: the reward rises, resuming is exact, broken ones are refused, nothing is lost."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prosa.corpus import ReadReport
from prosa.errors import ConfigError, DataError, DriftRefused, ModelFileRefused, TokenizerError, TrainingDiverged
from prosa.generate import load
from prosa.metrics import read_metrics
from prosa.preferences import Prompt
from prosa.rl import Answer, Reward, encode_prompts, main, write_answers
from prosa.rl.invariants import check_answers, check_end, check_ratio, check_reference, check_reload
from prosa.sft import Conversation, encode_conversations, make_batch
from prosa.sft import loss as sft_loss
from tests.model.tiny import randomise
from tests.rl.tiny_rl import PROMPTS, TOKENIZER, count_x, open_reward, settings, start_policy
from tests.training.tiny_run import digest


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("algorithm", ["ppo", "grpo", "rloo"])
def test_the_reward_rises(tmp_path: Path, algorithm: str, seed: int) -> None:
    start = start_policy(tmp_path / "start", seed)
    result = main(
        tmp_path / "rl", settings(algorithm=algorithm, seed=seed), start, PROMPTS, open_reward, is_shown=False
    )
    assert result.is_finished
    rewards = [record["reward"] for record in read_metrics(tmp_path / "rl" / "metrics.jsonl") if "reward" in record]
    assert len(rewards) == 16
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.3
    course = json.loads((tmp_path / "rl" / "course.json").read_text())
    assert course["steps"] == 16
    assert load(tmp_path / "rl").model.settings.vocab_size == 260


def test_samples_of_a_step_are_answers_to_different_prompts(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    main(tmp_path / "rl", settings(steps=1), start, PROMPTS, open_reward, is_shown=False)
    asked = [record["prompt"] for record in read_metrics(tmp_path / "rl" / "samples.jsonl")]
    assert len(set(asked)) == len(asked) > 1


def test_the_first_update_finds_what_was_drawn(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    main(
        tmp_path / "rl",
        settings(steps=1, critic_warmup=0, temperature=0.8),
        start,
        PROMPTS,
        open_reward,
        is_shown=False,
    )
    first = read_metrics(tmp_path / "rl" / "metrics.jsonl")[0]
    assert abs(first["step_kl"]) < 1e-8 and first["clipped"] == 0


def test_the_price_of_distance_holds_the_policy_back(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    kls = []
    for price in (0.0, 1.0):
        main(tmp_path / f"{price}", settings(kl_coefficient=price), start, PROMPTS, open_reward, is_shown=False)
        kls.append(read_metrics(tmp_path / f"{price}" / "metrics.jsonl")[-1]["kl"])
    assert kls[1] < 0.5 * kls[0]


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_small_micro_batches_change_nothing(tmp_path: Path, algorithm: str) -> None:
    start, found = start_policy(tmp_path / "start"), []
    for size in (4, 32):
        # Little is learned in each update, as Adam makes much of gradients that are only noise.
        asked = settings(algorithm=algorithm, micro_batch=size, steps=2, critic_warmup=0, learning_rate=1e-4)
        main(tmp_path / str(size), asked, start, PROMPTS, open_reward, is_shown=False)
        found.append(read_metrics(tmp_path / str(size) / "metrics.jsonl"))
    for small, large in zip(*found, strict=True):
        for name in ("loss", "gradient_norm", "policy_loss", "step_kl", "entropy"):
            assert small[name] == pytest.approx(large[name], rel=1e-3, abs=1e-6), name


def test_the_model_kept_lies_between_start_and_end(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    for share in (0.0, 0.25):
        main(tmp_path / f"{share}", settings(start_share=share, steps=3), start, PROMPTS, open_reward, is_shown=False)
    first, end, kept = (load(folder).model.state_dict() for folder in (start, tmp_path / "0.0", tmp_path / "0.25"))
    assert any((first[name] != end[name]).any() for name in first)
    for name, weights in kept.items():
        assert torch.allclose(weights, 0.25 * first[name] + 0.75 * end[name], atol=1e-6)
    # Asked again when it is done, it gives the same.
    main(tmp_path / "0.25", settings(start_share=0.25, steps=3), start, PROMPTS, open_reward, is_shown=False)
    assert all((load(tmp_path / "0.25").model.state_dict()[name] == weights).all() for name, weights in kept.items())


def test_steps_found_from_minutes_train_as_steps_given(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    asked = settings(minutes=0.02, steps=0, save_every=1)
    main(tmp_path / "minutes", asked, start, PROMPTS, open_reward, is_shown=False)
    course = json.loads((tmp_path / "minutes" / "course.json").read_text())
    assert course["steps"] >= 1
    main(tmp_path / "steps", settings(steps=course["steps"], save_every=1), start, PROMPTS, open_reward, is_shown=False)
    assert digest(tmp_path / "minutes") == digest(tmp_path / "steps"), "the probe left something behind"


def test_what_is_replayed_is_not_forgotten(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    said = ({"role": "user", "content": "ab"}, {"role": "assistant", "content": "qrst"})
    kept = list(encode_conversations(TOKENIZER, [Conversation(said, "test", "here")] * 3, 64, ReadReport()))
    losses = []
    for weight in (0.0, 1.0):
        folder = tmp_path / f"{weight}"
        asked = settings(replay_coefficient=weight, kl_coefficient=0.0)
        main(folder, asked, start, PROMPTS, open_reward, replay=lambda tokenizer: kept, is_shown=False)
        with torch.no_grad():
            total, _ = sft_loss(load(folder).model, make_batch(kept, [[0]], width=kept[0].length, pad_id=0))
        losses.append(float(total) / int(kept[0].is_target.sum()))
    last = read_metrics(tmp_path / "1.0" / "metrics.jsonl")[-2]
    assert last["replay_loss"] == pytest.approx(losses[1], abs=0.3)
    assert losses[1] < 0.2 * losses[0]


def test_an_adapted_price_comes_to_its_target(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    asked = settings(
        kl_target=1.0, kl_horizon=60, kl_coefficient=0.2, steps=60, learning_rate=1e-2, stops_at_peak=False
    )
    main(tmp_path / "rl", asked, start, PROMPTS, open_reward, is_shown=False)
    steps = [record for record in read_metrics(tmp_path / "rl" / "metrics.jsonl") if "kl" in record]
    assert 0.5 < sum(step["kl"] for step in steps[-40:]) / 40 < 2
    # No distance before the policy has learned says nothing about the price.
    prices = [step["kl_coefficient"] for step in steps]
    assert prices[:3] == [0.2] * 3 and prices[3] != 0.2


def test_the_stage_ends_when_the_truth_falls(tmp_path: Path) -> None:
    """The reward is deceived: what it likes is worth less and less."""

    def truth(answers: Sequence[Answer]) -> list[float]:
        return [-value for value in count_x(answers)]

    def deceived(tokenizer: object) -> Reward:
        return Reward(count_x, truth, {"reward": "deceived"})

    start = start_policy(tmp_path / "start")
    asked = settings(steps=60, patience=3)
    result = main(tmp_path / "rl", asked, start, PROMPTS, deceived, is_shown=False)
    assert result.is_finished and "worth fell" in result.stopped_by
    assert result.position.step < 60 * 4
    peak, model = load(tmp_path / "rl" / "peak").model, load(tmp_path / "rl" / "model").model
    assert all(torch.equal(a, b) for a, b in zip(peak.parameters(), model.parameters(), strict=True))
    again = main(tmp_path / "rl", asked, start, PROMPTS, deceived, is_shown=False)
    assert again.position == result.position


def test_other_settings_are_refused(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    main(tmp_path / "rl", settings(steps=1), start, PROMPTS, open_reward, is_shown=False)
    with pytest.raises(DriftRefused, match="kl_coefficient"):
        main(tmp_path / "rl", settings(steps=1, kl_coefficient=0.5), start, PROMPTS, open_reward, is_shown=False)


def nan(answers: Sequence[Answer]) -> list[float]:
    return [float("nan")] * len(answers)


def too_few(answers: Sequence[Answer]) -> list[float]:
    return [0.0]


@pytest.mark.parametrize(("worth", "words"), [(nan, "not finite"), (too_few, "1 numbers for")])
def test_rewards_that_cannot_be_used_are_refused(tmp_path: Path, worth, words: str) -> None:
    start = start_policy(tmp_path / "start")
    with pytest.raises(DataError, match=words):
        main(tmp_path / "rl", settings(), start, PROMPTS, lambda tokenizer: Reward(worth, None, {}), is_shown=False)


def test_prompts_without_room_are_counted_or_refused() -> None:
    long = Prompt(({"role": "user", "content": "x" * 90},))
    kept, counts = encode_prompts(TOKENIZER, [PROMPTS[0], long, PROMPTS[0]], context_length=96, max_new_tokens=6)
    assert (len(kept), counts.n_too_long) == (2, 1), "what is given twice is asked twice"
    for prompts in ([long], []):
        with pytest.raises(DataError, match="can be answered"):
            encode_prompts(TOKENIZER, prompts, context_length=96, max_new_tokens=6)


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    start = start_policy(tmp_path / "start")
    with pytest.raises(ConfigError, match="cannot be shared"):
        main(tmp_path / "rl", settings(minibatches=7), start, PROMPTS, open_reward, is_shown=False)


@pytest.fixture(scope="module")
def policy_and_answers(tmp_path_factory: pytest.TempPathFactory):
    policy = load(start_policy(tmp_path_factory.mktemp("policy") / "start")).model
    randomise(policy, 0)
    prompts, _ = encode_prompts(TOKENIZER, PROMPTS, context_length=96, max_new_tokens=6)
    return policy, write_answers(policy, TOKENIZER, prompts, n=2, temperature=1.0, max_new_tokens=6, seed=0)


def test_every_invariant_holds_of_a_sound_policy(policy_and_answers) -> None:
    policy, answers = policy_and_answers
    check_answers(answers, TOKENIZER)
    assert check_end(policy, TOKENIZER, answers) > 1e-4
    assert check_ratio(policy, TOKENIZER, answers, 1.0) < 1e-4
    assert abs(check_reference(policy, TOKENIZER, answers, 1.0)) < 1e-5
    check_reload(count_x, count_x, answers)


def test_every_broken_invariant_is_refused(policy_and_answers) -> None:
    policy, answers = policy_and_answers
    with pytest.raises(TrainingDiverged, match="ratio would not be 1"):
        check_ratio(policy, TOKENIZER, answers, 0.7)
    shifted = [replace(one, prompt=replace(one.prompt, ids=(0, *one.prompt.ids))) for one in answers]
    with pytest.raises(TrainingDiverged, match="ratio would not be 1"):
        check_ratio(policy, TOKENIZER, shifted, 1.0)
    with pytest.raises(TokenizerError, match="not those of its messages"):
        check_answers(shifted, TOKENIZER)
    with pytest.raises(TokenizerError, match="no tokens"):
        check_answers([replace(answers[0], ids=(), logprobs=())], TOKENIZER)
    with pytest.raises(ModelFileRefused, match="other scores"):
        check_reload(count_x, lambda found: [value + 0.1 for value in count_x(found)], answers)
    other = load_other(policy)
    with pytest.raises(ModelFileRefused, match="reference is not"):
        check_reference(other, TOKENIZER, answers, 1.0)
    with pytest.raises(ModelFileRefused, match="never end"):
        never_ending = load_other(policy)
        never_ending.unembed = lambda hidden: _without_end(policy.unembed(hidden))  # type: ignore[method-assign]
        check_end(never_ending, TOKENIZER, answers)


def load_other(policy):
    other = copy.deepcopy(policy)
    with torch.no_grad():
        other.model.norm.weight.mul_(3)
    return other


def _without_end(logits: torch.Tensor) -> torch.Tensor:
    logits = logits.clone()
    logits[..., TOKENIZER.im_end_id] = -1e9
    return logits
