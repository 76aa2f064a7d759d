//! Link flags of the preload library.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Never unloaded: the hook may be on some thread's stack. Bound and read-only once loaded.
    for flag in ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,-z,relro"] {
        println!("cargo:rustc-cdylib-link-arg={flag}");
    }
    if env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    // redhook links std, and nothing here uses it: optimized, this library has no code that can
    // panic. GNU ld then leaves std out. lld would keep all of it for the sake of std's personality
    // routine, which unwind tables of discarded functions still name.
    println!("cargo:rustc-cdylib-link-arg=-fuse-ld=bfd");
}
