//! Link flags of the preload library.

fn main() {
    // Never unloaded: the hook may be on some thread's stack. Bound and read-only once loaded.
    for flag in ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,-z,relro"] {
        println!("cargo:rustc-cdylib-link-arg={flag}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
