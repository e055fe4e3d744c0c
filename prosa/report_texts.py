"""The words of a life's report, in English and in Portuguese."""

from prosa.wording import Language

TEXTS: dict[str, dict[Language, str]] = {
    "title": {"en": "The life of a language model", "pt": "A vida de um modelo de linguagem"},
    "intro": {
        "en": "How this model came to be: what it read, what it was taught, whose preferences it learned, and what "
        "all of it did to its answers. Everything here was measured on this machine.",
        "pt": "Como este modelo nasceu: o que leu, o que lhe ensinaram, de quem aprendeu as preferências e o que "
        "tudo isso fez com as suas respostas. Tudo aqui foi medido nesta máquina.",
    },
    "lineage": {"en": "What was made from what", "pt": "O que foi feito a partir de quê"},
    "stage": {"en": "stage", "pt": "etapa"},
    "made of": {"en": "made of", "pt": "feito de"},
    "curves": {"en": "How it learned", "pt": "Como ele aprendeu"},
    "ages": {"en": "The same beginning at several ages", "pt": "O mesmo começo em várias idades"},
    "ages note": {
        "en": "The base model goes on writing after the words in bold.",
        "pt": "O modelo base continua o texto depois das palavras em negrito.",
    },
    "answers": {"en": "The same questions before and after", "pt": "As mesmas perguntas antes e depois"},
    "truth": {"en": "What is true of its answers", "pt": "O que há de verdade nas respostas"},
    "truth note": {
        "en": "Held-out questions about a town whose facts are known, answered by each stage; the arrows compare "
        "the last stage with the first.",
        "pt": "Perguntas reservadas sobre uma vila cujos fatos são conhecidos, respondidas por cada etapa; as setas"
        " comparam a última etapa com a primeira.",
    },
    "chase": {"en": "Is the reward still worth following?", "pt": "Ainda vale a pena seguir a recompensa?"},
    "chase note": {
        "en": "Each point is one step of training, the further right the further from the model it started as. "
        "Where the reward rises and the true worth falls, the reward model is being deceived.",
        "pt": "Cada ponto é um passo do treino; quanto mais à direita, mais longe do modelo inicial. Onde a "
        "recompensa sobe e o valor real cai, o modelo de recompensa está sendo enganado.",
    },
    "stopped": {"en": "Training ended early:", "pt": "O treino terminou antes:"},
    "better": {"en": "better", "pt": "melhor"},
    "worse": {"en": "worse", "pt": "pior"},
    "question": {"en": "question", "pt": "pergunta"},
    "step": {"en": "step", "pt": "passo"},
    "update": {"en": "update", "pt": "atualização"},
    "loss": {"en": "loss (nats)", "pt": "perda (nats)"},
    "bits per byte": {"en": "held-out bits per byte", "pt": "bits por byte em texto reservado"},
    "held-out loss": {"en": "held-out loss", "pt": "perda em conversas reservadas"},
    "pair accuracy": {"en": "pairs in the right order", "pt": "pares na ordem certa"},
    "reward": {"en": "reward", "pt": "recompensa"},
    "true worth": {"en": "true worth", "pt": "valor real"},
    "distance": {"en": "distance from the start (nats an answer)", "pt": "distância do início (nats por resposta)"},
    "root distance": {"en": "square root of the distance", "pt": "raiz quadrada da distância"},
    "by people": {"en": "{n} judgments are by people.", "pt": "{n} julgamentos são de pessoas."},
    "by simulation": {
        "en": "The {n} judgments are by SIMULATED annotators, who know the truth and make mistakes. Rank with "
        "`prosa rank` to replace them.",
        "pt": "Os {n} julgamentos são de anotadores SIMULADOS, que conhecem a verdade e cometem erros. Julgue com "
        "`prosa rank` para substituí-los.",
    },
    "stage corpus": {"en": "corpus", "pt": "corpus"},
    "stage tokenizer": {"en": "tokenizer", "pt": "tokenizador"},
    "stage tokens": {"en": "tokens", "pt": "tokens"},
    "stage base": {"en": "base model", "pt": "modelo base"},
    "stage sft": {"en": "fine-tuned", "pt": "ajustado"},
    "stage reward": {"en": "reward model", "pt": "modelo de recompensa"},
    "stage policy": {"en": "policy", "pt": "política"},
    "stage policy-round-1": {"en": "policy, round 1", "pt": "política, rodada 1"},
    "stage policy-round-2": {"en": "policy, round 2", "pt": "política, rodada 2"},
    "stage policy-round-3": {"en": "policy, round 3", "pt": "política, rodada 3"},
    "measure right": {"en": "right answers, new questions", "pt": "respostas certas, perguntas novas"},
    "measure right_new_asked": {"en": "… on facts asked in training", "pt": "… sobre fatos perguntados no treino"},
    "measure right_new_read": {"en": "… on facts only read", "pt": "… sobre fatos apenas lidos"},
    "measure hallucinates": {"en": "makes up the unknown", "pt": "inventa o que não sabe"},
    "measure abstains_unknown": {"en": "admits not knowing", "pt": "admite não saber"},
    "measure abstains_known": {"en": "claims not to know what it could", "pt": "diz não saber o que poderia saber"},
    "measure form": {"en": "keeps the form asked for", "pt": "segue a forma pedida"},
    "measure declines": {"en": "declines what it should", "pt": "recusa o que deve"},
    "measure over_refuses": {"en": "declines what it should not", "pt": "recusa o que não deveria"},
    "measure talks": {"en": "good small talk", "pt": "boa conversa"},
    "measure ends": {"en": "ends its answers", "pt": "termina as respostas"},
}
