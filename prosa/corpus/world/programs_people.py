"""Programs about the people of the town: their ages, homes, trades, families and animals."""

from prosa.corpus.world.chance import pick, sample, shuffled
from prosa.corpus.world.desk import Desk


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
    f, p, t = (
        d.say("quem_e|com_oficio", "who_is|with_trade"),
        d.say("pessoas|gente", "people|folk"),
        d.say("oficio", "trade"),
    )
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
    n, b, o = d.say("pessoa", "person"), d.say("bicho", "pet"), d.say("outro", "other")
    doc = d.say(
        "De quem é o bicho com este nome; None se ninguém o tem.", "Whose pet has this name, or None if nobody's."
    )
    if not pets:
        return _average(d)
    owner, pet = pick(d.rng, list(pets.items()))
    return f'''def {f}({b}, {t}):
    """{doc}"""
    for {n}, {o} in {t}.items():
        if {o} == {b}:
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


PEOPLE_PROGRAMS = (
    _oldest,
    _by_home,
    _with_trade,
    _average,
    _pet_owner,
    _sorted_ages,
    _longest,
    _joined,
    _inverse,
    _mothers,
    _words,
)
