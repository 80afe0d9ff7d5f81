"""Augmentation of sound from which features are computed: rooms, clipping, low-pass and codecs, all by Lhotse.

What happens to a window depends only on the seed, the epoch and its id. Lhotse's transforms of cuts are not used, only
its transforms of samples:

- what they draw depends on the order of the windows, and the random impulse responses on torch's generator too;
- low-pass at any frequency makes resamplers of hundreds of megabytes, and changes durations;
- clipping or a codec, on a window with noise, would work on speech and noise separately and drop the reverberation.

Legend: C channels, T samples.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch
from lhotse import CutSet, Recording, RecordingSet
from lhotse.augmentation import AudioTransform, Narrowband, Resample, ReverbWithImpulseResponse
from lhotse.augmentation.clipping import Clipping
from lhotse.augmentation.compress import Compress
from lhotse.augmentation.utils import FastRandomRIRGenerator
from lhotse.cut import Cut, MixedCut
from lhotse.cut.data import DataCut
from lhotse.utils import fastcopy
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.files import AUDIO, FEATS, load_safely
from lhotse_prep.workflow.digests import digest_bytes
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.train.config import CUTOFF_STEP, NUM_MEL_BINS, SoundAugmentConfig
from ml2021.training.seeds import derived_seed

LONGEST_RIR = 20.0  # seconds; what is longer is no impulse response
_BLOCK = 60.0  # seconds of a noise that are checked at a time
_OVERSAMPLING = 2  # of clipping, as in Lhotse
_TELEPHONE = {"gsm": 8000, "mulaw": 8000}  # sampling rates of codecs that have one
_ROOM, _DEVICE = 2, 3  # last components of the seeds
Samples = NDArray[np.float32]


@dataclass
class SameLength(AudioTransform):  # type: ignore[misc]  # Lhotse has no types
    """Transforms one after the other, whose result is as long as their input: some add or drop a few samples."""

    steps: list[AudioTransform]

    def __call__(self, samples: Samples, sampling_rate: int) -> Samples:
        """(C, T) -> (C, T)."""
        sound = samples
        for step in self.steps:
            sound = step(sound, sampling_rate)
        sound = sound[:, : samples.shape[1]]
        lacking = samples.shape[1] - sound.shape[1]
        return np.ascontiguousarray(np.pad(sound, [(0, 0), (0, lacking)]), dtype=np.float32)

    def reverse_timestamps(self, offset: float, duration: float | None, sampling_rate: int) -> tuple[float, Any]:
        """Times stay as they are."""
        return offset, duration


@dataclass(frozen=True)
class _RandomRoom:
    """An impulse response by Lhotse's generator (Luo and Yu, 2022), with a seed for all that it draws."""

    seed: int
    max_t60: float  # seconds

    def __call__(self, nsource: int = 1) -> Samples:
        """(nsource, T), the same at each call; torch's generator stays as it is."""
        seeds = {"room_seed": self.seed, "source_seed": self.seed + 1}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            rir: Samples = FastRandomRIRGenerator(sr=SAMPLE_RATE, max_T60=self.max_t60, **seeds)(nsource)
        return rir if _has_positive_peak(rir) else -rir


def _has_positive_peak(rir: Samples) -> bool:
    """Whether the highest peak of (1, T) is positive: Lhotse puts the highest positive one at the time of the sound."""
    return bool(rir[0, np.abs(rir[0]).argmax()] > 0)


