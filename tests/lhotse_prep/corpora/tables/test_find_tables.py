"""The tables of every layout of the hub go to the part that their names say, or are refused with one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lhotse_prep.corpora.tables.find_tables import PART_NAMES, find_tables, part_of_name, with_parts
from lhotse_prep.workflow.errors import DataError

REVISION = "1e121cc419e87eed7d4825400baa06f102931944"


def touch(root: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def parts(root: Path) -> dict[str, str | None]:
    return {table.name: table.part for table in find_tables(root)}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("data/dev-00000-of-00001-0f1e2d3c4b5a6978.parquet", "dev"),
        ("default/validation/0000.parquet", "dev"),
        ("default/partial-train/0000.parquet", "train"),
        ("my_corpus-test-00000-of-00001.parquet", "test"),
        ("test_clean-00000-of-00001.parquet", "test"),
        ("train.clean.100-00000-of-00001.parquet", "train"),
        ("eval-00000-of-00001.parquet", "test"),
        ("en/valid.parquet", "dev"),
        ("VAL.PARQUET", "dev"),
        ("development/x.parquet", "dev"),
        ("split=train/part-0.snappy.parquet", "train"),
        ("train.parquet/part-00000-0a1b-c000.snappy.parquet", "train"),
        ("unit-test-corpus/data/train-00000-of-00001.parquet", "train"),
        ("test2021.parquet", "test"),
        ("Training set.parquet", "train"),
        ("evaluation/zh/0000.parquet", "test"),
        ("datasets--me--test-set/snapshots/abc/data/train.parquet", "train"),
        ("datasets--me--test-set/snapshots/abc/data/rows.parquet", None),
        ("pretrained.parquet", None),
        ("latest.parquet", None),
        ("contest/devices.parquet", None),
        ("invalid.parquet", None),
        ("0000.parquet", None),
    ],
)
def test_layouts_of_the_hub(tmp_path: Path, name: str, part: str | None) -> None:
    assert parts(touch(tmp_path / "in", name)) == {name: part}


@pytest.mark.parametrize("seed", range(60))
def test_the_nearest_known_name_counts_wherever_it_stands(tmp_path: Path, seed: int) -> None:
    """Random paths whose words are drawn from known and from other ones, against a plain search from right to left."""
    rng = random.Random(seed)
    known = {name: part for part, names in PART_NAMES.items() for name in names}
    others = ["data", "default", "latest", "contest", "mydev", "trains", "zh", "trainset", "ML", "clean", "evals", "講"]
    expected: dict[str, str | None] = {}
    for i in range(8):
        components: list[tuple[str, str | None]] = []
        for _ in range(rng.randint(1, 4)):
            words = rng.choices(others, k=rng.randint(1, 3))
            part = None
            if rng.random() < 0.4:
                word = rng.choice(list(known))
                part = known[word]
                words.insert(rng.randint(0, len(words)), rng.choice([word, word.upper(), word.title()]))
            # a folder that is called like a part and nothing else may not contradict, so there are always more words
            components.append((rng.choice("-_. ").join(words), part))
        ending = rng.choice(["", "-00000-of-00001", f"_{i}", "-00000-of-00001-ab12"])
        name = "/".join(c for c, _ in components) + ending + f".{i}.parquet"
        expected[name] = next((p for _, p in reversed(components) if p), None)
    assert parts(touch(tmp_path / "in", *expected)) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train_test-0.parquet"], "train_test-0.parquet says two parts, test and train"),
        (["train/test-00000-of-00001.parquet"], "says two parts: test, in a folder called train; rename one"),
        (["split=dev/x/train.parquet"], "says two parts: train, in a folder called split=dev"),
        (["train-00000-of-00002.parquet"], r"train-00000-of-00002\.parquet is one of 2 .* lacks train-00001-of-00002;"),
        (
            ["a/dev-00001-of-00003.parquet"],
            "one of 3 shards, and the corpus lacks dev-00000-of-00003, dev-00002-of-00003;",
        ),
        (["train-1-of-3.parquet", "train-3-of-3.parquet"], "lacks train-2-of-3;"),
        (
            ["default/train/0000.parquet", "default/train/0002.parquet"],
            r"one of 3 shards, and the corpus lacks 0001\.parquet;",
        ),
        (
            ["train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
            "two exports",
        ),
        (["train-00000-of-00001-aa.parquet", "train-00000-of-00001-bb.parquet"], "are shards of two exports"),
    ],
)
def test_names_that_contradict_and_shards_that_are_missing(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        find_tables(touch(tmp_path / "in", *names))
    assert "\n" not in str(error.value)


def test_complete_shards_in_any_numbering(tmp_path: Path) -> None:
    names = [f"train-{i:05d}-of-00012.parquet" for i in range(12)] + [f"dev-{i}-of-3.parquet" for i in (1, 2, 3)]
    names += ["test/0000.parquet", "test/0001.parquet", "x/test/2019.parquet", "x/test/2021.parquet"]
    assert len(find_tables(touch(tmp_path / "in", *names))) == len(names)


def test_a_table_without_a_part_must_be_the_only_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = touch(tmp_path / "alone", "lectures-00000-of-00002.parquet", "lectures-00001-of-00002.parquet")
    assert [t.part for t in with_parts(find_tables(alone), "lecture")] == ["train", "train"]
    assert caplog.messages == []
    assert [t.part for t in with_parts(find_tables(alone), "utterance")] == ["train", "train"]
    assert "lectures-00000-of-00002.parquet: its name says no part, so all its utterances are for train" in caplog.text
    for number, names in enumerate((["a.parquet", "b.parquet"], ["train.parquet", "b.parquet"])):
        with pytest.raises(DataError) as error:
            with_parts(find_tables(touch(tmp_path / str(number), *names)), "utterance")
        message = str(error.value)
        assert "neither its name nor a folder's says its part" in message and "\n" not in message
        assert all(name in message for known in PART_NAMES.values() for name in known)


def test_a_numbered_table_has_the_part_of_the_folder_that_is_given(tmp_path: Path) -> None:
    touch(tmp_path / "test", "0000.parquet", "rows.parquet")
    assert parts(tmp_path / "test") == {"0000.parquet": "test", "rows.parquet": None}
    assert parts(tmp_path / "test" / "0000.parquet") == {"0000.parquet": "test"}
    touch(tmp_path / "testing_it", "0000.parquet")
    assert parts(tmp_path / "testing_it") == {"0000.parquet": None}


def hub_cache(root: Path, *revisions: str) -> Path:
    """The cache of a data set, as huggingface_hub lays it out: links to content without suffixes."""
    touch(root / "blobs", "0a1b")
    touch(root / "refs", "main")
    for revision in revisions:
        for part in ("train", "test"):
            link = root / "snapshots" / revision / "data" / f"{part}-00000-of-00001.parquet"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("../../../blobs/0a1b")
    return root


def test_links_of_the_hubs_cache_are_called_by_their_own_names(tmp_path: Path) -> None:
    root = tmp_path / "datasets--me--test-set"
    root.mkdir()
    hub_cache(root, REVISION)
    for given in (tmp_path, root, root / "snapshots", root / "snapshots" / REVISION):
        tables = find_tables(given)
        assert [(t.path.name, t.part) for t in tables] == [
            ("test-00000-of-00001.parquet", "test"),
            ("train-00000-of-00001.parquet", "train"),
        ]
    assert parts(root / "snapshots" / REVISION / "data" / "train-00000-of-00001.parquet") == {
        "train-00000-of-00001.parquet": "train"
    }
    (root / "blobs" / "0a1b").unlink()
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet is a link whose target .* is missing"):
        find_tables(root)


def test_two_revisions_in_the_hubs_cache_are_refused(tmp_path: Path) -> None:
    for name in ("datasets--a--long", "datasets--a--short"):
        (tmp_path / name).mkdir()
        hub_cache(tmp_path / name, REVISION)
    assert len(find_tables(tmp_path)) == 4  # one revision of each of two data sets
    hub_cache(tmp_path / name, "0" * 40)
    with pytest.raises(DataError, match=r"snapshots holds 2 revisions of one data set \(0{40}, 1e121"):
        find_tables(tmp_path)


def test_linked_folders_are_read_once_and_hidden_ones_are_not(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "train.parquet", ".cache/test.parquet", "__MACOSX/._test.parquet", "._dev.parquet")
    touch(tmp_path / "disk", "dev.parquet")
    (root / "more").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "circle").symlink_to(root)
    assert parts(root) == {"more/dev.parquet": "dev", "train.parquet": "train"}


@pytest.mark.parametrize("name", ["", "data", "講座", "2021", "pre-trained", "latest", "greatest_hits", "attest"])
def test_words_that_only_contain_a_part(name: str) -> None:
    assert part_of_name(name) is None
