import pytest

from prosa.corpus.world import WorldSettings, parse_world
from prosa.errors import ConfigError


def test_a_bare_source_is_the_whole_town() -> None:
    assert parse_world("world:") == WorldSettings()


def test_keys_may_be_short_or_whole_and_sizes_have_units() -> None:
    settings = parse_world("world:people=20,n_places=10,seed=3,size=1.5MB,languages=pt,book=2")
    assert (settings.n_people, settings.n_places, settings.seed) == (20, 10, 3)
    assert (settings.size_bytes, settings.languages, settings.book) == (1_500_000, ("pt",), 2.0)
    assert parse_world("world:size=300K").size_bytes == 300_000
    assert parse_world("world:size=300").size_bytes == 300


def test_a_preset_comes_first_and_what_follows_overrides_it() -> None:
    small = parse_world("world:small")
    assert small.n_people == 8
    assert parse_world("world:small?people=30") == small.model_copy(update={"n_people": 30})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("world:poeple=20", "did you mean `people`"),
        ("world:tiny", "no town is called `tiny`"),
        ("world:size=big", "not a number of bytes"),
        ("world:people=151", "n_people"),
        ("world:people=many", "n_people"),
        ("world:languages=pt+pt", "languages"),
        ("world:languages=fr", "languages"),
        ("world:book=0,article=0,conversation=0,code=0", "at least one kind"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_world(text)
    assert expected in str(error.value)
