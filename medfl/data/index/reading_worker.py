"""Process that reads file facts for another one: ``python -m medfl.data.index.reading_worker``, one list of paths per line."""

from __future__ import annotations

import json
import signal
import sys

from medfl.data.index.file_facts import probe_facts, to_json


def main() -> None:
    """Answer each line with one line until the input ends, which it does with the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    for line in sys.stdin.buffer:
        rows = [to_json(probe_facts(path)) for path in json.loads(line)]
        sys.stdout.buffer.write(json.dumps(rows).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
