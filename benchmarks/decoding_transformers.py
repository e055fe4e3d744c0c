"""transformers writes what `benchmarks.decoding_ours` writes; --compiled: with a static cache and torch.compile."""

import os
import time

from benchmarks.decoding_ours import TEXTS, make_prompts, parse, report


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM

    chosen = parse(__doc__)
    torch.set_num_threads(chosen.threads)
    model = AutoModelForCausalLM.from_pretrained(chosen.folder, dtype=getattr(torch, chosen.dtype)).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    options = {"max_new_tokens": chosen.new, "do_sample": False}
    if chosen.compiled:
        model.forward = torch.compile(model.forward)
        options["cache_implementation"] = "static"
    ids = torch.tensor(make_prompts(chosen.streams, chosen.prompt))
    seconds = []
    with torch.inference_mode():
        for _ in range(TEXTS + 1):
            started = time.perf_counter()
            written = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
            seconds.append(time.perf_counter() - started)
    assert written.shape[1] == chosen.prompt + chosen.new
    report(seconds, chosen.streams * chosen.new, written[0, chosen.prompt :].tolist())


if __name__ == "__main__":
    main()
