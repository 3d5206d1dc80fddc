"""Jobs in processes: all of them are answered for, whatever happens to one."""

import os

import pytest

from wmgym.collection import JobFailed, run_jobs


def start():
    def work(job):
        if job == "raise":
            raise ValueError("said no")
        if job == "die":
            os._exit(7)
        return job * 2

    return work


def broken_start():
    raise RuntimeError("no start")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_job_costs_only_itself(workers):
    results = list(run_jobs(start, [1, "raise", 2, "die", 3, 4], workers))
    failed = {result.job: result.reason for result in results if isinstance(result, JobFailed)}
    assert sorted(result for result in results if not isinstance(result, JobFailed)) == [2, 4, 6, 8]
    assert set(failed) == {"raise", "die"}
    assert "said no" in failed["raise"]
    assert "exit code 7" in failed["die"]


def test_a_broken_start_is_reported_for_each_job():
    results = list(run_jobs(broken_start, [1, 2], workers=1))
    assert [result.job for result in results] == [1, 2]
    assert all("no start" in result.reason for result in results)


def test_nothing_to_do():
    assert list(run_jobs(start, [], workers=3)) == []


def test_no_workers():
    with pytest.raises(ValueError, match="workers = 0"):
        list(run_jobs(start, [1], workers=0))
