"""Which series of a study go to which detectors, and why the others do not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from triage.errors import ConfigError, NotEligible
from triage.rules import RULES, has_readable_header
from triage.settings import Recipe, Route, Routes, When
from triage.study import Image, Series, Study


@dataclass(frozen=True, slots=True)
class Selection:
    """One series, narrowed to the images to analyse, and what to do with it."""

    series: Series
    route: Route
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a series that a route takes is not analysed."""

    code: str
    sentence: str = ""


def plan(study: Study, routes: Routes, recipes: Mapping[str, Recipe]) -> tuple[Selection, ...]:
    """Give every series that a route takes and whose rules all hold.

    Raises:
        NotEligible: no-image, no-route, no-detector, header or no-series: the most telling one.
        ConfigError: a route names an unknown recipe.
    """
    if not study.series:
        raise NotEligible(code="no-image")
    taken: list[Selection] = []
    refused: list[_Refused] = []
    for series in study.series:
        route = next((one for one in routes.routes if _fits(one.when, series, study)), None)
        if route is None:
            continue
        outcome = _judge(series, route, _recipe(route, recipes))
        if isinstance(outcome, Selection):
            taken.append(outcome)
        else:
            refused.append(outcome)
    if not taken:
        raise _most_telling(refused)
    return tuple(taken)


def _judge(series: Series, route: Route, recipe: Recipe) -> Selection | _Refused:
    name = f"series {'without number' if series.series_number is None else series.series_number}"
    unreadable = has_readable_header(series)
    if unreadable is not None:
        return _Refused("header", f"{name}: {unreadable}")
    if not route.detectors:
        return _Refused("no-detector")
    if recipe.kind == "projection":
        return _judge_each(series, route, recipe, name)
    broken = _first_broken_rule(series, route, recipe)
    if broken is not None:
        return _Refused("no-series", f"{name}: {broken}")
    return Selection(series, route, recipe)


def _judge_each(series: Series, route: Route, recipe: Recipe, name: str) -> Selection | _Refused:
    """Keep the images that pass: a series may hold a frontal and a lateral radiograph."""
    verdicts = {
        image: _first_broken_rule(_alone(series, image), route, recipe) for image in series.images
    }
    kept = tuple(image for image, broken in verdicts.items() if broken is None)
    if not kept:
        return _Refused("no-series", f"{name}: {next(iter(verdicts.values()))}")
    return Selection(replace(series, images=kept), route, recipe)


def _alone(series: Series, image: Image) -> Series:
    return replace(
        series,
        images=(image,),
        image_type=image.image_type,
        view_position=image.view_position,
        sop_class_uid=image.sop_class_uid,
    )


def _first_broken_rule(series: Series, route: Route, recipe: Recipe) -> str | None:
    broken = (RULES[name](series, recipe) for name in route.require)
    return next((sentence for sentence in broken if sentence is not None), None)


def _most_telling(refused: list[_Refused]) -> NotEligible:
    """Prefer the rule a person could act on over the missing detector over the missing route."""
    for code in ("no-series", "header", "no-detector"):
        sentences = [one.sentence for one in refused if one.code == code]
        if sentences:
            return NotEligible(code=code, detail="; ".join(dict.fromkeys(filter(None, sentences))))
    return NotEligible(code="no-route")


def _recipe(route: Route, recipes: Mapping[str, Recipe]) -> Recipe:
    if route.recipe not in recipes:
        msg = f"routes.yaml: route {route.name}: no recipe {route.recipe} in recipes/"
        raise ConfigError(msg)
    return recipes[route.recipe]


def _fits(when: When, series: Series, study: Study) -> bool:
    return (
        (not when.modality or series.modality in when.modality)
        and (not when.body_part or series.body_part_examined in when.body_part)
        and (not when.description_any or _is_described(when.description_any, series, study))
        and _is_of_age(when, study.patient_age_years)
    )


def _is_described(wanted: tuple[str, ...], series: Series, study: Study) -> bool:
    said = f"{study.study_description} {series.series_description} {series.protocol_name}"
    return not set(wanted).isdisjoint(re.split(r"[\W_]+", said.upper()))


def _is_of_age(when: When, age_years: float | None) -> bool:
    """Fit an unknown age only where no limit is given."""
    if when.min_age_years is None and when.max_age_years is None:
        return True
    if age_years is None:
        return False
    above = when.min_age_years is None or age_years >= when.min_age_years
    return above and (when.max_age_years is None or age_years <= when.max_age_years)
