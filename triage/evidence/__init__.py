"""Completeness by evidence: what is announced, counted, expected and learnt, and the verdict.

From the strongest to the weakest: MPPS and IAN list the instances, the source counts them, a rule
says what to expect, silence is learnt or configured; time runs out last.
"""

from triage.evidence.arrivals import arrived, restored
from triage.evidence.messages import recall, take
from triage.evidence.shown import Shown, shown
from triage.evidence.verdict import Verdict, closed, judge, unfinished

__all__ = [
    "Shown",
    "Verdict",
    "arrived",
    "closed",
    "judge",
    "recall",
    "restored",
    "shown",
    "take",
    "unfinished",
]
