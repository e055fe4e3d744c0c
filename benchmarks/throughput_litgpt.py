"""litgpt trains what `benchmarks.throughput_ours` trains, with torch's fused AdamW, where litgpt is installed."""

from benchmarks.shapes import SHAPES
from benchmarks.throughput_ours import N_BATCHES, TOKENS, parse, time_steps


def main() -> None:
    import torch
    from litgpt import GPT, Config

    chosen = parse(__doc__)
    torch.set_num_threads(chosen.threads)
    n_layer, d_model, n_head, d_ff, vocab_size = SHAPES[chosen.size]
    dtype: torch.dtype = getattr(torch, chosen.dtype)
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
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    torch.manual_seed(0)
    rows = torch.randint(vocab_size, (N_BATCHES, TOKENS // chosen.context_length, chosen.context_length + 1))
    read = torch.compile(model, dynamic=False) if chosen.compiled else model

    def learn(number: int) -> float:
        ids = rows[number % N_BATCHES]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = read(ids[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        return float(loss.detach())

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    time_steps(learn, update, chosen.seconds)


if __name__ == "__main__":
    main()
