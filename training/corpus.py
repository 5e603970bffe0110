"""Folders and zips of MIDI to token streams, read once and then cached.

Broken files are told and skipped, never fatal. Zips are read in memory, member by member, within
bounds; nothing is unpacked. Here the streams are still unmerged base ids, so that they can be
transposed (see augmentation.py). Knows nothing of the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from musiclstm.errors import CorpusError, MusicLSTMError
from musiclstm.intake import Limits, read_midi
from musiclstm.tokenization import MusicTokenizer

SUFFIXES = (".mid", ".midi", ".kar")
MAX_MEMBERS = 200_000
SPLITS = ("train", "valid", "test")
HELD_OUT_SHARE = 0.05
_FORMAT = 2  # raise it when the meaning of the cached arrays changes


@dataclass(frozen=True)
class Source:
    """One file of the corpus before it is read."""

    name: str
    container: Path
    member: str | None  # inside a zip
    split: str | None  # as its manifest says
    licence: str | None

    @property
    def corpus(self) -> str:
        """Name of the zip or folder it lies in."""
        return self.container.stem if self.member else self.container.parent.name

    def read(self, limit: int) -> bytes:
        """At most `limit` + 1 bytes, whatever sizes the archive declares."""
        if self.member is None:
            with self.container.open("rb") as file:
                return file.read(limit + 1)
        with zipfile.ZipFile(self.container) as archive, archive.open(self.member) as file:
            return file.read(limit + 1)


@dataclass(frozen=True)
class Piece:
    """One piece that was read: where its ids stand and what it is."""

    name: str
    corpus: str
    split: str
    notes: int
    licence: str | None


@dataclass(frozen=True)
class Skipped:
    """One file that was left out, and why."""

    name: str
    reason: str


class Corpus:
    """Pieces as unmerged token ids.

    Attributes:
        pieces: What was read, in order.
        skipped: What was left out.
    """

    def __init__(
        self, ids: np.ndarray, offsets: np.ndarray, pieces: list[Piece], skipped: list[Skipped]
    ) -> None:
        """Take ids (tokens,) uint16; piece i is `ids[offsets[i] : offsets[i + 1]]`."""
        self._ids, self._offsets = ids, offsets
        self.pieces, self.skipped = pieces, skipped

    def tokens(self, split: str) -> list[np.ndarray]:
        """Base ids of every piece of a split."""
        return [self._piece(i) for i, piece in enumerate(self.pieces) if piece.split == split]

    def notes(self, split: str) -> int:
        """Notes in a split."""
        return sum(piece.notes for piece in self.pieces if piece.split == split)

    def _piece(self, index: int) -> np.ndarray:
        return self._ids[self._offsets[index] : self._offsets[index + 1]]

    def programs(self) -> list[int]:
        """Programs that the train split lets one learn, -1 for drums.

        Those that play one note in two thousand and in five pieces; in a corpus of fewer than fifty
        pieces, in a tenth of them. None such: all there are.
        """
        names = MusicTokenizer().base_tokens
        notes, pieces = Counter[int](), Counter[int]()
        for piece in self.tokens("train"):
            for index, times in zip(*np.unique(piece, return_counts=True), strict=True):
                if names[index].startswith("Program_"):
                    program = int(names[index].removeprefix("Program_"))
                    notes[program] += int(times)
                    pieces[program] += 1
        few_notes = self.notes("train") / 2_000
        few_pieces = min(5, len(self.tokens("train")) / 10)
        heard = [p for p in notes if notes[p] >= few_notes and pieces[p] >= few_pieces]
        return sorted(heard or notes)

    def summary(self) -> list[dict[str, object]]:
        """Per corpus: pieces and notes by split, licence; ready for facts.json."""
        rows = []
        for name in dict.fromkeys(piece.corpus for piece in self.pieces):
            own = [piece for piece in self.pieces if piece.corpus == name]
            licences = sorted({piece.licence for piece in own if piece.licence})
            row: dict[str, object] = {"name": name, "licence": ", ".join(licences) or None}
            for split in SPLITS:
                chosen = [piece for piece in own if piece.split == split]
                row[split] = {"pieces": len(chosen), "notes": sum(p.notes for p in chosen)}
            rows.append(row)
        return rows


def read_corpus(
    paths: Sequence[str | Path], *, workers: int | None = None, cache: Path | None = None
) -> Corpus:
    """Read every MIDI file under the paths.

    Args:
        paths: Folders (searched to the bottom, zips in them too), zips or single MIDI files. A
            `MANIFEST.json` beside the files may give `split` and `licence`; the rest is split by
            piece, 90/5/5, in the order of a hash of its bytes.
        workers: Processes; None: one per core.
        cache: Folder for what was read; None: `~/.cache/musiclstm`, or MUSICLSTM_CACHE.

    Raises:
        CorpusError: A path is missing, or nothing under the paths can be used.
    """
    sources = find_sources(paths)
    if not sources:
        raise CorpusError(
            f"No MIDI file under {', '.join(repr(Path(p).name) for p in paths)}; "
            f"expected files that end in {', '.join(SUFFIXES)}, or zips of them."
        )
    folder = (cache or _default_cache()) / f"tokens-{_cache_key(sources)}"
    corpus = _load(folder) or _read(sources, folder, workers or os.cpu_count() or 1)
    if not corpus.pieces:
        first = corpus.skipped[0]
        raise CorpusError(
            f"None of {len(sources)} MIDI files can be used; the first one, {first.name!r}: "
            f"{first.reason}"
        )
    return corpus


def _default_cache() -> Path:
    return Path(os.environ.get("MUSICLSTM_CACHE", Path.home() / ".cache" / "musiclstm"))


# Finding files.


def find_sources(paths: Sequence[str | Path]) -> list[Source]:
    """Every MIDI file under the paths in the order in which `read_corpus` reads them.

    Raises:
        CorpusError: A path is missing, or a zip cannot be opened.
    """
    return [source for path in paths for source in _find(Path(path))]


def _find(path: Path) -> list[Source]:
    if not path.exists():
        raise CorpusError(f"There is no {path.name!r} at the path given; check --data.")
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    found = []
    for file in files:
        if file.suffix.lower() == ".zip":
            found += list(_find_in_zip(file))
        elif file.suffix.lower() in SUFFIXES:
            found.append(_source(file, None))
    return found


def _find_in_zip(path: Path) -> Iterator[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise CorpusError(
            f"{path.name!r} is not a readable zip: {error}; pack it again."
        ) from error
    if len(members) > MAX_MEMBERS:
        raise CorpusError(
            f"{path.name!r} holds {len(members):,} files, more than {MAX_MEMBERS:,}; split it up."
        )
    for info in members:
        if Path(info.filename).suffix.lower() in SUFFIXES:
            yield _source(path, info.filename)


def _source(container: Path, member: str | None) -> Source:
    name = Path(member).name if member else container.name
    manifest = _manifest(container.parent)
    entry = manifest.get(name, {})
    split = entry.get("split")
    return Source(
        name=name,
        container=container,
        member=member,
        split=split if split in SPLITS else None,
        licence=entry.get("licence") or manifest.get("", {}).get("licence"),
    )


_manifests: dict[Path, dict[str, dict[str, str]]] = {}


def _manifest(folder: Path) -> dict[str, dict[str, str]]:
    """What `MANIFEST.json` says of each file; under the empty name, of all."""
    if folder not in _manifests:
        path = folder / "MANIFEST.json"
        content = json.loads(path.read_text()) if path.is_file() else {}
        entries = {piece["file"]: piece for piece in content.get("pieces", [])}
        entries[""] = {"licence": content.get("licence")}
        _manifests[folder] = entries
    return _manifests[folder]


# Reading files.


def _read(sources: list[Source], folder: Path, workers: int) -> Corpus:
    results = _encode_all(sources, workers)
    splits = _split([(s, r.digest) for s, r in zip(sources, results, strict=True) if r.ids.size])
    kept, pieces, skipped, seen = [], [], [], set()
    for source, result in zip(sources, results, strict=True):
        if result.problem or result.digest in seen:
            reason = result.problem or "the same bytes as a file before it."
            skipped.append(Skipped(source.name, reason))
            continue
        seen.add(result.digest)
        split = source.split or splits[result.digest]
        piece = Piece(source.name, source.corpus, split, result.notes, source.licence)
        pieces.append(piece)
        kept.append(result.ids)
    offsets = np.cumsum([0, *(len(ids) for ids in kept)])
    ids = np.concatenate([*kept, np.zeros(0, np.uint16)])
    _store(folder, ids, offsets, pieces, skipped)
    return Corpus(ids, offsets, pieces, skipped)


@dataclass(frozen=True)
class _Encoded:
    digest: str
    ids: np.ndarray
    notes: int
    problem: str | None


def _encode_all(sources: list[Source], workers: int) -> list[_Encoded]:
    progress: dict[str, Any] = {
        "total": len(sources),
        "unit": "file",
        "desc": "Reading MIDI",
        "leave": False,
        "disable": None,  # in a log file a bar is only noise
    }
    if workers == 1 or len(sources) < 8:
        return [_encode(source) for source in tqdm(sources, **progress)]
    with ProcessPoolExecutor(workers) as pool:
        return list(tqdm(pool.map(_encode, sources, chunksize=8), **progress))


_tokenizer: MusicTokenizer | None = None  # one per worker process: building it takes a second


def _encode(source: Source) -> _Encoded:
    global _tokenizer
    _tokenizer = _tokenizer or MusicTokenizer()
    limits = Limits.training()
    nothing = np.zeros(0, np.uint16)
    try:
        data = source.read(limits.bytes)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        return _Encoded("", nothing, 0, f"it cannot be read ({error}).")
    digest = hashlib.sha256(data).hexdigest()
    try:
        score, _ = read_midi(data, name=source.name, limits=limits)
        ids = np.array(_tokenizer.encode_base(score), np.uint16)
    except MusicLSTMError as error:
        return _Encoded(digest, nothing, 0, str(error))
    return _Encoded(digest, ids, count_notes(ids, _tokenizer), None)


def count_notes(base_ids: np.ndarray, tokenizer: MusicTokenizer) -> int:
    """Notes in a stream of base ids: one pitch token each."""
    pitches = [i for i, name in enumerate(tokenizer.base_tokens) if name.startswith("Pitch")]
    return int(np.isin(base_ids, pitches).sum())


def _split(sources: list[tuple[Source, str]]) -> dict[str, str]:
    """Splits of the pieces that no manifest has placed, by digest."""
    order = sorted({digest for source, digest in sources if source.split is None})
    test = round(HELD_OUT_SHARE * len(order))
    valid = max(round(HELD_OUT_SHARE * len(order)), min(1, len(order) - 1))
    names = ["test"] * test + ["valid"] * valid + ["train"] * (len(order) - test - valid)
    return dict(zip(order, names, strict=True))


# The cache.


def _cache_key(sources: list[Source]) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {MusicTokenizer().fingerprint}".encode())
    for container in dict.fromkeys(source.container for source in sources):
        stat = container.stat()
        digest.update(f"{container.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
    for source in sources:
        digest.update(f"{source.name} {source.member} {source.split} {source.licence}".encode())
    return digest.hexdigest()[:16]


def _store(
    folder: Path, ids: np.ndarray, offsets: np.ndarray, pieces: list[Piece], skipped: list[Skipped]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ids.npy", ids)
    np.save(folder / "offsets.npy", offsets)
    content = {"pieces": [asdict(p) for p in pieces], "skipped": [asdict(s) for s in skipped]}
    partial = folder / "pieces.json.partial"
    partial.write_text(json.dumps(content))
    partial.replace(folder / "pieces.json")  # written last: a cache without it does not count


def _load(folder: Path) -> Corpus | None:
    if not (folder / "pieces.json").is_file():
        return None
    content = json.loads((folder / "pieces.json").read_text())
    return Corpus(
        np.load(folder / "ids.npy", mmap_mode="r"),
        np.load(folder / "offsets.npy"),
        [Piece(**piece) for piece in content["pieces"]],
        [Skipped(**skipped) for skipped in content["skipped"]],
    )
