"""Every build of the core gives the same music."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality import core_builds


def test_all_builds_of_this_machine_give_the_same_music(tmp_path) -> None:
    if len(core_builds._environments()) < 2:
        pytest.skip("this machine has one build only")
    path = tmp_path / "builds.json"
    assert core_builds.main(["--takes", "3", "--json", str(path)]) == 0
    builds = json.loads(path.read_text())["builds"]
    assert [(build["identical"], build["failed"]) for build in builds] == [(3, 0)] * len(builds)
    assert builds[0]["tokens"] > 100


def test_a_sequence_that_differs_is_reported(monkeypatch, capsys) -> None:
    digests = {"a": ["1", "2", "3"], "b": ["1", "2", "4"]}
    monkeypatch.setattr(core_builds, "_environments", lambda: {name: name for name in digests})
    monkeypatch.setattr(
        core_builds,
        "_run_worker",
        lambda _, name: {"digests": digests[name], "tokens": 100, "seconds": 0.5},
    )
    assert core_builds.main(["--takes", "3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["3", "2"]


def test_a_failing_build_is_reported(monkeypatch, capsys) -> None:
    monkeypatch.setattr(core_builds, "_environments", lambda: {"one": {}, "two": {}})
    assert core_builds.main(["--takes", "1", "--model", "no-such-folder"]) == 1
    assert "no-such-folder" in capsys.readouterr().err


def test_one_build_alone_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setattr(core_builds, "_environments", lambda: {"one": {}})
    assert core_builds.main([]) == 1
    assert "install" in capsys.readouterr().err
