"""From recordings without text to windows to train on: what the command line does."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet, RecordingSet

from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.splits import check_name
from lhotse_prep.manifests.files import AUDIO, load_safely
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.workflow.digests import digest_file, files_of
from lhotse_prep.workflow.entry import executor_config
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.executor import open_executor
from lhotse_prep.workflow.result_options import result_options
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.decode.config import ASR_FILES, DecodeConfig, file_digests, with_lm_dir
from ml2021.asr.decode.lectures import Lecture
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.decode.options import OF_OTHERS, decode_config, given_values, with_values
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.model.load import load_model
from ml2021.asr.pseudo_labels.held_out import require_other_ids, require_other_samples, require_other_texts
from ml2021.asr.pseudo_labels.label import label_recordings
from ml2021.asr.pseudo_labels.options import select_config
from ml2021.asr.pseudo_labels.recognise import Labeller
from ml2021.asr.pseudo_labels.write import write_selected
from ml2021.asr.search.config import NO_LM
from ml2021.asr.words.interfaces import Recogniser
from ml2021.asr.words.options import RecogniserOptions

logger = logging.getLogger(__name__)
_METHOD = "modified_beam_search"


def run(args: argparse.Namespace) -> None:
    """Label the recordings of --audio or --recordings, and write the windows that are kept.

    Args:
      args: from options.parse_options.
    Raises:
      DataError: a recording cannot be read, or is in the corpus of --manifests; no window is kept.
      ConfigError: a limit is out of range, or the model has no CTC head.
    """
    select = select_config(args)
    windows, checks = WindowConfig(), CheckConfig()
    if args.conf is not None:
        windows = load_config(args.conf / "prep.yaml", "windows", WindowConfig)
        checks = load_config(args.conf / "prep.yaml", "checks", CheckConfig)
    lectures = _recordings_of(args)
    if args.manifests is None:
        logger.warning("without --manifests, recordings of the corpus's dev and test parts are not refused")
    else:
        require_other_ids([lecture.id for lecture in lectures], args.manifests)
    labeller, digests = _open_labeller(args, windows.target_duration)
    labelled = label_recordings(labeller.labels_of, lectures, args.out_dir / "recordings", digests)
    if args.manifests is not None:
        _require_other(labelled, args.manifests, checks.max_shared_text)
    with open_executor(executor_config(args)) as executor:
        write_selected(labelled, args.out_dir / "cuts", select, windows, executor)


def _recordings_of(args: argparse.Namespace) -> list[Lecture]:
    """The recordings of --audio or --recordings."""
    if args.audio is not None:
        return [Lecture(path.stem, path) for path in args.audio]
    recordings = load_safely(args.recordings, RecordingSet, AUDIO)
    for r in recordings:
        check_name(r.id)
    return [Lecture(r.id, plain_audio(r)) for r in recordings]


def _open_labeller(args: argparse.Namespace, max_window: float) -> tuple[Labeller, dict[str, Any]]:
    """The recogniser of --exp-dir with what it is compared with, and all that its labels depend on."""
    model, tokens = load_model(args.exp_dir)
    config = _search_of(args, has_ctc_head=model.config.ctc_loss_scale > 0)
    other: Recogniser | None = None
    if args.recogniser is not None:
        values = {flag.replace("-", "_"): getattr(args, flag.replace("-", "_")) for flag in OF_OTHERS}
        given = {name: value for name, value in values.items() if value is not None}
        other = open_recogniser(args.recogniser, RecogniserOptions(**given))
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    fusion = load_fusion(config, tokens, next(model.parameters()).device)
    labeller = Labeller(model, tokens, config, fusion, max_window, None if other is None else other.recognise)
    digests = {
        "model": {str(p.relative_to(args.exp_dir)): digest_file(p) for p in files_of(args.exp_dir, ASR_FILES)},
        "fusion": file_digests(config),
        "decode": result_options(config),
        "max_window": max_window,
        "second": None if other is None else dict(other.digests()),
    }
    return labeller, digests


def _search_of(args: argparse.Namespace, has_ctc_head: bool) -> DecodeConfig:
    """The search that labels: that of decode.yaml and the command line.

    The CTC head takes part only if asked for, or if another recogniser checks the labels: the labels would agree with
    its own text just because they come from it.

    Raises:
      ConfigError: the CTC head is asked for, and the model has none.
    """
    config = decode_config(args.exp_dir, args.conf)
    if config.decoding_method != _METHOD:
        logger.info("decoding_method is %s: labels come from %s, without fusion", config.decoding_method, _METHOD)
        config = with_values(config, {"decoding_method": _METHOD, "hotwords_file": None, **NO_LM})
    config = with_values(config, given_values(args))
    if config.ctc_scale > 0 and args.ctc_scale is not None and not has_ctc_head:
        raise ConfigError("--ctc-scale needs a CTC head; this model was trained with ctc_loss_scale 0")
    if config.ctc_scale > 0 and args.ctc_scale is None and not (args.recogniser is not None and has_ctc_head):
        reason = "the CTC head is to be another opinion (see --ctc-scale)" if has_ctc_head else "there is no CTC head"
        logger.info("ctc_scale of decode.yaml is not used: %s", reason)
        config = replace(config, ctc_scale=0.0)
    return with_lm_dir(config, args.exp_dir.parent)


def _require_other(labelled: Mapping[str, CutSet], manifests: Path, max_shared_text: float) -> None:
    """Raise DataError if a labelled recording is in stage 1's folder under another name."""
    first = (next(iter(cuts), None) for cuts in labelled.values())
    require_other_samples((cut.recording for cut in first if cut is not None), manifests)
    texts = {name: " ".join(cut.supervisions[0].text or "" for cut in cuts) for name, cuts in labelled.items()}
    require_other_texts(texts, manifests, max_shared_text)
