"""Stage 5 refuses an encoder that has heard dev or test."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def test_encoder_that_heard_test_is_refused(project: Path, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(project / "conf" / "smoke", conf)
    asr = (conf / "asr.yaml").read_text()
    (conf / "asr.yaml").write_text(asr.replace("aligner:\n", "aligner:\n  train_parts: [train, test]\n"))
    command = [
        sys.executable,
        "local/asr_train.py",
        "--conf",
        str(conf),
        "--data",
        str(tmp_path),
        "--exp",
        str(tmp_path),
    ]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "init_encoder_from_aligner: false" in result.stderr
