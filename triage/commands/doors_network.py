"""The commands of the network: ``triage tls`` and ``triage node``.

Every import that costs something is inside its command.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from triage.commands import common
from triage.commands.checks import Check, show
from triage.commands.common import AsJson, Config, State

tls_app = typer.Typer(no_args_is_help=True, help="Certificates for DICOM over TLS.")
node_app = typer.Typer(no_args_is_help=True, help="Who may send to us, and whom we call.")
Days = Annotated[int, typer.Option(min=1, max=3650, help="How long certificates hold.")]
Kind = Annotated[
    Literal["ec", "rsa"], typer.Option("--key", help="rsa for peers that know no ECDSA.")
]
Host = Annotated[
    list[str] | None,
    typer.Option("--host", help="A DNS name or address by which peers call; may be repeated."),
]


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the command line."""
    app.add_typer(tls_app, name="tls")
    app.add_typer(node_app, name="node")


@tls_app.command("init")
def tls_init(
    host: Host = None,
    renew: Annotated[bool, typer.Option("--renew", help="New keys, the same authority.")] = False,
    days: Days = 730,
    kind: Kind = "ec",
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Make an authority of our own, and certificates for the listener and for our calls."""
    from triage.commands.tls import Wish, init, own_hosts

    settings = common.load(state, config)
    hosts = own_hosts(host or ())
    written = init(settings.state, Wish(hosts[0], hosts, kind, days), renew=renew)
    _say_written(written, as_json=as_json)
    if not as_json:
        typer.echo("Next: listener.tls.enabled: true in site.yaml; give ca.pem to the peers.")


@tls_app.command("issue")
def tls_issue(
    name: Annotated[str, typer.Argument(help="Of the peer, for example its AE title.")],
    host: Host = None,
    days: Days = 730,
    kind: Kind = "ec",
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Make a key and certificate for a peer that has none, to be carried there."""
    from triage.commands.tls import Wish, issue

    settings = common.load(state, config)
    written = issue(settings.state, Wish(name, tuple(host or ()), kind, days))
    _say_written(written, as_json=as_json)
    if not as_json:
        typer.echo(
            f"Carry them and {settings.state / 'tls' / 'ca.pem'} there; delete the key here."
        )


@tls_app.command("trust")
def tls_trust(
    file: Annotated[Path, typer.Argument(exists=True, help="Certificates in PEM.")],
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Believe an authority, or a peer's own certificate, from now on."""
    from triage.commands.tls import trust

    new = trust(common.load(state, config).state, file)
    if as_json:
        common.print_json({"trusted": new})
    else:
        typer.echo("\n".join(f"trusted: sha256 {one}" for one in new) or "Nothing new in it.")


@tls_app.command("check")
def tls_check(state: State = None, config: Config = None, as_json: AsJson = False) -> None:
    """Examine keys and certificates: days left, what is wrong, and the fix."""
    from triage.commands.tls_check import examine

    _say_checks(examine(common.load(state, config)), as_json=as_json)


@node_app.command("add")
def node_add(
    ae_title: Annotated[str, typer.Argument(help="Its AE title.")],
    sources: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="ADDRESS", help="It may send from there; may be repeated."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="HOST:PORT", help="It gets our results there.")
    ] = None,
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="It is asked there how many instances a study has (C-FIND)."
        ),
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AE_TITLE", help="With --counts: whose studies it has; may be repeated."
        ),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="It hears there whether we keep what it sent (Storage Commitment).",
        ),
    ] = None,
    priors: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="It is asked there for older studies.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Of the destination or source; by default its AE title.")
    ] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Call it over TLS.")] = False,
    pin: Annotated[
        str, typer.Option(metavar="SHA256", help="Take no other certificate; 'now': that it shows.")
    ] = "",
    certificate: Annotated[
        list[str] | None,
        typer.Option(metavar="SHA256", help="It must show this one when it sends."),
    ] = None,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Let an application entity send to us, or have us call it."""
    from triage.commands.node import add
    from triage.commands.node_wish import Wish

    settings = common.load(state, config)
    wish = Wish(
        ae_title=ae_title,
        addresses=tuple(sources or ()),
        certificates=tuple(certificate or ()),
        to=_host_and_port(to, "--to"),
        counts=_host_and_port(counts, "--counts"),
        of=tuple(of or ()),
        answers=_host_and_port(answers, "--answers"),
        priors=_host_and_port(priors, "--priors"),
        name=name,
        tls=tls,
        pin=pin,
    )
    _say_rows(add(settings, wish), as_json=as_json, otherwise="")
    if not as_json:
        let_in = ["The listener knows."] if wish.addresses else []
        called = ["We call it from the next start of the processes on."] if wish.is_called else []
        typer.echo(" ".join(let_in + called))


@node_app.command("ls")
def node_ls(state: State = None, config: Config = None, as_json: AsJson = False) -> None:
    """List who may send to us and whom we call."""
    from triage.commands.node import listed

    found = listed(common.load(state, config))
    _say_rows(found, as_json=as_json, otherwise="None: triage node add AE_TITLE --from ADDRESS")


@node_app.command("rm")
def node_rm(
    name: Annotated[str, typer.Argument(help="AE title, or the name of a destination or source.")],
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Let it in no more, and call it no more."""
    from triage.commands.node import remove

    count = remove(common.load(state, config), name)
    if as_json:
        common.print_json({"removed": count})
    else:
        typer.echo(f"{count} entries of {name} are gone.")


@node_app.command("test")
def node_test(
    name: Annotated[str, typer.Argument(help="Of whom we call, its AE title, or AE@HOST:PORT.")],
    tls: Annotated[bool, typer.Option("--tls", help="With AE@HOST:PORT: over TLS.")] = False,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Try TCP, TLS, C-ECHO and what else we want of it; nothing is stored there."""
    from triage.commands.node_call import calls, tried

    found = calls(common.load(state, config), name, tls=tls)
    _say_checks(tried(found), as_json=as_json)


def _host_and_port(text: str | None, option: str) -> tuple[str, int] | None:
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        msg = "write HOST:PORT, for example 10.0.0.5:104"
        raise typer.BadParameter(msg, param_hint=option)
    return host.strip("[]"), int(port)


def _say_written(written: list[Path], *, as_json: bool) -> None:
    if as_json:
        common.print_json({"written": [str(path) for path in written]})
    else:
        typer.echo("\n".join(str(path) for path in written))


def _say_rows(rows: list[dict[str, object]], *, as_json: bool, otherwise: str) -> None:
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo(otherwise)


def _say_checks(checks: list[Check], *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        common.print_json([asdict(one) for one in checks])
    else:
        show(checks)
    raise typer.Exit(common.OK if all(one.ok for one in checks) else common.FAILED)
