"""Configuration of augmentation: sections `spec_augment` and `sound_augment` of the recogniser's data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from lhotse_prep.workflow.result_options import FILE
from lhotse_prep.workflow.strict_config import require, require_all

NUM_MEL_BINS = 80  # of the features
HIGHEST_CUTOFF = 7_900  # Hz; sound of 16 kHz has frequencies up to 8000
CUTOFF_STEP = 100  # Hz between frequencies of low-pass; resamplers to rates without a large common divisor are huge
CODECS = ("opus", "mp3", "vorbis", "gsm", "mulaw")  # those of Lhotse that need no libraries beyond soundfile


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Time warp and masks over features (Park et al., 2019); each of the three is off where its values are 0."""

    time_warp_factor: int = 80  # frames of 10 ms that a point in time is shifted by at most; 0: no time warp
    num_frame_masks: int = 6  # masks over time at most per utterance; 0: none
    max_frames_mask: int = 30  # a mask over time is shorter than this many frames of 10 ms
    max_frames_fraction: float = 0.2  # fraction of an utterance that all masks over time cover at most, 0..1
    num_feature_masks: int = 2  # masks over frequency per utterance; 0: none
    features_mask_size: int = 20  # a mask over frequency is narrower than this many of the 80 mel bins

    def __post_init__(self) -> None:
        require_all(self, [f.name for f in fields(self)], 0)
        require(self.max_frames_fraction <= 1, f"max_frames_fraction must be in 0..1, got {self.max_frames_fraction}")
        for name in ("max_frames_mask", "features_mask_size"):
            require(getattr(self, name) != 1, f"{name} must be 0 (off) or at least 2: a mask is narrower, so 1 is none")
        widest = self.features_mask_size
        require(widest <= NUM_MEL_BINS, f"features_mask_size must be at most {NUM_MEL_BINS} mel bins, got {widest}")

    def with_more_frame_masks(self, ratio: float) -> SpecAugmentConfig:
        """The same with `ratio` times as many masks over time, which cover `ratio` times as much at most."""
        return replace(
            self,
            num_frame_masks=int(self.num_frame_masks * ratio),
            max_frames_fraction=self.max_frames_fraction * ratio,
        )

    @property
    def has_frame_masks(self) -> bool:
        """Whether there are masks over time."""
        return min(self.num_frame_masks, self.max_frames_mask, self.max_frames_fraction) > 0

    @property
    def has_feature_masks(self) -> bool:
        """Whether there are masks over frequency."""
        return min(self.num_feature_masks, self.features_mask_size) > 0


@dataclass(frozen=True)
class SoundAugmentConfig:
    """What is done to the sound of windows to train on, in this order; noise comes after reverberation."""

    reverb_probability: float = 0.0  # probability that a window is reverberated
    # RecordingSet file of impulse responses of rooms, 16 kHz, one channel; null: random ones, drawn anew each time
    rir_recordings: str | None = field(default=None, metadata=FILE)
    rir_max_t60: float = 0.8  # longest reverberation time of random impulse responses in seconds; the shortest is 0.1
    clipping_probability: float = 0.0  # probability that a window is overdriven, half of them hard and half softly
    clipping_gain: tuple[float, ...] = (3.0, 15.0)  # lowest and highest dB of the loudest sample above full scale
    lowpass_probability: float = 0.0  # probability that a window loses its high frequencies
    lowpass_cutoff: tuple[float, ...] = (3000.0, 7000.0)  # lowest and highest frequency in Hz that is the last to stay
    codec_probability: float = 0.0  # probability that a window goes through a codec
    codecs: tuple[str, ...] = CODECS  # those that are drawn from; gsm and mulaw are telephones, of 8 kHz
    # lowest and highest compression by opus, mp3 and vorbis, 0..1, where 1 is the lowest bitrate
    codec_level: tuple[float, ...] = (0.5, 0.95)

    def __post_init__(self) -> None:
        for name in ("reverb", "clipping", "lowpass", "codec"):
            probability = getattr(self, f"{name}_probability")
            require(0 <= probability <= 1, f"{name}_probability must be in 0..1, got {probability}")
        require(
            self.rir_recordings is None or self.reverb_probability > 0,
            "rir_recordings is given, but reverb_probability is 0, so that nothing is reverberated",
        )
        require(0.1 < self.rir_max_t60 <= 5, f"rir_max_t60 must be above 0.1 and at most 5 s, got {self.rir_max_t60}")
        limits = {"clipping_gain": (0, 60), "lowpass_cutoff": (500, HIGHEST_CUTOFF), "codec_level": (0, 1)}
        for name, (low, high) in limits.items():
            values = getattr(self, name)
            is_range = len(values) == 2 and low <= values[0] <= values[1] <= high
            require(is_range, f"{name} must be two numbers, ascending, in {low}..{high}, got {list(values)}")
        bad = [codec for codec in self.codecs if codec not in CODECS]
        require(
            not bad and len(self.codecs) > 0, f"codecs must be some of {', '.join(CODECS)}, got {list(self.codecs)}"
        )

    @property
    def is_on(self) -> bool:
        """Whether anything is done."""
        return (
            max(self.reverb_probability, self.clipping_probability, self.lowpass_probability, self.codec_probability)
            > 0
        )
