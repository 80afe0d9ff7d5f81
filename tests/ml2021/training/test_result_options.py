"""Which options count for results: all of every section, but for those listed here."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from lhotse_prep.corpora.mini.config import MiniConfig
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.workflow.result_options import result_options
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.augment.config import SoundAugmentConfig
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.config import LmConfig
from ml2021.asr.train.config import AsrConfig, AsrDataConfig
from ml2021.mt.config import MtConfig, TranslateConfig
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.training.config import TrainConfig

HOW_IT_RUNS = {"keep_epochs", "save_every_n", "keep_last_k", "log_interval", "max_bad_steps", "scan_worst_batches"}
HOW_IT_RUNS |= {"num_diagnostics_batches", "num_workers", "num_processes", "loss_backend", "compile", "both_heads"}
HOW_IT_RUNS |= {"beside_recogniser"}
FILES = {"noise_cuts", "init_encoder_from_aligner", "model", "from_dir", "utterances", "lm_dir", "hotwords_file"}
FILES |= {"lg_file", "init_from", "comet_model", "shar_dir", "shar_dev_dir", "mux_cuts", "lexicon_file"}
FILES |= {"rir_recordings", "lexicon_texts", "lodr_dir"}
UNUSED_BY_ADAMW_AND_COSINE = {"warmup_start", "lr_batches", "lr_epochs"}
UNUSED_BY_GREEDY_SEARCH = {"beam_size", "max_sym_per_frame", "beam", "max_contexts", "max_states", "num_paths"}
UNUSED_BY_GREEDY_SEARCH |= {"nbest_scale", "ngram_lm_scale", "ctc_scale", "ctc_lag", "word_score", "token_scale"}
UNUSED_BY_GREEDY_SEARCH |= {"lodr_scale", "ilm_scale", "units_rescore_scale", "script"}  # empty: none
UNUSED_BY_THE_ALIGNER = {"num_epochs", "num_buckets", "on_the_fly_feats", "speed_factors", "noise_probability"}
UNUSED_BY_THE_ALIGNER |= {"noise_snr", "shar_weights", "mux_weights", "time_mask_ratio", "average_by_dev"}
UNUSED_BY_THE_ALIGNER |= {f.name for f in dataclasses.fields(SoundAugmentConfig)}
SECTIONS: list[tuple[Any, set[str]]] = [
    (MiniConfig(), set()),
    (CorpusConfig(), set()),
    (CheckConfig(), set()),
    (LangConfig(), set()),
    (WindowConfig(), set()),
    (AsrConfig(), UNUSED_BY_ADAMW_AND_COSINE),
    (AlignerConfig(), UNUSED_BY_ADAMW_AND_COSINE | UNUSED_BY_THE_ALIGNER),
    (DecodeConfig(), UNUSED_BY_GREEDY_SEARCH),
    (LmConfig("rnn"), UNUSED_BY_ADAMW_AND_COSINE | {"order"}),
    (MtConfig(), UNUSED_BY_ADAMW_AND_COSINE),
    (TranslateConfig(), set()),
    (SentenceConfig(), set()),
    (SubtitleConfig(), set()),
]


def names_of(values: Any, prefix: str = "") -> set[str]:
    """Dotted names of all values of a nested mapping."""
    return {
        name
        for key, value in values.items()
        for name in (names_of(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"})
    }


@pytest.mark.parametrize(("config", "unused"), SECTIONS, ids=lambda x: type(x).__name__)
def test_all_options_count_but_for_the_listed_ones(config: Any, unused: set[str]) -> None:
    ignored = names_of(to_mapping(config)) - result_options(config).keys()
    assert {name.split(".")[-1] for name in ignored} <= HOW_IT_RUNS | FILES | unused
    counting = {f.name for f in dataclasses.fields(config)} - HOW_IT_RUNS - FILES - unused
    assert counting <= {name.split(".")[0] for name in result_options(config)} | {"model"}


def test_options_count_where_they_matter() -> None:
    eden = replace(TrainConfig(), schedule="eden", optimizer="scaled_adam")
    assert result_options(eden).keys() >= UNUSED_BY_ADAMW_AND_COSINE
    assert not {"grad_clip", "weight_decay", "final_lr_factor"} & result_options(eden).keys()
    assert "order" in result_options(LmConfig("ngram")) and "rnn.dim" not in result_options(LmConfig("ngram"))
    beam = result_options(DecodeConfig("modified_beam_search"))
    assert "beam_size" in beam and "max_states" not in beam
    given = result_options(AlignerConfig(model="words.ctm"))
    assert given.keys() == {"star_penalty", "star_opening", "skip_cost", "mismatch_penalty", "min_island", "refine"}
    speeds = AsrDataConfig(on_the_fly_feats=True, speed_factors=(0.9,))
    assert result_options(speeds)["speed_factors"] == [0.9]
    assert "model.d_model" not in result_options(MtConfig(init_from="a folder"))
