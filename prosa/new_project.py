"""`prosa new`: a folder for one's own text, instructions and annotators, with a settings file that explains itself."""

from pathlib import Path

from prosa.durable import write_durably
from prosa.errors import ConfigError
from prosa.wording import Language

_SETTINGS: dict[Language, str] = {
    "en": """\
# The life of {name}. Run it with `prosa run {name}.toml`; every setting is explained in docs/configs.md
name = "{name}"

# What it reads: folders or files of txt, md, html, jsonl, csv, parquet, source code; put yours into `texts`.
[corpus]
sources = [{{ path = "texts", name = "texts" }}]

# How many pieces words are cut into; small texts want few.
[tokenizer]
vocab_size = 4096

# How long the model reads. Ten minutes make words, an hour makes sentences, a night makes sense.
[pretrain]
minutes = 10

# What it learns to answer: one conversation a line, see `conversations.jsonl`.
[sft]
sources = [{{ path = "conversations.jsonl", name = "conversations" }}]

# What is asked, so that people can rank the answers: one prompt a line, see `prompts.jsonl`.
[sample]
prompts = "prompts.jsonl"
k = 4

# How it learns from the reward model that your rankings made.
[rl]
prompts = "prompts.jsonl"
algorithm = "ppo"
""",
    "pt": """\
# A vida de {name}. Rode com `prosa run {name}.toml`; docs/configs.md explica cada opção
name = "{name}"

# O que ele lê: pastas ou arquivos txt, md, html, jsonl, csv, parquet, código-fonte; ponha os seus em `texts`.
[corpus]
sources = [{{ path = "texts", name = "texts" }}]

# Em quantos pedaços as palavras são cortadas; textos pequenos pedem poucos.
[tokenizer]
vocab_size = 4096

# Por quanto tempo o modelo lê. Dez minutos dão palavras, uma hora dá frases, uma noite dá sentido.
[pretrain]
minutes = 10

# O que ele aprende a responder: uma conversa por linha, veja `conversations.jsonl`.
[sft]
sources = [{{ path = "conversations.jsonl", name = "conversations" }}]

# O que se pergunta, para que pessoas julguem as respostas: uma pergunta por linha, veja `prompts.jsonl`.
[sample]
prompts = "prompts.jsonl"
k = 4

# Como ele aprende com o modelo de recompensa que os julgamentos fizeram.
[rl]
prompts = "prompts.jsonl"
algorithm = "ppo"
""",
}
_CONVERSATIONS: dict[Language, str] = {
    "en": '{"messages": [{"role": "user", "content": "Who are you?"}, '
    '{"role": "assistant", "content": "A small language model that read your texts."}]}\n',
    "pt": '{"messages": [{"role": "user", "content": "Quem é você?"}, '
    '{"role": "assistant", "content": "Um pequeno modelo de linguagem que leu os seus textos."}]}\n',
}
_PROMPTS: dict[Language, str] = {
    "en": '{"prompt": "Who are you?"}\n{"prompt": "What did you read?"}\n',
    "pt": '{"prompt": "Quem é você?"}\n{"prompt": "O que você leu?"}\n',
}


def start_project(folder: Path, language: Language) -> list[Path]:
    """Makes the folder with its files and returns them; ConfigError if there is something of that name already."""
    if folder.exists():
        raise ConfigError(f"`{folder}` exists already", hint="choose another name; nothing was changed")
    (folder / "texts").mkdir(parents=True)
    files = {
        folder / f"{folder.name}.toml": _SETTINGS[language].format(name=folder.name),
        folder / "conversations.jsonl": _CONVERSATIONS[language],
        folder / "prompts.jsonl": _PROMPTS[language],
    }
    for path, text in files.items():
        write_durably(path, text.encode())
    return [*files, folder / "texts"]
