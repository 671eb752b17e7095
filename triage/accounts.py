"""``web.accounts`` in site.yaml: who else vouches for people, and who needs a second factor."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, model_validator

from triage.frozen import Frozen

RoleName = Literal["radiologist", "technologist", "admin", "auditor"]
"""What an issuer or a directory may give to a person."""
LOOPBACK: Final = frozenset(("127.0.0.1", "::1", "localhost"))


class Oidc(Frozen):
    """An OpenID Connect issuer; nobody is asked but its host, and those that are named here."""

    issuer: str
    client_id: str
    client_secret_file: Path
    """Mode 0600."""
    redirect_url: str
    """As the issuer knows it: https://triage.hospital.example/login/oidc/callback."""
    label: str = "Sign in with the hospital's account"
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: str = "preferred_username"
    roles_claim: str = "groups"
    """A text, or a list of texts; "a.b" looks into an object."""
    roles: dict[str, RoleName]
    """Value of the claim to a role. Whoever has none of them is refused."""
    other_hosts: tuple[str, ...] = ()
    """Where its keys or tokens are, if not at the issuer's own host."""
    ca_file: Path | None = None
    timeout_s: PositiveFloat = 10.0
    allows_plain_http: bool = False
    """For a trial on this machine: http to a loopback address."""

    @model_validator(mode="after")
    def _protected(self) -> Self:
        for url in (self.issuer, self.redirect_url):
            parts = urlsplit(url)
            near = self.allows_plain_http and parts.hostname in LOOPBACK
            if parts.scheme != "https" and not (parts.scheme == "http" and near):
                msg = "issuer and redirect_url must begin with https://"
                raise ValueError(msg)
        return self


class Ldap(Frozen):
    """A directory that knows passwords: found by a search, proved by a bind as the person."""

    url: str
    """ldaps://host, or ldap://host with ``start_tls``."""
    start_tls: bool = False
    ca_file: Path | None = None
    bind_dn: str = ""
    bind_password_file: Path | None = None
    """Of an account that may search; without both the search is anonymous."""
    people: str
    """Where to search: ou=people,dc=hospital,dc=example."""
    name_attribute: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] = "uid"
    groups: str = ""
    """Where groups are searched; without it the person's own ``group_attribute`` is read."""
    group_attribute: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] = "memberOf"
    """Of the person; or, with ``groups``, the groups' attribute that names its members."""
    roles: dict[str, RoleName]
    """DN of a group to a role. Whoever is in none of them is refused."""
    timeout_s: PositiveFloat = 5.0
    allows_plain: bool = False
    """For a trial on this machine: no TLS to a loopback address."""

    @model_validator(mode="after")
    def _protected(self) -> Self:
        parts = urlsplit(self.url)
        near = self.allows_plain and parts.hostname in LOOPBACK
        if parts.scheme != "ldaps" and not (parts.scheme == "ldap" and (self.start_tls or near)):
            msg = "url must begin with ldaps://, or ldap:// with start_tls: true"
            raise ValueError(msg)
        if bool(self.bind_dn) != (self.bind_password_file is not None):
            msg = "bind_dn and bind_password_file go together: give both or neither"
            raise ValueError(msg)
        return self


class Accounts(Frozen):
    """``web.accounts`` in site.yaml."""

    second_factor_for: tuple[RoleName, ...] = ()
    """Roles that do not get in without a second factor: [admin]."""
    emergency_s: PositiveFloat = 3_600.0
    """How long a study stays open that was opened in an emergency."""
    oidc: Oidc | None = None
    ldap: Ldap | None = None
