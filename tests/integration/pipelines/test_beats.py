# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The beats of pipelines/hsm.sh: they hold while their job runs, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness.gitlab import CLAIM, TOOL, inherited
from harness.redis_servers import wait_until


@pytest.fixture
def beat(redis_url):
    """Start a beat. Each that still lives is ended."""
    started = []

    def start(**variables):
        given = {**inherited(), "REDIS_URL": redis_url, "HSM_BEAT": "1", **variables}
        started.append(
            subprocess.Popen(["sh", TOOL, "beat", "dev", "job"], env=given, text=True, stderr=subprocess.PIPE)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_beat_renews_until_it_is_stopped(tool, beat, store, holders, tmp_path):
    stop = str(tmp_path / "stop")
    assert tool("hold", "dev", "job", HSM_STOP_FILE=stop).returncode == 0
    process = beat(HSM_STOP_FILE=stop)
    store.zadd("hsm:dev:holds", {"job": store.time()[0] + 5, "other": store.time()[0] + 500})
    store.delete("hsm:dev:last_access")
    wait_until(lambda: holders()["job"] > 800)
    assert store.exists("hsm:dev:last_access"), "a beat is a touch, too"

    # Redis that has lost everything knows of the job again.
    store.delete("hsm:dev:holds")
    wait_until(lambda: holders().get("job", 0) > 800)
    store.zadd("hsm:dev:holds", {"other": store.time()[0] + 500})

    assert tool("release", "dev", "job", HSM_STOP_FILE=stop).returncode == 0
    assert process.wait(10) == 0
    assert set(holders()) == {"other"}


def test_a_beat_that_is_late_does_not_undo_a_release(tool, beat, holders, slow_holds, tmp_path):
    folder, arrive = slow_holds
    stop = str(tmp_path / "stop")
    assert tool("hold", "dev", "job", HSM_STOP_FILE=stop).returncode == 0
    process = beat(HSM_STOP_FILE=stop, PATH=f"{folder}:{os.environ['PATH']}")
    wait_until(Path(f"{arrive}.awaited").exists)
    assert tool("release", "dev", "job", HSM_STOP_FILE=stop).returncode == 0
    assert holders() == {}

    arrive.touch()
    assert process.wait(10) == 0
    assert holders() == {}, "what it wrote after the release, it took back"


def test_a_beat_is_stopped_by_a_release_that_fails(tool, beat, tmp_path):
    stop = str(tmp_path / "stop")
    process = beat(HSM_STOP_FILE=stop)
    told = tool("release", "dev", "job", HSM_STOP_FILE=stop, REDIS_URL="")
    assert (told.returncode, "no Redis is named" in told.stderr) == (4, True)
    assert process.wait(10) == 0


def test_a_beat_ends_with_its_folder_where_it_watches_nothing(beat, holders, tmp_path):
    (folder := tmp_path / "job").mkdir()
    *watched, lonely = (beat(HSM_STOP_FILE=f"{folder}/stop", HSM_WATCH=pid) for pid in (str(os.getpid()), "1", "0"))
    folder.rmdir()
    assert lonely.wait(10) == 0
    wait_until(lambda: "job" in holders())
    assert [each.poll() for each in watched] == [None, None], "a job may clear its checkout away, and is still there"


def test_a_beat_is_never_rarer_than_its_hold_bears(tool, beat, store, holders):
    """Nobody reads what a beat says that does not begin."""
    assert tool("hold", "dev", "job", HSM_HOLD_FOR="3", HSM_STOP_FILE="stop").returncode == 0
    beat(HSM_HOLD_FOR="3", HSM_BEAT="")
    store.zadd("hsm:dev:holds", {"job": 5})
    wait_until(lambda: holders()["job"] > 0)


def test_a_beat_ends_with_what_it_watches(beat, holders):
    watched = subprocess.Popen(["sleep", "60"])
    process = beat(HSM_WATCH=str(watched.pid))
    wait_until(lambda: "job" in holders())
    watched.kill()
    watched.wait()

    assert process.wait(10) == 0
    assert holders()["job"] <= 900, "what is left of its hold is bounded"


def test_a_beat_ends_at_last(beat, holders):
    process = beat(HSM_BEAT_MAX="2")
    _nothing, told = process.communicate(timeout=10)

    assert process.returncode == 0
    assert "job has been held for 2 s, the longest that HSM_BEAT_MAX allows" in told
    assert holders()["job"] <= 900


@pytest.mark.parametrize(("watched", "longest"), [pytest.param(True, 604800, marks=pytest.mark.slow), (False, 21600)])
def test_how_long_a_beat_lives(tool, watched, longest):
    """A job may take longer than a beat that nobody ends."""
    hurried = ("sh", "-c", 'sleep() { :; }; . "$0"')
    given = {
        "HSM_WATCH": str(os.getpid() if watched else 0),
        "HSM_BEAT_MAX": "",
        "HSM_HOLD_FOR": "86400",
        "HSM_BEAT": "43200",
    }
    told = tool("beat", "dev", "job", shell=hurried, **given)
    assert (told.returncode, f"job has been held for {longest} s" in told.stderr) == (0, True)


def test_a_beat_outlives_what_redis_does_not_do(beat, store, holders, redis_port):
    store.set("hsm:dev:holds", 1)
    process = beat()
    assert "of another type than a sorted set" in process.stderr.readline()
    store.delete("hsm:dev:holds")
    wait_until(lambda: "job" in holders())
    # Only those who look at its log are told.
    store.hset("hsm:dev:claim", mapping=CLAIM)
    assert "the HSM is about to be deleted" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
