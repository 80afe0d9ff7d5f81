"""Stage 5 refuses an aligner that was trained on dev or test, and one whose encoder does not fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def refusal(project: Path, tmp_path: Path, old: str, new: str) -> str:
    """The error message of stage 5 for a changed configuration of the smoke corpus; there is no data."""
    conf = tmp_path / "conf"
    shutil.copytree(project / "conf" / "smoke", conf)
    asr = (conf / "asr.yaml").read_text()
    assert old in asr
    (conf / "asr.yaml").write_text(asr.replace(old, new))
    command = [sys.executable, "local/asr_train.py", "--conf", str(conf)]
    command += ["--data", str(tmp_path), "--exp", str(tmp_path)]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    return result.stderr


def test_aligner_trained_on_test_is_refused(project: Path, tmp_path: Path) -> None:
    message = refusal(project, tmp_path, "aligner:\n", "aligner:\n  train_parts: [train, test]\n")
    assert "init_encoder_from_aligner: false" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("causal: true", "stage 2 makes it"),  # accepted, so the missing data is reported
        ("num_heads: [4]", "give them the same layout"),
    ],
)
def test_encoder_may_be_causal_but_not_of_another_layout(
    project: Path, tmp_path: Path, change: str, message: str
) -> None:
    assert message in refusal(project, tmp_path, "encoder: *encoder", f"encoder: {{<<: *encoder, {change}}}")
