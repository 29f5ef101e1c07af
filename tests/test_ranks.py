"""The processes of a job find each other, add up tensors and exchange values."""

import pytest
import torch
from gang import on_ranks

from pipeline.runtime import ranks
from pipeline.runtime.costs import Cost
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.training.accounts import Accounts
from pipeline.training.state import TrainingState


def exchange(ranks: Ranks) -> tuple[object, ...]:
    whole, half = torch.arange(3.0) + ranks.rank, torch.ones(2, 2, dtype=torch.float64)
    ranks.sum_in_place([whole, half[:, 1]])
    ranks.barrier()
    return (
        whole.tolist(),
        half.tolist(),
        ranks.gather({"rank": ranks.rank}),
        ranks.highest(10 - ranks.rank),
        ranks.share("abcde"),
        ranks.is_first,
    )


def test_two_processes_add_and_exchange() -> None:
    first, second = on_ranks(2, exchange)
    whole = [0.0 + 1.0, 1.0 + 2.0, 2.0 + 3.0]
    half = [[1.0, 2.0], [1.0, 2.0]]  # its last column alone
    both = (whole, half, [{"rank": 0}, {"rank": 1}], 10)
    assert first == (*both, ["a", "c", "e"], True)
    assert second == (*both, ["b", "d"], False)


def account(ranks: Ranks) -> tuple[Cost, int, int | None]:
    state = TrainingState(torch.optim.SGD([torch.zeros(())]))
    state.student_work.positions = 100  # of an earlier process
    state.teacher_work.flops = None
    accounts = Accounts(ranks, state)
    for _ in range(2):
        state.student_work.positions += 1 + ranks.rank
        state.student_work.flops = (state.student_work.flops or 0) + 10**20
        accounts.add(
            Cost(
                seconds=2.0 + ranks.rank,
                device_seconds=2.0,
                host_memory_bytes=7 + ranks.rank,
                energy_joules=5.0,
            )
        )
    return state.usage, state.student_work.positions, state.teacher_work.flops


def test_time_passes_once_but_devices_energy_and_work_add_up() -> None:
    first, second = on_ranks(2, account)
    usage = Cost(seconds=6, device_seconds=8, host_memory_bytes=8, energy_joules=20)
    assert first == second == (usage, 100 + 2 * (1 + 2), None)


def test_a_process_alone_needs_no_connection() -> None:
    ones = torch.ones(2)
    ALONE.sum_in_place([ones])
    ALONE.barrier()
    assert ones.tolist() == [1, 1]
    assert ALONE.gather("value") == ["value"]
    assert ALONE.highest(3) == 3
    assert ALONE.share("abc") == ["a", "b", "c"]


def test_buckets_keep_the_order_and_one_type_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUCKET", 5)
    tensors = [torch.zeros(3), torch.zeros(2), torch.zeros(1), torch.zeros(1).double()]
    sizes = [[tensor.numel() for tensor in bucket] for bucket in ranks._buckets(tensors)]
    assert sizes == [[3, 2], [1], [1]]


def test_half_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match=r"RANK = 1 is set .* but not WORLD_SIZE, LOCAL_RANK"):
        ranks.of_environment()
