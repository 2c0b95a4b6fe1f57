"""Many workers on one study: a real PostgreSQL, dying workers, storages that go away."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import command_line
import optuna
import psutil
import pytest
import sqlalchemy
from command_line import invoke
from database_fixture import PASSWORD, PLAIN, MariaDB, Postgres
from optuna.trial import TrialState
from search_fixture import go, small_problem

from dse.runs import folder as runs
from dse.runs.record import first_config
from dse.search import workers
from dse.search.settings import Settings
from dse.search.study import slots
from dse.search.study.storage import (
    Place,
    hide,
    open_database,
    patient,
    read_url,
    shared_storage,
    shown,
    unreachable,
)
from workloads.checkpoint_export import write_random


def started(kind):
    try:
        return kind()
    except (ImportError, OSError, LookupError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no {kind.__name__} can be started here: {error}")


@pytest.fixture(scope="module")
def postgres():
    server = started(Postgres)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def mariadb():
    server = started(MariaDB)
    yield server
    server.remove()


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    return request.getfixturevalue(request.param)


def one_line(result, *words: str) -> None:
    command_line.one_line(result, *words)
    assert PLAIN not in result.output
    assert PASSWORD not in result.output


@pytest.fixture(scope="module")
def problem():
    return small_problem()


def start_worker(url: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dse", "worker", "--study", "shared", "--json", *options]
    environment = {**os.environ, "DSE_STORAGE": url, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def held_by(study, process) -> optuna.trial.FrozenTrial | None:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    mine = [t for t in running if t.user_attrs.get("worker", "").endswith(f":{process.pid}")]
    return mine[0] if mine else None


def kill_in_mid_trial(study, process) -> int:
    """SIGKILL, sent while the process holds a trial; returns the number of the trial."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if held_by(study, process):
            process.send_signal(signal.SIGSTOP)
            if trial := held_by(study, process):
                process.kill()
                process.wait()
                return trial.number
            process.send_signal(signal.SIGCONT)
        time.sleep(0.02)
    raise AssertionError(f"never held a trial: {process.communicate()}")


# On one server only: it takes long, and every other test of a database runs on both.
@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_workers_die_and_exactly_the_wanted_trials_are_finished(server, tmp_path):
    """Four workers, one of them a helper; two are killed in mid-trial and one report is drawn."""
    wanted = 8
    settings = Settings("deepseekmoe", 200.0, trials=wanted, tokens=1536)
    study = optuna.create_study(
        storage=shared_storage(server.url),
        study_name="shared",
        directions=["minimize"] * len(settings.metrics),
    )
    workers.announce(study, first_config(settings), heartbeat_s=1.0)
    doomed = [start_worker(server.url) for _ in range(2)]
    left = start_worker(server.url, "--jobs", "2")
    try:
        cut = [kill_in_mid_trial(study, process) for process in doomed]
        folder = tmp_path / "report"
        drawn = invoke("report", folder, "--storage", server.url, "--study", "shared", "--json")
        output, errors = left.communicate(timeout=240)
    finally:
        for process in (*doomed, left):
            process.kill()
    assert left.returncode == 0, errors
    assert json.loads(output)["outcome"] == "finished"
    assert json.loads(output)["trials"] == json.loads(output)["wanted"] == wanted
    finished = slots.finished(study)
    assert sorted(t.user_attrs["slot"] for t in finished) == list(range(wanted))
    states = Counter(t.state for t in study.trials)
    assert [t.user_attrs for t in finished if t.state == TrialState.FAIL] == []
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == wanted
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    assert all(slots.cut_off(study.trials[number]) for number in cut)
    assert drawn.exit_code == 0, drawn.output
    run = runs.load_run(folder)
    assert run.config["study"] == "shared"
    assert run.config["outcome"] in (runs.UNDER_WAY, "finished")
    assert len(run.front()) > 0
    assert run.report.exists()
    for path in folder.iterdir():
        assert PLAIN.encode() not in path.read_bytes()
        assert PASSWORD.encode() not in path.read_bytes()


