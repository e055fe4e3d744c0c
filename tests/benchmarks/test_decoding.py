"""Decoding beside its peers: equal prompts, a tokenizer of any size, and what is claimed from which numbers."""

from dataclasses import asdict

import pytest

from benchmarks.decoding import make_merges
from benchmarks.decoding_llama import _rename
from benchmarks.decoding_ours import make_prompts
from benchmarks.measure import spread
from benchmarks.report_speed import write_decoding
from benchmarks.shapes import settings_of
from prosa.model import Transformer
from prosa.tokenizer import Tokenizer


@pytest.mark.parametrize("n", [0, 5, 676, 5000])
def test_there_are_tokenizers_of_all_sizes(n: int) -> None:
    assert Tokenizer(make_merges(n)).vocab_size == 260 + n


def test_prompts_differ_and_are_letters() -> None:
    prompts = make_prompts(4, 32)
    assert len({tuple(prompt) for prompt in prompts}) == 4
    assert all(97 <= id <= 122 for prompt in prompts for id in prompt)


def test_every_tensor_has_a_name_in_llama_cpp() -> None:
    names = Transformer(settings_of("1M", 64)).state_dict()
    assert len({_rename(name) for name in names}) == len(names)


def test_the_claims_take_the_fastest_of_each_program() -> None:
    rates = {
        "prosa bfloat16": 600.0,
        "prosa float32": 500.0,
        "transformers float32": 60.0,
        "transformers bfloat16": 101.0,
        "llama.cpp float16": 700.0,
    }
    sizes = {"14M": {"1": {"rates": {way: asdict(spread([rate])) for way, rate in rates.items()}}}}
    sizes["14M"]["1"] |= {"problems": {"llama.cpp bfloat16": "none"}, "weight_bytes_bfloat16": {}}  # type: ignore[dict-item]
    sizes["14M"]["1"]["weight_bytes_bfloat16"] = 28_000_000  # type: ignore[assignment]
    result = {"n_new": 128, "threads": 2, "bandwidth": {"one row, bfloat16": 20.0}, "sizes": sizes}
    page = write_decoding({"result": result})
    assert "**Missed**: 6 times transformers at 14M with 1 together: 5.94." in page
    assert "**Missed**: 1 times llama.cpp at 14M with 1 together: 0.86." in page
    assert "28 MB of weights in bfloat16, read at 16.8 GB/s" in page and "not measured, none" in page
