"""The families of recognisers that sherpa-onnx knows: their files, their metadata, what they can do.

The names of files are those of the published folders (k2-fsa/sherpa-onnx, release asr-models); the keys of the metadata
are those that sherpa-onnx reads, which ends the process if one is missing.
"""

from __future__ import annotations

from collections.abc import Callable

from ml2021.asr.sherpa.families import Family, Headers

# Seconds, for families that give no times: the fewer words in a window, the better their times. For Whisper too, since
# sherpa-onnx takes 6 tokens a second from it at most, and Chinese needs more: windows are short, and padded to 29 s.
SHORT_WINDOW = 15.0


def _model_type(headers: Headers, role: str) -> str:
    header = headers.get(role)
    return header.metadata.get("model_type", "") if header else ""


def _has(headers: Headers, role: str, *keys: str) -> bool:
    header = headers.get(role)
    return header is not None and all(key in header.metadata for key in keys)


def is_streaming(headers: Headers) -> bool:
    """Whether the models take a chunk of a stream and the state that the chunk before left."""
    keys = ("decode_chunk_len", "chunk_shift", "cache_last_channel_dim1", "chunk_size", "decoder_kernel_size")
    return any(
        any(key in header.metadata for key in keys) or header.metadata.get("model_type") == "t-one"
        for header in headers.values()
        if header is not None
    )


def _typed(role: str, *model_types: str) -> Callable[[Headers], bool]:
    return lambda headers: _model_type(headers, role) in model_types and not is_streaming(headers)


def _type_begins(role: str, start: str) -> Callable[[Headers], bool]:
    return lambda headers: _model_type(headers, role).startswith(start) and not is_streaming(headers)


def _is_icefall_transducer(headers: Headers) -> bool:
    return _has(headers, "decoder", "vocab_size", "context_size") and not is_streaming(headers)


def _is_streaming_transducer(headers: Headers) -> bool:
    return _has(headers, "decoder", "vocab_size", "context_size") and is_streaming(headers)


def _is_nemo_transducer(headers: Headers) -> bool:
    return _has(headers, "encoder", "pred_hidden") and not is_streaming(headers)


def _is_dolphin(headers: Headers) -> bool:
    return _model_type(headers, "model") == "dolphin" or _has(headers, "model", "mean", "invstd")


def _by_names(_: Headers) -> bool:
    return True


_TRANSDUCER = {"encoder": "encoder", "decoder": "decoder", "joiner": "joiner"}
_PAIR = {"encoder": "encoder", "decoder": "decoder"}
_MODEL = {"model": "model"}
_NEMO_CTC = ("EncDecCTCModelBPE", "EncDecCTCModel", "EncDecHybridRNNTCTCBPEModel")
_SENSE_VOICE_LANGUAGES = ("auto", "zh", "en", "ja", "ko", "yue")
_COHERE_LANGUAGES = ("ar", "de", "el", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "vi", "zh")
_LFR = ("vocab_size", "lfr_window_size", "lfr_window_shift")  # of models on frames at a low rate
_WHISPER_KEYS = (
    "n_mels",
    "n_text_layer",
    "n_text_ctx",
    "n_text_state",
    "n_vocab",
    "sot",
    "eot",
    "blank_id",
    "translate",
    "transcribe",
    "is_multilingual",
    "no_timestamps",
    "no_speech",
    "sot_sequence",
)
_SENSE_VOICE_KEYS = (
    *_LFR,
    "normalize_samples",
    "with_itn",
    "without_itn",
    "lang_auto",
    "lang_zh",
    "lang_en",
    "lang_ja",
    "lang_ko",
    "lang_yue",
    "neg_mean",
    "inv_stddev",
)


def _is_nano_ctc(headers: Headers) -> bool:
    header = headers.get("model")
    return (
        _typed("model", "sense_voice_ctc")(headers)
        and header is not None
        and "Nano" in header.metadata.get("comment", "")
    )


def _is_sense_voice(headers: Headers) -> bool:
    return _typed("model", "sense_voice_ctc")(headers) and not _is_nano_ctc(headers)


