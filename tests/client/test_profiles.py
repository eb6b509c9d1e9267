"""The configuration file: profiles, what goes before them, and what is refused."""

from pathlib import Path

import pytest
from errata_client.cli import main

from tests.client.peer import Answer, Peer

READY = Answer(200, {"status": "ready", "version": 3, "outages": [], "workers": 1, "news_age_s": 0.1})


@pytest.fixture(autouse=True)
def configuration(peer: Peer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file with two profiles of the peer, where it is looked for."""
    for name in ("ERRATA_URL", "ERRATA_API_KEY", "ERRATA_PROFILE", "ERRATA_CLIENT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "errata" / "client.toml"
    file.parent.mkdir()
    file.write_text(
        f'[profiles.default]\nurl = "{peer.url}"\n\n[profiles.other]\nurl = "{peer.url}"\nkey = "of-other"\n'
    )
    peer.answers = [READY]
    return file


def key_sent(peer: Peer, *typed: str) -> str | None:
    assert main([*typed, "status"]) == 0
    return peer.received.pop().headers.get("Authorization")


def test_a_profile_says_where_the_service_is_and_the_key(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.answers = [READY] * 3
    assert key_sent(peer) is None
    assert key_sent(peer, "--profile", "other") == "Bearer of-other"
    monkeypatch.setenv("ERRATA_PROFILE", "other")
    assert key_sent(peer) == "Bearer of-other"


def test_flags_go_before_the_environment_and_that_before_a_profile(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, configuration: Path
) -> None:
    peer.answers = [READY] * 4
    monkeypatch.setenv("ERRATA_API_KEY", "of-environment")
    assert key_sent(peer, "--profile", "other") == "Bearer of-environment"
    assert key_sent(peer, "--profile", "other", "--api-key", "of-flag") == "Bearer of-flag"
    configuration.write_text(configuration.read_text().replace(peer.url, "http://127.0.0.1:1"))
    monkeypatch.setenv("ERRATA_URL", peer.url)
    assert key_sent(peer) == "Bearer of-environment"
    monkeypatch.setenv("ERRATA_URL", "http://127.0.0.1:1")
    assert key_sent(peer, "--url", peer.url) == "Bearer of-environment"


def test_a_profiles_key_goes_to_its_own_url_only(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text(configuration.read_text().replace(peer.url, "http://127.0.0.1:1"))
    peer.answers = [READY] * 2
    assert key_sent(peer, "--profile", "other", "--url", peer.url) is None
    capsys.readouterr()
    monkeypatch.setenv("ERRATA_URL", peer.url)
    assert key_sent(peer, "--profile", "other") is None
    told = f"errata-client: ERRATA_URL, {peer.url}, goes before the URL of the profile other\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[profiles.a]\nurl = "x"\nurll = "y"\n', ", line 3: profiles.a.urll is not known; a profile has url and key"),
        ("[profiles.a]\nkey = 3\n", ", line 2: profiles.a.key is no text"),
        ('profile = "a"\n', ", line 1: unknown key 'profile'; profiles begin with [profiles.NAME]"),
        ("[profiles]\na = 1\n", ", line 2: 'a' is no profile: they begin with [profiles.NAME]"),
        ("profiles = 1\n", ", line 1: profiles begin with [profiles.NAME]"),
        ("url: x\n", " is not TOML: "),
        ('[profiles.b]\nurl = "x"\n', " has no profile 'a'; it has b"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_line(
    peer: Peer, configuration: Path, text: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text(text)
    with pytest.raises(SystemExit) as refused:
        main(["--profile", "a", "status"])
    assert refused.value.code == 2
    assert capsys.readouterr().err.startswith(f"errata-client: {configuration}{fault}")
    assert peer.received == []


def test_a_file_that_is_named_must_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ERRATA_CLIENT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(SystemExit):
        main(["status"])
    assert "none.toml is not there" in capsys.readouterr().err
