//! Which frame of a stack is responsible for a call: the first one outside libc and allocators.

use super::Site;

/// File names of libcs and allocators start like this, before a `.` or a `-`.
const MODULES: [&str; 10] = [
    "libc",
    "libc_malloc_debug",
    "ld",
    "libmremap_shim",
    "libjemalloc",
    "libtcmalloc",
    "libtcmalloc_minimal",
    "libmimalloc",
    "libhardened_malloc",
    "libtbbmalloc",
];

/// Beginnings of the names of functions that allocate for others, in any module.
const FUNCTIONS: [&str; 15] = [
    "realloc",
    "reallocarray",
    "xrealloc",
    "__libc_realloc",
    "je_",
    "mi_",
    "tc_realloc",
    "__rust_realloc",
    "__rdl_realloc",
    "alloc::",
    "std::alloc",
    "_PyMem_",
    "PyMem_",
    "PyObject_Realloc",
    "_PyObject_",
];

/// More of them: Ruby's.
const RUBY: [&str; 4] = ["ruby_xrealloc", "objspace_xrealloc", "rb_gc_impl_realloc", "rb_xrealloc"];

/// Returns how many frames of a stack, innermost first, are those of libc and allocators; 0 if all
/// are.
pub fn inner_frames<'a>(stack: impl IntoIterator<Item = &'a Site>) -> usize {
    stack.into_iter().position(|site| !is_allocator(site)).unwrap_or(0)
}

/// Whether a call site is in libc or in an allocator.
pub fn is_allocator(site: &Site) -> bool {
    let is_listed = |name: &str, ends: &[char]| {
        MODULES.iter().any(|module| {
            name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with(ends))
        })
    };
    let module = site.module.as_deref().unwrap_or_default();
    let file = module.rsplit('/').next().unwrap_or_default();
    // An inlined function is called by the outermost one, which gives the frame its name.
    let function = site.frames.last().and_then(|frame| frame.function.as_deref());
    is_listed(file, &['.', '-'])
        || function.is_some_and(|function| {
            FUNCTIONS.iter().chain(&RUBY).any(|start| function.starts_with(start))
        })
}

#[cfg(test)]
mod tests {
    use super::{Site, inner_frames};
    use crate::symbols::Frame;

    fn site(module: &str, function: &str) -> Site {
        let function = Some(function.to_owned());
        Site {
            frames: vec![Frame { function, ..Frame::default() }],
            ..Site::in_module(module, 0, &[])
        }
    }

    #[test]
    fn skips_libc_and_allocators() {
        let libc = site("/lib/x86_64-linux-gnu/libc.so.6", "mremap_chunk");
        let caller = site("/usr/bin/grows", "grow");
        let python = site("/usr/bin/python3.11", "_PyMem_RawRealloc");
        let own = site("/opt/libcrypto.so.3", "resize");
        assert_eq!(inner_frames([&libc, &libc, &caller]), 2);
        assert_eq!(inner_frames([&libc, &python, &caller]), 2);
        assert_eq!(inner_frames([&own, &caller]), 0);
        assert_eq!(inner_frames([&libc, &libc]), 0, "nobody else is known");
    }
}
