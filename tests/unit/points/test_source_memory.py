"""What a process remembers of sets with a source, and when it forgets it."""

from vectorops.api.meta import Ref
from vectorops.points.source_memory import RememberedSource, SourceMemory

REF = Ref("PointSet", "library", "books")
REMEMBERED = RememberedSource("uid", 1, listed=5.0, next_part=0)


def test_a_suspicion_lasts_until_the_set_is_as_declared():
    memory = SourceMemory()
    memory.remember(REF, REMEMBERED)
    memory.suspect(REF)
    memory.forget(REF)
    assert (memory.is_suspected(REF), memory.known(REF, "uid", 1)) == (True, None)

    memory.remember(REF, REMEMBERED)

    assert (memory.is_suspected(REF), memory.known(REF, "uid", 1)) == (False, REMEMBERED)


def test_nothing_is_remembered_of_a_set_that_is_gone():
    memory, other = SourceMemory(), Ref("PointSet", "library", "other")
    memory.suspect(REF)
    memory.suspect(other)
    memory.remember(REF, REMEMBERED)
    memory.suspect(REF)

    memory.forget_set(REF)

    assert (memory.is_suspected(REF), memory.known(REF, "uid", 1)) == (False, None)
    assert memory.is_suspected(other)
