"""The peer for reinforcement learning: TRL's PPO or GRPO on the CPU, in a process that does nothing else.

A policy's folder, a reward model's and rendered prompts come in, a policy's folder goes out; seconds of the training
and of its parts are printed. Run it with a Python that has `trl`: `python -m benchmarks.trl_rl_peer MODEL ROWS FOLDER`.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.trl_sft_peer import make_parser, read_rows


class Stopwatch:
    """Seconds by part of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def time(self, part: str, function: Callable[..., Any], *, is_counted: Callable[[], bool]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            counts, started = is_counted(), time.perf_counter()
            result = function(*arguments, **named)
            self.seconds[part] += counts * (time.perf_counter() - started)
            return result

        return timed


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--algorithm", choices=("ppo", "grpo"), required=True)
    parser.add_argument("--reward", required=True, help="folder of a sequence classifier")
    parser.add_argument("--steps", type=int, required=True, help="rounds of answers and updates")
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--kl-coefficient", type=float, required=True)
    chosen = parser.parse_args(argv)
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(chosen.threads)
    tokenizer = AutoTokenizer.from_pretrained(chosen.model, padding_side="left")
    tokenizer.eos_token = "<|im_end|>"

    def open_reward() -> Any:
        model = AutoModelForSequenceClassification.from_pretrained(chosen.reward, num_labels=1, dtype=torch.float32)
        model.config.pad_token_id = tokenizer.pad_token_id
        return model.eval()

    policy = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=torch.float32)
    policy.generation_config.eos_token_id = tokenizer.eos_token_id
    policy.generation_config.pad_token_id = tokenizer.pad_token_id
    watch = Stopwatch()
    make = make_ppo if chosen.algorithm == "ppo" else make_grpo
    trainer = make(chosen, tokenizer, policy, open_reward, read_rows(chosen.rows), watch)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    policy.save_pretrained(chosen.folder / "model")
    print(json.dumps({"train_seconds": seconds, "steps": chosen.steps, "parts": watch.seconds}))


def without_gradient() -> bool:
    import torch

    return not torch.is_grad_enabled()


def shared_arguments(chosen: Any) -> dict[str, Any]:
    return {
        "output_dir": str(chosen.folder),
        "seed": chosen.seed,
        "learning_rate": chosen.learning_rate,
        "lr_scheduler_type": "linear",
        "optim": "adamw_torch_fused",
        "use_cpu": True,
        "bf16": chosen.bf16,
        # TRL's default, which saves memory where there is little and costs a third more time.
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "temperature": 1.0,
    }


def make_ppo(
    chosen: Any, tokenizer: Any, policy: Any, open_reward: Any, rows: list[dict[str, Any]], watch: Stopwatch
) -> Any:
    """All answers of a step in one batch, four updates of a quarter each."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    for name, part in (("batch_generation", "answers"), ("get_reward", "scores"), ("forward", "scores")):
        setattr(ppo_trainer, name, watch.time(part, getattr(ppo_trainer, name), is_counted=without_gradient))
    settings = PPOConfig(
        **shared_arguments(chosen),
        per_device_train_batch_size=chosen.batch_size,
        gradient_accumulation_steps=1,
        num_mini_batches=4,
        num_ppo_epochs=int(chosen.epochs),
        total_episodes=chosen.steps * chosen.batch_size,
        local_rollout_forward_batch_size=chosen.batch_size,
        num_sample_generations=0,
        response_length=chosen.max_new_tokens,
        stop_token="eos",
        missing_eos_penalty=1.0,
        kl_coef=chosen.kl_coefficient,
        vf_coef=0.5,
    )
    data = Dataset.from_list([{"input_ids": row["ids"]} for row in rows])
    return PPOTrainer(
        args=settings,
        processing_class=tokenizer,
        model=policy,
        ref_model=AutoModelForCausalLM.from_pretrained(chosen.model, dtype=torch.float32),
        reward_model=open_reward(),
        value_model=open_reward(),
        train_dataset=data,
        eval_dataset=data.select(range(8)),
    )


def make_grpo(
    chosen: Any, tokenizer: Any, policy: Any, open_reward: Any, rows: list[dict[str, Any]], watch: Stopwatch
) -> Any:
    """Eight answers to a prompt, four updates of a quarter of them each; the reward reads the answer's own ids."""
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    reward_model = open_reward()

    @torch.no_grad()
    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        asked = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        texts = [a + b for a, b in zip(asked, completion_ids, strict=True)]
        batch = tokenizer.pad({"input_ids": texts}, padding_side="right", return_tensors="pt")
        scores = reward_model(**batch).logits[:, 0].tolist()
        return [score - (ids[-1] != tokenizer.eos_token_id) for score, ids in zip(scores, completion_ids, strict=True)]

    for name, part, is_counted in (
        ("_generate", "answers", lambda: True),
        ("_get_per_token_logps_and_entropies", "scores", without_gradient),
    ):
        setattr(GRPOTrainer, name, watch.time(part, getattr(GRPOTrainer, name), is_counted=is_counted))
    settings = GRPOConfig(
        **shared_arguments(chosen),
        per_device_train_batch_size=chosen.batch_size // 4,
        gradient_accumulation_steps=1,
        steps_per_generation=4,
        max_steps=4 * chosen.steps,
        num_generations=8,
        num_iterations=1,
        max_completion_length=chosen.max_new_tokens,
        beta=chosen.kl_coefficient,
        max_grad_norm=1.0,
        logging_strategy="no",
    )
    return GRPOTrainer(
        model=policy,
        reward_funcs=watch.time("scores", reward, is_counted=lambda: True),
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": row["text"]} for row in rows]),
        processing_class=tokenizer,
    )


if __name__ == "__main__":
    main()
