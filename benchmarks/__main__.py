"""`python -m benchmarks` prints every ratio there is."""

from __future__ import annotations

from benchmarks import aggregate, index, prepare, simulation, store

if __name__ == "__main__":
    simulation.main()
    aggregate.main()
    store.main()
    prepare.main()
    index.main()
