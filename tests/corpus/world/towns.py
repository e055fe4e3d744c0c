"""The towns that the tests of this folder read, built once."""

from functools import cache

from prosa.corpus.world import World, WorldDocument, build_world, parse_world


@cache
def small_town() -> World:
    return build_world(parse_world("world:small,richness=1,seed=3,size=700KB"))


@cache
def full_town() -> World:
    return build_world(parse_world("world:size=5MB"))


@cache
def documents(town: World) -> tuple[WorldDocument, ...]:
    return tuple(town.documents())
