"""Registry of the sites of a federation: who is enrolled, until when, and with which key."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from medfl.deploy import site_registry
from medfl.deploy.federation_folder import FederationFolder, init_federation
from medfl.deploy.identity import EnrolmentRequest, make_identity
from medfl.errors import DeployError


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    return init_federation(tmp_path / "federation", "heart study", "fl.example.org:443")


def request(name: str) -> EnrolmentRequest:
    return make_identity(name)[0]


def serials_on_crl(federation: FederationFolder) -> set[int]:
    """Return the serial numbers on the list that nginx reads."""
    return {entry.serial_number for entry in x509.load_pem_x509_crl(federation.crl.read_bytes())}


def set_expiry(federation: FederationFolder, name: str, after: timedelta) -> None:
    """Let a site expire so long from now."""
    path = federation.sites / f"{name}.json"
    expires = (datetime.now(UTC) + after).isoformat(timespec="seconds")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"expires": expires}))


def test_a_site_is_enrolled_for_a_year_and_expiring_in_the_last_month(federation: FederationFolder) -> None:
    request_ = request("hospital-a")
    site, certificate = site_registry.enrol(federation, request_)
    assert site_registry.list_enrolled(federation) == (site,)
    assert site.public_key == request_.public_key
    signed = x509.load_pem_x509_certificate(certificate)
    assert site.serials == (signed.serial_number,)
    end = signed.not_valid_after_utc
    assert timedelta(days=364) < end - datetime.now(UTC) <= timedelta(days=365)
    day = timedelta(days=1)
    assert [site.state(now) for now in (end - 31 * day, end - 30 * day, end - day / 2)] == ["valid", "expiring", "expiring"]
    assert site.state(end) == site.state(end + day) == "expired"


def test_a_name_is_enrolled_once(federation: FederationFolder) -> None:
    first, _ = site_registry.enrol(federation, request("hospital-a"))
    with pytest.raises(DeployError, match="SITE-ENROLLED"):
        site_registry.enrol(federation, request("hospital-a"))
    assert site_registry.list_enrolled(federation) == (first,)


@pytest.mark.parametrize("state", ["valid", "revoked"])
def test_names_that_differ_only_in_capitals_are_refused(federation: FederationFolder, state: str) -> None:
    site_registry.enrol(federation, request("hospital-a"))
    if state == "revoked":
        site_registry.revoke(federation, "hospital-a")
    with pytest.raises(DeployError, match="NAME-ALIKE"):
        site_registry.enrol(federation, request("Hospital-A"))


def test_two_sites_never_have_the_same_key(federation: FederationFolder) -> None:
    request_ = request("hospital-a")
    site_registry.enrol(federation, request_)
    with pytest.raises(DeployError, match="KEY-USED"):
        site_registry.enrol(federation, EnrolmentRequest("hospital-b", request_.public_key))


def test_renewal_keeps_the_key_and_changes_certificate_and_expiry(federation: FederationFolder) -> None:
    before, _ = site_registry.enrol(federation, request("hospital-a"))
    set_expiry(federation, "hospital-a", timedelta(days=3))
    after, certificate = site_registry.renew(federation, "hospital-a")
    assert after.public_key == before.public_key
    assert after.state() == "valid"
    assert after.serials == (*before.serials, x509.load_pem_x509_certificate(certificate).serial_number)
    assert site_registry.list_enrolled(federation) == (after,)


@pytest.mark.parametrize("ended", ["revoked", "expired"])
def test_a_site_that_is_out_returns_with_a_new_key_only(federation: FederationFolder, ended: str) -> None:
    first = request("hospital-a")
    before, _ = site_registry.enrol(federation, first)
    if ended == "revoked":
        site_registry.revoke(federation, "hospital-a")
    else:
        set_expiry(federation, "hospital-a", timedelta(seconds=-1))
    assert site_registry.list_enrolled(federation)[0].state() == ended
    with pytest.raises(DeployError, match="SITE-ENDED"):
        site_registry.renew(federation, "hospital-a")
    with pytest.raises(DeployError, match="KEY-USED"):
        site_registry.enrol(federation, first)
    after, _ = site_registry.enrol(federation, request("hospital-a"))
    assert after.state() == "valid"
    assert serials_on_crl(federation) == set(before.serials)  # the old certificate is good for nothing, the new one is
    site_registry.revoke(federation, "hospital-a")
    with pytest.raises(DeployError, match="KEY-USED"):
        site_registry.enrol(federation, first)
    assert serials_on_crl(federation) == {*before.serials, *after.serials}


def test_revoking_twice_keeps_the_first_time(federation: FederationFolder) -> None:
    site_registry.enrol(federation, request("hospital-a"))
    first = site_registry.revoke(federation, "hospital-a")
    lapsed = datetime.fromisoformat(first.revoked) - timedelta(days=2)
    path = federation.sites / "hospital-a.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"revoked": lapsed.isoformat()}))
    assert site_registry.revoke(federation, "hospital-a").revoked == lapsed.isoformat()


def test_without_the_authoritys_key_a_site_is_revoked_and_the_crl_follows_later(federation: FederationFolder) -> None:
    site, _ = site_registry.enrol(federation, request("hospital-a"))
    elsewhere = federation.ca_key.rename(federation.path / "elsewhere.key")
    with pytest.raises(DeployError, match=r"\[CA-MISSING\] hospital-a is revoked, but .* Then give this command again"):
        site_registry.revoke(federation, "hospital-a")
    assert site_registry.list_enrolled(federation)[0].state() == "revoked"
    elsewhere.rename(federation.ca_key)
    site_registry.revoke(federation, "hospital-a")
    assert serials_on_crl(federation) == set(site.serials)


def test_without_the_authoritys_key_nobody_is_enrolled(federation: FederationFolder) -> None:
    federation.ca_key.unlink()
    with pytest.raises(DeployError, match="CA-MISSING"):
        site_registry.enrol(federation, request("hospital-a"))
    assert site_registry.list_enrolled(federation) == ()


@pytest.mark.parametrize("name", ["nobody", "../sites/hospital-a", "", "a/b"])
@pytest.mark.parametrize("change", [site_registry.revoke, site_registry.renew])
def test_an_unknown_site_is_neither_renewed_nor_revoked(
    federation: FederationFolder, name: str, change: Callable[[FederationFolder, str], object]
) -> None:
    site_registry.enrol(federation, request("hospital-a"))
    with pytest.raises(DeployError, match="SITE-UNKNOWN"):
        change(federation, name)
    assert site_registry.list_enrolled(federation)[0].state() == "valid"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"hospital-a"', '"hospital-b"'),
        lambda text: text.replace('"revoked": ""', '"revoked": "soon"'),
        lambda text: text.replace("+00:00", ""),
        lambda text: text.replace('"serials"', '"cereals"'),
        lambda text: "[]",
    ],
    ids=["half", "of another site", "no time", "time of nowhere", "another key", "another kind"],
)
def test_a_damaged_entry_does_not_pass_for_enrolled(federation: FederationFolder, change: Callable[[str], str]) -> None:
    site_registry.enrol(federation, request("hospital-a"))
    path = federation.sites / "hospital-a.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(DeployError, match="REGISTRY-DAMAGED"):
        site_registry.list_enrolled(federation)
    with pytest.raises(DeployError, match="REGISTRY-DAMAGED"):
        site_registry.enrol(federation, request("hospital-c"))


def test_commands_at_the_same_time_do_not_lose_each_others_changes(federation: FederationFolder) -> None:
    names = [f"hospital-{number}" for number in range(6)]
    serials = {serial for name in names for serial in site_registry.enrol(federation, request(name))[0].serials}
    same = [request("one"), request("one")]
    codes: list[str] = []

    def enrol(request_: EnrolmentRequest) -> None:
        try:
            site_registry.enrol(federation, request_)
        except DeployError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=site_registry.revoke, args=(federation, name)) for name in names]
    threads += [threading.Thread(target=enrol, args=(request_,)) for request_ in same]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert serials_on_crl(federation) == serials
    assert codes == ["SITE-ENROLLED"]
    assert stat.S_IMODE((federation.sites / "one.json").stat().st_mode) == 0o600
