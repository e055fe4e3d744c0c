from prosa.corpus.document import ReadReport
from prosa.corpus.webpage import main_text

BODY = "".join(f"<p>O parágrafo {n} fala do mar, da foz e do vento que vem do sul à tarde.</p>" for n in range(8))
PAGE = (
    "<html><head><title>t</title><script>var x = 'segredo';</script></head><body><nav><a href='/'>Início</a></nav>"
    f"<main><article><h1>O mar</h1>{BODY}</article></main><footer>Direitos reservados</footer></body></html>"
)


def test_main_text_without_what_surrounds_it() -> None:
    report = ReadReport()
    text = main_text(PAGE.encode(), "a.html", report)
    assert text is not None and "parágrafo 7" in text
    assert not any(word in text for word in ("segredo", "Início", "Direitos", "<p>"))
    assert report.to_json() == ReadReport().to_json()


def test_visible_text_where_there_is_no_main_text() -> None:
    report = ReadReport()
    page = b"<html><body><script>bad()</script><div>Oi</div><div>tudo   bem?</div></body></html>"
    text = main_text(page, "a.html", report)
    assert text is not None and text.split() == ["Oi", "tudo", "bem?"]


def test_declared_encodings() -> None:
    report = ReadReport()
    page = PAGE.replace("<head>", '<head><meta charset="windows-1251">').replace("fala do mar", "говорит о море")
    page = page.replace("parágrafo", "параграф").replace("à tarde", "a tarde").replace("Início", "Inicio")
    text = main_text(page.encode("windows-1251"), "a.html", report)
    assert text is not None and "говорит о море" in text
    assert report.repaired.counts == {"read as windows-1251": 1}


def test_pages_without_text_are_counted() -> None:
    for page in (b"<html><body><img src='x'></body></html>", b"<!-- nothing -->"):
        report = ReadReport()
        assert main_text(page, "a.html", report) is None
        assert sum(report.rejected.counts.values()) == 1
