"""Models that align lectures without training on them: ours with a CTC head, and Hugging Face models like wav2vec2.

Legend: T frames, F mel bins, V symbols with blank (0).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.strict_config import from_mapping
from ml2021.asr.aligner.prepared import Frames, as_array
from ml2021.asr.model.layers.encoder_frames import FRAME, SUBSAMPLING_FACTOR
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import CtcModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.training.checkpoint import load_checkpoint

_CHUNK, _CONTEXT = 2000, 200  # frames
_BATCH = 16  # pieces

LogProbs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # features (N, T, F), lengths -> (N, T', V), lengths


class Acoustic(Protocol):
    """A CTC model and its units of words."""

    frame: int  # samples

    def encode(self, words: Sequence[str]) -> list[list[int]]:
        """Unit ids of each word, 1..V - 1; an empty list for a word that the vocabulary cannot write."""

    def blocks(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Log-probs (T, V) of a recording, some frames at a time."""


def load_acoustic(path: Path, device: torch.device, weights: Path | None = None) -> Acoustic:
    """Read a model from its folder, or from a pretrained.pt in it.

    Args:
      path: stage 3's aligner/, stage 5's folder, or a Hugging Face folder of a CTC model on raw audio.
      device: where it runs.
      weights: of stage 3's aligner, if not those in its folder.
    Raises:
      DataError: it is none of these, or damaged.
    """
    folder = path.parent if path.is_file() else path
    if not (folder / "config.json").is_file():
        raise DataError(f"{path} is no model: expected a folder with config.json, a .ctm or a .jsonl file")
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as e:
        raise DataError(f"{folder / 'config.json'} is not JSON ({e})") from e
    if "model_type" in content:
        return HuggingFaceAcoustic(folder, device)
    if (folder / "units.txt").is_file():
        units = PronunciationUnits.load(folder)
        model = CtcModel(from_mapping(content.get("encoder"), ZipformerConfig, f"{folder}: encoder"), len(units))
        try:
            model.load_state_dict(load_checkpoint(weights or folder / "pretrained.pt")["model"])
        except RuntimeError as e:
            raise DataError(f"{folder}: pretrained.pt does not fit config.json and units.txt") from e
        return FeatureAcoustic(model.eval().to(device), units.encode_words, device)
    recogniser, tokens = load_model(folder)
    if recogniser.config.ctc_loss_scale == 0:
        raise DataError(
            f"{folder} has no trained CTC head (ctc_loss_scale is 0), and aligning needs one: train it for an epoch "
            "with --init-from and --ctc-loss-scale 0.2, or give the words that it recognises (a .ctm or .jsonl file)"
        )
    recogniser.to(device)
    return FeatureAcoustic(recogniser.ctc_log_probs, lambda words: tokens.encode_words(" ".join(words)), device)


