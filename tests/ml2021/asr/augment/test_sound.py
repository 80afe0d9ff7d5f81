"""Augmentation of sound: what each kind does to it, that windows stay what they are, exact repetition, bad inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from lhotse import AudioSource, CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment
from lhotse.augmentation import ReverbWithImpulseResponse
from lhotse.dataset import CutMix
from lhotse.shar import SharWriter

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.augment.config import CODECS, SoundAugmentConfig, SpecAugmentConfig
from ml2021.asr.augment.recordings import read_noises, read_rirs
from ml2021.asr.augment.sound import SoundAugment
from ml2021.asr.train.config import AsrConfig, AsrDataConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.stage import training_stage

RATE = 16000
EVERYTHING = SoundAugmentConfig(
    reverb_probability=0.7, clipping_probability=0.5, lowpass_probability=0.5, codec_probability=0.7, rir_max_t60=0.2
)
UNMASKED = SpecAugmentConfig(time_warp_factor=0, num_frame_masks=0, num_feature_masks=0)


def recording(folder: Path, name: str, samples: np.ndarray, rate: int = RATE) -> Recording:
    """Write samples (T,) or (T, C) as floats."""
    path = folder / f"{name}.wav"
    sf.write(path, samples, rate, subtype="FLOAT")
    num_channels = 1 if samples.ndim == 1 else samples.shape[1]
    sources = [AudioSource("file", list(range(num_channels)), str(path))]
    return Recording(name, sources, rate, len(samples), len(samples) / rate)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """White noise in bursts of 0.1 s with pauses of 0.3 s between."""
    samples = np.random.default_rng(0).normal(0, 0.05, 12 * RATE)
    samples[np.arange(len(samples)) % 6400 >= 1600] = 0
    samples = np.round(samples * 32768) / 32768  # as 16 bits hold it
    return recording(tmp_path_factory.mktemp("speech"), "x", samples)


@pytest.fixture(scope="module")
def windows(speech: Recording) -> CutSet:
    """Windows whose durations are whole samples, but nothing rounder."""
    cuts = []
    for i in range(8):
        start, duration = (1000 + 20011 * i) / RATE, (9001 + 1237 * i) / RATE
        supervision = SupervisionSegment(f"x-{i}", "x", 0.0, duration, text=f"text {i}")
        cuts.append(MonoCut(f"x-{i}", start, duration, 0, supervisions=[supervision], recording=speech))
    return CutSet.from_cuts(cuts)


def loaded(cuts: CutSet, config: SoundAugmentConfig, seed: int = 1, rirs: list[Recording] | None = None) -> list:
    """[(before, after)] of each cut, samples (T,)."""
    augment = SoundAugment(config, seed, rirs or [])
    changed = augment.recorded(augment.in_rooms(cuts, 1), 1)
    return [(a.load_audio()[0], b.load_audio()[0]) for a, b in zip(cuts, changed, strict=True)]


def power(samples: np.ndarray, low: float = 0.0, high: float = RATE / 2) -> float:
    """In a band of frequencies."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(frequencies >= low) & (frequencies < high)].sum())


@pytest.mark.parametrize("seed", range(3))
def test_windows_stay_as_long_and_keep_their_texts(windows: CutSet, seed: int) -> None:
    """With noise between, as in training; the sound of most windows changes."""
    noise = CutSet.from_cuts([windows[0].recording.to_cut().truncate(duration=0.3)])
    augment = SoundAugment(EVERYTHING, seed)
    rooms = CutMix(noise, p=0.5, pad_to_longest=False, preserve_id=True, seed=seed)(augment.in_rooms(windows, 1))
    num_changed = 0
    for before, after in zip(windows, augment.recorded(rooms, 1), strict=True):
        assert after.id == before.id and after.duration == before.duration and after.num_samples == before.num_samples
        assert [s.to_dict() for s in after.supervisions] == [s.to_dict() for s in before.supervisions]
        samples = after.load_audio()
        assert samples.shape == (1, before.num_samples) and samples.dtype == np.float32 and np.isfinite(samples).all()
        num_changed += not np.array_equal(samples, before.load_audio())
    assert num_changed > 4


