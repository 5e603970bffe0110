from benchmarks.quality import browser_builds


def test_chromium_writes_the_sequences_of_the_library(built_page, capsys) -> None:
    arguments = ["--folder", str(built_page), "--takes", "3", "--seed", "5", "--only", "Chromium"]
    assert browser_builds.main(arguments) == 0
    assert "Chromium" in capsys.readouterr().out
