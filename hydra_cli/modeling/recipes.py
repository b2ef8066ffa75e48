"""Recipes by name. Each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from hydra_cli.core.errors import NotFound
from hydra_cli.core.protocols import Recipe

DEFAULT_RECIPE = "hydra-pers"


def _factorized() -> Recipe:
    from hydra_cli.modeling.factorized.recipe import FactorizedRecipe

    return FactorizedRecipe()


def _hydra() -> Recipe:
    from hydra_cli.modeling.hydra.recipe import HydraRecipe

    return HydraRecipe()


def _hydra_paper() -> Recipe:
    from hydra_cli.modeling.hydra.recipe import HydraRecipe
    from hydra_cli.modeling.hydra.training import PAPER

    return HydraRecipe(PAPER, name="hydra-paper")


def _mof() -> Recipe:
    from hydra_cli.modeling.mof.recipe import MofRecipe

    return MofRecipe()


RECIPES: dict[str, Callable[[], Recipe]] = {
    "hydra-pers": _factorized,
    "hydra": _hydra,
    "hydra-paper": _hydra_paper,
    "mof": _mof,
}
"""Name to the function that makes the recipe."""


def check_recipe(name: str) -> None:
    """NotFound lists the names there are. Imports no recipe."""
    if name not in RECIPES:
        raise NotFound(f"no recipe named {name!r}", hint=f"known: {', '.join(RECIPES)}")


def recipe_named(name: str) -> Recipe:
    """The recipe; NotFound as above."""
    check_recipe(name)
    return RECIPES[name]()
