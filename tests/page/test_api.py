"""The documented endpoints, through gradio_client, and sessions of several clients."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from musiclstm import Composer, Sampling, example_files, read_midi, read_recipe
from page.api import Api
from tests.page.session_driver import SessionDriver, build_events

# Gradio's queue uses a pandas option that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")


@pytest.fixture(autouse=True)
def _without_sound(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("fluidsynth"):
        pytest.importorskip("fluidsynth", reason="no libfluidsynth", exc_type=ImportError)
    else:
        monkeypatch.setenv("MUSICLSTM_SOUNDFONT", "/nowhere.sf2")


@pytest.fixture
def client(page_url: str, tmp_path: Path) -> Callable[[], Client]:
    return lambda: Client(page_url, verbose=False, download_files=str(tmp_path))


def test_endpoints_with_typed_inputs_are_documented(client: Callable[[], Client]) -> None:
    endpoints = client().view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/continue", "/regenerate", "/accompany"]
    parameters = {each["parameter_name"]: each for each in endpoints["/continue"]["parameters"]}
    assert list(parameters) == [
        "midi", "tune", "bars", "adventurous", "surprise", "key", "meter", "random_seed",
    ]  # fmt: skip
    assert parameters["bars"]["parameter_default"] == 8
    assert parameters["midi"]["python_type"]["type"].startswith("filepath")


@pytest.mark.parametrize("name", ["tune.kar", "tune.smf", "tune.MID", "tune", ".mid"])
def test_midi_files_of_any_name_are_continued(
    name: str, client: Callable[[], Client], midi_file: Callable[..., Path]
) -> None:
    path = midi_file(name, bars=2)
    midi, _, _ = client().predict(midi=handle_file(path), bars=1, api_name="/continue")
    assert read_recipe(Path(midi).read_bytes()).source is not None


@pytest.mark.fluidsynth
def test_an_uploaded_file_is_continued_as_by_the_library(
    client: Callable[[], Client], midi_file: Callable[..., Path], tiny_composer: Composer
) -> None:
    path = midi_file("motif.mid", bars=2)
    midi, wav, recipe = client().predict(
        midi=handle_file(path), bars=2, random_seed=7, api_name="/continue"
    )
    expected = tiny_composer.compose(bars=2, prompt=path, sampling=Sampling(seed=7))
    assert Path(midi).read_bytes() == expected.to_midi()
    assert Path(wav).read_bytes().startswith(b"RIFF")
    assert json.loads(recipe)["steps"][0]["sampling"]["seed"] == 7


def test_bars_and_parts_are_composed_as_by_the_library(
    client: Callable[[], Client], tiny_composer: Composer
) -> None:
    tune, sampling = "Greensleeves (traditional)", Sampling(seed=7)
    path = example_files()[tune]
    midi, _, seed = client().predict(
        midi=handle_file(path), bars="2-3", parts="guitar", random_seed=7, api_name="/regenerate"
    )
    expected = tiny_composer.regenerate(path, bars=(2, 3), parts=["Guitar"], sampling=sampling)
    assert (Path(midi).read_bytes(), seed) == (expected.to_midi(), 7)
    midi, _, _ = client().predict(
        midi=None, tune=tune, parts="1", programs="32,-1", random_seed=7, api_name="/accompany"
    )
    expected = tiny_composer.accompany(path, parts=[1], programs=[32, -1], sampling=sampling)
    assert Path(midi).read_bytes() == expected.to_midi()


@pytest.mark.parametrize(
    ("endpoint", "arguments", "fact"),
    [
        ("/regenerate", {}, "no piece to change"),
        ("/regenerate", {"tune": "greensleeves"}, "the whole piece"),
        ("/regenerate", {"tune": "greensleeves", "bars": "x"}, "such as 5-8, got"),
        ("/regenerate", {"tune": "greensleeves", "bars": "1-90"}, "At most 64 bars"),
        ("/accompany", {"tune": "greensleeves", "programs": "kazoo"}, "is called 'kazoo'"),
        ("/accompany", {"tune": "greensleeves"}, "none is added"),
    ],
)
def test_a_selection_that_cannot_be_composed_is_rejected(
    client: Callable[[], Client], endpoint: str, arguments: dict[str, str], fact: str
) -> None:
    with pytest.raises(AppError, match=fact):
        client().predict(midi=None, api_name=endpoint, **arguments)


@pytest.mark.fluidsynth
def test_the_snippet_of_the_readme_runs(page_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", readme, flags=re.DOTALL)
    monkeypatch.chdir(root)
    found: dict[str, Any] = {}
    exec(compile(code.replace("http://127.0.0.1:7860", page_url), "README.md", "exec"), found)
    assert read_recipe(Path(found["midi"]).read_bytes()).to_json() == found["recipe"]


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [({"bars": 65}, "bars"), ({"tune": "<b>"}, "no bundled tune"), ({"adventurous": 9}, "adventur"),
     ({"key": "H"}, "H")],
)  # fmt: skip
def test_an_invalid_request_is_rejected(
    client: Callable[[], Client], arguments: dict[str, Any], fact: str
) -> None:
    with pytest.raises(AppError, match=fact):
        client().predict(midi=None, api_name="/continue", **arguments)


def test_clients_may_still_ask_for_the_key_as_the_seed(tiny_composer: Composer) -> None:
    tune = "Minuet in G (Petzold)"
    pieces = []
    for name in ("as the seed", "as the prompt"):
        call = Api(tiny_composer).continue_midi(tune=tune, bars=1, key=name, random_seed=1)
        pieces.append(Path(next(call)[0]).read_bytes())
    assert pieces[0] == pieces[1]


def test_a_file_over_two_megabytes_is_rejected(
    client: Callable[[], Client], tmp_path: Path
) -> None:
    large = tmp_path / "large.mid"
    large.write_bytes(bytes(2_200_000))
    with pytest.raises(Exception, match=r"413|too large|[Mm]aximum"):
        client().predict(midi=handle_file(large), api_name="/continue")


def test_two_clients_have_sessions_of_their_own(
    client: Callable[[], Client], midi_file: Callable[..., Path], tiny_composer: Composer
) -> None:
    values = SessionDriver(build_events(tiny_composer)).values
    ann, bob = client(), client()
    ann.predict(handle_file(midi_file("one.mid", bars=1)), api_name="/drop")
    bob.predict(handle_file(midi_file("two.mid", bars=2)), api_name="/drop")
    pieces = []
    for user, bars in ((ann, 1), (bob, 2)):
        changed = values | {"bars": bars, "fewest_notes": 1}  # a random bar may be silent
        user.predict(*changed.values(), api_name="/compose")
        pieces.append(Path(user.predict(*values.values(), api_name="/file_midi")).read_bytes())
    assert [read_midi(piece)[1].bars for piece in pieces] == [2, 4]
    again = ann.predict(*values.values(), api_name="/file_midi")
    assert Path(again).read_bytes() == pieces[0]
    assert read_recipe(pieces[0]).source != read_recipe(pieces[1]).source