class SoundAugment:
    """Changes the sound of windows, lazily: their durations, ids and supervisions stay as they are."""

    def __init__(self, config: SoundAugmentConfig, seed: int, rirs: Sequence[Recording] = ()) -> None:
        """
        Args:
          config: what is done, and how often.
          seed: of the training.
          rirs: impulse responses from read_rirs; (): random ones.
        """
        self.config, self.seed, self.rirs = config, seed, tuple(rirs)

    def in_rooms(self, cuts: CutSet, epoch: int) -> CutSet:
        """Some windows reverberated, as loud as before, its strongest sound at its time; before noise."""
        return self._changed(cuts, epoch, _ROOM, self._room)

    def recorded(self, cuts: CutSet, epoch: int) -> CutSet:
        """Some windows clipped, then some low-passed, then some through a codec; after noise."""
        return self._changed(cuts, epoch, _DEVICE, self._device)

    def _changed(
        self, cuts: CutSet, epoch: int, kind: int, draw: Callable[[random.Random], list[AudioTransform]]
    ) -> CutSet:
        changed = []
        for cut in cuts:
            name = int(digest_bytes(cut.id.encode())[:16], 16)
            steps = draw(random.Random(derived_seed(self.seed, epoch, name, kind)))
            changed.append(_with_transform(cut, SameLength(steps)) if steps else cut)
        return CutSet.from_cuts(changed)

    def _room(self, rng: random.Random) -> list[AudioTransform]:
        if rng.random() >= self.config.reverb_probability:
            return []
        if self.rirs:
            return [ReverbWithImpulseResponse(rir=rng.choice(self.rirs))]
        room = _RandomRoom(rng.getrandbits(31), self.config.rir_max_t60)
        return [ReverbWithImpulseResponse(rir_generator=room)]

    def _device(self, rng: random.Random) -> list[AudioTransform]:
        c = self.config
        # all is drawn in any case, so that none of the three decides what the others do
        clips, gain, is_hard = rng.random() < c.clipping_probability, rng.uniform(*c.clipping_gain), rng.random() < 0.5
        low_passes, cutoff = rng.random() < c.lowpass_probability, _log_uniform(rng, *c.lowpass_cutoff)
        codes, codec, level = rng.random() < c.codec_probability, rng.choice(c.codecs), rng.uniform(*c.codec_level)
        steps: list[AudioTransform] = []
        if clips:
            steps += _at_rate(SAMPLE_RATE * _OVERSAMPLING, [Clipping(is_hard, gain, True)])
        if low_passes:
            steps += _at_rate(2 * round(cutoff / CUTOFF_STEP) * CUTOFF_STEP, [])
        if codes:
            steps += codec_steps(codec, level)
        return steps


def codec_steps(codec: str, level: float) -> list[AudioTransform]:
    """What sends sound through one of CODECS; the level of compression is 0 to 1, for all but gsm and mulaw."""
    if codec == "mulaw":
        return [Narrowband("mulaw", SAMPLE_RATE, True)]
    return _at_rate(_TELEPHONE.get(codec, SAMPLE_RATE), [Compress(codec, level)])


def _at_rate(rate: int, steps: list[AudioTransform]) -> list[AudioTransform]:
    """The steps at another sampling rate."""
    if rate == SAMPLE_RATE:
        return steps
    return [Resample(SAMPLE_RATE, rate), *steps, Resample(rate, SAMPLE_RATE)]


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _with_transform(cut: Cut, transform: AudioTransform) -> Cut:
    """The cut with its sound changed when it is loaded: after all that is there, and after its tracks are mixed."""
    if isinstance(cut, MixedCut):
        return fastcopy(cut, transforms=[*(cut.transforms or []), transform])
    recording = cut.recording
    return fastcopy(cut, recording=fastcopy(recording, transforms=[*(recording.transforms or []), transform]))


def read_rirs(path: Path) -> list[Recording]:
    """Read and check impulse responses; those whose highest peak is negative are turned over.

    Args:
      path: a RecordingSet file of Lhotse.
    Raises:
      DataError: there is no such file, it is damaged or empty, or a recording is missing, cannot be read, has another
        sampling rate, several channels, samples that are not numbers, nothing but zeros, or over LONGEST_RIR seconds.
    """
    name = "sound_augment.rir_recordings"
    if not path.is_file():
        raise DataError(f"no {path}; {name} must name a RecordingSet file of Lhotse (.jsonl.gz), or be null")
    rirs = []
    for rir in load_safely(path, RecordingSet, AUDIO):
        where = f"impulse response {rir.id} of {path}"
        advice = f"; correct it, or take it out of the file of {name}"
        if rir.sampling_rate != SAMPLE_RATE:
            raise DataError(
                f"{where} has {rir.sampling_rate} Hz, not {SAMPLE_RATE}: resample it, as with sox or ffmpeg"
            )
        if rir.num_channels != 1:
            raise DataError(f"{where} has {rir.num_channels} channels, not 1: write one of them to a file of its own")
        if rir.duration > LONGEST_RIR:
            raise DataError(f"{where} has {rir.duration:.1f} s, over {LONGEST_RIR:g} s: is it one?{advice}")
        samples = _readable(rir.load_audio, where, advice)
        if not samples.any():
            raise DataError(f"{where} is silent{advice}")
        rirs.append(rir if _has_positive_peak(samples) else rir.perturb_volume(-1.0))
    if not rirs:
        raise DataError(f"{path} has no recordings; {name} must name a RecordingSet file with some, or be null")
    return rirs


