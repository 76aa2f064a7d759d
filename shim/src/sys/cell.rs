//! Statics that are not atomic.

use core::cell::UnsafeCell;

/// Begins a page, whatever the processor's page size is. Has no size.
#[cfg_attr(target_arch = "x86_64", repr(align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(align(65536)))]
pub(crate) struct PageStart;

/// The largest page size of the processor. Larger than needed, it would cost the loader three
/// system calls to align the library.
pub(crate) const LARGEST_PAGE: usize = align_of::<PageStart>();

/// Memory that is written at load, or by one thread at a time, as each user of it explains.
/// Replaces the unstable `core::cell::SyncUnsafeCell`.
#[repr(transparent)]
pub(crate) struct SyncCell<T>(UnsafeCell<T>);

// SAFETY: the cell gives out nothing but a raw pointer; whoever dereferences it argues for that.
unsafe impl<T> Sync for SyncCell<T> {}

impl<T> SyncCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// Address space of this library's own, in whole pages of any size. It is in `.bss`,
/// since under `RLIMIT_AS` nothing could be mapped when it is needed. Nothing ever reads or writes
/// its bytes.
#[repr(C)]
pub(crate) struct OwnPages<const LEN: usize>(PageStart, SyncCell<[u8; LEN]>);

impl<const LEN: usize> OwnPages<LEN> {
    pub(crate) const fn new() -> Self {
        Self(PageStart, SyncCell::new([0; LEN]))
    }

    pub(crate) fn start(&self) -> usize {
        self.1.get().addr()
    }
}
