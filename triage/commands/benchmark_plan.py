"""A benchmark's table: which detectors are trained on what, how often, and measured where."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from triage import yaml_text
from triage.errors import ConfigError
from triage.frozen import Frozen

Part = dict[str, Any]
"""Some keys of a detector's training file."""
TOGETHER = "together"


class Also(Frozen):
    """Further labelled pictures of a set's source, which ask another question of its detectors."""

    title: str
    beside: str = "test"
    """What the set's own test pictures are called next to them."""
    splits: tuple[str, ...]
    text: str
    """Which question each of both answers, and what these pictures chose."""


class LabelledSet(Frozen):
    """Labelled pictures of one source, and how a detector is trained for it alone."""

    title: str
    folder: Path
    """Under the data folder; it holds split.csv and the pictures."""
    subset: str
    splits: tuple[str, ...] = ("test",)
    stratum: str
    """Healthy pictures of this source calibrate it."""
    training: Part
    """What a training file for this source alone adds."""
    also: Also | None = None


class Row(Frozen):
    """One detector of the table."""

    name: str
    title: str
    trained: Literal["each", "together"]
    """One network for each set, or one network for all of them."""
    training: Part
    sets: tuple[str, ...] = ()
    """Those it is trained for, one network each; all, when none is named."""
    against: str | None = None
    """The row whose improvement this one claims to be."""
    paper: dict[str, float] = Field(default_factory=dict)
    """AUROC in percent that its paper states, by set."""


class Stated(Frozen):
    """A number in print that none here was measured like, and the row that stands nearest."""

    what: str
    pictures: str
    """What it was measured on."""
    auroc: float
    """In percent."""
    where: str
    """Who prints it."""
    row: str
    set: str


class Section(Frozen):
    """Rows that stand under one heading."""

    title: str
    text: str = ""
    shows: tuple[str, ...] = ()
    """Rows of other sections that stand above its own, to compare with."""
    rows: tuple[Row, ...]


class Size(Frozen):
    """How long to train, and what to say of it."""

    title: str
    training: Part
    rows: dict[str, Part] = Field(default_factory=dict)
    """What a row's training file has beside that, by its name."""
    sets: dict[str, Part] = Field(default_factory=dict)
    """What a set's training file has beside that, by its name; "together" is one too."""
    shares: dict[str, float] = Field(default_factory=dict)
    """By row: its epochs as a share of what its training file would have, at least 1."""
    notes: tuple[str, ...] = ()
    """Sentences that stand under the tables."""


class Table(Frozen):
    """configs/benchmarks/NAME.yaml."""

    name: str
    title: str
    text: str
    data: str
    """What the data folder must hold, for people."""
    seeds: tuple[int, ...]
    alpha: float = 0.05
    training: Part
    """What every training file has."""
    sets: dict[str, LabelledSet]
    together: Part
    """What a training file on all sets together has."""
    sections: tuple[Section, ...]
    sizes: dict[str, Size]
    paper: str = ""
    """What differs from the paper whose numbers stand beside ours."""
    stated: tuple[Stated, ...] = ()
    stated_text: str = ""
    """What differs from them."""

    @model_validator(mode="after")
    def _names_meet(self) -> "Table":
        rows = [row.name for section in self.sections for row in section.rows]
        if len(set(rows)) < len(rows):
            msg = "two rows have one name"
            raise ValueError(msg)
        named = {row.against for row in self.rows()} - {None}
        named |= {name for size in self.sizes.values() for name in (*size.rows, *size.shares)}
        named |= {name for section in self.sections for name in section.shows}
        named |= {one.row for one in self.stated}
        sets = {name for row in self.rows() for name in (*row.paper, *row.sets)}
        sets |= {name for size in self.sizes.values() for name in size.sets} - {TOGETHER}
        sets |= {one.set for one in self.stated}
        if unknown := (named - set(rows)) | (sets - set(self.sets)):
            msg = f"no row or set is called {', '.join(sorted(map(str, unknown)))}"
            raise ValueError(msg)
        return self

    def shown(self, section: Section) -> tuple[Row, ...]:
        """Give the rows that stand under a section's heading."""
        others = {row.name: row for row in self.rows()}
        return (*(others[name] for name in section.shows), *section.rows)

    def rows(self) -> Iterator[Row]:
        """Give every row, in order."""
        return (row for section in self.sections for row in section.rows)


@dataclass(frozen=True, slots=True)
class Cell:
    """One training and what it is measured on."""

    row: Row
    on: str
    """The set it is trained for, or "together"."""
    seed: int
    sets: tuple[str, ...]
    training: Part
    """Its whole training file."""

    @property
    def name(self) -> str:
        """Give the folder's name: another training file never meets this one's results."""
        digest = hashlib.sha256(json.dumps(self.training, sort_keys=True).encode()).hexdigest()
        return f"{self.row.name}-{self.on}-{self.seed}-{digest[:10]}"


def read_table(path: Path) -> Table:
    """Read a benchmark's table.

    Raises:
        ConfigError: it is missing, no YAML, or a key is unknown or wrong.
    """
    try:
        return Table.model_validate(yaml_text.read(path.read_text(encoding="utf-8")))
    except OSError as why:
        msg = f"cannot read {path}: {why.strerror}"
    except yaml.YAMLError as why:
        msg = f"{path} is not valid YAML: {str(why).splitlines()[0]}"
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        msg = f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise ConfigError(msg)


def cells(table: Table, size: str, only: Sequence[str] = ()) -> tuple[Cell, ...]:
    """Give every cell, the first seed of all rows first; with ``only``, of these rows.

    Raises:
        ConfigError: there is no such size or row.
    """
    if size not in table.sizes:
        msg = f"no size {size!r}, only {', '.join(table.sizes)}; name one with --size"
        raise ConfigError(msg)
    if unknown := set(only) - {row.name for row in table.rows()}:
        known = ", ".join(row.name for row in table.rows())
        msg = f"no row {', '.join(sorted(unknown))}, only {known}; name one with --only"
        raise ConfigError(msg)
    return tuple(
        _cell(table, size, row, on, seed)
        for seed in table.seeds
        for row in table.rows()
        if row.name in only or not only
        for on in (row.sets or table.sets if row.trained == "each" else (TOGETHER,))
    )


def merged(*parts: Mapping[str, Any]) -> Part:
    """Give one mapping; of the same key the later wins, mappings are merged key by key."""
    whole: Part = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
            whole[key] = merged(whole[key], value) if both else value
    return whole


def _cell(table: Table, size: str, row: Row, on: str, seed: int) -> Cell:
    named = table.sizes[size]
    source = table.together if on == TOGETHER else table.sets[on].training
    training = merged(
        table.training,
        named.training,
        source,
        named.sets.get(on, {}),
        row.training,
        named.rows.get(row.name, {}),
        {"name": f"{row.name}-{on}", "plan": {"seed": seed}},
    )
    if share := named.shares.get(row.name):
        training["plan"]["epochs"] = max(1, round(training["plan"]["epochs"] * share))
    sets = tuple(table.sets) if on == TOGETHER else (on,)
    return Cell(row=row, on=on, seed=seed, sets=sets, training=training)
