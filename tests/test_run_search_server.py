"""The search command on a database server: real training, a server that really goes away."""

import json
import re
import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.secrets import masked_url
from search.study.storage import open_storage
from tests.command_line import FINISHED, QUICK, run, start, wait_until
from tests.postgres import PASSWORD, Postgres


def trials(url: str, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
    """Trials in these states; none while there is no study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(Path(), url)
    assert isinstance(storage, RDBStorage)
    try:
        study = optuna.load_study(study_name="mlp", storage=storage)
        return study.get_trials(deepcopy=False, states=states or None)
    except KeyError:
        return []
    finally:
        # Asked every moment, they would use up the server's connections.
        storage.engine.dispose()


@pytest.fixture
def url(server: Postgres, tmp_path: Path) -> str:
    return server.database(tmp_path)


def test_a_server_that_goes_away_delays_a_search_and_no_more(
    tmp_path: Path, small_data: Path, server: Postgres, url: str
) -> None:
    flags = (*QUICK, "--trials", "6", "--workers", "2", "--storage", url, "--json")
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: trials(url, *FINISHED))
    server.stop()
    time.sleep(5)
    server.start()
    output, errors = search.communicate(timeout=240)
    assert search.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["finished"] == 6
    assert [trial.state in FINISHED for trial in trials(url)] == [True] * 6
    assert PASSWORD not in output + errors
    stored = repr([(t.user_attrs, t.system_attrs) for t in trials(url)])
    assert PASSWORD not in stored


def test_a_signal_ends_the_wait_for_a_server_and_the_same_command_goes_on(
    tmp_path: Path, small_data: Path, server: Postgres, url: str
) -> None:
    flags = (*QUICK, "--trials", "5", "--workers", "2", "--storage", url)
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: trials(url, *FINISHED))
    server.stop()
    try:
        assert search.stderr is not None
        line = next(line for line in search.stderr if "does not answer; waiting up to" in line)
        search.send_signal(signal.SIGTERM)
        _, errors = search.communicate(timeout=240)
    finally:
        server.start()
    assert search.returncode == 143, errors
    assert "Traceback" not in line + errors
    assert "run_search: stopped (SIGTERM) while" in errors.splitlines()[-1]
    ended = run(tmp_path, small_data, *flags, "--json")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"requeued \d interrupted trial", ended.stderr)
    assert [trial.state in FINISHED for trial in trials(url)] == [True] * 5
    shown = run(tmp_path, small_data, *flags).stdout.splitlines()
    assert f"trials: {masked_url(url)}; other files: results/mlp" in shown
    assert "in these commands, *** stands for the password:" in shown
    assert f"SEARCH_STORAGE='{masked_url(url)}' " in shown[-1]


def test_a_second_coordinator_is_refused_in_one_line(
    tmp_path: Path, small_data: Path, url: str
) -> None:
    flags = (*QUICK, "--trials", "4", "--workers", "1", "--storage", url)
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: trials(url))
    second = run(tmp_path, small_data, *flags)
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].startswith(
        "run_search: study 'mlp' is being searched by another process, which holds its lock in the "
    )
    _, errors = search.communicate(timeout=240)
    assert search.returncode == 0, errors
    assert len(trials(url, *FINISHED)) == 4


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("wrong password", 'cannot be opened: .*password authentication failed for user "search'),
        ("no server", "cannot be opened: .*onnection refused"),
        ("no database", 'cannot be opened: .*database "nothing" does not exist'),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line_at_once(
    tmp_path: Path, small_data: Path, server: Postgres, case: str, message: str
) -> None:
    urls = {
        "wrong password": server.url("postgres", password="wrong-secret"),
        "no server": "postgresql://searcher:wrong-secret@127.0.0.1:1/postgres",
        "no database": server.url("nothing"),
    }
    ran = run(tmp_path, small_data, *QUICK, "--trials", "1", "--storage", urls[case])
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("run_search: --storage postgresql://searcher:***@127.0.0.1:")
    assert "secret" not in ran.stderr
    assert re.search(message, ran.stderr)
