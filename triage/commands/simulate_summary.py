"""The simulation's verdict: the senders' ledger held against the pipeline's database."""

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from triage.commands import simulate_check
from triage.commands.simulate_hostile import Trick
from triage.commands.simulate_run import Run
from triage.commands.simulate_site import reports_at
from triage.errors import TriageError

SHOWN: Final = 5
HELD: Final = "held"


def summarise(run: Run) -> dict[str, Any]:
    """Hold the ledger against the database, and count."""
    ledger, site = run.ledger, run.site
    acknowledged, answers = ledger.acknowledged(), ledger.counts()
    missing = (
        simulate_check.missing(site.database, acknowledged) if site.database is not None else []
    )
    waits = _waits(run)
    last = ledger.last_new()
    summary: dict[str, Any] = {
        "ok": True,
        "seed": run.hospital.maker.seed,
        "speed": run.hospital.speed,
        "seconds": round(time.time() - run.began, 1),
        "studies": {
            "planned": len(run.hospital.arrivals),
            "sent": run.told.of("studies sent"),
            "acknowledged": len(last),
            "in the database": len(run.found),
            "at rest": sum(one.rests for one in run.found.values()),
            "opened": len(set(last) & set(run.seen.opened)),
        },
        "images": {
            **answers,
            "given up": run.told.of("images given up"),
            "different": len(acknowledged),
            "in the database": len(acknowledged) - len(missing) if site.database else None,
            "missing": len(missing) if site.database else None,
        },
        "reports": _reports(run),
        "mpps": {key[5:]: n for key, n in sorted(run.told.counts.items()) if key[:5] == "mpps "},
        "outcomes": dict(sorted(Counter(one.outcome for one in run.found.values()).items())),
        "evidence": dict(sorted(Counter(one.closed_by for one in run.found.values()).items())),
        "decided_s": _percentiles(waits["decided"]),
        "opened_s": _percentiles(waits["opened"]),
        "missing": [uid for uid, _ in missing[:SHOWN]],
        "tricks": dict(Counter(map(str, run.hostility.chosen.values()))) if run.hostility else {},
    }
    summary["problems"] = list(_problems(run, summary))
    summary["ok"] = not summary["problems"]
    return summary


def _waits(run: Run) -> dict[str, list[float]]:
    """Give the seconds from each study's last image to its decision, and to a reader."""
    last = run.ledger.last_new()
    decided = {uid: one.decided_at for uid, one in run.found.items() if one.decided_at}
    opened = {uid: at for uid, at in run.seen.opened.items() if uid in last}
    return {
        "decided": [at - last[uid] for uid, at in decided.items() if uid in last],
        "opened": [at - last[uid] for uid, at in opened.items()],
    }


def moments(run: Run) -> dict[str, list[float]]:
    """Give when each study was sent, decided and opened, in seconds since the run began."""
    last = run.ledger.last_new()
    decided = [one.decided_at for one in run.found.values() if one.decided_at]
    opened = [at for uid, at in run.seen.opened.items() if uid in last]
    return {
        name: [at - run.began for at in values]
        for name, values in (
            ("sent", list(last.values())), ("decided", decided), ("opened", opened),
        )
    }  # fmt: skip


def _percentiles(values: Sequence[float]) -> dict[str, Any]:
    each = sorted(round(value, 3) for value in values)
    cuts = statistics.quantiles(each, n=100, method="inclusive") if len(each) > 1 else each * 99
    named = {f"p{at}": round(cuts[at - 1], 2) if cuts else None for at in (50, 95, 99)}
    return {"n": len(each), **named, "each": each}


def _reports(run: Run) -> dict[str, Any]:
    """Count reports: built, said to be sent, and found at the PACS."""
    if run.site.database is None:
        return {}
    found = run.found.values()
    counts: dict[str, Any] = {
        "due": sum(one.reports for one in found),
        "sent": sum(one.reports_sent for one in found),
    }
    if run.site.pacs:
        uids = simulate_check.sent_reports(run.site.database, list(run.found))
        try:
            counts["at the PACS"] = len(reports_at(run.site.pacs, uids)) if uids else 0
        except TriageError as why:
            counts["at the PACS"] = f"unknown ({type(why).__name__})"
    return counts


def _problems(run: Run, summary: Mapping[str, Any]) -> Iterator[str]:
    """Say what did not hold, in order of weight."""
    images, studies, reports = summary["images"], summary["studies"], summary["reports"]
    if images["missing"]:
        yield f"{images['missing']} acknowledged images are missing"
    if images["given up"]:
        yield f"{images['given up']} images were never acknowledged"
    if studies["sent"] < studies["planned"]:
        yield f"{studies['planned'] - studies['sent']} studies were not sent"
    if run.site.database is None:
        return
    if studies["at rest"] < studies["acknowledged"]:
        yield f"{studies['acknowledged'] - studies['at rest']} studies are not at rest"
    if reports["sent"] < reports["due"]:
        yield f"{reports['due'] - reports['sent']} reports are not sent"
    if reports.get("at the PACS", reports["sent"]) != reports["sent"]:
        yield f"of {reports['sent']} reports sent the PACS has {reports['at the PACS']}"
    yield from _surprises(run)


def _surprises(run: Run) -> Iterator[str]:
    """Tell what the tricks should have led to and did not, or the other way round."""
    chosen = run.hostility.chosen if run.hostility else {}
    for uid, one in run.found.items():
        mixed = chosen.get(uid) is Trick.TWO_PATIENTS
        if mixed != (one.outcome == HELD) and not run.hospital.maker.own:
            yield f"study {uid} of trick {chosen.get(uid, Trick.PLAIN)} is {one.outcome}"
    cut = run.hostility.cut if run.hostility else set()
    taken = {uid for uid, _ in run.ledger.acknowledged()} & cut
    if taken:
        yield f"{len(taken)} cut images were acknowledged"
