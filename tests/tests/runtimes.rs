//! Virtual machines and interpreters that nobody here wrote, each with an allocator, collectors and threads of its own.
//! `cargo xtask test --programs`.

use mremap_tests::need;
use mremap_tests::script::Script;

/// Checks a script with one file, where the machine has the program.
fn check(program: &str, package: &str, text: &str, file: (&str, &str), traced: &str) {
    if need::program(program, package).is_none() {
        return;
    }
    let script = Script { text, files: &[file], program: traced, ..Script::default() };
    script.check();
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn java_under_each_of_its_collectors() {
    let program = ("Churn.java", include_str!("../programs/Churn.java"));
    let script = include_str!("../programs/java.sh");
    check("javac", "default-jdk-headless", script, program, "java");
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn node_with_workers_and_webassembly() {
    let program = ("churn.js", include_str!("../programs/churn.js"));
    check("node", "nodejs", "node churn.js", program, "node");
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn php_with_blocks_that_grow() {
    let program = ("churn.php", include_str!("../programs/churn.php"));
    let script = "php -n -d memory_limit=1G churn.php";
    check("php", "php-cli", script, program, "php");
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn ruby_compacts_its_heap() {
    let program = ("churn.rb", include_str!("../programs/churn.rb"));
    check("ruby", "ruby", "ruby -W0 --disable-gems churn.rb", program, "ruby");
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn erlang_with_many_processes() {
    let program = ("churn.erl", include_str!("../programs/churn.erl"));
    let script = "erlc churn.erl; erl -noshell -s churn main || echo status $?";
    check("erl", "erlang-base", script, program, "beam.smp");
}
