//! Statics that are not atomic.

use core::cell::UnsafeCell;

/// The largest page size that is supported (arm64).
pub(crate) const LARGEST_PAGE: usize = 65536;

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
#[repr(C, align(65536))]
pub(crate) struct OwnPages<const LEN: usize>(SyncCell<[u8; LEN]>);

impl<const LEN: usize> OwnPages<LEN> {
    pub(crate) const fn new() -> Self {
        Self(SyncCell::new([0; LEN]))
    }

    pub(crate) fn start(&self) -> usize {
        self.0.get().addr()
    }
}