def test_a_helper_is_given_the_password_where_no_list_of_processes_shows_it(postgres):
    before = set(psutil.Process().children())
    with workers.helpers(Settings("olmoe", 200.0), Place(postgres.url, "none"), 1, None, 5.0):
        started = [one for one in psutil.Process().children() if one not in before]
        lines = [" ".join(one.cmdline()) for one in started]
    assert any("spawn" in line for line in lines)
    assert not any(PLAIN in line or PASSWORD in line for line in lines)


RANDOM = {"model_type": "olmoe", "num_hidden_layers": 2, "hidden_size": 128,
          "intermediate_size": 64, "num_attention_heads": 4, "num_experts": 32,
          "num_experts_per_tok": 4, "vocab_size": 2048}  # fmt: skip


def test_a_worker_joins_a_search_with_a_checkpoint_that_it_has(postgres, tmp_path):
    """It runs trials like any other; without the folder it is told so, and no trial is touched."""
    folder = tmp_path / "random"
    write_random(RANDOM, folder)
    settings = Settings(
        str(folder), 200.0, trials=2, tokens=1536, checkpoint=str(folder), checkpoint_tokens=512
    )
    directions = ["minimize"] * len(settings.metrics)
    storage = shared_storage(postgres.url)
    study = optuna.create_study(storage=storage, study_name="real", directions=directions)
    workers.announce(study, first_config(settings), heartbeat_s=5.0)
    join = ["worker", "--storage", postgres.url, "--study", "real", "--json"]
    away = folder.rename(tmp_path / "away")
    one_line(invoke(*join), f"{folder} is no folder")
    assert study.trials == []
    away.rename(folder)
    result = invoke(*join)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["outcome"], document["trials_here"]) == ("finished", 2)
    assert len(slots.finished(study)) == 2


def test_a_storage_that_goes_away_is_waited_for(server, problem):
    said: list[str] = []
    storage = patient(open_database(read_url(server.url)), server.scheme, said.append)
    back = threading.Timer(2.0, server.start)

    def show(progress):
        if progress.finished == 2:
            server.stop()
            back.start()

    study, outcome = go(storage, problem, 5, name="away", show=show, heartbeat_s=0.3)
    back.join()
    assert outcome == "finished"
    assert len(slots.finished(study)) == 5
    assert len(study.trials) == 5
    assert [line.split()[3] for line in said] == ["away:", "back"]
    assert 2 <= float(said[1].split()[-2]) <= 30


def test_a_storage_that_stays_away_is_one_line(postgres):
    said: list[str] = []
    inner = Place(postgres.url, "gone").open()
    storage = patient(inner, "postgresql", said.append, patience_s=0.5)
    postgres.stop()
    try:
        one_line(invoke("worker", "--storage", postgres.url, "--study", "x"), "onnection refused")
        with pytest.raises(optuna.exceptions.StorageInternalError):
            inner._backend.get_all_studies()
        assert storage is inner
    finally:
        postgres.start()


def test_what_a_lost_connection_raises_means_that_the_storage_is_away(server):
    """Optuna tries a read twice in one transaction; the second error is of another kind."""
    connection = open_database(read_url(server.url))._backend.engine.connect()
    connection.execute(sqlalchemy.text("select 1"))
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(sqlalchemy.exc.SQLAlchemyError) as raised:
                connection.execute(sqlalchemy.text("select 1"))
            assert unreachable(raised.value)
    finally:
        server.start()


def test_a_proxy_serves_workers_without_the_password(postgres, problem):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dse", "storage-proxy", "--port", str(port), "--json"]
    environment = {**os.environ, "DSE_STORAGE": postgres.url}
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        document = json.loads("".join(iter(proxy.stdout.readline, "}\n")) + "}")
        assert document["url"] == f"grpc://localhost:{port}"
        assert PLAIN not in json.dumps(document)
        study, outcome = go(shared_storage(document["url"]), problem, 4, name="by proxy")
        assert outcome == "finished"
        assert len(slots.finished(study)) == len(study.trials) == 4
        one_line(invoke("worker", "--storage", document["url"], "--study", "no"), "by proxy")
    finally:
        proxy.terminate()
        proxy.wait(20)
    assert proxy.returncode == 0


