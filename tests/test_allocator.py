"""Memory that a job frees stays with it."""

import subprocess
import sys

ALLOCATIONS = """
import resource
from pipeline.runtime.allocator import keep_freed_memory

def allocate():
    blocks = [bytearray(2**22) for _ in range(3)]
    for block in blocks:
        block[:] = bytes(2**22)

keep_freed_memory()
allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def new_pages(program: str) -> int:
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return int(output.stdout)


def test_freed_memory_is_used_again_without_new_pages():
    # 10 turns of 3 blocks of 1024 pages
    assert new_pages(ALLOCATIONS) < 100
    assert new_pages(ALLOCATIONS.replace("\nkeep_freed_memory()", "")) > 10_000
