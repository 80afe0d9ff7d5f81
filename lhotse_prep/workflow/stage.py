"""A stage of run.sh: checks whether its output is up to date; if not, writes it completely and marks it `.done`.

Stages import this module before they know whether they have anything to do, so it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.digests import digest_tree
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import put_in_place, write_text
from lhotse_prep.workflow.locks import folder_lock
from lhotse_prep.workflow.result_options import default_options, result_options
from lhotse_prep.workflow.stage_record import (
    DONE,
    Change,
    Input,
    InputRecord,
    Record,
    changes,
    content_digests,
    old_key,
    read_done,
    read_record,
    record_input,
)

__all__ = ["DONE", "Input", "Stage", "read_done", "recorded_audio", "stage_files"]

AUDIO = ("*.wav", "*.flac")  # of stage 0's folder
KEY = ".key"  # in the folder of a resumable stage: what its work was begun with
LONG = 60.0  # seconds: work that took longer is not set aside unasked
_PROCESS_START = time.time()

logger = logging.getLogger(__name__)


class Stage:
    """A stage's output folder: is_done() says whether it is up to date, work() writes it.

    The key is a hash of the inputs' content and of the options that results depend on (see result_options). With
    `resumable` the stage works in the folder itself (training, whose checkpoints must survive a kill); otherwise in a
    temporary folder that is renamed at the end.
    """

    def __init__(
        self,
        name: str,
        out_dir: Path,
        inputs: Sequence[Input],
        options: Mapping[str, Any],
        resumable: bool = False,
        *,
        redo: bool = False,
        continued: Sequence[str] = (),
        old_options: Mapping[str, Any] | None = None,
        read_options: Callable[[Path], Mapping[str, Any] | None] = lambda _: None,
    ) -> None:
        """
        Args:
          name: the stage's.
          out_dir: where its results go.
          inputs: what it reads.
          options: {name: dataclass or plain value}.
          resumable: whether it goes on with the work of an earlier run.
          redo: whether long work with other inputs or options is set aside; otherwise it is an error.
          continued: dotted names of options; if only these change, a resumable stage goes on with the old work.
          old_options: the options as version 0.2 hashed them; None: `options`, with dataclasses as mappings.
          read_options: reads the options of work without a `.key` from its folder, as `options`; None if it cannot.
        """
        self.name, self.out_dir, self.resumable, self.redo = name, out_dir, resumable, redo
        self.inputs, self.options, self.continued = inputs, options, continued
        self.old_options, self.read_options = old_options, read_options
        self._record: Record | None = None

    @property
    def record(self) -> Record:
        """The options and the content of the inputs; raises DataError if an input is missing."""
        if self._record is None:
            paths = (self.out_dir / DONE, self.out_dir / KEY, self._begun)
            records = [record for path in paths if (record := read_record(_read_json(path))) is not None]
            before: list[InputRecord | None] = [*(records[0].inputs if records else ())]
            before += [None] * len(self.inputs)
            inputs = [record_input(item, record) for item, record in zip(self.inputs, before)]
            self._record = Record(self.name, result_options(self.options), inputs)
        return self._record

    @property
    def key(self) -> str:
        """Hash of name, options and inputs; raises DataError if an input is missing."""
        return self.record.key

    def is_done(self) -> bool:
        """True if the outputs exist and were made from these inputs with these options.

        Raises:
          DataError: an input is missing; the message names the stage that writes it.
        """
        _ = self.record  # first of all, since it raises an error if an input is missing
        done = read_done(self.out_dir)
        if done is None:
            return False
        missing = [f for f in done["outputs"] if not (self.out_dir / f).exists()]
        if missing:
            logger.warning("%s: %s is missing from %s; running the stage again", self.name, missing[0], self.out_dir)
            return False
        if different := self._changes(done):
            if not self.resumable:
                logger.info("%s: running again, since %s", self.name, _listed(different))
            return False
        if read_record(done) is None:  # of version 0.2: record options and inputs, so that changes have names
            outputs = content_digests(self.out_dir, done["outputs"])
            write_text(self.out_dir / DONE, json.dumps({**done, **self.record.content(), "outputs": outputs}, indent=1))
        logger.info("%s: up to date in %s (made in %.1f s)", self.name, self.out_dir, done["seconds"])
        return True

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """Yield the folder to write into; if the block ends without an exception, its files become the outputs.

        Raises:
          DataError: another process is writing the same folder; or it holds long work of other inputs or options, and
            redo is not set.
        """
        with folder_lock(self.out_dir):
            yield from self._work()

    def begin(self) -> None:
        """Record in the folder what the work in it is begun with, for a program that does the work of a stage by hand.

        The stage then goes on with that work. If the work in the folder was begun with others, a warning says so.
        """
        content = next((c for c in map(_read_json, (self.out_dir / KEY, self.out_dir / DONE)) if read_record(c)), None)
        different = [] if content is None else self._changes(content)
        if any(change.name not in self.continued for change in different):
            logger.warning(
                "%s: going on with work that was begun with other options or inputs: %s",
                self.out_dir,
                _listed(different),
            )
        self._record_beginning()

    def _record_beginning(self) -> None:
        seconds = _seconds_spent(self.out_dir)
        self.out_dir.mkdir(parents=True, exist_ok=True)
        (self.out_dir / DONE).unlink(missing_ok=True)
        content = {**self.record.content(), "worked": round(seconds, 2), "started": time.time()}
        write_text(self.out_dir / KEY, json.dumps(content, indent=1))

    def _work(self) -> Iterator[Path]:
        work_dir = self.out_dir if self.resumable else self.out_dir.with_name(f".{self.out_dir.name}.tmp")
        seconds = 0.0  # of earlier runs whose work goes on
        if self.resumable:
            self._set_aside_if_stale()
            seconds = _seconds_spent(self.out_dir)
            self._record_beginning()
        else:
            shutil.rmtree(work_dir, ignore_errors=True)
            work_dir.mkdir(parents=True, exist_ok=True)
            write_text(self._begun, json.dumps(self.record.content()))
        started = time.time()
        yield work_dir
        done = {
            **self.record.content(),
            "seconds": round(seconds + time.time() - _PROCESS_START, 2),  # with all imports
            "worked": round(seconds + time.time() - started, 2),
            "cpu_seconds": None if seconds else round(_cpu_seconds(), 2),  # those of earlier runs are not known
            "last_run": [round(_PROCESS_START, 2), round(time.time(), 2)],
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "outputs": digest_tree(work_dir, self.out_dir.parent),
        }
        write_text(work_dir / DONE, json.dumps(done, indent=1))
        if not self.resumable:
            put_in_place(work_dir, self.out_dir)
            self._begun.unlink()

    @property
    def _begun(self) -> Path:
        """The record of a run that has not finished, beside the folder: its inputs need not be read again."""
        return self.out_dir.with_name(f".{self.out_dir.name}{KEY}")

    def _changes(self, content: Mapping[str, Any]) -> list[Change]:
        """What has changed since the content of `.key` or `.done` was written."""
        before = read_record(content)
        if before is not None:
            return changes(before, self.record, default_options(self.options))
        options = self.old_options
        if options is None:
            options = {k: _as_mapping(v) for k, v in self.options.items()}
        if content.get("key") == old_key(self.name, options, self.inputs):
            return []
        return [Change("", "an earlier version made it, which did not record with what options and inputs")]

    def _set_aside_if_stale(self) -> None:
        """Move away work that was begun from other inputs or options, which must not be resumed, and log a warning.

        Raises:
          DataError: it took long, or nothing says what it was made with, and redo is not set.
        """
        if not self.out_dir.exists() or not any(not p.name.startswith(".") for p in self.out_dir.iterdir()):
            return
        contents = [_read_json(self.out_dir / name) for name in (KEY, DONE)]
        content = next((c for c in contents if read_record(c) is not None), contents[0] or contents[1])
        different = self._changes(content) if content else []
        if not content or different and read_record(content) is None:
            options = None if self.redo and different else self.read_options(self.out_dir)
            if options is not None:  # its inputs are compared when the training resumes
                before = Record(self.name, result_options(options), self.record.inputs)
                different = changes(before, self.record, default_options(self.options))
                if not different:
                    logger.info("%s: going on with the work in %s, which no run.sh began", self.name, self.out_dir)
            elif not different:
                different = [Change("", "nothing in it says with what options and inputs it was made")]
        if not different:
            return
        if all(change.name in self.continued for change in different) and not self.redo:
            logger.info("%s: going on with the work in %s: %s", self.name, self.out_dir, _listed(different))
            return
        seconds = _seconds_spent(self.out_dir)
        if not self.redo and (seconds >= LONG or not content):
            raise DataError(
                f"{self.out_dir} holds {_duration(seconds)} of work of {self.name} with other options or inputs: "
                f"{_listed(different)}. To begin anew, give --redo, which moves it to {self.out_dir.name}.before-DATE; "
                "to keep it, undo the change, or name another --exp (stage 3: another --data)"
            )
        aside = self.out_dir.with_name(f"{self.out_dir.name}.before-{datetime.now():%Y%m%d-%H%M%S-%f}")
        self.out_dir.rename(aside)
        logger.warning("%s: %s; the old content of %s is now in %s", self.name, _listed(different), self.out_dir, aside)


def recorded_audio(data: Path) -> list[Input]:
    """The audio of stage 0's folder as an input, where that folder is: manifests do not say what their audio holds."""
    source = data / "source"
    return [Input(source, 0, AUDIO, is_new=True)] if read_done(source) is not None else []


