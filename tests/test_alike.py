"""What many jobs say alike is told once."""

from workflow.commands.alike import failures, shared
from workflow.commands.job_status import JobStatus, UnfinishedJob


def test_messages_that_differ_in_their_numbers_are_one_cause_without_them() -> None:
    (cause,) = shared({"a": "no 2 GiB for batch 7", "b": "no 3 GiB for batch 7"})
    assert cause.message == "no … GiB for batch 7"
    assert cause.names == ("a", "b")


def test_other_words_are_another_cause_in_the_order_of_their_first_jobs() -> None:
    causes = shared({"a": "no memory", "b": "no disk", "c": "no memory"})
    assert [(cause.message, cause.listed) for cause in causes] == [
        ("no memory", "a, c"),
        ("no disk", "b"),
    ]


def test_a_single_message_and_equal_ones_keep_every_word() -> None:
    (cause,) = shared({"a": "step  12 of 40"})
    assert cause.message == "step  12 of 40"
    (cause,) = shared({"a": "step 12 of 40", "b": "step 12 of 40"})
    assert cause.message == "step 12 of 40"


def test_words_that_differ_beside_each_other_are_left_out_as_one() -> None:
    (cause,) = shared({"a": "texts x1, y1 and z1 of 9", "b": "texts x2, y2 and z2 of 9"})
    assert cause.message == "texts … and … of 9"


def test_a_cause_names_three_jobs_the_count_of_the_rest_and_one_log() -> None:
    jobs = [
        UnfinishedJob("students", f"s{n}", JobStatus.FAILED, 0, f"{n}.log", "error: no disk")
        for n in range(6)
    ]
    assert failures(jobs) == [
        "6 jobs: no disk\n    students/s0, students/s1, students/s2 and 3 more\n    0.log"
    ]
    assert failures(jobs[4:5]) == ["students/s4: no disk\n    4.log"]
