"""Conversations become ids of which some are to be learned, and several of them one row of the context's length.

Masks are the renderer's (prosa.tokenizer), never searched for in text. Rows are the batches' matter.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from prosa.corpus import ReadReport
from prosa.sft.conversations import Conversation
from prosa.tokenizer import Tokenizer, render_conversation


@dataclass(frozen=True, slots=True)
class EncodedConversation:
    """A conversation up to the end of its last answer: its ids, and which of them the model is to learn to write."""

    ids: Int[np.ndarray, " L"]
    is_target: Bool[np.ndarray, " L"]
    id: str
    prompt_id: str
    source: str
    language: str

    @property
    def length(self) -> int:
        """Positions it takes in a row: the last id is only predicted, never read."""
        return len(self.ids) - 1

    @property
    def n_targets(self) -> int:
        return int(self.is_target.sum())


def encode_conversations(
    tokenizer: Tokenizer, conversations: Iterable[Conversation], context_length: int, report: ReadReport
) -> Iterator[EncodedConversation]:
    """The conversations as ids, each no longer than the context.

    A longer one is cut after the last answer that fits and counted as repaired; one whose first answer does not fit,
    or in which nothing is to be learned, is counted as skipped.
    """
    for conversation in conversations:
        ids, loss_mask = render_conversation(tokenizer, conversation.messages)
        pairs = enumerate(zip(ids, loss_mask, strict=True))
        ends = [place for place, (id, is_target) in pairs if is_target and id == tokenizer.im_end_id]
        fitting = [end for end in ends if end <= context_length]
        if not ends:
            report.skipped.add("nothing to learn", conversation.origin)
            continue
        if not fitting:
            detail = f"{ends[0]} tokens to the end of the first answer, the context holds {context_length}"
            report.skipped.add("longer than the context", conversation.origin, detail)
            continue
        if fitting[-1] < ends[-1]:
            detail = f"{len(fitting)} of {len(ends)} answers kept"
            report.repaired.add("cut to the context after an answer", conversation.origin, detail)
        length = fitting[-1] + 1
        yield EncodedConversation(
            ids=np.array(ids[:length], np.int32),
            is_target=np.array(loss_mask[:length], bool),
            id=conversation.id,
            prompt_id=conversation.prompt_id,
            source=conversation.source,
            language=conversation.language,
        )


def pack(lengths: Sequence[int], order: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of at most `capacity` positions that hold every number in `order` once, each taking `lengths[number]`.

    Best-fit decreasing (Johnson 1974; for training rows Ding et al. 2024, arXiv:2404.10830): longest first, each into
    the row that it leaves the least space in. Never more than 11/9 of the fewest rows possible, plus one.
    Equal lengths are taken in the given order.
    """
    rows: list[list[int]] = []
    rows_by_space: list[list[int]] = [[] for _ in range(capacity + 1)]
    # Bit s is set where some row has exactly s positions left, so that the least sufficient space is found at once.
    spaces = 0
    for number in sorted(order, key=lambda number: -lengths[number]):
        length = lengths[number]
        sufficient = spaces >> length
        if sufficient:
            space = length + (sufficient & -sufficient).bit_length() - 1
            row = rows_by_space[space].pop()
            if not rows_by_space[space]:
                spaces &= ~(1 << space)
        else:
            row, space = len(rows), capacity
            rows.append([])
        rows[row].append(number)
        rows_by_space[space - length].append(row)
        spaces |= 1 << (space - length)
    return rows
