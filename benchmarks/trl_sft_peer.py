"""The peer for fine-tuning: TRL's SFTTrainer on the CPU, in a process that does nothing else.

A model folder and conversations as ids come in, a model folder goes out; seconds of the training alone are printed.
Run it with a Python that has `trl`: `python -m benchmarks.trl_sft_peer MODEL ROWS FOLDER`.
"""

import argparse
import json
import time
from pathlib import Path


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """What both peers are told: where from and where to, how long, how fast, in which numbers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, required=True, help="rows a step")
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    return parser


def fast_arguments(chosen: argparse.Namespace) -> dict[str, object]:
    """Settings of `transformers.TrainingArguments` that make it fast on a CPU: nothing but training."""
    return {
        "output_dir": str(chosen.folder),
        "seed": chosen.seed,
        "num_train_epochs": chosen.epochs,
        "per_device_train_batch_size": chosen.batch_size,
        "learning_rate": chosen.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "use_cpu": True,
        "bf16": chosen.bf16,
        "torch_compile": chosen.compile,
        # TRL's default, which saves memory where there is little and costs a third more time.
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
        # Else the column with the lengths is dropped before it is read.
        "length_column_name": "length",
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def read_rows(path: Path) -> list[dict[str, object]]:
    """The lines of a jsonl file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--loss", default="chunked_nll", choices=("chunked_nll", "nll"))
    chosen = parser.parse_args(argv)
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(chosen.threads)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(chosen.model, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(chosen.model),
        train_dataset=Dataset.from_list(read_rows(chosen.rows)),
        # Rows come with ids and labels, so that both programs learn the very same tokens.
        args=SFTConfig(
            **fast_arguments(chosen),
            loss_type=chosen.loss,
            max_length=None,
            packing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.model.save_pretrained(chosen.folder / "model")
    print(json.dumps({"train_seconds": seconds, "steps": trainer.state.global_step}))


if __name__ == "__main__":
    main()
