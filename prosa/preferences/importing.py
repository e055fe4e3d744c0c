"""Files of rankings made elsewhere become RankedAnswers, and those become items and judgments of a store."""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from prosa.corpus import ReadReport
from prosa.errors import DataError
from prosa.preferences.formats import read_argilla_row, read_nemo_row, read_pair_row
from prosa.preferences.human_data import essay_rankings, oasst_rankings, squality_rankings, ukp_rankings
from prosa.preferences.judgments import Answer, Item, Judgment, RankedAnswers
from prosa.preferences.ledger import parse_line
from prosa.preferences.row_files import Row, convert_rows
from prosa.preferences.rows import read_row
from prosa.preferences.store import PreferenceStore
from prosa.rundir import hash_json, write_durably


def read_rankings(path: Path | str, report: ReadReport) -> Iterator[RankedAnswers]:
    """The rankings of a file, a folder or `hf:owner/name`, whose rows say by their fields what they are.

    Pairs (TRL, OpenRLHF, HH-RLHF), NeMo ranks, Argilla records; OASST, SQuALITY, Essay-BR and UKPConvArg1 rankings.
    Unusable rows are counted in `report` with file and line. Raises DataError if the path is not there.
    """
    return convert_rows(path, report, _rankings_of_row)


def add_rankings(store: PreferenceStore, ranked: Sequence[RankedAnswers], *, source: str) -> tuple[int, int]:
    """Adds rankings made elsewhere; how many items and judgments were new. Adding them again changes nothing.

    The annotator of a ranking without one is `source`. Each UUID is made of what the ranking says, and of how often
    it was said before.
    """
    items = {
        one.item_id: Item.make(one.messages, [Answer(text) for text in one.answers], source=source) for one in ranked
    }
    times: Counter[str] = Counter()
    judgments = []
    for one in ranked:
        annotator = one.annotator or source
        said = hash_json([source, one.item_id, annotator, one.ranking.groups])
        times[said] += 1
        judgments.append(
            Judgment(
                uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{said} {times[said]}")),
                item_id=one.item_id,
                annotator=annotator,
                ranking=one.ranking,
                client=f"import of {source}",
            )
        )
    return store.add_items(list(items.values())), store.add_judgments(judgments)


def import_file(store: PreferenceStore, path: Path, report: ReadReport) -> tuple[int, int]:
    """Adds a file of rankings, or what another store exported; how many items and judgments were new.

    A ranking that names no annotator counts as said by one called like the file. Raises DataError if none can be used.
    """
    if path.suffix == ".jsonl" and path.is_file() and _is_log(path):
        return merge_store(store, path, report)
    ranked = list(read_rankings(path, report))
    if not ranked:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.rejected.counts.items()) or "no rows"
        raise DataError(f"`{path}` holds no ranking: {reasons}", hint="docs/preferences.md lists the forms")
    return add_rankings(store, ranked, source=path.name)


def export_store(store: PreferenceStore, path: Path) -> int:
    """Writes every item and every row of judgment, undone ones too, in the form of the log: nothing is lost."""
    lines = [record.line() for record in store.records()]
    write_durably(path, b"".join(lines))
    return len(lines)


def merge_store(store: PreferenceStore, path: Path, report: ReadReport) -> tuple[int, int]:
    """Adds what another store exported, or its log holds; how many items and judgments were new.

    So people who ranked on several machines are brought together. Damaged lines, judgments of unknown items and UUIDs
    known with other content are counted in `report`.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error}") from None
    items = {item.id: item for item in store.items()}
    known = {row.uuid: row for row in store.all_rows()}
    n_before = len(items), len(known)
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        record = parse_line(line)
        if record is None:
            report.rejected.add("a damaged line", where)
        elif record.kind == "item":
            items.setdefault(record.key, read_row(Item, record.body))
        else:
            judgment = read_row(Judgment, record.body)
            if judgment.item_id not in items:
                report.rejected.add("a judgment of an unknown item", where)
            elif known.setdefault(judgment.uuid, judgment) != judgment:
                report.rejected.add("a UUID known with other content", where)
    new_items, new_judgments = list(items.values())[n_before[0] :], list(known.values())[n_before[1] :]
    added = store.add_items(new_items), store.add_judgments(new_judgments)
    report.n_documents += sum(added)
    return added


def _is_log(path: Path) -> bool:
    with path.open("rb") as file:
        return parse_line(file.readline()) is not None


def _rankings_of_row(row: Row) -> list[RankedAnswers]:
    keys = set(row)
    if {"chosen", "rejected"} <= keys:
        return read_pair_row(row)
    if {"context", "completions"} <= keys:
        return read_nemo_row(row)
    if {"fields", "responses"} <= keys:
        return read_argilla_row(row)
    if {"history", "ranked"} <= keys:
        return oasst_rankings(row)
    if {"question", "candidates"} <= keys:
        return squality_rankings(row)
    if {"prompt", "essays"} <= keys:
        return essay_rankings(row)
    if {"title", "stance", "ranked"} <= keys:
        return ukp_rankings(row)
    raise DataError("a row of no known form", hint="docs/preferences.md lists the forms")
