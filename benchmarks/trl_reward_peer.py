"""The peer for reward models: TRL's RewardTrainer on the CPU, in a process that does nothing else.

A model folder and pairs of answers as ids come in, a sequence classifier's folder goes out; seconds of the training
alone are printed. Run it with a Python that has `trl`: `python -m benchmarks.trl_reward_peer MODEL PAIRS FOLDER`.
"""

import json
import time

from benchmarks.trl_sft_peer import fast_arguments, make_parser, read_rows


def main(argv: list[str] | None = None) -> None:
    chosen = make_parser(__doc__).parse_args(argv)
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    torch.set_num_threads(chosen.threads)
    trainer = RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(chosen.model, num_labels=1, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(chosen.model),
        train_dataset=Dataset.from_list(read_rows(chosen.rows)),
        args=RewardConfig(**fast_arguments(chosen), max_length=None, center_rewards_coefficient=0.01),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.model.save_pretrained(chosen.folder / "model")
    print(json.dumps({"train_seconds": seconds, "steps": trainer.state.global_step}))


if __name__ == "__main__":
    main()
