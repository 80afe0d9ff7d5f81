"""Trainings with the same data and options, each in a process of its own, give the same bits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lhotse_prep.workflow.files import write_jsonl
from ml2021.training.checkpoint import load_checkpoint

PROGRAM = Path(__file__).parent / "tiny_training.py"
NOUNS = {"模 型": "model", "資 料": "data", "老 師": "teacher", "bert": "BERT", "self-attention": "self-attention"}
VERBS = {"看 到": "sees", "訓 練": "trains", "改 變": "changes"}


def run(project: Path, command: list[str], **variables: str) -> str:
    environment = os.environ | {"PYTHONPATH": f"{project}:{project}/egs", "OMP_NUM_THREADS": "1"} | variables
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def bitext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bitext")
    rows, at = [], 0
    for a in NOUNS:
        for v in VERBS:
            for b in NOUNS:
                tokens = f"{a} {v} {b}".split()
                target = f"The {NOUNS[a]} {VERBS[v]} the {NOUNS[b]}."
                row = {"id": f"x-{len(rows):04d}", "lecture": "x", "source": " ".join(tokens), "first_token": at}
                rows.append(row | {"target": target, "score": 1.0})
                at += len(tokens)
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "dev.jsonl", rows[::6])
    return folder


def test_three_trainings_give_the_same_weights_and_one_of_them_was_killed(
    project: Path, bitext: Path, tmp_path: Path
) -> None:
    names = ["first", "second", "killed"]
    run(project, [sys.executable, str(PROGRAM), str(bitext), str(tmp_path), *names])
    first, second, killed = (load_checkpoint(tmp_path / name / "pretrained.pt")["model"] for name in names)
    assert first.keys() == second.keys() == killed.keys()
    different = [k for k in first if not (torch.equal(first[k], second[k]) and torch.equal(first[k], killed[k]))]
    assert not different, f"weights differ: {', '.join(different)}"


def test_nothing_takes_random_pieces_from_sentencepiece(project: Path) -> None:
    """They cannot be repeated in another process."""
    sampling = re.compile("enable_sampling|sample_encode|SampleEncode|[sS]et_?[rR]andom_?[gG]enerator_?[sS]eed")
    files = [p for room in ("egs", "lhotse_prep", "local") for p in (project / room).rglob("*.py")]
    assert len(files) > 100 and [p for p in files if sampling.search(p.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_batches_do_not_depend_on_the_process_or_its_hash_seed(project: Path, bitext: Path, tmp_path: Path) -> None:
    program = f"""
import hashlib
from pathlib import Path
from ml2021.mt.config import MtDataConfig
from ml2021.mt.data import TranslationBatches, read_bitext
from ml2021.mt.vocabulary import train_vocabulary
pairs = read_bitext(Path({str(bitext / "train.jsonl")!r}))
sources, targets = [" ".join(p.tokens) for p in pairs], [p.target for p in pairs]
vocabulary = train_vocabulary(sources, targets, 150, Path({str(tmp_path)!r}))
batches = TranslationBatches(pairs, pairs[:5], vocabulary, MtDataConfig(bpe_dropout=0.1), 1)
lists = [[b.source.tolist(), b.labels.tolist()] for epoch in (1, 2) for b in batches.train_batches(epoch)]
print(hashlib.sha256(vocabulary.content() + repr(lists).encode()).hexdigest())
"""
    digests = {run(project, [sys.executable, "-c", program], PYTHONHASHSEED=seed) for seed in ("0", "1", "2")}
    assert len(digests) == 1
