"""`python -m benchmarks` prints every ratio there is."""

from __future__ import annotations

from benchmarks import aggregate, columns, index, prediction, prepare, simulation, store

if __name__ == "__main__":
    simulation.main()
    aggregate.main()
    columns.main()
    store.main()
    prepare.main()
    prediction.main()
    index.main()
