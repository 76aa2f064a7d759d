//! Servers that nobody here wrote, with clients at work: many processes, shared memory, forks that write a copy of all
//! memory. Each listens at a socket in a directory of its own. `cargo xtask test --programs`.

use mremap_tests::need;
use mremap_tests::script::Script;

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn postgresql_serves_several_clients() {
    let homes = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let has_server = |home: std::io::Result<std::fs::DirEntry>| {
        home.is_ok_and(|home| home.path().join("bin/initdb").is_file())
    };
    if !homes.into_iter().any(has_server) {
        return need::skip("what needs PostgreSQL's initdb: apt-get install postgresql");
    }
    let script = Script {
        text: include_str!("../programs/postgresql.sh"),
        program: "postgres",
        ..Script::default()
    };
    script.check();
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn redis_saves_itself_in_the_background() {
    if need::program("redis-server", "redis-server").is_none() {
        return;
    }
    let script = Script {
        text: include_str!("../programs/redis.sh"),
        program: "redis-check-rdb",
        ..Script::default()
    };
    script.check();
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn nginx_serves_a_file_while_it_is_reloaded() {
    let needed = [("nginx", "nginx-light"), ("curl", "curl")];
    if needed.iter().any(|(name, package)| need::program(name, package).is_none()) {
        return;
    }
    let script = Script {
        text: include_str!("../programs/nginx.sh"),
        program: "nginx",
        ..Script::default()
    };
    script.check();
}