def test_what_a_shared_storage_refuses_is_one_line_without_the_password(
    postgres, tmp_path, monkeypatch
):
    monkeypatch.setattr("dse.search.study.storage._CONNECT_S", 1)
    url = postgres.url
    wrong = url.replace(PASSWORD, PLAIN.replace("@", "") + "x")
    for address, words in (
        (wrong, ["password authentication failed"]),
        (url.replace("/postgres", "/nowhere"), ["nowhere"]),
        (url.replace(PASSWORD, PLAIN), ["%40"]),
        (url.replace(str(postgres.port), "port"), ["no storage URL"]),
        (url.replace("127.0.0.1", "no.such.host.invalid"), ["no.such.host.invalid"]),
        (f"sqlite:///{tmp_path}/study.db", ["--jobs"]),
        ("redis://localhost", ["postgresql://"]),
        ("study.db", ["no storage URL"]),
        ("grpc://localhost:1", ["localhost:1"]),
    ):
        one_line(invoke("worker", "--storage", address, "--study", "x"), *words)
    one_line(invoke("worker", "--study", "x"), "DSE_STORAGE")
    one_line(invoke("worker", "--storage", url), "--study")
    one_line(invoke("worker", "--storage", url, "--study", "x"), "no study 'x'")
    one_line(invoke("storage-proxy"), "DSE_STORAGE")
    one_line(invoke("report", tmp_path / "new", "--storage", url), "--study NAME")
    one_line(invoke("report", tmp_path / "new", "--storage", url, "--study", "x"), "no study 'x'")
    assert not (tmp_path / "new").exists()


def test_a_study_that_exists_or_that_nothing_fits_leaves_no_trace(postgres, tmp_path):
    explore = ["explore", "--model", "deepseekmoe", "--tokens", "1536", "--storage", postgres.url]
    explore += ["--output", tmp_path / "run", "--study", "new"]
    one_line(invoke(*explore, "--budget-area", "3mm2"), "nothing fits in 3 mm2")
    storage = shared_storage(postgres.url)
    assert "new" not in [study.study_name for study in storage.get_all_studies()]
    optuna.create_study(storage=storage, study_name="new", directions=["minimize"] * 3)
    one_line(invoke(*explore, "--budget-area", "200mm2"), "already holds a study 'new'")
    assert list(tmp_path.iterdir()) == []
    one_line(invoke("worker", "--storage", postgres.url, "--study", "new"), "being set up")


def test_a_kill_in_set_up_loses_neither_the_study_nor_its_name(postgres, tmp_path, monkeypatch):
    """The run knows where its study lies from its first file on; its folder is its owner's."""
    folder = tmp_path / "run"
    explore = ["explore", "--model", "deepseekmoe", "--budget-area", "200mm2", "--tokens", "1536"]
    explore += ["--trials", "1", "--storage", postgres.url, "--output", folder, "--study", "early"]
    process = os.fork()
    if not process:
        monkeypatch.setattr("dse.explorer.make_problem", lambda *_, **__: os._exit(9))
        invoke(*explore)
        os._exit(0)
    assert os.WEXITSTATUS(os.waitpid(process, 0)[1]) == 9
    config = runs.read_config(folder)
    assert config["study"] == "early"
    assert PLAIN not in str(config) and PASSWORD not in str(config)
    assert folder.stat().st_mode & 0o777 == 0o700
    one_line(invoke("explore", "--resume", "--output", folder), "add --storage URL")
    listed = invoke("study", "list", "--storage", postgres.url, "--json")
    found = {one["study"]: one for one in json.loads(listed.stdout)["list"]}
    assert found["early"]["finished"] == 0 and found["early"]["wanted"] is None
    again = invoke("explore", "--resume", "--output", folder, "--storage", postgres.url)
    assert again.exit_code == 0, again.output
    assert not (folder / "study.journal").exists()
    study = optuna.load_study(study_name="early", storage=shared_storage(postgres.url))
    assert len(slots.finished(study)) == 1
    remove = ["study", "remove", "--storage", postgres.url]
    one_line(invoke(*remove), "--study NAME")
    one_line(invoke(*remove, "--study", "no"), "no study 'no'", "early")
    slots.fill(study, 2)
    trial = slots.claim(study, 2)
    one_line(invoke(*remove, "--study", "early"), "1 trials in hand", "--force")
    slots.give_back(study, trial._trial_id)
    removed = invoke(*remove, "--study", "early", "--json")
    assert json.loads(removed.stdout)["remove"][0]["finished"] == 1
    assert "early" not in invoke("study", "list", "--storage", postgres.url).stdout


