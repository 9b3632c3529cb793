//! Runs a kernel with the widest vectors that this CPU has.
//!
//! There is one source for all instruction sets: plain loops over fixed-size arrays. On x86-64 the compiler sees it twice, once
//! for the baseline (SSE2) and once for AVX2. Rust neither reorders float additions nor contracts them to fused ones, so both
//! copies give the same bits. On aarch64 the baseline has NEON.
#![allow(unsafe_code, reason = "a function with target features may only be called where they were detected")]

/// Work whose loops profit from wide vectors.
pub(super) trait Kernel {
    /// What the work gives back.
    type Output;

    /// Does the work. Implementations and all that they call must be `#[inline(always)]`: only then is it compiled for the
    /// caller's instruction set.
    fn run(self) -> Self::Output;
}

/// Runs the kernel on the best path of this CPU.
pub(super) fn run_fastest<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature that `run_avx2` requires was detected in the line above.
        return unsafe { run_avx2(kernel) };
    }
    run_portable(kernel)
}

/// Runs the kernel on the baseline path, whatever the CPU has.
#[inline(never)]
pub(super) fn run_portable<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
