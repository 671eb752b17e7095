"""``triage artifact``: who vouches for a trained detector."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State
from triage.errors import ConfigError

if TYPE_CHECKING:
    from triage.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Sign trained detectors, and check who signed.")
keys_app = typer.Typer(no_args_is_help=True, help="The keys that sign.")
app.add_typer(keys_app, name="keys")
Folder = Annotated[Path, typer.Argument(help="Its folder, or the name of one that is installed.")]
KeyFile = Annotated[
    Path, typer.Option("--key", help="A private key: `triage artifact keys new`, `ssh-keygen`.")
]
Trusted = Annotated[
    Path | None,
    typer.Option(help="Public keys, one on a line (by default the site's trust.artifact_keys)."),
]


@app.command("sign")
def artifact_sign(
    folder: Folder,
    key: KeyFile,
    out: Annotated[
        Path | None,
        typer.Option(help="Write it here, for example STATE/artifacts/NAME.sig."),
    ] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Sign a trained detector whose checksums hold: its manifest, and so every file."""
    from triage.commands.signing import read_key, sign_artifact

    found = _found(folder, common.load(state, config))
    known = sign_artifact(found, read_key(key), out)
    typer.echo(f"{found.name} is signed by {known.key_id}")


@app.command("verify")
def artifact_verify(
    folder: Folder,
    trusted: Trusted = None,
    as_json: AsJson = False,  # noqa: FBT002 - options are arguments
    state: State = None,
    config: Config = None,
) -> None:
    """Check every file of a trained detector, and that a trusted key signed it; 1 if not."""
    from triage.commands.signing import look
    from triage.trust import read_keys

    settings = common.load(state, config)
    keys = settings.site.trust.keys if trusted is None else read_keys(trusted)
    found = look(_found(folder, settings), settings.artifacts, keys)
    if as_json:
        common.print_json(found.as_dict())
    else:
        typer.echo(f"{found.name}: {found.sentence}")
        if not keys:
            typer.echo("No key is trusted here; name one: --trusted FILE.pub", err=True)
    raise typer.Exit(common.OK if found.is_trusted else common.FAILED)


@keys_app.command("new")
def keys_new(
    file: Annotated[Path, typer.Argument(help="Of the private key; FILE.pub is written too.")],
    comment: Annotated[str, typer.Option(help="Whose key it is; by default USER@HOST.")] = "",
    state: State = None,
    config: Config = None,
) -> None:
    """Make a key pair for signing. Keep FILE off the machines that run detectors."""
    from triage.commands.signing import new_key

    home = common.load(state, config).state
    if file.absolute().is_relative_to(home):
        msg = f"{file} is in the state folder, whose detectors it is to vouch for; name another one"
        raise ConfigError(msg)
    known = new_key(file, comment or f"{common.person()}@{socket.gethostname()}")
    typer.echo(f"{known.key_id}. To trust it, in site.yaml:")
    typer.echo(f'trust: {{artifact_keys: ["{known.line}"]}}')


@keys_app.command("ls")
def keys_ls(
    as_json: AsJson = False,  # noqa: FBT002 - options are arguments
    state: State = None,
    config: Config = None,
) -> None:
    """List the keys that this site trusts."""
    keys = common.load(state, config).site.trust.keys
    if as_json:
        common.print_json([{"key_id": one.key_id, "comment": one.comment} for one in keys])
    elif keys:
        common.print_table(("key", "of"), [(one.key_id, one.comment) for one in keys])
    else:
        typer.echo("No key is trusted: checksums suffice. See trust.artifact_keys in site.yaml.")


def _found(folder: Path, settings: "Settings") -> Path:
    installed = (place / folder for place in settings.artifacts)
    return next((one for one in (folder, *installed) if one.is_dir()), folder).absolute()
