"""All schemas and templates of the bank, from the config classes, in fresh processes. Nothing is written.

Run: ``python benchmarks/generate.py``. Five processes, one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from measure import show, summary

REPEATS = 5
PROGRAM = """
import json, time
begin = time.perf_counter()
from skillrun.bank import bank_root
from skillrun.maintain.generate import generate
loaded = time.perf_counter()
names = [path.name for path in generate(bank_root())]
done = time.perf_counter()
counts = [sum(map(test, names)) for test in (
    lambda name: name.endswith(".schema.json"), lambda name: name.startswith("spec_template_"))]
print(json.dumps([(loaded - begin) * 1000, (done - loaded) * 1000, *counts]))
"""


def one_process() -> tuple[float, float, float, int, int]:
    """Milliseconds of the whole process, of the imports and of the generation; number of schemas and templates."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    whole = (time.perf_counter() - begin) * 1000
    imports, generation, schemas, templates = json.loads(done.stdout)
    return whole, imports, generation, schemas, templates


def main() -> None:
    """Measure and print."""
    measured = [one_process() for _ in range(REPEATS)]
    labels = ("whole process", "imports of the generator", "generation, with loading the config classes")
    rows = [(label, *summary([run[index] for run in measured]).cells()) for index, label in enumerate(labels)]
    _, _, _, schemas, templates = measured[0]
    title = f"{schemas} schemas and {templates} templates, {REPEATS} cold processes"
    show(title, ("", "median ms", "min–max"), rows)


if __name__ == "__main__":
    main()
