"""First times without a model: a synthesiser speaks the transcript, and its speech is warped onto the recording.

The synthesiser's voice need not resemble the lecturer's: cepstra are normalised and pauses are removed on both sides,
and the path only has to be right to a word or two. The first training windows are cut by it, then the aligner takes
over. (The idea is from aeneas; dynamic time warping is from Sakoe and Chiba, 1978.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numba
import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.synthesis import Voice, speak_afresh
from lhotse_prep.audio.vad import HANGOVER
from lhotse_prep.text.characters import is_han

_COARSE, _FINE = 16, 4  # feature frames of 10 ms that each pass averages
_FIRST_BAND = 0.06  # fraction of the speech that is searched on each side of the diagonal
_MIN_BAND, _FINE_BAND = 20.0, 4.0  # seconds on each side, first and second pass
_NEAR_END = HANGOVER + 0.1  # seconds in which no word begins: no word is so short
_PHRASE = 40  # words that are spoken at once
_RATE_PENALTY = 0.3  # cost of a step that is not diagonal, in mean distances


def synthetic_times(
    words: Sequence[str], features: NDArray[np.float32], regions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The sample at which each word begins, by warping synthetic speech of the words onto the recording.

    Args:
      words: the transcript's space-separated units.
      features: (T, F) log-mel features of the recording, 10 ms a frame.
      regions: (R, 2) stretches of speech in samples.
    Returns:
      (len(words),) ascending.
    """
    spoken = np.concatenate([np.arange(b // FRAME_SHIFT, min(e // FRAME_SHIFT, len(features))) for b, e in regions])
    synthetic, starts = _synthesise(words, features.shape[1])
    path = _warp(_cepstra(features[spoken]), _cepstra(synthetic))  # (frames of speech,) -> frame of the synthetic
    frame = np.searchsorted(path, starts / FRAME_SHIFT)
    samples = spoken[np.minimum(frame, len(spoken) - 1)].astype(np.float64) * FRAME_SHIFT
    return after_pauses(samples, regions)


def after_pauses(begins: NDArray[np.float64], regions: NDArray[np.int64]) -> NDArray[np.float64]:
    """The begins of words, where those that lie just before a pause are moved behind it.

    Detectors end a stretch of speech late: a path that is a frame too early puts the first words of a stretch into the
    end of the one before, a whole pause off.

    Args:
      begins: (W,) in samples; NaN stays.
      regions: (R, 2) stretches of speech in samples, ascending.
    """
    stretch = np.searchsorted(regions[:, 0], begins, side="right") - 1
    is_before = (stretch >= 0) & (stretch < len(regions) - 1) & np.isfinite(begins)
    is_late = begins > regions[stretch, 1] - _NEAR_END * SAMPLE_RATE
    following = regions[np.minimum(stretch + 1, len(regions) - 1), 0]
    moved: NDArray[np.float64] = np.where(is_before & is_late, following, begins)
    return moved


def group_regions(regions: NDArray[np.int64], max_samples: int) -> NDArray[np.int64]:
    """Join neighbouring stretches into windows of at most max_samples (a longer stretch stays as it is)."""
    windows: list[list[int]] = []
    for begin, end in regions.tolist():
        if windows and end - windows[-1][0] <= max_samples:
            windows[-1][1] = end
        else:
            windows.append([begin, end])
    return np.array(windows, dtype=np.int64)


def regrouped(regions: NDArray[np.int64], spans: NDArray[np.int64], max_samples: int) -> NDArray[np.int64]:
    """Other windows over the same stretches: each from the middle of one of `spans` to the middle of the next.

    So what was an edge of a window lies inside one, but for breaks longer than max_samples. A span of a single stretch
    has no pause to be cut at: it goes to the window before it, unless that would be longer than max_samples.

    Args:
      regions: (R, 2) stretches in samples, ascending, disjoint.
      spans: (S, 2) of group_regions.
      max_samples: as there.
    """
    windows: list[list[int]] = []  # first begin and last end
    current: list[int] = []
    for begin, end in spans.tolist():
        inside = regions[(regions[:, 0] >= begin) & (regions[:, 1] <= end)]
        pauses = (inside[1:, 0] + inside[:-1, 1]) / 2
        if current and begin - current[1] > max_samples:  # a break; the window would be cut there again
            windows.append(current)
            current = []
        first = current[0] if current else begin
        if len(pauses):
            cut = int(np.abs(pauses - (begin + end) / 2).argmin())
            windows.append([first, int(inside[cut, 1])])
            current = [int(inside[cut + 1, 0]), end]
        elif current and end - first > max_samples:
            windows.append(current)
            current = [begin, end]
        else:
            current = [first, end]
    return np.array([*windows, current] if current else windows, dtype=np.int64).reshape(-1, 2)


def split_between_words(
    spans: NDArray[np.int64], start: NDArray[np.float64], end: NDArray[np.float64], max_samples: int
) -> NDArray[np.int64]:
    """Spans of at most max_samples: longer ones are cut amid the widest gap between words in the second half of a part.

    Where no two words are there, the rest is cut evenly.

    Args:
      spans: (S, 2) in samples, ascending.
      start, end: (W,) of words in samples; NaN: not spoken.
      max_samples: of a part, at least 2.
    """
    spoken = np.flatnonzero(np.isfinite(start))
    spoken = spoken[np.argsort(start[spoken] + end[spoken], kind="stable")]
    ends, starts = end[spoken[:-1]], start[spoken[1:]]
    gaps, between = starts - ends, np.maximum.accumulate((starts + ends) / 2)
    parts: list[tuple[int, int]] = []
    for begin, stop in spans.tolist():
        while stop - begin > max_samples:
            latest = min(begin + max_samples, stop - max_samples / 4)  # leaves no scrap
            first, last = np.searchsorted(between, (begin + max_samples / 2, latest))
            even = begin + (stop - begin) // -(-(stop - begin) // max_samples)
            cut = int(between[first + np.argmax(gaps[first:last])]) if first < last else even
            parts.append((begin, cut))
            begin = cut
        parts.append((begin, stop))
    return np.array(parts, dtype=np.int64).reshape(-1, 2)


def _synthesise(words: Sequence[str], num_features: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Log-mel features (T, F) of the words spoken without pauses, and the sample at which each begins."""
    import torch
    from lhotse import Fbank, FbankConfig
    from torchaudio.functional import resample

    runs = [
        ("cmn-latn-pinyin" if han else "en-us", run[begin : begin + _PHRASE])
        for han, group in groupby(words, key=lambda w: len(w) == 1 and is_han(w))
        for run in [list(group)]
        for begin in range(0, len(run), _PHRASE)
    ]
    phrases = [(language, _pinyin(text) if language.startswith("cmn") else text) for language, text in runs]
    speeches, sample_rate = speak_afresh(phrases, Voice())
    extractor = Fbank(FbankConfig(num_mel_bins=num_features, dither=0.0, snip_edges=False, high_freq=-400.0))
    parts, starts = [], []
    num_frames = 0
    for speech in speeches:
        samples = resample(torch.from_numpy(speech.samples), sample_rate, SAMPLE_RATE).numpy()
        loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max(initial=0.0))
        first, last = (loud[0], loud[-1] + 1) if len(loud) else (0, len(samples))
        part = samples[first:last]
        if len(part) < 10 * FRAME_SHIFT:
            part = np.pad(part, (0, 10 * FRAME_SHIFT - len(part)))
        word_starts = speech.word_starts * (SAMPLE_RATE / sample_rate) - first
        starts.append(num_frames * FRAME_SHIFT + np.clip(word_starts, 0, len(part)))
        parts.append(np.asarray(extractor.extract(part, SAMPLE_RATE)))
        num_frames += len(parts[-1])
    return np.concatenate(parts), np.concatenate(starts)


def _pinyin(characters: Sequence[str]) -> list[str]:
    from pypinyin import Style, lazy_pinyin

    return lazy_pinyin("".join(characters), style=Style.TONE3, neutral_tone_with_five=True)


def _cepstra(features: NDArray[np.float32], num_cepstra: int = 16) -> NDArray[np.float32]:
    """(T, F) log-mels -> (T, C) cepstra, mean 0 and variance 1 over the recording."""
    num_mels = features.shape[1]
    angles = np.pi * (np.arange(num_mels) + 0.5)[:, None] * np.arange(num_cepstra) / num_mels
    cepstra = features @ np.cos(angles)
    normalised: NDArray[np.float32] = ((cepstra - cepstra.mean(0)) / (cepstra.std(0) + 1e-6)).astype(np.float32)
    return normalised


def _warp(real: NDArray[np.float32], synthetic: NDArray[np.float32]) -> NDArray[np.float64]:
    """The synthetic frame of each real frame, (T,), both of 10 ms: a coarse pass, then a fine one."""
    scale = len(synthetic) / len(real)
    path = np.arange(len(real)) * scale  # the diagonal
    band = max(_MIN_BAND, _FIRST_BAND * len(real) / 100)
    for factor, seconds in ((_COARSE, band), (_FINE, _FINE_BAND)):
        x, y = _pooled(real, factor), _pooled(synthetic, factor)
        resampled = y[np.minimum((np.arange(len(x)) * len(y) / len(x)).astype(np.int64), len(y) - 1)]
        centre = path[::factor][: len(x)] / scale / factor
        width = int(seconds * 100 / factor)
        fine = _dtw(x, resampled, centre.astype(np.int64), width)
        at = (np.arange(len(fine)) + 0.5) * factor
        path = np.interp(np.arange(len(real)), at, (fine + 0.5) * factor * scale)
    return np.maximum.accumulate(path)


def _pooled(frames: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    usable = len(frames) // factor * factor
    pooled: NDArray[np.float32] = frames[:usable].reshape(-1, factor, frames.shape[1]).mean(1)
    return pooled


@numba.njit(cache=True)
def _dtw(x, y, centre, width):  # pragma: no cover (compiled)
    """Path (T,) of x (T, C) through y (U, C), 0 to 2 frames of y per frame of x, within `width` of centre (T,)."""
    num_x, num_y = len(x), len(y)
    span = 2 * width + 1
    pointers = np.zeros((num_x, span), np.int8)
    penalty = np.float32(_RATE_PENALTY * np.sqrt(2.0 * x.shape[1]))
    never = np.float32(1e30)
    before = np.full(span, never, np.float32)
    row = np.empty(span, np.float32)
    for t in range(num_x):
        shift = centre[t] - centre[t - 1] if t > 0 else 0
        for k in range(span):
            j = centre[t] - width + k
            row[k] = never
            if j < 0 or j >= num_y:
                continue
            best, pointer = never, 0
            if t == 0:
                best = np.float32(penalty * j)  # the text may begin a little before the speech
            else:
                for step in range(3):
                    i = k + shift - step
                    if 0 <= i < span:
                        value = before[i] + (np.float32(0) if step == 1 else penalty)
                        if value < best:
                            best, pointer = value, step
            total = np.float32(0)
            for c in range(x.shape[1]):
                difference = x[t, c] - y[j, c]
                total += difference * difference
            row[k] = best + np.sqrt(total)
            pointers[t, k] = pointer
        before, row = row, before
    path = np.empty(num_x, np.int64)
    k = 0
    for i in range(span):  # the path may end anywhere, at a cost for each remaining frame of y
        j = centre[num_x - 1] - width + i
        if 0 <= j < num_y and before[i] + penalty * (num_y - 1 - j) < before[k] + penalty * max(
            0, num_y - 1 - (centre[num_x - 1] - width + k)
        ):
            k = i
    for t in range(num_x - 1, -1, -1):
        path[t] = centre[t] - width + k
        if t > 0:
            k += centre[t] - centre[t - 1] - pointers[t, k]
    return path
