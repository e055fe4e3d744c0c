"""Programs about prices, ways, hours, recipes and years."""

from itertools import pairwise

from prosa.corpus.world.chance import pick, sample
from prosa.corpus.world.desk import Desk


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
    legs = {(a, b): d.number(80, 900) for a, b in pairwise(stops)}
    f, t, m = (
        d.say("distancia|comprimento", "distance|length"),
        d.say("caminho|trajeto", "route|path"),
        d.say("metros", "metres"),
    )
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


def _years_since(d: Desk) -> str:
    place = pick(d.rng, d.town.places)
    year = int(place.details["year"])
    now = d.number(1985, 2025)
    f, a, b = (
        d.say("anos_desde|idade_do_lugar", "years_since|age_of_place"),
        d.say("ano", "year"),
        d.say("hoje", "today"),
    )
    error = d.say("o lugar ainda não existia", "the place did not exist yet")
    doc = d.say(
        "Quantos anos se passaram; erro se o ano está no futuro.", "How many years have passed; the future is an error."
    )
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
    f, r, k = (
        d.say("multiplica|aumenta_receita", "scale|enlarge_recipe"),
        d.say("receita", "recipe"),
        d.say("vezes", "times"),
    )
    i, g = d.say("item|ingrediente", "item|ingredient"), d.say("gramas", "grams")
    doc = d.say("A mesma receita para mais gente.", "The same recipe for more people.")
    return f'''def {f}({r}, {k}):
    """{doc}"""
    return {{{i}: {g} * {k} for {i}, {g} in {r}.items()}}


# {d.name(dish)}
{r} = {recipe!r}
assert {f}({r}, {factor}) == { {item: grams * factor for item, grams in recipe.items()}!r}
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
    f, n, a, b = (
        d.say("maneiras_de_subir", "ways_to_climb"),
        d.say("degraus", "steps"),
        d.say("antes", "before"),
        d.say("agora", "now"),
    )
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


THING_PROGRAMS = (
    _total,
    _change,
    _route,
    _years_since,
    _scale,
    _count_letters,
    _clock,
    _is_open,
    _discount,
    _basket,
    _stairs,
    _search,
)
