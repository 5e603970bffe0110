from contextlib import contextmanager

import pytest

from benchmarks.quality import browser_builds


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command with a browser that answers `digests`."""

    def run(digests: list[str]) -> int:
        @contextmanager
        def browser(url):
            yield lambda function, request: digests[: len(request["takes"])]

        monkeypatch.setattr(browser_builds, "BROWSERS", {"Chromium": browser})
        return browser_builds.main(["--folder", str(tmp_path), "--takes", "2"])

    return run


def test_a_browser_that_differs_fails(run, monkeypatch, capsys) -> None:
    monkeypatch.setattr(browser_builds, "_library_digests", lambda takes: ["a", "b"])
    assert run(["a", "b"]) == 0
    assert run(["a", "c"]) == 1
    assert "1 |  2" in capsys.readouterr().out


def test_takes_of_a_prompt_stand_together() -> None:
    takes = list(browser_builds._random_takes(30, browser_builds.random.Random(0)))
    prompts = [take["prompt"] for take in takes]
    assert prompts == sorted(prompts)  # the page opens each prompt once
    assert len({take["meter"] for take in takes}) > 3
