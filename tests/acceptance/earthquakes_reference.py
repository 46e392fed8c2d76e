"""What deploy/workflows/earthquakes.json must leave in SQLite, calculated without treadle from the same CSV file.

    python tests/acceptance/earthquakes_reference.py                      prints the rows as JSON lines
    python tests/acceptance/earthquakes_reference.py FILE.db              compares a database with them

Exit code 1 and a line per difference when the database is not the same.
"""

from __future__ import annotations

import csv
import json
import math
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "deploy" / "workflows" / "earthquakes.csv"
REGIONS = {"CA": "California", "MX": "Mexico", "NV": "Nevada"}

Row = dict[str, Any]


def natural_quakes(path: Path = DATA) -> list[Row]:
    """Read the earthquakes from magnitude 1 on, with their day and region."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["type"] == "earthquake" and float(row["magnitude"]) >= 1.0]
    return [{**row, "day": row["time"][:10], "region": _region(row["place"])} for row in rows]


def sums(quakes: list[Row]) -> dict[tuple[str, str], Row]:
    """Add them up by region and day."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for quake in quakes:
        groups[quake["region"], quake["day"]].append(quake)
    return {group: _figures(members) for group, members in sorted(groups.items())}


def strong(quakes: list[Row]) -> set[str]:
    """Name those from magnitude 5 on."""
    return {quake["id"] for quake in quakes if float(quake["magnitude"]) >= 5.0}


def differences(database: Path, data: Path = DATA) -> list[str]:
    """Compare a database with the data set; one line for each difference."""
    quakes = natural_quakes(data)
    expected = sums(quakes)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM earthquakes_by_region_and_day").fetchall()
        ids = {row["id"] for row in connection.execute("SELECT id FROM strong_earthquakes")}
    actual = {(row["region"], row["day"]): dict(row) for row in found}
    lines = [f"{group}: missing" for group in expected.keys() - actual.keys()]
    lines += [f"{group}: not in the data set" for group in actual.keys() - expected.keys()]
    for group in expected.keys() & actual.keys():
        lines += [
            f"{group}: {name} is {actual[group][name]}, not {value}"
            for name, value in expected[group].items()
            if not math.isclose(value, actual[group][name], rel_tol=1e-9)
        ]
    lines += [f"strong earthquake {name}: missing or not strong" for name in sorted(strong(quakes) ^ ids)]
    return sorted(lines)


def _region(place: str) -> str:
    area = place.rsplit(", ", 1)[-1]
    return REGIONS.get(area, area)


def _figures(quakes: list[Row]) -> Row:
    magnitudes = [float(quake["magnitude"]) for quake in quakes]
    depths = [float(quake["depth_km"]) for quake in quakes]
    return {
        "quakes": len(quakes),
        "magnitude_sum": sum(magnitudes),
        "magnitude_max": max(magnitudes),
        "depth_km_mean": sum(depths) / len(depths),
    }


def main(arguments: list[str]) -> int:
    """Print the rows, or compare the database that is named."""
    if arguments:
        lines = differences(Path(arguments[0]))
    else:
        lines = [json.dumps({"region": r, "day": d, **row}) for (r, d), row in sums(natural_quakes()).items()]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if arguments and lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
