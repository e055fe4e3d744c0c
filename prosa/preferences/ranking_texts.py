"""What the ranking screen says, in Portuguese and in English."""

from prosa.wording import Language

_PT = {
    "title": "ordene as respostas, da melhor à pior",
    "prompt": "Pergunta",
    "user": "Pessoa",
    "assistant": "Assistente",
    "system": "Instrução",
    "tool": "Ferramenta",
    "answer": "Resposta",
    "empty": "(resposta vazia)",
    "cut": "(cortada: chegou ao limite de tamanho)",
    "place": "{place}º",
    "order": "Ordem",
    "no_order": "comece pela melhor",
    "last": "{label} fica por último",
    "comment": "Comentário",
    "progress": "{done} de {total} prontas · {minutes} min · faltam cerca de {left} min",
    "progress_first": "{done} de {total} prontas",
    "keys": "{first}–{last} a próxima melhor   = empata com a anterior   ⌫ tira a última   Enter grava   "
    "x todas ruins   s pula   u volta à anterior   c comenta   ? ajuda   q sai",
    "scroll": "espaço ou ↓ mostra mais",
    "unseen": "Há texto que você ainda não viu: espaço ou ↓ mostra o resto.",
    "places_missing": "Faltam respostas. Dê um lugar a elas, ou aperte - para gravar sem elas.",
    "two_needed": "Dê um lugar a pelo menos duas respostas, ou aperte s para pular.",
    "nothing_to_tie": "Só dá para empatar depois de escolher duas respostas.",
    "nothing_to_undo": "Não há nada para desfazer.",
    "unknown_key": "Essa tecla não faz nada. ? mostra a ajuda.",
    "undone": "Desfeito. Esta é a anterior, como você a deixou: mude e grave de novo.",
    "not_saved": "NÃO FOI GRAVADO: {error}. Enter tenta de novo, q sai sem gravar esta.",
    "saved": "gravado {uuid}",
    "undone_row": "desfeito {uuid}",
    "too_many": "{n} itens têm respostas demais para as teclas e ficaram de fora.",
    "nothing": "Não há nada para {annotator} ordenar.",
    "end": "Prontas {ranked}, puladas {skipped}, em {minutes} min. Para continuar, dê o mesmo comando.",
    "end_all": "Prontas {ranked}, puladas {skipped}, em {minutes} min. Acabou: obrigado!",
    "help": """Leia tudo e aperte o número da melhor resposta, depois o da segunda, e assim até o fim.
A que sobra vai sozinha para o último lugar quando você grava.

1 2 3 …   dá o próximo lugar a essa resposta; de novo, tira o lugar dela
=         empata a última escolhida com a anterior; de novo, separa
⌫         tira a última escolhida
Enter     grava e mostra a próxima pergunta
-         grava deixando sem lugar as que você não escolheu
x         todas são ruins: grava assim (e a ordem que você tiver dado)
s         pula esta pergunta
u         desfaz a última gravada e volta a ela
c         escreve um comentário (Enter termina, Esc desiste)
espaço ↓ ↑ PgDn PgUp Home End   andam pelo texto
q         sai; o que foi gravado fica gravado, e o mesmo comando continua daqui

A ordem das respostas na tela é sorteada para você, e nada diz quem escreveu cada uma.

Qualquer tecla volta.""",
}
_EN = {
    "title": "rank the answers, best to worst",
    "prompt": "Prompt",
    "user": "Person",
    "assistant": "Assistant",
    "system": "Instruction",
    "tool": "Tool",
    "answer": "Answer",
    "empty": "(empty answer)",
    "cut": "(cut off: it reached the length limit)",
    "place": "#{place}",
    "order": "Order",
    "no_order": "begin with the best",
    "last": "{label} comes last",
    "comment": "Comment",
    "progress": "{done} of {total} done · {minutes} min · about {left} min left",
    "progress_first": "{done} of {total} done",
    "keys": "{first}–{last} next best   = tie with the one before   ⌫ take back   Enter save   "
    "x all bad   s skip   u back to the last   c comment   ? help   q quit",
    "scroll": "space or ↓ shows more",
    "unseen": "There is text you have not seen yet: space or ↓ shows the rest.",
    "places_missing": "Some answers have no place. Give them one, or press - to save without them.",
    "two_needed": "Give at least two answers a place, or press s to skip.",
    "nothing_to_tie": "A tie needs two chosen answers.",
    "nothing_to_undo": "There is nothing to undo.",
    "unknown_key": "That key does nothing. ? shows the help.",
    "undone": "Undone. This is the one before, as you left it: change it and save again.",
    "not_saved": "NOT SAVED: {error}. Enter tries again, q quits without saving this one.",
    "saved": "saved {uuid}",
    "undone_row": "undone {uuid}",
    "too_many": "{n} items have more answers than there are keys and were left out.",
    "nothing": "There is nothing for {annotator} to rank.",
    "end": "{ranked} done, {skipped} skipped, in {minutes} min. The same command goes on from here.",
    "end_all": "{ranked} done, {skipped} skipped, in {minutes} min. That was all: thank you!",
    "help": """Read everything, press the number of the best answer, then of the second best, and so on.
The one that is left goes to the last place by itself when you save.

1 2 3 …   gives that answer the next place; again, takes its place away
=         ties the last chosen with the one before; again, parts them
⌫         takes back the last chosen
Enter     saves and shows the next prompt
-         saves, leaving those you did not choose without a place
x         all are bad: saves that (and the order you gave, if any)
s         skips this prompt
u         undoes the last one saved and goes back to it
c         writes a comment (Enter ends it, Esc drops it)
space ↓ ↑ PgDn PgUp Home End   move through the text
q         quits; what was saved is saved, and the same command goes on from here

The order on the screen was drawn by lot for you, and nothing says who wrote which answer.

Any key goes back.""",
}
TEXTS: dict[Language, dict[str, str]] = {"pt": _PT, "en": _EN}
