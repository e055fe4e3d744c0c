"""The folder of mixed files is read as the benchmark says it should be."""

import hashlib
from pathlib import Path

from benchmarks.mixed_folder import write_mixed_folder
from prosa.corpus import CorpusSettings, SourceSettings, build_corpus, describe_corpus


def test_the_corpus_has_every_document_and_counts_every_reject(tmp_path: Path) -> None:
    expected = write_mixed_folder(tmp_path / "Documents", 60_000)
    settings = CorpusSettings(sources=(SourceSettings(path=str(tmp_path / "Documents"), name="mixed"),))
    corpus = build_corpus(settings, tmp_path / "corpus", workers=1)
    (source,) = describe_corpus(corpus)["sources"]
    assert source["documents_read"] == expected.n_documents
    assert source["duplicates"] == expected.n_duplicates
    for reasons in ("rejected", "skipped"):
        found = {reason: entry["count"] for reason, entry in source[reasons].items()}
        assert found == getattr(expected, reasons), reasons
    # The letters in Windows-1252 are whole, and nothing of the pages but the text is left.
    texts = [document.text for split in ("train", "validation") for document in corpus.documents(split)]
    assert not any("�" in text or "All rights reserved" in text for text in texts)
    assert {"book", "article", "code", "conversation"} == set(source["kinds"])


def test_the_same_folder_every_time(tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        whole = b"".join(f"{path.relative_to(folder)}".encode() + path.read_bytes() for path in files)
        return hashlib.sha256(whole).hexdigest()

    write_mixed_folder(tmp_path / "a", 20_000)
    write_mixed_folder(tmp_path / "b", 20_000)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
