"""Files of JSON rows go in, rankings come out; what cannot be read or ranks nothing is counted, never fatal."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prosa.corpus import ReadReport, read_rows
from prosa.errors import DataError
from prosa.preferences.judgments import RankedAnswers

Row = Mapping[str, Any]


def convert_rows(
    path: Path | str, report: ReadReport, convert: Callable[[Row], Iterable[RankedAnswers]]
) -> Iterator[RankedAnswers]:
    """The rankings that `convert` makes of each row of a file, a folder or `hf:owner/name`.

    A row of another form, or one with fewer than two answers that have a place, is counted in `report` with file and
    line. Raises DataError if the path is not there.
    """
    for row, where in read_rows(str(path), report):
        try:
            found = list(convert(row))
            if not found or any(len(one.ranking.ranked) < 2 for one in found):
                raise DataError("fewer than two answers with a place")
        except DataError as error:
            report.rejected.add(str(error).splitlines()[0], where)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            report.rejected.add("a row of another form", where, f"{type(error).__name__} {error}"[:80])
        else:
            report.n_documents += len(found)
            yield from found
