#!/usr/bin/env python3
"""How far starts and ends of utterances are off on people's voices: without a model, with a given one, from words.

    . ./path.sh; OMP_NUM_THREADS=1 python benchmarks/alignment_voices.py --corpus voices/human --corpus voices/neural \\
        --from none --from model=data/mini/aligned/aligner --whisper base --out exp/voices

A corpus is a folder that stage 0 takes, with truth/NAME.json ([[start, end, text], ...]) in it. Times are from

    none            stage 3 without a model
    model=FOLDER    stage 3 with a model trained elsewhere (--aligner-model)
    words=WORDS     a recogniser's words, a .ctm or .jsonl file or a folder of them: their own times, matched to the
                    text; those that stage 3 takes from them (aligner.refine: false); and those that it refines

--whisper MODEL is as words=, with the words that plain faster-whisper gives. With --damage KIND, such as
room+babble-10, sounds are damaged before stage 3 trains on them; babble is that of the other corpora. All is kept in
--out, and not computed again there.

Prints a table for RESULTS.md, then the words without a time; a picture has the cumulative share of utterances by error.
In shares and quantiles an utterance without a time is infinitely far off. The score is that of the utterance's first
(last) word, the median of all that have a time and of those more than 0.5 s off.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from lhotse import SupervisionSegment, SupervisionSet
from lhotse.supervision import AlignmentItem

from benchmarks.alignment_truth import Truth, read_truth
from benchmarks.edge_errors import COLUMNS, Result, plot, result_of
from benchmarks.recognisers import plain_whisper, write_words
from benchmarks.spoken_corpora import read_corpora, write_damaged
from benchmarks.stages import PROJECT, run_stage
from lhotse_prep.alignment.hypotheses import read_hypotheses
from lhotse_prep.alignment.lectures import ExactTimes, Lectures
from lhotse_prep.alignment.matching import match_times
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.files import load_part
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.whisper.folder import require_faster_whisper
from ml2021.asr.words.options import RecogniserOptions

PICTURE = "alignment_voices.png"
Stretches = dict[str, list[SupervisionSegment]]  # with the times of words, by lecture


@dataclass(frozen=True)
class Corpus:
    """A corpus whose manifests are in a data folder."""

    name: str
    data: Path
    audio: dict[str, Path]  # by lecture, as the following
    transcripts: dict[str, list[str]]
    truth: dict[str, Truth]


def prepared(folder: Path, conf: Path, out: Path) -> Corpus:
    """Run stages 0 and 1 on a corpus; exits with one line if it has no truth, or one of another text."""
    truth = {
        name: [(begin, end, normalize_transcript(text)) for begin, end, text in utterances]
        for name, utterances in read_truth(folder / "truth").items()
    }
    if not truth:
        raise SystemExit(f"{folder}: no truth/NAME.json with the true times of its utterances")
    data = out / folder.name
    run_stage("make_corpus.py", conf, data, "--corpus", str(folder.resolve()), log=data / "prepare.log")
    run_stage("make_manifests.py", conf, data, log=data / "prepare.log")
    exact = {part: ExactTimes(data / "manifests", part) for part in PARTS}
    lectures = [x for x in Lectures(data / "manifests", exact) if x.id in truth]
    if not lectures:
        raise SystemExit(f"{folder}: none of its lectures is in truth/, which has {', '.join(sorted(truth)[:5])}")
    for x in lectures:
        num_words = sum(len(text.split()) for _, _, text in truth[x.id])
        if num_words != len(x.words):
            raise SystemExit(f"{folder}: truth/{x.id}.json has {num_words} words, its transcript {len(x.words)}")
    return Corpus(folder.name, data, {x.id: x.audio for x in lectures}, {x.id: x.words for x in lectures}, truth)


def with_damage(folders: Sequence[Path], kind: str, seed: int, out: Path) -> list[Path]:
    """Copies of corpora with damaged sound, in `out`; exits with one line if there is no such kind."""
    corpora = read_corpora(folders)
    among = "-".join(sorted(folder.name for folder in folders))  # whose voices are heard
    copies = []
    for folder in folders:
        copy = out / "damaged" / f"{folder.name}-{kind}-{seed}-of-{among}"
        if not copy.exists():
            write_damaged(folder, corpora, kind, seed, copy)
        copies.append(copy)
    return copies


def kinds_of_times(
    corpus: Corpus, source: str, conf: Path, num_jobs: int
) -> Iterator[tuple[str, Callable[[], Stretches]]]:
    """(title, what computes them) of each kind of times that a --from asks for."""
    how, _, value = source.partition("=")
    name = Path(value).name
    folder = corpus.data / re.sub(r"[^\w.-]+", "-", f"{how}-{name}" if name else how)
    if source == "none":
        yield "no model", lambda: aligned(corpus.data, folder, conf, "none", num_jobs)
    elif how == "model" and name:
        yield f"model {name}", lambda: aligned(corpus.data, folder, conf, value, num_jobs)
    elif how == "words" and name:
        yield f"{name}, own times", lambda: own_times(Path(value), corpus.transcripts)
        plain = without_refining(conf, folder / "conf")
        yield f"{name}, not refined", lambda: aligned(corpus.data, folder / "plain", plain, value, num_jobs)
        yield f"{name}, refined", lambda: aligned(corpus.data, folder / "refined", conf, value, num_jobs)
    else:
        raise SystemExit(f"--from {source}: none, model=FOLDER or words=FILE")


def aligned(data: Path, out: Path, conf: Path, model: str, num_jobs: int) -> Stretches:
    """The stretches of stage 3 on the manifests of `data`.

    Args:
      data: a data folder.
      out: stage 3's.
      conf: its configuration.
      model: the value of --aligner-model.
      num_jobs: processes.
    Raises:
      DataError: stage 3 failed.
    """
    if not (out / "manifests").exists():
        shutil.copytree(data / "manifests", out / "manifests")
    given = model if model == "none" or not Path(model).exists() else str(Path(model).resolve())
    processes = ("--num-processes", str(num_jobs), "--num-jobs", str(num_jobs))
    run_stage("align.py", conf, out, "--aligner-model", given, *processes, log=out / "align.log")
    stretches: Stretches = {}
    for part in PARTS:
        for s in load_part(out / "aligned", "supervisions", part, SupervisionSet):
            stretches.setdefault(s.recording_id, []).append(s)
    return stretches


def own_times(words: Path, transcripts: Mapping[str, Sequence[str]]) -> Stretches:
    """The words of a recogniser that match those of the transcripts, each as a stretch with the recogniser's time.

    Raises:
      DataError: a lecture has no words, or other words; see match_times.
    """
    hypotheses = read_hypotheses(words)
    stretches: Stretches = {}
    for lecture, transcript in transcripts.items():
        if lecture not in hypotheses:
            raise DataError(f"{words} has no words of {lecture}")
        times = match_times(transcript, hypotheses[lecture], lecture)
        stretches[lecture] = [
            _word(lecture, w, transcript[w], times.start[w], times.end[w], times.score[w])
            for w in np.flatnonzero(np.isfinite(times.start)).tolist()
        ]
    return stretches


def _word(lecture: str, index: int, word: str, start: float, end: float, score: float) -> SupervisionSegment:
    item = AlignmentItem(word, float(start), float(end - start), float(score))
    return SupervisionSegment(
        id=f"{lecture}-{index:05d}",
        recording_id=lecture,
        start=item.start,
        duration=item.duration,
        text=word,
        alignment={"word": [item]},
        custom={"first_token": index},
    )


def without_refining(conf: Path, out: Path) -> Path:
    """A copy of a configuration by which words keep the times of their recogniser; returns its folder."""
    shutil.copytree(conf, out, dirs_exist_ok=True)
    values = yaml.safe_load((conf / "asr.yaml").read_text(encoding="utf-8"))
    values["aligner"] = (values.get("aligner") or {}) | {"refine": False}
    (out / "asr.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return out


def whisper_words(model: str, audio: Mapping[str, Path], out: Path, num_threads: int) -> Path:
    """The folder of the words that plain faster-whisper gives for recordings; those that it has are kept.

    Raises:
      ConfigError: faster-whisper is not installed.
      DataError: there is no such model.
    """
    folder = out / f"faster-whisper-{Path(model).name}"
    missing = {name: path for name, path in audio.items() if not (folder / f"{name}.jsonl").is_file()}
    if missing:
        require_faster_whisper()
        recognise = plain_whisper(model, RecogniserOptions(num_threads=num_threads))
        for name, path in missing.items():
            write_words(out, folder.name, name, recognise(path))
    return folder


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, action="append", required=True, help="folder; may be given again")
    parser.add_argument("--from", dest="sources", action="append", default=[], metavar="none|model=DIR|words=FILE")
    parser.add_argument("--whisper", help="folder or name of a Whisper model, such as base")
    parser.add_argument("--damage", metavar="KIND", help="a kind of lecture_damage.py that changes the sound only")
    parser.add_argument("--seed", type=int, default=0, help="of the damage [%(default)s]")
    parser.add_argument("--conf", type=Path, default=PROJECT / "conf/ml2021")
    parser.add_argument("--out", type=Path, required=True, help="folder for data, words and the picture")
    parser.add_argument("--num-jobs", type=int, default=1, help="processes, and threads of Whisper [%(default)s]")
    parser.add_argument("--list", type=int, default=20, help="runs of untimed words listed of each [%(default)s]")
    args = parser.parse_args(argv)
    folders = with_damage(args.corpus, args.damage, args.seed, args.out) if args.damage else args.corpus
    try:
        corpora = [prepared(folder, args.conf, args.out) for folder in folders]
    except DataError as e:
        raise SystemExit(str(e)) from e
    results: dict[tuple[str, str], Result] = {}
    notes: list[str] = []
    print(f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
    for corpus in corpora:
        sources = list(args.sources)
        if args.whisper:
            try:
                words = whisper_words(args.whisper, corpus.audio, corpus.data / "words", args.num_jobs)
                sources.append(f"words={words}")
            except (ConfigError, DataError) as e:
                notes.append(f"- {corpus.name}: no rows of Whisper: {e}")
        for source in sources:
            for title, compute in kinds_of_times(corpus, source, args.conf, args.num_jobs):
                print(f"{corpus.name}: {title}", file=sys.stderr)
                try:
                    result = result_of(compute(), corpus.transcripts, corpus.truth)
                except (ConfigError, DataError) as e:
                    notes.append(f"- {corpus.name}, {title}: refused: {e}")
                    continue
                results[corpus.name, title] = result
                print(*result.rows(corpus.name, title), sep="\n", flush=True)
                notes += result.untimed_lines(corpus.name, title, args.list)
    print("", *notes, sep="\n")
    if results:
        plot(results, args.out / PICTURE)


if __name__ == "__main__":
    main(sys.argv[1:])