def test_a_long_config_is_stored_and_one_of_another_program_refused(server, tmp_path):
    settings = Settings("deepseekmoe", 200.0, trials=1, tokens=1536)
    directions = ["minimize"] * len(settings.metrics)
    storage = shared_storage(server.url)
    study = optuna.create_study(storage=storage, study_name="long", directions=directions)
    config = first_config(settings) | {"command": "x" * 112_000}
    workers.announce(study, config, heartbeat_s=5.0)
    place = Place(server.url, "long")
    carried = workers.read_announced(storage, place)["config"]
    assert carried == json.loads(json.dumps(config))
    config["fingerprints"]["text"] = "other"
    workers.announce(study, config, heartbeat_s=5.0)
    joined = invoke("worker", "--storage", server.url, "--study", "long")
    one_line(joined, "study 'long'", "another text (other, here")
    drawn = invoke("report", tmp_path / "run", "--storage", server.url, "--study", "long")
    one_line(drawn, "another text (other, here")
    assert study.trials == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", 3, None])
@pytest.mark.parametrize("key", ["folder", "file"])
def test_a_study_names_no_file_outside_of_the_workers_folder(tmp_path, monkeypatch, key, name):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = {"folder": "model", "file": "config.json", "content": {}} | {key: name}
    config = {"settings": Settings("deepseekmoe", 200.0).document()}
    with (
        pytest.raises(ValueError, match="a plain name is needed"),
        workers.usable_settings({"config": config, "model": model}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymysql", None)
    secret = "mysql://user:secret@localhost/db"
    result = invoke("worker", "--storage", secret, "--study", "x")
    one_line(result, "mysql://localhost/db", "pymysql", "dse[workers]")
    assert "secret" not in result.output


def test_a_storage_url_is_shown_without_user_password_and_options():
    for url in (
        "postgresql://user:secret@host:5432/db?sslmode=require&password=secret",
        "postgresql://host:5432/db?user=user&password=se%40cret",
    ):
        assert shown(url) == "postgresql://host:5432/db"
        assert hide(f"--storage={url}") == "--storage=postgresql://host:5432/db"
        assert "secret" not in repr(Place(url, "study"))
    assert hide("postgresql://user:sec@ret/x@host/db") == "***"
    assert hide("--trials=4") == "--trials=4"
    assert str(read_url("postgres://u@h/d").drivername) == "postgresql+psycopg"
    assert str(read_url("mysql+mysqldb://u@h/d").drivername) == "mysql+mysqldb"


def test_a_model_file_travels_with_its_study(tmp_path):
    path = tmp_path / "my-moe" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"model_type": "olmoe"}))
    attributes = {}
    study = SimpleNamespace(set_user_attr=attributes.__setitem__)
    document = Settings("deepseekmoe", 200.0).document() | {"model": str(path.parent)}
    workers.announce(study, {"settings": document, "model_source": str(path)}, 5.0)
    carried = json.loads(json.dumps(attributes[workers.RUN]))
    path.unlink()
    with workers.usable_settings(carried) as settings:
        assert settings.model.endswith("my-moe/config.json")
        assert json.loads(Path(settings.model).read_text()) == {"model_type": "olmoe"}
