"""Make digits.parquet with DuckDB, of the handwritten digits that scikit-learn ships.

    pip install duckdb scikit-learn
    python make_file.py

1,797 pictures of 8 by 8 pixels. The pixels are the vector; which digit it is, how dark it is, and the picture as text
are the payload. `make parquet-digits` runs it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import duckdb

HERE: Final = Path(__file__).resolve().parent
FILE: Final = HERE / "digits.parquet"

DIGITS: Final = """
    WITH pictures AS (
        SELECT row_number() OVER () AS number, list_value(*COLUMNS(* EXCLUDE column64))::INTEGER[] AS pixels,
            column64::UTINYINT AS digit
        FROM read_csv($source, header = false)
    )
    SELECT
        format('digit-{:04d}', number) AS id,
        -- Brightness from 0 to 1 instead of 0 to 16. Not FLOAT[64]: a NULL would spoil all rows.
        list_transform(pixels, lambda pixel: pixel / 16)::FLOAT[] AS pixels,
        digit,
        round(list_avg(pixels) / 16, 3) AS ink,
        array_to_string(list_transform(range(8), lambda line: array_to_string(
            list_transform(pixels[8 * line + 1 : 8 * line + 8], lambda pixel: ' .:-=+*#%'[pixel // 2 + 1]), ''
        )), chr(10)) AS picture
    FROM pictures ORDER BY number
"""


def main() -> None:
    """Write the file beside this script."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise SystemExit("scikit-learn, whose digits these are, is not installed: pip install scikit-learn")
    source = Path(found.origin).parent / "datasets/data/digits.csv.gz"
    with duckdb.connect() as database:
        rows = database.sql(DIGITS, params={"source": str(source)})
        rows.write_parquet(str(FILE))
        count = len(database.read_parquet(str(FILE)))
    print(f"{FILE.name}: {count:,} rows, {FILE.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
