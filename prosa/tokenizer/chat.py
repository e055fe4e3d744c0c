"""A conversation goes in, ids and a loss mask come out: the only place where control ids meet text.

Control tokens are placed as integers and text is encoded by an encoder that has none, so whatever a message says,
it cannot end its turn or begin another.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prosa.errors import DataError
from prosa.tokenizer.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")
_MAY_FOLLOW = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A control id, or text to be encoded; `is_target` where the model is to learn to write it."""

    content: int | str
    is_target: bool = False


def roles_after(role: str) -> tuple[str, ...]:
    """Who may speak after a message of `role`; "" is before the first message."""
    return _MAY_FOLLOW[role]


def render_conversation(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = False
) -> tuple[list[int], list[int]]:
    """ChatML: for each message `<|im_start|>` role, line end, content, `<|im_end|>`, line end.

    `messages` have `role` (system, user, assistant or tool) and `content`. Returns ids and a loss_mask of the same
    length: 1 on an assistant's content and its `<|im_end|>`, else 0. `add_generation_prompt` opens the next turn of
    the assistant; what is rendered with it is always a prefix of the conversation rendered with that turn in it.
    Raises DataError for a message without role or content.
    """
    return render_segments(tokenizer, conversation_segments(tokenizer, messages, add_generation_prompt))


def conversation_segments(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = False
) -> Iterator[Segment]:
    """The typed segments of a conversation, see `render_conversation`."""
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise DataError(f"message {number}: role is {role!r}", hint=f"a role is one of {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise DataError(f"message {number}: content is {type(content).__name__}, not text")
        is_target = role == "assistant"
        yield Segment(tokenizer.im_start_id)
        yield Segment(f"{role}\n")
        yield Segment(content, is_target)
        yield Segment(tokenizer.im_end_id, is_target)
        yield Segment("\n")
    if add_generation_prompt:
        yield Segment(tokenizer.im_start_id)
        yield Segment("assistant\n")


def render_segments(tokenizer: Tokenizer, segments: Iterable[Segment]) -> tuple[list[int], list[int]]:
    """The ids of the segments one after the other, each text encoded by itself, and the loss_mask."""
    ids: list[int] = []
    loss_mask: list[int] = []
    for segment in segments:
        new = [segment.content] if isinstance(segment.content, int) else tokenizer.encode(segment.content)
        ids += new
        loss_mask += [int(segment.is_target)] * len(new)
    return ids, loss_mask
