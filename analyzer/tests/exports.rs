//! Exports read back by the programs that they are made for. All counts and sums are those of the
//! report.
#![allow(missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use common::{analyzer, skip, stderr, stdout};
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
    let text = std::fs::read_to_string(&lines).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = |name: &str| events.iter().filter_map(|event| event[name].as_u64()).sum::<u64>();
    let failed = events.iter().filter(|event| !event["errno"].is_null()).count();
    let [time, relocated, grown, parts, gaps] = SUMMED.map(sum);
    assert_eq!(json!([events.len(), failed, time, relocated, grown, parts, gaps]), expected());
    assert_eq!(text, stdout(&analyzer(&["events", "--json", &golden()])));
}

#[test]
fn chrome_events_have_the_fields_that_viewers_need() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("trace.json");
    export("chrome", &file);
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
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
        let text = std::fs::read_to_string(&file).unwrap();
        let weights =
            text.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(weights.sum::<u64>(), expected()[place].as_u64().unwrap(), "{weight}");
        assert!(text.lines().all(|line| line.starts_with("mover;")), "{text}");
    }
}