FAMILIES = (
    Family(
        "transducer",
        _TRANSDUCER,
        "from_transducer",
        _is_icefall_transducer,
        "decoder",
        ("vocab_size", "context_size"),
        beam_search=True,
    ),
    Family(
        "streaming transducer",
        _TRANSDUCER,
        "from_transducer",
        _is_streaming_transducer,
        "decoder",
        ("vocab_size", "context_size"),
        beam_search=True,
        online=True,
    ),
    Family(
        "NeMo transducer",
        _TRANSDUCER,
        "from_transducer",
        _is_nemo_transducer,
        "encoder",
        ("vocab_size", "subsampling_factor", "pred_rnn_layers", "pred_hidden"),
        beam_search=True,
    ),
    Family(
        "Whisper",
        _PAIR,
        "from_whisper",
        _type_begins("encoder", "whisper"),
        "encoder",
        _WHISPER_KEYS,
        has_times=False,
        max_window=SHORT_WINDOW,
        padded_to=29.0,
        needs_all_tokens=False,
        language_argument="language",
        language_key="all_language_codes",
    ),
    Family(
        "FireRed ASR",
        _PAIR,
        "from_fire_red_asr",
        lambda h: _has(h, "encoder", "cmvn_mean", "num_decoder_layers"),
        "encoder",
        ("num_decoder_layers", "num_head", "head_dim", "sos", "eos", "max_len", "cmvn_mean", "cmvn_inv_stddev"),
        has_times=False,
        max_window=SHORT_WINDOW,
        needs_all_tokens=False,
        stream_options={"max_token_per_second": "12"},
    ),
    Family(
        "Canary",
        _PAIR,
        "from_nemo_canary",
        _typed("encoder", "EncDecMultiTaskModel"),
        "encoder",
        ("vocab_size", "subsampling_factor", "feat_dim"),
        has_times=False,
        max_window=SHORT_WINDOW,
        needs_all_tokens=False,
        language_argument="src_lang",
        languages=("en", "es", "de", "fr"),
    ),
    Family(
        "Cohere Transcribe",
        _PAIR,
        "from_cohere_transcribe",
        _type_begins("encoder", "cohere-transcribe"),
        "encoder",
        has_times=False,
        max_window=SHORT_WINDOW,
        needs_all_tokens=False,
        language_argument="language",
        languages=_COHERE_LANGUAGES,
    ),
    Family(
        "Paraformer",
        {"model": "paraformer"},
        "from_paraformer",
        _typed("model", "paraformer"),
        "model",
        (*_LFR, "neg_mean", "inv_stddev"),
    ),
    Family(
        "SenseVoice",
        _MODEL,
        "from_sense_voice",
        _is_sense_voice,
        "model",
        _SENSE_VOICE_KEYS,
        language_argument="language",
        languages=_SENSE_VOICE_LANGUAGES,
    ),
    Family("Fun-ASR-Nano CTC", _MODEL, "from_sense_voice", _is_nano_ctc, "model", (*_LFR, "normalize_samples")),
    Family("Zipformer CTC", _MODEL, "from_zipformer_ctc", _typed("model", "zipformer2_ctc", "zipformer_ctc"), "model"),
    Family(
        "NeMo CTC", _MODEL, "from_nemo_ctc", _typed("model", *_NEMO_CTC), "model", ("vocab_size", "subsampling_factor")
    ),
    Family(
        "WeNet CTC",
        _MODEL,
        "from_wenet_ctc",
        _typed("model", "wenet_ctc"),
        "model",
        ("vocab_size", "subsampling_factor"),
    ),
    Family("TeleSpeech CTC", _MODEL, "from_telespeech_ctc", _typed("model", "telespeech_ctc"), "model"),
    Family("TDNN", _MODEL, "from_tdnn_ctc", _typed("model", "tdnn"), "model", ("vocab_size",)),
    Family("Dolphin CTC", _MODEL, "from_dolphin_ctc", _is_dolphin, "model", ("vocab_size", "mean", "invstd")),
    Family("Omnilingual CTC", _MODEL, "from_omnilingual_asr_ctc", _typed("model", "omnilingual-asr"), "model"),
    Family("MedASR CTC", _MODEL, "from_medasr_ctc", _typed("model", "medasr_ctc"), "model", ("vocab_size",)),
    Family(
        "FireRed CTC",
        _MODEL,
        "from_fire_red_asr_ctc",
        _typed("model", "fire-red-asr-2-ctc"),
        "model",
        ("cmvn_mean", "cmvn_inv_stddev"),
    ),
    Family(
        "Moonshine",
        {
            "preprocess": "preprocessor",
            "encode": "encoder",
            "uncached_decode": "uncached_decoder",
            "cached_decode": "cached_decoder",
        },
        "from_moonshine",
        _by_names,
        "encode",
        has_times=False,
        max_window=SHORT_WINDOW,
        needs_all_tokens=False,
    ),
    Family(
        "Moonshine v2",
        {"encoder_model": "encoder", "decoder_model_merged": "decoder"},
        "from_moonshine_v2",
        _by_names,
        "encoder_model",
        has_times=False,
        max_window=SHORT_WINDOW,
        needs_all_tokens=False,
    ),
    Family(
        "Fun-ASR-Nano",
        {"encoder_adaptor": "encoder_adaptor", "llm": "llm", "embedding": "embedding"},
        "from_funasr_nano",
        _by_names,
        "encoder_adaptor",
        ("lfr_window_size", "lfr_window_shift", "llm_dim"),
        has_times=False,
        max_window=SHORT_WINDOW,
        needs_tokens=False,
        tokenizer_files=("vocab.json", "merges.txt", "tokenizer.json"),
        language_argument="language",
        languages=("zh", "en", "ja"),
        hotwords_argument="hotwords",
    ),
    Family(
        "Qwen3-ASR",
        {"conv_frontend": "conv_frontend", **_PAIR},
        "from_qwen3_asr",
        _by_names,
        "conv_frontend",
        has_times=False,
        max_window=SHORT_WINDOW,
        needs_tokens=False,
        tokenizer_files=("vocab.json", "merges.txt", "tokenizer_config.json"),
        hotwords_argument="hotwords",
    ),
)
