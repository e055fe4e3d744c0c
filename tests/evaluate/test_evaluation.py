"""The whole evaluation on a real small town: complete, repeatable, unharmed by interruption, without side effects."""

import hashlib
import json

import pytest

from prosa.corpus.world import World, build_world, parse_world
from prosa.evaluate import EvaluateSettings, choose_items, evaluate, xz_bits_per_byte
from prosa.rundir import hash_json
from tests.evaluate.conftest import Text

SETTINGS = EvaluateSettings(
    cloze_items=24, memorisation_texts=3, memorisation_text_tokens=24, memorisation_window_tokens=4
)


@pytest.fixture(scope="module")
def town() -> World:
    return build_world(parse_world("world:people=4,places=4,trades=4,animals=4,dishes=4,objects=4,events=2"))


@pytest.fixture
def shards(tokenizer, make_shards, town):
    texts = [
        Text(d.text[:300], d.kind, d.language, "town" if i % 3 else "other", origin=d.origin)
        for i, d in zip(range(24), (town.document(i) for i in range(24)), strict=True)
    ]
    return make_shards(tokenizer, texts[:8], texts[8:])


def test_everything_is_measured_and_repeatable(tokenizer, make_model, shards, town) -> None:
    model = make_model(tokenizer.vocab_size, context_length=64)
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards.folder.iterdir()}
    evaluation = evaluate(model, tokenizer, shards, world=town, settings=SETTINGS, is_shown=False)
    values = evaluation.to_json()
    assert json.loads(json.dumps(values)) == values
    assert values["bits_per_byte"]["is_whole"]
    assert values["cloze"]["total"]["n"] + values["cloze"]["n_skipped"] == 24
    assert set(values["cloze"]["by_language"]) <= {"pt", "en"}
    assert values["memorisation"]["generated"]["n"] > 0
    texts = [
        tokenizer.decode(shards.read("validation", s, d, 0, n))
        for s in shards.sources
        for d, n in enumerate(shards.document_lengths("validation", s))
    ]
    assert values["xz"]["total"] == xz_bits_per_byte(texts)
    assert set(values["xz"]["by_source"]) == {"town", "other"}
    again = evaluate(model, tokenizer, shards, world=town, settings=SETTINGS, is_shown=False)
    assert hash_json(again.to_json()) == hash_json(values)
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards.folder.iterdir()} == before


@pytest.mark.parametrize("n_calls", [1, 2, 5, 9, 14])
def test_interrupted_and_run_again(tokenizer, make_model, shards, town, monkeypatch, n_calls) -> None:
    """Nothing is kept between runs, so a run that was stopped anywhere leaves no trace in the next."""
    model = make_model(tokenizer.vocab_size, context_length=64).train()
    settings = SETTINGS.model_copy(update={"batch_tokens": 512})
    undisturbed = evaluate(model, tokenizer, shards, world=town, settings=settings, is_shown=False).to_json()
    hidden, calls = model.hidden, iter(range(n_calls))

    def stop(*args, **kwargs):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return hidden(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(model, "hidden", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate(model, tokenizer, shards, world=town, settings=settings, is_shown=False)
    assert model.training
    assert evaluate(model, tokenizer, shards, world=town, settings=settings, is_shown=False).to_json() == undisturbed


def test_parts_can_be_left_out(tokenizer, make_model, shards) -> None:
    settings = EvaluateSettings(compares_xz=False, memorisation_texts=0)
    evaluation = evaluate(make_model(tokenizer.vocab_size), tokenizer, shards, settings=settings, is_shown=False)
    assert (evaluation.xz, evaluation.cloze, evaluation.memorisation) == (None, None, None)


def test_items_are_a_seeded_sample_of_both_languages(town) -> None:
    items = choose_items(town, 30, seed=1)
    assert len(items) == 30
    assert items == choose_items(town, 30, seed=1) != choose_items(town, 30, seed=2)
    assert {item.language for item in items} == {"pt", "en"}
    everything = choose_items(town, 10**6, seed=1)
    assert everything == town.cloze("pt") + town.cloze("en")


def test_progress_is_shown_in_both_languages(tokenizer, make_model, shards, town, capsys) -> None:
    for language, words in (("en", ("bits per byte", "world facts")), ("pt", ("bits por byte", "fatos do mundo"))):
        model = make_model(tokenizer.vocab_size, context_length=64)
        evaluate(model, tokenizer, shards, world=town, settings=SETTINGS, language=language)
        printed = capsys.readouterr()
        assert all(word in printed.err for word in words)
        assert printed.out == ""
