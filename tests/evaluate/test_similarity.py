"""Spearman against published ranks and its formula without ties, vectors against one forward pass a word."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.errors import ConfigError, DataError
from prosa.evaluate import WordPair, list_words, measure_similarity, read_word_pairs, word_vectors
from prosa.evaluate.similarity import rank, spearman
from tests.evaluate.real_data import find_real

PAIRS = [WordPair("the", "cat", 7.0), WordPair("cat", "mãe", 1.0), WordPair("a", "the", 4.5), WordPair("mat", "a", 2.0)]


def test_ranks_of_ties_are_their_mean() -> None:
    assert rank(np.array([10.0, 30.0, 20.0, 20.0, 5.0])).tolist() == [2.0, 5.0, 3.5, 3.5, 1.0]
    assert rank(np.array([7.0, 7.0, 7.0])).tolist() == [2.0, 2.0, 2.0]


def test_spearman_of_a_worked_example() -> None:
    """IQ and hours of television of ten people, sum of squared rank differences 194: rho = -29/165."""
    intelligence = np.array([106.0, 100, 86, 101, 99, 103, 97, 113, 112, 110])
    hours = np.array([7.0, 27, 2, 50, 28, 29, 20, 12, 6, 17])
    assert spearman(intelligence, hours) == pytest.approx(-29 / 165)


def test_spearman_with_ties_by_hand() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: covariance 4.5, variances 4.5 and 5.
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 9])) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


@given(st.permutations(range(8)), st.permutations(range(8)))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_spearman_without_ties_is_the_formula_of_rank_differences(first: list[int], second: list[int]) -> None:
    x, y = np.array(first, float), np.array(second, float)
    squares = float(((x - y) ** 2).sum())
    assert spearman(x, y) == pytest.approx(1 - 6 * squares / (8 * (64 - 1)), abs=1e-12)
    # Only the order counts.
    assert spearman(np.exp(x), y**3) == pytest.approx(spearman(x, y), abs=1e-12)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_vectors_are_means_over_the_words_tokens(tokenizer, make_model, layer: int) -> None:
    model = make_model(tokenizer.vocab_size)
    words = ["the", "cat", "mãe", "a", "thethethe"]
    vectors = word_vectors(model, tokenizer, words, layer=layer)
    for word, vector in zip(words, vectors, strict=True):
        ids = [tokenizer.end_of_text_id, *tokenizer.encode(f" {word}")]
        with torch.no_grad():
            x = model.model.embed_tokens(torch.tensor([ids]))
            for block in model.model.layers[:layer]:
                x = block(x, model.cos[: len(ids)], model.sin[: len(ids)], None, None)
        np.testing.assert_allclose(vector, x[0, 1:].mean(0).numpy(), rtol=1e-4, atol=1e-5)
    assert not any(block._forward_hooks for block in model.model.layers)


def test_correlation_of_cosines_and_judgements(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size)
    report = measure_similarity(model, tokenizer, PAIRS, seed=1)
    table = model.model.embed_tokens.weight.detach().numpy().astype(float)
    cosines = []
    for pair in PAIRS:
        first, second = (table[tokenizer.encode(f" {word}")].mean(0) for word in (pair.first, pair.second))
        cosines.append(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
    assert report.correlation == pytest.approx(spearman(np.array(cosines), np.array([7.0, 1.0, 4.5, 2.0])))
    assert (report.n, report.n_skipped, report.missing, report.n_words) == (4, 0, (), 5)
    assert report.n_whole_words == 1 and report.layer == 0
    assert -1 <= report.interval.low <= report.interval.high <= 1
    assert json.loads(json.dumps(report.to_json()))["n"] == 4


def test_words_never_seen_are_missing_and_counted(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size)
    known = list_words(["The cat, the MAT;", "a-a 7mãe_x"])
    assert known == {"the", "cat", "mat", "a", "mãe", "x"}
    pairs = [*PAIRS, WordPair("The", "dog", 3.0), WordPair("dog", "zebra", 2.0)]
    report = measure_similarity(model, tokenizer, pairs, known_words=known)
    assert (report.n, report.n_skipped, report.missing) == (4, 2, ("dog", "zebra"))
    assert report.correlation == measure_similarity(model, tokenizer, PAIRS).correlation
    with pytest.raises(DataError, match="only 1 of 6 pairs"):
        measure_similarity(model, tokenizer, pairs, known_words={"the", "cat"})


def test_the_interval_holds_the_truth_and_is_seeded(tokenizer, make_model) -> None:
    """Judgements that are the cosines with noise; the interval narrows with the root of the number of pairs."""
    model = make_model(tokenizer.vocab_size)
    random = np.random.default_rng(0)
    words = sorted({"".join(random.choice(list("abcdefgh"), 5)) for _ in range(400)})
    vectors = word_vectors(model, tokenizer, words)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    widths = []
    for n in (40, 360):
        pairs = []
        for _ in range(n):
            i, j = random.integers(0, len(words), 2)
            pairs.append(WordPair(words[i], words[j], float(unit[i] @ unit[j] + random.normal(0, 0.3))))
        report = measure_similarity(model, tokenizer, pairs, n_resamples=300)
        assert report == measure_similarity(model, tokenizer, pairs, n_resamples=300)
        assert report.interval.low < report.correlation < report.interval.high
        widths.append(report.interval.high - report.interval.low)
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.5)


def test_impossible_layers_and_words_are_refused(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size)
    for layer in (-1, 3):
        with pytest.raises(ConfigError, match="the model has layers 1 to 2"):
            word_vectors(model, tokenizer, ["a"], layer=layer)
    with pytest.raises(DataError, match=r"longer than the model's context"):
        word_vectors(model, tokenizer, ["a", "x" * 16])


def test_reads_pairs_and_names_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("# a comment\ntiger\tcat\t7.35\n\nold\tnew\t2\n", encoding="utf-8")
    assert read_word_pairs(path) == [WordPair("tiger", "cat", 7.35), WordPair("old", "new", 2.0)]
    for line in ("tiger cat 7.35", "a\tb", "a\tb\tnan", "a\tb\t1\t2", "a\tb\tvery"):
        path.write_text(f"x\ty\t1\n{line}\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"words\.tsv:2` is not two words"):
            read_word_pairs(path)


@pytest.mark.parametrize(("name", "n"), [("wordsim353", 353), ("simlex999", 999)])
def test_reads_the_published_sets(name: str, n: int) -> None:
    pairs = read_word_pairs(find_real(f"word_sets/{name}.tsv.gz"))
    assert len(pairs) == n and all(0 <= pair.judgement <= 10 for pair in pairs)
