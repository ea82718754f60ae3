#!/usr/bin/env python3
"""Works through the local vault with Bitwarden's own client.

Every answer is compared with what was sent or read before; the first difference
ends the script with status 1 and says what differs. If all agree, a report of
what the client read and what it left behind goes to standard output, as JSON,
for the caller to compare with its own view of the same vault.

Read from the environment:

  VAULT_IDENTITY_URL, VAULT_API_URL
  VAULT_ORGANIZATION_ID
  VAULT_PROJECT_ID      a project the token can write
  BWS_ACCESS_TOKEN      the access token; if unset, the first line of stdin
  SSL_CERT_FILE         the vault's authority, if it speaks TLS
"""

import json
import os
import sys
import tempfile
from datetime import datetime, timezone

# This file has the package's name, so its own directory must not be searched.
sys.path = [path for path in sys.path if os.path.abspath(path or ".") != os.path.dirname(os.path.abspath(__file__))]

from bitwarden_sdk import BitwardenClient, DeviceType, client_settings_from_dict  # noqa: E402

VALUE = "first line\nsecond line with \u00e4\u00f6\u00fc \u2713 and a trailing space "
NEW_VALUE = "x" * 20_000


class Difference(Exception):
    """The vault and the client disagree."""


class Checks:
    def __init__(self):
        self.count = 0

    def equal(self, what, found, expected):
        self.count += 1
        if found != expected:
            raise Difference(f"{what}: found {found!r}, expected {expected!r}")

    def refused(self, what, call, reason):
        """The call fails, for the reason given."""
        self.count += 1
        try:
            call()
        except Exception as error:  # the client raises nothing more specific
            if reason not in str(error):
                raise Difference(f"{what}: refused with {error}, expected {reason!r}") from error
        else:
            raise Difference(f"{what}: accepted")


def environment(name):
    value = os.environ.get(name)
    if not value:
        sys.exit(f"bitwarden_sdk.py: {name} is not set")
    return value


def new_client():
    return BitwardenClient(
        client_settings_from_dict(
            {
                "identityUrl": environment("VAULT_IDENTITY_URL"),
                "apiUrl": environment("VAULT_API_URL"),
                "deviceType": DeviceType.SDK.value,
                "userAgent": "local-vault-oracle",
            }
        )
    )


def plain(secret):
    """The parts of a secret that both sides know."""
    return {
        "id": str(secret.id),
        "key": secret.key,
        "value": secret.value,
        "note": secret.note,
        "project": str(secret.project_id) if secret.project_id else None,
    }


def by_id(secrets):
    return {str(secret.id): plain(secret) for secret in secrets}


def now():
    return datetime.now(timezone.utc)


def work_through(token, checks):
    organization = environment("VAULT_ORGANIZATION_ID")
    project = environment("VAULT_PROJECT_ID")
    report = {}

    with tempfile.TemporaryDirectory() as directory:
        state_file = os.path.join(directory, "state")
        client = new_client()
        login = client.auth().login_access_token(token, state_file)
        checks.equal("login", (login.success, login.data.authenticated), (True, True))
        # A second client takes the bearer from the state file: no login, but an answer.
        second = new_client()
        second.auth().login_access_token(token, state_file)
        checks.equal("list by state file", second.secrets().list(organization).success, True)
    wrong = token.replace(":", "x:", 1)
    checks.refused("wrong client secret", lambda: new_client().auth().login_access_token(wrong), "invalid_client")

    secrets = client.secrets()
    report["read"] = read_all(secrets, organization, checks)
    report["left"] = edit_secret(secrets, organization, project, checks)
    report["projects"] = edit_project(client.projects(), organization, project, checks)
    return report


def read_all(secrets, organization, checks):
    """All three ways to read everything agree."""
    listed = secrets.list(organization).data.data
    synced = secrets.sync(organization, None).data
    checks.equal("first sync has changes", synced.has_changes, True)
    everything = by_id(synced.secrets)
    checks.equal("names of list and sync", {str(s.id): s.key for s in listed}, {i: s["key"] for i, s in everything.items()})
    if listed:
        fetched = secrets.get_by_ids([secret.id for secret in listed]).data.data
        checks.equal("get-by-ids and sync", by_id(fetched), everything)
    return sorted(everything.values(), key=lambda secret: secret["id"])


