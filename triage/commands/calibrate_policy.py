"""A threshold into policy.yaml: one number of one level, everything else left as it stands."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from models.files import write_atomically
from triage.errors import ConfigError
from triage.settings import PACKAGED

if TYPE_CHECKING:
    from triage.settings import Level, Settings

POLICY: Final = "policy.yaml"
DIGITS: Final = 6


def level_of(settings: "Settings", named: str | None) -> "Level":
    """Give the level that is to be set: the named one, else the commonest.

    Raises:
        ConfigError: there is none, none of that name, or policy.yaml is the packaged one.
    """
    path = settings.config / POLICY
    if settings.config == PACKAGED or not path.is_file():
        msg = f"{path} is no file of yours; copy the packaged one with `triage config init`"
        raise ConfigError(msg)
    levels = sorted(settings.policy.levels, key=lambda level: -level.p_at_most)
    found = next((one for one in levels if named is None or one.name == named), None)
    if found is None:
        names = ", ".join(one.name for one in levels) or "none"
        msg = f"{path} has no level {named or ''}, only: {names}; name one with --level"
        raise ConfigError(msg)
    return found


def write_level(config: Path, level: str, alpha: float) -> Path:
    """Set p_at_most of a level; comments and everything else stay. Gives the file.

    The number is rounded up, to six digits: a p-value is a fraction, and one that was meant to
    be flagged must not fall above its own threshold.

    Raises:
        ConfigError: the file has no such level with a p_at_most.
    """
    path = config / POLICY
    text = path.read_text("utf-8")
    node = _p_at_most(text, level)
    if node is None:
        msg = f"{path}: levels: no p_at_most in level {level}; write it there by hand: {alpha:.6g}"
        raise ConfigError(msg)
    number = math.ceil(alpha * 10**DIGITS - 1e-6) / 10**DIGITS
    said = f"{number:.{DIGITS}f}".rstrip("0")
    changed = text[: node.start_mark.index] + said + text[node.end_mark.index :]
    write_atomically(path, changed.encode())
    return path


def _p_at_most(text: str, level: str) -> "yaml.Node | None":
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    levels = _value(top, "levels")
    for one in levels.value if isinstance(levels, yaml.SequenceNode) else ():
        name = _value(one, "name")
        if name is not None and name.value == level:
            return _value(one, "p_at_most")
    return None


def _value(node: "yaml.Node | None", key: str) -> "yaml.Node | None":
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)
