"""llama.cpp writes what `benchmarks.decoding_ours` writes, from a GGUF of the same weights made here.

Needs llama-cpp-python and gguf, not torch.
"""

import ctypes
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoding_ours import TEXTS, make_prompts, parse, report

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(folder: Path, target: Path, dtype: str) -> int:
    """The folder's weights as GGUF, without a vocabulary; returns how many tokens it has."""
    import gguf
    from safetensors.numpy import load_file

    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(target, "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    kind = {
        "float32": gguf.GGMLQuantizationType.F32,
        "float16": gguf.GGMLQuantizationType.F16,
        "bfloat16": gguf.GGMLQuantizationType.BF16,
    }[dtype]
    for name, tensor in load_file(folder / "model.safetensors").items():
        is_matrix = tensor.ndim == 2
        data = gguf.quants.quantize(tensor.astype(np.float32), kind) if is_matrix else tensor.astype(np.float32)
        writer.add_tensor(_rename(name), data, raw_dtype=kind if is_matrix else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return int(config["vocab_size"])


def _rename(name: str) -> str:
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{layer}.{_NAMES[part]}.weight"


class Writer:
    """Greedy decoding of some texts in one batch, through llama.cpp's own functions."""

    def __init__(self, path: Path, n_streams: int, n_slots: int, threads: int) -> None:
        import llama_cpp

        self.lib, self.n_streams = llama_cpp, n_streams
        llama_cpp.llama_backend_init()
        self.log = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.log, ctypes.c_void_p(0))
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_seq_max = n_slots * n_streams, 2048, n_streams
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.batch = llama_cpp.llama_batch_init(2048, 0, n_streams)

    def read(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Reads (id, position, stream, whether logits are wanted)."""
        self.batch.n_tokens = len(rows)
        for number, (id, position, stream, wants) in enumerate(rows):
            self.batch.token[number] = id
            self.batch.pos[number] = position
            self.batch.n_seq_id[number] = 1
            self.batch.seq_id[number][0] = stream
            self.batch.logits[number] = wants
        code = self.lib.llama_decode(self.context, self.batch)
        assert code == 0, f"llama_decode returned {code}"

    def write(self, prompts: list[list[int]], n_new: int, vocab_size: int) -> list[list[int]]:
        """The likeliest ids after each prompt."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        rows = [
            (id, place, stream, place == len(prompt) - 1)
            for stream, prompt in enumerate(prompts)
            for place, id in enumerate(prompt)
        ]
        self.read(rows)
        wanted = [number for number, row in enumerate(rows) if row[3]]
        written: list[list[int]] = [[] for _ in prompts]
        for step in range(n_new):
            for stream, number in enumerate(wanted):
                logits = self.lib.llama_get_logits_ith(self.context, number)
                written[stream].append(int(np.ctypeslib.as_array(logits, (vocab_size,)).argmax()))
            if step < n_new - 1:
                self.read([(ids[-1], len(prompts[n]) + step, n, True) for n, ids in enumerate(written)])
                wanted = list(range(len(prompts)))
        return written


def main() -> None:
    chosen = parse(__doc__)
    folder = Path(chosen.folder)
    path = folder / f"{chosen.dtype}.gguf"
    vocab_size = write_gguf(folder, path, chosen.dtype)
    writer = Writer(path, chosen.streams, 256, chosen.threads)
    prompts, seconds = make_prompts(chosen.streams, chosen.prompt), []
    for _ in range(TEXTS + 1):
        started = time.perf_counter()
        written = writer.write(prompts, chosen.new, vocab_size)
        seconds.append(time.perf_counter() - started)
    report(seconds, chosen.streams * chosen.new, written[0])


if __name__ == "__main__":
    main()
