"""litgpt trains what `benchmarks.throughput_ours` trains, with torch's fused AdamW, where litgpt is installed."""

from benchmarks.shapes import SHAPES
from benchmarks.throughput_ours import parse
from benchmarks.throughput_peer import train_peer


def main() -> None:
    import torch
    from litgpt import GPT, Config

    chosen = parse(__doc__)
    n_layer, d_model, n_head, d_ff, vocab_size = SHAPES[chosen.size]
    config = Config(
        block_size=chosen.context_length,
        vocab_size=vocab_size,
        padded_vocab_size=vocab_size,
        n_layer=n_layer,
        n_embd=d_model,
        n_head=n_head,
        intermediate_size=d_ff,
        mlp_class_name="LLaMAMLP",
        norm_class_name="RMSNorm",
        norm_qk=True,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
    )
    model = GPT(config).train()
    # Of deviation 1, as torch makes embeddings, the logits of a head that shares them would be far too large.
    torch.nn.init.normal_(model.transformer.wte.weight, std=0.02)
    model.lm_head.weight = model.transformer.wte.weight
    train_peer(chosen, model, vocab_size, lambda read, ids: read(ids))


if __name__ == "__main__":
    main()
