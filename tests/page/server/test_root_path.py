"""The page under a path of a proxy: in Python, and nginx with the example of docs/proxy.md."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

import app
from musiclstm import read_recipe
from tests.page.reverse_proxy import reverse_proxy

# Gradio's queue uses a pandas option that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")
ROOT = Path(__file__).parents[3]
NGINX = shutil.which("nginx")


@pytest.fixture(scope="module")
def served(shared_composer: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setenv("MUSICLSTM_SOUNDFONT", "/nowhere.sf2")
        demo = app.build_demo(shared_composer)
        yield app.serve(demo, host="127.0.0.1", port=None, root_path="/music")
        demo.close()


@contextmanager
def nginx(target: str, folder: Path) -> Iterator[str]:
    """Run nginx with the example of the documentation."""
    (example,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/proxy.md").read_text(), re.DOTALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    locations = example.replace("http://127.0.0.1:7860/", target)
    paths = "".join(
        f"{name}_temp_path {folder / name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder / 'pid'}; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off;\n{paths}server {{ listen 127.0.0.1:{port};\n{locations} }} }}\n"
    )
    process = subprocess.Popen([str(NGINX), "-c", str(config), "-e", "stderr"])
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/music/"
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return


@contextmanager
def proxy(kind: str, target: str, folder: Path) -> Iterator[str]:
    if kind == "nginx":
        if NGINX is None:
            pytest.skip("nginx is not installed")
        with nginx(target, folder) as url:
            yield url
    else:
        with reverse_proxy(target, "/music", strips=kind == "strips") as url:
            yield url


@pytest.mark.parametrize("kind", ["strips", "keeps", "nginx"])
def test_the_page_and_its_endpoint_work_under_a_path(
    kind: str, served: str, midi_file: Callable[..., Path], tmp_path: Path
) -> None:
    with proxy(kind, served, tmp_path) as url:
        html = urllib.request.urlopen(url).read().decode()
        assert f"{url.rstrip('/')}" in html  # the address that the page's script asks
        assets = re.findall(r'(?:src|href)="(?:\./|/music/)(assets/[^"]+)"', html)
        assert assets
        assert urllib.request.urlopen(url + assets[0]).status == 200
        client = Client(url, verbose=False)
        midi, _, _ = client.predict(
            handle_file(midi_file("under a path.mid", bars=2)), bars=1, api_name="/continue"
        )
        client.close()
        assert read_recipe(Path(midi).read_bytes()).source is not None


@pytest.mark.parametrize("text", ["music", "/a b", "/a?b", "ftp://host/music", "/music\n/x"])
def test_other_values_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["--root-path", text])
    assert "such as /music" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "path"),
    [("/music/", "/music"), ("/", ""), ("https://example.org/a/b", "https://example.org/a/b")],
)
def test_a_slash_at_the_end_does_not_matter(text: str, path: str) -> None:
    assert app._parser().parse_args(["--root-path", text]).root_path == path
