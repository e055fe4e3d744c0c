"""transformers trains what `benchmarks.throughput_ours` trains, with torch's fused AdamW."""

import os

from benchmarks.shapes import settings_of
from benchmarks.throughput_ours import parse
from benchmarks.throughput_peer import train_peer


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from prosa.model.hf_config import to_hf_config

    chosen = parse(__doc__)
    settings = settings_of(chosen.size, chosen.context_length)
    config = AutoConfig.for_model(**to_hf_config(settings, {}) | {"use_cache": False})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    train_peer(chosen, model, settings.vocab_size, lambda read, ids: read(input_ids=ids).logits)


if __name__ == "__main__":
    main()
