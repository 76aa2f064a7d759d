//! Large programs that nobody here wrote, doing their own work: the same status and the same output without the library
//! and with it (a trace, and every move emulated). `cargo xtask test --programs`.

use std::fs;
use std::path::PathBuf;

use mremap_tests::need;
use mremap_tests::script::Script;

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn pythons_own_tests_of_mmap_and_fork() {
    let tests = fs::read_dir("/usr/lib").expect("a directory").flatten();
    let has_tests = |path: &PathBuf| path.join("test/test_mmap.py").is_file();
    if !tests.map(|entry| entry.path()).any(|path| has_tests(&path)) {
        return need::skip(
            "Python's own tests: apt-get install libpython3.N-testsuite, N as in python3 --version",
        );
    }
    let script = Script {
        // The figures that it prints are times.
        text: "/usr/bin/python3 -m test test_mmap test_fork1 >log 2>&1 || { cat log; exit 1; }
               grep -c 'tests OK' log",
        program: "python3",
        ..Script::default()
    };
    script.check();
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn sqlite_builds_and_vacuums_a_large_mapped_database() {
    if need::program("sqlite3", "sqlite3").is_none() {
        return;
    }
    let script = Script {
        text: "sqlite3 -batch base 'PRAGMA mmap_size=1073741824; PRAGMA synchronous=OFF;
               CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
               WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400000)
               INSERT INTO t(v) SELECT hex(zeroblob(100)) || i FROM n;
               CREATE INDEX at ON t(v); DELETE FROM t WHERE id % 2; VACUUM;
               SELECT count(*), sum(length(v)) FROM t; PRAGMA integrity_check;'
               cksum <base",
        program: "sqlite3",
        ..Script::default()
    };
    script.check();
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn gcc_compiles_the_same_file_to_the_same_program() {
    if need::program("gcc", "gcc").is_none() {
        return;
    }
    let script = Script {
        text: "gcc -std=gnu11 -O3 -flto -pthread -o a.out signal_moves.c; cksum <a.out; ./a.out",
        files: &[
            ("signal_moves.c", include_str!("../../examples/signal_moves.c")),
            ("common.h", include_str!("../../examples/common.h")),
        ],
        program: "cc1",
        ..Script::default()
    };
    script.check();
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn git_collects_its_garbage() {
    if need::program("git", "git").is_none() {
        return;
    }
    let script = Script {
        text:
            "git init -q .; git config user.name n; git config user.email e@example.org; git config gc.auto 0
            export GIT_AUTHOR_DATE='1 Jan 2025 00:00 +0000' GIT_COMMITTER_DATE='1 Jan 2025 00:00 +0000'
            for i in 1 2 3 4 5 6 7 8; do seq $i 20000 >file; git add file; git commit -qm $i; done
            git gc -q --aggressive; git fsck --full --no-progress
            git rev-parse HEAD; git count-objects -v | grep -E 'count|in-pack'",
        program: "git",
        ..Script::default()
    };
    script.check();
}
