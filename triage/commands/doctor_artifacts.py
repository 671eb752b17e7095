"""What ``triage doctor`` says about the hashes and signatures of trained detectors."""

from collections.abc import Iterator
from typing import Final

from triage.commands.checks import Check
from triage.settings import Settings
from triage.trust import Standing

REINSTALL: Final = "install the artifact again: its files are not those that were packed"
RESIGN: Final = "install it again, or look what changed and run: triage artifact sign {} --key FILE"
SIGN: Final = "triage artifact sign {} --key FILE, by one of `triage artifact keys ls`"
ASK: Final = "to ask for signatures: trust.artifact_keys in site.yaml"


def artifacts(settings: Settings) -> Iterator[Check]:
    """Read each installed detector whole, and say who signed it.

    An unsigned one is a cross where the site trusts keys: it will not be loaded. A wrong signature
    is one everywhere.
    """
    from triage.commands.signing import installed, look

    keys = settings.site.trust.keys
    for folder in installed(settings.artifacts):
        found = look(folder, settings.artifacts, keys)
        name = f"artifact {found.name}"
        if found.seal is None:
            yield Check(name, ok=False, found=found.sentence, fix=REINSTALL)
        elif found.seal.standing == Standing.WRONG:
            yield Check(name, ok=False, found=found.sentence, fix=RESIGN.format(folder))
        else:
            fix = SIGN.format(folder) if keys else ASK
            yield Check(name, ok=found.is_trusted or not keys, found=found.sentence, fix=fix)
