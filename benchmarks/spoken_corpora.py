"""Folders of lectures with the true times of their utterances: read, and written with damaged sound."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from benchmarks.alignment_truth import read_truth
from benchmarks.lecture_damage import Others, SpokenLecture, damaged
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.files import whole_folder, write_json

Corpora = dict[Path, list[SpokenLecture]]  # the lectures of each folder


def read_corpora(folders: Sequence[Path]) -> Corpora:
    """The lectures of each folder that have a truth."""
    corpora = {}
    for folder in folders:
        truth = read_truth(folder / "truth")
        corpora[folder] = [
            SpokenLecture.of_truth(name, _samples(folder, name), stretches) for name, stretches in truth.items()
        ]
    return corpora


def others_of(lecture: SpokenLecture, folder: Path, corpora: Mapping[Path, Sequence[SpokenLecture]]) -> Others:
    """Voices of the other corpora, or of the other lectures if there is one corpus; and texts of all other lectures."""
    rest = [x for lectures in corpora.values() for x in lectures if x is not lecture]
    if not rest:
        raise SystemExit(f"{lecture.id} is the only lecture: give another corpus, for other voices and texts")
    voices = [x.samples for other, lectures in corpora.items() for x in lectures if other != folder]
    return Others(voices or [x.samples for x in rest], [[w.text for w in x.words] for x in rest])


def write_damaged(
    folder: Path, corpora: Mapping[Path, Sequence[SpokenLecture]], kind: str, seed: int, out: Path
) -> None:
    """Write a corpus with damaged sound: NAME.flac, the texts as they are, and truth/NAME.json.

    Args:
      folder: the corpus.
      corpora: it, and those whose voices are heard in the damage.
      kind: as for lecture_damage.damaged.
      seed: of the damage.
      out: folder for the corpus, written whole or not at all; what is in it is replaced.
    Raises:
      SystemExit: there is no such kind, or it changes the text.
    """
    with whole_folder(out) as copy:
        (copy / "truth").mkdir()
        for lecture in corpora[folder]:
            try:
                result = damaged(lecture, kind, seed, others_of(lecture, folder, corpora))
            except ValueError as e:
                raise SystemExit(f"--damage {kind}: {e}") from e
            if result.words != lecture.words:
                raise SystemExit(f"--damage {kind} changes the text: use benchmarks/alignment_damage.py")
            _write_lecture(copy, result)
        texts = [f"{lecture.id}{suffix}" for lecture in corpora[folder] for suffix in (".txt", ".en.txt")]
        for name in (*texts, "splits.yaml"):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, copy / name)


def _write_lecture(folder: Path, lecture: SpokenLecture) -> None:
    """NAME.flac and truth/NAME.json of a lecture whose words are all said."""
    peak = max(1.0, float(np.abs(lecture.samples).max()))
    sf.write(folder / f"{lecture.id}.flac", lecture.samples / peak, SAMPLE_RATE)
    texts = [" ".join(w.text for w in lecture.words if w.utterance == u) for u in range(len(lecture.utterances))]
    truth = [[begin, end, text] for (begin, end), text in zip(lecture.utterances.tolist(), texts, strict=True)]
    write_json(folder / "truth" / f"{lecture.id}.json", truth)


def _samples(folder: Path, name: str) -> NDArray[np.float32]:
    path = next((p for p in (folder / f"{name}.flac", folder / f"{name}.wav") if p.is_file()), None)
    if path is None:
        raise SystemExit(f"{folder} has a truth of {name}, but no {name}.flac or {name}.wav")
    samples, rate = sf.read(path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise SystemExit(f"{path} has {rate} Hz; {SAMPLE_RATE} are needed")
    return np.asarray(samples)
