"""What the server saw."""

import collections
import json
import threading
import time


class Journal:
    """The request log and the counters."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.changed = threading.Condition()
        self.busy = 0  # exchanges being answered, but for those that wait on purpose
        self.open = self.peak = 0
        self.reset()

    def reset(self):
        with self.changed:
            self.counts = {key: collections.Counter()
                           for key in ("connections", "requests", "bytes", "kinds", "statuses")}
            self.seconds = collections.Counter()  # whole seconds since the epoch -> body bytes
            self.peak = self.open

    def connection(self, listener, change):
        with self.changed:
            self.open += change
            self.peak = max(self.peak, self.open)
            self.counts["connections"][listener.name] += max(change, 0)

    def add_bytes(self, count):
        with self.changed:
            self.seconds[int(time.time())] += count

    def add_busy(self, change):
        with self.changed:
            self.busy += change
            self.changed.notify_all()

    def write(self, entry):
        with self.changed:
            if entry["method"]:
                self.counts["requests"][entry["listener"]] += 1
                self.counts["bytes"][entry["listener"]] += entry["sent"]
                self.counts["kinds"][entry["kind"]] += 1
                self.counts["statuses"][str(entry["status"])] += 1
            if self.file:
                self.file.write(json.dumps(entry) + "\n")
                self.file.flush()

    def settle(self, seconds):
        """Wait until what clients have seen complete is in the log too."""
        with self.changed:
            self.changed.wait_for(lambda: self.busy == 0, seconds)

    def stats(self):
        with self.changed:
            return {**self.counts, "seconds": self.seconds, "open_connections": self.open,
                    "peak_connections": self.peak}
