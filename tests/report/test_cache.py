"""What is kept between runs is used again, unless somebody else may have written it."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmark.report.cache import kept_text


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_text("text", lambda: "made") == "made"
    assert kept_text("text", lambda: "made again") == "made"
    return tmp_path / "eventmark" / "text"


def test_the_folder_is_its_owners_alone(kept: Path) -> None:
    assert kept.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_what_others_may_write_is_made_again(kept: Path, mode: int) -> None:
    kept.chmod(mode)
    assert kept_text("text", lambda: "made again") == "made again"
    assert not kept.stat().st_mode & 0o022


def test_a_link_is_not_followed(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("planted")
    kept.unlink()
    kept.symlink_to(tmp_path / "elsewhere")
    assert kept_text("text", lambda: "made again") == "made again"
    assert (tmp_path / "elsewhere").read_text() == "planted"


def test_a_folder_that_others_may_write_keeps_nothing(kept: Path) -> None:
    kept.parent.chmod(0o777)
    assert kept_text("text", lambda: "made again") == "made again"
    assert kept.read_text() == "made"


def test_without_a_folder_it_is_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept_text("text", lambda: "made") == "made"