def stage_files(out_dir: Path, pattern: str) -> list[Path]:
    """The files matching the pattern that the stage itself wrote; all that match if it did not finish."""
    done = read_done(out_dir)
    return sorted(p for p in out_dir.glob(pattern) if done is None or str(p.relative_to(out_dir)) in done["outputs"])


def _read_json(path: Path) -> dict[str, Any]:
    """The content of `.key` or `.done`; {"key": ...} for a `.key` of version 0.2; {} if it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        content = {"key": text} if re.fullmatch("[0-9a-f]{64}", text) else json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _cpu_seconds() -> float:
    """Of this process, and of the processes that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _seconds_spent(folder: Path) -> float:
    """How long the work in a resumable stage's folder has taken: all runs, each until the last file that it wrote."""
    done, key = _read_json(folder / DONE), _read_json(folder / KEY)
    if "seconds" in done:
        return _seconds(done.get("worked", done["seconds"]))
    inner = [p.parent for p in folder.glob("*/.done")]  # of other stages
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in (DONE, KEY)]
    times = [p.stat().st_mtime for p in files if not any(other in p.parents for other in inner)]
    if not times:
        return 0.0
    started = _seconds(key.get("started", min(times)))
    if started > max(times):  # by a clock that was put back since
        started = min(times)
    return _seconds(key.get("worked", 0.0)) + max(times) - started


def _seconds(value: Any) -> float:
    """A number in a record; infinity if it is damaged, since the work may have been long."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.inf


def _as_mapping(value: Any) -> Any:
    from lhotse_prep.workflow.strict_config import to_mapping

    return to_mapping(value) if hasattr(value, "__dataclass_fields__") else value


def _listed(different: Sequence[Change]) -> str:
    more = f"; and {len(different) - 4} more" if len(different) > 4 else ""
    return "; ".join(change.text for change in different[:4]) + more


def _duration(seconds: float) -> str:
    if math.isinf(seconds):
        return "an unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
