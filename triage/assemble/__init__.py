"""Files to a Study, and a Study to what is analysed of it: headers only, no pixels."""

from triage.assemble.plan import Selection, plan
from triage.assemble.read import read

__all__ = ["Selection", "plan", "read"]
