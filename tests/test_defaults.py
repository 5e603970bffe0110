"""Defaults are alike in library, command line, page, endpoint and static page."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from musiclstm import Composer, Sampling
from musiclstm.cli.program import _parser
from musiclstm.generation import DEFAULT_BARS
from page.api import Api
from page.session.composer_options import sampling_of
from page.session.settings import PageSettings

STATIC = Path(__file__).parents[1] / "page" / "static"


def default_of(function, name):
    return inspect.signature(function).parameters[name].default


def command_default(command, name):
    words = [command, *(["a.mid"] if command == "extend" else []), "--out", "b.mid"]
    return getattr(_parser(words).parse_args(words), name)


def static_default(pattern, file):
    (found,) = re.findall(pattern, (STATIC / file).read_text(encoding="utf-8"))
    return float(found)


def test_all_compose_eight_bars():
    methods = ("compose", "compose_many", "stream", "stream_many", "extend")
    bars = {
        **{name: default_of(getattr(Composer, name), "bars") for name in methods},
        **{name: command_default(name, "bars") for name in ("compose", "extend")},
        "page": PageSettings().bars,
        "endpoint": default_of(Api.continue_midi, "bars"),
        "static page": static_default(r"<option selected>(\d+)</option>", "index.html"),
    }
    assert bars == dict.fromkeys(bars, DEFAULT_BARS)
    assert DEFAULT_BARS == 8


def test_all_sample_alike():
    assert sampling_of(PageSettings()) == Sampling()
    names = [name for name in vars(Sampling()) if name != "repetition_bars"]
    for command in ("compose", "extend"):
        found = {name: command_default(command, name) for name in names}
        assert found == {name: getattr(Sampling(), name) for name in names}


@pytest.mark.parametrize("method", ["continue_midi", "regenerate_midi", "accompany_midi"])
def test_the_endpoints_have_the_defaults_of_the_page(method):
    parameters = inspect.signature(getattr(Api, method)).parameters.values()
    defaults = {each.name: each.default for each in parameters}
    for name in {"bars", "adventurous", "surprise", "key", "meter"} & set(defaults):
        if default_of(getattr(Api, method), name) != "":  # all bars
            assert defaults[name] == getattr(PageSettings(), name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", Sampling.temperature),
        ("copyWeight", Sampling.copy_weight),
        ("topP", Sampling.top_p),
        ("candidates", Sampling.candidates),
    ],
)
def test_the_static_page_samples_alike(name, value):
    assert static_default(rf"DEFAULT_SETTINGS = {{\s.*\b{name}: ([\d.]+)", "ui/recipe.js") == value
