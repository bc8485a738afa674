"""Flags in a file: read as on the command line, written without secrets, and no code alone."""

import tomllib
from pathlib import Path

import pytest

import report
import run_search
from reporting.settings import ReportSettings
from search.command_line.flags import flags_of
from search.config_file import config_text, read_arguments
from search.errors import SettingsError
from search.settings import SearchSettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "search.toml"


def read(*arguments: str | Path) -> SearchSettings:
    return read_arguments(run_search.make_parser(), SearchSettings, list(map(str, arguments)))


def test_a_file_sets_flags_and_the_command_line_wins(file: Path) -> None:
    file.write_text(
        'trials = 7\nval-size = 50\nsampler = "tpe"\ntimeout = 60\nworkers = "auto"\n'
        'no-portfolio = true\nbaselines = true\nmirror = false\nresults-dir = "there"\n'
    )
    settings = read("--config", file)
    assert (settings.trials, settings.val_size, settings.sampler) == (7, 50, "tpe")
    assert (settings.timeout_seconds, settings.workers) == (60.0, None)
    assert (settings.portfolio, settings.baselines, settings.mirror) == (False, True, False)
    assert settings.results_dir == Path("there")
    assert settings.pruner == SearchSettings().pruner
    won = read("--trials", "8", "--portfolio", "--no-baselines", "--mirror", "--config", file)
    assert (won.trials, won.portfolio, won.baselines, won.mirror) == (8, True, False, True)
    assert won.val_size == 50


def test_what_is_written_is_read_as_the_same_settings(file: Path) -> None:
    settings = SearchSettings(
        trials=3,
        timeout_seconds=0.00001,
        portfolio=False,
        mirror=False,
        study='a "study"',
        data="photos \N{SNOWMAN}\n",
        results_dir=Path("my results"),
        storage="sqlite:///study.db",
        workers=2,
    )
    file.write_text(config_text(settings), encoding="utf-8-sig")  # as Notepad saves it
    assert read("--config", file, "--trials", "3") == SearchSettings(
        **{part.name: getattr(settings, part.name) for part, _ in flags_of(SearchSettings)}
        | {"config": file}
    )


def test_every_flag_of_a_search_is_in_the_file_or_of_one_call(file: Path) -> None:
    names = {declared.key for _, declared in flags_of(SearchSettings) if declared.once}
    assert names == {
        *("config", "print-config", "stop", "pause", "resume", "enqueue"),
        *("dashboard-only", "dry-run"),
    }


def test_a_secret_is_left_out_of_the_file() -> None:
    url = "postgresql://me:secret@host/db"
    text = config_text(SearchSettings(storage=url))
    assert "secret: give --storage too" in text
    assert "secret@" not in text
    assert "storage" not in tomllib.loads(text)


