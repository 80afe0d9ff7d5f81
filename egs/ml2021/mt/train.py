"""Train the translator on the bitext: vocabulary, loss, training loop, and the folder that transformers reads."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from lhotse_prep.workflow.digests import digest_bytes
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import from_mapping, to_mapping
from ml2021.mt.config import MtConfig
from ml2021.mt.data import IGNORED, MtBatch, SentencePair, TranslationBatches, read_bitext
from ml2021.mt.load import load_vocabulary
from ml2021.mt.model import build_model, num_parameters
from ml2021.mt.pretrained import copy_vocabulary, find_pretrained, load_pretrained
from ml2021.mt.vocabulary import FILES, MarianVocabulary, Vocabulary, train_vocabulary
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.distributed import World, in_world
from ml2021.training.launch import run_worker
from ml2021.training.task import StepLoss, Task
from ml2021.training.trainer import Trainer

logger = logging.getLogger(__name__)


class TranslationTask(Task):
    """Cross entropy over target pieces, with label smoothing."""

    def __init__(self, batches: TranslationBatches, label_smoothing: float, device: torch.device) -> None:
        self.batches, self.label_smoothing, self.device = batches, label_smoothing, device
        self.batch_limit = f"max_tokens (data.max_tokens in mt.yaml), now {batches.config.max_tokens}"

    def train_batches(self, epoch: int) -> Iterator[MtBatch]:
        return self.batches.train_batches(epoch)

    def valid_batches(self) -> Iterator[MtBatch]:
        return iter(self.batches.valid)

    def fingerprint(self) -> dict[str, str]:
        """Identify the sentence pairs and the vocabulary; a resumed run must have the same."""
        pairs = "".join(f"{p.id}\t{' '.join(p.tokens)}\t{p.target}\n" for p in self.batches.train_pairs)
        vocabulary = self.batches.vocabulary
        return {
            "train pairs": f"{len(self.batches.train_pairs)}, sha256 {digest_bytes(pairs.encode())[:16]}",
            "vocabulary": f"{len(vocabulary)} pieces, sha256 {digest_bytes(vocabulary.content())[:16]}",
        }

    def batching(self) -> str:
        """Describe all that determines the batches: seed, batching, augmentation."""
        return f"seed {self.batches.seed}, {self.batches.config}"

    def compute_loss(self, model: nn.Module, batch: MtBatch, step: int) -> StepLoss:
        """Mean loss per target piece; also reports `nll` (the loss without smoothing) and `accuracy`."""
        vocabulary = self.batches.vocabulary
        labels = batch.labels  # (N, T)
        start = labels.new_full((len(labels), 1), vocabulary.start_id)
        decoder_input = torch.cat([start, labels[:, :-1]], dim=1)
        decoder_input = decoder_input.masked_fill(decoder_input == IGNORED, vocabulary.start_id)  # at padding
        places = torch.nonzero(labels.flatten() != IGNORED).flatten()  # a GPU would have to be waited for
        logits = model(
            input_ids=self._on_device(batch.source),
            attention_mask=self._on_device(batch.source_mask),
            decoder_input_ids=self._on_device(decoder_input),
        ).logits  # (N, T, V)
        flat = logits.flatten(0, 1)[self._on_device(places)][:, vocabulary.outputs]
        gold = self._on_device(labels.flatten()[places])
        smoothing = self.label_smoothing if model.training else 0.0
        log_probs = F.log_softmax(flat.float(), dim=-1)
        nll = -log_probs.gather(1, gold[:, None]).squeeze(1)
        loss = (1 - smoothing) * nll.mean() - smoothing * log_probs.mean()
        correct = (flat.argmax(dim=-1) == gold).sum()
        return StepLoss(loss, {"nll": nll.detach().sum(), "accuracy": correct}, float(len(gold)))

    def _on_device(self, x: Tensor) -> Tensor:
        return x.to(self.device, non_blocking=True)


def train_translator(
    bitext_dir: Path, exp_dir: Path, config: MtConfig, device: torch.device | None = None, world: World | None = None
) -> None:
    """Train on bitext_dir/train.jsonl, resuming from the newest checkpoint in exp_dir, and write exp_dir/marian/.

    Args:
      device: where to compute; None: a GPU if there is one.
      world: this process among all processes; None: it is the only one.
    Raises:
      DataError: there are no training pairs, or none is short enough.
      ConfigError: the languages do not fit the model of config.init_from.
    """
    device, world = device or torch.device("cuda" if torch.cuda.is_available() else "cpu"), world or World()
    train, valid = read_bitext(bitext_dir / "train.jsonl"), read_bitext(bitext_dir / "dev.jsonl")
    if not train:
        raise DataError(f"{bitext_dir / 'train.jsonl'} has no pairs; look at rejected.jsonl beside it")
    if not world.is_main:
        world.wait()  # for the vocabulary that the main process writes
    torch.manual_seed(config.train.seed)
    vocabulary, model = _begin(exp_dir / "vocabulary", train, config, world.is_main)
    if world.is_main:
        world.wait()
    vocabulary.style = replace(vocabulary.style, context=config.data.context)
    logger.info(
        "%d train pairs, %d dev pairs, %d pieces, %d parameters",
        len(train),
        len(valid),
        len(vocabulary),
        num_parameters(model),
    )
    if world.is_main:
        write_json(exp_dir / "config.json", to_mapping(config))
    # the tokenizers of published models have no BPE-dropout
    data = replace(config.data, bpe_dropout=0.0) if config.init_from else config.data
    batches = TranslationBatches(train, valid, vocabulary, data, config.train.seed)
    task = TranslationTask(batches, config.data.label_smoothing, device)
    Trainer(model, task, config.train, exp_dir, device, world).run()
    if not world.is_main:
        return
    model.load_state_dict(load_checkpoint(exp_dir / "pretrained.pt")["model"])
    save_marian(model.cpu().eval(), vocabulary, exp_dir / "marian")


def save_marian(model: PreTrainedModel, vocabulary: Vocabulary, folder: Path) -> None:
    """Write model and tokenizer in the format of transformers; the folder appears only once it is complete."""
    from transformers.utils.logging import disable_progress_bar

    work = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    disable_progress_bar()
    model.save_pretrained(work)
    vocabulary.save(work)
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)


def _begin(
    folder: Path, train: Sequence[SentencePair], config: MtConfig, is_main: bool
) -> tuple[Vocabulary, PreTrainedModel]:
    """Vocabulary and model at the start of training: those of config.init_from, or new ones.

    Only the main process writes the vocabulary. One that an earlier, interrupted run left in folder is used again.
    """
    if config.init_from:
        pretrained = find_pretrained(config.init_from)
        if not is_main:
            vocabulary = load_vocabulary(folder)
        else:
            vocabulary = copy_vocabulary(pretrained, folder, config.source_lang, config.target_lang)
        return vocabulary, load_pretrained(pretrained, vocabulary)
    if config.source_lang or config.target_lang:
        raise ConfigError("mt.source_lang and mt.target_lang need an M2M100 or NLLB model in mt.init_from")
    if all((folder / f).is_file() for f in FILES):
        vocabulary = MarianVocabulary(folder)
    else:
        sources = [" ".join(p.tokens) for p in train]
        vocabulary = train_vocabulary(sources, [p.target for p in train], config.data.vocab_size, folder)
    return vocabulary, build_model(config.model, len(vocabulary))


def arguments_of(bitext_dir: Path, exp_dir: Path, config: MtConfig) -> Sequence[str]:
    """The command line of main."""
    return [json.dumps({"bitext": str(bitext_dir), "exp_dir": str(exp_dir), "config": to_mapping(config)})]


def main(argv: list[str]) -> None:
    """Train in one of several processes, with the arguments of arguments_of: run by stage 8, which keeps the books."""
    job = json.loads(argv[0])
    config = from_mapping(job["config"], MtConfig, "mt.yaml")
    with in_world() as (world, device):
        train_translator(Path(job["bitext"]), Path(job["exp_dir"]), config, device, world)


if __name__ == "__main__":
    run_worker(main)
