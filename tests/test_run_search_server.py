"""The search command on a database server: real training, a server that really goes away."""

import json
import re
import signal
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.secrets import masked_url
from search.study.storage import open_storage
from tests import LONGEST_SECONDS
from tests.command_line import FINISHED, QUICK, start, wait_until
from tests.postgres import PASSWORD, Postgres
from tests.search_here import run_here


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


def test_a_server_that_goes_away_delays_a_search_and_a_signal_ends_the_wait_for_it(
    tmp_path: Path, small_data: Path, server: Postgres, url: str
) -> None:
    flags = (*QUICK, "--trials", "9", "--workers", "1", "--storage", url)
    search = start(tmp_path, small_data, *flags)
    assert search.stderr is not None
    stderr, heard = search.stderr, []

    def hear(words: str) -> None:
        for line in stderr:
            heard.append(line)
            if words in line:
                return
        raise AssertionError(f"{words!r} not in {heard}")

    wait_until(lambda: trials(url, *FINISHED))
    second = run_here(tmp_path, small_data, *flags)
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].startswith(
        "run_search: study 'mlp' is being searched by another process, which holds its lock in the "
    )
    server.stop()
    try:
        hear("does not answer; waiting up to")
    finally:
        server.start()
    hear("the database answers again")
    finished = len(trials(url, *FINISHED))
    wait_until(lambda: len(trials(url, *FINISHED)) > finished)
    server.stop()
    try:
        hear("does not answer; waiting up to")
        search.send_signal(signal.SIGTERM)
        output, errors = search.communicate(timeout=LONGEST_SECONDS)
    finally:
        server.start()
    assert search.returncode == 143, errors
    assert "Traceback" not in "".join(heard) + errors
    assert "run_search: stopped (SIGTERM) while" in errors.splitlines()[-1]

    ended = run_here(tmp_path, small_data, *flags, "--json")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"requeued \d interrupted trial", ended.stderr)
    assert json.loads(ended.stdout.splitlines()[-1])["finished"] == 9
    assert [trial.state in FINISHED for trial in trials(url)] == [True] * 9
    assert PASSWORD not in "".join(heard) + output + errors + ended.stdout + ended.stderr
    assert PASSWORD not in repr([(t.user_attrs, t.system_attrs) for t in trials(url)])
    shown = run_here(tmp_path, small_data, *flags).stdout.splitlines()
    assert f"trials: {masked_url(url)}; other files: results/mlp" in shown
    assert "in these commands, *** stands for the password:" in shown
    assert f"SEARCH_STORAGE='{masked_url(url)}' " in shown[-1]


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
    ran = run_here(tmp_path, small_data, *QUICK, "--trials", "1", "--storage", urls[case])
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("run_search: --storage postgresql://searcher:***@127.0.0.1:")
    assert "secret" not in ran.stderr
    assert re.search(message, ran.stderr)
