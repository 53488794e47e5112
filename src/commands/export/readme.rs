//! The page in an export that says what is there and how to read it. Its examples are run by a test, as they stand.

use std::fmt::Write as _;

use crate::report::lengths::many;

use super::Format;
use super::manifest::{MANIFEST, Manifest, SUMS};

/// Its name.
pub(super) const README: &str = "README.md";

const COLUMNS: &str = "\
| column | what |
|---|---|
| `observed_at` | when tapline saw it, UTC, to the microsecond |
| `source` | the source that it came from |
| `id` | its identity: the same wherever the record is |
| `type` | what kind of thing `data` is |
| `published_at` | when upstream says that it happened; empty where upstream says nothing |
| `data` | upstream's own object as JSON text, token for token: parse it with decimals where digits count |
| `dt` | the day (UTC) of `observed_at`; not in the files but in their folders' names |
";

/// The columns that `DuckDB` is told, because what it guesses depends on the first rows.
const DUCKDB_COLUMNS: &str = "{'observed_at': 'TIMESTAMPTZ', 'source': 'VARCHAR', 'id': 'VARCHAR', 'type': 'VARCHAR', 'published_at': 'TIMESTAMPTZ', 'data': 'JSON'}";

/// The page of an export.
pub(super) fn page(manifest: &Manifest) -> String {
    let format = manifest.terms.format;
    let mut page = format!(
        "# Records collected with tapline\n\nEach stream is a folder, each day (UTC) a folder in it: `<stream>/dt=<day>/part-<segment>.{}`.\n\n",
        format.ending()
    );
    let mut put = |text: std::fmt::Arguments<'_>| page.write_fmt(text).expect("invariant: a string takes all");
    put(format_args!("| stream | records | first observed | last observed |\n|---|---|---|---|\n"));
    for (name, stream) in &manifest.streams {
        let [first, last] =
            [&stream.first_observed_at, &stream.last_observed_at].map(|at| at.as_deref().unwrap_or("–"));
        put(format_args!("| `{name}` | {} | {first} | {last} |\n", many(stream.records)));
    }
    put(format_args!("\n{COLUMNS}\n"));
    put(format_args!(
        "`{MANIFEST}` says where each file is from and what is missing, `sha256sum -c {SUMS}` or `tapline export --verify .` \
         whether it is still as it was. What was not collected, and why, is in the stream `_ledger`, if it is here.\n"
    ));
    // Tapline's own streams are not what somebody wants to see first.
    let shown = |name: &&String| (name.starts_with('_'), (*name).clone());
    let Some(stream) =
        manifest.streams.iter().filter(|(_, stream)| stream.records > 0).map(|(name, _)| name).min_by_key(shown)
    else {
        return page;
    };
    page.push_str(&examples(format, stream));
    page
}

fn examples(format: Format, stream: &str) -> String {
    let (table, frame) = match format {
        Format::Parquet => (
            format!("read_parquet('{stream}/*/*.parquet', hive_partitioning = true)"),
            format!("import pandas as pd\n\nframe = pd.read_parquet(\"{stream}\")\n"),
        ),
        Format::Csv => (
            format!(
                "read_csv('{stream}/*/*.csv', header = true, hive_partitioning = true, max_line_size = 67108864, columns = {DUCKDB_COLUMNS})"
            ),
            format!(
                "from pathlib import Path\n\nimport pandas as pd\n\nparts = sorted(Path(\"{stream}\").glob(\"dt=*/*.csv\"))\n\
                 text = {{\"source\": str, \"id\": str, \"type\": str, \"published_at\": str, \"data\": str}}\n\
                 frame = pd.concat([pd.read_csv(part, dtype=text, keep_default_na=False) for part in parts], ignore_index=True)\n\
                 for column in [\"observed_at\", \"published_at\"]:\n    frame[column] = pd.to_datetime(frame[column], utc=True)\n"
            ),
        ),
        Format::Lines => (
            format!(
                "read_json('{stream}/*/*.jsonl.zst', format = 'newline_delimited', compression = 'zstd', hive_partitioning = true, maximum_object_size = 67108864, columns = {DUCKDB_COLUMNS})"
            ),
            format!(
                "import io\nimport json\nfrom decimal import Decimal\nfrom pathlib import Path\n\nimport pandas as pd\nimport zstandard\n\n\
                 def lines(part):\n    with part.open(\"rb\") as file:\n        whole = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)\n\
                 \x20       for line in io.TextIOWrapper(whole, encoding=\"utf-8\"):\n            yield json.loads(line, parse_float=Decimal)\n\n\
                 parts = sorted(Path(\"{stream}\").glob(\"dt=*/*.jsonl.zst\"))\n\
                 frame = pd.DataFrame([line for part in parts for line in lines(part)])\n\
                 for column in frame.columns.intersection([\"observed_at\", \"published_at\"]):\n    frame[column] = pd.to_datetime(frame[column], utc=True)\n"
            ),
        ),
    };
    let warning = match format {
        Format::Lines => {
            "\nDuckDB's reader of JSON writes numbers again, as floats, and refuses half a pair of surrogates. Where that \
             matters, `tapline export --to parquet` keeps `data` as it is.\n"
        }
        Format::Parquet | Format::Csv => "",
    };
    let needs = match format {
        Format::Parquet => "pandas and pyarrow",
        Format::Csv => "pandas",
        Format::Lines => "pandas and zstandard",
    };
    format!(
        "\n## DuckDB\n\nIn its own shell, or in Python with duckdb and pytz from PyPI:\n\n```sql\nSELECT dt, source, type, count(*) AS records, min(observed_at) AS first, max(observed_at) AS last\n\
         FROM {table}\nGROUP BY ALL ORDER BY ALL;\n```\n\n\
         A value of `data` is `data->>'$.price'`, and exact as `CAST(data->>'$.price' AS DECIMAL(18, 4))`.\n{warning}\n\
         ## pandas\n\nWith {needs} from PyPI:\n\n```python\n{frame}print(frame.groupby([\"source\", \"type\"]).size())\n```\n"
    )
}