def test_what_happens_depends_on_seed_epoch_and_id_alone(windows: CutSet) -> None:
    def sounds(augment: SoundAugment, cuts: CutSet, epoch: int) -> dict[str, np.ndarray]:
        return {c.id: c.load_audio() for c in augment.recorded(augment.in_rooms(cuts, epoch), epoch)}

    state = torch.get_rng_state()
    first = sounds(SoundAugment(EVERYTHING, 1), windows, 1)
    assert torch.equal(torch.get_rng_state(), state), "masks do not depend on it"
    torch.manual_seed(99)
    one_by_one = SoundAugment(EVERYTHING, 1)
    for cut in reversed(list(windows)):
        assert np.array_equal(sounds(one_by_one, CutSet.from_cuts([cut]), 1)[cut.id], first[cut.id])
    for other in (sounds(one_by_one, windows, 2), sounds(SoundAugment(EVERYTHING, 2), windows, 1)):
        assert sum(np.array_equal(other[i], first[i]) for i in first) < 4


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_each_kind_comes_as_often_as_it_should(windows: CutSet, probability: float) -> None:
    many = CutSet.from_cuts([replace(windows[0], id=str(i)) for i in range(400)])
    for name in ("reverb", "clipping", "lowpass", "codec"):
        augment = SoundAugment(SoundAugmentConfig(**{f"{name}_probability": probability}), 5)  # type: ignore[arg-type]
        changed = augment.recorded(augment.in_rooms(many, 3), 3)
        rate = sum(bool(c.recording.transforms) for c in changed) / len(many)
        assert abs(rate - probability) < 0.08 * (probability < 1) + 1e-9, (name, rate)


def test_low_pass_removes_what_is_above_the_cutoff_alone(windows: CutSet) -> None:
    config = SoundAugmentConfig(lowpass_probability=1.0, lowpass_cutoff=(3000.0, 3000.0))
    for before, after in loaded(windows, config):
        assert power(after, 3400) < 1e-3 * power(before, 3400)
        assert power(after, 0, 2500) == pytest.approx(power(before, 0, 2500), rel=0.08)


def test_hard_clipping_flattens_peaks_at_the_gain(windows: CutSet) -> None:
    """10 dB over: all beyond 10^(-10/20) of the peak is cut off (hard) or bent (softly); levels below stay."""
    config = SoundAugmentConfig(clipping_probability=1.0, clipping_gain=(10.0, 10.0))
    flat = []
    for before, after in loaded(windows, config):
        limit = np.abs(before).max() * 10 ** (-10 / 20)
        assert np.mean(np.abs(before) > 1.15 * limit) > 0.01
        assert np.mean(np.abs(after) > 1.15 * limit) < 0.5 * np.mean(np.abs(before) > 1.15 * limit)
        flat.append(np.mean(np.abs(after) > 0.97 * limit) > 0.5 * np.mean(np.abs(before) > 0.97 * limit))
    assert 0 < sum(flat) < len(flat), "some hard, some soft"


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_change_sound_but_neither_time_nor_much_of_its_level(windows: CutSet, codec: str) -> None:
    for before, after in loaded(windows, SoundAugmentConfig(codec_probability=1.0, codecs=(codec,))):
        assert np.mean((before - after) ** 2) / np.mean(before**2) > 1e-4
        assert -6 < 10 * np.log10(power(after, 300, 3000) / power(before, 300, 3000)) < 3
        assert abs(lag(before, after)) <= 1
        if codec in ("gsm", "mulaw"):
            assert power(after, 4300) < 0.01 * power(before, 4300)


def lag(a: np.ndarray, b: np.ndarray) -> int:
    """Samples by which b is later than a."""
    correlation = np.correlate(b[:8000], a[:8000], "full")
    return int(np.abs(correlation).argmax()) - 7999


def exponential_rir(t60: float, delay: int, sign: float = 1.0) -> np.ndarray:
    """A direct sound after some samples, and noise that falls by 60 dB within t60 seconds."""
    decay = 10 ** (-3 * np.arange(int(1.2 * t60 * RATE)) / (t60 * RATE))
    tail = 0.2 * np.random.default_rng(3).normal(size=len(decay)) * decay
    tail[0] = sign
    return np.concatenate([np.zeros(delay), tail])