def edit_secret(secrets, organization, project, checks):
    before = now()
    created = secrets.create(organization, "CREATED_BY_SDK", VALUE, "a note", [project]).data
    identifier = str(created.id)
    expected = {"id": identifier, "key": "CREATED_BY_SDK", "value": VALUE, "note": "a note", "project": project}
    checks.equal("created", plain(created), expected)
    checks.equal("organization", str(created.organization_id), organization)
    checks.equal("got", plain(secrets.get(identifier).data), expected)
    changes = secrets.sync(organization, before).data
    checks.equal("sync after creation has changes", changes.has_changes, True)
    checks.equal("sync after creation", by_id(changes.secrets)[identifier], expected)

    after = now()
    unchanged = secrets.sync(organization, after).data
    checks.equal("sync without changes", (unchanged.has_changes, unchanged.secrets), (False, None))

    updated = secrets.update(organization, identifier, "EDITED_BY_SDK", NEW_VALUE, "", [project]).data
    expected = {**expected, "key": "EDITED_BY_SDK", "value": NEW_VALUE, "note": ""}
    checks.equal("updated", plain(updated), expected)
    checks.equal("creation date", updated.creation_date, created.creation_date)
    checks.equal("revision date moved", updated.revision_date > created.revision_date, True)
    changes = secrets.sync(organization, after).data
    checks.equal("sync after update has changes", changes.has_changes, True)
    checks.equal("sync after update", by_id(changes.secrets)[identifier], expected)

    gone = str(secrets.create(organization, "DELETED_BY_SDK", "short", None, [project]).data.id)
    both = secrets.get_by_ids([identifier, gone]).data.data
    checks.equal("two by ids", set(by_id(both)), {identifier, gone})
    deletion = secrets.delete([gone]).data.data
    checks.equal("deleted", [(str(line.id), line.error) for line in deletion], [(gone, None)])
    checks.refused("get of a deleted secret", lambda: secrets.get(gone), "404")
    checks.refused("get-by-ids with a deleted secret", lambda: secrets.get_by_ids([identifier, gone]), "404")
    checks.refused("get-by-ids of nothing", lambda: secrets.get_by_ids([]), "404")
    checks.refused("creation in no project", lambda: secrets.create(organization, "A", "b", None, None), "404")
    left = by_id(secrets.sync(organization, None).data.secrets)
    checks.equal("deleted secret in sync", gone in left, False)
    return expected


def edit_project(projects, organization, project, checks):
    created = projects.create(organization, "made by the SDK").data
    identifier = str(created.id)
    checks.equal("project created", (created.name, str(created.organization_id)), ("made by the SDK", organization))
    renamed = projects.update(organization, identifier, "renamed by the SDK").data
    checks.equal("project renamed", (str(renamed.id), renamed.name), (identifier, "renamed by the SDK"))
    checks.equal("project got", projects.get(identifier).data.name, "renamed by the SDK")
    names = {str(found.id): found.name for found in projects.list(organization).data.data}
    checks.equal("project listed", (names.get(identifier), project in names), ("renamed by the SDK", True))
    deletion = projects.delete([identifier]).data.data
    checks.equal("project deleted", [(str(line.id), line.error) for line in deletion], [(identifier, None)])
    checks.refused("get of a deleted project", lambda: projects.get(identifier), "404")
    del names[identifier]
    return names


def main():
    token = os.environ.get("BWS_ACCESS_TOKEN") or sys.stdin.readline().strip()
    checks = Checks()
    try:
        report = work_through(token, checks)
    except Exception as error:  # a difference, or a refusal of what should have worked
        sys.exit(f"bitwarden_sdk.py: after {checks.count} checks: {error}")
    json.dump({"checks": checks.count, **report}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
