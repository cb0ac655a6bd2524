"""Freed memory is reused, without the kernel zeroing it again."""

import ctypes
import sys

import pytest
from helpers import command

FAULTS = """
import resource, sys, threading
from vqjax.system import memory
if sys.argv[1] == "kept":
    memory.retain_freed_memory()

def faults():
    def asked():
        [b"x" * 50 * 2**20 for _ in range(int(sys.argv[2]))]  # as much as a step asks for; NumPy has huge pages
    threads = [threading.Thread(target=asked) for _ in range(2)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for thread in threads:
        thread.start()
        thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(faults() for _ in range(9)))  # a thread may come to memory that no other has had
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's")
@pytest.mark.parametrize("count", [1, 3])
def test_freed_memory_is_reused(count):
    """Reused in every thread, even if it is more than one heap of the thread's arena holds."""
    page_faults = {how: int(command("-c", FAULTS, how, str(count)).stdout) for how in ("given back", "kept")}
    assert page_faults["kept"] < 0.01 * page_faults["given back"], page_faults
