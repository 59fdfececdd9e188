//! A counting global allocator, for the pass that counts allocations per operation.
//!
//! Counting is off while time is measured; then the cost is one relaxed load of a flag that never changes.

#![expect(
    unsafe_code,
    reason = "a global allocator can only be written with unsafe; every call is passed on to System"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

static ENABLED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with counters in front of it.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the whole process since counting was switched on. A reallocation counts as one, with its new size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allocations {
    /// Calls of the allocator.
    pub(crate) calls: u64,
    /// Bytes asked for.
    pub(crate) bytes: u64,
}

impl Allocations {
    /// Starts counting, for the rest of the process.
    pub(crate) fn start_counting() {
        ENABLED.store(true, Relaxed);
    }

    /// The counters now.
    pub(crate) fn now() -> Self {
        Self { calls: CALLS.load(Relaxed), bytes: BYTES.load(Relaxed) }
    }
}

fn count(bytes: usize) {
    if ENABLED.load(Relaxed) {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes as u64, Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to System, which upholds the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller upholds the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller upholds the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
