//! Other projects' large programs: Python's tests, `SQLite`, gcc, git, servers, virtual machines, a
//! browser. Status and output must be the same without the library and under it, with a trace and
//! every move emulated. `cargo xtask test --programs` runs them.

use std::fs;
use std::process::Command;

use mremap_tests::need;
use mremap_tests::script::{Script, as_nobody};

/// Checks a script, unless one of the programs (each with its package) is not installed.
fn check(needed: &[(&str, &str)], script: Script<'_>) {
    if needed.iter().all(|(program, package)| need::program(program, package).is_some()) {
        script.check();
    }
}

/// Whether a subdirectory of `directory` has this file.
fn is_in_a_subdirectory(directory: &str, file: &str) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(file)).any(|path| path.is_file())
}

/// Tests that run one script each, with the programs that it needs and their packages.
macro_rules! scripts {
    ($($name:ident [$($needed:expr),+] { $($fields:tt)* })+) => {$(
        #[test]
        #[ignore = "large; cargo xtask test --programs runs it"]
        fn $name() {
            check(&[$($needed),+], Script { $($fields)*, ..Script::default() });
        }
    )+};
}

scripts! {
    sqlite_builds_and_vacuums_a_large_mapped_database [("sqlite3", "sqlite3")] {
        text: "sqlite3 -batch base 'PRAGMA mmap_size=1073741824; PRAGMA synchronous=OFF;
               CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
               WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400000)
               INSERT INTO t(v) SELECT hex(zeroblob(100)) || i FROM n;
               CREATE INDEX at ON t(v); DELETE FROM t WHERE id % 2; VACUUM;
               SELECT count(*), sum(length(v)) FROM t; PRAGMA integrity_check;'
               cksum <base",
        program: "sqlite3"
    }

    gcc_compiles_the_same_file_to_the_same_program [("gcc", "gcc")] {
        text: "gcc -std=gnu11 -O3 -flto -pthread -o a.out signal_moves.c; cksum <a.out; ./a.out",
        files: &[
            ("signal_moves.c", include_str!("../../examples/signal_moves.c")),
            ("common.h", include_str!("../../examples/common.h")),
        ],
        program: "cc1"
    }

    git_collects_garbage [("git", "git")] {
        text:
            "git init -q .; git config user.name n; git config user.email e@example.org; git config gc.auto 0
            export GIT_AUTHOR_DATE='1 Jan 2025 00:00 +0000' GIT_COMMITTER_DATE='1 Jan 2025 00:00 +0000'
            for i in 1 2 3 4 5 6 7 8; do seq $i 20000 >file; git add file; git commit -qm $i; done
            git gc -q --aggressive; git fsck --full --no-progress
            git rev-parse HEAD; git count-objects -v | grep -E 'count|in-pack'",
        program: "git"
    }

    redis_saves_in_the_background [("redis-server", "redis-server")] {
        text: include_str!("../programs/redis.sh"),
        program: "redis-check-rdb"
    }

    nginx_serves_a_file_during_a_reload [("nginx", "nginx-light"), ("curl", "curl")] {
        text: include_str!("../programs/nginx.sh"),
        program: "nginx"
    }

    java_runs_under_each_of_its_collectors [("javac", "default-jdk-headless")] {
        text: include_str!("../programs/java.sh"),
        files: &[("Churn.java", include_str!("../programs/Churn.java"))],
        program: "java"
    }

    node_runs_workers_and_webassembly [("node", "nodejs")] {
        text: "node churn.js",
        files: &[("churn.js", include_str!("../programs/churn.js"))],
        program: "node"
    }

    php_grows_blocks [("php", "php-cli")] {
        text: "php -n -d memory_limit=1G churn.php",
        files: &[("churn.php", include_str!("../programs/churn.php"))],
        program: "php"
    }

    ruby_compacts_its_heap [("ruby", "ruby")] {
        text: "ruby -W0 --disable-gems churn.rb",
        files: &[("churn.rb", include_str!("../programs/churn.rb"))],
        program: "ruby"
    }

    erlang_runs_many_processes [("erl", "erlang-base")] {
        text: "erlc churn.erl; erl -noshell -s churn main || echo status $?",
        files: &[("churn.erl", include_str!("../programs/churn.erl"))],
        program: "beam.smp"
    }
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn pythons_own_tests_of_mmap_and_fork_pass() {
    if !is_in_a_subdirectory("/usr/lib", "test/test_mmap.py") {
        return need::skip(
            "Python's own tests: apt-get install libpython3.N-testsuite, N as in python3 --version",
        );
    }
    let script = Script {
        // The other numbers that it prints are times.
        text: "/usr/bin/python3 -m test test_mmap test_fork1 >log 2>&1 || { cat log; exit 1; }
               grep -c 'tests OK' log",
        program: "python3",
        ..Script::default()
    };
    script.check();
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn postgresql_serves_several_clients() {
    if !is_in_a_subdirectory("/usr/lib/postgresql", "bin/initdb") {
        return need::skip("tests of PostgreSQL: apt-get install postgresql");
    }
    let text = include_str!("../programs/postgresql.sh");
    Script { text, program: "postgres", ..Script::default() }.check();
}

/// Renders a page in Chromium; `filter` is the strictest seccomp mode that its processes must have.
fn check_chromium(sandbox: &str, filter: &str) {
    let script = Script {
        text: include_str!("../programs/chromium.sh"),
        files: &[("page.html", include_str!("../programs/page.html"))],
        variables: &[("SANDBOX", sandbox), ("FILTER", filter)],
        program: "chromium-headless-shell",
    };
    let browser = ("chromium-headless-shell", "chromium-headless-shell");
    check(&[browser, ("pgrep", "procps")], script);
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn chromium_renders_a_page_in_its_sandbox() {
    let mut unshare = Command::new("unshare");
    as_nobody(unshare.args(["--user", "true"]));
    if !unshare.status().is_ok_and(|status| status.success()) {
        return need::skip(
            "Chromium's sandbox: this machine forbids user namespaces; see user_namespaces(7)",
        );
    }
    check_chromium("", "2");
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn chromium_renders_a_page_without_its_sandbox() {
    check_chromium("--no-sandbox", "0");
}
