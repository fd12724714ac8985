//! Whether WGSL from outside the crate is compiled with bounds checks: one answer for rules and for operations.

/// Whether kernels are compiled with the bounds checks of WGSL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundsChecks(bool);

impl BoundsChecks {
    /// An access outside a buffer reads or writes some other element of it, or nothing; loops end.
    pub const ON: Self = Self(true);
    /// For the rules and operations of this crate, whose accesses are compared with the sizes in their uniforms.
    pub(crate) const OWN: Self = Self(false);

    /// No checks, which makes kernels faster that read and write much.
    ///
    /// # Safety
    /// The text must not index beyond the end of anything, whatever the buffers hold, and its loops have to end. An operation
    /// must not call an accessor with an element at or beyond the length that its operand was declared with. A rule must index
    /// nothing but what it declares itself: parameter, gradient and state come to it as values.
    #[expect(unsafe_code, reason = "it is the caller who has to vouch for a kernel")]
    pub const unsafe fn off() -> Self {
        Self(false)
    }

    pub(crate) fn on(self) -> bool {
        self.0
    }
}
