//! Exports read back by the programs that they are made for. All counts and sums are those of the
//! report.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::*;
use mremap_tests::need::skip;
use mremap_trace::{Header, HeaderText, Outcome, Record};
use serde_json::{Value, json};
use tempfile::TempDir;

mod common;

/// Columns whose sums are compared.
const SUMMED: [&str; 5] =
    ["duration_ns", "bytes_relocated", "bytes_grown_in_place", "parts", "gaps"];

/// Three processes: emulated and native moves, failures, a fork, threads, stacks.
fn golden() -> String {
    format!("{}/tests/golden/v1", env!("CARGO_MANIFEST_DIR"))
}

fn export(format: &str, target: &Path) {
    let target = target.to_str().expect("a path of text");
    let output = analyzer(&["export", "--format", format, "-o", target, &golden()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Totals that every export must have: calls, failures, nanoseconds, bytes relocated and grown in
/// place, parts, gaps.
fn expected() -> Value {
    let report: Value =
        serde_json::from_slice(&analyzer(&["report", "--json", &golden()]).stdout).unwrap();
    let outcomes = report["outcomes"].as_array().unwrap();
    let sum = |field: &str| outcomes.iter().map(|it| it[field].as_u64().unwrap()).sum::<u64>();
    let (moves, bytes) = (&report["moves"], ["bytes_relocated", "bytes_grown_in_place"]);
    let [relocated, grown] = bytes.map(|name| &report[name]);
    assert!(relocated.as_u64() > moves["bytes"].as_u64(), "not only emulated moves relocate");
    let time = sum("time_ns");
    json!([report["calls"], sum("failed"), time, relocated, grown, moves["parts"], moves["gaps"]])
}

fn python(script: &str, arguments: &[&Path]) -> Output {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python).args(["-c", script]).args(arguments).output();
    output.expect("python3 is installed")
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Whether a Python module is missing, which is reported as skipped.
fn lacks(output: &Output, module: &str) -> bool {
    let lacks = stderr(output).contains("ModuleNotFoundError");
    if lacks {
        skip(&format!(
            "Parquet read by {module}: the Python module is not installed (pip install {module}; PYTHON=... selects a python3)"
        ));
    }
    lacks
}

#[test]
fn duckdb_reads_the_same_totals_from_parquet() {
    let directory = TempDir::new().unwrap();
    export("parquet", directory.path());
    let output = python(
        "import duckdb, json, sys\n\
         rows = f\"read_parquet('{sys.argv[1]}/**/*.parquet', hive_partitioning=true)\"\n\
         sums = duckdb.sql(f'''select count(*), count(errno), sum(duration_ns)::ubigint,\n\
             sum(bytes_relocated)::ubigint, sum(bytes_grown_in_place)::ubigint,\n\
             sum(parts)::ubigint, sum(gaps)::ubigint from {rows}''').fetchall()[0]\n\
         hosts = duckdb.sql(f'select distinct host from {rows}').fetchall()\n\
         types = duckdb.sql(f'describe select * from {rows}').fetchall()\n\
         json.dump([sums, hosts, {row[0]: row[1] for row in types}], sys.stdout)",
        &[directory.path()],
    );
    if lacks(&output, "duckdb") {
        return;
    }
    let read = answer(&output);
    assert_eq!(read[0], expected());
    assert_eq!(read[1], json!([["golden"]]));
    for (column, kind) in [
        ("wall_clock", "TIMESTAMP WITH TIME ZONE"),
        ("wall_clock_ns", "BIGINT"),
        ("old", "BIGINT"),
        ("flags", "UINTEGER"),
        ("result", "BIGINT"),
        ("errno", "VARCHAR"),
        ("date", "DATE"),
    ] {
        let found = read[2][column].as_str().unwrap_or_default();
        assert!(
            found == kind || column == "wall_clock" && found.starts_with("TIMESTAMP"),
            "{column}: {found}"
        );
    }
}

#[test]
fn arrow_reads_the_same_totals_from_parquet() {
    let directory = TempDir::new().unwrap();
    export("parquet", directory.path());
    let output = python(
        "import json, sys, pyarrow.compute as pc, pyarrow.dataset as ds\n\
         table = ds.dataset(sys.argv[1], partitioning='hive').to_table()\n\
         total = lambda name: pc.sum(table[name]).as_py()\n\
         sums = [table.num_rows, table.num_rows - table['errno'].null_count]\n\
         sums += [total(name) for name in\n\
             ('duration_ns', 'bytes_relocated', 'bytes_grown_in_place', 'parts', 'gaps')]\n\
         json.dump([sums, sorted(set(table['outcome'].to_pylist())), table.schema.names], sys.stdout)",
        &[directory.path()],
    );
    if lacks(&output, "pyarrow") {
        return;
    }
    let read = answer(&output);
    assert_eq!(read[0], expected());
    assert_eq!(read[1], json!(["emulated", "native", "passed-through", "refused"]));
    for column in documented_columns() {
        assert!(read[2].as_array().unwrap().contains(&json!(column)), "{column}");
    }
}

/// The columns that `docs/json.md` lists for Parquet.
fn documented_columns() -> Vec<String> {
    let document = include_str!("../../docs/json.md");
    let table = document.split("| column | type |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let columns: Vec<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(','))
        .map(|name| name.trim().trim_matches('`').to_owned())
        .collect();
    assert!(columns.len() > 20, "{columns:?}");
    columns
}

#[test]
fn babeltrace_reads_the_same_totals_from_ctf() {
    let directory = TempDir::new().unwrap();
    export("ctf", directory.path());
    let Ok(output) = Command::new("babeltrace2").arg(directory.path()).output() else {
        skip("CTF read by babeltrace2: it is not installed (apt-get install babeltrace2)");
        return;
    };
    assert!(output.status.success() && stderr(&output).is_empty(), "{output:?}");
    let text = stdout(&output);
    let field = |line: &str, name: &str| {
        let value = line.split(&format!(" {name} = ")).nth(1)?;
        value.split([',', ' ']).next()?.parse::<u64>().ok()
    };
    let sum = |name: &str| text.lines().filter_map(|line| field(line, name)).sum::<u64>();
    let failed = text.lines().filter(|line| !line.contains("errno_name = \"-\"")).count();
    let found = json!([
        text.lines().count(),
        failed,
        sum("duration_ns"),
        sum("bytes_relocated"),
        sum("bytes_grown_in_place"),
        sum("parts"),
        sum("gaps")
    ]);
    assert_eq!(found, expected(), "{text}");
}

/// Exports traces to a lake five times, each time overlapping with earlier ones: traces that have
/// grown, that are gone, that were exported before and alone. Returns the lake, the directory of
/// the traces, and the number of calls that were ever exported.
fn overlapping_exports() -> (TempDir, TempDir, usize) {
    let (lake, traces) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let grow = |pid: u32, calls: u64| {
        let records: Vec<Record> =
            (0..calls).map(|at| call(Outcome::PassedThrough, 3_000 + at, 1, NEW as i64)).collect();
        let chunks = records.len().div_ceil(63) as u32;
        let bytes = trace_bytes(&header(pid, chunks), &records);
        write(&traces, &format!("{pid}.mremap"), &bytes)
    };
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let export = |inputs: &[String]| {
        let mut arguments = vec!["export", "--format", "parquet", "-o"];
        let target = path(lake.path());
        arguments.push(&target);
        arguments.extend(inputs.iter().map(String::as_str));
        let output = analyzer(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    };
    let all = [path(traces.path())];
    grow(1, 10);
    export(&all);
    grow(1, 25);
    let second = path(&grow(2, 100));
    export(&all);
    export(&[second]);
    fs::remove_file(traces.path().join("1.mremap")).unwrap();
    grow(3, 7);
    export(&all);
    grow(2, 200);
    export(&all);
    (lake, traces, 25 + 200 + 7)
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    files.sort();
    files
}

#[test]
fn overlapping_exports_leave_one_file_a_trace_and_each_call_once() {
    let (lake, _traces, calls) = overlapping_exports();
    let start = 1_700_000_000_000_000_000_u64;
    let expected: Vec<String> =
        (1..=3).map(|pid| format!("{pid}-{}-00000000.parquet", start + pid)).collect();
    assert_eq!(files_below(lake.path()), expected);
    for (reader, script) in [
        (
            "duckdb",
            "import duckdb\n\
             rows = f\"read_parquet('{lake}/**/*.parquet', hive_partitioning=true)\"\n\
             sql = f'select count(*), count(distinct (pid, monotonic_ns)) from {rows}'\n\
             found = duckdb.sql(sql).fetchall()[0]",
        ),
        (
            "pyarrow",
            "import pyarrow.dataset\n\
             table = pyarrow.dataset.dataset(lake, partitioning='hive').to_table(key)\n\
             found = table.num_rows, table.group_by(key).aggregate([]).num_rows",
        ),
        (
            "polars",
            "import polars\n\
             table = polars.scan_parquet(lake, hive_partitioning=True).select(key).collect()\n\
             found = len(table), len(table.unique())",
        ),
    ] {
        let head = "import json, sys\nlake, key = sys.argv[1], ['pid', 'monotonic_ns']\n";
        let script = format!("{head}{script}\njson.dump(found, sys.stdout)");
        let output = python(&script, &[lake.path()]);
        if !lacks(&output, reader) {
            assert_eq!(answer(&output), json!([calls, calls]), "{reader}");
        }
    }
}

/// The queries of the guide to fleets.
fn queries_of_the_guide() -> Vec<&'static str> {
    let document = include_str!("../../docs/fleet.md");
    let blocks = document.split("```sql run\n").skip(1).filter_map(|rest| rest.split("```").next());
    let queries: Vec<&str> = blocks.filter(|block| block.starts_with("SELECT")).collect();
    assert!(queries.len() >= 5, "{queries:?}");
    queries
}

#[test]
fn spark_reads_the_lake_without_settings() {
    let (lake, _traces, calls) = overlapping_exports();
    let output = python(
        "import json, sys\n\
         from pyspark.sql import SparkSession\n\
         spark = SparkSession.builder.master('local[1]').config('spark.ui.enabled', 'false')\n\
         spark = spark.config('spark.sql.session.timeZone', 'UTC').getOrCreate()\n\
         spark.sparkContext.setLogLevel('ERROR')\n\
         calls = spark.read.parquet(sys.argv[1])\n\
         calls.createOrReplaceTempView('calls')\n\
         row = spark.sql('''select count(*), count(distinct pid, monotonic_ns), max(old),\n\
             cast(min(wall_clock) as string), min(wall_clock_ns), cast(min(date) as string),\n\
             count(new), percentile_approx(duration_ns, 0.99), sum(bytes_relocated)\n\
             from calls''').collect()[0]\n\
         counts = [spark.sql(query.strip().rstrip(';')).count() for query in json.loads(sys.argv[2])]\n\
         print('RESULT' + json.dumps([list(row), dict(calls.dtypes), counts]))",
        &[lake.path(), Path::new(&json!(queries_of_the_guide()).to_string())],
    );
    if lacks(&output, "pyspark") {
        return;
    }
    let text = stdout(&output);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT"));
    let result = result.unwrap_or_else(|| panic!("{output:?}"));
    let result: Value = serde_json::from_str(result).unwrap();
    let (clock, first) = ("2023-11-14 22:13:20.000002", 1_700_000_000_000_002_001_u64);
    let relocated = calls as u64 * PAGE;
    assert_eq!(
        result[0],
        json!([calls, calls, OLD, clock, first, "2023-11-14", calls, 1_500, relocated])
    );
    // The lake has no emulated call, which the first query counts.
    assert_eq!(result[2], json!([0, 1, 1, 1, 1]), "rows of the guide's queries");
    for (column, kind) in [("old", "bigint"), ("wall_clock", "timestamp"), ("date", "date")] {
        assert_eq!(result[1][column], kind, "{column}");
    }
}

#[test]
fn a_trace_with_a_wrong_clock_is_left_out_of_the_lake_and_named() {
    let (lake, traces) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let records = [call(Outcome::PassedThrough, 3_000, 1, NEW as i64)];
    let garbage = Header { realtime_ns: u64::MAX / 2, ..header(7, 1) };
    write(&traces, "good.mremap", &trace_bytes(&header(6, 1), &records));
    write(&traces, "wrong.mremap", &trace_bytes(&garbage, &records));
    let [target, traces] = [lake.path(), traces.path()].map(|path| path.to_str().unwrap());
    let output = analyzer(&["export", "--format", "parquet", "-o", target, traces]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("wrong.mremap"), "{output:?}");
    let files = files_below(lake.path());
    assert!(files.len() == 1 && files[0].starts_with("6-"), "{files:?}");
}

#[test]
fn a_failed_or_killed_export_leaves_the_former_file() {
    let directory = TempDir::new().unwrap();
    let records: Vec<Record> =
        (0..20_000).map(|at| call(Outcome::PassedThrough, 3_000 + at, 1, NEW as i64)).collect();
    let trace = write(&directory, "t.mremap", &trace_bytes(&header(1, 318), &records));
    let target = directory.path().join("calls");
    for command in [
        &["export", "--format", "csv"][..],
        &["export", "--format", "jsonl"],
        &["export", "--format", "chrome"],
        &["html"],
    ] {
        fs::write(&target, "former").unwrap();
        // Killed by SIGXFSZ once it has written 64 blocks.
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -c 0; ulimit -f 64; exec \"$0\" \"$@\""]);
        limited.arg(env!("CARGO_BIN_EXE_mremap-analyzer")).args(command);
        let killed = limited.arg("-o").args([&target, &trace]).output().unwrap();
        assert!(!killed.status.success(), "{command:?}: {killed:?}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "former", "{command:?}");
        let failed =
            analyzer(&[command, &["-o", target.to_str().unwrap(), "/no/such/trace"]].concat());
        assert_eq!(failed.status.code(), Some(2), "{command:?}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "former", "{command:?}");
    }
}

#[test]
fn an_output_never_replaces_a_trace() {
    let (directory, file) = sample_file();
    let before = fs::read(&file).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for target in [&file, link.to_str().unwrap()] {
        for command in [&["export", "--format", "csv"][..], &["html"]] {
            let output = analyzer(&[command, &["-o", target, &file]].concat());
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(stderr(&output).contains("one of the traces"), "{output:?}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn csv_and_json_lines_have_the_same_totals() {
    let directory = TempDir::new().unwrap();
    let table = directory.path().join("calls.csv");
    export("csv", &table);
    let mut reader = csv::Reader::from_path(&table).unwrap();
    let columns = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let at = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let sum =
        |name: &str| rows.iter().filter_map(|row| row[at(name)].parse::<u64>().ok()).sum::<u64>();
    let failed = rows.iter().filter(|row| !row[at("errno")].is_empty()).count();
    let [time, relocated, grown, parts, gaps] = SUMMED.map(sum);
    assert_eq!(json!([rows.len(), failed, time, relocated, grown, parts, gaps]), expected());

    let lines = directory.path().join("calls.jsonl");
    export("jsonl", &lines);
    let text = fs::read_to_string(&lines).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = |name: &str| events.iter().filter_map(|event| event[name].as_u64()).sum::<u64>();
    let failed = events.iter().filter(|event| !event["errno"].is_null()).count();
    let [time, relocated, grown, parts, gaps] = SUMMED.map(sum);
    assert_eq!(json!([events.len(), failed, time, relocated, grown, parts, gaps]), expected());
    assert_eq!(text, stdout(&analyzer(&["events", "--json", &golden()])));
}

#[test]
fn go_reads_the_same_totals_from_pprof() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("mremap.pb.gz");
    export("pprof", &file);
    let output = Command::new("go").args(["tool", "pprof", "-raw"]).arg(&file).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        skip("pprof read by go: it is not installed (apt-get install golang-go)");
        return;
    };
    let text = stdout(&output);
    let head =
        "calls/count time/nanoseconds[dflt] failed/count relocated/bytes grown_in_place/bytes";
    assert!(text.contains(head), "{text}");
    let samples = text.split(head).nth(1).and_then(|rest| rest.split("Locations").next()).unwrap();
    let mut sums = [0; 5];
    for line in samples.lines() {
        let values: Vec<u64> = line
            .split(':')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    let expected = expected();
    let [calls, time, failed, relocated, grown] = sums;
    let found = json!([calls, failed, time, relocated, grown]);
    assert_eq!(found, json!(expected.as_array().unwrap()[..5]), "{text}");
    assert!(text.contains("M=1") && text.contains("/tmp/golden/mover"), "{text}");
    let top = Command::new("go").args(["tool", "pprof", "-top"]).arg(&file).output().unwrap();
    assert!(stdout(&top).contains("mover+0x123f"), "{top:?}");
}

#[test]
fn csv_disarms_text_that_a_spreadsheet_would_run() {
    let mut bytes = trace_bytes(&header(42, 1), &sample());
    let text = HeaderText { exe: b"=1+2", host: b"@sum", ..HeaderText::default() };
    Header::encode(&header(42, 1), &text, &mut bytes);
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "t.mremap", &bytes).display().to_string();
    let table = stdout(&analyzer(&["export", "--format", "csv", &path]));
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("1,'@sum,42,77,'=1+2,"), "{row}");
}

#[test]
fn chrome_events_have_the_fields_that_viewers_need() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("trace.json");
    export("chrome", &file);
    let trace: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let (mut slices, mut named, mut nanoseconds) = (0, Vec::new(), 0.0);
    for event in trace["traceEvents"].as_array().unwrap() {
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        if event["ph"] == "M" {
            named.push(event["pid"].clone());
            continue;
        }
        assert_eq!(event["ph"], "X");
        assert!(
            named.contains(&event["pid"]),
            "the process is named before its first slice: {event}"
        );
        assert!(event["tid"].is_u64() && event["ts"].as_f64().unwrap() >= 0.0, "{event}");
        slices += 1;
        nanoseconds += event["dur"].as_f64().unwrap() * 1e3;
    }
    let expected = expected();
    assert_eq!((slices, named.len()), (expected[0].as_u64().unwrap(), 3));
    assert!((nanoseconds - expected[2].as_f64().unwrap()).abs() < 1.0, "{nanoseconds}");
}

#[test]
fn folded_stacks_have_the_same_totals() {
    let directory = TempDir::new().unwrap();
    for (weight, place) in [("calls", 0), ("time", 2), ("bytes", 3)] {
        let file = directory.path().join(weight);
        let target = file.to_str().unwrap();
        let arguments =
            ["export", "--format", "folded", "--weight", weight, "-o", target, &golden()];
        assert_eq!(analyzer(&arguments).status.code(), Some(0));
        let text = fs::read_to_string(&file).unwrap();
        let weights =
            text.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(weights.sum::<u64>(), expected()[place].as_u64().unwrap(), "{weight}");
        assert!(text.lines().all(|line| line.starts_with("mover;")), "{text}");
    }
}
