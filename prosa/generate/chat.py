"""A conversation comes in, the ids that the model answers to go out; what the context cannot hold is left out.

Messages are checked first. The oldest turns are the first to go; the system message and the last question always stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prosa.errors import DataError
from prosa.tokenizer import ROLES, Tokenizer, render_conversation, roles_after


@dataclass(frozen=True, slots=True)
class FittedChat:
    """The ids of a conversation up to the opened turn of the assistant, and how many old messages are not in them."""

    ids: list[int]
    n_dropped: int


def check_messages(messages: Sequence[Mapping[str, str]]) -> None:
    """DataError unless `messages` are a conversation that waits for the assistant.

    A system message may stand first; then user and assistant take turns, where an assistant's message may be followed
    by tools' results before the assistant goes on. No message is empty, and the last is a user's or a tool's.
    """
    before = ""
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise DataError(f"message {number}: role is {role!r}", hint="a role is system, user, assistant or tool")
        if role not in roles_after(before):
            place = f"after a message of {before}" if before else "at the beginning"
            raise DataError(
                f"message {number}: {role} cannot speak {place}",
                hint=f"there comes {' or '.join(roles_after(before))}",
            )
        if not isinstance(content, str) or not content.strip():
            raise DataError(f"message {number} ({role}) has no text", hint="leave an empty message out")
        before = role
    if before not in ("user", "tool"):
        found = f"the conversation ends with a message of {before}" if before else "the conversation is empty"
        raise DataError(f"{found}: there is nothing to answer", hint="its last message is the user's")


def fit_chat(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], context_length: int, max_new_tokens: int
) -> FittedChat:
    """The conversation as ids, without its oldest turns where it is too long.

    The answer keeps room for `max_new_tokens`, at most half of the context; a turn is a user's message with all that
    answers it. The system message and the last turn stay even if they leave less room. Raises DataError if they alone
    are longer than the context, or for what `check_messages` refuses.
    """
    check_messages(messages)
    room = context_length - min(max_new_tokens, context_length // 2)
    # Each message is encoded by itself, so the ids of several are those of each, one after the other.
    pieces = [render_conversation(tokenizer, [message])[0] for message in messages]
    opening = render_conversation(tokenizer, [], add_generation_prompt=True)[0]
    n_system = int(messages[0]["role"] == "system")
    room -= len(opening) + sum(map(len, pieces[:n_system]))
    turns = [number for number, message in enumerate(messages) if message["role"] == "user"]
    fitting = (first for first in turns if sum(map(len, pieces[first:])) <= room)
    first = next(fitting, turns[-1])
    ids = [id for piece in (*pieces[:n_system], *pieces[first:], opening) for id in piece]
    if len(ids) > context_length:
        raise DataError(
            f"the last question and the system message have {len(ids)} tokens, the context holds {context_length}",
            hint="shorten one of them",
        )
    return FittedChat(ids, first - n_system)
