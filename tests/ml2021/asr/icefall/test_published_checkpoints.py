"""Checkpoints as icefall's recipes publish them, made with tiny layouts, decode as the original model with its tokens.

Vocabularies: BPE in capitals with <unk> after the characters and no <sos/eos>, as in X-ASR-zh-en; byte-BPE; characters.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import sentencepiece as spm
import torch
import yaml
from lhotse import CutSet
from sentencepiece import sentencepiece_model_pb2 as proto

from lhotse_prep.tokens.byte_bpe import from_byte_chars
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.aligner.acoustic import load_acoustic
from ml2021.asr.decode.__main__ import main as decode
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.streaming import main as decode_streams
from ml2021.asr.export import networks
from ml2021.asr.fusion.config import LmConfig, RnnLmConfig
from ml2021.asr.fusion.hotwords import read_hotwords
from ml2021.asr.fusion.load import load_lm
from ml2021.asr.fusion.ngram import train_ngram
from ml2021.asr.fusion.train_lm import train_lm
from ml2021.asr.icefall import convert as module
from ml2021.asr.icefall.bpe_model import require_same_ids, sentencepiece_model
from ml2021.asr.icefall.import_checkpoint import main
from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layout import layout_differences, layout_of
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel, num_parameters
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.lg import spell
from ml2021.asr.search.modified_beam_search import modified_beam_search
from ml2021.asr.search.streaming import StreamingRecogniser
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.first_weights import init_from
from ml2021.asr.train.options import TrainOptions, config_of, parse_arguments, read_asr_config
from ml2021.asr.train.train import train_recogniser
from ml2021.asr.train.unknown_words import require_writable
from ml2021.scoring.texts import read_texts
from ml2021.training.config import TrainConfig

PROJECT = Path(__file__).parents[4]
CHARS = "一二三四五六七八"
ENGLISH = ["MODEL", "DATA", "THE"]


@dataclass(frozen=True)
class Published:
    """Files that a recipe publishes, and what they are."""

    folder: Path  # pretrained.pt, lang/, layout.yaml
    model: AsrModel  # with the weights of pretrained.pt
    unk: int
    text_of: Callable[[list[int]], str]  # what the recipe writes for tokens, in small letters


def bpe_of_x_asr(lang: Path) -> tuple[int, int, Callable[[list[int]], str]]:
    """<blk>, ▁一 ... ▁八, <unk>, English in capitals; returns the number of tokens, the id of <unk>, and a decoder."""
    trained = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH * 20),
        model_writer=trained,
        model_type="bpe",
        vocab_size=24,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    model = proto.ModelProto()
    model.ParseFromString(trained.getvalue())
    kinds = proto.ModelProto.SentencePiece
    english = [(p.piece, p.score - 100) for p in model.pieces if p.type == kinds.NORMAL]
    del model.pieces[:]
    model.pieces.add(piece="<blk>", score=0.0, type=kinds.USER_DEFINED)
    for n, char in enumerate(CHARS):
        model.pieces.add(piece=f"▁{char}", score=-float(n), type=kinds.NORMAL)
    model.pieces.add(piece="<unk>", score=0.0, type=kinds.UNKNOWN)
    for piece, score in english:
        model.pieces.add(piece=piece, score=score, type=kinds.NORMAL)
    for char in CHARS:
        model.pieces.add(piece=char, score=-500.0, type=kinds.NORMAL)
    model.trainer_spec.unk_id = len(CHARS) + 1
    lang.mkdir()
    (lang / "bpe.model").write_bytes(model.SerializeToString())
    pieces = spm.SentencePieceProcessor(model_proto=model.SerializeToString())
    symbols = [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    (lang / "tokens.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate([*symbols, "#0"])), encoding="utf-8")
    return len(symbols), len(CHARS) + 1, lambda ids: str(pieces.decode(ids)).lower()


def byte_bpe(lang: Path) -> tuple[int, int, Callable[[list[int]], str]]:
    make_lang([" ".join(CHARS), "model data"], [], lang, LangConfig(kind="bbpe", num_pieces=280, case="upper"))
    (lang / "lang.json").unlink()
    pieces = spm.SentencePieceProcessor(str(lang / "bbpe.model"))
    return len(pieces), 2, lambda ids: from_byte_chars(pieces.decode(ids)).decode("utf-8", "ignore").lower()


def characters(lang: Path) -> tuple[int, int, Callable[[list[int]], str]]:
    symbols = ["<eps>", "<sos/eos>", "<unk>", *CHARS, *"ABC", "<space>"]
    lang.mkdir()
    (lang / "tokens.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate([*symbols, "#0"])), encoding="utf-8")
    return len(symbols), 2, lambda ids: "".join(s if len(s := symbols[i]) == 1 else " " for i in ids).lower()


KINDS = {"x_asr": bpe_of_x_asr, "bbpe": byte_bpe, "char": characters}


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


@pytest.fixture(scope="module", params=KINDS)
def published(request, config, tmp_path_factory) -> Published:
    """Random weights without a CTC head; X-ASR's is causal with its chunks, the others are not."""
    folder = tmp_path_factory.mktemp(request.param)
    num_tokens, unk, text_of = KINDS[request.param](folder / "lang")
    layout = config.model
    if request.param == "x_asr":
        chunks = {"causal": True, "chunk_size": (8, 24, 48, 96, -1), "left_context_frames": (96, 128, 256, -1)}
        layout = replace(layout, encoder=replace(layout.encoder, **chunks))
    torch.manual_seed(2)
    model = AsrModel(layout, num_tokens).eval()
    with torch.no_grad():  # hypotheses of many tokens
        for layer in (model.joiner.output_linear, model.joiner.encoder_proj, model.joiner.decoder_proj):
            layer.weight.mul_(20)
        model.joiner.output_linear.bias[[unk, *([1] if unk == 2 else [])]] = -1e6  # sentencepiece writes <unk> as ⁇
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("ctc_output")}
    torch.save({"model": weights, "epoch": 5, "exp_dir": Path("zipformer/exp")}, folder / "pretrained.pt")
    (folder / "layout.yaml").write_text(yaml.safe_dump({"model": plain(to_mapping(layout))}))
    return Published(folder, model, unk, text_of)