def read_noises(path: Path, needs: str) -> CutSet:
    """Read and check noises to mix in.

    Args:
      path: a CutSet file of Lhotse.
      needs: AUDIO or FEATS, what is read of them.
    Raises:
      DataError: there is no such file, it is damaged or has no cuts, or a cut lacks what is needed, cannot be read, has
        another sampling rate or number of mel bins, several channels, or values that are not numbers.
    """
    if not path.is_file():
        raise DataError(f"no noise {path}; noise_cuts must name a CutSet file of Lhotse (.jsonl.gz)")
    noises = load_safely(path, CutSet, needs)
    if not len(noises):
        raise DataError(f"{path} has no cuts; noise_cuts must name a CutSet file with noises, or be null")
    for cut in noises:
        where = f"noise {cut.id} of {path}"
        advice = "; correct it, or take it out of the file of noise_cuts"
        if needs == FEATS:
            if not cut.has_features:
                raise DataError(f"{where} has no features: compute them, or set data.on_the_fly_feats: true")
            if cut.num_features != NUM_MEL_BINS:
                raise DataError(f"{where} has features of {cut.num_features} mel bins, not {NUM_MEL_BINS}{advice}")
            _readable(cut.load_features, where, advice)
            continue
        if not cut.has_recording:
            raise DataError(f"{where} has no recording, and on_the_fly_feats needs one{advice}")
        if cut.sampling_rate != SAMPLE_RATE:
            raise DataError(
                f"{where} has {cut.sampling_rate} Hz, not {SAMPLE_RATE}: resample it, as with sox or ffmpeg"
            )
        if isinstance(cut, DataCut) and cut.num_channels != 1:
            raise DataError(f"{where} has {cut.num_channels} channels, not 1: make a MonoCut of one of them")
        for block in _blocks(cut):
            _readable(block.load_audio, where, advice)
    return noises


def _blocks(cut: Cut) -> Iterator[Cut]:
    """The cut in pieces of at most _BLOCK seconds."""
    for start in np.arange(0.0, cut.duration, _BLOCK).tolist():
        yield cut.truncate(offset=start, duration=min(_BLOCK, cut.duration - start))


def _readable(load: Callable[[], NDArray[Any]], where: str, advice: str) -> NDArray[Any]:
    """What is loaded; DataError if that fails, or there is nothing in it, or something that is no number."""
    try:
        values = load()
    except Exception as e:  # Lhotse's readers raise all kinds for damaged data
        reason = " ".join(str(e).split())[:300]
        raise DataError(f"{where} cannot be read ({type(e).__name__}: {reason}){advice}") from e
    if not values.size:
        raise DataError(f"{where} is empty{advice}")
    if not np.isfinite(values).all():
        raise DataError(f"{where} has values that are not numbers (NaN or infinite){advice}")
    return values


def require_codecs(codecs: Sequence[str]) -> None:
    """Raise ConfigError if libsndfile cannot encode and decode with one of CODECS."""
    tone = np.sin(np.arange(SAMPLE_RATE // 2) * 0.1, dtype=np.float32)[None]
    for codec in codecs:
        try:
            SameLength(codec_steps(codec, 0.5))(tone, SAMPLE_RATE)
        except (sf.SoundFileError, OSError, RuntimeError, TypeError, ValueError) as e:
            raise ConfigError(
                f"sound_augment.codecs: {sf.__libsndfile_version__} of libsndfile cannot use {codec} ({e}); take it "
                "out, or install another soundfile"
            ) from e
