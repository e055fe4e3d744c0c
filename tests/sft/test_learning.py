"""SFT works: from random weights, every question of a few dozen is answered to the letter, and the answer ends."""

import pytest
import torch

import prosa
from prosa.generate import Sampling
from prosa.tokenizer import render_conversation
from tests.sft.tiny_sft import TOKENIZER, chat, run_sft, write_base, write_chats

NAMES = ["Ana", "Rui", "Inês", "João", "Bia", "Téo", "Caio", "Lia", "Davi", "Zeca", "Nina", "Igor"]
PAIRS = [(f"Quem mora na casa {i}?", NAMES[i]) for i in range(12)]
PAIRS += [(f"Who lives in house {i}?", f"It is {NAMES[11 - i]}.") for i in range(12)]


@pytest.mark.parametrize("seed", [0, 1])
def test_questions_are_answered_exactly_and_answers_end(tmp_path, seed):
    write_base(tmp_path / "base", seed)
    data = write_chats(tmp_path / "chats.jsonl", [chat(question, answer) for question, answer in PAIRS])
    run_sft(
        tmp_path / "sft", tmp_path / "base", data, seed=seed, validation_fraction=0, steps=120, batch_size=8,
        micro_batch=8, matrix_learning_rate=0.02, learning_rate=5e-3, evaluate_every=1000, sample_every=1000,
        save_every=1000,
    )  # fmt: skip
    llm = prosa.load(tmp_path / "sft")
    prompts = [render_conversation(TOKENIZER, chat(question), add_generation_prompt=True)[0] for question, _ in PAIRS]
    answers = [answer for [answer] in llm.complete(prompts, Sampling(temperature=0, max_new_tokens=20))]
    assert [answer.text for answer in answers] == [answer for _, answer in PAIRS]
    assert all(answer.finish_reason == "stop" and answer.ids[-1] == TOKENIZER.im_end_id for answer in answers)


def test_prompts_are_not_learned(tmp_path):
    """What users say becomes no likelier, though answers do."""
    write_base(tmp_path / "base")
    data = write_chats(tmp_path / "chats.jsonl", [chat("abcabcabc" * 3, "xyz")] * 8)
    run_sft(
        tmp_path / "sft", tmp_path / "base", data, validation_fraction=0, steps=40, save_every=100, learning_rate=5e-3
    )
    before, after = prosa.load(tmp_path / "base"), prosa.load(tmp_path / "sft")
    torch.set_num_threads(1)
    opened = "user\n"
    assert after.score(opened, "abcabcabc").total < before.score(opened, "abcabcabc").total + 1
    assert after.score("assistant\n", "xyz").total > before.score("assistant\n", "xyz").total + 3