def run_import(published: Published, exp_dir: Path, *options: str) -> None:
    folder = published.folder
    files = ["--checkpoint", str(folder / "pretrained.pt"), "--lang-dir", str(folder / "lang")]
    main([*files, "--exp-dir", str(exp_dir), *options])


@pytest.fixture(scope="module")
def imported(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp_dir = tmp_path_factory.mktemp("imported")
    run_import(published, exp_dir, "--model", str(published.folder / "layout.yaml"))
    return exp_dir


@torch.no_grad()
def test_it_decodes_as_the_original(published, imported, tone_corpus, tmp_path) -> None:
    (tmp_path / "decode.yaml").write_text("")
    assert read_asr_config(imported).model.ctc_loss_scale == 0
    options = ["--exp-dir", str(imported), "--cuts", str(tone_corpus.cuts), "--part", "dev"]
    hyps = {}
    for method in ("greedy_search", "modified_beam_search"):
        out = str(tmp_path / method)
        decode([*options, "--conf", str(tmp_path), "--decoding-method", method, "--out-dir", out])
        hyps[method] = read_texts(next(Path(out).glob("recogs-dev-*.txt")), "hyp")
    if published.model.config.encoder.causal:
        decode_streams(
            [*options, "--chunk-size", "24", "--left-context-frames", "96", "--out-dir", str(tmp_path / "s")]
        )
        hyps["streaming"] = read_texts(next((tmp_path / "s").glob("recogs-dev-*.txt")), "hyp")
    encoder = replace(published.model.config.encoder, chunk_size=(24,), left_context_frames=(96,))
    streaming = AsrModel(replace(published.model.config, encoder=encoder), published.model.vocab_size).eval()
    streaming.load_state_dict(published.model.state_dict())
    num_tokens = 0
    for cut in CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_dev.jsonl.gz"):
        features = torch.from_numpy(cut.load_features())
        encoded = published.model.forward_encoder(features[None], torch.tensor([len(features)]))
        results = {
            "greedy_search": greedy_search(published.model, *encoded)[0],
            "modified_beam_search": modified_beam_search(published.model, *encoded, DecodeConfig().num_hypotheses)[0],
        }
        if "streaming" in hyps:
            stream = StreamingRecogniser(streaming)
            stream.accept(features)
            results["streaming"] = stream.finish()
        for method, result in results.items():
            expected = published.text_of(list(result.tokens))
            num_tokens += len(result.tokens)
            assert "".join(hyps[method][cut.id].split()) == "".join(expected.split()), method
    assert num_tokens > 20


def test_it_fine_tunes_with_its_own_tokens(published, imported, tone_corpus, one_epoch, tmp_path, caplog) -> None:
    layout = ["--conf", str(tmp_path), "--model", str(imported / "config.json"), "--num-epochs", "1"]
    (tmp_path / "asr.yaml").write_text(yaml.safe_dump({"asr": plain(to_mapping(replace(one_epoch)))}))
    paths = ["--exp-dir", "x", "--cuts", "x", "--lang-dir", "x"]
    config = config_of(parse_arguments([*paths, *layout]))
    assert config.model.encoder == read_asr_config(imported).model.encoder
    assert config.model.ctc_loss_scale == one_epoch.model.ctc_loss_scale and config.data == one_epoch.data
    tokens = load_lang(imported / "lang")
    data = AsrDataModule(tone_corpus.cuts, config.data, seed=0)
    require_writable(data, tokens, imported / "lang")
    model = AsrModel(config.model, len(tokens))
    init_from(model, imported / "pretrained.pt")
    assert "another vocabulary" not in caplog.text and "cannot write" not in caplog.text
    assert torch.equal(model.joiner.output_linear.weight, published.model.joiner.output_linear.weight)
    cut = next(iter(data.train_cuts()))
    features = torch.from_numpy(cut.load_features())[None]
    ids = tokens.encode(cut.supervisions[0].text)
    losses = transducer_losses(model.train(), features, torch.tensor([features.shape[1]]), [ids])
    (losses.simple + losses.pruned + losses.ctc).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_what_else_uses_tokens_knows_the_special_ones(published, imported, tone_corpus, tmp_path) -> None:
    tokens = load_lang(imported / "lang")
    (tmp_path / "terms.txt").write_text("一 二 :2\n三\n", encoding="utf-8")
    terms = read_hotwords(tmp_path / "terms.txt", tokens, 1.0)
    assert list(terms) == [tuple(tokens.encode("一 二")), tuple(tokens.encode("三"))]
    if tokens.kind != "bbpe":
        (tmp_path / "terms.txt").write_text("龘\n", encoding="utf-8")
        with pytest.raises(DataError, match="龘.* has characters that tokens.txt lacks"):
            read_hotwords(tmp_path / "terms.txt", tokens, 1.0)
    words = ["一", "二", "三", "龘"]
    spelled = spell(train_ngram([words], words, 2), tokens)
    assert {"一", "二", "三"} <= spelled.keys() and ("龘" in spelled) == (tokens.kind == "bbpe")
    lm = LmConfig("rnn", 2, RnnLmConfig(dim=8, num_layers=1), TrainConfig(num_epochs=1, average_epochs=1))
    train_lm(tone_corpus.cuts, None, imported / "lang", tmp_path / "rnn", lm)
    scorer = load_lm(tmp_path / "rnn", tokens, 1.0, torch.device("cpu"))
    bos = 0 if published.unk == len(CHARS) + 1 else 1
    rnn = scorer.model
    with torch.no_grad():
        expected = rnn(torch.tensor([[bos]]))[0][0, -1].log_softmax(0)
    assert torch.allclose(scorer.scores(scorer.start(1))[0, 1:], expected[1:], atol=1e-5)
    train_lm(tone_corpus.cuts, None, imported / "lang", tmp_path / "ngram", replace(lm, kind="ngram"))
    units = (tmp_path / "ngram" / "lm.arpa").read_text(encoding="utf-8")
    assert "<blk>" not in units and "<eps>" not in units and "<sos/eos>" not in units
    assert all(s in units for i, s in enumerate(tokens.symbols) if i not in tokens.special.silent)
    for_sherpa = [line.rpartition(" ")[0] for line in networks._sherpa_tokens(tokens).splitlines()]
    assert for_sherpa == ["▁" if s == "<space>" else s for s in tokens.symbols]
    assert networks.bpe_vocab(tokens).count("\n") == (0 if tokens.kind == "char" else len(tokens))
    with pytest.raises(DataError, match=r"--trainer icefall cannot use tokens of kind \w+ in capitals"):
        sentencepiece_model(tokens)


def test_without_a_ctc_head_it_does_not_align(imported: Path) -> None:
    with pytest.raises(DataError, match="no trained CTC head.*--ctc-loss-scale 0.2, or give the words"):
        load_acoustic(imported, torch.device("cpu"))


@pytest.fixture(scope="module")
def x_asr(config, tmp_path_factory) -> Published:
    folder = tmp_path_factory.mktemp("layouts")
    num_tokens, unk, text_of = bpe_of_x_asr(folder / "lang")
    return Published(folder, AsrModel(config.model, num_tokens), unk, text_of)


def write_weights(published: Published, **changes: torch.Tensor | None) -> None:
    """pretrained.pt with some weights replaced, added or, by None, all of a module left out."""
    weights = dict(published.model.state_dict())
    for name, weight in changes.items():
        weights = {k: v for k, v in weights.items() if not k.startswith(name)}
        weights |= {} if weight is None else {name: weight}
    torch.save({"model": weights}, published.folder / "pretrained.pt")


def test_layout_is_that_of_the_file_that_fits(x_asr, config, tmp_path, monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    write_weights(x_asr)
    monkeypatch.setattr(module, "LAYOUTS", tmp_path / "conf")
    (tmp_path / "conf").mkdir()
    with pytest.raises(DataError, match=r"no file of conf/zipformer has the layout of .*encoder_dim: \[32, 48\]") as e:
        run_import(x_asr, tmp_path / "exp")
    shown = yaml.safe_load(str(e.value).split("`")[1])["model"]
    assert shown["encoder"]["num_heads"] == [2] and shown["encoder"]["cnn_module_kernel"] == [7]
    for name, causal in (("a_causal", True), ("plain", False)):
        layout = replace(config.model, encoder=replace(config.model.encoder, causal=causal))
        (tmp_path / "conf" / f"{name}.yaml").write_text(yaml.safe_dump({"model": plain(to_mapping(layout))}))
    run_import(x_asr, tmp_path / "exp")
    assert "has the layout of conf/zipformer/plain.yaml, not causal" in caplog.text
    (tmp_path / "conf" / "plain.yaml").unlink()
    run_import(x_asr, tmp_path / "exp")
    assert "has the layout of conf/zipformer/a_causal.yaml, not causal" in caplog.text
    assert not read_asr_config(tmp_path / "exp").model.encoder.causal
    with pytest.raises(DataError, match=r"num_encoder_layers \[1\] \(not \[2, 2, 4.*a_causal.yaml has this layout"):
        run_import(x_asr, tmp_path / "exp", "--model", str(PROJECT / "conf" / "zipformer" / "large.yaml"))
    with pytest.raises(ConfigError, match="--chunk-size and --left-context-frames are for causal models"):
        run_import(x_asr, tmp_path / "exp", "--chunk-size", "16")


def test_adapters_are_imported_with_the_layout_of_the_rest(x_asr, config, tmp_path, monkeypatch) -> None:
    torch.manual_seed(5)
    adapted = replace(x_asr, model=AsrModel(replace(config.model, adapter_dim=4), x_asr.model.vocab_size).eval())
    for name, parameter in adapted.model.named_parameters():
        if "adapter.out_proj" in name:  # they start at zero
            torch.nn.init.normal_(parameter, std=0.3)
    write_weights(adapted)
    monkeypatch.setattr(module, "LAYOUTS", tmp_path / "conf")
    (tmp_path / "conf").mkdir()
    layout = to_mapping(config.model)
    (tmp_path / "conf" / "plain.yaml").write_text(yaml.safe_dump({"model": plain(layout)}))
    run_import(adapted, tmp_path / "exp")
    assert read_asr_config(tmp_path / "exp").model.adapter_dim == 4
    features, lens = torch.randn(1, 90, 80), torch.tensor([90])
    with torch.no_grad():
        outputs = [m.forward_encoder(features, lens)[0] for m in (load_model(tmp_path / "exp")[0], adapted.model)]
    assert torch.equal(*outputs)
    with pytest.raises(DataError, match=r"another layout than --model names: adapter_dim 4 \(not 0\)"):
        run_import(adapted, tmp_path / "exp", "--model", str(tmp_path / "conf" / "plain.yaml"))


def test_chunks_are_chosen_when_importing(x_asr, config, tmp_path, caplog, capsys) -> None:
    caplog.set_level("INFO")
    encoder = replace(config.model.encoder, causal=True)
    causal = replace(x_asr, model=AsrModel(replace(config.model, encoder=encoder), x_asr.model.vocab_size))
    write_weights(causal)
    (x_asr.folder / "layout.yaml").write_text(yaml.safe_dump({"model": plain(to_mapping(causal.model.config))}))
    chunks = ["--chunk-size", "96,8,-1", "--left-context-frames", "-1,128"]
    run_import(causal, tmp_path / "exp", "--model", str(x_asr.folder / "layout.yaml"), *hyphen_values(chunks))
    encoder = read_asr_config(tmp_path / "exp").model.encoder
    assert encoder.chunk_size == (96, 8, -1) and encoder.left_context_frames == (-1, 128)
    assert "decoded in chunks of 1.92 s with the whole recording or window before them" in caplog.text
    with pytest.raises(ConfigError, match="chunk_size must be -1 or a multiple"):
        run_import(causal, tmp_path / "exp", "--model", str(x_asr.folder / "layout.yaml"), "--chunk-size", "7")
    with pytest.raises(SystemExit):
        run_import(causal, tmp_path / "exp", "--chunk-size", "16;32")
    assert "argument --chunk-size: '16;32' is not a list of whole numbers such as 16,32,-1" in capsys.readouterr().err


def hyphen_values(options: list[str]) -> list[str]:
    """Values that begin with a hyphen, joined to their option."""
    return [f"{name}={value}" for name, value in zip(options[::2], options[1::2])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": None, "joiner": None}, "is a CTC model without decoder and joiner .*--init-modules"),
        ({"encoder.": None}, "is no recogniser of icefall's zipformer recipe of 2023 and later"),
        ({"encoder.encoders.0.layers.0.self_attn1.in_proj.lora_A": torch.zeros(2, 3)}, "has weights of LoRA: merge"),
        ({"decoder.rnn.weight_ih_l0": torch.zeros(2, 3)}, "has an LSTM as decoder"),
        ({"encoder_embed.out.weight": torch.zeros(32, 31 * 128)}, "trained on other features: .* has 31 columns"),
        ({"encoder.encoders.1.encoder.layers.0.self_attn_weights": None}, "stack 1 of its encoder is not that of"),
    ],
)
def test_other_models_are_refused_in_one_line(x_asr, tmp_path, changes, message) -> None:
    write_weights(x_asr, **changes)
    with pytest.raises(DataError, match=message) as e:
        run_import(x_asr, tmp_path / "exp")
    assert "\n" not in str(e.value) and not (tmp_path / "exp").exists()


@cache
def without_values(name: str) -> AsrModel:
    """A recogniser of conf/zipformer with 5000 tokens, whose weights have shapes only."""
    config = load_config(PROJECT / "conf" / "zipformer" / f"{name}.yaml", "model", TransducerConfig)
    with torch.device("meta"):
        return AsrModel(config, 5000)


@pytest.mark.parametrize("name", ["mini", "small", "medium", "streaming", "large"])
def test_weights_tell_each_layout_of_conf_zipformer(name: str) -> None:
    path = PROJECT / "conf" / "zipformer" / f"{name}.yaml"
    weights = without_values(name).state_dict()
    assert layout_differences(weights, without_values(name).config, name) == []
    assert module._fitting_files(weights, Path(name))[0] == path
    other = "small" if name == "mini" else "mini"
    others = layout_differences(weights, load_config(path.with_name(f"{other}.yaml"), "model", TransducerConfig), name)
    values = layout_of(weights, name)
    assert any(x.startswith(f"encoder_dim {values['encoder_dim']} (not ") for x in others)


def test_large_layout_has_the_size_of_icefalls_models() -> None:
    """148,439,574 with 500 tokens, not causal, by its LibriSpeech recipe; 160 M with the 5000 of X-ASR, causal."""
    model = without_values("large")
    large = model.config
    assert large.encoder.chunk_size == (8, 24, 48, 96, -1) and large.encoder.left_context_frames == (96, 128, 256, -1)
    with torch.device("meta"):
        plain_model = AsrModel(replace(large, encoder=replace(large.encoder, causal=False)), 500)
    assert num_parameters(plain_model) - num_parameters(plain_model.ctc_output) == 148_439_574
    assert num_parameters(model) - num_parameters(model.ctc_output) == 159_662_546


def test_wrong_layout_in_a_training_is_named_by_its_values(x_asr, config, tone_corpus, tmp_path) -> None:
    write_weights(x_asr, ctc_output=None)
    encoder = replace(config.model.encoder, num_encoder_layers=(1, 2))
    other = replace(config, model=replace(config.model, encoder=encoder))
    start = TrainOptions(init_from=x_asr.folder / "pretrained.pt")
    with pytest.raises(DataError, match=r"num_encoder_layers \[1\] \(not \[1, 2\]\); give the model the layout"):
        train_recogniser(tone_corpus.cuts, x_asr.folder / "lang", tmp_path, other, start)


def test_tokens_of_another_script_are_refused_and_rare_unknown_words_counted(
    tone_corpus, one_epoch, tmp_path, caplog
) -> None:
    for name, chars in (("other", "亿万"), ("most", "一二三四五六七")):
        (tmp_path / name).mkdir()
        symbols = ["<blk>", "<unk>", *chars]
        (tmp_path / name / "tokens.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)))
    with pytest.raises(
        DataError, match="cannot write 100% of the characters and words of the training windows .*over 20%.*t2s"
    ):
        train_recogniser(tone_corpus.cuts, tmp_path / "other", tmp_path / "exp", one_epoch)
    assert not (tmp_path / "exp").exists()
    data = AsrDataModule(tone_corpus.cuts, one_epoch.data, seed=0)
    require_writable(data, load_lang(tmp_path / "most"), tmp_path / "most")
    cuts = CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_train.jsonl.gz")
    counts = [word for cut in cuts for word in cut.supervisions[0].text.split()]
    shares = f"{counts.count('八')} of {len(counts)} characters and words of the first training windows"
    assert f"cannot write {shares} (八)" in caplog.text


def test_bpe_in_small_letters_goes_to_icefall_as_it_is(tmp_path: Path) -> None:
    texts = ["我 们 model data", "the model 们"]
    tokens = make_lang(texts, [], tmp_path / "lang", LangConfig(kind="bpe", num_pieces=60))
    model = sentencepiece_model(tokens)
    require_same_ids(model, tokens, texts)
    pieces = spm.SentencePieceProcessor(model_proto=model)
    assert [pieces.id_to_piece(i) for i in range(len(pieces))] == tokens.symbols
    assert pieces.piece_to_id("<blk>") == 0 and pieces.unk_id() == tokens.special.unk