def has_ctc_head(folder: Path) -> bool:
    """Whether a recogniser of this project was trained with a CTC loss; True if its config.json does not say."""
    try:
        model = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model"]
        return bool(model.get("ctc_loss_scale", 1) != 0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


class FeatureAcoustic:
    """A model of ours, on log-mels."""

    frame = FRAME

    def __init__(
        self, model: LogProbs, encode: Callable[[Sequence[str]], list[list[int]]], device: torch.device
    ) -> None:
        self.model, self.encode, self.device = model, encode, device

    def blocks(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Log-probs of a recording."""
        return self.feature_blocks(fbank(samples))

    def feature_blocks(self, features: Frames) -> Iterator[NDArray[np.float32]]:
        """Log-probs of a recording from its features (T, F)."""
        return log_prob_blocks(self.model, features, self.device)

    def batched_blocks(self, lectures: Iterable[Frames]) -> Iterator[Iterator[NDArray[np.float32]]]:
        """As feature_blocks of each lecture in order, with pieces of several lectures in one pass of the model."""
        return batched_log_probs(self.model, lectures, self.device)


@dataclass(frozen=True)
class _Piece:
    """Some frames of a lecture with context on both sides."""

    lecture: int
    features: NDArray[np.float32]  # (F', F)
    first: int  # the first frame of the log-probs after the context
    count: int  # of them


def log_prob_blocks(
    model: LogProbs, features: Frames, device: torch.device, chunk: int = _CHUNK, context: int = _CONTEXT
) -> Iterator[NDArray[np.float32]]:
    """(T, F) -> (T', V) log-probs of a whole lecture, chunk frames at a time with context frames on both sides."""
    for piece in _pieces(0, features, chunk, context):
        yield _log_probs(model, [piece], device)[0]


def batched_log_probs(
    model: LogProbs,
    lectures: Iterable[Frames],
    device: torch.device,
    batch_size: int = _BATCH,
    chunk: int = _CHUNK,
    context: int = _CONTEXT,
) -> Iterator[Iterator[NDArray[np.float32]]]:
    """The log_prob_blocks of each lecture in order, computed batch_size pieces at a time, whosever they are.

    Each lecture's blocks must be used before the next lecture's are taken.
    """
    pieces = (piece for i, features in enumerate(lectures) for piece in _pieces(i, features, chunk, context))
    batches = iter(lambda: list(islice(pieces, batch_size)), [])
    blocks = (pair for batch in batches for pair in zip(batch, _log_probs(model, batch, device)))
    for _, group in groupby(blocks, key=lambda pair: pair[0].lecture):
        yield (block for _, block in group)


def _pieces(lecture: int, features: Frames, chunk: int, context: int) -> Iterator[_Piece]:
    for begin in range(0, len(features), chunk):
        left = min(context, begin)
        count = -(-min(chunk, len(features) - begin) // SUBSAMPLING_FACTOR)
        frames = as_array(features[begin - left : begin + chunk + context])
        yield _Piece(lecture, frames, left // SUBSAMPLING_FACTOR, count)


@torch.no_grad()
def _log_probs(model: LogProbs, pieces: Sequence[_Piece], device: torch.device) -> list[NDArray[np.float32]]:
    """The log-probs of each piece without its context, (count, V)."""
    lens = torch.tensor([len(p.features) for p in pieces])
    batch = nn.utils.rnn.pad_sequence([torch.from_numpy(p.features) for p in pieces], batch_first=True)
    log_probs, out_lens = model(batch.to(device), lens)
    values = log_probs.float().cpu().numpy()
    return [
        row[p.first : min(p.first + p.count, n)] for p, row, n in zip(pieces, values, out_lens.tolist(), strict=True)
    ]


class HuggingFaceAcoustic:
    """A CTC model of transformers whose input is raw audio: wav2vec2, HuBERT, WavLM and the like."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoModelForCTC

        vocabulary = folder / "vocab.json"
        if not vocabulary.is_file():
            raise DataError(f"no {vocabulary}: the model's vocabulary is needed")
        try:
            self.model = AutoModelForCTC.from_pretrained(folder, local_files_only=True).eval().to(device)
        except (OSError, ValueError, KeyError) as e:
            raise DataError(f"{folder} cannot be read as a CTC model: {str(e).splitlines()[0]}") from e
        if self.model.main_input_name != "input_values":
            raise DataError(
                f"{folder}: the model takes {self.model.main_input_name}; a model that takes raw audio is needed"
            )
        self.device = device
        self.frame = int(np.prod(self.model.config.conv_stride))
        self.blank = int(self.model.config.pad_token_id)
        self.ids: dict[str, int] = json.loads(vocabulary.read_text(encoding="utf-8"))
        self.delimiter = self.ids.get("|")

    def encode(self, words: Sequence[str]) -> list[list[int]]:
        """Each word as one symbol if the vocabulary has it, otherwise as its letters; unknown letters are left out."""
        return [self._encode_word(word) for word in words]

    def _encode_word(self, word: str) -> list[int]:
        for whole in (word, word.upper()):
            if whole in self.ids:
                return [self._column(self.ids[whole])]
        letters = [next((self.ids[c] for c in (x, x.upper()) if c in self.ids), None) for x in word]
        return [self._column(i) for i in letters if i is not None]

    def _column(self, token_id: int) -> int:
        """The column of a token: blank and column 0 are swapped."""
        return {self.blank: 0, 0: self.blank}.get(token_id, token_id)

    @torch.no_grad()
    def blocks(
        self, samples: NDArray[np.float32], chunk: float = 30.0, context: float = 2.0
    ) -> Iterator[NDArray[np.float32]]:
        """Log-probs of a recording, computed `chunk` seconds at a time with `context` seconds on both sides."""
        mean, deviation = float(samples.mean()), float(samples.std()) + 1e-7
        size, margin = (int(x * SAMPLE_RATE) // self.frame * self.frame for x in (chunk, context))
        for begin in range(0, len(samples), size):
            left = min(margin, begin)
            piece = (samples[begin - left : begin + size + margin] - mean) / deviation
            piece = np.pad(piece, (0, 2 * self.frame))  # context of the last frames
            logits = self.model(torch.from_numpy(piece)[None].to(self.device)).logits[0].float()
            log_probs = logits.log_softmax(1).cpu().numpy()
            if self.delimiter is not None:  # a space between words is no speech either
                log_probs[:, self.blank] = np.logaddexp(log_probs[:, self.blank], log_probs[:, self.delimiter])
            log_probs[:, [0, self.blank]] = log_probs[:, [self.blank, 0]]
            first = left // self.frame
            count = -(-min(size, len(samples) - begin) // self.frame)
            yield log_probs[first : first + count]
