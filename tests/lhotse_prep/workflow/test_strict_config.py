"""YAML into dataclasses: the values that are read, and the message of every error."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.strict_config import from_mapping, load_config, to_mapping


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"rate must be >= 0, got {self.rate}")


@dataclass(frozen=True)
class Outer:
    count: int = 3
    lr: float = 1e-3
    flag: bool = False
    speeds: tuple[float, ...] = ()
    limit: int | None = 4
    name: str = "x"
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize("text", ["thing: {count: 1, lr: 2, count: 3}\n", "thing:\n  count: 1\nthing:\n  lr: 2\n"])
def test_a_repeated_key_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"thing\.yaml is not valid YAML: key '(count|thing)' appears twice.*line \d"):
        read(tmp_path, text)


def test_a_merged_mapping_may_override_values(tmp_path: Path) -> None:
    text = "thing: &a {count: 1, lr: 2}\nother: {<<: *a, count: 3}\n"
    (tmp_path / "thing.yaml").write_text(text)
    assert load_config(tmp_path / "thing.yaml", "other", Outer) == Outer(count=3, lr=2.0)


def read(folder: Path, text: str) -> Outer:
    (folder / "thing.yaml").write_text(text, encoding="utf-8")
    return load_config(folder / "thing.yaml", "thing", Outer)


@pytest.mark.parametrize("text", ["", "thing:", "other: {count: 9}", "thing: {}", "# nothing"])
def test_missing_values_are_the_defaults(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Outer()


def test_values_are_read_and_survive_json(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        "thing:\n  count: 7\n  lr: 1e-4\n  flag: true\n  speeds: [0.9, 1]\n  limit: null\n"
        "  inner: {rate: 2, names: [b, 語]}\nother: 1\n",
    )
    expected = Outer(7, 1e-4, True, (0.9, 1.0), None, inner=Inner(2.0, ("b", "語")))
    assert config == expected
    assert isinstance(config.inner.rate, float) and isinstance(config.speeds[1], float)
    assert from_mapping(json.loads(json.dumps(to_mapping(config))), Outer, "config.json") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing: {cuont: 1}", r"thing\.yaml: thing: unknown key cuont; known keys: count, flag, inner"),
        ("thing: {inner: {rat: 1}}", r"thing\.inner: unknown key rat; known keys: names, rate"),
        ("thing: {count: many}", r"thing\.count must be of type int, got 'many'"),
        ("thing: {count: 1.5}", r"thing\.count must be of type int, got 1\.5"),
        ("thing: {count: true}", r"thing\.count must be of type int, got True"),
        ("thing: {flag: 1}", r"thing\.flag must be of type bool, got 1"),
        ("thing: {lr: fast}", r"thing\.lr must be a number, got 'fast'"),
        ("thing: {lr: .nan}", r"thing\.lr must be a finite number"),
        ("thing: {lr: inf}", r"thing\.lr must be a finite number"),
        ("thing: {lr: true}", r"thing\.lr must be of type float"),
        ("thing: {speeds: 0.9}", r"thing\.speeds must be a list, got 0\.9"),
        ("thing: {speeds: [1, x]}", r"thing\.speeds\[1\] must be a number, got 'x'"),
        ("thing: {limit: x}", r"thing\.limit must be of type int"),
        ("thing: {inner: 3}", r"thing\.inner must be a mapping, found 3"),
        ("thing: {inner: {rate: -1}}", r"thing\.inner: rate must be >= 0, got -1"),
        ("thing: [1]", r"thing must be a mapping"),
        ("- 1", r"must hold sections \(a mapping\), found list"),
        ("thing: {count: 1", r"not valid YAML"),
        ("thing: !!python/object/apply:os.getcwd []", r"not valid YAML"),
    ],
)
def test_errors_name_the_key_and_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value) and "thing.yaml" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*asr\.yaml.*--conf"):
        load_config(tmp_path / "asr.yaml", "thing", Outer)


def test_a_binary_file_is_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "thing.yaml").write_bytes(b"thing: \xff\xfe")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "thing.yaml", "thing", Outer)


def test_a_misspelled_section_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown section windwos; known sections: mini, .*windows"):
        (tmp_path / "prep.yaml").write_text("windwos: {shar: true}", encoding="utf-8")
        load_config(tmp_path / "prep.yaml", "lang", Outer)
