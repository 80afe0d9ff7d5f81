"""All stages, run by run.sh as a user would, on a corpus of one or two minutes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pysubs2
import pytest
from lhotse import CutSet, load_manifest

from lhotse_prep.workflow.files import read_jsonl
from ml2021.training import launch


@dataclass
class Run:
    """A finished run."""

    project: Path
    data: Path
    exp: Path
    output: str
    log: str

    def again(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run run.sh again, with more options."""
        return run_sh(self.project, self.data, self.exp, *options)


def run_sh(project: Path, data: Path, exp: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["./run.sh", "--conf", "conf/smoke", "--data", str(data), "--exp", str(exp), *options]
    # one thread, or the weights of stage 8 alone would differ from those of stage 8 beside others
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "ML2021_PYTHON": sys.executable}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def smoke(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("smoke")
    result = run_sh(project, folder / "data", folder / "exp")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    beside = (folder / "exp").glob("*.log")  # what stages 7 to 9 and 11 print if they run beside others
    log = result.stderr + "".join(path.read_text() for path in sorted(beside))
    return Run(project, folder / "data", folder / "exp", result.stdout, log)


def test_results_have_all_figures(smoke: Run) -> None:
    results = json.loads((smoke.exp / "results.json").read_text())
    stages = ["corpus", "manifests", "lang", "align", "windows", "asr-train", "asr-decode", "bitext", "mt-train"]
    stages += ["mt-decode", "st", "export", "report", "total"]
    assert list(results["wall_seconds"]) == stages and all(s > 0 for s in results["wall_seconds"].values())
    scores = results["scores"]["asr/greedy_search"]
    for suffix in ("", "_dev"):
        coverage = scores[f"coverage_windows{suffix}"]
        assert 0 < coverage["words"] <= coverage["words_transcribed"]
        assert scores[f"mer_windows_complete{suffix}"]["mer"] > 0 and scores[f"mer_windows{suffix}"]["mer"] > 0
    for key in ("mer_windows", "mer_lecture"):
        assert set(results[key]) == {"mer", "zh", "en"} and results[key]["mer"] > 0
    assert {
        "alignment_median_ms",
        "alignment_p95_ms",
        "alignment_end_p95_ms",
        "num_parameters_mt",
    } <= results.keys()  # models too small to check values
    assert results["num_parameters_asr"] > 10_000
    assert 0 <= results["bleu_mt"] <= 100 and 0 <= results["bleu_cascade"] <= 100
    assert str(f"{results['mer_windows']['mer']:.2f}") in smoke.output
    page = (smoke.exp / "report" / "index.html").read_text()
    assert "<svg" in page and '"clip-data">{"' in page and "<script src" not in page


def test_translator_trains_beside_the_recogniser_on_a_cpu(smoke: Run) -> None:
    is_possible = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 and not launch._has_gpu()
    results = json.loads((smoke.exp / "results.json").read_text())
    beside = {x for others in results["side_by_side"].values() for x in others}
    assert bool(beside & {"bitext", "mt-train"}) == is_possible
    for text in ("Stages 7 to 9 finished beside stages 5 and 6", "Stage 11 finished beside stage 10"):
        assert (text in smoke.log) == is_possible


@pytest.mark.parametrize("loss", ["simple_loss", r"simple_loss [\d.]+, pruned_loss [\d.]+, ctc_loss", "nll"])
def test_losses_fall_in_training(smoke: Run, loss: str) -> None:
    """In the recogniser and the translator, the third epoch has a lower loss."""
    values = [float(x) for x in re.findall(rf"epoch \d+: step \d+, {loss} ([\d.]+)", smoke.log)]
    assert len(values) >= 3 and values[2] < values[0]


def test_the_loss_of_the_aligner_falls(smoke: Run) -> None:
    """From the epoch after the guided steps to the next round."""
    values = [float(x) for x in re.findall(r"epoch \d+: step \d+, ctc_loss ([\d.]+)", smoke.log)]
    assert len(values) == 2 and values[1] < values[0]


def test_cuts_hold_the_transcript_and_lhotse_describes_them(smoke: Run) -> None:
    path = smoke.data / "cuts" / "ml2021_cuts_train.jsonl.gz"
    lhotse = Path(sys.executable).parent / "lhotse"
    description = subprocess.run([lhotse, "cut", "describe", path], capture_output=True, text=True, timeout=120)
    assert description.returncode == 0 and "Cuts count" in description.stdout, description.stderr
    for part in ("train", "dev", "test"):
        cuts = load_manifest(smoke.data / "cuts" / f"ml2021_cuts_{part}.jsonl.gz", CutSet)
        for lecture in load_manifest(smoke.data / "manifests" / f"ml2021_supervisions_{part}.jsonl.gz"):
            supervisions = [s for c in cuts if c.recording_id == lecture.id for s in c.supervisions]
            words = lecture.text.split()
            for s in supervisions:  # each is a distinct part of the transcript
                first = s.custom["first_token"]
                assert words[first : first + len(s.text.split())] == s.text.split()
            assert len({s.custom["first_token"] for s in supervisions}) == len(supervisions)
        assert all(c.load_features().shape == (c.num_frames, 80) for c in cuts)


def test_subtitles_are_bilingual_and_in_order(smoke: Run) -> None:
    lecture = next((smoke.exp / "st").glob("*.jsonl")).stem
    rows = read_jsonl(smoke.exp / "st" / f"{lecture}.jsonl")
    for suffix in ("srt", "vtt"):
        cues = pysubs2.load(str(smoke.exp / "st" / f"{lecture}.{suffix}"))
        assert all(a.end <= b.start for a, b in zip(cues, cues[1:])) and all(c.end > c.start for c in cues)
        assert rows and len(cues) > 0
    for language, key in (("zh", "source"), ("en", "target")):  # short sentences may share a cue, but no text is lost
        cues = pysubs2.load(str(smoke.exp / "st" / f"{lecture}.{language}.srt"), format_="srt")  # may be empty
        texts = ("".join(str(row[key]) for row in rows), "".join(cue.plaintext for cue in cues))
        assert len({"".join(text.split()) for text in texts}) == 1


def test_decoding_files_have_icefalls_format(smoke: Run) -> None:
    folder = smoke.exp / "asr" / "greedy_search"
    for part in ("test", "dev"):
        recogs = next(folder.glob(f"recogs-{part}-*.txt")).read_text().splitlines()
        assert all(re.fullmatch(r"lecture\d+-\d{4}:\t(ref|hyp)=\[.*\]", line) for line in recogs) and recogs
        assert next(folder.glob(f"errs-{part}-*.txt")).read_text().startswith("%WER = ")
        assert next(folder.glob(f"wer-summary-{part}-*.txt")).read_text().startswith("settings\tWER\n")
    assert (smoke.exp / "asr" / "pretrained.pt").is_file() and list((smoke.exp / "asr" / "tensorboard").iterdir())


def test_second_run_skips_every_stage(smoke: Run) -> None:
    before = {p: p.stat().st_mtime_ns for p in [*smoke.data.rglob("*.jsonl*"), *smoke.exp.rglob("*.pt")]}
    started = time.time()
    result = smoke.again()
    assert result.returncode == 0 and time.time() - started < 20
    assert len(re.findall("up to date", result.stderr)) == 15  # stages 6 and 7 make two results
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.slow
def test_the_translator_is_the_same_when_trained_again(smoke: Run, tmp_path: Path) -> None:
    weights = [(smoke.exp / "mt" / "pretrained.pt.sha256").read_text()]
    for name in ("second", "third"):
        result = run_sh(smoke.project, smoke.data, tmp_path / name, "--stage", "8", "--stop-stage", "8")
        assert result.returncode == 0, result.stderr
        weights.append((tmp_path / name / "mt" / "pretrained.pt.sha256").read_text())
    assert weights[0] == weights[1] == weights[2]


def test_stages_that_are_made_again_have_equal_results_and_nothing_after_them_runs(smoke: Run) -> None:
    marks = [smoke.data / name / ".done" for name in ("manifests", "cuts")]
    before = [json.loads(path.read_text())["outputs"] for path in marks]
    for path in marks:
        path.unlink()
    result = smoke.again("--stage", "1", "--stop-stage", "8")
    assert result.returncode == 0, result.stderr
    assert [json.loads(path.read_text())["outputs"] for path in marks] == before
    assert len(re.findall("up to date", result.stderr)) == 8  # stages 2, 3, 5, 8, and both results of 6 and 7


def test_long_work_stops_the_run_and_says_what_changed(smoke: Run, tmp_path: Path) -> None:
    done = smoke.exp / "asr" / ".done"
    content = done.read_text()
    shutil.copytree(smoke.project / "conf" / "smoke", tmp_path / "conf")
    asr = (tmp_path / "conf" / "asr.yaml").read_text()
    (tmp_path / "conf" / "asr.yaml").write_text(asr.replace("base_lr: 0.03", "base_lr: 0.02"))
    done.write_text(json.dumps(json.loads(content) | {"worked": 5000.0}))
    options = ["--stage", "5", "--stop-stage", "5"]
    result = run_sh(smoke.project, smoke.data, smoke.exp, *options, "--conf", str(tmp_path / "conf"))
    done.write_text(content)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "asr holds 83 min of work of asr-train" in result.stderr
    assert "asr.train.base_lr was 0.03 and is 0.02" in result.stderr and not list(smoke.exp.glob("asr.before-*"))


def test_missing_input_names_the_stage_to_run(smoke: Run, tmp_path: Path) -> None:
    result = run_sh(smoke.project, tmp_path / "d", tmp_path / "e", "--stage", "4", "--stop-stage", "4")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "./run.sh --stage 1 --stop-stage 1" in result.stderr
