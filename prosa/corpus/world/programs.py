"""Small Python programs about the town: functions with docstrings, and asserts that hold when they run.

Names and docstrings are Portuguese or English; what the data says of people, places and dishes is true of the town.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from prosa.corpus.world.cast import Cast
from prosa.corpus.world.chance import pick, sample, shuffled
from prosa.corpus.world.knowledge import Knowledge, Person, Thing


@dataclass(frozen=True, slots=True)
class Desk:
    """What the writers of programs share: a stream, the town, and a choice of words in the language of the names."""

    rng: Random
    town: Knowledge
    cast: Cast

    def say(self, pt: str, en: str) -> str:
        """One of the phrasings, parted by `|`, of the right language."""
        return pick(self.rng, (pt if self.cast.language == "pt" else en).split("|"))

    def number(self, low: int, high: int) -> int:
        return low + int(self.rng.random() * (high - low + 1))

    def people(self, low: int = 3, high: int = 5) -> list[Person]:
        return sample(self.rng, self.town.people, self.number(low, high))

    def name(self, thing: Thing) -> str:
        return self.cast.forms[thing.id][""]

    def names(self, things: tuple[Thing, ...], low: int = 3, high: int = 4) -> list[str]:
        return [self.name(thing) for thing in sample(self.rng, things, self.number(low, high))]


def write_program(rng: Random, knowledge: Knowledge, cast: Cast) -> str:
    """One module of one to three functions on different subjects."""
    desk = Desk(rng, knowledge, cast)
    return "\n\n".join(write(desk) for write in sample(rng, _PROGRAMS, 1 + int(rng.random() * 3)))


def _oldest(d: Desk) -> str:
    ages = {person.given: person.age for person in d.people()}
    is_oldest = d.rng.random() < 0.5
    choose = "max" if is_oldest else "min"
    f = d.say("mais_velho|pessoa_mais_velha", "oldest|oldest_person") if is_oldest else d.say("mais_novo", "youngest")
    a = d.say("idades|anos", "ages|years")
    if is_oldest:
        doc = d.say("Devolve o nome de quem tem mais anos.|A pessoa mais velha do dicionário.",
                    "Return the name of the oldest person.|The one who has lived longest.")  # fmt: skip
    else:
        doc = d.say("Devolve o nome de quem tem menos anos.", "Return the name of the youngest person.")
    answer = (max if is_oldest else min)(ages, key=lambda name: ages[name])
    return f'''def {f}({a}):
    """{doc}"""
    return {choose}({a}, key={a}.get)


{a} = {ages!r}
assert {f}({a}) == {answer!r}
'''


def _total(d: Desk) -> str:
    prices = {dish: d.number(2, 30) for dish in d.names(d.town.dishes)}
    order = {dish: d.number(1, 6) for dish in list(prices)[: d.number(2, len(prices))]}
    f, p, o, k, n = (
        d.say("total|valor_da_conta", "total|bill"), d.say("precos", "prices"), d.say("pedido|compra", "order|basket"),
        d.say("prato", "dish"), d.say("quantidade", "quantity"),
    )  # fmt: skip
    doc = d.say("Soma o preço de cada prato vezes a quantidade.|Quanto custa tudo, em reais.",
                "Add up price times quantity for every dish.|What the whole order costs.")  # fmt: skip
    return f'''def {f}({p}, {o}):
    """{doc}"""
    return sum({p}[{k}] * {n} for {k}, {n} in {o}.items())


{p} = {prices!r}
assert {f}({p}, {order!r}) == {sum(prices[dish] * order[dish] for dish in order)}
assert {f}({p}, {{}}) == 0
'''


def _change(d: Desk) -> str:
    coins = d.say("50, 20, 10, 5, 2, 1|20, 10, 5, 1", "50, 20, 10, 5, 2, 1|20, 10, 5, 1")
    values = [int(coin) for coin in coins.split(", ")]
    amount = left = d.number(7, 99)
    found = {}
    for coin in values:
        if left // coin:
            found[coin] = left // coin
            left %= coin
    f, v, c, r = d.say("troco", "change"), d.say("valor", "amount"), d.say("nota", "coin"), d.say("resultado", "result")
    doc = d.say("Troco com o menor número de notas e moedas.", "Change in as few coins as possible.")
    return f'''def {f}({v}):
    """{doc}"""
    {r} = {{}}
    for {c} in ({coins}):
        if {v} >= {c}:
            {r}[{c}], {v} = divmod({v}, {c})
    return {r}


assert {f}({amount}) == {found!r}
assert {f}(0) == {{}}
'''


def _route(d: Desk) -> str:
    stops = [d.name(place) for place in sample(d.rng, d.town.places, d.number(3, 4))]
    legs = {(a, b): d.number(80, 900) for a, b in zip(stops, stops[1:], strict=False)}
    f, t, m = d.say("distancia|comprimento", "distance|length"), d.say("caminho|trajeto", "route|path"), d.say("metros", "metres")
    doc = d.say("Metros de um caminho, parada por parada.", "Length in metres of a route, stop by stop.")
    table = "".join(f"    {pair!r}: {length},\n" for pair, length in legs.items())
    return f'''{m} = {{
{table}}}


def {f}({t}):
    """{doc}"""
    return sum({m}[a, b] for a, b in zip({t}, {t}[1:]))


assert {f}({stops!r}) == {sum(legs.values())}
assert {f}({stops[:1]!r}) == 0
'''


def _by_home(d: Desk) -> str:
    homes = [(person.given, d.name(person.home)) for person in d.people(4, 6)]
    groups: dict[str, list[str]] = {}
    for given, home in homes:
        groups.setdefault(home, []).append(given)
    f, p = d.say("por_rua|agrupa", "by_street|group"), d.say("moradores|pessoas", "people|residents")
    n, h, g = d.say("nome", "name"), d.say("lugar|casa", "place|home"), d.say("grupos", "groups")
    doc = d.say("Agrupa as pessoas pelo lugar onde moram.", "Group people by the place where they live.")
    return f'''def {f}({p}):
    """{doc}"""
    {g} = {{}}
    for {n}, {h} in {p}:
        {g}.setdefault({h}, []).append({n})
    return {g}


{p} = {homes!r}
assert {f}({p}) == {groups!r}
'''


def _with_trade(d: Desk) -> str:
    people = d.people(3, 5)
    trades = [(p.given, d.cast.portraits[p.id].full["trade"]) for p in people]
    chosen = trades[0][1]
    f, p, t = d.say("quem_e|com_oficio", "who_is|with_trade"), d.say("pessoas|gente", "people|folk"), d.say("oficio", "trade")
    n, o = d.say("nome", "name"), d.say("outro", "other")
    doc = d.say("Nomes, em ordem alfabética, de quem tem o ofício.", "Names, in order, of those who have the trade.")
    answer = sorted(name for name, trade in trades if trade == chosen)
    return f'''def {f}({t}, {p}):
    """{doc}"""
    return sorted({n} for {n}, {o} in {p} if {o} == {t})


{p} = {trades!r}
assert {f}({chosen!r}, {p}) == {answer!r}
assert {f}({d.say("astronauta", "astronaut")!r}, {p}) == []
'''


def _average(d: Desk) -> str:
    ages = [person.age for person in d.people(3, 6)]
    f, v = d.say("media|idade_media", "mean|average_age"), d.say("idades|valores", "ages|values")
    doc = d.say("Média de uma lista; zero quando ela está vazia.", "Mean of a list; zero when it is empty.")
    return f'''def {f}({v}):
    """{doc}"""
    if not {v}:
        return 0
    return sum({v}) / len({v})


assert round({f}({ages!r}), 2) == {round(sum(ages) / len(ages), 2)}
assert {f}([]) == 0
'''


def _pet_owner(d: Desk) -> str:
    pets = {person.given: person.pet_name for person in d.people()}
    pets = {name: pet for name, pet in pets.items() if list(pets.values()).count(pet) == 1}
    f, t = d.say("dono_de|quem_cuida", "owner_of|who_keeps"), d.say("bichos|animais", "pets|animals")
    n, b = d.say("pessoa", "person"), d.say("bicho", "pet")
    doc = d.say("De quem é o bicho com este nome; None se ninguém o tem.", "Whose pet has this name, or None if nobody's.")
    if not pets:
        return _average(d)
    owner, pet = pick(d.rng, list(pets.items()))
    return f'''def {f}({b}, {t}):
    """{doc}"""
    for {n}, other in {t}.items():
        if other == {b}:
            return {n}
    return None


{t} = {pets!r}
assert {f}({pet!r}, {t}) == {owner!r}
assert {f}("Rex", {t}) is None
'''


def _sorted_ages(d: Desk) -> str:
    people = [(person.given, person.age) for person in d.people()]
    f, p, q = d.say("por_idade|em_ordem", "by_age|in_order"), d.say("pessoas", "people"), d.say("par", "pair")
    doc = d.say("Nomes do mais novo ao mais velho.", "Names from the youngest to the oldest.")
    answer = [name for name, _ in sorted(people, key=lambda pair: (pair[1], pair[0]))]
    return f'''def {f}({p}):
    """{doc}"""
    return [{q}[0] for {q} in sorted({p}, key=lambda {q}: ({q}[1], {q}[0]))]


assert {f}({people!r}) == {answer!r}
'''


def _years_since(d: Desk) -> str:
    place = pick(d.rng, d.town.places)
    year = int(place.details["year"])
    now = d.number(1985, 2025)
    f, a, b = d.say("anos_desde|idade_do_lugar", "years_since|age_of_place"), d.say("ano", "year"), d.say("hoje", "today")
    error = d.say("o lugar ainda não existia", "the place did not exist yet")
    doc = d.say("Quantos anos se passaram; erro se o ano está no futuro.", "How many years have passed; the future is an error.")
    return f'''def {f}({a}, {b}):
    """{doc}"""
    if {a} > {b}:
        raise ValueError({error!r})
    return {b} - {a}


# {d.name(place)}: {year}
assert {f}({year}, {now}) == {now - year}
'''


def _scale(d: Desk) -> str:
    dish = pick(d.rng, d.town.dishes)
    items = d.cast.forms[dish.id]["with"].replace(" e ", ", ").replace(" and ", ", ").split(", ")
    recipe = {item: 5 * d.number(2, 80) for item in items}
    factor = d.number(2, 5)
    f, r, k = d.say("multiplica|aumenta_receita", "scale|enlarge_recipe"), d.say("receita", "recipe"), d.say("vezes", "times")
    i, g = d.say("item|ingrediente", "item|ingredient"), d.say("gramas", "grams")
    doc = d.say("A mesma receita para mais gente.", "The same recipe for more people.")
    return f'''def {f}({r}, {k}):
    """{doc}"""
    return {{{i}: {g} * {k} for {i}, {g} in {r}.items()}}


# {d.name(dish)}
{r} = {recipe!r}
assert {f}({r}, {factor}) == { {item: grams * factor for item, grams in recipe.items()}!r}
'''


def _longest(d: Desk) -> str:
    names = [person.name for person in d.people()]
    is_long = d.rng.random() < 0.5
    best = names[0]
    for name in names[1:]:
        if (len(name) > len(best)) if is_long else (len(name) < len(best)):
            best = name
    sign = ">" if is_long else "<"
    f = d.say("nome_mais_longo", "longest_name") if is_long else d.say("nome_mais_curto", "shortest_name")
    v, n, b = d.say("nomes|lista", "names|items"), d.say("nome", "name"), d.say("melhor", "best")
    doc = d.say("O primeiro dos nomes mais {}.", "The first of the {} names.").format(
        d.say("longos", "longest") if is_long else d.say("curtos", "shortest")
    )
    return f'''def {f}({v}):
    """{doc}"""
    {b} = {v}[0]
    for {n} in {v}[1:]:
        if len({n}) {sign} len({b}):
            {b} = {n}
    return {b}


assert {f}({names!r}) == {best!r}
'''


def _count_letters(d: Desk) -> str:
    text = pick(d.rng, d.people()).name if d.rng.random() < 0.5 else pick(d.rng, d.names(d.town.places))
    f, t, c = d.say("conta_vogais", "count_vowels"), d.say("texto|frase", "text|phrase"), d.say("letra", "letter")
    vowels = "aeiouáéíóúâêôãõ"
    doc = d.say("Quantas vogais há no texto, com ou sem acento.", "How many vowels the text has, accented or not.")
    return f'''def {f}({t}):
    """{doc}"""
    return sum({c} in {vowels!r} for {c} in {t}.lower())


assert {f}({text!r}) == {sum(letter in vowels for letter in text.lower())}
assert {f}("") == 0
'''


def _clock(d: Desk) -> str:
    minutes = d.number(1, 1439)
    f, m = d.say("hora|relogio", "clock|time_of_day"), d.say("minutos", "minutes")
    doc = d.say("Minutos desde a meia-noite como HH:MM.", "Minutes since midnight as HH:MM.")
    return f'''def {f}({m}):
    """{doc}"""
    return f"{{{m} // 60 % 24:02d}}:{{{m} % 60:02d}}"


assert {f}({minutes}) == "{minutes // 60:02d}:{minutes % 60:02d}"
assert {f}(0) == "00:00"
'''


def _joined(d: Desk) -> str:
    names = [person.given for person in d.people(2, 5)]
    conjunction = d.say("e", "and")
    f, v = d.say("lista_em_palavras|enumera", "in_words|enumerate_names"), d.say("nomes", "names")
    doc = d.say("Junta os nomes com vírgulas e um e no fim.", "Join the names with commas and a final and.")
    return f'''def {f}({v}):
    """{doc}"""
    if len({v}) < 2:
        return "".join({v})
    return ", ".join({v}[:-1]) + " {conjunction} " + {v}[-1]


assert {f}({names!r}) == {", ".join(names[:-1]) + f" {conjunction} " + names[-1]!r}
assert {f}({names[:1]!r}) == {names[0]!r}
'''


def _is_open(d: Desk) -> str:
    place = pick(d.rng, [place for place in d.town.places if not place.is_home])
    opens, closes = d.number(6, 9), d.number(15, 20)
    f, h = d.say("esta_aberta|funciona", "is_open|is_working"), d.say("hora", "hour")
    doc = d.say("Se a porta está aberta nesta hora, das {} às {}.", "Whether the door is open at this hour, {} to {}.")
    return f'''def {f}({h}):
    """{doc.format(opens, closes)}"""
    return {opens} <= {h} < {closes}


# {d.name(place)}
assert {f}({d.number(opens, closes - 1)})
assert not {f}({closes})
assert [{f}({h}) for {h} in ({opens - 1}, {opens})] == [False, True]
'''


def _discount(d: Desk) -> str:
    price, percent = 5 * d.number(4, 60), 5 * d.number(1, 10)
    f, p, c = d.say("com_desconto", "discounted"), d.say("preco", "price"), d.say("porcentagem", "percent")
    error = d.say("desconto fora de 0 a 100", "discount not in 0 to 100")
    doc = d.say("Preço em centavos depois do desconto.", "Price in cents after the discount.")
    return f'''def {f}({p}, {c}):
    """{doc}"""
    if not 0 <= {c} <= 100:
        raise ValueError({error!r})
    return {p} * (100 - {c}) // 100


assert {f}({price}, {percent}) == {price * (100 - percent) // 100}
try:
    {f}({price}, 120)
except ValueError as error:
    assert str(error) == {error!r}
'''


def _inverse(d: Desk) -> str:
    treasures = {person.given: d.name(person.treasure) for person in d.people()}
    inverse: dict[str, list[str]] = {}
    for name, thing in treasures.items():
        inverse.setdefault(thing, []).append(name)
    f, t, i = d.say("inverte", "invert"), d.say("tesouros", "treasures"), d.say("inverso", "inverse")
    n, o = d.say("nome", "name"), d.say("objeto", "thing")
    doc = d.say("De quem guarda o quê para o quê é de quem.", "From who keeps what to what is kept by whom.")
    return f'''def {f}({t}):
    """{doc}"""
    {i} = {{}}
    for {n} in {t}:
        {o} = {t}[{n}]
        {i}[{o}] = {i}.get({o}, []) + [{n}]
    return {i}


{t} = {treasures!r}
assert {f}({t}) == {inverse!r}
'''


def _basket(d: Desk) -> str:
    items = [(name, d.number(1, 20)) for name in d.names(d.town.ingredients, 2, 4)]
    c, add, total = d.say("Cesta|Sacola", "Basket|Bag"), d.say("poe", "add"), d.say("total", "total")
    n, p, v = d.say("nome", "name"), d.say("preco", "price"), d.say("cesta", "basket")
    doc = d.say("Compras da feira com o preço de cada uma.", "Shopping from the market, each with its price.")
    calls = "".join(f"{v}.{add}({name!r}, {price})\n" for name, price in items)
    things = d.say("itens", "items")
    return f'''class {c}:
    """{doc}"""

    def __init__(self):
        self.{things} = []

    def {add}(self, {n}, {p}):
        self.{things}.append(({n}, {p}))

    def {total}(self):
        return sum({p} for _, {p} in self.{things})


{v} = {c}()
{calls}assert {v}.{total}() == {sum(price for _, price in items)}
assert len({v}.{things}) == {len(items)}
'''


def _stairs(d: Desk) -> str:
    steps = d.number(4, 12)
    ways = [1, 1]
    while len(ways) <= steps:
        ways.append(ways[-1] + ways[-2])
    f, n, a, b = d.say("maneiras_de_subir", "ways_to_climb"), d.say("degraus", "steps"), d.say("antes", "before"), d.say("agora", "now")
    doc = d.say("De quantas maneiras se sobe a torre, de um ou de dois degraus por vez.",
                "In how many ways one can climb the tower, one or two steps at a time.")  # fmt: skip
    return f'''def {f}({n}):
    """{doc}"""
    {a}, {b} = 0, 1
    for _ in range({n}):
        {a}, {b} = {b}, {a} + {b}
    return {b}


assert {f}({steps}) == {ways[steps]}
assert [{f}({n}) for {n} in range(5)] == [1, 1, 2, 3, 5]
'''


def _search(d: Desk) -> str:
    years = sorted({int(place.details["year"]) for place in sample(d.rng, d.town.places, d.number(4, 6))})
    index = d.number(0, len(years) - 1)
    f, v, y = d.say("procura", "find"), d.say("anos", "years"), d.say("ano", "year")
    lo, hi, mid = d.say("inicio", "low"), d.say("fim", "high"), d.say("meio", "middle")
    doc = d.say("Posição do ano na lista em ordem, ou -1.", "Position of the year in the sorted list, or -1.")
    return f'''def {f}({v}, {y}):
    """{doc}"""
    {lo}, {hi} = 0, len({v}) - 1
    while {lo} <= {hi}:
        {mid} = ({lo} + {hi}) // 2
        if {v}[{mid}] == {y}:
            return {mid}
        if {v}[{mid}] < {y}:
            {lo} = {mid} + 1
        else:
            {hi} = {mid} - 1
    return -1


{v} = {years!r}
assert {f}({v}, {years[index]}) == {index}
assert {f}({v}, 1500) == -1
'''


def _mothers(d: Desk) -> str:
    children = [person for person in d.town.people if person.mother]
    if not children:
        return _average(d)
    known = {person.given: person.mother for person in sample(d.rng, children, d.number(2, 4))}
    mother = pick(d.rng, list(known.values()))
    f, m, n = d.say("filhos_de", "children_of"), d.say("maes", "mothers"), d.say("mae", "mother")
    c = d.say("filho", "child")
    doc = d.say("Quem tem esta mãe, em ordem alfabética.", "Those who have this mother, in order.")
    return f'''def {f}({n}, {m}):
    """{doc}"""
    return sorted({c} for {c} in {m} if {m}[{c}] == {n})


{m} = {known!r}
assert {f}({mother!r}, {m}) == {sorted(child for child in known if known[child] == mother)!r}
'''


def _words(d: Desk) -> str:
    names = shuffled(d.rng, [name for person in d.people(2, 3) for name in (d.name(person.pet),) * d.number(1, 3)])
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    f, v, c, x = d.say("conta", "count"), d.say("bichos", "animals"), d.say("vezes", "counts"), d.say("bicho", "animal")
    doc = d.say("Quantas vezes cada bicho aparece na lista.", "How often each animal is in the list.")
    return f'''def {f}({v}):
    """{doc}"""
    {c} = {{}}
    for {x} in {v}:
        {c}[{x}] = {c}.get({x}, 0) + 1
    return {c}


assert {f}({names!r}) == {counts!r}
'''


_PROGRAMS: tuple[Callable[[Desk], str], ...] = (
    _oldest, _total, _change, _route, _by_home, _with_trade, _average, _pet_owner, _sorted_ages, _years_since, _scale,
    _longest, _count_letters, _clock, _joined, _is_open, _discount, _inverse, _basket, _stairs, _search, _mothers, _words,
)  # fmt: skip
