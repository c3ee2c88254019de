"""Clusters that are copied from one that ``initdb`` has made: it works for most of a second, a copy takes a moment."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventmark.server.cluster import Cluster

_initialise = Cluster._initialise


@pytest.fixture(scope="session", autouse=True)
def copied_clusters() -> Iterator[None]:
    """The first cluster of each installation is made as users' are; the others are its copies, with its password."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patched:
        made: dict[Path, tuple[Path, str]] = {}

        def initialise(self: Cluster) -> None:
            data = self.directory / "data"
            if self._bin not in made:
                _initialise(self)
                original = Path(place) / str(len(made))
                _copy(data, original)
                made[self._bin] = original, self.password
                return
            original, self.password = made[self._bin]
            self._files.make()
            try:
                self._files.write_password(self.password)
                _copy(original, data)
            except BaseException:
                self._files.remove()
                raise

        patched.setattr(Cluster, "_initialise", initialise)
        yield


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
