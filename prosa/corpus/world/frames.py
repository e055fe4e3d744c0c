"""The grammar engine: frames with slots, read from text, become functions that write sentences.

{p.home.no}         a form of a member of the cast       {p:o|a}       agrees with the gender of p
{#flower.um}        a word of a list, in some form       {#flower=f}   the same, kept in the cast as f
{#mood~p}           an adjective that agrees with p      [a|b|c]       one of several phrasings
{@close}            a frame of another section           {@home(q)}    the same, told of q instead of p
{@fact}             something known of p                 {!p.trade}    counts as told: {@fact} will not repeat it
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from prosa.corpus.world.chance import pick

Forms = Mapping[str, str]
Node = Callable[["Scene"], str]

_TOKEN = re.compile(r"\{[^{}]*\}|[\[\]|]|[^\[\]{}|]+")
_WORD = re.compile(r"#(?P<list>\w+)(?:=(?P<bind>\w+))?(?:~(?P<agree>[\w.]+)|\.(?P<form>[\w.]+))?")
_SECTION = re.compile(r"@(?P<name>[\w.]+)(?:\((?P<teller>\w+)\))?")
_START = re.compile(r"(?:(?:\A|\n)(?:— |\")?|[.!?] \"?|\. — )[a-zà-ÿ]")


@dataclass(slots=True)
class Scene:
    """What one document is about: its stream, the cast by role, and what was said already, not to repeat it."""

    rng: Random
    cast: dict[str, Forms]
    used: set[tuple[str, int]] = field(default_factory=set)
    latest: dict[str, Forms] = field(default_factory=dict)


class Grammar:
    """Sections of compiled frames and lists of words of one language."""

    def __init__(self, sections: Mapping[str, Sequence[str]], words: Mapping[str, Sequence[Forms]]) -> None:
        self.words = words
        self.sources = sections
        self.sections: dict[str, list[Node]] = {name: [] for name in sections}
        for name, frames in sections.items():
            self.sections[name] += [self.compile(frame) for frame in frames]

    def write(self, section: str, scene: Scene) -> str:
        """A frame of `section`, one that this scene has not used as long as there is any."""
        if section == "fact":
            section = self._fact(scene)
        frames = self.sections[section]
        n = len(frames)
        first = int(scene.rng.random() * n)
        choice = first
        while (section, choice) in scene.used:
            choice = (choice + 1) % n
            if choice == first:
                break
        scene.used.add((section, choice))
        return frames[choice](scene)

    def _fact(self, scene: Scene) -> str:
        """A relation known of p, preferably one that this scene has not told yet."""
        p = scene.cast["p"]
        for _ in range(4):
            relation = pick(scene.rng, p["relations"].split())
            if (told := (p["full"] + relation, 0)) not in scene.used:
                break
        scene.used.add(told)
        return relation

    def compile(self, frame: str) -> Node:
        """The function that writes `frame`; a slot of the wrong shape or an unknown name is a ValueError."""
        tokens = _TOKEN.findall(frame)
        if "".join(tokens) != frame:
            raise ValueError(f"unbalanced braces in frame `{frame}`")
        return self._sequence(tokens, 0, nested=False)[0]

    def _sequence(self, tokens: Sequence[str], start: int, *, nested: bool) -> tuple[Node, int]:
        nodes: list[str | Node] = []
        position = start
        while position < len(tokens) and not (nested and tokens[position] in "|]"):
            token = tokens[position]
            if token in "|]":
                raise ValueError(f"`{token}` outside of brackets in frame `{''.join(tokens)}`")
            if token == "[":
                node, position = self._choice(tokens, position + 1)
                nodes.append(node)
                continue
            nodes.append(self._slot(token[1:-1]) if token[0] == "{" else token)
            position += 1
        return _joined(nodes), position

    def _choice(self, tokens: Sequence[str], position: int) -> tuple[Node, int]:
        options: list[Node] = []
        while True:
            node, position = self._sequence(tokens, position, nested=True)
            options.append(node)
            if position >= len(tokens):
                raise ValueError(f"`[` without `]` in frame `{''.join(tokens)}`")
            position += 1
            if tokens[position - 1] == "]":
                return lambda scene: pick(scene.rng, options)(scene), position

    def _slot(self, text: str) -> Node:
        if match := _WORD.fullmatch(text):
            return self._word(match["list"], match["bind"], match["agree"], match["form"] or "")
        if match := _SECTION.fullmatch(text):
            return self._section(match["name"], match["teller"])
        if text.startswith("!"):
            return _told(*text[1:].split("."))
        reference, colon, options = text.partition(":")
        if colon:
            role, key = _gender_of(reference)
            masculine, _, feminine = options.partition("|")
            return lambda scene: masculine if scene.cast[role][key] == "m" else feminine
        role, _, form = text.partition(".")
        return lambda scene: scene.cast[role][form]

    def _word(self, name: str, bind: str | None, agree: str | None, form: str) -> Node:
        words = self.words[name]

        def choose(scene: Scene) -> Forms:
            word = pick(scene.rng, words)
            if word is scene.latest.get(name):
                word = pick(scene.rng, words)
            scene.latest[name] = word
            if bind is not None:
                scene.cast[bind] = word
            return word

        if agree is None:
            return lambda scene: choose(scene)[form]
        role, key = _gender_of(agree)
        return lambda scene: choose(scene)[scene.cast[role][key]]

    def _section(self, name: str, teller: str | None) -> Node:
        if name not in self.sections and name != "fact":
            raise ValueError(f"no section [{name}]")
        if teller is None:
            return lambda scene: self.write(name, scene)

        def told_of(scene: Scene) -> str:
            before = scene.cast.get("p", {})
            scene.cast["p"] = scene.cast[teller]
            text = self.write(name, scene)
            scene.cast["p"] = before
            return text

        return told_of


def _told(role: str, relation: str) -> Node:
    """Writes nothing, but the relation counts as told of who plays the role."""

    def mark(scene: Scene) -> str:
        scene.used.add((scene.cast[role]["full"] + relation, 0))
        return ""

    return mark


def _gender_of(reference: str) -> tuple[str, str]:
    """Role and key of the gender of `p` or of `p.pet`."""
    role, _, path = reference.partition(".")
    return role, f"{path}.g" if path else "g"


def _joined(nodes: Sequence[str | Node]) -> Node:
    if len(nodes) == 1 and not isinstance(nodes[0], str):
        return nodes[0]
    if all(isinstance(node, str) for node in nodes):
        text = "".join(str(node) for node in nodes)
        return lambda scene: text

    def write(scene: Scene) -> str:
        return "".join([node if node.__class__ is str else node(scene) for node in nodes])  # type: ignore[operator]

    return write


def capitalised(text: str) -> str:
    """`text` with a capital letter at each start of a sentence, line or speech."""
    return _START.sub(lambda match: match[0][:-1] + match[0][-1].upper(), text)