def decay_time(samples: np.ndarray) -> float:
    """T60 in seconds from the slope between -5 and -25 dB of backward integrated energy (Schroeder, 1965)."""
    energy = np.cumsum(samples[::-1].astype(np.float64) ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-12)
    times = np.arange(len(level)) / RATE
    inside = (level < -5) & (level > -25)
    return float(-60 / np.polyfit(times[inside], level[inside], 1)[0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("t60", [0.3, 0.6])
def test_a_click_in_a_room_stays_at_its_time_and_dies_away_in_t60(tmp_path: Path, t60: float, sign: float) -> None:
    click = np.zeros(2 * RATE, dtype=np.float32)
    click[4000] = 0.5
    cuts = CutSet.from_cuts([recording(tmp_path, "click", click).to_cut()])
    rir = recording(tmp_path, "rir", exponential_rir(t60, delay=900, sign=sign))
    RecordingSet.from_recordings([rir]).to_file(tmp_path / "rirs.jsonl.gz")
    rirs = read_rirs(tmp_path / "rirs.jsonl.gz")
    ((before, after),) = loaded(cuts, SoundAugmentConfig(reverb_probability=1.0), rirs=rirs)
    assert int(after.argmax()) == 4000, "also where the direct sound of the impulse response is negative"
    assert np.sum(after**2) == pytest.approx(np.sum(before**2), rel=1e-3)
    assert np.abs(after[:3990]).max() < 1e-4
    assert decay_time(after[4001:]) == pytest.approx(t60, rel=0.15)


def test_random_rooms_keep_time_and_level_and_fill_the_pauses(windows: CutSet) -> None:
    config = SoundAugmentConfig(reverb_probability=1.0, rir_max_t60=0.4)
    lags = []
    for before, after in loaded(windows, config):
        assert np.sum(after**2) == pytest.approx(np.sum(before**2), rel=1e-3)
        lags.append(abs(lag(before, after)) / RATE)
        pauses = before == 0
        assert np.sum(after[pauses] ** 2) > 1e-3 * np.sum(after**2)
    assert np.median(lags) < 0.002 and max(lags) < 0.02, "in far rooms a reflection may be stronger than what is direct"


def test_rooms_come_before_noise_so_that_the_snr_is_as_given(windows: CutSet, tmp_path: Path) -> None:
    """Then clipping and codecs work on the mixture."""
    noise = recording(tmp_path, "noise", np.random.default_rng(2).normal(0, 0.1, 3 * RATE)).to_cut()
    config = SoundAugmentConfig(reverb_probability=1.0, rir_max_t60=0.2)
    reverberated = SoundAugment(config, 1).in_rooms(windows.subset(first=3), 1)
    mixed = CutMix(CutSet.from_cuts([noise]), snr=6.0, p=1.0, pad_to_longest=False, preserve_id=True)(reverberated)
    for speech, mixture in zip(reverberated, mixed, strict=True):
        clean, noisy = speech.load_audio(), mixture.load_audio()
        assert 10 * np.log10(np.sum(clean**2) / np.sum((noisy - clean) ** 2)) == pytest.approx(6.0, abs=0.1)
    low = SoundAugmentConfig(lowpass_probability=1.0, lowpass_cutoff=(3000.0, 3000.0))
    for mixture, after in zip(mixed, SoundAugment(low, 1).recorded(mixed, 1), strict=True):
        assert power(after.load_audio()[0], 3400) < 1e-3 * power(mixture.load_audio()[0], 3400)


def test_impulse_responses_are_lhotses(windows: CutSet, tmp_path: Path) -> None:
    """The same as Lhotse's transform of the window with this impulse response."""
    rir = recording(tmp_path, "rir", exponential_rir(0.3, 100))
    ((_, after),) = loaded(windows.subset(first=1), SoundAugmentConfig(reverb_probability=1.0), rirs=[rir])
    assert np.array_equal(after, windows[0].reverb_rir(rir).load_audio()[0])
    again = ReverbWithImpulseResponse(rir=rir)(windows[0].load_audio(), RATE)[0]
    assert np.array_equal(after, again)


@pytest.fixture(scope="module")
def cuts_dir(windows: CutSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuts")
    windows.to_file(folder / "ml2021_cuts_train.jsonl.gz")
    return folder


def batches(cuts_dir: Path | None, config: AsrDataConfig, first: int = 0, step: int = 1) -> list[dict]:
    data = AsrDataModule(cuts_dir, config, seed=1)
    return list(data.load_train(islice(enumerate(data.train_plan(2)), first, None, step), 2))


def config(**values: Any) -> AsrDataConfig:
    return AsrDataConfig(max_duration=2.0, num_buckets=2, on_the_fly_feats=True, spec_augment=UNMASKED, **values)


def test_batches_repeat_in_workers_after_a_start_and_in_other_processes(cuts_dir: Path) -> None:
    values: dict[str, Any] = {"sound_augment": EVERYTHING, "speed_factors": (1.1,)}
    masks = SpecAugmentConfig(time_warp_factor=5)
    whole = batches(cuts_dir, replace(config(**values), spec_augment=masks))
    parts = batches(cuts_dir, replace(config(**values), spec_augment=masks, num_workers=1), 1, 2)
    assert len(parts) == len(whole) // 2 > 1
    for a, b in zip(whole[1::2], parts, strict=True):
        assert a["ids"] == b["ids"] and torch.equal(a["inputs"], b["inputs"])
    plain = batches(cuts_dir, replace(config(speed_factors=(1.1,)), spec_augment=masks))
    assert [b["ids"] for b in plain] == [b["ids"] for b in whole]
    for a, b in zip(plain, whole):
        assert torch.equal(a["supervisions"]["num_frames"], b["supervisions"]["num_frames"])
        assert a["supervisions"]["text"] == b["supervisions"]["text"] and a["inputs"].shape == b["inputs"].shape


def test_other_groups_of_windows_and_shar_and_replay_have_the_same_sound(cuts_dir: Path, tmp_path: Path) -> None:
    def features(data: list[dict]) -> dict[str, torch.Tensor]:
        lens = {i: n for b in data for i, n in zip(b["ids"], b["supervisions"]["num_frames"].tolist())}
        return {i: b["inputs"][row, : lens[i] - 3] for b in data for row, i in enumerate(b["ids"])}

    expected = features(batches(cuts_dir, config(sound_augment=EVERYTHING)))
    (tmp_path / "shar").mkdir()
    with SharWriter(tmp_path / "shar", {"recording": "wav"}, shard_size=3) as writer:
        for cut in CutSet.from_file(cuts_dir / "ml2021_cuts_train.jsonl.gz"):
            writer.write(cut)
    others = {
        "batches": batches(cuts_dir, replace(config(sound_augment=EVERYTHING), max_duration=1.2)),
        "shar": batches(None, config(sound_augment=EVERYTHING, shar_dir=(str(tmp_path / "shar"),))),
        "replay": batches(
            cuts_dir,
            config(
                sound_augment=EVERYTHING, mux_cuts=(str(cuts_dir / "ml2021_cuts_train.jsonl.gz"),), mux_weights=(0.5,)
            ),
        ),
    }
    for name, data in others.items():
        actual = features(data)
        assert actual.keys() == expected.keys()
        for i, inputs in expected.items():
            torch.testing.assert_close(actual[i], inputs, atol=1e-4, rtol=0, msg=f"{name} {i}")


def test_off_changes_nothing(cuts_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("no transform is made")

    off = SoundAugmentConfig(rir_max_t60=0.3, clipping_gain=(1.0, 2.0), codecs=("gsm",))
    expected = batches(cuts_dir, config())
    monkeypatch.setattr("ml2021.asr.augment.sound.SoundAugment.__init__", forbidden)
    for a, b in zip(batches(cuts_dir, config(sound_augment=off)), expected, strict=True):
        assert torch.equal(a["inputs"], b["inputs"])


def rir_file(folder: Path, *rirs: Recording) -> Path:
    path = folder / "rirs.jsonl.gz"
    RecordingSet.from_recordings(rirs).to_file(path)
    return path


GOOD = exponential_rir(0.1, 10)
BAD_RIRS: list[tuple[Callable[[Path], Recording], str]] = [
    (lambda f: recording(f, "bad", GOOD, 8000), "impulse response bad .* has 8000 Hz, not 16000: resample it"),
    (lambda f: recording(f, "bad", np.stack([GOOD, GOOD], 1)), "bad .* has 2 channels, not 1: write one"),
    (lambda f: recording(f, "bad", np.where(GOOD == 1, np.nan, GOOD)), "bad .* has values that are not numbers"),
    (lambda f: recording(f, "bad", 0 * GOOD), "bad .* is silent; correct it, or take it out"),
    (lambda f: recording(f, "bad", np.ones(21 * RATE)), r"bad .* has 21\.0 s, over 20 s: is it one"),
    (lambda f: replace(recording(f, "bad", GOOD), num_samples=99999, duration=99999 / RATE), "bad .* cannot be read"),
    (lambda f: replace(recording(f, "bad", GOOD), sources=[AudioSource("file", [0], f"{f}/no.wav")]), "no.wav"),
]


@pytest.mark.parametrize(("make", "message"), BAD_RIRS)
def test_bad_impulse_responses_are_named(
    cuts_dir: Path, tmp_path: Path, make: Callable[[Path], Recording], message: str
) -> None:
    path = rir_file(tmp_path, recording(tmp_path, "good", GOOD), make(tmp_path))
    augment = SoundAugmentConfig(reverb_probability=0.01, rir_recordings=str(path))
    with pytest.raises(DataError, match=message):
        AsrDataModule(cuts_dir, config(sound_augment=augment), seed=1).prepare()


def test_an_empty_file_of_impulse_responses_and_an_empty_recording_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no .*nowhere\.jsonl; sound_augment\.rir_recordings must name"):
        read_rirs(tmp_path / "nowhere.jsonl")
    (tmp_path / "rirs.jsonl").touch()
    with pytest.raises(DataError, match=r"rirs\.jsonl has no recordings"):
        read_rirs(tmp_path / "rirs.jsonl")
    (tmp_path / "bad.wav").write_bytes(b"")
    empty = Recording("bad", [AudioSource("file", [0], str(tmp_path / "bad.wav"))], RATE, 1600, 0.1)
    with pytest.raises(DataError, match="impulse response bad .* cannot be read"):
        read_rirs(rir_file(tmp_path, empty))


@pytest.mark.parametrize(
    ("make", "needs", "message"),
    [
        (lambda f: recording(f, "bad", GOOD, 8000).to_cut(), "audio", "noise bad.* has 8000 Hz, not 16000"),
        (lambda f: recording(f, "bad", np.stack([GOOD, GOOD], 1)).to_cut(), "audio", "bad.* has 2 channels, not 1"),
        (lambda f: recording(f, "bad", np.full(70 * RATE, np.inf)).to_cut(), "audio", "bad.* not numbers"),
        (lambda f: recording(f, "bad", GOOD).to_cut(), "features", "bad.* has no features: compute them, or set"),
        (lambda f: replace(recording(f, "bad", GOOD).to_cut(), recording=None), "audio", "bad.* has no recording"),
    ],
)
def test_bad_noises_are_named(tmp_path: Path, make: Callable[[Path], MonoCut], needs: str, message: str) -> None:
    cut = replace(make(tmp_path), id="bad")
    CutSet.from_cuts([cut]).to_file(tmp_path / "noise.jsonl.gz")
    with pytest.raises(DataError, match=message):
        read_noises(tmp_path / "noise.jsonl.gz", needs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reverb_probability": 1.5}, r"reverb_probability must be in 0\.\.1, got 1\.5"),
        ({"rir_recordings": "a.jsonl.gz"}, "reverb_probability is 0"),
        ({"rir_max_t60": 0.1}, "rir_max_t60 must be above 0.1"),
        ({"lowpass_cutoff": (3000.0, 8000.0)}, r"lowpass_cutoff must be two numbers, ascending, in 500\.\.7900"),
        ({"clipping_gain": (9.0, 3.0)}, "clipping_gain must be two numbers, ascending"),
        ({"codec_level": (0.5,)}, "codec_level must be two numbers"),
        ({"codecs": ("lpc10",)}, r"codecs must be some of opus, .*, got \['lpc10'\]"),
        ({"codecs": ()}, "codecs must be some of"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SoundAugmentConfig(**values)


def test_stored_features_cannot_be_augmented() -> None:
    with pytest.raises(ConfigError, match="sound_augment needs on_the_fly_feats: true"):
        AsrDataConfig(sound_augment=EVERYTHING)


def test_other_impulse_responses_make_another_training(tmp_path: Path) -> None:
    """The file is an input of stage 5; what it is called does not count."""
    from lhotse_prep.workflow.stage_record import input_at

    augment = replace(EVERYTHING, rir_recordings=str(rir_file(tmp_path, recording(tmp_path, "a", GOOD))))
    data = AsrDataConfig(on_the_fly_feats=True, sound_augment=augment)
    (tmp_path / "lang").mkdir()
    stage = training_stage((input_at(tmp_path / "lang"), None), tmp_path / "exp", AsrConfig(data=data), None, ())
    assert any(str(i.path).endswith("rirs.jsonl.gz") for i in stage.inputs)
    assert asdict(augment)["codecs"] == CODECS