def test_a_name_that_is_not_utf_8_is_left_out_of_the_file() -> None:
    text = config_text(SearchSettings(data="caf\udce9", results_dir=Path("f\udcf3t")))
    left = tomllib.loads(text.encode().decode())
    assert tomllib.loads(config_text(SearchSettings())).keys() - left == {"data", "results-dir"}
    for flag in ("data", "results-dir"):
        assert f"\n# {flag} is left out, as it is not UTF-8: give --{flag} too\n" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val_size = 3", r"val_size is not the name of a flag\. Did you mean 'val-size'\?"),
        ("trials = 0", r"trials is 0; it must be above 0\."),
        ('trials = "x"', r"trials is 'x'; it must be a whole number above 0\."),
        ("trials = 3.5", r"trials is '3.5'; it must be a whole number above 0\."),
        ("trials = true", r"trials is True; it must be a number or text\."),
        ("trials = [1]", r"trials is \[1\]; it must be a number or text\."),
        ("timeout = nan", r"timeout is nan; it must be above 0\."),
        ("quiet = 1", r"quiet is 1; it must be true or false\."),
        ('mirror = "no"', r"mirror is 'no'; it must be true or false\."),
        ('sampler = "tpo"', r"sampler 'tpo' is unknown; .* Did you mean 'tpe'\?"),
        (
            'data = "postgresql://me:pw@host"',
            r"data is 'postgresql://me:\*\*\*@host'; it takes no URL\.",
        ),
        ("stop = true", r"stop belongs on the command line; leave it out\."),
        ("trials", r"is not valid TOML: Expected '='.*\. Write lines such as trials = 50\."),
        ('data = "a\\u0000b"', r"data is 'a\\x00b'; it must not hold a null character\."),
        ("[budget]\ntrials = 3", r"budget is not the name of a flag\."),
    ],
)
def test_an_error_names_the_file_and_the_key(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    expected = message if message.startswith("is no") else f": {message}"
    with pytest.raises(SettingsError, match=f"^--config {file} ?{expected}$"):
        read("--config", file)


@pytest.mark.parametrize("key", ["trials", "study"])
def test_a_number_that_cannot_be_written_out_is_one_line(file: Path, key: str) -> None:
    file.write_text(f"{key} = 0x{'f' * 4000}")
    message = f"^--config {file}: {key} is a number with thousands of digits; write a smaller one"
    with pytest.raises(SettingsError, match=message):
        read("--config", file)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--config .*/no cannot be read: No such file or dir"):
        read("--config", tmp_path / "no")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"^--config .*/bytes is not valid TOML: 'utf-8' codec"):
        read("--config", tmp_path / "bytes")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("space", "my_module:Model"),
        ("cluster", "ray://elsewhere:10001"),
        ("on-end", "true"),
    ],
)
def test_a_file_alone_starts_no_code(file: Path, key: str, value: str) -> None:
    file.write_text(f'{key} = "{value}"\n')
    with pytest.raises(
        SettingsError, match=f"{key} can start code, .* add --{key} {value} to the command line"
    ):
        read("--config", file)
    given = read("--config", file, f"--{key}", value)
    assert getattr(given, key.replace("-", "_")) == value


def test_a_command_that_starts_nothing_takes_a_file_that_names_code(file: Path) -> None:
    file.write_text('space = "my_module:Model"\non-end = "true"\n')
    for flag in ("--stop", "--pause", "--resume", "--dashboard-only", "--print-config"):
        given = read("--config", file, flag)
        assert (given.space, given.on_end) == ("my_module:Model", "true")
    with pytest.raises(SettingsError, match="space can start code"):
        read("--config", file, "--dry-run")
    file.write_text('space = "my_module:Model"\n')
    words = ["--config", str(file), "--print-config"]
    assert read_arguments(report.make_parser(), ReportSettings, words).space == "my_module:Model"


def test_the_value_to_add_is_quoted_as_a_shell_needs_it(file: Path) -> None:
    file.write_text('on-end = "true now"\n')
    with pytest.raises(SettingsError, match="add --on-end 'true now' to the command line"):
        read("--config", file)


def test_a_built_in_space_and_a_cluster_of_this_machine_need_no_flag(file: Path) -> None:
    file.write_text('space = "mlp"\ncluster = "local"\n')
    assert (read("--config", file).space, read("--config", file).cluster) == ("mlp", "local")


def test_the_commands_print_their_flags_and_read_them_again(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_search.main(["--trials", "9", "--print-config"]) == 0
    file.write_text(capsys.readouterr().out)
    assert read("--config", file).trials == 9
    assert report.main(["--seeds", "2", "--no-retrain", "--print-config"]) == 0
    file.write_text(capsys.readouterr().out)
    parsed = read_arguments(report.make_parser(), ReportSettings, ["--config", str(file)])
    assert (parsed.seeds, parsed.retrain, parsed.config) == (2, False, file)


def test_a_wrong_file_ends_a_command_with_code_2(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("seed = 1")
    assert report.main(["--config", str(file)]) == 2
    assert capsys.readouterr().err == (
        f"report: --config {file}: seed is not the name of a flag. Did you mean 'seeds'?\n"
    )
