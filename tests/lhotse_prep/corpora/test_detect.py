"""What --corpus names must be a folder or a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.corpora.detect import import_corpus
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import SerialExecutor


def test_a_single_recording_is_not_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.wav is neither a folder of lectures nor a \.parquet table"):
        import_corpus(tmp_path / "a.wav", tmp_path / "out", CorpusConfig(), CheckConfig(), SerialExecutor())
